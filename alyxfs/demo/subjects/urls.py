"""Subjects and projects."""

from django.urls import path

from alyxfs.demo.common.endpoints import endpoint

from . import views
from .models import Project, Subject
from .serializers import ProjectSerializer, SubjectDetailSerializer, SubjectListSerializer

urlpatterns = [
    *endpoint("projects", ProjectSerializer, Project.objects.prefetch_related("users"), by="str:name"),
    *endpoint(
        "subjects",
        SubjectDetailSerializer,
        Subject.objects.all(),
        one=Subject.objects.select_related("lab").prefetch_related(
            "zygosity_set__allele",
            "actions_sessions__projects",
            "weighings__user",
            "weighings__subject",
            "water_administrations__user",
            "water_administrations__subject",
            "water_administrations__water_type",
        ),
        row_serializer=SubjectListSerializer,
        by="str:nickname",
        many=views.SubjectList,
        filterset_class=views.SubjectFilter,
    ),
    path("water-requirement/<str:nickname>", views.WaterRequirement.as_view(), name="water-requirement"),
    path(
        "water-restricted-subjects",
        views.WaterRestrictedSubjectList.as_view(),
        name="water-restricted-subject-list",
    ),
]
