"""How datasets, files and the words that describe them look in answers."""

import html
from typing import Any

from rest_framework import serializers

from alyxfs.demo.actions.models import Session
from alyxfs.demo.common.addresses import DataAddressField
from alyxfs.demo.common.serializer_fields import ChoiceNameField
from alyxfs.demo.misc.models import LabMember
from alyxfs.demo.subjects.models import Subject

from .models import (
    DataFormat,
    DataNotice,
    DataRepository,
    DataRepositoryType,
    Dataset,
    DatasetType,
    Download,
    FileRecord,
    Revision,
    Tag,
)
from .registration import find_session, unset_default


class DataRepositoryTypeSerializer(serializers.HyperlinkedModelSerializer):
    class Meta:
        model = DataRepositoryType
        fields = ("url", "json", "name")
        extra_kwargs = {"url": {"view_name": "datarepositorytype-detail", "lookup_field": "name"}}


class DataRepositorySerializer(serializers.ModelSerializer):
    repository_type = serializers.SlugRelatedField(
        slug_field="name", queryset=DataRepositoryType.objects.all(), allow_null=True, required=False
    )
    data_url = DataAddressField(allow_null=True, required=False)

    class Meta:
        model = DataRepository
        fields = (
            "name",
            "timezone",
            "globus_path",
            "hostname",
            "data_url",
            "repository_type",
            "globus_endpoint_id",
            "globus_is_personal",
            "json",
        )


class DataFormatSerializer(serializers.ModelSerializer):
    class Meta:
        model = DataFormat
        fields = "__all__"


class DatasetTypeSerializer(serializers.ModelSerializer):
    created_by = serializers.SlugRelatedField(
        slug_field="username",
        queryset=LabMember.objects.all(),
        allow_null=True,
        required=False,
        default=serializers.CurrentUserDefault(),
    )

    class Meta:
        model = DatasetType
        fields = ("id", "name", "created_by", "description", "filename_pattern")


class RevisionSerializer(serializers.ModelSerializer):
    class Meta:
        model = Revision
        fields = "__all__"


class TagSerializer(serializers.ModelSerializer):
    class Meta:
        model = Tag
        fields = "__all__"


class FileRecordSerializer(serializers.HyperlinkedModelSerializer):
    dataset = serializers.HyperlinkedRelatedField(view_name="dataset-detail", queryset=Dataset.objects.all())
    data_repository = serializers.SlugRelatedField(slug_field="name", queryset=DataRepository.objects.all())

    class Meta:
        model = FileRecord
        fields = "__all__"


class DatasetFileSerializer(serializers.ModelSerializer):
    """A file record inside of its dataset."""

    data_repository = serializers.SlugRelatedField(slug_field="name", read_only=True)
    data_repository_path = serializers.CharField(source="data_repository.globus_path", read_only=True)
    data_url = DataAddressField(read_only=True)

    class Meta:
        model = FileRecord
        fields = ("id", "data_repository", "data_repository_path", "relative_path", "data_url", "exists")


class DatasetSerializer(serializers.HyperlinkedModelSerializer):
    created_by = serializers.SlugRelatedField(
        slug_field="username", queryset=LabMember.objects.all(), default=serializers.CurrentUserDefault()
    )
    dataset_type = serializers.SlugRelatedField(slug_field="name", queryset=DatasetType.objects.all())
    data_format = serializers.SlugRelatedField(slug_field="name", queryset=DataFormat.objects.all(), required=False)
    # Answers show "" where there is no revision, and "" is refused when it is sent back.
    revision = serializers.SlugRelatedField(slug_field="name", queryset=Revision.objects.all(), required=False)
    session = serializers.HyperlinkedRelatedField(
        view_name="session-detail", queryset=Session.objects.all(), required=False
    )
    tags = serializers.SlugRelatedField(slug_field="name", queryset=Tag.objects.all(), required=False, many=True)
    hash = serializers.CharField(required=False, allow_null=True)
    version = serializers.CharField(required=False, allow_null=True)
    file_size = serializers.IntegerField(required=False, allow_null=True)
    collection = serializers.CharField(required=False, allow_blank=True, allow_null=True)
    default_dataset = serializers.BooleanField(required=False, allow_null=True)
    # Rows of the list have these two, the detail has not.
    public = serializers.ReadOnlyField()
    protected = serializers.ReadOnlyField()
    qc = ChoiceNameField(required=False)
    file_records = DatasetFileSerializer(read_only=True, many=True)
    experiment_number = serializers.SerializerMethodField()
    # Instead of the session these three can be sent.
    subject = serializers.SlugRelatedField(
        slug_field="nickname", queryset=Subject.objects.all(), write_only=True, required=False
    )
    date = serializers.DateField(required=False)
    number = serializers.IntegerField(required=False)

    class Meta:
        model = Dataset
        fields = (
            "url",
            "name",
            "created_by",
            "created_datetime",
            "dataset_type",
            "data_format",
            "collection",
            "session",
            "file_size",
            "hash",
            "version",
            "experiment_number",
            "file_records",
            "subject",
            "date",
            "number",
            "auto_datetime",
            "revision",
            "default_dataset",
            "protected",
            "public",
            "tags",
            "qc",
            "json",
        )

    def get_experiment_number(self, dataset: Any) -> int | None:
        return dataset.session.number if dataset.session else None

    def create(self, validated_data: dict[str, Any]) -> Any:
        subject, date = validated_data.pop("subject", None), validated_data.pop("date", None)
        number = validated_data.pop("number", None)
        if not validated_data.get("session") and subject and date:
            validated_data["session"] = find_session(subject, date, number, validated_data.get("created_by"))
        if validated_data.get("session") and validated_data.get("default_dataset") is not False:
            collection = validated_data.get("collection", "")
            unset_default(validated_data["session"], collection, validated_data["name"])
            validated_data["default_dataset"] = True
        return super().create(validated_data)

    def to_representation(self, instance: Any) -> Any:
        answer = super().to_representation(instance)
        answer["revision"] = answer["revision"] or ""
        return answer


class DatasetRowSerializer(DatasetSerializer):
    """A row of the list, which counts tags that make a dataset public or protected."""

    public = serializers.SerializerMethodField()
    protected = serializers.SerializerMethodField()

    def get_public(self, dataset: Any) -> int:
        return sum(tag.public for tag in dataset.tags.all())

    def get_protected(self, dataset: Any) -> int:
        return sum(tag.protected for tag in dataset.tags.all())


class DownloadSerializer(serializers.ModelSerializer):
    dataset = serializers.PrimaryKeyRelatedField(read_only=True)
    user = serializers.SlugRelatedField(slug_field="username", queryset=LabMember.objects.all())

    class Meta:
        model = Download
        fields = ("id", "user", "dataset", "count", "json")


class DataNoticeSerializer(serializers.ModelSerializer):
    created_by = serializers.SlugRelatedField(
        slug_field="username", queryset=LabMember.objects.all(), required=False, allow_null=True
    )
    datasets = serializers.PrimaryKeyRelatedField(many=True, queryset=Dataset.objects.all(), required=False)
    description_html = serializers.SerializerMethodField()

    class Meta:
        model = DataNotice
        fields = "__all__"

    def get_description_html(self, notice: Any) -> str:
        """The description as HTML; Alyx renders Markdown here, the demo knows paragraphs only."""
        paragraphs = [html.escape(part.strip()) for part in notice.description.split("\n\n")]
        return "\n".join(f"<p>{part}</p>" for part in paragraphs if part)
