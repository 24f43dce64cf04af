"""From segments to tasks: what is asked of archives first, and how their members are cut up."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, chain, groupby, islice, repeat
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from shardpack.errors import ObjectNotFoundError, S3ExchangeError, ShardReadError
from shardpack.exchange.reading.delivery import Delivery, Failure, Place
from shardpack.exchange.reading.object_work import object_task
from shardpack.exchange.reading.prefetch import Task
from shardpack.exchange.reading.run_work import RunWork, large_member_task, run_task
from shardpack.exchange.reading.sampling import MIX_BYTES, member_of
from shardpack.exchange.reading.stream_work import stream_members_task, stream_shard_task
from shardpack.exchange.shard.index_cache import index_weight
from shardpack.exchange.shard.member_entries import MemberEntries, check_manifest_size
from shardpack.exchange.shard.member_runs import plan_runs
from shardpack.exchange.shard.source import LARGE_BYTES, ArchiveSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from shardpack.archive.index import ArchiveIndex, Member
    from shardpack.exchange.reading.prefetch import Lane
    from shardpack.exchange.reading.sampling import Position, Segment, Share, Unit
    from shardpack.exchange.reading.settings import Reading
    from shardpack.exchange.types import FileEntry, ManifestEntry, ShardEntry

__all__ = ["Prepared", "PreparedUnit", "expected_weight", "iter_tasks", "prepare"]

# The first runs of an archive are short, so that its first members come soon.
_RUN_BYTES: Final = (1 << 20, 2 << 20)
_MOST_RUN_BYTES: Final = 4 << 20
# Fewer requests where they bring no more items than shorter runs of smaller members do.
_LONG_RUN_BYTES: Final = 8 << 20
_SMALL_BYTES: Final = 4 << 10
# What a member takes in an index and an internal manifest, about.
_MEMBER_BYTES: Final = 800
# What a small member takes in an archive beside its bytes.
_HEADER_BYTES: Final = 512
# Members that stay together when a window is shuffled: about one chunk of the archive.
_PIECE_BYTES: Final = 512 << 10


@dataclass(frozen=True, slots=True)
class PreparedUnit:
    """A unit, with what is known of its archive.

    Attributes:
        unit: The unit.
        source: Its archive; ``None`` for objects, also for those whose key only looks like that
            of a member.
        index: The index of the archive, if it has one that fits.
        manifest: The internal manifest of a shard.
        error: Why nothing can be read.
        is_elsewhere: Whether another reader takes all of it.
    """

    unit: Unit
    source: ArchiveSource | None = None
    index: ArchiveIndex | None = None
    manifest: bytes | None = None
    error: S3ExchangeError | None = None
    is_elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A segment with its units prepared."""

    segment: Segment
    units: tuple[PreparedUnit, ...]

    @property
    def weight(self) -> int:
        """Estimated bytes of the indexes and internal manifests that it holds."""
        return sum(
            2 * len(unit.manifest or b"") + (index_weight(unit.index) if unit.index else 0)
            for unit in self.units
        )


def prepare(reading: Reading, segment: Segment) -> Prepared:
    """Ask for the indexes of the archives of a segment.

    Args:
        reading: The settings of the iteration.
        segment: The segment.
    """
    return Prepared(segment, tuple(_prepare_unit(reading, unit) for unit in segment.units))


def _prepare_unit(reading: Reading, unit: Unit) -> PreparedUnit:
    if unit.archive_key is None:
        return PreparedUnit(unit)
    entry = unit.entries[0] if unit.kind == "shard" else None
    try:
        source = ArchiveSource(reading.space, unit.archive_key, entry=entry, caches=False)
        if unit.kind == "members":
            index = source.validated_index()
            if index is None:
                source.head()
            return PreparedUnit(unit, source, index)
        index, manifest = _load_shard(reading, source)
        is_elsewhere = index is None and _is_elsewhere(unit, source)
    except ObjectNotFoundError as error:
        if unit.kind == "members":
            # No such archive: the keys are those of objects, with a "#" in them.
            return PreparedUnit(unit)
        return PreparedUnit(unit, error=error)
    except S3ExchangeError as error:
        return PreparedUnit(unit, error=error)
    return PreparedUnit(unit, source, index, manifest, is_elsewhere=is_elsewhere)


def _load_shard(
    reading: Reading, source: ArchiveSource
) -> tuple[ArchiveIndex | None, bytes | None]:
    """Read the internal manifest, which also tells whether the index fits the archive."""

    def load(index: ArchiveIndex) -> tuple[ArchiveIndex | None, bytes | None]:
        if index.sparse or index.doubtful:
            source.check_current(index)
            if not source.knows_all(index, verify=reading.verify):
                return None, None
        member = index.member(source.internal_manifest_path)
        if member is None:
            source.check_current(index)
            return index, None
        check_manifest_size(member.size, key=source.archive_key, path=member.path)
        (run,) = plan_runs(index, [member], limits=repeat(_MOST_RUN_BYTES))
        return index, source.read_first(index, run)

    return source.by_index(load, otherwise=lambda: (None, None))


