"""Read a part of a packed file, decoding as little as its container allows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from shardpack.codec import MAX_ORIGINAL_SIZE
from shardpack.errors import S4Error
from shardpack.frame_io import FrameReader
from shardpack.frame_io.source import open_source
from shardpack.frame_io.table import usable_sidecar
from shardpack.stream import open_reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

    from shardpack.codec_io import StreamReader
    from shardpack.files.local import FileLike

__all__ = ["iter_range", "read_range"]

_STREAM_PIECE = 1 << 20


def iter_range(
    source: FileLike,
    start: int | None = None,
    end: int | None = None,
    *,
    dictionary: Buffer | None = None,
    threads: int | None = None,
    max_original_size: int = MAX_ORIGINAL_SIZE,
    plain: bool = True,
) -> Iterator[bytes]:
    """Read a range of the original bytes of a file, piece by piece, in bounded memory.

    Only the frames that cover the range are read from an ``s4`` file; the sidecar beside it is
    used if it belongs to it, otherwise the frame headers are read first. Other containers are
    decoded from their start. A file that is not packed gives its own bytes.

    Args:
        source: A path or a binary file object, which stays open; of a pipe, all bytes before
            the end of the range are read.
        start: First byte; negative counts from the end, ``None`` is the start.
        end: First byte after the range, like ``start``; ``None`` is the end.
        dictionary: Bytes of the dictionary that the file was packed with.
        threads: Threads to decode with; all cores when ``None``.
        max_original_size: Largest original size that a frame may claim, in bytes.
        plain: Give the bytes of a file that is not packed as they are; otherwise refuse it.

    Yields:
        The bytes of the range in order, as ``data[start:end]`` would give them.

    Raises:
        OSError: The file cannot be read.
        S4Error: The file is damaged or cut short.
        DictionaryError: It needs a dictionary and none was given.
        ValueError: A negative position in a pipe.
    """
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else None
    opened = open_source(source)
    try:
        sidecar = None
        if name is not None and opened.seekable:
            sidecar = usable_sidecar(name, opened.size())
        container, reader = open_reader(
            opened,
            name=name,
            sidecar=sidecar,
            dictionary=dictionary,
            threads=threads,
            max_original_size=max_original_size,
        )
        if container is None and not plain:
            raise S4Error("not a packed file: it begins with no S4 frame, zstd or gzip magic")
        if isinstance(reader, FrameReader) and not start and end is None:
            yield from reader
        elif isinstance(reader, FrameReader) and opened.seekable:
            yield from reader.iter_range(start, end)
        else:
            yield from _iter_forward(reader, start, end)
    finally:
        opened.close()


def read_range(
    path: str | os.PathLike[str],
    start: int | None = None,
    end: int | None = None,
    *,
    dictionary: Buffer | None = None,
    threads: int | None = None,
    max_original_size: int = MAX_ORIGINAL_SIZE,
) -> bytes:
    """Read a range of the original bytes of a file, as ``iter_range`` does, in one piece.

    Args:
        path: The file.
        start: First byte; negative counts from the end, ``None`` is the start.
        end: First byte after the range, like ``start``; ``None`` is the end.
        dictionary: Bytes of the dictionary that the file was packed with.
        threads: Threads to decode with; all cores when ``None``.
        max_original_size: Largest original size that a frame may claim, in bytes.

    Returns:
        What ``data[start:end]`` would give.

    Raises:
        OSError: The file cannot be read.
        S4Error: The file is damaged or cut short.
        DictionaryError: It needs a dictionary and none was given.

    Example:
        >>> import os, tempfile, shardpack
        >>> path = os.path.join(tempfile.mkdtemp(), "numbers.s4")
        >>> with shardpack.open(path, "wb") as file:
        ...     _ = file.write(b"0123456789")
        >>> shardpack.read_range(path, -4, None)
        b'6789'
    """
    pieces = list(
        iter_range(
            os.fsdecode(path),
            start,
            end,
            dictionary=dictionary,
            threads=threads,
            max_original_size=max_original_size,
        )
    )
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _iter_forward(
    reader: FrameReader | StreamReader, start: int | None, end: int | None
) -> Iterator[bytes]:
    begin, stop = start or 0, end
    if begin < 0 or (stop is not None and stop < 0):
        if not reader.seekable():
            raise ValueError("a negative position needs an input that can seek, not a pipe")
        # The length of a stream is known only to those who have read it.
        begin, stop, _ = slice(start, end).indices(reader.seek(0, os.SEEK_END))
        reader.seek(0)
    position = 0
    while stop is None or position < stop:
        target = begin if position < begin else stop
        left = _STREAM_PIECE if target is None else min(_STREAM_PIECE, target - position)
        piece = reader.read(left)
        if not piece:
            return
        if position >= begin:
            yield piece
        position += len(piece)
