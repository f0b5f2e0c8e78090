"""What the drive parses by its own code is fed with anything: no exception but those of the domain.

``ALYXFS_FUZZ=3600`` gives each parser so many seconds; the usual form gives each half a second.
"""

from __future__ import annotations

import io
import json
import random
import re
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trio
import trio.testing
from hypothesis import strategies as st

from alyxfs import errors, file_names, json_text
from alyxfs import settings as options
from alyxfs.alyx import refusals, rest
from alyxfs.alyx.credentials import find_account
from alyxfs.alyx.datasets import fields, layout
from alyxfs.alyx.datasets.cache_archive import convert_tables, unpack_tables
from alyxfs.alyx.datasets.cache_tables import TablesUnusableError
from alyxfs.alyx.identities import identity_of
from alyxfs.alyx.metadata import rows
from alyxfs.alyx.schema.read import read_schema
from alyxfs.cli.change_table import table_in
from alyxfs.edits.cells import changes_in
from alyxfs.edits.merge import same_after_saving
from alyxfs.files.mtscomp import inflate, parse_header
from alyxfs.files.prefetch import formats
from alyxfs.files.transfer.response import judge
from alyxfs.net import Answer, Network, RateLimit, origin_of, retry_after
from alyxfs.net.connections import Dialer
from alyxfs.tasks import background_tasks
from alyxfs.tree.describe import help_document, schema_document
from alyxfs.tree.endpoint import split_query
from alyxfs.tree.local_query import is_selected
from fuzzing import CHANCE, JSON, ODD, SCALARS, SECONDS, damaged, fuzz
from lying_proxy import change_document, damage_bytes, damage_wire
from small_alyx import CORE_API, SCHEMA, identifiers

RECORDINGS = Path(__file__).parents[1] / "recordings"
SESSIONS = read_schema(json.loads((RECORDINGS / "openapi.json").read_text())).endpoints["sessions"]


# Tables and their cells


@fuzz(damaged(b'id,json,number\nx,"{""a"": 1}",3\ny,null,\n', b"\xef\xbb\xbfid;b\r\nx;1\r\n", b'a\t"b\nc"\n1\t2\n'))
def test_tables_of_changes(content):
    with suppress(errors.Invalid):
        table = table_in(content, "changes.csv")
        assert all(len(row) == len(table.columns) for row in table.rows.values())
        with suppress(errors.Invalid):
            table.refuse_bad_keys(table.columns[0])
        for number in table.rows:
            with suppress(errors.Invalid):
                json_text.compact(changes_in(SESSIONS, table.cells(number)))


@fuzz(
    st.dictionaries(
        st.sampled_from(["json", "number", "projects", "narrative", "start_time", "qc", "x"]), st.text() | ODD.map(str)
    )
)
def test_cells_of_changes(cells):
    with suppress(errors.Invalid):
        assert changes_in(SESSIONS, cells).keys() <= cells.keys()


# Texts and names


@fuzz(st.text() | ODD.map(str))
def test_names_of_files(name):
    for suffix in ("", ".json"):
        encoded = file_names.encode(name, suffix)
        assert 0 < len(encoded.encode()) <= file_names.MAXIMUM_BYTES
        assert "/" not in encoded
        assert "\0" not in encoded
        assert encoded not in {".", ".."}
        if "~" not in encoded:
            assert file_names.decode(encoded.removesuffix(suffix)) == name
    decoded = file_names.decode(name)
    assert decoded is None or file_names.encode(decoded) == name


@fuzz(damaged(b'{"a": [1, {"b": "\\ud800 \\\\ [["}], "c": 1e999}', b"[" * 300, b"[NaN, 12345678901234567890123, -1]"))
def test_json(text):
    try:
        document = json_text.decode(text, 10**7)
    except ValueError:
        return
    for again in (json_text.render(document), json_text.compact(document)):
        assert repr(json_text.decode(again)) == repr(document)


@fuzz(JSON)
def test_any_document_can_be_written(document):
    json.loads(json_text.render(document))
    json.loads(json_text.compact(document))


# Answers


