"""A manifest written entry by entry, and shards item by item."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, Literal, Protocol

from shardpack.exchange.keys import infer_id_from_key
from shardpack.exchange.manifest.append import (
    Publication,
    remove_unreferenced,
    require_conditions,
)
from shardpack.exchange.manifest.parts import PART_MAX_BYTES, PART_MAX_ENTRIES, write_part
from shardpack.exchange.manifest.rewrite import overwrite_lines
from shardpack.exchange.manifest.spool import EntrySpool
from shardpack.exchange.shard.numbers import ShardNumbers

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from shardpack.exchange.keys import Space
    from shardpack.exchange.manifest.append import AppendMode
    from shardpack.exchange.types import (
        FileEntry,
        ManifestEntry,
        ManifestRefEntry,
        ShardEntry,
        ShardItem,
        ShardSizePolicy,
    )

__all__ = ["ManifestWriter", "WriterStore"]

_INTERNAL_MANIFEST_PATH = "__manifest__.jsonl"
#: What lies beside an archive.
_SIDECARS = ("", ".shardindex", ".s4index")


class _WrittenShard(Protocol):
    @property
    def entry(self) -> ShardEntry:
        """What a manifest says of the archive."""


class WriterStore(Protocol):
    """What a writer asks of its store."""

    @property
    def space(self) -> Space:
        """Where the store's keys lie."""

    @property
    def append(self) -> AppendMode:
        """How manifests are appended to."""

    def put_object(  # noqa: D102 - the store's
        self,
        key: str,
        data: Any,  # noqa: ANN401 - whatever the store takes
        *,
        id: str | None = None,  # noqa: A002
        meta: dict[str, Any] | None = None,
        content_type: str | None = None,
    ) -> FileEntry: ...

    def put_shard_archive(  # noqa: D102 - the store's
        self,
        archive_key: str,
        shard_items: list[ShardItem],
        *,
        format: str = "tar",  # noqa: A002
        compression: str | None = "gzip",
        internal_manifest_path: str = _INTERNAL_MANIFEST_PATH,
    ) -> _WrittenShard: ...


