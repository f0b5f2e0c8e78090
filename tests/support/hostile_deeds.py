"""What a hostile Alyx and hostile file servers do to a drive, and what a program does there meanwhile.

Each is a function whose last argument is the world (``hostile_world.py``), which says what none of them may cost.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from fault_server import File
from hostile_world import CONTENT

if TYPE_CHECKING:
    from pathlib import Path

    from hostile_world import World


def raw(status: int, body: bytes = b"", *headers: tuple[str, str], length: bool = True) -> bytes:
    """An answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers)]
    lines += [f"Content-Length: {len(body)}"] if length else []
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass") + body


def says(answer: bytes):
    """The Alyx gives this answer."""
    return lambda connection, _: connection.write(answer)


# Data files


def file_at(address: str, world: World) -> None:
    world.walk(world.show_files({"data_url": world.filled(address)}))


def file_leads_to(status: int, address: str, world: World) -> None:
    world.files.raw["led"] = raw(status, b"", ("Location", world.filled(address)))
    world.walk(world.show_files({"data_url": world.url("files", "led")}))


def file_answers(answer: bytes, world: World, **dataset: object) -> None:
    world.files.raw["odd"] = answer
    world.walk(world.show_files({"data_url": world.url("files", "odd"), **dataset}))


def file_content(content: bytes, name: str, kind: str | None, world: World) -> None:
    world.files.files["odd"] = File(content, kind=kind, etag=None)
    size = {"file_size": len(content), "hash": ""} if name.endswith((".npy", ".ch", ".cbin")) else {}
    world.walk(world.show_files({"data_url": world.url("files", "odd"), "name": name, **size}))


def file_server_with(world: World, **faults: object) -> None:
    for name, value in faults.items():
        setattr(world.files, name, value)
    try:
        world.files.files["any"] = File(CONTENT)
        world.walk(world.show_files({"data_url": world.url("files", "any")}))
    finally:
        world.files.faults, world.files.contradiction = {}, None


def dataset_with(fields: dict, world: World) -> None:
    world.files.files["any"] = File(CONTENT)
    world.walk(world.show_files({"data_url": world.url("files", "any"), **fields}))


# Redirects


def lay(status: int, chain: list[str], world: World) -> str:
    """Let the names 1, 2, … lead on along the chain; returns its first address."""
    filled = [world.filled(address) for address in chain]
    world.files.raw["0"] = raw(status, b"", ("Location", filled[0]))
    for number, address in enumerate(filled[1:], 1):
        for server in (world.files, world.other, world.secure):
            server.raw[str(number)] = raw(status, b"", ("Location", address))
    return filled[0]


def file_is_led(status: int, chain: list[str], world: World) -> None:
    lay(status, chain, world)
    over_https = chain[0].startswith("https") and len(chain) > 1
    first = world.filled(chain[0]) if over_https else world.url("files", "0")
    folder = world.show_files({"data_url": first})
    (path,) = world.walk(folder)
    if over_https:
        told = os.getxattr(path, "user.alyx.error").decode()
        assert "from https to" in told, told
        assert not world.requests()["files"] + world.requests()["other"], "nothing is asked over http"


def read_is_led(status: int, chain: list[str], world: World) -> None:
    first, key = lay(status, chain, world), world.identity()
    world.alyx.instead = {f"/notes/{key}": says(raw(status, b"", ("Location", first))), **world.alyx.instead}
    world.attempt((world.drive / "notes" / f"{key}.json").read_bytes)


def write_is_led(status: int, chain: list[str], world: World) -> None:
    first, key = lay(status, chain, world), world.identity()
    note = world.record("notes", key, {"id": key, "text": "a"})
    world.attempt(note.read_bytes)
    answer = world.alyx.answer

    def lead(method, target, headers, body):
        return answer(method, target, headers, body) if method == "GET" else (status, {"detail": f"See {first}."})

    world.alyx.answer = lead
    try:
        world.attempt(note.write_text, '{"text": "mine"}')
    finally:
        world.alyx.answer = answer
    assert not [each for host in ("files", "other", "secure") for each in world.requests()[host]], "it is sent once"


# Records


def read_answers(answer: bytes, world: World) -> None:
    key = world.identity()
    world.alyx.instead = {f"/notes/{key}": says(answer), **world.alyx.instead}
    world.attempt((world.drive / "notes" / f"{key}.json").read_bytes)


def list_answers(answer: bytes, world: World) -> None:
    world.alyx.instead = {"/tasks": says(answer), **world.alyx.instead}
    names = world.attempt(os.listdir, world.drive / "tasks")
    for name in names[:3] if isinstance(names, list) else ():
        world.attempt((world.drive / "tasks" / name).read_bytes)


