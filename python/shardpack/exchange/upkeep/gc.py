"""Garbage: what interrupted runs leave behind, and nothing else.

Only names that this package gives are looked at: parts and levels of manifests, shards called after
their plan, indexes beside archives, loose objects of a pack, unfinished uploads. What a manifest
below the prefix refers to is no garbage.

**Grace.** Neither is what is younger than the grace period: a run may be about to publish it. Nor
what may have been referred to within that time, as readers that began before a compaction still
need the old parts: where all parts of a manifest are new, it may have been written anew since the
oldest of them, and what it named before stays as long. Both are told by the clock of the store.

**What is no manifest.** Manifests are told by their extension, ``.jsonl``, which lines of data have
too; where something else stands beside what seems to be garbage, its beginning decides. What has
the extension and cannot be read as a manifest is one of three things:

* A damaged manifest, where a line is an entry, or is cut off or broken and begins like one. It may
  have referred to anything: ``InvalidManifestError``, nothing is garbage.
* Somebody's data, where there are lines of JSON of other shapes, or text. They refer to nothing and
  are passed over.
* Undecided, where there is nothing to tell it by: no bytes at all, something that is no text, an
  object cut off within its only line, objects with the ``kind`` of an entry and without its key,
  text that quotes an entry. What lies in its folder, and below, stays.

A file that a manifest names is data, whatever it holds, unless one refers to it as a manifest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from shardpack.archive.index import INDEX_SUFFIX
from shardpack.errors import ObjectNotFoundError, StorageError
from shardpack.exchange.keys import is_manifest_key, is_shard_key
from shardpack.exchange.report import Report
from shardpack.exchange.upkeep.likeness import likeness_of_text
from shardpack.exchange.upkeep.names import GarbageKind, Listing, folder_of, homes_of, is_root_key
from shardpack.exchange.upkeep.references import References
from shardpack.frame import SIDECAR_SUFFIX
from shardpack.progress import progress_callback
from shardpack.storage.base import Upload
from shardpack.storage.clock import time_of
from shardpack.storage.transfer import parallel_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from shardpack.exchange.keys import Space
    from shardpack.exchange.upkeep.likeness import Likeness
    from shardpack.progress import Progress
    from shardpack.storage.base import ObjectInfo

__all__ = [
    "GRACE_S",
    "Garbage",
    "GarbageReport",
    "Swept",
    "collect",
    "find_garbage",
    "is_root_key",
    "survey",
    "sweep",
]

GRACE_S: Final = 86_400.0
"""What is younger, in seconds, is no garbage unless the caller says otherwise."""

_SNIFFED_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Garbage(Report):
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
class GarbageReport(Report):
    """What a search for garbage found.

    Attributes:
        garbage: What may go: first parts and levels, then archives and objects, indexes, uploads.
        young: What nothing refers to, and what stays as it, or the manifest that may have named
            it, was written within the grace period.
        withheld: What nothing refers to, and what stays because of ``undecided``.
        foreign: Keys of what is called like a manifest and holds other lines or text. They were
            passed over.
        undecided: Keys of what is called like a manifest, and of which nobody can tell whether it
            was one.
    """

    garbage: tuple[Garbage, ...]
    young: tuple[Garbage, ...]
    withheld: tuple[Garbage, ...]
    foreign: tuple[str, ...]
    undecided: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Swept:
    """What became of garbage.

    Attributes:
        removed: What is gone.
        failures: What could not be removed, by key. What is in neither is no garbage any more.
    """

    removed: tuple[Garbage, ...]
    failures: dict[str, StorageError]


def find_garbage(space: Space, prefix: str, *, older_than_s: float = GRACE_S) -> list[Garbage]:
    """Find what no manifest below a prefix refers to; ``survey`` tells also what stays, and why.

    Args:
        space: The store.
        prefix: The folder, ``""`` for all.
        older_than_s: The grace period in seconds, see ``survey``.

    Returns:
        The garbage.

    Raises:
        InvalidManifestError: As ``survey``, like the others.
    """
    return list(survey(space, prefix, older_than_s=older_than_s).garbage)


def survey(
    space: Space, prefix: str, *, older_than_s: float = GRACE_S, progress: Progress = None
) -> GarbageReport:
    """Look for what no manifest below a prefix refers to.

    Manifests below the prefix and right in the folders above it are read, others are not: choose
    the prefix so that these are all that refer to what lies below it.

    Args:
        space: The store.
        prefix: The folder, ``""`` for all.
        older_than_s: The grace period in seconds. Choose it above the time that a run takes from
            its first shard to its manifest, and above that of the longest reader. With 0 nothing
            stays for being young: only where nobody writes or reads.
        progress: Called with the number of objects listed and manifests read so far, or an object
            with tqdm's ``update``.

    Returns:
        What may go, and what stays.

    Raises:
        ValueError: The grace period is negative, or no number.
        InvalidManifestError: A manifest is damaged; nothing is garbage then.
        ManifestNotFoundError: A manifest refers to one that is not there; likewise.
        StorageError: The store refused.
    """
    return _survey(space, prefix, older_than_s, _counted(progress))


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
        InvalidManifestError: As ``survey``, like the others; nothing was removed.
    """
    return {} if dry_run else sweep(space, found).failures


