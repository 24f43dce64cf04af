"""Shards that several readers share: each reads its part, and together they have all of it once."""

from __future__ import annotations

import bz2
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reading import CountingStore, fresh_space, members, noise, put_shard
from shardpack.errors import IntegrityError, ObjectNotFoundError, ShardReadError
from shardpack.exchange.reading.pipeline import iter_objects
from shardpack.exchange.reading.sampling import Order, Position, iter_segments, iter_units
from shardpack.exchange.shard.index_cache import CACHE
from shardpack.exchange.shard.source import LARGE_BYTES, ArchiveSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardpack.exchange.keys import Space

COMPRESSIONS = (None, "gzip", "zstd", "s4")


def shards(
    *counts: int, size: int = 3000, compression: str | None = None, index: bool = True
) -> tuple[Space, CountingStore, list[Any], list[str]]:
    """Shards with so many members, and the keys of these."""
    space, store = fresh_space()
    entries = []
    keys = []
    for number, count in enumerate(counts):
        files = members(count, size, f"s{number}")
        key = f"s/{number}.tar"
        entries.append(put_shard(space, key, files, compression, index=index, chunk_size=4096))
        keys += [f"{key}#{path}" for path in files]
    return space, store, entries, keys


def keys_of(found: Any) -> list[str]:
    return [entry["key"] for _, entry in found]


def shares_of(space: Space, entries: list[Any], readers: int, **options: Any) -> list[list[str]]:
    return [
        keys_of(iter_objects(space, entries, rank=rank, world_size=readers, **options))
        for rank in range(readers)
    ]


# --- shares -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    counts=st.lists(st.integers(0, 40), max_size=5),
    readers=st.integers(1, 9),
    seed=st.one_of(st.none(), st.integers(0, 3)),
    compression=st.sampled_from(COMPRESSIONS),
    objects=st.integers(0, 3),
)
def test_readers_together_have_everything_once(
    counts: list[int], readers: int, seed: int | None, compression: str | None, objects: int
) -> None:
    space, store, entries, keys = shards(*counts, size=500, compression=compression)
    for number in range(objects):
        store.put(f"o/{number}", b"object")
        entries.insert(2 * number, {"kind": "file", "key": f"o/{number}"})
        keys.append(f"o/{number}")
    shares = shares_of(space, entries, readers, shuffle=seed)
    assert sorted(itertools.chain(*shares)) == sorted(keys)
    assert shares_of(space, entries, readers, shuffle=seed, concurrency=1) == shares


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("seed", [None, 3])
def test_fewer_shards_than_readers_leave_nobody_idle(
    compression: str | None, seed: int | None
) -> None:
    space, _, entries, keys = shards(100, 80, 60, compression=compression)
    shares = shares_of(space, entries, 8, shuffle=seed)
    # Members differ by some bytes, and the parts of each shard by one member.
    assert all(27 <= len(share) <= 33 for share in shares)
    assert sorted(itertools.chain(*shares)) == sorted(keys)
    if seed is None:
        # Each part is a run of neighbours.
        assert all(share == sorted(share) for share in shares)


def test_bodies_are_those_of_their_entries() -> None:
    files = members(50, 3000) | {"large": noise("large", LARGE_BYTES + 100)} | members(50, 10, "z")
    space, _ = fresh_space()
    entry = put_shard(space, "a.tar", files)
    found = {}
    for rank in range(3):
        for body, each in iter_objects(space, [entry], rank=rank, world_size=3):
            found[each["member_path"]] = body.read()  # type: ignore[typeddict-item]
            assert each["id"] == f"id-{each['member_path']}"  # type: ignore[typeddict-item]
    assert found == files


def test_full_rounds_are_not_shared() -> None:
    space, _, entries, _ = shards(*[30] * 9)
    shares = shares_of(space, entries, 4)
    for rank, share in enumerate(shares):
        archives: dict[str, int] = {}
        for key in share:
            archive = key.partition("#")[0]
            archives[archive] = archives.get(archive, 0) + 1
        assert {archive: count for archive, count in archives.items() if count == 30} == {
            f"s/{rank}.tar": 30,
            f"s/{rank + 4}.tar": 30,
        }
        assert archives["s/8.tar"] in (7, 8)


def test_a_reader_reads_the_ranges_of_its_part_alone() -> None:
    space, store, entries, _ = shards(400, size=20_000)
    entry = entries[0]
    index_size = store.head(entry["index_key"]).size
    index = ArchiveSource(space, entry["archive_key"]).index()
    assert index is not None
    inside = index.members["__manifest__.jsonl"].size
    ranges = []
    for rank in range(4):
        store.forget()
        assert len(list(iter_objects(space, entries, rank=rank, world_size=4))) == 100
        assert store.bytes_read - index_size - inside <= entry["size_bytes"] / 4 * 1.02
        own = [(start, end) for key, start, end in store.reads if key == entry["archive_key"]]
        ranges += [(start, end) for start, end in own if start and start > 1 << 20]
    assert all(low[1] <= high[0] for low, high in itertools.pairwise(sorted(ranges)))  # type: ignore[operator]


