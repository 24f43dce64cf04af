"""Garbage: what interrupted runs leave behind, and nothing else.

Only names that this package gives are looked at: parts and levels of manifests, shards called after
their plan, indexes beside archives, loose objects of a pack, unfinished uploads. What a manifest
below the prefix refers to is no garbage, and neither is what is young: a run may be about to
publish it. A manifest that cannot be read might refer to anything, so that nothing is garbage
until it can.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from shardpack.archive.index import INDEX_SUFFIX
from shardpack.exchange.keys import is_manifest_key, is_shard_key, split_virtual_key
from shardpack.exchange.manifest.reading import LISTED, iter_entries
from shardpack.exchange.packing.plan import is_our_loose, is_our_shard
from shardpack.frame import SIDECAR_SUFFIX
from shardpack.storage.base import Upload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shardpack.errors import StorageError
    from shardpack.exchange.keys import Space
    from shardpack.exchange.types import ManifestEntry
    from shardpack.storage.base import ObjectInfo

__all__ = ["Garbage", "collect", "find_garbage", "is_root_key"]

GarbageKind = Literal["part", "level", "shard", "index", "object", "upload"]

_DAY_S: Final = 86_400.0
_STAMP = r"\d{8}-\d{6}"
_PART = re.compile(
    rf"(?:.*/)?manifests/(?:part-{_STAMP}-[0-9a-f]{{8}}"
    rf"|[^/]+\.parts(?:-[^/]+)?/part-{_STAMP}-\d{{6}}-[0-9a-f]{{8}})\.jsonl"
)
_LEVEL = re.compile(rf"(?:.*/)?manifests/level\d+-{_STAMP}-[0-9a-f]{{8}}\.jsonl")


@dataclass(frozen=True, slots=True)
class Garbage:
    """Something that nothing refers to.

    Attributes:
        key: Its key.
        kind: ``"part"`` or ``"level"`` of a manifest, ``"shard"``, ``"index"`` beside an archive
            that is garbage or gone, ``"object"`` of a pack, or ``"upload"``.
        size: Its length in bytes; 0 for uploads, whose size no store tells.
        last_modified: When it was written, or begun.
        prefix: Where it was looked for.
        upload_id: The store's name of an upload.
    """

    key: str
    kind: GarbageKind
    size: int
    last_modified: datetime | None
    prefix: str
    upload_id: str | None = None


def find_garbage(space: Space, prefix: str, *, older_than_s: float = _DAY_S) -> list[Garbage]:
    """Find what no manifest below a prefix refers to.

    Manifests below the prefix and right in the folders above it are read, others are not: choose
    the prefix so that these are all that refer to what lies below it. Choose the age above the
    time that a run takes from its first shard to its manifest.

    Args:
        space: The store.
        prefix: The folder, ``""`` for all.
        older_than_s: Leave what is younger, in seconds.

    Returns:
        The garbage: first parts and levels, then archives, indexes, objects and uploads.

    Raises:
        InvalidManifestError: A manifest cannot be read; nothing is garbage then.
        ManifestNotFoundError: A manifest refers to one that is not there; likewise.
        StorageError: The store refused.
    """
    before = datetime.now(UTC) - timedelta(seconds=older_than_s)
    folder = space.full_prefix(f"{prefix}/") if prefix.strip("/") else space.full_prefix("")
    # The listing comes first: what is referred to later was young then, or is seen by `collect`.
    found = _Listing(space, folder)
    roots = [*found.roots, *_roots_above(space, folder)]
    referred = _References(space, found.names()).read(roots)
    garbage = [
        Garbage(space.relative(info.key), kind, info.size, info.last_modified, prefix)
        for info, kind in found.unreferred(referred, space)
        if info.last_modified is not None and info.last_modified <= before
    ]
    garbage.extend(
        Garbage(space.relative(upload.key), "upload", 0, upload.initiated, prefix, upload.upload_id)
        for upload in space.objects.iter_uploads(folder)
        if upload.initiated is not None and upload.initiated <= before
    )
    return garbage


def is_root_key(key: str) -> bool:
    """Tell by its key whether something is a manifest that stands for itself.

    Args:
        key: The key.
    """
    is_part = _PART.fullmatch(key) or _LEVEL.fullmatch(key)
    return is_manifest_key(key) and not is_part and not is_our_loose(key)


def _roots_above(space: Space, folder: str) -> Iterator[str]:
    """Give the manifests in the folders that a folder lies in, such as that of ``shards/``."""
    names = folder.rstrip("/").split("/")
    floor = space.full_prefix("")
    for depth in range(len(names)):
        above = "".join(f"{name}/" for name in names[:depth])
        if not above.startswith(floor):
            continue
        for found in space.objects.list_level(above):
            if not isinstance(found, str) and is_root_key(found.key):
                yield space.relative(found.key)


def collect(
    space: Space, found: Iterable[Garbage], *, dry_run: bool = True
) -> dict[str, StorageError]:
    """Remove garbage. Everything is looked up again first: what is referred to by now stays.

    Args:
        space: The store.
        found: What ``find_garbage`` gave.
        dry_run: Remove nothing.

    Returns:
        What could not be removed, by key.

    Raises:
        InvalidManifestError: As ``find_garbage``, like the others; nothing was removed.
    """
    wanted = list(found)
    if dry_run or not wanted:
        return {}
    still: set[Garbage] = set()
    for prefix in dict.fromkeys(item.prefix for item in wanted):
        still.update(find_garbage(space, prefix, older_than_s=0))
    failures: dict[str, StorageError] = {}
    keys = [item.key for item in wanted if item in still and item.kind != "upload"]
    names = {space.full(key): key for key in keys}
    for full, error in space.objects.delete_many(names).items():
        failures[names[full]] = error
    for item in wanted:
        if item in still and item.upload_id is not None:
            space.objects.abort_upload(
                Upload(space.full(item.key), item.upload_id, item.last_modified)
            )
    return failures


class _Listing:
    """What lies below a folder, as far as it matters here."""

    def __init__(self, space: Space, folder: str) -> None:
        self.roots: list[str] = []
        self._parts: dict[str, tuple[ObjectInfo, GarbageKind]] = {}
        self._data: dict[str, tuple[ObjectInfo, GarbageKind]] = {}
        self._indexes: dict[str, ObjectInfo] = {}
        # Of all names, so that hardly ever one must be asked for by itself.
        self._archives: set[str] = set()
        for info in space.objects.list(folder):
            self._take(space, info)

    def _take(self, space: Space, info: ObjectInfo) -> None:
        key = info.key
        if is_our_loose(key):
            self._data[key] = (info, "object")
        elif is_our_shard(key):
            self._data[key] = (info, "shard")
        elif _PART.fullmatch(key):
            self._parts[key] = (info, "part")
        elif _LEVEL.fullmatch(key):
            self._parts[key] = (info, "level")
        elif is_shard_key(key):
            self._archives.add(key)
        elif is_manifest_key(key):
            self.roots.append(space.relative(key))
        elif key.endswith(INDEX_SUFFIX) or is_our_shard(key.removesuffix(SIDECAR_SUFFIX)):
            self._indexes[key] = info

    def names(self) -> set[str]:
        """Give the full keys that are garbage unless something refers to them."""
        return {*self._parts, *self._data}

    def unreferred(
        self, referred: set[str], space: Space
    ) -> Iterator[tuple[ObjectInfo, GarbageKind]]:
        """Give what nothing refers to, and the indexes whose archives are among it or gone."""
        for key, row in [*self._parts.items(), *self._data.items()]:
            if key not in referred:
                yield row
        for key, info in self._indexes.items():
            archive = key.removesuffix(INDEX_SUFFIX).removesuffix(SIDECAR_SUFFIX)
            if archive in self._data:
                is_garbage = archive not in referred
            else:
                is_garbage = archive not in self._archives and not space.objects.exists(archive)
            if is_garbage:
                yield info, "index"


class _References:
    """What manifests refer to, each of them read once."""

    def __init__(self, space: Space, names: set[str]) -> None:
        self._space = space
        self._names = names

    def read(self, roots: Iterable[str]) -> set[str]:
        """Give those of the names that are referred to, directly or through other manifests."""
        referred: set[str] = set()
        seen: set[str] = set()
        waiting = list(roots)
        with ThreadPoolExecutor(self._space.objects.concurrency, "shardpack-gc") as pool:
            while waiting:
                fresh = {self._space.full(key): key for key in waiting}
                batch = [key for full, key in fresh.items() if full not in seen]
                seen.update(fresh)
                waiting = []
                for names, children in pool.map(self._one, batch):
                    referred |= names
                    waiting += children
        return referred

    def _one(self, manifest_key: str) -> tuple[set[str], list[str]]:
        names: set[str] = set()
        children: list[str] = []
        for entry in iter_entries(self._space, manifest_key, resolve_refs=False):
            if entry["kind"] == "manifest_ref":
                children += self._children(entry, names)
            else:
                full = self._space.full(_name_of(entry))
                if full in self._names:
                    names.add(full)
        return names, children

    def _children(self, ref: ManifestEntry, names: set[str]) -> list[str]:
        key = str(ref["key"])  # type: ignore[typeddict-item]
        if ref.get("layout") != LISTED:
            full = self._space.full(key)
            if full in self._names:
                names.add(full)
            return [key]
        folder = self._space.full_prefix(key.rstrip("/") + "/")
        parts = [info.key for info in self._space.objects.list(folder)]
        names.update(part for part in parts if part in self._names)
        return [self._space.relative(part) for part in parts if is_manifest_key(part)]


def _name_of(entry: ManifestEntry) -> str:
    if entry["kind"] == "shard":
        return entry["archive_key"]
    key = str(entry["key"])
    parts = split_virtual_key(key)
    if parts is not None and (is_our_shard(parts[0]) or "member_path" in entry):
        return parts[0]
    return key
