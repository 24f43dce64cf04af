"""Where decoding can begin in archives of other writers, found while they are decoded.

=========== =====================================================================================
compression entry points
=========== =====================================================================================
``gzip``    members, and inside of them checkpoints: blocks of deflate with the bytes before them
``zstd``    frames
``s4``      frames
=========== =====================================================================================

Small members and frames are joined, so that the table stays short.
"""

from __future__ import annotations

from itertools import chain, pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from shardpack._native import GzipIndexer
from shardpack.archive.chunks import ChunkTable
from shardpack.archive.decoding import DECODED_PIECE, MOST_FRAME_BYTES, STORED_PIECE, decode
from shardpack.checksum import crc32c, crc32c_combine
from shardpack.codec import CpuZstd
from shardpack.frame import decode_frames
from shardpack.frame_io.walk import FrameWalker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shardpack.archive.compression import ReadableCompression
    from shardpack.frame_io.source import ByteSource

__all__ = ["MOST_CHUNK_BYTES", "EntryPoints", "find_entry_points"]

MOST_CHUNK_BYTES: Final = 64 << 20
"""The longest piece that is decoded to get at a few of its bytes."""

# Members and frames are entry points from this share of the span on.
_SHARE: Final = 16
# With more bytes of windows than this, every second checkpoint goes.
_MOST_WINDOW_BYTES: Final = 128 << 20

_MAGIC_BYTES: Final = 4
_ZSTD_MAGIC: Final = 0xFD2FB528
_SKIPPABLE_MAGIC: Final = 0x184D2A5
_BLOCK_HEADER_BYTES: Final = 3
_RUN_BLOCK: Final = 1
_CHECKSUM_BYTES: Final = 4


class _Point(NamedTuple):
    """Where a chunk begins; see ``shardpack._native.GzipIndexer.take_points``."""

    stored: int
    bits: int
    original: int
    window: bytes


class EntryPoints:
    """The tar stream of an archive, and what is learned about its chunks on the way.

    Args:
        source: The stored archive.
        span: Original bytes between two entry points, about.
    """

    def __init__(self, source: ByteSource, span: int) -> None:
        self._source = source
        self._span = span
        self._points = [_Point(0, 0, 0, b"")]
        # CRC32C of the original bytes of each chunk but the last, and of that as far as it came.
        self._checksums: list[int] = []
        self._crc32c = 0
        self._original = 0

    def pieces(self) -> Iterator[bytes]:
        """Give the tar stream in pieces."""
        raise NotImplementedError

    def table(self) -> ChunkTable | None:
        """Give the chunks, once the stream has ended; ``None`` if they are too long for use."""
        points = self._points
        checksums = [*self._checksums, self._crc32c]
        if points[-1].original == self._original:
            # Something without original bytes at the end belongs to the chunk before.
            points, checksums = points[:-1], checksums[:-1]
        stored = [point.stored for point in points]
        original = [point.original for point in points]
        original_sizes = _differences([*original, self._original])
        windows = [point.window for point in points]
        too_long = max(original_sizes, default=0) > MOST_CHUNK_BYTES
        if not points or too_long or sum(map(len, windows)) > 2 * _MOST_WINDOW_BYTES:
            return None
        inside = any(windows)
        return ChunkTable(
            _differences([*stored, self._source.position]),
            original_sizes,
            checksums,
            bits=[point.bits for point in points] if inside else None,
            windows=windows if inside else None,
        )

    def _give(self, piece: bytes) -> bytes:
        self._original += len(piece)
        self._crc32c = crc32c(piece, self._crc32c)
        return piece

    def _may_cut(self, stored: int) -> None:
        """Begin a chunk where a member or frame begins, unless the one before is still short."""
        if self._original - self._points[-1].original >= self._span // _SHARE:
            self._points.append(_Point(stored, 0, self._original, b""))
            self._checksums.append(self._crc32c)
            self._crc32c = 0


class _GzipPoints(EntryPoints):
    """Members and checkpoints."""

    def __init__(self, source: ByteSource, span: int) -> None:
        super().__init__(source, span)
        self._chunk_end = 0
        self._least = 0
        self._window_bytes = 0

    def pieces(self) -> Iterator[bytes]:
        indexer = GzipIndexer(span=self._span)
        while stored := self._source.take_some(STORED_PIECE):
            yield from self._decoded(indexer, stored)
        yield from self._decoded(indexer, b"")
        checksum = indexer.finish()
        self._take(indexer)
        self._crc32c = crc32c_combine(self._crc32c, checksum, self._original - self._chunk_end)

    def _decoded(self, indexer: GzipIndexer, stored: bytes) -> Iterator[bytes]:
        while True:
            piece = indexer.decompress(stored, DECODED_PIECE)
            self._original += len(piece)
            self._take(indexer)
            if piece:
                yield piece
            if indexer.needs_input:
                return
            stored = b""

    def _take(self, indexer: GzipIndexer) -> None:
        for stored, bits, original, window, checksum in indexer.take_points():
            if not stored:
                continue
            size = original - self._chunk_end
            self._chunk_end = original
            self._crc32c = crc32c_combine(self._crc32c, checksum, size)
            if original - self._points[-1].original < self._least:
                continue
            self._points.append(_Point(stored, bits, original, window))
            self._checksums.append(self._crc32c)
            self._crc32c = 0
            self._window_bytes += len(window)
            # Only if the last one stays: a chunk begins there of which not all is known.
            if self._window_bytes > _MOST_WINDOW_BYTES and len(self._points) % 2:
                self._thin()

    def _thin(self) -> None:
        """Drop every second point; the chunk that begins there becomes a part of the one before."""
        ends = [point.original for point in self._points]
        self._checksums = [
            crc32c_combine(
                self._checksums[at], self._checksums[at + 1], ends[at + 2] - ends[at + 1]
            )
            for at in range(0, len(self._checksums), 2)
        ]
        self._points = self._points[::2]
        self._window_bytes = sum(len(point.window) for point in self._points)
        # New ones are to lie about as far apart as the old ones do now.
        self._least = 2 * self._least or self._span * 3 // 2


