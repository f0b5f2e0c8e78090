"""What a running drive can be told to do, by ``alyxfs refresh``, ``pin``, ``log``, ``undo`` and their like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from alyxfs import errors
from alyxfs.control.delivering import deliver
from alyxfs.tree import manifest
from alyxfs.tree.explain import explain as explain_path
from alyxfs.tree.files_at import describe_files
from alyxfs.tree.pinning import list_pinned, pin_files, pinned_state, unpin_files

if TYPE_CHECKING:
    from alyxfs.control.socket import Conversation, Handlers, Talks
    from alyxfs.edits import Editor, Entry
    from alyxfs.kernel import Invalidation, Traces
    from alyxfs.tree import Drive

LARGEST_NUMBER = 2**63
"""SQLite knows no larger ones."""


def handlers(drive: Drive, changes: Invalidation, traces: Traces, editor: Editor | None) -> Handlers:
    """By the name of the command; those of writing only where the drive is writable."""

    async def refresh(command: dict[str, Any]) -> None:
        changes.nodes(await drive.refresh(_given(command, "path", str)))
        await changes.settled()

    async def explain(command: dict[str, Any]) -> list[str]:
        return await explain_path(drive, _given(command, "path", str))

    return {
        "refresh": refresh,
        "explain": explain,
        **_of_files(drive),
        **_of_traces(drive, traces),
        **_of_writing(drive, changes, editor),
    }


def talks(drive: Drive) -> Talks:
    """Those that are conversations, by their names."""

    async def bring(command: dict[str, Any], conversation: Conversation) -> bool:
        return await deliver(drive, _given(command, "path", str), conversation)

    return {"bring": bring}


def _of_files(drive: Drive) -> Handlers:
    async def pin(command: dict[str, Any]) -> list[dict[str, object]]:
        return await pin_files(drive, _paths(command))

    async def unpin(command: dict[str, Any]) -> int:
        return await unpin_files(drive, _paths(command))

    async def pinned(command: dict[str, Any]) -> dict[str, int]:
        del command
        return await pinned_state(drive)

    async def pins(command: dict[str, Any]) -> list[dict[str, object]]:
        del command
        return await list_pinned(drive)

    async def files(command: dict[str, Any]) -> list[dict[str, object]]:
        return await describe_files(drive, _paths(command))

    async def tidy(command: dict[str, Any]) -> dict[str, int] | None:
        directory, limit = _given(command, "directory", str), _given(command, "limit", int, None)
        if not drive.files.directory.is_relative_to(directory):
            return None
        if limit is not None:
            drive.files.disk.limit_bytes = max(0, limit)
        await drive.files.disk.tidy()
        return {"limit": drive.files.disk.limit_bytes}

    return {"pin": pin, "unpin": unpin, "pinned": pinned, "pins": pins, "files": files, "tidy": tidy}


def _of_traces(drive: Drive, traces: Traces) -> Handlers:
    async def trace(command: dict[str, Any]) -> None:
        traces.begin(_given(command, "process", int))

    async def traced(command: dict[str, Any]) -> list[dict[str, object]]:
        return traces.end(_given(command, "process", int))

    async def compare(command: dict[str, Any]) -> list[dict[str, str]]:
        read = _given(command, "read", list)
        if not all(isinstance(one, dict) and isinstance(one.get("path"), str) and "kind" in one for one in read):
            raise errors.Invalid("What is to be compared are objects with a path and a kind.")
        return await manifest.changes(drive.metadata, read)

    return {"trace": trace, "traced": traced, "compare": compare}


def _of_writing(drive: Drive, changes: Invalidation, editor: Editor | None) -> Handlers:
    async def log(command: dict[str, Any]) -> list[dict[str, Any]]:
        endpoint, _, key = _given(command, "record", str, "").partition("/")
        last, since = _given(command, "last", int, None), _given(command, "since", float, None)
        found = await _writing(editor).entries(
            last=last,
            since=since,
            record=(endpoint, key) if endpoint else None,
            states=[state for state in _given(command, "states", list, []) if isinstance(state, str)],
        )
        return [_shown(entry) for entry in found]

    async def diff(command: dict[str, Any]) -> str:
        return await _writing(editor).diff(_number(command))

    async def undo(command: dict[str, Any]) -> str:
        result = await _writing(editor).undo(_number(command))
        drive.undone(result)
        changes.nodes([f"endpoint/{result.endpoint}", f"record/{result.endpoint}/"])
        await changes.settled()
        return result.sentence

    async def allow_deletes(command: dict[str, Any]) -> str:
        path = _given(command, "path", str, "")
        if not path or path == ".":
            _writing(editor).guard.lift()
            return "Deletes are allowed again."
        endpoint, key = await drive.record_at(path)
        return await _writing(editor).consent_to_delete(endpoint, key)

    return {"log": log, "diff": diff, "undo": undo, "allow-deletes": allow_deletes}


def _number(command: dict[str, Any]) -> int:
    """Of a write in the journal, as the command names it."""
    return cast("int", _given(command, "number", int))


def _paths(command: dict[str, Any]) -> list[str]:
    """Places on the drive."""
    return [str(path) for path in _given(command, "paths", list)]


def _given(command: dict[str, Any], name: str, kind: type, *otherwise: Any) -> Any:
    """What a command says under this name, or else that; raises Invalid where it says nothing that is of the kind."""
    value: Any = command.get(name)
    if value is None and otherwise:
        return otherwise[0]
    is_whole = kind is float and type(value) is int and abs(value) < LARGEST_NUMBER
    if value is None or (type(value) is not kind and not is_whole):
        raise errors.Invalid(f"{str(value)[:80]!r} is not what the drive takes as {name}.")
    if kind is int and not abs(value) < LARGEST_NUMBER:
        raise errors.Invalid(f"{str(value)[:80]} is too large a {name}.")
    return value


def _writing(editor: Editor | None) -> Editor:
    if editor is None:
        raise errors.ReadOnly("This drive is read-only: mount it with --rw.")
    return editor


def _shown(entry: Entry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "time": entry.time,
        "operation": entry.operation,
        "record": f"{entry.endpoint}/{entry.key}",
        "method": entry.method,
        "state": entry.state.value,
        "status": entry.status,
        "fields": entry.fields,
        "remark": entry.remark,
        "undo_of": entry.undo_of,
    }
