"""Insertions, trajectories, channels, regions and fields of view."""

from typing import Any

from django.db.models import F, Prefetch
from rest_framework import generics

from alyxfs.demo.common.endpoints import endpoint
from alyxfs.demo.common.pages import UnorderedPages
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
WITH_LOCATION = ("datasets", "location__brain_region", "location__coordinate_system")


class ChannelList(generics.ListCreateAPIView):
    """Channels are also made many at a time, by posting a list."""

    def get_serializer(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(kwargs.get("data"), list):
            kwargs["many"] = True
        return super().get_serializer(*args, **kwargs)


urlpatterns = [
    *endpoint(
        "insertions",
        serializers.InsertionDetailSerializer,
        ProbeInsertion.objects.select_related(*WITH_SESSION)
        .prefetch_related("session__projects", Prefetch("datasets", Dataset.objects.only("id")))
        .order_by(F("session__start_time").desc(nulls_first=True), "name"),
        one=ProbeInsertion.objects.select_related(*WITH_SESSION).prefetch_related("session__projects"),
        row_serializer=serializers.InsertionListSerializer,
        filterset_class=filters.InsertionFilter,
    ),
    *endpoint(
        "trajectories",
        serializers.TrajectorySerializer,
        TrajectoryEstimate.objects.select_related(
            "coordinate_system",
            "chronic_insertion",
            "probe_insertion__session__subject",
            "probe_insertion__session__lab",
        ).prefetch_related("probe_insertion__session__projects"),
        filterset_class=filters.TrajectoryFilter,
    ),
    *endpoint(
        "channels",
        serializers.ChannelSerializer,
        Channel.objects.all(),
        many=ChannelList,
        filterset_class=filters.ChannelFilter,
        pagination_class=UnorderedPages,
    ),
    *endpoint(
        "brain-regions",
        serializers.BrainRegionSerializer,
        BrainRegion.objects.all(),
        by="int:pk",
        many=generics.ListAPIView,
        single=generics.RetrieveUpdateAPIView,
        filterset_class=filters.BrainRegionFilter,
    ),
    *endpoint(
        "chronic-insertions",
        serializers.ChronicInsertionSerializer,
        ChronicInsertion.objects.select_related("model", "subject", "lab"),
        filterset_class=filters.ChronicInsertionFilter,
    ),
    *endpoint(
        "fields-of-view",
        serializers.FieldOfViewSerializer,
        FieldOfView.objects.select_related("imaging_type")
        .prefetch_related(*WITH_LOCATION)
        .order_by("-session__start_time", "name"),
        filterset_class=filters.FieldOfViewFilter,
    ),
    *endpoint(
        "fov-location",
        serializers.LocationDetailSerializer,
        FieldOfViewLocation.objects.select_related("coordinate_system").prefetch_related("brain_region"),
        row_serializer=serializers.LocationListSerializer,
        new_serializer=serializers.LocationDetailSerializer,
        filterset_class=filters.LocationFilter,
    ),
    *endpoint(
        "imaging-stack",
        serializers.StackDetailSerializer,
        # Ordering by the slices repeats a stack for each of them, while the count counts stacks.
        ImagingStack.objects.prefetch_related(*(f"slices__{each}" for each in WITH_LOCATION)).order_by("slices__name"),
        row_serializer=serializers.StackListSerializer,
        new_serializer=serializers.StackDetailSerializer,
        single=generics.RetrieveAPIView,
        filterset_class=filters.StackFilter,
    ),
]
