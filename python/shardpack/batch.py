"""A writer that gathers bytes into batches of chunks, so that all cores compress at once.

The base of every packed-file writer. It holds one batch in memory, whatever the size of the file;
where the chunks begin and end depends on the bytes alone, never on the calls or the threads.
"""

from __future__ import annotations

import io
import mmap
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, Self

from shardpack._native import thread_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from typing_extensions import Buffer

__all__ = ["BATCH_BYTES", "BatchWriter", "Sink", "as_bytes_view", "lazy_buffer", "write_all"]

# A chunk is held whole, as it is and compressed.
MAX_CHUNK_BYTES = 1 << 30

# A batch exists as input, as frames, joined, and once more in the scratch space of the threads;
# this much keeps a process that packs a file of any size under 200 MiB.
BATCH_BYTES = 32 << 20

# What the codec choice looks at. A batch is never smaller, so that the choice does not depend on
# how many threads share it.
SAMPLE_BYTES = 4096

_READ_PIECE = 1 << 20


class Sink(Protocol):
    """Anything with the ``write`` of a binary file object."""

    def write(self, data: Any, /) -> int | None:  # noqa: ANN401 - file objects disagree on the type
        """Take some of the bytes; the answer is how many, ``None`` for all."""


def as_bytes_view(data: Buffer) -> memoryview:
    """View any C-contiguous buffer as bytes, without a copy.

    Args:
        data: The buffer.

    Returns:
        A one-dimensional view of unsigned bytes.

    Raises:
        TypeError: The object is no buffer, or its bytes are not contiguous.
    """
    if isinstance(data, str):
        raise TypeError("a bytes-like object is required, not 'str'; encode the text first")
    view = memoryview(data)
    if view.nbytes == 0:
        return memoryview(b"")
    return view.cast("B")


def lazy_buffer(size: int, *, large_pages: bool = False) -> memoryview:
    """Reserve a writable buffer that takes memory only where it is written to.

    Args:
        size: Bytes, at least one.
        large_pages: All of it will be written soon: ask the system for large pages, which come
            several times as fast.

    Returns:
        The buffer; it is freed with the last view of it.
    """
    # A bytearray would be cleared, and so be resident, as a whole. Private: a forked child must
    # not write into the buffer of its parent.
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if large_pages and hasattr(mmap, "MADV_HUGEPAGE"):
        # Kernels without them refuse; the buffer is as good.
        with suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)


def write_all(sink: Sink, data: Buffer) -> None:
    """Write every byte, also to an unbuffered file that takes only some at a time.

    Args:
        sink: The file object.
        data: The bytes.

    Raises:
        BlockingIOError: The file is in non-blocking mode and took nothing.
    """
    view = as_bytes_view(data)
    while view.nbytes:
        written = sink.write(view)
        # Buffered files take everything; some wrappers around them answer None.
        if written is None:
            if isinstance(sink, io.RawIOBase):
                raise BlockingIOError(f"non-blocking output took none of {view.nbytes} bytes")
            return
        view = view[written:]


