"""Garbage: what interrupted runs leave behind, and nothing else.

Only names that this package gives are looked at: parts and levels of manifests, shards called after
their plan, indexes beside archives, loose objects of a pack, unfinished uploads. What a manifest
below the prefix refers to is no garbage, and neither is what is young: a run may be about to
publish it. A manifest that cannot be read might refer to anything, so that nothing is garbage
until it can. Manifests are told by their extension; where something else stands beside what seems
to be garbage, its first line decides.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from shardpack.archive.index import INDEX_SUFFIX
from shardpack.errors import InvalidManifestError, ObjectNotFoundError, StorageError
from shardpack.exchange.keys import is_manifest_key, is_shard_key, split_virtual_key
from shardpack.exchange.manifest.lines import iter_lines, parse_line
from shardpack.exchange.manifest.reading import LISTED, iter_entries
from shardpack.exchange.packing.plan import is_our_loose, is_our_shard
from shardpack.frame import SIDECAR_SUFFIX
from shardpack.storage.base import Upload
from shardpack.storage.transfer import parallel_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shardpack.exchange.keys import Space
    from shardpack.exchange.types import ManifestEntry
    from shardpack.storage.base import ObjectInfo

__all__ = ["Garbage", "Swept", "collect", "find_garbage", "is_root_key", "sweep"]

GarbageKind = Literal["part", "level", "shard", "index", "object", "upload"]

_DAY_S: Final = 86_400.0
_STAMP = r"\d{8}-\d{6}"
_PART = re.compile(
    rf"(?:.*/)?manifests/(?:part-{_STAMP}-[0-9a-f]{{8}}"
    rf"|[^/]+\.parts(?:-[^/]+)?/part-{_STAMP}-\d{{6}}-[0-9a-f]{{8}})\.jsonl"
)
_LEVEL = re.compile(rf"(?:.*/)?manifests/level\d+-{_STAMP}-[0-9a-f]{{8}}\.jsonl")
# What a manifest and its shards, parts and objects lie in, each in a folder of its own.
_HOME = re.compile(r"((?:.*/)?)(?:manifests|shards|objects)/.*", re.DOTALL)
_FIRST_LINE: Final = 64 << 10


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


@dataclass(frozen=True, slots=True)
class Swept:
    """What became of garbage.

    Attributes:
        removed: What is gone.
        failures: What could not be removed, by key. What is in neither is no garbage any more.
    """

    removed: tuple[Garbage, ...]
    failures: dict[str, StorageError]


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
    # The listing comes first: what is referred to later was young then, or is seen by `sweep`.
    found = _Listing(space, folder)
    references = _References(space, found.names())
    references.read([*found.roots, *_roots_above(space, folder)])

    def old() -> list[tuple[ObjectInfo, GarbageKind]]:
        return [
            (info, kind)
            for info, kind in found.unreferred(references.referred, space)
            if info.last_modified is not None and info.last_modified <= before
        ]

    rows = old()
    unnamed = list(_roots_beside(space, {info.key for info, _ in rows}))
    if unnamed:
        references.read(unnamed)
        rows = old()
    references.require_readable()
    garbage = [
        Garbage(space.relative(info.key), kind, info.size, info.last_modified, prefix)
        for info, kind in rows
    ]
    garbage.extend(
        Garbage(space.relative(upload.key), "upload", 0, upload.initiated, prefix, upload.upload_id)
        for upload in space.objects.iter_uploads(folder)
        if upload.initiated is not None and upload.initiated <= before and space.holds(upload.key)
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
                yield found.key


def _roots_beside(space: Space, garbage: set[str]) -> Iterator[str]:
    """Give the manifests that are not called like one, where what would be garbage lies."""
    homes = {found[1] for found in map(_HOME.fullmatch, garbage) if found is not None}
    candidates = (
        info
        for home in sorted(homes)
        for info in space.objects.list_level(home)
        if not isinstance(info, str)
        and info.size
        and space.holds(info.key)
        and not (is_manifest_key(info.key) or is_shard_key(info.key))
        and not info.key.endswith((INDEX_SUFFIX, SIDECAR_SUFFIX))
    )
    workers = space.objects.concurrency
    for info, is_one in parallel_map(partial(_sniffed, space), candidates, workers=workers):
        if is_one:
            yield info.key


def _sniffed(space: Space, info: ObjectInfo) -> tuple[ObjectInfo, bool]:
    """Tell whether an object begins with an entry of a manifest."""
    try:
        data = space.objects.read(info.key, start=0, end=min(info.size, _FIRST_LINE)).lstrip()
    except ObjectNotFoundError:
        return info, False
    line, end, _ = data.partition(b"\n")
    if not end and len(data) < info.size:
        # The line goes on: what may be a manifest is read as one.
        return info, line.startswith(b"{") and b'"kind"' in line
    try:
        parse_line(line)
    except InvalidManifestError:
        return info, False
    return info, True


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
    return {} if dry_run else sweep(space, found).failures


def sweep(space: Space, found: Iterable[Garbage]) -> Swept:
    """Remove garbage, and tell what went. All is looked up again first, as ``collect`` does.

    Args:
        space: The store.
        found: What ``find_garbage`` gave.

    Returns:
        What is gone, and what could not be removed.

    Raises:
        InvalidManifestError: As ``find_garbage``, like the others; nothing was removed.
    """
    wanted = list(found)
    still: set[Garbage] = set()
    for prefix in dict.fromkeys(item.prefix for item in wanted):
        still.update(find_garbage(space, prefix, older_than_s=0))
    going = [item for item in wanted if item in still]
    keys = {space.full(item.key): item.key for item in going if item.upload_id is None}
    refused = space.objects.delete_many(keys)
    failures = {keys[full]: error for full, error in refused.items()}
    for item in going:
        if item.upload_id is not None:
            upload = Upload(space.full(item.key), item.upload_id, item.last_modified)
            try:
                space.objects.abort_upload(upload)
            except StorageError as error:
                failures[item.key] = error
    return Swept(tuple(item for item in going if item.key not in failures), failures)


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
            # Another key of the same form is another object: "a//b" is not "a/b".
            if space.holds(info.key):
                self._take(info)
            elif is_root_key(info.key):
                self.roots.append(info.key)

    def _take(self, info: ObjectInfo) -> None:
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
            self.roots.append(key)
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
    """What manifests refer to, each of them read once.

    Args:
        space: Where they lie.
        names: Full keys of what matters.

    Attributes:
        referred: Those of the names that are referred to, directly or through other manifests.
    """

    def __init__(self, space: Space, names: set[str]) -> None:
        self.referred: set[str] = set()
        self._space = space
        self._names = names
        self._seen: set[str] = set()
        # Roots are told by their extension, which lines of data may have, too.
        self._data: set[str] = set()
        self._unreadable: dict[str, InvalidManifestError] = {}

    def read(self, roots: Iterable[str]) -> None:
        """Read manifests, and those that they refer to.

        Args:
            roots: Their full keys.
        """
        waiting = list(roots)
        first = set(waiting)
        with ThreadPoolExecutor(self._space.objects.concurrency, "shardpack-gc") as pool:
            while waiting:
                batch = [key for key in dict.fromkeys(waiting) if key not in self._seen]
                self._seen.update(batch)
                waiting = []
                for key, contents in zip(batch, pool.map(self._contents, batch), strict=True):
                    if isinstance(contents, InvalidManifestError):
                        if key not in first:
                            raise contents
                        self._unreadable[key] = contents
                        continue
                    names, children, data = contents
                    self.referred |= names
                    self._data |= data
                    waiting += children

    def require_readable(self) -> None:
        """Raise if a root could not be read, unless a manifest names it as a file of data."""
        for key, error in self._unreadable.items():
            if key not in self._data:
                raise error

    def _contents(
        self, full_key: str
    ) -> tuple[set[str], list[str], set[str]] | InvalidManifestError:
        try:
            return self._one(full_key)
        except InvalidManifestError as error:
            return error

    def _entries(self, full_key: str) -> Iterator[ManifestEntry]:
        if self._space.holds(full_key):
            yield from iter_entries(self._space, self._space.relative(full_key), resolve_refs=False)
            return
        with self._space.objects.get(full_key) as body:
            yield from iter_lines(body, key=full_key)

    def _one(self, full_key: str) -> tuple[set[str], list[str], set[str]]:
        names: set[str] = set()
        children: list[str] = []
        data: set[str] = set()
        for entry in self._entries(full_key):
            if entry["kind"] == "manifest_ref":
                children += self._children(entry, names)
                continue
            full = self._space.full(_name_of(entry))
            if full in self._names:
                names.add(full)
            elif entry["kind"] == "file" and is_manifest_key(full):
                data.add(full)
        return names, children, data

    def _children(self, ref: ManifestEntry, names: set[str]) -> list[str]:
        key = str(ref["key"])  # type: ignore[typeddict-item]
        if ref.get("layout") != LISTED:
            full = self._space.full(key)
            if full in self._names:
                names.add(full)
            return [full]
        folder = self._space.full_prefix(key.rstrip("/") + "/")
        parts = [info.key for info in self._space.objects.list(folder)]
        names.update(part for part in parts if part in self._names)
        return [part for part in parts if is_manifest_key(part)]


def _name_of(entry: ManifestEntry) -> str:
    if entry["kind"] == "shard":
        return entry["archive_key"]
    key = str(entry["key"])
    parts = split_virtual_key(key)
    if parts is not None and (is_our_shard(parts[0]) or "member_path" in entry):
        return parts[0]
    return key
