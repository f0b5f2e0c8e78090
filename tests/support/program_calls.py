"""Programs of their own that do with files what a test tells them, call by call, and tell what came of each."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_CODE = """
import json, os, sys
opened = {}
def call(name, arguments):
    if name == "open":
        path, flags = arguments
        descriptor = os.open(path, sum(getattr(os, flag) for flag in flags), 0o644)
        return descriptor
    if name == "write":
        return os.write(arguments[0], arguments[1].encode())
    if name == "pwrite":
        return os.pwrite(arguments[0], arguments[1].encode(), arguments[2])
    if name == "read":
        return os.pread(arguments[0], 1 << 20, 0).decode()
    if name == "size":
        return os.fstat(arguments[0]).st_size
    if name == "stat":
        return os.stat(arguments[0]).st_size
    if name == "cat":
        with open(arguments[0]) as file:
            return file.read()
    if name == "save":
        with open(arguments[0], "wb", 0) as file:
            file.write(arguments[1].encode())
        return None
    return getattr(os, name)(*arguments)
for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        answer = {"value": call(name, arguments)}
    except OSError as error:
        answer = {"errno": error.errno}
    print(json.dumps(answer), flush=True)
"""


class Refused(Exception):
    """A call that failed with this errno."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.errno = number


class Program:
    """``open`` takes a path and names of flags; ``write``, ``read``, ``size``, ``fsync``, ``close`` a descriptor."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, name: str, *arguments: Any) -> Any:
        """One call; raises Refused."""
        self.begin(name, *arguments)
        return self.end()

    def begin(self, name: str, *arguments: Any) -> None:
        """Begin a call whose end is awaited later."""
        print(json.dumps([name, *map(_plain, arguments)]), file=self._process.stdin, flush=True)

    def answer(self) -> dict[str, Any]:
        """What came of the call that was begun: its ``value``, or its ``errno``."""
        return json.loads(self._process.stdout.readline())

    def end(self) -> Any:
        """The value of the call that was begun."""
        answer = self.answer()
        if "errno" in answer:
            raise Refused(answer["errno"])
        return answer["value"]

    def errno(self, name: str, *arguments: Any) -> int:
        """What a call is told: 0 for success."""
        try:
            self(name, *arguments)
        except Refused as refused:
            return refused.errno
        return 0


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | list | tuple) else str(value)


@contextlib.contextmanager
def programs(count: int) -> Iterator[list[Program]]:
    """So many programs, which end with the block."""
    processes = [
        subprocess.Popen([sys.executable, "-c", _CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    try:
        yield [Program(process) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
