"""Requests as the server wants them, and its refusals in its own words."""

from __future__ import annotations

import json
import tracemalloc

import pytest
import trio

from alyxfs import errors
from alyxfs.alyx import rest
from alyxfs.alyx.auth import Account
from alyxfs.alyx.lookups import quote_key
from alyxfs.alyx.refusals import refuse, server_words
from alyxfs.alyx.rest import Api, combined
from alyxfs.net import Answer, open_network
from fault_server import FaultServer, File
from recordings import recordings
from small_alyx import small_alyx

EXPECTED = {
    400: errors.Invalid,
    403: errors.AccessDenied,
    404: errors.NotFound,
    405: errors.NotAllowed,
    429: errors.Throttled,
}


def recorded_errors():
    for name, recording in recordings("error_*"):
        if recording["response"]["status"] >= 400:
            yield pytest.param(recording, id=name)


def answer_of(recording):
    response = recording["response"]
    body = response["body"]
    text = body if isinstance(body, str) else json.dumps(body)
    headers = {name.lower(): value for name, value in response["headers"].items()}
    return Answer(response["status"], headers, text.encode(), "http://alyx.example/x")


@pytest.mark.parametrize("recording", list(recorded_errors()))
def test_each_recorded_refusal_is_a_sentence(recording):
    answer = answer_of(recording)
    status = answer.status
    expected = EXPECTED.get(status, errors.ServerFault if status >= 500 else errors.Invalid)
    with pytest.raises(expected) as refusal:
        refuse(answer, recording["request"]["method"], "http://alyx.example/x?y=1")
    assert refusal.value.status == status
    assert "<" not in str(refusal.value).replace("<pk>", "")
    if status == 400:
        body = recording["response"]["body"]
        named = set(body) - {"status_code", "non_field_errors", "detail"} if isinstance(body, dict) else set()
        assert all(name in str(refusal.value) for name in named)


def words_of(document, content_type="application/json"):
    body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
    return server_words(Answer(400, {"content-type": content_type}, body, ""))


def test_the_servers_words():
    assert words_of({"detail": "Not found.", "status_code": 404}) == "Not found."
    assert words_of({"lab": ["No.", "Never."], "sex": ["Bad."], "status_code": 400}) == "lab: No. Never.; sex: Bad."
    assert words_of({"non_field_errors": ["Twice."], "status_code": 400}) == "Twice."
    assert words_of("<html><body><h1>Oh</h1><p>dear</p></body></html>", "text/html") == "Oh dear"
    assert words_of("{broken") == "{broken"
    assert len(words_of("x" * 10_000, "text/plain")) == 500


@pytest.mark.parametrize(
    ("key", "quoted"),
    [("KS022", "KS022"), ("..", "%2E%2E"), (".", "%2E"), (".x", ".x"), ("a/b", "a%2Fb"), ("a b", "a%20b"),
     ("50%", "50%25"), ("a#b?c", "a%23b%3Fc"), ("Zoë", "Zo%C3%AB"), ("a;b+c", "a%3Bb%2Bc")],
)  # fmt: skip
def test_keys_are_quoted(key, quoted):
    assert quote_key(key) == quoted


def test_django_conditions_go_in_one_parameter():
    filters = (("django", "a,1"), ("lab", "x"), ("django", "b,2"))
    assert combined(filters, ["id__gte,3"]) == (("lab", "x"), ("django", "a,1,b,2,id__gte,3"))
    assert combined((("lab", "x"),)) == (("lab", "x"),)


@pytest.fixture
def alyx():
    with small_alyx() as alyx:
        yield alyx


def with_api(alyx, use):
    async def run():
        async with open_network(deadline=5) as network:
            return await use(Api(network, alyx.url + "/", Account("anna", None, "good")))

    return trio.run(run)


def test_an_older_server_gives_its_core_api_document(alyx):
    alyx.schema = None
    assert with_api(alyx, lambda api: api.schema_document())["_type"] == "document"
    assert alyx.asked == ["/api/schema", "/docs"]


