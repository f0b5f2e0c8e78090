"""Labs, users, places, notes, and uploaded pictures."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.urls import re_path
from rest_framework import generics
from rest_framework.views import APIView

from alyxfs.demo.common.endpoints import endpoint
from alyxfs.demo.common.filters import AlyxFilterSet
from alyxfs.demo.common.pages import UnorderedPages
from alyxfs.demo.common.permission import LOGGED_IN

from .models import Lab, LabLocation, LabMember, Note
from .serializers import LabLocationSerializer, LabSerializer, NoteSerializer, UserSerializer


class LabFilter(AlyxFilterSet):
    class Meta:
        model = Lab
        exclude = ["json"]


class UserFilter(AlyxFilterSet):
    class Meta:
        model = LabMember
        exclude = ["json"]


class UploadedView(APIView):
    """Answers the address of a picture with a path as text/html and 200, as Alyx does.

    A picture that exists never gets here: the web server in front serves it.
    """

    permission_classes = LOGGED_IN

    def get(self, _request: Any, image_path: str = "") -> HttpResponse:
        return HttpResponse(str(Path(settings.MEDIA_ROOT) / image_path))


urlpatterns = [
    *endpoint(
        "labs",
        LabSerializer,
        Lab.objects.prefetch_related("repositories"),
        by="str:name",
        filterset_class=LabFilter,
    ),
    *endpoint(
        "locations",
        LabLocationSerializer,
        LabLocation.objects.select_related("lab"),
        by="str:name",
        many=generics.ListAPIView,
        single=generics.RetrieveUpdateAPIView,
    ),
    *endpoint(
        "notes",
        NoteSerializer,
        Note.objects.select_related("user", "content_type"),
        filterset_class=AlyxFilterSet,
        pagination_class=UnorderedPages,
    ),
    *endpoint(
        "users",
        UserSerializer,
        LabMember.objects.prefetch_related("subjects_responsible", "allowed_users", "labmembership_set__lab"),
        by="str:username",
        filterset_class=UserFilter,
    ),
    re_path(r"^uploaded/(?P<image_path>.*)", UploadedView.as_view(), name="uploaded"),
]
