"""Sessions, weighings, water and surgeries."""

from django.db.models import F
from django.urls import path
from rest_framework import generics

from alyxfs.demo.common.endpoints import endpoint
from alyxfs.demo.common.pages import UnorderedPages
from alyxfs.demo.common.permission import LOGGED_IN

from . import filters, serializers
from .models import (
    ProcedureType,
    Session,
    Surgery,
    WaterAdministration,
    WaterRestriction,
    WaterType,
    Weighing,
)

SESSION_FILTERS = """get: **FILTERS**

    -   **subject**: nickname of the subject `/sessions?subject=KS001`
    -   **lab**: name of the lab
    -   **date_range**: first and last day `/sessions?date_range=2021-01-12,2021-01-16`
    -   **dataset_types**: types of datasets that the session must have, with commas between them
    -   **task_protocol** (part of the text)
    -   **django**: any look-up of the database `/sessions?django=number__gte,2`
    """


class WaterTypeList(generics.ListCreateAPIView):
    """The list of water types, which also answers at the address of each of them."""

    queryset = WaterType.objects.all()
    serializer_class = serializers.WaterTypeSerializer
    permission_classes = LOGGED_IN
    lookup_field = "name"


urlpatterns = [
    *endpoint("procedures", serializers.ProcedureTypeSerializer, ProcedureType.objects.all(), single=None),
    *endpoint(
        "sessions",
        serializers.SessionDetailSerializer,
        # PostgreSQL puts a session without date before all others; SQLite would put it last.
        Session.objects.select_related("subject", "lab")
        .prefetch_related("projects")
        .order_by(F("start_time").desc(nulls_first=True)),
        one=Session.objects.select_related("subject", "lab", "location"),
        row_serializer=serializers.SessionListSerializer,
        new_serializer=serializers.SessionDetailSerializer,
        filterset_class=filters.SessionFilter,
        __doc__=SESSION_FILTERS,
    ),
    *endpoint(
        "surgeries",
        serializers.SurgerySerializer,
        Surgery.objects.select_related("subject").prefetch_related("users", "procedures").order_by("-start_time"),
        many=generics.ListAPIView,
        single=generics.RetrieveUpdateAPIView,
        filterset_class=filters.SurgeryFilter,
    ),
    *endpoint(
        "water-administrations",
        serializers.WaterAdministrationSerializer,
        WaterAdministration.objects.select_related("subject", "user", "water_type"),
        filterset_class=filters.WaterAdministrationFilter,
        pagination_class=UnorderedPages,
    ),
    *endpoint(
        "water-restriction",
        serializers.WaterRestrictionSerializer,
        WaterRestriction.objects.select_related("subject", "water_type").order_by(
            F("end_time").desc(nulls_first=True), "-start_time"
        ),
        many=generics.ListAPIView,
        single=None,
        filterset_class=filters.WaterRestrictionFilter,
    ),
    path("water-type", WaterTypeList.as_view(), name="watertype-list"),
    path("water-type/<str:name>", WaterTypeList.as_view(), name="watertype-detail"),
    *endpoint(
        "weighings",
        serializers.WeighingSerializer,
        Weighing.objects.select_related("subject", "user"),
        single=generics.RetrieveDestroyAPIView,
        filterset_class=filters.WeighingFilter,
        pagination_class=UnorderedPages,
    ),
]
