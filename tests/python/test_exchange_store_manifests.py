"""Manifests by the calls of a store: what they give, what they cost, and how they fail."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from exchange_stores import fresh_memory
from fault_proxy import Fault, FaultProxy
from inputs import KIB, make
from shardpack.errors import (
    AccessDeniedError,
    IntegrityError,
    InvalidManifestError,
    ManifestNotFoundError,
    ObjectNotFoundError,
    StorageError,
)
from shardpack.exchange import ExchangeStore, Manifest, S3ExchangeStore, ShardSizePolicy
from shardpack.exchange.shard.index_cache import CACHE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import S3Server

MEMBERS = {f"{i:03d}.bin": make("noise", 10 * KIB, f"m{i}") for i in range(100)}


def put_shard(store: ExchangeStore, key: str = "s/0.tar.gz") -> Any:
    items: list[Any] = [{"member_path": path, "source": data} for path, data in MEMBERS.items()]
    return store.put_shard_archive(key, items).entry


@pytest.fixture
def watched(moto_server: S3Server) -> Iterator[tuple[S3ExchangeStore, FaultProxy]]:
    with FaultProxy(moto_server.endpoint_url) as proxy:
        client = moto_server.client(proxy.url)
        yield S3ExchangeStore(client, moto_server.fresh_bucket(client)), proxy
        client.close()


def test_a_manifest_of_objects_and_shards_is_written_listed_and_read(store: ExchangeStore) -> None:
    loose = store.put_object("loose/a.bin", b"loose")
    shard = put_shard(store)
    store.write_manifest("set/manifest.jsonl", [loose])
    store.put_sharded("set/manifest.jsonl", [shard])
    assert list(store.iter_manifest_entries("set/manifest.jsonl")) == [loose, shard]
    assert len(list(store.iter_manifest_entries("set/manifest.jsonl", limit=1))) == 1
    unresolved = list(store.iter_manifest_entries("set/manifest.jsonl", resolve_refs=False))
    assert "manifest_ref" in {entry["kind"] for entry in unresolved}
    keys = ["loose/a.bin", *(f"s/0.tar.gz#{path}" for path in MEMBERS)]
    files = list(store.list_manifest_files("set/manifest.jsonl"))
    assert [entry.get("key") for entry in files] == keys
    listed = list(store.list_manifest_files("set/manifest.jsonl", include_shards=False))
    assert listed == [loose, shard]
    some = list(store.list_by_manifest_prefix("set/manifest.jsonl", "s/0.tar.gz#01"))
    assert [entry.get("key") for entry in some] == keys[11:21]
    for objects in (
        store.iter_objects("set/manifest.jsonl"),
        store.get_objects("set/manifest.jsonl"),
        store.get_manifest("set/manifest.jsonl").iter_objects(),
        store.iter_objects(files),
    ):
        found = {entry.get("key"): body.read() for body, entry in objects}
        assert list(found) == keys
        assert list(found.values()) == [b"loose", *MEMBERS.values()]
    archives = list(store.iter_objects("set/manifest.jsonl", expand_shards=False))
    assert [entry["kind"] for _, entry in archives] == ["file", "shard"]
    assert len(archives[1][0].read()) == shard["size_bytes"]
    assert len(list(store.iter_objects("set/manifest.jsonl", limit=3))) == 3


def test_a_writer_fills_manifests_and_shards(store: ExchangeStore) -> None:
    for run in range(2):
        with store.open_manifest_writer(
            "set/manifest.jsonl",
            shard_size=ShardSizePolicy(max_entries=4),
            shard_compression="gzip",
        ) as writer:
            for i in range(10):
                writer.add_to_shard(f"{run}/{i}.bin", b"%d" % i)
            writer.put_object(f"loose/{run}", b"x")
    found = [entry.get("key", "") for _, entry in store.iter_objects("set/manifest.jsonl")]
    assert len(found) == len(set(found)) == 22


def test_compacting_keeps_all_that_there_is(store: ExchangeStore) -> None:
    loose = store.put_object("loose/a.bin", b"loose")
    for i in range(3):
        entry: Any = {**loose, "id": f"{i}"}
        store.write_manifest("set/manifest.jsonl", [entry], mode="append_parts")
    report = store.compact_manifest("set/manifest.jsonl", "flat.jsonl")
    assert report["total_entries"] == 3
    assert report["resolved_refs"] == 3
    assert report["removed_entries"] == 0
    flat = list(store.iter_manifest_entries("flat.jsonl", resolve_refs=False))
    assert [entry.get("id") for entry in flat] == ["0", "1", "2"]
    store.compact_manifest("set/manifest.jsonl", "refs.jsonl", resolve_refs=False)
    assert [entry.get("id") for entry in store.iter_manifest_entries("refs.jsonl")] == [
        *("0", "1", "2")
    ]


def test_a_compacted_manifest_of_members_costs_no_more_than_its_shards(
    watched: tuple[S3ExchangeStore, FaultProxy],
) -> None:
    store, proxy = watched
    shard = put_shard(store)
    store.write_manifest("set.jsonl", [shard])
    report = store.compact_manifest("set.jsonl", "flat.jsonl", expand_shards=True)
    assert report["expanded_shards"] == len(MEMBERS)
    CACHE.clear()
    proxy.forget()
    assert [body.read() for body, _ in store.iter_objects("flat.jsonl")] == list(MEMBERS.values())
    assert proxy.bytes_down < 1.2 * shard["size_bytes"] + 100 * KIB
    assert proxy.count() <= 12


def test_members_in_random_order_cost_no_more_than_their_shard(
    watched: tuple[S3ExchangeStore, FaultProxy],
) -> None:
    store, proxy = watched
    shard = put_shard(store)
    paths = sorted(MEMBERS, key=lambda path: MEMBERS[path])
    CACHE.clear()
    proxy.forget()
    keys = [f"s/0.tar.gz#{path}" for path in paths]
    found = {
        entry["member_path"]: body.read() for body, entry in store.iter_objects_from_keys(keys)
    }
    assert found == MEMBERS
    # And once more the chunk with the manifest inside.
    assert proxy.bytes_down < 1.2 * shard["size_bytes"] + 612 * KIB


def test_an_object_that_was_replaced_is_not_the_one_of_its_entry(store: ExchangeStore) -> None:
    entry = store.put_object("a", b"first")
    store.write_manifest("m.jsonl", [entry])
    for changed in (b"other", b"longer"):
        store.put_object("a", changed)
        with pytest.raises(IntegrityError) as caught:
            [body.read() for body, _ in store.iter_objects("m.jsonl")]
        assert caught.value.key == "a"
        assert caught.value.expected != caught.value.actual


def test_an_object_that_is_gone_is_told(store: ExchangeStore) -> None:
    store.write_manifest("m.jsonl", [{"kind": "file", "key": "gone"}])
    with pytest.raises(ObjectNotFoundError) as caught:
        list(store.iter_objects("m.jsonl"))
    assert caught.value.key == "gone"


def test_a_manifest_that_is_not_there_is_told(store: ExchangeStore) -> None:
    for call in (
        lambda: list(store.iter_manifest_entries("none.jsonl")),
        lambda: list(store.iter_objects("none.jsonl")),
        lambda: list(store.list_manifest_files("none.jsonl")),
        lambda: store.compact_manifest("none.jsonl", "flat.jsonl"),
        lambda: store.delete_manifest("none.jsonl"),
        lambda: list(store.get_manifest("none.jsonl")),
    ):
        with pytest.raises(ManifestNotFoundError) as caught:
            call()
        assert caught.value.key == "none.jsonl"
    assert not store.exists("flat.jsonl")


def test_a_manifest_that_cannot_be_read_is_never_taken_for_an_empty_one(
    watched: tuple[S3ExchangeStore, FaultProxy],
) -> None:
    store, proxy = watched
    key = "404/manifest.jsonl"
    entries: list[Any] = [{"kind": "file", "key": f"k/{i}"} for i in range(50)]
    store.write_manifest(key, entries)
    extra: list[Any] = [{"kind": "file", "key": "extra"}]
    for fault, kind in (
        (Fault(method="GET", path="404", answer=403, code="AccessDenied", times=None), None),
        (Fault(method="GET", path="404", answer=400, code="BadRequest", times=None), StorageError),
    ):
        proxy.faults.append(fault)
        with pytest.raises(kind or AccessDeniedError):
            store.write_manifest(key, extra, mode="append_parts")
        proxy.forget()
        assert list(store.iter_manifest_entries(key)) == entries
    proxy.faults.append(Fault(method="GET", path="404", cut_after=100))
    proxy.faults.append(Fault(method="GET", path="404", answer=503, code="SlowDown"))
    store.write_manifest(key, extra, mode="append_parts")
    assert list(store.iter_manifest_entries(key)) == [*entries, *extra]
    broken = b'{"kind":"file","key":"a"}\n{broken\n'
    store.put_object("broken.jsonl", broken)
    with pytest.raises(InvalidManifestError) as caught:
        list(store.iter_manifest_entries("broken.jsonl"))
    assert caught.value.line_number == 2
    assert str(caught.value).startswith("Line 2: ")


def test_the_class_of_manifests_gives_the_same(store: ExchangeStore) -> None:
    entry = store.put_object("a", b"x")
    shard = put_shard(store)
    manifest = Manifest(store, key="m.jsonl")
    manifest.save([entry, shard])
    assert list(manifest) == [entry, shard]
    assert next(iter(manifest.get_keys(limit=1))) == "a"
    assert len(list(manifest.get_keys(limit=1))) == 1
    assert len(list(manifest.get_keys())) == 1 + len(MEMBERS)
    assert len(list(manifest.list_files())) == 1 + len(MEMBERS)
    assert len(list(manifest.filter_by_prefix("s/"))) == len(MEMBERS)
    assert manifest.compact("flat.jsonl")["total_entries"] == 2
    report = manifest.delete()
    assert (report["deleted_object_count"], report["deleted_archive_count"]) == (1, 1)


def test_a_copy_of_a_data_set_in_another_place_is_read(tmp_path: Path) -> None:
    first = ExchangeStore.open(f"file://{tmp_path}/first")
    shard = put_shard(first)
    first.write_manifest("m.jsonl", [shard, first.put_object("loose", b"x")])
    expected = [body.read() for body, _ in first.iter_objects("m.jsonl")]
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    memory = fresh_memory()
    for key in first.list_keys():
        memory.put_object(key, first.get_object(key))
    for copy in (ExchangeStore.open(f"file://{tmp_path}/second"), memory):
        assert [body.read() for body, _ in copy.iter_objects("m.jsonl")] == expected
        assert len(list(copy.list_manifest_files("m.jsonl"))) == len(expected)
        assert copy.get_object("s/0.tar.gz#007.bin").read() == MEMBERS["007.bin"]


@pytest.mark.parametrize("compression", [None, "gzip", "zstd", "s4"])
def test_a_replaced_archive_of_the_same_length_is_not_the_one_of_its_entry(
    store: ExchangeStore, compression: str | None
) -> None:
    def put(letter: bytes) -> Any:
        data = make("noise", 3000)[:-1] + letter
        items: list[Any] = [{"member_path": "m", "source": data}]
        return store.put_shard_archive("0.tar", items, compression=compression).entry

    entry, other = put(b"a"), put(b"b")
    assert entry["size_bytes"] == other["size_bytes"]
    for without_index in (False, True):
        if without_index:
            store.delete_key("0.tar.shardindex")
        with pytest.raises(IntegrityError) as caught:
            [body.read() for body, _ in store.iter_objects([entry])]
        assert caught.value.key == "0.tar"
        assert [len(body.read()) for body, _ in store.iter_objects([other])] == [3000]
