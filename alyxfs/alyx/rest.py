"""One Alyx over HTTP: addresses, answers, and errors with the server's own words. Nothing is remembered here."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

import trio
from cachetools import TTLCache

from alyxfs import clock, errors, json_text
from alyxfs.alyx import outages
from alyxfs.alyx.auth import Login
from alyxfs.alyx.downloads import downloaded
from alyxfs.alyx.identities import named_by
from alyxfs.alyx.lookups import can_mislead, proves_itself, quote_key
from alyxfs.alyx.record_proxy import DATE_STEP, LEAST_AGE
from alyxfs.alyx.refusals import LARGE_ANSWER, is_refused_token, refuse
from alyxfs.net import LARGEST_BODY, Answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from alyxfs.alyx.auth import Account
    from alyxfs.alyx.downloads import Write
    from alyxfs.alyx.record_proxy import Kept, RecordProxy
    from alyxfs.alyx.walk import Walk
    from alyxfs.net import Network

log = logging.getLogger(__name__)

MAXIMUM_PAGE = 1000
"""Rows in a page; the server caps a larger limit in silence (BEHAVIOUR of Alyx 3.6.1, "Pages")."""

LARGEST_PARSED = 96 * 1024**2
"""Bytes that an answer may take once it is parsed: a page of 16 MB takes some 60, one made to fill memory 500."""
LARGEST_SCHEMA = 16 * 1024**2
"""Bytes; that of Alyx 3.6.1 has 0.6 MB."""
MAXIMUM_COUNT = 20_000_000
"""Records that a list may say it has: the largest Alyx has some millions of files."""
MAXIMUM_OFFSET = 100 * 365 * 86_400
"""Seconds that the server's clock may be off ours before its dates are nonsense."""

_HEAD_WAIT = 5.0
"""Seconds."""

_PROVEN_SECONDS = 600.0
"""How long what an address leads to is believed: a write reads the record first, and may take some deadlines."""
_PROVEN_LIMIT = 1000

Result = TypeVar("Result")
Filters = tuple[tuple[str, str], ...]

Fetch = Callable[[Filters, int, int], Awaitable["Page"]]
"""Gives a page of one list: filters, limit, offset."""


