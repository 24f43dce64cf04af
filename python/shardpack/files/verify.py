"""Prove that a packed file is whole: decode all of it and compare everything that it claims."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from shardpack.codec import MAX_ORIGINAL_SIZE
from shardpack.errors import S4IndexError
from shardpack.files.decoding import Decoding
from shardpack.files.local import open_local
from shardpack.files.report import FileReport
from shardpack.frame_io.source import ByteSource
from shardpack.frame_io.table import Sidecar, read_sidecar, sidecar_state
from shardpack.progress import progress_callback

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from shardpack.frame_io.table import FrameTable, SidecarState
    from shardpack.progress import Progress

__all__ = ["verify_file"]


def verify_file(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    dictionary: Buffer | None = None,
    max_original_size: int = MAX_ORIGINAL_SIZE,
    progress: Progress = None,
) -> FileReport:
    """Decode a packed file and check every checksum and size in it, and its sidecar.

    A sidecar must describe the file, frame by frame, whether it is bound or not. One that is
    bound to a file of another size is refused too, although readers ignore it.

    Args:
        path: The file.
        threads: Threads to decode with; all cores when ``None``.
        dictionary: Bytes of the dictionary that the file was packed with.
        max_original_size: Largest original size that a frame may claim, in bytes.
        progress: Called with the number of packed bytes consumed so far, or an object with tqdm's
            ``update``.

    Returns:
        What was found, with ``verified=True``.

    Raises:
        OSError: The file cannot be read.
        S4Error: The file is damaged, cut short or not packed.
        S4IoError: The file is damaged or cut short, or changed while it was read.
        S4IndexError: The sidecar is damaged or belongs to another file.
        DictionaryError: The file needs a dictionary and none was given.
    """
    name = os.fspath(path)
    on_consumed = progress_callback(progress)
    with open_local(name, on_consumed) as opened:
        packed = ByteSource(opened.fileobj)
        decoding = Decoding(
            packed,
            name,
            dictionary=dictionary,
            threads=threads,
            max_original_size=max_original_size,
            on_consumed=on_consumed,
        )
        table, state = None, _ABSENT
        if decoding.container == "s4" and packed.seekable:
            table, state = _sidecar_table(name, packed.size())
        pieces = decoding.pieces(table)
        while next(pieces, b""):
            pass
        opened.require_unchanged(packed.position)
        return FileReport(
            source=name,
            destination=None,
            container=decoding.container,
            codecs=decoding.codecs,
            frames=decoding.frames,
            original_size=decoding.original_size,
            stored_size=packed.position,
            crc32c=decoding.crc32c,
            sidecar=state,
            verified=True,
        )


_ABSENT: SidecarState = "absent"


def _sidecar_table(name: str, stored_size: int) -> tuple[FrameTable | None, SidecarState]:
    sidecar = read_sidecar(name)
    if sidecar is None:
        return None, _ABSENT
    known = Sidecar(sidecar)
    if known.bound_size is not None and known.bound_size != stored_size:
        raise S4IndexError(
            f"index error: sidecar is bound to a body of {known.bound_size} bytes,"
            f" this one has {stored_size}; remove or rebuild it"
        )
    table = known.table()
    return table, sidecar_state(sidecar, stored_size)[0]
