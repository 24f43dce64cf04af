"""The calls of a store for manifests and shard archives: list, iterate, write, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from shardpack.exchange.calls.removal import RemovalCalls
from shardpack.exchange.keys import is_shard_key
from shardpack.exchange.manifest.manifest import Manifest, iter_entries
from shardpack.exchange.manifest.writer import ManifestWriter
from shardpack.exchange.reading.by_key import iter_objects_from_keys
from shardpack.exchange.reading.pipeline import iter_objects
from shardpack.exchange.shard.listing import list_entries
from shardpack.exchange.shard.shard import Shard
from shardpack.exchange.shard.source import ArchiveSource
from shardpack.exchange.shard.writing import put_archive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from shardpack.archive.compression import ReadableCompression
    from shardpack.archive.index import ArchiveIndex
    from shardpack.exchange.bodies import ArchiveMemberBody, ObjectStream
    from shardpack.exchange.manifest.writer import WriterStore
    from shardpack.exchange.reading.pipeline import ObjectIterator
    from shardpack.exchange.reading.settings import OnError
    from shardpack.exchange.types import (
        CompactReport,
        FileEntry,
        ManifestEntry,
        ManifestRef,
        ShardEntry,
        ShardItem,
        ShardSizePolicy,
    )

__all__ = ["ManifestCalls"]


class ManifestCalls(RemovalCalls):
    """The calls for manifests and shard archives."""

    # --- reading ----------------------------------------------------------------------------------

    def get_manifest(self, key: str) -> Manifest:
        """Give the manifest under a key, or that which lies in a shard archive.

        Args:
            key: Key of a manifest, which is read when it is iterated, or of an archive, whose
                internal manifest is read now.

        Raises:
            ObjectNotFoundError: There is no such archive.
            ShardReadError: The archive has no internal manifest, or is damaged.
        """
        if is_shard_key(key):
            return self.get_shard(key).get_manifest()
        return Manifest.from_key(self, key)

    def get_shard(self, key: str) -> Shard:
        """Give the shard archive under a key; nothing is read yet.

        Args:
            key: Its key; the compression follows from the extension.
        """
        return Shard.from_key(self, key)

    def iter_manifest_entries(
        self, manifest: ManifestRef, *, resolve_refs: bool = True, limit: int | None = None
    ) -> Iterator[ManifestEntry]:
        """Iterate over the entries of a manifest.

        Args:
            manifest: Its key, or entries.
            resolve_refs: Give the entries of manifests that are referred to in place of the refs.
            limit: Most entries.

        Raises:
            ManifestNotFoundError: There is no such manifest.
            InvalidManifestError: A line is no entry, or manifests refer to each other in a circle.
        """
        return iter_entries(
            self.space,
            manifest,
            resolve_refs=resolve_refs,
            limit=limit,
            concurrency=self.concurrency,
        )

    def iter_objects(  # noqa: PLR0913 - the documented options
        self,
        manifest: ManifestRef,
        *,
        expand_shards: bool = True,
        limit: int | None = None,
        concurrency: int | None = None,
        prefetch_bytes: int = 64 << 20,
        ordered: bool = True,
        shuffle: int | None = None,
        rank: int | None = None,
        world_size: int = 1,
        verify: bool = True,
        on_error: OnError = "raise",
    ) -> ObjectIterator:
        """Iterate over the objects of a manifest and the members of its shards.

        Objects are fetched ahead, several at a time, in bounded memory, and compared with the
        sizes and digests of their entries. Those up to 8 MiB are compared before they are given,
        larger ones at their end.

        Args:
            manifest: Its key, or entries; the key of a shard archive, too.
            expand_shards: Give the members of shards; otherwise the archives themselves.
            limit: Most objects.
            concurrency: Requests at once; what suits the store when ``None``.
            prefetch_bytes: Bytes to hold ahead of the consumer.
            ordered: Keep the order; otherwise objects come as they are ready.
            shuffle: Seed of a random order, which depends on it, the manifest and the indexes
                alone; ``None`` keeps the order of the manifest.
            rank: Number of this reader, from 0, which gets its share alone; needed where there are
                several.
            world_size: Number of readers. Together they get everything once; their shares differ
                in length: readers that go in step, as those of a training that synchronises at
                each step, must agree on when to stop.
            verify: Compare with the digests of entries and indexes. Sizes are compared in any
                case.
            on_error: ``"raise"``, or ``"skip"`` to leave out what cannot be read and note it in
                ``failures`` of the iterator.

        Returns:
            An iterator over ``(body, entry)``; its ``state_dict()`` says where it stands. Closing
            or dropping it ends its threads.

        Raises:
            ObjectNotFoundError: An object is not there.
            IntegrityError: An object is not what its entry says.
            ShardReadError: An archive is damaged.
            ValueError: A number makes no sense, or there are several readers and no ``rank``.
        """
        return iter_objects(
            self.space,
            manifest,
            expand_shards=expand_shards,
            limit=limit,
            concurrency=self._concurrency if concurrency is None else concurrency,
            prefetch_bytes=prefetch_bytes,
            ordered=ordered,
            shuffle=shuffle,
            rank=rank,
            world_size=world_size,
            verify=verify,
            on_error=on_error,
        )

    # The same under another name, as ``s3exchange`` has it.
    get_objects = iter_objects

    def iter_objects_from_keys(
        self,
        keys: Iterable[str],
        *,
        limit: int | None = None,
        missing: Literal["skip", "raise"] = "skip",
        concurrency: int | None = None,
    ) -> Iterator[tuple[ObjectStream | ArchiveMemberBody, FileEntry]]:
        """Iterate over objects and members by their keys: plain keys first, then by archive.

        Members come in the order of their archive, each chunk of which is read once.

        Args:
            keys: Keys, plain or virtual; one that comes twice is given once.
            limit: Most objects.
            missing: Whether a key that is not there is left out, or raises. What is there and
                cannot be read always raises.
            concurrency: How many requests run at once.

        Returns:
            An iterator over ``(body, entry)``.
        """
        return iter_objects_from_keys(
            self.space,
            keys,
            limit=limit,
            missing=missing,
            infer_id=self.infer_id,
            concurrency=concurrency or self.concurrency,
        )

    def list_manifest_files(
        self, manifest: ManifestRef, *, include_shards: bool = True
    ) -> Iterator[ManifestEntry]:
        """List the files of a manifest; of archives no more is read than their tables of contents.

        Args:
            manifest: Its key, or entries.
            include_shards: Give the members of shards; otherwise the entries of the shards.

        Raises:
            ShardReadError: An archive cannot be read.
        """
        return list_entries(
            self.space,
            self.iter_manifest_entries(manifest),
            include_shards=include_shards,
            concurrency=self.concurrency,
        )

    def list_by_manifest_prefix(
        self, manifest: ManifestRef, prefix_filter: str
    ) -> Iterator[ManifestEntry]:
        """List the files of a manifest, members of shards too, whose keys begin with a prefix.

        Args:
            manifest: Its key, or entries.
            prefix_filter: The beginning of their keys.
        """
        for entry in self.list_manifest_files(manifest):
            if str(entry.get("key", "")).startswith(prefix_filter):
                yield entry

    # --- writing ----------------------------------------------------------------------------------

    def write_manifest(
        self,
        key: str,
        entries: Iterable[ManifestEntry],
        *,
        mode: Literal["overwrite", "append_parts"] = "overwrite",
    ) -> None:
        """Write entries to a manifest.

        Args:
            key: Its key.
            entries: The entries.
            mode: ``"overwrite"`` replaces the manifest, ``"append_parts"`` adds to it; of several
                that append at once nobody loses an entry.

        Raises:
            ConcurrencyUnsupportedError: The store has no conditional writes, see ``append``.
            ValueError: There is no such mode.
        """
        Manifest(self, key=key).save(entries, mode=mode)

    def put_shard_archive(  # noqa: PLR0913 - the documented options
        self,
        archive_key: str,
        shard_items: Iterable[ShardItem],
        *,
        format: str = "tar",  # noqa: A002 - a documented name
        compression: str | None = "gzip",
        internal_manifest_path: str = "__manifest__.jsonl",
        level: int | None = None,
        chunk_size: int | None = None,
        threads: int | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Shard:
        """Write items into a shard archive, with the index that makes its members quick to reach.

        Args:
            archive_key: Key of the archive.
            shard_items: The items, in the order of the archive.
            format: ``"tar"``.
            compression: ``None``, ``"gzip"``, ``"zstd"`` or ``"s4"``; ``"bzip2"`` and ``"xz"`` too,
                whose archives have no index.
            internal_manifest_path: Path of the manifest inside.
            level: Level of the compression.
            chunk_size: Bytes of each piece that can be read alone.
            threads: Threads that compress.
            progress: Called with the number of bytes done so far.

        Returns:
            The shard; its ``entry`` is what belongs into a manifest.

        Raises:
            UnsafePathError: A member path would leave its folder. Nothing is written.
            ValueError: The format or the compression is none of the above, or a path comes twice.
        """
        if format != "tar":
            raise ValueError(f"format must be 'tar', got {format!r}")
        entry = put_archive(
            self.space,
            archive_key,
            shard_items,
            compression=cast("ReadableCompression | None", compression),
            internal_manifest_path=internal_manifest_path,
            level=level,
            chunk_size=chunk_size,
            threads=threads,
            progress=progress,
        )
        return Shard(self, entry)

    def build_index(
        self, archive_key: str, *, progress: Callable[[int], object] | None = None
    ) -> ArchiveIndex:
        """Read an archive that another program wrote, and store the index that makes it seekable.

        Args:
            archive_key: Key of the archive.
            progress: Called with the number of bytes of the archive done so far.

        Returns:
            The index.

        Raises:
            ObjectNotFoundError: There is no such archive.
            ShardReadError: It is damaged, or compressed in a way that cannot be read by range.
        """
        return ArchiveSource(self.space, archive_key).build_index(progress=progress)

    def put_sharded(
        self,
        manifest_key: str,
        shard_entries: Iterable[ShardEntry],
        *,
        update_mode: Literal["overwrite", "append_parts"] = "append_parts",
    ) -> None:
        """Write entries of shards to a manifest.

        Args:
            manifest_key: Its key.
            shard_entries: The entries.
            update_mode: As ``mode`` of ``write_manifest``.
        """
        self.write_manifest(manifest_key, shard_entries, mode=update_mode)

    def open_manifest_writer(  # noqa: PLR0913 - the documented options
        self,
        manifest_key: str,
        *,
        mode: Literal["append_parts", "overwrite"] = "append_parts",
        part_max_entries: int = 50_000,
        part_max_bytes: int = 50 << 20,
        shard_size: ShardSizePolicy | None = None,
        shard_prefix: str | None = None,
        shard_format: str | None = "tar",
        shard_compression: str | None = None,
        internal_manifest_path: str = "__manifest__.jsonl",
        publish_on_error: bool = False,
        dedupe_virtual_keys: bool = False,
    ) -> ManifestWriter:
        """Write a manifest entry by entry, and shards item by item.

        Args:
            manifest_key: Its key.
            mode: ``"append_parts"`` or ``"overwrite"``.
            part_max_entries: Most entries of a part.
            part_max_bytes: Most bytes of a part.
            shard_size: When a shard is full; without it there are no shards.
            shard_prefix: Prefix of the keys of shards; ``shards`` beside the manifest by default.
            shard_format: ``"tar"``.
            shard_compression: ``None``, ``"gzip"``, ``"zstd"`` or ``"s4"``.
            internal_manifest_path: Path of the manifest inside shards.
            publish_on_error: Publish what there is when the block fails.
            dedupe_virtual_keys: Leave out entries whose key this writer has written already.

        Returns:
            The writer, a context manager.
        """
        return ManifestWriter(
            cast("WriterStore", self),
            manifest_key,
            mode=mode,
            part_max_entries=part_max_entries,
            part_max_bytes=part_max_bytes,
            shard_size=shard_size,
            shard_prefix=shard_prefix,
            shard_format=shard_format,
            shard_compression=shard_compression,
            internal_manifest_path=internal_manifest_path,
            publish_on_error=publish_on_error,
            dedupe_virtual_keys=dedupe_virtual_keys,
        )

    def compact_manifest(
        self,
        src_manifest_key: str,
        dst_manifest_key: str,
        *,
        resolve_refs: bool = True,
        apply_deletes: bool = True,
        expand_shards: bool = False,
    ) -> CompactReport:
        """Write the entries of a manifest, and of those it refers to, into one flat manifest.

        Args:
            src_manifest_key: The manifest; it is kept.
            dst_manifest_key: The new one.
            resolve_refs: Follow references; otherwise they are kept as they are.
            apply_deletes: Has no meaning yet.
            expand_shards: Write the members of shards in place of the shards.
        """
        del apply_deletes
        return Manifest.from_key(self, src_manifest_key).compact(
            dst_manifest_key, resolve_refs=resolve_refs, expand_shards=expand_shards
        )
