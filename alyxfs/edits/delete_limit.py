"""What stands between ``rm -rf`` and the only database of a lab: what may be deleted here at all, and how fast."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from alyxfs import errors

if TYPE_CHECKING:
    from alyxfs.alyx.schema.read import Endpoint
    from alyxfs.edits.losses import Losses

WINDOW = 60.0
"""Seconds."""
CONSENT_SECONDS = 600.0
"""How long a user's consent to one delete, with all that is lost by it, lasts."""


class DeleteGuard:
    """Lets ``deletes_per_minute`` through in any minute; then nothing passes until it is lifted.

    None lets as many through as come. To wait for the next minute would not do: ``rm -rf`` goes on for longer.
    Attempts count, also those that are refused because others hang from the record: they cost the server several
    requests each. ``user`` is who is logged in. No method awaits.
    """

    def __init__(self, *, deletes_per_minute: int | None, allow_deletes: bool, user: str | None) -> None:
        self._deletes_per_minute = deletes_per_minute
        self._allow_deletes = allow_deletes
        self._user = user
        self._is_pulled = False
        self._times: deque[float] = deque()
        self._consents: dict[tuple[str, str], tuple[frozenset[str], float]] = {}
        """By endpoint and key: the losses that were named, and the trio time until which it holds."""

    def take(self, endpoint: Endpoint, key: str) -> None:
        """Count one delete that is about to be tried; raises NotAllowed where it may not be, or is one too many."""
        path = f"{endpoint.name}/{key}"
        self._refuse_any(path)
        if "DELETE" not in endpoint.detail_methods:
            raise errors.NotAllowed(f"The server does not let {endpoint.name} be deleted.")
        if endpoint.name == "users" and key == self._user:
            raise errors.NotAllowed(
                f"{path} is not deleted: this drive is logged in as {key}, and nothing could be undone afterwards."
            )
        if self._deletes_per_minute is None:
            return
        now = trio.current_time()
        while self._times and self._times[0] <= now - WINDOW:
            self._times.popleft()
        self._is_pulled = self._is_pulled or len(self._times) >= self._deletes_per_minute
        self._refuse_all()
        self._times.append(now)

    def refuse_stopped(self, path: str) -> None:
        """Raise NotAllowed where no delete at all would pass now; counts nothing."""
        self._refuse_any(path)
        self._refuse_all()

    def lift(self) -> None:
        """Let ``deletes_per_minute`` more through."""
        self._is_pulled = False
        self._times.clear()

    def consent(self, endpoint: str, key: str, losses: Losses) -> str:
        """The user wants this record deleted with all that is lost by it; a sentence on what that is."""
        self._consents[endpoint, key] = losses.all, trio.current_time() + CONSENT_SECONDS
        effects = f"; the server would {losses}" if losses.all else ""
        return f"{endpoint}/{key} may be deleted within the next {CONSENT_SECONDS / 60:.0f} minutes{effects}."

    def refuse_losses(self, endpoint: str, key: str, losses: Losses) -> None:
        """Raise HasDependents, or NotAllowed, where more would be lost than an undo brings back or was consented to."""
        consented, until = self._consents.get((endpoint, key), (frozenset[str](), 0.0))
        if losses.all <= (consented if trio.current_time() < until else frozenset()):
            return
        advice = f"`alyxfs allow-deletes {endpoint}/{key}.json` lets it be deleted nevertheless."
        if losses.deleted or losses.unlinked:
            first = "Delete" if losses.deleted else "Change"
            advice = f"{first} those first, if that is what you want; {advice}"
        sentence = f"{endpoint}/{key} is not deleted: the server would {losses}. {advice}"
        raise (errors.HasDependents if losses.deleted or losses.unlinked else errors.NotAllowed)(sentence)

    def _refuse_any(self, path: str) -> None:
        if not self._allow_deletes:
            raise errors.NotAllowed(f"{path} is not deleted: this drive is mounted with --no-delete.")

    def _refuse_all(self) -> None:
        if self._is_pulled:
            raise errors.NotAllowed(
                f"Deleting is stopped: more than {self._deletes_per_minute} records were to be deleted within a "
                "minute. Was that meant? `alyxfs log` shows what was deleted and `alyxfs undo` brings records back; "
                "`alyxfs allow-deletes` lets as many more through."
            )
