from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import pytest

from exchange_stores import fresh_memory
from shardpack.errors import (
    ConcurrencyUnsupportedError,
    InvalidManifestError,
    StorageUnavailableError,
)
from shardpack.exchange import ExchangeStore, ManifestWriterConfig, ShardSizePolicy
from shardpack.exchange.manifest.writer import ManifestWriter
from shardpack.storage.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

    from shardpack.storage.base import ObjectInfo

KEY = "runs/m.jsonl"
PART = re.compile(r"runs/manifests/part-\d{8}-\d{6}-[0-9a-f]{8}\.jsonl")


def names(store: ExchangeStore, key: str = KEY) -> list[str]:
    return list(store.get_manifest(key).get_keys(expand_shards=False))


def objects(store: ExchangeStore) -> list[str]:
    return sorted(store.space.relative(info.key) for info in store.objects.list())


def test_what_a_writer_takes_appears_when_it_closes(store: ExchangeStore) -> None:
    with store.open_manifest_writer(KEY, part_max_entries=2) as writer:
        added = writer.add_file("a", meta={"q": 1}, size_bytes=1)
        writer.add_entry({"kind": "shard", "archive_key": "s.tar"})
        put = writer.put_object("runs/o.bin", b"abc", content_type="text/plain")
        assert not store.exists(KEY)
        assert writer.stats()["parts_uploaded"] == 1
    assert writer.is_closed
    assert names(store) == ["a", "s.tar", "runs/o.bin"]
    assert list(added.items()) == [
        ("kind", "file"),
        ("key", "a"),
        ("id", "a"),
        ("meta", {"q": 1}),
        ("content_type", None),
        ("size_bytes", 1),
        ("etag", None),
    ]
    assert put["size_bytes"] == 3
    assert put["id"] == "o"
    assert [entry["kind"] for entry in store.get_manifest(KEY)] == ["file", "shard", "file"]


def test_several_writers_add_to_one_manifest() -> None:
    store = fresh_memory()
    with store.open_manifest_writer(KEY) as first, store.open_manifest_writer(KEY) as second:
        first.add_file("1")
        second.add_file("2")
    with store.open_manifest_writer(KEY) as third:
        third.add_manifest("other.jsonl")
    assert [entry.get("key") for entry in store.get_manifest(KEY).iter_entries(limit=2)] == [
        "2",
        "1",
    ]
    root = store.get_manifest(KEY).iter_entries(resolve_refs=False)
    assert len(list(root)) == 3


def test_parts_are_flushed_by_count_by_bytes_and_by_hand() -> None:
    store = fresh_memory()
    writer = store.open_manifest_writer(KEY, part_max_entries=3, part_max_bytes=400)
    assert writer.flush_part() is None
    writer.add_file("1")
    assert writer.stats() == {
        "part_entries": 1,
        "part_bytes": len(
            b'{"kind":"file","key":"1","id":"1","meta":null,"content_type":null,'
            b'"size_bytes":null,"etag":null}\n'
        ),
        "parts_uploaded": 0,
        "shard_entries": 0,
        "shard_bytes": 0,
        "shards_created": 0,
        "is_closed": False,
    }
    part = writer.flush_part()
    assert part is not None
    assert PART.fullmatch(part)
    for number in range(3):
        writer.add_file(str(number))
    assert writer.stats()["parts_uploaded"] == 2
    writer.add_file("x" * 400)
    assert writer.stats()["parts_uploaded"] == 3
    assert writer.stats()["part_entries"] == 0
    writer.close()
    assert writer.stats()["is_closed"]
    assert len(names(store)) == 5


def test_a_writer_without_entries_leaves_the_manifest() -> None:
    store = fresh_memory()
    store.open_manifest_writer(KEY).close()
    assert objects(store) == []


