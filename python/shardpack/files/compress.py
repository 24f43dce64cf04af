"""Pack one file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from shardpack.container import container_of_name, open_writer, suffix_of
from shardpack.files.local import open_destination, open_local
from shardpack.files.report import FileReport
from shardpack.frame import bind_index
from shardpack.frame_io import FrameWriter
from shardpack.progress import progress_callback

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from shardpack.codec import Codec
    from shardpack.container import Container, PackedWriter
    from shardpack.files.local import FileLike, LocalSource
    from shardpack.progress import Progress

__all__ = ["compress_file"]


def compress_file(  # noqa: PLR0913 - every way to pack is a keyword
    source: FileLike,
    destination: FileLike | None = None,
    *,
    codec: str | Codec = "auto",
    level: int | None = None,
    container: Container | None = None,
    chunk_size: int | None = None,
    threads: int | None = None,
    dictionary: Buffer | None = None,
    overwrite: bool = False,
    progress: Progress = None,
) -> FileReport:
    """Pack a file; the result appears whole or not at all, and the source stays.

    The result keeps the modification time and permission bits of the source. An ``s4`` file of
    more than one frame gets a sidecar beside it (``FILE.s4.s4index``), bound to its size.

    Args:
        source: A path or a binary file object.
        destination: A path or a binary file object; the source's path with the container's
            suffix when ``None``.
        codec: A codec or its name; ``"auto"`` samples the data and does not try to compress what
            is compressed already.
        level: Compression level, where ``codec`` is a name.
        container: ``"s4"``, ``"zst"`` or ``"gz"``; by the suffix of the destination when ``None``,
            ``"s4"`` if that says nothing.
        chunk_size: Original bytes of each frame or member; 4 MiB when ``None``, small enough to
            keep many cores busy, and a range cheap.
        threads: Threads to compress with; all cores when ``None``.
        dictionary: Bytes of a zstd dictionary; reading the file needs it again.
        overwrite: Replace an existing destination.
        progress: Called with the number of bytes read so far, or an object with tqdm's ``update``.

    Returns:
        What was made.

    Raises:
        FileExistsError: The destination exists and ``overwrite`` is not set, or a file that is no
            sidecar lies where its sidecar belongs.
        OSError: A file cannot be read or written.
        S4IoError: The source changed while it was read.
        ValueError: The options contradict each other, or there is no destination.

    Example:
        >>> import os, tempfile
        >>> from shardpack import compress_file
        >>> path = os.path.join(tempfile.mkdtemp(), "notes.txt")
        >>> with open(path, "w") as file:
        ...     _ = file.write("hello " * 1000)
        >>> report = compress_file(path)
        >>> report.codecs, report.original_size
        (('cpu-zstd',), 6000)
    """
    if container is None:
        named = None if hasattr(destination, "write") else container_of_name(destination or "")
        container = named or "s4"
    with open_local(source, progress_callback(progress)) as opened:
        if destination is None:
            if opened.name is None:
                raise ValueError("a file object as source needs a destination")
            destination = opened.name + suffix_of(container)
        with open_destination(destination, opened, overwrite=overwrite) as target:
            if container == "s4":
                target.require_sidecar_place()
            with open_writer(
                target.sink,
                container,
                codec,
                level=level,
                dictionary=dictionary,
                chunk_size=chunk_size,
                threads=threads,
            ) as writer:
                if isinstance(writer, FrameWriter) and opened.size is not None:
                    writer.require_room(opened.size)
                writer.copy_from(opened)
                opened.require_unchanged(opened.count)
            sidecar = writer.sidecar if isinstance(writer, FrameWriter) else None
            if sidecar is not None:
                sidecar = bind_index(sidecar, writer.stored_size)
            has_sidecar = target.publish(sidecar, keep_sidecar=container != "s4")
        return _report(opened, target.path, container, writer, has_sidecar=has_sidecar)


def _report(
    source: LocalSource,
    destination: str | None,
    container: Container,
    writer: PackedWriter,
    *,
    has_sidecar: bool,
) -> FileReport:
    return FileReport(
        source=source.name,
        destination=None if destination is None else os.fspath(destination),
        container=container,
        codecs=(writer.codec,) if writer.codec and writer.frame_count else (),
        frames=writer.frame_count,
        original_size=writer.original_size,
        stored_size=writer.stored_size,
        crc32c=writer.crc32c if isinstance(writer, FrameWriter) else None,
        sidecar="trusted" if has_sidecar else "absent",
    )
