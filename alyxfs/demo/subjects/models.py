"""Animals, their ancestry, and projects."""

from typing import Any

from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

from alyxfs.demo.common.models import Base
from alyxfs.demo.misc.models import Lab, LabMember

ZYGOSITIES = [(0, "Absent"), (1, "Heterozygous"), (2, "Homozygous"), (3, "Present")]
ZYGOSITY_SYMBOLS = ["-/-", "+/-", "+/+", "+"]

check_nickname = RegexValidator(
    r"^[\w.-]+$",
    "Nicknames must only contain letters, numbers, hyphens and underscores. Dots are reserved for breeding subjects.",
)


class Project(Base):
    name = models.CharField(max_length=255, unique=True)
    description = models.CharField(max_length=1023, blank=True, help_text="Description of the project")
    users = models.ManyToManyField(LabMember, blank=True)


class Species(Base):
    nickname = models.CharField(max_length=255)


class Strain(Base):
    pass


class Source(Base):
    pass


class Allele(Base):
    nickname = models.CharField(max_length=255)


class Line(Base):
    strain = models.ForeignKey(Strain, null=True, blank=True, on_delete=models.SET_NULL)
    alleles = models.ManyToManyField(Allele, blank=True)


class BreedingPair(Base):
    father = models.ForeignKey(
        "Subject", null=True, blank=True, on_delete=models.SET_NULL, related_name="litter_father"
    )
    mother1 = models.ForeignKey("Subject", null=True, blank=True, on_delete=models.SET_NULL, related_name="mother1")
    mother2 = models.ForeignKey("Subject", null=True, blank=True, on_delete=models.SET_NULL, related_name="mother2")


class Litter(Base):
    line = models.ForeignKey(Line, null=True, blank=True, on_delete=models.SET_NULL)
    breeding_pair = models.ForeignKey(BreedingPair, null=True, blank=True, on_delete=models.SET_NULL)


class SubjectRequest(Base):
    user = models.ForeignKey(
        LabMember, null=True, blank=True, on_delete=models.SET_NULL, related_name="subjects_requested"
    )
    line = models.ForeignKey(Line, null=True, blank=True, on_delete=models.SET_NULL)


def usual_species() -> Any:
    """The species of a subject that is made without one."""
    return Species.objects.values_list("pk", flat=True).first()


