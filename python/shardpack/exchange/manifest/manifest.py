"""Manifests: the functions that read and write them, and the class around them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol

from shardpack.exchange.keys import Space
from shardpack.exchange.manifest import lines as manifest_lines
from shardpack.exchange.manifest.append import AppendMode, append, publish
from shardpack.exchange.manifest.lines import iter_lines
from shardpack.exchange.manifest.parts import part_key
from shardpack.exchange.manifest.reading import iter_entries
from shardpack.exchange.manifest.rewrite import compact, overwrite

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shardpack.exchange.types import (
        CompactReport,
        DeleteReport,
        ManifestEntry,
        ManifestRef,
        ShardEntry,
        StreamingBodyLike,
    )

__all__ = [
    "AppendMode",
    "Manifest",
    "append",
    "compact",
    "iter_entries",
    "iter_lines",
    "overwrite",
    "publish",
]

WriteMode = Literal["overwrite", "append_parts"]


class ManifestStore(Protocol):
    """What a manifest asks of its store."""

    @property
    def space(self) -> Space:
        """Where the store's keys lie."""

    @property
    def append(self) -> AppendMode:
        """How manifests are appended to."""

    def iter_objects(
        self, manifest: ManifestRef, *, expand_shards: bool = True, limit: int | None = None
    ) -> Iterator[tuple[StreamingBodyLike, ManifestEntry]]:
        """Iterate over the objects that a manifest names."""

    def list_manifest_files(
        self, manifest: ManifestRef, *, include_shards: bool = True
    ) -> Iterator[ManifestEntry]:
        """List the files of a manifest, members of shards too."""

    def delete_manifest(
        self, manifest: ManifestRef, *, delete_manifests: bool = True, dedupe: bool = True
    ) -> DeleteReport:
        """Remove what a manifest names."""


