"""Reading and writing at offsets, on disks that may refuse some of it."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from shardpack.batch import lazy_buffer
from shardpack.errors import InvalidInput
from shardpack.parity.group import parity_name

if TYPE_CHECKING:
    from types import TracebackType

    from shardpack.parity.group import Group

__all__ = [
    "Rows",
    "ShardFiles",
    "copy_range",
    "open_for_reading",
    "place_of",
    "read_into",
    "write_at",
]

# Bytes of all shards together that are worked on at a time, unless a single block takes more.
_WORK_BYTES = 32 << 20
# Blocks of a shard that are worked on at a time: each is a Python object for a moment.
_WORK_BLOCKS = 1 << 14
_COPY_PIECE = 8 << 20
# What a disk says of a sector that it cannot read; everything else is not the shard's fault.
_UNREADABLE = frozenset({errno.EIO, errno.EILSEQ, errno.EUCLEAN, errno.ENODATA})
_NO_COPY_RANGE = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM}
)


def open_for_reading(path: str) -> int | None:
    """Open a file; ``None`` if there is none. A pipe in its place does not make this wait."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    return None


def _open_shard(path: str) -> int | None:
    descriptor = open_for_reading(path)
    if descriptor is not None and stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        # Reading would say so too, but not where.
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return descriptor


def place_of(folder: str, name: str) -> str:
    """Give the path of a file of parity that is to be written.

    Raises:
        InvalidInput: There is a symbolic link, and what it leads to is not ours to replace.
    """
    path = os.path.join(folder, name)
    if os.path.islink(path):
        raise InvalidInput(f"{name} is a symbolic link, which is not followed: remove it")
    return path


def read_into(descriptor: int, view: memoryview, offset: int) -> int:
    """Fill a view from an offset on; gives the number of bytes that there were."""
    done = 0
    while done < view.nbytes:
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if not count:
            break
        done += count
    return done


def write_at(descriptor: int, view: memoryview, offset: int) -> None:
    """Write all of a view at an offset."""
    done = 0
    while done < view.nbytes:
        done += os.pwrite(descriptor, view[done:], offset + done)


def copy_range(source: int, target: int, start: int, end: int) -> None:
    """Copy bytes to the same place in another file, without reading them where that works."""
    at = start
    with suppress(AttributeError):
        while at < end:
            try:
                count = os.copy_file_range(source, target, end - at, at, at)
            except OSError as error:
                if error.errno not in _NO_COPY_RANGE:
                    raise
                break
            if not count:
                break
            at += count
    buffer = lazy_buffer(min(_COPY_PIECE, end - at)) if at < end else memoryview(b"")
    while at < end:
        count = read_into(source, buffer[: min(buffer.nbytes, end - at)], at)
        if not count:
            raise OSError(errno.EIO, "the file became shorter while it was copied")
        write_at(target, buffer[:count], at)
        at += count


class Rows:
    """Memory for the same columns of every shard, a row each.

    Args:
        group: The group.
        rows: How many shards are held at a time.
    """

    def __init__(self, group: Group, rows: int) -> None:
        block = min(group.block, group.shard_len)
        blocks = max(1, min(_WORK_BYTES // (block * rows), _WORK_BLOCKS))
        # Whole blocks, or all there is.
        self.width = min(blocks * block, group.shard_len)
        self._memory = lazy_buffer(self.width * rows)

    def row(self, number: int, width: int | None = None) -> memoryview:
        """Give the first bytes of a row; all of it when ``width`` is ``None``."""
        start = number * self.width
        return self._memory[start : start + (self.width if width is None else width)]


class ShardFiles:
    """The files that the shards of a group are in, opened for reading.

    Args:
        group: The group.
        path: The file that the data shards are parts of.
        folder: Where the parity files are.
    """

    def __init__(self, group: Group, path: str, folder: str) -> None:
        self.group = group
        self._data = _open_shard(path)
        self._parity: list[int | None] = []
        try:
            for index in range(group.data_shards, group.total):
                self._parity.append(_open_shard(os.path.join(folder, parity_name(index))))
        except BaseException:
            self.close()
            raise

    def descriptor(self, index: int) -> int | None:
        """Give the file of a shard, ``None`` if there is none."""
        data_shards = self.group.data_shards
        return self._data if index < data_shards else self._parity[index - data_shards]

    def size(self, index: int) -> int:
        """Tell the length of the file of a shard, 0 if there is none."""
        descriptor = self.descriptor(index)
        return 0 if descriptor is None else os.fstat(descriptor).st_size

    def read(self, index: int, start: int, view: memoryview) -> int:
        """Fill a view with bytes of a shard, and what is beyond its stored bytes with zeros.

        Args:
            index: The shard.
            start: Where in the shard.
            view: Where to.

        Returns:
            How many stored bytes could be read, from the start on.
        """
        descriptor = self.descriptor(index)
        stored = self.group.stored(index, start, start + view.nbytes)
        view[stored:] = bytes(view.nbytes - stored)
        if descriptor is None or not stored:
            return 0
        try:
            return read_into(descriptor, view[:stored], self.group.offset(index) + start)
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            return 0

    def close(self) -> None:
        """Close the files."""
        for descriptor in (self._data, *self._parity):
            if descriptor is not None:
                os.close(descriptor)
        self._data, self._parity = None, []

    def __enter__(self) -> Self:
        """Give the files."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the files."""
        self.close()
