"""Interchange with the real ``s3exchange`` 0.1.1: we read what it writes, and it reads ours."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from inputs import REPOSITORY, VECTORS, load_json, make
from shardpack import exchange
from shardpack.exchange import ExchangeStore, S3ExchangeStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servers import S3Server

GOLDEN: dict[str, list[list[Any]]] = load_json("exchange/contents.json")
DRIVER = Path(__file__).with_name("s3exchange_driver.py")
MEMBERS = {f"{i:03d}/{'long' * (i % 40)}.bin": make("lines", i * 997, f"m{i}") for i in range(60)}


def contents(store: ExchangeStore, manifest_key: str) -> list[list[Any]]:
    """What iterating a manifest gives, told as the driver of the peer tells it."""
    found = []
    for body, entry in store.iter_objects(manifest_key):
        assert entry["kind"] == "file"
        data = body.read()
        digest = hashlib.sha256(data).hexdigest()
        found.append([entry["key"], entry.get("id"), entry.get("meta"), len(data), digest])
    return found


@pytest.fixture
def bucket_store(moto_server: S3Server) -> Iterator[S3ExchangeStore]:
    client = moto_server.client()
    yield S3ExchangeStore(client, moto_server.fresh_bucket(client))
    client.close()


@pytest.fixture
def golden_store(bucket_store: S3ExchangeStore) -> S3ExchangeStore:
    folder = VECTORS / "exchange" / "objects"
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            bucket_store.put_object(path.relative_to(folder).as_posix(), path)
    return bucket_store


# --- what s3exchange wrote ------------------------------------------------------------------------


@pytest.mark.parametrize("manifest_key", GOLDEN)
def test_manifests_and_shards_of_s3exchange_are_read_as_it_reads_them(
    golden_store: S3ExchangeStore, manifest_key: str
) -> None:
    assert contents(golden_store, manifest_key) == GOLDEN[manifest_key]
    listed = [entry.get("key") for entry in golden_store.list_manifest_files(manifest_key)]
    assert listed == [row[0] for row in GOLDEN[manifest_key]]


def test_members_of_archives_of_s3exchange_are_opened_by_their_keys(
    golden_store: S3ExchangeStore,
) -> None:
    rows = {row[0]: row for row in GOLDEN["sets/appended/manifest.jsonl"] if "#" in row[0]}
    assert len(rows) == 10
    for key, (_, _, _, size, digest) in rows.items():
        data = golden_store.get_object(key).read()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (size, digest)
        assert golden_store.exists(key)
        assert golden_store.head_object(key)["ContentLength"] == size
    found = golden_store.iter_objects_from_keys(rows)
    told = [[entry["key"], entry["id"], entry["meta"]] for _, entry in found]
    assert sorted(told) == sorted(row[:3] for row in rows.values())


def test_an_index_makes_archives_of_s3exchange_seekable(golden_store: S3ExchangeStore) -> None:
    for key in ("shards/plain.tar", "shards/packed.tar.gz"):
        golden_store.build_index(key)
        assert golden_store.objects.exists(f"{key}.shardindex")
    for row in GOLDEN["sets/appended/manifest.jsonl"]:
        data = golden_store.get_object(row[0]).read()
        assert hashlib.sha256(data).hexdigest() == row[4]
    assert contents(golden_store, "sets/flat.jsonl") == GOLDEN["sets/flat.jsonl"]


def test_a_manifest_of_s3exchange_is_appended_to_and_compacted(
    golden_store: S3ExchangeStore,
) -> None:
    key = "sets/appended/manifest.jsonl"
    extra = golden_store.put_object("loose/extra", b"extra")
    golden_store.write_manifest(key, [extra], mode="append_parts")
    expected = [*GOLDEN[key], contents(golden_store, key)[-1]]
    assert expected[-1][0] == "loose/extra"
    assert contents(golden_store, key) == expected
    report = golden_store.compact_manifest(key, "sets/flat2.jsonl")
    assert report["total_entries"] == 5
    assert contents(golden_store, "sets/flat2.jsonl") == expected


# --- with s3exchange running ----------------------------------------------------------------------


def find_peer() -> str | None:
    """The interpreter with the package, if one was set up; nothing is installed here."""
    sys.path.append(str(REPOSITORY / "benches/python"))
    try:
        from s3exchange_peer import existing_python
    finally:
        sys.path.pop()
    found = existing_python()
    return None if found is None else str(found)


PEER = find_peer()
with_peer = pytest.mark.skipif(
    PEER is None,
    reason="s3exchange is not here: python benches/python/s3exchange_peer.py sets it up",
)


@pytest.fixture
def peer(moto_server: S3Server, bucket_store: S3ExchangeStore) -> Callable[..., Any]:
    def run(command: str, *arguments: str) -> Any:
        assert PEER is not None
        done = subprocess.run(
            [PEER, str(DRIVER), moto_server.endpoint_url, bucket_store.bucket, command, *arguments],
            env=os.environ | moto_server.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def put_shards(store: ExchangeStore) -> None:
    items: list[Any] = [
        {"member_path": path, "source": data, "id": path[:3], "meta": {"n": len(data)}}
        for path, data in MEMBERS.items()
    ]
    for compression, suffix in ((None, "tar"), ("gzip", "tar.gz")):
        shard = store.put_shard_archive(f"shards/0.{suffix}", items, compression=compression)
        store.put_sharded("set/manifest.jsonl", [shard.entry])


@with_peer
def test_s3exchange_reads_our_shards(
    bucket_store: S3ExchangeStore, peer: Callable[..., Any]
) -> None:
    put_shards(bucket_store)
    ours = contents(bucket_store, "set/manifest.jsonl")
    assert len(ours) == 2 * len(MEMBERS)
    keys = [row[0] for row in ours][5::25]
    theirs = peer("survey", "set/manifest.jsonl", *keys)
    assert theirs["contents"] == ours
    assert theirs["listed"] == [row[0] for row in ours]
    assert theirs["members"] == [[row[0], *row[3:]] for row in ours][5::25]


@with_peer
def test_s3exchange_reads_manifests_that_we_appended_to_and_folded(
    bucket_store: S3ExchangeStore, peer: Callable[..., Any]
) -> None:
    for i in range(70):
        bucket_store.write_manifest(
            "set/manifest.jsonl",
            [{"kind": "file", "key": f"k/{i}", "id": f"{i}"}],
            mode="append_parts",
        )
    root = bucket_store.get_object("set/manifest.jsonl").read()
    assert len(root.splitlines()) < 64, "the root was not folded"
    report = bucket_store.compact_manifest("set/manifest.jsonl", "flat.jsonl")
    assert report["total_entries"] == 70
    theirs, flat = peer("entries", "set/manifest.jsonl", "flat.jsonl")
    assert [entry["key"] for entry in theirs] == [f"k/{i}" for i in range(70)]
    assert theirs == list(bucket_store.iter_manifest_entries("set/manifest.jsonl"))
    assert flat == theirs


@with_peer
def test_both_append_to_one_manifest_in_turn(
    bucket_store: S3ExchangeStore, peer: Callable[..., Any]
) -> None:
    key = "set/manifest.jsonl"
    expected = []
    for turn in range(2):
        ours = f"ours/{turn}"
        bucket_store.write_manifest(
            key, [{"kind": "file", "key": ours, "id": None}], mode="append_parts"
        )
        theirs = [f"theirs/{turn}/{i}" for i in range(2)]
        peer("append", key, *theirs)
        expected += [ours, *theirs]
    found = [entry.get("key") for entry in bucket_store.iter_manifest_entries(key)]
    (entries,) = peer("entries", key)
    assert found == [entry["key"] for entry in entries] == expected


@with_peer
def test_what_s3exchange_writes_now_is_read(
    bucket_store: S3ExchangeStore, peer: Callable[..., Any]
) -> None:
    told = peer("populate")
    for manifest_key, rows in told.items():
        assert contents(bucket_store, manifest_key) == rows
        members = [row for row in rows if "#" in row[0]]
        assert [
            [row[0], hashlib.sha256(bucket_store.get_object(row[0]).read()).hexdigest()]
            for row in members
        ] == [[row[0], row[4]] for row in members]


@with_peer
def test_every_call_of_s3exchange_takes_the_same_arguments_here(peer: Callable[..., Any]) -> None:
    told = peer("signatures")
    assert len(told) > 60
    assert {"Shard.create_archive", "S3ExchangeStore", "S3ExchangeStore.get_object"} <= set(told)
    for name, theirs in told.items():
        owner, _, call = name.partition(".")
        target = getattr(exchange, owner)
        ours = list(
            inspect.signature(getattr(target, call) if call else target).parameters.values()
        )
        named = {parameter.name: parameter for parameter in ours}
        for position, (parameter, kind, is_optional) in enumerate(theirs):
            found = named.pop(parameter, None)
            assert found is not None, f"{name} has no {parameter}"
            if kind == "POSITIONAL_OR_KEYWORD":
                assert found.kind.name == kind, f"{name}: {parameter}"
                assert ours[position] is found, f"{name}: {parameter}"
            if is_optional:
                assert found.default is not found.empty, f"{name}: {parameter}"
        for found in named.values():
            # What we have besides.
            assert found.default is not found.empty, f"{name}: {found.name}"