def sweep(space: Space, found: Iterable[Garbage], *, progress: Progress = None) -> Swept:
    """Remove garbage, and tell what went. All is looked up again first, as ``collect`` does.

    Args:
        space: The store.
        found: What ``find_garbage`` gave.
        progress: Called as by ``survey``, and with the number of removed objects on top.

    Returns:
        What is gone, and what could not be removed.

    Raises:
        InvalidManifestError: As ``survey``, like the others; nothing was removed.
    """
    wanted = list(found)
    tell = _counted(progress)
    still: set[Garbage] = set()
    for prefix in dict.fromkeys(item.prefix for item in wanted):
        # Of its age each was found worthy before; to be the same it must not be written since.
        still.update(_survey(space, prefix, 0, tell).garbage)
    going = [item for item in wanted if item in still]
    keys = {space.full(item.key): item.key for item in going if item.upload_id is None}
    refused = space.objects.delete_many(_told(keys, tell))
    failures = {keys[full]: error for full, error in refused.items()}
    for item in going:
        if item.upload_id is not None:
            upload = Upload(space.full(item.key), item.upload_id, item.last_modified)
            try:
                space.objects.abort_upload(upload)
            except StorageError as error:
                failures[item.key] = error
            tell()
    return Swept(tuple(item for item in going if item.key not in failures), failures)


def _counted(progress: Progress) -> Callable[[], object]:
    on_done = progress_callback(progress)
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        on_done(done)

    return tell


def _told(keys: Iterable[str], tell: Callable[[], object]) -> Iterator[str]:
    for key in keys:
        yield key
        tell()


def _survey(
    space: Space, prefix: str, older_than_s: float, tell: Callable[[], object]
) -> GarbageReport:
    if not older_than_s >= 0:
        raise ValueError(f"older_than_s must be at least 0, got {older_than_s}")
    before = None
    if older_than_s > 0:
        before = time_of(space.objects) - timedelta(seconds=older_than_s)
    folder = space.full_prefix(f"{prefix}/") if prefix.strip("/") else space.full_prefix("")
    # The listing comes first: what is referred to later was young then, or is seen by `sweep`.
    listing = Listing(space, folder, tell)
    listing.roots.update((info.key, info) for info in _roots_above(space, folder))
    references = References(space, listing.names(), tell)
    references.read(listing.roots.values())
    # With nothing kept for being young or for what cannot be decided yet: a manifest that is not
    # called like one may name that as data.
    first = _Search(space, prefix, listing, references, None, {})
    first.run()
    unnamed = {info.key: info for info in _roots_beside(space, first.keys())}
    listing.roots.update(unnamed)
    references.read(unnamed.values())
    likeness = references.unreadable()
    if before is not None and first.keys():
        old = [
            info
            for key, info in listing.roots.items()
            if key not in likeness and (info.last_modified or before) <= before
        ]
        listing.roots.update((info.key, info) for info in _as_read(space, old))
    search = _Search(space, prefix, listing, references, before, likeness)
    search.run()
    search.take_uploads(folder)
    return search.report()


