"""Queries of endpoints that the server does not filter (projects, locations, ...): plain fields, compared here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alyxfs.tree.node import FOREVER, Attributes, Directory, FixedEntries, Kind, Node, no_such_name

if TYPE_CHECKING:
    from alyxfs.tree.endpoint import EndpointDirectory


class LocalQueryDirectory(Directory):
    """The records of an endpoint whose field has a value; these lists are short, so each is looked at whole."""

    __slots__ = ("_field", "_of", "_value")

    def __init__(self, of: EndpointDirectory | LocalQueryDirectory, field: str, value: str) -> None:
        self._of = of
        self._field = field
        self._value = value

    @property
    def identity(self) -> str:
        """What it selects from, and how."""
        return f"{self._of.identity}/{self._field}={self._value}"

    @property
    def base(self) -> EndpointDirectory:
        """The endpoint's own directory."""
        return self._of.base

    def attributes(self) -> Attributes:
        """Those of what it selects from."""
        return Attributes(Kind.DIRECTORY, 0, self._of.attributes().modified, 10.0, FOREVER)

    async def selected(self) -> dict[str, Node]:
        """The records that match, by name."""
        return {
            name: node
            for name, node in (await self._of.selected()).items()
            if matches((await self.base.document_of(node)).get(self._field), self._value)
        }

    async def entries(self) -> FixedEntries:
        """See Directory."""
        return FixedEntries(list((await self.selected()).items()))

    async def lookup(self, name: str) -> Node:
        """A record that matches, or a further condition."""
        if "=" in name and not name.endswith(".json"):
            return self.base.local_query(self, name)
        selected = await self.selected()
        if name not in selected:
            raise no_such_name(name, self.identity)
        return selected[name]


def matches(found: Any, wanted: str) -> bool:
    """Whether a field's value is what a directory's name says: a list matches by any of its items."""
    if isinstance(found, list):
        return any(matches(item, wanted) for item in found)
    if found is None:
        return wanted in {"", "null"}
    if isinstance(found, bool):
        return wanted.lower() == str(found).lower()
    return str(found) == wanted
