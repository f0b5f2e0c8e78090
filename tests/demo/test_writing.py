"""The demo takes writes as a real Alyx was measured to take them, warts included."""

import io
import math

import httpx
import pytest
from PIL import Image

from alyxfs.demo.server import running_demo


@pytest.fixture(scope="module")
def api(demo_directory):
    """Somebody who writes to a demo of their own."""
    with running_demo(demo_directory, largest_file_mb=2) as demo:
        login = {"username": demo.user, "password": demo.password}
        token = httpx.post(f"{demo.url}/auth-token", json=login).json()["token"]
        with httpx.Client(base_url=demo.url, headers={"Authorization": f"Token {token}"}, timeout=30) as api:
            yield api


@pytest.fixture
def session(api):
    """A session of one's own."""
    body = {"subject": "KS004", "number": 1, "lab": "cortexlab", "start_time": "2024-06-01T10:00:00"}
    return api.post("/sessions", json=body).json()


def first(api, endpoint, **query):
    """The first row of a list."""
    return api.get(f"/{endpoint}", params={"limit": 1, **query}).json()["results"][0]


def test_what_is_not_written_is_ignored_in_silence(api, session):
    answer = api.patch(f"/sessions/{session['id']}", json={"nonsense": 1, "n_trials": 5, "url": "x", "notes": []})
    assert answer.status_code == 200
    assert answer.json()["n_trials"] == 5
    assert answer.json()["auto_datetime"] > session["auto_datetime"]


def test_values_come_back_in_another_form(api, session):
    sent = {
        "narrative": "  with spaces \n",
        "start_time": "2024-06-01T10:00:00+05:00",
        "json": {"zebra": 1, "a": {"yy": 1, "x": 2}, "bb": 3},
    }
    api.patch(f"/sessions/{session['id']}", json=sent)
    read = api.get(f"/sessions/{session['id']}").json()
    assert read["narrative"] == "with spaces"
    assert read["start_time"] == "2024-06-01T05:00:00"
    assert list(read["json"]) == ["a", "bb", "zebra"]
    assert list(read["json"]["a"]) == ["x", "yy"]
    api.patch(f"/sessions/{session['id']}", json={"json": {"only": 1}})
    assert api.get(f"/sessions/{session['id']}").json()["json"] == {"only": 1}


def test_post_answers_with_list_or_detail_shape(api, session):
    subject = api.post("/subjects", json={"nickname": "made-01", "lab": "cortexlab"})
    assert (subject.status_code, subject.headers["Location"]) == (201, f"{api.base_url}/subjects/made-01")
    assert "weighings" not in subject.json()
    insertion = api.post("/insertions", json={"session": session["id"], "name": "probe00"})
    assert insertion.json()["datasets"] == []
    assert "data_dataset_session_related" in session
    nameless = api.post("/subjects", json={"lab": "cortexlab"})
    assert nameless.status_code == 500 or nameless.json()["nickname"] == "-"


def test_repeated_post_makes_a_second_session(api, session):
    body = {key: session[key] for key in ("subject", "number", "lab", "start_time")}
    again = api.post("/sessions", json=body).json()
    assert again["id"] != session["id"]


def test_rename(api):
    api.post("/subjects", json={"nickname": "before", "lab": "cortexlab"})
    renamed = api.patch("/subjects/before", json={"nickname": "after"}).json()
    assert renamed["json"]["history"]["nickname"][0]["value"] == "before"
    assert api.get("/subjects/before").status_code == 404
    assert api.get("/subjects/after").json()["id"] == renamed["id"]


@pytest.mark.parametrize("nickname", ["a%20b", "50%25", "Zoe%CC%88"])
def test_subjects_that_a_name_check_would_refuse_cannot_be_changed(api, nickname):
    assert api.patch(f"/subjects/{nickname}", json={"description": "x"}).status_code == 500


