"""A listing as one file: `.rows.jsonl`, `.rows.csv` and `.rows.parquet` of endpoints and queries."""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import mmap
import os
import shutil
import subprocess
import sys
import tarfile

import duckdb
import pandas as pd
import pytest

from alyxfs.tree.tables.formats import HEADER_ROWS
from asking import Asking
from files_alyx import TOKEN, files_alyx
from mounted import failure_of_reading, mounted, until

csv.field_size_limit(sys.maxsize)
TABLES = (".rows.jsonl", ".rows.csv", ".rows.parquet")


def asked(demo):
    return [entry["path"] for entry in demo.requests() if not entry["path"].startswith("/data_files")]


def by_content(rows):
    """Rows in an order of their own; lists of names come in any order, from one request to the next."""
    return sorted(json.dumps(normal(row), sort_keys=True) for row in rows)


def normal(value):
    if isinstance(value, dict):
        return {name: normal(item) for name, item in value.items()}
    return sorted(map(normal, value), key=json.dumps) if isinstance(value, list) else value


def of_lines(content):
    return [json.loads(line) for line in content.splitlines()]


def text_of(value):
    """A value as it stands in CSV."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def test_the_rows_of_every_endpoint_are_those_of_the_api(demo, shared_drive):
    """Of those with some hundred rows; of all with ALYXFS_FULL_TESTS."""
    asking = Asking(demo.url)
    most = math.inf if "ALYXFS_FULL_TESTS" in os.environ else 300
    compared = 0
    for endpoint in sorted(os.listdir(shared_drive.path)):
        if endpoint == "data" or not json.loads((shared_drive / endpoint / ".schema.json").read_bytes())["listed"]:
            continue
        if (count := asking.get(f"/{endpoint}?limit=1")["count"]) > most:
            continue
        lines = of_lines((shared_drive / endpoint / ".rows.jsonl").read_bytes())
        assert len(lines) == count
        rows = asking.rows(f"/{endpoint}")
        assert set(by_content(rows)) <= set(by_content(lines)), f"{endpoint}: where pages shift, rows come twice"
        with open(shared_drive / endpoint / ".rows.csv", encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
        assert table == [{name: text_of(value) for name, value in row.items()} for row in lines], endpoint
        if rows:
            frame = pd.read_parquet(shared_drive / endpoint / ".rows.parquet")
            assert len(frame) == len(lines)
            assert list(frame.columns) == list(lines[0])
        compared += 1
    assert compared > 15


def test_the_rows_of_a_query_are_those_that_it_selects(demo, shared_drive):
    asking = Asking(demo.url)
    lines = of_lines((shared_drive / "sessions/lab=cortexlab/number=1/.rows.jsonl").read_bytes())
    assert by_content(lines) == by_content(asking.rows("/sessions?lab=cortexlab&number=1"))
    user = next(row["users"][0] for row in asking.rows("/projects") if row["users"])
    chosen = [row for row in asking.rows("/projects") if user in row["users"]]
    lines = of_lines((shared_drive / "projects" / f"users={user}" / ".rows.jsonl").read_bytes())
    assert by_content(lines) == by_content(chosen), "a query that is done here"


def test_a_table_without_rows_has_the_columns_of_one_with_rows(demo, shared_drive):
    """Of a query that the server does, and of one that is done here."""
    for endpoint, query in (
        ("sessions", "lab=nowhere"),
        ("datasets", "name=nothing"),
        ("insertions", "name=none"),
        ("projects", "users=nobody"),
    ):
        [row] = (page := Asking(demo.url).get(f"/{endpoint}?limit=1")).get("results", page)[:1]
        [header] = csv.reader((shared_drive / endpoint / query / ".rows.csv").read_text().splitlines())
        assert set(header) == set(row), endpoint
        assert (shared_drive / endpoint / query / ".rows.jsonl").read_bytes() == b""


def test_rows_are_not_listed_and_cannot_be_written(shared_drive):
    assert not set(TABLES) & set(os.listdir(shared_drive / "labs"))
    with pytest.raises(OSError, match="Read-only"):
        (shared_drive / "labs" / ".rows.csv").write_text("x")


def test_the_first_line_comes_after_one_page_head_stops_the_paging_and_all_costs_the_pages(demo, drive):
    count = Asking(demo.url).get("/datasets?limit=1")["count"]
    demo.clear_requests()
    directory = drive / "datasets"
    for name in (".rows.jsonl", ".rows.csv"):
        command = ["head", "-n", "1", directory / name]
        first = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
        assert len(first) > 50
        with open(directory / name, "rb", buffering=0) as file:
            assert file.read(1 << 20).startswith(first), "what has come is given at once"
            assert os.fstat(file.fileno()).st_size == 0, "as of a file in /proc: not known yet"
    fetched = sum(int(path.split("limit=")[1].split("&")[0]) for path in asked(demo))
    assert fetched < 300 < count, "the first page, and the one that is fetched ahead"
    contents = [(directory / name).read_bytes() for name in TABLES]
    assert len(contents[0].splitlines()) == count
    assert len(asked(demo)) <= count / 1000 + 3
    demo.clear_requests()
    assert [(directory / name).read_bytes() for name in TABLES] == contents
    assert len(os.listdir(directory)) == count
    assert asked(demo) == [], "the listing is the same one"
    frame = pd.read_parquet(directory / ".rows.parquet")
    rows = of_lines(contents[0])
    assert frame["name"].tolist() == [row["name"] for row in rows]
    assert frame["protected"].tolist() == [row["protected"] for row in rows], "which records lack"
    assert frame["file_size"].sum() == sum(row["file_size"] or 0 for row in rows)
    assert [json.loads(text) for text in frame["file_records"]] == [row["file_records"] for row in rows]


@pytest.fixture(scope="module")
def module_drive(demo, tmp_path_factory):
    with mounted(demo.url, tmp_path_factory.mktemp("rows") / "home") as drive:
        yield drive


@pytest.mark.parametrize("name", TABLES)
def test_whoever_looks_at_the_size_first_gets_the_true_one(module_drive, tmp_path, name):
    """tar, rsync and zip copy as many bytes as stat says, cp compares the inodes, mmap maps the size."""
    path = module_drive / "insertions" / name
    os.stat(path)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read()
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[:] == content
    assert len(content) == size > 1000
    assert os.stat(path).st_size == size
    path = module_drive / "users" / name
    subprocess.run(["cp", path, tmp_path / "copy"], check=True, timeout=60)
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()
    path = module_drive / "labs" / name
    packed = subprocess.run(["tar", "-cf", "-", name], cwd=path.parent, capture_output=True, check=True, timeout=60)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        assert archive.extractfile(name).read() == path.read_bytes()
    path = module_drive / "subjects" / name
    shutil.copyfile(path, tmp_path / "copied")
    assert (tmp_path / "copied").read_bytes() == path.read_bytes()
    path = module_drive / "projects" / name
    counted = subprocess.run(["wc", "-c", path], capture_output=True, check=True, timeout=60).stdout
    assert int(counted.split()[0]) == len(path.read_bytes())
    path = module_drive / "notes" / name
    piped = subprocess.run(["sh", "-c", f"cat < {path} | cat"], capture_output=True, check=True, timeout=60).stdout
    assert piped == path.read_bytes()


@pytest.mark.parametrize("name", TABLES)
def test_duckdb_opens_the_tables_as_they_are(module_drive, name):
    """It stats first, reads Parquet from its end, and CSV and JSON by samples."""
    path = module_drive / "insertions" / name
    rows = of_lines((module_drive / "insertions" / ".rows.jsonl").read_bytes())
    found = duckdb.sql(f"SELECT id, name, CAST(json AS VARCHAR) FROM '{path}' ORDER BY id").fetchall()
    assert [(str(identity), label) for identity, label, _ in found] == sorted((row["id"], row["name"]) for row in rows)
    files = module_drive / "data/cortexlab/Subjects/KS001/.files.parquet"
    ((total,),) = duckdb.sql(f"SELECT sum(size) FROM '{files}' WHERE path LIKE '%.npy'").fetchall()
    assert total > 1000


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_r_opens_the_tables(module_drive):
    path = module_drive / "insertions" / ".rows.csv"
    program = f"rows <- read.csv('{path}'); cat(nrow(rows), sort(rows$id)[1])"
    done = subprocess.run(["Rscript", "-e", program], capture_output=True, text=True, check=True, timeout=60)
    rows = of_lines((module_drive / "insertions" / ".rows.jsonl").read_bytes())
    assert done.stdout.split() == [str(len(rows)), min(row["id"] for row in rows)]


def test_rows_are_asked_for_again_after_the_time_to_live_and_an_open_table_stays(changing, home):
    asking = Asking(changing.url)
    with mounted(changing.url, home, "--time-to-live", "0.5") as drive:
        path = drive / "projects" / ".rows.jsonl"
        before = path.read_bytes()
        with path.open("rb") as file:
            made = asking.send("POST", "/projects", {"name": "a project of rows", "users": []})
            until(lambda: path.read_bytes() != before, "the new row")
            assert os.fstat(file.fileno()).st_size == len(before)
            assert file.read() == before
        assert made["name"] in [row["name"] for row in of_lines(path.read_bytes())]
        assert os.stat(path).st_size == len(path.read_bytes())


def test_whole_records_come_in_the_order_of_the_list_and_go_on_where_they_were(demo, home):
    asking = Asking(demo.url)
    with mounted(demo.url, home) as drive:
        directory = drive / "sessions/lab=cortexlab"
        names = os.listdir(directory)
        assert len(names) > 30
        known = [(directory / name).read_bytes() for name in names[:3]]
        demo.clear_requests()
        first = subprocess.run(
            ["head", "-n", "1", directory / ".records.jsonl"], capture_output=True, check=True, timeout=60
        ).stdout
        assert json.loads(first) == json.loads(known[0])
        assert len(asked(demo)) <= 20 - 3, "the first piece, without those that are known"
        tables = json.loads((drive / ".alyxfs/status.json").read_bytes())["tables"]
        assert [(table["rows"], table["of"], table["whole"]) for table in tables] == [(20, len(names), False)]
        records = of_lines((directory / ".records.jsonl").read_bytes())
        assert len(asked(demo)) == len(names) - 3, "one for each record that was not known"
        assert [record["id"] + ".json" for record in records] == names
        assert normal(records[7]) == normal(asking.get(f"/sessions/{records[7]['id']}"))
        demo.clear_requests()
        assert of_lines((directory / ".records.jsonl").read_bytes()) == records
        labs = of_lines((drive / "labs/.records.jsonl").read_bytes())
        assert labs == [json.loads((drive / "labs" / name).read_bytes()) for name in os.listdir(drive / "labs")]
        assert not [path for path in asked(demo) if path.startswith("/labs/")], "their rows are the records"


def test_rows_that_are_known_cost_nothing_at_the_next_mount(demo, home):
    with mounted(demo.url, home) as drive:
        known = (drive / "labs" / ".rows.jsonl").read_bytes()
    with mounted(demo.url, home) as drive:
        demo.clear_requests()
        assert (drive / "labs" / ".rows.jsonl").read_bytes() == known
        assert not [path for path in asked(demo) if path.startswith("/labs")]


def test_a_field_that_only_a_later_row_has_is_told_and_no_row_is_written_without_it(home):
    with files_alyx() as alyx:
        rows = [{"name": f"p{number:02}"} for number in range(HEADER_ROWS)]
        alyx.put("projects", [*rows, {"name": "last", "cost": 7}])
        with mounted(alyx.url, home, **TOKEN) as drive:
            path = drive / "projects" / ".rows.csv"
            assert failure_of_reading(path) == errno.EIO
            told = (
                f"A row has the field 'cost', which the first {HEADER_ROWS} of the list lack, and no column for it: "
                "read .rows.jsonl."
            )
            assert told in (drive / ".alyxfs/errors.log").read_text()
            assert of_lines((drive / "projects" / ".rows.jsonl").read_bytes()) == alyx.rows["projects"]
