"""The demo's file server: ranges, conditions, log-in, and what it must never give away."""

import hashlib
import io
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from PIL import Image

from alyxfs.demo.server import running_demo


@pytest.fixture(scope="module")
def api(demo):
    """Somebody who has logged in."""
    login = {"username": demo.user, "password": demo.password}
    token = httpx.post(f"{demo.url}/auth-token", json=login).json()["token"]
    with httpx.Client(base_url=demo.url, headers={"Authorization": f"Token {token}"}, timeout=30) as client:
        yield client


def dataset_named(api, name):
    """The one dataset of this name that has files."""
    return api.get("/datasets", params={"name": name, "limit": 1}).json()["results"][0]


def address_of(dataset, repository="flatiron"):
    """Where its file can be had, quoted as a client has to."""
    records = [each for each in dataset["file_records"] if each["data_repository"].startswith(repository)]
    return quote(records[0]["data_url"], safe=":/")


@pytest.fixture(scope="module")
def dataset(api):
    return dataset_named(api, "signal.kb64.npy")


@pytest.fixture(scope="module")
def address(dataset):
    return address_of(dataset)


@pytest.fixture(scope="module")
def content(address):
    return httpx.get(address).content


def test_whole_file_is_what_the_database_says(dataset, content):
    assert len(content) == dataset["file_size"]
    assert hashlib.md5(content).hexdigest() == dataset["hash"]


@pytest.mark.parametrize(
    ("asked", "part"),
    [("bytes=0-0", slice(0, 1)), ("bytes=100-199", slice(100, 200)), ("bytes=-7", slice(-7, None))],
)
def test_range(address, content, asked, part):
    answer = httpx.get(address, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == content[part]
    assert answer.headers["Content-Range"].endswith(f"/{len(content)}")


def test_range_beyond_the_end(address, content):
    answer = httpx.get(address, headers={"Range": f"bytes={len(content)}-"})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(content)}"
    answer = httpx.get(address, headers={"Range": f"bytes={len(content) - 5}-{len(content) + 5}"})
    assert answer.content == content[-5:]


def test_conditions(address, content):
    tag = httpx.head(address).headers["ETag"]
    assert httpx.get(address, headers={"If-None-Match": tag}).status_code == 304
    half = {"Range": "bytes=0-9"}
    assert httpx.get(address, headers=half | {"If-Range": tag}).content == content[:10]
    assert httpx.get(address, headers=half | {"If-Range": '"other"'}).content == content


def test_one_connection_serves_many(address, api):
    with httpx.Client(limits=httpx.Limits(max_connections=1)) as client:
        client.get(address)
        stream = client._transport._pool.connections[0]
        client.get(address, headers={"Range": "bytes=1-2"})
        assert client._transport._pool.connections == [stream]
    assert api.get("/labs").http_version == "HTTP/1.1"


@pytest.mark.parametrize("path", ["../alyx.sqlite3", "%2e%2e/alyx.sqlite3", "cortexlab", "", "cortexlab//x", "%00"])
def test_nothing_but_data_files(demo, path):
    raw = httpx.URL(demo.url).copy_with(raw_path=f"/data_files/{path}".encode())
    assert httpx.get(raw).status_code == 404


def test_revision_folders_stand_raw_in_addresses(api):
    sessions = api.get("/sessions?subject=KS001&date_range=2023-01-02,2023-01-02").json()
    detail = api.get(sessions["results"][0]["url"]).json()
    addresses = [each["data_url"] for each in detail["data_dataset_session_related"]]
    revised = [each for each in addresses if "/#2024-05-06#/" in each]
    assert len(revised) >= 5
    assert httpx.get(quote(revised[0], safe=":/")).status_code == 200
    assert httpx.get(revised[0]).status_code == 404  # what follows # is not sent


def test_mirror_has_the_same_bytes(api, content):
    answer = httpx.get(address_of(dataset_named(api, "signal.kb64.npy"), "aws"))
    assert answer.content == content


@pytest.mark.parametrize(
    ("name", "status"),
    [("odd.notFound.npy", 404), ("odd.empty.npy", 200), ("odd name with spaces.npy", 200), ("odd.ünïcode.npy", 200)],
)
def test_odd_files(api, name, status):
    assert httpx.get(address_of(dataset_named(api, name))).status_code == status


def test_datasets_that_lie(api):
    true_size = dataset_named(api, "odd.severalPlaces.npy")["file_size"]
    assert dataset_named(api, "odd.sizeNull.npy")["file_size"] is None
    assert dataset_named(api, "odd.sizeTooSmall.npy")["file_size"] < true_size
    assert dataset_named(api, "odd.sizeTooLarge.npy")["file_size"] > true_size
    assert dataset_named(api, "odd.hashEmpty.npy")["hash"] == ""
    assert [each["data_url"] for each in dataset_named(api, "odd.noAddress.npy")["file_records"]] == [None]
    assert dataset_named(api, "odd.noRecords.npy")["file_records"] == []


