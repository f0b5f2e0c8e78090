"""Sessions, weighings, water and surgeries."""

from typing import Any

from django.db.models import F
from rest_framework import generics

from alyxfs.demo.common.pages import UnorderedPages
from alyxfs.demo.common.permission import LOGGED_IN

from .filters import (
    SessionFilter,
    SurgeryFilter,
    WaterAdministrationFilter,
    WaterRestrictionFilter,
    WeighingFilter,
)
from .models import (
    ProcedureType,
    Session,
    Surgery,
    WaterAdministration,
    WaterRestriction,
    WaterType,
    Weighing,
)
from .serializers import (
    ProcedureTypeSerializer,
    SessionDetailSerializer,
    SessionListSerializer,
    SurgerySerializer,
    WaterAdministrationSerializer,
    WaterRestrictionSerializer,
    WaterTypeSerializer,
    WeighingSerializer,
)


class SessionList(generics.ListCreateAPIView):
    """get: **FILTERS**

    -   **subject**: nickname of the subject `/sessions?subject=KS001`
    -   **lab**: name of the lab
    -   **date_range**: first and last day `/sessions?date_range=2021-01-12,2021-01-16`
    -   **dataset_types**: types of datasets that the session must have, with commas between them
    -   **task_protocol** (part of the text)
    -   **django**: any look-up of the database `/sessions?django=number__gte,2`
    """

    # PostgreSQL puts a session without date before all others; SQLite would put it last.
    queryset = (
        Session.objects.select_related("subject", "lab")
        .prefetch_related("projects")
        .order_by(F("start_time").desc(nulls_first=True))
    )
    permission_classes = LOGGED_IN
    filterset_class = SessionFilter

    def get_serializer_class(self) -> Any:
        if self.request and self.request.method == "POST":
            return SessionDetailSerializer
        return SessionListSerializer


class SessionDetail(generics.RetrieveUpdateDestroyAPIView):
    queryset = Session.objects.select_related("subject", "lab", "location")
    serializer_class = SessionDetailSerializer
    permission_classes = LOGGED_IN


class WeighingList(generics.ListCreateAPIView):
    queryset = Weighing.objects.select_related("subject", "user")
    serializer_class = WeighingSerializer
    permission_classes = LOGGED_IN
    filterset_class = WeighingFilter
    pagination_class = UnorderedPages


class WeighingDetail(generics.RetrieveDestroyAPIView):
    queryset = Weighing.objects.all()
    serializer_class = WeighingSerializer
    permission_classes = LOGGED_IN


class WaterAdministrationList(generics.ListCreateAPIView):
    queryset = WaterAdministration.objects.select_related("subject", "user", "water_type")
    serializer_class = WaterAdministrationSerializer
    permission_classes = LOGGED_IN
    filterset_class = WaterAdministrationFilter
    pagination_class = UnorderedPages


class WaterAdministrationDetail(generics.RetrieveUpdateDestroyAPIView):
    queryset = WaterAdministration.objects.all()
    serializer_class = WaterAdministrationSerializer
    permission_classes = LOGGED_IN


class WaterTypeList(generics.ListCreateAPIView):
    """The list of water types, which also answers at the address of each of them."""

    queryset = WaterType.objects.all()
    serializer_class = WaterTypeSerializer
    permission_classes = LOGGED_IN
    lookup_field = "name"


class WaterRestrictionList(generics.ListAPIView):
    queryset = WaterRestriction.objects.select_related("subject", "water_type").order_by(
        F("end_time").desc(nulls_first=True), "-start_time"
    )
    serializer_class = WaterRestrictionSerializer
    permission_classes = LOGGED_IN
    filterset_class = WaterRestrictionFilter


class ProcedureTypeList(generics.ListCreateAPIView):
    queryset = ProcedureType.objects.all()
    serializer_class = ProcedureTypeSerializer
    permission_classes = LOGGED_IN


class SurgeryList(generics.ListAPIView):
    queryset = Surgery.objects.select_related("subject").prefetch_related("users", "procedures").order_by("-start_time")
    serializer_class = SurgerySerializer
    permission_classes = LOGGED_IN
    filterset_class = SurgeryFilter


class SurgeryDetail(generics.RetrieveUpdateAPIView):
    queryset = Surgery.objects.all()
    serializer_class = SurgerySerializer
    permission_classes = LOGGED_IN
