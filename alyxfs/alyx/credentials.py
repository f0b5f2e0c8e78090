"""Where user, password and token of a server come from, and where a token is kept.

In this order: what the caller gives; ALYXFS_TOKEN; ALYXFS_USER and ALYXFS_PASSWORD; the token that ``alyxfs login``
kept; ONE's own settings; the public user of Open Alyx. The first that has a token or a password wins; a password
of the same user found further down serves for a new log-in when the token is refused, and a token of the same user
spares the log-in with a password that was not given by the caller.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import unicodedata
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from alyxfs import errors
from alyxfs.net import origin_of
from alyxfs.private_files import claim_folder, close_to_others, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

log = logging.getLogger(__name__)

OPEN_ALYX = "https://openalyx.internationalbrainlab.org"
_SERVICE = "alyxfs"
_TOKEN = re.compile(r"[!-~]{1,1000}")
TOKENS = "tokens.json"
"""The private file that keeps tokens where there is no keyring."""


SECRET_VARIABLES = ("ALYXFS_TOKEN", "ALYXFS_PASSWORD", "ALYXFS_FILE_PASSWORD")
"""Variables of the environment that hold secrets."""


@dataclass(frozen=True)
class Account:
    """What is known of a user at a server; secrets stay out of ``repr``."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    source: str = ""
    """Where they were found, for messages."""

    @property
    def usable(self) -> bool:
        """Whether they can lead to an authorised request."""
        return self.token is not None or (self.user is not None and self.password is not None)


def find_account(
    url: str,
    *,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    environment: Mapping[str, str] = os.environ,
    home: Path | None = None,
    directory: Path | None = None,
) -> Account:
    """The account for the server at ``url``; not usable where none is known.

    ``user``, ``password`` and ``token`` are what the caller says; a user alone picks among the other sources.
    ``directory`` is where ``alyxfs login`` keeps tokens. Reads files: call it before the drive runs, or in a thread.
    """
    given = Account(user, password, token, "the command line")
    wanted = user or (None if given.usable else environment.get("ALYXFS_USER") or None)
    candidates = [
        candidate
        for candidate in [given, *_other_sources(url, wanted, environment, home, directory)]
        if candidate.usable and (wanted is None or candidate.user in {None, wanted})
    ]
    if not candidates:
        return Account(user=wanted)
    first = candidates[0]
    if first.token is not None and not is_token(first.token):
        raise errors.ConfigurationError(f"The token from {first.source} holds characters that no token has.")
    if first.password is None:
        same = (other for other in candidates[1:] if other.password and first.user in {None, other.user})
        if spare := next(same, None):
            return replace(first, user=spare.user, password=spare.password)
    if first.token is None and first is not given:
        kept = next((other.token for other in candidates[1:] if other.token and other.user == first.user), None)
        return replace(first, token=kept)
    return first


def is_token(text: str) -> bool:
    """Whether a text can stand in the header that a token is sent in."""
    return _TOKEN.fullmatch(text) is not None


def forget_secret_variables() -> None:
    """Take secrets out of the environment that programs started from now on inherit."""
    for name in SECRET_VARIABLES:
        os.environ.pop(name, None)


def _other_sources(
    url: str, wanted: str | None, environment: Mapping[str, str], home: Path | None, directory: Path | None
) -> Iterator[Account]:
    # A variable that is set and empty is one that is not set.
    user, password, token = (environment.get(f"ALYXFS_{name}") or None for name in ("USER", "PASSWORD", "TOKEN"))
    if token is None:
        user = user or wanted
    yield Account(user, password, token, "the environment")
    if saved := saved_token(url, directory):
        yield Account(saved[0], None, saved[1], "alyxfs login")
    yield from _one_settings(url, home or Path.home())
    if origin_of(url) == OPEN_ALYX:
        # The public user, as the quick start of the ONE documentation gives it.
        yield Account("intbrainlab", "international", None, "the public user of Open Alyx")


