"""The demo answers reads as a real Alyx did: the recordings of one are asked again, and the answers compared in kind.

Values differ, for the demo's data are other data. Compared are the status, the headers that clients go by, the keys,
the types, and the shape of errors.
"""

import json
import re

import httpx
import pytest

from alyxfs.demo.server import running_demo
from recordings import recorded_schema, recordings

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
NOWHERE = "00000000-0000-4000-8000-000000000000"
# What the recordings name, and what stands for it in the demo.
NAMES = {
    "KS%20022%20bis": "a%20b",
    "SWC%239": "a%23b",
    "50%25_mix": "50%25",
    "Zo%C3%AB_01": "Zo%C3%AB",
    "SWC_001": "HB001",
    "_ibl_wheel.position.npy": "_ibl_trials.table.pqt",
    "TEST_001": "KS001",
    "TEST_002": "KS001",
    "ZM_0034": "HB001",
    '"nate"': '"alice"',
}
# Whatever users put in there has no shape.
FREE = {"json", "extended_qc", "arguments", "details"}
HEADERS = ("allow", "vary", "content-type", "location", "retry-after")
# This tells of what had been deleted before; the tests of writing do the same from the start.
AFTER_WRITES = {"error_404_delete_again"}
# Refused before a limit is reached: the test of the throttle asks for this.
NEEDS_OPTION = {"error_429_throttled"}
# One nickname held a slash, which no API call can make.
PAST_THE_VALIDATOR = {"error_500_list_page_with_unlinkable_row"}


def reads():
    """Every recorded request that changes nothing."""
    found = []
    for name, recording in recordings():
        harmless = recording["request"]["method"] in {"GET", "HEAD", "OPTIONS"}
        refused = recording["response"]["status"] in {400, 403, 405, 406, 415}
        if name in AFTER_WRITES | NEEDS_OPTION | PAST_THE_VALIDATOR:
            continue
        if harmless or refused or name == "auth_token_ok":
            found.append(pytest.param(recording, id=name))
    return found


@pytest.fixture(scope="module")
def demo(demo_directory):
    """A demo of one's own: should something be saved that was to be refused, no other test sees it."""
    with running_demo(demo_directory, largest_file_mb=2) as running:
        yield running


def token(demo, user):
    """Log in."""
    answer = httpx.post(f"{demo.url}/auth-token", json={"username": user, "password": user})
    return f"Token {answer.json()['token']}"


@pytest.fixture(scope="module")
def client(demo):
    """Somebody who has logged in."""
    headers = {"Authorization": token(demo, demo.user), "Accept": "application/json"}
    with httpx.Client(base_url=demo.url, timeout=30, headers=headers) as client:
        yield client


def session_like(body):
    """The query for a session of the demo that is like a recorded one."""
    if isinstance(body, dict) and "lab" in body and body["lab"] is None:
        return {"django": "number__isnull,True,lab__isnull,True"}
    training = isinstance(body, dict) and body.get("probe_insertion") == []
    day = "2023-01-03" if training else "2023-01-02"
    return {"subject": "KS001", "date_range": f"{day},{day}"}


def key_of(client, endpoint, body):
    """The UUID of a record of the demo that is like the recorded one."""
    query = {"limit": 1}
    if endpoint == "sessions":
        query |= session_like(body)
    if endpoint == "datasets" and "protected" in str(body):
        query["protected"] = "True"
    row = client.get(f"/{endpoint}", params=query).json()["results"][0]
    return row.get("id") or row["url"].rpartition("/")[2]


def in_demo_words(text):
    """The recorded text with the demo's names in it."""
    for name, stand_in in NAMES.items():
        text = text.replace(name, stand_in)
    return text


def translated(client, recording):
    """The recorded path in the demo's words."""
    path = in_demo_words(recording["request"]["path"])
    found = UUID.search(path)
    if found is None or found[0] == NOWHERE:
        return path
    address, _, query = path.partition("?")
    endpoint = "sessions" if query.startswith("session=") else address.strip("/").split("/")[0]
    # An error's body does not tell what was asked for: there the body that was sent does.
    like = recording["request"]["body"] or recording["response"]["body"]
    return path.replace(found[0], key_of(client, endpoint, like))


