"""What no undo brings back is named by the refusal of the delete, by the log and by the undo; nothing is forgotten."""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from contextlib import closing

import pytest

from alyxfs import errors
from alyxfs.alyx.quirks import losses
from alyxfs.demo.seed.build import built
from alyxfs.demo.server import running_demo
from alyxfs.edits import validate
from editing import draft, editing
from undo_judge import OWN, is_named, stored

pytestmark = pytest.mark.trio


@pytest.fixture(scope="module")
def own_demo(demo_directory, tmp_path_factory):
    """A demo and its database, for this module alone."""
    home = tmp_path_factory.mktemp("losses") / built(demo_directory, 1, 2).name
    shutil.copytree(built(demo_directory, 1, 2), home, symlinks=True)
    with running_demo(home.parent, largest_file_mb=2, fresh=False) as demo:
        yield demo, home / "alyx.sqlite3"


NEW_ID = "lower(hex(randomblob(16)))"
ANY_USER = "(SELECT id FROM misc_labmember WHERE username = 'alice')"
ANY_SUBJECT = "(SELECT id FROM subjects_subject WHERE nickname = 'KS001')"
ANY_SESSION = "(SELECT session_id FROM experiments_probeinsertion ORDER BY id LIMIT 1)"

HELD = {
    "subjects": (
        {"nickname": "HELD_1", "lab": "cortexlab"},
        "nickname = 'HELD_1'",
        f"""
        UPDATE subjects_subject SET name = 'long', cage = '7', ear_mark = 'LR', wean_date = '2024-01-01',
            genotype_date = '2024-01-01', reduced_date = '2024-01-01', actual_severity = 3, adverse_effects = 'none',
            to_be_genotyped = 1, to_be_culled = 1, protocol_number = '2' WHERE id = :id;
        INSERT INTO actions_cull (id, name, subject_id, date, description)
            VALUES ({NEW_ID}, '', :id, '2024-01-01', '');
        INSERT INTO subjects_zygosity (id, name, zygosity, allele_id, subject_id)
            SELECT {NEW_ID}, '', 0, id, :id FROM subjects_allele LIMIT 1""",
        {
            *("name", "ear_mark", "adverse_effects", "cage", "wean_date", "genotype_date", "reduced_date"),
            *("actual_severity", "to_be_genotyped", "to_be_culled", "protocol_number"),
            *("zygosities (deleted)", "cull (deleted)"),
        },
    ),
    "users": (
        {"username": "held", "subjects_responsible": [], "allowed_users": []},
        "username = 'held'",
        f"""
        UPDATE misc_labmember SET first_name = 'A', last_name = 'B', is_staff = 1, is_superuser = 1 WHERE id = :id;
        INSERT INTO misc_labmembership (id, name, role, lab_id, user_id)
            SELECT {NEW_ID}, '', '', id, :id FROM misc_lab LIMIT 1""",
        {
            *("password, and dates of joining and of the last log-in", "first_name", "last_name"),
            *("is_staff", "is_superuser", "memberships of labs (deleted)"),
        },
    ),
    "labs": (
        {"name": "heldlab"},
        "name = 'heldlab'",
        f"""
        INSERT INTO misc_food (id, name) VALUES ({NEW_ID}, 'pellets');
        INSERT INTO misc_cagetype (id, name, description) VALUES ({NEW_ID}, 'large', '');
        UPDATE misc_lab SET light_cycle = 1, cage_cleaning_frequency_days = 3,
            food_id = (SELECT id FROM misc_food LIMIT 1), cage_type_id = (SELECT id FROM misc_cagetype LIMIT 1)
            WHERE id = :id;
        INSERT INTO misc_labmembership (id, name, role, lab_id, user_id)
            VALUES ({NEW_ID}, '', '', :id, {ANY_USER})""",
        {"light_cycle", "cage_cleaning_frequency_days", "food", "cage_type", "memberships of users (deleted)"},
    ),
    "projects": (
        {"name": "held"},
        "name = 'held'",
        "UPDATE subjects_project SET json = '{}' WHERE id = :id",
        {"json (if it holds any)"},
    ),
    "datasets": (
        {"name": "held.npy", "dataset_type": "wheel.position"},
        "name = 'held.npy'",
        f"""
        UPDATE data_dataset SET md5 = {NEW_ID}, generating_software = 'x' WHERE id = :id;
        INSERT INTO data_download (id, name, first_download, last_download, count, dataset_id, user_id)
            VALUES ({NEW_ID}, '', '2024-01-01', '2024-01-01', 3, :id, {ANY_USER});
        INSERT INTO data_datanotice_datasets (datanotice_id, dataset_id) SELECT id, :id FROM data_datanotice LIMIT 1;
        INSERT INTO experiments_probeinsertion_datasets (probeinsertion_id, dataset_id)
            SELECT id, :id FROM experiments_probeinsertion LIMIT 1""",
        {"md5", "generating_software", "counts of downloads (deleted)", "its notices", "1 insertions"},
    ),
    "insertions": (
        {"name": "held_probe", "session": ANY_SESSION},
        "name = 'held_probe'",
        f"""
        INSERT INTO experiments_probeinsertion_datasets (probeinsertion_id, dataset_id)
            SELECT :id, id FROM data_dataset LIMIT 2;
        INSERT INTO misc_note (id, name, date_time, text, image, object_id, content_type_id, user_id)
            SELECT {NEW_ID}, '', '2024-01-01', '', '', :id, id, {ANY_USER}
            FROM django_content_type WHERE model = 'probeinsertion'""",
        {"2 datasets", "1 notes"},
    ),
    "tasks": (
        {"name": "held", "status": "Waiting", "session": ANY_SESSION},
        "name = 'held'",
        "INSERT INTO jobs_task_parents (from_task_id, to_task_id) SELECT id, :id FROM jobs_task LIMIT 1",
        {"the parent of tasks"},
    ),
    "sessions": (
        {"subject": "KS001", "narrative": "held", "users": []},
        "narrative = 'held'",
        f"""
        UPDATE actions_session SET name = 'long' WHERE id = :id;
        UPDATE actions_session SET parent_session_id = :id WHERE id = {ANY_SESSION}""",
        {"name", "the parent of sessions"},
    ),
    "dataset-types": (
        {"name": "held.type"},
        "name = 'held.type'",
        "UPDATE data_datasettype SET json = '{}' WHERE id = :id",
        {"json (if it holds any)"},
    ),
    "data-formats": (
        {"name": "held", "file_extension": ".held"},
        "name = 'held'",
        "UPDATE data_dataformat SET file_extension = '' WHERE id = :id",
        {"an empty file_extension, with which the server makes no new record"},
    ),
    "notes": (
        {"user": "demo", "content_type": "subject", "object_id": ANY_SUBJECT, "text": "held"},
        "text = 'held'",
        "UPDATE misc_note SET name = 'long' WHERE id = :id",
        {"name"},
    ),
    "weighings": (
        {"subject": "KS001", "weight": 99.25},
        "weight = 99.25",
        "UPDATE actions_weighing SET name = 'long', json = '{}' WHERE id = :id",
        {"name", "json"},
    ),
    "water-administrations": (
        {"subject": "KS001", "water_administered": 99.25},
        "water_administered = 99.25",
        "UPDATE actions_wateradministration SET json = '{}' WHERE id = :id",
        {"json"},
    ),
}
"""By endpoint: a new record, the condition of its row, what it comes to hold beside the API, and the words for that."""


