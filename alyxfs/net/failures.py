"""What goes wrong below as domain errors: the one place that knows the exceptions of httpx and what it stands on."""

from __future__ import annotations

import ssl

import h11
import httpx
import trio

from alyxfs import errors
from alyxfs.net.addresses import shown
from alyxfs.net.sockets import reason

UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
"""No connection was made, so that the server saw nothing."""
FAILURES = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    h11.ProtocolError,
    ssl.SSLError,
    OSError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    ValueError,  # of addresses and headers that cannot be encoded, and of compressed bodies
)
"""What a request may end with that is no domain error."""


def before_answer(error: Exception, base: str, url: str) -> errors.AlyxfsError:
    """Why no answer began; ``base`` is the server's address."""
    if isinstance(error, UNSENT):
        return errors.NotConnected(f"{base} cannot be reached: {words(error)}.", url=shown(url))
    if isinstance(error, httpx.TimeoutException):
        return errors.Unreachable(f"{base} cannot be reached: {words(error)}.", url=shown(url))
    if isinstance(error, (httpx.InvalidURL, httpx.LocalProtocolError, ValueError)):
        return errors.BadAddress(f"{shown(url)} is nothing that a server can be asked for: {words(error)}.")
    return broken_off(error, url)


def broken_off(error: Exception, url: str) -> errors.ServerFault:
    """Why an answer did not come to its end."""
    if isinstance(error, (httpx.RemoteProtocolError, h11.RemoteProtocolError)) and not _has_ended(error):
        return errors.Garbled(f"The answer of {shown(url)} is garbled: {words(error)}.", url=shown(url))
    return errors.ServerFault(f"The answer of {shown(url)} broke off: {words(error)}.", url=shown(url))


def _has_ended(error: Exception) -> bool:
    """Whether the connection was closed, which h11 and httpcore tell by their words alone."""
    return any(word in str(error) for word in ("disconnected", "closed"))


def too_late(url: str, limit: float) -> errors.DeadlineExceeded:
    """No answer in so many seconds."""
    return errors.DeadlineExceeded(f"{shown(url)} did not answer within {limit:.3g} s.", url=shown(url))


def throttled(base: str, pause: float, url: str) -> errors.Throttled:
    """The server asks for a pause of so many seconds."""
    return errors.Throttled(
        f"{base} asks for a pause of {pause:.0f} s (too many requests). Try again after that; where it happens often, "
        "mount with a lower --requests-per-minute or fewer --file-connections.",
        status=429,
        url=shown(url),
    )


def no_turn(base: str, url: str) -> errors.Throttled:
    """We ask the server no more in a minute than it bears, and this request had no turn in its time."""
    return errors.Throttled(
        f"{base} was not asked in time: too many requests of yours wait for their turn, in this drive or in others "
        "(--requests-per-minute). Try again.",
        status=429,
        url=shown(url),
    )


def words(error: Exception) -> str:
    """What an exception says, as a part of a sentence."""
    return reason(error).rstrip(".")
