"""What may be put into a store, made one: pieces of bytes in order."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeGuard

from shardpack.batch import as_bytes_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

    from shardpack.storage.base import PutSource

__all__ = ["PIECE_BYTES", "is_buffer", "iter_pieces", "source_path", "source_size"]

PIECE_BYTES = 1 << 20


def source_path(data: PutSource) -> str | None:
    """Give the path when the source is one: a ``str`` or a path object."""
    return os.fsdecode(data) if isinstance(data, str | os.PathLike) else None


def is_buffer(data: Any) -> TypeGuard[Buffer]:  # noqa: ANN401 - anything may be asked about
    """Tell whether the source is bytes in memory."""
    if isinstance(data, bytes | bytearray | memoryview):
        return True
    if isinstance(data, str | os.PathLike) or hasattr(data, "read"):
        return False
    try:
        memoryview(data)
    except TypeError:
        return False
    return True


def source_size(data: PutSource) -> int | None:
    """Tell how many bytes a source has, where that is known without reading it.

    Args:
        data: The source; a file object counts from where it stands.

    Returns:
        The number of bytes; ``None`` for iterables and for files that cannot seek.

    Raises:
        OSError: There is no file at the path.
    """
    path = source_path(data)
    if path is not None:
        return os.stat(path).st_size
    if is_buffer(data):
        return memoryview(data).nbytes
    file: Any = data
    seekable = getattr(file, "seekable", None)
    if seekable is None or not seekable():
        return None
    position = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(position)
    return max(0, int(end) - int(position))


def iter_pieces(data: PutSource, piece_size: int = PIECE_BYTES) -> Iterator[memoryview]:
    """Give the bytes of a source piece by piece.

    A piece is valid until the next one is asked for. A file object is read from where it stands.

    Args:
        data: Bytes, the path of a file, a binary file object, or an iterable of buffers.
        piece_size: Most bytes of a piece; the buffers of an iterable come as they are.

    Yields:
        The pieces; none is empty.

    Raises:
        TypeError: The source is none of these, or a file gives text.
        OSError: The file cannot be read.
    """
    path = source_path(data)
    if path is not None:
        with open(path, "rb", buffering=0) as file:
            yield from _read_pieces(file, piece_size)
    elif is_buffer(data):
        view = as_bytes_view(data)
        for start in range(0, view.nbytes, piece_size):
            yield view[start : start + piece_size]
    elif hasattr(data, "read"):
        yield from _read_pieces(data, piece_size)
    elif isinstance(data, Iterable):
        piece: Any
        for piece in data:
            if isinstance(piece, int):
                raise TypeError(f"an iterable of buffers is required, not of int: {piece!r}")
            view = as_bytes_view(piece)
            if view.nbytes:
                yield view
    else:
        raise TypeError(
            f"bytes, a path, a file object or an iterable of buffers is required, "
            f"not {type(data).__name__}"
        )


def _read_pieces(file: Any, piece_size: int) -> Iterator[memoryview]:  # noqa: ANN401 - duck-typed
    while True:
        piece = file.read(piece_size)
        if piece is None:
            raise BlockingIOError("the source is in non-blocking mode and gave nothing")
        if not piece:
            return
        yield as_bytes_view(piece)
