"""Signatures of requests to private buckets of S3, made by botocore (the extra ``s3``)."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote, unquote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Callable

Signature: TypeAlias = "Callable[[str, str], dict[str, str]]"
"""From the method and the address of a request to the headers that sign it, as of now."""


def can_sign() -> bool:
    """Whether the package of the extra ``s3`` is installed."""
    return importlib.util.find_spec("botocore") is not None


def s3_signature(access_key: str, secret_key: str, region: str) -> Signature:
    """Signature version 4 with these keys. Blocks at first, while botocore is imported."""
    from botocore.auth import S3SigV4Auth  # noqa: PLC0415 - of the extra "s3", and slow to import
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415
    from botocore.credentials import Credentials  # noqa: PLC0415

    signer = S3SigV4Auth(Credentials(access_key, secret_key), "s3", region)

    def sign(method: str, url: str) -> dict[str, str]:
        parts = urlsplit(url)
        # What is signed is the path with all but letters, digits and -._~ encoded, however it goes over the wire.
        path = quote(unquote(parts.path), safe="/~")
        request = AWSRequest(method, urlunsplit(parts._replace(path=path)))
        signer.add_auth(request)
        return dict(request.headers)

    return sign
