"""Runs of members that are decoded and checked while they arrive, and passes by several threads."""

from __future__ import annotations

import gzip
import threading
from contextlib import closing
from itertools import repeat
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inputs import KIB, MIB
from reading import foreign_archive, fresh_space, members, noise, put_shard
from shardpack.archive import ArchiveIndex
from shardpack.errors import IntegrityError, ShardReadError
from shardpack.exchange.reading.pipeline import iter_objects
from shardpack.exchange.reading.prefetch import IterationClosedError, Prefetcher, Task
from shardpack.exchange.reading.read_ahead import ReadAhead
from shardpack.exchange.reading.run_pieces import RunPieces
from shardpack.exchange.shard.index_cache import CACHE
from shardpack.exchange.shard.member_entries import MemberEntries
from shardpack.exchange.shard.member_runs import plan_runs
from shardpack.exchange.shard.source import ArchiveSource
from shardpack.storage.body import BytesBody

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shardpack.exchange.keys import Space
    from shardpack.exchange.reading.prefetch import Lane
    from shardpack.storage.base import ObjectInfo

COMPRESSIONS = [None, "gzip", "zstd", "s4"]
# Around the chunk of 64 KiB that the shards here have, and around the pieces.
SIZES = [0, 1, 511, 512, 20_000, 64 * KIB, 64 * KIB + 1, 300_000, 0, 700_000, 3, 0]


@pytest.fixture(autouse=True)
def no_indexes_in_memory() -> None:
    CACHE.clear()


def of_sizes(sizes: list[int]) -> dict[str, bytes]:
    return {f"m/{at:04d}": noise(f"{at}", size) for at, size in enumerate(sizes)}


def one_run(space: Space, key: str) -> tuple[ArchiveSource, Any, Any]:
    source = ArchiveSource(space, key)
    index = source.index()
    assert index is not None
    found = [member for member in index.members.values() if member.path.startswith("m/")]
    (run,) = plan_runs(index, found, limits=repeat(1 << 40))
    return source, index, run


def read_all(space: Space, entry: Any, **options: Any) -> list[tuple[str, bytes]]:
    found = iter_objects(space, [entry], **options)
    return [(each["member_path"], body.read()) for body, each in found]  # type: ignore[typeddict-item]


def prefetch_threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "shardpack-prefetch"]


def damaged(space: Space, key: str, place: int) -> None:
    """Turn a byte over for good, the index bound to what is there then."""
    data = bytearray(space.objects.read(key))
    data[place] ^= 1
    index = ArchiveIndex.from_bytes(space.objects.read(f"{key}.shardindex"))
    info = space.objects.put(key, bytes(data))
    space.objects.put(f"{key}.shardindex", index.bind(info.size, info.etag).to_bytes())


# --- pieces ---------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", COMPRESSIONS)
@given(sizes=st.lists(st.one_of(st.sampled_from(SIZES), st.integers(0, 400_000)), min_size=1))
@settings(max_examples=15, deadline=None)
def test_pieces_hold_all_members_of_their_run(compression: str | None, sizes: list[int]) -> None:
    sizes = [*sizes, 1]
    space, _ = fresh_space()
    files = of_sizes(sizes)
    put_shard(space, "a.tar", files, compression)
    source, index, run = one_run(space, "a.tar")
    pieces = RunPieces.of(index, run)
    assert pieces is not None
    found = list(pieces.read(source, verify=True))
    assert [data for piece in found for data in piece] == list(files.values())
    assert pieces.cost <= 3 * (256 * KIB + max(sizes) + 2 * 64 * KIB)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_run_of_many_pieces_is_one_request(compression: str | None) -> None:
    space, store = fresh_space()
    files = members(60, 50_000)
    put_shard(space, "a.tar", files, compression)
    source, index, run = one_run(space, "a.tar")
    store.forget()
    pieces = RunPieces.of(index, run)
    assert pieces is not None
    assert len(list(pieces.read(source, verify=True))) > 5
    assert len(store.reads) == 1


def test_what_is_wanted_in_another_order_is_no_run_of_pieces() -> None:
    space, _ = fresh_space()
    put_shard(space, "a.tar", members(40, 50_000))
    _, index, run = one_run(space, "a.tar")
    backwards = list(reversed(run.members))
    apart = [run.members[0], run.members[-1]]
    for wanted in (backwards, apart):
        (other,) = plan_runs(index, wanted, limits=repeat(1 << 40))
        assert RunPieces.of(index, other) is None


def test_chunks_of_several_gzip_members_are_read_too() -> None:
    # Members of gzip that are shorter than a chunk share one; the decoder of one takes the first.
    tar = foreign_archive(members(120, 20_000))
    stored = b"".join(gzip.compress(tar[at : at + 10_000], 1) for at in range(0, len(tar), 10_000))
    space, store = fresh_space()
    store.put("a.tar.gz", stored)
    index = ArchiveSource(space, "a.tar.gz").build_index()
    assert index.seekable
    CACHE.clear()
    entry: Any = {"kind": "shard", "archive_key": "a.tar.gz", "format": "tar"}
    assert read_all(space, entry) == list(members(120, 20_000).items())


