"""gzip members that state their length: found without decoding, decoded by all cores.

Archives written here have them, files of pgzip and BGZF too. Anything else, and what follows it, is
decoded piece by piece.
"""

from __future__ import annotations

from itertools import chain
from struct import Struct
from typing import TYPE_CHECKING, Final

from shardpack.codec import CpuGzip
from shardpack.errors import S4IoError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shardpack.codec import Codec

__all__ = ["decode_gzip", "decode_stream"]

# Magic and method, flags, length of the extra field, name and length of its first subfield.
_HEAD: Final = Struct("<3sB6xH2sH")
_MAGIC: Final = b"\x1f\x8b\x08"
_EXTRA: Final = 4
_LEAST_MEMBER_BYTES: Final = 18
_SIZE_FIELDS: Final = {(b"IG", 4): 0, (b"BC", 2): 1}

# What is read before the first members are decoded, and later.
_FIRST_STORED: Final = 256 << 10
_MOST_STORED: Final = 4 << 20
# What a batch may decode to; more, in one member, is decoded piece by piece.
_MOST_DECODED: Final = 16 << 20


def decode_gzip(pieces: Iterator[bytes], piece_size: int) -> Iterator[bytes]:
    """Decode a gzip file.

    Args:
        pieces: The stored bytes.
        piece_size: Most bytes of a piece, except for those that are decoded at once.

    Raises:
        S4IoError: The file is damaged or cut short.
        S4Error: A member has another length than it states.
    """
    codec = CpuGzip()
    rest = b""
    wanted = _FIRST_STORED
    began = False
    while True:
        more = b"".join(_some(pieces, wanted - len(rest)))
        rest += more
        end, size = _whole_members(rest)
        if not end:
            needed = _member_size(rest, 0)
            if more and len(rest) < needed <= _MOST_STORED:
                wanted = needed
                continue
            break
        began = True
        if size:
            yield codec.decompress_all(
                memoryview(rest)[:end], original_size=size, max_original_size=size
            )
        rest = rest[end:]
        wanted = min(2 * wanted, _MOST_STORED)
    if not began or rest.strip(b"\0"):
        yield from decode_stream(codec, chain((rest,), pieces), piece_size)
    elif any(piece.strip(b"\0") for piece in pieces):
        raise S4IoError("io: cpu-gzip decoder: bytes follow the padding behind the last member")


def _some(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    while size > 0 and (piece := next(pieces, b"")):
        size -= len(piece)
        yield piece


def _whole_members(stored: bytes) -> tuple[int, int]:
    """Tell how many bytes the whole members at the front have, and what they decode to."""
    at = total = 0
    while (end := at + _member_size(stored, at)) > at and end <= len(stored):
        size = int.from_bytes(stored[end - 4 : end], "little")
        if total + size > _MOST_DECODED:
            break
        total += size
        at = end
    return at, total


def _member_size(stored: bytes, at: int) -> int:
    """Read what the member at a place states; 0 if it states nothing."""
    value = at + _HEAD.size
    if value + 4 > len(stored):
        return 0
    magic, flags, extra, name, length = _HEAD.unpack_from(stored, at)
    more = _SIZE_FIELDS.get((name, length))
    if more is None or magic != _MAGIC or not flags & _EXTRA or extra < length + 4:
        return 0
    size = int.from_bytes(stored[value : value + length], "little") + more
    return size if size >= _LEAST_MEMBER_BYTES else 0


def decode_stream(codec: Codec, pieces: Iterable[bytes], piece_size: int) -> Iterator[bytes]:
    """Decode all members or frames of a file, one after another.

    Args:
        codec: The codec.
        pieces: The stored bytes.
        piece_size: Most bytes of a piece.

    Raises:
        S4IoError: The file is damaged or cut short.
    """
    decoder = codec.decompressor()
    for stored in chain(pieces, (b"",)):
        piece = decoder.decompress(stored, piece_size)
        if piece:
            yield piece
        while not decoder.needs_input:
            piece = decoder.decompress(b"", piece_size)
            if piece:
                yield piece
    decoder.flush()