@pytest.mark.parametrize("count", [0, 1, 3000])
def test_overwriting_replaces_whatever_was_there(count: int) -> None:
    store = fresh_memory()
    store.write_manifest(KEY, [{"kind": "file", "key": "old"}])
    with store.open_manifest_writer(KEY, mode="overwrite", part_max_entries=10) as writer:
        for number in range(count):
            writer.add_file(str(number))
        assert writer.flush_part() is None
        assert names(store) == ["old"]
    assert names(store) == [str(number) for number in range(count)]
    assert objects(store) == [KEY]


def test_more_entries_than_fit_in_memory_wait_on_disk() -> None:
    store = fresh_memory()
    with store.open_manifest_writer(KEY, mode="overwrite") as writer:
        for number in range(1000):
            writer.add_file(str(number), meta={"text": "x" * 20_000})
        assert writer.stats()["part_bytes"] > 20_000_000
    assert names(store) == [str(number) for number in range(1000)]


def test_a_block_that_fails_publishes_nothing_and_leaves_nothing(store: ExchangeStore) -> None:
    store.write_manifest(KEY, [{"kind": "file", "key": "old"}])
    before = objects(store)
    policy = ShardSizePolicy(max_entries=1)
    writer = store.open_manifest_writer(KEY, part_max_entries=1, shard_size=policy)

    def fail() -> None:
        with writer:
            writer.add_file("a")
            writer.add_to_shard("x", b"1")
            raise KeyError("the block failed")

    with pytest.raises(KeyError, match="the block failed"):
        fail()
    assert writer.is_closed
    assert names(store) == ["old"]
    assert objects(store) == before


def test_a_block_that_fails_publishes_what_there_is_where_that_is_asked_for() -> None:
    store = fresh_memory()
    writer = store.open_manifest_writer(KEY, publish_on_error=True)

    def fail() -> None:
        with writer:
            writer.add_file("a")
            raise KeyError("the block failed")

    with pytest.raises(KeyError, match="the block failed"):
        fail()
    assert names(store) == ["a"]


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("mode", ["append_parts", "overwrite"])
@pytest.mark.parametrize("append", ["conditional", "listed", "single-writer"])
def test_a_close_that_fails_can_be_repeated(
    monkeypatch: pytest.MonkeyPatch, mode: Any, append: Any, *, lost: bool
) -> None:
    store = fresh_memory(append=append)
    writer = store.open_manifest_writer(KEY, mode=mode, part_max_entries=2)
    for number in range(5):
        writer.add_file(str(number))
    put = store.objects.put
    failing = True

    def fail(key: str, data: Any, **options: Any) -> Any:
        if key != KEY or not failing:
            return put(key, data, **options)
        if lost:
            put(key, data, **options)
        raise StorageUnavailableError("down")

    monkeypatch.setattr(store.objects, "put", fail)
    with pytest.raises(StorageUnavailableError):
        writer.close()
    assert not writer.is_closed
    failing = False
    writer.add_file("5")
    writer.close()
    writer.close()
    # Listed parts sort by time, and a first try that failed has put its part there already.
    assert sorted(names(store)) == [str(number) for number in range(6)]


def test_a_closed_writer_takes_nothing_more(tmp_path: Path) -> None:
    store = fresh_memory()
    writer = store.open_manifest_writer(KEY, shard_size=ShardSizePolicy(max_entries=2))
    writer.close()
    calls: list[Any] = [
        lambda: writer.add_file("x"),
        lambda: writer.add_manifest("x.jsonl"),
        lambda: writer.put_object("x", b""),
        lambda: writer.add_to_shard("x", b""),
        lambda: writer.add_shard_item({"source": tmp_path / "x", "member_path": "x"}),
        writer.flush_part,
        writer.flush_shard,
        writer.__enter__,
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="closed"):
            call()
    assert objects(store) == []


