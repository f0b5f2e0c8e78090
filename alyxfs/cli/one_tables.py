"""``sessions.pqt`` and ``datasets.pqt`` of a directory of the user's own, from which ONE in local mode starts."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
from typing import TYPE_CHECKING, Any

from alyxfs.alyx.datasets.one_form import DATASETS, METADATA, ORIGIN, QC, SESSIONS, metadata_of, schema_of, write_table
from alyxfs.drive_paths import below_data
from alyxfs.private_files import open_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def add_to_tables(target: Path, root: Path, files: Iterable[Mapping[str, Any]]) -> str:
    """Enter copies of a drive's files (see DataFileNode.description) in the tables of the directory they are in.

    Returns a sentence where some cannot be entered, else nothing. A session costs a request, for its protocol and
    projects, unless it is in the tables.
    """
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415 - an extra
    except ImportError:
        return 'ONE\'s tables were not made, which needs pyarrow: pip install "alyxfs[tables]", and call it again.'
    sessions, datasets = _read(target / "sessions.pqt"), _read(target / "datasets.pqt")
    if sessions is None or datasets is None:
        return f"The tables in {target} are not of `alyxfs fetch` and were left as they are."
    left_out = 0
    for file in files:
        place = _session_of(file)
        if place is None:
            left_out += 1
            continue
        identity = place["id"]
        if identity not in sessions:
            sessions[identity] = place | _told_of_session(root, identity)
        datasets[file["dataset"]] = {
            "eid": identity,
            "id": file["dataset"],
            "rel_path": _below_data(file).split("/", 5)[5],
            "file_size": file["size"],
            "hash": file["hash"],
            "exists": True,
            "qc": file["qc"] if file["qc"] in QC else QC[0],
            "default_revision": file["is_default"],
        }
    if datasets:
        _write(target, sessions, datasets)
    return (
        f"{left_out:,} of the files are of no session by ONE's rules, and so not in ONE's tables." if left_out else ""
    )


def _session_of(file: Mapping[str, Any]) -> dict[str, Any] | None:
    """The session by its path (lab/Subjects/subject/date/number/…); None where ONE knows no such path."""
    parts = _below_data(file).split("/", 5)
    if file["session"] is None or len(parts) < 6 or not parts[4].isdigit():  # noqa: PLR2004 - see above
        return None
    lab, _, subject, date, number, _ = parts
    when = dt.date.fromisoformat(date)
    return {"id": file["session"], "lab": lab, "subject": subject, "date": when, "number": int(number)}


def _below_data(file: Mapping[str, Any]) -> str:
    path: str = file["path"]
    return below_data(path) or path


def _told_of_session(root: Path, identity: str) -> dict[str, str]:
    record: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):  # a session without these two is found all the same
        record = json.loads((root / "sessions" / f"{identity}.json").read_bytes())
    projects = record.get("projects") or ()
    return {"task_protocol": str(record.get("task_protocol") or ""), "projects": ",".join(map(str, projects))}


def _read(path: Path) -> dict[str, dict[str, Any]] | None:
    """The rows by their ids, none where there is no table; None where it is not ours."""
    from pyarrow import parquet  # noqa: PLC0415 - an extra

    if not path.exists():
        return {}
    try:
        table = parquet.read_table(path)
        is_ours = json.loads(table.schema.metadata[METADATA])["origin"] == ORIGIN
    except (KeyError, TypeError, ValueError):  # ArrowInvalid is one of these
        return None
    return {row["id"]: row for row in table.to_pylist()} if is_ours else None


def _write(target: Path, sessions: Mapping[str, Any], datasets: Mapping[str, Any]) -> None:
    metadata = metadata_of(dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d %H:%M"))
    for name, columns, rows in (("sessions", SESSIONS, sessions), ("datasets", DATASETS, datasets)):
        scratch = target / f".{name}.pqt.new"
        descriptor = open_file(scratch, os.O_WRONLY | os.O_TRUNC)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor has no path
            values = {each: [row[each] for row in rows.values()] for each in columns}
            write_table(file, schema_of(columns, metadata), [values])
        scratch.replace(target / f"{name}.pqt")
