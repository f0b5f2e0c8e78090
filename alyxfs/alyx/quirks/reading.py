"""What the schema does not say of Alyx's lists and records: one table, each row with its source.

"Measured" means: on Alyx 3.6.1, row and detail of the same record compared, lists walked whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alyxfs.alyx.schema.model import Endpoint


@dataclass(frozen=True)
class Quirk:
    """How the rows of one endpoint relate to its records."""

    row_is_record: bool = False
    """A list row, less ``row_only``, is the detail: the page gives the content and no record needs a request."""
    row_only: tuple[str, ...] = ()
    """Fields that a row has and the detail lacks."""
    row_unnamed: tuple[str, ...] = ()
    """Fields that a row has and the schema of rows does not name."""
    row_lacks: tuple[str, ...] = ()
    """Fields that the schema of rows names and no row has."""
    modified: str | None = None
    """The field that serves as modification time."""
    kept: tuple[str, ...] = ()
    """Fields that a listing keeps in memory: the tree builds paths from them, or the record does not hold them."""
    unordered: bool = False
    """Pages by offset repeat some rows and lack as many: walk by ranges of id.

    Other lists say no order either and were whole whenever they were walked (datasets, trajectories, brain-regions):
    the count at the end of a walk decides there.
    """
    tells_changes: bool = False
    """Its list can be filtered by ``auto_datetime``, so that what changed since can be asked for (measured)."""
    named_by: tuple[str, ...] = ()
    """Fields that make a name where the server offers no look-up."""


ROW_IS_RECORD = Quirk(row_is_record=True)

QUIRKS: dict[str, Quirk] = {
    # The detail adds weighings and water_administrations, and has another genotype (measured).
    "subjects": Quirk(kept=("lab",)),
    # A row has 8 fields, the detail 26; auto_datetime is in the detail only (measured).
    "sessions": Quirk(
        row_unnamed=("url",),
        modified="auto_datetime",
        kept=("lab", "subject", "start_time", "number"),
        tells_changes=True,
    ),
    # The detail lacks public and protected and is else equal, key order included (measured).
    "datasets": Quirk(
        row_is_record=True,
        row_only=("protected", "public"),
        row_lacks=("date", "number"),
        modified="auto_datetime",
        kept=("protected", "public"),
        tells_changes=True,
    ),
    # The datasets of a row are ids, those of the detail objects (measured).
    "insertions": Quirk(modified="auto_datetime", kept=("session", "name"), tells_changes=True),
    # The detail adds field_of_view and json (measured).
    "fov-location": Quirk(modified="auto_datetime"),
    # No order at all: a walk of 130,937 rows repeated 28,155 of them (measured).
    "files": Quirk(row_is_record=True, unordered=True),
    # Nor here: a walk of 12,020 rows lacked 4,260 (measured).
    "channels": Quirk(row_is_record=True, unordered=True),
    # Row equals detail (measured); the time fields are the server's own.
    "trajectories": Quirk(row_is_record=True, modified="datetime"),
    # Its order (level, priority, session's time) leaves ties: a walk of 3,280 rows lacked 91, of small pages 627.
    "tasks": Quirk(row_is_record=True, modified="datetime", unordered=True),
    "revisions": Quirk(row_is_record=True, modified="created_datetime"),
    "data-notices": Quirk(row_is_record=True, modified="created_datetime"),
    # Row equals detail (measured); date_time is the user's own value, and the best there is. No order: walks lacked
    # 1,000 of 3,560, 1,912 of 6,400 and 1,348 of 4,300 rows (measured).
    "notes": Quirk(row_is_record=True, modified="date_time", unordered=True),
    "weighings": Quirk(row_is_record=True, modified="date_time", unordered=True),
    "water-administrations": Quirk(row_is_record=True, modified="date_time", unordered=True),
    # Row equals detail, no field that could be a modification time (measured).
    "brain-regions": ROW_IS_RECORD,
    "chronic-insertions": ROW_IS_RECORD,
    "data-formats": ROW_IS_RECORD,
    "data-repository": ROW_IS_RECORD,
    "data-repository-type": ROW_IS_RECORD,
    "dataset-types": ROW_IS_RECORD,
    "downloads": ROW_IS_RECORD,
    "fields-of-view": ROW_IS_RECORD,
    "labs": ROW_IS_RECORD,
    "locations": ROW_IS_RECORD,
    "projects": ROW_IS_RECORD,
    "surgeries": ROW_IS_RECORD,
    "tags": ROW_IS_RECORD,
    "users": ROW_IS_RECORD,
    # No address for one record; rows of the water endpoints have no id (measured).
    "procedures": Quirk(named_by=("name",)),
    "water-type": Quirk(named_by=("name",)),
    "water-restriction": Quirk(named_by=("subject", "start_time")),
    "water-restricted-subjects": Quirk(named_by=("nickname",)),
}
"""Endpoints that are not named here are taken at their word: the row is not the detail, and no field is a time."""

FAILS = "the server fails on it"
FILTERS: dict[tuple[str, str], str] = {
    # They find more than they name (measured).
    ("sessions", "subject"): "ignores upper and lower case",
    ("sessions", "lab"): "ignores upper and lower case",
    ("sessions", "project"): "matches part of the text",
    ("sessions", "projects"): "matches part of the text",
    ("sessions", "task_protocol"): "matches part of the text",
    ("sessions", "location"): "matches part of the text",
    # The schema offers them, and the server answers each value with 500, as the model has no such field or one of
    # another type (measured).
    **{
        (endpoint, name): FAILS
        for endpoint in ("weighings", "water-administrations")
        for name in ("date_range", "users", "lab", "location")
    },
    **{("fov-location", name): FAILS for name in ("x", "y", "z", "n_xyz")},
}
"""What people should know of an endpoint's filter."""

_NONE = Quirk()


def row_fields_of(endpoint: Endpoint) -> list[str]:
    """Names of what its rows hold; none where the schema does not say."""
    quirk = quirk_of(endpoint.name)
    fields = [name for name in endpoint.row_fields if name not in quirk.row_lacks]
    return list(dict.fromkeys([*fields, *quirk.row_unnamed])) if fields else []


def quirk_of(endpoint: str) -> Quirk:
    """What is known of the endpoint beyond its schema."""
    return QUIRKS.get(endpoint, _NONE)
