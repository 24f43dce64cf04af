"""Reading members of archives by their indexes, a run of neighbours at a time."""

from __future__ import annotations

import logging
import pickle
import random
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import repeat
from typing import TYPE_CHECKING, Final, cast

from shardpack.errors import IntegrityError, ShardReadError
from shardpack.exchange.bodies import ArchiveMemberBody, VerifiedBody
from shardpack.exchange.reading.delivery import Deferred, Delivery, Failure, check_bytes, mismatch
from shardpack.exchange.reading.prefetch import Task
from shardpack.exchange.reading.run_pieces import RunPieces
from shardpack.exchange.shard.member_bytes import MemberBytes
from shardpack.exchange.shard.member_runs import plan_runs
from shardpack.exchange.shard.source import LARGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardpack.archive.index import ArchiveIndex, Member
    from shardpack.exchange.reading.delivery import Item, Place
    from shardpack.exchange.reading.prefetch import Lane
    from shardpack.exchange.reading.settings import Reading
    from shardpack.exchange.shard.member_runs import MemberRun
    from shardpack.exchange.shard.source import ArchiveSource
    from shardpack.exchange.types import FileEntry

__all__ = ["ITEM_BYTES", "RunWork", "large_member_task", "run_task"]

# What an item takes beside its bytes: the dict of its entry, and the body.
ITEM_BYTES: Final = 1500
# What is handed over at a time: the consumer wakes up for it.
_GIVEN_BYTES: Final = 1 << 20
_NO_LIMIT: Final = 1 << 63

_log = logging.getLogger("shardpack.exchange")


@dataclass(frozen=True, slots=True)
class RunWork:
    """A run of members of one archive.

    Attributes:
        source: The archive.
        index: Its index.
        run: The members.
        entries: The entry of each; packed where many runs wait.
    """

    source: ArchiveSource
    index: ArchiveIndex
    run: MemberRun
    entries: Sequence[FileEntry] | bytes

    @property
    def cost(self) -> int:
        """Bytes that reading it takes: what is fetched, then members, beside what is decoded."""
        original = self.run.original_size
        return max(self.run.stored_size, original) + original + ITEM_BYTES * len(self)

    def __len__(self) -> int:
        return len(self.run.members)

    def without_first(self, count: int) -> RunWork:
        """Leave items out.

        Args:
            count: How many; not all of them.
        """
        # As one run again, whatever its length.
        (run,) = plan_runs(self.index, self.run.members[count:], limits=repeat(_NO_LIMIT))
        return replace(self, run=run, entries=self.unpacked()[count:])

    def packed(self) -> RunWork:
        """Give the same work with its entries packed, in a quarter of the memory."""
        return replace(self, entries=pickle.dumps(self.unpacked()))

    def unpacked(self) -> Sequence[FileEntry]:
        """Give the entries."""
        if isinstance(self.entries, bytes):
            # Packed above, and never outside of this process.
            entries: Sequence[FileEntry] = pickle.loads(self.entries)  # noqa: S301
            return entries
        return self.entries


def run_task(
    reading: Reading,
    works: Sequence[RunWork],
    place: Place,
    *,
    seed: str | None = None,
) -> Task[Delivery]:
    """Make the task that reads runs.

    Args:
        reading: The settings of the iteration.
        works: The runs; one, unless they are shuffled.
        place: Where the first item stands; of shuffled items, how many to leave out.
        seed: Shuffles the items of all runs.
    """
    if seed is None:
        (work,) = works
        return _ordered_task(reading, work, place)

    def run(lane: Lane[Delivery]) -> None:
        items: list[Item] = []
        for work in works:
            lane.check()
            items += _read_leniently(reading, work)
        random.Random(seed).shuffle(items)  # noqa: S311 - an order, no secret
        del items[: place.item]
        lane.put(Delivery(place, items), _size_of(items))

    return Task(run, sum(work.cost for work in works))


def large_member_task(
    reading: Reading,
    source: ArchiveSource,
    index: ArchiveIndex,
    member: Member,
    entry: FileEntry,
    place: Place,
) -> Task[Delivery]:
    """Make the task that hands over a member too large to be read whole.

    Args:
        reading: The settings of the iteration.
        source: The archive.
        index: Its index.
        member: The member.
        entry: Its entry.
        place: Where it stands.
    """
    item = large_member(reading, source, index, member, entry)
    return Task(lambda lane: lane.put(Delivery(place, [item])))


def large_member(
    reading: Reading, source: ArchiveSource, index: ArchiveIndex, member: Member, entry: FileEntry
) -> Deferred:
    """Describe a member that is opened when it is delivered.

    Args:
        reading: The settings of the iteration.
        source: The archive.
        index: Its index.
        member: The member.
        entry: Its entry.
    """

    def open_it() -> ArchiveMemberBody:
        _check_size(source, member, entry)
        body = source.open_large(index, member)
        if not reading.verify or _index_agrees(member, entry):
            return body
        # What the index says of it is compared by the body, what the entry says on top of that.
        return ArchiveMemberBody(
            VerifiedBody(body, entry, key=source.archive_key, member=member.path), info=body.info
        )

    return Deferred(open_it, entry, source.archive_key, member.path)