@dataclass(frozen=True)
class Page:
    """One page of a list."""

    count: int | None
    """Rows in the whole list, as the server counts them; None where it does not say, or nothing that can be."""
    rows: list[dict[str, Any]]
    """A row that is no object stands here as the only value of one, under the key ``""``: it counts, no more."""
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

    def __init__(self, network: Network, base_url: str, account: Account, *, keeps_token: bool = False) -> None:
        self.base_url = base_url.rstrip("/")
        self.requests = 0
        """Requests made so far, log-ins not counted."""
        self.clock_offset = 0.0
        """Seconds by which the server's clock is ahead of ours, as its last answer said; to the second."""
        self.proxy: RecordProxy | None = None
        """Who is asked for records first."""
        self._most_ahead: float | None = None
        """What ``clock_offset`` is at most; None until the server itself has answered."""
        self._network = network
        self._proven: TTLCache[str, None] = TTLCache(_PROVEN_LIMIT, _PROVEN_SECONDS)
        """Addresses with look-ups that can mislead whose record was read there."""
        network.alyx_at(base_url)
        self._login = Login(network, base_url, account, keeps_token=keeps_token)

    def address(self, endpoint: str, key: str | None = None) -> str:
        """The address of a list, or of one record."""
        return f"{self.base_url}/{endpoint}" + ("" if key is None else "/" + quote_key(key))

    async def schema_document(self) -> dict[str, Any]:
        """The server's OpenAPI document; older servers have none and give a Core API document."""
        url = self.base_url + "/api/schema"
        answer = await self._exchange("GET", url, largest=LARGEST_SCHEMA, is_open=True)
        if answer.status in {404, 406}:
            url = self.base_url + "/docs"
            answer = await self._exchange("GET", url, accept="application/coreapi+json", largest=LARGEST_SCHEMA)
        document = await self._read(answer, url)
        if not isinstance(document, dict):
            raise errors.ServerFault(f"{url} does not describe an Alyx.", url=url)
        return document

    async def page(self, endpoint: str, filters: Filters, limit: int, offset: int) -> Page:
        """Rows ``offset`` to ``offset + limit`` of the list; past the end there are none."""
        url = f"{self.address(endpoint)}?{query_of(filters, limit, offset)}"
        answer = await self._exchange("GET", url)
        document = await self._read(answer, url)
        if isinstance(document, list):  # a list without pages
            document = {"count": len(document), "results": document[offset : offset + limit]}
        rows = document.get("results") if isinstance(document, dict) else None
        if not isinstance(rows, list):
            raise errors.ServerFault(f"{self.address(endpoint)} did not answer with a list of records.", url=url)
        count = document.get("count")
        count = count if type(count) is int and count >= 0 else None
        if count is not None and count > MAXIMUM_COUNT:
            sentence = f"{self.address(endpoint)} says that it has more than {MAXIMUM_COUNT} records: no Alyx has."
            raise errors.ServerFault(sentence, url=url)
        return Page(count, [row if isinstance(row, dict) else {"": row} for row in rows], len(answer.body))

    def walk(self, endpoint: str, filters: Filters, begin: Callable[[Fetch], Walk]) -> Walk:  # noqa: ARG002
        """The walk of a list that ``begin`` makes of what gives its pages, as it is to be shown."""
        return begin(functools.partial(self.page, endpoint))

    async def detail(self, endpoint: str, key: str, lookup: str | None = None) -> dict[str, Any]:
        """One record by the value of its look-up; ``lookup`` is the field.

        Raises NotFound without asking where the look-up holds a ``/``, with which no record has an address,
        ServerFault where the answer says itself that it is another record, and Misdirected where the look-up can lead
        to one on the way and the answer does not prove that it is the right one.
        """
        url = self.address(endpoint, key)
        if "/" in key:
            raise errors.NotFound(f"{endpoint} has no address for {key!r}, because of the '/' in it.", url=url)
        document = await self._read(await self._exchange("GET", url), url)
        return self._proven_record(document, endpoint, key, lookup)

    async def recent_detail(
        self, endpoint: str, key: str, lookup: str | None, may_be_from: Callable[[float], bool]
    ) -> tuple[dict[str, Any], float]:
        """One record as :meth:`detail` gives it, and the time (Unix seconds) from which on it was so.

        It may be one that a proxy has kept, if ``may_be_from`` says so of the time at which the server gave it.
        """
        kept = None
        is_told = self.proxy is not None and self._most_ahead is not None
        if is_told and not ("/" in key or can_mislead(key)) and may_be_from(clock.now() - LEAST_AGE):
            kept = await self._kept(self.address(endpoint, key), may_be_from)
        if kept is None:
            asked_at = clock.now()
            return await self.detail(endpoint, key, lookup), asked_at
        document = await self._read(kept.answer, self.address(endpoint, key))
        return self._proven_record(document, endpoint, key, lookup), kept.given_at

    async def _kept(self, url: str, may_be_from: Callable[[float], bool]) -> Kept | None:
        assert self.proxy is not None
        assert self._most_ahead is not None
        await self._login.token()
        headers = {"Accept": "application/json", **self._credentials()}
        return await self.proxy.ask(url, headers, self._most_ahead, may_be_from)

    def _proven_record(self, document: Any, endpoint: str, key: str, lookup: str | None) -> dict[str, Any]:
        """The document if it is the record that was asked for; see :meth:`detail`."""
        url = self.address(endpoint, key)
        if not isinstance(document, dict):
            raise errors.ServerFault(f"{url} did not answer with a record.", url=url)
        named = named_by(document, lookup) if lookup else None
        if named not in {None, key} and not can_mislead(key):
            raise errors.ServerFault(f"{url} was answered with another record, {named}.", url=url)
        if can_mislead(key):
            if not proves_itself(document, endpoint, lookup, key):
                raise errors.Misdirected(
                    f"{url} was answered with another record than {endpoint}/{key}: "
                    "a server on the way reads such a name as part of the address.",
                    url=url,
                )
            self._proven[url] = None
        return document

    async def get(self, path: str) -> Any:
        """The JSON at an address that is no resource, as ``/cache/info/``; ``path`` begins with a slash."""
        url = self.base_url + path
        return await self._read(await self._exchange("GET", url), url)

    async def download(self, address: str, write: Write, largest: int, deadline: float) -> None:
        """Give the body at an address that is no resource to ``write``, piece by piece, which is called in a thread.

        ``address``: a path of this server, or one elsewhere, where no credentials go. Raises AnswerTooLarge as soon as
        it is clear that there are more than ``largest`` bytes; ``deadline`` in seconds. What ``write`` raises ends it.
        """
        url = self.base_url + address if address.startswith("/") else address
        self.requests += 1
        if not url.startswith(f"{self.base_url}/"):
            if (answer := await downloaded(self._network, url, {}, write, largest, deadline)) is not None:
                refuse(answer, "GET", url)
            return
        token = await self._login.token()
        answer = await downloaded(self._network, url, self._credentials(), write, largest, deadline)
        if answer is not None and answer.status == 403 and is_refused_token(answer):  # noqa: PLR2004
            await self._login.renew(token)
            answer = await downloaded(self._network, url, self._credentials(), write, largest, deadline)
        if answer is not None:
            refuse(answer, "GET", url)
        self._login.accepted()

    def state(self) -> dict[str, object]:
        """For ``status.json``."""
        waiting, pause = self._network.waiting_for_limit(self.base_url), round(self._login.pause)
        about_requests = {"requests": self.requests, "waiting_for_limit": waiting}
        about_proxy = {}
        if self.proxy is not None:
            about_proxy = {"api_proxy": self.proxy.base, "proxy_asked": self.proxy.asked, "proxy_used": self.proxy.used}
        return {"server": self.base_url, **about_requests, "login_tried_again_in": pause, **about_proxy}

    @property
    def held_token(self) -> str | None:
        """The token in use, without a log-in."""
        return self._login.held

    async def may_only_read(self, endpoint: str) -> bool:
        """Whether the server lets this user do no more: such a one may not even ask with HEAD (measured on 3.6.1).

        False where that is not answered soon: on the way there may be a server that knows no HEAD.
        """
        with trio.move_on_after(_HEAD_WAIT):
            answer = await self._exchange("HEAD", f"{self.address(endpoint)}?limit=1")
            return answer.status == 403  # noqa: PLR2004
        return False

    async def once_it_is_back(
        self, ask: Callable[[], Awaitable[Result]], failure: errors.AlyxfsError, began: float
    ) -> Result:
        """See there: for who has nothing to show meanwhile."""
        return await outages.once_it_is_back(self._network, self.base_url, ask, failure, began)

    def in_a_row(self) -> AbstractAsyncContextManager[None]:
        """The requests of this task in the block follow each other without waiting for those of other tasks."""
        return self._network.in_a_row(self.base_url)

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
        if key is not None and can_mislead(key) and url not in self._proven:
            raise errors.NotAllowed(f"{method} {url} is not sent: it may lead to another record than {key!r}.", url=url)
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
        largest: int = LARGEST_BODY,
        is_open: bool = False,
    ) -> Answer:
        """``is_open``: the server answers everybody, so that who has no account learns whether there is a server."""
        headers = {"Accept": accept}
        content = data = None
        if files is not None:
            data = {name: str(value) for name, value in (document or {}).items()}
        elif document is not None:
            headers["Content-Type"] = "application/json"
            content = json_text.compact(document)

        async def once() -> Answer:
            self.requests += 1
            sent_at = clock.now()
            answer = await self._network.request(
                method,
                url,
                headers=headers | self._credentials(),
                content=content,
                files=files,
                data=data,
                largest=largest,
            )
            self._note_clock(answer, sent_at)
            return answer

        token = self._login.held if is_open else await self._login.token()
        answer = await once()
        if answer.status == 403 and is_refused_token(answer):  # noqa: PLR2004
            await self._login.renew(token)
            answer = await once()
        if answer.status < 400 and not is_open:  # noqa: PLR2004 - an error may have come before the token was looked at
            self._login.accepted()
        return answer

    def _credentials(self) -> dict[str, str]:
        """The headers of the API's own requests, and of no others: what the database names may lead here, too."""
        authorization = self._login.authorization()
        return {} if authorization is None else {"Authorization": authorization}

    def _note_clock(self, answer: Answer, sent_at: float) -> None:
        # No date, or none that can be read: the last one stands.
        with contextlib.suppress(TypeError, ValueError, OverflowError, OSError, IndexError):
            date = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
            offset = date - clock.now()
            if abs(offset) < MAXIMUM_OFFSET:
                self.clock_offset, self._most_ahead = offset, date + DATE_STEP - sent_at

    async def _read(self, answer: Answer, url: str, method: str = "GET") -> Any:
        if not 200 <= answer.status < 300:  # noqa: PLR2004
            refuse(answer, method, url)
        if not answer.body:
            return None
        try:
            if len(answer.body) < LARGE_ANSWER:
                return _parsed(answer.body)
            return await trio.to_thread.run_sync(_parsed, answer.body, LARGEST_PARSED)
        except ValueError as error:
            # The thread keeps it until its next job, and it leads to frames that hold the text.
            failure = _unreadable(error.with_traceback(None), answer.status, url)
        del answer
        raise failure