def test_details_that_cannot_be_sent_back(api, session):
    body = {"name": "a.b.npy", "dataset_type": "odd", "session": session["url"], "collection": "alf"}
    dataset = api.post("/datasets", json=body).json()
    refused = api.put(dataset["url"], json=api.get(dataset["url"]).json())
    assert (refused.status_code, list(refused.json())) == (400, ["hash", "version", "revision", "status_code"])
    lost = first(api, "sessions", django="lab__isnull,True,number__isnull,True")
    detail = api.get(lost["url"]).json() | {"users": ["alice"]}
    assert api.put(lost["url"], json=detail).json()["lab"] == ["This field may not be null."]


def test_a_failure_may_have_saved(api, session):
    assert api.post("/projects", json={"name": "half"}).status_code == 500
    assert api.get("/projects/half").status_code == 200
    body = {"name": "c.d.npy", "dataset_type": "odd", "session": session["url"], "collection": "alf"}
    dataset = api.post("/datasets", json=body).json()
    assert api.patch(dataset["url"], json={"collection": "alf/#x#"}).status_code == 500
    assert api.get(dataset["url"]).json()["collection"] == "alf/#x#"
    assert api.post("/tasks", json={"name": "no status", "session": session["id"]}).status_code == 500
    tasks = api.get("/tasks", params={"session": session["id"]})
    assert tasks.status_code == 500
    api.delete(session["url"])


