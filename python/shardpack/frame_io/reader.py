"""Read S4F2 frames as a stream of original bytes, from anywhere in it."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Self

from shardpack.batch import as_bytes_view
from shardpack.codec import MAX_ORIGINAL_SIZE
from shardpack.errors import S4IoError
from shardpack.frame import decode_frames
from shardpack.frame_io.source import open_source
from shardpack.frame_io.table import FrameTable, trusted_table
from shardpack.frame_io.walk import READ_BATCH_BYTES, FrameWalker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from typing_extensions import Buffer

    from shardpack.frame_io.source import SourceLike

__all__ = ["FrameReader"]


class FrameReader(io.RawIOBase):
    """Decode the frames of a body, a batch in parallel at a time, in bounded memory.

    Iterating gives the original bytes in order, in pieces of whole frames (not lines: wrap the
    reader in ``io.BufferedReader`` for those). Where the source can seek, so can the reader; it
    then decodes only the frames that hold what is read. It finds them with the sidecar if that is
    bound to a body of this size, otherwise by reading the header of every frame once.

    A frame is decoded as a whole, so the largest frame bounds the memory from below;
    ``max_original_size`` says how large one may be.

    Input that is cut short, damaged or not made of frames raises; no read gives less than there
    is without having reached the true end.

    Args:
        source: A path, a binary file object (which stays open) or an iterable of buffers.
        sidecar: The S4IX sidecar of the body, or the table that was read from it.
        dicts: Dictionaries by their id, for ``cpu-zstd-dict`` frames.
        dict_id: Which of them the frames use; not needed if there is only one.
        threads: Threads to decode with; all cores when ``None``.
        max_original_size: Largest original size that a frame may claim.
        on_consumed: Called after each batch with the number of stored bytes consumed so far.
        close_fileobj: Close ``source`` together with this reader.

    Raises:
        OSError: A path cannot be opened.
        S4IndexError: ``sidecar`` is no sidecar.

    Example:
        >>> import io
        >>> from shardpack import FrameReader, encode_object
        >>> body = encode_object(b"hello " * 1000)["body"]
        >>> with FrameReader(io.BytesIO(body)) as reader:
        ...     reader.read_range(6, 11)
        b'hello'
    """

    def __init__(
        self,
        source: SourceLike,
        *,
        sidecar: Buffer | FrameTable | None = None,
        dicts: Mapping[str, Buffer] | None = None,
        dict_id: str | None = None,
        threads: int | None = None,
        max_original_size: int = MAX_ORIGINAL_SIZE,
        on_consumed: Callable[[int], object] | None = None,
        close_fileobj: bool = False,
    ) -> None:
        super().__init__()
        self._dicts = dicts
        self._dict_id = dict_id
        self._threads = threads
        self._max_original_size = max_original_size
        self._on_consumed = on_consumed
        self._source = open_source(source, close_fileobj=close_fileobj)
        self._walker = FrameWalker(
            self._source, max_original_size=max_original_size, dictionary_given=bool(dicts)
        )
        self._table: FrameTable | None = None
        if sidecar is not None and self._source.seekable:
            if not isinstance(sidecar, FrameTable):
                sidecar = trusted_table(sidecar, self._source.size())
            self._table = sidecar
        self._position = 0
        self._drop_chunk()
        self._window = 0
        self._failure: Exception | None = None

    # --- the stream ---------------------------------------------------------------------------

    def __iter__(self) -> Self:
        """Give the reader itself."""
        self._require_open()
        return self

    def __next__(self) -> bytes:
        """Give the next decoded piece: all that is decoded already, or the next batch."""
        self._require_open()
        if not self._fill(READ_BATCH_BYTES):
            raise StopIteration
        return self._take(self._chunk.nbytes)

    def readable(self) -> bool:
        """Answer True: this is what the object is for."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill a buffer; fewer bytes only at the end of the stream.

        Args:
            buffer: Any writable C-contiguous buffer.

        Returns:
            The number of bytes put into it.
        """
        self._require_open()
        target = as_bytes_view(buffer)
        filled = 0
        while filled < target.nbytes and self._fill(self._window):
            at = self._position - self._chunk_start
            piece = self._chunk[at : at + target.nbytes - filled]
            target[filled : filled + piece.nbytes] = piece
            filled += piece.nbytes
            self._position += piece.nbytes
        return filled

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes.

        Args:
            size: How many; all that is left when negative or ``None``.

        Returns:
            That many bytes, fewer only at the end of the stream.
        """
        self._require_open()
        if size is None or size < 0:
            return b"".join(self)
        pieces = []
        while size and self._fill(max(self._window, min(size, READ_BATCH_BYTES))):
            pieces.append(self._take(size))
            size -= len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readall(self) -> bytes:
        """Read all that is left."""
        return self.read()

    # --- positions ----------------------------------------------------------------------------

    def seekable(self) -> bool:
        """Tell whether the source can seek."""
        self._require_open()
        return self._source.seekable

    def tell(self) -> int:
        """Give the position in the original bytes."""
        self._require_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a position in the original bytes; nothing is decoded before the next read.

        Args:
            offset: Bytes from where ``whence`` says.
            whence: ``os.SEEK_SET``, ``os.SEEK_CUR`` or ``os.SEEK_END``.

        Returns:
            The new position.

        Raises:
            io.UnsupportedOperation: The source cannot seek.
            ValueError: The position is negative, or ``whence`` unknown.
        """
        self._require_open()
        if not self._source.seekable:
            raise io.UnsupportedOperation("the source cannot seek")
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            offset += self.original_size
        elif whence != os.SEEK_SET:
            raise ValueError(f"whence must be 0, 1 or 2, got {whence}")
        if offset < 0:
            raise ValueError(f"negative seek position {offset}")
        self._failure = None
        self._position = offset
        return offset

    @property
    def original_size(self) -> int:
        """Length of all original bytes, from the sidecar or from the headers of all frames.

        Raises:
            io.UnsupportedOperation: The source cannot seek.
        """
        return self._seek_table().original_size

    @property
    def frame_count(self) -> int:
        """Number of frames, from the sidecar or from the headers.

        Raises:
            io.UnsupportedOperation: The source cannot seek.
        """
        return len(self._seek_table())

    def iter_range(self, start: int | None, end: int | None) -> Iterator[bytes]:
        """Decode a range of the original bytes, piece by piece, in bounded memory.

        Args:
            start: First byte; negative counts from the end, ``None`` is the start.
            end: First byte after the range, like ``start``; ``None`` is the end.

        Yields:
            The bytes of the range, as ``data[start:end]`` would give them, in order.
        """
        table = self._seek_table()
        begin, stop, _ = slice(start, end).indices(table.original_size)
        if begin >= stop:
            return
        self.seek(begin)
        while self._position < stop and self._fill(READ_BATCH_BYTES, stop=stop):
            yield self._take(stop - self._position)

    def read_range(self, start: int | None, end: int | None) -> bytes:
        """Decode a range of the original bytes, from the frames that cover it and no others.

        Args:
            start: First byte; negative counts from the end, ``None`` is the start.
            end: First byte after the range, like ``start``; ``None`` is the end.

        Returns:
            What ``data[start:end]`` would give.
        """
        pieces = list(self.iter_range(start, end))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Release what is held. A file object that was passed in stays open."""
        if not self.closed:
            super().close()
            if hasattr(self, "_source"):
                self._drop_chunk()
                self._source.close()

    # --- decoding -----------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on a closed reader")

    def _take(self, size: int) -> bytes:
        """Give at most ``size`` decoded bytes; the position must be inside the chunk."""
        at = self._position - self._chunk_start
        view = self._chunk[at : at + size]
        # A whole chunk goes out as it is, and no reference stays: the caller decides how long it
        # lives while the next one is decoded.
        piece = self._decoded if view.nbytes == len(self._decoded) else bytes(view)
        self._position += len(piece)
        if self._position == self._chunk_start + self._chunk.nbytes:
            self._drop_chunk()
        return piece

    def _drop_chunk(self) -> None:
        self._decoded = b""
        self._chunk = memoryview(self._decoded)
        self._chunk_start = self._position

    def _fill(self, limit: int, *, stop: int | None = None) -> bool:
        """Have the byte at the position decoded; answer False at the end of the stream."""
        limit = max(1, min(limit, self._max_original_size))
        while not 0 <= self._position - self._chunk_start < self._chunk.nbytes:
            if self._failure is not None:
                raise self._failure
            try:
                if not self._decode_more(limit, stop):
                    return False
            except Exception as error:
                # Later reads must not step over the frames that failed.
                self._failure = error
                self._walker.lose_place()
                raise
            except BaseException:
                self._failure = S4IoError("io: an earlier read of this stream was interrupted")
                self._walker.lose_place()
                raise
        return True

    def _decode_more(self, limit: int, stop: int | None) -> bool:
        walker = self._walker
        if walker.original_position != self._position and not self._go_to_position():
            return False
        start = walker.original_position
        # A small read pays for one frame; reads that go on get larger batches and more cores.
        self._drop_chunk()
        batch, original_size = walker.take_batch(limit, stop=stop, table=self._table)
        if not batch.nbytes:
            return False
        self._window = min(max(2 * self._window, 2 * original_size), READ_BATCH_BYTES)
        self._decoded = decode_frames(
            batch,
            dicts=self._dicts,
            dict_id=self._dict_id,
            max_original_size=self._max_original_size,
            threads=self._threads,
        )
        self._chunk = memoryview(self._decoded)
        self._chunk_start = start
        if self._on_consumed is not None:
            self._on_consumed(self._source.position)
        return True

    def _go_to_position(self) -> bool:
        table = self._seek_table()
        if self._position >= table.original_size:
            return False
        number = table.frame_at(self._position)
        self._walker.go_to(number, table.stored_start(number), table.original_start(number))
        self._window = 0
        return True

    def _seek_table(self) -> FrameTable:
        self._require_open()
        if not self._source.seekable:
            raise io.UnsupportedOperation("the source cannot seek")
        if self._table is None:
            self._table = FrameTable(self._walker.scan(), from_sidecar=False)
        return self._table
