"""Going to the background, but only once everything that can fail has been opened."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import logging.handlers
import os
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from alyxfs import errors
from alyxfs.private_files import claim_folder, open_file
from alyxfs.visible_text import escaped, one_line

if TYPE_CHECKING:
    from collections.abc import Callable

LOG_BYTES = 4 * 1024 * 1024
"""Size at which the log file is put aside; one older one is kept."""


def run_in_background(serve: Callable[[Callable[[], None]], None], log_file: Path, *, debug: bool = False) -> None:
    """Run ``serve(ready)`` in a process of its own and return when it calls ``ready``.

    The domain error with which ``serve`` ends before that is raised here, in the caller's process.
    Must be called before any thread or event loop is started.
    """
    reading, lowest = os.pipe()
    writing = fcntl.fcntl(lowest, fcntl.F_DUPFD_CLOEXEC, 3)  # also where standard output was closed
    os.close(lowest)
    if os.fork():
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as pipe:
            message = pipe.read()
        answer = json.loads(message) if message else {"error": f"The drive ended at once; see {log_file}."}
        if "error" in answer:
            raise getattr(errors, answer.get("kind", ""), errors.ConfigurationError)(answer["error"])
        return
    os.close(reading)
    if os.fork():
        os._exit(0)
    _be_a_daemon(serve, log_file, writing, debug=debug)


def _be_a_daemon(serve: Callable[[Callable[[], None]], None], log_file: Path, writing: int, *, debug: bool) -> None:
    """The grandchild: never returns."""
    status = 1
    told = False

    def tell(answer: dict[str, object]) -> None:
        nonlocal told
        if not told:
            told = True
            # Not before: autofs lets only processes of its own group to the place where it has something mounted.
            os.setsid()
            os.write(writing, json.dumps(answer).encode())
            os.close(writing)

    try:
        _close_all_but(writing)
        log_to_file(log_file, debug=debug)
        _detach(log_file)
        serve(lambda: tell({"ready": True}))
        status = 0
    except errors.AlyxfsError as error:
        logging.getLogger(__name__).info("ended: %s", error)
        tell({"error": str(error), "kind": type(error).__name__})
    except OSError as error:
        logging.getLogger(__name__).exception("ended by what the machine refuses")
        tell({"error": f"{errors.of_machine(error)} The log has more: {log_file}."})
    except BaseException as error:
        logging.getLogger(__name__).exception("ended by a defect")
        tell({"error": f"A defect of alyxfs: {error!r}; see {log_file}."})
    finally:
        logging.shutdown()
        os._exit(status)


def _close_all_but(kept: int) -> None:
    """Close what the caller had open, as locks and pipes, which would be taken for as long as the drive is mounted."""
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if number > 2 and number != kept:  # noqa: PLR2004 - standard error
            with contextlib.suppress(OSError):  # the one of the list itself is closed already
                os.close(number)


def _detach(log_file: Path) -> None:
    """Let go of the caller's terminal and pipes, before any process is started that would inherit them."""
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    log = open_file(log_file, os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)


def log_path(mount_point: Path) -> Path:
    """The log file of the drive at this place."""
    return log_directory() / (str(mount_point).strip("/").replace("/", "-") + ".log")


def log_directory() -> Path:
    """Where all drives of this user log."""
    return Path(platformdirs.user_log_dir("alyxfs"))


def log_to_file(path: Path, *, debug: bool = False) -> None:
    """Log to a private file of bounded size. Raises ConfigurationError where it cannot be written."""
    try:
        claim_folder(path.parent)
        os.close(open_file(path, os.O_WRONLY))
        handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1)
    except OSError as error:
        raise errors.ConfigurationError(
            f"The log file {path} cannot be written: {error.strerror or error}. "
            "XDG_STATE_HOME names another place, or mount with --foreground."
        ) from error
    _log_to(handler, debug=debug)


def log_to_terminal(*, debug: bool = False) -> None:
    """Log to standard error, for a drive in the foreground."""
    _log_to(logging.StreamHandler(sys.stderr), debug=debug)


class OneLine(logging.Formatter):
    """A message is one line, and a traceback is indented: nothing that a server says looks like a line of the log."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging calls it so
        """The line."""
        return one_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """The lines below it."""
        return textwrap.indent(escaped(super().formatException(ei)), "  ")


def _log_to(handler: logging.Handler, *, debug: bool) -> None:
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("alyxfs").setLevel(logging.DEBUG if debug else logging.INFO)  # others would tell of headers
    for talkative in ("httpx", "httpcore"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
