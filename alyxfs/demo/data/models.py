"""Datasets, their file records, and the words that describe them."""

from typing import Any

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

from alyxfs.demo.common.addresses import with_uuid
from alyxfs.demo.common.models import QC_CHOICES, Base


class DataRepositoryType(Base):
    name = models.CharField(max_length=255, unique=True)

    class Meta:
        ordering = ("name",)


class DataRepository(Base):
    name = models.CharField(max_length=255, unique=True)
    repository_type = models.ForeignKey(DataRepositoryType, null=True, blank=True, on_delete=models.CASCADE)
    hostname = models.CharField(
        max_length=200, blank=True, validators=[RegexValidator(r"^[a-zA-Z0-9.\-_]+$", "Invalid hostname")]
    )
    data_url = models.URLField(blank=True, null=True)
    timezone = models.CharField(max_length=64, blank=True, default="Europe/London")
    globus_path = models.CharField(max_length=1000, blank=True)
    globus_endpoint_id = models.UUIDField(blank=True, null=True)
    globus_is_personal = models.BooleanField(null=True, blank=True)

    class Meta:
        ordering = ("name",)


class DataFormat(Base):
    name = models.CharField(max_length=255, unique=True, help_text="short identifying name, e.g. 'npy'")
    description = models.CharField(max_length=255, blank=True)
    file_extension = models.CharField(
        max_length=255,
        validators=[RegexValidator(r"^\.[^.]+$", "Invalid file extension, should start with a dot")],
    )
    matlab_loader_function = models.CharField(max_length=255, blank=True)
    python_loader_function = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ("name",)


class DatasetType(Base):
    name = models.CharField(max_length=255, unique=True, blank=True)
    created_by = models.ForeignKey("misc.LabMember", blank=True, null=True, on_delete=models.CASCADE, related_name="+")
    description = models.CharField(max_length=1023, blank=True)
    filename_pattern = models.CharField(max_length=255, unique=True, null=True, blank=True)

    class Meta:
        ordering = ("name",)

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.filename_pattern = self.filename_pattern.lower() if self.filename_pattern else None
        super().save(*args, **kwargs)


class Tag(Base):
    name = models.CharField(max_length=255, blank=True, help_text="Long name", unique=True)
    description = models.CharField(max_length=1023, blank=True)
    protected = models.BooleanField(default=False)
    public = models.BooleanField(default=False)
    hash = models.CharField(blank=True, null=True, max_length=64)

    class Meta:
        ordering = ("name",)


class Revision(Base):
    name = models.CharField(
        max_length=255,
        blank=True,
        help_text="Long name",
        unique=True,
        validators=[
            RegexValidator(
                r"^[\w.-]+$",
                "Revisions must only contain letters, numbers, hyphens, underscores and forward slashes.",
            )
        ],
    )
    description = models.CharField(max_length=1023, blank=True)
    created_datetime = models.DateTimeField(blank=True, null=True, default=timezone.now)

    class Meta:
        ordering = ("name",)

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.clean_fields()
        super().save(*args, **kwargs)


def unknown_type() -> Any:
    """The type of a dataset whose type was deleted."""
    return DatasetType.objects.get_or_create(name="unknown")[0].pk


def unknown_format() -> Any:
    """The format of a dataset that was made without one."""
    return DataFormat.objects.get_or_create(name="unknown")[0].pk


