"""The drive of a dry run shows what one that sends its writes shows, step by step, and its server sees no write.

ALYXFS_DRY_RUN_STEPS asks for more steps than the few of the short form, ALYXFS_DRY_RUN_SEED for others.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack

import pytest

from alyxfs.demo.server import running_demo
from same_steps import Pair, unchanged
from writing import writing

STEPS = int(os.environ.get("ALYXFS_DRY_RUN_STEPS", "16"))
SEED = int(os.environ.get("ALYXFS_DRY_RUN_SEED", "1"))
COMPARED_EVERY = 8
MANY = ("--deletes-per-minute", "100000")


@pytest.mark.timeout(120 + 20 * STEPS)
def test_a_dry_run_shows_what_would_be(changing, demo_directory, tmp_path):
    with ExitStack() as stack:
        rooms = []
        for name, option in (("dry", "--dry-run"), ("real", "--no-dry-run")):
            shutil.copytree(demo_directory, tmp_path / name)
            demo = stack.enter_context(running_demo(tmp_path / name, largest_file_mb=2, control=True, fresh=False))
            rooms.append(stack.enter_context(writing(demo, tmp_path / f"home-{name}", option, *MANY)))
        (database,) = (tmp_path / "dry").rglob("*.sqlite3")
        pair = Pair(*rooms, SEED)
        with unchanged(database):
            pair.begin()
            for number in range(1, STEPS + 1):
                pair.step()
                if number % COMPARED_EVERY == 0 or number == STEPS:
                    pair.compare()
            assert rooms[0].writes() == []
        assert rooms[1].writes() != []
        states = {entry["state"] for entry in rooms[0].log()}
        assert "proposed" in states
        assert states <= {"proposed", "refused", "conflict"}
