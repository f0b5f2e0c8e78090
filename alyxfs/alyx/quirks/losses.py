"""What no undo of a delete brings back: columns that the API does not show, and what hangs from a record or names it.

Facts of Alyx 3.6.1, from its models and serializers (which stand beside each); the help's ``undo.md`` is made from
these tables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Dependent:
    """A list whose records are deleted along with a record (``on_delete=CASCADE`` in the models), or lose it."""

    endpoint: str
    filter: str
    """The list's filter, or ``django:<lookup>`` for its free one."""
    value: str = "key"
    """What the filter compares with: the record's key, or the name of one of its fields."""
    field: str | None = None
    """Where the list's filter is loose or missing: the field of a row that must equal the value, or hold it."""
    by_id: str | None = None
    """The look-up of the list's free filter for the record's own id, which is asked for where the record shows one."""
    is_deleted: bool = True
    """False where the record stays and only loses its link (``SET_NULL``, ``SET_DEFAULT``, many to many)."""


DEPENDENTS: Mapping[str, tuple[Dependent, ...]] = {
    # Sessions hang from their subject, not from their lab, but their lab is what the list can be asked for.
    "labs": (
        Dependent("subjects", "lab"),
        Dependent("sessions", "lab", field="lab"),
        Dependent("datasets", "lab"),
        Dependent("locations", "", field="lab"),
        Dependent("chronic-insertions", "django:lab__name", field="lab", is_deleted=False),
    ),
    "subjects": (
        Dependent("sessions", "subject", field="subject"),
        Dependent("weighings", "subject", field="subject"),
        Dependent("water-administrations", "subject", field="subject"),
        Dependent("surgeries", "subject"),
        Dependent("water-restriction", "subject", field="subject"),
        Dependent("chronic-insertions", "subject", field="subject"),
        Dependent("datasets", "django:object_id", value="id", is_deleted=False),
    ),
    "sessions": (
        Dependent("datasets", "session"),
        Dependent("insertions", "session"),
        Dependent("fields-of-view", "session"),
        Dependent("tasks", "session"),
    ),
    "users": (
        Dependent("datasets", "created_by", by_id="created_by"),
        Dependent("notes", "django:user__username", field="user", by_id="user"),
        Dependent("dataset-types", "", field="created_by"),
        Dependent("sessions", "django:users__username", field="users", by_id="users", is_deleted=False),
    ),
    "datasets": (Dependent("files", "dataset"),),
    "insertions": (Dependent("trajectories", "probe_insertion"),),
    "chronic-insertions": (
        Dependent("trajectories", "chronic_insertion"),
        Dependent("insertions", "chronic_insertion", is_deleted=False),
    ),
    "trajectories": (Dependent("channels", "trajectory_estimate"),),
    "fields-of-view": (Dependent("fov-location", "field_of_view"),),
    "data-repository": (
        Dependent("files", "data_repository"),
        Dependent("tasks", "django:data_repository__name", field="data_repository"),
        Dependent("labs", "", field="repositories", is_deleted=False),
    ),
    "data-repository-type": (Dependent("data-repository", "", field="repository_type"),),
    "projects": (
        Dependent("sessions", "django:projects__name", field="projects", is_deleted=False),
        Dependent("subjects", "django:projects__name", field="projects", is_deleted=False),
        Dependent("downloads", "django:projects__name", field="", is_deleted=False),
    ),
    "tags": (
        Dependent("datasets", "django:tags__name", field="tags", by_id="tags", is_deleted=False),
        Dependent("datasets", "django:object_id", value="id", is_deleted=False),
    ),
    "revisions": (
        Dependent("datasets", "django:revision__name", field="revision", by_id="revision", is_deleted=False),
    ),
    "dataset-types": (
        Dependent(
            "datasets", "django:dataset_type__name", field="dataset_type", by_id="dataset_type", is_deleted=False
        ),
    ),
    "data-formats": (
        Dependent("datasets", "django:data_format__name", field="data_format", by_id="data_format", is_deleted=False),
    ),
}
"""What a DELETE takes with it, and what would lose a link that no undo brings back, by endpoint."""


