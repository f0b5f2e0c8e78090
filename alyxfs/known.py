"""What is known of the Alyx, and who is asked for the rest: the server, a dry run over it, or nobody for a snapshot."""

from __future__ import annotations

import contextlib
import logging
import os
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from alyxfs import errors
from alyxfs.alyx.auth import plain_http_warning
from alyxfs.alyx.credentials import Account, find_account
from alyxfs.alyx.datasets.cache_tables import TablesUnusableError
from alyxfs.alyx.datasets.index import open_dataset_index
from alyxfs.alyx.metadata.access import Access
from alyxfs.alyx.metadata.cache import open_metadata_cache
from alyxfs.alyx.metadata.freshness import Freshness, Frozen
from alyxfs.alyx.record_proxy import RecordProxy
from alyxfs.alyx.rest import Api
from alyxfs.alyx.snapshot_file import SilentApi, Unpacked, unpacked
from alyxfs.edits.proposals import ProposedApi
from alyxfs.net import RateLimit
from alyxfs.private_files import claim_folder, open_file
from alyxfs.store import open_copy_of_store, open_fixed_store, open_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from alyxfs.alyx.datasets.index import DatasetIndex
    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.alyx.schema.read import Schema
    from alyxfs.net import Network
    from alyxfs.settings import Settings
    from alyxfs.store import Store
    from alyxfs.tree import Only


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What to mount where."""

    server: str
    mount_point: Path
    settings: Settings
    user: str | None = None
    password: str | None = None
    token: str | None = None
    log: Path | None = None
    """Where it logs; None: to the terminal."""
    only: Only | None = None
    """What is shown; None: everything."""
    snapshot: Path | None = None
    """The file that is shown in place of what the server has."""
    is_server_named: bool = True
    """Whether the user said which server it is, and not the snapshot alone."""
    digest: str = ""
    """Of the snapshot, as it was when the server was read from it."""

    @property
    def source(self) -> str:
        """Whose things of the cache these are: a file that names a server fills in nothing of that server's."""
        return self.server if self.is_server_named else f"{self.server}#{self.digest}"


@dataclass(frozen=True)
class Known:
    """Made with :func:`open_known`."""

    api: Api
    store: Store
    metadata: MetadataCache
    access: Access
    schema: Schema
    snapshot: Unpacked | None
    about_snapshot: dict[str, str] | None
    """For people: which file, and when it was made."""

    @asynccontextmanager
    async def index(self, directory: Path) -> AsyncGenerator[DatasetIndex, None]:
        """All sessions and their files, by tables that are kept in ``directory``, or those of the snapshot."""
        folder = directory if self.snapshot is None else self.snapshot.tables
        async with open_dataset_index(self.api, self.store, self.metadata, folder) as index:
            if self.snapshot is not None:
                with _damage_told(self.snapshot):
                    await index.hold()
            yield index

    async def take_sizes(self, sizes: Path) -> None:
        """Learn the true sizes of files from the snapshot, where none are known here."""
        if self.snapshot is not None:
            await trio.to_thread.run_sync(_take_sizes, self.snapshot.sizes, sizes)


def account_of(plan: Plan) -> Account:
    """Who asks the server; nobody where nothing is asked."""
    if plan.snapshot is not None:
        return Account()
    return find_account(plan.server, user=plan.user, password=plan.password, token=plan.token)


@asynccontextmanager
async def open_known(plan: Plan, folder: Path, network: Network, account: Account) -> AsyncGenerator[Known, None]:
    """What is known, kept in ``folder``, for as long as the block lasts.

    Raises ConfigurationError, and what the first requests raise.
    """
    settings, snapshot, about = plan.settings, await _unpacked(plan), None
    times_to_live, is_proposing = settings.times_to_live(), settings.sends_nothing
    async with AsyncExitStack() as stack:
        api: Api
        freshness: Freshness
        if snapshot is not None:
            about = {"file": str(plan.snapshot), "made": snapshot.manifest.made}
            what = "the snapshot {file} of {made}".format_map(about)
            store = await stack.enter_async_context(open_fixed_store(snapshot.store))
            api, freshness = SilentApi(network, plan.server, what, is_named=plan.is_server_named), Frozen()
        else:
            opening = open_copy_of_store if is_proposing else open_store
            store = await stack.enter_async_context(opening(folder / "known.sqlite"))
            api = (ProposedApi if is_proposing else Api)(network, plan.server, account, keeps_token=settings.keep_token)
            freshness = Freshness(settings.time_to_live, times_to_live)
            if settings.api_proxy and not settings.writable:
                limit = RateLimit(requests_per_minute=settings.requests_per_minute)
                api.proxy = RecordProxy(network, settings.api_proxy, limit)
                if warning := plain_http_warning(api.proxy.base):
                    log.info("%s", warning)
        metadata = await stack.enter_async_context(open_metadata_cache(api, store, freshness=freshness))
        with _damage_told(snapshot):
            schema = await metadata.schema()
        for endpoint in times_to_live.keys() - schema.endpoints.keys():
            raise errors.ConfigurationError(
                f"The option time_to_live_of names {endpoint!r}: the server has no such endpoint."
            )
        if isinstance(api, ProposedApi):
            api.schema, api.forget = schema, metadata.outdate
        access = Access(api, store, metadata, account)
        if snapshot is None:
            await access.check()
        yield Known(api, store, metadata, access, schema, snapshot, about)


@contextlib.contextmanager
def _damage_told(snapshot: Unpacked | None) -> Iterator[None]:
    """What is no snapshot of ours inside, whole though it is, is no defect of ours."""
    try:
        yield
    except (TablesUnusableError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if snapshot is None:
            raise
        sentence = f"What is in the snapshot cannot be used: {type(error).__name__}: {error}."
        raise errors.ConfigurationError(sentence) from error


async def _unpacked(plan: Plan) -> Unpacked | None:
    """The snapshot that is to be shown, ready to be read. Raises ConfigurationError."""
    if plan.snapshot is None:
        return None
    found = await unpacked(plan.snapshot, plan.settings.cache_directory / "snapshots")
    if found.manifest.digest != plan.digest:
        raise errors.ConfigurationError(f"The snapshot {plan.snapshot} was replaced while it was mounted: try again.")
    return found


def _take_sizes(given: Path, sizes: Path) -> None:
    """Learn the true sizes of files from a snapshot, where none are known here."""
    with contextlib.suppress(OSError):
        if given.exists() and not sizes.exists():
            claim_folder(sizes.parent)
            with os.fdopen(open_file(sizes, os.O_WRONLY | os.O_EXCL), "wb") as file:
                file.write(given.read_bytes())
