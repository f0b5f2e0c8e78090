"""Log-in: a token for the API, asked for when there is none or when the server refuses it, never more often."""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from alyxfs import documents, errors
from alyxfs.alyx.accounts import Account, find_account, forget_token, save_token, saved_token

if TYPE_CHECKING:
    from alyxfs.net import Network

__all__ = [
    "Account",
    "Login",
    "find_account",
    "forget_token",
    "log_in",
    "plain_http_warning",
    "save_token",
    "saved_token",
]

log = logging.getLogger(__name__)

_REFUSAL_KEPT = 60.0
"""Seconds for which a refused log-in is not tried again: a drive asks often, and servers lock accounts."""


class Login:
    """The token of one user at one server, sent to that server alone.

    State: ``_token`` changes only inside ``_lock``; ``authorization`` and ``accepted`` may be called at any time.
    """

    def __init__(self, network: Network, base_url: str, account: Account) -> None:
        self.base_url = base_url.rstrip("/")
        self._network = network
        self._account = account
        self._token = account.token
        self._lock = trio.Lock()
        self._refusal: errors.AccessDenied | None = None
        self._refused_at = 0.0
        self._is_accepted = True
        network.trust(self.base_url, self.authorization)

    def authorization(self) -> str | None:
        """The header that goes to this server."""
        return None if self._token is None else f"Token {self._token}"

    def accepted(self) -> None:
        """Note that the server took the token: when it refuses it later, another log-in may help."""
        self._is_accepted = True

    async def token(self) -> str | None:
        """The token, after a log-in if there is none yet; raises AccessDenied where there is no way to one."""
        if self._token is None:
            await self.renew(None)
        return self._token

    async def renew(self, refused: str | None) -> None:
        """Get another token in place of the refused one; callers that wait here share one log-in.

        Raises AccessDenied where no password is known, or where the server refuses it.
        """
        async with self._lock:
            if self._token is not None and self._token != refused:
                return  # somebody else renewed it while we waited
            if self._refusal is not None and trio.current_time() - self._refused_at < _REFUSAL_KEPT:
                raise _again(self._refusal)
            try:
                token = await self._log_in()
            except errors.AccessDenied as refusal:
                self._refusal, self._refused_at = refusal, trio.current_time()
                raise
            self._token, self._refusal, self._is_accepted = token, None, False

    async def _log_in(self) -> str:
        user, password = self._account.user, self._account.password
        if self._token is not None and not self._is_accepted:
            raise errors.AccessDenied(
                f"{self.base_url} refuses even the token it has just given to {user}.", status=403
            )
        if password is None or user is None:
            what = "refuses the token" if self._token else "wants a user"
            raise errors.AccessDenied(
                f"{self.base_url} {what}, and no password is known{f' for {user}' if user else ''}: "
                f"run `alyxfs login {self.base_url}`, or set ALYXFS_USER and ALYXFS_PASSWORD.",
                status=403,
            )
        self._token = None  # the request for a token must not carry the one that was refused
        token = await log_in(self._network, self.base_url, user, password)
        log.info("logged in at %s as %s", self.base_url, user)
        return token


async def log_in(network: Network, base_url: str, user: str, password: str) -> str:
    """Exchange user and password for a token; raises AccessDenied where the server refuses them."""
    url = base_url.rstrip("/") + "/auth-token"
    answer = await network.request(
        "POST",
        url,
        headers={"Accept": "application/json", "Content-Type": "application/json"},
        content=documents.compact({"username": user, "password": password}),
    )
    if answer.status in {400, 401, 403}:
        raise errors.AccessDenied(
            f"{base_url} refuses user {user!r} with this password. Check both with `alyxfs login {base_url}`.",
            status=answer.status,
            url=url,
        )
    try:
        token = documents.decode(answer.body)["token"]
    except (ValueError, KeyError, TypeError) as error:
        raise errors.ServerFault(
            f"{url} answered {answer.status} without a token: is this address an Alyx?", status=answer.status, url=url
        ) from error
    return str(token)


def plain_http_warning(url: str) -> str | None:
    """A sentence for the user where password and token would cross a network readably, else None.

    Laboratories do run Alyx over plain http inside their own network, so this warns and does not refuse.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or _is_loopback(parts.hostname or ""):
        return None
    return f"{url} is plain http: user, password and token can be read by anybody on the way. Use https where you can."


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _again(error: errors.AccessDenied) -> errors.AccessDenied:
    """The same refusal as a new exception, so that tracebacks of different callers do not pile up on one."""
    return errors.AccessDenied(str(error), status=error.status, url=error.url)
