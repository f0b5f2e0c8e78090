"""What the server does besides what it is asked: times it sets, empty fields it fills, and other records it touches.

Facts of Alyx 3.6.1, from its models and serializers (which stand beside each); the help's ``undo.md`` is made from
these tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

STAMPS: Mapping[str, tuple[str, ...]] = {
    "sessions": ("auto_datetime",),  # actions.Session
    "datasets": ("auto_datetime",),  # data.Dataset
    "insertions": ("auto_datetime",),  # experiments.ProbeInsertion
    "fov-location": ("auto_datetime",),  # experiments.FOVLocation
    "trajectories": ("datetime",),  # experiments.TrajectoryEstimate
    "tasks": ("datetime",),  # jobs.Task
    "downloads": ("last_download",),  # data.Download
}
"""Times that the server sets whenever it saves a record, or makes it (``auto_now`` in the models)."""

STAMPS_OF_NEW: Mapping[str, tuple[str, ...]] = {
    "data-notices": ("created_datetime",),  # data.DataNotice
}
"""Times that the server sets only when it makes a record (``auto_now_add``)."""

HIDDEN_STAMPS = frozenset({"last_download"})
"""Those of them that the API does not show (data.DownloadSerializer)."""

FILLED_IN_WHEN_SAVED: Mapping[str, Mapping[str, str]] = {
    "subjects": {"strain": "that of its line, where it has one"},  # subjects.Subject.save
    "sessions": {"lab": "that of its subject"},  # actions.Session.save
    "water-administrations": {"water_type": "that of the subject's water restriction"},  # WaterAdministration.save
}
"""Fields that cannot be made empty again by any request, with what the server puts there instead."""

FILLED_IN_WHEN_MADE: Mapping[str, Mapping[str, str]] = {
    "subjects": {"responsible_user": "whoever undoes"},  # subjects.SubjectListSerializer
    "sessions": {"users": "whoever undoes"},  # actions.BaseActionSerializer
    "datasets": {"created_by": "whoever undoes"},  # data.DatasetSerializer
    "weighings": {"user": "whoever undoes"},  # actions.WeighingDetailSerializer
    "water-administrations": {"user": "whoever undoes"},  # actions.WaterAdministrationDetailSerializer
}
"""Fields that a new record does not have empty, with what the server puts there instead."""

LOWERED: Mapping[str, tuple[str, ...]] = {
    "dataset-types": ("filename_pattern",),  # data.DatasetType.save
}
"""Fields that the server makes lower case whenever it saves a record, also where they were not before."""

TEXT_KINDS = frozenset({"string"})
"""Kinds of fields whose text the server trims at both ends (Django REST framework's CharField)."""


@dataclass(frozen=True)
class SideEffect:
    """What the server changes elsewhere when a record is saved, and no undo takes back."""

    sentence: str
    """What happens, and that it stays."""
    fields: tuple[str, ...] = ()
    """Only when one of these is sent; empty: whenever the record is saved."""
    methods: frozenset[str] = frozenset({"PATCH"})
    applies: Callable[[Mapping[str, Any]], bool] = lambda _record: True
    """Only for such a record."""


_MADE = frozenset({"POST"})
_SAVED = frozenset({"POST", "PATCH"})


def _has_folders(dataset: Mapping[str, Any]) -> bool:
    return "/" in str(dataset.get("collection") or "")


_NOTED = SideEffect("A line in the log of the admin pages tells that it was made.", methods=_MADE)
"""actions.serializers._log_entry."""
_DOUBLED = SideEffect("Its former subject cannot be given back where another has the same nickname.", ("subject",))
"""A nickname that two subjects have is a 500 wherever it names one (measured)."""

SIDE_EFFECTS: Mapping[str, tuple[SideEffect, ...]] = {
    "subjects": (  # subjects.Subject.save and its signals
        SideEffect(
            "A date of death ends the subject's open water restrictions, from which its protocol_number may follow, "
            "and becomes the date of its cull.",
            ("death_date",),
        ),
        SideEffect(
            "A new responsible user and the former one may get a notification by e-mail, and the subject may be "
            "assigned to a request of theirs.",
            ("responsible_user",),
        ),
    ),
    "users": (  # misc.UserSerializer: the other side of subjects.Subject.responsible_user
        SideEffect(
            "Subjects that it is given (subjects_responsible) are taken from their former responsible_user, and those "
            "that are taken from it have none; one whose nickname another has, too, cannot be given back.",
            ("subjects_responsible",),
            _SAVED,
        ),
    ),
    "sessions": (_DOUBLED,),
    "chronic-insertions": (_DOUBLED,),
    "surgeries": (  # actions.Surgery.save
        _DOUBLED,
        SideEffect(
            "Where the server fails on the nickname of its former subject, users and procedures are not given back.",
            ("subject",),
        ),
        SideEffect(
            "The subject's protocol_number, actual_severity, death_date and strain may follow from it, and the end of "
            "its water restrictions and the date of its cull from the date of death."
        ),
    ),
    # actions.Weighing.save and actions.notifications
    "weighings": (
        _NOTED,
        SideEffect("A notification by e-mail may tell that the subject is underweight.", methods=_MADE),
    ),
    "water-administrations": (_NOTED, _DOUBLED),
    "datasets": (  # data.Dataset.save and delete; data.DatasetSerializer.create
        SideEffect(
            "It is linked anew to the insertions and fields-of-view that its collection names.",
            methods=_SAVED,
            applies=_has_folders,
        ),
        SideEffect(
            "Other revisions of the same file are no longer the default one (default_dataset), and count as changed "
            "(auto_datetime).",
            methods=_MADE,
            applies=lambda dataset: bool(dataset.get("session") or dataset.get("subject")),
        ),
        SideEffect(
            "Where there is no session of that subject and date, one is made for it.", ("subject", "date"), _MADE
        ),
        SideEffect(
            "The server does not delete it while it has a protected tag.",
            methods=_MADE,
            applies=lambda dataset: bool(dataset.get("tags")),
        ),
    ),
    # data.FileRecord.save
    "files": (
        SideEffect(
            "Its dataset counts as changed (auto_datetime), and is linked anew to the insertions and fields-of-view "
            "that its collection names.",
            methods=_SAVED,
        ),
    ),
    # experiments.update_m2m_relationships_on_save
    "insertions": (SideEffect("It is linked anew to the datasets whose collection holds its name.", methods=_SAVED),),
    # experiments.update_fov_m2m_relationships_on_save
    "fields-of-view": (
        SideEffect("It is linked anew to the datasets whose collection holds its name.", methods=_SAVED),
    ),
    # experiments.FOVLocation.save
    "fov-location": (
        SideEffect(
            "Another location of the field of view that was the default_provenance is no longer, and counts as changed "
            "(auto_datetime).",
            methods=_SAVED,
            applies=lambda location: bool(location.get("default_provenance")),
        ),
    ),
    # experiments.Channel.save
    "channels": (SideEffect("Its trajectory counts as changed (datetime).", methods=_SAVED),),
    # misc.Note.save: see LONGEST_PICTURE_NAME in quirks.writing
    "notes": (
        SideEffect(
            "Its picture is stored anew, under a longer name and at most 800 pixels wide.",
            applies=lambda note: bool(note.get("image")),
        ),
    ),
}
"""By endpoint; none of them is taken back by an undo, where the record itself does not show it."""


def side_effects(
    endpoint: str, method: str, fields: frozenset[str], records: tuple[Mapping[str, Any], ...]
) -> list[str]:
    """The sentences about what the server did, or may have done, besides a request with these fields.

    ``records`` are the states of the record before and after it, as far as they are known.
    """
    return [
        effect.sentence
        for effect in SIDE_EFFECTS.get(endpoint, ())
        if method in effect.methods
        and (not effect.fields or fields.intersection(effect.fields))
        and any(effect.applies(record) for record in records)
    ]
