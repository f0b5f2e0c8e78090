"""The address of a data file follows from its lab's repository: no request of the API, also while the API is away."""

from __future__ import annotations

import errno
import os

import pytest

from asking import Asking
from fault_server import FaultServer, File
from files_alyx import SESSION, TOKEN, files_alyx, show
from mounted import failure_of_reading, mounted

FILES = (
    "KS001/2023-01-02/001/alf/probe00/pykilosort/spikes.times.npy",
    "KS001/2023-01-03/001/alf/_ibl_wheel.position.npy",
    "KS003/2023-03-04/001/raw_ephys_data/signal.kb1.npy",
)
"""Of three sessions; many of the demo's files are only records."""
FOLDER = "data/cortexlab/Subjects"


def asked(demo):
    return [entry["path"] for entry in demo.requests() if not entry["path"].startswith("/data_files")]


def heads(drive):
    return [(drive / FOLDER / path).read_bytes()[:100] for path in FILES]


@pytest.fixture(scope="module")
def contents(shared_drive):
    """The first bytes of each."""
    return heads(shared_drive)


def test_files_of_many_sessions_cost_no_request_of_the_api(demo, contents, home):
    with mounted(demo.url, home) as drive:
        assert list((drive / "data/cortexlab/Subjects").iterdir())
        assert list((drive / "data").iterdir())
        demo.clear_requests()
        assert heads(drive) == contents
        assert asked(demo) == []


def test_a_lab_without_such_a_repository_is_asked_about_its_sessions(fresh_demo, contents, home):
    Asking(fresh_demo.url).send("PATCH", "/labs/cortexlab", {"repositories": ["aws_cortexlab", "cortexlab_SR"]})
    with mounted(fresh_demo.url, home) as drive:
        assert heads(drive) == contents
        assert len([path for path in asked(fresh_demo) if path.startswith("/sessions/")]) == len(FILES)


def test_a_file_that_was_deleted_before_its_address_was_asked_for_is_told_as_gone(fresh_demo, home):
    asking = Asking(fresh_demo.url)
    asking.send("PATCH", "/labs/cortexlab", {"repositories": ["aws_cortexlab", "cortexlab_SR"]})
    with mounted(fresh_demo.url, home) as drive:
        path = drive / FOLDER / FILES[1]
        dataset = os.getxattr(path, "user.alyx.dataset").decode()
        asking.send("DELETE", f"/datasets/{dataset}")
        with pytest.raises(FileNotFoundError):
            path.read_bytes()
        told = f"The dataset {dataset} ({path.name}) is no longer in its session."
        assert told in (drive / ".alyxfs/errors.log").read_text()


def test_a_dataset_whose_own_record_is_odd_costs_that_file_alone(home):
    content = b"0123456789"
    with FaultServer({"good": File(content)}) as server, files_alyx() as alyx:
        show(alyx, {"odd": {"data_url": None}, "good": server.url("good")})
        (odd,) = (key for kind, key in alyx.details if kind == "datasets" and alyx.details[kind, key]["name"] == "odd")
        alyx.details["datasets", odd] |= {"collection": ["no text"]}
        with mounted(alyx.url, home, **TOKEN) as drive:
            assert failure_of_reading(drive / SESSION / "odd") == errno.EIO
            told = f"The record of the dataset {odd} cannot be used: its collection is \"['no text']\"."
            assert os.getxattr(drive / SESSION / "odd", "user.alyx.error").decode() == told
            assert (drive / SESSION / "good").read_bytes() == content


def test_what_lies_elsewhere_than_it_should_is_found_by_its_record(fresh_demo, contents, home):
    """The lab says that another server has its files, which has none of them."""
    asking = Asking(fresh_demo.url)
    right = asking.get("/data-repository/flatiron_cortexlab")
    wrong = {**right, "name": "flatiron_moved", "data_url": right["data_url"].replace("cortexlab", "moved")}
    asking.send("POST", "/data-repository", wrong)
    asking.send("PATCH", "/labs/cortexlab", {"repositories": ["flatiron_moved"]})
    with mounted(fresh_demo.url, home) as drive:
        assert heads(drive) == contents
        assert any("/moved/" in path["path"] for path in fresh_demo.requests())
