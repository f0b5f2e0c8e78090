"""Where user and token come from, when the server is asked for a new one, and who gets to see them."""

from __future__ import annotations

import json
import logging
import stat

import pytest
import trio

from alyxfs import errors
from alyxfs.alyx.auth import Account, find_account, forget_token, log_in, plain_http_warning, save_token, saved_token
from alyxfs.alyx.rest import Api
from alyxfs.net import open_network
from small_alyx import identifiers, small_alyx

URL = "https://alyx.example.org"


@pytest.fixture
def places(tmp_path):
    (tmp_path / "home" / ".one").mkdir(parents=True)
    return {"home": tmp_path / "home", "directory": tmp_path / "config", "environment": {}}


def one_settings(places, **settings):
    name = settings.pop("name", ".alyx.example.org")
    (places["home"] / ".one" / name).write_text(json.dumps({"ALYX_URL": URL, "ALYX_LOGIN": "olga", **settings}))


@pytest.mark.parametrize("token", ["two\nlines", "a\r", "ünicode", "a b", "\0"])
def test_a_token_that_could_not_stand_in_a_header_is_refused_with_its_source(places, token):
    places["environment"] = {"ALYXFS_TOKEN": token}
    with pytest.raises(errors.ConfigurationError, match=r"from the environment holds characters that no token has\.$"):
        find_account(URL, **places)


def test_what_the_caller_says_comes_first(places):
    places["environment"] = {"ALYXFS_TOKEN": "t", "ALYXFS_USER": "u", "ALYXFS_PASSWORD": "p"}
    account = find_account(URL, user="anna", password="secret", **places)
    assert (account.user, account.password, account.token) == ("anna", "secret", None)


def test_the_environment_comes_before_what_is_kept(places):
    save_token(URL, "kept", "kept-token", places["directory"])
    places["environment"] = {"ALYXFS_TOKEN": "from-environment"}
    assert find_account(URL, **places).token == "from-environment"
    places["environment"] = {"ALYXFS_USER": "u", "ALYXFS_PASSWORD": "p"}
    assert find_account(URL, **places).password == "p"


def test_a_password_of_the_environment_is_for_its_user_or_for_whom_the_caller_names(places):
    places["environment"] = {"ALYXFS_PASSWORD": "p"}
    account = find_account(URL, user="anna", **places)
    assert (account.user, account.password) == ("anna", "p")
    assert not find_account(URL, **places).usable
    places["environment"]["ALYXFS_USER"] = "u"
    assert not find_account(URL, user="anna", **places).usable


def test_an_empty_variable_is_none(places):
    save_token(URL, "anna", "kept", places["directory"])
    places["environment"] = {"ALYXFS_USER": "", "ALYXFS_PASSWORD": "", "ALYXFS_TOKEN": ""}
    assert find_account(URL, **places).token == "kept"
    places["environment"] = {"ALYXFS_USER": "u", "ALYXFS_PASSWORD": ""}
    assert not find_account(URL, **places).usable


def test_a_kept_token_is_for_its_server_alone(places):
    save_token(URL, "anna", "kept-token", places["directory"])
    assert find_account(URL, **places).token == "kept-token"
    assert find_account(URL + ":8443", **places).token is None
    assert find_account("http://alyx.example.org", **places).token is None


def test_a_user_picks_among_the_sources(places):
    save_token(URL, "anna", "annas-token", places["directory"])
    one_settings(places, TOKEN={"olga": {"token": "olgas-token"}})
    assert find_account(URL, **places).token == "annas-token"
    assert find_account(URL, user="olga", **places).token == "olgas-token"
    account = find_account(URL, user="nobody", **places)
    assert not account.usable
    assert account.user == "nobody"


def test_ones_settings_give_token_and_password(places):
    one_settings(places, ALYX_PWD="pwd", TOKEN={"olga": {"token": "olgas-token"}})
    account = find_account(URL, **places)
    assert (account.user, account.token, account.password) == ("olga", "olgas-token", "pwd")


