"""The tar stream inside of a stored archive: decoded as it comes, in pieces of bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from shardpack.archive.gzip_members import decode_gzip, decode_stream
from shardpack.archive.tar import BLOCK_BYTES, parse_header
from shardpack.codec import CpuZstd
from shardpack.errors import S4Error, S4IoError, ShardReadError
from shardpack.frame import FRAME_MAGIC, PADDING_MAGIC, decode_frames
from shardpack.frame_io.walk import FrameWalker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shardpack.archive.compression import ReadableCompression
    from shardpack.frame_io.source import ByteSource

__all__ = [
    "DECODED_PIECE",
    "MOST_FRAME_BYTES",
    "SNIFFED_BYTES",
    "STORED_PIECE",
    "Ahead",
    "TarStream",
    "decode",
    "sniff_compression",
]

SNIFFED_BYTES: Final = BLOCK_BYTES
"""How much of the front of an archive ``sniff_compression`` wants to see."""

STORED_PIECE: Final = 256 << 10
DECODED_PIECE: Final = 1 << 20
"""What is read and decoded at a time."""

MOST_FRAME_BYTES: Final = 1 << 30
"""The largest S4 frame that is believed."""

# S4 frames that are decoded at once.
_BATCH_BYTES: Final = 8 << 20

_GZIP_MAGIC = b"\x1f\x8b\x08"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = frozenset(bytes((low, 0x2A, 0x4D, 0x18)) for low in range(0x50, 0x60))
_XZ_MAGIC = b"\xfd7zXZ\x00"
_BZIP2_BLOCKS = frozenset((b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"))


class Ahead(Protocol):
    """Gives the pieces that it is given, perhaps read ahead by threads of its own."""

    def __call__(self, pieces: Iterator[bytes], /) -> Iterator[bytes]:
        """Give the same pieces.

        Args:
            pieces: The pieces.
        """

    def close(self) -> None:
        """End the threads: none of them asks for another piece."""


def sniff_compression(
    head: bytes, *, otherwise: ReadableCompression | None = None
) -> ReadableCompression | None:
    """Tell from its first bytes how an archive is compressed, whatever its key ends in.

    Args:
        head: At least the first ``SNIFFED_BYTES`` bytes, or all there are.
        otherwise: The answer for bytes that say nothing.

    Returns:
        The compression, ``None`` for a tar that is not compressed.
    """
    if len(head) >= BLOCK_BYTES and _is_tar_header(head[:BLOCK_BYTES]):
        # The name of a first member may look like any of the others.
        return None
    magic = head[:4]
    signs: dict[ReadableCompression, bool] = {
        "gzip": magic[:3] == _GZIP_MAGIC,
        "s4": magic in (FRAME_MAGIC, PADDING_MAGIC),
        "zstd": magic == _ZSTD_MAGIC or magic in _ZSTD_SKIPPABLE,
        "xz": head[:6] == _XZ_MAGIC,
        "bzip2": magic[:3] == b"BZh" and head[4:10] in _BZIP2_BLOCKS,
    }
    return next((compression for compression, found in signs.items() if found), otherwise)


def _is_tar_header(block: bytes) -> bool:
    try:
        return parse_header(block) is not None
    except ShardReadError:
        return False


def decode(
    source: ByteSource, compression: ReadableCompression | None, *, ahead: Ahead | None = None
) -> Iterator[bytes]:
    """Give the tar stream in pieces, none of them empty.

    Memory stays bounded by some mebibytes, for S4 by the largest frame, at most one gibibyte.

    Args:
        source: The stored archive; its own errors pass through.
        compression: How it is compressed.
        ahead: What stored pieces pass through, where something is done with them.

    Raises:
        S4Error: S4 frames are damaged.
        S4IoError: Something else is damaged or cut short.
    """
    if compression is None:
        return _pieces_of(source)
    if compression == "s4":
        return _decode_s4(source)
    # Another thread is woken for each piece, and waits for it, whatever its size.
    stored = _pieces_of(source) if ahead is None else ahead(_pieces_of(source, DECODED_PIECE))
    if compression == "gzip":
        return decode_gzip(stored, DECODED_PIECE)
    if compression == "zstd":
        return decode_stream(CpuZstd(), stored, DECODED_PIECE)
    if compression in ("bzip2", "xz"):
        # Python can be built without them.
        from shardpack.archive.standard_codecs import decode_standard

        return decode_standard(compression, stored, DECODED_PIECE)
    raise ValueError(f"unknown compression {compression!r}")


def _pieces_of(source: ByteSource, size: int = STORED_PIECE) -> Iterator[bytes]:
    while piece := source.take_some(size):
        yield piece


def _decode_s4(source: ByteSource) -> Iterator[bytes]:
    walker = FrameWalker(source, max_original_size=MOST_FRAME_BYTES, dictionary_given=False)
    while True:
        batch, size = walker.take_batch(_BATCH_BYTES, stop=None, table=None)
        if not batch.nbytes:
            return
        if size:
            yield decode_frames(batch, max_original_size=max(size, _BATCH_BYTES))


class TarStream:
    """The bytes of a tar stream, taken in exact counts.

    Args:
        pieces: What ``decode`` gives for ``source``.
        source: The stored archive.
        compression: How it is compressed, for errors.
        key: Key of the archive, for errors.

    Attributes:
        member: The member that is being read, for errors.
        failed: The last error that was made here.
    """

    __slots__ = (
        "_at",
        "_base",
        "_key",
        "_name",
        "_piece",
        "_pieces",
        "_source",
        "failed",
        "member",
    )

    def __init__(
        self,
        pieces: Iterable[bytes],
        source: ByteSource,
        compression: ReadableCompression | None,
        *,
        key: str | None = None,
    ) -> None:
        self._pieces = iter(pieces)
        self._source = source
        self._name = compression
        self._key = key
        self._piece = b""
        self._at = 0
        # Where the piece begins in the stream.
        self._base = 0
        self.member: str | None = None
        self.failed: ShardReadError | None = None

    @property
    def position(self) -> int:
        """How many bytes were taken so far."""
        return self._base + self._at

    def take(self, size: int) -> bytes:
        """Take exactly ``size`` bytes.

        Raises:
            ShardReadError: The archive ends before, or is damaged.
        """
        start = self._at
        end = start + size
        if end <= len(self._piece):
            self._at = end
            return self._piece[start:end]
        parts = []
        while size:
            part = self.take_some(size)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def take_some(self, size: int) -> bytes:
        """Take at least one byte and at most ``size``, without waiting for more than one piece."""
        if self._at == len(self._piece) and not self._more():
            raise self.failure(f"the archive ends {size} bytes too early")
        part = self._piece[self._at : self._at + size]
        self._at += len(part)
        return part

    def skip(self, size: int) -> None:
        """Step over exactly ``size`` bytes."""
        self._at += size
        while self._at > len(self._piece):
            over = self._at - len(self._piece)
            self._at = len(self._piece)
            if not self._more():
                raise self.failure(f"the archive ends {over} bytes too early")
            self._at = over

    def take_at_most(self, size: int) -> bytes:
        """Take ``size`` bytes, fewer only at the end of the stream."""
        parts = []
        while size and (self._at < len(self._piece) or self._more()):
            parts.append(self.take_some(size))
            size -= len(parts[-1])
        return b"".join(parts)

    def failure(self, message: str, *, cause: ShardReadError | None = None) -> ShardReadError:
        """Make the error for what is wrong at the place where the stream stands.

        Its offset counts stored bytes. Those of a compressed archive are read in pieces: it is the
        end of what was read, and the message names the place in the tar stream.

        Args:
            message: What is wrong.
            cause: The error of a header, whose offset counts bytes of the tar stream.
        """
        offset = self.position if cause is None or cause.offset is None else cause.offset
        if self._name is not None:
            message = f"{message}, at byte {offset} of the tar stream"
            offset = self._source.position
        self.failed = ShardReadError(message, key=self._key, member=self.member, offset=offset)
        return self.failed

    def _more(self) -> bool:
        """Have the next piece; false at the end."""
        self._base += len(self._piece)
        self._at = 0
        self._piece = b""
        try:
            self._piece = next(self._pieces, b"")
        except (S4Error, S4IoError) as error:
            raise self.failure(f"damaged {self._name} archive: {error}") from error
        return bool(self._piece)
