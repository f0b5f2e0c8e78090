"""The domain exceptions.

Each message is a sentence for people: what happened, to which record, what to do.
Only the kernel layer turns an exception into an errno, and only one table there does it.
"""

from __future__ import annotations


class AlyxfsError(Exception):
    """Anything the drive could not do; the message is fit to be shown to the user."""

    def __init__(self, message: str, *, status: int | None = None, url: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status behind the error, if a server answered."""
        self.url = url
        """The address that was asked, without credentials."""


class Invalid(AlyxfsError):
    """The server, or our own validation, refuses the value (400)."""


class AccessDenied(AlyxfsError):
    """No token, a token the server does not know, or no permission (403)."""


class NotFound(AlyxfsError):
    """There is no such record or file (404)."""


class NeverFound(NotFound):
    """There is no such name, and cannot be, for a reason that people should be told."""


class NotAllowed(AlyxfsError):
    """The endpoint does not offer this method (405)."""


class ReadOnly(AlyxfsError):
    """The drive, or this part of it, cannot be written to."""


class Conflict(AlyxfsError):
    """The record was changed on both sides."""


class Exists(AlyxfsError):
    """The new name is taken."""


class HasDependents(AlyxfsError):
    """Other records hang from this one and would be deleted with it."""


class Throttled(AlyxfsError):
    """The server asks for a pause longer than the operation may last (429)."""


class TooLarge(AlyxfsError):
    """More bytes than a record may have."""


class NotDownloadable(AlyxfsError):
    """The database lists the file, but no server offers its bytes."""


class ServerFault(AlyxfsError):
    """The server failed, or its answer was broken or cut short (5xx)."""


class Unreachable(AlyxfsError):
    """No connection to the server."""


class NotConnected(Unreachable):
    """No connection was made, so that nothing was sent."""


class FileChanged(AlyxfsError):
    """The file on the server changed while it was being read."""


class DeadlineExceeded(AlyxfsError):
    """The operation did not end in the time it may take."""


class ConfigurationError(AlyxfsError):
    """The options, settings or the machine do not allow what was asked."""
