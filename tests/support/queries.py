"""Queries that several tests ask, and how the names in their directories are compared."""

from __future__ import annotations

QUERIES = [
    "sessions/lab=cortexlab",
    "sessions/lab=cortexlab/number=1",
    "sessions/subject=KS001",
    "sessions/subject=ks001",
    "sessions/date_range=2021-01-01,2022-12-31",
    "sessions/task_protocol=ephys",
    "sessions/django=number__gte,2",
    "sessions/projects=R01 vision%2Faudition",
    "sessions/dataset_types=trials.table",
    "sessions/tag=repeated_site",
    "datasets/lab=cortexlab/dataset_type=spikes.times",
    "datasets/protected=true",
    "datasets/exists=True",
    "datasets/tag=repeated_site",
    "datasets/collection=alf",
    "datasets/django=session__isnull,True",
    "subjects/lab=cortexlab",
    "subjects/alive=true",
    "subjects/sex=F",
    "subjects/nickname=2023",
    "insertions/name=probe00",
    "insertions/subject=KS001",
    "trajectories/provenance=Planned",
    "weighings/nickname=KS001",
    "water-administrations/nickname=KS001",
    "brain-regions/acronym=VISp",
    "notes/django=text__icontains,a",
    "users/username=demo",
]


def without_mark(name):
    """A record whose name another has, too, is shown with the start of its id."""
    stem, _, mark = name.rpartition("~")
    return f"{stem}.json" if stem and mark.endswith(".json") else name