def test_objects_and_shards_that_cannot_be_shared_go_to_one_reader() -> None:
    space, store, entries, keys = shards(3, 40, 40)
    for entry in entries[1:]:
        store.delete(entry["index_key"])
    del entries[1]["count"]
    del entries[2]["index_key"]
    store.put("o", b"object")
    entries.append({"kind": "file", "key": "o"})
    assert [sorted(share) for share in shares_of(space, entries, 5)] == [
        sorted(keys[:3]),
        sorted(keys[3:43]),
        sorted(keys[43:]),
        ["o"],
        [],
    ]
    for rank in range(5):
        found = iter_objects(space, entries[:3], rank=rank, world_size=5, expand_shards=False)
        assert [entry for _, entry in found] == entries[rank : min(rank + 1, 3)]


@settings(deadline=None, max_examples=25)
@given(
    seed=st.one_of(st.none(), st.integers(0, 2)),
    rank=st.integers(0, 4),
    stops=st.lists(st.integers(0, 20), max_size=4),
)
def test_what_comes_after_a_stop_is_the_rest_of_the_share(
    seed: int | None, rank: int, stops: list[int]
) -> None:
    space, _, entries, _ = shards(60, 45, 13, compression="zstd")
    order: Any = {"shuffle": seed, "rank": rank, "world_size": 5}
    whole = keys_of(iter_objects(space, entries, **order))
    found: list[str] = []
    state: dict[str, Any] | None = None
    for count in [*stops, None]:
        with iter_objects(space, entries, **order) as part:
            if state is not None:
                part.load_state_dict(json.loads(json.dumps(state)))
            found += keys_of(itertools.islice(part, count))
            state = part.state_dict()
    assert found == whole


@pytest.mark.parametrize("limit", [0, 1, 7, 12, 13, 40])
def test_a_limit_counts_what_a_reader_is_given(limit: int) -> None:
    space, _, entries, _ = shards(30, 22)
    for rank in range(4):
        whole = keys_of(iter_objects(space, entries, rank=rank, world_size=4))
        found = iter_objects(space, entries, rank=rank, world_size=4, limit=limit)
        assert keys_of(found) == whole[:limit]


# --- positions ----------------------------------------------------------------------------------


def test_positions_of_older_versions_are_refused_where_shares_differ() -> None:
    several = Order(rank=1, world_size=3)
    old = several.to_state(Position(1, 0, 5, 9)) | {"format": "shardpack-position/1"}
    with pytest.raises(ValueError, match="older version, whose 3 readers had other shares"):
        several.from_state(old)
    alone = Order()
    old = alone.to_state(Position(1, 0, 5, 9)) | {"format": "shardpack-position/1"}
    assert alone.from_state(old) == Position(1, 0, 5, 9)


def test_segments_can_be_begun_in_the_last_round() -> None:
    entries: Any = [
        {"kind": "shard", "archive_key": f"{i}.tar", "index_key": f"{i}.x", "count": 100}
        for i in range(11)
    ]
    for seed in (None, 2):
        order = Order(shuffle=seed, rank=3, world_size=4)
        units = list(iter_units(entries, expand_shards=True))
        segments = list(iter_segments(units, order))
        assert list(iter_segments(units, order, first=1)) == segments[1:]
        given_out = [unit for segment in segments for unit in segment.units]
        assert [unit.share is None for unit in given_out] == [True] * 2 + [False] * 3


# --- indexes that are of no use -----------------------------------------------------------------


@pytest.mark.parametrize("seed", [None, 1])
def test_a_shard_whose_index_is_gone_goes_to_one_reader(seed: int | None) -> None:
    space, store, entries, keys = shards(40, 30, compression="gzip")
    store.delete(entries[0]["index_key"])
    shares = shares_of(space, entries, 4, shuffle=seed)
    assert sorted(itertools.chain(*shares)) == sorted(keys)
    whole = [share for share in shares if any(key.startswith("s/0.tar#") for key in share)]
    assert len(whole) == 1
    assert all(any(key.startswith("s/1.tar#") for key in share) for share in shares)


def stale(space: Space, entry: Any) -> None:
    other, _, entries, _ = shards(50)
    space.objects.put(entry["index_key"], other.objects.read(entries[0]["index_key"]))


def copied_without_proof(space: Space, entry: Any) -> None:
    space.objects.put(entry["archive_key"], space.objects.read(entry["archive_key"]))
    del entry["blake3"], entry["meta"]


