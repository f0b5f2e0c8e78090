"""The addresses that are not lists of records: registering, checking and counting files."""

from typing import Any

from rest_framework import mixins, serializers, viewsets
from rest_framework.response import Response

from alyxfs.demo.misc.models import Lab, LabMember
from alyxfs.demo.subjects.models import Project

from .models import DataRepository, Dataset, Download
from .registration import CannotRegister, NewFile, describe, protection_of, read_place, register


def several(value: Any) -> list[Any]:
    """Read a list that may also come as text with commas."""
    return value.split(",") if isinstance(value, str) else list(value or [])


def padded(value: Any, length: int) -> list[Any]:
    """Read one value for each file; none at all stands for nothing known."""
    values = several(value) or [None]
    return values * length if len(values) == 1 else values


def sender(request: Any, named: str | None) -> Any:
    """The user whom a request names, or who sent it."""
    return LabMember.objects.get(username=named) if named else request.user


def clean_path(path: str) -> str:
    """Read a path as Alyx does; without one it is a 500."""
    if not path:
        raise ValueError("The path argument is required.")
    return path.replace("\\", "/").replace("//", "/").strip("/")


class RegisterFile(mixins.CreateModelMixin, viewsets.GenericViewSet):
    """Registers files; it answers without a token."""

    serializer_class = serializers.Serializer

    def create(self, request: Any) -> Response:
        try:
            return self.register(request)
        except CannotRegister as error:
            return Response({"status_code": 400, error.key: str(error)}, status=400)
        except PermissionError as error:
            return Response({"status_code": 403, "detail": str(error)}, status=403)

    def register(self, request: Any) -> Response:
        data = request.data
        user = sender(request, data.get("created_by"))
        repository = self.repository(data)
        place = read_place(clean_path(data.get("path", "")), user)
        names = [name for name in several(data.get("filenames")) if name]
        labs = [Lab.objects.get(name=name) for name in several(data.get("labs")) if name]
        repositories = self.repositories(labs or [place.session.subject.lab], data)
        if repository and repository not in repositories:
            repositories.append(repository)
        exists_in = repositories if self.says(data, "server_only") else [repository]
        if not self.says(data, "exists", default=True):
            exists_in = []
        columns = (padded(data.get(key), len(names)) for key in ("hashes", "filesizes", "versions", "qc"))
        answers = []
        for name, file_hash, size, version, qc in zip(names, *columns, strict=False):
            number = None if size is None else int(size)
            file = NewFile(name, file_hash or "", number, version or "", qc or "NOT_SET")
            answers.append(describe(register(place, file, user, repositories, exists_in)))
        return Response(answers, status=201)

    @staticmethod
    def says(data: Any, key: str, *, default: bool = False) -> bool:
        """Read a flag, which forms send as text."""
        value = data.get(key, default)
        return value == "True" if isinstance(value, str) else bool(value)

    @staticmethod
    def repository(data: Any) -> Any:
        """The repository that the request names, if it names one."""
        for key, field in (("name", "name"), ("hostname", "hostname")):
            if data.get(key):
                found = DataRepository.objects.filter(**{field: data[key]}).first()
                if found is None:
                    raise CannotRegister("The specified repository does not exist.", key="detail")
                return found
        return None

    def repositories(self, labs: list[Any], data: Any) -> list[Any]:
        """The repositories of the labs: where the files are or will be."""
        found = {repository for lab in labs for repository in lab.repositories.all()}
        if self.says(data, "server_only"):
            found = {repository for repository in found if repository.globus_is_personal is False}
        return sorted(found, key=lambda repository: repository.name)


class CheckProtected(mixins.ListModelMixin, viewsets.GenericViewSet):
    """Tells whether files are protected; the answer is always 200, and its body says 403."""

    serializer_class = serializers.Serializer

    def list(self, request: Any) -> Response:
        data = request.data or request.query_params
        place = read_place(clean_path(data.get("path", "")), sender(request, data.get("created_by")))
        each = [
            (name, protection_of(place.session, place.collection, name))
            for name in several(data.get("filenames"))
            if name
        ]
        if not any(protected for _, (protected, _) in each):
            return Response({"status_code": 200, "details": "None of the datasets are protected"})
        details = [{name: revisions} for name, (_, revisions) in each]
        return Response({"status_code": 403, "error": "One or more datasets is protected", "details": details})


class SyncFileStatus(viewsets.GenericViewSet):
    """Would ask the file servers which files exist; the demo has nothing to ask, hence an empty array."""

    serializer_class = serializers.Serializer

    def sync(self, _request: Any) -> Response:
        return Response("ok")

    def sync_status(self, _request: Any) -> Response:
        return Response([])


class NewDownload(mixins.CreateModelMixin, viewsets.GenericViewSet):
    """Counts downloads."""

    serializer_class = serializers.Serializer

    def create(self, request: Any) -> Response:
        named = request.data.get("datasets")
        if named is None:
            raise TypeError("'NoneType' object is not iterable")
        datasets = [Dataset.objects.get(pk=key) for key in several(named)]
        projects = [Project.objects.get(name=name) for name in several(request.data.get("projects")) if name]
        downloads = []
        for dataset in datasets:
            download, _ = Download.objects.get_or_create(user=request.user, dataset=dataset)
            download.projects.add(*projects)
            download.count += 1
            download.save()
            downloads.append(download)
        keys = [str(download.pk) for download in downloads]
        return Response({"download": keys, "count": [each.count for each in downloads]}, status=201)