def _is_elsewhere(unit: Unit, source: ArchiveSource) -> bool:
    """Tell whether another reader takes all of a shard, of which there is no index that fits."""
    if unit.share is None:
        return False
    if source.index_error is not None:
        # For another reader it may have arrived whole.
        raise ShardReadError(
            f"readers share the shard by its index, which cannot be read: {source.index_error}",
            key=source.archive_key,
        ) from source.index_error
    return not unit.share.takes_whole


def expected_weight(segment: Segment) -> int:
    """Estimate what the preparation of a segment will hold, before anything is asked for.

    Args:
        segment: The segment.

    Returns:
        Bytes; 0 where the entries of its shards do not say how many members they have.
    """
    counts = (
        cast("ShardEntry", unit.entries[0]).get("count", 0)
        for unit in segment.units
        if unit.kind == "shard"
    )
    # A manifest may say anything.
    known: list[object] = list(counts)
    return _MEMBER_BYTES * sum(count for count in known if isinstance(count, int) and count > 0)


def iter_tasks(
    reading: Reading, prepared: Prepared, start: Position, *, limit: int | None
) -> Iterator[Counted]:
    """Cut a segment into tasks.

    Args:
        reading: The settings of the iteration.
        prepared: The segment.
        start: Where to begin, if it is this segment that is begun in the middle.
        limit: Most items that are wanted.

    Yields:
        Each task, and the number of its items; 0 where that is not known.
    """
    segment = prepared.segment
    begun = start.segment == segment.number
    if segment.seed is not None:
        first = (start.work, start.item) if begun else (0, 0)
        yield from _shuffled_tasks(reading, prepared, segment.seed, first)
        return
    place = Place(segment.number, 0, start.item if begun else 0)
    limits = chain(_RUN_BYTES, repeat(_run_bytes(prepared.units[0].index)))
    skipped = place.item
    for piece in _cut(reading, prepared.units[0], limits, place.item, limit):
        if isinstance(piece, RunWork):
            yield run_task(reading, [piece], place), len(piece)
            place = replace(place, item=place.item + len(piece))
        elif isinstance(piece, _Stream):
            yield piece.make(place), 0
        elif skipped and not piece.is_cut:
            skipped -= 1
        else:
            yield piece.make(place), 1
            place = replace(place, item=place.item + 1)


def _run_bytes(index: ArchiveIndex | None) -> int:
    if index is None or index.original_size < _SMALL_BYTES * len(index):
        return _MOST_RUN_BYTES
    return _LONG_RUN_BYTES


def _shuffled_tasks(
    reading: Reading, prepared: Prepared, seed: str, first: tuple[int, int]
) -> Iterator[Counted]:
    """Put the pieces of a window into a random order and mix their members."""
    pieces = [
        piece.packed() if isinstance(piece, RunWork) else piece
        for unit in prepared.units
        for piece in _cut(reading, unit, repeat(_PIECE_BYTES), 0, None)
    ]
    random.Random(seed).shuffle(pieces)  # noqa: S311 - an order, no secret
    for number, work in enumerate(_mixes(pieces)):
        if number < first[0]:
            continue
        item = first[1] if number == first[0] else 0
        place = Place(prepared.segment.number, number, item)
        if isinstance(work, list):
            count = sum(len(part) for part in work) - item
            if count > 0:
                yield run_task(reading, work, place, seed=f"{seed}/{number}"), count
        elif isinstance(work, _Stream):
            yield work.make(place), 0
        elif not item:
            yield work.make(place), 1


def _mixes(pieces: Iterable[_Piece]) -> Iterator[list[RunWork] | _Single | _Stream]:
    mix: list[RunWork] = []
    size = 0
    for piece in pieces:
        if not isinstance(piece, RunWork):
            yield piece
            continue
        mix.append(piece)
        size += piece.run.original_size
        if size >= MIX_BYTES:
            yield mix
            mix = []
            size = 0
    if mix:
        yield mix


# --- units --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Single:
    """What gives one item.

    Attributes:
        make: Makes the task.
        is_cut: Items before the first wanted one were left out already.
    """

    make: Callable[[Place], Task[Delivery]]
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class _Stream:
    """What gives any number of items, from the one that its place names."""

    make: Callable[[Place], Task[Delivery]]


_Piece: TypeAlias = "RunWork | _Single | _Stream"
Counted: TypeAlias = "tuple[Task[Delivery], int]"


