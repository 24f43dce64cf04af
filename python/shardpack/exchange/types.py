"""What a line of a manifest says, and what the calls of a store report.

Entries are plain dicts with the fields of ``s3exchange``; unknown fields are kept. Those marked
"ours" are additions that its readers ignore.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from typing_extensions import Buffer

__all__ = [
    "CompactReport",
    "DeleteReport",
    "FileEntry",
    "ManifestEntry",
    "ManifestRef",
    "ManifestRefEntry",
    "ManifestWriterConfig",
    "ShardEntry",
    "ShardItem",
    "ShardSizePolicy",
    "StreamingBodyLike",
]


class FileEntry(TypedDict, total=False):
    """One object, or one member of a shard archive.

    Attributes:
        kind: ``"file"``.
        key: Key of the object; ``archive_key#member_path`` of a member.
        id: The caller's name for it.
        meta: Whatever the caller wants to keep with it.
        content_type: Media type.
        size_bytes: Length in bytes.
        etag: The store's tag, without quotes.
        member_path: Path in the archive.
        archive_key: Key of the archive.
        crc32c: CRC32C of the bytes, 8 hexadecimal digits (ours).
        blake3: BLAKE3 of the bytes, 64 hexadecimal digits (ours).
    """

    kind: Literal["file"]
    key: str
    id: str | None
    meta: dict[str, Any] | None
    content_type: str | None
    size_bytes: int | None
    etag: str | None
    member_path: str
    archive_key: str
    crc32c: str
    blake3: str


class ShardEntry(TypedDict, total=False):
    """One shard archive.

    Attributes:
        kind: ``"shard"``.
        archive_key: Key of the archive.
        format: ``"tar"``.
        compression: ``None``, ``"gzip"``, ``"bzip2"``, ``"xz"``, and ours: ``"zstd"``, ``"s4"``.
        internal_manifest_path: Path of the manifest inside.
        count: Number of members, the manifest not counted.
        size_bytes: Length of the stored archive in bytes.
        meta: Whatever the caller wants to keep with it; ``etag`` is that of the archive.
        index_key: Key of the index of chunks and members (ours).
        blake3: BLAKE3 of the stored archive, 64 hexadecimal digits (ours).
    """

    kind: Literal["shard"]
    archive_key: str
    format: str
    compression: str | None
    internal_manifest_path: str
    count: int
    size_bytes: int
    meta: dict[str, Any] | None
    index_key: str
    blake3: str


class _ManifestRefFields(TypedDict):
    kind: Literal["manifest_ref"]
    key: str


class ManifestRefEntry(_ManifestRefFields, total=False):
    """Another manifest whose entries stand here.

    Attributes:
        kind: ``"manifest_ref"``.
        key: Key of the manifest.
        level: How often its parts have been folded together; absent for a part (ours).
        layout: ``"listed"`` where ``key`` is a prefix whose parts are found by listing (ours).
    """

    level: int
    layout: Literal["listed"]


ManifestEntry = FileEntry | ShardEntry | ManifestRefEntry
# The key of a manifest, or its entries.
ManifestRef = str | Iterable[ManifestEntry]


class ShardItem(TypedDict, total=False):
    """Something to put into a shard archive.

    Attributes:
        source: The bytes, or the path of a file.
        member_path: Path in the archive.
        id: The caller's name for it.
        meta: Whatever the caller wants to keep with it.
        size_bytes: Length in bytes; found out where it is missing.
        content_type: Media type.
    """

    source: Buffer | str | os.PathLike[str]
    member_path: str
    id: str | None
    meta: dict[str, Any] | None
    size_bytes: int | None
    content_type: str | None


@dataclass(frozen=True)
class ShardSizePolicy:
    """When a shard is full.

    Attributes:
        max_entries: Most members.
        max_bytes: Most bytes of members.

    Raises:
        ValueError: Neither is given, or one is below 1.
    """

    max_entries: int | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.max_entries is None and self.max_bytes is None:
            raise ValueError("a size policy needs max_entries or max_bytes")
        for name in ("max_entries", "max_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


class ManifestWriterConfig(TypedDict, total=False):
    """Options of a manifest writer as one value: ``open_manifest_writer(key, **config)``.

    Those that are missing have their defaults there.

    Attributes:
        mode: ``"append_parts"`` or ``"overwrite"``.
        part_max_entries: Most entries of a part.
        part_max_bytes: Most bytes of a part.
        publish_on_error: Publish what there is when the block fails.
        dedupe_virtual_keys: Leave out entries whose key this writer has written already.
    """

    mode: Literal["append_parts", "overwrite"]
    part_max_entries: int
    part_max_bytes: int
    publish_on_error: bool
    dedupe_virtual_keys: bool


class StreamingBodyLike(Protocol):
    """What ``get_object`` and ``iter_objects`` give."""

    def read(self, amt: int | None = None) -> bytes:
        """Read at most so many bytes, all that is left when ``None``."""

    def close(self) -> None:
        """Release what is held."""

    def iter_lines(
        self, chunk_size: int | None = None, limit: int | None = None
    ) -> Iterator[bytes]:
        """Give the lines that are left."""

    def readinto(self, b: Buffer) -> int | None:
        """Fill a buffer."""


class DeleteReport(TypedDict):
    """What ``delete_manifest`` removed.

    Attributes:
        deleted_object_count: Objects.
        deleted_archive_count: Shard archives; their indexes are not counted.
        deleted_manifest_count: Manifests: the root and all that it refers to.
        errors: What could not be removed, by key.
    """

    deleted_object_count: int
    deleted_archive_count: int
    deleted_manifest_count: int
    errors: dict[str, str]


class CompactReport(TypedDict):
    """What ``compact_manifest`` wrote.

    Attributes:
        total_entries: Entries of the new manifest.
        removed_entries: Entries that were left out.
        resolved_refs: References that were followed.
        expanded_shards: Members that stand in place of their shards.
    """

    total_entries: int
    removed_entries: int
    resolved_refs: int
    expanded_shards: int
