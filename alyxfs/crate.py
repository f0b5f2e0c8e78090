"""The manifest of what was read, in the terms of RO-Crate 1.1, and of PROV where they fit; ours begin with ``alyxfs:``.

Specified in https://www.researchobject.org/ro-crate/specification/1.1 and https://www.w3.org/TR/prov-o.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from alyxfs import __version__
from alyxfs.visible_text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
PROFILE = "https://w3id.org/ro/crate/1.1"
OUR_TERMS = "urn:alyxfs:"
PROV_TERMS = "http://www.w3.org/ns/prov#"
LICENCE = "Alyx tells no licence: whoever publishes the data says under which they are."
COLUMNS = ("kind", "path", "server", "dataset", "hash", "size", "revision", "type", "tags", "bytes", "first", "last")
"""Of the plain table."""

Read = tuple[str, "Mapping[str, Any]"]
"""The server, and what ``tree/manifest.py:read_of`` says, with ``bytes`` read and Unix seconds ``first`` and
``last``; maybe with the dataset's ``type`` and ``tags``."""


@dataclass(frozen=True)
class Run:
    """What has read."""

    name: str
    """The command, or another description in words."""
    began: float
    """Unix seconds."""
    ended: float
    exit_code: int | None = None
    """None where it is not known, or not yet."""
    is_active: bool = False
    """Whether it goes on."""
    left_out: int = 0
    """How many times something was opened that had no room here."""


def manifest(run: Run, found: Sequence[Read]) -> dict[str, Any]:
    """The document."""
    entities: dict[str, dict[str, Any]] = {}
    for server, one in found:
        entity = _entity(server, one)
        if entity["@id"] in entities:  # it changed while it was read
            entity["@id"] += f"#{_quoted(one.get('hash'))}"
        entities[entity["@id"]] = entity
    names = [{"@id": name} for name in entities]
    return {
        "@context": [CONTEXT, {"alyxfs": OUR_TERMS, "prov": PROV_TERMS}],
        "@graph": [
            {
                "@id": "ro-crate-metadata.json",
                "@type": "CreativeWork",
                "about": {"@id": "./"},
                "conformsTo": {"@id": PROFILE},
            },
            {
                "@id": "./",
                "@type": "Dataset",
                "name": "What a command has read",
                "description": f"The data files and records that were read from a drive of alyxfs by: {run.name}",
                "datePublished": moment(run.ended),
                "license": {"@id": "#licence"},
                "hasPart": names,
                "mentions": {"@id": "#run"},
            },
            {"@id": "#licence", "@type": "CreativeWork", "name": "Not told", "description": LICENCE},
            _action(run, names),
            {
                "@id": "#alyxfs",
                "@type": "SoftwareApplication",
                "name": "alyxfs",
                "softwareVersion": __version__,
                "operatingSystem": platform.platform(),
                "runtimePlatform": f"Python {platform.python_version()}",
            },
            *entities.values(),
        ],
    }


def _action(run: Run, names: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    status = "Active" if run.is_active else "Failed" if run.exit_code else "Completed"
    return {
        "@id": "#run",
        "@type": ["CreateAction", "prov:Activity"],
        "name": run.name,
        "startTime": moment(run.began),
        "endTime": moment(run.ended),
        "actionStatus": {"@id": f"http://schema.org/{status}ActionStatus"},
        "alyxfs:exitCode": run.exit_code,
        "alyxfs:leftOut": run.left_out,
        "instrument": {"@id": "#alyxfs"},
        "object": names,
        "prov:used": names,
    }


def _entity(server: str, one: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {"file": ("datasets", one.get("dataset")), "record": (one.get("endpoint"), one.get("id"))}
    endpoint, identity = kinds.get(one["kind"], (None, None))
    within = f"/{endpoint}/{_quoted(identity)}" if endpoint else f"#{_quoted(one['path'])}"
    size = {} if one["size"] is None else {"contentSize": str(one["size"])}
    return {
        "@id": f"{server}{within}",
        "@type": ["File", "prov:Entity"],
        "name": str(one["path"]).rpartition("/")[2],
        **size,
        "alyxfs:server": server,
        "alyxfs:firstRead": moment(one["first"]),
        "alyxfs:lastRead": moment(one["last"]),
        **{f"alyxfs:{name}": value for name, value in one.items() if name not in {"first", "last"}},
        **({"alyxfs:tags": one.get("tags")} if one["kind"] == "file" else {}),
    }


def _quoted(value: object) -> str:
    return quote(str(value), errors="replace")


def table(found: Iterable[Read]) -> str:
    """The same as a plain table: tabs between the columns, a line for each file and record."""
    lines = ["\t".join(COLUMNS)]
    for server, one in found:
        values = {
            **one,
            "server": server,
            "dataset": one.get("dataset") or one.get("id"),
            "tags": ", ".join(map(str, one.get("tags") or ())),
        }
        lines.append("\t".join(one_line(_told(values.get(column))) for column in COLUMNS))
    return "".join(f"{line}\n" for line in lines)


def _told(value: object) -> str:
    return moment(value) if isinstance(value, float) else "" if value is None else str(value)


def moment(seconds: float) -> str:
    """Unix seconds as a date and a time in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
