"""Insertions, trajectories, channels, regions and fields of view."""

from typing import Any

from django.db.models import F, Prefetch
from rest_framework import generics

from alyxfs.demo.common.pages import UnorderedPages
from alyxfs.demo.common.permission import LOGGED_IN
from alyxfs.demo.data.models import Dataset

from . import filters, serializers
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

WITH_SESSION = ("model", "session__subject", "session__lab")


class InsertionList(generics.ListCreateAPIView):
    queryset = (
        ProbeInsertion.objects.select_related(*WITH_SESSION)
        .prefetch_related("session__projects", Prefetch("datasets", Dataset.objects.only("id")))
        .order_by(F("session__start_time").desc(nulls_first=True), "name")
    )
    serializer_class = serializers.InsertionListSerializer
    permission_classes = LOGGED_IN
    filterset_class = filters.InsertionFilter


class InsertionDetail(generics.RetrieveUpdateDestroyAPIView):
    queryset = ProbeInsertion.objects.select_related(*WITH_SESSION).prefetch_related("session__projects")
    serializer_class = serializers.InsertionDetailSerializer
    permission_classes = LOGGED_IN


class ChronicInsertionList(generics.ListCreateAPIView):
    queryset = ChronicInsertion.objects.select_related("model", "subject", "lab")
    serializer_class = serializers.ChronicInsertionSerializer
    permission_classes = LOGGED_IN
    filterset_class = filters.ChronicInsertionFilter


class ChronicInsertionDetail(generics.RetrieveUpdateDestroyAPIView):
    queryset = ChronicInsertion.objects.all()
    serializer_class = serializers.ChronicInsertionSerializer
    permission_classes = LOGGED_IN


class TrajectoryList(generics.ListCreateAPIView):
    queryset = TrajectoryEstimate.objects.select_related(
        "coordinate_system",
        "chronic_insertion",
        "probe_insertion__session__subject",
        "probe_insertion__session__lab",
    ).prefetch_related("probe_insertion__session__projects")
    serializer_class = serializers.TrajectorySerializer
    permission_classes = LOGGED_IN
    filterset_class = filters.TrajectoryFilter


class TrajectoryDetail(generics.RetrieveUpdateDestroyAPIView):
    queryset = TrajectoryEstimate.objects.all()
    serializer_class = serializers.TrajectorySerializer
    permission_classes = LOGGED_IN


class ChannelList(generics.ListCreateAPIView):
    """Channels are also made many at a time, by posting a list."""

    queryset = Channel.objects.all()
    serializer_class = serializers.ChannelSerializer
    permission_classes = LOGGED_IN
    filterset_class = filters.ChannelFilter
    pagination_class = UnorderedPages

    def get_serializer(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(kwargs.get("data"), list):
            kwargs["many"] = True
        return super().get_serializer(*args, **kwargs)


class ChannelDetail(generics.RetrieveUpdateDestroyAPIView):
    queryset = Channel.objects.all()
    serializer_class = serializers.ChannelSerializer
    permission_classes = LOGGED_IN


class BrainRegionList(generics.ListAPIView):
    queryset = BrainRegion.objects.all()
    serializer_class = serializers.BrainRegionSerializer
    permission_classes = LOGGED_IN
    filterset_class = filters.BrainRegionFilter


class BrainRegionDetail(generics.RetrieveUpdateAPIView):
    queryset = BrainRegion.objects.all()
    serializer_class = serializers.BrainRegionSerializer
    permission_classes = LOGGED_IN


WITH_LOCATION = ("datasets", "location__brain_region", "location__coordinate_system")


class FieldOfViewList(generics.ListCreateAPIView):
    queryset = (
        FieldOfView.objects.select_related("imaging_type")
        .prefetch_related(*WITH_LOCATION)
        .order_by("-session__start_time", "name")
    )
    serializer_class = serializers.FieldOfViewSerializer
    permission_classes = LOGGED_IN
    filterset_class = filters.FieldOfViewFilter


class FieldOfViewDetail(generics.RetrieveUpdateDestroyAPIView):
    queryset = FieldOfView.objects.all()
    serializer_class = serializers.FieldOfViewSerializer
    permission_classes = LOGGED_IN


class LocationList(generics.ListCreateAPIView):
    queryset = FieldOfViewLocation.objects.select_related("coordinate_system").prefetch_related("brain_region")
    permission_classes = LOGGED_IN
    filterset_class = filters.LocationFilter

    def get_serializer_class(self) -> Any:
        if self.request and self.request.method == "POST":
            return serializers.LocationDetailSerializer
        return serializers.LocationListSerializer


class LocationDetail(generics.RetrieveUpdateDestroyAPIView):
    queryset = FieldOfViewLocation.objects.all()
    serializer_class = serializers.LocationDetailSerializer
    permission_classes = LOGGED_IN


class StackList(generics.ListCreateAPIView):
    # Ordering by the slices repeats a stack for each of them, while the count counts stacks.
    queryset = ImagingStack.objects.prefetch_related(*(f"slices__{each}" for each in WITH_LOCATION)).order_by(
        "slices__name"
    )
    permission_classes = LOGGED_IN
    filterset_class = filters.StackFilter

    def get_serializer_class(self) -> Any:
        if self.request and self.request.method == "POST":
            return serializers.StackDetailSerializer
        return serializers.StackListSerializer


class StackDetail(generics.RetrieveAPIView):
    queryset = ImagingStack.objects.all()
    serializer_class = serializers.StackDetailSerializer
    permission_classes = LOGGED_IN
