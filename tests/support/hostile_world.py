"""A world that means ill: an Alyx, file servers and other hosts that say anything, and what each case must not cost.

The drive runs in an internet of its own (``pretended/``): every host is one of these servers, every connection to
another address, and every file that is touched outside of the drive's own folders, is noted. Of every request to every
host all headers are kept.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import itertools
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alyxfs import errors
from alyxfs.control.client import send_command
from certificates import TlsServer, write_certificate
from fault_server import FaultServer, File
from files_alyx import md5, pretended_network
from hostile import LONGEST, MIB, MOST_MEMORY, OPTIONS, answering, hostile_alyx
from mounted import mounted, until
from small_alyx import identifiers

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "token-of-the-alyx-0123456789abcdef"
FILE_USER, FILE_PASSWORD = "reader", "password-of-the-file-server"
BASIC = "Basic " + base64.b64encode(f"{FILE_USER}:{FILE_PASSWORD}".encode()).decode()
SECRETS = (TOKEN, FILE_PASSWORD, BASIC.split()[1])
CONTENT = b"0123456789"
ADDRESSES = {
    "alyx.example.org": "93.184.216.34",
    "files.example.org": "93.184.216.35",
    "other.example.org": "93.184.216.36",
    "third.example.org": "93.184.216.37",
    "secure.example.org": "93.184.216.38",
}
NAMES = {
    **{name: [address] for name, address in ADDRESSES.items()},
    "inside.example.org": ["192.168.7.7"],
    "mapped.example.org": ["::ffff:10.0.0.7"],
    "example-private.s3.eu-west-2.amazonaws.com": ["93.184.216.36"],
}
ROUTES = dict.fromkeys(ADDRESSES.values(), "127.0.0.1")
MOST_SESSIONS = 2000
"""Each case that shows files takes one, so that no listing need be asked for anew."""
ASKED_EACH_TIME = ("--time-to-live", "300", "--time-to-live-of", "projects=0,notes=0,subjects=0,tasks=0")
EXPECTED = {
    *(errno.EIO, errno.EACCES, errno.ENODATA, errno.ENOENT, errno.EINVAL, errno.EPERM, errno.ETIMEDOUT, errno.ESTALE),
    *(errno.EAGAIN, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.EFBIG, errno.ENOTDIR, errno.ELOOP),
}


@dataclass
class World:
    """Its servers, the drive in it, and what went wrong."""

    alyx: Any
    files: FaultServer
    other: FaultServer
    secure: TlsServer
    drive: Any
    root: Path
    log: Path
    good: Path | None = None
    """A data file of an honest server."""
    count: int = 0
    """Cases so far."""
    slowest: float = 0.0
    peak: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    _sessions: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _nobodies: Iterator[int] = field(default_factory=itertools.count)

    # What a case is made of

    def url(self, server: str, name: str) -> str:
        """The address of ``name`` at one of the hosts."""
        at = {"alyx": self.alyx, "files": self.files, "other": self.other, "third": self.other, "secure": self.secure}
        scheme = "https" if server == "secure" else "http"
        return f"{scheme}://{server}.example.org:{at[server].port}/{name}"

    def filled(self, address: str) -> str:
        """An address with the ports of this world in it."""
        ports = {"port": self.files.port, "files": self.files.port, "other": self.other.port, "alyx": self.alyx.port}
        ports["secure"] = self.secure.port
        for name, port in ports.items():
            address = address.replace(f"{{{name}}}", str(port))
        return address

    def identity(self) -> str:
        """An id that no case before had."""
        return identifiers(1, seed=5_000_000 + self.count)[0]

    def show_files(self, *datasets: dict) -> Path:
        """Give these datasets to a session that nobody has looked at; the fields not given are those of an honest one.

        Returns where the session is on the drive.
        """
        number = next(self._sessions)
        related = []
        for count, given in enumerate(datasets):
            name = f"c{number}.{count}.bin"
            usual = {
                "id": identifiers(count + 1, seed=number)[count],
                "name": name,
                "collection": "",
                "revision": "",
                "file_size": len(CONTENT),
                "hash": md5(CONTENT),
                "default_revision": "True",
                "qc": "PASS",
                "data_url": self.url("files", name),
            }
            related.append({**usual, **given})
        session = self.alyx.rows["sessions"][number - 1]
        self.alyx.details["sessions", session["id"]] = session | {"data_dataset_session_related": related}
        for dataset in related:
            if isinstance(dataset["id"], str):
                self.alyx.details["datasets", dataset["id"]] = {"file_records": [], **dataset}
        return self.drive / "data/lab/Subjects" / session["subject"] / session["start_time"][:10] / "001"

    def record(self, endpoint: str, key: str, document: dict) -> Path:
        """Put a record there; where it is on the drive."""
        self.alyx.details[endpoint, key] = document
        return self.drive / endpoint / f"{key}.json"

    def attempt(self, step, *arguments):
        """What the step returns; an error of the kernel is counted, and must be one that people are told of."""
        began = time.monotonic()
        try:
            return step(*arguments)
        except OSError as error:
            name = errno.errorcode.get(error.errno, str(error.errno))
            self.failures[name] = self.failures.get(name, 0) + 1
            if error.errno not in EXPECTED:
                raise AssertionError(f"{error!r} is no answer to a program") from error
            return error
        finally:
            took = time.monotonic() - began
            self.slowest = max(self.slowest, took)
            assert took < LONGEST, f"{step} took {took:.1f} s"

    def command(self, command: str, **arguments: object) -> object:
        """What the drive answers to a command of its user; a refusal in words is none of its defects."""
        socket = json.loads((self.drive / ".alyxfs/status.json").read_bytes())["control_socket"]
        try:
            return send_command(Path(socket), command, **arguments)
        except errors.AlyxfsError as error:
            if isinstance(error, errors.Defect):
                raise
            return error

    def walk(self, place: Path, most: int = 40) -> list[Path]:
        """Look at and read what is below a place of the drive; returns the files."""
        found, waiting = [], [place]
        while waiting and len(found) < most:
            path = waiting.pop()
            if os.path.islink(path) or not os.path.isdir(path):
                found.append(path)
                self.attempt(path.read_bytes)
            else:
                names = self.attempt(os.listdir, path)
                waiting += [path / name for name in names] if isinstance(names, list) else []
        return found

    # What no case may cost

    @contextlib.contextmanager
    def case(self, name: str, answers: dict | None = None):
        """One case: what the block does costs errors at most, and the drive lives afterwards."""
        self.count += 1
        self._forget_requests()
        before = self._places()
        Path(f"/proc/{self.drive.process.pid}/clear_refs").write_text("5")  # VmHWM begins anew (proc(5))
        idle = self.drive.memory()
        try:
            with answering(self.alyx, answers or {}):
                yield
            self._judge(before, idle)
            self.assert_alive()
        except BaseException:
            print(f"In case {self.count}, {name}:")
            raise

    def assert_alive(self) -> None:
        """A listing and a read, of a record and of a data file, as soon as the server counts as being there again."""
        assert self.drive.process.poll() is None
        until(self._is_answered, "the server is asked again")
        assert os.listdir(self.drive / "projects") == ["p.json"]
        assert json.loads((self.drive / "projects/p.json").read_bytes())["name"] == "p"
        assert self.good is None or self.good.read_bytes() == CONTENT
        status = json.loads((self.drive / ".alyxfs/status.json").read_bytes())
        assert status["defects"] == 0, status["last_defect"]

    def _is_answered(self) -> bool:
        """After a server kept somebody waiting only what is known is served, for a moment: a new name tells."""
        try:
            (self.drive / "projects" / f"nobody{next(self._nobodies)}.json").stat()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        raise AssertionError("there is no such record")

    def _judge(self, before: set[str], idle: int) -> None:
        above = high_water(self.drive.process.pid) - idle
        self.peak = max(self.peak, above)
        assert above < MOST_MEMORY, f"{above / MIB:.0f} MiB above idle"
        for host, requests in self.requests().items():
            for request in requests:
                allowed = {"alyx": (TOKEN,), "files": (BASIC.split()[1],)}.get(host, ())
                told = [secret for secret in SECRETS if secret in request and secret not in allowed]
                assert not told, f"{host} was told {told}: {request}"
        noted = self.log.read_text()
        assert noted == "", f"only hosts that may be asked are asked, and only folders of its own written to: {noted}"
        assert self._places() == before, "nothing comes to be outside of the drive and its own folders"
        assert (self.root / "home/.ssh/key").read_text() == "a key"

    def requests(self) -> dict[str, list[str]]:
        """Path and all headers of the requests since the case began, by host."""
        servers = {"files": self.files, "other": self.other, "secure": self.secure}
        asked = {
            name: [f"{each.method} {each.path} {each.headers}" for each in list(server.requests)]
            for name, server in servers.items()
        }
        return {**asked, "alyx": list(self.alyx.heard)}

    def _forget_requests(self) -> None:
        for heard in (self.files.requests, self.other.requests, self.secure.requests, self.alyx.heard):
            heard.clear()
        self.alyx.asked.clear()
        self.alyx.authorizations.clear()

    def _places(self) -> set[str]:
        """All that there is, but what the drive and the folders of its own hold."""
        own = {".cache", ".local", "run", "drive"}
        found = set()
        for folder, folders, files in os.walk(self.root):
            folders[:] = [each for each in folders if each not in own]
            found |= {os.path.join(folder, each) for each in (*folders, *files)}
        return found


def high_water(process: int) -> int:
    """The most bytes that a process had in memory since its VmHWM began anew."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024


