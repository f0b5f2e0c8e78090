"""Answers requests for the bytes of a file: whole or a range of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path

RANGE = re.compile(r"bytes=(?P<first>\d*)-(?P<last>\d*)")
TYPES = {".json": "application/json", ".csv": "text/csv", ".mp4": "video/mp4", ".png": "image/png"}


@dataclass
class FileAnswer:
    """A status with headers, and which bytes of which file to send."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    path: Path | None = None
    start: int = 0
    length: int = 0


def find_file(root: Path, parts: str) -> Path | None:
    """Find a file below the root; nothing outside of it, and no directory, is ever found."""
    names = parts.split("/")
    if any(name in {"", ".", ".."} or "\0" in name for name in names):
        return None
    # The mirrors hold the same files as the server that they mirror.
    if names[0] == "aws":
        names = names[1:]
    path = root.joinpath(*names)
    return path if path.is_file() else None


def answer_file(path: Path, asked: Mapping[str, str]) -> FileAnswer:
    """Answer a GET of an existing file; `asked` are the request's headers, by their lower-case names."""
    stat = path.stat()
    tag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
    changed = formatdate(stat.st_mtime, usegmt=True)
    headers = {"ETag": tag, "Last-Modified": changed, "Accept-Ranges": "bytes"}
    if is_known(asked, tag, stat.st_mtime):
        return FileAnswer(304, headers)
    headers["Content-Type"] = TYPES.get(path.suffix, "application/octet-stream")
    wanted = RANGE.fullmatch(asked.get("range", "").strip())
    if wanted is None or asked.get("if-range", tag) not in {tag, changed}:
        return FileAnswer(200, headers, path, 0, stat.st_size)
    if not (wanted["first"] or wanted["last"]):
        return FileAnswer(200, headers, path, 0, stat.st_size)
    first, last = limits(wanted, stat.st_size)
    if first > last:
        return FileAnswer(416, {"Content-Range": f"bytes */{stat.st_size}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{stat.st_size}"
    return FileAnswer(206, headers, path, first, last - first + 1)


def is_known(asked: Mapping[str, str], tag: str, modified: float) -> bool:
    """Tell whether the client has these bytes already."""
    if "if-none-match" in asked:
        known = [each.strip().removeprefix("W/") for each in asked["if-none-match"].split(",")]
        return "*" in known or tag in known
    if "if-modified-since" in asked:
        try:
            return int(modified) <= parsedate_to_datetime(asked["if-modified-since"]).timestamp()
        except ValueError:
            return False
    return False


def limits(wanted: "re.Match[str]", size: int) -> tuple[int, int]:
    """Return the first and last byte of a range; the first is beyond the last if there are none."""
    if not wanted["first"]:
        count = int(wanted["last"])
        return (max(0, size - count), size - 1) if count else (1, 0)
    first = int(wanted["first"])
    last = min(int(wanted["last"]), size - 1) if wanted["last"] else size - 1
    return first, (last if first < size else first - 1)
