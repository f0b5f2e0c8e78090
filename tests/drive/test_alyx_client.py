"""Everything that ONE's AlyxClient does, done with the drive: one test for each row of the README's table."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from alyxfs import file_names
from alyxfs.demo.server import running_demo
from asking import Asking
from mounted import mounted, run_alyxfs, until
from one_client import needs_one, run_one
from queries import QUERIES, without_mark
from writing import writing

pytestmark = needs_one

MORE_QUERIES = [
    "sessions/django=subject__nickname,KS001",
    "sessions/users=alice",
    "sessions/performance_gte=50",
    "sessions/datasets=_ibl_trials.table.pqt",
    "datasets/revision=2024-05-06",
    "datasets/name=spikes.times.npy",
    "subjects/responsible_user=alice",
    "insertions/django=json__qc,CRITICAL",
    "trajectories/django=x__gte,0",
    "weighings/django=weight__gte,20",
    "water-administrations/django=adlib,False",
    "notes/django=text__isnull,False",
    "brain-regions/django=acronym__startswith,VIS",
    "labs/name=cortexlab",
]
ALL_QUERIES = [*QUERIES, *MORE_QUERIES]
LOOKUPS = {"subjects": "nickname", "users": "username", "labs": "name"}

CLIENT = """
from one.webclient import AlyxClient
set_up()
client = AlyxClient(base_url=url, username="demo", password="demo", cache_dir=own, silent=True)
"""


@pytest.fixture(scope="module")
def answers(demo, tmp_path_factory):
    """What AlyxClient says, asked once for all tests that only read."""
    session = Asking(demo.url).rows("/sessions?subject=KS001&lab=cortexlab")[0]["id"]
    script = f"""
from pathlib import Path
with contextlib.redirect_stdout(io.StringIO()) as printed:
    answers["endpoints"] = client.list_endpoints()
    printed.truncate(0)
    client.print_endpoint_info("sessions", "list")
    answers["filters"] = printed.getvalue().split()
answers["lists"] = {{}}
for query in {ALL_QUERIES!r}:
    endpoint, *filters = query.split("/")
    values = dict((name, value.replace("%2F", "/")) for name, _, value in (part.partition("=") for part in filters))
    # In one page where it fits: of lists without an order ONE's pages repeat some rows and lack as many.
    answers["lists"][query] = list(client.rest(endpoint, "list", no_cache=True, limit=1000, **values))
answers["session"] = client.rest("sessions", "read", id={session!r})
datasets = list(client.rest("datasets", "list", session={session!r}))
served = [dataset for dataset in datasets if "wheel" in dataset["name"] or "taskSettings" in dataset["name"]][:3]
addresses = [next(one["data_url"] for one in dataset["file_records"] if one["data_url"] and one["exists"])
             for dataset in served]
answers["downloads"] = {{}}
for dataset, path in zip(served, client.download_file(addresses, target_dir=own), strict=True):
    answers["downloads"][dataset["url"]] = digest(path)
answers["addresses"] = {{dataset["url"]: client.rel_path2url(address[len(files):])
                        for dataset, address in zip(served, addresses, strict=True)}}
