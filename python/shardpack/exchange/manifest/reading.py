"""Reading manifests with all that they refer to: in order, ahead of time, in bounded memory."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, cast

from shardpack.errors import InvalidManifestError, ManifestNotFoundError
from shardpack.exchange.keys import is_manifest_key
from shardpack.exchange.manifest.lines import Block, check_entry, iter_blocks
from shardpack.exchange.manifest.stream import Head, ManifestStream, fetch_head

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

    from shardpack.exchange.keys import Space
    from shardpack.exchange.types import ManifestEntry, ManifestRef, ManifestRefEntry

__all__ = ["LISTED", "ManifestWalk", "iter_entries"]

#: The ``layout`` of a reference to all manifests below a prefix.
LISTED: Final = "listed"

_MOST_DEPTH: Final = 10_000
#: Manifests with references that are met again, each time with all below them: a few of them make
#: a tower that nobody can finish reading.
_MOST_REPEATS: Final = 10_000
_BLOCK_ENTRIES: Final = 1000
#: Manifests fetched ahead, in all levels together, for each one that is fetched at once.
_HELD_PER_REQUEST: Final = 4


def iter_entries(
    space: Space,
    manifest: ManifestRef,
    *,
    resolve_refs: bool = True,
    limit: int | None = None,
    concurrency: int | None = None,
) -> Iterator[ManifestEntry]:
    """Iterate over the entries of a manifest.

    References are followed in the order of the lines, depth first, and fetched ahead. A manifest
    that is referred to twice is read twice, as its entries stand there twice; one that refers to
    itself, however far around, is an error. A manifest that goes away while it is being read,
    because another program tidied up, has the root read again where no entry was given yet.

    Args:
        space: Where the manifests lie.
        manifest: The key of one, or entries.
        resolve_refs: Give the entries of manifests that are referred to in place of the refs.
        limit: Most entries; all when ``None``.
        concurrency: How many manifests are fetched at once; the store's default when ``None``.

    Raises:
        ManifestNotFoundError: The manifest, or one it refers to, is not there.
        InvalidManifestError: A line is no entry, or manifests refer to each other in a circle.
        AccessDeniedError: The store does not let one be read.
        StorageUnavailableError: The store failed however often it was asked.
    """
    if limit is not None and limit < 0:
        raise ValueError(f"limit must not be negative, got {limit}")
    walk = ManifestWalk(space, manifest, resolve_refs=resolve_refs, concurrency=concurrency)
    batches: Iterator[Iterable[ManifestEntry]] = _entries_of(walk)
    if limit is not None:
        batches = iter([islice(chain.from_iterable(batches), limit)])
    entries = cast("EntryIterator", EntryIterator.from_iterable(batches))
    entries.source = repr(manifest) if isinstance(manifest, str) else "entries"
    return entries


class EntryIterator(chain["ManifestEntry"]):
    """An iterator over entries that shows what it iterates over; it costs what ``chain`` does.

    Attributes:
        source: That, as text.
    """

    source: str

    def __repr__(self) -> str:
        return f"<EntryIterator over {self.source}>"


def _entries_of(walk: ManifestWalk) -> Iterator[list[ManifestEntry]]:
    """Give the entries of each block, and hold none while the next one is read.

    Their memory then serves the next entries while it is still in the cache of the processor, and
    so few live at a time that the garbage collector is not called. All that hands blocks on lets go
    of them for this.
    """
    for block in walk:
        entries = block.entries
        del block
        yield entries
        del entries


class ManifestWalk:
    """The entries of a manifest, and of those it refers to, by blocks.

    Args:
        space: Where the manifests lie.
        manifest: The key of one, or entries.
        resolve_refs: Give the entries of manifests that are referred to in place of the refs.
        concurrency: How many manifests are fetched at once; the store's default when ``None``.

    Attributes:
        resolved_refs: How many references were followed so far.
    """

    def __init__(
        self,
        space: Space,
        manifest: ManifestRef,
        *,
        resolve_refs: bool = True,
        concurrency: int | None = None,
    ) -> None:
        if concurrency is not None and concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, got {concurrency}")
        self._space = space
        self._manifest = manifest
        self._resolve_refs = resolve_refs
        self._concurrency = concurrency or space.objects.concurrency
        self.resolved_refs = 0

    def __iter__(self) -> Iterator[Block]:
        """Iterate from the beginning."""
        started = False
        again = isinstance(self._manifest, str)
        while True:
            try:
                for block in self._once():
                    started = True
                    yield block
                    del block
            except ManifestNotFoundError as error:
                if started or not again or error.key == self._manifest:
                    raise
                # The root may have been folded or compacted since it was read.
                again = False
                continue
            return

    def _once(self) -> Iterator[Block]:
        self.resolved_refs = 0
        stack = [self._root()]
        names = {stack[0].name}
        with_refs: set[str] = set()
        repeats = 0
        with _Ahead(self._space, self._concurrency) as ahead:
            while stack:
                try:
                    block = stack[-1].next_block(ahead, resolve_refs=self._resolve_refs)
                except ManifestNotFoundError as error:
                    error.referred_by = stack[-2].name or None if len(stack) > 1 else None
                    raise
                if block is not None:
                    yield block
                    del block
                elif stack[-1].at_ref:
                    name = stack[-1].name
                    repeats += stack[-1].is_first_ref and name in with_refs
                    with_refs.add(name)
                    if repeats > _MOST_REPEATS:
                        raise InvalidManifestError(
                            "manifests repeat each other too often", key=name
                        )
                    child = self._child(stack, names, ahead)
                    stack.append(child)
                    names.add(child.name)
                else:
                    names.discard(stack.pop().name)

    def _root(self) -> _Frame:
        if not isinstance(self._manifest, str):
            return _Frame("", _entry_blocks(self._manifest))
        stream = ManifestStream(self._space, self._manifest, is_root=True)
        return self._frame(self._space.full(self._manifest), self._manifest, stream)

    def _frame(self, name: str, key: str, stream: ManifestStream) -> _Frame:
        return _Frame(name, _stream_blocks(stream, key), stream)

    def _child(self, stack: list[_Frame], names: set[str], ahead: _Ahead) -> _Frame:
        parent = stack[-1]
        try:
            ref, head = parent.take_ref(ahead)
        except ManifestNotFoundError as error:
            error.referred_by = parent.name or None
            raise
        self.resolved_refs += 1
        if ref.get("layout") == LISTED:
            prefix = self._space.full_prefix(ref["key"].rstrip("/") + "/")
            return _Frame(prefix, _entry_blocks(self._listed(prefix)))
        full = self._space.full(ref["key"])
        if full in names:
            chain = [frame.name for frame in stack]
            circle = " -> ".join([*chain[chain.index(full) :][-8:], full])
            raise InvalidManifestError(
                f"manifests refer to each other in a circle: {circle}", key=parent.name
            )
        if len(stack) >= _MOST_DEPTH:
            raise InvalidManifestError(f"references nested beyond {_MOST_DEPTH}", key=parent.name)
        stream = ManifestStream(self._space, ref["key"], head)
        return self._frame(full, ref["key"], stream)

    def _listed(self, prefix: str) -> Iterator[ManifestEntry]:
        for info in self._space.objects.list(prefix):
            if is_manifest_key(info.key):
                yield {"kind": "manifest_ref", "key": info.key}


def _stream_blocks(stream: ManifestStream, key: str) -> Iterator[Block]:
    try:
        yield from iter_blocks(stream, key=key)
    finally:
        stream.close()


def _entry_blocks(entries: Iterable[ManifestEntry]) -> Iterator[Block]:
    source = iter(entries)
    number = 1
    while batch := list(islice(source, _BLOCK_ENTRIES)):
        for at, entry in enumerate(batch, number):
            check_entry(entry, at)
        refs = [at for at, entry in enumerate(batch) if entry["kind"] == "manifest_ref"]
        yield Block(batch, refs)
        number += len(batch)


class _Frame:
    """A manifest that is being read, and where in its current block the reader stands."""

    def __init__(
        self, name: str, blocks: Iterator[Block], stream: ManifestStream | None = None
    ) -> None:
        self.name = name
        self.at_ref = False
        self.is_first_ref = False
        self._blocks = blocks
        self._stream = stream
        self._block: Block | None = None
        self._position = 0
        self._refs: list[int] = []
        self._next_ref = 0
        self._refs_met = 0
        self._fetched: dict[int, Future[Head]] = {}

    def next_block(self, ahead: _Ahead, *, resolve_refs: bool) -> Block | None:
        """Give entries up to the next reference; none at a reference, and at the end."""
        self.at_ref = False
        if self._block is None:
            block = next(self._blocks, None)
            if block is None or not (resolve_refs and block.refs):
                return block
            self._block, self._position, self._refs, self._next_ref = block, 0, block.refs, 0
        self._fetch_ahead(ahead)
        start = self._position
        if self._next_ref < len(self._refs):
            self._position = self._refs[self._next_ref]
            if start == self._position:
                self.at_ref = True
                self.is_first_ref = not self._refs_met
                return None
        else:
            self._position = len(self._block.entries)
        block = self._block.part(start, self._position)
        if self._next_ref == len(self._refs):
            self._block = None
            return block if block.entries else self.next_block(ahead, resolve_refs=resolve_refs)
        return block

    def take_ref(self, ahead: _Ahead) -> tuple[ManifestRefEntry, Head | None]:
        """Give the reference at which the reader stands, and what was fetched of its manifest."""
        at = self._position
        ref = cast("ManifestRefEntry", cast("Block", self._block).entries[at])
        self._next_ref += 1
        self._refs_met += 1
        self._position += 1
        if self._stream is not None:
            self._stream.pause()
        future = self._fetched.pop(at, None)
        return ref, None if future is None else ahead.take(future)

    def _fetch_ahead(self, ahead: _Ahead) -> None:
        left = self._refs[self._next_ref : self._next_ref + ahead.width]
        if len(left) < 2 and not self._fetched:  # noqa: PLR2004 - one alone has nothing to overlap
            return
        entries = cast("Block", self._block).entries
        for at in left:
            if at not in self._fetched:
                ref = cast("ManifestRefEntry", entries[at])
                if ref.get("layout") == LISTED:
                    continue
                if ahead.is_full():
                    return
                self._fetched[at] = ahead.begin(ref["key"])


class _Ahead:
    """Manifests that are fetched before their turn, by threads that live for one walk."""

    def __init__(self, space: Space, width: int) -> None:
        self.width = width
        self._space = space
        self._held = 0
        self._pool: ThreadPoolExecutor | None = None

    def is_full(self) -> bool:
        return self._held >= self.width * _HELD_PER_REQUEST

    def begin(self, key: str) -> Future[Head]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.width, thread_name_prefix="shardpack-manifest")
        self._held += 1
        return self._pool.submit(fetch_head, self._space, key)

    def take(self, future: Future[Head]) -> Head:
        self._held -= 1
        return future.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
