"""Addresses that a database should not hold: what may be asked, with what, and what is said of the rest.

The drive runs in an internet of its own (``tests/support/pretended``), where the Alyx is at a public address, or in a
laboratory's network, and every connection to an address that no test meant is noted.
"""

from __future__ import annotations

import errno
import json
import os
import re

import pytest

from fault_server import FaultServer, File
from files_alyx import SESSION, TOKEN, files_alyx, pretended_network, show
from hostile_addresses import ODD, REFUSED
from mounted import failure_of_reading, mounted, run_alyxfs, until

CONTENT = b"0123456789"
ALYX, FILES, OTHER, LABS = "93.184.216.34", "93.184.216.35", "93.184.216.36", "10.1.2.3"
NAMES = {
    "alyx.example.org": [ALYX],
    "files.example.org": [FILES],
    "other.example.org": [OTHER],
    "lab.example.org": [LABS],
    "inside.example.org": ["192.168.7.7"],
    "mapped.example.org": ["::ffff:10.0.0.7"],
    "mixed.example.org": ["10.0.0.8", FILES],
    "rebinding.example.org": [[FILES], ["127.0.0.1"]],
    "xn--mnchen-3ya.example.org": [FILES],
}
ROUTES = dict.fromkeys([ALYX, FILES, OTHER, LABS], "127.0.0.1")


@pytest.fixture
def server():
    with FaultServer({"good": File(CONTENT), "second": File(CONTENT)}) as running:
        yield running


@pytest.fixture
def victim():
    """Something that answers only on this machine."""
    with FaultServer({"x": File(CONTENT)}) as running:
        yield running


def refusal(path):
    """The errno of reading, and the sentence that stands behind it."""
    return failure_of_reading(path), os.getxattr(path, "user.alyx.error").decode()


def test_what_a_database_names_is_asked_only_where_anybody_may_ask(server, victim, home, tmp_path):
    addresses = {f"r-{name}": address.format(port=victim.port) for name, address in REFUSED.items()}
    addresses |= {f"o-{name}": address.format(port=server.port) for name, address in ODD.items()}
    led = {f"l-{name}": f"http://files.example.org:{server.port}/to-{name}" for name in addresses}
    server.redirects = {f"to-{name}": address for name, address in addresses.items()}
    good = {
        "g-plain": "http://files.example.org:{port}/good",
        "g-mixed": "http://mixed.example.org:{port}/good",
        "g-idna": "http://MÜNCHEN.example.org:{port}/good",
    }
    good = {name: address.format(port=server.port) for name, address in good.items()}
    log = tmp_path / "connections"
    environment = pretended_network(log, NAMES, ROUTES)
    with files_alyx() as alyx:
        show(alyx, addresses | led | good)
        with mounted(f"http://alyx.example.org:{alyx.port}", home, **TOKEN, **environment) as drive:
            session = drive / SESSION
            assert sorted(os.listdir(session)) == sorted(addresses | led | good)
            for name in good:
                assert (session / name).read_bytes() == CONTENT, name
            for name in addresses:
                number, sentence = refusal(session / name)
                assert errno.errorcode[number] == ("EACCES" if name.startswith("r-") else "ENODATA"), (name, sentence)
                assert re.fullmatch(r"[^\n]+\.", sentence), name
                assert "secret" not in sentence
            assert "--allow-networks 192.168.7.7" in refusal(session / "r-name-of-the-inside")[1]
            del led["l-o-leading-space"]  # of headers, spaces are no part
            for name in ("l-o-control-characters", "l-o-nul"):
                del led[name]
                assert errno.errorcode[refusal(session / name)[0]] == "EIO", "no answer of HTTP"
            for name in led:
                # A relative address is one: what looks like no address leads to another file of the same server.
                number, sentence = refusal(session / name)
                assert errno.errorcode[number] in {"EACCES", "ENODATA"}, (name, sentence)
            assert (session / "g-plain").read_bytes() == CONTENT
            assert json.loads((drive / ".alyxfs/status.json").read_text())["defects"] == 0
    assert victim.connections == 0
    assert log.read_text() == "", "only what may be asked is connected to"
    assert not any("authorization" in request.headers for request in server.requests)


