"""Logging in: with a password, from standard input, with a token alone; and asking who one is."""

from __future__ import annotations

import base64
import os

import pytest

from alyxfs import mount, settings
from alyxfs.cli.secrets import without_secrets
from alyxfs.errors import ConfigurationError
from asking import Asking
from mounted import mounted, run_alyxfs

URL = "https://alyx.example.org"


def test_a_password_comes_from_standard_input(demo, home):
    done = run_alyxfs(home, "login", demo.url, "--user", "demo", "--password-stdin", typed="demo\n")
    assert done.returncode == 0, done.stderr
    who = run_alyxfs(home, "whoami", demo.url)
    assert (who.returncode, who.stdout) == (0, f"demo at {demo.url}, from alyxfs login; the server takes it.\n")


def test_an_account_without_a_password_logs_in_with_its_token_alone(demo, home):
    token = Asking(demo.url).token
    done = run_alyxfs(home, "login", demo.url, "--token-file", "-", typed=f"{token}\n")
    assert done.returncode == 0, done.stderr
    assert token not in done.stdout
    who = run_alyxfs(home, "whoami", demo.url)
    assert who.stdout == f"a token whose user is not known at {demo.url}, from alyxfs login; the server takes it.\n"
    with mounted(demo.url, home, ALYXFS_USER="") as drive:
        assert os.listdir(drive / "labs")
    assert run_alyxfs(home, "logout", demo.url).returncode == 0
    assert run_alyxfs(home, "whoami", demo.url).returncode == 4


@pytest.mark.parametrize("way", ["--token-file", "--password-stdin"])
def test_what_the_server_refuses_is_not_kept(demo, home, way):
    arguments = [way, "-"] if way == "--token-file" else [way, "--user", "demo"]
    done = run_alyxfs(home, "login", demo.url, *arguments, typed="no-such-secret\n")
    assert done.returncode == 4
    assert "no-such-secret" not in done.stderr + done.stdout
    assert not (home / ".config" / "alyxfs" / "tokens.json").exists()


def test_whoami_says_where_the_user_comes_from_and_that_the_server_refuses_it(demo, home):
    who = run_alyxfs(home, "whoami", demo.url, ALYXFS_USER="demo", ALYXFS_PASSWORD="demo")
    assert who.stdout == f"demo at {demo.url}, from the environment; the server takes it.\n"
    assert run_alyxfs(home, "whoami", demo.url, ALYXFS_TOKEN="no-such-token").returncode == 4


def test_a_token_file_that_others_can_read_is_refused(demo, home):
    file = home / "token"
    file.write_text(Asking(demo.url).token)
    file.chmod(0o644)
    done = run_alyxfs(home, "login", demo.url, "--token-file", str(file))
    assert (done.returncode, "chmod 600" in done.stderr) == (3, True)
    file.chmod(0o600)
    with mounted(demo.url, home, "--token-file", str(file)) as drive:
        assert os.listdir(drive / "labs")


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read"), ("\n", "There is no token"), (b"\xff\xfe", "cannot be read")]
)
def test_a_token_file_without_a_token_is_told(home, content, words):
    file = home / "token"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        file.chmod(0o600)
    done = run_alyxfs(home, "mount", "--token-file", str(file), URL, str(home / "drive"))
    assert (done.returncode, words in done.stderr) == (3, True), done.stderr


def test_only_one_way_to_log_in_is_taken_at_a_time(home):
    done = run_alyxfs(home, "login", URL, "--password", "x", "--password-stdin")
    assert done.returncode == 2


def test_a_settings_file_with_a_password_must_be_private(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text(f'[server."{URL}/"]\nfile_password = "x"\n')
    path.chmod(0o640)
    for server in (URL, "https://other.example"):
        with pytest.raises(ConfigurationError, match="chmod 600"):
            settings.load(server, {}, path)
    path.chmod(0o600)
    assert settings.load(URL, {}, path).file_password == "x"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["mount", "--token", "s", "x"], ["mount", "--token", "*", "x"]),
        (["mount", "--token=s", "x"], ["mount", "--token=*", "x"]),
        (["mount", "--token", "--token", "x"], ["mount", "--token", "*", "x"]),
        (["login", "--user", "u", "--password", "p"], ["login", "--user", "u", "--password", "*"]),
        (["mount", "--file-password", "p"], ["mount", "--file-password", "*"]),
        (["mount", "--token-file", "f"], ["mount", "--token-file", "f"]),
        (["mount", "--token"], ["mount", "--token"]),
    ],
)
def test_arguments_are_shown_without_their_secrets(given, shown):
    assert without_secrets(given) == shown


@pytest.mark.parametrize("others_read", [False, True])
def test_the_password_of_the_file_server_comes_from_a_private_file(tmp_path, others_read):
    trusted = {}

    class Network:
        def trust_with_files(self, url, authorization):
            trusted[url] = authorization

    secret = tmp_path / "password"
    secret.write_text("files-password\n")
    secret.chmod(0o644 if others_read else 0o600)
    chosen = settings.Settings(file_server="https://x.example", file_user="anna", file_password_file=str(secret))
    if others_read:
        with pytest.raises(ConfigurationError, match="chmod 600"):
            mount._trust_file_server(Network(), chosen)
    else:
        mount._trust_file_server(Network(), chosen)
        assert trusted == {"https://x.example": "Basic " + base64.b64encode(b"anna:files-password").decode()}
