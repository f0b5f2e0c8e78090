"""A small Alyx whose sessions list the benchmark's files: one lab for each way to the file server.

It speaks Alyx's API (schema, labs, sessions, pages) and is asked over HTTP like any other, so the drive finds these
files as it finds all others: the sessions of a lab, the datasets of a session, their sizes, hashes and addresses.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, Any

from benchmarks.datafiles import hashes
from small_alyx import resource, small_alyx

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.server import FileServer
    from small_alyx import SmallAlyx

SUBJECT = "KS001"
DAY = "2024-05-06"
SCHEMA = {
    "openapi": "3.0.3",
    "paths": {
        **resource("labs", "name", "name"),
        **resource("subjects", "nickname", "nickname", "lab"),
        **resource("sessions", "id", "subject", "lab", "django"),
        **resource("datasets", "id", "session", "django"),
        **resource("revisions", "name"),
        "/auth-token": {"post": {}},
    },
}
TOKEN = "good"
"""The one that the small Alyx takes."""


@contextlib.contextmanager
def running_library(server: FileServer) -> Iterator[str]:
    """The address of an Alyx that lists all files of the server, for as long as the block lasts."""
    with running_alyx(server) as alyx:
        yield alyx.url


@contextlib.contextmanager
def running_alyx(server: FileServer) -> Iterator[SmallAlyx]:
    """The same Alyx itself: what it was asked can be counted."""
    with small_alyx() as alyx:
        alyx.schema = SCHEMA
        alyx.lookups["labs"] = "name"
        ways = server.addresses
        alyx.put("labs", [{"name": way, "subjects": [SUBJECT]} for way in ways])
        alyx.put("subjects", [])
        alyx.put("datasets", [])
        alyx.put("revisions", [])
        sessions = [_session(way) for way in ways]
        alyx.put("sessions", sessions)
        for session in sessions:
            datasets = _datasets(server.root, session["lab"], ways[session["lab"]])
            alyx.details["sessions", session["id"]] = {**session, "data_dataset_session_related": datasets}
        yield alyx


def place(way: str) -> str:
    """The directory of the files in the drive."""
    return f"data/{way}/Subjects/{SUBJECT}/{DAY}/001"


def _session(way: str) -> dict[str, Any]:
    identity = str(uuid.uuid5(uuid.NAMESPACE_URL, way))
    return {"id": identity, "lab": way, "subject": SUBJECT, "start_time": f"{DAY}T10:00:00", "number": 1}


def _datasets(root: Path, way: str, address: str) -> list[dict[str, Any]]:
    """One dataset a file, with its MD5 as real ones have: the drive checks what it has read, peers do not."""
    found = []
    for relative, digest in hashes(root).items():
        collection, _, name = relative.rpartition("/")
        found.append(
            {
                "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{way}/{relative}")),
                "name": name,
                "collection": collection,
                "revision": None,
                "data_url": address + relative,
                "file_size": (root / relative).stat().st_size,
                "hash": digest,
                "default_revision": "True",
                "qc": "NOT_SET",
            }
        )
    return found
