"""Objects and members read ahead: what comes, in which order, at what cost, and how it ends."""

from __future__ import annotations

import gc
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from inputs import KIB, MIB
from iteration_threads import threads, wait_for
from reading import foreign_archive, fresh_space, members, noise, put_shard
from shardpack import crc32c
from shardpack.exchange.manifest.lines import serialize_entry
from shardpack.exchange.reading.pipeline import iter_objects
from shardpack.exchange.shard.index_cache import CACHE
from shardpack.exchange.shard.source import LARGE_BYTES
from shardpack.hash import blake3

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shardpack.exchange.keys import Space

COMPRESSIONS = [None, "gzip", "zstd", "s4"]


@pytest.fixture(autouse=True)
def no_indexes_in_memory() -> None:
    CACHE.clear()


def put_objects(space: Space, files: Mapping[str, bytes]) -> list[Any]:
    entries = []
    for key, data in files.items():
        info = space.objects.put(space.full(key), data)
        entries.append(
            {
                "kind": "file",
                "key": key,
                "id": key,
                "size_bytes": len(data),
                "etag": info.etag,
                "crc32c": f"{crc32c(data):08x}",
                "blake3": blake3(data).hex(),
            }
        )
    return entries


def keys_and_bytes(found: Any) -> list[tuple[str, bytes]]:
    return [(entry.get("key") or entry["archive_key"], body.read()) for body, entry in found]


