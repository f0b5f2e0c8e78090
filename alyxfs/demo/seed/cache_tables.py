"""Makes the tables that ONE downloads: what `/cache.zip` and `/cache/info/` give."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from django.db import connection

from alyxfs.demo.common.addresses import STORED_ROOT

MADE = "2024-06-01 12:00"
ELSEWHERE = frozenset({"2022_Q4_brainwide"})
"""Tags whose archive can be had, as those of a public Alyx: Alyx itself gives that of everything alone."""
QC_NAMES = {0: "NOT_SET", 10: "PASS", 30: "WARNING", 40: "FAIL", 50: "CRITICAL"}
QC_CATEGORIES = ["NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL"]

SESSIONS = """
    SELECT s.id, lab.name AS lab, subject.nickname AS subject, date(s.start_time) AS date, s.number,
           s.task_protocol, (
               SELECT coalesce(group_concat(project.name, ','), '') FROM actions_session_projects link
               JOIN subjects_project project ON project.id = link.project_id WHERE link.session_id = s.id
           ) AS projects
    FROM actions_session s
    JOIN misc_lab lab ON lab.id = s.lab_id
    JOIN subjects_subject subject ON subject.id = s.subject_id
    WHERE s.start_time IS NOT NULL AND s.number IS NOT NULL
    ORDER BY date DESC, subject DESC, s.number DESC
"""
DATASETS = """
    SELECT d.id, d.session_id AS eid, d.file_size, d.hash, d.default_dataset AS default_revision, d.qc,
           CASE WHEN d.collection = '' THEN '' ELSE d.collection || '/' END
           || CASE WHEN r.name IS NULL THEN '' ELSE '#' || r.name || '#/' END || d.name AS rel_path
    FROM data_dataset d LEFT JOIN data_revision r ON r.id = d.revision_id
    WHERE d.session_id IS NOT NULL AND EXISTS (
        SELECT 1 FROM data_filerecord f JOIN data_datarepository p ON p.id = f.data_repository_id
        WHERE f.dataset_id = d.id AND f."exists" AND (p.name LIKE 'flatiron%%' OR p.name LIKE 'aws%%')
    )
"""
TAGGED = "SELECT link.dataset_id FROM data_dataset_tags link JOIN data_tag t ON t.id = link.tag_id WHERE t.name = "


def write_cache_tables(folder: Path, files: Path, tags: list[str]) -> None:
    """Write the tables of everything, and one set for each tag; some of these go to the file server, too."""
    sessions, datasets = read(SESSIONS), read(DATASETS)
    write(folder, sessions, datasets, {})
    for tag in tags:
        if "/" in tag:
            continue  # such a tag cannot be named in the address
        quoted = tag.replace("'", "''")
        own = {row[0] for row in rows(TAGGED + f"'{quoted}'")}
        tagged = datasets[datasets["id"].isin(own)]
        of_tagged = sessions[sessions["id"].isin(set(tagged["eid"]))]
        more: dict[str, Any] = {"database_tags": [tag]}
        if tag in ELSEWHERE:
            more["location"] = f"{STORED_ROOT}caches/{tag}/cache.zip"
        write(folder / tag, of_tagged, tagged, more)
        if tag in ELSEWHERE:
            (files / "caches" / tag).mkdir(parents=True)
            (folder / tag / "cache.zip").rename(files / "caches" / tag / "cache.zip")


def rows(query: str) -> list[Any]:
    """Ask the database."""
    with connection.cursor() as cursor:
        return list(cursor.execute(query).fetchall())


def read(query: str) -> pd.DataFrame:
    """Ask the database for a table."""
    with connection.cursor() as cursor:
        cursor.execute(query.replace("%%", "%"))
        names = [column[0] for column in cursor.description]
        return pd.DataFrame(cursor.fetchall(), columns=names)


def dashed(keys: pd.Series) -> list[str]:
    """Write UUIDs the usual way."""
    return [f"{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:]}" for key in keys]


def write(folder: Path, sessions: pd.DataFrame, datasets: pd.DataFrame, more: dict[str, Any]) -> None:
    """Write one set of tables."""
    folder.mkdir(parents=True, exist_ok=True)
    sessions = sessions.assign(
        id=dashed(sessions["id"]),
        number=sessions["number"].astype(np.uint16),
        date=pd.to_datetime(sessions["date"]).dt.date,
    ).set_index("id")
    datasets = datasets.assign(
        id=dashed(datasets["id"]),
        eid=dashed(datasets["eid"]),
        file_size=datasets["file_size"].astype("UInt64"),
        default_revision=datasets["default_revision"].astype(bool),
        qc=pd.Categorical([QC_NAMES[number] for number in datasets["qc"]], QC_CATEGORIES, ordered=True),
        exists=True,
    )
    datasets = datasets.set_index(["eid", "id"]).sort_index()
    info: dict[str, Any] = {"date_created": MADE, "origin": "alyx", "min_api_version": "2.10", **more}
    sizes = {}
    with zipfile.ZipFile(folder / "cache.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, frame in (("sessions", sessions), ("datasets", datasets)):
            table = pa.Table.from_pandas(frame)
            metadata = {"one_metadata": json.dumps(info).encode(), **table.schema.metadata}
            sink = pa.BufferOutputStream()
            pq.write_table(table.replace_schema_metadata(metadata), sink)
            content = sink.getvalue().to_pybytes()
            archive.writestr(f"{name}.pqt", content)
            sizes[name] = {"nrecs": len(frame), "size": len(content)}
        info["tables"] = sizes
        archive.writestr("cache_info.json", json.dumps(info))
    (folder / "cache_info.json").write_text(json.dumps(info), encoding="utf-8")
