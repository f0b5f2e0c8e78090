"""Going to the background, but only once everything that can fail has been opened."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from alyxfs import errors

if TYPE_CHECKING:
    from collections.abc import Callable

LOG_BYTES = 4 * 1024 * 1024
"""Size at which the log file is put aside; one older one is kept."""


def run_in_background(serve: Callable[[Callable[[], None]], None], log_file: Path) -> None:
    """Run ``serve(ready)`` in a process of its own and return when it calls ``ready``.

    The domain error with which ``serve`` ends before that is raised here, in the caller's process.
    Must be called before any thread or event loop is started.
    """
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as pipe:
            message = pipe.read()
        answer = json.loads(message) if message else {"error": f"The drive ended at once; see {log_file}."}
        if "error" in answer:
            raise getattr(errors, answer.get("kind", ""), errors.ConfigurationError)(answer["error"])
        return
    os.close(reading)
    os.setsid()
    if os.fork():
        os._exit(0)
    _be_a_daemon(serve, log_file, writing)


def _be_a_daemon(serve: Callable[[Callable[[], None]], None], log_file: Path, writing: int) -> None:
    """The grandchild: never returns."""
    status = 1
    told = False

    def tell(answer: dict[str, object]) -> None:
        nonlocal told
        if not told:
            told = True
            os.write(writing, json.dumps(answer).encode())
            os.close(writing)

    try:
        log_to_file(log_file)
        _detach(log_file)
        serve(lambda: tell({"ready": True}))
        status = 0
    except errors.AlyxfsError as error:
        logging.getLogger(__name__).info("ended: %s", error)
        tell({"error": str(error), "kind": type(error).__name__})
    except BaseException as error:
        logging.getLogger(__name__).exception("ended by a defect")
        tell({"error": f"A defect of alyxfs: {error!r}; see {log_file}."})
    finally:
        logging.shutdown()
        os._exit(status)


def _detach(log_file: Path) -> None:
    """Let go of the caller's terminal and pipes, before any process is started that would inherit them."""
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    log = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)


def log_path(mount_point: Path) -> Path:
    """The log file of the drive at this place."""
    directory = Path(platformdirs.user_log_dir("alyxfs"))
    return directory / (str(mount_point).strip("/").replace("/", "-") + ".log")


def log_to_file(path: Path) -> None:
    """Log to a private file of bounded size."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    _log_to(logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1))


def log_to_terminal() -> None:
    """Log to standard error, for a drive in the foreground."""
    _log_to(logging.StreamHandler(sys.stderr))


def _log_to(handler: logging.Handler) -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", handlers=[handler], force=True
    )
    logging.captureWarnings(capture=True)
    for talkative in ("httpx", "httpcore"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
