"""A writable drive of a user who may only read, or whose log-in is refused, says so where people look."""

from __future__ import annotations

import json

from mounted import run_alyxfs
from writing import writing


def test_the_drive_says_that_its_user_may_only_read(changing, home):
    user = {"ALYXFS_USER": changing.public_user, "ALYXFS_PASSWORD": changing.public_password}
    with writing(changing, home, **user) as room:
        assert "this user only read" in room.errors()
        assert json.loads((room.drive / ".alyxfs" / "status.json").read_text())["may_only_read"] is True


def test_mount_says_so_in_its_answer(changing, home):
    user = {"ALYXFS_USER": changing.public_user, "ALYXFS_PASSWORD": changing.public_password}
    done = run_alyxfs(home, "mount", "--rw", changing.url, str(home / "drive"), **user)
    try:
        assert done.returncode == 0, done.stderr
        assert "this user only read" in done.stdout + done.stderr
    finally:
        run_alyxfs(home, "umount", str(home / "drive"))


def test_nothing_is_said_to_a_user_who_may_write(changing, home):
    with writing(changing, home) as room:
        assert room.errors() == ""
        assert json.loads((room.drive / ".alyxfs" / "status.json").read_text())["may_only_read"] is False
