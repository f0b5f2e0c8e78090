"""What a running drive can be told to do, by ``alyxfs refresh``, ``pin``, ``log``, ``undo`` and their like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alyxfs import errors
from alyxfs.tree.pinning import list_pinned, pin_files, pinned_state, unpin_files

if TYPE_CHECKING:
    from alyxfs.edits import Editor, Entry
    from alyxfs.kernel import Kernel
    from alyxfs.orders import Handlers
    from alyxfs.tree import Drive


def handlers(drive: Drive, operations: Kernel, editor: Editor | None) -> Handlers:
    """By the name of the order; those of writing only where the drive is writable."""

    async def refresh(order: dict[str, Any]) -> None:
        await operations.invalidate(await drive.refresh(str(order["path"])))

    async def pin(order: dict[str, Any]) -> list[dict[str, object]]:
        return await pin_files(drive, map(str, order["paths"]))

    async def unpin(order: dict[str, Any]) -> int:
        return await unpin_files(drive, map(str, order["paths"]))

    async def pinned(order: dict[str, Any]) -> dict[str, int]:
        del order
        return await pinned_state(drive)

    async def pins(order: dict[str, Any]) -> list[dict[str, object]]:
        del order
        return await list_pinned(drive)

    async def log(order: dict[str, Any]) -> list[dict[str, Any]]:
        del order
        return [_shown(entry) for entry in await _writing(editor).entries()]

    async def diff(order: dict[str, Any]) -> str:
        return await _writing(editor).diff(int(order["number"]))

    async def undo(order: dict[str, Any]) -> str:
        result = await _writing(editor).undo(int(order["number"]))
        await operations.invalidate([f"endpoint/{result.endpoint}", f"record/{result.endpoint}/"])
        return result.sentence

    async def allow_deletes(order: dict[str, Any]) -> None:
        del order
        _writing(editor).brake.lift()

    return {
        "refresh": refresh,
        "pin": pin,
        "unpin": unpin,
        "pinned": pinned,
        "pins": pins,
        "log": log,
        "diff": diff,
        "undo": undo,
        "allow-deletes": allow_deletes,
    }


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
        "fields": sorted(entry.request) if isinstance(entry.request, dict) else [],
        "remark": entry.remark,
        "undo_of": entry.undo_of,
    }
