"""Where an archive goes while it is built: into one request when it is small, into parts else."""

from __future__ import annotations

import bz2
import lzma
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self

from shardpack.archive.tar import build_header, encode_path, padding_of, trailer_of
from shardpack.batch import as_bytes_view
from shardpack.errors import IntegrityError
from shardpack.hash import Blake3

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from typing_extensions import Buffer

    from shardpack.batch import Sink
    from shardpack.exchange.packing.plan import ShardOptions
    from shardpack.exchange.shard.items import PreparedItem
    from shardpack.storage.base import ObjectInfo, ObjectStore, ObjectWriter

__all__ = ["ArchiveTarget", "StreamCompressor", "tar_size"]

# An archive up to this size is held until it is complete, and goes as one request, with the
# metadata that only the complete archive has.
_ONE_REQUEST_BYTES: Final = 8 << 20
_CONTENT_TYPES: Final = {
    None: "application/x-tar",
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "zstd": "application/zstd",
    "s4": "application/x-tar",
}


class ArchiveTarget:
    """A sink whose bytes become an object when ``publish`` is called, and never otherwise.

    Args:
        objects: The store.
        key: Full key of the object.
        options: How the archive is written.
        first: The internal manifest.
        items: The other members.
    """

    def __init__(
        self,
        objects: ObjectStore,
        key: str,
        options: ShardOptions,
        first: bytes,
        items: Sequence[PreparedItem],
    ) -> None:
        self._objects = objects
        self._key = key
        self._options = options
        self._first = first
        self._items = items
        self._held: list[bytes] = []
        self._size = 0
        self._writer: ObjectWriter | None = None

    def write(self, data: Buffer, /) -> int:
        """Take all bytes.

        Args:
            data: The bytes; they may be changed afterwards.
        """
        view = as_bytes_view(data)
        self._size += view.nbytes
        if self._writer is None and self._size <= _ONE_REQUEST_BYTES:
            self._held.append(data if isinstance(data, bytes) else bytes(view))
            return view.nbytes
        if self._writer is None:
            self._writer = self._objects.writer(
                self._key,
                content_type=_CONTENT_TYPES[self._options.compression],
                metadata=self._metadata_of_parts(),
            )
            held, self._held = self._held, []
            for earlier in held:
                self._writer.write(earlier)
        self._writer.write(view)
        return view.nbytes

    def publish(self, metadata: dict[str, str] | None) -> ObjectInfo:
        """Give the object its key.

        Args:
            metadata: What to say of a complete S4 body.

        Raises:
            IntegrityError: The store has another number of bytes.
            StorageError: The store refused.
        """
        if self._writer is None:
            info = self._objects.put(
                self._key,
                b"".join(self._held),
                content_type=_CONTENT_TYPES[self._options.compression],
                metadata=metadata,
            )
        else:
            info = self._writer.close()
            self._writer = None
        info = self._as_readers_see_it(info)
        if info.size != self._size:
            # Nobody knows what it holds; nothing refers to it yet.
            self._objects.delete(self._key)
            raise IntegrityError(
                f"sent {self._size} bytes, the store has {info.size}: {self._key}",
                key=self._key,
                algorithm="size",
                expected=self._size,
                actual=info.size,
            )
        return info

    def __enter__(self) -> Self:
        """Give the target."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Throw away what was not published."""
        self._held = []
        if self._writer is not None:
            self._writer.abort()
            self._writer = None

    def _as_readers_see_it(self, info: ObjectInfo) -> ObjectInfo:
        """Ask for the tag: some servers later show another one than they answer, or none.

        A tag of the same kind that differs is that of another writer's object, and not taken.
        """
        seen = self._objects.head(self._key)
        is_other_kind = info.etag and seen.etag and "-" in info.etag and "-" not in seen.etag
        etag = seen.etag if is_other_kind or not seen.etag else info.etag
        return replace(info, size=seen.size, etag=etag)

    def _metadata_of_parts(self) -> dict[str, str] | None:
        """Say what is known before the body is complete: that it is frames, and how long."""
        if self._options.compression != "s4":
            return None
        size = tar_size(self._options.internal_manifest_path, self._first, self._items)
        return {
            "s4-codec": "cpu-zstd",
            "s4-multipart": "true",
            "s4-original-size": str(size),
        }


def tar_size(first_path: str, first: bytes, items: Sequence[PreparedItem]) -> int:
    """Compute the length of the tar stream of members.

    Args:
        first_path: Path of the internal manifest.
        first: Its bytes.
        items: The other members.
    """
    sizes = [(first_path, len(first)), *((item.member_path, item.size) for item in items)]
    length = sum(
        len(build_header(encode_path(path), size)) + size + padding_of(size) for path, size in sizes
    )
    return length + len(trailer_of(length))


class StreamCompressor:
    """Compresses into one stream, for the formats that have no chunks here.

    Args:
        sink: Where the stream goes.
        compression: ``"bzip2"`` or ``"xz"``.
        level: 1 to 9 and 0 to 9; their own defaults, 9 and 6, when ``None``.

    Raises:
        ValueError: There is no such level.
    """

    def __init__(self, sink: Sink, compression: str, level: int | None) -> None:
        self._sink = sink
        self._hasher = Blake3()
        self._compressor: Any
        if compression == "bzip2":
            self._compressor = bz2.BZ2Compressor(9 if level is None else level)
        else:
            # LZMAError would say only that some option is bad.
            if level is not None and not 0 <= level <= 9:  # noqa: PLR2004
                raise ValueError(f"level of xz must be 0 to 9, got {level}")
            self._compressor = lzma.LZMACompressor(preset=level)

    def write(self, data: Buffer, /) -> int:
        """Compress bytes.

        Args:
            data: The bytes.
        """
        view = as_bytes_view(data)
        self._send(self._compressor.compress(view))
        return view.nbytes

    def close(self) -> str:
        """End the stream.

        Returns:
            BLAKE3 of the compressed bytes, 64 hexadecimal digits.
        """
        self._send(self._compressor.flush())
        return self._hasher.hexdigest()

    def _send(self, packed: bytes) -> None:
        if packed:
            self._hasher.update(packed)
            self._sink.write(packed)
