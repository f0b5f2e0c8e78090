"""Proxies and certificates that the environment names: used as curl does, or refused by a sentence at the mount."""

from __future__ import annotations

import pytest

from alyxfs import errors
from alyxfs.net.addresses import server_of
from alyxfs.net.proxies import proxies_of
from files_alyx import TOKEN
from mounted import run_alyxfs

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("environment", "asked", "proxy"),
    [
        ({"http_proxy": PROXY}, "http://a", PROXY),
        ({"http_proxy": PROXY}, "https://a", None),
        ({"HTTPS_PROXY": "proxy.example:3128"}, "https://a", PROXY),
        ({"ALL_PROXY": "socks5h://user:pw@p:1080"}, "https://a", "socks5h://user:pw@p:1080"),
        ({"all_proxy": "socks5://p:1080", "http_proxy": PROXY}, "http://a", PROXY),
        ({"http_proxy": "", "ALL_PROXY": PROXY}, "http://a", PROXY),
        ({}, "http://a", None),
    ],
)
def test_which_proxy_is_asked(environment, asked, proxy):
    assert proxies_of(environment).of(server_of(asked)) == proxy


@pytest.mark.parametrize(
    ("exceptions", "asked", "is_direct"),
    [
        ("*", "http://a", True),
        ("example.org", "http://example.org", True),
        ("example.org", "http://data.example.org", True),
        (".example.org", "http://data.example.org", True),
        ("example.org", "http://badexample.org", False),
        ("Example.ORG , other", "http://EXAMPLE.org", True),
        ("a b", "http://b", True),
        ("example.org:8080", "http://example.org:8080", True),
        ("example.org:8080", "http://example.org", False),
        ("127.0.0.1", "http://127.0.0.1:99", True),
        ("10.0.0.0/8", "http://10.9.8.7", True),
        ("10.0.0.0/8", "http://11.9.8.7", False),
        ("10.0.0.0/8", "http://ten.example", False),
        ("::1", "http://[::1]:99", True),
        ("[::1]", "http://[0:0::1]", True),
        ("fd00::/8", "http://[fd12::1]", True),
        ("fd00::/8", "http://[fe80::1]", False),
        ("10.0.0.0/99, ::/x, [, :, b", "http://b", True),
        ("", "http://b", False),
    ],
)
def test_what_is_asked_directly(exceptions, asked, is_direct):
    proxies = proxies_of({"http_proxy": PROXY, "no_proxy": exceptions})
    assert (proxies.of(server_of(asked)) is None) == is_direct


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTPS_PROXY", "http://[::1"),
        ("HTTPS_PROXY", "http://proxy:port"),
        ("https_proxy", "http://"),
        ("HTTPS_PROXY", "://x"),
        ("HTTPS_PROXY", "http://xn--a:3128"),
        ("HTTPS_PROXY", "gopher://proxy"),
        ("ALL_PROXY", "socks4://proxy:1080"),
        ("http_proxy", "a b"),
    ],
)
def test_what_is_no_proxy_is_told_with_its_variable(variable, value):
    with pytest.raises(errors.ConfigurationError, match=f"variable {variable} "):
        proxies_of({variable: value})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTPS_PROXY", "http://user:secret@[::1"),
        ("ALL_PROXY", "socks4://proxy:1080"),
        ("SSL_CERT_FILE", "/no/such/file.pem"),
        ("SSL_CERT_FILE", "no-certificates.pem"),
        ("SSL_CERT_DIR", "/no/such/directory"),
    ],
)
@pytest.mark.parametrize("how", [(), ("-f",)])
def test_a_variable_that_cannot_be_used_is_told_at_the_mount(home, tmp_path, monkeypatch, variable, value, how):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no-certificates.pem").write_text("nothing")
    for command in (["mount", *how, "https://127.0.0.1:9", str(home / "drive")], ["login", "https://127.0.0.1:9"]):
        options = ["--user", "u", "--password", "p"] if command[0] == "login" else []
        done = run_alyxfs(home, *command, *options, **TOKEN, **{variable: value})
        assert done.returncode == 3, done.stderr
        assert f"The variable {variable} " in done.stderr
        assert "Traceback" not in done.stderr
        assert "secret" not in done.stderr