def body_of(client, recording):
    """The recorded body, with the demo's own records in it."""
    body = recording["request"]["body"]
    if isinstance(body, str):
        return {"content": body.encode("latin-1")}
    if body is None:
        return {}
    text = in_demo_words(json.dumps(body)).replace("http://alyx.example", str(client.base_url).rstrip("/"))
    if recording["request"]["path"] == "/auth-token":
        right = recording["response"]["status"] == 200
        text = text.replace('"alice"', '"demo"').replace("PASSWORD", "demo" if right else "wrong")
    for found in set(UUID.findall(text)) - {NOWHERE}:
        text = text.replace(found, key_of(client, "sessions", None))
    return {"json": json.loads(text)}


def log_in_as_recorded(client, demo, recording):
    """The Authorization header that gets the recorded answer."""
    body = recording["response"]["body"]
    detail = body.get("detail", "") if isinstance(body, dict) else ""
    if detail == "Invalid token.":
        return {"Authorization": "Token nonsense"}
    if detail.startswith("You do not have permission"):
        return {"Authorization": token(demo, demo.public_user)}
    if "Authorization" in recording["request"]["headers"]:
        return {"Authorization": client.headers["Authorization"]}
    return {}


def differences(recorded, ours, where="answer"):
    """Say where two answers differ in kind."""
    if recorded is None or ours is None or where.rpartition(".")[2] in FREE:
        return []
    if kind_of(recorded) != kind_of(ours):
        return [f"{where}: {kind_of(recorded)} recorded, {kind_of(ours)} here ({recorded!r}, {ours!r})"]
    if isinstance(recorded, dict) and set(recorded) != set(ours):
        return [f"{where}: keys {sorted(set(recorded) ^ set(ours))} on one side only"]
    pairs = []
    if isinstance(recorded, dict):
        pairs = [(recorded[key], ours[key], f"{where}.{key}") for key in recorded]
    elif isinstance(recorded, list):
        pairs = [(*both, f"{where}[]") for both in zip(recorded[:1], ours[:1], strict=False)]
    return [found for pair in pairs for found in differences(*pair)]


TEXTS = {"address": r"http://", "UUID": rf"{UUID.pattern}$", "moment": r"\d{4}-\d\d-\d\dT"}


def kind_of(value):
    """The type of a value, and for text what it is about."""
    if isinstance(value, str):
        return next((kind for kind, pattern in TEXTS.items() if re.match(pattern, value)), "text")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return type(value).__name__


@pytest.mark.parametrize("recording", reads())
def test_answers_as_recorded(client, demo, recording):
    asked, expected = recording["request"], recording["response"]
    headers = {name: value for name, value in asked["headers"].items() if name != "Authorization"}
    answer = httpx.request(
        asked["method"],
        f"{demo.url}{translated(client, recording)}",
        headers=headers | log_in_as_recorded(client, demo, recording),
        timeout=30,
        **body_of(client, recording),
    )
    assert answer.status_code == expected["status"], answer.text
    recorded_headers = {name.lower(): value for name, value in expected["headers"].items()}
    for name in HEADERS:
        assert (name in answer.headers) == (name in recorded_headers), name
        if name in {"allow", "vary", "content-type"}:
            assert answer.headers.get(name) == recorded_headers.get(name)
    if isinstance(expected["body"], str):
        assert bool(answer.text) == bool(expected["body"])
        return
    found = differences(expected["body"], answer.json())
    assert not found, "\n".join(found)
    if "detail" in expected["body"] and expected["status"] < 500:
        assert shape(answer.json()["detail"]) == shape(expected["body"]["detail"])


def shape(sentence):
    """An error's sentence without what it quotes, and without names of files."""
    return re.sub(r'"[^"]*"|dataset \S+', "…", sentence)


def test_every_recorded_list_is_served(client):
    recorded = recorded_schema()
    ours = client.get("/api/schema", headers={"Accept": "application/json"}).json()
    assert set(recorded["paths"]) - set(ours["paths"]) <= {"/uploaded/{img_url}"}
    for path, operations in recorded["paths"].items():
        if path in ours["paths"]:
            assert set(operations) == set(ours["paths"][path]), path
