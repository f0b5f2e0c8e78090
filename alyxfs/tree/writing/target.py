"""What a draft is saved to: a record, or a name under which a record is still to be made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alyxfs import file_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alyxfs.alyx.schema.read import Endpoint


@dataclass(frozen=True)
class Target:
    """It never changes: a draft whose record was made, or got another look-up, is given a new one."""

    endpoint: Endpoint
    key: str | None
    """The record's look-up; None for a record that is still to be made."""
    file_name: str
    directory: str
    """Identity of the directory it stands in."""
    identity: str | None = None
    """The record's; None where it is not known yet."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Values of a query's directory for fields that a new record leaves out."""
    is_other_name: bool = False
    """Whether the record was made here under this name, which is not its own: another one can be made under it."""

    @property
    def path(self) -> str:
        """For messages."""
        return f"{self.endpoint.name}/{self.file_name}"

    @property
    def stem(self) -> str:
        """The file's name without suffix: the look-up of a new record that gives none."""
        stem = self.file_name.removesuffix(".json")
        decoded = file_names.decode(stem)
        return stem if decoded is None else decoded
