"""Labs, users, places, notes."""

import uuid
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.contrib.contenttypes.models import ContentType
from django.core.files.base import ContentFile
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone
from PIL import Image

from alyxfs.demo.common.models import Base


class LabMember(AbstractUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    is_stock_manager = models.BooleanField(default=False)
    allowed_users = models.ManyToManyField("self", blank=True, symmetrical=False)
    is_public_user = models.BooleanField(default=False)

    class Meta:
        ordering = ["username"]

    @property
    def lab(self) -> list[str]:
        """The names of the labs that the user is in today."""
        today = timezone.now().date()
        memberships = [
            membership
            for membership in self.labmembership_set.all()
            if membership.end_date is None or membership.end_date >= today
        ]
        return sorted({membership.lab.name for membership in memberships})


class KeptRevision(models.Model):
    """When somebody saved something in the admin pages, which keep what was there (django-reversion)."""

    user = models.ForeignKey(LabMember, null=True, on_delete=models.SET_NULL, related_query_name="revision")
    date_created = models.DateTimeField()

    class Meta:
        db_table = "reversion_revision"


class Lab(Base):
    name = models.CharField(
        max_length=255,
        unique=True,
        validators=[RegexValidator(r"^\w+$", "Lab name must only contain letters, numbers, and underscores.")],
    )
    institution = models.CharField(max_length=255, blank=True)
    address = models.CharField(max_length=255, blank=True)
    timezone = models.CharField(max_length=64, blank=True, default="Europe/London")
    reference_weight_pct = models.FloatField(default=0.0)
    zscore_weight_pct = models.FloatField(default=0.0)
    # No address shows these: how the lab keeps its animals.
    cage_type = models.ForeignKey("CageType", on_delete=models.SET_NULL, null=True, blank=True)
    enrichment = models.ForeignKey("Enrichment", on_delete=models.SET_NULL, null=True, blank=True)
    food = models.ForeignKey("Food", on_delete=models.SET_NULL, null=True, blank=True)
    cage_cleaning_frequency_days = models.IntegerField(null=True, blank=True)
    light_cycle = models.IntegerField(choices=[(0, "Normal"), (1, "Inverted")], null=True, blank=True)
    repositories = models.ManyToManyField("data.DataRepository", blank=True)


class CageType(Base):
    description = models.CharField(max_length=1023, blank=True)


class Enrichment(Base):
    pass


class Food(Base):
    pass


class Housing(Base):
    cage_name = models.CharField(max_length=64)


class HousingSubject(Base):
    """Which animal was kept where, and when."""

    subject = models.ForeignKey(
        "subjects.Subject", related_name="housing_subjects", on_delete=models.SET_NULL, null=True
    )
    housing = models.ForeignKey(Housing, related_name="housing_subjects", on_delete=models.SET_NULL, null=True)
    start_datetime = models.DateTimeField()
    end_datetime = models.DateTimeField(null=True, blank=True)


class LabMembership(Base):
    user = models.ForeignKey(LabMember, on_delete=models.CASCADE)
    lab = models.ForeignKey(Lab, on_delete=models.CASCADE)
    role = models.CharField(max_length=255, blank=True)
    start_date = models.DateField(blank=True, null=True, default=timezone.now)
    end_date = models.DateField(blank=True, null=True)


class LabLocation(Base):
    name = models.CharField(max_length=255, help_text="Long name")
    lab = models.ForeignKey(Lab, on_delete=models.CASCADE)


def picture_path(note: "Note", file_name: str) -> str:
    """Name an uploaded picture by the day and the record that its note is about."""
    name = PurePosixPath(file_name)
    return f"{timezone.now():%Y/%m/%d}/{name.stem}.{note.object_id}{name.suffix}"


class Note(Base):
    user = models.ForeignKey(LabMember, on_delete=models.CASCADE)
    date_time = models.DateTimeField(default=timezone.now)
    text = models.TextField(blank=True)
    image = models.ImageField(upload_to=picture_path, blank=True, null=True)
    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE)
    object_id = models.UUIDField()

    def shrink_image(self, width: int) -> None:
        """Store the picture anew, at most so wide, under a name that has the record's UUID once more.

        Where that name is too long for the column, Django refuses it, hence a 500.
        """
        with Image.open(self.image) as picture:
            height = int(picture.size[1] * width / picture.size[0])
            picture.thumbnail((width, height))
            shrunk = BytesIO()
            picture.save(shrunk, format=picture.format, quality=70)
        self.image.save(PurePosixPath(self.image.name).name, ContentFile(shrunk.getvalue()), save=False)

    def save(self, *args: Any, image_width: str | None = None, **kwargs: Any) -> None:
        # Measured on Alyx 3.6.1: each save of a note stores its picture anew, also where something else was changed.
        if self.image and not self._state.adding and image_width != "orig":
            self.shrink_image(int(image_width or settings.UPLOADED_IMAGE_WIDTH))
        super().save(*args, **kwargs)