def test_compressed_recording_can_be_read(api, tmp_path):
    mtscomp = pytest.importorskip("mtscomp")
    query = "django=session__subject__nickname,KS001,name__endswith,{},file_records__exists,True"
    for ending in (".ap.cbin", ".ap.ch"):
        found = api.get(f"/datasets?{query.format(ending)}").json()["results"]
        real = [each for each in found if "2023-01-02" in each["file_records"][0]["relative_path"]]
        (tmp_path / f"x{ending}").write_bytes(httpx.get(address_of(real[0])).content)
    reader = mtscomp.decompress(tmp_path / "x.ap.cbin", tmp_path / "x.ap.ch")
    assert reader.n_channels == 32
    assert np.abs(reader[:100]).max() > 100
    reader.close()


def datasets_of(session):
    """Those of a session with an address, by collection and name: of several revisions the default one."""
    found = [each for each in session["data_dataset_session_related"] if each["data_url"]]
    return {(each["collection"], each["name"]): each for each in found if each["default_revision"] == "True"}


def array_of(dataset, client):
    return np.load(io.BytesIO(client.get(quote(dataset["data_url"], safe=":/")).content))


def test_each_session_that_has_spikes_has_all_of_them_and_they_fit_together(api):
    rows = api.get("/sessions?datasets=spikes.times.npy&limit=200").json()["results"]
    assert len(rows) > 50
    with httpx.Client() as client:
        look_at_spikes(api, rows, client)


def look_at_spikes(api, rows, client):
    """All files of the first ones, and whether those of the others are there."""
    for number, row in enumerate(rows):
        datasets = datasets_of(api.get(row["url"]).json())
        times = [each for each in datasets if each[1] == "spikes.times.npy" and "pykilosort" in each[0]]
        assert times, row
        for collection, _ in times:
            own = {name: dataset for (place, name), dataset in datasets.items() if place == collection}
            parts = [own[f"spikes.{part}.npy"] for part in ("times", "clusters", "depths", "amps")]
            if number >= 8:
                assert all(client.head(quote(each["data_url"], safe=":/")).status_code == 200 for each in parts)
                continue
            spikes = [array_of(each, client) for each in parts]
            assert len({len(each) for each in spikes}) == 1
            assert (np.diff(spikes[0]) >= 0).all()
            clusters = [array_of(own[f"clusters.{part}.npy"], client) for part in ("channels", "depths")]
            assert {len(each) for each in clusters} == {300}
            assert spikes[1].max() < 300
        wheel = [array_of(datasets["alf", f"_ibl_wheel.{part}.npy"], client) for part in ("position", "timestamps")]
        assert len(wheel[0]) == len(wheel[1]) > 1000
        assert ("alf", "_ibl_trials.table.pqt") in datasets


def test_the_notes_of_a_recording_and_its_inflated_bytes_agree(api):
    """By these neo, spikeinterface and IBL's spikeglx find out what is in the file."""
    [row] = api.get("/sessions?subject=KS001&date_range=2023-01-02,2023-01-02").json()["results"]
    by_ending = {name[-5:]: each for (_, name), each in datasets_of(api.get(row["url"]).json()).items()}
    text = httpx.get(quote(by_ending[".meta"]["data_url"], safe=":/")).text
    meta = dict(line.split("=", 1) for line in text.splitlines())
    index = httpx.get(quote(by_ending["ap.ch"]["data_url"], safe=":/")).json()
    assert (meta["typeThis"], meta["snsApLfSy"], meta["nSavedChans"]) == ("imec", "31,0,1", str(index["n_channels"]))
    assert int(meta["fileSizeBytes"]) == index["chunk_bounds"][-1] * index["n_channels"] * 2
    assert float(meta["fileTimeSecs"]) * float(meta["imSampRate"]) == index["chunk_bounds"][-1]


def test_the_video_is_one(api):
    [row] = api.get("/sessions?subject=KS001&date_range=2023-01-02,2023-01-02").json()["results"]
    dataset = datasets_of(api.get(row["url"]).json())["raw_video_data", "_iblrig_leftCamera.raw.mp4"]
    content = httpx.get(quote(dataset["data_url"], safe=":/")).content
    boxes, place = {}, 0
    while place < len(content):
        size = int.from_bytes(content[place : place + 4], "big")
        boxes[content[place + 4 : place + 8]] = content[place + 8 : place + size]
        place += size
    assert list(boxes) == [b"ftyp", b"mdat", b"moov"]
    assert place == len(content)
    assert Image.open(io.BytesIO(boxes[b"mdat"])).size == (160, 120)


def test_log_in_for_files(demo_directory):
    with running_demo(demo_directory, largest_file_mb=2, file_auth="reader:secret") as demo:
        address = f"{demo.files_url}cortexlab/nothing.npy"
        refused = httpx.get(address)
        assert (refused.status_code, refused.headers["WWW-Authenticate"][:5]) == (401, "Basic")
        assert httpx.get(address, auth=("reader", "wrong")).status_code == 401
        assert httpx.get(address, auth=("reader", "secret")).status_code == 404
        assert [line["user"] for line in demo.requests()] == [None, None, "reader"]
