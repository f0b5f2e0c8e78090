"""The copies of a file on several servers: which one is read, and what is remembered of those that failed.

The first address is known with the file. The others stand in the dataset's own record, which is asked for only when the
first one fails; they are tried in the order of ONE: mirrors in S3, then the web.

Bytes of two copies are never mixed, as they may be of different contents. From the first answer that is accepted on, a
file is read from that copy alone: whoever has it open gets an error where that one fails, and the next one to open the
file takes another copy.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Protocol

import trio
from cachetools import TTLCache

from alyxfs import errors
from alyxfs.files.transfer.response import OddSize
from alyxfs.net import FAILURES_FROM, GATEWAY_STATUSES, origin_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alyxfs.files.disk.block_file import Fingerprint
    from alyxfs.files.disk.kept_values import KeptValues
    from alyxfs.files.source import Source
    from alyxfs.net import Network

log = logging.getLogger(__name__)

REMEMBERED = 60.0
"""Seconds for which a copy that failed is not asked where there is another one."""
MOST_REMEMBERED = 10_000
"""Failures."""
ASKING = 5.0
"""Seconds that the database may take to name the other copies; before that time it is not asked again in vain."""


class File(Protocol):
    """What is needed of the file."""

    source: Source
    fingerprint: Fingerprint | None
    """The content that is read; None where no answer told it yet."""


class FailedCopies:
    """Which copies failed lately, of all files of a drive. Never awaits."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._addresses: TTLCache[str, errors.AlyxfsError] = TTLCache(MOST_REMEMBERED, REMEMBERED, trio.current_time)
        self._servers: TTLCache[str, tuple[errors.AlyxfsError, float]]
        self._servers = TTLCache(MOST_REMEMBERED, REMEMBERED, trio.current_time)
        """Those that do not answer, with the trio time at which that was seen."""

    def note(self, url: str, failure: errors.AlyxfsError) -> None:
        """Remember why nothing came from there: all addresses of a server fail that does not answer."""
        if _is_of_server(failure):
            self._servers[origin_of(url)] = failure.again(), trio.current_time()
        else:
            self._addresses[url] = failure.again()

    def of(self, url: str) -> errors.AlyxfsError | None:
        """Why this address need not be asked now; None where it may well give the file."""
        failure = self._addresses.get(url)
        if failure is not None:
            return failure
        with contextlib.suppress(errors.BadAddress):
            of_server, since = self._servers.get(origin_of(url), (None, 0.0))
            is_over = isinstance(of_server, errors.Unreachable) and self._network.has_answered_since(url, since)
            return None if is_over else of_server
        return None

    def forget_idle(self) -> None:
        """Drop what is believed no longer."""
        self._addresses.expire()
        self._servers.expire()

    def forget(self, url: str) -> None:
        """Ask this address again."""
        self._addresses.pop(url, None)
        with contextlib.suppress(errors.BadAddress):
            self._servers.pop(origin_of(url), None)


