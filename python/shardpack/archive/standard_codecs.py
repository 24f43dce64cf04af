"""bzip2 and xz, which Python brings along."""

from __future__ import annotations

import bz2
import lzma
from typing import TYPE_CHECKING, Final, Protocol

from shardpack.errors import S4IoError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shardpack.archive.compression import ReadableCompression

__all__ = ["decode_standard"]

# What `xz -9` asks of a decoder, three times over.
_XZ_MEMORY_LIMIT: Final = 192 << 20


class _Decoder(Protocol):
    """What the two have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def decode_standard(
    compression: ReadableCompression, pieces: Iterator[bytes], piece_size: int
) -> Iterator[bytes]:
    """Decode the streams of a bzip2 or xz file, one after another.

    Args:
        compression: Which of the two.
        pieces: The stored bytes.
        piece_size: Most bytes of a piece.

    Raises:
        S4IoError: The file is damaged or cut short, or wants more than 192 MiB to be decoded.
    """
    decoder = _new_decoder(compression)
    stored = b""
    while True:
        if decoder.eof:
            # Zeros may fill up the space between streams and behind the last.
            stored = decoder.unused_data.lstrip(b"\0")
            while not stored:
                if not (stored := next(pieces, b"")):
                    return
                stored = stored.lstrip(b"\0")
            decoder = _new_decoder(compression)
        if not stored and decoder.needs_input and not (stored := next(pieces, b"")):
            raise S4IoError(f"io: {compression} decoder: incomplete stream")
        try:
            piece = decoder.decompress(stored, piece_size)
        except (OSError, EOFError, lzma.LZMAError) as error:
            raise S4IoError(f"io: {compression} decoder: {error}") from error
        stored = b""
        if piece:
            yield piece


def _new_decoder(compression: ReadableCompression) -> _Decoder:
    if compression == "bzip2":
        return bz2.BZ2Decompressor()
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_LIMIT)