class Dataset(Base):
    name = models.CharField(max_length=255)
    session = models.ForeignKey(
        "actions.Session",
        blank=True,
        null=True,
        on_delete=models.CASCADE,
        related_name="data_dataset_session_related",
    )
    created_by = models.ForeignKey(
        "misc.LabMember",
        blank=True,
        null=True,
        on_delete=models.CASCADE,
        related_name="data_dataset_created_by_related",
    )
    created_datetime = models.DateTimeField(blank=True, null=True, default=timezone.now)
    generating_software = models.CharField(max_length=255, blank=True)
    provenance_directory = models.ForeignKey(
        "self", blank=True, null=True, on_delete=models.CASCADE, related_name="data_dataset_provenance_related"
    )
    # A dataset without session may belong to another kind of record.
    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE, null=True, blank=True)
    object_id = models.UUIDField(null=True, blank=True)
    content_object = GenericForeignKey()
    file_size = models.BigIntegerField(blank=True, null=True)
    md5 = models.UUIDField(blank=True, null=True)
    hash = models.CharField(blank=True, max_length=64)
    version = models.CharField(blank=True, max_length=64)
    collection = models.CharField(
        blank=True,
        max_length=255,
        validators=[
            RegexValidator(
                r"^[\w./-]+$",
                "Collections must only contain letters, numbers, hyphens, underscores and forward slashes.",
            )
        ],
    )
    dataset_type = models.ForeignKey(DatasetType, on_delete=models.SET_DEFAULT, default=unknown_type)
    data_format = models.ForeignKey(DataFormat, on_delete=models.SET_DEFAULT, default=unknown_format)
    revision = models.ForeignKey(Revision, blank=True, null=True, on_delete=models.SET_NULL)
    tags = models.ManyToManyField(Tag, blank=True, related_name="datasets")
    auto_datetime = models.DateTimeField(auto_now=True, blank=True, null=True)
    default_dataset = models.BooleanField(default=True)
    qc = models.IntegerField(default=0, choices=QC_CHOICES)

    @property
    def data_url(self) -> str | None:
        """The address of the file where it can be had from the web, on the repository that Alyx prefers."""
        records = [
            record
            for record in self.file_records.all()
            if record.exists and record.data_repository.data_url is not None
        ]
        # On a server rather than at somebody's desk, and of several servers the last by name.
        records.sort(key=lambda record: record.data_repository.name, reverse=True)
        records.sort(key=lambda record: bool(record.data_repository.globus_is_personal))
        return records[0].data_url if records else None

    @property
    def is_protected(self) -> bool:
        return bool(self.tags.filter(protected=True).exists())

    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)
        if not self.collection:
            return
        # The check comes after the row is saved: a bad collection is a 500 that has saved.
        self.clean_fields()
        folders = self.collection.split("/")
        if len(folders) > 1:
            insertions = self.probe_insertion.model.objects.filter(session=self.session, name=folders[1])
            if insertions.exists():
                self.probe_insertion.set(insertions)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        # Deleting the session, or anything above it, does not pass here and takes protected datasets along.
        if self.is_protected:
            names = '", "'.join(self.tags.filter(protected=True).values_list("name", flat=True))
            raise models.ProtectedError(
                f'Failed to delete dataset {self.name} due to protected tag(s) "{names}"', {self}
            )
        return super().delete(*args, **kwargs)


class FileRecord(Base):
    dataset = models.ForeignKey(Dataset, related_name="file_records", on_delete=models.CASCADE)
    data_repository = models.ForeignKey(DataRepository, on_delete=models.CASCADE)
    relative_path = models.CharField(
        max_length=1000, validators=[RegexValidator(r"^[a-zA-Z0-9_][^\\:]+$", "Invalid path")]
    )
    exists = models.BooleanField(default=False)

    class Meta:
        unique_together = [("data_repository", "relative_path")]

    @property
    def data_url(self) -> str | None:
        """The address under the repository; `#` and everything else stand raw in it."""
        root = self.data_repository.data_url
        return root + with_uuid(self.relative_path, self.dataset_id) if root else None

    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)
        self.dataset.save()  # to move its auto_datetime


class Download(Base):
    user = models.ForeignKey("misc.LabMember", on_delete=models.CASCADE)
    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE)
    first_download = models.DateTimeField(auto_now_add=True)
    last_download = models.DateTimeField(auto_now=True)
    count = models.IntegerField(default=0)
    projects = models.ManyToManyField("subjects.Project", blank=True)

    class Meta:
        unique_together = [("user", "dataset")]


class DataNotice(Base):
    """A remark about the quality of some datasets."""

    description = models.TextField(blank=True)
    importance = models.IntegerField(
        default=20, choices=[(50, "Critical"), (40, "Major"), (30, "Minor"), (20, "Insignificant")]
    )
    datasets = models.ManyToManyField(Dataset, blank=True, related_name="data_notices")
    created_by = models.ForeignKey(
        "misc.LabMember", null=True, blank=True, on_delete=models.SET_NULL, related_name="data_notices"
    )
    created_datetime = models.DateTimeField(auto_now_add=True)
    version_affected = models.CharField(max_length=64, blank=True)
    affected_date_start = models.DateField(null=True, blank=True)
    affected_date_end = models.DateField(null=True, blank=True)

    class Meta:
        ordering = ("-importance", "-created_datetime", "name")
