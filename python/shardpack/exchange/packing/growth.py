"""What of a folder its data set has already, so that packing again sends only what is new.

A data set is what a manifest names below the prefix of a run. A file is in it as it is when the
last shard that has a member of its path has it with the same size and BLAKE3 hash. What the plan
has, and the manifest names, needs no look: names tell what is in shards and objects, and whoever
does the jobs looks for them. Of all other shards the indexes are read, other objects are looked
for, and files of which only the size is known to be right are hashed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from shardpack._native import thread_count
from shardpack.errors import (
    IntegrityError,
    ManifestNotFoundError,
    ObjectNotFoundError,
    ShardReadError,
    UnsafePathError,
)
from shardpack.exchange.keys import split_virtual_key
from shardpack.exchange.manifest.reading import iter_entries
from shardpack.exchange.packing.plan import LOOSE_FOLDER, SHARD_FOLDER
from shardpack.exchange.shard.source import ArchiveSource, shard_entry_of
from shardpack.hash import Blake3
from shardpack.hash import file as hash_file
from shardpack.storage.transfer import parallel_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from shardpack.exchange.keys import Space
    from shardpack.exchange.packing.jobs import Job, Workplace
    from shardpack.exchange.packing.source import Planner
    from shardpack.exchange.shard.items import PreparedItem
    from shardpack.exchange.types import FileEntry, ShardEntry

__all__ = ["Growth", "Named", "full_key", "read_named"]

_READ_PIECE: Final = 1 << 20
# Files above this size are hashed on all cores, smaller ones on one each.
_LARGE_FILE: Final = 16 << 20
_DIGEST_BYTES: Final = 32


class Held(NamedTuple):
    """The last version of a file that a data set has.

    Attributes:
        position: Place of its entry, or of that of its shard, in the manifest.
        size: Its length in bytes.
        blake3: Its hash; ``None`` where it is not known.
        key: Full key of the shard or object that has it.
    """

    position: int
    size: int
    blake3: bytes | None
    key: str


class Listed(NamedTuple):
    """A file that has an entry of its own.

    Attributes:
        path: Its path.
        position: Place of the entry in the manifest.
        size: Its length in bytes, as the entry has it.
        blake3: Likewise its hash.
        etag: Likewise the ETag, of a loose object.
    """

    path: str
    position: int
    size: int | None
    blake3: bytes | None
    etag: str | None


@dataclass(slots=True)
class Named:
    """What a manifest names below the prefix of a run.

    Attributes:
        positions: Place of each shard and loose object in it, by full key.
        shards: The entries of the shards whose members are not known yet, by full key.
        members: Members with entries of their own, not looked for yet, by full key of the archive.
        loose: Loose objects that were not looked for yet, by full key.
        held: The files that are known, by path.
    """

    positions: dict[str, int] = field(default_factory=dict)
    shards: dict[str, ShardEntry] = field(default_factory=dict)
    members: dict[str, list[Listed]] = field(default_factory=dict)
    loose: dict[str, Listed] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)

    def hold(self, path: str, held: Held) -> None:
        """Take down a version of a file, unless a later one is known.

        Args:
            path: Its path.
            held: The version.
        """
        known = self.held.get(path)
        if known is None or known.position <= held.position:
            self.held[path] = held


def read_named(space: Space, manifest_key: str, workplace: Workplace) -> Named:
    """Find what a manifest names below the prefix of a run.

    Args:
        space: The store.
        manifest_key: Key of the manifest; there may be none.
        workplace: Where the run writes.

    Returns:
        What it names; nothing is read of it yet.

    Raises:
        StorageError: The store refused.
        S3ExchangeError: The manifest cannot be read.
    """
    named = Named()
    # Full keys: whoever wrote the manifest may have opened the store with another base prefix.
    shards, loose = (
        space.full_prefix(workplace.folder(SHARD_FOLDER)),
        space.full_prefix(workplace.folder(LOOSE_FOLDER)),
    )
    try:
        for position, found in enumerate(iter_entries(space, manifest_key)):
            if found["kind"] == "shard":
                key = full_key(space, found["archive_key"])
                if key.startswith(shards):
                    named.positions[key] = position
                    named.shards[key] = found
            elif found["kind"] == "file":
                # Members stand by themselves after a compaction that asked for it.
                key = full_key(space, found["key"])
                if key.startswith(loose):
                    named.positions[key] = position
                    meta: Any = found.get("meta")
                    path = meta.get("path") if isinstance(meta, dict) else None
                    if isinstance(path, str):
                        named.loose[key] = _listed(path, position, found)
                elif key.startswith(shards) and (parts := split_virtual_key(key)):
                    listed = _listed(parts[1], position, found)
                    named.members.setdefault(parts[0], []).append(listed)
    except ManifestNotFoundError:
        # The first run, or one that was interrupted before its last step.
        return Named()
    return named


def full_key(space: Space, key: str) -> str:
    """Give the key of an entry as the store has it; ``""`` for one that no store has.

    Args:
        space: The store.
        key: The key as it stands in the manifest.
    """
    try:
        return space.full(key)
    except UnsafePathError:
        # It is none of ours; whoever reads the manifest refuses it.
        return ""


def _listed(path: str, position: int, entry: FileEntry) -> Listed:
    etag = entry.get("etag")
    return Listed(
        path,
        position,
        entry.get("size_bytes"),
        _digest(entry.get("blake3")),
        etag if isinstance(etag, str) else None,
    )


def _digest(text: Any) -> bytes | None:  # noqa: ANN401 - whatever the manifest holds
    try:
        digest = bytes.fromhex(text)
    except (TypeError, ValueError):
        # Not known, then: the file is packed again.
        return None
    return digest if len(digest) == _DIGEST_BYTES else None


class Growth:
    """Leaves out of the plan for a folder what its data set has.

    Args:
        workplace: Where the run writes.
        named: What the manifest names there.
        planned: Full keys of the whole plan, as a first look at the folder found it.
        cutter: Makes shards of what is left.

    Attributes:
        unchanged: Files that the data set has as they are.
        replaced: Files of which it has another version.
        items: Files that are in no job.
        bytes: Their bytes.
        relied_on: Full keys of the shards and objects that have them.
    """

    def __init__(
        self, workplace: Workplace, named: Named, planned: set[str], cutter: Planner
    ) -> None:
        self.unchanged = 0
        self.replaced = 0
        self.items = 0
        self.bytes = 0
        self.relied_on: set[str] = set()
        self._workplace = workplace
        self._named = named
        self._planned = planned
        self._cutter = cutter

    def jobs(self, whole: Iterator[Job], on_passed: Callable[[int], object]) -> Iterator[Job]:
        """Plan for what is new.

        Args:
            whole: The plan for all of the folder.
            on_passed: Called with the number of bytes of files that are in no job.

        Yields:
            Jobs that the manifest names, which send nothing where that is true, and those for new
            files and for versions that the data set does not have.

        Raises:
            StorageError: The store refused.
        """
        # What is in the shards that the plan has is known by their names, as long as the folder is
        # what it was when they were found.
        self._look_into(self._planned)
        for job in whole:
            key = self._workplace.full_key_of(job)
            position = self._named.positions.get(key)
            if key not in self._planned:
                self._look_into(set())
            changed = self._changed(job.items, position)
            size = sum(item.size for item in changed)
            if position is None:
                left = sum(item.size for item in job.items) - size
                self.items += len(job.items) - len(changed)
                self.bytes += left
                on_passed(left)
            else:
                # In two jobs, and still counted once.
                self.items -= len(changed)
                self.bytes -= size
                yield job
            for item in changed:
                for made in self._cutter.take(item):
                    yield self._distinct(made)
        for made in self._cutter.rest():
            yield self._distinct(made)

    def _distinct(self, job: Job) -> Job:
        """Give a job a name under which the manifest does not have it yet."""
        while self._workplace.full_key_of(job) in self._named.positions:
            job = replace(job, again=job.again + 1)
        return job

    def _look_into(self, leave: set[str]) -> None:
        """Learn what is in the shards and objects whose names do not tell it."""
        named, space = self._named, self._workplace.space
        workers = space.objects.concurrency
        shards = {key: entry for key, entry in named.shards.items() if key not in leave}
        found = parallel_map(
            lambda entry: _members(space, entry), list(shards.values()), workers=workers
        )
        for key, members in zip(shards, found, strict=True):
            for path, size, blake3 in members:
                named.hold(path, Held(named.positions[key], size, blake3, key))
            del named.shards[key]
        found = parallel_map(
            lambda key: _members(space, shard_entry_of(key)), list(named.members), workers=workers
        )
        for (key, wanted), members in zip(list(named.members.items()), found, strict=True):
            facts = {path: (size, blake3) for path, size, blake3 in members}
            for listed in wanted:
                if listed.path in facts:
                    named.hold(listed.path, Held(listed.position, *facts[listed.path], key))
            del named.members[key]
        objects = {key: listed for key, listed in named.loose.items() if key not in leave}
        looked_at = parallel_map(
            lambda pair: _loose(space, *pair), list(objects.items()), workers=workers
        )
        for (key, listed), held in zip(objects.items(), looked_at, strict=True):
            if held is not None:
                named.hold(listed.path, held)
            del named.loose[key]

    def _changed(self, items: Sequence[PreparedItem], position: int | None) -> list[PreparedItem]:
        """Find the files that the data set does not have, or not as they are.

        Args:
            items: Files.
            position: Place of a shard that has them all as they are; ``None`` if there is none.
        """
        held = self._named.held
        new, other, doubtful = set[int](), set[int](), list[int]()
        for number, item in enumerate(items):
            last = held.get(item.member_path)
            if last is None or (position is not None and last.position <= position):
                if position is None:
                    new.add(number)
            elif last.size == item.size and last.blake3 is not None:
                doubtful.append(number)
            else:
                other.add(number)
        digests = parallel_map(
            lambda number: _hash(items[number]),
            doubtful,
            workers=self._workplace.threads or thread_count(),
        )
        for number, digest in zip(doubtful, digests, strict=True):
            last = held[items[number].member_path]
            if digest == last.blake3:
                self.relied_on.add(last.key)
            else:
                other.add(number)
        self.replaced += len(other)
        self.unchanged += len(items) - len(new) - len(other)
        return [item for number, item in enumerate(items) if number in new or number in other]


def _hash(item: PreparedItem) -> bytes | None:
    try:
        return hash_file(cast("str", item.source), threads=None if item.size > _LARGE_FILE else 1)
    except OSError:
        # It is packed, then, and why it cannot be is told there with all others.
        return None


def _members(space: Space, entry: ShardEntry) -> list[tuple[str, int, bytes | None]]:
    try:
        source = ArchiveSource(space, entry["archive_key"], entry=entry, caches=False)
        # What may be a copy, or another archive of the same size, is read: an index proves nothing.
        index = source.validated_index(verify=False)
        if index is not None:
            members = index.members.values()
            found = [(member.path, member.size, member.blake3) for member in members]
        else:
            # No index, or one of another archive: the archive itself tells.
            found = []
            for path, body in source.iter_members():
                hasher, size = Blake3(), 0
                while piece := body.read(_READ_PIECE):
                    hasher.update(piece)
                    size += len(piece)
                found.append((path, size, hasher.digest()))
    except (ObjectNotFoundError, IntegrityError, ShardReadError, UnsafePathError):
        # The data set does not have what cannot be read of it; `verify` tells why.
        return []
    return [each for each in found if each[0] != source.internal_manifest_path]


def _loose(space: Space, key: str, listed: Listed) -> Held | None:
    """Look for a loose object; ``None`` where it is not there as its entry has it."""
    hasher, size = Blake3(), 0
    try:
        info = space.objects.head(key)
        if listed.size != info.size:
            return None
        if None not in {listed.etag, listed.blake3} and listed.etag == info.etag:
            return Held(listed.position, info.size, listed.blake3, key)
        # A copy, or other bytes: only they tell.
        with space.objects.get(key) as body:
            while piece := body.read(_READ_PIECE):
                hasher.update(piece)
                size += len(piece)
    except ObjectNotFoundError:
        return None
    return Held(listed.position, size, hasher.digest(), key)
