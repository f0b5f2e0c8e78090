"""Builds the drive from its parts, mounts it, and takes it down again in order."""

from __future__ import annotations

import base64
import logging
import os
import resource
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from alyxfs import claims, errors, kernel
from alyxfs.alyx.credentials import find_account, forget_secret_variables
from alyxfs.alyx.datasets.index import open_dataset_index
from alyxfs.alyx.datasets.s3 import Buckets
from alyxfs.alyx.metadata.access import Access
from alyxfs.alyx.metadata.cache import open_metadata_cache
from alyxfs.alyx.metadata.poll import watch
from alyxfs.alyx.rest import Api
from alyxfs.cache_place import cache_place, folder_name
from alyxfs.control.commands import handlers, talks
from alyxfs.control.figures import Places, figures, in_short
from alyxfs.control.place import socket_place
from alyxfs.control.socket import serving_control
from alyxfs.edits import Editor, Journal, State
from alyxfs.edits.expiry import expire
from alyxfs.edits.proposals import ProposalJournal, ProposedApi
from alyxfs.edits.state_directory import JOURNAL, REJECTED, move_from_cache
from alyxfs.files import open_file_cache
from alyxfs.net import Network, RateLimit, networks_of, open_network, origin_of
from alyxfs.private_files import claim_folder, read_secret
from alyxfs.service_manager import ServiceManager
from alyxfs.settings import USER_STATE
from alyxfs.store import open_copy_of_store, open_store
from alyxfs.tasks import background_tasks
from alyxfs.tree import Catalogue, Drive, EditingSession, Tables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.cache_place import CachePlace
    from alyxfs.settings import Settings
    from alyxfs.tasks import Tasks

log = logging.getLogger(__name__)

Ready = Callable[[], object]

KERNEL_GRACE = 5.0
"""Seconds that an operation may take beyond the deadline of its requests, so that their own error is the one told."""
LOOK_SECONDS = 2.0
"""How long to wait for a file system that may be far, before it is believed to be there."""
GIB = 1024**3
REMEMBERED_REFUSALS = 100
"""Of earlier mounts, in errors.log."""
NOT_DONE = (State.REFUSED, State.CONFLICT, State.UNKNOWN)
ONLY_READS = "The server lets this user only read: what is saved on this drive will be refused."


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


def server_address(text: str) -> str:
    """The address of a server as people write it: https unless said, no slash at the end. Raises ConfigurationError."""
    address = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(address)
        is_usable = not (parts.username or parts.query or parts.fragment) and bool(origin_of(address))
    except (errors.BadAddress, ValueError):
        is_usable = False
    if not is_usable:
        raise errors.ConfigurationError(f"{text!r} is not the address of a server, as https://alyx.example.org.")
    return address.rstrip("/")


def run(plan: Plan, ready: Ready) -> None:
    """Serve until the drive is unmounted or the process is told to end (SIGTERM, SIGINT).

    Raises domain errors, before ``ready`` is called for everything that can be found out by then.
    """
    _leave_no_core_dump()
    manager = ServiceManager()

    def telling_ready() -> None:
        manager.tell(READY="1")
        ready()

    trio.run(_run, plan, telling_ready, manager)


