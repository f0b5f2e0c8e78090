"""Odd names: each listed once, readable where the server can give it, and none leads out of the drive."""

from __future__ import annotations

import json
import os

import pytest

from alyxfs import file_names
from asking import Asking
from mounted import mounted

ODD = ["..", ".hidden01", "a b", "a#b", "50%", "Zo\u00eb", "Zoe\u0308", "L" * 64]


@pytest.mark.parametrize("nickname", ODD)
def test_an_odd_nickname_is_listed_once_and_readable(demo, shared_drive, nickname):
    listed = os.listdir(shared_drive / "subjects")
    name = file_names.encode(nickname, ".json")
    assert listed.count(name) == 1
    assert json.loads((shared_drive / "subjects" / name).read_bytes())["nickname"] == nickname


@pytest.fixture(scope="module")
def fresh_drive(demo, tmp_path_factory):
    """A drive whose subjects nobody lists."""
    with mounted(demo.url, tmp_path_factory.mktemp("fresh") / "home") as drive:
        yield drive


@pytest.mark.parametrize("nickname", ODD)
def test_an_odd_nickname_is_found_without_a_listing(demo, fresh_drive, nickname):
    path = fresh_drive / "subjects" / file_names.encode(nickname, ".json")
    assert json.loads(path.read_bytes())["nickname"] == nickname


def test_every_listed_subject_opens(demo, shared_drive):
    for name in os.listdir(shared_drive / "subjects"):
        assert json.loads((shared_drive / "subjects" / name).read_bytes())["nickname"]


def test_two_records_with_one_name_both_appear(demo, shared_drive):
    rows = Asking(demo.url).rows("/subjects")
    nicknames = [row["nickname"] for row in rows]
    doubled = next(nickname for nickname in nicknames if nicknames.count(nickname) == 2)
    listed = [name for name in os.listdir(shared_drive / "subjects") if name.startswith(doubled)]
    assert len(listed) == 2
    shown = {json.loads((shared_drive / "subjects" / name).read_bytes())["id"] for name in listed}
    assert shown == {row["id"] for row in rows if row["nickname"] == doubled}


def test_a_project_with_a_slash_is_shown_from_its_row(demo, shared_drive):
    project = next(row for row in Asking(demo.url).rows("/projects") if "/" in row["name"])
    name = file_names.encode(project["name"], ".json")
    assert name in os.listdir(shared_drive / "projects")
    assert json.loads((shared_drive / "projects" / name).read_bytes()) == project


def test_nothing_in_data_leads_out_of_it(demo, shared_drive):
    for where, folders, files in os.walk(shared_drive / "data"):
        assert not {"", ".", ".."} & {*folders, *files}
        assert os.path.realpath(where).startswith(str(shared_drive / "data"))
        if where.count("/") - str(shared_drive.path).count("/") >= 5:
            folders.clear()


def test_endpoints_without_a_list_are_entered_by_name_and_those_without_a_detail_give_their_rows(demo, shared_drive):
    assert os.listdir(shared_drive / "water-requirement") == []
    nickname = next(row["nickname"] for row in Asking(demo.url).rows("/subjects") if row["nickname"].isalnum())
    shown = json.loads((shared_drive / "water-requirement" / f"{nickname}.json").read_bytes())
    assert shown["subject"] == nickname
    procedures = [
        json.loads((shared_drive / "procedures" / name).read_bytes())
        for name in os.listdir(shared_drive / "procedures")
    ]
    key = json.dumps
    assert sorted(procedures, key=key) == sorted(Asking(demo.url).rows("/procedures"), key=key)
    assert not {"docs", "auth-token", "api", "cache.zip", "uploaded"} & set(os.listdir(shared_drive.path))


def test_inode_numbers_are_the_same_at_every_mount(demo, shared_drive, tmp_path):
    from mounted import mounted

    here = {entry.name: entry.inode() for entry in os.scandir(shared_drive / "labs")}
    with mounted(demo.url, tmp_path / "other") as other:
        assert {entry.name: entry.inode() for entry in os.scandir(other / "labs")} == here
    assert len(set(here.values())) == len(here)


@pytest.mark.parametrize(("lab", "nickname"), [("cortexlab", "50%"), ("harborlab", "100%25")])
def test_a_subject_is_entered_by_the_name_that_the_server_and_one_give_it(demo, fresh_drive, lab, nickname):
    subjects = fresh_drive / "data" / lab / "Subjects"
    shown = file_names.encode(nickname)
    assert os.listdir(subjects / nickname) == os.listdir(subjects / shown) != []
    assert not os.path.lexists(subjects / f"{nickname}%")
    assert os.path.samefile(fresh_drive / "subjects" / shown, subjects / nickname)


def test_a_link_has_the_server_s_own_name_too(demo, fresh_drive):
    assert os.path.samefile(fresh_drive / "subjects/50%", fresh_drive / "data/cortexlab/Subjects/50%25")
