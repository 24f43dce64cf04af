"""Listing keys of an exchange store, and removing what lies under them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from exchange_stores import BASE, fresh_memory
from shardpack.errors import AccessDeniedError, ManifestNotFoundError, StorageError
from shardpack.exchange import ExchangeStore

if TYPE_CHECKING:
    from collections.abc import Iterable


class Guarded:
    """A store that refuses to remove some keys; everything else about it is as in memory."""

    def __init__(self, objects: Any, refused: str) -> None:
        self._objects = objects
        self._refused = refused

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def delete_many(self, keys: Iterable[str]) -> dict[str, StorageError]:
        names = list(keys)
        refused = {key for key in names if self._refused in key}
        self._objects.delete_many(key for key in names if key not in refused)
        return {key: AccessDeniedError("no", key=key, status=403) for key in sorted(refused)}


def keys(store: ExchangeStore) -> list[str]:
    return [info.key for info in store.objects.list()]


def fill(store: ExchangeStore, *names: str) -> None:
    for name in names:
        store.put_object(name, b"x")


def test_keys_are_listed_in_order_below_the_base_prefix(store: ExchangeStore) -> None:
    fill(store, "a/2", "a/1", "ab", "b/c/d")
    assert list(store.list_keys("a/")) == ["a/1", "a/2"]
    assert list(store.list_keys("a")) == ["a/1", "a/2", "ab"]
    assert list(store.list_keys("")) == ["a/1", "a/2", "ab", "b/c/d"]
    assert list(store.list_keys("none")) == []
    assert list(store.list_keys(f"{BASE}/a/")) == [f"{BASE}/a/1", f"{BASE}/a/2"]
    for key in store.list_keys(""):
        assert store.exists(key)


def test_a_listed_key_names_its_object_also_where_a_folder_has_the_name_of_the_base() -> None:
    store = fresh_memory("b")
    store.objects.put("b/b/x", b"deep")
    store.put_object("x", b"flat")
    found = {key: store.get_object(key).read() for key in store.list_keys("")}
    assert sorted(found.values()) == [b"deep", b"flat"]


def test_removing_a_key_removes_it_and_nothing_else(store: ExchangeStore) -> None:
    fill(store, "a", "a2")
    store.delete_key("a")
    store.delete_key("a")
    assert keys(store) == [f"{BASE}/a2"]


def test_removing_an_archive_removes_its_indexes(store: ExchangeStore) -> None:
    shard = store.put_shard_archive("s/0.tar.gz", [{"member_path": "m", "source": b"x"}])
    fill(store, "s/0.tar.gz.s4index", "s/0.tar.gz2")
    with pytest.raises(ValueError, match=r"s/0\.tar\.gz#m"):
        store.delete_key("s/0.tar.gz#m")
    shard.delete()
    store.put_shard_archive("s/no-suffix", [{"member_path": "m", "source": b"x"}]).delete()
    assert keys(store) == [f"{BASE}/s/0.tar.gz2"]


def test_an_object_with_a_hash_sign_in_its_key_can_be_removed(store: ExchangeStore) -> None:
    fill(store, "none.tar#m")
    store.delete_key("none.tar#m")
    assert keys(store) == []


def test_removing_a_prefix_counts_what_went(store: ExchangeStore) -> None:
    fill(store, "p/1.txt", "p/2.txt", "p/3.bin", "q")
    assert store.delete_prefix("p/", regex=r"\.txt$", dry_run=True) == 2
    assert len(keys(store)) == 4
    assert store.delete_prefix("p/", regex=r"\.txt$", batch_size=1) == 2
    assert keys(store) == [f"{BASE}/p/3.bin", f"{BASE}/q"]
    assert store.delete_prefix("p") == 1
    assert store.delete_prefix("p") == 0


def test_an_empty_prefix_removes_only_what_lies_below_the_base() -> None:
    store = fresh_memory(BASE)
    fill(store, "a", "b")
    store.objects.put("elsewhere", b"x")
    store.objects.put(f"{BASE}2", b"x")
    assert store.delete_prefix("") == 2
    assert keys(store) == [f"{BASE}2", "elsewhere"]


def test_a_whole_store_is_emptied_only_when_that_is_said() -> None:
    store = fresh_memory()
    fill(store, "a", "b")
    with pytest.raises(ValueError, match="everything=True"):
        store.delete_prefix("")
    with pytest.raises(ValueError, match="everything=True"):
        store.delete_prefix("/")
    assert len(keys(store)) == 2
    assert store.delete_prefix("", everything=True) == 2
    with pytest.raises(ValueError, match="batch_size"):
        store.delete_prefix("a", batch_size=0)


def test_refused_removals_are_raised_and_not_counted() -> None:
    memory = fresh_memory()
    fill(memory, "p/1", "p/2", "p/3")
    store = ExchangeStore(Guarded(memory.objects, "p/"))
    with pytest.raises(AccessDeniedError, match="3 of 3 objects"):
        store.delete_prefix("p/")
    some = ExchangeStore(Guarded(memory.objects, "p/2"))
    with pytest.raises(AccessDeniedError, match="1 of 3 objects"):
        some.delete_prefix("p/")
    assert keys(memory) == ["p/2"]


def dataset(store: ExchangeStore) -> None:
    """A manifest that was appended to five times: objects, shards, and another manifest."""
    for i in range(3):
        entry = store.put_object(f"loose/{i}", b"x")
        store.write_manifest("set/manifest.jsonl", [entry], mode="append_parts")
    shard = store.put_shard_archive("set/shards/0.tar.gz", [{"member_path": "m", "source": b"x"}])
    store.put_sharded("set/manifest.jsonl", [shard.entry])
    store.write_manifest("other.jsonl", [store.put_object("loose/other", b"x")])
    store.write_manifest(
        "set/manifest.jsonl",
        [{"kind": "manifest_ref", "key": "other.jsonl"}],
        mode="append_parts",
    )


def test_removing_a_manifest_follows_all_that_it_refers_to(store: ExchangeStore) -> None:
    dataset(store)
    store.put_object("unrelated", b"x")
    before = keys(store)
    told = store.delete_manifest("set/manifest.jsonl", dry_run=True)
    assert keys(store) == before
    report = store.delete_manifest("set/manifest.jsonl")
    assert report == told
    assert report == {
        "deleted_object_count": 4,
        "deleted_archive_count": 1,
        # The root, its five parts, and the other manifest.
        "deleted_manifest_count": 7,
        "errors": {},
    }
    assert keys(store) == [f"{BASE}/unrelated"]
    with pytest.raises(ManifestNotFoundError):
        store.delete_manifest("set/manifest.jsonl")


def test_objects_can_go_while_the_manifests_stay() -> None:
    store = fresh_memory()
    dataset(store)
    report = store.delete_manifest("set/manifest.jsonl", delete_manifests=False)
    assert report["deleted_object_count"] == 4
    assert report["deleted_manifest_count"] == 0
    assert all(key.endswith(".jsonl") for key in keys(store))


def test_a_manifest_stays_while_something_of_it_could_not_be_removed() -> None:
    store = fresh_memory()
    dataset(store)
    guarded = ExchangeStore(Guarded(store.objects, "loose/1"))
    report = guarded.delete_manifest("set/manifest.jsonl")
    assert list(report["errors"]) == ["loose/1"]
    assert report["deleted_object_count"] == 3
    assert report["deleted_archive_count"] == 1
    assert report["deleted_manifest_count"] == 0
    again = store.delete_manifest("set/manifest.jsonl")
    assert again["deleted_manifest_count"] == 7
    assert again["errors"] == {}
    assert keys(store) == []


def test_an_archive_that_cannot_be_removed_is_an_error_under_its_key() -> None:
    store = fresh_memory()
    dataset(store)
    guarded = ExchangeStore(Guarded(store.objects, ".shardindex"))
    report = guarded.delete_manifest("set/manifest.jsonl")
    assert list(report["errors"]) == ["set/shards/0.tar.gz"]
    assert report["deleted_archive_count"] == 0


def test_no_manifest_goes_before_those_that_it_refers_to() -> None:
    store = fresh_memory()
    dataset(store)
    guarded = ExchangeStore(Guarded(store.objects, "other.jsonl"))
    report = guarded.delete_manifest("set/manifest.jsonl")
    assert list(report["errors"]) == ["other.jsonl"]
    assert report["deleted_manifest_count"] == 0
    assert store.delete_manifest("set/manifest.jsonl")["errors"] == {}
    assert keys(store) == []


def test_manifests_that_refer_to_each_other_are_removed_once() -> None:
    store = fresh_memory()
    store.write_manifest("a.jsonl", [{"kind": "manifest_ref", "key": "b.jsonl"}])
    store.write_manifest("b.jsonl", [{"kind": "manifest_ref", "key": "a.jsonl"}])
    assert store.delete_manifest("a.jsonl")["deleted_manifest_count"] == 2
    assert keys(store) == []


def test_an_unreadable_manifest_keeps_all_manifests() -> None:
    store = fresh_memory()
    dataset(store)
    store.put_object("other.jsonl", b"{broken\n")
    report = store.delete_manifest("set/manifest.jsonl")
    assert list(report["errors"]) == ["other.jsonl"]
    assert report["deleted_manifest_count"] == 0
    assert store.exists("set/manifest.jsonl")


def test_members_that_are_named_without_their_archive_keep_it() -> None:
    store = fresh_memory()
    shard = store.put_shard_archive("s/0.tar", [{"member_path": "m", "source": b"x"}])
    listed = list(shard.get_manifest())
    store.write_manifest("members.jsonl", listed)
    report = store.delete_manifest("members.jsonl")
    assert list(report["errors"]) == ["s/0.tar"]
    assert report["deleted_manifest_count"] == 1
    assert store.get_object("s/0.tar#m").read() == b"x"
    assert store.delete_manifest([*listed, shard.entry])["errors"] == {}
    assert keys(store) == []


def test_what_is_named_twice_counts_once() -> None:
    store = fresh_memory()
    entry = store.put_object("a", b"x")
    assert store.delete_manifest([entry, entry], dry_run=True)["deleted_object_count"] == 1
    assert store.delete_manifest([entry, entry], dedupe=False)["deleted_object_count"] == 2


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "file", "key": "../x"},
        {"kind": "file", "key": ""},
        {"kind": "shard", "archive_key": "a/../../x.tar"},
        {"kind": "manifest_ref", "key": "../m.jsonl"},
    ],
)
def test_keys_that_climb_are_told_and_stop_nothing(entry: Any) -> None:
    store = fresh_memory(BASE)
    fill(store, "a", "b")
    entries: list[Any] = [store.put_object("a", b"x"), entry, store.put_object("b", b"x")]
    store.write_manifest("m.jsonl", entries)
    report = store.delete_manifest("m.jsonl")
    assert report["deleted_object_count"] == 2
    assert report["deleted_manifest_count"] == 0
    assert list(report["errors"]) == [entry.get("key", entry.get("archive_key"))]
    assert list(store.list_keys()) == ["m.jsonl"]


def test_fields_of_other_types_are_not_taken_for_names() -> None:
    store = fresh_memory()
    fill(store, "a")
    entry: Any = {"kind": "file", "key": "a", "member_path": 5, "archive_key": 7}
    store.write_manifest("m.jsonl", [entry])
    assert store.delete_manifest("m.jsonl")["errors"] == {}
    assert keys(store) == []
