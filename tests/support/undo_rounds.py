"""Rounds of a write and its undo for every endpoint and every field that can be written, as undo_judge judges them.

A round changes, makes or deletes one record, takes that back, and compares the whole database with what it was before.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any, Protocol

import pytest

from alyxfs import errors
from alyxfs.alyx.quirks import writing as quirks
from alyxfs.edits import validate
from undo_judge import Difference, Round, judge

ROWS = 16
"""Of a list that are looked at for one round."""
ATTEMPTS = 6
"""Records that are tried for a round: the server refuses some values and some combinations."""
KINDS = ("another's", "varied", "empty")
"""Values that a field is changed to."""


class Database(Protocol):
    """All rows of the server, compared with how they were at first."""

    def changed(self) -> Difference: ...

    def naming(self, identifier: str) -> list[str]:
        """``table.column`` of links by id alone (no foreign key) that hold this id."""

    def restore(self) -> None:
        """As it was at first; what was noted of records that are there no more is forgotten, too."""


class Hands(Protocol):
    """Who writes; ``save``, ``make`` and ``delete`` give the write's number in the journal, None for no write."""

    async def save(self, endpoint: str, key: str, edit: dict[str, Any]) -> int | None: ...

    async def make(self, endpoint: str, name: str, document: dict[str, Any]) -> int | None: ...

    async def delete(self, endpoint: str, key: str) -> int | None: ...

    async def consent(self, endpoint: str, key: str) -> str: ...

    async def logged(self, number: int) -> tuple[str, str]:
        """What the log says of a write, and the key of its record now."""

    async def undo(self, number: int) -> str: ...


class Rounds:
    """``api`` reads the records; ``done`` and ``refused`` are what came of it."""

    def __init__(self, api, hands: Hands, database: Database, seed: int) -> None:
        self.done: list[Round] = []
        self.refused: list[str] = []
        self.saved_fields: Counter[tuple[str, str]] = Counter()
        self._api = api
        self._hands = hands
        self._database = database
        self._random = random.Random(seed)
        self._counter = itertools.count(1)
        self._counts: dict[str, int] = {}

    async def change_all(self, endpoint, *, at_once: int, kinds=KINDS[:2]) -> None:
        """Change every field that can be changed, ``at_once`` together; one by one where the server refuses that."""
        if "PATCH" not in endpoint.detail_methods or endpoint.name in quirks.UNCHANGEABLE:
            return
        _, record, _ = await self._one(endpoint)
        names = [name for name in record if is_writable(endpoint, name)]
        self._random.shuffle(names)
        for kind in kinds:
            for start in range(0, len(names), at_once):
                some = names[start : start + at_once]
                if not await self._change(endpoint, some, kind) and at_once > 1:
                    for name in some:
                        await self._change(endpoint, [name], kind)

    async def make(self, endpoint) -> bool:
        """Make a record like one that is there, and take it back."""
        for _ in range(ATTEMPTS):
            _, record, _ = await self._one(endpoint)
            hidden = validate.computed_fields(endpoint) | quirks.NOT_IN_PATCH.get(endpoint.name, {}).keys()
            document = {name: value for name, value in record.items() if name not in hidden}
            unique = UNIQUE - ({"name"} if endpoint.name == "datasets" else set())  # another revision of the same file
            document |= {name: self._unused(document[name]) for name in unique & document.keys()}
            for name, choices in CHOICES.get(endpoint.name, {}).items():
                document[name] = self._random.choice(choices)
            name = str(document.get(endpoint.lookup or "", f"new{next(self._counter)}"))
            if await self._round(endpoint, "create", name, lambda: self._hands.make(endpoint.name, name, document)):  # noqa: B023 - awaited here
                return True
        return False

    async def delete(self, endpoint) -> bool:
        """Delete a record, with consent where that is asked for, and take it back."""
        for _ in range(ATTEMPTS):
            key, _, _ = await self._one(endpoint)
            if endpoint.name == "users" and key in SACRED:
                continue
            told: list[str] = []
            if await self._round(endpoint, "delete", key, lambda: self._delete(endpoint.name, key, told), told):  # noqa: B023 - awaited here
                return True
        return False

    async def _delete(self, endpoint: str, key: str, told: list[str]) -> int | None:
        try:
            return await self._hands.delete(endpoint, key)
        except errors.AlyxfsError as error:
            if "allow-deletes" not in str(error):
                raise
            told.append(str(error))
        told.append(await self._hands.consent(endpoint, key))
        return await self._hands.delete(endpoint, key)

    async def _change(self, endpoint, names: list[str], kind: str) -> bool:
        for _ in range(2):
            key, record, others = await self._one(endpoint)
            edit = {name: self._value(endpoint, name, record, others, kind) for name in names if name in record}
            edit = {name: value for name, value in edit.items() if value is not MISSING and value != record[name]}
            if edit and await self._round(
                endpoint,
                f"change of {', '.join(edit)}",
                key,
                lambda: self._hands.save(endpoint.name, key, edit),  # noqa: B023
            ):
                self.saved_fields.update((endpoint.name, name) for name in edit)
                return True
        return False

    async def _round(self, endpoint, operation, key, write, told=()) -> bool:
        try:
            number = await write()
        except errors.AlyxfsError as error:
            self.refused.append(f"{operation} {endpoint.name}/{key}: {error}")
            changed = self._database.changed()
            if changed:
                if not isinstance(error, errors.ServerFault) and "did not do all of it" not in str(error):
                    pytest.fail(f"{operation} {endpoint.name}/{key} was refused ({error}) and changed {changed}")
                self._database.restore()
            return False
        if number is None:
            return False
        done = Round(endpoint.name, operation.split(" of ")[0], key)
        remark, written = await self._hands.logged(number)
        done.told_before = " ".join([*told, remark])
        try:
            done.told_by_undo = await self._undo(endpoint.name, written, number)
        except errors.AlyxfsError as error:
            done.told_by_undo, done.is_refused = str(error), True
        changed = self._database.changed()
        is_new = done.operation == "delete" and not done.is_refused
        judge(done, changed, self._database.naming(former_id(key, changed)) if is_new else [])
        self.done.append(done)
        if changed:
            self._database.restore()
        return True

    async def _undo(self, endpoint: str, key: str, number: int) -> str:
        """What the undo said; where it takes others along, that is consented to."""
        try:
            return await self._hands.undo(number)
        except errors.HasDependents as error:
            return f"{error} {await self._hands.consent(endpoint, key)} {await self._hands.undo(number)}"

    async def _one(self, endpoint) -> tuple[str, dict, list[dict]]:
        """Look-up and detail of some record that has an address of its own, and rows of others."""
        if endpoint.name not in self._counts:
            self._counts[endpoint.name] = (await self._api.page(endpoint.name, (), 1, 0)).count or 1
        offset = self._random.randrange(max(1, self._counts[endpoint.name] - ROWS))
        page = await self._api.page(endpoint.name, (), ROWS, offset)
        for row in self._random.sample(page.rows, len(page.rows)):
            key = key_of(endpoint, row)
            if "/" not in key:
                try:
                    return key, await self._api.detail(endpoint.name, key), page.rows
                except errors.AlyxfsError:
                    continue
        raise AssertionError(f"{endpoint.name} has no record")

    def _unused(self, value):
        if isinstance(value, str):
            stem, dot, suffix = value[:40].partition(".")
            return f"{stem}{self._random.randrange(10**6)}{dot}{suffix}"
        return self._random.randrange(10**4)

    def _value(self, endpoint, name, record, others, kind):
        """Another value of a field; MISSING where there is none."""
        if kind == "empty":
            return {str: "", list: [], dict: None}.get(type(record[name]))
        values = [other[name] for other in others if name in other and other[name] not in (record[name], None, "", [])]
        if kind == "another's" and values and name not in UNIQUE and type(values[0]) is type(record[name]):
            return self._random.choice(values)
        choices = CHOICES.get(endpoint.name, {}).get(name)
        if choices:
            return self._random.choice(choices)
        if name in UNIQUE or name == endpoint.lookup:
            return self._unused(record[name]) if record[name] is not None else MISSING
        return varied(name, record[name], self._random.choice(values) if values else MISSING)


