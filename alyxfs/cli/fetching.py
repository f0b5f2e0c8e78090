"""``alyxfs fetch``: data files copied into a ONE directory of the user's own, where they can be changed and moved."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from alyxfs.cli.delivered import delivered
from alyxfs.cli.drives import ask_drive, state_of
from alyxfs.cli.listed_files import from_option, listed_paths, refuse_others
from alyxfs.cli.one_tables import add_to_tables
from alyxfs.cli.printing import say
from alyxfs.cli.status import counted, size_of
from alyxfs.cli.transfers import batches, data_files, transfer
from alyxfs.cli.whole_copies import WholeCopies
from alyxfs.drive_paths import below_data
from alyxfs.errors import AlyxfsError, ConfigurationError, ServerFault
from alyxfs.files.disk import direct_io
from alyxfs.private_files import make_folder, open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PARTS = ".alyxfs-parts"
"""Folder in the target for files that are not whole yet; gone once all are."""
WHOLE = "whole"
"""A file in that folder: see WholeCopies."""
HASHED_AT_ONCE = 1024 * 1024
"""Bytes of a local file."""


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path))
@click.option("--to", "target", required=True, type=click.Path(path_type=Path), help="Where the copies go.")
@from_option
def fetch(paths: tuple[Path, ...], target: Path, listed: IO[str] | None) -> None:
    """Copy data files, or all that are below a directory, into a directory laid out as ONE's, with ONE's tables.

    Each copy has the MD5 that the database says. Interrupted, it goes on where it was when called again.
    """
    wanted = [*paths, *(read := listed_paths(listed))]
    if not wanted:
        raise click.UsageError("fetch takes paths in data/, or a list or manifest of them with --from.")
    found = data_files(wanted, "fetched")
    if len(found) > 1:
        places = " and ".join(map(str, found))
        raise ConfigurationError(f"These files are of several drives ({places}): fetch those of one at a time.")
    with _alone_in(target):
        for root, names in found.items():
            refuse_others(root, _fetch(root, names, target), read)


def _fetch(root: Path, names: Sequence[str], target: Path) -> list[dict[str, Any]]:
    """Bring these files of a drive; they are returned as the drive describes them."""
    answers = [ask_drive(root, "files", paths=batch) for batch in batches(names)]
    files = {file["path"]: file for answer in answers for file in answer}
    if not files:
        raise ConfigurationError("There is no data file to fetch: ONE's tables are made for what is fetched.")
    missing = {
        name: file["size"] for name, file in files.items() if not _has_size(_copy_of(file, target), file["size"])
    }
    _refuse_if_full(target, files, missing)
    here: list[str] = []
    copies = _Copies(root, target, WholeCopies(target / PARTS / WHOLE))

    def copy(name: str, advance: Callable[[int], None]) -> None:
        if not copies.copy(files[name], advance):
            here.append(name)

    sizes = {name: file["size"] for name, file in files.items()}
    failed = transfer(root, sizes, copy, f"what came is in {target}. Call it again to go on.")
    whole = [file for name, file in files.items() if name not in failed]
    remark = add_to_tables(target, root, whole) if whole else ""
    total = size_of(sum(file["size"] for file in whole))
    unknown = sum(file["md5"] is None for file in whole)
    hashes = f" The database has no MD5 of {unknown:,} of them." if unknown else ""
    before = f", of which {len(here):,} were there before" if here else ""
    say(f"Fetched {counted(len(whole), 'file')} ({total}) into {target}{before}.{hashes}")
    if remark:
        say(remark, err=True)
    if failed:
        raise AlyxfsError(
            f"{len(failed):,} of {counted(len(files), 'file')} were not fetched. Call it again later: "
            "what is here is not fetched twice."
        )
    shutil.rmtree(target / PARTS, ignore_errors=True)
    return list(files.values())


class _Copies:
    """Copies of a drive's files that are made in threads."""

    def __init__(self, root: Path, target: Path, whole: WholeCopies) -> None:
        self._root = root
        self._target = target
        self._socket = Path(state_of(root)["control_socket"])
        self._whole = whole

    def copy(self, file: dict[str, Any], advance: Callable[[int], None]) -> bool:
        """Bring one file; false where it was there already.

        What came of it before is in a part of its own, as a beginning of its bytes: that is hashed, and the rest is
        read. Raises OSError, ServerFault where it is not what it should be.
        """
        copy, size = _copy_of(file, self._target), file["size"]
        if _has_size(copy, size) and self._is_right(copy, file["md5"]):
            advance(size)
            return False
        version = hashlib.blake2b(file["hash"].encode(), digest_size=8).hexdigest()
        part = self._target / PARTS / f"{file['dataset']}-{version}"
        descriptor = open_file(part, os.O_RDWR)
        with open(descriptor, "r+b", buffering=0) as stream:  # noqa: PTH123 - a descriptor has no path
            come, found = self._complete(file, part, stream, advance)
            if come == size and file["md5"] in {None, found}:
                state = (self._root / file["path"]).stat()
                os.utime(descriptor, ns=(state.st_mtime_ns, state.st_mtime_ns))
                make_folder(copy.parent)
                part.replace(copy)
                self._whole.add(copy, found)
                return True
        part.unlink()
        raise ServerFault(
            f"What came has {come:,} bytes and the MD5 {found}, the database says {size:,} and "
            f"{file['md5']}: it is not kept. `alyxfs refresh` of the file fetches it anew."
        )

    def _complete(
        self, file: dict[str, Any], part: Path, stream: IO[bytes], advance: Callable[[int], None]
    ) -> tuple[int, str]:
        """Write what the part of the file lacks; how many bytes it then has, and their MD5."""
        size, come = file["size"], os.fstat(stream.fileno()).st_size
        if come > size:
            stream.truncate(0)
            come = 0
        digest = _hash_of(part)
        advance(come)
        if come == size != 0:
            return come, str(digest.hexdigest())
        with delivered(self._root, file["path"], self._socket) as content, _past_pages(stream, size) as direct:
            for piece in content.pieces(come):
                digest.update(piece)
                _write_all(stream.fileno(), direct, piece, come)
                come += len(piece)
                advance(len(piece))
            found = str(digest.hexdigest())
            content.tell_hash(found)
        return come, found

    def _is_right(self, copy: Path, md5: str | None) -> bool:
        """Whether a copy of the right size, which was there before, has the MD5 of the database, if that says one."""
        if md5 is None or self._whole.has(copy, md5):
            return True
        is_right = bool(_hash_of(copy).hexdigest() == md5)
        if is_right:
            self._whole.add(copy, md5)
        return is_right