def test_options_that_make_no_sense_are_refused() -> None:
    store = fresh_memory()
    odd: list[dict[str, Any]] = [
        {"mode": "other"},
        {"shard_format": "zip"},
        {"shard_compression": "lzo"},
        {"part_max_entries": 0},
        {"part_max_bytes": 0},
    ]
    for options in odd:
        with pytest.raises(ValueError, match=str(next(iter(options.values())))):
            store.open_manifest_writer(KEY, **options)
    with pytest.raises(InvalidManifestError):
        store.open_manifest_writer(KEY).add_entry({"kind": "file"})


def test_a_configuration_holds_the_options_of_a_writer() -> None:
    store = fresh_memory()
    config = ManifestWriterConfig(part_max_entries=1, dedupe_virtual_keys=True)
    assert config == {"part_max_entries": 1, "dedupe_virtual_keys": True}
    with store.open_manifest_writer(KEY, **config) as writer:
        for key in ["a.tar#x", "b", "a.tar#x", "b", "c"]:
            writer.add_file(key)
        assert writer.stats()["parts_uploaded"] == 3
    assert names(store) == ["a.tar#x", "b", "c"]


def test_a_store_that_cannot_append_says_so_before_it_takes_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = fresh_memory()
    monkeypatch.setattr(type(store.objects), "conditional_writes", property(lambda _: False))
    with pytest.raises(ConcurrencyUnsupportedError):
        store.open_manifest_writer(KEY)
    with store.open_manifest_writer(KEY, mode="overwrite") as writer:
        writer.add_file("a")
    assert names(store) == ["a"]


# ------------------------------------------------------------------------------------- shards