class ManifestWriter:
    """Takes entries, objects and items of shards, and publishes them all at once when it closes.

    As a context manager it closes at the end of the block. When the block fails it publishes
    nothing, and removes the parts and shards that it wrote. Where ``close`` itself fails the writer
    stays open with all that it holds, so that it can be closed again.

    Shards get numbers that no earlier run has used; where the store cannot tell that a number is
    free, their names carry random digits.

    Args:
        store: The store.
        manifest_key: Key of the manifest.
        mode: ``"append_parts"`` adds to it, ``"overwrite"`` replaces it.
        part_max_entries: A part with so many entries is uploaded.
        part_max_bytes: A part with so many bytes is uploaded.
        shard_size: When a shard is full; without it there are no shards.
        shard_prefix: Prefix of the keys of shards; ``shards`` beside the manifest by default.
        shard_format: ``"tar"``.
        shard_compression: ``None``, ``"gzip"``, ``"zstd"`` or ``"s4"``.
        internal_manifest_path: Path of the manifest inside shards.
        publish_on_error: Publish what there is when the block fails.
        dedupe_virtual_keys: Leave out entries whose key this writer has written already.

    Raises:
        ValueError: The mode, the format or a limit is none of the above.
        ConcurrencyUnsupportedError: The store ignores conditional writes, which its way of
            appending needs.
    """

    def __init__(  # noqa: PLR0913 - the documented options
        self,
        store: WriterStore,
        manifest_key: str,
        *,
        mode: Literal["append_parts", "overwrite"] = "append_parts",
        part_max_entries: int = PART_MAX_ENTRIES,
        part_max_bytes: int = PART_MAX_BYTES,
        shard_size: ShardSizePolicy | None = None,
        shard_prefix: str | None = None,
        shard_format: str | None = "tar",
        shard_compression: str | None = None,
        internal_manifest_path: str = _INTERNAL_MANIFEST_PATH,
        publish_on_error: bool = False,
        dedupe_virtual_keys: bool = False,
    ) -> None:
        if mode not in {"append_parts", "overwrite"}:
            raise ValueError(f"mode must be 'append_parts' or 'overwrite', got {mode!r}")
        if shard_format not in {"tar", None}:
            raise ValueError(f"shard_format must be 'tar', got {shard_format!r}")
        for name, most in (("entries", part_max_entries), ("bytes", part_max_bytes)):
            if most < 1:
                raise ValueError(f"part_max_{name} must be at least 1, got {most}")
        if mode == "append_parts" and store.append == "conditional":
            require_conditions(store.space, manifest_key)
        self._store = store
        self._key = manifest_key
        self._mode = mode
        self._part_max_entries = part_max_entries
        self._part_max_bytes = part_max_bytes
        self._shard_size = shard_size
        self._shard_compression = shard_compression
        self._internal_manifest_path = internal_manifest_path
        self._publish_on_error = publish_on_error
        self._seen: set[bytes] | None = set() if dedupe_virtual_keys else None
        self._spool = EntrySpool()
        self._parts: list[str] = []
        self._publication: Publication | None = None
        self._published = self._published_next = 0
        self._numbers = ShardNumbers(
            store.space, manifest_key, prefix=shard_prefix, compression=shard_compression
        )
        self._items: list[ShardItem] = []
        self._items_bytes = 0
        self._shards: list[str] = []
        self._next_shard: str | None = None
        self._closed = False
        # From here on the manifest may name what was written, whatever the answers were.
        self._publishing = False

    # ------------------------------------------------------------------------------- entries

    def add_entry(self, entry: ManifestEntry) -> None:
        """Add an entry.

        Args:
            entry: The entry.

        Raises:
            InvalidManifestError: It is none.
            RuntimeError: The writer is closed.
        """
        self._require_open()
        if self._is_repeated(entry):
            return
        self._spool.add(entry)
        if self._mode == "append_parts" and (
            self._spool.count >= self._part_max_entries or self._spool.size >= self._part_max_bytes
        ):
            self.flush_part()

    def _is_repeated(self, entry: ManifestEntry) -> bool:
        if self._seen is None or entry.get("kind") != "file":
            return False
        name = str(entry.get("key")).encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(name, digest_size=16).digest()
        if digest in self._seen:
            return True
        self._seen.add(digest)
        return False

    def add_file(
        self,
        key: str,
        *,
        id: str | None = None,  # noqa: A002 - a documented name
        meta: dict[str, Any] | None = None,
        content_type: str | None = None,
        size_bytes: int | None = None,
        etag: str | None = None,
    ) -> FileEntry:
        """Add an entry for an object that is there already.

        Args:
            key: Its key.
            id: The caller's name for it; made of the key when ``None``.
            meta: Whatever is to be kept with it.
            content_type: Its media type.
            size_bytes: Its length in bytes.
            etag: The store's tag, without quotes.

        Returns:
            The entry.
        """
        infer = getattr(self._store, "infer_id", infer_id_from_key)
        entry: FileEntry = {
            "kind": "file",
            "key": key,
            "id": infer(key) if id is None else id,
            "meta": meta,
            "content_type": content_type,
            "size_bytes": size_bytes,
            "etag": etag,
        }
        self.add_entry(entry)
        return entry

    def add_manifest(self, key: str) -> ManifestRefEntry:
        """Add a reference to a manifest that is there already.

        Args:
            key: Its key.

        Returns:
            The entry.
        """
        entry: ManifestRefEntry = {"kind": "manifest_ref", "key": key}
        self.add_entry(entry)
        return entry

    def put_object(
        self,
        key: str,
        data: Any,  # noqa: ANN401 - whatever the store takes
        *,
        id: str | None = None,  # noqa: A002 - a documented name
        meta: dict[str, Any] | None = None,
        content_type: str | None = None,
    ) -> FileEntry:
        """Write an object and add an entry for it.

        Args:
            key: Its key.
            data: Bytes, the path of a file, or a file object.
            id: The caller's name for it; made of the key when ``None``.
            meta: Whatever is to be kept with it, in the entry.
            content_type: Its media type.

        Returns:
            The entry.
        """
        self._require_open()
        entry = self._store.put_object(key, data, id=id, meta=meta, content_type=content_type)
        self.add_entry(entry)
        return entry

    def flush_part(self) -> str | None:
        """Upload the entries that are held as a part, which ``close`` will publish.

        Returns:
            Key of the part; ``None`` without entries, and when the manifest is overwritten.
        """
        self._require_open()
        if self._mode == "overwrite" or not self._spool.count:
            return None
        key = write_part(
            self._store.space,
            self._key,
            self._spool.blocks(),
            exclusive=self._store.append == "conditional",
        )
        self._parts.append(key)
        self._spool.clear()
        return key

    # -------------------------------------------------------------------------------- shards

    def add_shard_item(self, item: ShardItem) -> None:
        """Add an item to the shard that is being gathered; a full shard is written.

        Args:
            item: The item. A source that is a path is read when the shard is written.

        Raises:
            RuntimeError: The writer is closed, or was opened without ``shard_size``.
        """
        policy = self._require_shards()
        size = _size_of(item)
        if (
            policy.max_bytes is not None
            and self._items
            and self._items_bytes + size > policy.max_bytes
        ):
            self.flush_shard()
        self._items.append(item)
        self._items_bytes += size
        if (policy.max_entries is not None and len(self._items) >= policy.max_entries) or (
            policy.max_bytes is not None and self._items_bytes >= policy.max_bytes
        ):
            self.flush_shard()

    def add_to_shard(
        self,
        member_path: str,
        source: Any,  # noqa: ANN401 - bytes, a path or a file object
        *,
        id: str | None = None,  # noqa: A002 - a documented name
        meta: dict[str, Any] | None = None,
        size_bytes: int | None = None,
        content_type: str | None = None,
    ) -> None:
        """Add bytes, a file or a stream to the shard that is being gathered.

        Args:
            member_path: Path in the archive.
            source: Bytes, the path of a file, or a file object, which is read at once.
            id: The caller's name for it.
            meta: Whatever is to be kept with it.
            size_bytes: Length in bytes; needed for file objects.
            content_type: Media type; it goes into a copy of ``meta``.

        Raises:
            ValueError: A file object has no ``size_bytes``, or another length.
        """
        self._require_shards()
        if hasattr(source, "read"):
            if size_bytes is None:
                raise ValueError(f"size_bytes is needed for a file object, {member_path!r}")
            source = source.read()
            if len(source) != size_bytes:
                raise ValueError(
                    f"{member_path!r} has {len(source)} bytes, size_bytes says {size_bytes}"
                )
        if content_type is not None:
            meta = {**(meta or {}), "content_type": content_type}
        item: ShardItem = {"source": source, "member_path": member_path, "id": id, "meta": meta}
        if size_bytes is not None:
            item["size_bytes"] = size_bytes
        self.add_shard_item(item)

    def flush_shard(self) -> ShardEntry | None:
        """Write the items that are held as a shard, and add an entry for it.

        Returns:
            The entry; ``None`` without items.
        """
        self._require_open()
        if not self._items:
            return None
        if self._next_shard is None:
            self._next_shard = self._numbers.take()
        archive_key = self._next_shard
        shard = self._store.put_shard_archive(
            archive_key,
            self._items,
            format="tar",
            compression=self._shard_compression,
            internal_manifest_path=self._internal_manifest_path,
        )
        self._next_shard = None
        self._shards.append(archive_key)
        self._items = []
        self._items_bytes = 0
        entry = shard.entry
        self.add_entry(entry)
        return entry

    # ----------------------------------------------------------------------------------- end

    def close(self) -> None:
        """Write what is held and publish it. A writer that is closed already does nothing.

        Raises:
            PreconditionFailedError: Others kept changing the manifest. The writer stays open.
            StorageUnavailableError: The store failed. The writer stays open.
        """
        if self._closed:
            return
        self.flush_shard()
        if self._mode == "overwrite":
            space, mode = self._store.space, self._store.append
            self._publishing = True
            overwrite_lines(space, self._key, self._spool.blocks(), mode=mode)
            self._spool.clear()
        else:
            self.flush_part()
            self._publishing = True
            self._publish()
        self._finish()

    def _publish(self) -> None:
        """Publish parts, each once: what an earlier try may have published is looked for first."""
        while self._publication is not None or self._published < len(self._parts):
            if self._publication is None:
                parts = self._parts[self._published :]
                self._published_next = len(self._parts)
                self._publication = Publication(
                    self._store.space, self._key, parts, mode=self._store.append
                )
            self._publication.run()
            self._published = self._published_next
            self._publication = None

    def _finish(self) -> None:
        self._closed = True
        self._spool.close()

    @property
    def is_closed(self) -> bool:
        """Whether the writer takes no more."""
        return self._closed

    def stats(self) -> dict[str, Any]:
        """Tell what is held and what has been written.

        Returns:
            ``part_entries``, ``part_bytes``, ``parts_uploaded``, ``shard_entries``,
            ``shard_bytes``, ``shards_created`` and ``is_closed``.
        """
        return {
            "part_entries": self._spool.count,
            "part_bytes": self._spool.size,
            "parts_uploaded": len(self._parts),
            "shard_entries": len(self._items),
            "shard_bytes": self._items_bytes,
            "shards_created": len(self._shards),
            "is_closed": self._closed,
        }

    def __repr__(self) -> str:
        count = self._spool.count
        held = f"{count} {'entry' if count == 1 else 'entries'} held"
        state = "closed" if self._closed else held
        return f"<ManifestWriter of {self._key!r}, mode {self._mode}, {state}>"

    def __enter__(self) -> Self:
        self._require_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None or self._publish_on_error:
            self.close()
        elif self._publishing:
            # `gc` removes what is not named after all.
            self._finish()
        elif not self._closed:
            shards = [*self._shards, *([self._next_shard] if self._next_shard else [])]
            written = [key + suffix for key in shards for suffix in _SIDECARS]
            remove_unreferenced(self._store.space, [*self._parts, *written], error)
            self._finish()

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError("the manifest writer is closed")

    def _require_shards(self) -> ShardSizePolicy:
        self._require_open()
        if self._shard_size is None:
            raise RuntimeError("this writer makes no shards: it was opened without shard_size")
        return self._shard_size


def _size_of(item: ShardItem) -> int:
    """Tell how many bytes an item has, by looking where it is not said."""
    size = item.get("size_bytes")
    if size is not None:
        return size
    source = item["source"]
    if isinstance(source, str | os.PathLike):
        return os.path.getsize(source)
    return memoryview(source).nbytes
