"""Unpack one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardpack.batch import write_all
from shardpack.codec import MAX_ORIGINAL_SIZE
from shardpack.container import strip_suffix
from shardpack.files.decoding import Decoding
from shardpack.files.local import open_destination, open_local
from shardpack.files.report import FileReport
from shardpack.frame_io.source import ByteSource
from shardpack.frame_io.table import usable_sidecar
from shardpack.progress import progress_callback

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from shardpack.files.local import FileLike
    from shardpack.progress import Progress

__all__ = ["decompress_file"]


def decompress_file(
    source: FileLike,
    destination: FileLike | None = None,
    *,
    threads: int | None = None,
    dictionary: Buffer | None = None,
    overwrite: bool = False,
    max_original_size: int = MAX_ORIGINAL_SIZE,
    progress: Progress = None,
) -> FileReport:
    """Unpack a file of any container; the result appears whole or not at all.

    What the file holds is told by its first bytes. The result keeps the modification time and
    permission bits of the source, which stays.

    Args:
        source: A path or a binary file object.
        destination: A path or a binary file object; the source's path without its suffix when
            ``None``.
        threads: Threads to decode with; all cores when ``None``.
        dictionary: Bytes of the dictionary that the file was packed with.
        overwrite: Replace an existing destination.
        max_original_size: Largest original size that a frame may claim, in bytes.
        progress: Called with the number of packed bytes consumed so far, or an object with tqdm's
            ``update``.

    Returns:
        What was found.

    Raises:
        FileExistsError: The destination exists and ``overwrite`` is not set.
        OSError: A file cannot be read or written.
        S4Error: The file is damaged, cut short or not packed.
        S4IoError: The file is damaged or cut short, or changed while it was read.
        DictionaryError: It needs a dictionary and none was given.
        ValueError: The name of the source has no known suffix, and there is no destination.

    Example:
        >>> import io
        >>> from shardpack import compress_file, decompress_file
        >>> packed, unpacked = io.BytesIO(), io.BytesIO()
        >>> _ = compress_file(io.BytesIO(b"hello"), packed)
        >>> _ = packed.seek(0)
        >>> decompress_file(packed, unpacked).original_size
        5
    """
    on_consumed = progress_callback(progress)
    with open_local(source, on_consumed) as opened:
        if destination is None:
            destination = None if opened.name is None else strip_suffix(opened.name)
        if destination is None:
            raise ValueError(
                "no suffix .s4, .zst or .gz to take away: say where to write"
                " (destination=, on the command line -o)"
            )
        packed = ByteSource(opened.fileobj)
        decoding = Decoding(
            packed,
            opened.name,
            dictionary=dictionary,
            threads=threads,
            max_original_size=max_original_size,
            on_consumed=on_consumed,
        )
        if opened.name is not None and decoding.container == "s4" and packed.seekable:
            usable_sidecar(opened.name, packed.size())
        with open_destination(destination, opened, overwrite=overwrite) as target:
            pieces = decoding.pieces()
            # Not a `for` loop: its variable would keep a batch alive while the next is decoded.
            while piece := next(pieces, b""):
                write_all(target.sink, piece)
                del piece
            opened.require_unchanged(packed.position)
            target.publish(keep_sidecar=True)
        return FileReport(
            source=opened.name,
            destination=target.path,
            container=decoding.container,
            codecs=decoding.codecs,
            frames=decoding.frames,
            original_size=decoding.original_size,
            stored_size=packed.position,
            crc32c=decoding.crc32c,
        )
