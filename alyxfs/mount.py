"""Builds the drive from its parts, mounts it, and takes it down again in order."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import signal
import tempfile
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from alyxfs import errors, kernel
from alyxfs.alyx.accounts import find_account
from alyxfs.alyx.api import Api
from alyxfs.alyx.buckets import Buckets
from alyxfs.alyx.inventory import open_inventory
from alyxfs.alyx.library import open_library
from alyxfs.alyx.watch import watch
from alyxfs.edits import Editor, Journal
from alyxfs.files import open_file_cache
from alyxfs.handlers import handlers
from alyxfs.net import Network, Politeness, open_network
from alyxfs.nursery import background_tasks
from alyxfs.orders import taking_orders
from alyxfs.store import open_store
from alyxfs.tree import Catalogue, Drive, Workbench

if TYPE_CHECKING:
    from alyxfs.alyx.accounts import Account
    from alyxfs.alyx.library import Library
    from alyxfs.settings import Settings

log = logging.getLogger(__name__)

Ready = Callable[[], object]

KERNEL_GRACE = 5.0
"""Seconds that an operation may take beyond the deadline of its requests, so that their own error is the one told."""
GIB = 1024**3


@dataclass(frozen=True)
class Plan:
    """What to mount where."""

    server: str
    mount_point: Path
    settings: Settings
    user: str | None = None
    password: str | None = None
    token: str | None = None


def server_address(text: str) -> str:
    """The address of a server as people write it: https unless said, no slash at the end. Raises ConfigurationError."""
    address = text if "://" in text else f"https://{text}"
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise errors.ConfigurationError(f"{text!r} is not the address of a server, as https://alyx.example.org.")
    return address.rstrip("/")


def run(plan: Plan, ready: Ready) -> None:
    """Serve until the drive is unmounted or the process is told to end (SIGTERM, SIGINT).

    Raises domain errors, before ``ready`` is called for everything that can be found out by then.
    """
    trio.run(_run, plan, ready)


async def _run(plan: Plan, ready: Ready) -> None:
    async with background_tasks() as nursery:
        await nursery.start(_cancel_on_signals, nursery.cancel_scope)
        await _serve(plan, ready)


async def _cancel_on_signals(
    scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        task_status.started()
        async for number in signals:
            log.info("ending on %s", signal.Signals(number).name)
            scope.cancel()


async def _serve(plan: Plan, ready: Ready) -> None:
    settings = plan.settings
    settings.cache_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    known_here = settings.cache_directory / "servers" / _folder_name(plan.server)
    known_here.mkdir(mode=0o700, parents=True, exist_ok=True)
    account = find_account(plan.server, user=plan.user, password=plan.password, token=plan.token)
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(
            open_network(deadline=settings.deadline, file_connections=settings.file_connections)
        )
        network.origin(plan.server, Politeness(requests_per_minute=settings.requests_per_minute))
        store = await stack.enter_async_context(open_store(known_here / "known.sqlite"))
        api = Api(network, plan.server, account)
        times_to_live = settings.times_to_live()
        library = await stack.enter_async_context(
            open_library(api, store, time_to_live=settings.time_to_live, times_to_live=times_to_live)
        )
        schema = await library.schema()
        for endpoint in times_to_live.keys() - schema.endpoints.keys():
            raise errors.ConfigurationError(
                f"The option time_to_live_of names {endpoint!r}: the server has no such endpoint."
            )
        await library.check_access()
        nursery = await stack.enter_async_context(background_tasks())
        changes = Changes(nursery)
        limit = int(settings.cache_limit * GIB)
        files = await stack.enter_async_context(
            open_file_cache(network, settings.cache_directory / "files", limit_bytes=limit, on_change=changes.of_file)
        )
        _trust_file_server(network, settings)
        one_directory = Path(settings.one_directory).expanduser() if settings.one_directory else None
        inventory = await stack.enter_async_context(open_inventory(api, store, library, known_here / "tables"))
        preferred = tuple(name.strip() for name in settings.preferred_repositories.split(",") if name.strip())
        shows_inflated = not settings.hide_inflated and find_spec("numpy") is not None
        buckets = Buckets(network)
        catalogue = Catalogue(library, inventory, buckets, one_directory, preferred, shows_inflated=shows_inflated)
        drive = Drive(library, schema, catalogue, files)
        # Not in the cache: the address of a socket may have 107 bytes at most.
        orders = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="alyxfs-"))) / "orders"
        drive.orders = str(orders)
        editor = None
        if settings.rw:
            editor = await _allow_writing(plan, stack, drive, api, account, library, nursery, changes, known_here)
        operations = kernel.Kernel(
            drive, deadline=settings.deadline + KERNEL_GRACE, cache_directory=settings.cache_directory
        )
        changes.operations = operations
        await stack.enter_async_context(taking_orders(orders, handlers(drive, operations, editor)))
        if settings.watch:
            nursery.start_soon(watch, api, library, settings.watch, changes.note)
        await kernel.serve(
            operations,
            plan.mount_point,
            f"alyxfs:{plan.server}",
            ready,
            writable=settings.rw,
            allow_other=settings.allow_other,
            read_ahead=settings.kernel_read_ahead,
        )


async def _allow_writing(
    plan: Plan,
    stack: AsyncExitStack,
    drive: Drive,
    api: Api,
    account: Account,
    library: Library,
    nursery: trio.Nursery,
    changes: Changes,
    known_here: Path,
) -> Editor:
    """The writing side: journal, editor and workbench; what a killed drive left unfinished is settled first."""
    settings = plan.settings
    journal = await trio.to_thread.run_sync(Journal, known_here / "journal.sqlite")
    stack.callback(journal.close)
    rejected = known_here / "rejected"
    editor = Editor(
        api,
        library,
        journal,
        rejected,
        dry_run=settings.dry_run,
        allow_deletes=not settings.no_delete,
        deletes_per_minute=settings.deletes_per_minute,
        user=account.user,
    )
    for sentence in await editor.recover():
        log.info("%s", sentence)
        drive.note_error("recovery", "journal", sentence)
    workbench = Workbench(editor, library, nursery, changes.tell, changes.forget_names, drive.note_error)
    drive.allow_writing(workbench, rejected)
    stack.push_async_callback(_finish, workbench)
    return editor


async def _finish(workbench: Workbench) -> None:
    """Writes that were answered are ended even when the drive is told to end."""
    with trio.CancelScope(shield=True):
        await workbench.finish()


class Changes:
    """Passes on to the kernel what it must ask for again."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.operations: kernel.Kernel | None = None
        self._nursery = nursery

    def tell(self, beginnings: Collection[str]) -> None:
        """Drop what the kernel keeps of nodes whose identity begins with one of these."""
        if self.operations is not None and beginnings:
            self._nursery.start_soon(self.operations.invalidate, beginnings)

    def forget_names(self, directories: str, names: Collection[str]) -> None:
        """Have names looked up anew in all directories whose identity begins so."""
        if self.operations is not None:
            self._nursery.start_soon(self.operations.forget_names, directories, names)

    def of_file(self, dataset: str) -> None:
        """A data file was found to be other than the database, or an earlier answer, said."""
        if self.operations is not None:
            self._nursery.start_soon(self.operations.invalidate_file, dataset)

    def note(self, endpoint: str, key: str | None) -> None:
        """A record, or an endpoint as a whole, was changed by others."""
        self.tell([f"endpoint/{endpoint}" if key is None else f"record/{endpoint}/{key}"])


def _trust_file_server(network: Network, settings: Settings) -> None:
    """Basic authentication for the one file server that the user named, and for no other host."""
    password = settings.file_password or os.environ.get("ALYXFS_FILE_PASSWORD", "")
    if settings.file_server and settings.file_user:
        authorization = _basic(settings.file_user, password)
        network.trust(settings.file_server, lambda: authorization)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _folder_name(server: str) -> str:
    """A folder for what is known of a server: readable, and different for different addresses."""
    host = urlsplit(server).hostname or ""
    return f"{host}-{hashlib.blake2b(server.encode(), digest_size=4).hexdigest()}"