def _parsed(text: bytes, most_memory: int | None = None) -> Any:
    try:
        return json_text.decode(text, most_memory)
    except json_text.TooMuchError:
        raise
    except ValueError as error:
        reason = str(error)
    raise ValueError(reason)  # JSONDecodeError would hold the text


def _unreadable(error: ValueError, status: int, url: str) -> errors.ServerFault:
    if isinstance(error, json_text.TooMuchError):
        return errors.AnswerTooLarge(f"{url} answered with too much: {error}.", url=url)
    return errors.ServerFault(f"{url} did not answer with JSON that can be read: {error}.", status=status, url=url)


def query_of(filters: Filters, limit: int, offset: int) -> str:
    """What stands behind the question mark of a page's address."""
    # Names in paths may hold halves of characters (see file_names): the server is asked for what they are.
    values = [*combined(filters), ("limit", limit), ("offset", offset)]
    return urlencode(values, encoding="utf-8", errors="surrogatepass", quote_via=quote)


def combined(filters: Filters, conditions: Sequence[str] = ()) -> Filters:
    """Filters with further ``django`` conditions; the server reads one such parameter and means "and" by its commas."""
    django = [*(value for name, value in filters if name == "django"), *conditions]
    others = tuple((name, value) for name, value in filters if name != "django")
    return (*others, ("django", ",".join(django))) if django else others
