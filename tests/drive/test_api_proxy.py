"""Records by way of a caching proxy: asked of the server once for all drives of a user, never shown older than told."""

from __future__ import annotations

import contextlib
import json
import time
from email.utils import formatdate

import httpx
import pytest

from alyxfs import clock
from alyxfs.alyx.auth import Account
from alyxfs.alyx.metadata.cache import open_metadata_cache
from alyxfs.alyx.record_proxy import RecordProxy, given
from alyxfs.alyx.rest import Api
from alyxfs.net import RateLimit, open_network
from alyxfs.store import open_store
from caching_proxy import caching_proxy, needs_nginx
from mounted import mounted, run_alyxfs

RECORD = "subjects/KS001.json"


@pytest.fixture
def proxy(demo, tmp_path):
    with caching_proxy(tmp_path / "proxy", alyx=demo.url) as proxy:
        yield proxy
        assert proxy.errors() == ""


def asked_for(demo, path):
    return [entry for entry in demo.requests() if entry["path"].startswith(path)]


def state(drive):
    return json.loads((drive / ".alyxfs/status.json").read_bytes())


@needs_nginx
def test_a_record_is_asked_of_the_server_once_for_all_drives(demo, proxy, tmp_path):
    with contextlib.ExitStack() as stack:
        drives = [
            stack.enter_context(mounted(demo.url, tmp_path / str(number), "--api-proxy", proxy.records_url))
            for number in range(3)
        ]
        demo.clear_requests()
        texts = {(drive / RECORD).read_bytes() for drive in drives}
        assert len(texts) == 1
        assert json.loads(texts.pop())["nickname"] == "KS001"
        assert len(asked_for(demo, "/subjects/KS001")) == 1
        assert [line[2] for line in proxy.log() if "/subjects/KS001" in line[5]] == ["MISS", "HIT", "HIT"]
        assert state(drives[2])["proxy_used"] >= 1


@needs_nginx
def test_what_is_refreshed_is_of_the_server_itself(demo, proxy, tmp_path):
    """What one drive changes, another one shows at once after a refresh, though the proxy has the old record."""
    with (
        mounted(demo.url, tmp_path / "reader", "--api-proxy", proxy.records_url) as reader,
        mounted(demo.url, tmp_path / "writer", "--rw") as writer,
    ):
        record = json.loads((reader / RECORD).read_bytes())
        words = f"changed at {time.time()}"
        (writer / RECORD).write_text(json.dumps(record | {"description": words}))
        assert json.loads((reader / RECORD).read_bytes())["description"] != words
        assert run_alyxfs(tmp_path / "reader", "refresh", str(reader / RECORD)).returncode == 0
        assert json.loads((reader / RECORD).read_bytes())["description"] == words


@needs_nginx
@pytest.mark.trio
async def test_what_must_be_new_is_not_asked_of_the_proxy(demo, proxy, tmp_path):
    async with open_network(deadline=20) as network, open_store(tmp_path / "known.sqlite") as store:
        api = Api(network, demo.url, Account(demo.user, demo.password))
        api.proxy = RecordProxy(network, proxy.records_url, RateLimit())
        async with open_metadata_cache(api, store) as metadata:
            await metadata.schema()
            await metadata.record("subjects", "KS001")
            assert (api.proxy.asked, api.proxy.used) == (1, 1)
            demo.clear_requests()
            found = await metadata.record("subjects", "KS001", fresh=True)
            assert api.proxy.asked == 1
            assert len(asked_for(demo, "/subjects/KS001")) == 1
            assert clock.now() - found.fetched_at < 20


@pytest.mark.parametrize("url", ["cache:8081", "http://a:b@cache", "http://cache/?x=1", "ftp://cache"])
def test_what_is_no_address_of_a_proxy_is_refused(demo, tmp_path, url):
    done = run_alyxfs(tmp_path, "mount", "--api-proxy", url, demo.url, str(tmp_path / "drive"))
    assert done.returncode == 3
    assert "api_proxy" in done.stderr
    assert "a:b" not in done.stderr


