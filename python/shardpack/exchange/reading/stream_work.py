"""Reading archives without a usable index: one pass from front to end."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from shardpack.archive.left_out import LeftOutMembers, is_left_out
from shardpack.checksum import crc32c
from shardpack.errors import ObjectNotFoundError, S3ExchangeError, ShardReadError
from shardpack.exchange.reading.delivery import (
    Delivery,
    Failure,
    Piped,
    PipedBody,
    check_bytes,
    mismatch,
)
from shardpack.exchange.reading.prefetch import IterationClosedError, Task
from shardpack.exchange.reading.read_ahead import AHEAD_BYTES, ReadAhead
from shardpack.exchange.reading.run_work import ITEM_BYTES
from shardpack.exchange.shard.member_bytes import MemberBytes, member_info
from shardpack.exchange.shard.member_entries import MemberEntries, check_manifest_size
from shardpack.exchange.shard.source import LARGE_BYTES
from shardpack.hash import Blake3

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shardpack.archive.reader import MemberBody, TarMember
    from shardpack.errors import IntegrityError
    from shardpack.exchange.reading.delivery import Item, Place
    from shardpack.exchange.reading.left_out_log import LeftOutLog
    from shardpack.exchange.reading.prefetch import Lane
    from shardpack.exchange.reading.settings import Reading
    from shardpack.exchange.shard.source import ArchiveSource
    from shardpack.exchange.types import FileEntry, ManifestEntry

__all__ = ["stream_members_task", "stream_shard_task"]

# What the decoder holds beside the members.
_DECODER_BYTES: Final = (2 << 20) + AHEAD_BYTES
_BATCH_BYTES: Final = 1 << 20
_BATCH_ITEMS: Final = 256
# Members that came before their turn.
_HELD_BYTES: Final = 16 << 20
_PIECE: Final = 1 << 20
# Unread pieces of a large member, the one being handed over and the one being read.
_PIPE_BYTES: Final = 6 * _PIECE


def stream_shard_task(
    reading: Reading, source: ArchiveSource, entry: ManifestEntry, place: Place
) -> Task[Delivery]:
    """Make the task that gives all members of an archive in one pass.

    Args:
        reading: The settings of the iteration.
        source: The archive.
        entry: Its entry.
        place: Where its first item stands; so many members are stepped over.
    """

    def run(lane: Lane[Delivery]) -> None:
        output = _Output(reading, source, place, lane)
        try:
            _stream_shard(source, output, reading.left_out)
        except S3ExchangeError as error:
            output.flush()
            if not reading.may_skip(error):
                raise
            # It stands behind the members; whoever begins behind it has been told.
            if output.skipped == output.start:
                output.add(Failure(source.archive_key, None, entry, error), 0)
        output.flush()

    return Task(run, _DECODER_BYTES)


def _stream_shard(source: ArchiveSource, output: _Output, left_out: LeftOutLog | None) -> None:
    manifest_path = source.internal_manifest_path
    entries = MemberEntries(source.archive_key, None, manifest_path)
    with closing(source.stream(ahead=ReadAhead(output.lane))) as members:
        for member, data in members:
            output.lane.check()
            if not member.is_file:
                if left_out is not None and is_left_out(member):
                    noted = LeftOutMembers()
                    noted.add(member)
                    left_out.add(source.archive_key, noted.first, noted.count)
                continue
            if member.path == manifest_path:
                check_manifest_size(member.size, key=source.archive_key, path=manifest_path)
                entries = MemberEntries(source.archive_key, data.read(), manifest_path)
                continue
            entry = entries.take(member.path, member.size)
            if output.skipped < output.start:
                output.skipped += 1
                continue
            output.member(member, data, entry)
    missing = entries.missing()
    if missing is not None:
        raise ShardReadError(
            "the archive lacks a member that its manifest names",
            key=source.archive_key,
            member=missing,
        )


def stream_members_task(
    reading: Reading, source: ArchiveSource, every: Sequence[tuple[str, FileEntry]], place: Place
) -> Task[Delivery]:
    """Make the task that gives some members of an archive, in the order given.

    One pass is enough where that is the order of the archive, or nearly; members that come early
    are held up to 16 MiB, and read in another pass beyond that.

    Args:
        reading: The settings of the iteration.
        source: The archive.
        every: Path and entry of each member.
        place: Where the first one that is wanted stands.
    """

    def run(lane: Lane[Delivery]) -> None:
        output = _Output(reading, source, place, lane)
        entries = every[place.item :]
        absent: set[str] = set()
        try:
            while output.done < len(entries):
                path, entry = entries[output.done]
                if path in absent:
                    error = ObjectNotFoundError(source.virtual_key(path))
                    if not reading.may_skip(error):
                        raise error
                    output.add(Failure(source.archive_key, path, entry, error), 0)
                else:
                    absent = _pass(source, entries[output.done :], output)
        except S3ExchangeError as error:
            output.flush()
            if not reading.may_skip(error):
                raise
            # The rest of the archive cannot be reached by another pass either.
            for path, entry in entries[output.done :]:
                output.add(Failure(source.archive_key, path, entry, error), 0)
        output.flush()

    return Task(run, _DECODER_BYTES)


def _pass(
    source: ArchiveSource, waiting: Sequence[tuple[str, FileEntry]], output: _Output
) -> set[str]:
    """Read the archive once, up to the last member that is wanted; tells which are not in it."""
    early = _Early(path for path, _ in waiting)
    absent = {path for path, _ in waiting}
    given = 0
    with closing(source.stream(ahead=ReadAhead(output.lane))) as members:
        for member, data in members:
            output.lane.check()
            if not member.is_file or not early.wants(member.path):
                continue
            absent.discard(member.path)
            path, entry = waiting[given]
            if member.path != path:
                if member.size <= LARGE_BYTES:
                    early.offer(member.path, data.read())
                continue
            output.member(member, data, entry)
            early.done(path)
            given += 1
            while given < len(waiting) and (held := early.find(waiting[given][0])) is not None:
                path, entry = waiting[given]
                output.whole(path, held, entry)
                early.done(path)
                given += 1
            if given == len(waiting):
                break
    return absent


class _Early:
    """Members that came before their turn: those that are wanted soonest, up to 16 MiB."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._turns: dict[str, deque[int]] = {}
        for turn, path in enumerate(paths):
            self._turns.setdefault(path, deque()).append(turn)
        self._held: dict[str, bytes] = {}
        self._size = 0

    def wants(self, path: str) -> bool:
        return path in self._turns and path not in self._held

    def offer(self, path: str, data: bytes) -> None:
        self._held[path] = data
        self._size += len(data)
        while self._size > _HELD_BYTES and len(self._held) > 1:
            self._drop(max(self._held, key=lambda held: self._turns[held][0]))

    def find(self, path: str) -> bytes | None:
        return self._held.get(path)

    def done(self, path: str) -> None:
        """Note that a member was given once."""
        turns = self._turns[path]
        turns.popleft()
        if not turns:
            del self._turns[path]
            if path in self._held:
                self._drop(path)

    def _drop(self, path: str) -> None:
        self._size -= len(self._held.pop(path))


