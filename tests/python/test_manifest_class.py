from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import pytest

from exchange_stores import fresh_memory
from shardpack.errors import InvalidManifestError, ManifestNotFoundError
from shardpack.exchange import Manifest

if TYPE_CHECKING:
    from servers import S3Server
    from shardpack.exchange import ExchangeStore


@pytest.fixture
def filled() -> ExchangeStore:
    """A store with a manifest of a file, a shard of two members, and another manifest."""
    store = fresh_memory("base")
    items: Any = [{"source": b"1", "member_path": "x"}, {"source": b"2", "member_path": "y"}]
    shard = store.put_shard_archive("sh/a.tar.gz", items)
    store.put_object("k1", b"one")
    store.put_object("k2", b"two")
    store.write_manifest("m2.jsonl", [{"kind": "file", "key": "k2"}])
    entries: Any = [
        {"kind": "file", "key": "k1"},
        shard.entry,
        {"kind": "manifest_ref", "key": "m2.jsonl"},
    ]
    store.write_manifest("m.jsonl", entries)
    return store


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({}, ["k1", "sh/a.tar.gz#x", "sh/a.tar.gz#y", "k2"]),
        ({"expand_shards": False}, ["k1", "sh/a.tar.gz", "k2"]),
        ({"resolve_refs": False}, ["k1", "sh/a.tar.gz#x", "sh/a.tar.gz#y", "m2.jsonl"]),
        ({"limit": 2}, ["k1", "sh/a.tar.gz#x"]),
        ({"limit": 1}, ["k1"]),
        ({"limit": 0}, []),
    ],
)
def test_keys_are_those_of_files_and_members(
    filled: ExchangeStore, options: dict[str, Any], keys: list[str]
) -> None:
    assert list(Manifest.from_key(filled, "m.jsonl").get_keys(**options)) == keys


def test_a_manifest_gives_entries_files_and_objects(filled: ExchangeStore) -> None:
    manifest = Manifest(filled, key="m.jsonl")
    assert (manifest.key, manifest.store) == ("m.jsonl", filled)
    assert [entry["kind"] for entry in manifest] == ["file", "shard", "file"]
    assert len(list(manifest.iter_entries(limit=2))) == 2
    assert [entry["kind"] for entry in manifest.iter_entries(resolve_refs=False)][-1] == (
        "manifest_ref"
    )
    assert len(list(manifest.list_files())) == 4
    assert len(list(manifest.list_files(include_shards=False))) == 3
    assert [entry.get("key") for entry in manifest.filter_by_prefix("k")] == ["k1", "k2"]
    assert [body.read() for body, _ in manifest.iter_objects()] == [b"one", b"1", b"2", b"two"]
    assert len(list(manifest.iter_objects(limit=1))) == 1


def test_entries_in_memory_act_as_a_manifest(filled: ExchangeStore) -> None:
    entries: Any = [{"kind": "manifest_ref", "key": "m.jsonl"}, {"kind": "file", "key": "k2"}]
    manifest = Manifest.from_ref(filled, iter(entries))
    assert manifest.key is None
    assert list(manifest.get_keys()) == list(manifest.get_keys())
    assert list(manifest.get_keys(expand_shards=False)) == ["k1", "sh/a.tar.gz", "k2", "k2"]
    assert manifest.compact("copy.jsonl")["total_entries"] == 4
    assert list(Manifest.from_ref(filled, "copy.jsonl").get_keys(limit=1)) == ["k1"]
    with pytest.raises(ValueError, match="without a key"):
        manifest.save()
    with pytest.raises(ValueError, match="a key or entries"):
        Manifest(filled)


def test_saving_replaces_or_adds(filled: ExchangeStore) -> None:
    manifest = Manifest(filled, key="new.jsonl", entries=[{"kind": "file", "key": "k1"}])
    manifest.save()
    manifest.save([{"kind": "file", "key": "k2"}], mode="append_parts")
    assert list(manifest.get_keys()) == ["k1", "k2"]
    manifest.save([])
    assert list(manifest) == []
    with pytest.raises(ValueError, match="got 'other'"):
        manifest.save([], mode="other")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nothing to save"):
        Manifest(filled, key="new.jsonl").save()


def test_compacting_may_put_members_in_place_of_shards(filled: ExchangeStore) -> None:
    report = filled.compact_manifest("m.jsonl", "flat.jsonl", expand_shards=True)
    assert report == {
        "total_entries": 4,
        "removed_entries": 0,
        "resolved_refs": 1,
        "expanded_shards": 2,
    }
    flat = Manifest.from_key(filled, "flat.jsonl")
    assert list(flat.get_keys()) == ["k1", "sh/a.tar.gz#x", "sh/a.tar.gz#y", "k2"]
    assert [body.read() for body, _ in flat.iter_objects()] == [b"one", b"1", b"2", b"two"]


def test_deleting_removes_what_a_manifest_names(filled: ExchangeStore) -> None:
    report = Manifest.from_key(filled, "m.jsonl").delete()
    assert report["errors"] == {}
    assert report["deleted_archive_count"] == 1
    assert list(filled.objects.list()) == []
    with pytest.raises(ManifestNotFoundError):
        list(filled.get_manifest("m.jsonl"))


def test_lines_are_helped_along() -> None:
    line = '{"kind":"file","key":"\\u00e9"}'
    entry = Manifest.parse_line(line, 3)
    assert Manifest.serialize_entry(entry) == line
    with pytest.raises(InvalidManifestError, match="Line 3"):
        Manifest.parse_line("{", 3)
    stream = io.BytesIO(b"\na\r\n\nb")
    assert list(Manifest.iter_lines(stream)) == ["", "a\r", "", "b"]
    assert list(Manifest.iter_lines(io.BytesIO(b"a\nb\nc"), limit=2)) == ["a", "b"]
    assert re.fullmatch(
        r"a/manifests/part-\d{8}-\d{6}-[0-9a-f]{8}\.jsonl", Manifest.generate_part_key("a/m.jsonl")
    )
    assert Manifest.generate_part_key("m.jsonl").startswith("manifests/part-")


def test_a_bucket_is_reached_with_a_client_alone(s3_server: S3Server) -> None:
    client = s3_server.client()
    bucket = s3_server.fresh_bucket(client)
    entries: Any = [{"kind": "manifest_ref", "key": "none.jsonl"}, {"kind": "file", "key": "a"}]
    Manifest.write_to_s3(client, bucket, "raw.jsonl", entries)
    assert list(Manifest.read_from_s3(client, bucket, "raw.jsonl")) == entries
    with pytest.raises(ManifestNotFoundError):
        list(Manifest.read_from_s3(client, bucket, "none.jsonl"))
    client.close()