# --- damage ---------------------------------------------------------------------------------


def turned_over(space: Space, files: Mapping[str, bytes], path: str) -> tuple[Any, int]:
    entry = put_shard(space, "a.tar", files)
    return entry, place_of(space, path)


def place_of(space: Space, path: str) -> int:
    """A stored byte in the middle of a member."""
    index = ArchiveSource(space, "a.tar").index()
    assert index is not None
    member = index.member(path)
    assert member is not None
    start, end = index.stored_range(member.offset, member.offset + member.size)
    CACHE.clear()
    return (start + end) // 2


def test_a_byte_turned_over_on_its_way_is_read_again_from_there_on() -> None:
    space, store = fresh_space()
    files = members(100, 50_000)
    entry, place = turned_over(space, files, "m/00090.bin")
    size = store.head("a.tar").size
    store.flips.append(("a.tar", place, 1))
    store.forget()
    assert read_all(space, entry) == list(files.items())
    assert store.flips == [("a.tar", place, 0)], "the byte was turned over on its way"
    # What came before it came once.
    assert store.bytes_read < size + MIB


def test_rot_in_the_middle_of_a_run_is_told_at_its_member() -> None:
    space, _ = fresh_space()
    files = members(100, 50_000)
    entry, place = turned_over(space, files, "m/00070.bin")
    damaged(space, "a.tar", place)
    # The archive is not the one of its entry any more; that is what else would be told.
    for name in ("meta", "blake3"):
        entry.pop(name, None)
    found = iter_objects(space, [entry])
    given: list[Any] = []
    with pytest.raises((ShardReadError, IntegrityError)):
        given.extend((each["member_path"], body.read()) for body, each in found)  # type: ignore[typeddict-item]
    # The members that share its chunk are lost with it.
    assert given == list(files.items())[: len(given)]
    assert 68 <= len(given) <= 70

    lost = set(files) - {path for path, _ in read_all(space, entry, on_error="skip")}
    assert "m/00070.bin" in lost
    assert lost <= set(list(files)[len(given) : len(given) + 3])


def test_what_is_left_of_a_run_is_one_run_whatever_lies_between_its_members() -> None:
    # Members without bytes far behind one that is damaged: more between them than in them.
    space, _ = fresh_space()
    files = {"m/first": noise("first", 2000)}
    for at in range(20):
        files |= {f"between/{at}": noise(f"{at}", 100_000), f"m/{at}": b""}
    wanted = [path for path in files if path.startswith("m/")]
    put_shard(space, "a.tar", files, None)
    damaged(space, "a.tar", place_of(space, "m/first"))
    entries: list[Any] = [{"kind": "file", "key": f"a.tar#{path}"} for path in wanted]
    with pytest.raises(IntegrityError) as told:
        list(iter_objects(space, entries))
    assert told.value.member == "m/first"
    found = iter_objects(space, entries, on_error="skip")
    assert [entry["key"] for _, entry in found] == [f"a.tar#{path}" for path in wanted[1:]]  # type: ignore[typeddict-item]


def test_an_entry_of_another_member_is_refused_in_its_place() -> None:
    space, _ = fresh_space()
    files = members(60, 50_000)
    put_shard(space, "a.tar", files)
    entries: list[Any] = [
        {"kind": "file", "key": f"a.tar#{path}", "size_bytes": len(data)}
        for path, data in files.items()
    ]
    entries[41]["blake3"] = "00" * 32
    found = iter_objects(space, entries)
    for path in list(files)[:41]:
        body, _ = next(found)
        assert body.read() == files[path]
    with pytest.raises(IntegrityError) as told:
        next(found)
    assert (told.value.member, told.value.algorithm) == ("m/00041.bin", "blake3")


# --- a pass by several threads --------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
def test_a_pass_of_several_threads_leaves_none_behind(*, compressed: bool) -> None:
    space, store = fresh_space()
    # More than all threads hold together, so that none of them is done before the end.
    files = members(800, 20_000)
    stored = foreign_archive(files)
    store.put("a.tar", gzip.compress(stored, 1) if compressed else stored)
    entry: Any = {"kind": "shard", "archive_key": "a.tar", "format": "tar"}
    assert read_all(space, entry, prefetch_bytes=1) == list(files.items())
    assert not prefetch_threads()
    with iter_objects(space, [entry], prefetch_bytes=1) as found:
        next(found)
        # One takes apart what one has received, and perhaps another one decoded.
        assert len(prefetch_threads()) >= 2 + compressed
    assert not prefetch_threads()


