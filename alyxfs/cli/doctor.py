"""``alyxfs doctor``: what this machine and a server are like for a drive, and what to do where something is amiss."""

from __future__ import annotations

import os
import platform
import shutil
import stat
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import click
import trio
from humanize import naturalsize

from alyxfs import __version__, claims, errors, free_space, settings
from alyxfs import mount as mounting
from alyxfs.alyx.credentials import find_account
from alyxfs.alyx.datasets import fields
from alyxfs.alyx.datasets.layout import address_on_the_wire
from alyxfs.alyx.rest import Api
from alyxfs.cli.drives import FILE_SYSTEM, mounts
from alyxfs.cli.mount_point import in_time
from alyxfs.cli.printing import say
from alyxfs.net import networks_of, open_network

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from alyxfs.net import Network

GOOD, ODD, BAD = "ok", "note", "BAD"
"""As it should be; worth knowing; a drive will not work, or only in part."""
PACKAGES = ("pyfuse3", "trio", "httpx", "pyarrow", "numpy", "mtscomp", "keyring")
FUSE_DEVICE = Path("/dev/fuse")
FUSE_SETTINGS = Path("/etc/fuse.conf")
CONNECTIONS = Path("/sys/fs/fuse/connections")
INDEXER_SETTINGS = Path("/etc/updatedb.conf")
DEADLINE = 15.0
"""Seconds for each question to a server."""
CLOCK_IS_OFF = 60.0
"""Seconds between the clocks of server and machine that are worth a word."""
LARGEST = 64 * 1024
"""Bytes of an answer to a request for one byte."""
ONE_BYTE = {"Range": "bytes=0-0"}
FILES_TRIED = 5
NOT_THERE, PART_OF_FILE = 404, 206
"""Statuses of HTTP."""


@dataclass(frozen=True)
class Finding:
    """One line of the answer."""

    state: str
    what: str
    sentence: str


@click.command()
@click.argument("server", default=settings.PUBLIC_ALYX)
@click.option("--machine-only", is_flag=True, help="Ask no server.")
def doctor(server: str, *, machine_only: bool) -> None:
    """Look at this machine and at SERVER, and say what to do where a drive would not work."""
    address = mounting.server_address(server)
    chosen = settings.load(address, {})
    are_well = [_tell(finding) for finding in of_machine(chosen)]
    if not machine_only:
        are_well += trio.run(_tell_of_server, address, chosen)
    if not all(are_well):
        raise click.exceptions.Exit(1)


async def _tell_of_server(address: str, chosen: settings.Settings) -> list[bool]:
    return [_tell(finding) async for finding in of_server(address, chosen)]


def _tell(finding: Finding) -> bool:
    say(f"{finding.state:4}  {finding.what:12}  {finding.sentence}")
    return finding.state != BAD


def of_machine(chosen: settings.Settings) -> Iterator[Finding]:
    """What can be seen without a server."""
    found = ", ".join(f"{name} {number}" for name in PACKAGES if (number := _version(name)))
    yield Finding(GOOD, "versions", f"alyxfs {__version__}, Python {platform.python_version()}, {found}")
    yield _of_device()
    yield _of_helper()
    yield _of_connections()
    yield _of_other_users()
    yield _of_indexer()
    yield from _of_disk("cache", chosen.cache_directory)
    yield from _of_disk("journal", settings.USER_STATE)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _of_device() -> Finding:
    if not FUSE_DEVICE.exists():
        return Finding(
            BAD, "FUSE", f"{FUSE_DEVICE} is missing: `sudo modprobe fuse`, or --device /dev/fuse for a container."
        )
    if not os.access(FUSE_DEVICE, os.R_OK | os.W_OK):
        return Finding(
            BAD, "FUSE", f"{FUSE_DEVICE} is closed to you: `sudo chmod 666 {FUSE_DEVICE}`, as Debian has it."
        )
    return Finding(GOOD, "FUSE", f"{FUSE_DEVICE} is open to you")


def _of_helper() -> Finding:
    helper = shutil.which("fusermount3")
    if helper is None:
        return Finding(BAD, "fusermount3", "is not on the PATH: install the package fuse3.")
    if os.geteuid() != 0 and not Path(helper).stat().st_mode & stat.S_ISUID:
        return Finding(BAD, "fusermount3", f"{helper} is not setuid root: `sudo chmod u+s {helper}`.")
    return Finding(GOOD, "fusermount3", helper)


def _of_connections() -> Finding:
    if any(mount.place == CONNECTIONS for mount in mounts()):
        return Finding(GOOD, "kernel", f"{CONNECTIONS} is there: programs of a killed drive get an error at once")
    what = f"{CONNECTIONS} is not mounted: `sudo mount -t fusectl none {CONNECTIONS}` makes many readers faster."
    return Finding(ODD, "kernel", what)


def _of_other_users() -> Finding:
    lines = FUSE_SETTINGS.read_text(errors="replace").splitlines() if FUSE_SETTINGS.exists() else []
    if "user_allow_other" in [line.strip() for line in lines]:
        return Finding(GOOD, "other users", "--allow-other may be used")
    return Finding(GOOD, "other users", f"--allow-other needs the line user_allow_other in {FUSE_SETTINGS}")


