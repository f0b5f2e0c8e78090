"""What alyxfs did not expect: told in one sentence, with its traceback in the log alone, and counted for the status."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from alyxfs import errors

log = logging.getLogger(__name__)


@dataclass
class Defects:
    """Those of this process, which serves one drive. Changes only in :func:`note_defect`."""

    count: int = 0
    last: str | None = None
    """The sentence of the newest one."""


noted = Defects()


def note_defect(error: BaseException, where: str) -> errors.AlyxfsError:
    """Log and count what went wrong ``where``; returns it as the error for those who waited.

    The sentence names the kind of the error only: its text may quote what is nobody else's business.
    """
    log.error("a defect of alyxfs in %s", where, exc_info=error)
    noted.count += 1
    noted.last = f"A defect of alyxfs: {type(error).__name__} in {where}. Its log has the details."
    return errors.Defect(noted.last)


def as_domain_error(error: Exception, where: str) -> errors.AlyxfsError:
    """The error itself where it is one of the domain, else a defect, which is noted."""
    return error if isinstance(error, errors.AlyxfsError) else note_defect(error, where)
