"""`python -m alyxfs.demo`: builds the demo if needed, and serves it until SIGTERM."""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from alyxfs.scratch_folders import scratch_folder

from .server import default_directory, missing_packages, sentence_about_missing


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m alyxfs.demo", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free one")
    parser.add_argument("--directory", type=Path, help="where the data are built and kept")
    parser.add_argument("--scale", type=int, default=1, help="how many times the usual number of records")
    parser.add_argument("--largest-file-mb", type=float, default=200, help="size of the largest real file")
    parser.add_argument("--throttle", type=int, metavar="PER_MINUTE", help="requests a minute and user")
    parser.add_argument("--file-auth", metavar="USER:PASSWORD", help="data files ask for this log-in")
    parser.add_argument("--core-api", action="store_true", help="be an older Alyx, without /api/schema")
    parser.add_argument("--request-log", type=Path, help="append a line of JSON for each request")
    parser.add_argument("--control", action="store_true", help="let tests make requests fail")
    parser.add_argument("--fresh", action="store_true", help="forget at the end what was changed")
    parser.add_argument("--with-parent", action="store_true", help="stop when standard input ends")
    return parser.parse_args()


def stop_with_parent() -> None:
    """Stop once standard input ends, which it does at the latest when the parent is gone."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Serve, and return the exit code."""
    options = arguments()
    missing = missing_packages()
    if missing:
        print(sentence_about_missing(missing), file=sys.stderr)  # noqa: T201
        return 1
    from .run import Run  # noqa: PLC0415 - needs the packages just looked for

    # While it still builds, an exception takes the builder along; a bare signal would leave it behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if options.with_parent:
        threading.Thread(target=stop_with_parent, daemon=True).start()
    with scratch_folder("alyxfs-demo-run-") as scratch:
        run = Run(options, options.directory or default_directory(), scratch)
        signal.signal(signal.SIGTERM, lambda *_: run.stop())
        signal.signal(signal.SIGINT, lambda *_: run.stop())
        print(f"ready {run.url}", flush=True)  # noqa: T201
        run.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
