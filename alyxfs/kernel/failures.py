"""Domain errors as errno, and the bound on every operation."""

from __future__ import annotations

import errno
import functools
import logging
import time
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast

import pyfuse3
import trio

from alyxfs import clock, errors
from alyxfs.counters import counted
from alyxfs.defects import as_domain_error

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from alyxfs.kernel.subjects import Subjects

log = logging.getLogger(__name__)

_ERRNO: tuple[tuple[type[errors.AlyxfsError], int], ...] = (
    (errors.Invalid, errno.EINVAL),
    (errors.AccessDenied, errno.EACCES),
    (errors.NotFound, errno.ENOENT),
    (errors.NotAllowed, errno.EPERM),
    (errors.ReadOnly, errno.EROFS),
    (errors.Conflict, errno.ESTALE),
    (errors.FileChanged, errno.ESTALE),
    (errors.Exists, errno.EEXIST),
    (errors.HasDependents, errno.ENOTEMPTY),
    (errors.Throttled, errno.EAGAIN),
    (errors.TooLarge, errno.EFBIG),
    (errors.NotDownloadable, errno.ENODATA),
    (errors.NotInSnapshot, errno.ENODATA),
    (errors.DeadlineExceeded, errno.ETIMEDOUT),
    (errors.AlyxfsError, errno.EIO),
)

_MISREAD = {
    # Of EINVAL mv believes that a directory was moved into itself, says so, and tries again in another way.
    ("rename", errno.EINVAL): errno.EPERM,
    # Emacs, dd and others take these of fsync for "this file system cannot do it", and say that the file is saved.
    **{("fsync", number): errno.EIO for number in (errno.EINVAL, errno.EROFS, errno.EOPNOTSUPP, errno.ENOSYS)},
    # The same error of a save at whichever moment; and of ENOSYS Linux would never ask again.
    **{("flush", number): errno.EIO for number in (errno.EINVAL, errno.EROFS, errno.EOPNOTSUPP, errno.ENOSYS)},
}
"""Where programs read something else out of an errno than it says: what they are told instead, by operation."""

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def errno_of(error: errors.AlyxfsError, operation: str = "") -> int:
    """The errno of a domain error: the only place that knows it."""
    if operation == "lookup" and isinstance(error, errors.NotInSnapshot):
        return errno.ENOENT  # a name that nobody has listed: programs look for many, and know no other errno for that
    return next(number for kind, number in _ERRNO if isinstance(error, kind))


class _Operations(Protocol):
    deadline: float
    """Seconds that an operation may take."""

    subjects: Subjects


def handled(
    operation: Callable[Parameters, Coroutine[Any, Any, Result]],
) -> Callable[Parameters, Coroutine[Any, Any, Result]]:
    """Bound an operation by the deadline and turn its errors into errno; it asks for nothing twice."""

    @functools.wraps(operation)
    async def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return await bounded(cast("_Operations", args[0]).deadline, operation(*args, **kwargs))

    return answered_at_once(wrapper)


async def bounded(seconds: float, operation: Coroutine[Any, Any, Result]) -> Result:
    """See :func:`handled`; raises DeadlineExceeded."""
    with clock.one_operation():
        return await within(seconds, operation)


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
        counted.kernel[name] += 1
        try:
            if log.isEnabledFor(logging.DEBUG):
                return await _told(name, args, operation(*args, **kwargs))
            return await operation(*args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except Exception as error:
            failure = as_domain_error(error, name)
            cast("_Operations", args[0]).subjects.note(name, args, failure)
            number = errno_of(failure, name)
            raise pyfuse3.FUSEError(_MISREAD.get((name, number), number)) from error

    return wrapper


async def _told(name: str, args: Sequence[object], operation: Coroutine[Any, Any, Result]) -> Result:
    """The result of the operation; a line of the log says what it was about, what came of it, and how long it took."""
    path = cast("_Operations", args[0]).subjects.path(name, args)  # a handle may be closed afterwards
    began, outcome = time.perf_counter(), "no answer"
    try:
        result = await operation
        outcome = f"{len(result)} bytes" if isinstance(result, (bytes, memoryview)) else "done"
    except pyfuse3.FUSEError as error:
        outcome = errno.errorcode.get(error.errno, str(error.errno))
        raise
    except errors.AlyxfsError as error:
        outcome = f"{type(error).__name__}"
        raise
    finally:
        log.debug("%s %s: %s in %.1f ms", name, path, outcome, 1000 * (time.perf_counter() - began))
    return result
