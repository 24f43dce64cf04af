"""Tell what a packed file holds, from its headers."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from shardpack.codec import MAX_ORIGINAL_SIZE
from shardpack.errors import S4IndexError
from shardpack.files.decoding import container_of
from shardpack.files.members import MemberWalker
from shardpack.files.report import FileReport
from shardpack.frame_io.source import open_source
from shardpack.frame_io.table import read_sidecar, sidecar_state
from shardpack.frame_io.walk import FrameWalker

if TYPE_CHECKING:
    from shardpack.frame_io.source import ByteSource

__all__ = ["inspect_file"]


def inspect_file(path: str | os.PathLike[str]) -> FileReport:
    """Look at the headers of a packed file, without decoding it.

    Args:
        path: The file.

    Returns:
        What was found. The sidecar is ``"trusted"`` only if every header agrees with it.

    Raises:
        OSError: The file cannot be read, or is a pipe.
        S4Error: It is not packed, or cut short.

    Example:
        >>> import os, tempfile
        >>> from shardpack import inspect_file
        >>> path = os.path.join(tempfile.mkdtemp(), "notes.txt.s4")
        >>> import shardpack
        >>> with shardpack.open(path, "wb", chunk_size=4096) as file:
        ...     _ = file.write(b"hello " * 2000)
        >>> inspect_file(path).frames
        3
    """
    name = os.fspath(path)
    source = open_source(name)
    try:
        if not source.seekable:
            raise io.UnsupportedOperation("info needs a seekable file, not a pipe")
        container = container_of(source, name)
        if container == "s4":
            return _inspect_frames(source, name)
        walker = MemberWalker(source, container)
        original_size = sum(member.original_size for member in walker.members())
        measured = walker.count > 0 and source.position == source.size()
        return FileReport(
            source=name,
            destination=None,
            container=container,
            codecs=("cpu-zstd" if container == "zst" else "cpu-gzip",),
            frames=walker.count if measured else None,
            original_size=original_size if measured else None,
            stored_size=source.size(),
        )
    finally:
        source.close()


def _inspect_frames(source: ByteSource, name: str) -> FileReport:
    stored_size = source.size()
    state, table = sidecar_state(read_sidecar(name), stored_size)
    walker = FrameWalker(source, max_original_size=MAX_ORIGINAL_SIZE, dictionary_given=True)
    original_size = 0
    for number, frame in enumerate(walker.headers()):
        original_size += frame.original_size
        if table is not None and state == "trusted":
            try:
                table.check(number, frame.offset, frame.stored_size, frame.original_size)
            except S4IndexError:
                state = "stale"
    if table is not None and len(table) != walker.frame_number:
        state = "stale"
    return FileReport(
        source=name,
        destination=None,
        container="s4",
        codecs=tuple(walker.codec_counts),
        frames=walker.frame_number,
        original_size=original_size,
        stored_size=stored_size,
        sidecar=state,
    )
