"""``alyxfs report``: a manifest as a page that people read, and as a plain table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alyxfs import crate, errors
from alyxfs.cli.drives import ask_drive
from alyxfs.cli.listed_files import drives_of, read_manifest
from alyxfs.cli.printing import say
from alyxfs.cli.report_page import Report, page
from alyxfs.cli.trace import facts_of
from alyxfs.private_files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RUN, PROGRAM = "#run", "#alyxfs"
"""What a manifest tells of the command, and of the drive."""
KINDS = frozenset({"file", "record", "other"})


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Where the page is written.")
@click.option("--tsv", type=click.Path(path_type=Path, dir_okay=False), help="Where a plain table is written.")
def report(manifest: Path, html: Path | None, tsv: Path | None) -> None:
    """Show what a MANIFEST of `alyxfs trace` says, as one page that needs no network, or as a plain table.

    Where a drive of the server is mounted, the server is asked for types and tags of the datasets: a request a session.
    """
    if html is None and tsv is None:
        raise click.UsageError("report takes --html FILE, --tsv FILE, or both.")
    try:
        text = manifest.read_bytes()
    except OSError as error:
        raise errors.ConfigurationError(f"{manifest} cannot be read: {error.strerror}.") from error
    read = read_manifest(text, str(manifest), KINDS)
    tags: dict[str, Mapping[str, Any]] = {}
    labs: dict[str, Mapping[str, Any]] = {}
    remarks: list[str] = []
    for server in dict.fromkeys(server for server, _ in read):
        try:
            tags[server], labs[server] = _asked(server, [one for of, one in read if of == server])
        except errors.AlyxfsError as error:
            remarks.append(f"Not everything was asked for: {error}")
    if html is not None:
        run = _run_of(json.loads(text))
        write_whole(html, page(Report(str(manifest), run, read, tags, labs, remarks)).encode("utf-8", "replace"))
    if tsv is not None:
        write_whole(tsv, crate.table(map(_with_times, read)).encode("utf-8", "replace"))
    for remark in remarks:
        say(f"alyxfs: {remark}", err=True)
    say(f"{len(read):,} files and records: {' and '.join(str(path) for path in (html, tsv) if path)}")


def _asked(server: str, read: Sequence[dict[str, Any]]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Note type and tags of the files in ``read``; returned are the server's tags and labs, by name."""
    place = drives_of({server})[server]
    files = [one for one in read if one["kind"] == "file"]
    facts = facts_of(place, files)
    for one in files:
        one.update(facts.get(str(one.get("dataset")), {}))
    tags = ask_drive(place, "documents", endpoint="tags") if any(one.get("tags") for one in files) else {}
    return tags, ask_drive(place, "documents", endpoint="labs")


def _run_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest tells of the command, without the beginnings of our terms."""
    found: dict[str, Any] = {}
    for name in (PROGRAM, RUN):
        for entity in document["@graph"]:
            if entity.get("@id") == name:
                found |= {key.removeprefix("alyxfs:"): value for key, value in entity.items()}
    return found


def _with_times(read: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    server, one = read
    return server, {**one, "first": one.get("firstRead"), "last": one.get("lastRead")}
