"""Objects and members written to files, and read by lists of keys."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from exchange_stores import fresh_memory
from fault_proxy import Fault, FaultProxy
from inputs import KIB, MIB, make
from shardpack.errors import ObjectNotFoundError, StorageError, UnsafePathError
from shardpack.exchange import ExchangeStore, S3ExchangeStore
from shardpack.exchange.shard.index_cache import CACHE

if TYPE_CHECKING:
    from pathlib import Path

    from servers import S3Server

LARGE = make("noise", 3 * MIB)


def fill(store: ExchangeStore) -> dict[str, bytes]:
    """Objects and two archives, one of them without an index; gives what each key should give."""
    wanted = {f"loose/{i}.bin": make("lines", i * 1000 + 1, f"{i}") for i in range(5)}
    for key, data in wanted.items():
        store.put_object(key, data, content_type="text/plain")
    members = {f"dir{i % 2}/{i}.txt": make("events", i * 500, f"{i}") for i in range(6)}
    items: list[Any] = [
        {"member_path": path, "source": data, "id": f"id{len(data)}"}
        for path, data in members.items()
    ]
    store.put_shard_archive("s/ours.tar.gz", items)
    wanted |= {f"s/ours.tar.gz#{path}": data for path, data in members.items()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, data in members.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    store.put_object("s/theirs.tgz", buffer.getvalue())
    wanted |= {f"s/theirs.tgz#{path}": data for path, data in members.items()}
    return wanted


def test_an_object_is_written_to_a_file_whose_folder_is_made(
    store: ExchangeStore, tmp_path: Path
) -> None:
    wanted = fill(store)
    for number, (key, data) in enumerate(wanted.items()):
        path = tmp_path / "new" / "folder" / str(number)
        assert store.download_object(key, path) == path
        assert path.read_bytes() == data
    path = tmp_path / "again"
    path.write_bytes(b"old")
    assert store.download_object("loose/1.bin", str(path)) == path
    assert path.read_bytes() == wanted["loose/1.bin"]


def test_what_is_not_there_leaves_the_file_alone(store: ExchangeStore, tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    fill(store)
    for key in ("missing", "missing.tar#m", "s/ours.tar.gz#missing", "s/theirs.tgz#missing"):
        with pytest.raises(ObjectNotFoundError) as caught:
            store.download_object(key, path)
        assert caught.value.key == key
        with pytest.raises(ObjectNotFoundError) as caught:
            store.download_objects([key], tmp_path / "all")
        assert caught.value.key == key
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path / "all") == []


def test_many_objects_are_written_to_a_folder(store: ExchangeStore, tmp_path: Path) -> None:
    wanted = fill(store)
    keys = [key for key in wanted if "theirs" not in key]
    paths = store.download_objects([*keys, keys[0]], tmp_path / "all")
    assert list(paths) == keys
    assert {key: path.read_bytes() for key, path in paths.items()} == {
        key: wanted[key] for key in keys
    }
    assert paths["loose/0.bin"] == tmp_path / "all" / "0.bin"
    assert paths["s/ours.tar.gz#dir1/3.txt"] == tmp_path / "all" / "3.txt"


def test_two_keys_for_one_file_are_refused_or_told_apart_by_their_folders(
    store: ExchangeStore, tmp_path: Path
) -> None:
    wanted = fill(store)
    with pytest.raises(ValueError, match="keep_folders"):
        store.download_objects(wanted, tmp_path / "all")
    assert not (tmp_path / "all").exists()
    paths = store.download_objects(wanted, tmp_path / "all", keep_folders=True)
    assert {key: path.read_bytes() for key, path in paths.items()} == wanted
    assert paths["s/theirs.tgz#dir1/1.txt"] == tmp_path / "all/s/theirs.tgz/dir1/1.txt"


@pytest.mark.parametrize(
    ("key", "keep_folders"),
    [("a/..", False), ("a.tar#b/..", False), ("a.tar#../b", True), ("a.tar#x/../../b", True)],
)
def test_names_that_lead_out_of_the_folder_are_refused(
    key: str, *, keep_folders: bool, tmp_path: Path
) -> None:
    store = fresh_memory()
    with pytest.raises(UnsafePathError):
        store.download_objects(["fine", key], tmp_path / "all", keep_folders=keep_folders)
    assert not (tmp_path / "all").exists()


def test_a_file_where_another_needs_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a folder"):
        fresh_memory().download_objects(["a", "a/b"], tmp_path / "all", keep_folders=True)
    assert not (tmp_path / "all").exists()


def test_missing_keys_are_left_out_where_that_is_asked_for(
    store: ExchangeStore, tmp_path: Path
) -> None:
    wanted = fill(store)
    keys = ["missing", "none.tar#m", "s/ours.tar.gz#none", "s/ours.tar.gz#dir0/2.txt"]
    paths = store.download_objects(keys, tmp_path, missing="skip")
    assert list(paths) == keys[3:]
    assert paths[keys[3]].read_bytes() == wanted[keys[3]]
    found = list(store.iter_objects_from_keys(keys))
    assert [entry["key"] for _, entry in found] == keys[3:]
    for key in keys[:3]:
        with pytest.raises(ObjectNotFoundError) as caught:
            list(store.iter_objects_from_keys([key], missing="raise"))
        assert caught.value.key == key
    unknown: Any = "maybe"
    with pytest.raises(ValueError, match="maybe"):
        store.download_objects([], tmp_path, missing=unknown)
    with pytest.raises(ValueError, match="maybe"):
        store.iter_objects_from_keys([], missing=unknown)


def test_objects_are_given_by_their_keys(store: ExchangeStore) -> None:
    wanted = fill(store)
    found = {}
    order = []
    for body, entry in store.iter_objects_from_keys(reversed(wanted)):
        found[entry["key"]] = body.read()
        order.append("#" in entry["key"])
        assert entry["kind"] == "file"
        assert entry["size_bytes"] == len(wanted[entry["key"]])
        if "ours" in entry["key"]:
            assert entry["id"] == f"id{len(wanted[entry['key']])}"
            assert len(entry["blake3"]) == 64
    assert found == wanted
    assert order == sorted(order), "plain keys come first"
    assert len(list(store.iter_objects_from_keys(wanted, limit=7))) == 7
    assert list(store.iter_objects_from_keys(wanted, limit=0)) == []
    entry = next(store.iter_objects_from_keys(["loose/3.bin"]))[1]
    assert entry["content_type"] == "text/plain"
    assert entry["id"] == "3"


def test_an_archive_is_read_once_for_all_its_members(moto_server: S3Server, tmp_path: Path) -> None:
    with FaultProxy(moto_server.endpoint_url) as proxy:
        client = moto_server.client(proxy.url)
        store = S3ExchangeStore(client, moto_server.fresh_bucket(client))
        wanted = fill(store)
        for name in ("s/ours.tar.gz", "s/theirs.tgz"):
            keys = [key for key in wanted if key.startswith(name)]
            size = store.head_object(name)["ContentLength"]
            for read in (
                lambda keys=keys: list(store.iter_objects_from_keys(keys)),
                lambda keys=keys: store.download_objects(keys, tmp_path),
            ):
                CACHE.clear()
                proxy.forget()
                read()
                assert sum(one.bytes_down for one in proxy.seen("GET", name + r"($|\?)")) <= (
                    2 * size
                ), name
                assert proxy.count() <= 5
        client.close()


def test_a_broken_connection_is_taken_up_again_and_a_dead_one_leaves_the_old_file(
    moto_server: S3Server, tmp_path: Path
) -> None:
    with FaultProxy(moto_server.endpoint_url) as proxy:
        client = moto_server.client(proxy.url)
        store = S3ExchangeStore(client, moto_server.fresh_bucket(client))
        store.put_object("large", LARGE)
        path = tmp_path / "large"
        path.write_bytes(b"the good copy")
        proxy.faults.append(Fault(method="GET", path="large", answer=403, code="AccessDenied"))
        with pytest.raises(StorageError):
            store.download_object("large", path)
        assert path.read_bytes() == b"the good copy"
        assert os.listdir(tmp_path) == ["large"]
        proxy.forget()
        proxy.faults.append(Fault(method="GET", path="large", cut_after=len(LARGE) // 2))
        store.download_object("large", path)
        assert path.read_bytes() == LARGE
        assert proxy.bytes_down < len(LARGE) + 600 * KIB
        client.close()


def test_a_loose_object_costs_one_request(moto_server: S3Server) -> None:
    with FaultProxy(moto_server.endpoint_url) as proxy:
        client = moto_server.client(proxy.url)
        store = S3ExchangeStore(client, moto_server.fresh_bucket(client), concurrency=8)
        keys = [f"k/{i}" for i in range(24)]
        for key in keys:
            store.put_object(key, key.encode())
        proxy.forget()
        found = [body.read().decode() for body, _ in store.iter_objects_from_keys(keys)]
        assert found == keys
        assert proxy.count() == len(keys)
        client.close()


def test_an_iteration_that_is_left_closes_what_it_opened(tmp_path: Path) -> None:
    store = ExchangeStore.open(f"file://{tmp_path}/root", concurrency=4)
    keys = [f"k/{i}" for i in range(20)]
    for key in keys:
        store.put_object(key, LARGE)
    iterator = store.iter_objects_from_keys(keys)
    body, _ = next(iterator)
    body.close()
    del iterator
    opened = [os.readlink(f"/proc/self/fd/{fd}") for fd in _descriptors()]
    assert not [name for name in opened if name.startswith(str(tmp_path))]


def _descriptors() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