def test_a_name_that_leads_elsewhere_a_moment_later_gains_nothing(server, victim, home, tmp_path):
    log = tmp_path / "connections"
    with files_alyx() as alyx:
        show(
            alyx,
            {
                "a": f"http://rebinding.example.org:{server.port}/good",
                "b": f"http://rebinding.example.org:{server.port}/second",
            },
        )
        environment = pretended_network(log, NAMES, ROUTES)
        with mounted(f"http://alyx.example.org:{alyx.port}", home, **TOKEN, **environment) as drive:
            assert (drive / SESSION / "a").read_bytes() == CONTENT
            server.break_connections()
            until(lambda: server.open_connections == 0, "no connection to the address that was looked at first")
            number, sentence = refusal(drive / SESSION / "b")
            assert errno.errorcode[number] == "EACCES"
            assert "127.0.0.1" in sentence
    assert log.read_text() == ""


@pytest.mark.parametrize(
    ("alyx_name", "options", "right", "wrong"),
    [
        ("lab.example.org", (), "10.1.2.3", "127.0.0.1"),
        ("127.0.0.1", (), "127.0.0.1", "10.1.2.3"),
        ("alyx.example.org", ("--allow-networks", "10.0.0.0/8"), "10.1.2.3", "127.0.0.1"),
        ("alyx.example.org", ("--file-server", "http://10.1.2.3:{port}"), "10.1.2.3", "10.1.2.4"),
    ],
)
def test_what_is_where_the_alyx_is_or_what_the_user_allows_is_asked(
    server, home, tmp_path, alyx_name, options, right, wrong
):
    log = tmp_path / "connections"
    routes = ROUTES | {"127.0.0.1": "127.0.0.1", "::1": "127.0.0.1"}
    options = [option.format(port=server.port) for option in options]
    with files_alyx() as alyx:
        show(alyx, {name: f"http://{name}:{server.port}/good" for name in (right, wrong)})
        environment = pretended_network(log, NAMES, routes)
        with mounted(f"http://{alyx_name}:{alyx.port}", home, *options, **TOKEN, **environment) as drive:
            assert (drive / SESSION / right).read_bytes() == CONTENT
            assert errno.errorcode[refusal(drive / SESSION / wrong)[0]] == "EACCES"
    assert log.read_text() == ""


def test_networks_that_are_none_are_told_at_the_mount(home):
    done = run_alyxfs(
        home, "mount", "--allow-networks", "10.0.0.0/40", "http://127.0.0.1:9", str(home / "drive"), **TOKEN
    )
    assert done.returncode == 3
    assert "allow_networks" in done.stderr


def test_the_token_goes_to_the_api_alone_wherever_an_address_leads(server, home):
    with files_alyx() as alyx:
        secret = f"{alyx.url}/labs/lab"
        server.redirects = {"to-the-alyx": secret}
        show(alyx, {"direct": secret, "led": server.url("to-the-alyx"), "fine": server.url("good")})
        with mounted(alyx.url, home, **TOKEN) as drive:
            alyx.authorizations.clear()
            for name in ("direct", "led"):
                number, _ = refusal(drive / SESSION / name)
                assert errno.errorcode[number] == "EACCES", "the Alyx refuses who shows no token"
            assert alyx.authorizations.count(("/labs/lab", None)) == 2
            assert {path for path, token in alyx.authorizations if token is None} == {"/labs/lab"}
            assert (drive / SESSION / "fine").read_bytes() == CONTENT
    assert not any("authorization" in request.headers for request in server.requests)


def test_nothing_is_fetched_ahead_from_a_server_that_no_program_has_opened_a_file_of(server, home):
    names = [f"f{number:02}" for number in range(12)]
    with FaultServer({name: File(CONTENT) for name in names}) as other, files_alyx() as alyx:
        server.files = {name: File(CONTENT) for name in names}
        server.redirects = {"f05": other.url("f05")}
        places = {name: (other if name in {"f03", "f04"} else server).url(name) for name in names}
        show(alyx, places)
        with mounted(alyx.url, home, **TOKEN) as drive:
            for name in names[:2]:
                assert (drive / SESSION / name).read_bytes() == CONTENT
            until(lambda: "/f05" in {request.path for request in server.requests}, "read-ahead along the directory")
            for name in names[2:3]:
                assert (drive / SESSION / name).read_bytes() == CONTENT
            assert other.connections == 0
            assert (drive / SESSION / "f05").read_bytes() == CONTENT, "now it was asked for"
            assert [request.path for request in other.requests] == ["/f05"]
            assert (drive / SESSION / "f03").read_bytes() == CONTENT
            assert (drive / SESSION / "f04").read_bytes() == CONTENT
