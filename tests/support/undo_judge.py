"""Judges a write and its undo by the rows of all tables: what differs must have been told, what is told must differ."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from alyxfs.alyx.quirks import losses

Difference = dict[str, tuple[list[dict], list[dict]]]
"""By table, the rows that are there no more, and those that were not there before."""

OWN = {
    "brain-regions": ("experiments_brainregion",),
    "channels": ("experiments_channel",),
    "chronic-insertions": ("experiments_chronicinsertion", "actions_chronicrecording"),
    "data-formats": ("data_dataformat",),
    "data-notices": ("data_datanotice",),
    "data-repository": ("data_datarepository",),
    "data-repository-type": ("data_datarepositorytype",),
    "dataset-types": ("data_datasettype",),
    "datasets": ("data_dataset",),
    "downloads": ("data_download",),
    "fields-of-view": ("experiments_fov",),
    "files": ("data_filerecord",),
    "fov-location": ("experiments_fovlocation",),
    "imaging-stack": ("experiments_imagingstack",),
    "insertions": ("experiments_probeinsertion",),
    "labs": ("misc_lab",),
    "locations": ("misc_lablocation",),
    "notes": ("misc_note",),
    "projects": ("subjects_project",),
    "revisions": ("data_revision",),
    "sessions": ("actions_session",),
    "subjects": ("subjects_subject",),
    "surgeries": ("actions_surgery",),
    "tags": ("data_tag",),
    "tasks": ("jobs_task",),
    "trajectories": ("experiments_trajectoryestimate",),
    "users": ("misc_labmember",),
    "water-administrations": ("actions_wateradministration",),
    "water-restriction": ("actions_waterrestriction",),
    "weighings": ("actions_weighing",),
}
"""The tables that hold the records of an endpoint."""

TOLD_AS = {
    "actions_cull": {"cull"},
    "actions_notification": {"notification"},
    "actions_notification_users": {"notification"},
    "actions_waterrestriction": {"water restrictions"},
    "django_admin_log": {"log of the admin pages"},
    "experiments_fov_datasets": {"fields-of-view", "datasets"},
    "experiments_probeinsertion_datasets": {"insertions", "datasets"},
}
"""What the sentences about other records call the rows of a table."""

EMBEDDED = {
    "children": "jobs_task",
    "data_dataset_session_related": "data_dataset",
    "field_of_view": "experiments_fov",
    "file_records": "data_filerecord",
    "genotype": "subjects_zygosity",
    "notes": "misc_note",
    "probe_insertion": "experiments_probeinsertion",
    "subjects_responsible": "subjects_subject",
    "water_administrations": "actions_wateradministration",
    "wateradmin_session_related": "actions_wateradministration",
    "weighings": "actions_weighing",
    "image": "misc_note",
    "its picture": "misc_note",
}
"""The tables that fields show of which the record's own has no column."""


@dataclass
class Round:
    """What one write and its undo came to."""

    endpoint: str
    operation: str
    key: str
    told_before: str = ""
    """By the refusals that came before it, and by the log."""
    told_by_undo: str = ""
    is_refused: bool = False
    """Whether the undo was refused, so that nothing was taken back."""
    different: list[str] = field(default_factory=list)
    """``table.column`` of what is not as it was; ``row`` where rows are gone or new."""
    untold: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    """What was told of as not restored, and is as it was."""

    def __str__(self) -> str:
        lines = [f"{self.operation} {self.endpoint}/{self.key}", f"  untold {self.untold}, false {self.false}"]
        lines += [f"  different {self.different}", f"  before: {self.told_before}", f"  undo: {self.told_by_undo}"]
        return "\n".join(lines)


def judge(done: Round, difference: Difference, dangling: list[str]) -> None:
    """Fill in what is different, and what of it was not told.

    ``dangling``: ``table.column`` of links by id alone that still name the former id of a record with a new one.
    """
    own = OWN[done.endpoint]
    found: set[str] = set(dangling)
    for table, (gone, new) in sorted(with_new_ids(difference, own).items()):
        for column in different_columns(gone, new):
            found.add(f"{table}.{column}")
            names = names_of(done, table, column)
            for place, text in (("beforehand", done.told_before), ("by undo", done.told_by_undo)):
                is_below = losses.ALL_BELOW in text and table not in own and is_lost(column, gone, new)
                if place == "by undo" and done.is_refused:
                    continue
                if not is_below and not any(is_named(name, text) for name in names):
                    done.untold.append(f"{table}.{column} {place}")
    done.different = sorted(found)
    if not done.is_refused:
        done.false = [claim for claim in claims(done) if not found & places_of(done.endpoint, claim, found)]


def is_lost(column: str, gone: list[dict], new: list[dict]) -> bool:
    """Whether rows are gone and none is new, or a link is lost."""
    return column.endswith("_id") or (
        column == "row" and not {row_id(row) for row in new} - {row_id(row) for row in gone}
    )


def names_of(done: Round, table: str, column: str) -> set[str]:
    """The words of which one must stand in a sentence that tells of this difference."""
    own, plain_column = OWN[done.endpoint], column.removesuffix("_id")
    if table in own:
        places = {(table, column), (table, plain_column)}
        held = {each.name for each in losses.HELD.get(done.endpoint, ()) if places & {*map(stored, each.sources)}}
        missing = {"makes no new record", "does not delete it"} if column == "row" and done.is_refused else set()
        return {column, plain_column, *held, *missing}
    names = {table.removeprefix(f"{mine}_") for mine in own if table.startswith(f"{mine}_")}
    for endpoint, tables in OWN.items():
        if is_counted(done, endpoint) and any(table == each or table.startswith(f"{each}_") for each in tables):
            names.add(endpoint)
    for each in losses.HELD.get(done.endpoint, ()):
        if any(table in {place, f"{place}_{name}"} for place, name in map(stored, each.sources)):
            names.add(each.name)
    if column != "row":
        names |= {column, plain_column}
    return names | TOLD_AS.get(table, set())


