"""Any codec as a file object, with little memory, no delay and one core."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from shardpack.batch import as_bytes_view, write_all
from shardpack.errors import S4IoError
from shardpack.frame_io.source import open_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from shardpack.batch import Sink
    from shardpack.codec import Codec
    from shardpack.frame_io.source import SourceLike

__all__ = ["StreamReader", "StreamWriter"]

_INPUT_PIECE = 256 << 10
_OUTPUT_PIECE = 1 << 20


class StreamReader(io.RawIOBase):
    """Decode a stream piece by piece; every frame or member of it, one after another.

    Reads do not give lines or small pieces efficiently: wrap the reader in ``io.BufferedReader``
    for that. It can seek where the source can; going back decodes from the start again.

    Args:
        source: A path, a binary file object (which stays open) or an iterable of buffers.
        codec: The codec that wrote the stream.
        on_consumed: Called after each read with the number of packed bytes consumed so far.
        close_fileobj: Close ``source`` together with this reader.

    Example:
        >>> import io
        >>> from shardpack import CpuZstd, StreamReader
        >>> packed, size, crc = CpuZstd().compress(b"hello")
        >>> StreamReader(io.BytesIO(packed), CpuZstd()).read()
        b'hello'
    """

    def __init__(
        self,
        source: SourceLike,
        codec: Codec,
        *,
        on_consumed: Callable[[int], object] | None = None,
        close_fileobj: bool = False,
    ) -> None:
        super().__init__()
        self._codec = codec
        self._on_consumed = on_consumed
        self._source = open_source(source, close_fileobj=close_fileobj)
        self._decompressor = codec.decompressor()
        self._position = 0
        self._ended = False
        self._failure: Exception | None = None

    def readable(self) -> bool:
        """Answer True: this is what the object is for."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill a buffer with what is decoded next.

        Args:
            buffer: Any writable C-contiguous buffer.

        Returns:
            The number of bytes put into it, 0 only at the end of the stream.

        Raises:
            S4IoError: The stream is damaged or cut short.
        """
        target = as_bytes_view(buffer)
        piece = self._decode(target.nbytes)
        target[: len(piece)] = piece
        return len(piece)

    def readall(self) -> bytes:
        """Read all that is left."""
        pieces = []
        while piece := self._decode(_OUTPUT_PIECE):
            pieces.append(piece)
        return b"".join(pieces)

    def seekable(self) -> bool:
        """Tell whether the source can seek."""
        self._require_open()
        return self._source.seekable

    def tell(self) -> int:
        """Give the position in the original bytes."""
        self._require_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a position in the original bytes, by decoding what lies before it.

        Args:
            offset: Bytes from where ``whence`` says.
            whence: ``os.SEEK_SET``, ``os.SEEK_CUR`` or ``os.SEEK_END``.

        Returns:
            The new position, which is never after the end.

        Raises:
            io.UnsupportedOperation: The source cannot seek.
            ValueError: The position is negative, or ``whence`` unknown.
        """
        if not self.seekable():
            raise io.UnsupportedOperation("the source cannot seek")
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            self._skip(None)
            offset += self._position
        elif whence != os.SEEK_SET:
            raise ValueError(f"whence must be 0, 1 or 2, got {whence}")
        if offset < 0:
            raise ValueError(f"negative seek position {offset}")
        if offset < self._position:
            self._source.seek(0)
            self._decompressor = self._codec.decompressor()
            self._position = 0
            self._ended = False
            self._failure = None
        self._skip(offset - self._position)
        return self._position

    def close(self) -> None:
        """Release what is held. A file object that was passed in stays open."""
        if not self.closed:
            super().close()
            if hasattr(self, "_source"):
                self._source.close()

    def _require_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on a closed reader")

    def _skip(self, count: int | None) -> None:
        while count != 0:
            piece = self._decode(_OUTPUT_PIECE if count is None else min(count, _OUTPUT_PIECE))
            if not piece:
                return
            if count is not None:
                count -= len(piece)

    def _decode(self, size: int) -> bytes:
        self._require_open()
        if self._failure is not None:
            raise self._failure
        piece = b""
        try:
            while size and not piece and not self._ended:
                piece = self._decode_some(size)
        except Exception as error:
            # A later read must not go on behind the damage.
            self._failure = error
            raise
        except BaseException:
            self._failure = S4IoError("io: an earlier read of this stream was interrupted")
            raise
        self._position += len(piece)
        return piece

    def _decode_some(self, size: int) -> bytes:
        packed = b""
        if self._decompressor.needs_input:
            packed = self._source.take_some(_INPUT_PIECE)
            if not packed:
                self._decompressor.flush()
                self._ended = True
                return b""
            if self._on_consumed is not None:
                self._on_consumed(self._source.position)
        return self._decompressor.decompress(packed, size)


class StreamWriter(io.RawIOBase):
    """Compress into one stream as the bytes come, with little memory and on one core.

    Args:
        fileobj: Where the stream goes; it stays open.
        codec: The codec.
        close_fileobj: Close ``fileobj`` together with this writer.

    Example:
        >>> import gzip, io
        >>> from shardpack import CpuGzip, StreamWriter
        >>> packed = io.BytesIO()
        >>> with StreamWriter(packed, CpuGzip()) as writer:
        ...     _ = writer.write(b"hello")
        >>> gzip.decompress(packed.getvalue())
        b'hello'
    """

    def __init__(self, fileobj: Sink, codec: Codec, *, close_fileobj: bool = False) -> None:
        super().__init__()
        self._fileobj = fileobj
        self._close_fileobj = close_fileobj
        self._compressor = codec.compressor()
        self._complete = True

    def writable(self) -> bool:
        """Answer True: this is what the object is for."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Compress bytes; the codec decides when they reach the file.

        Args:
            data: Any C-contiguous buffer.

        Returns:
            The number of bytes taken, always all.
        """
        if self.closed:
            raise ValueError("write to a closed file")
        if not self._complete:
            raise ValueError("an earlier write failed; what is in the file is incomplete")
        view = as_bytes_view(data)
        self._complete = False
        write_all(self._fileobj, self._compressor.compress(view))
        self._complete = True
        return view.nbytes

    def close(self) -> None:
        """End the stream. The file below stays open unless it belongs to this writer."""
        if self.closed:
            return
        try:
            if getattr(self, "_complete", False):
                write_all(self._fileobj, self._compressor.flush())
        finally:
            super().close()
            if getattr(self, "_close_fileobj", False):
                self._fileobj.close()  # type: ignore[attr-defined]

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        """Close; after an error without ending the stream, which would look complete."""
        if kind is not None:
            self._complete = False
        self.close()
