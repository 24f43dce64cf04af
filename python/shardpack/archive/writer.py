"""Write a shard archive as a stream: a tar file in chunks that can be read one by one.

Chunks end where members end as long as that leaves them at least half full; members that are
larger than a chunk are cut. Where the cuts lie depends on the lengths of the members and of their
paths alone, and all bytes on the members, the compression, its level and the chunk size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from shardpack._native import thread_count
from shardpack.archive.chunks import ChunkEncoder, ChunkTable
from shardpack.archive.index import ArchiveIndex, Member
from shardpack.archive.member_path import check_member_path
from shardpack.archive.sources import open_source
from shardpack.archive.tar import build_header, padding_of, trailer_of
from shardpack.batch import MAX_CHUNK_BYTES, lazy_buffer, write_all
from shardpack.checksum import crc32c, crc32c_combine, crc32c_many
from shardpack.frame import encode_index
from shardpack.hash import Blake3, many

if TYPE_CHECKING:
    from types import TracebackType

    from shardpack.archive.compression import Compression
    from shardpack.archive.sources import OpenSource
    from shardpack.batch import Sink

__all__ = ["DEFAULT_CHUNK_SIZE", "ArchiveWriter"]

DEFAULT_CHUNK_SIZE = 512 << 10

_LEAST_CHUNK_BYTES = 512

# A batch is held as it is and compressed. With several chunks for each thread none of them waits
# long for the slowest; with more the bytes would leave the caches before they are hashed.
_CHUNKS_PER_THREAD = 2
_BATCH_BYTES = 32 << 20

_ZEROS = bytes(512)


class ArchiveWriter:
    """Write members into an archive, in the order of the calls.

    Memory holds a few chunks for each thread, whatever the size of the archive, and about 400 bytes
    for each member. One thread may use it at a time. The sink stays open. Leaving a ``with`` block
    by an exception leaves the archive without its end.

    Args:
        sink: A binary file object; it may not keep the buffers that it is given.
        compression: ``None``, ``"gzip"``, ``"zstd"`` or ``"s4"``.
        level: Compression level; when ``None`` 3, and for gzip 6, or 0 for chunks that will not
            shrink.
        chunk_size: Most original bytes of a chunk, at least 512.
        threads: Threads to compress with; all cores when ``None``.
        internal_manifest_path: Path of the member that describes the others, noted in the index.

    Attributes:
        stored_size: Bytes written so far.
        original_size: Bytes of the tar stream that they hold.
        crc32c: CRC32C of the bytes written so far.
        original_crc32c: CRC32C of the tar stream that they hold.

    Raises:
        ValueError: An unknown compression, or a level, size or count out of its range.

    Example:
        >>> import io
        >>> from shardpack.archive import ArchiveWriter
        >>> with ArchiveWriter(io.BytesIO(), compression="zstd") as writer:
        ...     _ = writer.add("a/one.txt", b"hello")
        >>> index = writer.close()
        >>> index.member("a/one.txt").size, index.original_size
        (5, 10240)
    """

    def __init__(
        self,
        sink: Sink,
        *,
        compression: Compression | None = None,
        level: int | None = None,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        threads: int | None = None,
        internal_manifest_path: str | None = None,
    ) -> None:
        if not _LEAST_CHUNK_BYTES <= chunk_size <= MAX_CHUNK_BYTES:
            raise ValueError(
                f"chunk_size must be from {_LEAST_CHUNK_BYTES} to {MAX_CHUNK_BYTES},"
                f" got {chunk_size}"
            )
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be positive, got {threads}")
        self._encoder = ChunkEncoder(compression, level, threads)
        self._sink = sink
        self._compression = compression
        self._internal_manifest_path = internal_manifest_path
        self._chunk_size = chunk_size
        self._threads = threads
        workers = thread_count() if threads is None else threads
        chunk_count = max(2, min(workers * _CHUNKS_PER_THREAD, _BATCH_BYTES // chunk_size))
        self._batch = lazy_buffer(chunk_size * chunk_count)
        self._filled = 0
        # Where the chunk that is being filled began, and the ends of the complete ones.
        self._chunk_start = 0
        self._cuts: list[int] = []
        self._members: dict[str, Member | None] = {}
        # Path, offset in the tar stream and size of the members that end in this batch.
        self._ended: list[tuple[str, int, int]] = []
        # Of the member that is being written: where its bytes that are not digested yet begin in
        # the batch, -1 outside of members, and the digests of what was in earlier batches.
        self._data_start = -1
        self._hasher: Blake3 | None = None
        self._crc32c = 0
        self._broken: str | None = None
        self._index: ArchiveIndex | None = None
        self._stored_digest = Blake3()
        self._stored_sizes: list[int] = []
        self._original_sizes: list[int] = []
        self._checksums: list[int] = []
        self.stored_size = 0
        self.original_size = 0
        self.crc32c = 0
        self.original_crc32c = 0

    def add(self, member_path: str, source: Any, *, size: int | None = None) -> Member:  # noqa: ANN401 - see below
        """Write one member.

        Args:
            member_path: Its path; see ``check_member_path``.
            source: Its bytes: any buffer, the path of a regular file (``str`` or ``os.PathLike``;
                symbolic links are followed), a binary file object, or an iterable of buffers.
            size: How many bytes there are. File objects and iterables without it are copied to
                memory, from 8 MiB on to a temporary file, before anything is written.

        Returns:
            Where it lies. Its digests are in the index that ``close`` gives: they are computed for
            many members at once.

        Raises:
            UnsafePathError: The path could leave its folder, or the source is a folder, a device,
                a pipe or a socket.
            ValueError: There is a member with this path, or the archive is closed or broken.
            IntegrityError: The source has another number of bytes than ``size``.
            S4IoError: The file changed while it was read.
            OSError: The file cannot be read, or the sink not be written to.
        """
        self._require_open()
        if member_path in self._members:
            raise ValueError(f"there is a member {member_path!r} already")
        check_member_path(member_path)
        if type(source) is bytes and (size is None or size == len(source)):
            return self._add_bytes(member_path, source)
        with open_source(source, size, member_path) as opened:
            if opened.data is not None:
                return self._add_bytes(member_path, opened.data)
            return self._add_stream(member_path, opened)

    def close(self) -> ArchiveIndex:
        """Write the end of the archive.

        Returns:
            The index of the archive; the same one if it is closed already.

        Raises:
            ValueError: An earlier call failed, so that the archive is incomplete.
        """
        if self._index is not None:
            return self._index
        self._require_open()
        self._broken = "the end of the archive was not written completely"
        trailer = trailer_of(self.original_size + self._filled)
        self._make_room(len(trailer))
        self._put(trailer)
        if self._filled > self._chunk_start:
            self._cuts.append(self._filled)
        if self._cuts:
            self._flush()
        self._broken = None
        self._index = ArchiveIndex(
            compression=self._compression,
            stored_size=self.stored_size,
            original_size=self.original_size,
            chunks=ChunkTable(self._stored_sizes, self._original_sizes, self._checksums),
            members=[member for member in self._members.values() if member is not None],
            blake3=self.digest,
            internal_manifest_path=self._internal_manifest_path,
        )
        self._batch = memoryview(b"")
        return self._index

    @property
    def digest(self) -> bytes:
        """BLAKE3 hash of the bytes written so far."""
        return self._stored_digest.digest()

    @property
    def s4_metadata(self) -> dict[str, str] | None:
        """The S3 user metadata by which an S4 gateway serves the tar; ``None`` without ``"s4"``.

        Raises:
            ValueError: The archive is not closed yet.
        """
        if self._compression != "s4":
            return None
        self._require_closed()
        # Of frames with different codecs: each says its own, this one is the writer's usual.
        return {
            "s4-codec": "cpu-zstd",
            "s4-original-size": str(self.original_size),
            "s4-compressed-size": str(self.stored_size),
            "s4-crc32c": str(self.original_crc32c),
            "s4-framed": "true",
        }

    @property
    def s4_sidecar(self) -> bytes | None:
        """The S4IX sidecar, not bound yet; ``None`` without ``"s4"`` and for a single frame.

        Raises:
            ValueError: The archive is not closed yet.
        """
        if self._compression != "s4":
            return None
        chunks = self._require_closed().chunks
        if len(chunks) < 2:  # noqa: PLR2004 - the gateway writes none for a single frame
            return None
        entries = [
            {
                "original_offset": chunk.original_offset,
                "original_size": chunk.original_size,
                "compressed_offset": chunk.stored_offset,
                "compressed_size": chunk.stored_size,
            }
            for chunk in chunks
        ]
        return encode_index(
            {
                "total_padded_size": self.stored_size,
                "total_original_size": self.original_size,
                "source_etag": None,
                "source_compressed_size": None,
                "entries": entries,
                "sse": None,
            }
        )

    def __enter__(self) -> Self:
        """Give the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; after an error without the end of the archive, which would look complete."""
        if kind is None:
            self.close()
        elif self._index is None:
            self._broken = "the block that wrote it was left by an exception"

    def _require_open(self) -> None:
        if self._broken is not None:
            raise ValueError(f"the archive is incomplete: {self._broken}")
        if self._index is not None:
            raise ValueError("the archive is closed")

    def _require_closed(self) -> ArchiveIndex:
        if self._index is None:
            raise ValueError("this is known when the archive is closed")
        return self._index

    # --- filling chunks ---------------------------------------------------------------------

    def _add_bytes(self, path: str, data: bytes | memoryview) -> Member:
        size = len(data)
        header = build_header(path.encode(), size)
        whole = len(header) + size + padding_of(size)
        self._broken = f"member {path!r} was not written completely"
        if self._make_room(whole):
            at = self._filled
            start = at + len(header)
            end = start + size
            filled = at + whole
            batch = self._batch
            batch[at:start] = header
            batch[start:end] = data
            batch[end:filled] = _ZEROS[: filled - end]
            self._filled = filled
            self._members[path] = None
            self._ended.append((path, start, size))
            member = Member(path, self.original_size + start, size)
            if filled - self._chunk_start == self._chunk_size:
                self._cut()
        else:
            member = self._begin(path, header, size)
            self._put(data)
            self._end(member)
        self._broken = None
        return member

    def _add_stream(self, path: str, source: OpenSource) -> Member:
        size = source.size
        header = build_header(path.encode(), size)
        self._broken = f"member {path!r} was not written completely"
        self._make_room(len(header) + size + padding_of(size))
        member = self._begin(path, header, size)
        left = size
        while left:
            count = source.read_into(self._space(left))
            left -= count
            self._advance(count)
        source.require_end()
        self._end(member)
        self._broken = None
        return member

    def _make_room(self, size: int) -> bool:
        """End the chunk if that keeps what comes next in one piece and leaves no small chunk.

        Returns:
            Whether it now fits into the chunk.
        """
        used = self._filled - self._chunk_start
        if used + size <= self._chunk_size:
            return True
        if used * 2 >= self._chunk_size:
            self._cut()
            return size <= self._chunk_size
        return False

    def _begin(self, path: str, header: bytes, size: int) -> Member:
        self._members[path] = None
        self._put(header)
        self._data_start = self._filled
        self._hasher = None
        self._crc32c = 0
        return Member(path, self.original_size + self._filled, size)

    def _end(self, member: Member) -> None:
        path, offset, size = member[:3]
        if self._hasher is None:
            self._ended.append((path, self._data_start, size))
        else:
            self._digest_rest()
            self._members[path] = Member(path, offset, size, self._crc32c, self._hasher.digest())
            self._hasher = None
        self._data_start = -1
        self._put(_ZEROS[: padding_of(size)])

    def _put(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view.nbytes:
            space = self._space(view.nbytes)
            space[:] = view[: space.nbytes]
            view = view[space.nbytes :]
            self._advance(space.nbytes)

    def _space(self, wanted: int) -> memoryview:
        end = min(self._filled + wanted, self._chunk_start + self._chunk_size)
        return self._batch[self._filled : end]

    def _advance(self, count: int) -> None:
        self._filled += count
        if self._filled - self._chunk_start == self._chunk_size:
            self._cut()

    def _cut(self) -> None:
        self._cuts.append(self._filled)
        self._chunk_start = self._filled
        if self._batch.nbytes - self._filled < self._chunk_size:
            self._flush()

    # --- complete chunks --------------------------------------------------------------------

    def _flush(self) -> None:
        """Compress, digest and write the complete chunks, which are all that was filled in."""
        batch = self._batch
        starts = [0, *self._cuts[:-1]]
        chunks = [batch[start:end] for start, end in zip(starts, self._cuts, strict=True)]
        self._digest_members()
        checksums = crc32c_many(chunks, threads=self._threads)
        stored = self._encoder.encode(chunks, checksums)
        for chunk, checksum, pieces in zip(chunks, checksums, stored, strict=True):
            self._stored_sizes.append(sum(len(piece) for piece in pieces))
            self._original_sizes.append(chunk.nbytes)
            self._checksums.append(checksum)
            self.original_crc32c = crc32c_combine(self.original_crc32c, checksum, chunk.nbytes)
            for piece in pieces:
                self._write(piece)
        self.original_size += self._filled
        self._filled = self._chunk_start = 0
        self._cuts.clear()

    def _write(self, piece: bytes | memoryview) -> None:
        self._stored_digest.update(piece, threads=self._threads)
        self.crc32c = crc32c(piece, self.crc32c)
        write_all(self._sink, piece)
        self.stored_size += len(piece)

    def _digest_members(self) -> None:
        batch, base = self._batch, self.original_size
        spans = [batch[start : start + size] for _, start, size in self._ended]
        digests = many("blake3", spans, threads=self._threads)
        checksums = crc32c_many(spans, threads=self._threads)
        found = zip(self._ended, checksums, digests, strict=True)
        for (path, start, size), checksum, digest in found:
            self._members[path] = Member(path, base + start, size, checksum, digest)
        self._ended.clear()
        if self._data_start >= 0:
            if self._hasher is None:
                self._hasher = Blake3()
            self._digest_rest()

    def _digest_rest(self) -> None:
        """Take in what the batch holds of a member that is not all in it."""
        assert self._hasher is not None  # noqa: S101 - made when the first batch was full
        rest = self._batch[self._data_start : self._filled]
        self._hasher.update(rest, threads=self._threads)
        self._crc32c = crc32c(rest, self._crc32c)
        self._data_start = 0
