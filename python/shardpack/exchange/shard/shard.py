"""A shard archive: its manifest, its members, and how archives are made and split."""

from __future__ import annotations

import os
import tempfile
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from shardpack.archive.compression import compression_of_key
from shardpack.exchange.keys import Space
from shardpack.exchange.manifest.manifest import Manifest
from shardpack.exchange.reading.pipeline import iter_objects
from shardpack.exchange.shard.listing import member_entries
from shardpack.exchange.shard.source import ArchiveSource
from shardpack.exchange.shard.writing import put_archive
from shardpack.exchange.upkeep.delete import delete_archive
from shardpack.storage.file import FileStore
from shardpack.storage.sources import source_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from shardpack.archive.compression import ReadableCompression
    from shardpack.exchange.bodies import ArchiveMemberBody
    from shardpack.exchange.calls.base import StoreBase
    from shardpack.exchange.types import FileEntry, ShardEntry, ShardItem

__all__ = ["Shard"]

_INTERNAL_MANIFEST_PATH = "__manifest__.jsonl"


class Shard:
    """A shard archive in a store.

    Nothing is read before it is asked for. Of an archive with an index beside it, no more is read
    than the index and the chunks that hold what was asked for.

    Args:
        store: The store.
        entry: What a manifest says of the archive.
    """

    def __init__(self, store: StoreBase, entry: ShardEntry) -> None:
        self._store = store
        self._entry = entry

    @classmethod
    def from_key(cls, store: StoreBase, key: str) -> Shard:
        """Make a shard of the key of an archive; the compression follows from the extension.

        Args:
            store: The store.
            key: Key of the archive.
        """
        format_, compression = cls.infer_archive_format(key)
        return cls(
            store,
            {"kind": "shard", "archive_key": key, "format": format_, "compression": compression},
        )

    @classmethod
    def from_entry(cls, store: StoreBase, entry: ShardEntry) -> Shard:
        """Make a shard of an entry of a manifest.

        Args:
            store: The store.
            entry: The entry.
        """
        return cls(store, entry)

    @property
    def archive_key(self) -> str:
        """Key of the archive."""
        return self._entry["archive_key"]

    @property
    def format(self) -> str:
        """Format of the archive, ``"tar"``."""
        return self._entry.get("format", "tar")

    @property
    def compression(self) -> str | None:
        """Its compression; ``"gzip"`` where the entry does not say."""
        return self._entry.get("compression", "gzip")

    @property
    def internal_manifest_path(self) -> str:
        """Path of the manifest inside."""
        return self._entry.get("internal_manifest_path") or _INTERNAL_MANIFEST_PATH

    @property
    def entry(self) -> ShardEntry:
        """What a manifest says of the archive."""
        return self._entry

    @property
    def store(self) -> StoreBase:
        """The store."""
        return self._store

    def get_manifest(self) -> Manifest:
        """Read the manifest inside.

        Returns:
            A manifest in memory, with an entry for each member.

        Raises:
            ObjectNotFoundError: There is no such archive.
            ShardReadError: It has no manifest inside, or is damaged.
        """
        entries = list(member_entries(self._store.space, self._entry))
        return Manifest.from_entries(cast("Any", self._store), entries)

    def iter_entries(
        self, limit: int | None = None
    ) -> Iterator[tuple[ArchiveMemberBody, FileEntry]]:
        """Iterate over the members, without the internal manifest, in the order of the archive.

        Args:
            limit: Most members.

        Returns:
            An iterator over ``(body, entry)``.

        Raises:
            ShardReadError: The archive is damaged, or lacks members that its manifest names.
        """
        found = iter_objects(self._store.space, [self._entry], limit=limit)
        return cast("Iterator[tuple[ArchiveMemberBody, FileEntry]]", found)

    def iter_objects(
        self, limit: int | None = None
    ) -> Iterator[tuple[ArchiveMemberBody, FileEntry]]:
        """Iterate over all regular members, the internal manifest too.

        Args:
            limit: Most members.

        Returns:
            An iterator over ``(body, entry)``; the entries have no more than names and sizes.
        """
        return islice(self._all_members(), limit)

    def get_member(self, member_path: str) -> ArchiveMemberBody:
        """Open one member.

        Args:
            member_path: Its path.

        Raises:
            ObjectNotFoundError: There is no such archive, or no such member.
            ShardReadError: The archive is damaged.
        """
        return self._source().open(member_path)

    def delete(self) -> None:
        """Remove the archive and the indexes beside it."""
        delete_archive(self._store.space, self.archive_key)

    @staticmethod
    def infer_archive_format(archive_key: str) -> tuple[str, str | None]:
        """Tell format and compression by the extension of a key.

        Args:
            archive_key: The key.

        Returns:
            ``("tar", compression)``; the compression is ``None`` for extensions without one.
        """
        return "tar", compression_of_key(archive_key)

    @staticmethod
    def create_archive(
        shard_items: Sequence[ShardItem],
        archive_key: str,
        *,
        format: str = "tar",  # noqa: A002 - a documented name
        compression: str | None = "gzip",
        internal_manifest_path: str = _INTERNAL_MANIFEST_PATH,
        use_temp_file: bool = True,
        temp_file_threshold: int = 100 << 20,
    ) -> tuple[bytes | Path, int]:
        """Make an archive without storing it.

        Args:
            shard_items: The items.
            archive_key: Key that it will have; the keys of its members begin with it.
            format: ``"tar"``.
            compression: ``None``, ``"gzip"``, ``"zstd"`` or ``"s4"``.
            internal_manifest_path: Path of the manifest inside.
            use_temp_file: Write a long archive to a temporary file.
            temp_file_threshold: How long, in bytes, is long.

        Returns:
            The bytes, or the path of a temporary file that the caller removes; and the length.

        Raises:
            UnsafePathError: A member path would leave its folder.
            ValueError: The format or the compression is none of the above.
        """
        if format != "tar":
            raise ValueError(f"format must be 'tar', got {format!r}")
        with tempfile.TemporaryDirectory(prefix="shardpack-") as folder:
            space = Space(FileStore(folder))
            entry = put_archive(
                space,
                archive_key,
                shard_items,
                compression=cast("ReadableCompression | None", compression),
                internal_manifest_path=internal_manifest_path,
            )
            size = entry["size_bytes"]
            if not use_temp_file or size <= temp_file_threshold:
                return space.objects.read(space.full(archive_key)), size
            descriptor, path = tempfile.mkstemp(prefix="shardpack-", suffix=".tar")
            os.close(descriptor)
            try:
                space.objects.download(space.full(archive_key), path)
            except BaseException:
                os.unlink(path)
                raise
            return Path(path), size

    @staticmethod
    def split_items(
        items: Iterable[ShardItem],
        *,
        max_entries: int | None = None,
        max_bytes: int | None = None,
    ) -> Iterator[list[ShardItem]]:
        """Split items into those of one shard each.

        Args:
            items: The items, each with ``size_bytes``, or with bytes or a file whose size is
                found out.
            max_entries: Most items of a shard.
            max_bytes: Most bytes of a shard; a larger item gets a shard of its own.

        Returns:
            An iterator over lists of items.

        Raises:
            OSError: The size of a file cannot be found out.
            ValueError: A limit is below 1.
        """
        for name, limit in (("max_entries", max_entries), ("max_bytes", max_bytes)):
            if limit is not None and limit < 1:
                raise ValueError(f"{name} must be at least 1, got {limit}")
        return _split(items, max_entries, max_bytes)

    def _source(self) -> ArchiveSource:
        return ArchiveSource(self._store.space, self.archive_key, entry=self._entry)

    def _all_members(self) -> Iterator[tuple[ArchiveMemberBody, FileEntry]]:
        source = self._source()
        with closing(source.iter_members()) as members:  # type: ignore[type-var]
            for path, body in members:
                yield (
                    body,
                    {
                        "kind": "file",
                        "key": source.virtual_key(path),
                        "archive_key": self.archive_key,
                        "member_path": path,
                        "size_bytes": body.info.size,
                    },
                )

    def __repr__(self) -> str:
        return f"Shard(archive_key={self.archive_key!r})"


def _split(
    items: Iterable[ShardItem], max_entries: int | None, max_bytes: int | None
) -> Iterator[list[ShardItem]]:
    batch: list[ShardItem] = []
    length = 0
    for item in items:
        size = 0 if max_bytes is None else _size_of(item)
        too_many = max_entries is not None and len(batch) >= max_entries
        too_long = max_bytes is not None and length + size > max_bytes
        if batch and (too_many or too_long):
            yield batch
            batch = []
            length = 0
        batch.append(item)
        length += size
    # Without limits all items are one shard, also none at all.
    if batch or (max_entries is None and max_bytes is None):
        yield batch


def _size_of(item: ShardItem) -> int:
    size = item.get("size_bytes")
    if size is not None:
        return size
    source = item["source"]
    found = source_size(source)
    if found is None:
        raise ValueError(f"item {item['member_path']!r} needs size_bytes: its source has no length")
    return found