def run(database, statement):
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        return connection.execute(statement).fetchall()


@pytest.mark.parametrize("name", HELD)
async def test_a_delete_that_cannot_be_undone_whole_names_what_is_lost_and_takes_consent(own_demo, tmp_path, name):
    demo, database = own_demo
    document, condition, script, words = HELD[name]
    document = {
        field: run(database, f"SELECT {value}")[0][0] if str(value).startswith("(") else value
        for field, value in document.items()
    }
    async with editing(demo.url, tmp_path) as room:
        key = (await room.editor.create(name, "new", draft(document))).key
        [(identifier,)] = run(database, f"SELECT id FROM {OWN[name][0]} WHERE {condition}")
        for statement in script.split(";"):
            run(database, statement.replace(":id", f"'{identifier}'"))
        with pytest.raises((errors.NotAllowed, errors.HasDependents)) as refused:
            await room.editor.delete(name, key)
        consent = await room.editor.consent_to_delete(name, key)
        deleted = (await room.editor.delete(name, key)).number
        logged = (await room.editor.entry(deleted)).remark
        if name == "data-formats":
            with pytest.raises(errors.Invalid, match="file_extension"):
                await room.editor.undo(deleted)
            told = " ".join(words)
        else:
            told = (await room.editor.undo(deleted)).sentence
        for word in words:
            for text in (str(refused.value), consent, logged, told):
                assert is_named(word, text), f"{word!r} is not named by: {text}"
        assert f"`alyxfs allow-deletes {name}/" in str(refused.value)


