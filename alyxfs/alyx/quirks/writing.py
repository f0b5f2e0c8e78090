"""What Alyx does with writes that its schema does not say: one table, each entry with its source.

Sources: "measured" is behaviour recorded from Alyx 3.6.1; "models", "serializers", "views" are that version's files.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from alyxfs.alyx.identities import id_at_the_end, last_part

if TYPE_CHECKING:
    from collections.abc import Mapping

RESENT_ON_PATCH: Mapping[str, tuple[str, ...]] = {
    # Without them the PATCH is a 500: the serializer looks up the object before saving (measured, misc/serializers).
    "notes": ("content_type", "object_id"),
    # Whatever a PATCH leaves out is set to null here (measured; chronic_insertion: experiments/serializers).
    "trajectories": ("probe_insertion", "chronic_insertion"),
    # A chronic insertion is taken only together with its own serial (experiments/serializers).
    "insertions": ("serial",),
}
"""Fields that a PATCH must carry even when they did not change, by endpoint."""

SERVER_GIVEN = ("id", "url")
"""Fields that only the server fills in: a new file that holds one is a copy of a record, not a new record."""

REQUIRED_ON_CREATE: Mapping[str, tuple[str, ...]] = {
    # A task is stored with status 10, which has no name: every list page that holds it is a 500 (measured).
    "tasks": ("status",),
    # A nickname that is left out becomes "-" (measured): the second such subject makes both unreachable.
    "subjects": ("nickname",),
}
"""Fields that the schema calls optional but a new record must have."""

FILLED_IN_ON_CREATE: Mapping[str, Mapping[str, Any]] = {
    # Without users the record is made and the answer is a 500 (measured).
    "projects": {"users": []},
}
"""Values to send where a new record leaves them out."""

EMPTY_MEANS_ABSENT: Mapping[str, Mapping[str, Any]] = {
    # The record shows "" for no revision, and null is refused (measured); hash and version may be null but not blank.
    "datasets": {"revision": "", "hash": "", "version": "", "session": None, "created_by": None},
    # Shown as null, refused as null (measured).
    "sessions": {"lab": None},
    # Relations that are null once their other end was deleted, and that the serializers do not take as null.
    "notes": {"image": None},
    "subjects": {"responsible_user": None},
    "weighings": {"user": None},
    "insertions": {"session": None, "model": None},
    "water-administrations": {"session": None, "water_type": None, "user": None},
    "tasks": {"data_repository": None},
    "trajectories": {"coordinate_system": None},
    "channels": {"trajectory_estimate": None, "brain_region": None},
    "chronic-insertions": {"model": None, "lab": None},
}
"""Empty values that the server shows but refuses when they are sent back; a new record is sent without them."""

FIELD_OF_FILTER: Mapping[str, Mapping[str, str]] = {
    # Their filter is called as the field of subjects is, their own field is not (actions/views).
    "weighings": {"nickname": "subject"},
    "water-administrations": {"nickname": "subject"},
}
"""The fields of a new record that filters of another name select by, by endpoint."""

FILLED_IN_BY_SERVER: Mapping[str, Mapping[str, Any]] = {
    # A session without users gets the one who makes it (actions/serializers).
    "sessions": {"users": []},
}
"""Values of a new record that the server replaces by its own, and rightly so."""

CREATE_ONLY: Mapping[str, frozenset[str]] = {
    # They find or make the session of a new dataset and are never shown again (data/serializers).
    "datasets": frozenset({"subject", "date", "number"}),
    # The width of the stored picture (misc/views).
    "notes": frozenset({"width"}),
}
"""Fields that a POST takes and a record does not have."""

NOT_IN_PATCH: Mapping[str, Mapping[str, str]] = {
    "notes": {"image": "The picture of a note is changed by writing the file <id>.png, not by its address."},
}
"""Fields that look writable in a record file and are not, with what to do instead."""

UNCHANGEABLE: Mapping[str, str] = {
    # PATCH and PUT are 405 (measured).
    "weighings": "Weighings cannot be changed, only made and deleted: delete this one and make a new one.",
    "imaging-stack": "Imaging stacks cannot be changed or deleted through the REST API.",
}
"""Endpoints whose records cannot be changed, with what to do instead."""

NAMES_CAN_REPEAT = frozenset({"subjects"})
"""Endpoints whose look-up the server lets repeat (nicknames are unique only per lab and responsible user); a repeated
one makes both records unreachable: their detail address is a 500 for every method (measured)."""

LONGEST_PICTURE_NAME = 100
"""Characters of the path of a note's picture on the server. Each save of the note stores the picture anew, under a name
that has the UUID of its object once more. Where that is too long, the server cuts the name before its first dot to make
room for eight random characters, and fails with a 500 if nothing of it is left (measured; misc/models)."""

NOTES = "notes"
"""The endpoint whose records have pictures (``image``), and are about a record of any kind (``object_id``)."""

PICTURE_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"BM")
"""With which the pictures begin that the server takes."""

_PICTURE_DIRECTORY = "2026/11/23/"
_PICTURE_NAME_LEAST = len("x_1234567")

COMPUTED: Mapping[str, frozenset[str]] = {
    "subjects": frozenset(
        {
            "age_weeks",
            "alive",
            "expected_water",
            "remaining_water",
            "reference_weight",
            "last_water_restriction",
            "session_projects",
        }
    ),
    "datasets": frozenset({"experiment_number", "public", "protected"}),
    "fields-of-view": frozenset({"location"}),
    "chronic-insertions": frozenset({"probe_insertion"}),
    "insertions": frozenset({"datasets", "session_info"}),
    "trajectories": frozenset({"session", "probe_name"}),
    "users": frozenset({"lab"}),
    "data-notices": frozenset({"description_html"}),
}
"""Fields that the server makes at each request, whatever the schema says of them (measured, serializers)."""


LINKS: Mapping[str, Mapping[str, str]] = {
    "weighings": {"subject": "subjects"},
    "water-administrations": {"subject": "subjects", "session": "sessions"},
    # Saving a surgery can change its subject's date of death and severity (actions/models).
    "surgeries": {"subject": "subjects"},
    "datasets": {"session": "sessions"},
    "insertions": {"session": "sessions", "chronic_insertion": "chronic-insertions"},
    "fields-of-view": {"session": "sessions"},
    "fov-location": {"field_of_view": "fields-of-view"},
    "files": {"dataset": "datasets"},
    "channels": {"trajectory_estimate": "trajectories"},
    "users": {"subjects_responsible": "subjects"},
}
"""Fields by which a record appears inside another record's detail: endpoint, field, the other's endpoint."""

_CONTENT_TYPES: Mapping[str, str] = {
    "session": "sessions",
    "ephyssession": "sessions",
    "imagingsession": "sessions",
    "subject": "subjects",
    "dataset": "datasets",
    "probeinsertion": "insertions",
}

HOLD_NAMES_OF: Mapping[str, tuple[str, ...]] = {
    "subjects": (
        "sessions",
        "weighings",
        "water-administrations",
        "insertions",
        "chronic-insertions",
        "trajectories",
        "surgeries",
        "users",
        "water-restriction",
        "water-restricted-subjects",
    ),
    "labs": ("subjects", "sessions", "locations", "insertions", "trajectories", "chronic-insertions", "users"),
    "projects": ("subjects", "sessions", "insertions", "trajectories"),
    "users": ("subjects", "sessions", "weighings", "water-administrations", "notes", "datasets", "projects", "users"),
    "tags": ("datasets",),
    "revisions": ("datasets",),
    "dataset-types": ("datasets",),
    "data-formats": ("datasets",),
    "data-repository": ("datasets", "files", "labs", "tasks"),
    "data-repository-type": ("data-repository",),
    "locations": ("sessions", "surgeries"),
}
"""Endpoints whose records name those of another, so that a new name changes them too."""

FOUND_AGAIN_BY: Mapping[str, tuple[str, ...]] = {
    "sessions": ("subject", "number"),
    "weighings": ("subject",),
    "water-administrations": ("subject",),
    "datasets": ("session", "name", "collection"),
    "insertions": ("session", "name"),
    "trajectories": ("probe_insertion", "chronic_insertion"),
    "channels": ("trajectory_estimate",),
    "fields-of-view": ("session", "name"),
    "fov-location": ("field_of_view",),
    "chronic-insertions": ("subject", "name"),
    "files": ("dataset",),
    "tasks": ("session", "name"),
    "data-notices": ("name",),
}
"""Fields of a new record that its list can be filtered by under the same name, to look for it after a 500."""

CHANGED_BY_ACTION: Mapping[str, tuple[str, ...]] = {
    "register-file": ("datasets", "files", "sessions", "insertions"),
    "new-download": ("downloads",),
    "sync-file-status": ("files", "datasets"),
}
"""Endpoints whose records an action address makes or changes."""


def linked_records(endpoint: str, document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The records whose detail embeds this one: ``("sessions", "<uuid>")`` for a note of that session."""
    links = [
        (other, id_at_the_end(name))
        for field, other in LINKS.get(endpoint, {}).items()
        for name in _texts(document.get(field))
    ]
    if endpoint == NOTES:
        kind = str(document.get("content_type", "")).rpartition(".")[2]
        if kind in _CONTENT_TYPES and document.get("object_id"):
            links.append((_CONTENT_TYPES[kind], str(document["object_id"])))
    return links


def picture_hinders(note: Mapping[str, Any]) -> bool:
    """Whether the picture of a note keeps it from being changed; a new picture, with a short name, never does."""
    if not note.get("image"):
        return False
    name = PurePosixPath(last_part(str(note["image"])))
    added = len(_PICTURE_DIRECTORY) + len(".") + len(str(note.get("object_id")))
    shortest = min(len(name.name), _PICTURE_NAME_LEAST + len("".join(name.suffixes)))
    return added + shortest > LONGEST_PICTURE_NAME


def short_picture_name(filename: str) -> str:
    """A name for a picture that leaves room for what the server adds to it."""
    stem, dot, extension = filename.rpartition(".")
    return f"{stem[:20]}{dot}{extension[:5]}" if dot else filename[:20]


def without_refused_empties(endpoint: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """A new record without the empty values that the server shows but does not take."""
    empties = EMPTY_MEANS_ABSENT.get(endpoint, {})
    return {
        field: value
        for field, value in document.items()
        if not (field in empties and value == empties[field] and type(value) is type(empties[field]))
    }


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str) and text]