def test_trajectories_let_go_of_their_insertion(api):
    row = first(api, "trajectories", provenance="Planned")
    address = f"/trajectories/{row['id']}"
    kept = api.patch(address, json={"x": 1.5, "probe_insertion": row["probe_insertion"]}).json()
    assert (kept["x"], kept["probe_insertion"]) == (1.5, row["probe_insertion"])
    bare = '{"x": NaN, "probe_insertion": "%s"}' % row["probe_insertion"]  # noqa: UP031 - braces are JSON's
    answer = api.patch(address, content=bare, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert math.isnan(api.get(address).json()["x"])
    assert '"x":NaN' in api.get(address).text
    assert api.patch(address, json={"y": 2}).json()["probe_insertion"] is None


def test_notes(api, session):
    target = {"content_type": "session", "object_id": session["id"]}
    note = api.post("/notes", json={"user": "alice", "text": "a", **target}).json()
    address = f"/notes/{note['id']}"
    assert note["content_type"] == "actions.session"
    assert api.patch(address, json={"text": "b"}).status_code == 500
    assert api.get(address).json()["text"] == "a"
    assert api.patch(address, json={"text": "b", **target}).json()["text"] == "b"
    assert [each["text"] for each in api.get(session["url"]).json()["notes"]] == ["b"]


def test_pictures(api, session):
    picture = io.BytesIO()
    Image.new("RGB", (1600, 1000), (9, 99, 9)).save(picture, "PNG")
    form = {"user": "alice", "content_type": "session", "object_id": session["id"]}
    widths = {}
    for width in (None, "orig", "200"):
        data = form | ({"width": width} if width else {})
        note = api.post("/notes", data=data, files={"image": ("pic ture.png", picture.getvalue())}).json()
        stored = httpx.get(note["image"])
        assert stored.headers["Content-Type"] == "image/png"
        widths[width] = Image.open(io.BytesIO(stored.content)).size[0]
    assert widths == {None: 800, "orig": 1600, "200": 200}
    change = api.patch(f"/notes/{note['id']}", json={"text": "x", **form})
    assert (change.status_code, change.json()["detail"][:12]) == (500, "Storage can ")
    assert api.get(f"/notes/{note['id']}").json()["text"] == ""
    # A new picture is stored under a name of its own, which each further save makes longer.
    changed = api.patch(f"/notes/{note['id']}", data=form, files={"image": ("new.png", picture.getvalue())}).json()
    assert changed["image"].endswith(f"/new.{session['id']}.png")
    assert Image.open(io.BytesIO(httpx.get(changed["image"]).content)).size[0] == 800
    again = api.patch(f"/notes/{note['id']}", json={"text": "x", **form}).json()
    assert again["image"].endswith(f"/new.{session['id']}.{session['id']}.png")
    assert api.patch(f"/notes/{note['id']}", json={"text": "y", **form}).status_code == 500
    missing = api.get("/uploaded/nothing.png")
    assert (missing.status_code, missing.headers["Content-Type"][:9]) == (200, "text/html")


def test_what_a_post_must_hold(api):
    assert set(api.post("/fields-of-view", json={}).json()) == {"name", "session", "status_code"}
    for answer in (api.post("/new-download", json={}), httpx.post(api.base_url.join("/new-download"), json={})):
        assert (answer.status_code, answer.json()["detail"]) == (500, "'NoneType' object is not iterable")


def test_weighings_cannot_be_changed(api):
    weighing = api.post("/weighings", json={"subject": "KS004", "weight": 25.5}).json()
    assert weighing["user"] == "demo"
    assert api.patch(weighing["url"], json={"weight": 26}).status_code == 405
    assert api.delete(weighing["url"]).status_code == 204
    assert api.get(weighing["url"]).status_code == 404


def test_protected_datasets(api):
    dataset = first(api, "datasets", protected="True")
    refused = api.delete(dataset["url"])
    assert refused.status_code == 403
    assert "due to protected tag(s)" in refused.json()["detail"]
    # The session takes it along.
    assert api.delete(dataset["session"]).status_code == 204
    assert api.get(dataset["url"]).status_code == 404


def test_deletes_cascade(api):
    before = api.get("/sessions?lab=meadowlab&limit=1").json()["count"]
    assert before > 10
    assert api.delete("/labs/meadowlab").status_code == 204
    assert api.get("/sessions?django=subject__nickname__startswith,MD&limit=1").json()["count"] == 0
    assert api.get("/labs/meadowlab").json()["detail"] == "No Lab matches the given query."


def test_file_records_move_their_dataset(api):
    dataset = first(api, "datasets", django="name,signal.kb1.npy")
    record = dataset["file_records"][0]
    answer = api.patch(f"/files/{record['id']}", json={"exists": False})
    assert answer.json()["exists"] is False
    assert api.get(dataset["url"]).json()["auto_datetime"] > dataset["auto_datetime"]


def test_register_file(api):
    body = {
        "path": "KS003/2023-03-04/001/alf/#2023-01-01#",
        "filenames": ["spikes.times.npy", "spikes.amps.npy"],
        "hashes": ["a" * 32, "b" * 32],
        "filesizes": [10, 20],
        "created_by": "alice",
        "name": "flatiron_cortexlab",
    }
    answer = httpx.post(f"{api.base_url}/register-file", json=body)  # without a token
    assert answer.status_code == 201
    one, two = answer.json()
    assert (one["file_size"], two["file_size"], one["qc"]) == (10, 20, 0)
    exists = {record["data_repository"]: record["exists"] for record in one["file_records"]}
    assert exists == {"cortexlab_SR": False, "flatiron_cortexlab": True}
    assert api.post("/register-file", json={}).status_code == 500
    wrong = api.post("/register-file", json=body | {"path": "KS003/2030-01-01/001/alf"})
    assert "does not exist" in wrong.json()["error"]


def test_file_addresses_can_be_written_back(api):
    repository = api.get("/data-repository/flatiron_cortexlab").json()
    assert repository["data_url"].startswith(f"{api.base_url}/data_files/")
    assert api.put("/data-repository/flatiron_cortexlab", json=repository).json() == repository


def test_channels_are_made_many_at_a_time(api):
    trajectory = first(api, "trajectories", provenance="Micro-manipulator")
    channels = [
        {"trajectory_estimate": trajectory["id"], "axial": 20.0 * row, "lateral": 1.0, "brain_region": 382}
        for row in range(3)
    ]
    assert len(api.post("/channels", json=channels).json()) == 3
    assert api.get("/channels", params={"session": trajectory["session"]["id"]}).json()["count"] >= 3