async def test_fields_that_the_server_refuses_do_not_keep_the_others_from_their_old_values(own_demo, tmp_path):
    """A list of subjects cannot be given back where it holds a nickname that two of them have."""
    demo, database = own_demo
    doubled = "SELECT nickname FROM subjects_subject GROUP BY nickname HAVING count(*) > 1"
    [(user,), *_] = run(
        database,
        "SELECT username FROM misc_labmember JOIN subjects_subject ON responsible_user_id = misc_labmember.id "
        f"WHERE nickname IN ({doubled})",
    )
    async with editing(demo.url, tmp_path) as room:
        before = await room.read("users", user)
        edit = {"email": "new@example.org", "is_stock_manager": True, "subjects_responsible": []}
        saved = (await room.editor.save("users", user, None, draft(edit))).number
        assert "cannot be given back" in (await room.editor.entry(saved)).remark
        told = (await room.editor.undo(saved)).sentence
        assert "Not as before: subjects_responsible (the server refuses it)." in told
        now = await room.read("users", user)
        assert now == {**before, "subjects_responsible": []}


@pytest.mark.parametrize(
    ("name", "key", "statement", "edit", "before", "after"),
    [
        (
            "data-formats",
            "npy",
            "UPDATE data_dataformat SET file_extension = '' WHERE name = 'npy'",
            {"file_extension": ".npy", "description": "x"},
            "After an undo: file_extension stays (the server does not take it empty).",
            "Not as before: file_extension (the server does not take it empty).",
        ),
        (
            "users",
            "zoë",
            "SELECT 1",
            {"email": "zoe@example.org", "is_stock_manager": True},
            "After an undo: email stays (the server takes it for no e-mail address).",
            "Not as before: email (the server takes it for no e-mail address).",
        ),
        (
            "dataset-types",
            "wheel.position",
            "UPDATE data_datasettype SET filename_pattern = '*Wheel.*' WHERE name = 'wheel.position'",
            {"description": "x"},
            "After an undo: filename_pattern stays (the server makes it lower case).",
            "Not as before: filename_pattern (the server makes it lower case).",
        ),
        (
            "tags",
            "repeated_site",
            "UPDATE data_tag SET description = 'x' || char(10) WHERE name = 'repeated_site'",
            {"description": "y"},
            "After an undo: description loses the blanks that it had at its ends.",
            "Not as before: description (the server takes the blanks at its ends away).",
        ),
    ],
)
async def test_values_that_the_server_does_not_take_again_are_told_when_they_are_changed(
    own_demo, tmp_path, name, key, statement, edit, before, after
):
    demo, database = own_demo
    run(database, statement)
    async with editing(demo.url, tmp_path) as room:
        saved = (await room.editor.save(name, key, None, draft(edit))).number
        assert before in (await room.editor.entry(saved)).remark
        assert after in (await room.editor.undo(saved)).sentence


