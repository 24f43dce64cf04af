"""Archives, indexes and manifests that somebody made to fill the memory or to confuse."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from inputs import KIB, MIB
from reading import foreign_archive, fresh_space, noise, put_shard
from shardpack.archive import ArchiveIndex, Member
from shardpack.archive.chunks import ChunkTable
from shardpack.errors import IntegrityError, ObjectNotFoundError, ShardReadError
from shardpack.exchange.reading.by_key import iter_objects_from_keys
from shardpack.exchange.reading.pipeline import iter_objects
from shardpack.exchange.shard.index_cache import CACHE
from shardpack.exchange.shard.member_entries import MemberEntries
from shardpack.exchange.shard.member_runs import plan_runs
from shardpack.exchange.shard.source import ArchiveSource

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def no_indexes_in_memory() -> None:
    CACHE.clear()


def limits(size: int = 4 * MIB) -> Iterator[int]:
    return iter(lambda: size, 0)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_members_that_share_their_bytes_do_not_fill_the_memory(compression: Any) -> None:
    space, _ = fresh_space()
    put_shard(space, "a.tar", {"a": noise("a", 3 * MIB)}, compression)
    index = ArchiveSource(space, "a.tar").index()
    assert index is not None
    member = index.member("a")
    assert member is not None
    many = [Member(f"m{number}", member.offset, member.size) for number in range(1000)]
    assert max(len(run.members) for run in plan_runs(index, many, limits=limits())) == 1


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("size", [0, 1])
def test_tiny_members_come_in_pieces_of_bounded_size(compression: Any, size: int) -> None:
    space, store = fresh_space()
    files = {f"{number:05d}": b"x" * size for number in range(20_000)}
    put_shard(space, "a.tar", files, compression)
    store.forget()
    assert sum(1 for _ in iter_objects(space, "a.tar")) == len(files)
    index = ArchiveSource(space, "a.tar").index()
    assert index is not None
    runs = list(plan_runs(index, index.members.values(), limits=limits()))
    assert max(run.stored_size for run in runs) <= 5 * MIB
    assert max(len(run.members) for run in runs) <= 16 * KIB
    # As few requests as that allows.
    assert len(runs) <= 10


def test_an_archive_of_tiny_members_is_not_fetched_as_one_range() -> None:
    space, store = fresh_space()
    files = {f"{number:05d}": b"x" for number in range(20_000)}
    store.put("a.tar", foreign_archive(files))
    ArchiveSource(space, "a.tar").build_index()
    CACHE.clear()
    store.forget()
    assert sum(1 for _ in iter_objects(space, "a.tar")) == len(files)
    assert len(store.reads) > 4
    assert all(end - start <= 5 * MIB for _, start, end in store.reads if start and end)


def test_a_chunk_longer_than_any_writer_makes_is_refused() -> None:
    index = ArchiveIndex(
        compression="zstd",
        stored_size=1000,
        original_size=(1 << 30) + 1,
        chunks=ChunkTable([1000], [(1 << 30) + 1]),
        members=[Member("a", 512, 3)],
    )
    with pytest.raises(ShardReadError, match="original of a chunk"):
        ArchiveIndex.from_bytes(index.to_bytes())


def test_a_manifest_of_line_ends_takes_no_memory() -> None:
    text = b"\n" * (8 * MIB) + b'{"kind":"file","key":"k#a","member_path":"a","id":"i"}'
    tracemalloc.start()
    try:
        entries = MemberEntries("k", text, "manifest")
        assert entries.take("a", 1).get("id") == "i"
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()
    assert entries.missing() is None


def test_lines_without_keys_are_entries_whatever_else_they_say() -> None:
    space, store = fresh_space()
    line = b'{"kind":"file","member_path":"a","id":"i","meta":{"key":1}}\n'
    store.put("a.tar", foreign_archive({"__manifest__.jsonl": line, "a": b"1"}))
    ((_, entry),) = iter_objects(space, "a.tar")
    assert entry["key"] == "a.tar#a"  # type: ignore[typeddict-item]
    assert entry["id"] == "i"  # type: ignore[typeddict-item]


ODD: list[Any] = [5, "x", [], {}, True, 1.5, [{}], {"a": 1}]


@pytest.mark.parametrize("name", ["crc32c", "blake3", "size_bytes", "etag", "meta", "id"])
@pytest.mark.parametrize("value", ODD, ids=repr)
@pytest.mark.parametrize("key", ["o", "a.tar#a", "b.tar#a"])
def test_entries_of_files_may_say_anything(key: str, name: str, value: Any) -> None:
    space, store = fresh_space()
    put_shard(space, "a.tar", {"a": b"abc"}, None)
    put_shard(space, "b.tar", {"a": b"abc"}, None, index=False)
    store.put("o", b"abc")
    entry: Any = {"kind": "file", "key": key, name: value}
    # Bytes that are no others' are given, or the entry does not describe them.
    with suppress(IntegrityError):
        assert [body.read() for body, _ in iter_objects(space, [entry])] == [b"abc"]


@pytest.mark.parametrize(
    "name",
    [
        "format",
        "compression",
        "internal_manifest_path",
        "count",
        "size_bytes",
        "meta",
        "index_key",
        "blake3",
    ],
)
@pytest.mark.parametrize("value", [*ODD, {"etag": 5}], ids=repr)
@pytest.mark.parametrize("index", [True, False])
def test_entries_of_shards_may_say_anything(name: str, value: Any, *, index: bool) -> None:
    space, _ = fresh_space()
    put_shard(space, "a.tar", {"a": b"abc"}, None, index=index)
    entry: Any = {"kind": "shard", "archive_key": "a.tar", name: value}
    for expand in (True, False):
        with suppress(IntegrityError, ShardReadError):
            found = [body.read() for body, _ in iter_objects(space, [entry], expand_shards=expand)]
            assert not expand or b"abc" in found


def test_an_archive_that_vanishes_while_it_is_read_is_told() -> None:
    space, store = fresh_space()
    files = {name: noise(name, 5 * MIB) for name in "abcd"}
    put_shard(space, "a.tar", files, None)
    found = iter_objects_from_keys(space, [f"a.tar#{name}" for name in files], infer_id=str)
    next(found)
    store.delete("a.tar")
    with pytest.raises(ObjectNotFoundError):
        list(found)
