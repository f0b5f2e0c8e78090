"""What is refused before anything is sent, and what is remembered of what programs have read."""

import dataclasses
import json
from urllib.request import Request, urlopen

import pytest

from alyxfs import errors
from alyxfs.alyx.quirks import losses
from alyxfs.alyx.quirks import writing as quirks
from alyxfs.alyx.schema.model import Endpoint, Field
from alyxfs.alyx.schema.read import read_schema
from alyxfs.edits import merge_bases, validate
from alyxfs.edits.merge_bases import Bases


def field(name, kind="string", *, required=False, read_only=False, choices=None):
    return Field(name, kind, required, read_only, choices, nullable=True, description="")


FIELDS = [
    field("subject", required=True),
    field("id", "uuid", read_only=True),
    field("narrative"),
    field("number", "int64"),
    field("weight", "double"),
    field("users", "array"),
    field("json", "any"),
    field("done", "boolean"),
    field("sex", choices=("M", "F", "U", "")),
    field("importance", "integer", choices=(10, 20)),
    field("auto_datetime", "date-time", read_only=True),
]
SESSIONS = Endpoint(
    name="sessions",
    lookup="id",
    listed=True,
    detailed=True,
    list_methods=frozenset({"GET", "POST"}),
    detail_methods=frozenset({"GET", "PATCH", "DELETE"}),
    filters={},
    fields={one.name: one for one in FIELDS},
    description="",
    action=False,
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": 1,\n "b": }', "line 2, column 7"),
        (b"[1]", "must hold a JSON object"),
        (b"null", "not null"),
        (b'"text"', "not text"),
        (b"\xff\xfe", "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a":' * 100_000, "nested deeper than 100 levels"),
    ],
)
def test_what_is_no_json_object_is_refused(content, words):
    with pytest.raises(errors.Invalid, match=words):
        validate.parse(content, "sessions/x.json")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"narative": "x"}, "no field 'narative'. Did you mean 'narrative'"),
        ({"zzzzzz": "x"}, "Its fields are auto_datetime, done"),
        ({"id": "other"}, 'id of sessions is set by the server and cannot be "other"'),
        ({"narrative": {"a": 1}}, "narrative must be text, not an object"),
        ({"narrative": ["a"]}, "narrative must be text, not a list"),
        ({"number": "three"}, 'number must be a whole number, not text: "three"'),
        ({"number": 1.5}, "number must be a whole number"),
        ({"number": True}, "number must be a whole number, not true or false"),
        ({"weight": [1]}, "weight must be a number, not a list"),
        ({"users": "alice"}, "users must be a list, not text"),
        ({"done": {}}, "done must be true or false, not an object"),
        ({"sex": "Z"}, 'sex cannot be "Z"; allowed: M, F, U'),
        ({"importance": 15}, "importance cannot be 15; allowed: 10, 20"),
    ],
)
def test_a_wrong_edit_is_refused_with_field_value_and_what_is_allowed(edit, words):
    base = {"narrative": "", "id": "one", "number": 1, "weight": 2.0, "users": []}
    with pytest.raises(errors.Invalid) as refusal:
        validate.check_changes(SESSIONS, base, edit)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    "edit",
    [
        {"number": "3", "weight": "23.1", "narrative": 5},
        {"number": None, "users": ["a"], "json": [1, 2], "sex": ""},
        {"id": "one", "auto_datetime": "then"},
        {"importance": "10", "done": "yes"},
    ],
)
def test_what_the_server_can_read_passes(edit):
    validate.check_changes(SESSIONS, {"id": "one", "auto_datetime": "then"}, edit)


def test_a_wrong_schema_does_not_refuse_what_the_server_itself_sends():
    validate.check_changes(SESSIONS, {"narrative": {"a": 1}}, {"narrative": {"a": 2}})


def test_a_read_only_value_that_was_shown_before_passes():
    known = Bases()
    known.served(1, "sessions", "x", {"auto_datetime": "earlier"})
    known.served(2, "sessions", "x", {"auto_datetime": "now"})

    def was_shown(name, value):
        return known.was_shown("sessions", "x", name, value)

    validate.check_changes(SESSIONS, {"auto_datetime": "now"}, {"auto_datetime": "earlier"}, was_shown)
    with pytest.raises(errors.Invalid, match="auto_datetime"):
        validate.check_changes(SESSIONS, {"auto_datetime": "now"}, {"auto_datetime": "mine"}, was_shown)


def test_what_follows_a_value_that_was_shown_is_checked_too():
    base = {"auto_datetime": "2024-01-02", "number": 1}
    with pytest.raises(errors.Invalid, match="number"):
        validate.check_changes(SESSIONS, base, {"auto_datetime": "2024-01-01", "number": "x"}, lambda *_: True)
    with pytest.raises(errors.Invalid, match="number"):
        validate.check_changes(SESSIONS, base, {**base, "number": "x"})


def test_which_fields_are_computed_and_which_have_no_order():
    assert validate.computed_fields(SESSIONS) == {"id", "auto_datetime"} | quirks.COMPUTED.get("sessions", frozenset())
    (endpoint, computed), *_ = quirks.COMPUTED.items()
    assert computed <= validate.computed_fields(dataclasses.replace(SESSIONS, name=endpoint))
    assert validate.unordered_fields(SESSIONS) == {"users"}


@pytest.mark.parametrize(("length", "shown"), [(58, '"' + "x" * 58 + '"'), (59, '"' + "x" * 59 + "…")])
def test_a_sentence_shows_the_beginning_of_a_long_value(length, shown):
    assert validate.quoted("x" * length) == shown