class _Search:
    """What nothing refers to, sorted by whether it may go.

    Args:
        space: The store.
        prefix: Where it is looked for.
        listing: What lies there.
        references: What is referred to.
        before: What is younger stays; ``None`` where nothing does.
        likeness: What is called like a manifest and is none, by full key.
    """

    def __init__(
        self,
        space: Space,
        prefix: str,
        listing: Listing,
        references: References,
        before: datetime | None,
        likeness: dict[str, Likeness],
    ) -> None:
        self._space = space
        self._prefix = prefix
        self._listing = listing
        self._references = references
        self._before = before
        self._likeness = likeness
        undecided = (key for key, seems in likeness.items() if seems == "undecided")
        self._undecided = {folder_of(key) for key in undecided}
        self._rewritten = {} if before is None else self._find_rewritten()
        self._garbage: dict[str, Garbage] = {}
        self._young: dict[str, Garbage] = {}
        self._withheld: dict[str, Garbage] = {}
        self._uploads: list[Garbage] = []

    def run(self) -> None:
        """Sort all but the uploads."""
        referred = self._references.referred
        for info, kind in self._listing.unreferred(referred):
            self._take(info, kind)
        for info, archive in self._listing.unused_indexes(referred):
            self._take(info, "index", archive)

    def keys(self) -> set[str]:
        """Give the full keys of what may go."""
        return set(self._garbage)

    def take_uploads(self, folder: str) -> None:
        """Sort the uploads below a folder."""
        for upload in self._space.objects.iter_uploads(folder):
            if not self._space.holds(upload.key):
                continue
            key = self._space.relative(upload.key)
            item = Garbage(key, "upload", 0, upload.initiated, self._prefix, upload.upload_id)
            is_undated = self._before is not None and upload.initiated is None
            if is_undated or self._is_young(upload.initiated):
                self._young[f"{upload.key}\0{upload.upload_id}"] = item
            else:
                self._uploads.append(item)

    def report(self) -> GarbageReport:
        """Give what was found."""
        relative = self._space.relative
        by_kind: dict[str, list[str]] = {"foreign": [], "undecided": []}
        for key, seems in sorted(self._likeness.items()):
            by_kind["foreign" if seems == "foreign" else "undecided"].append(relative(key))
        return GarbageReport(
            garbage=(*self._garbage.values(), *self._uploads),
            young=tuple(self._young.values()),
            withheld=tuple(self._withheld.values()),
            foreign=tuple(by_kind["foreign"]),
            undecided=tuple(by_kind["undecided"]),
        )

    def _take(self, info: ObjectInfo, kind: GarbageKind, archive: str | None = None) -> None:
        key = info.key
        item = Garbage(self._space.relative(key), kind, info.size, info.last_modified, self._prefix)
        if self._is_in_doubt(key):
            self._withheld[key] = item
        elif (
            self._is_young(info.last_modified)
            or archive in self._young
            or any(self._is_young(self._rewritten.get(folder)) for folder in _folders_of(key))
        ):
            self._young[key] = item
        elif info.last_modified is not None:
            self._garbage[key] = item

    def _is_in_doubt(self, key: str) -> bool:
        """Tell whether something undecided lies in a folder above."""
        if not self._undecided:
            return False
        slashes = [at for at, letter in enumerate(key, 1) if letter == "/"]
        return any(key[:end] in self._undecided for end in [0, *slashes])

    def _is_young(self, written: datetime | None) -> bool:
        return self._before is not None and written is not None and written > self._before

    def _find_rewritten(self) -> dict[str, datetime]:
        """Tell for folders when what lies there may have been referred to last.

        Whoever writes a manifest anew writes all of its parts anew, and who adds to it leaves those
        that it has. So it was not written anew after the oldest of what it is made of.
        """
        latest: dict[str, datetime] = {}
        for root in self._listing.roots:
            oldest: datetime | None = None
            folders = {folder_of(root)}
            for key, named_in in self._references.parts_of(root):
                folders |= named_in
                info = self._listing.manifest(key)
                written = None if info is None else info.last_modified
                if written is not None and (oldest is None or written < oldest):
                    oldest = written
            if oldest is not None and root not in self._likeness:
                for folder in folders:
                    latest[folder] = max(oldest, latest.get(folder, oldest))
        return latest


def _folders_of(key: str) -> set[str]:
    """Give the folders in which a manifest that names a key lies, or names others."""
    return {folder_of(key)} | homes_of(key)


def _roots_above(space: Space, folder: str) -> Iterator[ObjectInfo]:
    """Give the manifests in the folders that a folder lies in, such as that of ``shards/``."""
    names = folder.rstrip("/").split("/")
    floor = space.full_prefix("")
    for depth in range(len(names)):
        above = "".join(f"{name}/" for name in names[:depth])
        if not above.startswith(floor):
            continue
        for found in space.objects.list_level(above):
            if not isinstance(found, str) and is_root_key(found.key):
                yield found


def _roots_beside(space: Space, garbage: set[str]) -> Iterator[ObjectInfo]:
    """Give the manifests that are not called like one, where what would be garbage lies."""
    floor = space.full_prefix("")
    homes = {home for key in garbage for home in homes_of(key) if home.startswith(floor)}
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
            yield info


def _as_read(space: Space, roots: list[ObjectInfo]) -> Iterator[ObjectInfo]:
    """Tell of manifests again once they were read: as listed, they may have been others."""

    def head(listed: ObjectInfo) -> ObjectInfo:
        try:
            return space.objects.head(listed.key)
        except ObjectNotFoundError:
            return listed

    yield from parallel_map(head, roots, workers=space.objects.concurrency)


def _sniffed(space: Space, info: ObjectInfo) -> tuple[ObjectInfo, bool]:
    """Tell whether an object begins like a manifest."""
    end = min(info.size, _SNIFFED_BYTES)
    try:
        data = space.objects.read(info.key, start=0, end=end)
    except ObjectNotFoundError:
        return info, False
    return info, likeness_of_text(data, is_whole=end == info.size) == "manifest"
