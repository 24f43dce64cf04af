"""Which objects an iteration gives, in which order, and where it stands.

Entries are gathered into *units*: an object, a shard, or neighbouring members of one archive.
Units are dealt out in rounds: a reader of rank ``r`` takes the ``r``-th of ``world_size`` units, so
that readers share no archive and together have everything once; none is padded. The last round may
have fewer units than there are readers. Then the readers share each of its shards, unless its entry
says that it has fewer members than there are readers: each takes a run of the members, with about
the same number of bytes, and reads the index, the manifest inside and its own ranges. A shard
without an index that fits goes to one reader as a whole, as all of them find alike; an index that
is damaged is an error for all of them. The manifest, archives and indexes must stay what they are
from the first reader on, or members may be missing or come twice.

Without a shuffle, a *segment* is one unit. With one, units are put into a random order, all of them
as long as they are no more than ``SHUFFLE_ENTRIES`` entries, else that many at a time; then the
units of a *window*, up to eight archives, 1024 objects and 32768 members, are cut into pieces of
about one chunk, the pieces are put into a random order, and each run of pieces of ``MIX_BYTES`` has
its members shuffled. The order depends on the seed, the manifest and the indexes of the archives,
never on timing, threads or memory.
"""

from __future__ import annotations

import pickle
import random
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from shardpack.exchange.keys import split_virtual_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from shardpack.exchange.types import FileEntry, ManifestEntry, ShardEntry

__all__ = [
    "MIX_BYTES",
    "SHUFFLE_ENTRIES",
    "Order",
    "Position",
    "Segment",
    "Share",
    "Unit",
    "as_file_entry",
    "iter_segments",
    "iter_units",
    "member_of",
]

# Entries that are shuffled as a whole; kept as packed text they are some 30 MiB.
SHUFFLE_ENTRIES: Final = 1 << 17
# Bytes of members that are in memory, and shuffled, together.
MIX_BYTES: Final = 8 << 20
_WINDOW_ARCHIVES: Final = 8
_WINDOW_UNITS: Final = 1024
# A window is planned as a whole, which takes about a kilobyte for each member.
_WINDOW_MEMBERS: Final = 1 << 15
# Neighbouring members of one archive that are planned at once.
_MOST_NEIGHBOURS: Final = 1024
_STATE_FORMAT: Final = "shardpack-position/2"
# When readers did not share shards: several readers had other sequences.
_OLD_STATE_FORMAT: Final = "shardpack-position/1"

Kind = Literal["object", "shard", "members"]


@dataclass(frozen=True, slots=True)
class Share:
    """What one of several readers takes of a shard.

    Attributes:
        part: Number of its part.
        parts: How many parts there are.
        takes_whole: Whether it takes all of the shard where that has no index.
    """

    part: int
    parts: int
    takes_whole: bool


@dataclass(frozen=True, slots=True)
class Unit:
    """What is planned together and belongs to one reader.

    Attributes:
        kind: ``"object"``, ``"shard"`` (all members of it) or ``"members"`` (some of an archive).
        entries: One entry; several only for members.
        archive_key: Key of the archive; ``None`` for an object.
        share: What this reader takes of a shard; ``None`` for all of it.
    """

    kind: Kind
    entries: tuple[ManifestEntry, ...]
    archive_key: str | None = None
    share: Share | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of units whose order inside is settled when it is read.

    Attributes:
        number: Its place in the sequence of this reader.
        units: The units.
        seed: What shuffles its pieces; ``None`` leaves them in order.
    """

    number: int
    units: tuple[Unit, ...]
    seed: str | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where an iteration stands: behind so many objects of a piece of work of a segment.

    Attributes:
        segment: Number of the segment.
        work: Number of the work in the segment; 0 without a shuffle.
        item: Objects of it that are done.
        delivered: Objects that are done in all.
    """

    segment: int = 0
    work: int = 0
    item: int = 0
    delivered: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """What settles the sequence of objects.

    Attributes:
        shuffle: The seed; ``None`` keeps the order of the manifest.
        rank: Number of this reader.
        world_size: Number of readers.
        expand_shards: Give the members of shards; otherwise the archives.

    Raises:
        ValueError: The rank is not below the number of readers.
    """

    shuffle: int | None = None
    rank: int = 0
    world_size: int = 1
    expand_shards: bool = True

    def __post_init__(self) -> None:
        if self.world_size < 1:
            raise ValueError(f"world_size must be at least 1, got {self.world_size}")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must be from 0 to {self.world_size - 1}, got {self.rank}")

    def to_state(self, position: Position) -> dict[str, Any]:
        """Write a position as a dict that JSON can hold.

        Args:
            position: The position.
        """
        return {
            "format": _STATE_FORMAT,
            "shuffle": self.shuffle,
            "rank": self.rank,
            "world_size": self.world_size,
            "expand_shards": self.expand_shards,
            "segment": position.segment,
            "work": position.work,
            "item": position.item,
            "delivered": position.delivered,
        }

    def from_state(self, state: Mapping[str, Any]) -> Position:
        """Read a position back.

        Args:
            state: What ``to_state`` gave.

        Raises:
            ValueError: It is no such dict, or belongs to another order.
        """
        form = state.get("format")
        if form not in {_STATE_FORMAT, _OLD_STATE_FORMAT}:
            raise ValueError(f"not a position of an iteration: {state!r}")
        for name in ("shuffle", "rank", "world_size", "expand_shards"):
            if state.get(name) != getattr(self, name):
                raise ValueError(
                    f"the position is that of {name}={state.get(name)!r}, "
                    f"not {getattr(self, name)!r}"
                )
        if form == _OLD_STATE_FORMAT and self.world_size > 1:
            raise ValueError(
                f"the position is that of an older version, whose {self.world_size} readers had"
                " other shares: begin from the front"
            )
        numbers: dict[str, int] = {}
        for name in ("segment", "work", "item", "delivered"):
            number = state.get(name)
            if not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise ValueError(f"{name} of a position must be a count, got {number!r}")
            numbers[name] = number
        return replace(Position(), **numbers)


