"""The cases of hostile servers: by kind, from name to a function of the world (``hostile_world.py``)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from fault_server import CONTRADICTIONS, FAULTS
from hostile_addresses import ODD, REFUSED
from hostile_deeds import (
    bucket,
    dataset_with,
    file_answers,
    file_at,
    file_content,
    file_is_led,
    file_leads_to,
    file_server_with,
    list_answers,
    merged,
    picture_at,
    picture_content,
    pinned,
    raw,
    read_answers,
    read_is_led,
    read_is_refused,
    record_named,
    recording,
    undone,
    write_answers,
    write_is_led,
)
from hostile_tables import BODIES, BUCKETS, HEADERS, NAMES, SIZES, VALUES, WORDS
from hostile_world import CONTENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hostile_world import World

    Case = Callable[[World], object]

PLACES = REFUSED | ODD
STATUSES = (301, 302, 303, 307, 308)
LED = {
    "to another host": ["http://other.example.org:{other}/good"],
    "to the Alyx": ["http://alyx.example.org:{alyx}/projects/p"],
    "to the Alyx over another": ["http://other.example.org:{other}/1", "http://alyx.example.org:{alyx}/projects/p"],
    "to itself": ["http://files.example.org:{files}/0"],
    "in a circle": ["http://other.example.org:{other}/1", "http://files.example.org:{files}/0"],
    "from http to https": ["https://secure.example.org:{secure}/good"],
    "from https to http": ["https://secure.example.org:{secure}/1", "http://files.example.org:{files}/good"],
    "from https to http elsewhere": ["https://secure.example.org:{secure}/1", "http://other.example.org:{other}/good"],
    "there and back": ["http://other.example.org:{other}/1", "http://files.example.org:{files}/good"],
    "seven times": [
        f"http://{host}.example.org:{{other}}/{number}"
        for number, host in enumerate([*["other", "third"] * 3, "other"], 1)
    ],
    "to a user": ["http://user:secret@other.example.org:{other}/good"],
    "to this machine over another": ["http://other.example.org:{other}/1", "http://127.0.0.1:{port}/x"],
}  # fmt: skip
RECORDINGS = {
    "a bomb": {"n_channels": 1000, "chunk_bounds": [0, 10**9]},
    "a chunk of a gigabyte": {"chunk_bounds": [0, 10], "chunk_offsets": [0, 10**9]},
    "a million chunks": {"chunk_bounds": list(range(999_999)), "chunk_offsets": list(range(999_999))},
    "lists in lists": {"chunk_bounds": [[[]]] * 300_000},
    "an object": {"dtype": "O"},
    "many items in one": {"dtype": "(1000000000,)i2"},
    "a structure": {"dtype": [["a", "i2"], ["b", "O"]]},
    "another version": {"version": [1] * 9999},
}
"""Headers of compressed recordings."""
ANSWERS = (None, "x", [], {"text": 5}, {"id": "../x"})
WRITTEN = [(status, value) for status in (200, 201, 204, 400, 403, 404, 409, 500) for value in ANSWERS]


def _led_elsewhere() -> Iterator[tuple[str, str, Case]]:
    """Kind, name and function of the cases of addresses."""
    for name, address in PLACES.items():
        yield "addresses of files", name, partial(file_at, address)
        yield "where files lead", name, partial(file_leads_to, 302, address)
        yield "addresses of pictures", name, partial(picture_at, f"{address}.png")
        yield "where the API leads", name, partial(read_is_led, 302, [address])
    for name, chain in LED.items():
        for status in STATUSES:
            yield "redirects of files", f"{status} {name}", partial(file_is_led, status, chain)
        yield "redirects of the API", f"read {name}", partial(read_is_led, 307, chain)
        yield "redirects of the API", f"write {name}", partial(write_is_led, 307, chain)
    for number, repository in enumerate(BUCKETS):
        yield "buckets", f"{number} {repository}", partial(bucket, repository)


def _answered_oddly() -> Iterator[tuple[str, str, Case]]:
    """Of headers and bodies."""
    for number, (name, value) in enumerate(HEADERS):
        title, length = f"{number} {name}: {value}", name != "Content-Length"
        usual = [("Content-Range", "bytes 0-9/10"), ("Content-Type", "application/json")]
        sent = [*(pair for pair in usual if pair[0] != name), (name, value)]
        yield "headers of files", title, partial(file_answers, raw(206, CONTENT, *sent, length=length))
        yield "headers of the API", title, partial(read_answers, raw(200, b'{"id": 1}', *sent[1:], length=length))
    for name, body in BODIES.items():
        yield "bodies of files", name, partial(file_content, body, "x.bin", None)
        yield "bodies of files", f"{name}, an array", partial(file_content, body, "x.npy", "application/octet-stream")
        yield "bodies of files", f"{name}, a recording", partial(file_content, body, "x.ch", None)
        yield "bodies of files", f"{name}, whole", partial(file_answers, raw(200, body))
        yield "pictures", name, partial(picture_content, body)
        yield "bodies of the API", name, partial(read_answers, raw(200, body, ("Content-Type", "application/json")))
        yield "bodies of the API", f"{name}, as a list", partial(list_answers, raw(200, body))
    for fault in FAULTS:
        yield "faults of file servers", fault, partial(file_server_with, faults={fault: 1.0})
    for contradiction in CONTRADICTIONS:
        yield "faults of file servers", contradiction, partial(file_server_with, contradiction=contradiction)
    for number, words in enumerate(WORDS):
        yield "words", f"{number} {words}", partial(read_is_refused, words, (400, 403, 404, 500)[number % 4])


def _recorded_oddly() -> Iterator[tuple[str, str, Case]]:
    """Of what stands in records and in headers of recordings."""
    for number, size in enumerate(SIZES):
        yield "sizes", f"{number} {size}", partial(dataset_with, {"file_size": size})
        yield "pins", f"{number} {size}", partial(pinned, {"file_size": size})
        yield "recordings", f"{number} {size} channels", partial(recording, {"n_channels": size})
        for field in ("chunk_bounds", "chunk_offsets"):
            yield "recordings", f"{number} {field} to {size}", partial(recording, {field: [0, size]})
    for name, fields in RECORDINGS.items():
        yield "recordings", name, partial(recording, fields)
    for number, name in enumerate(NAMES):
        title = f"{number} {name!r}"
        yield "names of records", title, partial(record_named, name)
        yield "names of files", title, partial(dataset_with, {"name": name})
        yield "names of folders", title, partial(dataset_with, {"collection": name, "revision": name})
    for number, value in enumerate(VALUES):
        title = f"{number} {value!r}"
        yield "merges", title, partial(merged, value)
        yield "undoes", title, partial(undone, value)
        yield "datasets", title, partial(dataset_with, dict.fromkeys(("id", "hash", "qc", "default_revision"), value))
    for status, value in WRITTEN:
        yield "answers to writes", f"{status} {value}", partial(write_answers, (status, value))


CASES: dict[str, dict[str, Case]] = {}
for _kind, _name, _case in (*_led_elsewhere(), *_answered_oddly(), *_recorded_oddly()):
    assert _name[:100] not in CASES.setdefault(_kind, {}), (_kind, _name)
    CASES[_kind][_name[:100]] = _case


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([*VALUES, *SIZES])
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
NAME = st.text(min_size=1, max_size=300) | st.text("./%\\#~ \x1b\u202e\n", min_size=1, max_size=20)
ADDRESS = st.lists(
    st.sampled_from(
        [*"ab.-_:/@[]%#?\\ \t0x189\u24d4\u3002", "http", "https", "://", "127.0.0.1", "files.example.org", "{port}"]
    ),
    max_size=12,
).map("".join)
ADDRESSES = ADDRESS | ADDRESS.map("http://{}".format) | ADDRESS.map("https://{}".format)
LATIN = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=60)
DATASET = (
    "id",
    "name",
    "collection",
    "revision",
    "file_size",
    "hash",
    "data_url",
    "default_revision",
    "qc",
    "file_records",
)

MADE: dict[str, tuple[st.SearchStrategy, Callable]] = {
    "names of records": (NAME, record_named),
    "datasets": (st.dictionaries(st.sampled_from(DATASET), ANYTHING), dataset_with),
    "addresses of files": (ADDRESSES, file_at),
    "where files lead": (ADDRESSES, partial(file_leads_to, 302)),
    "where the API leads": (ADDRESSES, lambda address, world: read_is_led(307, [address], world)),
    "answers with headers": (
        st.lists(st.tuples(LATIN, LATIN), max_size=5),
        lambda headers, world: file_answers(raw(206, CONTENT, *headers), world),
    ),
    "heads of answers": (
        st.binary(max_size=300),
        lambda head, world: read_answers(b"HTTP/1.1 200 X\r\n" + head, world),
    ),
    "words": (st.text(), lambda words, world: read_is_refused(words, 400, world)),
    "recordings": (
        st.dictionaries(st.sampled_from(["n_channels", "chunk_bounds", "chunk_offsets", "dtype", "version"]), ANYTHING),
        recording,
    ),
    "buckets": (
        st.dictionaries(
            st.sampled_from(["bucket_name", "region_name", "Access key ID", "Secret access key"]), ANYTHING
        ),
        bucket,
    ),
    "pins": (st.dictionaries(st.sampled_from(DATASET), ANYTHING), pinned),
    "merges": (ANYTHING, merged),
    "undoes": (ANYTHING, undone),
    "answers to writes": (st.tuples(st.integers(200, 599), ANYTHING), write_answers),
}
"""Kinds of which hypothesis makes more: what it draws, and the function of a case."""