tables = client.download_cache_tables(destination=own + "/tables")
answers["tables"] = {{Path(path).name: digest(path) for path in tables}}
"""
    return run_one(demo, tmp_path_factory.mktemp("one"), CLIENT + script)


def digest(path):
    import hashlib

    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def identity(url):
    return url.rsplit("/", 1)[-1]


def test_each_row_of_the_readme_has_its_test():
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    rows = readme.split("<!-- client -->")[1].split("<!-- end of client -->")[0].strip().splitlines()[2:]
    told = {re.search(r"`(\w+)` \|$", row).group(1) for row in rows}
    tests = {name.removeprefix("test_row_") for name in globals() if name.startswith("test_row_")}
    assert told == tests
    assert len(rows) >= 20


def test_row_endpoints(answers, drive):
    shown = set(os.listdir(drive.path)) - {"data"}
    # Addresses that hold no records: orders, checks and downloads.
    others = {name for name in set(answers["endpoints"]) - shown if not (drive / name).exists()}
    assert shown <= set(answers["endpoints"])
    assert not {name for name in others if re.search(r"sessions|subjects|datasets|notes|weighings", name)}


def test_row_endpoint_info(answers, drive):
    schema = json.loads((drive / "sessions/.schema.json").read_bytes())
    shown = {*schema["filters"], "limit", "offset"}
    told = {word for word in answers["filters"] if re.fullmatch(r"[a-z_]+", word)} - {"list"}
    assert len(told) > 30
    assert told <= shown


@pytest.mark.parametrize("query", ALL_QUERIES)
def test_row_lists(answers, module_drive, query):
    endpoint = query.partition("/")[0]
    lookup = LOOKUPS.get(endpoint, "id")
    keys = [str(row[lookup]) if lookup in row else identity(row["url"]) for row in answers["lists"][query]]
    assert keys
    shown = sorted(os.listdir(module_drive / query), key=without_mark)
    assert [without_mark(name) for name in shown] == sorted(file_names.encode(key, ".json") for key in keys)


@pytest.fixture(scope="module")
def module_drive(demo, tmp_path_factory):
    with mounted(demo.url, tmp_path_factory.mktemp("lists")) as drive:
        yield drive


def test_the_queries_are_forty_over_eight_endpoints():
    assert len(set(ALL_QUERIES)) >= 40
    assert len({query.partition("/")[0] for query in ALL_QUERIES}) >= 8


def test_row_reads(answers, drive):
    session = answers["session"]
    assert json.loads((drive / "sessions" / f"{session['id']}.json").read_bytes()) == session


def test_row_downloads(answers, drive, tmp_path):
    assert len(answers["downloads"]) == 3
    links = {identity(url): drive / "datasets" / identity(url) for url in answers["downloads"]}
    subprocess.run(["cp", "-L", *links.values(), tmp_path], check=True, timeout=60)
    for url, expected in answers["downloads"].items():
        assert digest(tmp_path / identity(url)) == expected


def test_row_tables(answers, drive, tmp_path):
    subprocess.run(f"cp {drive.path}/data/*.pqt {tmp_path}", shell=True, check=True, timeout=60)
    copied = {path.name: digest(path) for path in tmp_path.glob("*.pqt")}
    assert copied == {name: each for name, each in answers["tables"].items() if name.endswith(".pqt")}
    assert len(copied) == 2


def test_row_addresses(answers, drive):
    for url, address in answers["addresses"].items():
        path = drive / "datasets" / identity(url)
        path.read_bytes()
        os.listdir(os.path.dirname(os.path.realpath(path)))  # from here on its names are asked for with addresses
        until(lambda path=path: "user.alyx.url" in os.listxattr(path), "the address")
        assert os.getxattr(path, "user.alyx.url").decode() == address


def asked(demo, path):
    return [entry for entry in demo.requests() if entry["path"].startswith(path)]


def test_row_cache(demo, home):
    with mounted(demo.url, home, "--time-to-live", "1") as drive:
        record = drive / "labs/cortexlab.json"
        record.read_bytes()
        demo.clear_requests()
        until(lambda: record.read_bytes() and asked(demo, "/labs"), "another request, a time to live later")
    with mounted(demo.url, home / "patient", "--time-to-live", "600") as drive:
        record = drive / "labs/cortexlab.json"
        record.read_bytes()
        demo.clear_requests()
        for _ in range(20):
            record.read_bytes()
        assert asked(demo, "/labs") == []


def test_row_refresh(demo, drive, home):
    record = drive / "labs/cortexlab.json"
    content = record.read_bytes()
    demo.clear_requests()
    assert run_alyxfs(home, "refresh", str(record)).returncode == 0
    assert record.read_bytes() == content
    assert len(asked(demo, "/labs")) == 1


def test_row_offline(demo_directory, home):
    with running_demo(demo_directory, largest_file_mb=2) as own, mounted(own.url, home) as drive:
        content = (drive / "labs/cortexlab.json").read_bytes()
        run_alyxfs(home, "refresh", str(drive / "labs/cortexlab.json"))
        own.process.terminate()
        own.process.wait(30)
        assert (drive / "labs/cortexlab.json").read_bytes() == content
        assert json.loads((drive / ".alyxfs/status.json").read_bytes())["stale_since"]


def test_row_login(demo, home):
    done = run_alyxfs(home, "login", demo.url, "--user", "demo", "--password", "demo")
    assert done.returncode == 0, done.stderr
    assert "demo\n" not in done.stdout
    with mounted(demo.url, home, ALYXFS_USER="demo") as drive:
        assert (drive / "labs/cortexlab.json").exists()


def test_row_logout(demo, home):
    run_alyxfs(home, "login", demo.url, "--user", "demo", "--password", "demo")
    assert "forgotten" in run_alyxfs(home, "logout", demo.url).stdout
    assert "No token" in run_alyxfs(home, "logout", demo.url).stdout
    done = run_alyxfs(home, "mount", "-f", demo.url, str(home / "drive"))
    assert done.returncode == 4, done.stderr
    assert not any(
        b"token" in path.read_bytes() for path in (home / ".config").rglob("*.json") if len(path.read_bytes()) > 3
    )


# Writing: the same done by ONE's client and with the drive, on two records that are alike.


@pytest.fixture
def rw(demo_directory, home):
    """A drive that may be written to, and the server behind it."""
    with running_demo(demo_directory, largest_file_mb=2, control=True) as own, writing(own, home) as opened:
        yield opened


def client(rw, tmp_path, script):
    """Let ONE's client write to the same server."""
    return run_one(rw.demo, tmp_path, CLIENT + script)


@pytest.fixture
def pair(rw):
    """Two sessions that differ in nothing but their ids: one for ONE, one for the drive."""
    values = {
        "subject": "KS001",
        "lab": "cortexlab",
        "users": ["demo"],
        "number": 5,
        "start_time": "2024-08-09T10:00:00",
    }
    made = [rw.asking.send("POST", "/sessions", {**values, "json": {"a": 1, "b": 2}}) for _ in range(2)]
    return tuple(identity(session["url"]) for session in made)