class _ZstdPoints(EntryPoints):
    """Frames."""

    def pieces(self) -> Iterator[bytes]:
        decoder = CpuZstd().decompressor()
        frames = _ZstdFrames()
        start = 0
        while stored := self._source.take_some(STORED_PIECE):
            cuts = frames.ends_in(stored)
            for low, high in pairwise(chain((0,), cuts, (len(stored),))):
                data = stored[low:high]
                while True:
                    if piece := decoder.decompress(data, DECODED_PIECE):
                        yield self._give(piece)
                    if decoder.needs_input:
                        break
                    data = b""
                if high in cuts:
                    self._may_cut(start + high)
            start += len(stored)
        decoder.flush()


class _ZstdFrames:
    """Finds the ends of frames in bytes that come piece by piece (RFC 8878, section 3.1)."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._wanted = _MAGIC_BYTES
        self._skip = 0
        self._in_frame = False
        self._ends = False
        self._checksum_bytes = 0

    def ends_in(self, data: bytes) -> list[int]:
        """Tell behind which bytes of ``data`` a frame ends."""
        ends = []
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
            else:
                step = min(self._wanted - len(self._head), len(data) - at)
                self._head += data[at : at + step]
                if len(self._head) == self._wanted:
                    self._read_head()
            at += step
            if self._ends and not self._skip:
                self._ends = self._in_frame = False
                ends.append(at)
        return ends

    def _read_head(self) -> None:
        head = self._head
        if self._in_frame:
            self._read_block_header(int.from_bytes(head, "little"))
        elif len(head) == _MAGIC_BYTES:
            # A frame goes on with a byte of flags, a skippable one with its length. Anything else
            # is refused by the decoder.
            skippable = int.from_bytes(head, "little") >> 4 == _SKIPPABLE_MAGIC
            self._wanted = 8 if skippable else 5
            return
        elif int.from_bytes(head[:_MAGIC_BYTES], "little") == _ZSTD_MAGIC:
            self._read_flags(head[_MAGIC_BYTES])
        else:
            self._skip = int.from_bytes(head[_MAGIC_BYTES:], "little")
            self._ends = True
        head.clear()
        self._wanted = _BLOCK_HEADER_BYTES if self._in_frame and not self._ends else _MAGIC_BYTES

    def _read_flags(self, flags: int) -> None:
        single_segment = flags >> 5 & 1
        size_bytes = (single_segment, 2, 4, 8)[flags >> 6]
        self._skip = 1 - single_segment + (0, 1, 2, 4)[flags & 3] + size_bytes
        self._checksum_bytes = _CHECKSUM_BYTES * (flags >> 2 & 1)
        self._in_frame = True

    def _read_block_header(self, header: int) -> None:
        self._skip = 1 if header >> 1 & 3 == _RUN_BLOCK else header >> 3
        if header & 1:
            self._skip += self._checksum_bytes
            self._ends = True


class _S4Points(EntryPoints):
    """Frames, with what lies between them."""

    def pieces(self) -> Iterator[bytes]:
        source = self._source
        walker = FrameWalker(source, max_original_size=MOST_FRAME_BYTES, dictionary_given=False)
        while True:
            frame, size = walker.take_batch(1, stop=None, table=None)
            if not frame.nbytes:
                return
            if size:
                yield self._give(decode_frames(frame, max_original_size=size))
            self._may_cut(source.position)


class _NoPoints(EntryPoints):
    """None: a plain tar needs none, in the others nobody looked for any."""

    def __init__(
        self, source: ByteSource, span: int, compression: ReadableCompression | None
    ) -> None:
        super().__init__(source, span)
        self._compression = compression

    def pieces(self) -> Iterator[bytes]:
        return decode(self._source, self._compression)

    def table(self) -> ChunkTable | None:
        return None


def find_entry_points(
    source: ByteSource, compression: ReadableCompression | None, span: int
) -> EntryPoints:
    """Decode an archive and find out where that can begin.

    Args:
        source: The stored archive.
        compression: How it is compressed.
        span: Original bytes between two entry points, about; at least 32 KiB.
    """
    if compression == "gzip":
        return _GzipPoints(source, span)
    if compression == "zstd":
        return _ZstdPoints(source, span)
    if compression == "s4":
        return _S4Points(source, span)
    return _NoPoints(source, span, compression)


def _differences(starts: Sequence[int]) -> list[int]:
    return [end - start for start, end in pairwise(starts)]
