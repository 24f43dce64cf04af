"""Chunks: the independently decodable pieces of a compressed archive, and the table of them.

A table maps offsets of the tar stream to offsets of the stored archive. Without holes: the chunks
cover every stored and every original byte. The chunks of a gzip file that was written as one piece
begin at checkpoints instead: with some bits of a byte that they share with the chunk before, and
with a window of bytes that the decoder must have seen.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, overload

from shardpack._native import gzip_resume
from shardpack.checksum import crc32c_many
from shardpack.codec import CpuGzip, CpuZstd, make_codec, pick_codec
from shardpack.errors import ShardpackError, ShardReadError
from shardpack.frame import FRAME_MAGIC, decode_frames

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from shardpack.archive.compression import Compression, ReadableCompression
    from shardpack.codec import Codec

__all__ = ["Chunk", "ChunkEncoder", "ChunkTable", "decode_into", "decode_run"]

# Decoded in one call; larger runs are decoded in several.
_MOST_DECODED = 64 << 20

# As many bytes as the choice of a codec looks at.
_SAMPLES = 8
_SAMPLE_BYTES = 512

_GZIP_HEAD = Struct("<4sI2sH2sHI")
_GZIP_HEADER_BYTES = 10
_WITH_EXTRA = b"\x1f\x8b\x08\x04"
_FRAME_HEAD = Struct("<4sIQQI")
# What decodes a chunk into memory that is there already.
_INTO: dict[str, Codec] = {"gzip": CpuGzip(), "zstd": CpuZstd()}
_PASSTHROUGH_ID = 0
_ZSTD_ID = 1


class Chunk(NamedTuple):
    """One row of a table; sizes and offsets are bytes.

    Attributes:
        stored_offset: Where it begins in the stored archive.
        stored_size: Its length there.
        original_offset: Where its decoded bytes belong in the tar stream.
        original_size: How many those are.
        crc32c: CRC32C of the decoded bytes, ``None`` where it is not known.
    """

    stored_offset: int
    stored_size: int
    original_offset: int
    original_size: int
    crc32c: int | None


class ChunkTable(Sequence[Chunk]):
    """All chunks of an archive, in order.

    Args:
        stored_sizes: Stored length of each chunk, at least one; up to the byte in which the next
            one begins.
        original_sizes: Decoded length of each chunk, at least one.
        checksums: CRC32C of each decoded chunk, where they are known.
        bits: How many bits of its first byte belong to the chunk before, where chunks are
            checkpoints.
        windows: The bytes that a decoder must have seen, where chunks are checkpoints.

    Raises:
        ValueError: The columns differ in length, or the chunks have 2^64 bytes and more.
    """

    __slots__ = ("bits", "checksums", "original_starts", "stored_starts", "windows")

    def __init__(
        self,
        stored_sizes: Sequence[int],
        original_sizes: Sequence[int],
        checksums: Sequence[int] | None = None,
        *,
        bits: Sequence[int] | None = None,
        windows: Sequence[bytes] | None = None,
    ) -> None:
        # Eight bytes for each number: there may be millions.
        try:
            self.stored_starts = array("Q", accumulate(stored_sizes, initial=0))
            self.original_starts = array("Q", accumulate(original_sizes, initial=0))
        except OverflowError as error:
            raise ValueError("the chunks have more bytes than any archive") from error
        self.checksums = checksums
        self.bits = bits
        self.windows = windows
        columns = (stored_sizes, original_sizes, checksums, bits, windows)
        if len({len(column) for column in columns if column is not None}) > 1:
            raise ValueError("the columns of a chunk table differ in length")

    def __len__(self) -> int:
        return len(self.stored_starts) - 1

    @overload
    def __getitem__(self, index: int, /) -> Chunk: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[Chunk]: ...
    def __getitem__(self, index: int | slice, /) -> Chunk | list[Chunk]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        stored, original = self.stored_starts[at], self.original_starts[at]
        return Chunk(
            stored,
            self.stored_starts[at + 1] - stored,
            original,
            self.original_starts[at + 1] - original,
            None if self.checksums is None else self.checksums[at],
        )

    @property
    def stored_size(self) -> int:
        """Stored bytes of all chunks."""
        return self.stored_starts[-1]

    @property
    def original_size(self) -> int:
        """Decoded bytes of all chunks."""
        return self.original_starts[-1]

    def covering(self, start: int, end: int) -> range:
        """Tell which chunks hold a range of the tar stream.

        Args:
            start: First byte.
            end: First byte after it, inside of the stream.

        Returns:
            Their numbers; empty for an empty range.
        """
        if start >= end:
            return range(0)
        first = bisect_right(self.original_starts, start) - 1
        return range(first, bisect_left(self.original_starts, end))

    def stored_range(self, rows: range) -> tuple[int, int]:
        """Tell which stored bytes some neighbouring chunks are decoded from.

        Args:
            rows: Their numbers, at least one.

        Returns:
            First byte, and first byte after them.
        """
        end = self.stored_starts[rows.stop]
        if self.bits is not None and rows.stop < len(self) and self.bits[rows.stop]:
            end += 1
        return self.stored_starts[rows.start], end


class ChunkEncoder:
    """Compress chunks into what is stored, in parallel.

    Args:
        compression: What the archive is compressed with.
        level: Compression level; the codec's own default when ``None``.
        threads: Threads to use; by default see ``thread_count``.

    Raises:
        ValueError: There is no such compression or level.
    """

    def __init__(
        self, compression: Compression | None, level: int | None, threads: int | None
    ) -> None:
        self._compression = compression
        self._threads = threads
        self._codec: Codec | None = None
        # For chunks that will not shrink, where the caller left the level to this writer.
        self._store: Codec | None = None
        if compression == "gzip":
            self._codec = make_codec("cpu-gzip", level=level)
            self._store = make_codec("cpu-gzip", level=0) if level is None else None
        elif compression == "zstd":
            self._codec = make_codec("cpu-zstd", level=level, content_size=True, checksum=True)
        elif compression == "s4":
            self._codec = make_codec("cpu-zstd", level=level)
        elif compression is not None:
            raise ValueError(f"archives cannot be written with compression {compression!r}")
        elif level is not None:
            raise ValueError("an archive without compression takes no level")

    def encode(
        self, chunks: Sequence[memoryview], checksums: Sequence[int]
    ) -> list[tuple[bytes | memoryview, ...]]:
        """Compress some chunks.

        Args:
            chunks: Their bytes.
            checksums: CRC32C of each.

        Returns:
            What is stored of each, in pieces. It does not depend on the number of threads.
        """
        if self._codec is None:
            return [(chunk,) for chunk in chunks]
        whole = self._compress(self._codec, chunks)
        if self._compression == "zstd":
            return [(payload,) for payload in whole]
        if self._compression == "gzip":
            return [_sized_member(payload) for payload in whole]
        triples = zip(chunks, whole, checksums, strict=True)
        return [_frame(chunk, payload, checksum) for chunk, payload, checksum in triples]

    def _compress(self, codec: Codec, chunks: Sequence[memoryview]) -> list[bytes]:
        dense = [False] * len(chunks)
        if self._store is not None:
            dense = [_will_not_shrink(chunk) for chunk in chunks]
        if self._store is None or not any(dense):
            return _all_of(codec.compress_many(chunks, threads=self._threads))
        made: dict[int, bytes] = {}
        for kind, wanted in ((self._store, True), (codec, False)):
            rows = [row for row, is_dense in enumerate(dense) if is_dense is wanted]
            payloads = kind.compress_many([chunks[row] for row in rows], threads=self._threads)
            made.update(zip(rows, _all_of(payloads), strict=True))
        return [made[row] for row in range(len(chunks))]


def _all_of(payloads: Sequence[bytes | None]) -> list[bytes]:
    return [payload for payload in payloads if payload is not None]


def _will_not_shrink(chunk: memoryview) -> bool:
    """Tell from samples all over a chunk whether compressing it is in vain.

    Deflate looks at every position of noise, at a tenth of the speed of storing it.
    """
    step = chunk.nbytes // _SAMPLES
    if step < 2 * _SAMPLE_BYTES:
        return False
    # Not at the start of the chunk, where a tar header lies, mostly zeros.
    starts = range(step // 2, _SAMPLES * step, step)
    return pick_codec(b"".join([chunk[at : at + _SAMPLE_BYTES] for at in starts])) == "passthrough"


def _sized_member(member: bytes) -> tuple[bytes | memoryview, ...]:
    """Let a gzip member state its own length, so that readers without the index go parallel too.

    The subfield is the one that ``CpuGzip.compress_members`` writes and pgzip reads.
    """
    size = len(member) - _GZIP_HEADER_BYTES + _GZIP_HEAD.size
    head = _GZIP_HEAD.pack(_WITH_EXTRA, 0, member[8:10], 8, b"IG", 4, size)
    return head, memoryview(member)[_GZIP_HEADER_BYTES:]


def _frame(chunk: memoryview, payload: bytes, checksum: int) -> tuple[bytes | memoryview, ...]:
    """Make an S4F2 frame, of the bytes as they are where compression gains nothing."""
    stored: bytes | memoryview = payload
    codec_id = _ZSTD_ID
    stored_len = len(payload)
    if stored_len >= chunk.nbytes:
        stored, codec_id, stored_len = chunk, _PASSTHROUGH_ID, chunk.nbytes
    return _FRAME_HEAD.pack(FRAME_MAGIC, codec_id, chunk.nbytes, stored_len, checksum), stored


def decode_run(
    compression: ReadableCompression | None,
    table: ChunkTable,
    rows: range,
    stored: Buffer,
    *,
    key: str | None = None,
    member: str | None = None,
) -> list[bytes]:
    """Decode neighbouring chunks and check them.

    Args:
        compression: What the archive is compressed with.
        table: Its chunks.
        rows: Numbers of the chunks, at least one.
        stored: The stored bytes that ``table.stored_range(rows)`` names.
        key: Key of the archive, for errors.
        member: Path of the member that is being read, for errors.

    Returns:
        Their original bytes, joined, in pieces of some chunks each.

    Raises:
        ShardReadError: A chunk is damaged.
    """
    view = memoryview(stored)
    start, end = table.stored_range(rows)
    if view.nbytes != end - start:
        raise ShardReadError(
            f"{view.nbytes} bytes arrived instead of {end - start}",
            key=key,
            member=member,
            offset=start,
        )
    pieces = []
    for part in _parts(table, rows):
        part_start, part_end = table.stored_range(part)
        piece = view[part_start - start : part_end - start]
        try:
            pieces.append(_decode_checked(compression, table, part, piece))
        except ShardpackError as error:
            raise _damage(compression, table, part, piece, (key, member)) from error
    return pieces


def decode_into(
    compression: ReadableCompression | None,
    table: ChunkTable,
    rows: range,
    stored: memoryview,
    target: memoryview,
    *,
    key: str | None = None,
) -> memoryview:
    """Decode neighbouring chunks in this thread and check them, as ``decode_run`` does.

    Args:
        compression: What the archive is compressed with.
        table: Its chunks.
        rows: Numbers of the chunks, at least one.
        stored: The stored bytes that ``table.stored_range(rows)`` names.
        target: Memory to use again, large enough for their original bytes.
        key: Key of the archive, for errors.

    Returns:
        Their original bytes, in ``target`` where the codec can put them there.

    Raises:
        ShardReadError: A chunk is damaged.
    """
    codec = _INTO.get(compression or "")
    checksums = table.checksums
    if codec is not None and checksums is not None and table.windows is None:
        origin, start = table.original_starts[rows.start], table.stored_starts[rows.start]
        with suppress(ShardpackError):
            for row in rows:
                low, high = (
                    table.original_starts[row] - origin,
                    table.original_starts[row + 1] - origin,
                )
                piece = stored[
                    table.stored_starts[row] - start : table.stored_starts[row + 1] - start
                ]
                if codec.decompress_into(piece, target[low:high], checksums[row]) != high - low:
                    break
            else:
                return target[: table.original_starts[rows.stop] - origin]
    # Whether that is damage, or a chunk of several gzip members, is seen there.
    pieces = decode_run(compression, table, rows, stored, key=key)
    return memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))


def _parts(table: ChunkTable, rows: range) -> list[range]:
    """Cut a run so that no part decodes to much more than its share of memory."""
    parts = []
    first = rows.start
    for row in rows:
        if table.original_starts[row + 1] - table.original_starts[first] > _MOST_DECODED:
            if row > first:
                parts.append(range(first, row))
            first = row
    parts.append(range(first, rows.stop))
    return parts


class _WrongChecksumError(ShardpackError):
    """The decoded bytes are not those that were written."""


def _decode_checked(
    compression: ReadableCompression | None, table: ChunkTable, rows: range, stored: memoryview
) -> bytes:
    origin = table.original_starts[rows.start]
    size = table.original_starts[rows.stop] - origin
    original = _decode(compression, table, rows.start, size, stored)
    if len(original) != size:
        raise _WrongChecksumError(f"{len(original)} bytes were decoded instead of {size}")
    if table.checksums is not None:
        view = memoryview(original)
        starts = table.original_starts
        found = crc32c_many([view[starts[at] - origin : starts[at + 1] - origin] for at in rows])
        expected = table.checksums[rows.start : rows.stop]
        for actual, wanted in zip(found, expected, strict=True):
            if actual != wanted:
                raise _WrongChecksumError(
                    f"crc32c of a chunk is {actual:08x} instead of {wanted:08x}"
                )
    return original


def _decode(
    compression: ReadableCompression | None,
    table: ChunkTable,
    first: int,
    size: int,
    stored: memoryview,
) -> bytes:
    if compression is None:
        return bytes(stored)
    if compression == "gzip" and table.windows is not None and table.bits is not None:
        return gzip_resume(table.windows[first], table.bits[first], stored, size)
    if compression == "gzip":
        return CpuGzip().decompress_all(stored, original_size=size, max_original_size=size)
    if compression == "zstd":
        return CpuZstd().decompress_all(stored, original_size=size, max_original_size=size)
    if compression == "s4":
        return decode_frames(stored, max_original_size=size)
    raise ShardReadError(f"there are no chunks in an archive with compression {compression!r}")


def _damage(
    compression: ReadableCompression | None,
    table: ChunkTable,
    rows: range,
    stored: memoryview,
    place: tuple[str | None, str | None],
) -> ShardReadError:
    """Find the first chunk that is damaged."""
    start = table.stored_starts[rows.start]
    for row in rows:
        one = range(row, row + 1)
        low, high = table.stored_range(one)
        try:
            _decode_checked(compression, table, one, stored[low - start : high - start])
        except ShardpackError as error:
            reason = str(error)
            break
    else:
        low, reason = start, "some chunks do not join"
    key, member = place
    return ShardReadError(f"damaged chunk: {reason}", key=key, member=member, offset=low)
