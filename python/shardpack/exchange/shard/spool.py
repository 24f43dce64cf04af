"""Bytes that must wait until the sizes of all of them are known."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, NamedTuple, Self

from shardpack.batch import as_bytes_view
from shardpack.hash import Blake3

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Buffer

__all__ = ["Spool", "Spooled"]

_READ_PIECE = 1 << 20


class Spooled(NamedTuple):
    """Bytes that were kept.

    Attributes:
        data: The bytes, where they are in memory.
        spool: Where they are otherwise.
        offset: Their place there.
        size: Their number.
        blake3: Their digest, 64 hexadecimal digits.
    """

    data: bytes | None
    spool: Spool
    offset: int
    size: int
    blake3: str

    def read(self, start: int = 0, size: int | None = None) -> bytes:
        """Give the bytes, or some of them.

        Args:
            start: The first one.
            size: How many; all that follow when ``None``.
        """
        count = self.size - start if size is None else min(size, self.size - start)
        if self.data is not None:
            return self.data if count == self.size else self.data[start : start + count]
        return self.spool.read(self.offset + start, count)


class Spool:
    """Keeps bytes in memory up to a limit, and beyond it in a temporary file without a name.

    The file is gone when the spool is closed, or when nothing that was kept is left.

    Args:
        memory_limit: Most bytes in memory.

    Attributes:
        memory_left: How many more it takes there.
    """

    def __init__(self, memory_limit: int) -> None:
        self._descriptor = -1
        self.memory_left = memory_limit
        self._end = 0

    def keep(self, data: Buffer) -> Spooled:
        """Keep a buffer, whose owner may then use it for something else.

        Args:
            data: The buffer.
        """
        view = as_bytes_view(data)
        digest = Blake3(view).hexdigest()
        size = view.nbytes
        if size <= self.memory_left:
            self.memory_left -= size
            held = data if isinstance(data, bytes) else bytes(view)
            return Spooled(held, self, 0, size, digest)
        offset = self._end
        self._append(view)
        return Spooled(None, self, offset, size, digest)

    def keep_stream(self, pieces: Iterable[Buffer]) -> Spooled:
        """Keep all that an iterable gives; small streams stay in memory.

        Args:
            pieces: The buffers.
        """
        hasher = Blake3()
        held: list[bytes] = []
        size = 0
        offset: int | None = None
        for piece in pieces:
            view = as_bytes_view(piece)
            hasher.update(view)
            size += view.nbytes
            if offset is None and size <= self.memory_left:
                held.append(bytes(view))
                continue
            if offset is None:
                offset = self._end
                for earlier in held:
                    self._append(memoryview(earlier))
                held = []
            self._append(view)
        if offset is None:
            self.memory_left -= size
            return Spooled(b"".join(held), self, 0, size, hasher.hexdigest())
        return Spooled(None, self, offset, size, hasher.hexdigest())

    def read(self, offset: int, size: int) -> bytes:
        """Read bytes of the temporary file.

        Args:
            offset: Their place.
            size: Their number.
        """
        pieces = []
        while size:
            piece = os.pread(self._descriptor, min(size, _READ_PIECE), offset)
            if not piece:
                raise EOFError(f"the temporary file ends {size} bytes too early")
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Free the temporary file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        """Give the spool."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Free the temporary file."""
        self.close()

    def _append(self, view: memoryview) -> None:
        if self._descriptor < 0:
            # Nameless from the start: nothing is left behind, however this process ends.
            with tempfile.TemporaryFile(prefix="shardpack-") as file:
                self._descriptor = os.dup(file.fileno())
        while view.nbytes:
            written = os.pwrite(self._descriptor, view, self._end)
            self._end += written
            view = view[written:]
