"""Builds the drive from its parts, mounts it, and takes it down again in order."""

from __future__ import annotations

import base64
import logging
import os
import resource
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from alyxfs import claims, errors, kernel
from alyxfs.alyx.auth import plain_http_warning
from alyxfs.alyx.credentials import forget_secret_variables
from alyxfs.alyx.datasets.releases import Releases
from alyxfs.alyx.datasets.s3 import Buckets
from alyxfs.alyx.metadata.poll import watch
from alyxfs.alyx.snapshot_file import copy_known
from alyxfs.cache_place import cache_place, folder_name
from alyxfs.control.commands import handlers, talks
from alyxfs.control.figures import PlacesToTell, figures, in_short
from alyxfs.control.place import socket_place
from alyxfs.control.socket import serving_control
from alyxfs.control.words import staged_words
from alyxfs.edits import Editor, Journal, Staging, State, count_staged
from alyxfs.edits.expiry import expire
from alyxfs.edits.proposals import ProposalJournal, ProposedApi, StagingJournal
from alyxfs.edits.staging import LOCK, having
from alyxfs.edits.state_directory import JOURNAL, REJECTED, move_from_cache
from alyxfs.files.cache import open_file_cache
from alyxfs.files.disk.places import Places
from alyxfs.known import Plan, account_of, open_known
from alyxfs.net import Network, RateLimit, networks_of, open_network, origin_of
from alyxfs.private_files import claim_folder, read_secret
from alyxfs.service_manager import ServiceManager
from alyxfs.settings import USER_STATE
from alyxfs.tasks import background_tasks
from alyxfs.tree import Catalogue, Drive, EditingSession, Tables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from alyxfs.alyx.auth import Account
    from alyxfs.alyx.metadata.access import Access
    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.alyx.rest import Api
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
    with cache_place(plan.settings.cache_directory, plan.source, ready) as (place, noting_ready):
        await _serve_from(plan, place, noting_ready, manager)


async def _serve_from(plan: Plan, place: CachePlace, ready: Ready, manager: ServiceManager) -> None:
    settings = plan.settings
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(
            open_network(
                deadline=settings.deadline,
                file_connections=settings.file_connections,
                allowed_networks=networks_of(settings.allow_networks),
                file_proxy=settings.file_proxy,
            )
        )
        account = account_of(plan)
        network.origin(plan.server, _limit_of_user(plan, account))
        _trust_file_server(network, settings)
        forget_secret_variables()  # fusermount and what else is started here has no use for them
        known = await stack.enter_async_context(open_known(plan, place.server, network, account))
        api, store, metadata = known.api, known.store, known.metadata
        tasks = await stack.enter_async_context(background_tasks())
        changes = kernel.Invalidation()
        limit = int(settings.cache_limit * GIB)
        sizes = Places(place.files, plan.source).values("sizes")
        await known.take_sizes(sizes)
        one_directory = await _one_directory(settings)
        files = await stack.enter_async_context(
            open_file_cache(
                network,
                place.files,
                limit_bytes=limit,
                on_change=changes.file,
                one_directory=one_directory,
                server=plan.source,
            )
        )
        index = await stack.enter_async_context(known.index(place.server / "tables"))
        preferred = tuple(name.strip() for name in settings.preferred_repositories.split(",") if name.strip())
        shows_inflated = not settings.hide_inflated and find_spec("numpy") is not None
        buckets = Buckets(network)
        catalogue = Catalogue(metadata, index, buckets, one_directory, preferred, shows_inflated=shows_inflated)
        releases = Releases(api, metadata, place.server / "releases", tasks)
        drive = Drive(metadata, known.schema, catalogue, files, Tables(place.server, tasks), releases, plan.only)
        socket = stack.enter_context(socket_place())
        drive.control_socket = str(socket)
        drive.cache_remarks = lambda: [
            one
            for one in (place.remark, files.disk.trouble, store.trouble, network.trouble_of_limit(plan.server))
            if one
        ]
        editor = staging = None
        state = USER_STATE / "servers" / folder_name(plan.server)
        if settings.writable:
            editor, staging = await _allow_writing(
                plan, stack, drive, api, known.access, metadata, tasks, changes, place.server, state
            )
        else:
            waiting = await trio.to_thread.run_sync(count_staged, state / JOURNAL, api.base_url)
            drive.staged = lambda: waiting
        if drive.staged():
            log.info("%s", staged_words(drive.staged(), shows=settings.stage))
        operations = kernel.Kernel(
            drive,
            changes,
            deadline=settings.deadline + KERNEL_GRACE,
            cache_directory=settings.cache_directory,
            allow_crawlers=settings.allow_crawlers,
        )
        places = PlacesToTell(plan.mount_point, settings.cache_directory, plan.log, state / JOURNAL, state / REJECTED)
        drive.figures = partial(figures, operations, files, account, places)
        drive.snapshot = known.about_snapshot
        copying = partial(copy_known, metadata, catalogue, store, sizes)
        commands = handlers(drive, changes, operations.traces, editor, staging, copying)
        await stack.enter_async_context(serving_control(socket, commands, talks(drive)))
        if settings.trace:
            await stack.enter_async_context(_traced(plan, drive, operations.traces.begin_for_all()))
        await _compare_with_manifest(drive, settings.deadline)
        tasks.keep(manager.keep_told, lambda: in_short(drive.status()))
        if settings.watch:
            tasks.keep(watch, api, metadata, settings.watch, changes.record, {})
        await kernel.serve(
            operations,
            plan.mount_point,
            f"alyxfs:{plan.server}",
            ready,
            writable=settings.writable,
            allow_other=settings.allow_other,
            read_ahead=settings.kernel_read_ahead,
        )


