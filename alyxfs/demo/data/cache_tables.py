"""The tables that ONE downloads instead of asking: `/cache.zip` and `/cache/info/`.

They are made when the demo is built, so they do not know what was changed since.
"""

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import FileResponse, HttpResponseNotFound, JsonResponse
from django.urls import path, re_path
from rest_framework.views import APIView

from alyxfs.demo.common.addresses import served_address
from alyxfs.demo.common.permission import LOGGED_IN

from .models import Tag


class CacheInfo(APIView):
    """Tells when the tables were made and how large they are."""

    permission_classes = LOGGED_IN

    def get(self, request: Any, tag: str | None = None) -> Any:
        try:
            if tag:
                Tag.objects.get(name=tag)
        except Tag.DoesNotExist as error:
            return HttpResponseNotFound(str(error))
        info = json.loads(Path(settings.DEMO_TABLES, tag or "", "cache_info.json").read_text(encoding="utf-8"))
        if "location" in info:
            info["location"] = served_address(info["location"], request)
        return JsonResponse(info)


class CacheDownload(APIView):
    """Gives the tables, without ranges and without ETag."""

    permission_classes = LOGGED_IN

    def get(self, _request: Any) -> FileResponse:
        return FileResponse(Path(settings.DEMO_TABLES, "cache.zip").open("rb"))


urlpatterns = [
    path("cache.zip", CacheDownload.as_view(), name="cache-download"),
    re_path(r"^cache/info(?:/(?P<tag>\w+))?/$", CacheInfo.as_view(), name="cache-info"),
]
