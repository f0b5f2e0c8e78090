"""What Alyx makes of a new record: whom its fields name, and what it fills in. From its source, version 3.6.1.

A drive that only proposes writes answers from these tables what the server would answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = object()
"""Stands for the moment at which the record is made."""
MAKER = object()
"""Stands for the user who makes it."""

REFERENCES: Mapping[str, Mapping[str, str]] = {
    "sessions": {
        "subject": "subjects",
        "users": "users",
        "location": "locations",
        "procedures": "procedures",
        "lab": "labs",
        "projects": "projects",
        "parent_session": "sessions",
    },
    "subjects": {"responsible_user": "users", "projects": "projects", "lab": "labs"},
    "weighings": {"subject": "subjects", "user": "users"},
    "water-administrations": {
        "subject": "subjects",
        "user": "users",
        "water_type": "water-type",
        "session": "sessions",
    },
    "surgeries": {"subject": "subjects", "location": "locations"},
    "notes": {"user": "users"},
    "datasets": {
        "created_by": "users",
        "dataset_type": "dataset-types",
        "data_format": "data-formats",
        "session": "sessions",
        "revision": "revisions",
        "tags": "tags",
    },
    "files": {"dataset": "datasets", "data_repository": "data-repository"},
    "insertions": {"session": "sessions", "chronic_insertion": "chronic-insertions"},
    "chronic-insertions": {"subject": "subjects", "lab": "labs"},
    "trajectories": {"probe_insertion": "insertions", "chronic_insertion": "chronic-insertions"},
    "channels": {"trajectory_estimate": "trajectories", "brain_region": "brain-regions"},
    "fields-of-view": {"session": "sessions"},
    "fov-location": {"field_of_view": "fields-of-view"},
    "tasks": {"session": "sessions", "data_repository": "data-repository", "parents": "tasks"},
    "projects": {"users": "users"},
    "users": {"subjects_responsible": "subjects", "allowed_users": "users"},
    "labs": {"repositories": "data-repository"},
    "locations": {"lab": "labs"},
    "data-repository": {"repository_type": "data-repository-type"},
    "dataset-types": {"created_by": "users"},
}
"""Fields that name another record by its look-up, by endpoint: one that names nothing is refused (serializers)."""

NAMES: Mapping[str, str] = {
    "subject": "subjects",
    "subjects_responsible": "subjects",
    "nickname": "subjects",
    "lab": "labs",
    "location": "locations",
    "project": "projects",
    "projects": "projects",
    "session_projects": "projects",
    "user": "users",
    "users": "users",
    "responsible_user": "users",
    "created_by": "users",
    "allowed_users": "users",
    "dataset_type": "dataset-types",
    "data_format": "data-formats",
    "revision": "revisions",
    "tags": "tags",
    "data_repository": "data-repository",
    "repositories": "data-repository",
    "repository_type": "data-repository-type",
}
"""Fields, also of records inside of records, that hold the name of another one, which may be changed."""

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "sessions": {"users": [MAKER], "start_time": NOW, "qc": "NOT_SET"},  # actions.Session, its serializer
    "subjects": {  # subjects.Subject
        "responsible_user": MAKER,
        "age_weeks": 0,
        "sex": "U",
        "species": "Laboratory mouse",
        "alive": True,
        "reference_weight": 0.0,
        "last_water_restriction": None,
        "expected_water": 0.0,
        "remaining_water": 0.0,
    },
    "weighings": {"user": MAKER, "date_time": NOW},  # actions.Weighing
    "water-administrations": {"user": MAKER, "date_time": NOW, "water_type": "Water"},  # actions.WaterAdministration
    "notes": {"date_time": NOW},  # misc.Note
    "labs": {"timezone": "Europe/London", "reference_weight_pct": 0.0, "zscore_weight_pct": 0.0},  # misc.Lab
    "datasets": {  # data.Dataset
        "created_by": MAKER,
        "created_datetime": NOW,
        "data_format": "unknown",
        "hash": "",
        "version": "",
        "revision": "",
        "default_dataset": True,
        "qc": "NOT_SET",
    },
    "dataset-types": {"created_by": MAKER},  # data.DatasetType
    "revisions": {"created_datetime": NOW},  # data.Revision
    "data-repository": {"timezone": "Europe/London", "globus_is_personal": None},  # data.DataRepository
    "trajectories": {"coordinate_system": None},  # experiments.TrajectoryEstimate
    "insertions": {"model": None, "datasets": []},  # experiments.ProbeInsertion
}
"""What a new record gets where nothing is given and it is not simply empty."""

FROM_OTHERS: Mapping[str, Mapping[str, tuple[str, str | tuple[str, ...]]]] = {
    "sessions": {"lab": ("subject", "lab")},  # actions.Session.save
    "insertions": {  # experiments.serializers.SessionListSerializer
        "session_info": ("session", ("subject", "start_time", "number", "lab", "id", "projects", "task_protocol")),
    },
}
"""Fields that a new record gets from one that it names: by which field, and what of the other one."""

CONTENT_TYPES: Mapping[str, tuple[str, str]] = {
    "session": ("actions.session", "sessions"),
    "subject": ("subjects.subject", "subjects"),
    "dataset": ("data.dataset", "datasets"),
    "probeinsertion": ("experiments.probeinsertion", "insertions"),
}
"""What a note can be about: the name of the model as it is written, as it is shown, and the endpoint."""

EMBEDDED: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "subjects": {
        "weighings": ("weighings", "subject"),
        "water_administrations": ("water-administrations", "subject"),
    },
    "sessions": {
        "notes": ("notes", "object_id"),
        "probe_insertion": ("insertions", "session"),
        "data_dataset_session_related": ("datasets", "session"),
        "field_of_view": ("fields-of-view", "session"),
    },
}
"""Lists of other records inside a detail, by endpoint and field: their endpoint, and which field names this one."""

SHOWN_ELSEWHERE = frozenset({"datasets"})
"""Records that are inside others only once something else is there (a file on a server), so that a new one is not."""
