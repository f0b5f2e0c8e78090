"""Where a drive keeps things on a disk without locks: in a folder that no other drive has, while there are some."""

from __future__ import annotations

import errno
from contextlib import ExitStack

import pytest

from alyxfs import cache_place, claims, errors
from poor_disk import poor_disk

SERVER = "https://alyx.example.org"


def test_where_all_folders_are_taken_a_drive_is_refused_and_one_that_ends_makes_room(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_place, "MOST_ALONE", 3)  # a hundred take as many files on a slow disk
    with poor_disk(tmp_path / "source", tmp_path / "disk", errno.ENOLCK) as disk:
        directory = disk.path / "cache"
        first = directory / "servers" / cache_place.folder_name(SERVER)

        def mounted():
            return cache_place.cache_place(directory, SERVER, lambda: None)

        with ExitStack() as others:
            places = [others.enter_context(mounted())[0].server for _ in range(2)]
            with mounted() as (last, _):
                places.append(last.server)
                assert [place.name for place in places] == [first.name, f"{first.name}-2", f"{first.name}-3"]
                assert "has no locks" in last.remark
                with pytest.raises(errors.ConfigurationError) as refusal, mounted():
                    pass
                assert str(refusal.value) == f"{first} and 2 more like it are in use: unmount some drives."
                for place in places:
                    with pytest.raises(claims.Claimed), claims.claimed(place):
                        pass
            with mounted() as (again, _):
                assert again.server == last.server