class _Output:
    """Gathers members into deliveries.

    Attributes:
        start: Number of the first item that is wanted.
        skipped: How many before it were stepped over.
        done: Items that were added.
        lane: Where they go.
    """

    def __init__(
        self, reading: Reading, source: ArchiveSource, place: Place, lane: Lane[Delivery]
    ) -> None:
        self.start = place.item
        self.skipped = 0
        self.done = 0
        self.lane = lane
        self._reading = reading
        self._source = source
        self._place = place
        self._items: list[Item] = []
        self._size = 0

    def member(self, member: TarMember, data: MemberBody, entry: FileEntry) -> None:
        """Take a member of the pass."""
        if member.size > LARGE_BYTES:
            self._pipe(member, data, entry)
        else:
            self.whole(member.path, data.read(), entry)

    def whole(self, path: str, data: bytes, entry: FileEntry) -> None:
        """Take a member that is in memory."""
        key = self._source.archive_key
        try:
            check_bytes(data, entry, key=key, member=path, verify=self._reading.verify)
        except S3ExchangeError as error:
            if not self._reading.may_skip(error):
                raise
            self.add(Failure(key, path, cast("ManifestEntry", entry), error), 0)
            return
        self.add((MemberBytes(data, entry), entry), len(data))

    def add(self, item: Item, size: int) -> None:
        """Take an item."""
        self._items.append(item)
        self._size += size + ITEM_BYTES
        self.done += 1
        if self._size >= _BATCH_BYTES or len(self._items) >= _BATCH_ITEMS:
            self.flush()

    def flush(self) -> None:
        """Hand over what was gathered."""
        if self._items:
            items, self._items = self._items, []
            size, self._size = self._size, 0
            # What was set aside for the decoder stays with it.
            self.lane.reserve(size)
            self.lane.put(Delivery(self._place, items), size)
            self._place = replace(self._place, item=self._place.item + len(items))

    def _pipe(self, member: TarMember, data: MemberBody, entry: FileEntry) -> None:
        """Hand over a large member while it is read."""
        self.flush()
        key = self._source.archive_key
        size = entry.get("size_bytes")
        if size is not None and size != member.size:
            error = mismatch("size", size, member.size, key=key, member=member.path)
            if not self._reading.may_skip(error):
                raise error
            self.add(Failure(key, member.path, cast("ManifestEntry", entry), error), 0)
            return
        pipe = PipedBody(member_info(self._source.virtual_key(member.path), member.size))
        self.add(Piped(pipe, entry), _PIPE_BYTES)
        try:
            differs = self._pump(pipe, data, member.path, entry)
        except IterationClosedError:
            pipe.abandon()
            raise
        except Exception as error:
            pipe.finish(error)
            raise
        # The reader of the body is told; the rest of the archive can still be read.
        pipe.finish(differs)

    def _pump(
        self, pipe: PipedBody, data: MemberBody, path: str, entry: FileEntry
    ) -> IntegrityError | None:
        """Hand over all bytes; tells how they differ from the entry, if they do."""
        facts: dict[str, Any] = dict(entry) if self._reading.verify else {}
        hasher = Blake3() if facts.get("blake3") else None
        checksum = 0
        while piece := data.read(_PIECE):
            if not pipe.feed(piece, lambda: self.lane.closed):
                self.lane.check()
                return None
            checksum = crc32c(piece, checksum)
            if hasher is not None:
                hasher.update(piece)
        key = self._source.archive_key
        found = f"{checksum:08x}"
        if facts.get("crc32c") and str(facts["crc32c"]).lower() != found:
            return mismatch("crc32c", facts["crc32c"], found, key=key, member=path)
        if hasher is not None and str(facts["blake3"]).lower() != hasher.hexdigest():
            return mismatch("blake3", facts["blake3"], hasher.hexdigest(), key=key, member=path)
        return None
