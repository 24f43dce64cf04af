"""Decode a whole packed file piece by piece, checking everything on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardpack.checksum import crc32c
from shardpack.codec import CpuGzip, CpuZstd, CpuZstdDict, dict_id
from shardpack.codec_io import StreamReader
from shardpack.container import MAGIC_BYTES, container_of_bytes, container_of_name
from shardpack.errors import S4Error, S4IndexError, S4IoError
from shardpack.files.members import MemberWalker
from shardpack.frame import decode_frames
from shardpack.frame_io.walk import READ_BATCH_BYTES, FrameWalker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Buffer

    from shardpack.container import Container
    from shardpack.frame_io.source import ByteSource
    from shardpack.frame_io.table import FrameTable

__all__ = ["Decoding", "container_of"]

_STREAM_PIECE = 1 << 20


def container_of(source: ByteSource, name: str | None) -> Container:
    """Tell the container of a packed file by its first bytes, then by its name.

    Args:
        source: The file, at its start.
        name: Its name, if it has one.

    Returns:
        The container.

    Raises:
        S4Error: It is none.
        EncryptedObjectError: It is in an S4 encryption envelope.
    """
    found = container_of_bytes(source.peek(MAGIC_BYTES))
    if found is None and name is not None:
        # An empty or damaged file: its decoder says what is wrong with it.
        found = container_of_name(name)
    if found is None:
        raise S4Error("not a packed file: it begins with no S4 frame, zstd or gzip magic")
    return found


class Decoding:
    """One pass over a packed file; the facts are complete when the pieces are used up.

    Attributes:
        container: ``"s4"``, ``"zst"`` or ``"gz"``.
        codecs: Names of the codecs met so far.
        frames: Frames met so far; ``None`` where they cannot be told apart.
        original_size: Original bytes so far.
        crc32c: CRC32C of them.
    """

    def __init__(
        self,
        source: ByteSource,
        name: str | None,
        *,
        dictionary: Buffer | None,
        threads: int | None,
        max_original_size: int,
        on_consumed: Callable[[int], object],
    ) -> None:
        self.container = container_of(source, name)
        self.codecs: tuple[str, ...] = ()
        self.frames: int | None = None
        self.original_size = 0
        self.crc32c = 0
        self._source = source
        self._dictionary = dictionary
        self._threads = threads
        self._max_original_size = max_original_size
        self._on_consumed = on_consumed

    def pieces(self, table: FrameTable | None = None) -> Iterator[bytes]:
        """Decode the file.

        Args:
            table: What every frame of an ``s4`` file must agree with.

        Yields:
            The original bytes in order. Drop each piece before asking for the next one: a piece
            may be as large as a batch.

        Raises:
            ShardpackError: The file is damaged, cut short, or not what the table says.
        """
        if self.container == "s4":
            yield from self._frames(table)
        else:
            yield from self._stream()

    def _count(self, piece: bytes) -> bytes:
        self.original_size += len(piece)
        self.crc32c = crc32c(piece, self.crc32c)
        return piece

    def _frames(self, table: FrameTable | None) -> Iterator[bytes]:
        dictionary = self._dictionary
        dicts = None if dictionary is None else {dict_id(dictionary): dictionary}
        walker = FrameWalker(
            self._source,
            max_original_size=self._max_original_size,
            dictionary_given=dictionary is not None,
        )
        limit = max(1, min(READ_BATCH_BYTES, self._max_original_size))
        while batch := walker.take_batch(limit, stop=None, table=table)[0]:
            decoded = decode_frames(
                batch,
                dicts=dicts,
                max_original_size=self._max_original_size,
                threads=self._threads,
            )
            self._on_consumed(self._source.position)
            self.codecs = tuple(walker.codec_counts)
            self.frames = walker.frame_number
            if decoded:
                yield self._count(decoded)
            del decoded
        self.frames = walker.frame_number
        if table is not None and walker.frame_number != len(table):
            raise S4IndexError(
                f"index error: sidecar has {len(table)} frames, the body {walker.frame_number}"
            )

    def _stream(self) -> Iterator[bytes]:
        codec: CpuGzip | CpuZstd | CpuZstdDict = CpuGzip()
        if self.container == "zst":
            codec = CpuZstd() if self._dictionary is None else CpuZstdDict(self._dictionary)
        self.codecs = (codec.name,)
        if self._source.seekable:
            yield from self._members(codec)
            if self.frames and not self._source.peek(1):
                return
            self.frames = None
        # Whatever is left has members that only a decoder can tell apart.
        reader = StreamReader(self._source, codec, on_consumed=self._on_consumed)
        while piece := reader.read(_STREAM_PIECE):
            yield self._count(piece)

    def _members(self, codec: CpuGzip | CpuZstd | CpuZstdDict) -> Iterator[bytes]:
        walker = MemberWalker(self._source, self.container)
        while True:
            start = self._source.position
            batch, original_size = walker.take_batch()
            if not batch.nbytes:
                return
            try:
                decoded = codec.decompress_all(
                    batch, max_original_size=original_size, threads=self._threads
                )
            except (S4Error, S4IoError):
                # Damaged, or measured wrongly: the stream decoder finds out which.
                self._source.seek(start)
                return
            self._on_consumed(self._source.position)
            self.frames = walker.count
            if decoded:
                yield self._count(decoded)
            del decoded
