"""Mounting again asks nothing while what is known is fresh, and never believes another account, or a password."""

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from alyxfs import errors
from alyxfs.alyx.auth import Account
from alyxfs.alyx.metadata.access import Access
from alyxfs.alyx.metadata.cache import open_metadata_cache
from alyxfs.alyx.rest import Api
from alyxfs.net import open_network
from alyxfs.store import open_store
from small_alyx import small_alyx

pytestmark = pytest.mark.trio

ANNA = Account("anna", None, "good")


@pytest.fixture
def alyx():
    with small_alyx() as alyx:
        yield alyx


@asynccontextmanager
async def mounting(alyx, path, account=ANNA, **options):
    async with open_network(deadline=5) as network, open_store(path / "known" / "store.sqlite") as store:
        api = Api(network, alyx.url, account)
        async with open_metadata_cache(api, store, **options) as metadata:
            await metadata.schema()
            yield Access(api, store, metadata, account)


async def test_the_next_mount_asks_nothing(alyx, tmp_path):
    async with mounting(alyx, tmp_path) as access:
        await access.check()
    asked = len(alyx.asked)
    assert asked == 2
    async with mounting(alyx, tmp_path) as access:
        await access.check()
    assert len(alyx.asked) == asked


async def test_what_is_old_is_asked_again(alyx, tmp_path):
    for _ in range(2):
        async with mounting(alyx, tmp_path, time_to_live=0) as access:
            await access.check()
    assert len(alyx.asked) == 4


async def test_another_token_and_another_user_are_tried(alyx, tmp_path):
    async with mounting(alyx, tmp_path) as access:
        await access.check()
    async with mounting(alyx, tmp_path, replace(ANNA, token="bad")) as access:
        with pytest.raises(errors.AccessDenied):
            await access.check()
    asked = len(alyx.asked)
    async with mounting(alyx, tmp_path, replace(ANNA, user="olga")) as access:
        await access.check()
    assert len(alyx.asked) == asked + 1


async def test_a_password_is_always_tried_and_never_kept(alyx, tmp_path):
    for _ in range(2):
        asked = len(alyx.asked)
        async with mounting(alyx, tmp_path, Account("anna", "right")) as access:
            await access.check()
        assert len(alyx.asked) > asked
    assert b"right" not in (tmp_path / "known" / "store.sqlite").read_bytes()
    with pytest.raises(errors.AccessDenied):
        async with mounting(alyx, tmp_path, Account("anna", "wrong")) as access:
            await access.check()
