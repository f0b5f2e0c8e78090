"""Probe insertions, trajectories, channels, brain regions, fields of view."""

import uuid
from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.utils import timezone

from alyxfs.demo.actions.models import Action, Session
from alyxfs.demo.common.float_field import FloatOrNanField
from alyxfs.demo.common.json_field import JsonbField
from alyxfs.demo.common.models import Base
from alyxfs.demo.data.models import Dataset
from alyxfs.demo.misc.models import LabMember


class BrainRegion(models.Model):
    id = models.IntegerField(primary_key=True)
    acronym = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=255, unique=True)
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, blank=True, related_name="children")
    description = models.TextField(null=True, blank=True)
    # Depth in the tree, and place in a walk through it from the root.
    level = models.IntegerField(default=0)
    position = models.IntegerField(default=0)

    class Meta:
        ordering = ["position"]

    def __str__(self) -> str:
        return str(self.name)


class CoordinateSystem(Base):
    description = models.TextField(blank=True)


class ProbeModel(Base):
    probe_manufacturer = models.CharField(max_length=255)
    probe_model = models.CharField(unique=True, max_length=255)
    description = models.CharField(max_length=255, null=True, blank=True)


class ChronicInsertion(Action):
    # Queries name it as Alyx does, where it is a table of its own for all chronic recordings.
    users = models.ManyToManyField(LabMember, blank=True, related_query_name="chronicrecording")
    serial = models.CharField(max_length=255, blank=True)
    model = models.ForeignKey(
        ProbeModel, blank=True, null=True, on_delete=models.SET_NULL, related_name="chronic_insertion"
    )


class ProbeInsertion(Base):
    session = models.ForeignKey(
        Session, blank=True, null=True, on_delete=models.CASCADE, related_name="probe_insertion"
    )
    model = models.ForeignKey(
        ProbeModel, blank=True, null=True, on_delete=models.SET_NULL, related_name="probe_insertion"
    )
    serial = models.CharField(max_length=255, blank=True)
    auto_datetime = models.DateTimeField(auto_now=True, blank=True, null=True)
    datasets = models.ManyToManyField(Dataset, blank=True, related_name="probe_insertion")
    chronic_insertion = models.ForeignKey(
        ChronicInsertion, blank=True, null=True, on_delete=models.SET_NULL, related_name="probe_insertion"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["name", "session"], name="unique_probe_insertion_name_per_session")
        ]


@receiver(post_save, sender=ProbeInsertion)
def find_datasets(instance: ProbeInsertion, **_: Any) -> None:
    """Whenever an insertion is saved it takes the session's datasets whose collection holds its name."""
    datasets = Dataset.objects.filter(session=instance.session, collection__icontains=instance.name)
    instance.datasets.set(datasets, clear=True)


class TrajectoryEstimate(models.Model):
    PROVENANCES = [
        (70, "Ephys aligned histology track"),
        (50, "Histology track"),
        (30, "Micro-manipulator"),
        (10, "Planned"),
    ]
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    probe_insertion = models.ForeignKey(
        ProbeInsertion, blank=True, null=True, on_delete=models.CASCADE, related_name="trajectory_estimate"
    )
    chronic_insertion = models.ForeignKey(
        ChronicInsertion, blank=True, null=True, on_delete=models.CASCADE, related_name="trajectory_estimate"
    )
    x = FloatOrNanField(null=True)
    y = FloatOrNanField(null=True)
    z = FloatOrNanField(null=True)
    depth = FloatOrNanField(null=True)
    theta = FloatOrNanField(null=True, validators=[MinValueValidator(0), MaxValueValidator(180)])
    phi = FloatOrNanField(null=True, validators=[MinValueValidator(-180), MaxValueValidator(360)])
    roll = FloatOrNanField(null=True, validators=[MinValueValidator(0), MaxValueValidator(360)])
    provenance = models.IntegerField(default=10, choices=PROVENANCES)
    coordinate_system = models.ForeignKey(CoordinateSystem, null=True, blank=True, on_delete=models.SET_NULL)
    datetime = models.DateTimeField(auto_now=True)
    json = JsonbField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["provenance", "chronic_insertion"],
                condition=models.Q(probe_insertion__isnull=True),
                name="unique_trajectory_per_chronic_provenance",
            ),
            models.UniqueConstraint(
                fields=["provenance", "probe_insertion"],
                condition=models.Q(probe_insertion__isnull=False),
                name="unique_trajectory_per_provenance",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_provenance_display()} {self.probe_name}"

    @property
    def probe_name(self) -> str | None:
        insertion = self.probe_insertion or self.chronic_insertion
        return insertion.name if insertion else None

    @property
    def session(self) -> Any:
        return self.probe_insertion.session if self.probe_insertion else None