def member_of(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    """Tell which member of which archive an entry stands for.

    Args:
        entry: A file entry.

    Returns:
        Key of the archive and path of the member; ``None`` for an object of its own.
    """
    archive_key, member_path = entry.get("archive_key"), entry.get("member_path")
    if archive_key and member_path:
        return str(archive_key), str(member_path)
    return split_virtual_key(str(entry["key"]))


def iter_units(entries: Iterable[ManifestEntry], *, expand_shards: bool) -> Iterator[Unit]:
    """Gather entries into units.

    Args:
        entries: File and shard entries.
        expand_shards: Take the members of shards; otherwise the archives as objects.
    """
    neighbours: list[ManifestEntry] = []
    archive_key: str | None = None
    for entry in entries:
        found = None
        if entry["kind"] == "file":
            found = member_of(entry)
        if neighbours and (
            found is None or found[0] != archive_key or len(neighbours) == _MOST_NEIGHBOURS
        ):
            yield Unit("members", tuple(neighbours), archive_key)
            neighbours = []
        if found is not None:
            archive_key = found[0]
            neighbours.append(entry)
        elif entry["kind"] == "shard" and expand_shards:
            yield Unit("shard", (entry,), entry["archive_key"])
        else:
            yield Unit("object", (entry,))
    if neighbours:
        yield Unit("members", tuple(neighbours), archive_key)


def iter_segments(units: Iterable[Unit], order: Order, *, first: int = 0) -> Iterator[Segment]:
    """Give the segments of one reader.

    Args:
        units: All units, in the order of the manifest.
        order: The order.
        first: Number of the first segment that is wanted.
    """
    if order.shuffle is not None:
        units = _shuffled(units, order.shuffle)
    own = _dealt(units, order)
    windows = ((unit,) for unit in own) if order.shuffle is None else _windows(own)
    for number, window in enumerate(windows):
        if number >= first:
            seed = None if order.shuffle is None else f"{order.shuffle}/{order.rank}/{number}"
            yield Segment(number, window, seed)


def _dealt(units: Iterable[Unit], order: Order) -> Iterator[Unit]:
    """Give the units of one reader, and its part of those that are shared."""
    units = iter(units)
    while True:
        own: Unit | None = None
        rest: list[Unit] = []
        count = 0
        for number, unit in enumerate(islice(units, order.world_size)):
            count += 1
            is_own = number == order.rank
            if is_own:
                own = unit
            # Not more than this is kept of a round: other units may be large.
            if _can_be_shared(unit, order.world_size):
                share = Share(order.rank, order.world_size, is_own)
                rest.append(replace(unit, share=share))
            elif is_own:
                rest.append(unit)
        if count < order.world_size:
            yield from rest
            return
        if own is not None:
            yield own


def _can_be_shared(unit: Unit, readers: int) -> bool:
    """Tell by its entry whether a shard may have a member for each reader."""
    if unit.kind != "shard":
        return False
    count: object = cast("ShardEntry", unit.entries[0]).get("count")
    return not isinstance(count, int) or count >= readers


def _shuffled(units: Iterable[Unit], seed: int) -> Iterator[Unit]:
    packed: list[bytes] = []
    count = block = 0
    for unit in units:
        packed.append(pickle.dumps((unit.kind, unit.entries, unit.archive_key)))
        count += len(unit.entries)
        if count >= SHUFFLE_ENTRIES:
            yield from _mixed(packed, f"{seed}/{block}")
            packed = []
            count = 0
            block += 1
    yield from _mixed(packed, f"{seed}/{block}")


def _mixed(packed: list[bytes], seed: str) -> Iterator[Unit]:
    random.Random(seed).shuffle(packed)  # noqa: S311 - an order, no secret
    for text in packed:
        # Packed above, and never outside of this process.
        yield Unit(*pickle.loads(text))  # noqa: S301


def _windows(units: Iterable[Unit]) -> Iterator[tuple[Unit, ...]]:
    window: list[Unit] = []
    archives = count = 0
    for unit in units:
        more = _member_count(unit)
        if window and (
            archives == _WINDOW_ARCHIVES
            or len(window) == _WINDOW_UNITS
            or count + more > _WINDOW_MEMBERS
        ):
            yield tuple(window)
            window = []
            archives = count = 0
        window.append(unit)
        archives += unit.archive_key is not None
        count += more
    if window:
        yield tuple(window)


def _member_count(unit: Unit) -> int:
    """Tell how many members a unit has, as far as its entries say."""
    if unit.kind != "shard":
        return len(unit.entries)
    count = cast("ShardEntry", unit.entries[0]).get("count")
    if not isinstance(count, int) or count <= 0:
        return 1
    return count if unit.share is None else -(-count // unit.share.parts)


def as_file_entry(entry: ManifestEntry) -> FileEntry:
    """Describe the object that an entry names: that of a shard is its archive.

    Args:
        entry: A file or shard entry.
    """
    if entry["kind"] != "shard":
        return cast("FileEntry", entry)
    described: FileEntry = {"kind": "file", "key": entry["archive_key"]}
    if entry.get("size_bytes") is not None:
        described["size_bytes"] = entry["size_bytes"]
    meta: object = entry.get("meta")
    if isinstance(meta, dict) and meta.get("etag"):
        described["etag"] = meta["etag"]
    if entry.get("blake3"):
        described["blake3"] = entry["blake3"]
    return described
