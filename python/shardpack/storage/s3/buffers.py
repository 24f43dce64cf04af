"""Memory for the parts of uploads, which costs more to get from the system than to fill."""

from __future__ import annotations

import mmap
from collections import deque
from typing import Final

__all__ = ["Buffers"]

_LEAST_MAPPED: Final = 1 << 20


class Buffers:
    """Buffers of one upload, of which each part takes over that of one before it.

    Any thread may use it.
    """

    def __init__(self) -> None:
        self._free: deque[memoryview] = deque()

    def take(self, size: int) -> memoryview:
        """Give a buffer with some content or other.

        Args:
            size: Its length in bytes.
        """
        try:
            free = self._free.pop()
        except IndexError:
            return _new(size)
        return free[:size] if free.nbytes >= size else _new(size)

    def give(self, buffer: memoryview) -> None:
        """Take a buffer back that nobody looks at any more.

        Args:
            buffer: What ``take`` gave.
        """
        self._free.append(buffer)


def _new(size: int) -> memoryview:
    if size < _LEAST_MAPPED:
        return memoryview(bytearray(size))
    # A bytearray would be filled with zeros first; this takes no memory before it is written to.
    # Not in large pages: where memory is fragmented the system spends seconds on making them.
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
