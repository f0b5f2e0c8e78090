"""Data files of the demo that a fault server has, with whatever the test wants its database to say of them."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from asking import Asking
from fault_server import File

if TYPE_CHECKING:
    from fault_server import FaultServer

_numbers = itertools.count(1)

SAME = object()
"""What is true of the content."""


@dataclass
class Served:
    """One data file."""

    place: str
    """Below the drive."""
    key: str
    """In ``FaultServer.files``."""
    identity: str
    """The dataset's UUID."""


class ServedFiles:
    """Adds data files to one session of a demo that the test may change."""

    def __init__(self, demo_url: str, server: FaultServer) -> None:
        self.asking = Asking(demo_url)
        self._server = server
        self._collection = f"served{next(_numbers)}"
        sessions = self.asking.rows("/sessions")
        self._session = next(row for row in sessions if row["subject"] == "KS001" and row["number"] and row["lab"])
        name = f"fault_server_{self._collection}"
        repository = {"name": name, "data_url": server.url(""), "globus_is_personal": False}
        self._repository = self.asking.send("POST", "/data-repository", repository)["name"]

    def add(self, name: str, content: bytes, *, size=SAME, digest=SAME, **file: object) -> Served:
        """Serve this content, and have the database say ``size`` (bytes) and ``digest`` of it."""
        session = self._session
        dataset = {
            "name": name,
            "dataset_type": "spikes.times",
            "collection": self._collection,
            "session": session["url"],
            "file_size": len(content) if size is SAME else size,
        }
        if digest is not None:
            dataset["hash"] = hashlib.md5(content).hexdigest() if digest is SAME else digest
        made = self.asking.send("POST", "/datasets", dataset)
        path = f"{session['subject']}/{session['start_time'][:10]}/{session['number']:03d}/{self._collection}/{name}"
        record = {"dataset": made["url"], "data_repository": self._repository, "relative_path": path, "exists": True}
        self.asking.send("POST", "/files", record)
        identity = made["url"].rsplit("/", 1)[-1]
        address = self.asking.get(f"/datasets/{identity}")["file_records"][0]["data_url"]
        key = unquote(urlsplit(address).path.lstrip("/"))
        self._server.files[key] = File(content, **file)
        return Served(Asking.place(session, dataset | {"revision": None}), key, identity)
