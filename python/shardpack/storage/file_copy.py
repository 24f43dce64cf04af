"""Copying files with as little work as the file system allows."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["copy_bytes"]

_NO_COPY = frozenset(
    {
        errno.EBADF,
        errno.EINVAL,
        errno.ENOSYS,
        errno.ENOTTY,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EXDEV,
        errno.ETXTBSY,
    }
)
_FICLONE = 0x40049409
_COPY_BYTES = 64 << 20
_PIECE_BYTES = 256 << 10


def copy_bytes(source: int, target: int, progress: Callable[[int], object] | None = None) -> int:
    """Copy a file into an empty one, sharing its blocks where the file system can.

    Args:
        source: Descriptor of the source, read from its front.
        target: Descriptor of the target.
        progress: Called with the number of bytes done so far.

    Returns:
        The number of bytes copied.
    """
    done = 0
    if _clone(source, target):
        done = os.fstat(target).st_size
        if progress is not None:
            progress(done)
    else:
        while count := _copy_range(source, target, done):
            done += count
            if progress is not None:
                progress(done)
    # Some file systems end a copy in the kernel early; only a read tells the end for sure.
    while piece := os.pread(source, _PIECE_BYTES, done):
        view = memoryview(piece)
        while view:
            written = os.pwrite(target, view, done)
            view = view[written:]
            done += written
        if progress is not None:
            progress(done)
    return done


def _clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in _NO_COPY:
            raise
        return False
    return True


def _copy_range(source: int, target: int, offset: int) -> int:
    try:
        return os.copy_file_range(source, target, _COPY_BYTES, offset_src=offset, offset_dst=offset)
    except OSError as error:
        if error.errno not in _NO_COPY:
            raise
        return 0
