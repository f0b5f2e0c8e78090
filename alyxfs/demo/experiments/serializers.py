"""How insertions, trajectories, channels, regions and fields of view look in answers."""

from typing import Any

from rest_framework import serializers

from alyxfs.demo.actions.models import Session
from alyxfs.demo.common.float_field import FloatOrNan
from alyxfs.demo.common.serializer_fields import ChoiceNameField
from alyxfs.demo.data.embedded import InsertionDatasetSerializer
from alyxfs.demo.misc.models import Lab
from alyxfs.demo.subjects.models import Subject

from .models import (
    BrainRegion,
    Channel,
    ChronicInsertion,
    CoordinateSystem,
    FieldOfView,
    FieldOfViewLocation,
    ImagingStack,
    ImagingType,
    ProbeInsertion,
    ProbeModel,
    TrajectoryEstimate,
)
from .regions import RegionTree


class SessionInfoSerializer(serializers.ModelSerializer):
    """A session in a few words, inside of what was recorded in it."""

    subject = serializers.SlugRelatedField(read_only=True, slug_field="nickname")
    lab = serializers.SlugRelatedField(read_only=True, slug_field="name")
    projects = serializers.SlugRelatedField(read_only=True, slug_field="name", many=True)

    class Meta:
        model = Session
        fields = ("subject", "start_time", "number", "lab", "id", "projects", "task_protocol")


class TrajectorySerializer(serializers.ModelSerializer):
    probe_insertion = serializers.PrimaryKeyRelatedField(
        queryset=ProbeInsertion.objects.all(), required=False, allow_null=True
    )
    x = FloatOrNan(required=True, allow_null=True)
    y = FloatOrNan(required=True, allow_null=True)
    z = FloatOrNan(required=False, allow_null=True)
    depth = FloatOrNan(required=True, allow_null=True)
    theta = FloatOrNan(required=True, allow_null=True)
    phi = FloatOrNan(required=True, allow_null=True)
    roll = FloatOrNan(required=False, allow_null=True)
    provenance = ChoiceNameField(required=True)
    session = SessionInfoSerializer(read_only=True)
    probe_name = serializers.CharField(read_only=True)
    coordinate_system = serializers.SlugRelatedField(
        slug_field="name", queryset=CoordinateSystem.objects.all(), required=False
    )

    class Meta:
        model = TrajectoryEstimate
        fields = "__all__"

    def to_internal_value(self, data: Any) -> Any:
        # What is not sent is set to null, also by a PATCH: these two have to be sent again each time.
        for field in ("chronic_insertion", "probe_insertion"):
            if data.get(field) is None:
                data[field] = None
        return super().to_internal_value(data)


class ChannelSerializer(serializers.ModelSerializer):
    trajectory_estimate = serializers.PrimaryKeyRelatedField(queryset=TrajectoryEstimate.objects.all(), required=False)
    brain_region = serializers.PrimaryKeyRelatedField(queryset=BrainRegion.objects.all(), required=False)

    class Meta:
        model = Channel
        fields = "__all__"


def session_field() -> serializers.PrimaryKeyRelatedField:
    """The session by its UUID."""
    return serializers.PrimaryKeyRelatedField(queryset=Session.objects.all(), required=False)


def model_field() -> serializers.SlugRelatedField:
    """The kind of probe by its number."""
    return serializers.SlugRelatedField(slug_field="probe_model", queryset=ProbeModel.objects.all(), required=False)


class InsertionListSerializer(serializers.ModelSerializer):
    """Rows of the list name their datasets by UUID."""

    session = session_field()
    model = model_field()
    session_info = SessionInfoSerializer(read_only=True, source="session")
    name = serializers.CharField(max_length=255)

    class Meta:
        model = ProbeInsertion
        fields = "__all__"

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        chronic = attrs.get("chronic_insertion")
        if chronic and chronic.serial != attrs.get("serial"):
            raise serializers.ValidationError("serial number of chronic insertion and probe insertion do not match")
        return attrs


