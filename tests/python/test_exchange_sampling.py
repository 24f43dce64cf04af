"""Random orders, shares of several readers, and positions that another process goes on from."""

from __future__ import annotations

import itertools
import json
import pickle
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inputs import REPOSITORY, run_python
from reading import fresh_space, members, put_shard
from shardpack.exchange.reading.pipeline import ObjectIterator, iter_objects
from shardpack.exchange.reading.sampling import Order, Position, iter_segments, iter_units

if TYPE_CHECKING:
    from shardpack.exchange.keys import Space

CHILD = """
import sys
sys.path.insert(0, "tests/python")
import json
import test_exchange_sampling as here
space, entries, _ = here.dataset()
found = here.iter_objects(space, entries, shuffle=9, concurrency=2)
for _ in range(37):
    next(found)
state = json.dumps(found.state_dict())
print(json.dumps([state, here.keys_of(found)]))
"""


@cache
def dataset() -> tuple[Space, list[Any], list[str]]:
    """Objects, shards with and without an index, and entries that stand for members."""
    space, store = fresh_space()
    entries: list[Any] = []
    keys: list[str] = []

    def add_object(number: int) -> None:
        store.put(f"o/{number}", b"o%d" % number)
        entries.append({"kind": "file", "key": f"o/{number}", "size_bytes": len(f"o{number}")})
        keys.append(f"o/{number}")

    def add_shard(number: int, count: int, compression: str | None, *, index: bool) -> None:
        key = f"s/{number}.tar"
        files = members(count, 3000, f"s{number}")
        shard = put_shard(space, key, files, compression, index=index, chunk_size=4096)
        entries.append(shard)
        keys.extend(f"{key}#{path}" for path in files)

    for number in range(12):
        add_object(number)
    add_shard(0, 23, "gzip", index=True)
    add_shard(1, 11, None, index=True)
    add_object(12)
    add_shard(2, 9, "zstd", index=False)
    add_shard(3, 0, "gzip", index=True)
    add_shard(4, 31, "s4", index=True)
    shard = put_shard(space, "flat.tar.gz", members(17, 500, "flat"))
    for path in list(members(17, 500, "flat"))[::2]:
        entries.append({"kind": "file", "key": f"{shard['archive_key']}#{path}"})
        keys.append(entries[-1]["key"])
    add_object(13)
    return space, entries, keys


def keys_of(found: Any) -> list[str]:
    return [entry["key"] for _, entry in found]


def read_keys(**options: Any) -> list[str]:
    space, entries, _ = dataset()
    return keys_of(iter_objects(space, entries, **options))


SEEDS = st.one_of(st.none(), st.integers(0, 3))


