"""Why a path of the drive is what it is, or is not: the way to it, name by name."""

from __future__ import annotations

import difflib
import itertools
import posixpath
from typing import TYPE_CHECKING, Any

from humanize import naturalsize

from alyxfs import errors
from alyxfs.tree.actions import REQUEST, ActionDirectory
from alyxfs.tree.as_of import AsOfDirectory
from alyxfs.tree.datafile import DataFileNode
from alyxfs.tree.endpoint import EndpointDirectory
from alyxfs.tree.file_tree import DataFolder, SessionDirectory
from alyxfs.tree.inflated import InflatedNode
from alyxfs.tree.node import Directory, Link, Node
from alyxfs.tree.one_tables import TableFile
from alyxfs.tree.only import OnlyDirectory
from alyxfs.tree.record import RecordFile
from alyxfs.tree.releases import ReleasesDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alyxfs.tree.drive import Drive

MOST_NAMES = 2000
"""Of a directory that are compared with one that is not there."""
MOST_LINKS = 20
"""On one way."""


async def explain(drive: Drive, path: str) -> list[str]:
    """A sentence for each name on the way to a path of the drive; the last one says why it ends where it does.

    Links are followed where names come behind them. Asks the server what a program would that opens the path.
    """
    parts = [part for part in path.split("/") if part not in {"", "."}]
    node: Node = drive.root
    way: list[str] = []
    sentences = [] if parts else ["The root of the drive: the endpoints of the API, and data/ for their files."]
    links = 0
    while parts:
        if isinstance(node, Link):
            links += 1
            if links > MOST_LINKS:
                return [*sentences, "There are too many links on this way."]
            parts = [*posixpath.normpath("/".join([*way[:-1], node.target])).split("/"), *parts]
            node, way = drive.root, []
        name = parts.pop(0)
        way.append(name)
        if not isinstance(node, Directory):
            return [*sentences, f"{name}: not there, as what stands before it is a file and no directory."]
        try:
            found = await node.lookup(name)
        except errors.AlyxfsError as error:
            return [*sentences, f"{name}: {_of_failure(error)} {error}", *await _alike(node, name)]
        node = found
        sentences.append(f"{name}: {await _what(node)}")
    return sentences


def _of_failure(error: errors.AlyxfsError) -> str:
    return "not there." if isinstance(error, errors.NotFound) else "cannot be looked up now."


async def _alike(directory: Directory, name: str) -> Sequence[str]:
    """What somebody may have meant: filters of an endpoint, or the names of a directory that is not long."""
    if isinstance(directory, EndpointDirectory):
        begin, sign, value = name.partition("=")
        known = directory.endpoint.filters or directory.endpoint.fields
        close = [each for each in known if begin.startswith(each)] or difflib.get_close_matches(begin, known, 3)
        found = [f"{each}={value}" for each in close] if sign and begin not in known else []
    else:
        entries = await directory.entries()
        names: list[str] = []
        position = 0
        while len(names) < MOST_NAMES and entries.ready(position) and (entry := await entries.at(position)):
            names.append(entry[0])
            position = entry[2]
        found = difflib.get_close_matches(name, names, 3)
    return [f"Did you mean {' or '.join(found)}?"] if found else []


async def _what(node: Node) -> str:
    node = node.whole if isinstance(node, OnlyDirectory) else node
    if isinstance(node, DataFileNode):
        return await _of_file(node)
    return next(sentence(node) for kind, sentence in _SENTENCES if isinstance(node, kind))


def _of_recording(node: InflatedNode) -> str:
    recording, header = node.made_of
    return f"a recording that is inflated as it is read, from {recording.file.name} and {header.file.name}."


def _of_endpoint(node: EndpointDirectory) -> str:
    endpoint = node.endpoint
    if not node.query:
        records = f"a record is <{endpoint.lookup}>.json" if endpoint.lookup else "its records have no address"
        return f"an endpoint of the API; {records}, and its filters stand in {endpoint.name}/.help.md."
    conditions = " and ".join(itertools.starmap("{}={}".format, node.query))
    who = "the server" if endpoint.filters else "the drive"
    return f"a query: the records of {endpoint.name} that {who} selects by {conditions}."


async def _of_file(node: DataFileNode) -> str:
    about = await node.extended_attributes()
    size = f"{naturalsize(node.attributes().size, binary=True)}, " if node.knows_size else ""
    kept = "pinned" if about["pinned"] == "yes" else "not pinned"
    sentences = [f"the dataset {node.file.identity}, {size}of which {about['cached']} are here, {kept}"]
    sentences.append(
        f"read from {about['url']}" if about.get("url") else "whose address is asked for when it is opened"
    )
    failure = node.files.unavailable.get(node.file.identity)
    remark = about.get("remark") or (str(failure) if failure else "")
    return f"{', '.join(sentences)}.{' ' if remark else ''}{remark}"


_SENTENCES: tuple[tuple[type[Node], Callable[[Any], str]], ...] = (
    (Link, lambda node: f"a link to {node.target}."),
    (RecordFile, lambda node: f"the record {node.key} of {node.endpoint_name}, as the API gives it."),
    (EndpointDirectory, _of_endpoint),
    (ActionDirectory, lambda _: f"an address of the API that takes what is written to {REQUEST}."),
    (InflatedNode, _of_recording),
    (SessionDirectory, lambda node: f"the files of the session {node.place.identity}."),
    (ReleasesDirectory, lambda _: "a directory for each dataset tag, with the data of a paper."),
    (AsOfDirectory, lambda _: "a directory for each date that is entered, with the last revisions before it."),
    (TableFile, lambda _: "a table of all sessions or datasets, as the server made it or lists them."),
    (DataFolder, lambda _: "a directory of data files, as the database says."),
    (Directory, lambda _: "made by the drive itself."),
    (Node, lambda _: "a file of this drive, not of the server."),
)
"""What a node is, by its kind; a kind stands before those that it is one of."""
