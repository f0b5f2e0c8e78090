"""Fixtures: one demo Alyx for all tests, drives of one's own for each."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

import mounted as starting
from alyxfs.demo.server import running_demo
from mounted import mounted

RUNS_LONG = "ALYXFS_FULL_TESTS" in os.environ
starting.forks = True
# Who is started in the background by a script ignores SIGINT, and so would every program that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Whoever runs the tests keeps what is in their own keyring, which drives started by tests would find as well.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"
# Each test has a time limit of its own: how long one example takes is a matter of what else the machine does.
settings.register_profile("alyxfs", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("alyxfs")


def pytest_collection_modifyitems(config, items):
    """Files with long tests first, as far as their time limits tell: what is left at the end is short.

    Workers take over from each other, so that none of them is idle while another one has more than one test to go.
    What is marked as long runs where ``ALYXFS_FULL_TESTS`` is set.
    """
    if not RUNS_LONG:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    limits = {}
    for item in items:
        limit = max((mark.args[0] for mark in item.iter_markers("timeout")), default=0)
        limits[item.path] = max(limits.get(item.path, 0), limit)
    items.sort(key=lambda item: -limits[item.path])


@pytest.fixture(scope="session")
def demo_directory(tmp_path_factory):
    """The demo's database and data files, made once for all workers."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "demo"


@pytest.fixture(scope="session")
def demo(demo_directory):
    """A demo Alyx that no test writes to."""
    with running_demo(demo_directory, largest_file_mb=2) as running:
        yield running


@pytest.fixture(scope="session")
def changing(demo_directory):
    """A demo Alyx that the tests of writing change."""
    with running_demo(demo_directory, largest_file_mb=2, control=True) as running:
        yield running


@pytest.fixture
def home(tmp_path):
    """A home directory of one's own."""
    directory = tmp_path / "home"
    directory.mkdir()
    return directory


@pytest.fixture
def drive(demo, home):
    """The demo, mounted afresh."""
    with mounted(demo.url, home) as drive:
        demo.clear_requests()
        yield drive


@pytest.fixture(scope="session")
def shared_drive(demo, tmp_path_factory):
    """One drive for all tests that neither count requests nor care what was read before."""
    with mounted(demo.url, tmp_path_factory.mktemp("shared") / "home") as drive:
        yield drive