def read_is_refused(words: str, status: int, world: World) -> None:
    body = json.dumps({"detail": words, "status_code": status}).encode()
    read_answers(raw(status, body, ("Content-Type", "application/json")), world)
    told = (world.drive / ".alyxfs/errors.log").read_text()
    assert not set(told) & set("\x1b\x07\x9b\u202e\u200b\0\ufeff\r"), "no terminal obeys it"


def record_named(name: str, world: World) -> None:
    world.alyx.put("subjects", [{"nickname": name, "lab": "lab"}])
    names = world.attempt(os.listdir, world.drive / "subjects")
    assert isinstance(names, list)
    for shown in names:
        path = world.drive / "subjects" / shown
        assert path.parent == world.drive / "subjects"
        world.attempt(path.read_bytes)
        link = world.drive / "subjects" / shown.removesuffix(".json")
        target = world.attempt(os.readlink, link)
        if isinstance(target, str):
            inside = os.path.normpath(link.parent / target)
            assert inside.startswith(str(world.drive.path / "data")), "links lead to the data alone"


def picture_at(address: str, world: World) -> None:
    key = world.identity()
    note = world.record("notes", key, {"id": key, "text": "a", "image": world.filled(address)})
    world.attempt(note.read_bytes)
    world.attempt(note.with_suffix(".png").read_bytes)


def picture_content(content: bytes, world: World) -> None:
    world.files.files["picture.png"] = File(content, kind="image/png", etag=None)
    picture_at(world.url("files", "picture.png"), world)


def bucket(repository: object, world: World) -> None:
    name = f"aws_{world.count}"
    world.record("data-repository", name, {"name": name, "json": repository})
    copies = [{"exists": True, "data_url": None, "data_repository": name, "relative_path": "a/b.bin",
               "data_repository_path": "/data"}]  # fmt: skip
    world.walk(world.show_files({"data_url": None, "file_records": copies}))


def recording(fields: dict, world: World) -> None:
    """A compressed recording whose header says anything."""
    header = {
        "version": "1.0",
        "algorithm": "zlib",
        "n_channels": 2,
        "dtype": "int16",
        "chunk_order": "F",
        "do_time_diff": True,
        "do_spatial_diff": False,
        "chunk_bounds": [0, 10],
        "chunk_offsets": [0, 10],
    }
    world.files.files["x.cbin"], world.files.files["x.ch"] = (
        File(CONTENT),
        File(json.dumps(header | fields).encode(), etag=None),
    )
    given = [
        {
            "name": name,
            "data_url": world.url("files", name),
            "file_size": len(world.files.files[name].content),
            "hash": "",
        }
        for name in ("x.cbin", "x.ch")
    ]
    folder = world.show_files(*given)
    names = world.attempt(os.listdir, folder)
    for name in names:
        path = folder / name
        world.attempt(os.stat, path)
        world.attempt(read_beginning, path)


def read_beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1 << 17)


def pinned(fields: dict, world: World) -> None:
    world.files.files["any"] = File(CONTENT)
    folder = world.show_files({"data_url": world.url("files", "any")}, fields)
    world.command("pin", paths=[str(folder.relative_to(world.drive.path))])
    world.walk(folder)
    world.command("unpin", paths=[str(folder.relative_to(world.drive.path))])
    world.command("refresh", path=str(folder.relative_to(world.drive.path)))


# Writes


def merged(value: object, world: World) -> None:
    """The record has become another one between a read and a write."""
    key = world.identity()
    note = world.record("notes", key, {"id": key, "text": "a", "user": "me", "json": {"a": 1}})
    world.attempt(note.read_bytes)
    world.record("notes", key, {"id": key, "text": value, "user": "me", "json": value, "more": value})
    world.attempt(note.write_text, '{"user": "you"}')
    world.attempt(note.write_text, '{"text": "mine"}')
    world.attempt(note.read_bytes)


def write_answers(answer: tuple[int, object], world: World) -> None:
    key = world.identity()
    note = world.record("notes", key, {"id": key, "text": "a"})
    world.attempt(note.read_bytes)
    honest = world.alyx.answer

    def lie(method, target, headers, body):
        return honest(method, target, headers, body) if method == "GET" else answer

    world.alyx.answer = lie
    try:
        world.attempt(note.write_text, '{"text": "mine"}')
    finally:
        world.alyx.answer = honest


def undone(value: object, world: World) -> None:
    """What was written has become another record since, and what it is to become again is refused or turned around."""
    key = world.identity()
    note = world.record("notes", key, {"id": key, "text": "a", "json": value})
    world.attempt(note.read_bytes)
    world.attempt(note.write_text, '{"text": "mine"}')
    world.record("notes", key, {"id": key, "text": value, "json": "mine"})
    entries = world.command("log", last=1)
    if isinstance(entries, list) and entries:
        world.command("diff", number=entries[0]["number"])
        world.command("undo", number=entries[0]["number"])
    world.attempt(note.read_bytes)
