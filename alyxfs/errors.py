"""The domain exceptions.

Each message is a sentence for people: what happened, to which record, what to do.
Only the kernel layer turns an exception into an errno, and only one table there does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs.visible_text import one_line

if TYPE_CHECKING:
    from typing_extensions import Self


class AlyxfsError(Exception):
    """Anything the drive could not do; the message is fit to be shown to the user, whatever it quotes."""

    def __init__(self, message: str, *, status: int | None = None, url: str | None = None) -> None:
        super().__init__(one_line(message))
        self.status = status
        """The HTTP status behind the error, if a server answered."""
        self.url = url
        """The address that was asked, without credentials."""

    def again(self, sentence: str | None = None) -> Self:
        """The same failure for one more who waits, or with more to say: one exception would collect all tracebacks.

        Also what is remembered of it: whatever the functions held that it came through, stays as long as it does.
        """
        return type(self)(sentence or str(self), status=self.status, url=self.url)


class Invalid(AlyxfsError):
    """The server, or our own validation, refuses the value (400)."""


class AccessDenied(AlyxfsError):
    """No token, a token the server does not know, or no permission (403)."""


class NotFound(AlyxfsError):
    """There is no such record or file (404)."""


class NeverFound(NotFound):
    """There is no such name, and cannot be, for a reason that people should be told."""


class NotInSnapshot(AlyxfsError):
    """The drive shows a snapshot, which does not hold this, and asks nobody."""


class NotAllowed(AlyxfsError):
    """The endpoint does not offer this method (405)."""


class ReadOnly(AlyxfsError):
    """The drive, or this part of it, cannot be written to."""


class Conflict(AlyxfsError):
    """The record was changed on both sides."""


class Exists(AlyxfsError):
    """The new name is taken."""


class NameTaken(Exists):
    """A new record has the name of one that is there, though the server denied it when the file was made."""


class HasDependents(AlyxfsError):
    """Other records hang from this one and would be deleted with it."""


class Throttled(AlyxfsError):
    """The server asks for a pause longer than the operation may last (429)."""


class TooLarge(AlyxfsError):
    """More bytes than a record may have."""


class NotDownloadable(AlyxfsError):
    """The database lists the file, but no server offers its bytes."""


class BadAddress(NotDownloadable):
    """What should be the address of a server or file is none."""


class AddressRefused(AccessDenied):
    """The address may not be asked: where it leads, or how it is written, is for nobody who can write a record."""


class CrawlerRefused(AccessDenied):
    """A program that reads everything wants a data file that would have to be fetched.

    It is denied access (EACCES) as to a file that it may not read, which such programs report and pass over. EPERM they
    take for another thing: that they may not open it without a change of its access time (O_NOATIME in open(2)), which
    borg and restic then try.
    """


class ServerFault(AlyxfsError):
    """The server failed, or its answer was broken or cut short (5xx)."""


class AnswerTooLarge(ServerFault):
    """The server's answer is larger than any that is read whole, and was given up."""


class Misdirected(ServerFault):
    """The address of a record led to something else."""


class Garbled(ServerFault):
    """What came as an answer breaks the rules of HTTP."""


class Unreachable(AlyxfsError):
    """No connection to the server."""


class NotConnected(Unreachable):
    """No connection was made, so that nothing was sent."""


class FileChanged(AlyxfsError):
    """The file on the server changed while it was being read."""


class DeadlineExceeded(AlyxfsError):
    """The operation did not end in the time it may take."""


class CopyOfRecord(Invalid):
    """A new file is the copy of a record that is there: nothing was sent, the file stays on this machine."""


class NotKept(AlyxfsError):
    """A draft was neither saved nor could it be kept on this machine's disk."""


class ConfigurationError(AlyxfsError):
    """The options, settings or the machine do not allow what was asked."""


class Defect(AlyxfsError):
    """Alyxfs itself failed in a way that nobody foresaw."""


def of_machine(error: OSError) -> ConfigurationError:
    """What the machine refused, as a sentence."""
    what = f"{error.filename}: " if error.filename else ""
    return ConfigurationError(f"{what}{error.strerror or error}.")