class Wire:
    """A connection whose other end says this, in pieces."""

    def __init__(self, said: bytes, piece: int):
        self._said, self._piece = said, piece

    async def read(self, most, _=None):
        await trio.lowlevel.checkpoint()
        part, self._said = self._said[: min(most, self._piece)], self._said[min(most, self._piece) :]
        return part

    async def read_into(self, buffer, _=None):
        part = await self.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    async def write(self, buffer, _=None):
        await trio.lowlevel.checkpoint()

    async def aclose(self):
        await trio.lowlevel.checkpoint()

    def has_ended(self, *, is_sure=False):
        return True


HEADS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: application/json\r\n\r\n[1,2]",
    b"HTTP/1.1 206 X\r\nContent-Range: bytes 0-4/100\r\nContent-Length: 5\r\n\r\n12345",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 X\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 429 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nabc",
    b"HTTP/1.1 204 X\r\n\r\n",
    b"HTTP/1.1 400 X\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\n[",
]
WIRES = st.tuples(CHANCE, st.sampled_from(HEADS), st.booleans()).map(
    lambda drawn: damage_wire(drawn[0], drawn[1]) if drawn[2] else damage_bytes(drawn[0], drawn[1])
) | st.sampled_from(HEADS)


@fuzz(st.tuples(WIRES, st.sampled_from([1, 7, 10**6]), st.booleans()))
def test_heads_and_bodies_of_answers(monkeypatch, drawn):
    said, piece, streams = drawn

    async def dial(*_):
        await trio.lowlevel.checkpoint()
        return Wire(said, piece)

    # A server would take a connection for each of these thousands of answers, and real time for each pause.
    monkeypatch.setattr(Dialer, "dial", dial)

    async def ask():
        async with background_tasks() as tasks:
            network = Network(tasks, deadline=5)
            network.origin("http://alyx.example", RateLimit())
            with suppress(errors.AlyxfsError):
                if streams:
                    async with network.stream("http://alyx.example/x", deadline=5) as answer:
                        judge(answer.status, answer.headers, "http://alyx.example/x", 0, None)
                        async for _ in answer.chunks:
                            pass
                else:
                    answer = await network.request("GET", "http://alyx.example/x")
                    refusals.refuse(answer, "GET", "http://alyx.example/x")
            await network.origin("http://alyx.example").transport.aclose()

    trio.run(ask, clock=trio.testing.MockClock(autojump_threshold=0))


BODIES = [
    b'{"detail": "No.", "status_code": 404}',
    b'{"lab": ["No.", {"x": "Never"}], "status_code": 400}',
    b"<html><style>a<b</style><![CDATA[x]]><h1>Oh &amp; &#99999999; dear",
    b"<![foo bar]]><!doctype",
]
HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30)


@fuzz(st.tuples(damaged(*BODIES), st.sampled_from(["application/json", "text/html", ""]), st.integers(400, 599)))
def test_words_of_refusals(drawn):
    body, kind, status = drawn
    answer = Answer(status, httpx.Headers({"content-type": kind}), body, "http://alyx.example/x")
    assert len(refusals.server_words(answer)) <= 500
    with pytest.raises(errors.AlyxfsError):
        refusals.refuse(answer, "GET", "http://alyx.example/x")


NUMBER_TEXT = st.integers().map(str) | st.sampled_from(["9" * 5000, "\u0663", "1e9", "-0", "0x1"])
RANGES = st.tuples(NUMBER_TEXT, NUMBER_TEXT, NUMBER_TEXT | st.just("*")).map(
    lambda drawn: "bytes {}-{}/{}".format(*drawn)
)


@fuzz(st.tuples(st.sampled_from([200, 206, 404, 416, 429, 500]), RANGES | HEADER_TEXT, NUMBER_TEXT, HEADER_TEXT))
def test_headers_of_data_files(drawn):
    status, content_range, length, other = drawn
    headers = {"content-range": content_range, "content-length": length, "etag": other, "content-encoding": "identity"}
    with suppress(errors.AlyxfsError):
        judge(status, headers, "http://x/y", 0, None)
    assert (retry_after({"retry-after": other}) or 0) >= 0
    assert (retry_after({"retry-after": length}) or 0) >= 0


@fuzz(st.text() | ODD.map(str))
def test_addresses(text):
    with suppress(errors.AlyxfsError):
        origin_of(text)
    assert isinstance(layout.address_on_the_wire(text), str)
    record = {"url": text, "id": text}
    identity_of(record)
    fields.address(text)


# Records


ENDPOINTS = read_schema(SCHEMA).endpoints