@settings(deadline=None)
@given(seed=SEEDS, world_size=st.integers(1, 9))
def test_readers_together_have_everything_once(seed: int | None, world_size: int) -> None:
    _, _, keys = dataset()
    shares = [
        read_keys(shuffle=seed, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    assert sorted(itertools.chain(*shares)) == sorted(keys)


@settings(deadline=None)
@given(
    seed=SEEDS,
    world_size=st.integers(1, 3),
    rank=st.integers(0, 2),
    stops=st.lists(st.integers(0, 40), max_size=4),
    concurrency=st.lists(st.integers(1, 6), min_size=5, max_size=5),
    prefetch_bytes=st.sampled_from([1, 10_000, 1 << 26]),
)
def test_what_comes_after_a_stop_is_the_rest_of_the_same_sequence(
    seed: int | None,
    world_size: int,
    rank: int,
    stops: list[int],
    concurrency: list[int],
    prefetch_bytes: int,
) -> None:
    space, entries, _ = dataset()
    order: Any = {"shuffle": seed, "rank": rank % world_size, "world_size": world_size}
    whole = keys_of(iter_objects(space, entries, **order))
    found: list[str] = []
    state: dict[str, Any] | None = None
    for count, threads in zip([*stops, None], concurrency, strict=False):
        part = iter_objects(
            space, entries, concurrency=threads, prefetch_bytes=prefetch_bytes, **order
        )
        with part:
            if state is not None:
                part.load_state_dict(json.loads(json.dumps(state)))
            found += keys_of(itertools.islice(part, count))
            state = part.state_dict()
    assert found == whole


def test_a_seed_gives_one_order_and_another_seed_another() -> None:
    _, _, keys = dataset()
    first = read_keys(shuffle=1)
    assert sorted(first) == sorted(keys)
    assert first != keys
    assert read_keys(shuffle=1, concurrency=1, prefetch_bytes=1) == first
    assert read_keys(shuffle=2) != first
    assert read_keys(shuffle=0) != keys


def test_a_shuffle_mixes_the_members_of_a_shard() -> None:
    space, _ = fresh_space()
    files = members(300, 1000)
    shards = [put_shard(space, f"{i}.tar.gz", files) for i in range(4)]
    found = keys_of(iter_objects(space, shards, shuffle=5))
    archives = [key.partition("#")[0] for key in found]
    # Runs of one archive would be one long run each without mixing.
    assert sum(a != b for a, b in itertools.pairwise(archives)) > 300
    paths = [key.partition("#")[2] for key in found if key.startswith("0.")]
    assert paths != sorted(paths)


def test_bodies_stay_with_their_entries_when_shuffled() -> None:
    space, _ = fresh_space()
    files = members(200, 1000)
    shards = [put_shard(space, f"{i}.tar.gz", files) for i in range(3)]
    for body, entry in iter_objects(space, shards, shuffle=1):
        assert body.read() == files[str(entry.get("member_path"))]


def test_another_process_goes_on_at_the_same_place() -> None:
    state, rest = json.loads(run_python(f"import os; os.chdir({str(REPOSITORY)!r})\n{CHILD}"))
    space, entries, _ = dataset()
    found = iter_objects(space, entries, shuffle=9, concurrency=5)
    found.load_state_dict(json.loads(state))
    assert keys_of(found) == rest
    assert len(rest) > 10


def test_going_on_reads_nothing_of_what_is_done() -> None:
    space, store = fresh_space()
    shards = [put_shard(space, f"{i}.tar.gz", members(100, 5000)) for i in range(10)]
    with iter_objects(space, shards, concurrency=1) as found:
        for _ in range(750):
            next(found)
        state = found.state_dict()
    store.forget()
    found = iter_objects(space, shards)
    found.load_state_dict(state)
    assert len(list(found)) == 250
    assert {key for key, _, _ in store.reads} <= {
        f"{i}.tar.gz{suffix}" for i in (7, 8, 9) for suffix in ("", ".shardindex")
    }


def test_an_iteration_pickles_with_its_position() -> None:
    space, entries, keys = dataset()
    with iter_objects(space, entries) as found:
        for _ in range(20):
            next(found)
        copy = pickle.dumps(found)
    again = pickle.loads(copy)
    assert isinstance(again, ObjectIterator)
    # The copy of a counting store reads from the same space in memory.
    assert keys_of(again) == keys[20:]


def test_a_limit_counts_what_was_given_before() -> None:
    space, entries, keys = dataset()
    with iter_objects(space, entries, limit=30) as found:
        for _ in range(25):
            next(found)
        state = found.state_dict()
    found = iter_objects(space, entries, limit=30)
    found.load_state_dict(state)
    assert keys_of(found) == keys[25:30]


def test_an_iteration_can_be_set_back() -> None:
    space, entries, keys = dataset()
    with iter_objects(space, entries) as found:
        first = found.state_dict()
        assert keys_of(itertools.islice(found, 15)) == keys[:15]
        found.load_state_dict(first)
        assert keys_of(found) == keys
        found.load_state_dict(first)
        assert keys_of(found) == keys


def test_only_an_ordered_iteration_has_a_position() -> None:
    space, entries, _ = dataset()
    found = iter_objects(space, entries, ordered=False)
    with pytest.raises(RuntimeError, match="only an ordered iteration"):
        found.state_dict()
    with pytest.raises(RuntimeError, match="only an ordered iteration"):
        found.load_state_dict({})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shuffle": 4}, "shuffle=4, not None"),
        ({"rank": 1}, "rank=1, not 0"),
        ({"world_size": 3}, "world_size=3, not 1"),
        ({"expand_shards": False}, "expand_shards=False, not True"),
        ({"segment": -1}, "segment of a position must be a count, got -1"),
        ({"item": "1"}, "item of a position must be a count, got '1'"),
        ({"work": True}, "work of a position must be a count, got True"),
        ({"format": "other"}, "not a position"),
    ],
)
def test_positions_of_other_iterations_are_refused(change: Any, message: str) -> None:
    state = Order().to_state(Position())
    with pytest.raises(ValueError, match=message):
        Order().from_state(state | change)


def test_a_position_survives_its_dict() -> None:
    order = Order(shuffle=3, rank=1, world_size=4)
    position = Position(5, 6, 7, 8)
    assert order.from_state(json.loads(json.dumps(order.to_state(position)))) == position


def test_neighbours_of_one_archive_belong_together() -> None:
    entries: Any = [{"kind": "file", "key": f"a.tar#{i}"} for i in range(2500)]
    entries += [{"kind": "file", "key": "b.tar#x"}, {"kind": "file", "key": "c"}]
    units = list(iter_units(entries, expand_shards=True))
    assert [len(unit.entries) for unit in units] == [1024, 1024, 452, 1, 1]
    assert [unit.kind for unit in units] == ["members"] * 4 + ["object"]


def test_segments_of_a_shuffle_hold_eight_archives_at_most() -> None:
    entries: Any = [{"kind": "shard", "archive_key": f"{i}.tar"} for i in range(20)]
    units = iter_units(entries, expand_shards=True)
    segments = list(iter_segments(units, Order(shuffle=1)))
    assert [len(segment.units) for segment in segments] == [8, 8, 4]
    assert [segment.number for segment in segments] == [0, 1, 2]
    later = iter_segments(iter_units(entries, expand_shards=True), Order(shuffle=1), first=1)
    assert list(later) == segments[1:]


@pytest.mark.parametrize("seed", [None, 4])
@pytest.mark.parametrize("stop", [1, 5, 19, 20])
def test_members_of_an_archive_without_an_index_are_gone_on_with(
    stop: int, seed: int | None
) -> None:
    space, _ = fresh_space()
    files = members(20, 3000)
    put_shard(space, "a.tar.gz", files, index=False)
    entries: list[Any] = [{"kind": "file", "key": f"a.tar.gz#{path}"} for path in files]
    whole = keys_of(iter_objects(space, entries, shuffle=seed))
    begun = iter_objects(space, entries, shuffle=seed)
    first = [next(begun)[1] for _ in range(stop)]
    state = begun.state_dict()
    begun.close()
    rest = iter_objects(space, entries, shuffle=seed)
    rest.load_state_dict(state)
    assert keys_of((None, entry) for entry in first) + keys_of(rest) == whole
