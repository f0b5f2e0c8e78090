"""Random operations on the drive and on a dictionary agree: the first half of the runs."""

from __future__ import annotations

import pytest

from random_records import RUNS, agree


@pytest.mark.timeout(120 + 6 * RUNS)
def test_the_drive_and_a_dictionary_agree(demo_directory, tmp_path):
    agree(demo_directory, tmp_path / "home", 1)
