"""What the drive reads of its own files, and what commands and options say, is fed with anything, as in test_parsers.

A disk that fails, a process that was killed and a person with an editor are no less inventive than a server.
"""

from __future__ import annotations

import json
import random
import shutil
import socket
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

import click
import httpx
import pytest
from hypothesis import strategies as st

from alyxfs import errors
from alyxfs.cli import journal as journal_commands
from alyxfs.edits.journal import Journal, State
from alyxfs.files.disk import block_file, pins
from alyxfs.files.disk.kept_values import KeptValues
from alyxfs.files.disk.known_sizes import KnownSizes
from alyxfs.files.extents import LARGEST
from alyxfs.files.source import Source
from alyxfs.files.transfer.response import NotTheFile, refuse_page
from alyxfs.mount import server_address
from alyxfs.net import networks_of
from alyxfs.net.proxies import proxies_of
from alyxfs.store import Store
from fuzzing import CHANCE, JSON, ODD, damaged, fuzz
from lying_proxy import damage_bytes

if TYPE_CHECKING:
    from pathlib import Path

SERVER = "http://alyx.example"


def made_anew(folder: Path, *sound: Path) -> Path:
    """An empty folder with copies of these."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in sound:
        shutil.copy(path, folder)
    return folder


# Databases


@pytest.fixture(scope="module")
def journal_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "journal.sqlite"
    journal = Journal(path)
    for number in range(20):
        entered = journal.prepare(
            SERVER, "save", "labs", f"x{number}", "PATCH", draft=b"{}", before={"a": [number] * 99}
        )
        journal.mark_sent(entered, {"a": 1}, {"a": 0})
        journal.record(entered, State.DONE, status=200, after={"a": 1}, answer=None)
    journal.close()
    return path


@fuzz(CHANCE)
def test_journals(tmp_path, journal_file, chance):
    path = made_anew(tmp_path / "journal", journal_file) / "journal.sqlite"
    path.write_bytes(damage_bytes(chance, path.read_bytes()))
    journal = None
    with suppress(errors.AlyxfsError):
        journal = Journal(path)
        for entry in journal.entries():
            with suppress(errors.AlyxfsError):
                journal.entry(entry.number)
        journal.interrupted(SERVER)
        journal.prepare(SERVER, "save", "labs", "x", "PATCH")
    if journal is not None:
        journal.close()


@fuzz(st.tuples(st.integers(1, 20), st.sampled_from(["before", "draft", "request", "answer", "after"]), st.binary()))
def test_rows_of_a_journal(tmp_path, journal_file, drawn):
    number, column, content = drawn
    path = made_anew(tmp_path / "journal", journal_file) / "journal.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE documents SET {column} = ? WHERE number = ?", (content, number))
    connection.close()
    journal = Journal(path)
    try:
        with suppress(errors.AlyxfsError):
            journal.entry(number)
    finally:
        journal.close()


@pytest.fixture(scope="module")
def store_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "known.sqlite"
    store = Store(path)
    store.put_document("schema", b'{"a": 1}')
    store.close()
    return path


@fuzz(CHANCE)
def test_stores(tmp_path, store_file, chance):
    path = made_anew(tmp_path / "store", store_file) / "known.sqlite"
    path.write_bytes(damage_bytes(chance, path.read_bytes()))
    store = Store(path)
    try:
        store.document("schema")
        store.put_document("schema", b"{}")
    finally:
        store.close()


# Files of the cache


def sound_block_file(directory: Path) -> bytes:
    path = directory / "blocks-1" / "ab" / "cd"
    made = block_file.create(
        path, "id", "version", block_file.Fingerprint(100_000, '"e"', None), block_file.Verdict.UNKNOWN
    )
    made.write([memoryview(b"x" * 65536)], 0)
    made.record([(0, 2)])
    made.close()
    return path.read_bytes()


@fuzz(st.tuples(CHANCE, JSON, st.booleans()))
def test_files_of_the_cache(tmp_path, drawn):
    chance, document, is_header = drawn
    shutil.rmtree(tmp_path / "blocks-1", ignore_errors=True)
    content = sound_block_file(tmp_path)
    if is_header:
        fields = {"identity": "id", "version": "version", "size": document, "etag": None, "last_modified": None}
        header = block_file.MAGIC + json.dumps(fields if chance.random() < 0.8 else document).encode()
        content = (
            header[: block_file.VERDICT_OFFSET].ljust(block_file.VERDICT_OFFSET) + content[block_file.VERDICT_OFFSET :]
        )
    else:
        content = damage_bytes(chance, content)
    path = tmp_path / "blocks-1" / "ab" / "cd"
    path.write_bytes(content)
    share, _ = block_file.look(path, "version")
    assert 0 <= share <= 1
    found = block_file.open_existing(path, "version")
    if found is not None:
        assert len(found.read(0, 1000)) <= 1000
        found.close()


@fuzz(
    damaged(b'{"size": 5, "pinned_at": 1.5, "server": "x", "path": "y", "local": []}', b"[" * 5000)
    | JSON.map(json.dumps)
)
def test_pins(tmp_path, content):
    folder = tmp_path / pins.PINNED / "ab"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cd").write_bytes(content.encode() if isinstance(content, str) else content)
    assert all(isinstance(size, int) for size in pins.sizes(tmp_path))
    pins.kept(tmp_path)


@fuzz(damaged(b"id\tversion\t5\n", b"id\tversion\t" + b"9" * 5000, b"id\tversion\t1099511627777\n"))
def test_sizes_that_were_learned(tmp_path, content):
    (tmp_path / "sizes").write_bytes(content)
    size = KnownSizes(tmp_path / "sizes").get("id", "version", None)
    assert size is None or 0 <= size <= LARGEST
    KeptValues(tmp_path / "sizes", names=1).get("id")


# Commands to a drive

COMMANDS = ["refresh", "pin", "unpin", "pinned", "pins", "log", "diff", "undo", "allow-deletes", "", "x"]
ARGUMENTS = ["path", "paths", "number", "last", "since", "record", "states"]
COMMAND = st.fixed_dictionaries({"command": st.sampled_from(COMMANDS) | JSON}).flatmap(
    lambda command: st.dictionaries(st.sampled_from(ARGUMENTS), JSON).map(lambda more: {**more, **command})
)
LINES = (COMMAND | JSON).map(lambda value: json.dumps(value).encode()) | damaged(b'{"command": "pins"}', b"[" * 5000)


@fuzz(LINES)
def test_commands_to_a_drive(shared_drive, line):
    status = json.loads((shared_drive / ".alyxfs/status.json").read_bytes())
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(status["control_socket"])
        connection.sendall(line.replace(b"\n", b" ") + b"\n")
        with connection.makefile("rb") as stream:
            answer = json.loads(stream.readline())
    assert answer.keys() in ({"result"}, {"error"}, {"error", "kind"}), answer
    assert answer.get("kind") != "Defect", answer
    after = json.loads((shared_drive / ".alyxfs/status.json").read_bytes())
    assert after["defects"] == status["defects"], after["last_defect"]


# Options and headers


@fuzz(st.text() | ODD.map(str))
def test_options(text):
    with suppress(errors.ConfigurationError):
        server_address(text)
    with suppress(errors.ConfigurationError):
        networks_of(text)
    with suppress(errors.ConfigurationError):
        proxies_of({"https_proxy": text, "no_proxy": text})
    with suppress(click.BadParameter):
        journal_commands._since(None, None, text)


@fuzz(st.from_regex(r"[0-9]{1,400}[mhdw]|[0-9]{1,5}-[0-9]{2}-[0-9]{2}(T[0-9:]{0,9})?", fullmatch=True))
def test_times(text):
    with suppress(click.BadParameter):
        assert isinstance(journal_commands._since(None, None, text), float)


@fuzz(st.tuples(st.text(max_size=50), st.text("0123456789-/* bytes", max_size=30), st.sampled_from([200, 206])))
def test_types_of_content(drawn):
    kind, content_range, status = drawn
    headers = httpx.Headers({"content-type": kind.encode("utf-8", "replace"), "content-range": content_range})
    source = Source("id", "x.npy", "http://x/y.npy", random.choice([None, 5]), None, "1")
    with suppress(NotTheFile):
        refuse_page(status, headers, "http://x/y.npy", source)
