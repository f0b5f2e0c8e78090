"""Filters of insertions, trajectories, channels, regions and fields of view."""

from typing import Any

from django.db.models import Count
from django_filters.rest_framework import CharFilter, NumberFilter, UUIDFilter

from alyxfs.demo.common.filters import AlyxFilterSet
from alyxfs.demo.common.models import QC_BY_NAME

from .models import (
    BrainRegion,
    Channel,
    ChronicInsertion,
    FieldOfView,
    FieldOfViewLocation,
    ImagingStack,
    ProbeInsertion,
    TrajectoryEstimate,
)
from .regions import RegionTree, in_regions


class WithDatasets(AlyxFilterSet):
    """Filters of records that hold datasets."""

    dataset_types = CharFilter("dataset_types", method="filter_dataset_types")
    datasets = CharFilter("datasets", method="filter_datasets")

    def filter_dataset_types(self, queryset: Any, _name: str, value: str) -> Any:
        names = value.split(",")
        kinds = Count("datasets__dataset_type", distinct=True)
        queryset = queryset.filter(datasets__dataset_type__name__in=names).annotate(kinds=kinds)
        return queryset.filter(kinds__gte=len(names))

    def filter_datasets(self, queryset: Any, _name: str, value: str) -> Any:
        names = value.split(",")
        worst = QC_BY_NAME[self.request.query_params.get("dataset_qc_lte", "FAIL").upper()]
        queryset = queryset.filter(datasets__name__in=names, datasets__qc__lte=worst)
        return queryset.annotate(found=Count("datasets", distinct=True)).filter(found__gte=len(names))


class InsertionFilter(WithDatasets):
    subject = CharFilter("session__subject__nickname")
    date = CharFilter("session__start_time__date")
    experiment_number = CharFilter("session__number")
    name = CharFilter("name")
    session = UUIDFilter("session")
    model = CharFilter("model__name")
    dataset_qc_lte = CharFilter("dataset_qc", method="filter_dataset_qc_lte")
    lab = CharFilter("session__lab__name", lookup_expr="iexact")
    project = CharFilter("session__projects__name", lookup_expr="icontains")
    task_protocol = CharFilter("session__task_protocol", lookup_expr="icontains")
    tag = CharFilter("datasets__tags__name", lookup_expr="icontains", distinct=True)
    atlas_name = CharFilter("name__icontains", method="filter_atlas")
    atlas_acronym = CharFilter("acronym__iexact", method="filter_atlas")
    atlas_id = NumberFilter("pk", method="filter_atlas")

    class Meta:
        model = ProbeInsertion
        exclude = ["json"]

    def filter_dataset_qc_lte(self, queryset: Any, _name: str, value: str) -> Any:
        if "datasets" in self.request.query_params:
            return queryset
        return queryset.filter(datasets__qc__lte=QC_BY_NAME[value.upper()])

    def filter_atlas(self, queryset: Any, lookup: str, value: Any) -> Any:
        return queryset.filter(pk__in=in_regions(lookup, value)[0])


class ChronicInsertionFilter(AlyxFilterSet):
    subject = CharFilter("subject__nickname")
    lab = CharFilter("lab__name")
    model = CharFilter("model__name")
    probe = UUIDFilter("probe_insertion__id")
    session = UUIDFilter("probe_insertion__session__id")
    serial = CharFilter("serial")

    class Meta:
        model = ChronicInsertion
        exclude = ["json"]


class TrajectoryFilter(AlyxFilterSet):
    provenance = CharFilter(method="filter_choice_name")
    subject = CharFilter("probe_insertion__session__subject__nickname")
    project = CharFilter("probe_insertion__session__projects__name")
    date = CharFilter("probe_insertion__session__start_time__date")
    experiment_number = CharFilter("probe_insertion__session__number")
    session = UUIDFilter("probe_insertion__session__id")
    probe = CharFilter("probe_insertion__name")

    class Meta:
        model = TrajectoryEstimate
        exclude = ["json"]


class ChannelFilter(AlyxFilterSet):
    session = UUIDFilter("trajectory_estimate__probe_insertion__session")
    probe_insertion = UUIDFilter("trajectory_estimate__probe_insertion")
    subject = CharFilter("trajectory_estimate__probe_insertion__session__subject__nickname")
    lab = CharFilter("trajectory_estimate__probe_insertion__session__lab__name")

    class Meta:
        model = Channel
        exclude = ["json"]


class BrainRegionFilter(AlyxFilterSet):
    acronym = CharFilter(lookup_expr="iexact")
    description = CharFilter(lookup_expr="icontains")
    name = CharFilter(lookup_expr="icontains")
    ancestors = CharFilter("ancestors", method="filter_ancestors")
    descendants = CharFilter("descendants", method="filter_descendants")

    class Meta:
        model = BrainRegion
        fields = ("id", "acronym", "description", "name", "parent")

    @staticmethod
    def key_of(value: str) -> int:
        """Read a number or an acronym."""
        key = {"pk": value} if value.isdigit() else {"acronym": value}
        return int(BrainRegion.objects.get(**key).pk)

    def filter_ancestors(self, queryset: Any, _name: str, value: str) -> Any:
        key = self.key_of(value)
        return queryset.filter(pk__in=[key, *RegionTree().ancestors(key)]).exclude(pk=0)

    def filter_descendants(self, queryset: Any, _name: str, value: str) -> Any:
        key = self.key_of(value)
        return queryset.filter(pk__in=[key, *RegionTree().descendants(key)]).exclude(pk=0)


class FieldOfViewFilter(WithDatasets):
    subject = CharFilter("session__subject__nickname")
    lab = CharFilter("session__lab__name", lookup_expr="iexact")
    project = CharFilter("session__projects__name")
    date = CharFilter("session__start_time__date")
    experiment_number = CharFilter("session__number")
    imaging_type = CharFilter("imaging_type__name", lookup_expr="icontains")
    atlas_acronym = CharFilter("acronym__iexact", method="filter_atlas")

    class Meta:
        model = FieldOfView
        exclude = ["json"]

    def filter_atlas(self, queryset: Any, lookup: str, value: Any) -> Any:
        return queryset.filter(pk__in=in_regions(lookup, value)[1])


class LocationFilter(AlyxFilterSet):
    coordinate_system = CharFilter("coordinate_system__name")

    class Meta:
        model = FieldOfViewLocation
        exclude = ["json", "x", "y", "z", "n_xyz"]


class StackFilter(AlyxFilterSet):
    class Meta:
        model = ImagingStack
        exclude = ("json",)
