"""Data repositories that are buckets of S3: public ones by their https address, private ones by signed requests.

The name of a bucket, and the keys of a private one, stand in the ``json`` of the repository (one/remote/aws.py of ONE).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import errors
from alyxfs.net import can_sign, s3_signature

if TYPE_CHECKING:
    from alyxfs.net import Network

MIRRORS = "aws"
"""Names of mirrors in S3 begin so (BEHAVIOUR of Alyx 3.6.1, "From a session to its files")."""
USUAL_REGION = "us-east-1"
"""Where a bucket lies whose repository does not say (one/remote/aws.py)."""
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Variables that name another service than Amazon's, first one first; boto3, and so ONE, heeds them, too."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,62}")
"""Of buckets and regions; with a dot in it a bucket's name fits no certificate."""
_KEY = re.compile(r"[!-~]{1,200}")
_SECRET = re.compile("key|secret|token|password|credential", re.IGNORECASE)
"""In the name of a field: its value is nobody else's."""
_ACCESS_KEY, _SECRET_KEY = "Access key ID", "Secret access key"


def root_of_bucket(bucket: Any) -> str | None:
    """The address that those of all files in a bucket begin with; None where the repository's json names no bucket."""
    if not isinstance(bucket, dict):
        return None
    name, region = bucket.get("bucket_name"), bucket.get("region_name") or USUAL_REGION
    if not all(isinstance(text, str) and _NAME.fullmatch(text) for text in (name, region)):
        return None
    for endpoint in _endpoints().values():
        return f"{endpoint.rstrip('/')}/{name}/"
    return f"https://{name}.s3.{region}.amazonaws.com/"


def _endpoints() -> dict[str, str]:
    """The addresses that the user names in place of Amazon's, by variable; the first one counts."""
    return {variable: value for variable in ENDPOINTS if (value := os.environ.get(variable))}


def is_private(bucket: Any) -> bool:
    """Whether the repository's json holds keys for its bucket."""
    return isinstance(bucket, dict) and bool(bucket.get(_ACCESS_KEY))


def without_keys(repository: Any) -> Any:
    """The record of a repository without the keys of its bucket, and whatever else its json calls a secret."""
    return {**repository, "json": _without(repository.get("json"))} if isinstance(repository, dict) else repository


def _without(value: Any) -> Any:
    if isinstance(value, list):
        return [_without(one) for one in value]
    if isinstance(value, dict):
        return {name: _without(one) for name, one in value.items() if not _SECRET.search(name)}
    return value


def path_in_bucket(path: str, identity: str) -> str:
    """The path of a dataset's file, with the dataset's UUID before the extension."""
    folder, slash, file = path.rpartition("/")
    stem, dot, extension = file.rpartition(".")
    return f"{folder}{slash}" + (f"{stem}.{identity}{dot}{extension}" if stem else f"{file}.{identity}")


class Buckets:
    """Finds addresses, and has requests to private buckets signed. ``_signed`` changes only after the last await."""

    def __init__(self, network: Network) -> None:
        self._network = network
        for variable, endpoint in _endpoints().items():
            try:
                network.allow(endpoint)
            except errors.BadAddress as error:
                raise errors.ConfigurationError(f"The variable {variable}: {error}") from error
        self._signed: dict[str, tuple[str, str]] = {}
        """The keys that are in use, by the address of the bucket."""

    async def address(self, bucket: Any, path: str, identity: str) -> str | None:
        """The address of a dataset's file, ``#`` raw; None where the json of its repository names no bucket.

        Raises NotDownloadable for a private bucket whose requests cannot be signed here.
        """
        root = root_of_bucket(bucket)
        if root is None:
            return None
        if is_private(bucket):
            await self._sign(root, bucket)
        return root + path_in_bucket(path, identity)

    async def _sign(self, root: str, bucket: dict[str, Any]) -> None:
        keys = (str(bucket[_ACCESS_KEY]), str(bucket.get(_SECRET_KEY)))
        if self._signed.get(root) == keys:
            return
        private = f"The bucket {bucket['bucket_name']} is private"
        if not can_sign():
            raise errors.NotDownloadable(f'{private}: pip install "alyxfs[s3]" to read from it.')
        if not bucket.get(_SECRET_KEY) or not all(_KEY.fullmatch(key) for key in keys):
            raise errors.NotDownloadable(f"{private}, and its repository lacks the secret key.")
        region = bucket.get("region_name") or USUAL_REGION
        signature = await trio.to_thread.run_sync(s3_signature, *keys, region)
        self._network.sign(root, signature)
        self._signed[root] = keys
