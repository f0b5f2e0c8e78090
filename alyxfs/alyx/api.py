"""One Alyx over HTTP: addresses, answers, and errors with the server's own words. Nothing is remembered here."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlencode

import trio

from alyxfs import documents, errors
from alyxfs.alyx.login import Login

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alyxfs.alyx.login import Account
    from alyxfs.net import Answer, Network

log = logging.getLogger(__name__)

MAXIMUM_PAGE = 1000
"""Rows in a page; the server caps a larger limit in silence (BEHAVIOUR of Alyx 3.6.1, "Pages")."""

_LARGE_ANSWER = 64 * 1024
"""Bytes: parsing more than this in the loop (about 0.3 ms) would be felt by other readers."""

_MAXIMUM_WORDS = 500
"""Characters of the server's words that go into a message."""

Filters = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Page:
    """One page of a list."""

    count: int | None
    """Rows in the whole list, as the server counts them; None where it does not say."""
    rows: list[dict[str, Any]]
    size: int
    """Bytes of the answer."""


@dataclass(frozen=True)
class Reply:
    """The answer to a write."""

    status: int
    document: Any
    """None where the answer has no body."""


class Api:
    """The requests that one Alyx understands. Log-in is done when the first request needs it.

    Every method raises Unreachable, DeadlineExceeded, Throttled, ServerFault, AccessDenied, NotFound, NotAllowed or
    Invalid, the last four with the server's words.
    """

    def __init__(self, network: Network, base_url: str, account: Account) -> None:
        self.base_url = base_url.rstrip("/")
        self.requests = 0
        """Requests made so far, log-ins not counted."""
        self.clock_offset = 0.0
        """Seconds by which the server's clock is ahead of ours, as its last answer said; to the second."""
        self._network = network
        self._login = Login(network, base_url, account)

    def address(self, endpoint: str, key: str | None = None) -> str:
        """The address of a list, or of one record."""
        return f"{self.base_url}/{endpoint}" + ("" if key is None else "/" + quote_key(key))

    async def schema_document(self) -> dict[str, Any]:
        """The server's OpenAPI document; older servers have none and give a Core API document."""
        url = self.base_url + "/api/schema"
        answer = await self._exchange("GET", url)
        if answer.status in {404, 406}:
            url = self.base_url + "/docs"
            answer = await self._exchange("GET", url, accept="application/coreapi+json")
        document = await self._read(answer, url)
        if not isinstance(document, dict):
            raise errors.ServerFault(f"{url} does not describe an Alyx.", url=url)
        return document

    async def page(self, endpoint: str, filters: Filters, limit: int, offset: int) -> Page:
        """Rows ``offset`` to ``offset + limit`` of the list; past the end there are none."""
        query = urlencode([*combined(filters), ("limit", limit), ("offset", offset)], quote_via=quote)
        url = f"{self.address(endpoint)}?{query}"
        answer = await self._exchange("GET", url)
        document = await self._read(answer, url)
        if isinstance(document, list):  # a list without pages
            document = {"count": len(document), "results": document[offset : offset + limit]}
        rows = document.get("results") if isinstance(document, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise errors.ServerFault(f"{self.address(endpoint)} did not answer with a list of records.", url=url)
        count = document.get("count")
        return Page(count if isinstance(count, int) else None, rows, len(answer.body))

    async def detail(self, endpoint: str, key: str) -> dict[str, Any]:
        """One record by its look-up."""
        url = self.address(endpoint, key)
        document = await self._read(await self._exchange("GET", url), url)
        if not isinstance(document, dict):
            raise errors.ServerFault(f"{url} did not answer with a record.", url=url)
        return document

    async def get(self, path: str, deadline: float | None = None) -> bytes:
        """The body at an address that is no resource, as ``/cache.zip``; ``path`` begins with a slash.

        ``deadline`` in seconds, where it is not that of all requests.
        """
        url = self.base_url + path
        answer = await self._exchange("GET", url, accept="*/*", deadline=deadline)
        if answer.status != 200:  # noqa: PLR2004
            refuse(answer, "GET", url)
        return answer.body

    async def send(
        self,
        method: str,
        endpoint: str,
        key: str | None,
        document: Any,
        *,
        files: Mapping[str, Any] | None = None,
    ) -> Reply:
        """A write, sent once. With ``files`` (multipart) the document's values go as form fields.

        Sent again only where the server refused the token before looking at the request.
        """
        url = self.address(endpoint, key)
        answer = await self._exchange(method, url, document=document, files=files)
        return Reply(answer.status, await self._read(answer, url, method))

    async def _exchange(
        self,
        method: str,
        url: str,
        *,
        accept: str = "application/json",
        document: Any = None,
        files: Mapping[str, Any] | None = None,
        deadline: float | None = None,
    ) -> Answer:
        headers = {"Accept": accept}
        content = data = None
        if files is not None:
            data = {name: str(value) for name, value in (document or {}).items()}
        elif document is not None:
            headers["Content-Type"] = "application/json"
            content = documents.compact(document)

        async def once() -> Answer:
            self.requests += 1
            answer = await self._network.request(
                method, url, headers=headers, content=content, files=files, data=data, deadline=deadline
            )
            self._note_clock(answer)
            return answer

        token = await self._login.token()
        answer = await once()
        if answer.status == 403 and is_refused_token(answer):  # noqa: PLR2004
            await self._login.renew(token)
            answer = await once()
        if answer.status < 400:  # noqa: PLR2004 - an error may have come before the token was looked at
            self._login.accepted()
        return answer

    def _note_clock(self, answer: Answer) -> None:
        with contextlib.suppress(TypeError, ValueError):  # no date, or none that can be read: the last one stands
            self.clock_offset = parsedate_to_datetime(answer.headers.get("date", "")).timestamp() - time.time()

    async def _read(self, answer: Answer, url: str, method: str = "GET") -> Any:
        if not 200 <= answer.status < 300:  # noqa: PLR2004
            refuse(answer, method, url)
        if not answer.body:
            return None
        try:
            if len(answer.body) < _LARGE_ANSWER:
                return documents.decode(answer.body)
            return await trio.to_thread.run_sync(documents.decode, answer.body)
        except ValueError as error:
            raise errors.ServerFault(f"{url} did not answer with JSON.", status=answer.status, url=url) from error


def quote_key(key: str) -> str:
    """A look-up as one part of an address. Clients fold ``.`` and ``..`` away unless the dots are encoded too."""
    if key in {".", ".."}:
        return "%2E" * len(key)
    return quote(key, safe="", errors="surrogatepass")


def is_refused_token(answer: Answer) -> bool:
    """Whether a 403 is about the token and not about a missing permission: only its words tell (BEHAVIOUR)."""
    words = server_words(answer).lower()
    return "invalid token" in words or "credentials were not provided" in words or "user inactive" in words


def server_words(answer: Answer) -> str:
    """What the server says of an error: its ``detail``, or each field with its messages."""
    if "json" not in answer.headers.get("content-type", ""):
        return _text_of_html(answer.body)[:_MAXIMUM_WORDS]
    try:
        document = documents.decode(answer.body)
    except ValueError:
        return answer.body.decode(errors="replace")[:_MAXIMUM_WORDS]
    return _words(document)[:_MAXIMUM_WORDS]


def refuse(answer: Answer, method: str, url: str) -> NoReturn:
    """Raise the domain error of an answer that is no success."""
    words = server_words(answer)
    status = answer.status
    path = url.split("?", maxsplit=1)[0]
    if status == 403:  # noqa: PLR2004
        raise errors.AccessDenied(f"{path}: the server refuses this user: {words}", status=status, url=url)
    if status in {404, 410}:
        raise errors.NotFound(f"{path} does not exist on the server.", status=status, url=url)
    if status == 405:  # noqa: PLR2004
        raise errors.NotAllowed(f"{path}: the server does not offer {method} here.", status=status, url=url)
    if 400 <= status < 500:  # noqa: PLR2004
        raise errors.Invalid(f"{path}: the server refuses this: {words}", status=status, url=url)
    raise errors.ServerFault(f"{path}: the server failed ({status}): {words}", status=status, url=url)


def _words(document: Any) -> str:
    if isinstance(document, dict):
        if set(document) <= {"detail", "status_code"}:
            return _words(document.get("detail", ""))
        fields = ((name, _words(value)) for name, value in document.items() if name != "status_code")
        return "; ".join(words if name == "non_field_errors" else f"{name}: {words}" for name, words in fields)
    if isinstance(document, list):
        return " ".join(_words(item) for item in document)
    return str(document)


class _TextOfHtml(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def _text_of_html(body: bytes) -> str:
    parser = _TextOfHtml()
    parser.feed(body.decode(errors="replace"))
    return " ".join(" ".join(parser.parts).split())


def combined(filters: Filters, conditions: Sequence[str] = ()) -> Filters:
    """Filters with further ``django`` conditions; the server reads one such parameter and means "and" by its commas."""
    django = [*(value for name, value in filters if name == "django"), *conditions]
    others = tuple((name, value) for name, value in filters if name != "django")
    return (*others, ("django", ",".join(django))) if django else others
