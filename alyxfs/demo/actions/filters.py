"""Filters of what is done with an animal."""

from typing import Any

import django_filters
from django.db.models import Count, ExpressionWrapper, F, FloatField, Q

from alyxfs.demo.common.filters import AlyxFilterSet, filter_json
from alyxfs.demo.common.models import QC_BY_NAME
from alyxfs.demo.data.models import Dataset
from alyxfs.demo.experiments.regions import in_regions

from .models import Session, Surgery, WaterAdministration, WaterRestriction, Weighing


def qc_number(name: str) -> int:
    """Read the name of a quality, or its number; anything else is a 500."""
    if name.isdigit() and int(name) in QC_BY_NAME.values():
        return int(name)
    return QC_BY_NAME[name.upper()]


class ActionFilter(AlyxFilterSet):
    """Filters of every action.

    Weighings and water administrations inherit some that do not fit them: those are a 500, as in Alyx.
    """

    subject = django_filters.CharFilter("subject__nickname", lookup_expr="iexact")
    nickname = django_filters.CharFilter("subject__nickname", lookup_expr="iexact")
    users = django_filters.CharFilter("users__username", method="filter_users")
    date_range = django_filters.CharFilter("date_range", method="filter_date_range")
    lab = django_filters.CharFilter("lab__name", lookup_expr="iexact")
    location = django_filters.CharFilter("location__name", lookup_expr="icontains")
    json = django_filters.CharFilter("json", method="filter_json_keys")

    def filter_users(self, queryset: Any, _name: str, value: str) -> Any:
        names = value.split(",")
        queryset = queryset.filter(users__username__in=names)
        return queryset.annotate(users_count=Count("users__username")).filter(users_count__gte=len(names))

    def filter_date_range(self, queryset: Any, _name: str, value: str) -> Any:
        days = value.split(",")
        return queryset.filter(start_time__date__gte=days[0], start_time__date__lte=days[1])

    def filter_json_keys(self, queryset: Any, name: str, value: str) -> Any:
        return filter_json(queryset, name, value)


class WeighingFilter(ActionFilter):
    class Meta:
        model = Weighing
        exclude: list[str] = []


class WaterAdministrationFilter(ActionFilter):
    class Meta:
        model = WaterAdministration
        exclude: list[str] = []


class WaterRestrictionFilter(ActionFilter):
    class Meta:
        model = WaterRestriction
        exclude: list[str] = []


class SurgeryFilter(ActionFilter):
    procedure = django_filters.CharFilter("procedures__name", lookup_expr="iexact")

    class Meta:
        model = Surgery
        exclude: list[str] = []


class SessionFilter(ActionFilter):
    dataset_types = django_filters.CharFilter("dataset_types", method="filter_dataset_types")
    datasets = django_filters.CharFilter("datasets", method="filter_datasets")
    dataset_qc_lte = django_filters.CharFilter("dataset_qc", method="filter_dataset_qc_lte")
    performance_gte = django_filters.NumberFilter("performance", method="filter_performance_gte")
    performance_lte = django_filters.NumberFilter("performance", method="filter_performance_lte")
    type = django_filters.CharFilter("type", lookup_expr="iexact")
    task_protocol = django_filters.CharFilter("task_protocol", lookup_expr="icontains")
    qc = django_filters.CharFilter(method="filter_choice_name")
    extended_qc = django_filters.CharFilter("extended_qc", method="filter_json_keys")
    procedures = django_filters.CharFilter("procedures__name", lookup_expr="icontains")
    projects = django_filters.CharFilter("projects__name", lookup_expr="icontains")
    project = django_filters.CharFilter("projects__name", lookup_expr="icontains")
    atlas_name = django_filters.CharFilter("name__icontains", method="filter_atlas")
    atlas_acronym = django_filters.CharFilter("acronym__iexact", method="filter_atlas")
    atlas_id = django_filters.NumberFilter("pk", method="filter_atlas")
    histology = django_filters.BooleanFilter("histology", method="filter_histology")
    tag = django_filters.CharFilter("tag", method="filter_tag")

    class Meta:
        model = Session
        exclude: list[str] = []

    def filter_dataset_types(self, queryset: Any, _name: str, value: str) -> Any:
        """Sessions that have datasets of all these types."""
        names = value.split(",")
        queryset = queryset.filter(data_dataset_session_related__dataset_type__name__in=names)
        kinds = Count("data_dataset_session_related__dataset_type", distinct=True)
        return queryset.annotate(kinds=kinds).filter(kinds__gte=len(names))

    def filter_datasets(self, queryset: Any, _name: str, value: str) -> Any:
        """Sessions that have all these datasets on a server, none of them worse than asked."""
        names = value.split(",")
        worst = qc_number(self.request.query_params.get("dataset_qc_lte", "FAIL"))
        sessions = (
            Dataset.objects.filter(
                name__in=names,
                qc__lte=worst,
                file_records__exists=True,
                file_records__data_repository__globus_is_personal=False,
            )
            .values("session")
            .annotate(found=Count("name", distinct=True))
            .filter(found__gte=len(names))
            .values("session")
        )
        return queryset.filter(pk__in=sessions)

    def filter_dataset_qc_lte(self, queryset: Any, _name: str, value: str) -> Any:
        if "datasets" in self.request.query_params:
            return queryset
        return queryset.filter(data_dataset_session_related__qc__lte=qc_number(value))

    def filter_performance_gte(self, queryset: Any, _name: str, value: Any) -> Any:
        return self.with_performance(queryset).filter(performance__gte=float(value))

    def filter_performance_lte(self, queryset: Any, _name: str, value: Any) -> Any:
        return self.with_performance(queryset).filter(performance__lte=float(value))

    @staticmethod
    def with_performance(queryset: Any) -> Any:
        percent = ExpressionWrapper(100 * F("n_correct_trials") / F("n_trials"), output_field=FloatField())
        return queryset.exclude(n_trials__isnull=True).annotate(performance=percent)

    def filter_atlas(self, queryset: Any, lookup: str, value: Any) -> Any:
        insertions, views = in_regions(lookup, value)
        return queryset.filter(Q(probe_insertion__in=insertions) | Q(field_of_view__in=views)).distinct()

    def filter_histology(self, queryset: Any, _name: str, value: bool) -> Any:
        histology = {"subject__actions_sessions__procedures__name": "Histology"}
        return (queryset.filter(**histology) if value else queryset.exclude(**histology)).distinct()

    def filter_tag(self, queryset: Any, _name: str, value: str) -> Any:
        return queryset.filter(data_dataset_session_related__tags__name__icontains=value).distinct()
