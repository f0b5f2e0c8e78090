"""How sessions, weighings, water and surgeries look in answers."""

from typing import Any

from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.models import ContentType
from rest_framework import serializers

from alyxfs.demo.common.serializer_fields import ChoiceNameField
from alyxfs.demo.data.embedded import SessionDatasetSerializer
from alyxfs.demo.experiments.serializers import FieldOfViewSerializer, InsertionListSerializer
from alyxfs.demo.misc.models import Lab, LabLocation, LabMember
from alyxfs.demo.misc.serializers import NoteSerializer
from alyxfs.demo.subjects.models import Project, Subject

from .models import (
    ProcedureType,
    Session,
    Surgery,
    WaterAdministration,
    WaterRestriction,
    WaterType,
    Weighing,
)


def subject_field() -> serializers.SlugRelatedField:
    """The subject by nickname; a nickname that two subjects have is a 500."""
    return serializers.SlugRelatedField(slug_field="nickname", queryset=Subject.objects.all())


def current_user_field() -> serializers.SlugRelatedField:
    """A user by name, by default whoever asks."""
    return serializers.SlugRelatedField(
        slug_field="username",
        queryset=LabMember.objects.all(),
        required=False,
        default=serializers.CurrentUserDefault(),
    )


class ActionSerializer(serializers.HyperlinkedModelSerializer):
    subject = subject_field()
    users = serializers.SlugRelatedField(
        slug_field="username", queryset=LabMember.objects.all(), many=True, required=False
    )
    location = serializers.SlugRelatedField(
        slug_field="name", queryset=LabLocation.objects.all(), allow_null=True, required=False
    )
    procedures = serializers.SlugRelatedField(
        slug_field="name", queryset=ProcedureType.objects.all(), many=True, allow_null=True, required=False
    )
    # Null can be read but not written: a detail without lab cannot be sent back whole.
    lab = serializers.SlugRelatedField(slug_field="name", queryset=Lab.objects.all(), required=False)

    def create(self, validated_data: dict[str, Any]) -> Any:
        if not validated_data.get("users"):
            validated_data["users"] = [self.context["request"].user]
        return super().create(validated_data)


class SessionListSerializer(ActionSerializer):
    projects = serializers.SlugRelatedField(slug_field="name", queryset=Project.objects.all(), many=True)

    class Meta:
        model = Session
        fields = ("id", "subject", "start_time", "number", "lab", "projects", "url", "task_protocol")


class SessionWaterSerializer(serializers.ModelSerializer):
    water_type = serializers.SlugRelatedField(slug_field="name", read_only=True)

    class Meta:
        model = WaterAdministration
        fields = ("id", "name", "water_type", "water_administered")


class SessionDetailSerializer(ActionSerializer):
    data_dataset_session_related = SessionDatasetSerializer(read_only=True, many=True)
    wateradmin_session_related = SessionWaterSerializer(read_only=True, many=True)
    probe_insertion = InsertionListSerializer(read_only=True, many=True)
    field_of_view = FieldOfViewSerializer(read_only=True, many=True)
    projects = serializers.SlugRelatedField(
        slug_field="name", many=True, queryset=Project.objects.all(), required=False
    )
    notes = NoteSerializer(read_only=True, many=True)
    qc = ChoiceNameField(required=False)

    class Meta:
        model = Session
        fields = (
            "subject",
            "users",
            "location",
            "procedures",
            "lab",
            "projects",
            "type",
            "task_protocol",
            "number",
            "start_time",
            "end_time",
            "narrative",
            "parent_session",
            "n_correct_trials",
            "n_trials",
            "url",
            "extended_qc",
            "qc",
            "wateradmin_session_related",
            "data_dataset_session_related",
            "auto_datetime",
            "id",
            "json",
            "probe_insertion",
            "field_of_view",
            "notes",
        )


class NotedSerializer(serializers.HyperlinkedModelSerializer):
    """A new record is noted in the log of the admin pages."""

    def create(self, validated_data: dict[str, Any]) -> Any:
        made = super().create(validated_data)
        LogEntry.objects.create(
            user=self.context["request"].user,
            content_type=ContentType.objects.get_for_model(made),
            object_id=str(made.pk),
            object_repr=str(made),
            action_flag=ADDITION,
            change_message='[{"added": {}}]',
        )
        return made


class WeighingSerializer(NotedSerializer):
    subject = subject_field()
    user = current_user_field()

    class Meta:
        model = Weighing
        fields = ("subject", "date_time", "weight", "user", "url")


class ProcedureTypeSerializer(serializers.ModelSerializer):
    class Meta:
        model = ProcedureType
        fields = "__all__"


class WaterTypeSerializer(serializers.HyperlinkedModelSerializer):
    class Meta:
        model = WaterType
        fields = "__all__"
        extra_kwargs = {"url": {"view_name": "watertype-detail", "lookup_field": "name"}}


class WaterRestrictionSerializer(serializers.ModelSerializer):
    subject = serializers.SlugRelatedField(read_only=True, slug_field="nickname")
    water_type = serializers.SlugRelatedField(read_only=True, slug_field="name")

    class Meta:
        model = WaterRestriction
        fields = ("subject", "start_time", "end_time", "water_type", "reference_weight")


class WaterAdministrationSerializer(NotedSerializer):
    subject = subject_field()
    user = current_user_field()
    water_type = serializers.SlugRelatedField(slug_field="name", queryset=WaterType.objects.all(), required=False)
    session = serializers.PrimaryKeyRelatedField(queryset=Session.objects.all(), required=False)

    class Meta:
        model = WaterAdministration
        fields = (
            "subject",
            "date_time",
            "water_administered",
            "water_type",
            "user",
            "url",
            "session",
            "adlib",
        )


class SurgerySerializer(serializers.ModelSerializer):
    subject = subject_field()

    class Meta:
        model = Surgery
        fields = "__all__"
