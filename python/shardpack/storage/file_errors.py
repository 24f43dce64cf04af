"""What goes wrong with files, in the words of stores."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shardpack.errors import (
    AccessDeniedError,
    ConcurrencyUnsupportedError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_condition", "file_errors", "no_conditions"]


@contextmanager
def file_errors(key: str, *, reading: bool = False) -> Iterator[None]:
    """Turn what the operating system says into the errors of stores.

    Args:
        key: Key of the object.
        reading: A file that is not there means that there is no such object.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if reading and error.errno in {errno.ENOENT, errno.ENOTDIR}:
            raise ObjectNotFoundError(key) from error
        text = os.strerror(error.errno) if error.errno else str(error)
        kind = AccessDeniedError if isinstance(error, PermissionError) else StorageError
        code = errno.errorcode.get(error.errno or 0)
        raise kind(f"{key}: {text}", key=key, code=code) from error


def no_conditions(folder: str) -> ConcurrencyUnsupportedError:
    """Say that conditional writes cannot be had."""
    return ConcurrencyUnsupportedError(f"the file system of {folder} has no folder locks")


def check_condition(key: str, found: str | None, if_match: str | None, *, if_absent: bool) -> None:
    """Raise if the version that is there is not the one that is asked for.

    Args:
        key: Key of the object.
        found: ETag of what is there.
        if_match: ETag that is asked for.
        if_absent: Nothing may be there.
    """
    if if_match is not None and found is None:
        raise ObjectNotFoundError(key)
    if (if_absent and found is not None) or (if_match is not None and found != if_match):
        raise PreconditionFailedError(
            f"{key} is version {found}, not {if_match or 'absent'}",
            key=key,
            code="PreconditionFailed",
            status=412,
        )