@fuzz(
    st.dictionaries(st.sampled_from(["id", "url", "nickname", "name", "lab", "subject", "date_time"]), SCALARS | JSON)
)
def test_rows(row):
    for endpoint in ENDPOINTS.values():
        identity = rows.identity_of(endpoint, row)
        key = rows.key_of(endpoint, row, identity)
        assert isinstance(identity, str)
        assert key is None or file_names.encode(key, ".json")
        rows.modified_of("notes", row)
    is_selected(row, (("lab", "x"), ("name", "null")))


DATASET = {
    "id": "a-1",
    "url": "http://x/datasets/a-1",
    "name": "x.npy",
    "collection": "alf/probe00",
    "revision": "2024",
    "file_size": 5,
    "hash": "0" * 32,
    "qc": "PASS",
    "default_dataset": True,
    "default_revision": "True",
    "session": "http://x/sessions/b-1",
    "data_url": "http://x/#2024#/y.npy",
    "exists": True,
    "file_records": [{"exists": True, "data_url": "http://x/y.npy", "data_repository": "aws", "relative_path": "a/b"}],
}
CHANGED_DATASETS = CHANCE.map(lambda chance: change_document(chance, json.loads(json.dumps(DATASET))))


@fuzz(st.tuples(st.lists(CHANGED_DATASETS | JSON, max_size=4) | JSON, CHANGED_DATASETS))
def test_datasets_and_where_they_stand(drawn):
    related, dataset = drawn
    files, odd = layout.files_of_session({"data_dataset_session_related": related}, {})
    assert all(isinstance(sentence, str) for sentence in odd)
    if isinstance(dataset, dict):
        try:
            files = [*files, layout.file_of_dataset(dataset)]
        except fields.OddRecordError:
            pass
        else:
            layout.aggregate_file(dataset, files[-1])
            fields.is_offered(dataset, ())
    for path, folder in layout.by_folder(files).items():
        assert len(path) <= fields.MOST_FOLDERS + 1
        for file in folder.files:
            assert file.size is None or 0 <= file.size < 2**63
            assert re.fullmatch(r"[0-9A-Za-z-]+", file.identity)
            file_names.encode(file.name)


@fuzz(st.tuples(JSON, JSON, st.sampled_from(["json", "content_type", "x"])))
def test_values_after_saving(drawn):
    sent, answered, field = drawn
    assert same_after_saving(sent, sent, field=field)
    same_after_saving(sent, answered, field=field)


@fuzz(st.tuples(SCALARS, SCALARS, SCALARS, SCALARS))
def test_places_of_sessions(drawn):
    place = layout.session_place("id", *drawn)
    if place is not None:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", place.date)
        assert re.fullmatch(r"\d{3,6}", place.number)
        assert isinstance(place.start, float)


@fuzz(st.tuples(st.text(), st.text(), st.integers(), st.integers()))
def test_queries(drawn):
    name, value, limit, offset = drawn
    filter_name, text = split_query(f"{name}={value}")
    filters = ((filter_name, text), ("django", value), ("django", name))
    assert rest.query_of(filters, limit, offset).isascii()


OPENAPI = json.loads((RECORDINGS / "openapi.json").read_bytes())
SMALL_SCHEMAS = [SCHEMA, CORE_API, {"paths": dict(list(OPENAPI["paths"].items())[:8]), "components": {}}]
CHANGED_SCHEMAS = st.tuples(CHANCE, st.sampled_from(SMALL_SCHEMAS)).map(
    lambda drawn: change_document(drawn[0], json.loads(json.dumps(drawn[1])))
)


@fuzz(
    CHANGED_SCHEMAS
    | JSON
    | st.dictionaries(st.just("paths"), st.dictionaries(st.sampled_from(["/x", "/x/{id}"]), JSON))
)
def test_schemas(document):
    try:
        found = read_schema(document)
    except errors.ServerFault:
        return
    for name, endpoint in found.endpoints.items():
        assert file_names.encode(name) == name
        json_text.render(schema_document(endpoint))
        help_document(endpoint)


# Files


def npy(shape, **more):
    target = io.BytesIO()
    np.save(target, np.zeros(shape, **more))
    return target.getvalue()[:256]