def is_counted(done: Round, endpoint: str) -> bool:
    """Whether records of another endpoint are counted before a delete."""
    others = {each.endpoint for each in losses.DEPENDENTS.get(done.endpoint, ())} | {"notes", "datasets", "insertions"}
    return done.operation == "delete" and endpoint in {*others, "fields-of-view"}


def stored(source: str) -> tuple[str, str]:
    """Table and column of ``misc.LabMember.password``."""
    area, model, column = source.split(".")
    area = {"admin": "django", "reversion": "reversion"}.get(area, area)
    return {"django_logentry": "django_admin_log"}.get(f"{area}_{model}".lower(), f"{area}_{model}".lower()), column


def claims(done: Round) -> list[str]:
    """What the undo said is not as before."""
    text, found = done.told_by_undo, []
    for beginning in ("Not as before: ", "Not restored, because no new record gets it: ", "The server set "):
        _, begun, rest = text.partition(beginning)
        if begun:
            sentence = re.split(r"(?: anew)?\.(?= [A-Z]|$)", rest, maxsplit=1)[0]
            sentence = re.sub(r" \([^)]*\)", "", sentence) if beginning == "Not as before: " else sentence
            held = [each.name for each in losses.HELD.get(done.endpoint, ()) if is_named(each.name, sentence)]
            for name in held:
                sentence = sentence.replace(name, "")
            found += [*held, *(part.strip() for part in sentence.split(", ") if part.strip())]
    return [claim for claim in found if losses.IF_ANY not in claim and claim != losses.ALL_BELOW]


def places_of(endpoint: str, claim: str, found: set[str]) -> set[str]:
    """Where a claim may show, of the differences that were found."""
    counted = re.fullmatch(r"(?:at least )?\d+ ([\w-]+)", claim)
    tables = OWN.get(counted[1], ()) if counted else ()
    places = {place for place in found if any(place.startswith(table) for table in tables)}
    if claim in EMBEDDED:  # which shows parts of the record itself, too
        places |= {place for place in found if place.startswith((EMBEDDED[claim], *OWN[endpoint]))}
    for each in losses.HELD.get(endpoint, ()):
        if each.name == claim:
            for table, column in map(stored, each.sources):
                places |= {f"{table}.{column}", f"{table}.{column}_id", f"{table}.row", f"{table}_{column}.row"}
    for table in OWN[endpoint]:
        places |= {f"{table}.{claim}", f"{table}.{claim}_id", f"{table}_{claim}.row"}
    if "makes no new record" in claim:
        places |= found
    return places


def is_named(name: str, text: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) is not None


def with_new_ids(difference: Difference, own: tuple[str, ...]) -> Difference:
    """The same, as if a record that was made again had its former id, wherever that stands."""
    again = dict(pair for table in own if (pair := made_again(*difference.get(table, ([], [])))))
    return {
        table: ([{name: again.get(str(value), value) for name, value in row.items()} for row in gone], new)
        for table, (gone, new) in difference.items()
    }


def made_again(gone: list[dict], new: list[dict]) -> tuple[str, str] | None:
    """The former and the new id of a record: of the one row that is new, and the one of those gone most like it."""
    gone_ids, new_ids = {row_id(row) for row in gone}, {row_id(row) for row in new}
    made = [row for row in new if row_id(row) not in gone_ids]
    lost = [row for row in gone if row_id(row) not in new_ids]
    if len(made) != 1 or not lost:
        return None
    former = max(lost, key=lambda row: sum(row[name] == made[0][name] for name in row))
    return str(row_id(former)), str(row_id(made[0]))


ID_COLUMNS = ("id", "chronicrecording_ptr_id", "key")


def row_id(row: dict):
    return next((row[name] for name in ID_COLUMNS if name in row), None)


def different_columns(gone: list[dict], new: list[dict]) -> list[str]:
    """The columns in which two states of a table differ, by the rows of each that the other lacks.

    ``row`` where rows are missing or new. The own numbers of rows that only link two others mean nothing.
    """
    if any(len(row) == 3 and isinstance(row.get("id"), int) for row in (*gone, *new)):
        return ["row"] if links(gone) != links(new) else []
    before, after = ({row_id(row): row for row in rows} for rows in (gone, new))
    columns = {"row"} if before.keys() != after.keys() else set()
    for identifier in before.keys() & after.keys():
        one, other = before[identifier], after[identifier]
        columns |= {name for name in one if one[name] != other[name]}
    return sorted(columns)


def links(rows: list[dict]) -> list[tuple]:
    return sorted(tuple(str(value) for name, value in sorted(row.items()) if name != "id") for row in rows)


def normal(row: dict) -> dict:
    """A row with its values as any database gives them: UUIDs without hyphens, JSON parsed.

    A note without a picture has none in two ways, which Django itself does not tell apart.
    """
    return {name: "" if name == "image" and value is None else _normal(value) for name, value in row.items()}


def _normal(value):
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value):
        return value.replace("-", "")
    if isinstance(value, str) and value[:1] in {"{", "["}:
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