def test_a_new_record_needs_its_required_fields():
    with pytest.raises(errors.Invalid, match="needs subject; given: number"):
        validate.check_new(SESSIONS, {"number": 1})
    with pytest.raises(errors.Invalid, match="Leave it out"):
        validate.check_new(SESSIONS, {"subject": "a", "id": "x"})
    validate.check_new(SESSIONS, {"subject": "a"})


def test_the_base_is_what_the_program_itself_last_saw():
    known = Bases()
    known.served(1, "labs", "x", {"a": 1})
    known.served(2, "labs", "x", {"a": 2})
    assert known.base_of(1, "labs", "x") == {"a": 1}
    known.served(1, "labs", "x", {"a": 3})
    assert known.base_of(1, "labs", "x") == {"a": 3}
    assert known.base_of(2, "labs", "x") == {"a": 2}
    assert known.base_of(3, "labs", "x") == {"a": 3}  # the last that anybody saw
    assert known.base_of(3, "labs", "y") is None


def test_what_is_remembered_is_bounded():
    known = Bases()
    for number in range(merge_bases.MAXIMUM_READINGS + 10):
        known.served(number, "labs", "x", {"a": number})
    assert 0 not in known._read
    assert not known.was_shown("labs", "x", "a", 0)
    assert known.was_shown("labs", "x", "a", merge_bases.MAXIMUM_READINGS + 9)
    for number in range(merge_bases.MAXIMUM_RECORDS):
        known.served(0, "subjects", str(number), {"a": 1})
    assert known._readings == len(known._latest) == merge_bases.MAXIMUM_READINGS
    assert len(known._shown) == merge_bases.MAXIMUM_RECORDS


def test_a_search_through_all_records_takes_no_editors_base_away():
    known = merge_bases.Bases()
    known.served(1, "labs", "mine", {"a": "as the editor knows it"})
    for number in range(3 * merge_bases.MAXIMUM_READINGS):
        known.served(2, "labs", f"other {number}", {"a": number})
    known.served(2, "labs", "mine", {"a": "as it is now"})
    assert known.base_of(1, "labs", "mine") == {"a": "as the editor knows it"}
    assert known.base_of(3, "labs", "mine") == {"a": "as it is now"}
    assert known._readings == merge_bases.MAXIMUM_READINGS


def test_links_lead_to_the_records_that_show_this_one():
    note = {"content_type": "actions.session", "object_id": "123"}
    assert quirks.linked_records("notes", note) == [("sessions", "123")]
    dataset = {"session": "http://alyx.example/sessions/9"}
    assert quirks.linked_records("datasets", dataset) == [("sessions", "9")]
    assert quirks.linked_records("weighings", {"subject": "KS001"}) == [("subjects", "KS001")]
    assert quirks.linked_records("surgeries", {"subject": "KS001"}) == [("subjects", "KS001")]
    assert quirks.linked_records("labs", {"name": "x"}) == []


@pytest.mark.parametrize("text", ["[1]", "(1)", "2023", "1.5", "True", "none", "a,b", "", "__import__('os')"])
def test_the_free_filter_never_gets_what_the_server_would_turn_into_something_else(text):
    assert losses.dependent_filters(losses.Dependent("notes", "django:user__username"), text) is None


def test_the_free_filter_takes_ordinary_names():
    found = losses.dependent_filters(losses.Dependent("notes", "django:user__username"), "laura.f")
    assert found == {"django": "user__username,laura.f"}


def test_pictures_hinder_only_where_their_name_grows_too_long():
    identity = "c325bad6-6fd2-4ea5-a288-ee073e608783"
    address = "http://alyx.example/uploaded/2026/11/22/"
    assert not quirks.picture_hinders({"image": None, "object_id": identity})
    assert not quirks.picture_hinders({"image": f"{address}pic.{identity}.png", "object_id": identity})
    assert quirks.picture_hinders({"image": f"{address}pic.{identity}.{identity}.png", "object_id": identity})
    # Too long with the UUID once more, but the server can cut it before its first dot.
    assert not quirks.picture_hinders({"image": f"{address}{'p' * 20}.{identity}.png", "object_id": identity})
    name = quirks.short_picture_name("a-very-long-name-of-a-figure-of-a-paper.png")
    assert name == "a-very-long-name-of-.png"


def test_empty_values_that_the_server_refuses_are_left_out():
    sent = quirks.without_refused_empties("datasets", {"revision": "", "collection": "", "name": "a"})
    assert sent == {"collection": "", "name": "a"}
    assert quirks.without_refused_empties("sessions", {"lab": None, "number": None}) == {"number": None}


def test_every_quirk_names_an_endpoint_and_fields_of_the_demo(demo):
    request = Request(f"{demo.url}/api/schema", headers={"Accept": "application/json"})
    with urlopen(request, timeout=30) as answer:
        endpoints = read_schema(json.load(answer)).endpoints
    tables = [
        quirks.RESENT_ON_PATCH, quirks.REQUIRED_ON_CREATE, quirks.FILLED_IN_ON_CREATE, quirks.EMPTY_MEANS_ABSENT,
        quirks.CREATE_ONLY, quirks.NOT_IN_PATCH, quirks.COMPUTED, quirks.LINKS, quirks.FOUND_AGAIN_BY,
    ]  # fmt: skip
    for table in tables:
        for endpoint, names in table.items():
            unknown = set(names) - endpoints[endpoint].fields.keys() - {"width"}
            assert not unknown, (endpoint, unknown)
    for dependents in losses.DEPENDENTS.values():
        for dependent in dependents:
            plain = dependent.filter and not dependent.filter.startswith("django:")
            assert not plain or dependent.filter in endpoints[dependent.endpoint].filters, dependent