def test_filters_are_quoted_in_the_address(alyx):
    alyx.put("sessions", [])
    with_api(alyx, lambda api: api.page("sessions", (("lab", "a&b=c d"), ("django", "json__x,ü")), 10, 5))
    assert alyx.asked == ["/sessions?lab=a%26b%3Dc%20d&django=json__x%2C%C3%BC&limit=10&offset=5"]


def test_a_list_without_pages_is_one_page(alyx):
    alyx.answer = lambda *_: (200, [{"id": 1}, {"id": 2}, {"id": 3}])
    page = with_api(alyx, lambda api: api.page("things", (), 1, 1))
    assert (page.count, page.rows) == (3, [{"id": 2}])


@pytest.mark.parametrize("document", [{}, {"results": 5}, "text", 5])
def test_what_is_no_list_and_no_record_is_a_fault(alyx, document):
    alyx.answer = lambda *_: (200, document)
    with pytest.raises(errors.ServerFault, match="did not answer with"):
        with_api(alyx, lambda api: api.page("things", (), 10, 0))
    if not isinstance(document, dict):
        with pytest.raises(errors.ServerFault, match="did not answer with"):
            with_api(alyx, lambda api: api.detail("things", "x"))


@pytest.mark.parametrize("text", [b'{"a": "' + b"x" * 4_000_000, b'{"a": ' + b"[" * 4_000_000])
def test_the_fault_of_an_unreadable_answer_holds_no_text(alyx, text):
    alyx.answer = lambda *_: (200, text)

    async def held(api):
        tracemalloc.start()
        try:
            with pytest.raises(errors.ServerFault, match=r"did not answer with JSON|too much") as caught:
                await api.detail("things", "x")
            assert caught.value.__traceback__ is not None
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    assert with_api(alyx, held) < len(text) / 2


def test_a_write_is_sent_once_and_its_failure_told(alyx):
    alyx.answer = lambda *_: (500, {"detail": "boom", "status_code": 500})
    with pytest.raises(errors.ServerFault, match="boom"):
        with_api(alyx, lambda api: api.send("POST", "notes", None, {"text": "x"}))
    assert len(alyx.asked) == 1


def test_a_write_answers_with_status_and_document(alyx):
    seen = []

    def answer(method, target, headers, body):
        seen.append((method, target, headers["Content-Type"], json.loads(body)))
        return 201, {"id": "1"}

    alyx.answer = answer
    reply = with_api(alyx, lambda api: api.send("PATCH", "subjects", "a b", {"é": 1}))
    assert (reply.status, reply.document) == (201, {"id": "1"})
    assert seen == [("PATCH", "/subjects/a%20b", "application/json", {"é": 1})]


def test_a_server_that_never_answers_head_costs_no_mount_its_deadline(alyx, monkeypatch):
    monkeypatch.setattr(rest, "_HEAD_WAIT", 0.2)
    alyx.knows_head = False

    async def use(api):
        began = trio.current_time()
        assert await api.may_only_read("subjects") is False
        assert trio.current_time() - began < 2
        assert (await api.page("subjects", (), 1, 0)).rows == []

    with_api(alyx, use)


def test_a_download_from_elsewhere_gets_no_credentials(alyx):
    """The server names the address of an archive: whoever may change that must not learn the token."""
    received = bytearray()

    async def use(api):
        api._network.alyx_at("http://127.0.0.1")
        await api.download(server.url("a"), received.extend, 100, 5)
        with pytest.raises(errors.NotFound):
            await api.download(server.url("no such"), received.extend, 100, 5)
        with pytest.raises(errors.AnswerTooLarge):
            await api.download(server.url("a"), received.extend, 3, 5)

    with FaultServer({"a": File(b"bytes")}) as server:
        with_api(alyx, use)
        assert [request.headers.get("authorization") for request in server.requests] == [None] * 3
    assert received == b"bytes"
    assert alyx.asked == []
