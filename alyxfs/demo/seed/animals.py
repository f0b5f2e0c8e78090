"""Subjects, and what is done with them day by day."""

import datetime as dt
import unicodedata

from alyxfs.demo.actions.models import Cull, Surgery, WaterAdministration, WaterRestriction, Weighing
from alyxfs.demo.subjects.models import Subject, Zygosity

from .tables import Row, Tables, chance
from .vocabulary import LABS, Words

# Nicknames that a file system, a web address or a careless client stumbles over.
ODD_NICKNAMES = [
    "..",
    ".hidden01",
    "a b",
    "a#b",
    "a?b",
    "50%",
    "100%25",
    'quo"ted',
    "back\\slash",
    "semi;colon+plus",
    "trailing.",
    unicodedata.normalize("NFC", "Zoë"),
    unicodedata.normalize("NFD", "Zoë"),
    "L" * 64,
    "ks001",
    "2023",
    "q?x=1&y",
    "v1.2",
]
# One nickname, two animals, in two labs: the detail address is a 500.
DOUBLED = "dup_001"
WEIGHINGS = 20


def add_subjects(tables: Tables, words: Words, scale: int) -> dict[str, list[Row]]:
    """Add all subjects; return the usual ones by lab."""
    by_lab: dict[str, list[Row]] = {}
    for number in range(round(16 + 14.2 * scale)):
        lab, prefix, *_ = LABS[number % len(LABS)]
        nickname = f"{prefix}{number // len(LABS) + 1:03}"
        by_lab.setdefault(lab, []).append(add_subject(tables, words, nickname, lab))
    for number, nickname in enumerate(ODD_NICKNAMES):
        add_subject(tables, words, nickname, LABS[number % len(LABS)][0])
    for lab in ("cortexlab", "harborlab"):
        add_subject(tables, words, DOUBLED, lab)
    return by_lab


def add_subject(tables: Tables, words: Words, nickname: str, lab: str) -> Row:
    """Add one subject with its genotype, weighings, water and sometimes a surgery."""
    luck = chance("subject", nickname, lab)
    birth = dt.date(2018, 10, 1) + dt.timedelta(days=luck.randrange(1200))
    if nickname in {"KS001", "KS002", "KS003", "KS004"}:
        birth = dt.date(2022, 8, 16)
    dead = luck.random() < 0.4 and not nickname.startswith("KS00")
    line = luck.choice([None, None, "C57", "PvCre;Ai32"])
    subject = tables.add(
        Subject,
        nickname,
        lab,
        nickname=nickname,
        lab_id=words.labs[lab].id,
        species_id=words.species["mouse"].id,
        strain_id=luck.choice([None, *(strain.id for strain in words.strains.values())]),
        source_id=luck.choice([None, *(source.id for source in words.sources.values())]),
        line_id=words.lines[line].id if line else None,
        sex=luck.choice("MFU"),
        birth_date=birth,
        death_date=birth + dt.timedelta(days=luck.randrange(150, 500)) if dead else None,
        responsible_user_id=words.users[luck.choice(["alice", "bob", "carol", "root", "stock"])].id,
        description=luck.choice(["", "good performer", "multi\nline\ndescription — with “quotes”"]),
        json=luck.choice([None, {"cage": "C1", "history": {"cage": [{"value": "C0"}]}}]),
    )
    if nickname == DOUBLED:
        subject["responsible_user_id"] = words.users["alice" if lab == "cortexlab" else "bob"].id
    for allele in luck.sample(list(words.alleles.values()), luck.randrange(3)):
        tables.add(
            Zygosity,
            nickname,
            lab,
            allele.id,
            subject_id=subject.id,
            allele_id=allele.id,
            zygosity=luck.randrange(4),
        )
    add_what_no_address_shows(tables, subject)
    tables.link(Subject, "projects", subject, *luck.sample(list(words.projects.values())[:6], luck.randrange(3)))
    add_days(tables, words, subject)
    return subject


def add_what_no_address_shows(tables: Tables, subject: Row) -> None:
    """For every third animal: its cage, its marks, and how it ended."""
    luck = chance("unseen", subject.id)
    if luck.random() < 2 / 3:
        return
    subject.update(
        cage=f"C{luck.randrange(100)}",
        ear_mark=luck.choice(["", "1L", "2R"]),
        wean_date=subject["birth_date"] + dt.timedelta(days=21),
        protocol_number=luck.choice("123"),
        actual_severity=luck.choice([None, 2, 3]),
        adverse_effects=luck.choice(["", "none seen"]),
    )
    if subject["death_date"]:
        tables.add(Cull, subject.id, subject_id=subject.id, date=subject["death_date"], description="as planned")


def add_days(tables: Tables, words: Words, subject: Row) -> None:
    """Add a weighing and some water on each of a few days, and for some a restriction and a surgery."""
    luck = chance("days", subject.id)
    first = dt.datetime.combine(subject["birth_date"], dt.time(10)) + dt.timedelta(days=90)
    weight = 18 + 10 * luck.random()
    water = luck.choice(list(words.water_types.values()))
    for day in range(WEIGHINGS):
        at = first + dt.timedelta(days=day, seconds=luck.randrange(3600))
        if day % 5 == 1:
            at = at.replace(microsecond=123456)
        user = words.users[luck.choice(["alice", "bob", "root"])].id
        weight += luck.uniform(-0.3, 0.35)
        tables.add(
            Weighing, subject.id, day, subject_id=subject.id, user_id=user, date_time=at, weight=round(weight, 2)
        )
        tables.add(
            WaterAdministration,
            subject.id,
            day,
            subject_id=subject.id,
            user_id=user,
            date_time=at + dt.timedelta(hours=4),
            water_administered=round(luck.uniform(0.5, 1.6), 3),
            water_type_id=water.id,
        )
    if luck.random() < 0.35:
        tables.add(
            WaterRestriction,
            subject.id,
            subject_id=subject.id,
            lab_id=subject["lab_id"],
            start_time=first.replace(hour=9, minute=30),
            end_time=first + dt.timedelta(days=60) if subject["death_date"] else None,
            reference_weight=round(weight, 1),
            water_type_id=water.id,
        )
    if luck.random() < 0.5:
        surgery = tables.add(
            Surgery,
            subject.id,
            subject_id=subject.id,
            lab_id=subject["lab_id"],
            location_id=words.locations["Surgery Room"].id,
            start_time=first - dt.timedelta(days=10, minutes=30),
            end_time=first - dt.timedelta(days=10) + dt.timedelta(hours=1.5),
            narrative="== General ==\n\nStart time (hh:mm): 09:12\nBregma-Lambda: 4.2 (mm)\n",
            outcome_type=luck.choice(["", "r"]),
            implant_weight=round(luck.uniform(1.2, 2.4), 2),
        )
        tables.link(Surgery, "procedures", surgery, words.procedures["Headplate implant"])
