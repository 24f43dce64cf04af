"""Find the zstd frames and gzip members of a file by their headers, so that cores can share them.

A zstd frame says how long its content is, and its blocks say where it ends. A gzip member says
neither, unless its writer left the length of the member in the extra field ``IG``, as this package
does. Files by other programs may have one frame, or members without lengths: those are for a
decoder that reads from start to end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shardpack.batch import lazy_buffer
from shardpack.errors import S4FrameError
from shardpack.frame_io.walk import READ_BATCH_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shardpack.container import Container
    from shardpack.frame_io.source import ByteSource

__all__ = ["Member", "MemberWalker"]

# zstd, RFC 8878, 3.1.1
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_HEADER_BYTES = 18
_ZSTD_BLOCK_HEADER_BYTES = 3
_ZSTD_BLOCK_BYTES = 128 << 10
_ZSTD_CHECKSUM_BYTES = 4
_RLE_BLOCK = 1
_RESERVED_BLOCK = 3
_DICTIONARY_ID_BYTES = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)
# The two-byte form starts counting where the one-byte form ends.
_TWO_BYTES = 2
_TWO_BYTE_BIAS = 256

# gzip, RFC 1952, 2.3
_GZIP_HEAD = b"\x1f\x8b\x08\x04"
_GZIP_HEADER_BYTES = 12
_GZIP_LENGTH_FIELD = b"IG\x04\x00"
_GZIP_LENGTH_FIELD_BYTES = 8
_GZIP_SIZE_BYTES = 4
_GZIP_SMALLEST = _GZIP_HEADER_BYTES + _GZIP_LENGTH_FIELD_BYTES + 2 + 8


class Member(NamedTuple):
    """One zstd frame or gzip member; sizes and offsets are bytes."""

    offset: int
    stored_size: int
    original_size: int


class MemberWalker:
    """The position in a seekable file, between two members.

    Attributes:
        count: Members before the position.
    """

    def __init__(self, source: ByteSource, container: Container) -> None:
        self._source = source
        self._measure = self._measure_zstd if container == "zst" else self._measure_gzip
        self._buffer: memoryview | None = None
        self.count = 0

    def members(self) -> Iterator[Member]:
        """Give the members from here on, up to the first that cannot be measured.

        What the headers say is not to be trusted further than to share out the work. The source
        stands after the member that was given last.
        """
        while True:
            start = self._source.position
            try:
                member = self._measure()
            except S4FrameError:
                # Cut short. A decoder knows better words for what is missing.
                member = None
            if member is None:
                self._source.seek(start)
                return
            self._source.seek(member.offset + member.stored_size)
            self.count += 1
            yield member

    def take_batch(self) -> tuple[memoryview, int]:
        """Read the next members whole, as many as make a batch.

        Returns:
            The members as they are stored, in a buffer that the next call uses again, empty if
            the next one cannot be measured; and the number of original bytes that they claim.
        """
        start = self._source.position
        count = self.count
        stored = original = 0
        for member in self.members():
            end = member.offset + member.stored_size - start
            if max(end, original + member.original_size) > READ_BATCH_BYTES:
                break
            stored, original, count = end, original + member.original_size, self.count
        self.count = count
        self._source.seek(start)
        if not stored:
            return memoryview(b""), 0
        if self._buffer is None:
            self._buffer = lazy_buffer(READ_BATCH_BYTES)
        self._source.fill(self._buffer[:stored], stored)
        return self._buffer[:stored], original

    def _measure_zstd(self) -> Member | None:
        start = self._source.position
        header = self._source.peek(_ZSTD_HEADER_BYTES)
        if header[:4] != _ZSTD_MAGIC or len(header) == len(_ZSTD_MAGIC):
            return None
        descriptor = header[4]
        single_segment = descriptor >> 5 & 1
        size_at = 6 - single_segment + _DICTIONARY_ID_BYTES[descriptor & 3]
        size_bytes = _CONTENT_SIZE_BYTES[descriptor >> 6] or single_segment
        field = header[size_at : size_at + size_bytes]
        if not size_bytes or len(field) < size_bytes:
            return None
        original = int.from_bytes(field, "little")
        original += _TWO_BYTE_BIAS if size_bytes == _TWO_BYTES else 0
        self._source.skip(size_at + size_bytes)
        last = False
        while not last:
            block = self._source.take(_ZSTD_BLOCK_HEADER_BYTES)
            if len(block) < _ZSTD_BLOCK_HEADER_BYTES:
                return None
            word = int.from_bytes(block, "little")
            last, kind, size = bool(word & 1), word >> 1 & 3, word >> 3
            if kind == _RESERVED_BLOCK or size > _ZSTD_BLOCK_BYTES:
                return None
            self._source.skip(1 if kind == _RLE_BLOCK else size)
        self._source.skip(_ZSTD_CHECKSUM_BYTES if descriptor >> 2 & 1 else 0)
        return Member(start, self._source.position - start, original)

    def _measure_gzip(self) -> Member | None:
        start = self._source.position
        header = self._source.peek(_GZIP_HEADER_BYTES + _GZIP_LENGTH_FIELD_BYTES)
        if header[:4] != _GZIP_HEAD or header[12:16] != _GZIP_LENGTH_FIELD:
            return None
        stored = int.from_bytes(header[16:20], "little")
        if stored < _GZIP_SMALLEST:
            return None
        self._source.skip(stored - _GZIP_SIZE_BYTES)
        tail = self._source.take(_GZIP_SIZE_BYTES)
        if len(tail) < _GZIP_SIZE_BYTES:
            return None
        return Member(start, stored, int.from_bytes(tail, "little"))
