"""How subjects and projects look in answers."""

from typing import Any

from rest_framework import serializers

from alyxfs.demo.actions.serializers import WaterAdministrationSerializer, WeighingSerializer
from alyxfs.demo.misc.models import Lab, LabMember

from .models import ZYGOSITIES, Allele, Line, Litter, Project, Source, Species, Strain, Subject, Zygosity
from .water import WaterControl, now, water_control

URL_BY_NICKNAME = {"url": {"view_name": "subject-detail", "lookup_field": "nickname"}}


class WaterFields(serializers.HyperlinkedModelSerializer):
    """The fields that change by themselves."""

    reference_weight = serializers.SerializerMethodField()
    last_water_restriction = serializers.SerializerMethodField()
    expected_water = serializers.SerializerMethodField()
    remaining_water = serializers.SerializerMethodField()
    reference_weight_pct = serializers.SerializerMethodField()
    zscore_weight_pct = serializers.SerializerMethodField()

    def water(self, subject: Any) -> WaterControl:
        """Compute once for the several fields of one answer."""
        if not hasattr(subject, "_water"):
            subject._water = water_control(subject)  # noqa: SLF001
        return subject._water  # type: ignore[no-any-return]  # noqa: SLF001

    def get_expected_water(self, subject: Any) -> float:
        return self.water(subject).expected_water(now())

    def get_remaining_water(self, subject: Any) -> float:
        water = self.water(subject)
        return water.expected_water(now()) - water.given_water(now())

    def get_reference_weight(self, subject: Any) -> float:
        return self.water(subject).reference_weight(now())

    def get_last_water_restriction(self, subject: Any) -> Any:
        restriction = self.water(subject).restriction_at(now())
        return restriction[0] if restriction else None

    def get_reference_weight_pct(self, subject: Any) -> float:
        return self.water(subject).reference_weight_pct

    def get_zscore_weight_pct(self, subject: Any) -> float:
        return self.water(subject).zscore_weight_pct


class WaterRestrictedSubjectSerializer(WaterFields):
    class Meta:
        model = Subject
        fields = (
            "nickname",
            "url",
            "expected_water",
            "remaining_water",
            "reference_weight",
            "last_water_restriction",
            "reference_weight_pct",
            "zscore_weight_pct",
        )
        extra_kwargs = URL_BY_NICKNAME


class ZygositySerializer(serializers.ModelSerializer):
    zygosity = serializers.ChoiceField(choices=ZYGOSITIES)
    allele = serializers.SlugRelatedField(slug_field="nickname", queryset=Allele.objects.all(), required=False)

    class Meta:
        model = Zygosity
        fields = ("allele", "zygosity")


def optional(slug_field: str, model: Any) -> serializers.SlugRelatedField:
    """A related record that may be missing or null."""
    return serializers.SlugRelatedField(
        slug_field=slug_field, queryset=model.objects.all(), allow_null=True, required=False
    )


class SubjectListSerializer(WaterFields):
    genotype = serializers.ListField(source="zygosity_strings", required=False)
    responsible_user = serializers.SlugRelatedField(
        slug_field="username",
        queryset=LabMember.objects.all(),
        required=False,
        default=serializers.CurrentUserDefault(),
    )
    species = optional("nickname", Species)
    strain = optional("name", Strain)
    line = optional("name", Line)
    litter = optional("name", Litter)
    source = optional("name", Source)
    projects = serializers.SlugRelatedField(
        slug_field="name", queryset=Project.objects.all(), many=True, required=False
    )
    session_projects = serializers.SerializerMethodField()
    lab = serializers.SlugRelatedField(slug_field="name", queryset=Lab.objects.all(), required=True)

    class Meta:
        model = Subject
        fields = [
            "nickname",
            "url",
            "id",
            "responsible_user",
            "birth_date",
            "age_weeks",
            "death_date",
            "species",
            "sex",
            "litter",
            "strain",
            "source",
            "line",
            "projects",
            "session_projects",
            "lab",
            "genotype",
            "description",
            "alive",
            "reference_weight",
            "last_water_restriction",
            "expected_water",
            "remaining_water",
            "json",
        ]
        extra_kwargs = URL_BY_NICKNAME

    def get_session_projects(self, subject: Any) -> list[str]:
        """Projects that have at least one session with this subject, in no order worth relying on."""
        names = {project.name for session in subject.actions_sessions.all() for project in session.projects.all()}
        return sorted(names, key=lambda name: name[::-1])


class SubjectDetailSerializer(SubjectListSerializer):
    genotype = ZygositySerializer(source="zygosity_set", many=True, read_only=True)
    weighings = WeighingSerializer(many=True, read_only=True)
    water_administrations = WaterAdministrationSerializer(many=True, read_only=True)

    class Meta(SubjectListSerializer.Meta):
        fields = [*SubjectListSerializer.Meta.fields, "weighings", "water_administrations"]


class ProjectSerializer(serializers.ModelSerializer):
    # The default is one user where a list of users is needed: a POST without users fails after it has saved.
    users = serializers.SlugRelatedField(
        slug_field="username",
        queryset=LabMember.objects.all(),
        many=True,
        required=False,
        default=serializers.CurrentUserDefault(),
    )

    class Meta:
        model = Project
        fields = ("name", "description", "users")