def test_an_archive_that_is_cut_short_ends_a_pass_and_its_threads() -> None:
    space, store = fresh_space()
    files = members(300, 20_000)
    stored = foreign_archive(files, "w:gz")
    store.put("a.tar", stored[: len(stored) * 2 // 3])
    entry: Any = {"kind": "shard", "archive_key": "a.tar", "format": "tar"}
    given: list[Any] = []
    with pytest.raises(ShardReadError, match=r"incomplete|too early"):
        given.extend(
            (each["member_path"], body.read())  # type: ignore[typeddict-item]
            for body, each in iter_objects(space, [entry])
        )
    assert 150 < len(given) < 250
    assert given == list(files.items())[: len(given)]
    assert not prefetch_threads()


class Watched:
    """Something that reads ahead, for what it is told when."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def __call__(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        self.told.append("reads")
        return pieces

    def close(self) -> None:
        self.told.append("ended")


class ToldBody(BytesBody):
    """A body that tells when it is closed."""

    def __init__(self, data: bytes, info: ObjectInfo, told: list[str]) -> None:
        super().__init__(data, info)
        self.told = told

    def _release(self) -> None:
        self.told.append("closed")


@pytest.mark.parametrize("end", ["whole", "damaged", "closed"])
def test_threads_of_a_pass_end_before_what_they_read_is_closed(
    monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    space, store = fresh_space()
    stored = bytearray(foreign_archive(members(30, 1000)))
    if end == "damaged":
        stored[20 * 1536] ^= 1
    info = store.put("a.tar", bytes(stored))
    told: list[str] = []
    monkeypatch.setattr(store, "get", lambda _: ToldBody(bytes(stored), info, told))
    with closing(ArchiveSource(space, "a.tar").stream(ahead=Watched(told))) as found:
        if end == "closed":
            next(found)
        elif end == "damaged":
            with pytest.raises(ShardReadError, match="no tar header"):
                list(found)
        else:
            list(found)
    assert told == ["reads", "ended", "closed"]


def test_a_pass_that_is_closed_does_not_look_like_one_that_ended() -> None:
    begun = threading.Event()
    outcome: list[BaseException | None] = []

    def run(lane: Lane[None]) -> None:
        with closing(ReadAhead(lane)) as ahead:
            pieces = ahead(ahead(repeat(bytes(1000))))
            try:
                for _ in pieces:
                    begun.set()
                outcome.append(None)
            except BaseException as error:
                outcome.append(error)
                raise

    running = Prefetcher([Task(run)], concurrency=1)
    consumer = threading.Thread(target=lambda: list(running))
    consumer.start()
    assert begun.wait(30)
    running.cancel()
    consumer.join(30)
    running.close()
    (error,) = outcome
    assert isinstance(error, IterationClosedError)
    assert not prefetch_threads()


# --- the manifest inside --------------------------------------------------------------------


def lines(count: int) -> list[bytes]:
    return [
        b'{"kind":"file","key":"old#m/%04d","member_path":"m/%04d","id":"i%d"}' % (at, at, at)
        for at in range(count)
    ]


def ids(text: bytes, wanted: list[int]) -> list[Any]:
    entries = MemberEntries("k", text, "manifest")
    return [entries.take(f"m/{at:04d}", 1).get("id") for at in wanted]


def test_entries_are_those_of_their_members_in_any_order() -> None:
    text = b"\n".join(lines(2000))
    for wanted in (
        list(range(2000)),
        list(range(1999, -1, -1)),
        [*range(1500), 1700, *range(1500, 1700)],
    ):
        assert ids(text, wanted) == [f"i{at}" for at in wanted]


@pytest.mark.parametrize("gap", [b"\n\n", b"\n  \n\n\t\n", b"\n" * 100_000])
def test_blank_lines_between_entries_are_nothing(gap: bytes) -> None:
    first, second, *rest = lines(5)
    assert ids(gap.join([first, second]) + gap + b"\n".join(rest) + gap, list(range(5))) == [
        f"i{at}" for at in range(5)
    ]


def test_lines_without_keys_may_follow_others() -> None:
    old = [
        b'{"kind":"file","member_path":"m/%04d","id":"i%d"}' % (at, at) for at in range(1000, 1010)
    ]
    text = b"\n".join([*lines(1000), *old])
    assert ids(text, list(range(1010))) == [f"i{at}" for at in range(1010)]


@pytest.mark.parametrize(
    "bad", [b"{", b"[]", b'{"kind":"shard","archive_key":"s"}', b'{"kind":"file"}']
)
def test_a_bad_line_is_told_where_its_member_is_asked_for(bad: bytes) -> None:
    entries = MemberEntries("k", b"\n".join([*lines(700), bad, *lines(3)]), "manifest")
    assert [entries.take(f"m/{at:04d}", 1).get("id") for at in range(700)] == [
        f"i{at}" for at in range(700)
    ]
    for _ in range(2):
        with pytest.raises(ShardReadError, match="damaged internal manifest"):
            entries.take("m/0700", 1)


def test_a_name_on_two_lines_is_no_name() -> None:
    # Each is half of an object, and both together would be one.
    text = b'{"kind":"file","key":"k#m/0000","member_path":"m\n/0000"}\n' + lines(2)[1]
    with pytest.raises(ShardReadError, match="damaged internal manifest"):
        MemberEntries("k", text, "manifest").take("m/0000", 1)