class Copies:
    """The copies of one file.

    State: ``in_use`` is set by :meth:`take` and emptied by :meth:`release`, neither of which awaits; ``_others`` is
    filled once, when the database has named them.
    """

    def __init__(self, file: File, failed: FailedCopies, kept: KeptValues) -> None:
        self._file = file
        self._failed = failed
        self._kept = kept
        """Of contents on disk that are not of their first copy: the address, by identity and version of the file."""
        self.in_use: str | None = None
        """The address whose answer was accepted."""
        self._others: tuple[str, ...] | None = None
        """Addresses but the first one; None where they are not known."""
        self._asking = trio.Lock()
        self._ask_at = 0.0
        """Trio time before which the database is not asked for them again."""
        self.takes_any_size = False
        """No copy has the size that is known: so the first one that gives anything is taken."""

    @property
    def is_settled(self) -> bool:
        """Whether the content is that of one copy already."""
        return self.in_use is not None or self._file.fingerprint is not None

    @property
    def url(self) -> str | None:
        """The address that is read, or that is asked first; None where none is known."""
        if self.in_use is not None:
            return self.in_use
        source = self._file.source
        kept = self._kept.get(source.identity, source.version) if self._file.fingerprint is not None else None
        return kept or source.url

    @property
    def is_failing(self) -> bool:
        """Whether the copy that the content is of failed lately."""
        return self.is_settled and self.url is not None and self._failed.of(self.url) is not None

    async def choose(self, *, is_guess: bool = False) -> str:
        """The address to ask now; raises NotDownloadable where there is none.

        ``is_guess``: nobody has opened the file. That is not worth a request for its other copies: raises why the first
        one failed lately.
        """
        source, url = self._file.source, self.url
        if url is None:
            raise errors.NotDownloadable(f"{source.name} is listed, but no server offers its bytes.")
        if self.is_settled:
            if url != source.url:
                await self._ask()  # requests to it may have to be signed
            return url
        if (failure := self._failed.of(url)) is None:
            return url
        if is_guess:
            raise failure.again()
        await self._ask()
        failures = {one: self._failed.of(one) for one in self._all()}
        for is_right in (_is_none, _is_odd, is_temporary):
            if found := next((one for one, failure in failures.items() if is_right(failure)), None):
                self.takes_any_size |= is_right is _is_odd
                return found
        return url

    async def has_another(self, url: str) -> bool:
        """Whether there is a copy besides this one that may well give the file."""
        await self._ask()
        return any(one != url and self._failed.of(one) is None for one in self._all())

    def failed(self, url: str, failure: errors.AlyxfsError) -> None:
        """Nothing came from this address."""
        self._failed.note(url, failure)

    async def is_another_try_worth_it(self, url: str, failure: errors.AlyxfsError, *, was_left_early: bool) -> bool:
        """Whether to :meth:`choose` once more after this failure.

        ``was_left_early``: it might have come from there, but for another copy it was not waited for.
        """
        if was_left_early or await self.has_another(url):
            return True
        failures = [self._failed.of(one) for one in self._all() if one != url]
        if any(map(_is_odd, failures)) or (_is_odd(failure) and not self.takes_any_size):
            return True
        return not is_temporary(failure) and any(map(is_temporary, failures))

    def take(self, url: str) -> None:
        """An answer from there was accepted: from now on the content is that copy's."""
        self.in_use = url
        source = self._file.source
        names = source.identity, source.version
        is_first = url == source.url
        if self._kept.get(*names) or not is_first:
            self._kept.put(*names, value="" if is_first else url)

    def release(self) -> None:
        """The content is forgotten: any copy may be taken."""
        self.in_use = None
        self.takes_any_size = False

    def forget_failures(self) -> None:
        """Ask every copy again, the first one first."""
        for url in self._all():
            self._failed.forget(url)

    async def find(self, attempt: Callable[[str], Awaitable[object]]) -> None:
        """Try all copies, the one in use first, until one does not fail; raises why none of them does."""
        url = self.url
        if url is None:
            raise errors.NotDownloadable(f"{self._file.source.name} is listed, but no server offers its bytes.")
        try:
            await attempt(url)
        except errors.AlyxfsError as error:
            self.failed(url, error)
            if not await self.find_another(url, attempt):
                raise self.explained(error) from error

    async def find_another(self, url: str, attempt: Callable[[str], Awaitable[object]]) -> bool:
        """Whether one of the copies but this one can be read: all are tried that did not fail lately."""
        await self._ask()
        for other in self._all():
            if other != url and self._failed.of(other) is None:
                try:
                    await attempt(other)
                except errors.AlyxfsError as error:
                    self.failed(other, error)
                else:
                    return True
        return False

    def explained(self, failure: errors.AlyxfsError) -> errors.AlyxfsError:
        """The failure, with what became of every copy; one that may be over soon says what kind it is."""
        failures = [one for one in map(self._failed.of, self._all()) if one is not None]
        if len(failures) < 2:  # noqa: PLR2004 - one is enough said by itself
            return failure
        kind = next(filter(is_temporary, failures), failures[0])
        sentence = f"None of the {len(failures)} copies of {self._file.source.name} can be read. "
        return kind.again(sentence + " ".join(map(str, failures)))

    def _all(self) -> list[str]:
        first = self._file.source.url
        return [*([first] if first else []), *(self._others or ())]

    async def _ask(self) -> None:
        """Learn of the others; where the database does not answer there are none, for now."""
        source = self._file.source
        async with self._asking:
            if self._others is not None or source.copies is None or trio.current_time() < self._ask_at:
                return
            try:
                with trio.fail_after(ASKING):
                    found = await source.copies()
            except (errors.AlyxfsError, trio.TooSlowError) as error:
                log.info("the other copies of %s are not known: %s", source.name, error)
                self._ask_at = trio.current_time() + ASKING
                return
            self._others = tuple(dict.fromkeys(url for url in found if url != source.url))


def is_temporary(failure: errors.AlyxfsError | None) -> bool:
    """Whether waiting may help."""
    if isinstance(failure, errors.ServerFault):
        return not isinstance(failure, errors.AnswerTooLarge) and (failure.status or FAILURES_FROM) >= FAILURES_FROM
    return isinstance(failure, (errors.Unreachable, errors.DeadlineExceeded, errors.Throttled))


def _is_of_server(failure: errors.AlyxfsError) -> bool:
    """Whether all files of the server will fail so."""
    if isinstance(failure, errors.ServerFault):
        return failure.status in GATEWAY_STATUSES
    return isinstance(failure, (errors.Unreachable, errors.DeadlineExceeded, errors.Throttled))


def _is_none(failure: errors.AlyxfsError | None) -> bool:
    return failure is None


def _is_odd(failure: errors.AlyxfsError | None) -> bool:
    return isinstance(failure, OddSize)
