"""Records by way of a caching proxy that the user named, shared by the drives of a cluster that only read.

The proxy is asked for ``<proxy>/<scheme>/<host>/<path>``, as for data files, and keeps answers for a while, for each
``Authorization`` its own. An answer that does not tell how old it is, or that is older than may be shown, is not used:
then the server itself is asked, as it is for all but records, so that nothing here decides what a record is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from alyxfs import clock, errors
from alyxfs.net import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from alyxfs.net import Answer, Network, RateLimit

log = logging.getLogger(__name__)

TOLD_BY_NGINX = "x-cache-status"
"""nginx keeps no Age. Its configuration for clusters says by this header that it passes the server's Date on."""
DATE_STEP = 1.0
"""Seconds that a Date, or an Age, leaves out at most."""
LEAST_AGE = 5.0
"""Seconds: where nothing of this age may be shown, the proxy is not asked at all."""
PATIENCE = 0.5
"""Share of the deadline that the proxy may take: the rest is for the server."""


@dataclass(frozen=True)
class Kept:
    """An answer that may be used."""

    answer: Answer
    given_at: float
    """Unix seconds, by :mod:`alyxfs.clock`, before which the server did not give it."""


class RecordProxy:
    """Where it is, and what came of asking it. Raises ConfigurationError for what is no address."""

    def __init__(self, network: Network, url: str, limit: RateLimit) -> None:
        parts = urlsplit(url)
        try:
            origin_of(url)
        except errors.AlyxfsError as error:
            raise errors.ConfigurationError(f"The option api_proxy: {error}") from error
        if parts.query or parts.fragment or parts.username:
            sentence = "The option api_proxy takes an address as http://cache:8081, without user, query and fragment."
            raise errors.ConfigurationError(sentence)
        self._network = network
        self.base = url.rstrip("/")
        network.allow(self.base)
        network.origin(self.base, limit)
        self.asked = self.used = 0
        """Requests to it, and answers of it that were shown."""

    async def ask(
        self, url: str, headers: Mapping[str, str], most_ahead: float, may_be_from: Callable[[float], bool]
    ) -> Kept | None:
        """The proxy's answer to a GET of the server's ``url``; None where the server itself is to be asked.

        ``most_ahead``: seconds that the server's clock is ahead of ours at most. ``may_be_from``: whether what the
        server gave at a time may be shown. Raises Throttled where the server asks for a pause.
        """
        self.asked += 1
        sent_at = clock.now()
        address = f"{self.base}/{url.replace('://', '/', 1)}"
        try:
            answer = await self._network.request(
                "GET", address, headers=headers, deadline=PATIENCE * self._network.deadline
            )
        except errors.Throttled:
            raise
        except errors.AlyxfsError as error:
            log.info("%s is asked itself: %s", url, error)
            return None
        if answer.status != 200:  # noqa: PLR2004 - what it says of an error is the server's to say
            return None
        given_at = given(answer.headers, sent_at, most_ahead)
        if given_at is None or not may_be_from(given_at):
            return None
        self.used += 1
        return Kept(answer, given_at)


def given(headers: Mapping[str, str], sent_at: float, most_ahead: float) -> float | None:
    """When, at the earliest, the server gave this answer; None where the answer does not tell (RFC 9111, 4.2.3).

    Times in Unix seconds by :mod:`alyxfs.clock`; ``sent_at``: when it was asked for.
    """
    if "age" not in headers and TOLD_BY_NGINX not in headers:
        return None
    try:
        age = int(headers.get("age", "0"))
        dated = parsedate_to_datetime(headers.get("date", "")).timestamp() - most_ahead
    except (TypeError, ValueError, OverflowError, OSError, IndexError):
        return None
    return None if age < 0 else min(dated, sent_at - age - DATE_STEP)