def _of_indexer() -> Finding:
    if not INDEXER_SETTINGS.exists():
        return Finding(GOOD, "indexer", "no updatedb on this machine")
    if FILE_SYSTEM in INDEXER_SETTINGS.read_text(errors="replace"):
        return Finding(GOOD, "indexer", f"{INDEXER_SETTINGS} leaves drives out")
    what = f"updatedb may walk drives: add {FILE_SYSTEM} to PRUNEFS in {INDEXER_SETTINGS}."
    return Finding(ODD, "indexer", what)


def _of_disk(what: str, directory: Path) -> Iterator[Finding]:
    place = next(folder for folder in (directory, *directory.parents) if folder.exists())
    on = max((mount for mount in mounts() if place.is_relative_to(mount.place)), key=lambda one: len(one.place.parts))
    if not os.access(place, os.W_OK):
        yield Finding(BAD, what, f"{place} cannot be written to.")
        return
    disk = os.statvfs(place)
    room = -free_space.lacking(disk)
    where = f"{directory} on {on.file_system}"
    if room <= 0:
        yield Finding(BAD, what, f"{where} has less than {free_space.FREE_SHARE:.0%} free: nothing is kept there.")
    else:
        yield Finding(GOOD, what, f"{where}, {naturalsize(room, binary=True)} may be used")
    if directory.exists() and (why := in_time(lambda: claims.why_unshared(directory))):
        yield Finding(ODD, what, f"its disk has no locks ({why}): each drive keeps what it has for itself.")


async def of_server(address: str, chosen: settings.Settings) -> AsyncIterator[Finding]:
    """What the server answers; each question after the other, each within its deadline."""
    async with open_network(deadline=DEADLINE, allowed_networks=networks_of(chosen.allow_networks)) as network:
        account = find_account(address)
        api = Api(network, address, account)
        try:
            await api.schema_document()
        except errors.AlyxfsError as error:
            yield Finding(BAD, "server", str(error))
            return
        yield Finding(GOOD, "server", f"{address} answers")
        offset = api.clock_offset
        if abs(offset) > CLOCK_IS_OFF:
            way = "ahead of" if offset > 0 else "behind"
            yield Finding(
                ODD, "clock", f"the server's is {abs(offset):.0f} s {way} this machine's: one of them is wrong."
            )
        else:
            yield Finding(GOOD, "clock", "the server's and this machine's agree")
        if not account.usable:
            yield Finding(BAD, "user", f"nobody is known for {address}: run `alyxfs login {address}`.")
            return
        try:
            await api.page("labs", (), 1, 0)
            reads_only = await api.may_only_read("labs")
        except errors.AlyxfsError as error:
            yield Finding(BAD, "user", str(error))
            return
        who = account.user or "a token whose user is not known"
        may = "may read; what is saved would be refused" if reads_only else "may read and write"
        yield Finding(GOOD, "user", f"{who}, from {account.source}: {may}")
        yield await _of_tables(api)
        yield await _of_files(api, network)


async def _of_tables(api: Api) -> Finding:
    if _version("pyarrow") is None:
        return Finding(ODD, "tables", 'pyarrow is not installed: `pip install "alyxfs[tables]"` makes data/ faster.')
    try:
        made = (await api.get("/cache/info/")).get("date_created")
    except (errors.AlyxfsError, AttributeError) as error:
        return Finding(ODD, "tables", f"the server has no cache tables, so that data/ costs more requests ({error}).")
    return Finding(GOOD, "tables", f"the server made its cache tables at {made}")


async def _of_files(api: Api, network: Network) -> Finding:
    """The first byte of a data file that the server lists; many lists name some that were never there."""
    found = Finding(ODD, "data files", "none of the first datasets has a web address.")
    try:
        rows = (await api.page("datasets", (("exists", "True"),), 20, 0)).rows
        urls = [copy.url for row in rows for copy in fields.copies(row) if copy.exists and copy.url]
        for url in urls[:FILES_TRIED]:
            answer = await network.request("GET", address_on_the_wire(url), headers=ONE_BYTE, largest=LARGEST)
            found = _of_answer(answer.status, url)
            if answer.status != NOT_THERE:
                break
    except errors.AnswerTooLarge:
        sentence = "the file server ignores ranges: it sends whole files, which are read in order."
        return Finding(BAD, "data files", sentence)
    except errors.AlyxfsError as error:
        return Finding(BAD, "data files", str(error))
    return found


def _of_answer(status: int, url: str) -> Finding:
    if status in {401, 403}:
        sentence = "the file server wants a password: see --file-server, --file-user and --file-password-file."
        return Finding(BAD, "data files", sentence)
    if status == NOT_THERE:
        return Finding(ODD, "data files", f"{url} and others are listed, and not on their server.")
    if status != PART_OF_FILE:
        return Finding(BAD, "data files", f"a request for one byte was answered with {status}.")
    return Finding(GOOD, "data files", "the file server answers requests for parts of files")
