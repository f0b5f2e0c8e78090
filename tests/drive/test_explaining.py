"""`alyxfs explain`: the way to a path, name by name, and why it ends where it does."""

from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

from alyxfs.cli import commands

SUBJECT = "data/cortexlab/Subjects/KS001"
SESSION = f"{SUBJECT}/2023-01-02/001"
WHEEL = f"{SESSION}/alf/_ibl_wheel.position.npy"
RECORDING = f"{SESSION}/raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec.ap"


def explained(path):
    result = CliRunner().invoke(commands, ["explain", str(path)])
    assert result.exception is None, result.exception
    return result.output.splitlines()


@pytest.mark.parametrize(
    ("path", "last"),
    [
        ("", "The root of the drive: "),
        ("labs", "labs: an endpoint of the API; a record is <name>.json"),
        ("labs/cortexlab.json", "cortexlab.json: the record cortexlab of labs, as the API gives it."),
        ("sessions/lab=cortexlab/number=1", "by lab=cortexlab and number=1."),
        ("projects/users=demo", "users=demo: a query: the records of projects that the drive selects by users=demo."),
        ("subjects/KS001", "KS001: a link to ../data/cortexlab/Subjects/KS001."),
        ("releases", "releases: a directory for each dataset tag"),
        ("as-of/2024-01-31", "2024-01-31: made by the drive itself."),
        ("data/sessions.pqt", "sessions.pqt: a table of all sessions or datasets"),
        (SUBJECT, "KS001: a directory of data files, as the database says."),
        (f"{RECORDING}.bin", "inflated as it is read, from _spikeglx_ephysData_g0_t0.imec.ap.cbin and"),
        (".alyxfs", ".alyxfs: made by the drive itself."),
        ("labs/.help.md", ".help.md: a file of this drive, not of the server."),
        ("sessions/laboratory=x", "Did you mean lab=x?"),
        ("sessions/labs=x", "Did you mean lab=x"),
        ("data/cortexlab/Subjects/KS01", "Did you mean KS001"),
        ("labs/nobody.json", "nobody.json: not there. "),
        ("labs/cortexlab.json/x", "x: not there, as what stands before it is a file and no directory."),
    ],
)
def test_each_kind_of_name_is_told(shared_drive, path, last):
    lines = explained(shared_drive / path)
    assert len(lines) >= max(1, path.count("/") + 1)
    assert any(last in line for line in lines[-2:]), lines


def test_a_data_file_is_told_with_its_dataset_through_a_link_too(shared_drive):
    (shared_drive / WHEEL).read_bytes()
    dataset, session = (os.getxattr(shared_drive / WHEEL, f"user.alyx.{name}").decode() for name in ("id", "session"))
    lines = explained(shared_drive / "sessions" / session / "alf" / "_ibl_wheel.position.npy")
    assert lines[1] == f"{session}: a link to ../{SESSION}."
    assert f"001: the files of the session {session}." in lines
    assert lines[-1].startswith(f"_ibl_wheel.position.npy: the dataset {dataset}, 1.0 MiB, of which 100% are here, not")
    assert f"read from {os.getxattr(shared_drive / WHEEL, 'user.alyx.url').decode()}" in lines[-1]


def test_an_unknown_filter_is_told_by_the_endpoint_itself(shared_drive):
    assert not (shared_drive / "sessions" / "laboratory=x").exists()
    told = os.getxattr(shared_drive / "sessions", "user.alyx.error").decode()
    assert told.startswith("sessions has no filter 'laboratory'; it has: ")
    assert f"The last error: {told}" in explained(shared_drive / "sessions")
    assert not (shared_drive / "sessions" / "nobody.json").exists()
    assert os.getxattr(shared_drive / "sessions", "user.alyx.error").decode() == told
