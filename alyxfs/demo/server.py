"""Starts and stops a demo Alyx as a process of its own. Needs none of the packages of the `demo` extra."""

import contextlib
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import platformdirs

from alyxfs.scratch_folders import scratch_folder

PACKAGES = (
    "django",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "numpy",
    "pandas",
    "pyarrow",
    "mtscomp",
    "PIL",
)
# Building the largest demo takes a minute or two on a slow machine.
SECONDS_TO_START = 300
SECONDS_TO_STOP = 10


class DemoError(RuntimeError):
    """The demo did not start; the text says why."""


def missing_packages() -> list[str]:
    """Return the packages that the demo needs and that are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def sentence_about_missing(names: list[str]) -> str:
    """Say what to do about missing packages."""
    return f'The demo needs more packages ({", ".join(names)} missing): pip install "alyxfs[demo]"'


def default_directory() -> Path:
    """Return where the demo keeps its data unless told otherwise."""
    return Path(platformdirs.user_cache_dir("alyxfs")) / "demo"


@dataclass
class Demo:
    """A demo that is running."""

    url: str
    files_url: str
    user: str
    password: str
    public_user: str
    public_password: str
    request_log: Path
    process: "subprocess.Popen[str]"

    def requests(self) -> list[dict[str, Any]]:
        """Return what was asked so far: method, path, status, bytes, range and user of each request."""
        whole, _, _ = self.request_log.read_text(encoding="utf-8").rpartition("\n")  # the last may be being written
        return [json.loads(line) for line in whole.splitlines()]

    def clear_requests(self) -> None:
        """Forget what was asked so far."""
        self.request_log.write_text("", encoding="utf-8")

    def control(self, **orders: Any) -> None:
        """Give orders to the control door (see `alyxfs.demo.control`); the demo must run with `control=True`."""
        request = Request(f"{self.url}/demo-control", json.dumps(orders).encode(), method="POST")  # noqa: S310
        with urlopen(request, timeout=10) as answer:  # noqa: S310
            answer.read()


def command_line(directory: Path, options: dict[str, Any]) -> list[str]:
    """Return the command that serves from this directory with these options."""
    command = [sys.executable, "-m", "alyxfs.demo", "--with-parent", "--directory", str(directory)]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            command.append(flag)
        elif value not in {None, False}:
            command += [flag, str(value)]
    return command


@contextlib.contextmanager
def running_demo(
    directory: Path,
    *,
    scale: int = 1,
    largest_file_mb: float = 200,
    port: int = 0,
    fresh: bool = True,
    control: bool = False,
    core_api: bool = False,
    throttle: int | None = None,
    file_auth: str | None = None,
) -> Iterator[Demo]:
    """Run a demo whose data are built, or found, in this directory; stop it at the end of the block.

    With `fresh` what is changed is forgotten at the end, so that each run begins with the same records; several such
    demos can run from one directory at the same time.
    """
    missing = missing_packages()
    if missing:
        raise DemoError(sentence_about_missing(missing))
    with scratch_folder("alyxfs-demo-log-") as scratch:
        request_log = scratch / "requests.jsonl"
        request_log.touch()
        options: dict[str, Any] = {
            "scale": scale,
            "largest_file_mb": largest_file_mb,
            "port": str(port),
            "fresh": fresh,
            "control": control,
            "core_api": core_api,
            "throttle": throttle,
            "file_auth": file_auth,
            "request_log": request_log,
        }
        process = subprocess.Popen(  # noqa: S603 - our own module
            command_line(directory, options), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            url = wait_until_ready(process)
            yield Demo(
                url=url,
                files_url=f"{url}/data_files/",
                user="demo",
                password="demo",  # noqa: S106 - the data are made up and local
                public_user="public",
                public_password="public",  # noqa: S106
                request_log=request_log,
                process=process,
            )
        finally:
            stop(process)


def wait_until_ready(process: "subprocess.Popen[str]") -> str:
    """Return the address once the demo answers there."""
    timer = threading.Timer(SECONDS_TO_START, process.kill)
    timer.start()
    try:
        line = process.stdout.readline() if process.stdout else ""
    finally:
        timer.cancel()
    if not line.startswith("ready "):
        raise DemoError(f"The demo did not start (exit code {process.wait()}); its last words are above.")
    return line.split()[1]


def stop(process: "subprocess.Popen[str]") -> None:
    """End the process, gently at first."""
    process.terminate()
    try:
        process.communicate(timeout=SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
