"""Reading an open file: at once, or as a body that can seek."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from shardpack.body import SeekableBody
from shardpack.errors import StorageError
from shardpack.storage.body import ObjectBody
from shardpack.storage.file_errors import file_errors

if TYPE_CHECKING:
    from shardpack.storage.base import ObjectInfo
    from shardpack.storage.transfer import Span

__all__ = ["FileBody", "read_exactly"]


def read_exactly(descriptor: int, span: Span, key: str) -> bytes:
    """Read a range of a file.

    Args:
        descriptor: The file.
        span: The range, which was inside of the file when its size was taken.
        key: Key of the object, for errors.

    Raises:
        StorageError: The file has become shorter.
    """
    size = span.end - span.start
    data = os.pread(descriptor, size, span.start) if size else b""
    if len(data) == size:
        return data
    # The kernel gives at most 2 GiB at a time.
    pieces = [data]
    done = len(data)
    while done < size:
        piece = os.pread(descriptor, size - done, span.start + done)
        if not piece:
            raise _cut_short(key, span.start + done)
        pieces.append(piece)
        done += len(piece)
    return b"".join(pieces)


class FileBody(SeekableBody, ObjectBody):
    """A range of an open file, which stays the version that was opened; closes it at the end.

    Args:
        descriptor: The file.
        span: The range.
        info: What is known about the object.
    """

    def __init__(self, descriptor: int, span: Span, info: ObjectInfo) -> None:
        super().__init__(span.end - span.start)
        self.info = info
        self._descriptor = descriptor
        self._span = span

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes, as ``Body.read`` does."""
        if self.closed:
            raise ValueError("I/O operation on a closed body")
        start = min(self._span.start + self._position, self._span.end)
        left = self._span.end - start
        count = left if size is None or size < 0 else min(size, left)
        with file_errors(self.info.key):
            data = read_exactly(
                self._descriptor, self._span._replace(start=start, end=start + count), self.info.key
            )
        self._position += len(data)
        return data

    def _next_into(self, target: memoryview) -> int:
        start = self._span.start + self._position
        wanted = min(target.nbytes, self._span.end - start)
        if wanted <= 0:
            return 0
        with file_errors(self.info.key):
            count = os.preadv(self._descriptor, [target[:wanted]], start)
        if not count:
            raise _cut_short(self.info.key, start)
        self._position += count
        return count

    def _release(self) -> None:
        os.close(self._descriptor)


def _cut_short(key: str, offset: int) -> StorageError:
    return StorageError(f"{key} was cut short while it was read, at byte {offset}", key=key)
