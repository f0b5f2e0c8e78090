"""Notes, tasks, downloads, remarks on data, chronic insertions and fields of view."""

import datetime as dt
from pathlib import Path

from django.contrib.contenttypes.models import ContentType
from PIL import Image

from alyxfs.demo.actions.models import Session
from alyxfs.demo.data.models import DataNotice, Dataset, Download
from alyxfs.demo.experiments.models import (
    ChronicInsertion,
    FieldOfView,
    FieldOfViewLocation,
    ImagingStack,
    ProbeInsertion,
)
from alyxfs.demo.jobs.models import Task
from alyxfs.demo.misc.models import Note
from alyxfs.demo.subjects.models import Subject

from .tables import Tables, chance
from .vocabulary import Words

DAY = dt.timedelta(days=1)
LONG_LOG = "line of log output\n" * 15_000


def add_extras(tables: Tables, words: Words, uploads: Path, scale: int) -> None:
    """Add all of them."""
    add_notes(tables, words, uploads, 45 * scale)
    add_tasks(tables, words, 150 * scale)
    add_downloads(tables, words, 10 * scale + 10)
    add_notices(tables, words)
    add_chronic(tables, words)
    add_views(tables, words)


def add_notes(tables: Tables, words: Words, uploads: Path, count: int) -> None:
    """Add notes on sessions and subjects; the first has a picture."""
    sessions, subjects = tables.rows[Session], tables.rows[Subject]
    kinds = {
        "session": ContentType.objects.get_for_model(Session),
        "subject": ContentType.objects.get_for_model(Subject),
    }
    picture = uploads / "2023/01/02/picture.png"
    picture.parent.mkdir(parents=True)
    Image.new("RGB", (320, 200), (20, 90, 160)).save(picture)
    for number in range(count):
        luck = chance("note", number)
        on_session = number % 3 != 2
        target = luck.choice(sessions if on_session else subjects)
        tables.add(
            Note,
            number,
            user_id=words.users[luck.choice(["alice", "bob", "zoë"])].id,
            date_time=dt.datetime(2021, 8, 24, 9, 45) + number * DAY,  # noqa: DTZ001
            content_type_id=kinds["session" if on_session else "subject"].pk,
            object_id=target.id,
            text=luck.choice(["mouse jumpy", "good session", "Zoë says: “fine”\nsecond line", ""]),
            json=luck.choice([None, {"reason": "noise"}]),
            image="2023/01/02/picture.png" if number == 0 else None,
        )


def add_tasks(tables: Tables, words: Words, count: int) -> None:
    """Add tasks; some rows carry a log of 300 kB."""
    sessions = tables.rows[Session]
    status = [number for number, _ in Task.STATUSES]
    for number in range(count):
        luck = chance("task", number)
        task = tables.add(
            Task,
            number,
            name=f"VideoCompress_{number}",
            priority=luck.choice([50, 70, 90]),
            io_charge=1,
            level=number % 3,
            gpu=0,
            cpu=2,
            ram=4,
            time_elapsed_secs=luck.uniform(1, 1000),
            executable="pipes.tasks.VideoCompress",
            graph="EphysExtractionPipeline",
            status=luck.choice(status),
            log=LONG_LOG if number % 100 == 0 else "line of log output\n" * luck.randrange(200),
            version="3.4.1",
            session_id=luck.choice(sessions).id,
            arguments={"sync": "nidq", "n": number},
            data_repository_id=words.repositories["cortexlab_SR"].id,
            datetime=dt.datetime(2023, 6, 3, 12),  # noqa: DTZ001
        )
        if number % 3:
            tables.link(Task, "parents", task, tables.rows[Task][-2])


def add_downloads(tables: Tables, words: Words, count: int) -> None:
    """Add who downloaded what how often."""
    datasets = tables.rows[Dataset]
    for number in range(count):
        user = words.users[["alice", "bob", "root"][number % 3]]
        dataset = datasets[number * 7 % len(datasets)]
        tables.add(Download, number, user_id=user.id, dataset_id=dataset.id, count=1 + number % 4)


def add_notices(tables: Tables, words: Words) -> None:
    """Add remarks on the quality of some datasets."""
    for number in range(3):
        notice = tables.add(
            DataNotice,
            number,
            name=f"Notice {number}",
            description=f"# Notice {number}\n\nSome *marked* text.",
            importance=[20, 30, 50][number],
            created_by_id=words.users["root"].id,
            version_affected="<3.0",
            affected_date_start=dt.date(2021, 1, 1),
            affected_date_end=dt.date(2022, 1, 1),
        )
        tables.link(DataNotice, "datasets", notice, *tables.rows[Dataset][number * 10 : number * 10 + 10])


def add_chronic(tables: Tables, words: Words) -> None:
    """Add implants that several sessions were recorded with."""
    insertions = tables.rows[ProbeInsertion]
    sessions = {session.id: session for session in tables.rows[Session]}
    for number, insertion in enumerate(insertions[::5][:3]):
        session = sessions[insertion["session_id"]]
        chronic = tables.add(
            ChronicInsertion,
            number,
            name="probe00",
            subject_id=session["subject_id"],
            lab_id=session["lab_id"],
            model_id=insertion["model_id"],
            serial=insertion["serial"],
            start_time=dt.datetime(2022, 2, 2, 2),  # noqa: DTZ001
        )
        for other in insertions:
            if sessions[other["session_id"]]["subject_id"] == session["subject_id"]:
                other["chronic_insertion_id"] = chronic.id
    # The words are an argument of every step here; implants need none of them.
    del words


def add_views(tables: Tables, words: Words) -> None:
    """Add a session of imaging: four fields of view in two stacks."""
    session = tables.rows[Session][5].id
    stacks = [tables.add(ImagingStack, number) for number in range(2)]
    for number in range(4):
        view = tables.add(
            FieldOfView,
            number,
            name=f"FOV_{number:02}",
            session_id=session,
            imaging_type_id=words.imaging["mesoscope"].id,
            stack_id=stacks[number % 2].id,
        )
        location = tables.add(
            FieldOfViewLocation,
            number,
            field_of_view_id=view.id,
            provenance="L",
            default_provenance=True,
            coordinate_system_id=words.systems["IBL-Allen"].id,
            x=[1.0, 2.0, 3.0, 4.0],
            y=[1.0, 2.0, 3.0, 4.0],
            z=[0.0, 0.0, 0.0, 0.0],
            n_xyz=[512, 512, 1],
        )
        key = FieldOfViewLocation._meta.get_field("brain_region")  # noqa: SLF001
        tables.links.setdefault(key, []).extend((location.id, region) for region in (385, 593, 821))
