"""What a drive can be told of what is staged: show it, send it, forget it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alyxfs import errors
from alyxfs.control.arguments import given, numbers_in, shown, writing
from alyxfs.control.bulk import refuse_if_away, tell_of
from alyxfs.edits import entry_diff

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alyxfs.control.socket import Handlers
    from alyxfs.edits import Editor, Staging
    from alyxfs.kernel import Invalidation
    from alyxfs.tree import Drive


def of_staged(drive: Drive, changes: Invalidation, editor: Editor | None, staging: Staging | None) -> Handlers:
    """By the name of the command."""

    def stage() -> Staging:
        if staging is None:
            if editor is not None:
                raise errors.NotAllowed("This drive sends nothing (--dry-run): mount it with --stage or --rw.")
            raise errors.ReadOnly("This drive is read-only: mount it with --stage to see what is staged, or with --rw.")
        return staging

    async def staged(command: dict[str, Any]) -> list[dict[str, Any]]:
        endpoint, _, key = given(command, "record", str, "").partition("/")
        entries = await stage().entries()
        lookup = (await writing(editor).described(endpoint)).lookup if endpoint and key else None
        return [
            {**shown(entry), "diff": entry_diff.diff(entry)}
            for entry in entries
            if endpoint in {"", entry.endpoint} and key in {"", entry.key, (entry.after or {}).get(lookup or "id")}
        ]

    async def staged_order(command: dict[str, Any]) -> list[list[int]]:
        return await stage().in_order(numbers_in(command))

    async def apply(command: dict[str, Any]) -> dict[str, Any]:
        numbers = numbers_in(command)
        results, refused = await stage().apply(numbers, given(command, "set", int))
        tell_of(drive, changes, results)
        await changes.settled()
        refuse_if_away(len(numbers), refused.values())
        return await _told(len(results), refused)

    async def discard(command: dict[str, Any]) -> dict[str, Any]:
        results, refused = await stage().discard(numbers_in(command))
        tell_of(drive, changes, results)
        await changes.settled()
        return await _told(len(results), refused)

    async def _told(done: int, refused: Mapping[int, errors.AlyxfsError]) -> dict[str, Any]:
        records = {number: await writing(editor).entry(number) for number in refused}
        return {
            "done": done,
            "refused": [
                {"number": number, "record": f"{each.endpoint}/{each.key}", "sentence": str(refused[number])}
                for number, each in sorted(records.items())
            ],
        }

    return {"staged": staged, "staged-order": staged_order, "apply": apply, "discard": discard}