def _one_settings(url: str, home: Path) -> Iterator[Account]:
    """What ONE keeps in ``~/.one/.<server>``: ALYX_URL, ALYX_LOGIN, at times ALYX_PWD and TOKEN (by user)."""
    settings = _read_json(home / ".one" / f".{_one_name(url)}")
    address = settings.get("ALYX_URL")
    try:
        if not isinstance(address, str) or origin_of(address) != origin_of(url):
            return  # the file's name leaves the scheme out: a token for https must not go over http
    except Exception as error:  # noqa: BLE001 - another program's file may hold anything
        log.info("ONE's settings for %s are not understood: %s", url, error)
        return
    login, password = _text(settings.get("ALYX_LOGIN")), _text(settings.get("ALYX_PWD"))
    tokens = settings.get("TOKEN")
    tokens = tokens if isinstance(tokens, dict) else {}
    for user in dict.fromkeys([login, *tokens]):
        if user is not None:
            entry = tokens.get(user)
            token = _text(entry.get("token")) if isinstance(entry, dict) else None
            yield Account(user, password if user == login else None, token, "ONE's settings")


def _one_name(url: str) -> str:
    """The server's address as ONE writes it into file names (from its source, one/params.py)."""
    name = re.sub("^https?://", "", unicodedata.normalize("NFKC", url)).strip("/").lower()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^.\w\s-]", "_", name))


def save_token(url: str, user: str | None, token: str, directory: Path | None = None) -> str:
    """Keep a token for later mounts and say where: the system's keyring if there is one, else a private file."""
    entry = json.dumps({"user": user, "token": token})
    if keyring := _keyring():
        try:
            keyring.set_password(_SERVICE, origin_of(url), entry)
        except keyring.errors.KeyringError as error:
            log.info("the keyring did not take the token (%s); it goes to a private file", error)
        else:
            return "the keyring"
    path = _token_file(directory)
    tokens = _read_json(path)
    tokens[origin_of(url)] = {"user": user, "token": token}
    _write_private(path, tokens)
    return str(path)


def saved_token(url: str, directory: Path | None = None) -> tuple[str | None, str] | None:
    """User (None where it was kept without) and token that :func:`save_token` kept."""
    entry: Any = None
    if keyring := _keyring():
        try:
            entry = _parsed(keyring.get_password(_SERVICE, origin_of(url)))
        except keyring.errors.KeyringError as error:
            log.info("the keyring cannot be read: %s", error)
    if not entry:
        entry = _read_json(_token_file(directory)).get(origin_of(url))
    if not isinstance(entry, dict):
        return None
    user, token = _text(entry.get("user")), _text(entry.get("token"))
    return (user, token) if token else None


def forget_token(url: str, directory: Path | None = None) -> bool:
    """Remove what :func:`save_token` kept; False where nothing was."""
    found = saved_token(url, directory) is not None
    if keyring := _keyring():
        try:
            keyring.delete_password(_SERVICE, origin_of(url))
        except keyring.errors.KeyringError as error:
            log.info("nothing removed from the keyring: %s", error)
    path = _token_file(directory)
    tokens = _read_json(path)
    if tokens.pop(origin_of(url), None) is not None:
        _write_private(path, tokens)
    return found


def _keyring() -> Any:
    """The keyring package, if it is installed and has a real backend behind it."""
    try:
        keyring = importlib.import_module("keyring")
        importlib.import_module("keyring.errors")
        backend = keyring.get_keyring()
    except (ImportError, RuntimeError):
        return None
    # Backends below 1 are stand-ins: "fail", "null", or a choice of nothing (keyring's own scale of priorities).
    return keyring if getattr(backend, "priority", 0) >= 1 else None


def _token_file(directory: Path | None) -> Path:
    return (directory or Path(platformdirs.user_config_dir("alyxfs"))) / TOKENS


def _write_private(path: Path, tokens: Mapping[str, Any]) -> None:
    claim_folder(path.parent)
    write_whole(path, json.dumps(tokens, indent=2).encode())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.name == TOKENS:
            close_to_others(path)
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.info("%s cannot be read: %s", path, error)
        return {}
    return document if isinstance(document, dict) else {}


def _parsed(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