class Manifest:
    """A manifest in a store, or entries in memory that act as one.

    Args:
        store: The store.
        key: Key of the manifest. It is read when it is iterated, each time anew.
        entries: Entries, for one that has no key, or that is not written yet.

    Raises:
        ValueError: Neither a key nor entries are given.
    """

    def __init__(
        self,
        store: ManifestStore,
        *,
        key: str | None = None,
        entries: Iterable[ManifestEntry] | None = None,
    ) -> None:
        if key is None and entries is None:
            raise ValueError("a manifest needs a key or entries")
        self._store = store
        self._key = key
        self._entries = None if entries is None else list(entries)

    @classmethod
    def from_key(cls, store: ManifestStore, key: str) -> Manifest:
        """Give the manifest under a key; nothing is read yet.

        Args:
            store: The store.
            key: Its key.
        """
        return cls(store, key=key)

    @classmethod
    def from_entries(cls, store: ManifestStore, entries: Iterable[ManifestEntry]) -> Manifest:
        """Make a manifest of entries in memory.

        Args:
            store: The store that their keys are of.
            entries: The entries.
        """
        return cls(store, entries=entries)

    @classmethod
    def from_ref(cls, store: ManifestStore, ref: ManifestRef) -> Manifest:
        """Make a manifest of a key or of entries.

        Args:
            store: The store.
            ref: The one or the other.
        """
        return cls(store, key=ref) if isinstance(ref, str) else cls(store, entries=ref)

    @property
    def key(self) -> str | None:
        """Key of the manifest; ``None`` for one in memory."""
        return self._key

    @property
    def store(self) -> Any:  # noqa: ANN401 - the class of stores is above this one
        """The store."""
        return self._store

    @property
    def _ref(self) -> ManifestRef:
        return self._key if self._key is not None else self._entries or []

    def iter_entries(
        self,
        resolve_refs: bool = True,  # noqa: FBT001, FBT002 - positional in older programs
        limit: int | None = None,
    ) -> Iterator[ManifestEntry]:
        """Iterate over the entries.

        A manifest that is referred to twice is read twice; circles are an error.

        Args:
            resolve_refs: Give the entries of manifests that are referred to in place of the refs.
            limit: Most entries.

        Raises:
            ManifestNotFoundError: The manifest, or one it refers to, is not there.
            InvalidManifestError: A line is no entry, or manifests refer to each other in a circle.
        """
        return iter_entries(self._store.space, self._ref, resolve_refs=resolve_refs, limit=limit)

    def __iter__(self) -> Iterator[ManifestEntry]:
        """Iterate over all entries, references followed."""
        return self.iter_entries()

    def iter_objects(
        self,
        expand_shards: bool = True,  # noqa: FBT001, FBT002 - positional in older programs
        limit: int | None = None,
    ) -> Iterator[tuple[StreamingBodyLike, ManifestEntry]]:
        """Iterate over the objects, each a stream with its entry.

        Args:
            expand_shards: Give the members of shards in place of the shards.
            limit: Most objects.
        """
        return self._store.iter_objects(self._ref, expand_shards=expand_shards, limit=limit)

    def get_keys(
        self, *, expand_shards: bool = True, resolve_refs: bool = True, limit: int | None = None
    ) -> Iterator[str]:
        """Iterate over the keys that the manifest names.

        Args:
            expand_shards: Give the virtual keys of members in place of the keys of shards.
            resolve_refs: Follow references; otherwise their own keys are given.
            limit: Most keys.
        """
        return islice(self._keys(expand_shards=expand_shards, resolve_refs=resolve_refs), limit)

    def _keys(self, *, expand_shards: bool, resolve_refs: bool) -> Iterator[str]:
        for entry in self.iter_entries(resolve_refs=resolve_refs):
            if entry["kind"] != "shard":
                yield entry["key"]
            elif expand_shards:
                yield from (str(member.get("key")) for member in self._members(entry))
            else:
                yield entry["archive_key"]

    def list_files(self, include_shards: bool = True) -> Iterator[ManifestEntry]:  # noqa: FBT001, FBT002 - positional in older programs
        """List the files that the manifest names.

        Args:
            include_shards: Give the members of shards in place of the shards.
        """
        return self._store.list_manifest_files(self._ref, include_shards=include_shards)

    def filter_by_prefix(self, prefix: str) -> Iterator[ManifestEntry]:
        """List the files whose keys begin with a prefix.

        Args:
            prefix: The prefix.
        """
        for entry in self.list_files():
            if str(entry.get("key", "")).startswith(prefix):
                yield entry

    def save(
        self, entries: Iterable[ManifestEntry] | None = None, *, mode: WriteMode = "overwrite"
    ) -> None:
        """Write the manifest.

        Args:
            entries: What to write; the entries in memory when ``None``.
            mode: ``"overwrite"`` replaces it, ``"append_parts"`` adds to it.

        Raises:
            ValueError: It has no key, there is nothing to write, or the mode is unknown.
            ConcurrencyUnsupportedError: See ``append``.
        """
        if self._key is None:
            raise ValueError("a manifest without a key cannot be saved")
        if mode not in {"overwrite", "append_parts"}:
            raise ValueError(f"mode must be 'overwrite' or 'append_parts', got {mode!r}")
        written = self._entries if entries is None else entries
        if written is None:
            raise ValueError(f"nothing to save to {self._key}: no entries are given")
        how = self._store.append
        if mode == "overwrite":
            overwrite(self._store.space, self._key, written, mode=how)
        else:
            append(self._store.space, self._key, written, mode=how)

    def delete(self, *, delete_manifests: bool = True, dedupe: bool = True) -> DeleteReport:
        """Remove what the manifest names.

        Args:
            delete_manifests: Remove the manifest, and those it refers to, too.
            dedupe: Remove, and count, each key once however often it is named.
        """
        return self._store.delete_manifest(
            self._ref, delete_manifests=delete_manifests, dedupe=dedupe
        )

    def compact(
        self,
        dst_key: str,
        *,
        resolve_refs: bool = True,
        expand_shards: bool = False,
        dedupe: bool = False,
    ) -> CompactReport:
        """Write all entries into one flat manifest.

        Args:
            dst_key: Key of the new one; that of this manifest replaces it, if nobody changes it
                meanwhile.
            resolve_refs: Follow references; otherwise they are kept.
            expand_shards: Write the members of shards in place of the shards.
            dedupe: Leave out entries whose key has come before.

        Raises:
            PreconditionFailedError: The manifest was to be replaced, and kept changing.
        """
        return compact(
            self._store.space,
            self._ref,
            dst_key,
            resolve_refs=resolve_refs,
            expand=self._members if expand_shards else None,
            dedupe=dedupe,
            mode=self._store.append,
        )

    def _members(self, shard: ShardEntry) -> Iterator[ManifestEntry]:
        return self._store.list_manifest_files([shard])

    @staticmethod
    def parse_line(line: str | bytes, line_number: int | None = None) -> ManifestEntry:
        """Read one line.

        Args:
            line: The line.
            line_number: Its number, counted from 1, for errors.

        Raises:
            InvalidManifestError: It is no entry.
        """
        return manifest_lines.parse_line(line, line_number)

    @staticmethod
    def iter_lines(
        stream: manifest_lines.ReadableStream, limit: int | None = None
    ) -> Iterator[str]:
        """Give the lines of a stream as text, blank ones too.

        Args:
            stream: Where to read them from, UTF-8.
            limit: Most lines.

        Raises:
            InvalidManifestError: A line is too long, or no UTF-8.
        """
        return islice(manifest_lines.iter_text(stream), limit)

    @staticmethod
    def serialize_entry(entry: ManifestEntry) -> str:
        """Write one entry as a line, without the line feed.

        Args:
            entry: The entry.
        """
        return manifest_lines.serialize_entry(entry).decode("ascii")

    @staticmethod
    def write_to_s3(
        s3_client: Any,  # noqa: ANN401 - boto3 has no types
        bucket: str,
        key: str,
        entries: Iterable[ManifestEntry],
    ) -> None:
        """Write entries to a manifest in a bucket, replacing what is there.

        Args:
            s3_client: A boto3 client.
            bucket: The bucket.
            key: Key of the manifest.
            entries: The entries.
        """
        overwrite(_bucket(s3_client, bucket), key, entries)

    @staticmethod
    def read_from_s3(
        s3_client: Any,  # noqa: ANN401 - boto3 has no types
        bucket: str,
        key: str,
    ) -> Iterator[ManifestEntry]:
        """Read the lines of a manifest in a bucket; references are given, not followed.

        Args:
            s3_client: A boto3 client.
            bucket: The bucket.
            key: Key of the manifest.

        Raises:
            ManifestNotFoundError: There is none.
        """
        return iter_entries(_bucket(s3_client, bucket), key, resolve_refs=False)

    @staticmethod
    def generate_part_key(base_key: str) -> str:
        """Make the key of a new part of a manifest.

        Args:
            base_key: Key of the manifest.
        """
        return part_key(base_key)

    def __repr__(self) -> str:
        told = f"{len(self._entries or [])} entries" if self._key is None else repr(self._key)
        return f"{type(self).__name__}({told})"


def _bucket(s3_client: Any, bucket: str) -> Space:  # noqa: ANN401 - boto3 has no types
    from shardpack.storage.s3 import S3Store

    return Space(S3Store(s3_client, bucket))