def not_seekable(space: Space, entry: Any) -> None:
    stored = bz2.compress(space.objects.read(entry["archive_key"]))
    space.objects.put(entry["archive_key"], stored)
    for name in ("blake3", "meta", "size_bytes", "compression"):
        del entry[name]
    ArchiveSource(space, entry["archive_key"]).build_index()


@pytest.mark.parametrize("change", [stale, copied_without_proof, not_seekable])
def test_a_shard_whose_index_does_not_fit_goes_to_one_reader(
    change: Callable[[Space, Any], None],
) -> None:
    space, _, entries, keys = shards(40, 30)
    change(space, entries[0])
    CACHE.clear()
    shares = shares_of(space, entries, 4)
    assert sorted(itertools.chain(*shares)) == sorted(keys)
    assert [sum(key.startswith("s/0.tar#") for key in share) for share in shares] == [40, 0, 0, 0]
    assert all(any(key.startswith("s/1.tar#") for key in share) for share in shares)


def test_an_archive_without_a_manifest_is_shared_by_its_index() -> None:
    space, _, entries, keys = shards(80)
    shares = [keys_of(iter_objects(space, "s/0.tar", rank=rank, world_size=4)) for rank in range(4)]
    assert list(itertools.chain(*shares)) == keys
    assert all(19 <= len(share) <= 21 for share in shares)
    space.objects.delete(entries[0]["index_key"])
    CACHE.clear()
    shares = [keys_of(iter_objects(space, "s/0.tar", rank=rank, world_size=4)) for rank in range(4)]
    assert shares == [keys, [], [], []]


def test_a_damaged_index_is_told_by_all_readers() -> None:
    space, store, entries, _ = shards(40)
    (first,) = entries
    store.put(first["index_key"], b"damaged")
    for rank in range(4):
        with pytest.raises(ShardReadError, match="share the shard by its index") as caught:
            list(iter_objects(space, [first], rank=rank, world_size=4))
        assert caught.value.key == first["archive_key"]
        found = iter_objects(space, [first], rank=rank, world_size=4, on_error="skip")
        assert list(found) == []
        assert len(found.failures) == 1
    # Nobody shares with a reader that is alone.
    assert len(list(iter_objects(space, [first]))) == 40


@pytest.mark.parametrize("unlucky", [0, 2])
def test_an_index_that_one_reader_gets_damaged_once_is_read_again(unlucky: int) -> None:
    # Without it that reader would take all of the shard, or nothing, and the others their parts.
    space, store, entries, keys = shards(40)
    shares = []
    for rank in range(4):
        if rank == unlucky:
            store.flips.append((entries[0]["index_key"], 40, 1))
        shares.append(keys_of(iter_objects(space, entries, rank=rank, world_size=4)))
    assert store.flips == [(entries[0]["index_key"], 40, 0)], "the byte was turned over"
    assert list(itertools.chain(*shares)) == keys


@pytest.mark.parametrize("unlucky", [0, 2])
def test_an_index_that_one_reader_gets_damaged_twice_is_told_by_it(unlucky: int) -> None:
    space, store, entries, _ = shards(40)
    store.flips.append((entries[0]["index_key"], 40, 2))
    with pytest.raises(ShardReadError, match="share the shard by its index"):
        list(iter_objects(space, entries, rank=unlucky, world_size=4))


def test_a_shard_that_is_gone_is_told_by_all_readers() -> None:
    space, store, entries, _ = shards(40)
    store.delete("s/0.tar")
    for rank in range(3):
        with pytest.raises(ObjectNotFoundError):
            list(iter_objects(space, entries, rank=rank, world_size=3))


def test_a_shard_that_is_another_one_is_told_by_its_reader() -> None:
    space, store, entries, _ = shards(40)
    entries[0]["blake3"] = "00" * 32
    with pytest.raises(IntegrityError):
        list(iter_objects(space, entries, rank=0, world_size=3))
    store.put("s/0.tar", store.read("s/0.tar"))
    with pytest.raises(IntegrityError):
        list(iter_objects(space, entries, rank=0, world_size=3))
    assert shares_of(space, entries, 3, on_error="skip")[1:] == [[], []]


def test_a_damaged_member_is_told_by_the_reader_that_has_it() -> None:
    space, store, entries, keys = shards(40)
    index = ArchiveSource(space, "s/0.tar").index()
    assert index is not None
    member = index.members[keys[25].partition("#")[2]]
    store.flips.append(("s/0.tar", member.offset + 5, 100))
    for rank in range(4):
        found = iter_objects(space, entries, rank=rank, world_size=4, on_error="skip")
        got = keys_of(found)
        assert len(got) == (9 if rank == 2 else 10)
        assert [failure.member for failure in found.failures] == (
            [member.path] if rank == 2 else []
        )
