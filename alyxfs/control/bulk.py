"""Edits in bulk: the rows of a table, some at a time, each saved as its record's file would be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alyxfs import errors, json_text
from alyxfs.control.arguments import given, writing
from alyxfs.edits import cells, sets
from alyxfs.tasks import for_each

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from alyxfs.control.socket import Handlers
    from alyxfs.edits import Editor, SaveResult
    from alyxfs.kernel import Invalidation
    from alyxfs.tree import Drive


def tell_of(drive: Drive, changes: Invalidation, results: Iterable[SaveResult]) -> None:
    """Names that only the drive knows, and the kernel, follow writes that no program made."""
    touched: set[str] = set()
    for result in results:
        drive.undone(result)
        touched |= {f"endpoint/{result.endpoint}", f"record/{result.endpoint}/"}
    changes.nodes(touched)


def refuse_if_away(number: int, failures: Collection[errors.AlyxfsError]) -> None:
    """Raise the last of the failures where so many, all that was tried, had the server away: the others would, too."""
    away = [each for each in failures if isinstance(each, errors.Unreachable | errors.DeadlineExceeded)]
    if away and len(away) == number:
        raise away[-1]


def of_bulk(drive: Drive, changes: Invalidation, editor: Editor | None) -> Handlers:
    """By the name of the command."""

    async def begin_set(command: dict[str, Any]) -> int:
        return await writing(editor).begin_set(given(command, "made_by", str))

    async def edited_columns(command: dict[str, Any]) -> str:
        described = await writing(editor).described(given(command, "endpoint", str))
        return cells.key_column(described, [str(name) for name in given(command, "columns", list)])

    async def edit(command: dict[str, Any]) -> list[dict[str, Any]]:
        endpoint = given(command, "endpoint", str)
        described = await writing(editor).described(endpoint)
        in_set = given(command, "set", int, None)
        rows = given(command, "rows", list)
        if not all(isinstance(row, dict) and isinstance(row.get("cells"), dict) for row in rows):
            raise errors.Invalid("What is to be edited are objects with a row, a key and cells.")
        outcomes: list[dict[str, Any]] = []
        results: list[SaveResult] = []
        failures: list[errors.AlyxfsError] = []

        async def edit_row(row: dict[str, Any]) -> None:
            key = cells.key_in(str(row.get("key")))
            texts = {str(name): str(text) for name, text in row["cells"].items()}
            document = cells.changes_in(described, texts)
            if in_set is None:
                shown = await writing(editor).preview(endpoint, key, document) if document else ""
                outcomes.append({"row": row.get("row"), "outcome": "would change" if shown else "same", "diff": shown})
                return
            outcome = {"row": row.get("row"), "outcome": "same"}
            if document:
                result = await writing(editor).save(endpoint, key, None, json_text.render(document))
                results.append(result)
                outcome["outcome"] = "changed" if result.sent else "same"
            outcomes.append(outcome)

        def failed(row: dict[str, Any], error: errors.AlyxfsError) -> None:
            failures.append(error)
            outcomes.append({"row": row.get("row"), "outcome": "failed", "sentence": str(error)})

        if in_set is None:
            await for_each(rows, edit_row, at_once=sets.AT_ONCE, failed=failed)
            refuse_if_away(len(rows), failures)
            return outcomes
        with sets.writing_in(in_set):
            await for_each(rows, edit_row, at_once=sets.AT_ONCE, failed=failed)
        tell_of(drive, changes, results)
        await changes.settled()
        refuse_if_away(len(rows), failures)
        return outcomes

    return {"begin-set": begin_set, "edited-columns": edited_columns, "edit": edit}
