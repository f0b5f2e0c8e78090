"""Filters of datasets and files."""

from typing import Any

import django_filters
from django_filters import rest_framework as filters

from alyxfs.demo.common.filters import AlyxFilterSet
from alyxfs.demo.experiments.models import ProbeInsertion

from .models import DataNotice, Dataset, Download, FileRecord


class DatasetFilter(AlyxFilterSet):
    subject = django_filters.CharFilter("session__subject__nickname")
    lab = django_filters.CharFilter("session__lab__name")
    created_date = django_filters.CharFilter("created_datetime__date")
    date = django_filters.CharFilter("session__start_time__date")
    created_by = django_filters.CharFilter("created_by__username")
    dataset_type = django_filters.CharFilter("dataset_type__name")
    experiment_number = django_filters.CharFilter("session__number")
    created_date_gte = django_filters.DateTimeFilter("created_datetime__date", lookup_expr="gte")
    created_date_lte = django_filters.DateTimeFilter("created_datetime__date", lookup_expr="lte")
    exists = django_filters.BooleanFilter(method="filter_exists")
    probe_insertion = django_filters.UUIDFilter(method="filter_probe_insertion")
    public = django_filters.BooleanFilter(method="filter_public")
    protected = django_filters.BooleanFilter(method="filter_protected")
    tag = django_filters.CharFilter("tags__name")
    revision = django_filters.CharFilter("revision__name")
    qc = django_filters.CharFilter(method="filter_choice_name")

    class Meta:
        model = Dataset
        exclude = ["json"]

    def filter_exists(self, queryset: Any, _name: str, value: bool) -> Any:
        on_server = FileRecord.objects.filter(exists=value, data_repository__globus_is_personal=False)
        return queryset.filter(pk__in=on_server.values("dataset"))

    def filter_probe_insertion(self, queryset: Any, _name: str, value: Any) -> Any:
        insertion = ProbeInsertion.objects.get(pk=value)
        return queryset.filter(session=insertion.session, collection__icontains=insertion.name)

    def filter_public(self, queryset: Any, _name: str, value: bool) -> Any:
        public = {"tags__public": True}
        return queryset.filter(**public).distinct() if value else queryset.exclude(**public)

    def filter_protected(self, queryset: Any, _name: str, value: bool) -> Any:
        protected = {"tags__protected": True}
        return queryset.filter(**protected).distinct() if value else queryset.exclude(**protected)


class FileRecordFilter(AlyxFilterSet):
    lab = django_filters.CharFilter("dataset__session__lab__name")
    data_repository = django_filters.CharFilter("data_repository__name")
    globus_is_personal = django_filters.BooleanFilter("data_repository__globus_is_personal")

    class Meta:
        model = FileRecord
        exclude = ["json"]


class DownloadFilter(AlyxFilterSet):
    json = django_filters.CharFilter("json", lookup_expr="icontains")
    dataset = django_filters.CharFilter("dataset__name")
    user = django_filters.CharFilter("user__username")
    dataset_type = django_filters.CharFilter("dataset__dataset_type__name", lookup_expr="icontains")

    class Meta:
        model = Download
        fields = ("count",)


class SeveralUuids(filters.BaseInFilter, filters.UUIDFilter):
    """UUIDs with commas between them."""


class DataNoticeFilter(AlyxFilterSet):
    datasets = SeveralUuids(field_name="datasets__id", lookup_expr="in")
    dataset_tag = django_filters.CharFilter("datasets__tags__name", distinct=True)

    class Meta:
        model = DataNotice
        fields = (
            "name",
            "importance",
            "created_by",
            "version_affected",
            "affected_date_start",
            "affected_date_end",
        )
