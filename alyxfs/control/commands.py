"""What a running drive can be told to do, by ``alyxfs refresh``, ``pin``, ``log``, ``undo`` and their like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alyxfs import errors
from alyxfs.control.arguments import given, paths_in
from alyxfs.control.delivering import deliver
from alyxfs.control.writing import of_writing
from alyxfs.tree import manifest
from alyxfs.tree.explain import explain as explain_path
from alyxfs.tree.files_at import describe_files
from alyxfs.tree.pinning import list_pinned, pin_files, pinned_state, unpin_files

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alyxfs.control.socket import Conversation, Handlers, Talks
    from alyxfs.edits import Editor, Staging
    from alyxfs.kernel import Invalidation, Trace, Traces
    from alyxfs.tree import Drive


def handlers(
    drive: Drive,
    changes: Invalidation,
    traces: Traces,
    editor: Editor | None,
    staging: Staging | None,
    copy_known: Callable[[Path], Awaitable[dict[str, int]]],
) -> Handlers:
    """By the name of the command; those of writing refuse where the drive is read-only.

    ``copy_known`` puts what the drive knows into a folder.
    """

    async def refresh(command: dict[str, Any]) -> None:
        changes.nodes(await drive.refresh(given(command, "path", str)))
        await changes.settled()

    async def explain(command: dict[str, Any]) -> list[str]:
        return await explain_path(drive, given(command, "path", str))

    async def snapshot(command: dict[str, Any]) -> dict[str, int]:
        status = drive.status()
        if status["dry_run"] or status.get("staging"):
            raise errors.NotAllowed(
                "What a drive with --dry-run or --stage shows is not true: make a snapshot of another one."
            )
        return await copy_known(Path(given(command, "folder", str)))

    return {
        "snapshot": snapshot,
        "refresh": refresh,
        "explain": explain,
        **_of_files(drive),
        **_of_traces(drive, traces),
        **of_writing(drive, changes, editor, staging),
    }


def talks(drive: Drive) -> Talks:
    """Those that are conversations, by their names."""

    async def bring(command: dict[str, Any], conversation: Conversation) -> bool:
        return await deliver(drive, given(command, "path", str), conversation)

    return {"bring": bring}


def _of_files(drive: Drive) -> Handlers:
    async def pin(command: dict[str, Any]) -> list[dict[str, object]]:
        return await pin_files(drive, paths_in(command))

    async def unpin(command: dict[str, Any]) -> int:
        return await unpin_files(drive, paths_in(command))

    async def pinned(command: dict[str, Any]) -> dict[str, int]:
        del command
        return await pinned_state(drive)

    async def pins(command: dict[str, Any]) -> list[dict[str, object]]:
        del command
        return await list_pinned(drive)

    async def files(command: dict[str, Any]) -> list[dict[str, object]]:
        return await describe_files(drive, paths_in(command))

    async def tidy(command: dict[str, Any]) -> dict[str, int] | None:
        directory, limit = given(command, "directory", str), given(command, "limit", int, None)
        if not drive.files.directory.is_relative_to(directory):
            return None
        if limit is not None:
            drive.files.disk.limit_bytes = max(0, limit)
        await drive.files.disk.tidy()
        return {"limit": drive.files.disk.limit_bytes}

    return {"pin": pin, "unpin": unpin, "pinned": pinned, "pins": pins, "files": files, "tidy": tidy}


def _of_traces(drive: Drive, traces: Traces) -> Handlers:
    async def trace(command: dict[str, Any]) -> None:
        traces.begin(given(command, "process", int), given(command, "asker", int))

    async def traced(command: dict[str, Any]) -> dict[str, object]:
        return _traced(traces.end(given(command, "asker", int)))

    async def traced_so_far(command: dict[str, Any]) -> dict[str, object]:
        del command
        if traces.of_all is None:
            raise errors.NotFound("This drive was not mounted with --trace.")
        return _traced(traces.of_all)

    async def compare(command: dict[str, Any]) -> list[dict[str, str]]:
        return await manifest.changes(drive.metadata, _read(command))

    async def facts(command: dict[str, Any]) -> list[dict[str, object]]:
        return await manifest.facts(drive.metadata, _read(command))

    async def documents(command: dict[str, Any]) -> dict[str, Any]:
        return dict(await drive.metadata.documents(given(command, "endpoint", str)))

    return {
        "trace": trace,
        "traced": traced,
        "traced-so-far": traced_so_far,
        "compare": compare,
        "facts": facts,
        "documents": documents,
    }


def _traced(trace: Trace) -> dict[str, object]:
    return {"read": trace.so_far(), "left_out": trace.left_out, "began": trace.began}


def _read(command: dict[str, Any]) -> list[dict[str, Any]]:
    """Entries of a manifest."""
    read: list[dict[str, Any]] = given(command, "read", list)
    if not all(isinstance(one, dict) and isinstance(one.get("path"), str) and "kind" in one for one in read):
        raise errors.Invalid("Entries of a manifest are objects with a path and a kind.")
    return read
