"""Nothing of a dataset is removed while it cannot be told what belongs to it."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

from exchange_stores import fresh_memory
from shardpack.errors import ManifestNotFoundError
from shardpack.exchange import ExchangeStore

if TYPE_CHECKING:
    from collections.abc import Iterator


def dataset(store: ExchangeStore) -> list[str]:
    """A manifest with two parts and a shard; gives all keys."""
    for number in range(2):
        entry = store.put_object(f"set/loose/{number}", b"x")
        store.write_manifest("set/manifest.jsonl", [entry], mode="append_parts")
    shard = store.put_shard_archive("set/shards/0.tar", [{"member_path": "m", "source": b"x"}])
    store.put_sharded("set/manifest.jsonl", [shard.entry])
    return sorted(store.list_keys())


def parts(store: ExchangeStore) -> list[str]:
    """The keys of the parts, in the order in which they were added."""
    refs = store.iter_manifest_entries("set/manifest.jsonl", resolve_refs=False)
    return [ref["key"] for ref in refs if ref["kind"] == "manifest_ref"]


@pytest.fixture
def store() -> ExchangeStore:
    return fresh_memory()


def test_a_missing_part_stops_the_removal_before_it_begins(store: ExchangeStore) -> None:
    before = dataset(store)
    gone = parts(store)[1]
    store.delete_key(gone)
    before.remove(gone)
    for dry_run in (True, False):
        report = store.delete_manifest("set/manifest.jsonl", dry_run=dry_run)
        assert list(report["errors"]) == [gone]
        assert "not found" in report["errors"][gone]
        counts = {value for name, value in report.items() if name != "errors"}
        assert counts == {0}
        assert sorted(store.list_keys()) == before
    report = store.delete_manifest("set/manifest.jsonl", force=True)
    assert report["errors"] == {}
    # The object that only the missing part named stays.
    assert report["deleted_manifest_count"] == 3
    assert list(store.list_keys()) == ["set/loose/1"]


def test_an_unreadable_part_stops_it_too(store: ExchangeStore) -> None:
    dataset(store)
    damaged = parts(store)[0]
    store.put_object(damaged, b"{broken\n")
    before = sorted(store.list_keys())
    report = store.delete_manifest("set/manifest.jsonl")
    assert list(report["errors"]) == [damaged]
    assert sorted(store.list_keys()) == before
    report = store.delete_manifest("set/manifest.jsonl", force=True)
    # What can be read goes; the manifests stay, so that the rest can be found.
    assert list(report["errors"]) == [damaged]
    assert report["deleted_manifest_count"] == 0
    assert list(store.list_keys("set/shards/")) == []
    assert store.exists("set/manifest.jsonl")


def test_entries_of_an_iterator_are_removed_once(store: ExchangeStore) -> None:
    dataset(store)
    entries: Iterator[Any] = store.iter_manifest_entries("set/manifest.jsonl")
    assert store.delete_manifest(entries)["deleted_object_count"] == 2
    assert list(store.list_keys("set/loose/")) == []


def test_opened_without_its_prefix_a_dataset_is_left_alone() -> None:
    below = fresh_memory("team/data")
    dataset(below)
    above = ExchangeStore(below.objects)
    before = sorted(above.list_keys())
    report = above.delete_manifest("team/data/set/manifest.jsonl")
    assert len(report["errors"]) == 3
    assert all("base prefix" in reason for reason in report["errors"].values())
    assert sorted(above.list_keys()) == before
    with pytest.raises(ManifestNotFoundError, match="base prefix") as caught:
        list(above.iter_manifest_entries("team/data/set/manifest.jsonl"))
    assert caught.value.referred_by == "team/data/set/manifest.jsonl"
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    with pytest.raises(ManifestNotFoundError) as plain:
        list(above.iter_manifest_entries("none.jsonl"))
    assert "base prefix" not in str(plain.value)
    assert any("base prefix" in each.message for each in above.verify("team/data/set").findings)
