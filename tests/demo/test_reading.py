"""The demo Alyx as a whole: it starts, stops, repeats itself, and misbehaves on demand."""

import json
import os
import signal
import subprocess
import sys
import unicodedata
import zipfile

import httpx
import pytest

from alyxfs.demo import server
from alyxfs.demo.server import DemoError, running_demo


def log_in(demo, user=None):
    """A client that has logged in."""
    user = user or demo.user
    answer = httpx.post(f"{demo.url}/auth-token", json={"username": user, "password": user})
    headers = {"Authorization": f"Token {answer.json()['token']}", "Accept": "application/json"}
    return httpx.Client(base_url=demo.url, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def api(demo):
    with log_in(demo) as client:
        yield client


@pytest.fixture
def own(demo_directory):
    """A demo of one's own that obeys."""
    with running_demo(demo_directory, largest_file_mb=2, control=True) as demo:
        yield demo


def rows(api, path):
    """All rows of a list, page by page."""
    found = []
    while path:
        page = api.get(path).json()
        found += page["results"]
        path = page["next"]
    return found


def test_it_looks_like_the_real_thing(api):
    counts = {name: api.get(f"/{name}?limit=1").json()["count"] for name in ("labs", "subjects", "sessions")}
    assert counts == {"labs": 5, "subjects": 50, "sessions": 209}
    assert 4500 < api.get("/datasets?limit=1").json()["count"] < 5500


def test_same_records_every_time(tmp_path, api):
    with running_demo(tmp_path, largest_file_mb=2) as again, log_in(again) as other:
        for name in ("subjects", "sessions", "datasets", "insertions", "notes"):
            first, second = (client.get(f"/{name}?limit=50").text for client in (api, other))
            assert first.replace(str(api.base_url), "/") == second.replace(str(other.base_url), "/")


def test_odd_names(api):
    nicknames = {row["nickname"] for row in api.get("/subjects?limit=1000").json()["results"]}
    both = {unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD")}
    assert {"..", ".hidden01", "a b", "a#b", "50%", "L" * 64, *both} <= nicknames
    for nickname in ("a%20b", "a%23b", "50%25", "Zo%C3%AB", "Zoe%CC%88"):
        assert api.get(f"/subjects/{nickname}").status_code == 200
    doubled = api.get("/subjects?nickname=dup_001").json()["results"]
    assert len({row["id"] for row in doubled}) == 2
    assert api.get("/subjects/dup_001").status_code == 500


def test_key_order(api):
    row = api.get("/insertions?limit=1").json()["results"][0]
    assert list(row)[:5] == ["id", "session", "model", "session_info", "name"]
    kind = api.get("/data-repository-type?limit=1").json()["results"][0]
    assert list(kind) == ["url", "json", "name"]
    assert api.get(kind["url"]).json() == kind


def test_the_pages_for_people_are_elsewhere(api):
    for path, place in (("/", "/admin"), ("/admin/", "/admin/login/?next=/admin/")):
        answer = api.get(path)
        assert (answer.status_code, answer.headers["Location"]) == (302, place)


def test_pages(api):
    page = api.get("/datasets?limit=5000").json()
    assert len(page["results"]) == 1000
    assert httpx.URL(page["next"]).query == b"limit=1000&offset=1000"
    assert len(api.get("/datasets").json()["results"]) == 250
    everything = rows(api, "/datasets?limit=1000")
    assert len({row["url"] for row in everything}) == len(everything) == page["count"]


def test_files_have_no_order(api):
    everything = rows(api, "/files?limit=1000")
    different = {row["url"] for row in everything}
    count = api.get("/files?limit=1").json()["count"]
    assert len(everything) == count
    assert 0.5 * count < len(different) < 0.98 * count
    # Slices by key that fit into a page are complete, and so are the pieces together.
    found = set()
    edges = [f"{digit:x}0000000-0000-0000-0000-000000000000" for digit in range(16)]
    for low, high in zip(edges, [*edges[1:], None], strict=True):
        query = f"id__gte,{low}" + (f",id__lt,{high}" if high else "")
        page = api.get("/files", params={"limit": 1000, "django": query}).json()
        assert page["count"] <= 1000
        found |= {row["url"] for row in page["results"]}
    assert len(found) == count


@pytest.mark.parametrize("endpoint", ["channels", "weighings", "water-administrations", "tasks", "notes"])
def test_further_lists_have_none_that_holds(api, endpoint):
    everything = rows(api, f"/{endpoint}?limit=20")
    different = {row.get("id") or row["url"] for row in everything}
    assert len(different) < len(everything) == api.get(f"/{endpoint}?limit=1").json()["count"]


def test_a_field_may_not_stand_twice_in_a_query(api):
    answer = api.get("/files?limit=1&django=id__gte,1,id__gte,2")
    assert (answer.status_code, answer.json()["detail"][:17]) == (500, "Duplicated fields")


@pytest.mark.parametrize(
    "endpoint",
    ["sessions", "datasets", "files", "subjects", "insertions", "trajectories", "notes", "weighings", "tasks"],
)
def test_every_list_can_be_cut_by_key(api, endpoint):
    middle = "80000000-0000-0000-0000-000000000000"
    low, high = (
        api.get(f"/{endpoint}?limit=1&django=id__{lookup},{middle}").json()["count"] for lookup in ("lt", "gte")
    )
    assert low + high == api.get(f"/{endpoint}?limit=1").json()["count"]
    assert min(low, high) > 0


def test_public_user_only_gets(demo):
    with log_in(demo, demo.public_user) as api:
        statuses = {method: api.request(method, "/labs").status_code for method in ("GET", "HEAD", "OPTIONS", "POST")}
    assert statuses == {"GET": 200, "HEAD": 403, "OPTIONS": 403, "POST": 403}


def test_schema_names_what_is_served(api, demo):
    document = httpx.get(f"{demo.url}/api/schema", headers={"Accept": "application/json"}).json()
    assert document["openapi"] == "3.0.3"
    assert {"/subjects/{nickname}", "/sessions/{id}", "/users/{username}"} <= set(document["paths"])
    assert api.get("/api/schema/").status_code == 404
    answers = {
        path: api.get(path, params={"limit": 1}).status_code
        for path, operations in document["paths"].items()
        if "{" not in path and "get" in operations and path != "/check-protected"
    }
    assert set(answers.values()) == {200}, answers


def test_an_older_alyx(demo_directory):
    with running_demo(demo_directory, largest_file_mb=2, core_api=True) as demo, log_in(demo) as api:
        assert api.get("/api/schema").status_code == 404
        answer = api.get("/docs/", headers={"Accept": "application/coreapi+json"}).json()
        assert answer["subjects"]["read"]["url"] == "/subjects/{nickname}"
        assert {"list", "create", "read", "update", "partial_update", "delete"} <= set(answer["sessions"])
        kinds = {field["name"]: field["schema"]["_type"] for field in answer["subjects"]["list"]["fields"]}
        assert (kinds["limit"], kinds["alive"], kinds["nickname"]) == ("integer", "string", "string")
        assert "api" not in answer


def test_throttle(demo_directory):
    with running_demo(demo_directory, largest_file_mb=2, throttle=3) as demo, log_in(demo) as api:
        answers = [api.get("/labs") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert 0 < int(answers[-1].headers["Retry-After"]) <= 60


def test_cache_tables(api, tmp_path):
    pandas = pytest.importorskip("pandas")
    info = api.get("/cache/info/").json()
    (tmp_path / "cache.zip").write_bytes(api.get("/cache.zip").content)
    with zipfile.ZipFile(tmp_path / "cache.zip") as archive:
        archive.extractall(tmp_path)
    sessions = pandas.read_parquet(tmp_path / "sessions.pqt")
    datasets = pandas.read_parquet(tmp_path / "datasets.pqt")
    assert list(sessions.columns) == ["lab", "subject", "date", "number", "task_protocol", "projects"]
    assert datasets.index.names == ["eid", "id"]
    assert info["tables"]["datasets"]["nrecs"] == len(datasets)
    assert len(sessions) < api.get("/sessions?limit=1").json()["count"]


def test_request_log(own):
    with log_in(own) as api:
        own.clear_requests()
        api.get("/labs?limit=2")
        api.head("/labs")
    listed, head = own.requests()
    assert (listed["method"], listed["path"], listed["status"]) == ("GET", "/labs?limit=2", 200)
    assert listed["user"] == "demo"
    assert listed["bytes"] > 300
    assert (head["bytes"], head["range"]) == (0, None)


def test_failures_on_demand(own):
    with log_in(own) as api:
        own.control(fail={"status": 503, "count": 2, "path_prefix": "/labs", "retry_after": 7})
        assert api.get("/users").status_code == 200
        assert [api.get("/labs").status_code for _ in range(3)] == [503, 503, 200]
        own.control(close_before={"count": 1})
        with pytest.raises(httpx.RemoteProtocolError):
            api.get("/labs")
        own.control(truncate={"bytes": 10})
        with pytest.raises(httpx.RemoteProtocolError):
            api.get("/labs")
        own.control(fail={"count": 5})
        own.control(reset=True)
        assert api.get("/labs").status_code == 200


def test_answer_lost_after_saving(own):
    with log_in(own) as api:
        own.control(drop_after_save={"path_prefix": "/projects"})
        with pytest.raises(httpx.RemoteProtocolError):
            api.post("/projects", json={"name": "saved", "users": []})
        assert api.get("/projects/saved").status_code == 200


def test_expired_tokens(own):
    with log_in(own) as api:
        own.control(expire_tokens=True)
        answer = api.get("/labs")
        assert (answer.status_code, answer.json()["detail"]) == (403, "Invalid token.")
    with log_in(own) as api:
        assert api.get("/labs").status_code == 200


def test_changes_are_forgotten(demo_directory):
    for _ in range(2):
        with running_demo(demo_directory, largest_file_mb=2) as demo, log_in(demo) as api:
            assert api.get("/labs/lakelab").status_code == 200
            assert api.delete("/labs/lakelab").status_code == 204


def test_killed_builder_leaves_nothing_behind(tmp_path):
    command = [sys.executable, "-m", "alyxfs.demo", "--directory", str(tmp_path), "--largest-file-mb", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    while not list(tmp_path.glob(".building-*/alyx.sqlite3")):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.glob("v*"))
    with running_demo(tmp_path, largest_file_mb=2) as demo, log_in(demo) as api:
        assert api.get("/labs").json()["count"] == 5
    assert not list(tmp_path.glob(".building-*"))


def test_it_stops_with_its_parent(demo_directory):
    text = (
        "import os, sys, pathlib\n"
        "from alyxfs.demo.server import running_demo\n"
        "with running_demo(pathlib.Path(sys.argv[1]), largest_file_mb=2) as demo:\n"
        "    print(demo.process.pid, demo.url, flush=True)\n"
        "    os._exit(0)\n"
    )
    command = [sys.executable, "-c", text, str(demo_directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        _, url = parent.stdout.readline().split()
    for _ in range(2000):
        try:
            httpx.get(f"{url}/labs", timeout=1)
        except httpx.HTTPError:
            return
    pytest.fail("still answering")


def test_missing_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(server, "PACKAGES", ("json", "no_such_package"))
    with pytest.raises(DemoError, match=r'no_such_package.*pip install "alyxfs\[demo\]"'), running_demo(tmp_path):
        pass


def test_server_module_needs_no_django():
    text = "import sys, alyxfs.demo.server; print('django' in sys.modules, 'numpy' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]


def test_too_long_an_address(api):
    assert api.get("/sessions", params={"subject": "x" * 9000}).status_code == 414


def test_log_lines_are_json(demo):
    for line in demo.request_log.read_text(encoding="utf-8").splitlines():
        assert set(json.loads(line)) == {"method", "path", "status", "bytes", "range", "user"}