def expected_of(key: str, files: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    return [(f"{key}#{path}", data) for path, data in files.items()]


# --- what comes -----------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("concurrency", [1, 2, 8])
@pytest.mark.parametrize("prefetch_bytes", [1, 64 * MIB])
def test_everything_comes_in_the_order_of_the_manifest(
    concurrency: int, prefetch_bytes: int, *, ordered: bool
) -> None:
    space, _ = fresh_space("base")
    loose = {f"o/{i}": noise(f"o{i}", 100 * i) for i in range(50)}
    entries = put_objects(space, loose)
    expected = list(loose.items())
    for number, compression in enumerate(COMPRESSIONS):
        for index in (True, False):
            key = f"s/{number}{index}.tar"
            files = members(40, label=key)
            entries.append(put_shard(space, key, files, compression, index=index))
            expected += expected_of(key, files)
    found = keys_and_bytes(
        iter_objects(
            space,
            entries,
            concurrency=concurrency,
            prefetch_bytes=prefetch_bytes,
            ordered=ordered,
        )
    )
    assert (found if ordered else sorted(found)) == (expected if ordered else sorted(expected))


@pytest.mark.parametrize("index", [True, False])
def test_entries_of_members_say_what_their_manifest_says(*, index: bool) -> None:
    space, _ = fresh_space()
    shard = put_shard(space, "a.tar.gz", {"x/y": b"bytes", "z": b""}, index=index)
    found = [entry for _, entry in iter_objects(space, [shard])]
    wanted = {"id": "id-x/y", "meta": {"length": 5}, "size_bytes": 5, "kind": "file"}
    wanted |= {"key": "a.tar.gz#x/y", "archive_key": "a.tar.gz", "member_path": "x/y"}
    assert {name: found[0].get(name) for name in wanted} == wanted
    assert found[1].get("key") == "a.tar.gz#z"


def test_a_manifest_and_a_shard_are_named_by_their_keys() -> None:
    space, store = fresh_space("base")
    files = members(5)
    shard = put_shard(space, "a.tar.gz", files)
    ref: Any = {"kind": "manifest_ref", "key": "part.jsonl"}
    store.put("base/part.jsonl", serialize_entry(shard) + b"\n")
    store.put("base/root.jsonl", serialize_entry(ref) + b"\n")
    expected = expected_of("a.tar.gz", files)
    assert keys_and_bytes(iter_objects(space, "root.jsonl")) == expected
    assert keys_and_bytes(iter_objects(space, [ref])) == expected
    assert keys_and_bytes(iter_objects(space, "a.tar.gz")) == expected


def test_archives_come_whole_when_they_are_not_expanded() -> None:
    space, store = fresh_space()
    shard = put_shard(space, "a.tar.gz", members(50))
    ((body, entry),) = iter_objects(space, [shard], expand_shards=False)
    assert entry == shard
    assert body.read() == store.read("a.tar.gz")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2"])
def test_archives_of_others_are_expanded_too(mode: str) -> None:
    space, store = fresh_space()
    files = members(20)
    store.put("f.tar", foreign_archive(files, mode))
    found = list(iter_objects(space, "f.tar"))
    assert [body.read() for body, _ in found] == list(files.values())
    assert found[3][1] == {
        "kind": "file",
        "key": "f.tar#m/00003.bin",
        "archive_key": "f.tar",
        "member_path": "m/00003.bin",
        "size_bytes": 2003,
    }


def test_a_key_with_a_number_sign_may_be_that_of_an_object() -> None:
    space, _ = fresh_space()
    entries = put_objects(space, {"a#b": b"object", "c": b"other"})
    assert keys_and_bytes(iter_objects(space, entries)) == [("a#b", b"object"), ("c", b"other")]


def test_an_empty_manifest_has_nothing() -> None:
    space, store = fresh_space()
    store.put("m.jsonl", b"\n")
    assert list(iter_objects(space, "m.jsonl")) == []
    assert list(iter_objects(space, [])) == []


# --- large ones -----------------------------------------------------------------------------


def test_large_objects_are_streams() -> None:
    space, _ = fresh_space()
    files = {"large": noise("large", LARGE_BYTES + 1), "small": b"s"}
    entries = put_objects(space, files)
    assert keys_and_bytes(iter_objects(space, entries)) == list(files.items())
    unknown: Any = [{"kind": "file", "key": key} for key in files]
    assert keys_and_bytes(iter_objects(space, unknown)) == list(files.items())


@pytest.mark.parametrize("index", [True, False])
def test_large_members_are_streams(*, index: bool) -> None:
    space, _ = fresh_space()
    files = {"a": b"a", "large": noise("l", 20 * MIB), "b": b"b"}
    shard = put_shard(space, "a.tar", files, None, index=index)
    assert keys_and_bytes(iter_objects(space, [shard])) == expected_of("a.tar", files)


def test_a_large_member_that_is_passed_by_cannot_be_read_any_more() -> None:
    space, _ = fresh_space()
    files = {"large": noise("l", 20 * MIB), "b": b"b"}
    shard = put_shard(space, "a.tar", files, None, index=False)
    with iter_objects(space, [shard]) as found:
        body, _ = next(found)
        assert body.read(10) == files["large"][:10]
        assert next(found)[0].read() == b"b"
        with pytest.raises(ValueError, match="read a large member before"):
            body.read()


# --- what it costs --------------------------------------------------------------------------


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_shard_is_downloaded_once(compression: str | None) -> None:
    space, store = fresh_space()
    files = members(1000, 20_000)
    for index in (True, False):
        shard = put_shard(space, "a.tar", files, compression, index=index, chunk_size=512 * KIB)
        CACHE.clear()
        store.forget()
        assert len(keys_and_bytes(iter_objects(space, [shard]))) == 1000
        stored = shard["size_bytes"]
        index_size = store.head("a.tar.shardindex").size if index else 0
        # The chunk in which the internal manifest ends is read for it and for the first members.
        assert store.bytes_read <= stored + index_size + 600 * KIB


@pytest.mark.parametrize("index", [True, False])
def test_entries_that_stand_for_members_cost_one_pass(*, index: bool) -> None:
    space, store = fresh_space()
    files = members(100, 10_000)
    shard = put_shard(space, "a.tar.gz", files, index=index)
    flat: Any = [entry for _, entry in iter_objects(space, [shard])]
    for entry in flat:
        # As an older compacted manifest has them.
        del entry["archive_key"], entry["member_path"]
    CACHE.clear()
    store.forget()
    assert keys_and_bytes(iter_objects(space, flat)) == expected_of("a.tar.gz", files)
    assert store.requests <= 4
    assert store.bytes_read <= shard["size_bytes"] + 200 * KIB


@pytest.mark.parametrize("index", [True, False])
def test_members_come_in_the_order_of_their_entries(*, index: bool) -> None:
    space, store = fresh_space()
    files = members(60, 500_000)
    shard = put_shard(space, "a.tar", files, None, index=index)
    flat: Any = [entry for _, entry in iter_objects(space, [shard])]
    flat = [*reversed(flat), flat[0], *flat[10:20]]
    CACHE.clear()
    store.forget()
    found = keys_and_bytes(iter_objects(space, flat))
    assert [key for key, _ in found] == [entry["key"] for entry in flat]
    assert all(data == files[key.partition("#")[2]] for key, data in found)


def test_a_limit_reads_no_more_than_it_needs() -> None:
    space, store = fresh_space()
    files = members(500, 10_000)
    entries: Any = [put_shard(space, f"{i}.tar.gz", files) for i in range(3)]
    CACHE.clear()
    store.forget()
    expected = expected_of("0.tar.gz", files)[:3]
    assert keys_and_bytes(iter_objects(space, entries, limit=3)) == expected
    # Of the first archive one run of a mebibyte, of the others no more than tells what they are.
    assert store.bytes_read <= entries[0]["size_bytes"] // 2
    assert list(iter_objects(space, entries, limit=0)) == []
    found = keys_and_bytes(iter_objects(space, entries, limit=505))
    assert found[-1] == ("1.tar.gz#m/00004.bin", files["m/00004.bin"])


def test_objects_are_asked_for_at_the_same_time() -> None:
    space, store = fresh_space()
    entries = put_objects(space, {f"o/{i}": b"x" for i in range(16)})
    meeting = threading.Barrier(8)
    plain_get = store.get

    def get(key: str, **options: Any) -> Any:
        meeting.wait(20)
        return plain_get(key, **options)

    store.get = get  # type: ignore[method-assign]
    assert len(list(iter_objects(space, entries, concurrency=8))) == 16


def test_the_list_is_read_no_further_than_needed() -> None:
    space, _ = fresh_space()
    entries = put_objects(space, {"o": b"x"})
    drawn = 0

    def endless() -> Iterator[Any]:
        nonlocal drawn
        while True:
            drawn += 1
            yield entries[0]

    with iter_objects(space, endless()) as found:
        next(found)
        time.sleep(0.1)
    assert drawn < 5000


# --- the end --------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [True, False])
def test_closing_in_the_middle_ends_all_threads(*, index: bool) -> None:
    space, _ = fresh_space()
    entries: Any = [put_shard(space, f"{i}.tar.gz", members(500), index=index) for i in range(4)]
    # No room for what comes next, so that no thread can be done before the consumer looks.
    found = iter_objects(space, entries, prefetch_bytes=1)
    body, _ = next(found)
    assert threads()
    found.close()
    assert not threads()
    assert body.read() == noise("m0", 2000)
    assert list(found) == []


def test_dropping_an_iteration_ends_all_threads() -> None:
    space, _ = fresh_space()
    shard = put_shard(space, "a.tar", {"l": noise("l", 40 * MIB), "b": b""}, None, index=False)
    found = iter_objects(space, [shard, *put_objects(space, {f"{i}": b"x" for i in range(500)})])
    body, _ = next(found)
    body.read(1)
    del found
    gc.collect()
    wait_for(lambda: not threads())
    with pytest.raises(ValueError, match="iteration"):
        body.read()


def test_an_iteration_that_ended_has_no_threads() -> None:
    space, _ = fresh_space()
    found = iter_objects(space, put_objects(space, {f"{i}": b"x" for i in range(500)}))
    assert len(list(found)) == 500
    assert not threads()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": -1}, "limit must not be negative, got -1"),
        ({"concurrency": 0}, "concurrency must be at least 1, got 0"),
        ({"prefetch_bytes": 0}, "prefetch_bytes must be at least 1, got 0"),
        ({"world_size": 0}, "world_size must be at least 1, got 0"),
        ({"rank": 2, "world_size": 2}, "rank must be from 0 to 1, got 2"),
        ({"on_error": "ignore"}, "on_error must be 'raise' or 'skip', got 'ignore'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        iter_objects(fresh_space()[0], [], **options)


def test_a_large_member_that_was_left_before_its_end_does_not_seem_complete() -> None:
    space, store = fresh_space()
    store.put("a.tar", foreign_archive({"large": noise("large", 12 * MIB), "x": b"x"}))
    with iter_objects(space, "a.tar") as found:
        body, _ = next(found)
        body.read(10 * MIB)
        # The rest has been handed over, so that nothing waits any more.
        time.sleep(0.2)
        next(found)
        with pytest.raises(ValueError, match="went on"):
            body.read()
