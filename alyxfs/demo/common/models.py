"""The columns that nearly every table of Alyx has."""

import uuid

from django.db import models

from .json_field import JsonbField

# The values of an Alyx quality-control field, in the order in which its error message lists them.
QC_CHOICES = [(50, "CRITICAL"), (40, "FAIL"), (30, "WARNING"), (0, "NOT_SET"), (10, "PASS")]
QC_BY_NAME = {name: number for number, name in QC_CHOICES}


class Base(models.Model):
    """A row with a UUID, a name that may be empty, and free JSON."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=255, blank=True, help_text="Long name")
    json = JsonbField(null=True, blank=True, help_text="Structured data, formatted in a user-defined way")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name or str(self.pk)
