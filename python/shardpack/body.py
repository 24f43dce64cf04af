"""Bytes that are read as a stream, with the calls of ``io`` and those of botocore's streams."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from shardpack.batch import as_bytes_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

__all__ = ["Body", "MemoryBody", "SeekableBody"]

_PIECE = 1 << 20
_LINE_PIECE = 64 << 10


class Body(io.RawIOBase):
    """Bytes read from the front.

    A subclass says how the next bytes come (``_next_into``) and what is released at the end
    (``_release``). Reads are exact: less than was asked for comes only at the true end, and a
    source that ends too early raises.
    """

    def readable(self) -> bool:
        """Answer True: this is what the object is for."""
        return True

    def readinto(self, b: Buffer) -> int:
        """Fill a buffer; fewer bytes only at the end.

        Args:
            b: Any writable C-contiguous buffer.

        Returns:
            The number of bytes put into it.
        """
        if self.closed:
            raise ValueError("I/O operation on a closed body")
        target = as_bytes_view(b)
        filled = 0
        while filled < target.nbytes:
            count = self._next_into(target[filled:])
            if not count:
                break
            filled += count
        return filled

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes.

        Args:
            size: How many; all that is left when negative or ``None``.

        Returns:
            That many bytes, fewer only at the end.
        """
        if size is None or size < 0:
            return b"".join(self.iter_chunks(_PIECE))
        piece = bytearray(size)
        count = self.readinto(piece)
        del piece[count:]
        return bytes(piece)

    def readall(self) -> bytes:
        """Read all that is left."""
        return self.read()

    def iter_chunks(self, chunk_size: int = _PIECE) -> Iterator[bytes]:
        """Give all that is left in pieces.

        Args:
            chunk_size: Bytes of each piece; the last may be shorter.
        """
        while piece := self.read(chunk_size):
            yield piece

    def iter_lines(
        self, chunk_size: int | None = None, limit: int | None = None, *, keepends: bool = False
    ) -> Iterator[bytes]:
        r"""Give the lines that are left, split at ``\n``.

        Args:
            chunk_size: Bytes to read at a time.
            limit: Most lines to give.
            keepends: Leave the line end at each line.
        """
        rest = b""
        given = 0
        for piece in self.iter_chunks(chunk_size or _LINE_PIECE):
            lines = (rest + piece).split(b"\n")
            rest = lines.pop()
            for line in lines:
                if given == limit:
                    return
                given += 1
                yield line + b"\n" if keepends else line
        if rest and given != limit:
            yield rest

    def __iter__(self) -> Iterator[bytes]:
        """Give all that is left in pieces of one mebibyte, not lines (see ``iter_lines``)."""
        return self.iter_chunks()

    def close(self) -> None:
        """Release the connection or file behind the body."""
        if not self.closed:
            super().close()
            self._release()

    def _next_into(self, target: memoryview) -> int:
        """Put at least one byte into ``target``; 0 at the true end."""
        raise NotImplementedError

    def _release(self) -> None:
        """Give back what is held."""


class SeekableBody(Body):
    """A body of known length that can begin anywhere.

    Args:
        size: Its length in bytes.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._position = 0

    def seekable(self) -> bool:
        """Answer True."""
        return True

    def tell(self) -> int:
        """Give the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a position.

        Args:
            offset: Bytes from where ``whence`` says.
            whence: ``io.SEEK_SET``, ``io.SEEK_CUR`` or ``io.SEEK_END``.

        Returns:
            The new position.
        """
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}
        if whence not in base:
            raise ValueError(f"whence must be 0, 1 or 2, got {whence}")
        if base[whence] + offset < 0:
            raise ValueError(f"negative seek position {base[whence] + offset}")
        self._position = base[whence] + offset
        return self._position


class MemoryBody(SeekableBody):
    """A body that is in memory already.

    Args:
        data: Any C-contiguous buffer.
    """

    def __init__(self, data: Buffer) -> None:
        view = as_bytes_view(data)
        super().__init__(view.nbytes)
        self._view = view

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes, as ``Body.read`` does."""
        if self.closed:
            raise ValueError("I/O operation on a closed body")
        end = None if size is None or size < 0 else self._position + size
        piece = self._view[self._position : end]
        self._position += piece.nbytes
        return bytes(piece)

    def _next_into(self, target: memoryview) -> int:
        piece = self._view[self._position : self._position + target.nbytes]
        target[: piece.nbytes] = piece
        self._position += piece.nbytes
        return piece.nbytes
