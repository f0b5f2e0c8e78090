"""Web addresses of data files.

The port differs from run to run, so the database holds addresses under a host that does not exist; answers name the
host that the request came to instead, as the `url` fields do.
"""

import uuid
from typing import Any

from rest_framework import serializers

STORED_ROOT = "http://data.invalid/"
FILES_PATH = "/data_files/"


def served_address(stored: str | None, request: Any) -> str | None:
    """Return a stored address as the client of this request can use it."""
    if stored is None or request is None or not stored.startswith(STORED_ROOT):
        return stored
    root = f"{request.scheme}://{request.get_host()}{FILES_PATH}"
    return root + stored.removeprefix(STORED_ROOT)


def stored_address(served: str | None, request: Any) -> str | None:
    """Undo `served_address`, so that an address that was read can be written back."""
    if served is None or request is None:
        return served
    root = f"{request.scheme}://{request.get_host()}{FILES_PATH}"
    return STORED_ROOT + served.removeprefix(root) if served.startswith(root) else served


def with_uuid(path: str, identity: uuid.UUID) -> str:
    """Put the dataset's UUID before the extension, as file servers name their files."""
    folder, slash, name = path.rpartition("/")
    stem, dot, extension = name.rpartition(".")
    if not stem:
        return f"{folder}{slash}{name}.{identity}"
    return f"{folder}{slash}{stem}.{identity}{dot}{extension}"


class DataAddressField(serializers.URLField):
    """An address under the file server, rewritten on its way out and in."""

    def to_representation(self, value: str | None) -> str | None:
        return served_address(value, self.context.get("request"))

    def to_internal_value(self, data: Any) -> Any:
        return stored_address(super().to_internal_value(data), self.context.get("request"))