@fuzz(st.tuples(damaged(npy((300, 4)), npy((5,), dtype="<M8[s]"), npy(()), npy((0, 9))), st.integers(-1, 2**70)))
def test_headers_of_arrays(drawn):
    beginning, size = drawn
    parts = formats.rows(beginning, max(0, size))
    if parts is not None and size < 2**62:
        parts.levelled(5)
        parts.place(5)


RAW = np.arange(60, dtype="<i2").reshape(20, 3)
CHUNKS = [zlib.compress(np.diff(RAW[a:b], axis=0, prepend=0).astype("<i2").T.tobytes()) for a, b in ((0, 10), (10, 20))]
CH = {
    "version": "1.0",
    "algorithm": "zlib",
    "n_channels": 3,
    "dtype": "int16",
    "chunk_order": "F",
    "do_time_diff": True,
    "do_spatial_diff": False,
    "chunk_bounds": [0, 10, 20],
    "sample_rate": 10.0,
    "chunk_offsets": [0, len(CHUNKS[0]), len(CHUNKS[0]) + len(CHUNKS[1])],
}
CHANGED_HEADERS = CHANCE.map(lambda chance: json.dumps(change_document(chance, json.loads(json.dumps(CH)))).encode())


@fuzz(
    st.tuples(CHANGED_HEADERS | damaged(json.dumps(CH).encode()) | st.just(json.dumps(CH).encode()), damaged(*CHUNKS))
)
def test_compressed_recordings(drawn):
    text, compressed = drawn
    formats.chunks(text)
    with suppress(errors.ServerFault):
        header = parse_header(text, "x.ch")
        if header.size < 10**7:
            inflate(header, 0, compressed, "x.cbin")


# Tables


def parquet_tables():
    ids = identifiers(50)
    days = pa.array([19000] * 50, pa.date32())
    sessions = pa.table({"id": ids, "lab": ["l"] * 50, "subject": ["s"] * 50, "date": days, "number": [1] * 50})
    datasets = pa.table({"eid": ids, "id": ids, "rel_path": ["alf/x.npy"] * 50, "file_size": [1] * 50,
                         "hash": ["0" * 32] * 50, "default_revision": [True] * 50, "qc": ["PASS"] * 50})  # fmt: skip
    for table in (sessions, datasets):
        sink = io.BytesIO()
        pq.write_table(table, sink)
        yield sink.getvalue()


def zipped():
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in zip(("sessions.pqt", "datasets.pqt"), parquet_tables(), strict=True):
            archive.writestr(name, content)
        archive.writestr("cache_info.json", '{"date_created": "2024-06-01 12:00"}')
    return target.getvalue()


@fuzz(damaged(zipped()))
def test_archives(tmp_path, content):
    for old in tmp_path.iterdir():
        old.unlink()
    (tmp_path / "cache.zip").write_bytes(content)
    with suppress(TablesUnusableError):
        unpack_tables(tmp_path / "cache.zip", tmp_path)


@pytest.mark.parametrize("number", range(max(4, int(SECONDS))))
def test_tables(tmp_path, number):
    chance = random.Random(number)
    for name, content in zip(("sessions.pqt", "datasets.pqt"), parquet_tables(), strict=True):
        (tmp_path / name).write_bytes(damage_bytes(chance, content) if chance.random() < 0.7 else content)
    with suppress(TablesUnusableError):
        trio.run(convert_tables, tmp_path)


# The user's own files


@fuzz(st.tuples(JSON, st.dictionaries(st.sampled_from(["ALYXFS_TOKEN", "ALYXFS_USER", "ALYXFS_PASSWORD"]), st.text())))
def test_credentials(tmp_path, drawn):
    document, environment = drawn
    (tmp_path / ".one").mkdir(exist_ok=True)
    (tmp_path / ".one" / ".alyx.example").write_text(json.dumps(document))
    (tmp_path / "tokens.json").write_text(json.dumps({"https://alyx.example": document}))
    with suppress(errors.ConfigurationError):
        find_account("https://alyx.example", environment=environment, home=tmp_path, directory=tmp_path)


@fuzz(damaged(b'deadline = 5.0\nrw = true\n[server."https://x"]\nwatch = nan\n', b"a = " + b"[" * 2000, b"server = 5"))
def test_settings(tmp_path, content):
    (tmp_path / "settings.toml").write_bytes(content)
    with suppress(errors.ConfigurationError):
        options.load("https://x", {}, tmp_path / "settings.toml").times_to_live()
