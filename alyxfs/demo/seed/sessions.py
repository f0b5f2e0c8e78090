"""Sessions with their made-up datasets, insertions, trajectories and channels."""

import datetime as dt
from dataclasses import dataclass

from alyxfs.demo.actions.models import Session, WaterAdministration
from alyxfs.demo.experiments.models import Channel, ProbeInsertion, TrajectoryEstimate
from alyxfs.demo.subjects.models import Subject

from .animals import ODD_NICKNAMES
from .datasets import Home, Shelf
from .library import Library
from .recipes import recipe
from .tables import Row, Tables, chance
from .vocabulary import Words

PROTOCOLS = ["habituationChoiceWorld6.3.0", "trainingChoiceWorld6.6.1", "biasedChoiceWorld6.4.2", ""]
EPHYS_PROTOCOL = "ephysChoiceWorld6.5.3/passive"
CHANNELS = 384
PROVENANCES = [10, 30, 50, 70]


@dataclass
class SessionMaker:
    """Makes sessions and what is recorded in them."""

    tables: Tables
    words: Words
    shelf: Shelf
    regions: list[int]

    def add(self, subject: Row, lab: str, start: dt.datetime, *, probes: int, number: int = 1) -> Home:
        """Add a session, without datasets."""
        luck = chance("session", subject.id, start, number)
        words = self.words
        places = [place for place in words.locations.values() if place["lab_id"] == subject["lab_id"]]
        trials = luck.randrange(200, 1200)
        session = self.tables.add(
            Session,
            subject.id,
            start,
            number,
            subject_id=subject.id,
            lab_id=subject["lab_id"],
            location_id=luck.choice(places).id,
            start_time=start,
            end_time=start + dt.timedelta(seconds=luck.randrange(1800, 7200)),
            number=number,
            type="Experiment",
            task_protocol=self.protocol(luck.choice(PROTOCOLS), probes),
            narrative=luck.choice(["", "", "noisy — see «log»", "Notes:\r\nwindows line ends\tand tabs"]),
            n_trials=trials,
            n_correct_trials=luck.randrange(trials),
            qc=luck.choice([0, 10, 10, 30, 40, 50]),
            extended_qc={
                "task": luck.choice(["PASS", "FAIL"]),
                "behavior": luck.randrange(2),
                "_task_stimOn_delays": round(luck.random(), 6),
            },
            auto_datetime=start + dt.timedelta(days=3, seconds=1),
            json=luck.choice([None, None, {"IS_MOCK": False}]),
        )
        kind = "Ephys recording with acute probe(s)" if probes else "Behavior training/tasks"
        self.tables.link(Session, "procedures", session, words.procedures[kind])
        self.tables.link(Session, "users", session, words.users[luck.choice(["alice", "bob", "carol"])])
        projects = luck.sample(list(words.projects.values())[:6], luck.choice([0, 1, 1, 2]))
        self.tables.link(Session, "projects", session, *projects)
        return Home(session, lab, subject["nickname"])

    @staticmethod
    def protocol(usual: str, probes: int) -> str:
        """Name the task."""
        name = EPHYS_PROTOCOL if probes else usual
        return f"_iblrig_tasks_{name}" if name else ""

    def add_recording(self, home: Home, probes: int, library: Library | None = None) -> None:
        """Add the usual datasets and the insertions; what the library has is a real file."""
        datasets = []
        luck = chance("revision", home.session.id)
        for kind, collection, name in recipe(probes):
            revision = "2024-05-06" if "pykilosort" in collection and luck.random() < 0.1 else ""
            datasets.append(self.shelf.add(home, kind, collection, name, revision=revision))
            if library is not None:
                library.place(home, datasets[-1], revision)
        for position in range(probes):
            self.add_insertion(home, position, datasets, channels=False)

    def add_insertion(self, home: Home, position: int, datasets: list[Row], *, channels: bool) -> Row:
        """Add an insertion with its trajectories, and the channels of the last of them if asked."""
        name = f"probe{position:02}"
        luck = chance("insertion", home.session.id, name)
        insertion = self.tables.add(
            ProbeInsertion,
            home.session.id,
            name,
            name=name,
            session_id=home.session.id,
            model_id=luck.choice(list(self.words.probes.values())).id,
            serial=str(luck.randrange(10**11, 2 * 10**11)),
            auto_datetime=dt.datetime(2023, 6, 1, 12, 0, 0, 123456),  # noqa: DTZ001
            json={
                "qc": luck.choice(["PASS", "CRITICAL", "NOT_SET"]),
                "n_units": luck.randrange(200, 800),
                "xyz_picks": [[luck.randrange(-4000, 4000) for _ in range(3)] for _ in range(12)],
                "extended_qc": {"tracing_exists": luck.random() < 0.5, "alignment_count": luck.randrange(4)},
            },
        )
        own = [dataset for dataset in datasets if name in dataset["collection"]]
        self.tables.link(ProbeInsertion, "datasets", insertion, *own)
        for provenance in PROVENANCES[: luck.randrange(1, 5)] if not channels else PROVENANCES:
            trajectory = self.add_trajectory(insertion, provenance)
        if channels:
            self.add_channels(trajectory)
        return insertion

    def add_trajectory(self, insertion: Row, provenance: int) -> Row:
        """Add one estimate of where a probe went."""
        luck = chance("trajectory", insertion.id, provenance)
        system = "IBL-Allen" if provenance == PROVENANCES[-1] else "Needles-Allen"
        return self.tables.add(
            TrajectoryEstimate,
            insertion.id,
            provenance,
            probe_insertion_id=insertion.id,
            provenance=provenance,
            x=luck.uniform(-4000, 4000),
            y=luck.uniform(-4000, 4000),
            z=luck.uniform(-500, 0),
            depth=luck.uniform(3000, 6000),
            theta=luck.uniform(0, 30),
            phi=luck.uniform(0, 360),
            roll=0.0,
            coordinate_system_id=self.words.systems[system].id,
            datetime=dt.datetime(2023, 6, 2, 12, 0, 0, 654321),  # noqa: DTZ001
            json={"2022-05-05T12:00:00_user": [[0.0, 0.001], [0.0, 0.0012]]} if system == "IBL-Allen" else None,
        )

    def add_channels(self, trajectory: Row) -> None:
        """Add where each contact of a probe lies."""
        luck = chance("channels", trajectory.id)
        for number in range(CHANNELS):
            self.tables.add(
                Channel,
                trajectory.id,
                number,
                trajectory_estimate_id=trajectory.id,
                brain_region_id=luck.choice(self.regions[2:40]),
                axial=20.0 * (1 + number // 2),
                lateral=[43.0, 11.0][number % 2],
                x=luck.uniform(-4000, 4000),
                y=luck.uniform(-4000, 4000),
                z=luck.uniform(-4000, 0),
            )


def add_usual_sessions(maker: SessionMaker, subjects: dict[str, list[Row]], scale: int, library: Library) -> None:
    """Add the many sessions that nothing is special about."""
    animals = [(lab, subject) for lab, rows in subjects.items() for subject in rows]
    for number in range(round(30 + 150 * scale)):
        lab, subject = animals[number % len(animals)]
        luck = chance("usual session", number)
        day = subject["birth_date"] + dt.timedelta(days=100 + number // len(animals) * 3)
        start = dt.datetime.combine(day, dt.time(luck.randrange(8, 18), luck.randrange(60)))
        start = start.replace(microsecond=416652 if luck.random() < 0.3 else 0)
        probes = luck.choice([0, 0, 0, 0, 1, 2])
        maker.add_recording(maker.add(subject, lab, start, probes=probes), probes, library)
    # Some water of a session's day is part of the session.
    waters = maker.tables.rows[WaterAdministration]
    sessions = {session["subject_id"]: session for session in maker.tables.rows[Session]}
    for water in waters[::7]:
        session = sessions.get(water["subject_id"])
        if session:
            water["session_id"] = session.id


def add_odd_sessions(maker: SessionMaker, subjects: dict[str, list[Row]]) -> None:
    """Add a session for each subject with an odd name, and sessions that lack what others have."""
    labs = {lab.id: name for name, lab in maker.words.labs.items()}
    odd = [row for row in maker.tables.rows[Subject] if row["nickname"] in ODD_NICKNAMES]
    for subject in odd:
        start = dt.datetime(2022, 3, 4, 10, 11, 12)  # noqa: DTZ001
        maker.add_recording(maker.add(subject, labs[subject["lab_id"]], start, probes=0), 0)
    subject = subjects["harborlab"][0]
    common = {"subject_id": subject.id, "qc": 0, "narrative": ""}
    tables = maker.tables
    lost = {"start_time": None, "lab_id": None, "number": None, "auto_datetime": None}
    tables.add(Session, "without all", task_protocol="no lab, no date, no number", **lost, **common)
    lab = maker.words.labs["harborlab"].id
    when = dt.datetime(2021, 7, 8, 9, 10, 11)  # noqa: DTZ001
    tables.add(Session, "without number", task_protocol="no number", start_time=when, lab_id=lab, number=None, **common)
    tables.add(Session, "without date", task_protocol="no date", start_time=None, lab_id=lab, number=1, **common)
    tables.add(Session, "without lab", task_protocol="no lab", start_time=when, lab_id=None, number=2, **common)
    # Two sessions of one subject, day and number: nothing forbids them.
    for copy in ("first", "second"):
        twin = {"start_time": when.replace(day=9), "lab_id": lab, "number": 1}
        tables.add(Session, "twin", copy, task_protocol=f"twin, the {copy}", **twin, **common)