@contextlib.contextmanager
def _past_pages(stream: IO[bytes], size: int) -> Iterator[int | None]:
    """A way into a large file past the page cache, where there is one: what programs have there is to stay there."""
    direct = direct_io.open_again(stream.fileno()) if size >= direct_io.LEAST else None
    try:
        yield direct
    finally:
        if direct is not None:
            os.close(direct)


def _write_all(descriptor: int, direct: int | None, piece: memoryview, position: int) -> None:
    rest = [piece]
    while rest:
        written = direct_io.write_some(descriptor, direct, rest, position)
        position += written
        rest = direct_io.after(rest, written)


def _copy_of(file: dict[str, Any], target: Path) -> Path:
    return target / (below_data(file["path"]) or file["path"])


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except (FileNotFoundError, NotADirectoryError):
        return False


def _hash_of(path: Path) -> Any:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(HASHED_AT_ONCE):
            digest.update(piece)
    return digest


def _refuse_if_full(target: Path, files: dict[str, Any], missing: dict[str, int]) -> None:
    parts = sum(path.stat().st_size for path in (target / PARTS).iterdir())
    needed, free = sum(missing.values()) - parts, shutil.disk_usage(target).free
    if needed > free:
        raise ConfigurationError(
            f"{target} has {size_of(free)} free, and {counted(len(files), 'file')} need {size_of(needed)} more."
        )


@contextlib.contextmanager
def _alone_in(target: Path) -> Iterator[None]:
    """Make the target, and be the only one that fetches into it. Raises ConfigurationError."""
    parts = target / PARTS
    try:
        made = make_folder(parts)
        descriptor = os.open(parts, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigurationError(f"Nothing can be put into {target}: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigurationError(f"Another `alyxfs fetch` puts files into {target}: wait for its end.") from error
    except OSError:  # a disk without locks: two at a time bring each file twice, and each of them whole
        pass
    try:
        yield
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):  # not empty: it will go on
            for folder in reversed(made or [parts]):
                folder.rmdir()