def test_items_become_shards(store: ExchangeStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")
    with store.open_manifest_writer(
        KEY, shard_size=ShardSizePolicy(max_entries=2), shard_compression="gzip"
    ) as writer:
        writer.add_to_shard("a", b"1", id="one", meta={"u": 1}, content_type="text/plain")
        writer.add_to_shard("b", io.BytesIO(b"22"), size_bytes=2)
        writer.add_shard_item({"source": str(tmp_path / "file"), "member_path": "c"})
        assert writer.stats()["shards_created"] == 1
        assert writer.stats()["shard_bytes"] == 11
    assert names(store) == [
        "runs/shards/shard-000001.tar.gz",
        "runs/shards/shard-000002.tar.gz",
    ] or (not store.objects.conditional_writes)
    found = {entry["key"].partition("#")[2]: (body.read(), entry) for body, entry in members(store)}
    assert {path: data for path, (data, _) in found.items()} == {
        "a": b"1",
        "b": b"22",
        "c": b"from a file",
    }
    assert found["a"][1]["id"] == "one"
    assert found["a"][1]["meta"] == {"u": 1, "content_type": "text/plain"}


def members(store: ExchangeStore) -> Any:
    return store.get_manifest(KEY).iter_objects()


def test_a_second_run_leaves_the_shards_of_the_first(store: ExchangeStore) -> None:
    for run in range(2):
        with store.open_manifest_writer(KEY, shard_size=ShardSizePolicy(max_entries=2)) as writer:
            for number in range(5):
                writer.add_to_shard(f"{run}-{number}", f"{run}-{number}".encode())
    assert len(set(names(store))) == 6
    assert [body.read().decode() for body, _ in members(store)] == [
        f"{run}-{number}" for run in range(2) for number in range(5)
    ]


def test_writers_at_the_same_time_never_meet_on_a_name() -> None:
    store = fresh_memory()
    policy = ShardSizePolicy(max_entries=1)
    writers = [store.open_manifest_writer(KEY, shard_size=policy) for _ in range(3)]
    for number in range(4):
        for which, writer in enumerate(writers):
            writer.add_to_shard(f"{which}-{number}", b"x")
    for writer in writers:
        writer.close()
    assert sorted(names(store)) == [f"runs/shards/shard-{n:06d}.tar" for n in range(1, 13)]
    assert len(list(members(store))) == 12


@pytest.mark.parametrize(
    ("compression", "suffix"), [(None, ".tar"), ("gzip", ".tar.gz"), ("zstd", ".tar.zst")]
)
def test_names_of_shards_tell_their_compression(compression: str | None, suffix: str) -> None:
    store = fresh_memory("base")
    with store.open_manifest_writer(
        KEY,
        shard_size=ShardSizePolicy(max_bytes=10),
        shard_prefix="elsewhere/",
        shard_compression=compression,
    ) as writer:
        writer.add_to_shard("a", b"1")
    assert names(store) == [f"elsewhere/shard-000001{suffix}"]
    assert [body.read() for body, _ in members(store)] == [b"1"]


def test_a_shard_is_full_before_it_is_too_large() -> None:
    store = fresh_memory()
    with store.open_manifest_writer(KEY, shard_size=ShardSizePolicy(max_bytes=1000)) as writer:
        for number in range(4):
            writer.add_to_shard(str(number), b"x" * 900)
        writer.add_to_shard("large", b"x" * 5000)
        writer.add_to_shard("small", b"x" * 100)
    counts = [entry.get("count") for entry in store.get_manifest(KEY)]
    assert counts == [1, 1, 1, 1, 1, 1]


def test_what_the_caller_hands_in_is_not_changed() -> None:
    store = fresh_memory()
    meta = {"u": 1}
    with store.open_manifest_writer(KEY, shard_size=ShardSizePolicy(max_entries=9)) as writer:
        writer.add_to_shard("a", b"1", meta=meta, content_type="text/plain")
    assert meta == {"u": 1}


def test_streams_need_their_size_and_shards_a_policy() -> None:
    store = fresh_memory()
    with store.open_manifest_writer(KEY) as plain:
        with pytest.raises(RuntimeError, match="shard_size"):
            plain.add_to_shard("a", b"1")
        assert plain.flush_shard() is None
    with store.open_manifest_writer(KEY, shard_size=ShardSizePolicy(max_entries=2)) as writer:
        with pytest.raises(ValueError, match="size_bytes is needed"):
            writer.add_to_shard("a", io.BytesIO(b"1"))
        with pytest.raises(ValueError, match="'a' has 1 bytes, size_bytes says 2"):
            writer.add_to_shard("a", io.BytesIO(b"1"), size_bytes=2)
    assert objects(store) == []


def test_a_shard_that_failed_keeps_its_number_for_the_next_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = fresh_memory()
    put = store.put_shard_archive
    failures = [StorageUnavailableError("down")]

    def fail(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return put(*arguments, **options)

    monkeypatch.setattr(store, "put_shard_archive", fail)
    writer = ManifestWriter(store, KEY, shard_size=ShardSizePolicy(max_entries=9))
    writer.add_to_shard("a", b"1")
    with pytest.raises(StorageUnavailableError):
        writer.close()
    assert not writer.is_closed
    writer.close()
    assert names(store) == ["runs/shards/shard-000001.tar"]


@pytest.mark.parametrize("mode", ["append_parts", "overwrite"])
def test_what_a_failed_close_may_have_published_is_not_removed(mode: Any) -> None:
    class AnswerLost(MemoryStore):
        def put(self, key: str, *args: Any, **options: Any) -> ObjectInfo:
            info = super().put(key, *args, **options)
            if key == KEY:
                error = StorageUnavailableError("the answer got lost", key=key)
                error.ambiguous = True
                raise error
            return info

    store = ExchangeStore(AnswerLost(f"answer-lost-{mode}"), append="single-writer")
    options: Any = {"mode": mode, "shard_size": ShardSizePolicy(max_entries=2)}

    def write() -> None:
        with store.open_manifest_writer(KEY, **options) as writer:
            for number in range(4):
                writer.add_to_shard(f"{number}", b"x")
            writer.close()

    with pytest.raises(StorageUnavailableError):
        write()
    bodies = [body.read() for body, _ in store.iter_objects(KEY)]
    assert bodies == [b"x"] * 4