class BatchWriter(io.BufferedIOBase):
    """Compress what is written, a batch of chunks at a time.

    Subclasses say what becomes of a batch (``_encode_batch``) and of the end (``_encode_end``).
    """

    def __init__(
        self,
        fileobj: Sink,
        *,
        chunk_size: int,
        threads: int | None,
        close_fileobj: bool,
    ) -> None:
        super().__init__()
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be positive, got {chunk_size}")
        if chunk_size > MAX_CHUNK_BYTES:
            raise ValueError(f"chunk_size must be at most {MAX_CHUNK_BYTES}, got {chunk_size}")
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be positive, got {threads}")
        self._fileobj = fileobj
        self._chunk_size = chunk_size
        self._threads = threads
        self._close_fileobj = close_fileobj
        workers = thread_count() if threads is None else threads
        chunk_count = max(1, min(workers, BATCH_BYTES // chunk_size))
        chunk_count = max(chunk_count, -(-SAMPLE_BYTES // chunk_size))
        self._capacity = chunk_size * chunk_count
        self._batch: memoryview | None = None
        self._filled = 0
        self._abandoned = False
        # Called with this writer when all that it holds is written, before the file is closed.
        self.on_complete: Callable[[Any], object] | None = None
        self.original_size = 0
        self.stored_size = 0

    def _encode_batch(self, batch: memoryview) -> bytes:
        """Turn whole chunks (the last batch may end with a short one) into packed bytes."""
        raise NotImplementedError

    def _encode_end(self) -> bytes:
        """Give the bytes that belong after the last batch."""
        return b""

    def writable(self) -> bool:
        """Answer True: this is what the object is for."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Take bytes; they reach the file when a batch is full, or on ``close``.

        Args:
            data: Any C-contiguous buffer; it is not kept.

        Returns:
            The number of bytes taken, always all.

        Raises:
            ValueError: The writer is closed.
            TypeError: ``data`` is no contiguous buffer.
        """
        self._require_open()
        view = as_bytes_view(data)
        position = 0
        while position < view.nbytes:
            left = view.nbytes - position
            if self._filled == 0 and left >= self._capacity:
                self._put_batch(view[position : position + self._capacity])
                position += self._capacity
                continue
            space = self._space()
            taken = min(left, space.nbytes)
            space[:taken] = view[position : position + taken]
            position += taken
            self._advance(taken)
        return view.nbytes

    def copy_from(self, source: Any | Iterable[Buffer]) -> int:  # noqa: ANN401 - any file object
        """Write all that a source holds.

        Args:
            source: A binary file object, read to its end, or an iterable of buffers.

        Returns:
            The number of bytes copied.
        """
        self._require_open()
        before = self.original_size + self._filled
        if hasattr(source, "readinto"):
            while count := source.readinto(self._space()):
                self._advance(count)
            if count is None:
                raise BlockingIOError("the source is in non-blocking mode and has no bytes yet")
        elif hasattr(source, "read"):
            while piece := source.read(_READ_PIECE):
                self.write(piece)
        else:
            for piece in source:
                self.write(piece)
        return self.original_size + self._filled - before

    def flush(self) -> None:
        """Flush the file below. The batch in hand stays: chunks must not depend on flushes."""
        if not self.closed and hasattr(self._fileobj, "flush"):
            self._fileobj.flush()

    def abandon(self) -> None:
        """Close without writing the rest; what is in the file is then incomplete."""
        self._abandoned = True
        self.close()

    def close(self) -> None:
        """Write the rest. The file below stays open unless it belongs to this writer."""
        if self.closed:
            return
        complete = False
        try:
            if not getattr(self, "_abandoned", True):
                if self._filled:
                    self._put_batch(self._space(all_of_it=True)[: self._filled])
                self._put(self._encode_end())
                complete = True
        finally:
            self._batch = None
            try:
                super().close()
                if complete and self.on_complete is not None:
                    self.on_complete(self)
            finally:
                self.on_complete = None
                if getattr(self, "_close_fileobj", False):
                    self._fileobj.close()  # type: ignore[attr-defined]

    def __enter__(self) -> Self:
        """Give the writer itself."""
        self._require_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; after an error without writing the rest, which would look complete."""
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _require_open(self) -> None:
        if self.closed:
            raise ValueError("write to a closed file")
        if self._abandoned:
            raise ValueError("an earlier write failed; what is in the file is incomplete")

    def _space(self, *, all_of_it: bool = False) -> memoryview:
        if self._batch is None:
            self._batch = lazy_buffer(self._capacity)
        return self._batch if all_of_it else self._batch[self._filled :]

    def _advance(self, count: int) -> None:
        self._filled += count
        if self._filled == self._capacity:
            self._filled = 0
            self._put_batch(self._space(all_of_it=True))

    def _put_batch(self, batch: memoryview) -> None:
        # Set first and cleared last: whatever interrupts this leaves a writer that is not finished
        # behind the caller's back when it is closed or collected.
        self._abandoned = True
        encoded = self._encode_batch(batch)
        self.original_size += batch.nbytes
        self._put(encoded)
        self._abandoned = False

    def _put(self, encoded: bytes) -> None:
        write_all(self._fileobj, encoded)
        self.stored_size += len(encoded)
