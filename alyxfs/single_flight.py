"""One piece of work for all who ask for the same at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from alyxfs import errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alyxfs.tasks import Tasks

Key = TypeVar("Key")
Result = TypeVar("Result")


class _Flight(Generic[Result]):
    """Work under way."""

    def __init__(self) -> None:
        self.landed = trio.Event()
        self.result: Result | None = None
        self.failure: errors.AlyxfsError | None = None


class SingleFlight(Generic[Key, Result]):
    """State: ``_under_way`` changes only between two awaits."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._under_way: dict[Key, _Flight[Result]] = {}

    async def result(self, key: Key, work: Callable[[], Awaitable[Result]], *, joins: bool = True) -> Result:
        """What ``work`` returns; it goes on when those who wait for it give up.

        With ``joins=False`` nothing is joined that began earlier: its result may be older than the caller may use.
        Raises what the work raises, to each an exception of its own, and Unreachable where the drive is taken down.
        """
        flight = self._under_way.get(key) if joins else None
        if flight is None:
            flight = self._under_way[key] = _Flight()
            self._begin(key, work, flight)
        await flight.landed.wait()
        if flight.failure is not None:
            raise flight.failure.again()
        return flight.result  # type: ignore[return-value]  # set where nothing failed

    def forget(self, matches: Callable[[Key], bool]) -> None:
        """Let nobody join what is under way for these."""
        for key in [key for key in self._under_way if matches(key)]:
            del self._under_way[key]

    def _begin(self, key: Key, work: Callable[[], Awaitable[Result]], flight: _Flight[Result]) -> None:
        async def fly() -> None:
            try:
                flight.result = await work()
            except trio.Cancelled:
                flight.failure = errors.Unreachable("The drive is being taken down.")
                raise

        def failed(failure: errors.AlyxfsError) -> None:
            flight.failure = failure

        def landed() -> None:
            if self._under_way.get(key) is flight:
                del self._under_way[key]
            flight.landed.set()

        self._tasks.start(fly, failed=failed, ended=landed)
