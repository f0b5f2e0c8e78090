"""What is done with an animal."""

from typing import Any

from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone

from alyxfs.demo.common.json_field import JsonbField
from alyxfs.demo.common.models import QC_CHOICES, Base
from alyxfs.demo.misc.models import Lab, LabLocation, LabMember, Note
from alyxfs.demo.subjects.models import Project, Subject
from alyxfs.demo.subjects.water import water_control

NOT_NEGATIVE = [MinValueValidator(0)]


class ProcedureType(Base):
    description = models.TextField(blank=True, help_text="Detailed description of the procedure")


class Weighing(Base):
    user = models.ForeignKey(LabMember, null=True, blank=True, on_delete=models.SET_NULL)
    subject = models.ForeignKey(Subject, related_name="weighings", on_delete=models.CASCADE)
    date_time = models.DateTimeField(null=True, blank=True, default=timezone.now)
    weight = models.FloatField(validators=NOT_NEGATIVE, help_text="Weight in grams")

    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)
        notify_of_weight(self.subject)


def notify_of_weight(subject: Subject) -> None:
    """Tell its responsible user that an animal has become too light."""
    control = water_control(subject)
    percentage = control.percentage_weight(timezone.now())
    if 0 < percentage <= 100 * (control.reference_weight_pct + control.zscore_weight_pct) + 2:
        notification = Notification.objects.create(title=f"{subject} weighs {percentage:.1f}%", subject=subject)
        notification.users.set([subject.responsible_user] if subject.responsible_user else [])


class WaterType(Base):
    name = models.CharField(max_length=128, unique=True)


class WaterAdministration(Base):
    user = models.ForeignKey(LabMember, null=True, blank=True, on_delete=models.SET_NULL)
    subject = models.ForeignKey(Subject, related_name="water_administrations", on_delete=models.CASCADE)
    date_time = models.DateTimeField(null=True, blank=True, default=timezone.now)
    session = models.ForeignKey(
        "Session",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="wateradmin_session_related",
    )
    water_administered = models.FloatField(
        validators=NOT_NEGATIVE, null=True, blank=True, help_text="Water administered, in milliliters"
    )
    water_type = models.ForeignKey(WaterType, null=True, blank=True, on_delete=models.SET_NULL)
    adlib = models.BooleanField(default=False)

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self.water_type:
            restriction = WaterRestriction.objects.filter(subject=self.subject).order_by("start_time").last()
            self.water_type = restriction.water_type if restriction else WaterType.objects.get(name="Water")
        death = self.subject.death_date
        if death and self.date_time.date() > death:
            raise ValueError("Water administration date after death date")
        super().save(*args, **kwargs)


class Action(Base):
    """A session, a surgery, a water restriction: with people, a place and a time."""

    users = models.ManyToManyField(LabMember, blank=True)
    subject = models.ForeignKey(Subject, on_delete=models.CASCADE, related_name="%(app_label)s_%(class)ss")
    location = models.ForeignKey(LabLocation, null=True, blank=True, on_delete=models.SET_NULL)
    lab = models.ForeignKey(Lab, null=True, blank=True, on_delete=models.SET_NULL)
    procedures = models.ManyToManyField(ProcedureType, blank=True)
    narrative = models.TextField(blank=True)
    start_time = models.DateTimeField(null=True, blank=True, default=timezone.now)
    end_time = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


class Surgery(Action):
    outcome_type = models.CharField(
        max_length=1, blank=True, choices=[("a", "Acute"), ("r", "Recovery"), ("n", "Non-recovery")]
    )
    # Declared again to come after the lab in answers.
    location = models.ForeignKey(LabLocation, null=True, blank=True, on_delete=models.SET_NULL)
    implant_weight = models.FloatField(validators=NOT_NEGATIVE, help_text="Implant weight in grams")

    def save(self, *args: Any, **kwargs: Any) -> None:
        """What is done to an animal shows in the animal."""
        super().save(*args, **kwargs)
        subject = self.subject
        is_restricted = subject.actions_waterrestrictions.filter(start_time__isnull=False, end_time__isnull=True)
        subject.protocol_number = "3" if is_restricted.exists() else "2"
        if subject.actual_severity == 2:
            subject.actual_severity = 3
        if self.outcome_type in {"a", "n"} and self.end_time and not subject.death_date:
            subject.death_date = self.end_time.date()
        subject.save()


class VirusInjection(Action):
    virus_batch = models.CharField(max_length=255, null=True, blank=True)


class OtherAction(Action):
    pass


class Cull(Base):
    user = models.ForeignKey(LabMember, null=True, blank=True, on_delete=models.SET_NULL)
    subject = models.OneToOneField(Subject, related_name="cull", on_delete=models.CASCADE)
    date = models.DateField()
    description = models.TextField(blank=True)


class Notification(Base):
    title = models.CharField(max_length=255)
    subject = models.ForeignKey(Subject, null=True, blank=True, on_delete=models.SET_NULL)
    users = models.ManyToManyField(LabMember)


class NotificationRule(Base):
    user = models.ForeignKey(LabMember, on_delete=models.CASCADE)
    notification_type = models.CharField(max_length=32)


class Session(Action):
    parent_session = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL)
    projects = models.ManyToManyField(Project, blank=True)
    type = models.CharField(max_length=255, null=True, blank=True)
    number = models.IntegerField(null=True, blank=True)
    task_protocol = models.CharField(max_length=1023, blank=True, default="")
    n_trials = models.IntegerField(blank=True, null=True)
    n_correct_trials = models.IntegerField(blank=True, null=True)
    qc = models.IntegerField(default=0, choices=QC_CHOICES)
    extended_qc = JsonbField(null=True, blank=True)
    auto_datetime = models.DateTimeField(auto_now=True, blank=True, null=True)

    @property
    def notes(self) -> Any:
        return Note.objects.filter(object_id=self.pk).select_related("user", "content_type")

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self.lab:
            self.lab = self.subject.lab
        super().save(*args, **kwargs)


class WaterRestriction(Action):
    reference_weight = models.FloatField(validators=NOT_NEGATIVE, default=0, help_text="Weight in grams")
    water_type = models.ForeignKey(WaterType, null=True, blank=True, on_delete=models.SET_NULL)
