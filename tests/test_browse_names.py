"""Odd names: each listed once, readable where the server can give it, and none leads out of the drive."""

from __future__ import annotations

import json
import os

import pytest

from alyxfs import names
from asking import Asking

ODD = ["..", ".hidden01", "a b", "a#b", "50%", "Zo\u00eb", "Zoe\u0308", "L" * 64]


@pytest.mark.parametrize("nickname", ODD)
def test_an_odd_nickname_is_listed_once_and_readable(demo, drive, nickname):
    listed = os.listdir(drive / "subjects")
    name = names.encode(nickname, ".json")
    assert listed.count(name) == 1
    assert json.loads((drive / "subjects" / name).read_bytes())["nickname"] == nickname


@pytest.mark.parametrize("nickname", ODD)
def test_an_odd_nickname_is_found_without_a_listing(demo, drive, nickname):
    path = drive / "subjects" / names.encode(nickname, ".json")
    assert json.loads(path.read_bytes())["nickname"] == nickname


def test_every_listed_subject_opens(demo, drive):
    for name in os.listdir(drive / "subjects"):
        assert json.loads((drive / "subjects" / name).read_bytes())["nickname"]


def test_two_records_with_one_name_both_appear(demo, drive):
    rows = Asking(demo.url).rows("/subjects")
    nicknames = [row["nickname"] for row in rows]
    doubled = next(nickname for nickname in nicknames if nicknames.count(nickname) == 2)
    listed = [name for name in os.listdir(drive / "subjects") if name.startswith(doubled)]
    assert len(listed) == 2
    shown = {json.loads((drive / "subjects" / name).read_bytes())["id"] for name in listed}
    assert shown == {row["id"] for row in rows if row["nickname"] == doubled}


def test_a_project_with_a_slash_is_shown_from_its_row(demo, drive):
    project = next(row for row in Asking(demo.url).rows("/projects") if "/" in row["name"])
    name = names.encode(project["name"], ".json")
    assert name in os.listdir(drive / "projects")
    assert json.loads((drive / "projects" / name).read_bytes()) == project


def test_nothing_in_data_leads_out_of_it(demo, drive):
    for where, folders, files in os.walk(drive / "data"):
        assert not {"", ".", ".."} & {*folders, *files}
        assert os.path.realpath(where).startswith(str(drive / "data"))
        if where.count("/") - str(drive.path).count("/") >= 5:
            folders.clear()


def test_endpoints_without_a_list_are_entered_by_name_and_those_without_a_detail_give_their_rows(demo, drive):
    assert os.listdir(drive / "water-requirement") == []
    nickname = next(row["nickname"] for row in Asking(demo.url).rows("/subjects") if row["nickname"].isalnum())
    shown = json.loads((drive / "water-requirement" / f"{nickname}.json").read_bytes())
    assert shown["subject"] == nickname
    procedures = [json.loads((drive / "procedures" / name).read_bytes()) for name in os.listdir(drive / "procedures")]
    key = json.dumps
    assert sorted(procedures, key=key) == sorted(Asking(demo.url).rows("/procedures"), key=key)
    assert not {"docs", "auth-token", "api", "cache.zip", "uploaded"} & set(os.listdir(drive.path))


def test_inode_numbers_are_the_same_at_every_mount(demo, drive, tmp_path):
    from mounted import mounted

    here = {entry.name: entry.inode() for entry in os.scandir(drive / "labs")}
    with mounted(demo.url, tmp_path / "other") as other:
        assert {entry.name: entry.inode() for entry in os.scandir(other / "labs")} == here
    assert len(set(here.values())) == len(here)
