"""Subjects: their filters, and their water."""

import datetime as dt
from typing import Any

import django_filters
from django.db.models import Prefetch
from django.utils import timezone
from rest_framework import generics
from rest_framework.response import Response
from rest_framework.views import APIView

from alyxfs.demo.actions.models import Session, WaterAdministration
from alyxfs.demo.common.filters import AlyxFilterSet
from alyxfs.demo.common.permission import LOGGED_IN

from .models import Subject
from .serializers import WaterRestrictedSubjectSerializer
from .water import now, water_control

WATER_RECORDS = ("weighings", "actions_waterrestrictions", "actions_surgerys")


class SubjectFilter(AlyxFilterSet):
    alive = django_filters.BooleanFilter("death_date", method="filter_alive")
    responsible_user = django_filters.CharFilter("responsible_user__username")
    stock = django_filters.BooleanFilter("responsible_user", method="filter_stock")
    water_restricted = django_filters.BooleanFilter(method="filter_water_restricted")
    lab = django_filters.CharFilter("lab__name")
    project = django_filters.CharFilter("projects__name")

    class Meta:
        model = Subject
        exclude: list[str] = []

    def filter_alive(self, queryset: Any, _name: str, value: bool) -> Any:
        dead = {"death_date__lte": timezone.now().date()}
        return queryset.exclude(**dead) if value else queryset.filter(**dead)

    def filter_stock(self, queryset: Any, _name: str, value: bool) -> Any:
        stock = {"responsible_user__is_stock_manager": True}
        return queryset.filter(**stock) if value else queryset.exclude(**stock)

    def filter_water_restricted(self, queryset: Any, _name: str, value: bool) -> Any:
        restricted = {"pk__in": restricted_subjects()}
        queryset = queryset.filter(**restricted) if value else queryset.exclude(**restricted)
        return queryset.exclude(death_date__lte=timezone.now().date())


def restricted_subjects() -> Any:
    """The keys of subjects under a water restriction that has not ended."""
    return Subject.objects.filter(
        actions_waterrestrictions__isnull=False, actions_waterrestrictions__end_time__isnull=True
    ).values("pk")


def rows_with_water_of_today() -> Any:
    """Only the water of today counts in a row: the rest, which is most of it, is not read."""
    today = dt.datetime.combine(now().date(), dt.time.min)
    given_today = WaterAdministration.objects.filter(date_time__gte=today)
    sessions = Session.objects.only("id", "subject_id").prefetch_related("projects")
    return Subject.objects.select_related(
        "responsible_user", "species", "strain", "line", "litter", "lab", "source"
    ).prefetch_related(
        "zygosity_set__allele",
        "line__alleles",
        "projects",
        Prefetch("actions_sessions", sessions),
        Prefetch("water_administrations", given_today),
        *WATER_RECORDS,
    )


class SubjectList(generics.ListCreateAPIView):
    # Asked at each request: the query depends on the day.
    def get_queryset(self) -> Any:
        return rows_with_water_of_today()


class WaterRestrictedSubjectList(generics.ListAPIView):
    serializer_class = WaterRestrictedSubjectSerializer
    permission_classes = LOGGED_IN

    def get_queryset(self) -> Any:
        return (
            Subject.objects.filter(pk__in=restricted_subjects())
            .select_related("lab")
            .prefetch_related("water_administrations", *WATER_RECORDS)
        )


class WaterRequirement(APIView):
    """Weight and water of a subject, day by day."""

    permission_classes = LOGGED_IN

    def get(self, request: Any, nickname: str) -> Response:
        water = water_control(Subject.objects.get(nickname=nickname))
        start, end = request.query_params.get("start_date"), request.query_params.get("end_date")
        moments = [moment for moment, _ in water.weighings] or [now()]
        first = dt.datetime.fromisoformat(start) if start else moments[0]
        last = dt.datetime.fromisoformat(end) if end else now()
        days = range((last.date() - first.date()).days + 1)
        records = [water.record(first + dt.timedelta(days=day)) for day in days]
        return Response(
            {
                "subject": nickname,
                "implant_weight": water.last_before(water.implants, first),
                "reference_weight_pct": water.reference_weight_pct,
                "zscore_weight_pct": water.zscore_weight_pct,
                "records": records,
            }
        )
