"""How labs, users, places and notes look in answers."""

from typing import Any

from django.contrib.contenttypes.models import ContentType
from rest_framework import serializers

from alyxfs.demo.common.serializer_fields import ContentTypeField
from alyxfs.demo.data.models import DataRepository
from alyxfs.demo.subjects.models import Subject

from .models import Lab, LabLocation, LabMember, Note

NOTE_AREAS = ["actions", "data", "experiments", "jobs", "subjects"]


class NoteSerializer(serializers.ModelSerializer):
    user = serializers.SlugRelatedField(slug_field="username", queryset=LabMember.objects.all())
    content_type = ContentTypeField(slug_field="model", queryset=ContentType.objects.filter(app_label__in=NOTE_AREAS))
    image = serializers.ImageField(use_url=True, required=False)

    class Meta:
        model = Note
        fields = ("id", "user", "date_time", "content_type", "object_id", "text", "image", "json")

    def save(self, **kwargs: Any) -> Any:
        # A PATCH without these two fields is a KeyError, hence a 500; so is a record that does not exist.
        kind = self.validated_data["content_type"]
        kind.model_class().objects.get(id=self.validated_data["object_id"])
        return super().save(**kwargs)

    def create(self, validated_data: dict[str, Any]) -> Note:
        note: Note = Note.objects.create(**validated_data)
        note.save(image_width=self.context["request"].data.get("width"))
        return note


class UserSerializer(serializers.ModelSerializer):
    subjects_responsible = serializers.SlugRelatedField(
        many=True, queryset=Subject.objects.all(), slug_field="nickname"
    )
    allowed_users = serializers.SlugRelatedField(many=True, queryset=LabMember.objects.all(), slug_field="username")

    class Meta:
        model = LabMember
        fields = (
            "id",
            "username",
            "email",
            "subjects_responsible",
            "lab",
            "allowed_users",
            "is_stock_manager",
        )


class LabSerializer(serializers.ModelSerializer):
    repositories = serializers.SlugRelatedField(
        slug_field="name", queryset=DataRepository.objects.all(), many=True, required=False
    )

    class Meta:
        model = Lab
        fields = (
            "name",
            "institution",
            "address",
            "timezone",
            "repositories",
            "reference_weight_pct",
            "zscore_weight_pct",
            "json",
        )


class LabLocationSerializer(serializers.ModelSerializer):
    lab = serializers.SlugRelatedField(slug_field="name", queryset=Lab.objects.all(), required=False)

    class Meta:
        model = LabLocation
        fields = ("name", "lab", "json")