def sessions(count: int) -> Iterator[dict]:
    """Rows of sessions: few of one subject, as the drive puts those of a subject in order."""
    for number, identity in enumerate(identifiers(count, seed=77)):
        day = f"2024-01-{number % 20 + 1:02d}T10:00:00"
        yield {"id": identity, "lab": "lab", "subject": f"S{number // 20}", "start_time": day, "number": 1}


@contextlib.contextmanager
def hostile_world(root: Path, *, answers: dict | None = None, session_count: int = MOST_SESSIONS):
    """A world and a writable drive in it; ``answers`` are what the Alyx says instead, from the beginning on."""
    home, log, certificate = root / "home", root.with_name(f"{root.name}.log"), root.with_name(f"{root.name}.pem")
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/key").write_text("a key")
    (home / "run").mkdir(mode=0o700)
    write_certificate(certificate, "secure.example.org")
    with (
        hostile_alyx() as alyx,
        FaultServer({"good": File(CONTENT)}, most_repeats=None) as files,
        FaultServer({"good": File(CONTENT)}, most_repeats=None) as other,
        TlsServer(certificate, {"good": File(CONTENT)}, most_repeats=None) as secure,
    ):
        alyx.tokens = {TOKEN}
        alyx.put("projects", [{"name": "p"}])
        alyx.put("sessions", sessions(session_count))
        let_write(alyx)
        environment = pretended_network(log, NAMES, ROUTES) | {
            "PRETENDED_ROOTS": ":".join(f"{home}/{name}" for name in (".cache/", ".local/", "run", "drive")),
            "PRETENDED_HOME": str(home),
            "SSL_CERT_FILE": str(certificate),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ALYXFS_TOKEN": TOKEN,
            "ALYXFS_FILE_PASSWORD": FILE_PASSWORD,
        }
        file_server = ("--file-server", f"http://files.example.org:{files.port}", "--file-user", FILE_USER)
        address = f"http://alyx.example.org:{alyx.port}"
        with answering(alyx, answers or {}):
            options = ("--rw", *OPTIONS, *ASKED_EACH_TIME, *file_server)
            with mounted(address, home, *options, expected_trouble="which was saved as", **environment) as drive:
                log.write_text("")  # what the start reads of the user's settings
                world = World(alyx, files, other, secure, drive, root, log)
                world.good = world.show_files({"name": "good.bin", "data_url": world.url("files", "good")}) / "good.bin"
                yield world