async def test_a_session_of_a_subject_whose_nickname_two_have_takes_consent(own_demo, tmp_path):
    demo, database = own_demo
    doubled = "(SELECT id FROM subjects_subject GROUP BY nickname HAVING count(*) > 1 LIMIT 1)"
    async with editing(demo.url, tmp_path) as room:
        key = (await room.editor.create("sessions", "new", draft({"subject": "KS001", "users": []}))).key
        run(database, f"UPDATE actions_session SET subject_id = {doubled} WHERE id = '{key.replace('-', '')}'")
        with pytest.raises(
            errors.NotAllowed, match="a subject whose nickname another has, with which the server makes"
        ):
            await room.editor.delete("sessions", key)
        saved = (await room.editor.save("sessions", key, None, draft({"subject": "KS001", "narrative": "x"}))).number
        assert "Its former subject cannot be given back" in (await room.editor.entry(saved)).remark
        assert "Not as before: subject (the server refuses it)." in (await room.editor.undo(saved)).sentence


async def test_an_insertion_with_another_serial_than_its_chronic_one_takes_consent(own_demo, tmp_path):
    demo, database = own_demo
    [(insertion, *_)] = run(
        database, "SELECT id FROM experiments_probeinsertion WHERE chronic_insertion_id IS NOT NULL LIMIT 1"
    )
    run(database, f"UPDATE experiments_probeinsertion SET serial = 'another' WHERE id = '{insertion}'")
    async with editing(demo.url, tmp_path) as room:
        key = str(uuid.UUID(insertion))
        with pytest.raises(
            errors.HasDependents, match="a serial that is not its chronic insertion's, with which the ser"
        ):
            await room.editor.delete("insertions", key)
        saved = (await room.editor.save("insertions", key, None, draft({"name": "renamed"}))).number
        await room.editor.undo(saved)


async def test_no_column_and_no_link_of_a_table_is_forgotten(own_demo, tmp_path):
    """Each column that the API does not show, and each that names a record of an endpoint, is in a table of losses."""
    demo, database = own_demo
    tables = [name for (name,) in run(database, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    links = [
        (table, column, named)
        for table in tables
        for _, _, named, column, *_ in run(database, f"PRAGMA foreign_key_list('{table}')")
    ]
    forgotten = []
    async with editing(demo.url, tmp_path) as room:
        schema = await room.metadata.schema()
        for endpoint in schema.endpoints.values():
            if "DELETE" not in endpoint.detail_methods:
                continue
            row = (await room.api.page(endpoint.name, (), 1, 0)).rows[0]
            record = await room.api.detail(
                endpoint.name, str(row.get(endpoint.lookup) or row["url"].rsplit("/", 1)[-1]), endpoint.lookup
            )
            own = OWN[endpoint.name][0]
            sources = [source for each in losses.HELD.get(endpoint.name, ()) for source in each.sources]
            held = {stored(source.replace(*IN_ONE_TABLE)) for source in sources}
            columns = [column for _, column, *_ in run(database, f"PRAGMA table_info('{own}')")]
            forgotten += [
                f"{endpoint.name}: column {own}.{column}"
                for column in columns
                if column != "id"
                and not {column, column.removesuffix("_id")} & record.keys()
                and not {(own, column), (own, column.removesuffix("_id"))} & held
            ]
            dependents = {each.endpoint for each in losses.DEPENDENTS.get(endpoint.name, ())}
            shown = {f"{own}_{field}" for field in record if not validate.is_read_only(endpoint, field)}
            for table, column, named in links:
                if named != own or table in shown or (table, column) in RESTORED:
                    continue
                counted = any(
                    table == each or table.startswith(f"{each}_") for other in dependents for each in OWN[other]
                )
                told = {(table, column.removesuffix("_id"))} & held or any(table == f"{a}_{b}" for a, b in held)
                if not counted and not told:
                    forgotten.append(f"{endpoint.name}: link {table}.{column}")
    assert not forgotten


IN_ONE_TABLE = ("actions.ChronicRecording", "experiments.ChronicInsertion")
"""A chronic insertion is two rows of Alyx's and one of the demo's."""
RESTORED = {
    # By the new record's own fields.
    ("subjects_subject", "responsible_user_id"),
    # Datasets and what they were recorded with are linked by the server, or counted by _links of edits/losses.
    ("experiments_probeinsertion_datasets", "dataset_id"),
    ("experiments_probeinsertion_datasets", "probeinsertion_id"),
    ("experiments_fov_datasets", "dataset_id"),
}
"""Links that an undo brings back, or that are counted in a way of their own."""
