"""Many programs that create, save by rename, read and delete records in one directory, and what each was told.

``python crowd.py NUMBER DIRECTORY SECONDS MARK`` is one of them. Each line that it prints is a step: begun, and ended
with the errno, 0 where there was none, and the seconds that each operation of it took. It ends at the first error.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path


class Timed:
    """The operations of a step, and the seconds that each took; also one that failed."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, operation, *arguments):
        began = time.monotonic()
        try:
            return operation(*arguments)
        finally:
            name = operation.__name__
            self.seconds[name] = max(self.seconds.get(name, 0.0), time.monotonic() - began)

    def write(self, path: str, document: dict[str, str]) -> None:
        descriptor = self(os.open, path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            self(os.write, descriptor, json.dumps(document).encode())
        finally:
            self(os.close, descriptor)

    def read(self, path: str) -> dict[str, str]:
        descriptor = self(os.open, path, os.O_RDONLY)
        try:
            return json.loads(self(os.read, descriptor, 1 << 20))
        finally:
            self(os.close, descriptor)


def work(number: int, directory: str, seconds: float, mark: str) -> None:
    with open("/proc/self/comm", "w") as name:
        name.write("rm")  # whose unlinks are deletes, at once
    chance, ends, count = random.Random(number), time.monotonic() + seconds, 0
    mine: dict[str, str] = {}
    while time.monotonic() < ends:
        count += 1
        token = f"{mark}-{number}-{count}-"
        kind = chance.choice(["create", "save", "save", "read", "read", "delete"]) if mine else "create"
        key = chance.choice(sorted(mine)) if kind != "create" else None
        print(json.dumps({"begun": kind, "key": key, "token": token}), flush=True)
        timed, error, found = Timed(), 0, None
        try:
            if kind == "create":
                path = f"{directory}/{token}.json"
                timed.write(path, {"subject": "KS001", "lab": "cortexlab", "task_protocol": token})
                key = timed.read(path)["id"]
                mine[key] = token
            elif kind == "save":
                timed.write(f"{directory}/.{token}.tmp", {"task_protocol": token})
                timed(os.replace, f"{directory}/.{token}.tmp", f"{directory}/{key}.json")
                mine[key] = token
            elif kind == "read":
                found = timed.read(f"{directory}/{key}.json")["task_protocol"]
            else:
                timed(os.unlink, f"{directory}/{key}.json")
                del mine[key]
        except OSError as failure:
            error = failure.errno
        is_right = found is None or found == mine[key]
        ended = {"ended": kind, "key": key, "errno": error, "right": is_right, "seconds": timed.seconds}
        print(json.dumps(ended), flush=True)
        if error:
            return


class Crowd:
    """So many of these programs."""

    def __init__(self, size: int, directory: Path, seconds: float, mark: str) -> None:
        self.programs = []
        self._outputs = []
        for number in range(size):
            output = Path(f"{directory.parent}.{mark}.{number}")
            with open(output, "w") as stream:
                command = [sys.executable, "-S", __file__, str(number), str(directory), str(seconds), mark]
                self.programs.append(subprocess.Popen(command, stdout=stream, stdin=subprocess.DEVNULL))
            self._outputs.append(output)

    def wait(self, seconds: float) -> list[int]:
        """The numbers of those that have not ended by then."""
        ends = time.monotonic() + seconds
        late = []
        for number, program in enumerate(self.programs):
            try:
                program.wait(max(0.0, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                late.append(number)
        return late

    def kill(self) -> None:
        for program in self.programs:
            program.kill()

    def ended(self) -> int:
        """Steps that have ended so far."""
        return sum(output.read_text().count('{"ended"') for output in self._outputs)

    def steps(self) -> list[list[dict]]:
        """What each of them printed."""
        return [
            [json.loads(line) for line in output.read_text().splitlines() if line.endswith("}")]
            for output in self._outputs
        ]


def expected(steps: list[dict]) -> dict[str, set[str | None]]:
    """What a program must find of its records, by the beginning of their first token: each is as one of these tokens.

    None stands for a record that is not there. What a step that failed, or was cut off, did is not known.
    """
    states: dict[str, set[str | None]] = {}
    first: dict[str, str] = {}
    for index, begun in enumerate(steps):
        if "begun" not in begun:
            continue
        ended = steps[index + 1] if index + 1 < len(steps) else {"errno": -1}
        is_sure, kind, token = ended["errno"] == 0, begun["begun"], begun["token"]
        if kind == "create":
            states[token] = {token} if is_sure else {token, None}
            if is_sure:
                first[ended["key"]] = token
            continue
        record = first[begun["key"]]
        if kind == "save":
            states[record] = {token} if is_sure else states[record] | {token}
        elif kind == "delete":
            states[record] = {None} if is_sure else states[record] | {None}
    return states


if __name__ == "__main__":
    work(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4])
