"""Log-in: a token for the API, asked for when there is none or when the server refuses it, never more often."""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from alyxfs import errors, json_text
from alyxfs.alyx.credentials import Account, find_account, forget_token, is_token, save_token, saved_token

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

LARGEST_ANSWER = 64 * 1024
"""Bytes of the answer to a log-in."""
_REFUSAL_KEPT = 60.0
"""Seconds for which a refused log-in is not tried again: a drive asks often, and servers lock accounts."""


class Login:
    """The token of one user at one server, sent to that server alone.

    With ``keeps_token`` what a log-in brings is kept for the next mounts.

    State: ``_token`` changes only inside ``_lock``; ``authorization`` and ``accepted`` may be called at any time.
    """

    def __init__(self, network: Network, base_url: str, account: Account, *, keeps_token: bool = False) -> None:
        self.base_url = base_url.rstrip("/")
        self._keeps_token = keeps_token
        self._network = network
        self._account = account
        self._token = account.token
        self._lock = trio.Lock()
        self._refusal: errors.AccessDenied | None = None
        self._refused_at = 0.0
        self._tried = account.token
        """The last token that was taken from those that are kept on this machine."""
        self._seen: str | None = None
        """What was kept when it was looked at last."""
        self._is_accepted = True

    def authorization(self) -> str | None:
        """The header of the API's own requests, and of no others: what the database names may lead here, too."""
        return None if self._token is None else f"Token {self._token}"

    def accepted(self) -> None:
        """Note that the server took the token: when it refuses it later, another log-in may help."""
        self._is_accepted = True

    @property
    def held(self) -> str | None:
        """The token there is, without a log-in."""
        return self._token

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
            if self._refusal is not None and await self._take_saved(refused):
                return
            if self._refusal is not None and self.pause > 0:
                raise self._again(self._refusal)
            try:
                token = await self._log_in()
            except errors.AccessDenied as refusal:
                if await self._take_saved(refused):
                    return
                self._refusal, self._refused_at = refusal, trio.current_time()
                # Not when that is tried again: a mount ends with these words.
                raise errors.AccessDenied(str(refusal), status=refusal.status, url=refusal.url) from refusal
            self._token, self._refusal, self._is_accepted = token, None, False
            if self._keeps_token:
                await trio.to_thread.run_sync(self._keep, token)

    def _keep(self, token: str) -> None:
        try:
            where = save_token(self.base_url, self._account.user, token)
        except OSError as error:
            log.info("the token of %s is not kept: %s", self.base_url, error)
        else:
            log.info("the token of %s is kept in %s", self.base_url, where)

    @property
    def pause(self) -> float:
        """Seconds before a log-in that was refused is tried again; 0 where none was."""
        if self._refusal is None:
            return 0.0
        return max(0.0, self._refused_at + _REFUSAL_KEPT - trio.current_time())

    async def _take_saved(self, refused: str | None) -> bool:
        """Use the token that ``alyxfs login`` has kept meanwhile, if it is this user's; whether there is one.

        Of a drive that was mounted with a token alone nobody knows whose it is: it takes what comes after a refusal.
        """
        user, token = await trio.to_thread.run_sync(saved_token, self.base_url) or (None, None)
        is_kept_since = self._refusal is not None and token != self._seen
        self._seen = token
        is_ours = is_kept_since if self._account.user is None else user in {None, self._account.user}
        if token is None or token in {refused, self._tried} or not is_ours:
            return False
        self._token = self._tried = token
        self._refusal, self._is_accepted = None, False
        log.info("took the token that was kept for %s meanwhile", self.base_url)
        return True

    def _again(self, refusal: errors.AccessDenied) -> errors.AccessDenied:
        """The same refusal as a new exception, so that tracebacks of different callers do not pile up on one."""
        words = f"{refusal} It is tried again in {self.pause:.0f} s, and at once after `alyxfs login {self.base_url}`."
        return errors.AccessDenied(words, status=refusal.status, url=refusal.url)

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
        self._token = None  # nobody may use it any more
        token = await log_in(self._network, self.base_url, user, password)
        log.info("logged in at %s as %s", self.base_url, user)
        return token


async def log_in(network: Network, base_url: str, user: str, password: str) -> str:
    """Exchange user and password for a token; raises AccessDenied where the server refuses them."""
    url = base_url.rstrip("/") + "/auth-token"
    network.allow(url)
    began = trio.current_time()
    try:
        answer = await network.request(
            "POST",
            url,
            headers={"Accept": "application/json", "Content-Type": "application/json"},
            content=json_text.compact({"username": user, "password": password}),
            largest=LARGEST_ANSWER,
        )
    except errors.Unreachable:  # every other request would come here first, and find out by itself
        network.gave_up(url, began)
        raise
    if answer.status in {400, 401, 403}:
        raise errors.AccessDenied(
            f"{base_url} refuses user {user!r} with this password. Check both with `alyxfs login {base_url}`.",
            status=answer.status,
            url=url,
        )
    try:
        token = json_text.decode(answer.body)["token"]
    except (ValueError, KeyError, TypeError):
        token = None
    if not isinstance(token, str) or not is_token(token):
        raise errors.ServerFault(
            f"{url} answered {answer.status} without a token: is this address an Alyx?", status=answer.status, url=url
        )
    return token


def plain_http_warning(url: str) -> str | None:
    """A sentence for the user where password and token would cross a network readably, else None.

    Laboratories do run Alyx over plain http inside their own network, so this warns and does not refuse.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:  # who asks there will be told
        return None
    if parts.scheme != "http" or _is_loopback(host):
        return None
    return f"{url} is plain http: user, password and token can be read by anybody on the way. Use https where you can."


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
