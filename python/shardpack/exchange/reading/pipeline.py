"""The objects of a manifest and the members of its shards, read ahead in bounded memory."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from shardpack.exchange.bodies import ArchiveMemberBody
from shardpack.exchange.checks import require_whole_number
from shardpack.exchange.keys import is_shard_key
from shardpack.exchange.manifest.reading import iter_entries
from shardpack.exchange.reading.delivery import Deferred, Failure, Piped, PipedBody
from shardpack.exchange.reading.planning import expected_weight, iter_tasks, prepare
from shardpack.exchange.reading.prefetch import Prefetcher, Task
from shardpack.exchange.reading.sampling import Order, Position, iter_segments, iter_units
from shardpack.exchange.reading.settings import Reading
from shardpack.exchange.shard.source import shard_entry_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from shardpack.exchange.bodies import ObjectStream
    from shardpack.exchange.keys import Space
    from shardpack.exchange.reading.delivery import Delivery, Item, Place
    from shardpack.exchange.reading.left_out_log import LeftOutLog
    from shardpack.exchange.reading.planning import Prepared
    from shardpack.exchange.reading.prefetch import Lane
    from shardpack.exchange.reading.sampling import Segment
    from shardpack.exchange.reading.settings import OnError
    from shardpack.exchange.types import ManifestEntry, ManifestRef

__all__ = ["PREFETCH_BYTES", "Failure", "ObjectIterator", "iter_objects"]

PREFETCH_BYTES: Final = 64 << 20
# Stores in memory ask for one request at a time; decoding gains from more all the same.
_LEAST_CONCURRENCY: Final = 4
_LOOKAHEAD: Final = 64
# Archives whose indexes are asked for at once, and those that wait for their turn.
_PREPARED_AT_ONCE: Final = 4
_PREPARED_AHEAD: Final = 16
_PREPARED_BYTES: Final = 16 << 20
# Objects need no preparing: they pass in batches.
_PASSED: Final = 64


def iter_objects(  # noqa: PLR0913 - the settings of an iteration
    space: Space,
    manifest: ManifestRef,
    *,
    expand_shards: bool = True,
    limit: int | None = None,
    concurrency: int | None = None,
    prefetch_bytes: int = PREFETCH_BYTES,
    ordered: bool = True,
    shuffle: int | None = None,
    rank: int | None = None,
    world_size: int = 1,
    verify: bool = True,
    on_error: OnError = "raise",
    left_out: LeftOutLog | None = None,
) -> ObjectIterator:
    """Read the objects of a manifest, and the members of its shards, ahead of their consumer.

    Listing, requests and decoding overlap. Objects up to 8 MiB are read whole and compared with
    size and digests before they are given; larger ones are streams that compare at their end. A
    shard with an index is read by ranges in parallel, one without in a single pass; neighbouring
    entries that stand for members of one archive share ranges too. A member above 8 MiB of a shard
    without an index must be read before the next item is asked for.

    Memory: ``prefetch_bytes`` for what waits or is being read, and some mebibytes for each thread
    that decodes. An error is raised in the place of the item that it belongs to, and ends the
    iteration.

    Args:
        space: The store and the prefix of its keys.
        manifest: Key of a manifest or of a shard archive, or entries.
        expand_shards: Give the members of shards; otherwise the archives themselves.
        limit: Most items.
        concurrency: Requests at once; by default what suits the store.
        prefetch_bytes: Bytes to hold ahead of the consumer.
        ordered: Keep the order; otherwise items come as they are ready.
        shuffle: Seed of a random order, described in ``shardpack.exchange.reading.sampling``;
            ``None`` keeps the order of the manifest.
        rank: Number of this reader, from 0, which gets its share alone; needed where there are
            several.
        world_size: Number of readers. Nothing is given twice, and shares may differ in length.
            Whole shards go to one reader, but for those that are left over when all readers have
            had as many: of these, those with an index are shared, see
            ``shardpack.exchange.reading.sampling``.
        verify: Compare with the digests of entries and indexes. Sizes are compared in any case.
        on_error: ``"skip"`` leaves out what cannot be read and notes it in ``failures``.
        left_out: Told of members of shards that are no files: links, devices and pipes. An
            iteration with it does not pickle.

    Returns:
        An iterator over ``(body, entry)``. Closing it, an exception or dropping it ends its
        threads; ``state_dict`` tells where it stands.

    Raises:
        ValueError: A number makes no sense, or there are several readers and no ``rank``.
        TypeError: A number is none.
    """
    if limit is not None:
        limit = require_whole_number("limit", limit)
        if limit < 0:
            raise ValueError(f"limit must not be negative, got {limit}")
    if on_error not in {"raise", "skip"}:
        raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
    if concurrency is None:
        concurrency = max(space.objects.concurrency, _LEAST_CONCURRENCY)
    concurrency = require_whole_number("concurrency", concurrency, least=1)
    prefetch_bytes = require_whole_number("prefetch_bytes", prefetch_bytes, least=1)
    world_size = require_whole_number("world_size", world_size, least=1)
    if rank is None:
        if world_size > 1:
            # Not taken for the first one: all of them would read the same share.
            raise ValueError(
                f"world_size is {world_size}: rank is needed, from 0 to {world_size - 1}"
            )
        rank = 0
    rank = require_whole_number("rank", rank)
    if shuffle is not None:
        shuffle = require_whole_number("shuffle", shuffle)
    return ObjectIterator(
        Reading(space, verify=verify, on_error=on_error, left_out=left_out),
        manifest,
        Order(shuffle=shuffle, rank=rank, world_size=world_size, expand_shards=expand_shards),
        limit=limit,
        concurrency=concurrency,
        prefetch_bytes=prefetch_bytes,
        ordered=ordered,
    )


class ObjectIterator:
    """An iterator over ``(body, entry)``; made by ``iter_objects``. It pickles with its position.

    Attributes:
        failures: What was left out, in order; only with ``on_error="skip"``.
    """

    def __init__(
        self,
        reading: Reading,
        manifest: ManifestRef,
        order: Order,
        *,
        limit: int | None,
        concurrency: int,
        prefetch_bytes: int,
        ordered: bool,
    ) -> None:
        self.failures: list[Failure] = []
        self._reading = reading
        self._manifest = manifest
        self._order = order
        self._limit = limit
        self._concurrency = concurrency
        self._prefetch_bytes = prefetch_bytes
        self._ordered = ordered
        # Where the items before those at hand ended; and how many were given in all.
        self._position = Position()
        self._delivered = 0
        self._reset()

    def _reset(self) -> None:
        self._values: Prefetcher[Delivery] | None = None
        self._items: deque[Item] = deque()
        # Where the items began, and how many of them were given.
        self._place: Place | None = None
        self._done = 0
        self._pipe: PipedBody | None = None
        self._is_over = False

    def __iter__(self) -> Iterator[tuple[ObjectStream | ArchiveMemberBody, ManifestEntry]]:
        return self

    def __next__(self) -> tuple[ObjectStream | ArchiveMemberBody, ManifestEntry]:
        try:
            if self._items and self._limit is None and self._pipe is None:
                # Most items: open already, and nothing to end before them.
                item = self._items[0]
                if type(item) is tuple:
                    self._items.popleft()
                    self._done += 1
                    self._delivered += 1
                    return item
            self._leave_pipe()
            while not self._is_over:
                if self._limit is not None and self._delivered >= self._limit:
                    break
                found = self._open(self._next_item())
                if found is not None:
                    return found
            raise StopIteration  # noqa: TRY301 - it closes, like an error
        except BaseException:
            self.close()
            raise

    def state_dict(self) -> dict[str, Any]:
        """Tell where the iteration stands: behind the item that was given last.

        Returns:
            A dict that JSON can hold. An iteration over the same manifest, with the same
            ``shuffle``, ``rank``, ``world_size`` and ``expand_shards``, goes on there, in any
            process and with any ``concurrency``, as long as the objects stay what they are.

        Raises:
            RuntimeError: The iteration is not ordered, so that there is no such place.
        """
        if not self._ordered:
            raise RuntimeError("only an ordered iteration has a position")
        return self._order.to_state(self._here())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another iteration stood; items before are neither read nor counted again.

        Args:
            state: What ``state_dict`` gave.

        Raises:
            ValueError: It is no such dict, or that of another order.
            RuntimeError: The iteration is not ordered.
        """
        if not self._ordered:
            raise RuntimeError("only an ordered iteration has a position")
        position = self._order.from_state(state)
        self.close()
        self._reset()
        self._position = position
        self._delivered = position.delivered

    def close(self) -> None:
        """End the iteration and its threads.

        Bodies that were given can still be read, but for a member above 8 MiB of an archive
        without an index.
        """
        self._is_over = True
        self._leave_pipe()
        self._items.clear()
        values, self._values = self._values, None
        if values is not None:
            values.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        order = self._order
        told = [repr(self._manifest) if isinstance(self._manifest, str) else "entries"]
        if order.shuffle is not None:
            told.append(f"shuffle {order.shuffle}")
        if order.world_size > 1:
            told.append(f"rank {order.rank} of {order.world_size}")
        return f"<ObjectIterator over {', '.join(told)}, {self._delivered} given>"

    def __getstate__(self) -> dict[str, Any]:
        kept = {**self.__dict__, "_position": self._here()}
        for name in ("_values", "_items", "_place", "_done", "_pipe", "_is_over"):
            del kept[name]
        return kept

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def _leave_pipe(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.abandon()

    def _here(self) -> Position:
        """Tell where the iteration stands, which is not worth an object for each item."""
        place, position = self._place, self._position
        if place is None or not self._done:
            return replace(position, delivered=self._delivered)
        return Position(place.segment, place.work, place.item + self._done, self._delivered)

    def _next_item(self) -> Item:
        while not self._items:
            if self._values is None:
                self._values = self._start()
            delivery = next(self._values)
            self._items.extend(delivery.items)
            self._position = self._here()
            self._place = delivery.place
            self._done = 0
        return self._items.popleft()

    def _open(self, item: Item) -> tuple[ObjectStream | ArchiveMemberBody, ManifestEntry] | None:
        """Open what is not open yet, and move the position behind it; nothing for a failure."""
        found: tuple[ObjectStream | ArchiveMemberBody, ManifestEntry] | None
        item = self._opened(item) if isinstance(item, Deferred) else item
        if isinstance(item, Failure):
            self.failures.append(item)
            found = None
        elif isinstance(item, Piped):
            self._pipe = item.pipe
            found = ArchiveMemberBody(item.pipe), item.entry
        else:
            found = item
        self._done += 1
        if found is not None:
            self._delivered += 1
        return found

    def _opened(
        self, item: Deferred
    ) -> tuple[ObjectStream | ArchiveMemberBody, ManifestEntry] | Failure:
        try:
            return item.open(), item.entry
        except Exception as error:
            if not self._reading.may_skip(error):
                raise
            return Failure(item.key, item.member, item.entry, error)

    def _start(self) -> Prefetcher[Delivery]:
        reading, start = self._reading, self._position
        entries = iter_entries(reading.space, _entries_of(self._manifest))
        units = iter_units(entries, expand_shards=self._order.expand_shards)
        segments = iter_segments(units, self._order, first=start.segment)
        is_shuffled = self._order.shuffle is not None
        prepared = Prefetcher(
            (_preparation(reading, batch) for batch in _batches(segments)),
            concurrency=min(self._concurrency, 2 if is_shuffled else _PREPARED_AT_ONCE),
            budget=_PREPARED_BYTES,
            lookahead=2 if is_shuffled else _PREPARED_AHEAD,
        )
        left = None if self._limit is None else self._limit - start.delivered
        if reading.on_error == "skip":
            # What is left out does not count, so that nobody knows how many are needed.
            left = None
        return Prefetcher(
            _tasks(reading, prepared, start, left),
            concurrency=self._concurrency,
            budget=self._prefetch_bytes,
            lookahead=max(_LOOKAHEAD, 2 * self._concurrency),
            ordered=self._ordered,
            on_close=prepared.cancel,
        )


def _entries_of(manifest: ManifestRef) -> ManifestRef:
    if isinstance(manifest, str) and is_shard_key(manifest):
        return [shard_entry_of(manifest)]
    return manifest


def _batches(segments: Iterable[Segment]) -> Iterator[list[Segment]]:
    """Gather segments of objects alone; each segment with archives is a batch of its own."""
    batch: list[Segment] = []
    for segment in segments:
        batch.append(segment)
        if len(batch) == _PASSED or any(unit.archive_key is not None for unit in segment.units):
            yield batch
            batch = []
    if batch:
        yield batch


def _preparation(reading: Reading, batch: list[Segment]) -> Task[list[Prepared]]:
    def run(lane: Lane[list[Prepared]]) -> None:
        prepared = [prepare(reading, segment) for segment in batch]
        lane.put(prepared, sum(each.weight for each in prepared))

    return Task(run, sum(expected_weight(segment) for segment in batch))


def _tasks(
    reading: Reading, batches: Prefetcher[list[Prepared]], start: Position, limit: int | None
) -> Iterator[Task[Delivery]]:
    planned = 0
    with batches:
        for batch in batches:
            for prepared in batch:
                left = None if limit is None else limit - planned
                if left is not None and left <= 0:
                    return
                for task, count in iter_tasks(reading, prepared, start, limit=left):
                    yield task
                    planned += count
                    if limit is not None and planned >= limit:
                        return
