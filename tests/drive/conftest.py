"""Demos that tests may change."""

from __future__ import annotations

import pytest

from alyxfs.demo.server import running_demo
from served import ServedFiles


@pytest.fixture(scope="session")
def own_demo(demo_directory):
    """One for all tests that add data files of their own to it."""
    with running_demo(demo_directory, largest_file_mb=2, control=True) as running:
        yield running


@pytest.fixture
def fresh_demo(demo_directory):
    """One for a test alone: it looks at each request, or at all data files, or at what it changed itself."""
    with running_demo(demo_directory, largest_file_mb=2, control=True) as running:
        yield running


@pytest.fixture
def served(own_demo, server):
    """Data files that the module's fault server has."""
    return ServedFiles(own_demo.url, server)
