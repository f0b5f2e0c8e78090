"""Tasks that process a session."""

import uuid

from django.db import models

from alyxfs.demo.actions.models import Session
from alyxfs.demo.common.json_field import JsonbField


class Task(models.Model):
    STATUSES = [
        (20, "Waiting"),
        (25, "Held"),
        (30, "Started"),
        (40, "Errored"),
        (45, "Abandoned"),
        (50, "Empty"),
        (55, "Incomplete"),
        (60, "Complete"),
    ]
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=64, blank=True, null=True)
    priority = models.SmallIntegerField(blank=True, null=True)
    io_charge = models.SmallIntegerField(blank=True, null=True)
    level = models.SmallIntegerField(blank=True, null=True)
    gpu = models.SmallIntegerField(blank=True, null=True)
    cpu = models.SmallIntegerField(blank=True, null=True)
    ram = models.SmallIntegerField(blank=True, null=True)
    time_out_secs = models.SmallIntegerField(blank=True, null=True)
    time_elapsed_secs = models.FloatField(blank=True, null=True)
    executable = models.CharField(max_length=128, blank=True, null=True)
    graph = models.CharField(max_length=64, blank=True, null=True)
    # The default is none of the choices: a task made without status breaks every page that holds it.
    status = models.IntegerField(default=10, choices=STATUSES)
    log = models.TextField(blank=True, null=True)
    session = models.ForeignKey(Session, blank=True, null=True, on_delete=models.CASCADE, related_name="tasks")
    version = models.CharField(blank=True, null=True, max_length=64)
    parents = models.ManyToManyField("self", blank=True, related_name="children", symmetrical=False)
    datetime = models.DateTimeField(auto_now=True)
    arguments = JsonbField(blank=True, null=True)
    data_repository = models.ForeignKey(
        "data.DataRepository", null=True, blank=True, on_delete=models.CASCADE, related_name="tasks"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["name", "session", "arguments"], name="unique_name_arguments_per_session")
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.session}"
