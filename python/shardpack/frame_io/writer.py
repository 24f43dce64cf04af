"""Write a stream of any length as S4F2 frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardpack.batch import SAMPLE_BYTES, BatchWriter, as_bytes_view
from shardpack.checksum import crc32c_combine
from shardpack.codec import Codec, CpuZstdDict, make_codec, pick_codec
from shardpack.frame import encode_frames, encode_index

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from shardpack.batch import Sink
    from shardpack.frame import IndexEntry

__all__ = ["DEFAULT_CHUNK_SIZE", "FrameWriter"]

# What the gateway takes for uploads whose length it does not know.
DEFAULT_CHUNK_SIZE = 4 << 20

# The most that a sidecar can list.
_MOST_FRAMES = 16 << 20


class FrameWriter(BatchWriter):
    """Compress a stream into S4F2 frames, a batch of chunks in parallel at a time.

    The bytes depend on the data, the codec and the chunk size, not on threads or on how the data
    was cut into ``write`` calls.

    Args:
        fileobj: Where the frames go; it stays open.
        codec: A codec, its name, or ``"auto"``: the gateway's choice, from the first 4096 bytes.
            Data that does not compress is written as ``passthrough`` frames.
        level: Compression level, where ``codec`` is a name.
        chunk_size: Original bytes of each frame.
        threads: Threads to compress with; all cores when ``None``.
        close_fileobj: Close ``fileobj`` together with this writer.

    Raises:
        ValueError: An unknown codec name, or a size or count below one.

    Example:
        >>> import io
        >>> from shardpack import FrameWriter
        >>> body = io.BytesIO()
        >>> with FrameWriter(body, "cpu-zstd", chunk_size=1000) as writer:
        ...     _ = writer.write(b"hello " * 500)
        >>> writer.frame_count, writer.metadata["s4-original-size"]
        (3, '3000')
    """

    def __init__(
        self,
        fileobj: Sink,
        codec: str | Codec = "auto",
        *,
        level: int | None = None,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        threads: int | None = None,
        close_fileobj: bool = False,
    ) -> None:
        # Before anything is held, so that a mistake in the arguments closes nothing.
        self._level = level
        self._codec = None if codec == "auto" else make_codec(codec, level=level)
        if codec == "auto" and level is not None:
            make_codec("cpu-zstd", level=level)
        super().__init__(
            fileobj, chunk_size=chunk_size, threads=threads, close_fileobj=close_fileobj
        )
        self._frames: list[tuple[int, int]] = []
        self.crc32c = 0

    @property
    def codec(self) -> str | None:
        """Name of the codec; ``None`` while ``"auto"`` has not seen enough bytes."""
        return None if self._codec is None else self._codec.name

    @property
    def frame_count(self) -> int:
        """Frames written so far."""
        return len(self._frames)

    @property
    def frames(self) -> list[tuple[int, int]]:
        """Original and stored size of each frame written so far, in bytes."""
        return list(self._frames)

    @property
    def sidecar(self) -> bytes | None:
        """The S4IX sidecar of the body, not bound to it yet; ``None`` for one frame or none.

        Raises:
            ValueError: The writer is not closed yet.
        """
        self._require_closed("sidecar")
        if len(self._frames) < 2:  # noqa: PLR2004 - the gateway writes none for a single frame
            return None
        entries: list[IndexEntry] = []
        original = stored = 0
        for original_size, stored_size in self._frames:
            entries.append(
                {
                    "original_offset": original,
                    "original_size": original_size,
                    "compressed_offset": stored,
                    "compressed_size": stored_size,
                }
            )
            original += original_size
            stored += stored_size
        return encode_index(
            {
                "total_padded_size": stored,
                "total_original_size": original,
                "source_etag": None,
                "source_compressed_size": None,
                "entries": entries,
                "sse": None,
            }
        )

    @property
    def metadata(self) -> dict[str, str]:
        """The S3 user metadata that belong to the body, as ``encode_object`` gives them.

        Raises:
            ValueError: The writer is not closed yet.
        """
        self._require_closed("metadata")
        codec = self._chosen(b"")
        metadata = {
            "s4-codec": codec.name,
            "s4-original-size": str(self.original_size),
            "s4-compressed-size": str(self.stored_size),
            "s4-crc32c": str(self.crc32c),
        }
        if isinstance(codec, CpuZstdDict):
            metadata["s4-dict-id"] = codec.dict_id
        metadata["s4-framed"] = "true"
        return metadata

    def write(self, data: Buffer, /) -> int:
        """Take bytes; they reach the file when a batch is full, or on ``close``.

        Args:
            data: Any C-contiguous buffer; it is not kept.

        Returns:
            The number of bytes taken, always all.

        Raises:
            ValueError: The writer is closed, or the frames would be more than a sidecar can list.
            TypeError: ``data`` is no contiguous buffer.
        """
        view = as_bytes_view(data)
        self.require_room(view.nbytes)
        return super().write(view)

    def require_room(self, size: int) -> None:
        """Refuse bytes that would take more frames than a sidecar can list.

        Args:
            size: Bytes that are to be written next.

        Raises:
            ValueError: They do not fit.
        """
        total = self.original_size + self._filled + size
        if -(-total // self._chunk_size) > _MOST_FRAMES:
            raise ValueError(
                f"{total} bytes in frames of {self._chunk_size} are more than {_MOST_FRAMES}"
                " frames: choose a larger chunk_size"
            )

    def _chosen(self, sample: memoryview | bytes) -> Codec:
        if self._codec is None:
            name = pick_codec(sample)
            level = None if name == "passthrough" else self._level
            self._codec = make_codec(name, level=level)
        return self._codec

    def _encode_batch(self, batch: memoryview) -> bytes:
        if len(self._frames) - (-batch.nbytes // self._chunk_size) > _MOST_FRAMES:
            raise ValueError(
                f"more than {_MOST_FRAMES} frames of {self._chunk_size} bytes:"
                " choose a larger chunk_size"
            )
        codec = self._chosen(batch[:SAMPLE_BYTES])
        body, sizes, crc = encode_frames(codec, batch, self._chunk_size, threads=self._threads)
        self._frames += sizes
        self.crc32c = crc32c_combine(self.crc32c, crc, batch.nbytes)
        return body

    def _require_closed(self, what: str) -> None:
        if not self.closed:
            raise ValueError(f"the {what} is known when the writer is closed")
        if self._abandoned:
            raise ValueError(f"there is no {what}: the writer was abandoned before its end")
