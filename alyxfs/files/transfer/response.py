"""What an answer of a file server means for the range that was asked: judged once, here, without side effects."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alyxfs import errors
from alyxfs.files.disk.block_file import Fingerprint
from alyxfs.files.extents import LARGEST
from alyxfs.net import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alyxfs.files.source import Source

_NUMBER = r"([0-9]{1,18})"  # more is no size of a file, and of thousands of digits Python makes no number
# The name of the unit is written in any case (RFC 9110, 14.1).
_CONTENT_RANGE = re.compile(rf"bytes\s+{_NUMBER}-{_NUMBER}/([0-9]{{1,18}}|\*)", re.IGNORECASE)
_UNSATISFIED = re.compile(rf"bytes\s+\*/{_NUMBER}", re.IGNORECASE)
_LENGTH = re.compile(_NUMBER)
_VALIDATOR = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,1000}")
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_MESSAGES = frozenset({"application/json", "application/problem+json", "application/xml", "text/xml"})
"""Media types of what servers, proxies and log-in portals say instead of giving a file, with a status of success."""
_ARE_PAGES = (".html", ".htm", ".xhtml")
_ARE_MESSAGES = (".json", ".ch", ".cmeta", ".xml")
"""Endings of files that may well be of these types."""


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


class Changed(errors.FileChanged):
    """The file is not the one that was being read; ``now`` is what it is instead, as far as the answer tells."""

    def __init__(self, url: str, now: Fingerprint | None) -> None:
        url = shown(url)
        super().__init__(f"{url} changed on its server while it was being read; open it again.", url=url)
        self.now = now


class NotTheFile(errors.ServerFault):
    """A page or message instead of the file: nothing of it is of use, nor is asking again at once."""


class OddSize(errors.ServerFault):
    """Another size than the database says, while there may be a copy that has the right one."""


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


def refuse_page(status: int, headers: Mapping[str, str], url: str, source: Source) -> None:
    """Raise NotTheFile for what cannot be the file that was asked, by its type and length, though the status is fine.

    A file of the length that the database says is taken, whatever type a careless server gives it: its hash decides.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    name = source.name.lower()
    is_page = kind in _PAGES and not name.endswith(_ARE_PAGES)
    is_message = status == 200 and kind in _MESSAGES and not name.endswith(_ARE_MESSAGES)  # noqa: PLR2004 - see judge
    if not is_message and not (is_page and status in {200, 206}):
        return
    length = headers.get("content-range", "").rpartition("/")[2] if status == 206 else headers.get("content-length", "")  # noqa: PLR2004
    if source.size is None or length != str(source.size):
        raise NotTheFile(
            f"{url} answered with {'a page' if is_page else 'a message'} ({kind}) instead of the file: is there a "
            "proxy, or a network that wants a log-in first?",
            status=status,
            url=url,
        )


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
        raise _refusal(status, headers, url, position, pinned)
    if body.fingerprint is not None:
        _refuse_too_large(body.fingerprint.size, status, url)
    if pinned is not None and not _can_be(body, headers, pinned):
        raise Changed(url, body.fingerprint)
    return body


def _can_be(body: Body, headers: Mapping[str, str], pinned: Fingerprint) -> bool:
    """Whether a body can be of the pinned content: where its length is told too late, its validators have to say so."""
    if body.fingerprint is not None:
        return is_same(body.fingerprint, pinned)
    seen = fingerprint(pinned.size, headers)
    is_told = (seen.etag and pinned.etag) or (seen.last_modified and pinned.last_modified)
    is_without = not (pinned.etag or pinned.last_modified)
    return is_same(seen, pinned) if is_told else is_without


def _refuse_too_large(size: int, status: int, url: str) -> None:
    if size > LARGEST:
        raise NotTheFile(
            f"{url} is said to have {size:,} bytes by its file server: that is more than a file can have here.",
            status=status,
            url=url,
        )


def is_same(one: Fingerprint, other: Fingerprint) -> bool:
    """Whether two answers can be of the same content: size, then entity tags, else times of modification."""
    if one.size != other.size:
        return False
    if one.etag and other.etag:
        return one.etag.removeprefix("W/") == other.etag.removeprefix("W/")
    return one.last_modified == other.last_modified or not (one.last_modified and other.last_modified)


def _partial(headers: Mapping[str, str], url: str, position: int) -> Body:
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    start, end = (int(found[1]), int(found[2]) + 1) if found else (0, 0)
    if found is None or not start <= position < end or (found[3] != "*" and end > int(found[3])):
        raise errors.ServerFault(
            f"{url} sent {headers.get('content-range', 'no range')!r} where bytes from {position} on were asked.",
            status=206,
            url=url,
        )
    seen = None if found[3] == "*" else fingerprint(int(found[3]), headers)
    return Body(start, end, seen, whole=False)


def _whole(headers: Mapping[str, str], encoding: str, url: str) -> Body:
    if encoding in {"gzip", "x-gzip"}:
        return Body(0, None, None, whole=True, gzipped=True)
    if encoding != "identity":
        raise errors.ServerFault(f"{url} sends the file in an unknown encoding, {encoding}.", status=200, url=url)
    length = headers.get("content-length", "")
    if not _LENGTH.fullmatch(length):
        return Body(0, None, None, whole=True)
    return Body(0, int(length), fingerprint(int(length), headers), whole=True)


def fingerprint(size: int, headers: Mapping[str, str]) -> Fingerprint:
    """What an answer tells of the content of a file of this size."""
    return Fingerprint(size, _validator(headers, "etag"), _validator(headers, "last-modified"))


def _validator(headers: Mapping[str, str], name: str) -> str | None:
    """What tells one content of a file from another, where it is such that it can be sent back."""
    value = headers.get(name, "")
    return value if _VALIDATOR.fullmatch(value) else None


def _refusal(
    status: int, headers: Mapping[str, str], url: str, position: int, pinned: Fingerprint | None
) -> errors.AlyxfsError:
    if status in {404, 410}:
        return errors.NotDownloadable(
            f"{url} is not on its file server, though the database lists it.", status=status, url=url
        )
    if status in {401, 403}:
        return errors.AccessDenied(
            f"The file server refuses {url}: user and password for it are missing or wrong.", status=status, url=url
        )
    if status == 416 and (found := _UNSATISFIED.fullmatch(headers.get("content-range", "").strip())):  # noqa: PLR2004
        size = int(found[1])
        _refuse_too_large(size, status, url)
        if pinned is not None and size != pinned.size:
            return Changed(url, None)
        if pinned is None and position >= size:
            return SizeDiffers(f"{url} has {size} bytes, not as many as the database says.", size)
    if status == 429:  # noqa: PLR2004
        return errors.Throttled(f"The server of {url} asks for a pause (too many requests).", status=status, url=url)
    # RFC 9110, 15.5.20: it does not answer for this server.
    hint = ": a file proxy says so of a server that its configuration does not name" if status == 421 else ""  # noqa: PLR2004
    return errors.ServerFault(f"{url} answered {status}{hint}.", status=status, url=url)
