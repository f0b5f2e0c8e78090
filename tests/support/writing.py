"""What the tests of a writable drive share: a demo to write to, its writes counted, and programs in a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import subprocess
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from alyxfs import file_names
from alyxfs.control.client import send_command
from alyxfs.edits import Journal
from asking import Asking, shown
from mounted import Mounted, mounted, until

FAST = ("--requests-per-minute", "60000")
"""The demo throttles nobody."""
WRITES = {"POST", "PATCH", "PUT", "DELETE"}
COLUMNS = "500"
"""Of a program's terminal: a message with a path in it must not be broken into two lines, wherever tests keep files."""


@dataclass
class Writing:
    """A writable drive, its server, and what is true there."""

    drive: Mounted
    demo: object
    asking: Asking
    home: Path

    def file(self, endpoint, key) -> Path:
        return self.drive / endpoint / file_names.encode(key, ".json")

    def record(self, endpoint, key):
        """As the server has it now."""
        return self.asking.get(f"/{endpoint}/{urllib.parse.quote(key, safe='')}")

    def shown(self, endpoint, key) -> bytes:
        """As the drive must show it."""
        return shown(self.record(endpoint, key))

    def writes(self):
        """Method and path of the writing requests since they were last cleared; log-ins do not count."""
        asked = [(each["method"], each["path"]) for each in self.demo.requests()]
        return [(method, path) for method, path in asked if method in WRITES and path != "/auth-token"]

    def log(self) -> list[dict]:
        """The journal as the drive tells it to ``alyxfs log --json``."""
        return self.command("log")

    def journal(self) -> list:
        """All entries with their records and drafts, as they are on the disk."""
        (path,) = (self.home / ".local" / "state" / "alyxfs" / "servers").glob("*/journal.sqlite")
        journal = Journal(path)
        try:
            return [journal.entry(entry.number) for entry in journal.entries()]
        finally:
            journal.close()

    def command(self, command, **arguments):
        """What the drive answers to a command."""
        socket = json.loads((self.drive / ".alyxfs" / "status.json").read_text())["control_socket"]
        return send_command(Path(socket), command, **arguments)

    def errors(self) -> str:
        return (self.drive / ".alyxfs" / "errors.log").read_text()

    def rejected(self) -> dict[str, str]:
        return {path.name: path.read_text(errors="replace") for path in (self.drive / ".alyxfs" / "rejected").iterdir()}


@contextlib.contextmanager
def writing(demo, home, *options, **extra):
    """A drive that may be written to.

    At the unmount its log tells what others took back in the last seconds, as many tests have them do.
    """
    extra.setdefault("expected_trouble", "which was saved as")
    demo.control(reset=True)
    asking = Asking(demo.url)
    with mounted(demo.url, home, "--rw", *FAST, *options, **extra) as drive:
        demo.clear_requests()
        yield Writing(drive, demo, asking, home)


def run(*command, **options):
    """A program that must succeed and say nothing."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    assert not done.stderr, f"{command}: {done.stderr}"
    return done.stdout


def in_terminal(*command, keys="", answers=(), **variables) -> str:
    """Run a program in a terminal of its own, type ``keys`` once it has drawn something; returns what it showed.

    ``answers`` are pairs: once the program has shown the first, since the last was typed, the second is typed.
    """
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(TERM="xterm", LINES="40", COLUMNS=COLUMNS, **variables)
        os.execvp(command[0], command)
    shown_bytes, typed, answered, ends = b"", not keys, 0, time.monotonic() + 60
    try:
        while True:
            assert time.monotonic() < ends, f"{command} does not end: {shown_bytes[-2000:]!r}"
            if not select.select([terminal], [], [], 0.2)[0]:
                if shown_bytes and not typed:
                    os.write(terminal, keys.encode())
                    typed, answered = True, len(shown_bytes)
                    continue
                since = shown_bytes[answered:].decode(errors="replace")
                answer = next((answer for what, answer in answers if typed and what in since), None)
                if answer is not None:
                    os.write(terminal, answer.encode())
                    answered = len(shown_bytes)
                continue
            try:
                part = os.read(terminal, 65536)
            except OSError:  # EIO: the program has closed its terminal
                break
            if not part:
                break
            shown_bytes += part
    except BaseException:
        os.kill(process, 9)
        raise
    finally:
        os.close(terminal)
        _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"{command} failed: {shown_bytes[-2000:]!r}"
    return shown_bytes.decode(errors="replace")


__all__ = ["FAST", "Writing", "in_terminal", "run", "shown", "until", "writing"]