def _ordered_task(reading: Reading, work: RunWork, place: Place) -> Task[Delivery]:
    pieces = RunPieces.of(work.index, work.run)
    if pieces is None:
        return Task(lambda lane: _read_in_order(reading, work, place, lane), work.cost)
    members = work.run.members
    given = sum(member.size for member in members) + ITEM_BYTES * len(members)
    cost = pieces.cost + given

    def run(lane: Lane[Delivery]) -> None:
        done = _give_pieces(reading, work, pieces, place, lane)
        if done < len(members):
            # Something is damaged, or was on its way: so the rest is read once more.
            rest = work.without_first(done)
            lane.reserve(rest.cost)
            _read_in_order(reading, rest, replace(place, item=place.item + done), lane)

    return Task(run, cost)


def _give_pieces(
    reading: Reading, work: RunWork, pieces: RunPieces, place: Place, lane: Lane[Delivery]
) -> int:
    """Give items as they arrive, up to the piece that cannot be read; tells how many they are."""
    members, entries = work.run.members, work.unpacked()
    items: list[Item] = []
    size = given = 0
    try:
        with closing(pieces.read(work.source, verify=reading.verify)) as found:
            for data in found:
                first = given + len(items)
                stop = first + len(data)
                more = _items(reading, work.source, members[first:stop], entries[first:stop], data)
                items += more
                size += _size_of(more)
                if size >= _GIVEN_BYTES:
                    lane.put(Delivery(replace(place, item=place.item + given), items), size)
                    given = stop
                    items, size = [], 0
    except (IntegrityError, ShardReadError) as error:
        # The caller reads the rest once more, and raises what it then finds.
        _log.debug("reading again: %s", error)
    if items:
        lane.put(Delivery(replace(place, item=place.item + given), items), size)
    return given + len(items)


def _read_in_order(reading: Reading, work: RunWork, place: Place, lane: Lane[Delivery]) -> None:
    try:
        items = _read(reading, work)
    except (IntegrityError, ShardReadError):
        _read_singly(reading, work, place, lane)
        return
    lane.put(Delivery(place, items), _size_of(items))


def _read_singly(reading: Reading, work: RunWork, place: Place, lane: Lane[Delivery]) -> None:
    """Give what can be read, up to the member that cannot, or around it."""
    for at, one in enumerate(_singles(work)):
        items = _read_one(reading, one)
        lane.put(Delivery(replace(place, item=place.item + at), items), _size_of(items))


def _read_leniently(reading: Reading, work: RunWork) -> list[Item]:
    try:
        return _read(reading, work)
    except (IntegrityError, ShardReadError):
        return [item for one in _singles(work) for item in _read_one(reading, one)]


def _read_one(reading: Reading, work: RunWork) -> list[Item]:
    try:
        return _read(reading, work)
    except (IntegrityError, ShardReadError) as error:
        if not reading.may_skip(error):
            raise
        (member,) = work.run.members
        return [Failure(work.source.archive_key, member.path, work.unpacked()[0], error)]


def _singles(work: RunWork) -> list[RunWork]:
    return [
        replace(work, run=run, entries=[entry])
        for member, entry in zip(work.run.members, work.unpacked(), strict=True)
        for run in plan_runs(work.index, [member], limits=iter(lambda: LARGE_BYTES, 0))
    ]


def _read(reading: Reading, work: RunWork) -> list[Item]:
    data = work.source.read_run(work.index, work.run, verify=reading.verify)
    return _items(reading, work.source, work.run.members, work.unpacked(), data)


def _items(
    reading: Reading,
    source: ArchiveSource,
    members: Sequence[Member],
    entries: Sequence[FileEntry],
    data: Sequence[bytes],
) -> list[Item]:
    items: list[Item] = []
    for member, entry, piece in zip(members, entries, data, strict=True):
        _check_entry(reading, source, member, entry, piece)
        items.append((MemberBytes(piece, entry), entry))
    return items


def _check_entry(
    reading: Reading, source: ArchiveSource, member: Member, entry: FileEntry, data: bytes
) -> None:
    """Compare a member with its entry, which may be older than the archive and its index."""
    _check_size(source, member, entry)
    if reading.verify and not _index_agrees(member, entry):
        check_bytes(data, entry, key=source.archive_key, member=member.path)


def _index_agrees(member: Member, entry: FileEntry) -> bool:
    """Tell whether the entry has no digests but those of the index, which are compared anyway."""
    checksum = entry.get("crc32c")
    if checksum and (member.crc32c is None or str(checksum).lower() != f"{member.crc32c:08x}"):
        return False
    digest = entry.get("blake3")
    return not digest or (member.blake3 is not None and str(digest).lower() == member.blake3.hex())


def _check_size(source: ArchiveSource, member: Member, entry: FileEntry) -> None:
    size = entry.get("size_bytes")
    if size is not None and size != member.size:
        raise mismatch("size", size, member.size, key=source.archive_key, member=member.path)


def _size_of(items: Sequence[Item]) -> int:
    sizes = (cast("MemberBytes", item[0]).size for item in items if isinstance(item, tuple))
    return sum(sizes) + ITEM_BYTES * len(items)
