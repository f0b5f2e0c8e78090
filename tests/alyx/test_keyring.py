"""Tokens in the system's keyring, with the package itself and keyrings that keep, refuse or hold anything."""

from __future__ import annotations

import json

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import null
from keyring.errors import KeyringLocked, PasswordDeleteError

from alyxfs.alyx.auth import find_account, forget_token, save_token, saved_token

URL = "https://alyx.example.org"


class Keeping(KeyringBackend):
    """As that of a desktop."""

    priority = 5

    def __init__(self):
        super().__init__()
        self.kept = {}
        self.is_locked = False

    def _open(self):
        if self.is_locked:
            raise KeyringLocked("the keyring is locked")

    def get_password(self, service, username):
        self._open()
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self._open()
        self.kept[service, username] = password

    def delete_password(self, service, username):
        self._open()
        if self.kept.pop((service, username), None) is None:
            raise PasswordDeleteError("not found")


@pytest.fixture
def ring():
    before = keyring.get_keyring()
    keyring.set_keyring(keeping := Keeping())
    yield keeping
    keyring.set_keyring(before)


def test_a_token_is_kept_in_the_keyring_and_in_no_file(ring, tmp_path):
    assert save_token(URL, "anna", "secret", tmp_path) == "the keyring"
    assert list(tmp_path.iterdir()) == []
    assert saved_token(URL, tmp_path) == ("anna", "secret")
    assert saved_token(URL.replace("https", "http"), tmp_path) is None, "a token for https must not go over http"
    account = find_account(URL, environment={}, home=tmp_path, directory=tmp_path)
    assert (account.user, account.token, account.source) == ("anna", "secret", "alyxfs login")
    assert forget_token(URL, tmp_path)
    assert ring.kept == {}
    assert not forget_token(URL, tmp_path)


def test_a_locked_keyring_has_the_token_kept_in_a_private_file(ring, tmp_path):
    ring.is_locked = True
    place = save_token(URL, "anna", "secret", tmp_path)
    assert place.startswith(str(tmp_path))
    assert saved_token(URL, tmp_path) == ("anna", "secret")
    assert forget_token(URL, tmp_path)
    assert saved_token(URL, tmp_path) is None


def test_what_was_kept_in_a_file_goes_with_what_is_in_the_keyring(ring, tmp_path):
    ring.is_locked = True
    save_token(URL, "anna", "old", tmp_path)
    ring.is_locked = False
    save_token(URL, "anna", "new", tmp_path)
    assert saved_token(URL, tmp_path) == ("anna", "new")
    assert forget_token(URL, tmp_path)
    assert saved_token(URL, tmp_path) is None


@pytest.mark.parametrize("entry", ["", "[", "[]", "5", '"x"', "{}", '{"token": 5}', '{"token": ""}', "[" * 100_000])
def test_an_entry_that_is_none_of_ours_is_no_token(ring, tmp_path, entry):
    save_token(URL, "anna", "secret", tmp_path)
    (key,) = ring.kept
    ring.kept[key] = entry
    assert saved_token(URL, tmp_path) is None


def test_a_keyring_that_keeps_nothing_counts_as_none(ring, tmp_path):
    keyring.set_keyring(null.Keyring())
    assert save_token(URL, None, "secret", tmp_path) != "the keyring"
    assert saved_token(URL, tmp_path) == (None, "secret")
    (file,) = tmp_path.iterdir()
    assert "secret" in json.dumps(json.loads(file.read_text()))
