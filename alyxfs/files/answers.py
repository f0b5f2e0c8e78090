"""What an answer of a file server means for the range that was asked: judged once, here, without side effects."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alyxfs import errors
from alyxfs.files.blockfile import Fingerprint
from alyxfs.net import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)$")
_UNSATISFIED = re.compile(r"bytes \*/(\d+)$")


@dataclass(frozen=True)
class Body:
    """A usable body."""

    start: int
    """Offset in the file of the body's first byte."""
    end: int | None
    """Offset after its last byte; None where only the end of the answer tells."""
    fingerprint: Fingerprint | None
    """None where the answer does not tell the file's size."""
    whole: bool
    """The server sent the file from its beginning: it has no ranges, at least now."""
    gzipped: bool = False


class SizeDiffers(errors.AlyxfsError):
    """The file ends before the range that was asked (416); ``size`` is the true one."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message, status=416)
        self.size = size


class Encoded(errors.ServerFault):
    """A range of a compressed form of the file: of no use, but the whole of it can be inflated."""


def range_headers(start: int, end: int, pinned: Fingerprint | None) -> dict[str, str]:
    """Ask for a range, and for the whole file instead if it is no longer the one we know."""
    headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
    # RFC 9110, 13.1.5: a weak entity tag must not be sent in If-Range.
    if pinned and pinned.etag and not pinned.etag.startswith("W/"):
        headers["If-Range"] = pinned.etag
    elif pinned and pinned.last_modified:
        headers["If-Range"] = pinned.last_modified
    return headers


def judge(status: int, headers: Mapping[str, str], url: str, position: int, pinned: Fingerprint | None) -> Body:
    """Say where the body belongs that answers a request for the bytes from ``position`` on.

    Raises FileChanged where the file is not the pinned one, SizeDiffers, NotDownloadable, AccessDenied, Throttled,
    or ServerFault for answers that cannot be used.
    """
    encoding = headers.get("content-encoding", "identity").lower()
    if status == 206:  # noqa: PLR2004 - HTTP's own names of its statuses are numbers
        body = _partial(headers, url, position)
        if encoding != "identity":
            raise Encoded(f"{url} sends a range of a {encoding} form of the file.", status=status, url=url)
    elif status == 200:  # noqa: PLR2004
        body = _whole(headers, encoding, url)
    else:
        raise _refusal(status, headers, url, pinned)
    if body.fingerprint is not None and pinned is not None and not is_same(body.fingerprint, pinned):
        raise changed(url)
    return body


def is_same(one: Fingerprint, other: Fingerprint) -> bool:
    """Whether two answers can be of the same content: size, then entity tags, else times of modification."""
    if one.size != other.size:
        return False
    if one.etag and other.etag:
        return one.etag.removeprefix("W/") == other.etag.removeprefix("W/")
    return one.last_modified == other.last_modified or not (one.last_modified and other.last_modified)


def changed(url: str) -> errors.FileChanged:
    """The error for a reader whose file is another one now."""
    url = shown(url)
    return errors.FileChanged(f"{url} changed on its server while it was being read; open it again.", url=url)


def _partial(headers: Mapping[str, str], url: str, position: int) -> Body:
    found = _CONTENT_RANGE.match(headers.get("content-range", ""))
    start, end = (int(found[1]), int(found[2]) + 1) if found else (0, 0)
    if found is None or not start <= position < end:
        raise errors.ServerFault(
            f"{url} sent {headers.get('content-range', 'no range')!r} where bytes from {position} on were asked.",
            status=206,
            url=url,
        )
    fingerprint = None if found[3] == "*" else _fingerprint(int(found[3]), headers)
    return Body(start, end, fingerprint, whole=False)


def _whole(headers: Mapping[str, str], encoding: str, url: str) -> Body:
    if encoding in {"gzip", "x-gzip"}:
        return Body(0, None, None, whole=True, gzipped=True)
    if encoding != "identity":
        raise errors.ServerFault(f"{url} sends the file in an unknown encoding, {encoding}.", status=200, url=url)
    length = headers.get("content-length", "")
    if not length.isdecimal():
        return Body(0, None, None, whole=True)
    return Body(0, int(length), _fingerprint(int(length), headers), whole=True)


def _fingerprint(size: int, headers: Mapping[str, str]) -> Fingerprint:
    return Fingerprint(size, headers.get("etag"), headers.get("last-modified"))


def _refusal(status: int, headers: Mapping[str, str], url: str, pinned: Fingerprint | None) -> errors.AlyxfsError:
    if status in {404, 410}:
        return errors.NotDownloadable(
            f"{url} is not on its file server, though the database lists it.", status=status, url=url
        )
    if status in {401, 403}:
        return errors.AccessDenied(
            f"The file server refuses {url}: user and password for it are missing or wrong.", status=status, url=url
        )
    if status == 416 and (found := _UNSATISFIED.match(headers.get("content-range", ""))):  # noqa: PLR2004
        size = int(found[1])
        if pinned is not None and size != pinned.size:
            return changed(url)
        if pinned is None:
            return SizeDiffers(f"{url} has {size} bytes, not as many as the database says.", size)
    if status == 429:  # noqa: PLR2004
        return errors.Throttled(f"The server of {url} asks for a pause (too many requests).", status=status, url=url)
    return errors.ServerFault(f"{url} answered {status}.", status=status, url=url)
