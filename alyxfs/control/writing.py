"""What a drive can be told of its writes: the journal, undo, and consent to deletes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alyxfs.control.arguments import given, number_in, numbers_in, shown, writing
from alyxfs.control.bulk import of_bulk, refuse_if_away, tell_of
from alyxfs.control.staged import of_staged
from alyxfs.edits import State, sets
from alyxfs.tasks import for_each

if TYPE_CHECKING:
    from alyxfs import errors
    from alyxfs.control.socket import Handlers
    from alyxfs.edits import Editor, SaveResult, Staging
    from alyxfs.kernel import Invalidation
    from alyxfs.tree import Drive


def of_writing(drive: Drive, changes: Invalidation, editor: Editor | None, staging: Staging | None) -> Handlers:
    """By the name of the command. ``staging`` sends what is staged; None on a drive that sends nothing."""
    return {
        **_of_journal(drive, editor, staging),
        **_of_undo(drive, changes, editor, staging),
        **of_bulk(drive, changes, editor),
        **of_staged(drive, changes, editor, staging),
    }


def _of_journal(drive: Drive, editor: Editor | None, staging: Staging | None) -> Handlers:
    async def log(command: dict[str, Any]) -> list[dict[str, Any]]:
        endpoint, _, key = given(command, "record", str, "").partition("/")
        last, since = given(command, "last", int, None), given(command, "since", float, None)
        found = await writing(editor).entries(
            last=last,
            since=since,
            record=(endpoint, key) if endpoint else None,
            states=[state for state in given(command, "states", list, []) if isinstance(state, str)],
            in_set=given(command, "set", int, None),
        )
        return [shown(entry) for entry in found]

    async def diff(command: dict[str, Any]) -> str:
        return await writing(editor).diff(number_in(command))

    async def write_set(command: dict[str, Any]) -> dict[str, Any]:
        found, to_undo = await writing(editor).write_set(number_in(command))
        return {"number": found.number, "time": found.time, "made_by": found.made_by, "to_undo": to_undo}

    async def allow_deletes(command: dict[str, Any]) -> str:
        path = given(command, "path", str, "")
        if not path or path == ".":
            writing(editor).guard.lift()
            if staging is not None:
                staging.editor.guard.lift()
            return "Deletes are allowed again."
        endpoint, key = await drive.record_at(path)
        return await writing(editor).consent_to_delete(endpoint, key)

    return {"log": log, "diff": diff, "set": write_set, "allow-deletes": allow_deletes}


def _of_undo(drive: Drive, changes: Invalidation, editor: Editor | None, staging: Staging | None) -> Handlers:
    async def undo(command: dict[str, Any]) -> str:
        result = await take_back(number_in(command))
        tell_of(drive, changes, [result])
        await changes.settled()
        return result.sentence

    async def take_back(number: int) -> SaveResult:
        """By who sends, but for a proposal, which is forgotten."""
        entry = await writing(editor).entry(number)
        if staging is None:
            return await writing(editor).undo(number)
        if entry.state is not State.STAGED:
            return await staging.editor.undo(number)
        results, refused = await staging.discard([number])
        if refused:
            raise refused[number]
        return results[0]

    async def undo_some(command: dict[str, Any]) -> list[dict[str, Any]]:
        outcomes: list[dict[str, Any]] = []
        results: list[SaveResult] = []
        failures: list[errors.AlyxfsError] = []
        numbers = numbers_in(command)

        async def undo_one(number: int) -> None:
            result = await take_back(number)
            results.append(result)
            outcomes.append({"number": number, "done": True, "sentence": result.sentence})

        def failed(number: int, error: errors.AlyxfsError) -> None:
            failures.append(error)
            outcomes.append({"number": number, "done": False, "sentence": str(error)})

        with sets.writing_in(given(command, "set", int)):
            await for_each(numbers, undo_one, at_once=sets.AT_ONCE, failed=failed)
        tell_of(drive, changes, results)
        await changes.settled()
        refuse_if_away(len(numbers), failures)
        return outcomes

    return {"undo": undo, "undo-some": undo_some}
