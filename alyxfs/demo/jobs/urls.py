"""Tasks: how they look, how they are filtered, where they are."""

from django.db.models import F
from django_filters.rest_framework import CharFilter
from rest_framework import serializers

from alyxfs.demo.actions.models import Session
from alyxfs.demo.common.endpoints import endpoint
from alyxfs.demo.common.filters import AlyxFilterSet
from alyxfs.demo.common.pages import UnorderedPages
from alyxfs.demo.common.serializer_fields import ChoiceNameField
from alyxfs.demo.data.models import DataRepository

from .models import Task


class TaskSerializer(serializers.ModelSerializer):
    parents = serializers.PrimaryKeyRelatedField(queryset=Task.objects.all(), required=False, many=True)
    session = serializers.PrimaryKeyRelatedField(queryset=Session.objects.all(), required=False, allow_null=True)
    data_repository = serializers.SlugRelatedField(
        slug_field="name", queryset=DataRepository.objects.all(), required=False
    )
    status = ChoiceNameField(required=False)

    class Meta:
        model = Task
        fields = "__all__"


class TaskFilter(AlyxFilterSet):
    lab = CharFilter("session__lab__name")
    status = CharFilter(method="filter_choice_name")

    class Meta:
        model = Task
        exclude = ["json"]


urlpatterns = endpoint(
    "tasks",
    TaskSerializer,
    Task.objects.select_related("data_repository")
    .prefetch_related("parents")
    .order_by("level", "-priority", F("session__start_time").desc(nulls_first=True)),
    filterset_class=TaskFilter,
    pagination_class=UnorderedPages,
)