class Channel(Base):
    axial = models.FloatField(blank=True, null=True)
    lateral = models.FloatField(blank=True, null=True)
    x = models.FloatField(blank=True, null=True)
    y = models.FloatField(blank=True, null=True)
    z = models.FloatField(blank=True, null=True)
    brain_region = models.ForeignKey(
        BrainRegion, default=0, null=True, blank=True, on_delete=models.SET_NULL, related_name="channels"
    )
    trajectory_estimate = models.ForeignKey(
        TrajectoryEstimate, null=True, blank=True, on_delete=models.CASCADE, related_name="channels"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["axial", "lateral", "trajectory_estimate"],
                name="unique_axial_lateral_trajectory_estimate",
            )
        ]

    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)
        self.trajectory_estimate.save()  # to move its datetime


class ImagingType(Base):
    name = models.CharField(max_length=255, unique=True)


class ImagingStack(Base):
    pass


class FieldOfView(Base):
    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="field_of_view")
    imaging_type = models.ForeignKey(ImagingType, on_delete=models.CASCADE, related_name="field_of_view")
    datasets = models.ManyToManyField(Dataset, blank=True, related_name="field_of_view")
    stack = models.ForeignKey(ImagingStack, blank=True, null=True, on_delete=models.CASCADE, related_name="slices")

    class Meta:
        db_table = "experiments_fov"
        unique_together = [("session", "name")]
        ordering = ("session", "name")


@receiver(post_save, sender=FieldOfView)
def find_datasets_of_view(instance: FieldOfView, **_: Any) -> None:
    """Whenever a field of view is saved it takes the session's datasets whose collection holds its name."""
    datasets = Dataset.objects.filter(session=instance.session, collection__icontains=instance.name)
    instance.datasets.set(datasets, clear=True)


class FieldOfViewLocation(Base):
    PROVENANCES = [("E", "Estimate"), ("F", "Functional"), ("L", "Landmark"), ("H", "Histology")]

    field_of_view = models.ForeignKey(FieldOfView, on_delete=models.CASCADE, related_name="location")
    provenance = models.CharField(max_length=1, choices=PROVENANCES, default="L")
    default_provenance = models.BooleanField(default=False)
    coordinate_system = models.ForeignKey(CoordinateSystem, null=True, blank=True, on_delete=models.SET_NULL)
    auto_datetime = models.DateTimeField(auto_now=True)
    x = models.JSONField(default=list)
    y = models.JSONField(default=list)
    z = models.JSONField(default=list)
    n_xyz = models.JSONField(default=list)
    brain_region = models.ManyToManyField(BrainRegion, related_name="locations")

    class Meta:
        db_table = "experiments_fovlocation"
        ordering = ("-default_provenance",)
        constraints = [
            models.UniqueConstraint(fields=["provenance", "field_of_view"], name="unique_provenance_per_field_of_view")
        ]

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Only one of a field's locations is the default."""
        if self.default_provenance:
            FieldOfViewLocation.objects.filter(field_of_view=self.field_of_view).exclude(pk=self.pk).update(
                default_provenance=False, auto_datetime=timezone.now()
            )
        super().save(*args, **kwargs)