def let_write(alyx) -> None:
    """The Alyx takes what it is sent, of notes and subjects."""
    schemas = {
        "Note": {"id": "string", "text": "string", "user": "string", "json": "object", "image": "string"},
        "Subject": {"nickname": "string", "description": "string", "json": "object", "lab": "string"},
    }
    components = {
        name: {"properties": {each: {"type": kind, "nullable": True} for each, kind in properties.items()}}
        for name, properties in schemas.items()
    }
    paths = json.loads(json.dumps(alyx.schema["paths"]))
    for endpoint, lookup, name in (("notes", "id", "Note"), ("subjects", "nickname", "Subject")):
        body = {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}
        detail = f"/{endpoint}/{{{lookup}}}"
        paths[f"/{endpoint}"] = {**paths[f"/{endpoint}"], "post": {"requestBody": body}}
        paths[detail] = {"get": {"responses": {"200": body}}, "patch": {"requestBody": body}, "delete": {}}
    paths["/sessions"]["get"]["parameters"] = [
        *paths["/sessions"]["get"]["parameters"],
        {"in": "query", "name": "subject", "schema": {"type": "string"}},
    ]
    paths["/data-repository"], paths["/data-repository/{name}"] = paths["/projects"], paths["/projects/{name}"]
    alyx.schema = {**alyx.schema, "paths": paths, "components": {"schemas": components}}
    alyx.lookups["data-repository"] = "name"
    answer, refusal = alyx.answer, alyx.refusal
    alyx.refusal = lambda method, authorization: refusal("GET", authorization)

    def answer_or_write(method, target, headers, body):
        endpoint, _, key = target.partition("?")[0].strip("/").partition("/")
        if method == "HEAD":
            return 200, b""
        if method == "GET" or endpoint not in {"notes", "subjects"}:
            return answer(method, target, headers, body)
        if method == "DELETE":
            return (204, b"") if alyx.details.pop((endpoint, key), None) else (404, {"detail": "Not found."})
        sent = json.loads(body)
        if method == "POST":
            key = sent.setdefault(
                "id" if endpoint == "notes" else "nickname", identifiers(1, seed=len(alyx.details))[0]
            )
        document = alyx.details[endpoint, key] = {**alyx.details.get((endpoint, key), {}), **sent}
        return 201 if method == "POST" else 200, document

    alyx.answer = answer_or_write