def test_a_kept_token_is_renewed_with_a_password_of_the_same_user(places):
    save_token(URL, "olga", "kept-token", places["directory"])
    one_settings(places, ALYX_PWD="pwd")
    account = find_account(URL, **places)
    assert (account.token, account.password) == ("kept-token", "pwd")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"ALYX_URL": 5}', '{"ALYX_URL": "x"}', '{"ALYX_URL": "https://alyx.example.org", "TOKEN": 5}'],
)
def test_strange_settings_of_one_do_no_harm(places, content):
    (places["home"] / ".one" / ".alyx.example.org").write_text(content)
    assert not find_account(URL, **places).usable


def test_settings_of_one_for_https_are_not_used_over_http(places):
    one_settings(places, TOKEN={"olga": {"token": "olgas-token"}})
    assert not find_account("http://alyx.example.org", **places).usable


def test_the_public_alyx_needs_no_log_in(places):
    assert find_account("https://openalyx.internationalbrainlab.org", **places).user == "intbrainlab"
    assert not find_account("https://openalyx.internationalbrainlab.org.evil.example", **places).usable


def test_the_token_file_is_the_owners_alone(places):
    where = save_token(URL, "anna", "token", places["directory"])
    file = places["directory"] / "tokens.json"
    assert where == str(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(places["directory"].stat().st_mode) == 0o700
    file.chmod(0o644)
    assert saved_token(URL, places["directory"]) == ("anna", "token")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_token_can_be_forgotten(places):
    save_token(URL, "anna", "token", places["directory"])
    save_token(URL + ":8443", "anna", "other", places["directory"])
    assert forget_token(URL, places["directory"])
    assert saved_token(URL, places["directory"]) is None
    assert saved_token(URL + ":8443", places["directory"]) == ("anna", "other")
    assert not forget_token(URL, places["directory"])


def test_secrets_are_not_in_what_is_printed():
    assert "secret" not in repr(Account("anna", "secret", "secret"))


@pytest.mark.parametrize("password", ["secret-password", "secret-wrong"])
def test_secrets_are_in_no_log_and_no_message(alyx, caplog, password):
    """The whole way: a token that is refused, a log-in, a server that fails, one that is gone."""
    caplog.set_level(logging.DEBUG)
    alyx.passwords = {"anna": "secret-password"}
    outcomes = read_with(alyx, Account("anna", password, "secret-token"))
    alyx.answer = lambda *_: (503, {"detail": "Busy."})
    outcomes += read_with(alyx, Account("anna", password))
    alyx.stop()
    outcomes += read_with(alyx, Account("anna", password, "secret-token"))
    assert any(record.name.startswith("alyxfs") for record in caplog.records)
    assert any(isinstance(outcome, errors.AlyxfsError) for outcome in outcomes)
    told = caplog.text + "".join(f"{outcome} {outcome!r}" for outcome in outcomes)
    assert "secret" not in told
    assert "Token " not in told


def test_plain_http_to_another_machine_is_warned_of():
    assert plain_http_warning("http://alyx.example.org") is not None
    for url in ("https://alyx.example.org", "http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"):
        assert plain_http_warning(url) is None


@pytest.fixture
def alyx():
    with small_alyx() as alyx:
        alyx.put("subjects", [{"nickname": "S1", "id": identifiers(1)[0]}])
        yield alyx


def read_with(alyx, account, times=1):
    """Read a record several times, all at once; what came of it."""
    outcomes = []

    async def read(api):
        try:
            outcomes.append((await api.detail("subjects", "S1"))["nickname"])
        except errors.AlyxfsError as error:
            outcomes.append(error)

    async def run():
        async with open_network(deadline=5) as network:
            api = Api(network, alyx.url, account)
            async with trio.open_nursery() as nursery:
                for _ in range(times):
                    nursery.start_soon(read, api)
            await read(api)

    trio.run(run)
    return outcomes


def test_a_password_becomes_a_token_once(alyx):
    assert read_with(alyx, Account("anna", "right"), times=8) == ["S1"] * 9
    assert alyx.posted == [None]


def test_a_refused_token_is_renewed_once_and_not_shown_at_the_log_in(alyx):
    assert read_with(alyx, Account("anna", "right", "expired"), times=8) == ["S1"] * 9
    assert alyx.posted == [None]


def test_a_wrong_password_is_a_clear_sentence_and_not_tried_again(alyx):
    outcomes = read_with(alyx, Account("anna", "wrong"), times=8)
    assert all(isinstance(outcome, errors.AccessDenied) for outcome in outcomes)
    assert "anna" in str(outcomes[0])
    assert "wrong" not in str(outcomes[0])
    assert len(alyx.posted) == 1


@pytest.mark.parametrize("account", [Account(token="expired"), Account("anna", None, "expired"), Account()])
def test_without_a_password_the_sentence_says_what_to_do(alyx, account):
    outcomes = read_with(alyx, account)
    assert all(isinstance(outcome, errors.AccessDenied) for outcome in outcomes)
    assert "alyxfs login" in str(outcomes[0])
    assert alyx.posted == []


@pytest.mark.parametrize("account", [Account(token="expired"), Account("anna", None, "expired")])
@pytest.mark.parametrize("kept_for", ["anna", None])
def test_what_login_keeps_while_the_drive_is_refused_heals_it(alyx, tmp_path, monkeypatch, account, kept_for):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    save_token(alyx.url, "bob", "good")

    async def run():
        async with open_network(deadline=5) as network:
            api = Api(network, alyx.url, account)
            refused = await outcome_of(api)
            alyx.tokens = {"fresh"}
            save_token(alyx.url, kept_for, "fresh")
            return refused, await outcome_of(api)

    refused, healed = trio.run(run)
    assert isinstance(refused, errors.AccessDenied), "another user's token is not taken instead"
    assert healed == "S1"


def test_what_login_keeps_for_another_user_is_not_taken(alyx, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    async def run():
        async with open_network(deadline=5) as network:
            api = Api(network, alyx.url, Account("anna", None, "expired"))
            first = await outcome_of(api)
            save_token(alyx.url, "bob", "good")
            return first, await outcome_of(api)

    assert all(isinstance(outcome, errors.AccessDenied) for outcome in trio.run(run))


async def outcome_of(api):
    try:
        return (await api.detail("subjects", "S1"))["nickname"]
    except errors.AlyxfsError as error:
        return error


def test_a_server_that_refuses_its_own_token_is_not_asked_for_ever(alyx):
    alyx.tokens = frozenset()

    class Deaf(set):
        def add(self, _):
            pass

    alyx.tokens = Deaf()
    outcomes = read_with(alyx, Account("anna", "right"), times=4)
    assert all(isinstance(outcome, errors.AccessDenied) for outcome in outcomes)
    assert len(alyx.posted) == 1


def test_a_missing_permission_is_said_at_once_in_the_servers_words(alyx):
    async def run():
        async with open_network(deadline=5) as network:
            await Api(network, alyx.url, Account("anna", "right", "good")).send("POST", "subjects", None, {"a": 1})

    with pytest.raises(errors.AccessDenied, match="You do not have permission"):
        trio.run(run)
    assert alyx.posted == []
    assert len(alyx.asked) == 1


def test_the_token_goes_to_no_other_server(alyx):
    with small_alyx() as other:
        other.answer = lambda method, target, headers, body: (200, {"saw": headers.get("Authorization")})

        async def run():
            async with open_network(deadline=5) as network:
                api = Api(network, alyx.url, Account("anna", None, "good"))
                await api.detail("subjects", "S1")
                return (await network.request("GET", other.url + "/x")).body

        assert json.loads(trio.run(run)) == {"saw": None}


def test_log_in_at_something_that_is_no_alyx(alyx):
    alyx.answer = lambda *_: (200, ["hello"])

    async def run():
        async with open_network(deadline=5) as network:
            await log_in(network, alyx.url, "anna", "right")

    with pytest.raises(errors.ServerFault, match="is this address an Alyx"):
        trio.run(run)


def test_a_kept_token_spares_its_user_the_log_in_with_a_password(places):
    save_token(URL, "anna", "annas-token", places["directory"])
    places["environment"] = {"ALYXFS_USER": "anna", "ALYXFS_PASSWORD": "p"}
    account = find_account(URL, **places)
    assert (account.user, account.password, account.token) == ("anna", "p", "annas-token")
    places["environment"] = {"ALYXFS_USER": "olga", "ALYXFS_PASSWORD": "p"}
    assert find_account(URL, **places).token is None
