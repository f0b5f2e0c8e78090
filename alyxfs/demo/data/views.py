"""Datasets, files and the words that describe them."""

from typing import Any

from django.db.models import ProtectedError
from rest_framework import generics
from rest_framework.response import Response

from alyxfs.demo.common.pages import UnorderedPages
from alyxfs.demo.common.permission import LOGGED_IN

from . import serializers
from .filters import DataNoticeFilter, DatasetFilter, DownloadFilter, FileRecordFilter
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


class NamedDetail(generics.RetrieveUpdateDestroyAPIView):
    """A record that is looked up by its name."""

    permission_classes = LOGGED_IN
    lookup_field = "name"


class DataRepositoryTypeList(generics.ListCreateAPIView):
    queryset = DataRepositoryType.objects.all()
    serializer_class = serializers.DataRepositoryTypeSerializer
    permission_classes = LOGGED_IN


class DataRepositoryTypeDetail(NamedDetail):
    queryset = DataRepositoryType.objects.all()
    serializer_class = serializers.DataRepositoryTypeSerializer


class DataRepositoryList(generics.ListCreateAPIView):
    queryset = DataRepository.objects.select_related("repository_type")
    serializer_class = serializers.DataRepositorySerializer
    permission_classes = LOGGED_IN
    filterset_fields = ("name", "globus_is_personal", "globus_endpoint_id")


class DataRepositoryDetail(NamedDetail):
    queryset = DataRepository.objects.all()
    serializer_class = serializers.DataRepositorySerializer


class DataFormatList(generics.ListCreateAPIView):
    queryset = DataFormat.objects.all()
    serializer_class = serializers.DataFormatSerializer
    permission_classes = LOGGED_IN


class DataFormatDetail(NamedDetail):
    queryset = DataFormat.objects.all()
    serializer_class = serializers.DataFormatSerializer


class DatasetTypeList(generics.ListCreateAPIView):
    queryset = DatasetType.objects.select_related("created_by")
    serializer_class = serializers.DatasetTypeSerializer
    permission_classes = LOGGED_IN


class DatasetTypeDetail(NamedDetail):
    queryset = DatasetType.objects.all()
    serializer_class = serializers.DatasetTypeSerializer


class RevisionList(generics.ListCreateAPIView):
    queryset = Revision.objects.all()
    serializer_class = serializers.RevisionSerializer
    permission_classes = LOGGED_IN
    filterset_fields = ("name",)


class RevisionDetail(NamedDetail):
    queryset = Revision.objects.all()
    serializer_class = serializers.RevisionSerializer


class TagList(generics.ListCreateAPIView):
    queryset = Tag.objects.all()
    serializer_class = serializers.TagSerializer
    permission_classes = LOGGED_IN
    filterset_fields = ("name",)


class TagDetail(NamedDetail):
    queryset = Tag.objects.all()
    serializer_class = serializers.TagSerializer


class DatasetList(generics.ListCreateAPIView):
    queryset = (
        Dataset.objects.select_related("created_by", "dataset_type", "data_format", "session", "revision")
        .prefetch_related("file_records__data_repository", "tags")
        .order_by("pk")
    )
    permission_classes = LOGGED_IN
    filterset_class = DatasetFilter

    def get_serializer_class(self) -> Any:
        if self.request and self.request.method == "POST":
            return serializers.DatasetSerializer
        return serializers.DatasetRowSerializer


class DatasetDetail(generics.RetrieveUpdateDestroyAPIView):
    queryset = Dataset.objects.select_related(
        "created_by", "dataset_type", "data_format", "session", "revision"
    ).prefetch_related("file_records__data_repository")
    serializer_class = serializers.DatasetSerializer
    permission_classes = LOGGED_IN

    def delete(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        try:
            return super().delete(request, *args, **kwargs)
        except ProtectedError as error:
            return Response({"status_code": 403, "detail": error.args[0]}, status=403)


class FileRecordList(generics.ListCreateAPIView):
    queryset = FileRecord.objects.select_related("data_repository")
    serializer_class = serializers.FileRecordSerializer
    permission_classes = LOGGED_IN
    filterset_class = FileRecordFilter
    pagination_class = UnorderedPages


class FileRecordDetail(generics.RetrieveUpdateDestroyAPIView):
    queryset = FileRecord.objects.select_related("data_repository")
    serializer_class = serializers.FileRecordSerializer
    permission_classes = LOGGED_IN


class DownloadList(generics.ListAPIView):
    queryset = Download.objects.select_related("user")
    serializer_class = serializers.DownloadSerializer
    permission_classes = LOGGED_IN
    filterset_class = DownloadFilter


class DownloadDetail(generics.RetrieveUpdateAPIView):
    queryset = Download.objects.all()
    serializer_class = serializers.DownloadSerializer
    permission_classes = LOGGED_IN


class DataNoticeList(generics.ListCreateAPIView):
    queryset = DataNotice.objects.select_related("created_by").prefetch_related("datasets")
    serializer_class = serializers.DataNoticeSerializer
    permission_classes = LOGGED_IN
    filterset_class = DataNoticeFilter


class DataNoticeDetail(generics.RetrieveUpdateDestroyAPIView):
    queryset = DataNotice.objects.all()
    serializer_class = serializers.DataNoticeSerializer
    permission_classes = LOGGED_IN
