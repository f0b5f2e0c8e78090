"""The small tables: labs, users, projects, repositories, types, formats, tags, places."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.hashers import make_password

from alyxfs.demo.actions.models import ProcedureType, WaterType
from alyxfs.demo.common.addresses import STORED_ROOT
from alyxfs.demo.data.models import (
    DataFormat,
    DataRepository,
    DataRepositoryType,
    DatasetType,
    Revision,
    Tag,
)
from alyxfs.demo.experiments.models import CoordinateSystem, ImagingType, ProbeModel
from alyxfs.demo.misc.models import Lab, LabLocation, LabMember, LabMembership
from alyxfs.demo.subjects.models import Allele, Line, Project, Source, Species, Strain

from .recipes import FORMATS, all_dataset_types
from .tables import WHEN, Row, Tables, identity

# Name, prefix of its animals, the two fractions of water control, time zone.
LABS = [
    ("cortexlab", "KS", 0.0, 0.8, "Europe/London"),
    ("harborlab", "HB", 0.85, 0.0, "Europe/London"),
    ("meadowlab", "MD", 0.85, 0.0, "Europe/Lisbon"),
    ("ridgelab", "RG", 0.425, 0.425, "America/New_York"),
    ("lakelab", "LK", 0.0, 0.0, "America/New_York"),
]
USERS = ["alice", "bob", "carol", "dave", "erin", "zoë", "user+tag@example.org", "inactive", "stock", "root"]
PROJECTS = [
    ("brainwide", "Brain-wide map recordings"),
    ("behaviour_pilot", "Early behaviour"),
    ("R01 vision/audition", "A slash in the name: no detail address"),
    ("#scratch", ""),
    ("projet_côté", "Accents"),
    ("chronic recordings", "A space in the name"),
    ("learning_lifespan", ""),
    ("practice", ""),
    ("50% done", "A percent sign"),
    ("empty_project", "No sessions, no subjects"),
]
TAGS = [
    ("2021_Q1_behaviour", "Behaviour paper", True, True),
    ("2022_Q4_brainwide", "Brain-wide map", False, True),
    ("repeated_site", "Repeated site", False, False),
    ("2023/with slash", "A slash in the name: no detail address", False, False),
]
REVISIONS = ["2022-10-31", "2023-01-01", "2023-04-20", "2024-05-06", "latest", "v1.2"]
LOCATIONS = [
    ("_rig_cortexlab_ephys_0", "cortexlab"),
    ("_rig_cortexlab_behavior_1", "cortexlab"),
    ("Bldg 3/Rig 2", "cortexlab"),
    ("_rig_harborlab_behavior_1", "harborlab"),
    ("_rig_meadowlab_behavior_0", "meadowlab"),
    ("_rig_ridgelab_ephys_0", "ridgelab"),
    ("_rig_lakelab_behavior_0", "lakelab"),
    ("Surgery Room", "cortexlab"),
]
PROCEDURES = [
    "Behavior training/tasks",
    "Ephys recording with acute probe(s)",
    "Ephys recording with chronic probe(s)",
    "Imaging",
    "Headplate implant",
    "Handling_habituation",
    "Histology",
    "Water restriction",
]
WATER_TYPES = [
    "Water",
    "Water 15% Sucrose",
    "Water 1% Citric Acid",
    "Water 2% Citric Acid",
    "Hydrogel",
    "Hydrogel 5% Citric Acid",
    "Citric Acid Water 2%",
]
PROBE_MODELS = [
    ("Neuropixel 3A", "3A"),
    ("Neuropixel 3B2", "3B2"),
    ("Neuropixels 2.1", "NP2.1"),
    ("Neuropixels 2.4", "NP2.4"),
]


@dataclass
class Words:
    """The small tables by name."""

    labs: dict[str, Row] = field(default_factory=dict)
    users: dict[str, Row] = field(default_factory=dict)
    projects: dict[str, Row] = field(default_factory=dict)
    repositories: dict[str, Row] = field(default_factory=dict)
    types: dict[str, Row] = field(default_factory=dict)
    formats: dict[str, Row] = field(default_factory=dict)
    tags: dict[str, Row] = field(default_factory=dict)
    revisions: dict[str, Row] = field(default_factory=dict)
    locations: dict[str, Row] = field(default_factory=dict)
    procedures: dict[str, Row] = field(default_factory=dict)
    water_types: dict[str, Row] = field(default_factory=dict)
    probes: dict[str, Row] = field(default_factory=dict)
    systems: dict[str, Row] = field(default_factory=dict)
    lines: dict[str, Row] = field(default_factory=dict)
    strains: dict[str, Row] = field(default_factory=dict)
    sources: dict[str, Row] = field(default_factory=dict)
    alleles: dict[str, Row] = field(default_factory=dict)
    species: dict[str, Row] = field(default_factory=dict)
    imaging: dict[str, Row] = field(default_factory=dict)


def add_words(tables: Tables) -> Words:
    """Add all small tables."""
    words = Words()
    add_repositories(tables, words)
    add_labs(tables, words)
    add_users(tables, words)
    add_projects(tables, words)
    add_data_words(tables, words)
    add_animal_words(tables, words)
    add_probe_words(tables, words)
    return words


def add_repositories(tables: Tables, words: Words) -> None:
    """Three for each lab: the server, its mirror on S3, and the machine at the rig; one for aggregates."""
    kinds = {name: tables.add(DataRepositoryType, name, name=name) for name in ("Fileserver", "Local")}
    server = kinds["Fileserver"].id

    def add(name: str, **values: Any) -> None:
        words.repositories[name] = tables.add(DataRepository, name, name=name, **values)

    for lab, _, _, _, zone in LABS:
        add(
            f"flatiron_{lab}",
            repository_type_id=server,
            hostname="data.example.org",
            data_url=f"{STORED_ROOT}{lab}/Subjects/",
            timezone="America/New_York",
            globus_path=f"/{lab}/Subjects/",
            globus_endpoint_id=identity("endpoint", "server"),
            globus_is_personal=False,
        )
        add(
            f"aws_{lab}",
            repository_type_id=server,
            data_url=f"{STORED_ROOT}aws/{lab}/Subjects/",
            timezone="UTC",
            globus_path=f"/data/{lab}/Subjects/",
            globus_is_personal=False,
            json={"bucket_name": "example-bucket-private", "region_name": "us-east-1"},
        )
        add(
            f"{lab}_SR",
            repository_type_id=kinds["Local"].id,
            hostname=f"{lab}-server",
            timezone=zone,
            globus_path="/mnt/s0/Data/Subjects/",
            globus_endpoint_id=identity("endpoint", lab),
            globus_is_personal=True,
        )
    add(
        "flatiron_aggregates",
        repository_type_id=server,
        data_url=f"{STORED_ROOT}aggregates/",
        timezone="America/New_York",
        globus_path="/aggregates/",
        globus_is_personal=False,
    )


def add_labs(tables: Tables, words: Words) -> None:
    """Add labs and places."""
    for name, _, reference, zscore, zone in LABS:
        lab = tables.add(
            Lab,
            name,
            name=name,
            institution=f"Institute of {name.removesuffix('lab').capitalize()}",
            address="1 Example Street" if name == "cortexlab" else "",
            timezone=zone,
            reference_weight_pct=reference,
            zscore_weight_pct=zscore,
            json={"raid_available": 1235.5, "version": "3.4.1"} if name == "harborlab" else None,
        )
        words.labs[name] = lab
        local = [words.repositories[f"{name}_SR"], words.repositories[f"flatiron_{name}"]]
        tables.link(Lab, "repositories", lab, *local)
    for name, lab_name in LOCATIONS:
        rig = {"rig": 1} if name.endswith("_1") else None
        words.locations[name] = tables.add(LabLocation, name, name=name, lab_id=words.labs[lab_name].id, json=rig)


def add_users(tables: Tables, words: Words) -> None:
    """Add `demo`, who may do everything, `public`, who may only look, and some who never log in."""
    for name in [*USERS, "demo", "public"]:
        words.users[name] = tables.add(
            LabMember,
            name,
            username=name,
            email=name if "@" in name else f"{name}@example.org",
            password=make_password(name, salt="demo") if name in {"demo", "public"} else "!",
            is_superuser=name in {"root", "demo"},
            is_staff=name in {"root", "demo"},
            is_active=name != "inactive",
            is_stock_manager=name == "stock",
            is_public_user=name == "public",
            date_joined=WHEN,
        )
    for position, name in enumerate(["alice", "bob", "carol", "dave", "erin", "inactive"]):
        lab = list(words.labs.values())[position % len(LABS)]
        tables.add(
            LabMembership,
            name,
            user_id=words.users[name].id,
            lab_id=lab.id,
            start_date=dt.date(2018, 1, 1),
        )
    tables.link(LabMember, "allowed_users", words.users["alice"], words.users["bob"])


def add_projects(tables: Tables, words: Words) -> None:
    """Add projects."""
    users = list(words.users.values())
    for position, (name, description) in enumerate(PROJECTS):
        project = tables.add(Project, name, name=name, description=description)
        tables.link(Project, "users", project, *users[position % 5 : position % 5 + 3])
        words.projects[name] = project


def add_data_words(tables: Tables, words: Words) -> None:
    """Add what describes datasets."""
    for name, (extension, description, loader) in FORMATS.items():
        words.formats[name] = tables.add(
            DataFormat,
            name,
            name=name,
            description=description,
            file_extension=extension,
            python_loader_function=loader,
        )
    creator = words.users["root"]
    for name, pattern in all_dataset_types().items():
        words.types[name] = tables.add(
            DatasetType,
            name,
            name=name,
            filename_pattern=pattern,
            description=f"Made-up {name}.",
            created_by_id=creator.id if name.startswith("_") else None,
        )
    for name, description, protected, public in TAGS:
        words.tags[name] = tables.add(Tag, name, name=name, description=description, protected=protected, public=public)
    for position, name in enumerate(REVISIONS):
        made = dt.datetime(2024, 1, 1 + position)  # noqa: DTZ001
        words.revisions[name] = tables.add(Revision, name, name=name, created_datetime=made)


def add_animal_words(tables: Tables, words: Words) -> None:
    """Add what describes animals and what is done with them."""
    words.species["mouse"] = tables.add(Species, "mouse", name="Mus musculus", nickname="Laboratory mouse")
    for name in ("C57BL/6J", "C57BL/6N", "B6.Cg-Snap25"):
        words.strains[name] = tables.add(Strain, name, name=name)
    for name in ("Animal House A", "Breeder B"):
        words.sources[name] = tables.add(Source, name, name=name)
    for name in ("Ai32", "Pv-Cre"):
        words.alleles[name] = tables.add(Allele, name, name=name, nickname=name)
    for name in ("C57", "PvCre;Ai32"):
        words.lines[name] = tables.add(Line, name, name=name)
    tables.link(Line, "alleles", words.lines["PvCre;Ai32"], *words.alleles.values())
    for name in PROCEDURES:
        words.procedures[name] = tables.add(
            ProcedureType, name, name=name, description=f"This term covers:\r\n- {name.lower()}"
        )
    for name in WATER_TYPES:
        words.water_types[name] = tables.add(WaterType, name, name=name)


def add_probe_words(tables: Tables, words: Words) -> None:
    """Add what describes probes and places in the brain."""
    for name, number in PROBE_MODELS:
        words.probes[number] = tables.add(
            ProbeModel, number, name=name, probe_model=number, probe_manufacturer="Probes and Sons"
        )
    for name in ("Needles-Allen", "IBL-Allen"):
        words.systems[name] = tables.add(CoordinateSystem, name, name=name, description=f"{name} axes")
    words.imaging["mesoscope"] = tables.add(ImagingType, "mesoscope", name="mesoscope")