@needs_nginx
def test_what_is_older_than_the_time_to_live_is_not_shown(demo, proxy, tmp_path):
    """The proxy keeps it for longer than this drive may show it: told by the Date that the server gave it."""
    with mounted(demo.url, tmp_path / "first", "--api-proxy", proxy.records_url) as drive:
        (drive / RECORD).read_bytes()
    kept_at = time.time()
    with mounted(demo.url, tmp_path / "second", "--api-proxy", proxy.records_url, "--time-to-live", "8") as drive:
        demo.clear_requests()
        (drive / RECORD).read_bytes()
        if time.time() - kept_at < 5:
            assert asked_for(demo, "/subjects/KS001") == []
    time.sleep(max(0.0, kept_at + 9 - time.time()))  # the age is what is tested
    with mounted(demo.url, tmp_path / "third", "--api-proxy", proxy.records_url, "--time-to-live", "8") as drive:
        demo.clear_requests()
        (drive / RECORD).read_bytes()
        assert len(asked_for(demo, "/subjects/KS001")) == 1
        assert state(drive)["proxy_used"] == 0


@needs_nginx
def test_no_two_users_share_and_nobody_gets_what_needs_a_token(demo, proxy, tmp_path):
    others = {"ALYXFS_USER": demo.public_user, "ALYXFS_PASSWORD": demo.public_password}
    with mounted(demo.url, tmp_path / "demo", "--api-proxy", proxy.records_url) as drive:
        (drive / RECORD).read_bytes()
    with mounted(demo.url, tmp_path / "other", "--api-proxy", proxy.records_url, **others) as drive:
        (drive / RECORD).read_bytes()
    lines = [line for line in proxy.log() if "/subjects/KS001" in line[5]]
    assert [line[2] for line in lines] == ["MISS", "MISS"]
    address = f"{proxy.records_url}/{demo.url.replace('://', '/')}/subjects/KS001"
    assert httpx.get(address, headers={"Accept": "application/json"}, trust_env=False).status_code in {401, 403}


@needs_nginx
def test_a_drive_that_may_write_asks_the_server_alone(demo, proxy, tmp_path):
    with mounted(demo.url, tmp_path / "home", "--rw", "--api-proxy", proxy.records_url) as drive:
        (drive / RECORD).read_bytes()
    assert proxy.log() == []


def test_without_the_proxy_the_server_is_asked(demo, tmp_path):
    with mounted(demo.url, tmp_path / "home", "--api-proxy", "http://127.0.0.1:9") as drive:
        assert json.loads((drive / RECORD).read_bytes())["nickname"] == "KS001"
        assert state(drive)["proxy_used"] == 0


@needs_nginx
def test_another_alyx_than_it_was_told_gets_nothing_through_it_nor_does_a_write(demo, tmp_path):
    with caching_proxy(tmp_path / "proxy", alyx="http://127.0.0.1:9") as proxy:
        with mounted(demo.url, tmp_path / "home", "--api-proxy", proxy.records_url) as drive:
            assert json.loads((drive / RECORD).read_bytes())["nickname"] == "KS001"
        assert {line[1] for line in proxy.log()} == {"421"}
        address = f"{proxy.records_url}/http/127.0.0.1:9/subjects/KS001"
        assert httpx.patch(address, json={}, trust_env=False).status_code == 403


@pytest.mark.parametrize(
    ("headers", "age"),
    [
        ({}, None),
        ({"date": 0}, None),
        ({"date": 0, "x-cache-status": "MISS"}, 0),
        ({"date": 100, "x-cache-status": "HIT"}, 100),
        ({"date": 0, "age": "40"}, 41),
        ({"date": 50, "age": "40"}, 50),
        ({"date": 0, "age": "-1"}, None),
        ({"date": 0, "age": "old"}, None),
        ({"x-cache-status": "HIT"}, None),
    ],
)
def test_the_age_of_an_answer_is_never_told_too_low(headers, age):
    now = clock.now()
    if "date" in headers:
        headers = headers | {"date": formatdate(now - headers["date"], usegmt=True)}
    found = given(headers, now, 1.0)
    if age is None:
        assert found is None
    else:
        assert age <= now - found <= age + 2.1