class InsertionDetailSerializer(serializers.ModelSerializer):
    """The detail shows its datasets, found anew by the name of their collection."""

    session = session_field()
    model = model_field()
    session_info = SessionInfoSerializer(read_only=True, source="session")
    datasets = serializers.SerializerMethodField()

    class Meta:
        model = ProbeInsertion
        fields = "__all__"

    def get_datasets(self, insertion: Any) -> Any:
        datasets = insertion.session.data_dataset_session_related.filter(collection__icontains=insertion.name)
        return InsertionDatasetSerializer(datasets, many=True, context=self.context).data


class ChronicProbeSerializer(serializers.ModelSerializer):
    model = serializers.SlugRelatedField(read_only=True, slug_field="name")
    session_info = SessionInfoSerializer(read_only=True, source="session")

    class Meta:
        model = ProbeInsertion
        fields = ("id", "name", "model", "serial", "session_info")


class ChronicInsertionSerializer(serializers.ModelSerializer):
    subject = serializers.SlugRelatedField(slug_field="nickname", queryset=Subject.objects.all(), required=False)
    model = model_field()
    lab = serializers.SlugRelatedField(slug_field="name", queryset=Lab.objects.all(), required=False)
    probe_insertion = serializers.SerializerMethodField()

    class Meta:
        model = ChronicInsertion
        fields = ("id", "name", "subject", "lab", "model", "start_time", "serial", "json", "probe_insertion")

    def get_probe_insertion(self, chronic: Any) -> Any:
        insertions = chronic.probe_insertion.select_related("model", "session__subject", "session__lab").order_by(
            "-session__start_time", "name"
        )
        return ChronicProbeSerializer(insertions, many=True, context=self.context).data


class BrainRegionSerializer(serializers.ModelSerializer):
    """Only the description of a region can be written."""

    id = serializers.IntegerField(read_only=True)
    acronym = serializers.CharField(read_only=True)
    name = serializers.CharField(read_only=True)
    parent = serializers.PrimaryKeyRelatedField(read_only=True)
    related_descriptions = serializers.SerializerMethodField()

    class Meta:
        model = BrainRegion
        fields = ("id", "acronym", "name", "description", "parent", "related_descriptions")

    def get_related_descriptions(self, region: Any) -> list[dict[str, Any]]:
        if "regions" not in self.context:
            self.context["regions"] = RegionTree()
        descriptions: list[dict[str, Any]] = self.context["regions"].descriptions(region.pk)
        return descriptions


class LocationDetailSerializer(serializers.ModelSerializer):
    brain_region = serializers.PrimaryKeyRelatedField(queryset=BrainRegion.objects.all(), required=False, many=True)
    coordinate_system = serializers.SlugRelatedField(
        slug_field="name", queryset=CoordinateSystem.objects.all(), default="IBL-Allen"
    )
    provenance = serializers.ChoiceField(choices=["E", "F", "L", "H"])
    x = serializers.ListField()
    y = serializers.ListField()
    z = serializers.ListField()
    n_xyz = serializers.ListField()

    class Meta:
        model = FieldOfViewLocation
        exclude = ("name",)


class LocationListSerializer(LocationDetailSerializer):
    class Meta:
        model = FieldOfViewLocation
        exclude = ("name", "json", "field_of_view")


class FieldOfViewSerializer(serializers.ModelSerializer):
    imaging_type = serializers.SlugRelatedField(slug_field="name", queryset=ImagingType.objects.all(), required=False)
    location = LocationListSerializer(read_only=True, many=True)

    class Meta:
        model = FieldOfView
        fields = "__all__"
        # Newer versions of the framework take an empty name where none is given.
        extra_kwargs = {"name": {"required": True, "default": serializers.empty}}


class StackDetailSerializer(serializers.ModelSerializer):
    slices = FieldOfViewSerializer(read_only=True, many=True)
    name = serializers.CharField()

    class Meta:
        model = ImagingStack
        fields = "__all__"


class StackListSerializer(StackDetailSerializer):
    name = None

    class Meta:
        model = ImagingStack
        exclude = ("json", "name")
