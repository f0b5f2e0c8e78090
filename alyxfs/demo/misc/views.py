"""Labs, users, places, notes, and uploaded pictures."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from rest_framework import generics
from rest_framework.views import APIView

from alyxfs.demo.common.filters import AlyxFilterSet
from alyxfs.demo.common.pages import UnorderedPages
from alyxfs.demo.common.permission import LOGGED_IN

from .models import Lab, LabLocation, LabMember, Note
from .serializers import LabLocationSerializer, LabSerializer, NoteSerializer, UserSerializer


class LabFilter(AlyxFilterSet):
    class Meta:
        model = Lab
        exclude = ["json"]


class LabList(generics.ListCreateAPIView):
    queryset = Lab.objects.prefetch_related("repositories")
    serializer_class = LabSerializer
    permission_classes = LOGGED_IN
    filterset_class = LabFilter


class LabDetail(generics.RetrieveUpdateDestroyAPIView):
    queryset = Lab.objects.all()
    serializer_class = LabSerializer
    permission_classes = LOGGED_IN
    lookup_field = "name"


class LocationList(generics.ListAPIView):
    queryset = LabLocation.objects.select_related("lab")
    serializer_class = LabLocationSerializer
    permission_classes = LOGGED_IN


class LocationDetail(generics.RetrieveUpdateAPIView):
    queryset = LabLocation.objects.all()
    serializer_class = LabLocationSerializer
    permission_classes = LOGGED_IN
    lookup_field = "name"


class UserFilter(AlyxFilterSet):
    class Meta:
        model = LabMember
        exclude = ["json"]


class UserList(generics.ListCreateAPIView):
    queryset = LabMember.objects.prefetch_related("subjects_responsible", "allowed_users", "labmembership_set__lab")
    serializer_class = UserSerializer
    permission_classes = LOGGED_IN
    filterset_class = UserFilter


class UserDetail(generics.RetrieveUpdateDestroyAPIView):
    queryset = LabMember.objects.all()
    serializer_class = UserSerializer
    permission_classes = LOGGED_IN
    lookup_field = "username"


class NoteList(generics.ListCreateAPIView):
    queryset = Note.objects.select_related("user", "content_type")
    serializer_class = NoteSerializer
    permission_classes = LOGGED_IN
    filterset_class = AlyxFilterSet
    pagination_class = UnorderedPages


class NoteDetail(generics.RetrieveUpdateDestroyAPIView):
    queryset = Note.objects.all()
    serializer_class = NoteSerializer
    permission_classes = LOGGED_IN


class UploadedView(APIView):
    """Answers the address of a picture with a path as text/html and 200, as Alyx does.

    A picture that exists never gets here: the web server in front serves it.
    """

    permission_classes = LOGGED_IN

    def get(self, _request: Any, image_path: str = "") -> HttpResponse:
        return HttpResponse(str(Path(settings.MEDIA_ROOT) / image_path))