def _leave_no_core_dump() -> None:
    """Tokens are in it. A limit of 1, which no dump is small enough for, also keeps handlers away (fs/coredump.c)."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (1 if most == resource.RLIM_INFINITY else min(1, most), most))


async def _run(plan: Plan, ready: Ready, manager: ServiceManager) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with background_tasks() as tasks:
            tasks.keep(_cancel_on_signals, signals, tasks, manager)
            await _serve(plan, ready, manager)


async def _cancel_on_signals(signals: AsyncIterator[int], tasks: Tasks, manager: ServiceManager) -> None:
    async for number in signals:
        log.info("ending on %s", signal.Signals(number).name)
        manager.tell(STOPPING="1", STATUS="It is being taken down.")
        tasks.cancel()


async def _serve(plan: Plan, ready: Ready, manager: ServiceManager) -> None:
    with cache_place(plan.settings.cache_directory, plan.server, ready) as (place, noting_ready):
        await _serve_from(plan, place, noting_ready, manager)


async def _serve_from(plan: Plan, place: CachePlace, ready: Ready, manager: ServiceManager) -> None:
    settings = plan.settings
    account = find_account(plan.server, user=plan.user, password=plan.password, token=plan.token)
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(
            open_network(
                deadline=settings.deadline,
                file_connections=settings.file_connections,
                allowed_networks=networks_of(settings.allow_networks),
            )
        )
        network.origin(plan.server, RateLimit(requests_per_minute=settings.requests_per_minute))
        _trust_file_server(network, settings)
        forget_secret_variables()  # fusermount and what else is started here has no use for them
        is_proposing = settings.rw and settings.dry_run
        opening = open_copy_of_store if is_proposing else open_store
        store = await stack.enter_async_context(opening(place.server / "known.sqlite"))
        api = (ProposedApi if is_proposing else Api)(network, plan.server, account, keeps_token=settings.keep_token)
        times_to_live = settings.times_to_live()
        metadata = await stack.enter_async_context(
            open_metadata_cache(api, store, time_to_live=settings.time_to_live, times_to_live=times_to_live)
        )
        schema = await metadata.schema()
        for endpoint in times_to_live.keys() - schema.endpoints.keys():
            raise errors.ConfigurationError(
                f"The option time_to_live_of names {endpoint!r}: the server has no such endpoint."
            )
        if isinstance(api, ProposedApi):
            api.schema, api.forget = schema, metadata.outdate
        access = Access(api, store, metadata, account)
        await access.check()
        tasks = await stack.enter_async_context(background_tasks())
        changes = kernel.Invalidation()
        limit = int(settings.cache_limit * GIB)
        one_directory = await _one_directory(settings)
        files = await stack.enter_async_context(
            open_file_cache(
                network,
                place.files,
                limit_bytes=limit,
                on_change=changes.file,
                one_directory=one_directory,
                server=plan.server,
            )
        )
        index = await stack.enter_async_context(open_dataset_index(api, store, metadata, place.server / "tables"))
        preferred = tuple(name.strip() for name in settings.preferred_repositories.split(",") if name.strip())
        shows_inflated = not settings.hide_inflated and find_spec("numpy") is not None
        buckets = Buckets(network)
        catalogue = Catalogue(metadata, index, buckets, one_directory, preferred, shows_inflated=shows_inflated)
        drive = Drive(metadata, schema, catalogue, files, Tables(place.server, tasks))
        socket = stack.enter_context(socket_place())
        drive.control_socket = str(socket)
        drive.cache_remarks = lambda: [one for one in (place.remark, files.disk.trouble, store.trouble) if one]
        editor = None
        state = USER_STATE / "servers" / folder_name(plan.server)
        if settings.rw:
            editor = await _allow_writing(
                plan, stack, drive, api, access, metadata, tasks, changes, place.server, state
            )
        operations = kernel.Kernel(
            drive,
            changes,
            deadline=settings.deadline + KERNEL_GRACE,
            cache_directory=settings.cache_directory,
            allow_crawlers=settings.allow_crawlers,
        )
        places = Places(plan.mount_point, settings.cache_directory, plan.log, state / JOURNAL, state / REJECTED)
        drive.figures = partial(figures, operations, files, account, places)
        commands = handlers(drive, changes, operations.traces, editor)
        await stack.enter_async_context(serving_control(socket, commands, talks(drive)))
        tasks.keep(manager.keep_told, lambda: in_short(drive.status()))
        if settings.watch:
            tasks.keep(watch, api, metadata, settings.watch, changes.record, {})
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
    access: Access,
    metadata: MetadataCache,
    tasks: Tasks,
    changes: kernel.Invalidation,
    known_here: Path,
    state: Path,
) -> Editor:
    """The writing side: journal, editor and editing session; what a killed drive left unfinished is settled first."""
    settings = plan.settings
    claim_folder(USER_STATE)
    claim_folder(state)
    if claims.why_unshared(state) is not None:
        stack.enter_context(claims.claimed(state))
    proposals = api if isinstance(api, ProposedApi) else None
    journal = await trio.to_thread.run_sync(ProposalJournal if proposals else Journal, state / JOURNAL)
    stack.callback(journal.close)
    rejected = state / REJECTED
    for sentence in await trio.to_thread.run_sync(move_from_cache, known_here, journal, rejected):
        log.info("%s", sentence)
    editor = Editor(
        api,
        metadata,
        journal,
        rejected,
        proposals=proposals,
        allow_deletes=not settings.no_delete,
        deletes_per_minute=settings.deletes_per_minute,
        user=access.account.user,
    )
    if await access.may_only_read():
        drive.may_only_read = True
        log.info("%s", ONLY_READS)
        drive.errors.note("mount", "/", ONLY_READS)
    for sentence in await editor.recover():
        log.info("%s", sentence)
        drive.errors.note("recovery", "journal", sentence)
    for entry in await editor.entries(last=REMEMBERED_REFUSALS, states=[state.value for state in NOT_DONE]):
        drive.errors.note_earlier(entry.operation, f"{entry.endpoint}/{entry.key}", entry.remark or "", entry.time)
    if proposals is None and (settings.keep_journal or settings.keep_journal_size):
        remove = partial(expire, journal, rejected, days=settings.keep_journal, megabytes=settings.keep_journal_size)
        for sentence in await trio.to_thread.run_sync(remove):
            log.info("%s", sentence)
            drive.errors.note("expiry", "journal", sentence)
    editing = EditingSession(editor, metadata, tasks, changes.nodes, drive.errors.note)
    drive.allow_writing(editing, rejected)
    stack.push_async_callback(_finish, editing)
    return editor


async def _finish(editing: EditingSession) -> None:
    """Writes that were answered are ended even when the drive is told to end."""
    with trio.CancelScope(shield=True):
        await editing.finish()


async def _one_directory(settings: Settings) -> Path | None:
    """The user's own downloads; raises ConfigurationError where they are not there, and believes what is slow."""
    if not settings.one_directory:
        return None
    directory = Path(settings.one_directory)
    is_there = True
    with trio.move_on_after(LOOK_SECONDS):
        is_there = await trio.to_thread.run_sync(directory.is_dir, abandon_on_cancel=True)
    if not is_there:
        raise errors.ConfigurationError(f"The option one_directory names {directory}, which is no directory.")
    return directory


def _trust_file_server(network: Network, settings: Settings) -> None:
    """The file server that the user named may be anywhere; Basic authentication goes to it, and to no other host."""
    password = settings.file_password or os.environ.get("ALYXFS_FILE_PASSWORD", "")
    if not password and settings.file_password_file:
        password = read_secret(Path(settings.file_password_file), "password of the file server")
    if not settings.file_server:
        return
    server = server_address(settings.file_server)
    if settings.file_user:
        network.trust_with_files(server, _basic(settings.file_user, password))
    else:
        network.allow(server)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode("utf-8", "surrogateescape")).decode()
