"""A server that answers anything: every failure is an errno with a sentence, the drive lives, and heals afterwards.

``ALYXFS_LIES=5000`` runs so many seeds; ``ALYXFS_FIRST_LIE=1234`` begins there. Each seed is a mutating proxy in front
of the demo (tests/support/lying_proxy.py) and some steps of programs (tests/support/programs.py).
"""

from __future__ import annotations

import json
import os
import random
import time
from functools import partial

import pytest

from alyxfs.control.client import send_command
from alyxfs.demo.server import running_demo
from lying_proxy import lying_proxy
from mounted import PATIENCE, mounted
from programs import Program

SEEDS = int(os.environ.get("ALYXFS_LIES", "100"))
FIRST = int(os.environ.get("ALYXFS_FIRST_LIE", "0"))
SEEDS_A_MOUNT = 50
STEPS = 8
MADE_IN = {"tags", "weighings"}
"""Where programs make records: what was answered unclearly may still be shown to who made it."""
MOUNT_OPTIONS = ("--requests-per-minute", "100000", "--deadline", "5", "--time-to-live", "0.05")


@pytest.fixture(scope="module")
def server(demo_directory, tmp_path_factory):
    with running_demo(demo_directory, largest_file_mb=2) as demo, lying_proxy(demo.url) as proxy:
        # On a busy machine the first answers take longer than the drives of these tests wait: the proxy has them then.
        with mounted(proxy.url, tmp_path_factory.mktemp("first") / "home", "--deadline", "60") as drive:
            names_known(drive)
        yield proxy


def names_known(drive):
    """What an honest server shows: names by directory, some of them."""
    session = "data/cortexlab/Subjects/KS001/2023-01-02/001"
    folders = ["data", "data/cortexlab/Subjects", session]
    folders += [f"{session}/{name}" for name in os.listdir(drive / session) if (drive / session / name).is_dir()]
    known = {"": sorted(os.listdir(drive.path))}
    for name in [*known[""], *folders]:
        if names := sorted(os.listdir(drive / name))[:60]:
            known[name] = names
    return known


def patiently(look, *arguments):
    """What an honest server shows: on a busy machine the first look takes longer than these drives wait."""
    ends = time.monotonic() + 2 * PATIENCE
    while True:
        try:
            return look(*arguments)
        except TimeoutError:
            if time.monotonic() > ends:
                raise


def shown(drive, known):
    """What the drive shows of these: all names, and the content of some."""
    contents = {}
    for folder, names in known.items():
        if folder in MADE_IN:
            continue
        contents[folder] = sorted(os.listdir(drive / folder))
        for name in names[:2]:
            path = drive / folder / name
            if path.is_file():
                content = path.read_bytes()
                is_record = "/" not in folder and path.suffix == ".json"
                shown_as = in_one_order(json.loads(content or b"null")) if is_record else content
                contents[f"{folder}/{name}"] = shown_as, path.stat().st_size
    return contents


def in_one_order(record):
    """Names of linked records, which a server's list gives in another order than the record itself does."""
    if isinstance(record, dict):
        return {field: in_one_order(value) for field, value in record.items()}
    if isinstance(record, list) and all(isinstance(value, str) for value in record):
        return sorted(record)
    return record


def status(drive):
    return json.loads((drive / ".alyxfs/status.json").read_bytes())


def differences(drive, known, honest):
    """What the drive still shows otherwise than one that never heard a lie."""
    try:
        now = shown(drive, known)
    except OSError as error:
        return [f"{error.filename}: {error!r}"]
    return [
        f"{name}: {now.get(name)!r:.300} is {honest[name]!r:.300}" for name in honest if now.get(name) != honest[name]
    ]


@pytest.mark.timeout(120 + 2 * SEEDS)
@pytest.mark.parametrize("writable", [False, True])
def test_nothing_that_a_server_says_ends_the_drive(server, tmp_path, writable):
    seeds = range(FIRST, FIRST + SEEDS)
    seeds = [seed for seed in seeds if seed // SEEDS_A_MOUNT % 2 == writable]
    options = [*MOUNT_OPTIONS, "--rw"] if writable else MOUNT_OPTIONS
    failures, steps, began, slowest = {}, 0, time.monotonic(), 0.0
    for start in range(0, len(seeds), SEEDS_A_MOUNT):
        part = seeds[start : start + SEEDS_A_MOUNT]
        server.be_honest()
        home = tmp_path / f"home{start}"
        with mounted(server.url, home, *options) as drive:
            known = patiently(names_known, drive)
            program = Program(drive.path, known)
            for seed in part:
                server.lie(seed)
                try:
                    program.run(random.Random(seed), STEPS, writes=writable)
                    state = status(drive)
                    assert state["defects"] == 0, state["last_defect"]
                    assert drive.process.poll() is None
                except BaseException:
                    print(f"Seed {seed}; what the proxy did:", *server.lies, sep="\n")
                    raise
            server.be_honest()
            heal(drive)
            with mounted(server.url, tmp_path / f"other{start}", *options) as other:
                now = patiently(shown, other, known)
            wrong = until_none(partial(differences, drive, known, now))
            assert not wrong, "\n".join([f"after seeds {part[0]} to {part[-1]}:", *wrong])
        for name, count in program.failures.items():
            failures[name] = failures.get(name, 0) + count
        steps, slowest = steps + program.steps, max(slowest, program.slowest)
    seconds = time.monotonic() - began
    print(f"{len(seeds)} seeds, {steps} steps in {seconds:.0f} s, slowest {slowest:.1f} s, failures {failures}")


def until_none(differing):
    """What still differs when patience has ended."""
    began = time.monotonic()
    while (found := differing()) and time.monotonic() < began + PATIENCE:
        time.sleep(0.2)
    return found


def heal(drive):
    """What a user does who was told of trouble: ask for everything anew."""
    socket = status(drive)["control_socket"]
    for path in ("", "data"):
        send_command(socket, "refresh", path=path)
