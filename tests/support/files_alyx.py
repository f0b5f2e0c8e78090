"""An Alyx with one session whose files are where the test says: for addresses that no honest database would hold."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

from small_alyx import SCHEMA, identifiers, resource, small_alyx

SESSION = "data/lab/Subjects/S1/2024-01-02/001"
PRETENDED = Path(__file__).parent / "pretended"


@contextlib.contextmanager
def files_alyx(port=0):
    """A running one; give it files with :func:`show`. Mount it with ``TOKEN``."""
    with small_alyx(port) as alyx:
        sessions = resource("sessions", "id", "django", "lab", "subject")
        more = {**resource("labs", "name"), **resource("notes", "id"), **sessions}
        alyx.schema = {**SCHEMA, "paths": {**SCHEMA["paths"], **more}}
        alyx.lookups["labs"] = "name"
        alyx.put("labs", [{"name": "lab"}])
        show(alyx, {})
        yield alyx


TOKEN = {"ALYXFS_TOKEN": "good"}


def show(alyx, files):
    """Let the session have these files: from name to address, or to fields of the dataset (``data_url``, …)."""
    session = {"id": identifiers(1)[0], "lab": "lab", "subject": "S1", "start_time": "2024-01-02T10:00:00", "number": 1}
    alyx.put("sessions", [session])
    described = (
        {"id": identity, "name": name, **(file if isinstance(file, dict) else {"data_url": file})}
        for identity, (name, file) in zip(identifiers(len(files), seed=1), sorted(files.items()), strict=True)
    )
    related = [
        {"collection": "", "revision": "", "file_size": 10, "hash": "", "qc": "NOT_SET", "default_revision": "True"}
        | file
        for file in described
    ]
    alyx.details["sessions", session["id"]] = session | {"data_dataset_session_related": related}
    for dataset in related:
        alyx.details["datasets", dataset["id"]] = dataset | {"file_records": dataset.get("file_records", [])}


def md5(content):
    return hashlib.md5(content).hexdigest()


def pretended_network(log, names, routes):
    """The environment of a process that is in another internet; see ``pretended/sitecustomize.py``."""
    log.touch()
    return {
        "PYTHONPATH": str(PRETENDED),
        "PRETENDED_NAMES": json.dumps(names),
        "PRETENDED_ROUTES": json.dumps(routes),
        "PRETENDED_LOG": str(log),
    }