def alike(rw, one, two, *fields):
    records = rw.record("sessions", one), rw.record("sessions", two)
    return [[record[field] for field in fields] for record in records]


def test_row_creates(rw, tmp_path):
    lab = {
        "name": "lab_of_one",
        "institution": "x",
        "address": "",
        "timezone": "Europe/London",
        "reference_weight_pct": 0.85,
        "zscore_weight_pct": 0.0,
    }
    client(rw, tmp_path, f"client.rest('labs', 'create', data={lab!r})")
    rw.file("labs", "lab_of_drive").write_text(json.dumps({**lab, "name": "lab_of_drive"}))
    records = rw.record("labs", "lab_of_one"), rw.record("labs", "lab_of_drive")
    for record in records:
        del record["name"]
    assert records[0] == records[1]


def test_row_partial_update(rw, tmp_path, pair):
    client(rw, tmp_path, f"client.rest('sessions', 'partial_update', id={pair[0]!r}, data={{'narrative': 'ok'}})")
    rw.file("sessions", pair[1]).write_text('{"narrative": "ok"}')
    first, second = alike(rw, *pair, "narrative", "json", "number")
    assert first == second == ["ok", {"a": 1, "b": 2}, 5]


def test_row_update(rw, tmp_path, pair):
    script = f"""
data = client.rest("sessions", "read", id={pair[0]!r})
data = {{key: data[key] for key in ("subject", "lab", "users", "start_time", "number", "json")}}
data.update(narrative="whole", number=6)
client.rest("sessions", "update", id={pair[0]!r}, data=data)
"""
    client(rw, tmp_path, script)
    file = rw.file("sessions", pair[1])
    document = json.loads(file.read_bytes())
    document.update(narrative="whole", number=6)
    file.write_text(json.dumps(document))
    first, second = alike(rw, *pair, "narrative", "json", "number", "users")
    assert first == second == ["whole", {"a": 1, "b": 2}, 6, ["demo"]]


def test_row_deletes(rw, tmp_path):
    made = [
        identity(rw.asking.send("POST", "/weighings", {"subject": "KS001", "weight": 20.5})["url"]) for _ in range(2)
    ]
    client(rw, tmp_path, f"client.rest('weighings', 'delete', id={made[0]!r})")
    rw.file("weighings", made[1]).unlink()

    def left():
        return {identity(row["url"]) for row in rw.asking.rows("/weighings?nickname=KS001")} & set(made)

    until(lambda: not left(), "both deletions: the drive's waits a moment for an editor that saves by renames")


def test_row_pictures(rw, tmp_path, pair):
    picture = tmp_path / "picture.png"
    Image.new("RGB", (40, 30), (200, 10, 10)).save(picture)
    about = {"user": "demo", "content_type": "session", "object_id": pair[0], "text": "with a picture"}
    script = f"client.rest('notes', 'create', data={about!r}, files={{'image': open({str(picture)!r}, 'rb')}})"
    client(rw, tmp_path, script)
    (note,) = rw.asking.rows(f"/notes?django=object_id,{pair[0]}")
    assert (rw.drive / "notes" / f"{note['id']}.png").read_bytes() == Asking.bytes_of(note["image"])
    subprocess.run(["cp", picture, rw.drive / "notes" / f"{note['id']}.png"], check=True, timeout=60)
    (changed,) = rw.asking.rows(f"/notes?django=object_id,{pair[0]}")
    assert changed["image"] != note["image"]
    assert (rw.drive / "notes" / f"{note['id']}.png").read_bytes() == Asking.bytes_of(changed["image"])


def test_row_json_field_write(rw, tmp_path, pair):
    client(rw, tmp_path, f"client.json_field_write('sessions', {pair[0]!r}, 'json', {{'c': 3}})")
    rw.file("sessions", pair[1]).write_text('{"json": {"c": 3}}')
    first, second = alike(rw, *pair, "json")
    assert first == second == [{"c": 3}]


def change_json(rw, session, change):
    file = rw.file("sessions", session)
    document = json.loads(file.read_bytes())
    change(document["json"])
    file.write_text(json.dumps(document))


def test_row_json_field_update(rw, tmp_path, pair):
    client(rw, tmp_path, f"client.json_field_update('sessions', {pair[0]!r}, 'json', {{'b': 5, 'c': 3}})")
    change_json(rw, pair[1], lambda field: field.update(b=5, c=3))
    first, second = alike(rw, *pair, "json")
    assert first == second == [{"a": 1, "b": 5, "c": 3}]


def test_row_json_field_remove_key(rw, tmp_path, pair):
    client(rw, tmp_path, f"client.json_field_remove_key('sessions', {pair[0]!r}, 'json', 'a')")
    change_json(rw, pair[1], lambda field: field.pop("a"))
    first, second = alike(rw, *pair, "json")
    assert first == second == [{"b": 2}]


def test_row_json_field_delete(rw, tmp_path, pair):
    client(rw, tmp_path, f"client.json_field_delete('sessions', {pair[0]!r}, 'json')")
    rw.file("sessions", pair[1]).write_text('{"json": null}')
    first, second = alike(rw, *pair, "json")
    assert first == second == [None]
