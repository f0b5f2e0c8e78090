"""Fixtures: one demo Alyx for all tests, drives of one's own for each."""

from __future__ import annotations

import pytest

from alyxfs.demo.server import running_demo
from mounted import mounted


@pytest.fixture(scope="session")
def demo_directory(tmp_path_factory):
    """The demo's database and data files, made once."""
    return tmp_path_factory.mktemp("demo")


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