@dataclass(frozen=True)
class Held:
    """Something that a record may hold and that a new one in its place does not get."""

    name: str
    """As people call it."""
    sources: tuple[str, ...]
    """Where it is in Alyx: application, model and field, as ``subjects.Subject.cage``."""
    empty: str | None = None
    """The condition, for the list's free filter, of a record that holds none; None where it cannot be asked for."""


def _null(model: str, *columns: str) -> tuple[Held, ...]:
    return tuple(Held(column, (f"{model}.{column}",), f"{column}__isnull,True") for column in columns)


def _blank(model: str, *columns: str) -> tuple[Held, ...]:
    return tuple(Held(column, (f"{model}.{column}",), f"{column},") for column in columns)


def _false(model: str, *columns: str) -> tuple[Held, ...]:
    return tuple(Held(column, (f"{model}.{column}",), f"{column},False") for column in columns)


def _linked(lookup: str, name: str, *sources: str) -> Held:
    return Held(name, sources, f"{lookup}__isnull,True")


ALL_BELOW = "all that hangs from them"
"""Stands behind the counts of records that would be deleted, where others would be deleted with those in turn."""

IF_ANY = "(if it holds any)"
"""Stands beside what the server cannot be asked for."""

HELD: Mapping[str, tuple[Held, ...]] = {
    "labs": (
        *_null("misc.Lab", "cage_type", "enrichment", "food", "cage_cleaning_frequency_days", "light_cycle"),
        _linked("labmembership", "memberships of users (deleted)", "misc.LabMembership.lab"),
        _linked("line", "breeding lines (deleted)", "subjects.Line.lab"),
        _linked("surgery", "the lab of surgeries", "actions.Surgery.lab"),
        _linked("waterrestriction", "the lab of water restrictions", "actions.WaterRestriction.lab"),
        _linked("virusinjection", "the lab of virus injections", "actions.VirusInjection.lab"),
        _linked("otheraction", "the lab of other actions", "actions.OtherAction.lab"),
    ),
    "users": (
        Held(
            "password, and dates of joining and of the last log-in",
            ("misc.LabMember.password", "misc.LabMember.date_joined", "misc.LabMember.last_login"),
        ),
        *_blank("misc.LabMember", "first_name", "last_name"),
        *_false("misc.LabMember", "is_staff", "is_superuser", "is_public_user"),
        Held("is_active", ("misc.LabMember.is_active",), "is_active,True"),
        _linked("groups", "groups", "misc.LabMember.groups"),
        _linked("user_permissions", "permissions", "misc.LabMember.user_permissions"),
        _linked("auth_token", "token (deleted)", "authtoken.Token.user"),
        _linked("labmembership", "memberships of labs (deleted)", "misc.LabMembership.user"),
        _linked("notificationrule", "rules of notification (deleted)", "actions.NotificationRule.user"),
        _linked("notification", "places in notifications", "actions.Notification.users"),
        _linked("download", "counts of downloads (deleted)", "data.Download.user"),
        _linked("logentry", "log of the admin pages (deleted)", "admin.LogEntry.user"),
        _linked("revision", "the user of versions kept by the admin pages", "reversion.Revision.user"),
        _linked("labmember", "users who allow this one", "misc.LabMember.allowed_users"),
        _linked("project", "places in projects", "subjects.Project.users"),
        _linked("surgery", "places in surgeries", "actions.Surgery.users"),
        _linked("waterrestriction", "places in water restrictions", "actions.WaterRestriction.users"),
        _linked("virusinjection", "places in virus injections", "actions.VirusInjection.users"),
        _linked("chronicrecording", "places in chronic insertions", "actions.ChronicRecording.users"),
        _linked("otheraction", "places in other actions", "actions.OtherAction.users"),
        _linked("weighing", "the user of weighings", "actions.Weighing.user"),
        _linked("wateradministration", "the user of water administrations", "actions.WaterAdministration.user"),
        _linked("cull", "the user of culls", "actions.Cull.user"),
        _linked("data_notices", "the user of notices", "data.DataNotice.created_by"),
        _linked("subjects_requested", "the user of requests for subjects", "subjects.SubjectRequest.user"),
    ),
    # 1 is DEFAULT_PROTOCOL of the settings.
    "subjects": (
        *_blank("subjects.Subject", "name", "ear_mark", "adverse_effects"),
        *_null("subjects.Subject", "cage", "wean_date", "genotype_date", "reduced_date", "actual_severity", "request"),
        *_false("subjects.Subject", "to_be_genotyped", "to_be_culled"),
        Held("protocol_number", ("subjects.Subject.protocol_number",), "protocol_number__in,['1']"),
        _linked("zygosity", "zygosities (deleted)", "subjects.Zygosity.subject"),
        _linked("genotypetest", "tests of the genotype (deleted)", "subjects.GenotypeTest.subject"),
        _linked("cull", "cull (deleted)", "actions.Cull.subject"),
        _linked("housing_subjects", "housings", "misc.HousingSubject.subject"),
        _linked("actions_virusinjections", "virus injections (deleted)", "actions.VirusInjection.subject"),
        _linked("actions_otheractions", "other actions (deleted)", "actions.OtherAction.subject"),
        _linked("litter_father", "the father of breeding pairs", "subjects.BreedingPair.father"),
        _linked("mother1", "a mother of breeding pairs", "subjects.BreedingPair.mother1"),
        _linked("mother2", "the second mother of breeding pairs", "subjects.BreedingPair.mother2"),
        _linked("notification", "the subject of notifications", "actions.Notification.subject"),
    ),
    # Their lists take no filter.
    "projects": (Held(f"json {IF_ANY}", ("subjects.Project.json",)),),
    "dataset-types": (Held(f"json {IF_ANY}", ("data.DatasetType.json",)),),
    "sessions": (
        *_blank("actions.Session", "name"),
        _linked("session", "the parent of sessions", "actions.Session.parent_session"),
        _linked(
            "wateradmin_session_related", "the session of water administrations", "actions.WaterAdministration.session"
        ),
    ),
    "weighings": (*_blank("actions.Weighing", "name"), *_null("actions.Weighing", "json")),
    "water-administrations": (
        *_blank("actions.WaterAdministration", "name"),
        *_null("actions.WaterAdministration", "json"),
    ),
    "notes": _blank("misc.Note", "name"),
    "datasets": (
        *_blank("data.Dataset", "generating_software"),
        *_null("data.Dataset", "md5", "provenance_directory", "content_type", "object_id"),
        _linked(
            "data_dataset_provenance_related",
            "datasets that were made from it (deleted)",
            "data.Dataset.provenance_directory",
        ),
        _linked("download", "counts of downloads (deleted)", "data.Download.dataset"),
        _linked("data_notices", "its notices", "data.DataNotice.datasets"),
    ),
    "chronic-insertions": (
        *_blank("actions.ChronicRecording", "narrative"),
        *_null("actions.ChronicRecording", "location", "end_time"),
        _linked("users", "users", "actions.ChronicRecording.users"),
        _linked("procedures", "procedures", "actions.ChronicRecording.procedures"),
    ),
    "fov-location": _blank("experiments.FOVLocation", "name"),
    "tasks": (_linked("children", "the parent of tasks", "jobs.Task.parents"),),
}
"""Columns that the API does not show, and what else loses its link to a record; by endpoint."""

WITHOUT_NOTES = frozenset({"labs", "users", "notes", "locations"})
"""Endpoints whose records no note can be about: those of misc (misc.NoteSerializer)."""


# The server turns digits into a number and evaluates brackets in its free filter (measured, alyx/base).
_SAFE_IN_FREE_FILTER = re.compile(r"(?=.*[^\d.])(?!(?:true|false|none)$)[\w.@+\-]+", re.IGNORECASE)


def is_safe_in_filter(value: str) -> bool:
    """Whether a value of the free filter is taken as the text that it is."""
    return _SAFE_IN_FREE_FILTER.fullmatch(value) is not None


def dependent_filters(dependent: Dependent, value: str) -> dict[str, str] | None:
    """The filters of the list of what hangs from a record, or None where it has to be read whole."""
    if not dependent.filter:
        return None
    if not dependent.filter.startswith("django:"):
        return {dependent.filter: value}
    if not is_safe_in_filter(value):
        return None
    return {"django": f"{dependent.filter.removeprefix('django:')},{value}"}
