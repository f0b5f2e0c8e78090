"""A demo that the tests of a module change, through editors and past them."""

from __future__ import annotations

import pytest

from alyxfs.demo.server import running_demo
from asking import Asking


@pytest.fixture(scope="module")
def running(demo_directory):
    """It stays as tests leave it."""
    with running_demo(demo_directory, largest_file_mb=2, control=True) as running:
        yield running


@pytest.fixture(scope="module")
def asking(running):
    """What somebody else asks of it."""
    return Asking(running.url)


@pytest.fixture(scope="module")
def demo(running):
    """The same, for tests that say nothing of how they find it."""
    return running
