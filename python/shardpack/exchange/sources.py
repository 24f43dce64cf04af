"""What callers hand in to be stored, hashed in the one pass in which it is read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from shardpack.batch import as_bytes_view
from shardpack.checksum import crc32c
from shardpack.hash import Blake3
from shardpack.storage.sources import is_buffer, iter_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

    from shardpack.storage.base import PutSource

__all__ = ["Digests", "hashed"]

# Smaller files are read whole.
_WHOLE: Final = 4 << 20
# What is copied, and looked at twice, while it is in the cache.
_PIECE: Final = 256 << 10
_STEP: Final = 1 << 20


class Digests:
    """CRC32C, BLAKE3 and length of all pieces that have passed."""

    def __init__(self) -> None:
        self.size = 0
        self._crc32c = 0
        self._blake3 = Blake3()

    def update(self, piece: memoryview) -> None:
        """Take the next piece.

        Args:
            piece: Its bytes.
        """
        self.size += piece.nbytes
        for start in range(0, piece.nbytes, _STEP):
            step = piece[start : start + _STEP]
            self._crc32c = crc32c(step, self._crc32c)
            self._blake3.update(step)

    @property
    def crc32c(self) -> str:
        """8 hexadecimal digits."""
        return f"{self._crc32c:08x}"

    @property
    def blake3(self) -> str:
        """64 hexadecimal digits."""
        return self._blake3.hexdigest()


def hashed(data: PutSource, digests: Digests) -> Buffer | Iterator[memoryview]:
    """Make something to upload of what a caller hands in; ``digests`` sees each byte just once.

    Args:
        data: Bytes, the path of a file, a binary file object or an iterable of buffers.
        digests: Told of all bytes; of those of an iterator when they are asked for.

    Returns:
        The bytes themselves where they are few or at hand, otherwise an iterator over them.

    Raises:
        TypeError: It is none of them, or gives text.
        OSError: The file cannot be read.
    """
    if is_buffer(data):
        view = as_bytes_view(data)
    elif isinstance(data, str | os.PathLike) and os.stat(data).st_size < _WHOLE:
        # In one piece it goes as one request, and can be sent again.
        view = memoryview(b"".join(iter_pieces(data, _WHOLE)))
    else:
        return _passing(iter_pieces(data, _PIECE), digests)
    digests.update(view)
    return view


def _passing(pieces: Iterator[memoryview], digests: Digests) -> Iterator[memoryview]:
    for piece in pieces:
        digests.update(piece)
        yield piece
