"""Addresses of datasets, files and the words that describe them."""

from django.urls import path

from . import cache_tables, services, views

urlpatterns = [
    path("data-formats", views.DataFormatList.as_view(), name="dataformat-list"),
    path("data-formats/<str:name>", views.DataFormatDetail.as_view(), name="dataformat-detail"),
    path("data-repository-type", views.DataRepositoryTypeList.as_view(), name="datarepositorytype-list"),
    path(
        "data-repository-type/<str:name>",
        views.DataRepositoryTypeDetail.as_view(),
        name="datarepositorytype-detail",
    ),
    path("data-repository", views.DataRepositoryList.as_view(), name="datarepository-list"),
    path("data-repository/<str:name>", views.DataRepositoryDetail.as_view(), name="datarepository-detail"),
    path("revisions", views.RevisionList.as_view(), name="revision-list"),
    path("revisions/<str:name>", views.RevisionDetail.as_view(), name="revision-detail"),
    path("tags", views.TagList.as_view(), name="tag-list"),
    path("tags/<str:name>", views.TagDetail.as_view(), name="tag-detail"),
    path("data-notices", views.DataNoticeList.as_view(), name="datanotice-list"),
    path("data-notices/<uuid:pk>", views.DataNoticeDetail.as_view(), name="datanotice-detail"),
    path("datasets", views.DatasetList.as_view(), name="dataset-list"),
    path("datasets/<uuid:pk>", views.DatasetDetail.as_view(), name="dataset-detail"),
    path("dataset-types", views.DatasetTypeList.as_view(), name="datasettype-list"),
    path("dataset-types/<str:name>", views.DatasetTypeDetail.as_view(), name="datasettype-detail"),
    path("downloads", views.DownloadList.as_view(), name="download-list"),
    path("downloads/<uuid:pk>", views.DownloadDetail.as_view(), name="download-detail"),
    path("files", views.FileRecordList.as_view(), name="filerecord-list"),
    path("files/<uuid:pk>", views.FileRecordDetail.as_view(), name="filerecord-detail"),
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