MISSING: Any = object()
UNIQUE = {"name", "nickname", "username", "filename_pattern", "relative_path", "axial", "number"}
"""Fields that must not be as those of another record."""
CHOICES: dict[str, dict[str, list]] = {
    "fov-location": {"provenance": ["E", "F", "H"]},
    "trajectories": {
        "provenance": ["Planned", "Micro-manipulator", "Histology track", "Ephys aligned histology track"]
    },
}
"""Fields of which only some values are taken, and not those of another record of the same."""
SACRED = {"demo", "root"}
"""Users that the tests log in as."""


def is_writable(endpoint, name: str) -> bool:
    hidden = {"id", "url", *quirks.NOT_IN_PATCH.get(endpoint.name, {}), *quirks.CREATE_ONLY.get(endpoint.name, ())}
    return name not in hidden and not validate.is_read_only(endpoint, name)


def key_of(endpoint, row) -> str:
    return str(row[endpoint.lookup]) if endpoint.lookup in row else row["url"].rsplit("/", 1)[-1]


def former_id(key: str, changed: Difference) -> str:
    """The id of a deleted record: its key, or the one that a row called so had."""
    for gone, _ in changed.values():
        for row in gone:
            if key in {row.get("name"), row.get("nickname"), row.get("username")} and "id" in row:
                return str(row["id"])
    return key.replace("-", "")


def varied(name, value, another):
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, dict):
        return {**value, "varied": [1, None]}
    if isinstance(value, list):
        return value[:-1] if value else another
    if name in FREE_TEXT and isinstance(value, str):
        return f"  {value} varied \n"
    return another


FREE_TEXT = {"address", "description", "institution", "log", "narrative", "task_protocol", "text", "type", "version"}
"""Fields of text that nothing checks; others name something, or are dates."""