def _limit_of_user(plan: Plan, account: Account) -> RateLimit:
    """What the server is asked by all drives of this account together, as it counts by account.

    They share the directory of the state: a cache may be of one job alone, but the home is that of all nodes, mostly.
    """
    name = folder_name(f"{plan.server}#{account.user or ''}")
    return RateLimit(requests_per_minute=plan.settings.requests_per_minute, shared_in=USER_STATE / "requests" / name)


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
) -> tuple[Editor, Staging | None]:
    """The writing side: journal, editor and editing session; what a killed drive left unfinished is settled first."""
    settings = plan.settings
    claim_folder(USER_STATE)
    claim_folder(state)
    if claims.why_unshared(state) is not None:
        stack.enter_context(claims.claimed(state))
    if settings.stage:
        stack.enter_context(having(state / LOCK))
    proposals = api if isinstance(api, ProposedApi) else None
    kind = StagingJournal if settings.stage else ProposalJournal if proposals else Journal
    journal = await trio.to_thread.run_sync(kind, state / JOURNAL)
    stack.callback(journal.close)
    rejected = state / REJECTED
    for sentence in await trio.to_thread.run_sync(move_from_cache, known_here, journal, rejected):
        log.info("%s", sentence)
    editing = partial(
        Editor,
        metadata=metadata,
        journal=journal,
        rejected_directory=rejected,
        allow_deletes=not settings.no_delete,
        deletes_per_minute=settings.deletes_per_minute,
        user=access.account.user,
    )
    editor = editing(api, proposals=proposals)
    sender = editing(proposals.server) if proposals and settings.stage else editor
    if await access.may_only_read():
        drive.may_only_read = True
        log.info("%s", ONLY_READS)
        drive.errors.note("mount", "/", ONLY_READS)
    for sentence in await sender.recover():
        log.info("%s", sentence)
        drive.errors.note("recovery", "journal", sentence)
    for entry in await editor.entries(last=REMEMBERED_REFUSALS, states=[state.value for state in NOT_DONE]):
        drive.errors.note_earlier(entry.operation, f"{entry.endpoint}/{entry.key}", entry.remark or "", entry.time)
    if proposals is None and (settings.keep_journal or settings.keep_journal_size):
        remove = partial(expire, journal, rejected, days=settings.keep_journal, megabytes=settings.keep_journal_size)
        for sentence in await trio.to_thread.run_sync(remove):
            log.info("%s", sentence)
            drive.errors.note("expiry", "journal", sentence)
    staging = None
    if proposals is None or settings.stage:
        staging = await _what_is_staged(drive, api, metadata, sender, journal, state / LOCK)
    else:
        waiting = await trio.to_thread.run_sync(count_staged, state / JOURNAL, api.base_url)
        drive.staged = lambda: waiting
    session = EditingSession(editor, metadata, tasks, changes.nodes, drive.errors.note)
    drive.allow_writing(session, rejected)
    stack.push_async_callback(_finish, session)
    return editor, staging


async def _what_is_staged(
    drive: Drive, api: Api, metadata: MetadataCache, sender: Editor, journal: Journal, lock: Path
) -> Staging:
    """What earlier drives have staged, which one with ``--stage`` shows."""
    shown = api if isinstance(api, ProposedApi) else None
    staging = Staging(sender, api if shown is None else shown.server, metadata, journal, lock, shown)
    for sentence in await staging.load():
        log.info("%s", sentence)
        drive.errors.note("staged", "journal", sentence)
    if shown is not None:
        shown.is_staging = True
    if shown is not None and staging.count:
        for endpoint in (await metadata.schema()).endpoints:  # what was known is as the server has it
            metadata.outdate(endpoint)
            metadata.outdate_details(endpoint)
    drive.staged = lambda: staging.count
    return staging


def _traced(plan: Plan, drive: Drive, trace: kernel.Trace) -> AbstractAsyncContextManager[None]:
    drive.trace_file = plan.settings.trace
    tell = partial(drive.errors.note, "trace", plan.settings.trace)
    return kernel.TraceFile(Path(plan.settings.trace), trace, plan.server, plan.mount_point, tell).kept()


async def _compare_with_manifest(drive: Drive, seconds: float) -> None:
    with trio.move_on_after(seconds) as scope:
        await drive.compare_with_manifest()
    if scope.cancelled_caught:
        drive.differences.append("Not all files were compared with the manifest in time: `alyxfs verify` does.")
    for sentence in drive.differences:
        log.info("%s", sentence)


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
        if warning := plain_http_warning(settings.file_proxy or server):
            log.info("%s", warning)
    else:
        network.allow(server)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode("utf-8", "surrogateescape")).decode()
