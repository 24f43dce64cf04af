"""Bytes from a path, a file object or an iterable, taken in pieces of bounded size."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from shardpack.batch import as_bytes_view
from shardpack.errors import S4FrameError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typing_extensions import Buffer

__all__ = ["ByteSource", "SourceLike", "open_source"]

if TYPE_CHECKING:
    SourceLike = str | os.PathLike[str] | Any | Iterable[Buffer]
else:
    SourceLike = object

_PIECE = 1 << 20


class ByteSource:
    """Forward reads from a file object, and seeks where it can.

    Offsets count from where the file object stood at the start.
    """

    def __init__(self, fileobj: Any, *, close_fileobj: bool = False) -> None:  # noqa: ANN401 - any file object
        self._fileobj = fileobj
        self._close_fileobj = close_fileobj
        self.seekable = bool(hasattr(fileobj, "seekable") and fileobj.seekable())
        if self.seekable and isinstance(fileobj, io.FileIO):
            self.seekable = _has_end(fileobj)
        self._base = fileobj.tell() if self.seekable else 0
        self._has_readinto = hasattr(fileobj, "readinto")
        self._size: int | None = None
        self._ahead = b""
        self.position = 0

    def take(self, size: int) -> bytes:
        """Read ``size`` bytes, fewer only where the source ends."""
        piece = self._read(size)
        if len(piece) == size or not piece:
            return piece
        taken = bytearray(piece)
        while len(taken) < size and (piece := self._read(size - len(taken))):
            taken += piece
        return bytes(taken)

    def take_some(self, size: int) -> bytes:
        """Read what one read of the source gives: at most ``size`` bytes, none only at the end."""
        return self._read(size)

    def peek(self, size: int) -> bytes:
        """Give the next bytes, fewer only where the source ends, without moving on."""
        position = self.position
        head = self.take(size)
        if self.seekable:
            self.seek(position)
        else:
            self._ahead = head + self._ahead
            self.position = position
        return head

    def fill(self, target: memoryview, announced: int) -> None:
        """Read exactly as many bytes as ``target`` has room for.

        Args:
            target: Where they go.
            announced: What a header promised, for the error.

        Raises:
            S4FrameError: The source ends before.
        """
        filled = 0
        while filled < target.nbytes:
            count = self._read_into(target[filled:])
            if not count:
                raise _cut(announced, filled)
            filled += count

    def skip(self, size: int) -> None:
        """Step over exactly ``size`` bytes, without reading them where the source can seek.

        Raises:
            S4FrameError: The source ends before.
        """
        if self.seekable:
            left = self.size() - self.position
            if size > left:
                raise _cut(size, left)
            self.seek(self.position + size)
            return
        left = size
        while left:
            piece = self._read(min(left, _PIECE))
            if not piece:
                raise _cut(size, size - left)
            left -= len(piece)

    def seek(self, offset: int) -> None:
        """Go to ``offset`` bytes after the start."""
        self._fileobj.seek(self._base + offset)
        self.position = offset

    def size(self) -> int:
        """Give the length of a seekable source in bytes, as it was when first asked for."""
        if self._size is None:
            end: int = self._fileobj.seek(0, os.SEEK_END)
            self._fileobj.seek(self._base + self.position)
            self._size = end - self._base
        return self._size

    def close(self) -> None:
        """Close the file object if it was opened here."""
        if self._close_fileobj:
            self._fileobj.close()

    def _read_into(self, target: memoryview) -> int:
        if self._ahead or not self._has_readinto:
            piece = self._read(min(target.nbytes, _PIECE))
            target[: len(piece)] = piece
            return len(piece)
        count: int | None = self._fileobj.readinto(target)
        if count is None:
            raise BlockingIOError("the source is in non-blocking mode and has no bytes yet")
        self.position += count
        return count

    def _read(self, size: int) -> bytes:
        if self._ahead:
            piece, self._ahead = self._ahead[:size], self._ahead[size:]
            self.position += len(piece)
            return piece
        piece = self._fileobj.read(size)
        if piece is None:
            raise BlockingIOError("the source is in non-blocking mode and has no bytes yet")
        if not isinstance(piece, bytes):
            piece = bytes(as_bytes_view(piece))
        self.position += len(piece)
        return piece


class _IterableFile:
    """An iterable of buffers, read like a file."""

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self._chunks: Iterator[Buffer] = iter(chunks)
        self._rest = memoryview(b"")

    def readinto(self, target: memoryview) -> int:
        if not self._more():
            return 0
        count = min(self._rest.nbytes, target.nbytes)
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def read(self, size: int) -> bytes:
        if not self._more():
            return b""
        piece = bytes(self._rest[:size])
        self._rest = self._rest[len(piece) :]
        return piece

    def _more(self) -> bool:
        while not self._rest.nbytes:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._rest = as_bytes_view(chunk)
        return True


def open_source(source: SourceLike, *, close_fileobj: bool = False) -> ByteSource:
    """Make a ``ByteSource`` of a path, a binary file object or an iterable of buffers.

    Args:
        source: The path, file object or iterable; a ``ByteSource`` is given back.
        close_fileobj: Close a file object that was passed in together with the source.

    Returns:
        The source; a path is opened unbuffered, so that no more is read than is asked for.

    Raises:
        TypeError: The object is none of the three.
        OSError: The path cannot be opened.
    """
    if isinstance(source, ByteSource):
        return source
    if isinstance(source, str | os.PathLike):
        return ByteSource(open(source, "rb", buffering=0), close_fileobj=True)
    if isinstance(source, bytes | bytearray | memoryview):
        return ByteSource(io.BytesIO(source), close_fileobj=True)
    if hasattr(source, "read"):
        return ByteSource(source, close_fileobj=close_fileobj)
    if hasattr(source, "__iter__"):
        return ByteSource(_IterableFile(source))
    kind = type(source).__name__
    raise TypeError(f"expected a path, a binary file object or an iterable of bytes, got {kind!r}")


def _has_end(file: io.FileIO) -> bool:
    """Tell whether a file knows its length; some under /proc seek, but not from the end."""
    position = file.tell()
    try:
        file.seek(0, os.SEEK_END)
    except OSError:
        return False
    file.seek(position)
    return True


def _cut(size: int, available: int) -> S4FrameError:
    return S4FrameError(
        f"frame error: input is cut short, {size} bytes were announced and {available} are there"
    )