def _cut(
    reading: Reading,
    prepared: PreparedUnit,
    limits: Iterator[int],
    skip: int,
    limit: int | None,
) -> Iterator[_Piece]:
    """Cut a unit into pieces, of which the first items are left out where that is possible."""
    unit = prepared.unit
    error, source, index = prepared.error, prepared.source, prepared.index
    if prepared.is_elsewhere:
        return
    if error is not None:
        for entry in unit.entries:
            yield _failing(reading, str(unit.archive_key), None, entry, error)
    elif source is None:
        for entry in unit.entries:
            yield _Single(partial(object_task, reading, entry))
    elif index is None and unit.kind == "shard":
        yield _Stream(partial(stream_shard_task, reading, source, unit.entries[0]))
    elif index is None:
        wanted = [(_path_of(entry), cast("FileEntry", entry)) for entry in unit.entries]
        yield _Stream(partial(stream_members_task, reading, source, wanted))
    elif unit.kind == "shard":
        yield from _cut_shard(reading, prepared, source, index, (limits, skip, limit))
    else:
        stop = None if limit is None else skip + limit
        found = [
            (index.member(_path_of(entry)), cast("FileEntry", entry))
            for entry in unit.entries[skip:stop]
        ]
        yield from _cut_members(reading, source, index, found, limits)


def _cut_shard(
    reading: Reading,
    prepared: PreparedUnit,
    source: ArchiveSource,
    index: ArchiveIndex,
    bounds: tuple[Iterator[int], int, int | None],
) -> Iterator[_Piece]:
    limits, skip, limit = bounds
    share = prepared.unit.share
    # Of those that share it, one tells.
    tells = share is None or not share.part
    if reading.left_out is not None and index.left_out.count and tells:
        reading.left_out.add(source.archive_key, index.left_out.first, index.left_out.count)
    path = source.internal_manifest_path
    entries = MemberEntries(source.archive_key, prepared.manifest, path)
    members = [member for member in index.members.values() if member.path != path]
    first, last = _part_of(members, share)
    begin = first + skip
    stop = last if limit is None else min(last, begin + limit)
    found = ((member, entries.take(member.path, member.size)) for member in members)
    yield from _cut_members(reading, source, index, islice(found, begin, max(begin, stop)), limits)
    if stop == len(members) and begin <= len(members):
        # The generator stopped before the end only where it was told to. Whoever begins behind what
        # is missing has been told.
        missing = entries.missing()
        if missing is not None:
            error = ShardReadError(
                "the archive lacks a member that its manifest names",
                key=source.archive_key,
                member=missing,
            )
            entry = prepared.unit.entries[0]
            yield _failing(reading, source.archive_key, missing, entry, error, is_cut=True)


def _part_of(members: Sequence[Member], share: Share | None) -> tuple[int, int]:
    """Tell where the part of a reader begins and ends: all have about as many bytes."""
    if share is None:
        return 0, len(members)
    ends = list(accumulate(member.size + _HEADER_BYTES for member in members))
    total = ends[-1] if ends else 0
    first, last = (
        bisect_right(ends, total * part // share.parts) for part in (share.part, share.part + 1)
    )
    return first, last


def _cut_members(
    reading: Reading,
    source: ArchiveSource,
    index: ArchiveIndex,
    found: Iterable[tuple[Member | None, FileEntry]],
    limits: Iterator[int],
) -> Iterator[_Piece]:
    """Cut members into runs; those that are missing or large stand alone."""
    for small, pairs in groupby(found, key=_is_small):
        if small:
            entries: deque[FileEntry] = deque()
            for run in plan_runs(index, _noted(pairs, entries), limits=limits):
                own = [entries.popleft() for _ in run.members]
                yield RunWork(source, index, run, own)
            continue
        for member, entry in pairs:
            if member is not None:
                make = partial(large_member_task, reading, source, index, member, entry)
                yield _Single(make, is_cut=True)
                continue
            path = _path_of(cast("ManifestEntry", entry))
            error = ObjectNotFoundError(source.virtual_key(path))
            yield _failing(
                reading, source.archive_key, path, cast("ManifestEntry", entry), error, is_cut=True
            )


def _is_small(pair: tuple[Member | None, FileEntry]) -> bool:
    return pair[0] is not None and pair[0].size <= LARGE_BYTES


def _noted(
    pairs: Iterable[tuple[Member | None, FileEntry]], entries: deque[FileEntry]
) -> Iterator[Member]:
    for member, entry in pairs:
        if member is not None:
            entries.append(entry)
            yield member


def _failing(
    reading: Reading,
    key: str,
    member: str | None,
    entry: ManifestEntry,
    error: S3ExchangeError,
    *,
    is_cut: bool = False,
) -> _Single:
    def make(place: Place) -> Task[Delivery]:
        def run(lane: Lane[Delivery]) -> None:
            if not reading.may_skip(error):
                raise error
            lane.put(Delivery(place, [Failure(key, member, entry, error)]))

        return Task(run)

    return _Single(make, is_cut)


def _path_of(entry: ManifestEntry) -> str:
    found = member_of(entry)
    assert found is not None  # noqa: S101 - only such entries are gathered as members
    return found[1]
