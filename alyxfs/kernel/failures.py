"""Domain errors as errno, and the bound on every operation."""

from __future__ import annotations

import errno
import functools
import logging
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast

import pyfuse3
import trio

from alyxfs import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

log = logging.getLogger(__name__)

_ERRNO: tuple[tuple[type[errors.AlyxfsError], int], ...] = (
    (errors.Invalid, errno.EINVAL),
    (errors.AccessDenied, errno.EACCES),
    (errors.NotFound, errno.ENOENT),
    (errors.NotAllowed, errno.EPERM),
    (errors.ReadOnly, errno.EROFS),
    (errors.Conflict, errno.ESTALE),
    (errors.Exists, errno.EEXIST),
    (errors.HasDependents, errno.ENOTEMPTY),
    (errors.Throttled, errno.EAGAIN),
    (errors.TooLarge, errno.EFBIG),
    (errors.NotDownloadable, errno.ENODATA),
    (errors.DeadlineExceeded, errno.ETIMEDOUT),
    (errors.AlyxfsError, errno.EIO),
)

WRITE_DEADLINES = 4
"""A write reads the record, sends, and may have to look what came of it: requests with a deadline each."""
_WRITES = frozenset({"flush", "fsync", "release", "unlink", "rename"})

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def errno_of(error: errors.AlyxfsError) -> int:
    """The errno of a domain error: the only place that knows it."""
    return next(number for kind, number in _ERRNO if isinstance(error, kind))


class _Operations(Protocol):
    deadline: float
    """Seconds that an operation may take."""

    def note(self, operation: str, subject: int, args: Sequence[object], error: errors.AlyxfsError) -> None: ...


def handled(
    operation: Callable[Parameters, Coroutine[Any, Any, Result]],
) -> Callable[Parameters, Coroutine[Any, Any, Result]]:
    """Bound an operation by the deadline and turn its errors into errno."""
    deadlines = WRITE_DEADLINES if operation.__name__ in _WRITES else 1

    @functools.wraps(operation)
    async def bounded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return await within(cast("_Operations", args[0]).deadline * deadlines, operation(*args, **kwargs))

    return answered_at_once(bounded)


async def within(seconds: float, operation: Coroutine[Any, Any, Result]) -> Result:
    """The result of the operation; raises DeadlineExceeded if it takes longer."""
    # trio.fail_after does the same at twice the cost, at each of the many requests of a walk.
    with trio.CancelScope(deadline=trio.current_time() + seconds) as scope:
        return await operation
    assert scope.cancelled_caught
    raise errors.DeadlineExceeded(f"The operation did not end within {seconds:g} s.")


def answered_at_once(
    operation: Callable[Parameters, Coroutine[Any, Any, Result]],
) -> Callable[Parameters, Coroutine[Any, Any, Result]]:
    """Turn the errors of an operation into errno; it needs no deadline, as it waits for nothing."""
    name = operation.__name__

    @functools.wraps(operation)
    async def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return await operation(*args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except Exception as error:
            if isinstance(error, errors.AlyxfsError):
                failure = error
            else:
                log.exception("%s failed in a way that is a defect of alyxfs", name)
                failure = errors.AlyxfsError(f"A defect of alyxfs: {type(error).__name__}: {error}")
            subject = args[1] if len(args) > 1 and isinstance(args[1], int) else 0
            cast("_Operations", args[0]).note(name, subject, args, failure)
            number = errno_of(failure)
            # Of EINVAL mv believes that a directory was moved into itself, says so, and tries again in another way.
            is_misread = name == "rename" and number == errno.EINVAL
            raise pyfuse3.FUSEError(errno.EPERM if is_misread else number) from error

    return wrapper
