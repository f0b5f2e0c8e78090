"""The endpoints that a server names, out of either kind of document."""

from __future__ import annotations

import pytest

from alyxfs import errors
from alyxfs.alyx.schema.read import read_schema
from recordings import recorded_schema
from small_alyx import CORE_API, SCHEMA


@pytest.fixture(scope="module")
def recorded():
    return read_schema(recorded_schema()).endpoints


def test_every_resource_is_there_and_nothing_else(recorded):
    assert len(recorded) == 37
    assert list(recorded) == sorted(recorded)
    absent = {"api", "auth-token", "docs", "cache", "cache.zip", "uploaded", "check-protected"}
    assert not absent & set(recorded)


def test_what_has_no_list_or_no_detail_or_neither(recorded):
    assert {name for name, one in recorded.items() if one.listed and not one.detailed} == {
        "procedures",
        "water-restriction",
        "water-restricted-subjects",
        "water-type",
    }
    assert {name for name, one in recorded.items() if one.detailed and not one.listed} == {"water-requirement"}
    assert {name for name, one in recorded.items() if one.action} == {
        "register-file",
        "new-download",
        "sync-file-status",
    }


def test_look_ups(recorded):
    by_name = {"labs", "projects", "tags", "revisions", "locations", "data-repository", "data-repository-type"}
    by_name |= {"data-formats", "dataset-types"}
    assert {name for name, one in recorded.items() if one.lookup == "name"} == by_name
    assert recorded["users"].lookup == "username"
    assert recorded["subjects"].lookup == recorded["water-requirement"].lookup == "nickname"
    assert recorded["brain-regions"].lookup == recorded["sessions"].lookup == "id"
    assert recorded["procedures"].lookup is None


def test_methods(recorded):
    assert recorded["weighings"].list_methods == {"GET", "POST"}
    assert recorded["weighings"].detail_methods == {"GET", "DELETE"}
    assert recorded["locations"].list_methods == {"GET"}
    assert recorded["imaging-stack"].detail_methods == {"GET"}
    assert recorded["subjects"].detail_methods == {"GET", "PUT", "PATCH", "DELETE"}
    assert recorded["register-file"].list_methods == {"POST"}


def test_filters_with_the_servers_own_words(recorded):
    filters = recorded["sessions"].filters
    assert "limit" not in filters
    assert "offset" not in filters
    assert "django" in filters
    assert len(filters) == 35
    assert "exact" in filters["lab"].description
    assert filters["performance_gte"].description == filters["performance_lte"].description != ""
    assert filters["number"].kind == "integer"
    assert filters["start_time"].kind == "date-time"
    assert recorded["projects"].filters == {}


def test_fields_of_the_detail(recorded):
    fields = recorded["sessions"].fields
    assert {"narrative", "json", "data_dataset_session_related", "auto_datetime"} <= set(fields)
    assert fields["auto_datetime"].read_only
    assert not fields["narrative"].read_only
    assert fields["number"].nullable
    assert recorded["subjects"].fields["lab"].required
    assert not recorded["subjects"].fields["id"].required
    assert set(recorded["subjects"].fields["sex"].choices) == {"M", "F", "U", ""}
    assert {"weight", "subject"} <= {name for name, field in recorded["weighings"].fields.items() if field.required}


def test_an_older_servers_document_is_understood():
    labs = read_schema(CORE_API).endpoints
    assert set(labs) == {"labs"}
    assert labs["labs"].lookup == "name"
    assert labs["labs"].listed
    assert labs["labs"].detailed
    assert set(labs["labs"].filters) == {"name"}


def test_a_bare_document_is_enough():
    endpoints = read_schema(SCHEMA).endpoints
    assert endpoints["subjects"].detailed
    assert not endpoints["procedures"].detailed


@pytest.mark.parametrize("document", [{}, [], None, {"paths": {}}, {"_type": "document"}, "text", {"paths": []}])
def test_what_is_no_schema_is_a_clear_sentence(document):
    with pytest.raises(errors.ServerFault, match="is this address an Alyx"):
        read_schema(document)
