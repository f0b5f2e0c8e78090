"""Datasets as they appear inside of a session or an insertion."""

from typing import Any

from rest_framework import serializers

from alyxfs.demo.common.addresses import DataAddressField
from alyxfs.demo.common.serializer_fields import ChoiceNameField

from .models import DataRepository, Dataset


class OnlyOnServer(serializers.ListSerializer):
    """Leaves out the datasets that have no existing file on a server."""

    def to_representation(self, data: Any) -> Any:
        datasets = data.all().select_related("dataset_type").prefetch_related("file_records__data_repository")
        if datasets and DataRepository.objects.filter(globus_is_personal=False).exists():
            datasets = [each for each in datasets if is_on_server(each)]
        return super().to_representation(datasets)


def is_on_server(dataset: Dataset) -> bool:
    """Whether one of its files exists outside of personal computers."""
    return any(record.exists and not record.data_repository.globus_is_personal for record in dataset.file_records.all())


class InsertionDatasetSerializer(serializers.ModelSerializer):
    dataset_type = serializers.SlugRelatedField(slug_field="name", read_only=True)
    data_url = DataAddressField(read_only=True)

    class Meta:
        list_serializer_class = OnlyOnServer
        model = Dataset
        fields = (
            "id",
            "name",
            "dataset_type",
            "data_url",
            "url",
            "file_size",
            "hash",
            "version",
            "collection",
            "qc",
        )


class SessionDatasetSerializer(serializers.ModelSerializer):
    """Here the revision is a UUID, and whether it is the default one is told in words."""

    dataset_type = serializers.SlugRelatedField(slug_field="name", read_only=True)
    data_url = DataAddressField(read_only=True)
    default_revision = serializers.CharField(source="default_dataset")
    qc = ChoiceNameField(required=False)

    class Meta:
        list_serializer_class = OnlyOnServer
        model = Dataset
        fields = (
            "id",
            "name",
            "dataset_type",
            "data_url",
            "url",
            "file_size",
            "hash",
            "version",
            "collection",
            "revision",
            "default_revision",
            "qc",
        )

    def to_representation(self, instance: Any) -> Any:
        answer = super().to_representation(instance)
        answer["revision"] = answer["revision"] or ""
        return answer
