"""Datasets, files and the words that describe them."""

from typing import Any

from django.db.models import ProtectedError
from django.urls import path
from rest_framework import generics
from rest_framework.response import Response

from alyxfs.demo.common.endpoints import endpoint
from alyxfs.demo.common.pages import UnorderedPages

from . import cache_tables, filters, serializers, services
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

DATASETS = Dataset.objects.select_related("created_by", "dataset_type", "data_format", "session", "revision")


class ProtectedDetail(generics.RetrieveUpdateDestroyAPIView):
    # No docstring here and elsewhere: the schema would show it as the endpoint's description.
    def delete(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        try:
            return super().delete(request, *args, **kwargs)
        except ProtectedError as error:
            return Response({"status_code": 403, "detail": error.args[0]}, status=403)


urlpatterns = [
    *endpoint("data-formats", serializers.DataFormatSerializer, DataFormat.objects.all(), by="str:name"),
    *endpoint(
        "data-repository-type",
        serializers.DataRepositoryTypeSerializer,
        DataRepositoryType.objects.all(),
        by="str:name",
    ),
    *endpoint(
        "data-repository",
        serializers.DataRepositorySerializer,
        DataRepository.objects.select_related("repository_type"),
        by="str:name",
        filterset_fields=("name", "globus_is_personal", "globus_endpoint_id"),
    ),
    *endpoint(
        "revisions", serializers.RevisionSerializer, Revision.objects.all(), by="str:name", filterset_fields=("name",)
    ),
    *endpoint("tags", serializers.TagSerializer, Tag.objects.all(), by="str:name", filterset_fields=("name",)),
    *endpoint(
        "data-notices",
        serializers.DataNoticeSerializer,
        DataNotice.objects.select_related("created_by").prefetch_related("datasets"),
        filterset_class=filters.DataNoticeFilter,
    ),
    *endpoint(
        "datasets",
        serializers.DatasetSerializer,
        DATASETS.prefetch_related("file_records__data_repository", "tags").order_by("pk"),
        one=DATASETS.prefetch_related("file_records__data_repository"),
        row_serializer=serializers.DatasetRowSerializer,
        new_serializer=serializers.DatasetSerializer,
        single=ProtectedDetail,
        filterset_class=filters.DatasetFilter,
    ),
    *endpoint(
        "dataset-types",
        serializers.DatasetTypeSerializer,
        DatasetType.objects.select_related("created_by"),
        by="str:name",
    ),
    *endpoint(
        "downloads",
        serializers.DownloadSerializer,
        Download.objects.select_related("user"),
        many=generics.ListAPIView,
        single=generics.RetrieveUpdateAPIView,
        filterset_class=filters.DownloadFilter,
    ),
    *endpoint(
        "files",
        serializers.FileRecordSerializer,
        FileRecord.objects.select_related("data_repository"),
        one=FileRecord.objects.select_related("data_repository"),
        filterset_class=filters.FileRecordFilter,
        pagination_class=UnorderedPages,
    ),
    path("new-download", services.NewDownload.as_view({"post": "create"}), name="new-download"),
    path("register-file", services.RegisterFile.as_view({"post": "create"}), name="register-file"),
    path(
        "sync-file-status",
        services.SyncFileStatus.as_view({"post": "sync", "get": "sync_status"}),
        name="sync-file-status",
    ),
    path("check-protected", services.CheckProtected.as_view({"get": "list"}), name="check-protected"),
    *cache_tables.urlpatterns,
]