class Subject(Base):
    SEXES = [("M", "Male"), ("F", "Female"), ("U", "Unknown")]
    # Changes of these fields are written down in the record's own JSON.
    FIELDS_WITH_HISTORY = ("nickname", "responsible_user_id", "cage")

    nickname = models.CharField(
        max_length=64,
        default="-",
        help_text="Easy-to-remember name (e.g. 'Hercules').",
        validators=[check_nickname],
    )
    species = models.ForeignKey(Species, null=True, blank=True, on_delete=models.SET_NULL, default=usual_species)
    litter = models.ForeignKey(Litter, null=True, blank=True, on_delete=models.SET_NULL)
    sex = models.CharField(max_length=1, choices=SEXES, blank=True, default="U")
    strain = models.ForeignKey(Strain, null=True, blank=True, on_delete=models.SET_NULL)
    genotype = models.ManyToManyField(Allele, through="Zygosity")
    source = models.ForeignKey(Source, null=True, blank=True, on_delete=models.SET_NULL)
    line = models.ForeignKey(Line, null=True, blank=True, on_delete=models.SET_NULL)
    birth_date = models.DateField(null=True, blank=True)
    death_date = models.DateField(null=True, blank=True)
    wean_date = models.DateField(null=True, blank=True)
    genotype_date = models.DateField(null=True, blank=True)
    responsible_user = models.ForeignKey(
        LabMember, null=True, blank=True, on_delete=models.SET_NULL, related_name="subjects_responsible"
    )
    lab = models.ForeignKey(Lab, on_delete=models.CASCADE)
    projects = models.ManyToManyField(Project, blank=True)
    # No address shows the next ones.
    cage = models.CharField(max_length=64, null=True, blank=True)
    request = models.ForeignKey(SubjectRequest, null=True, blank=True, on_delete=models.SET_NULL)
    ear_mark = models.CharField(max_length=32, blank=True)
    protocol_number = models.CharField(max_length=1, default="1")
    description = models.TextField(blank=True)
    adverse_effects = models.TextField(blank=True)
    actual_severity = models.IntegerField(null=True, blank=True)
    to_be_genotyped = models.BooleanField(default=False)
    to_be_culled = models.BooleanField(default=False)
    reduced_date = models.DateField(null=True, blank=True)

    class Meta:
        ordering = ["nickname", "-birth_date"]
        unique_together = [("nickname", "lab"), ("nickname", "responsible_user")]

    def __str__(self) -> str:
        return str(self.nickname)

    def alive(self) -> bool:
        return self.death_date is None or self.death_date > timezone.now().date()

    def age_weeks(self) -> int:
        if self.birth_date is None:
            return 0
        last_day = self.death_date or timezone.now().date()
        return int((last_day - self.birth_date).days // 7)

    def zygosity_strings(self) -> list[str]:
        """The genotype as text, of the alleles that the line is known for if there is a line."""
        zygosities = list(self.zygosity_set.all())
        if self.line:
            alleles = set(self.line.alleles.all())
            zygosities = [zygosity for zygosity in zygosities if zygosity.allele in alleles]
        return [str(zygosity) for zygosity in zygosities]

    def save(self, *args: Any, **kwargs: Any) -> None:
        # Records whose name the check would refuse exist, but cannot be changed without a new name: a 500.
        check_nickname(self.nickname)
        if self.line and not self.strain:
            self.strain = self.line.strain
        self.close_water_restrictions()
        self.answer_request()
        self.write_history()
        former = Subject.objects.filter(pk=self.pk).values_list("responsible_user__username", flat=True).first()
        super().save(*args, **kwargs)
        user = self.responsible_user
        if former and user and user.username != former:
            title = f"Responsible user of {self} changed from {former} to {user.username}"
            self.notification_set.create(title=title).users.set(LabMember.objects.filter(username__in=[former, user]))

    def close_water_restrictions(self) -> None:
        """End what has no end when the animal dies; how it was culled has the same date."""
        if self.death_date:
            cull = getattr(self, "cull", None)
            if cull and cull.date != self.death_date:
                cull.date = self.death_date
                cull.save()
            self.actions_waterrestrictions.filter(start_time__isnull=False, end_time__isnull=True).update(
                end_time=self.death_date
            )

    def answer_request(self) -> None:
        """A new responsible user gets what they had requested."""
        former = Subject.objects.filter(pk=self.pk).values_list("responsible_user_id", flat=True).first()
        if self.responsible_user_id and self.responsible_user_id != former and self.line and not self.request:
            self.request = SubjectRequest.objects.filter(user=self.responsible_user, line=self.line).first()

    def write_history(self) -> None:
        """Keep the former values of some fields in the JSON."""
        former = Subject.objects.filter(pk=self.pk).values(*self.FIELDS_WITH_HISTORY).first()
        if former is None:
            return
        for field, value in former.items():
            if str(getattr(self, field)) == str(value):
                continue
            record: dict[str, Any] = self.json or {}
            changes = record.setdefault("history", {}).setdefault(field.removesuffix("_id"), [])
            changes.append({"date_time": timezone.now().isoformat(), "value": str(value)})
            self.json = record  # type: ignore[assignment]


class Zygosity(Base):
    subject = models.ForeignKey(Subject, on_delete=models.CASCADE)
    allele = models.ForeignKey(Allele, on_delete=models.CASCADE)
    zygosity = models.IntegerField(choices=ZYGOSITIES)

    def __str__(self) -> str:
        return f"{self.allele.nickname} {ZYGOSITY_SYMBOLS[self.zygosity]}"


class Sequence(Base):
    pass


class GenotypeTest(Base):
    subject = models.ForeignKey(Subject, on_delete=models.CASCADE)
    sequence = models.ForeignKey(Sequence, on_delete=models.CASCADE)
    test_result = models.IntegerField(default=0)
