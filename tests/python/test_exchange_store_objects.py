"""Single objects of an exchange store: put, get, head, exists."""

from __future__ import annotations

import io
import os
import pickle
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest

from exchange_stores import BASE, fresh_memory
from inputs import MIB, make
from shardpack import crc32c
from shardpack.errors import AccessDeniedError, ObjectNotFoundError, UnsafePathError
from shardpack.exchange import ExchangeStore
from shardpack.hash import blake3

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = make("noise", 100_003)

SOURCES: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda _folder: DATA,
    "bytearray": lambda _folder: bytearray(DATA),
    "memoryview": lambda _folder: memoryview(DATA),
    "path": lambda folder: _written(folder / "data"),
    "str path": lambda folder: str(_written(folder / "data")),
    "file object": lambda _folder: io.BytesIO(DATA),
    "iterator": lambda _folder: (DATA[i : i + 999] for i in range(0, len(DATA), 999)),
}


def _written(path: Path) -> Path:
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("kind", SOURCES)
def test_whatever_is_put_comes_back(store: ExchangeStore, kind: str, tmp_path: Path) -> None:
    entry = store.put_object("runs/7/data.bin", SOURCES[kind](tmp_path), meta={"a": 1})
    assert entry == {
        "kind": "file",
        "key": "runs/7/data.bin",
        "id": "data",
        "meta": {"a": 1},
        "content_type": None,
        "size_bytes": len(DATA),
        "etag": entry["etag"],
        "crc32c": f"{crc32c(DATA):08x}",
        "blake3": blake3(DATA).hex(),
    }
    assert list(entry)[:7] == ["kind", "key", "id", "meta", "content_type", "size_bytes", "etag"]
    with store.get_object("runs/7/data.bin") as body:
        assert body.read() == DATA


def test_large_files_are_hashed_as_they_are_sent(tmp_path: Path) -> None:
    store = fresh_memory()
    data = make("lines", 9 * MIB + 5)
    path = tmp_path / "large"
    path.write_bytes(data)
    for source in (path, path.open("rb"), iter([data[: 5 * MIB], data[5 * MIB :]])):
        entry = store.put_object("large", source)
        assert entry["blake3"] == blake3(data).hex()
        assert entry["crc32c"] == f"{crc32c(data):08x}"
        assert entry["size_bytes"] == len(data)
        if isinstance(source, io.BufferedReader):
            source.close()


def test_an_entry_has_the_etag_and_content_type_of_its_object(store: ExchangeStore) -> None:
    entry = store.put_object("a/b.json", b"{}", content_type="application/json", id="mine")
    head = store.head_object("a/b.json")
    assert entry["id"] == "mine"
    assert entry["content_type"] == head["ContentType"] == "application/json"
    # rclone tells the tag with the answer to a PUT alone.
    assert head.get("ETag", f'"{entry["etag"]}"') == f'"{entry["etag"]}"'
    assert head["ContentLength"] == 2
    assert isinstance(head["LastModified"], datetime)
    assert isinstance(head["Metadata"], dict)


def test_metadata_says_how_it_was_answered_as_that_of_boto3_does(store: ExchangeStore) -> None:
    store.put_object("a/b.json", b"{}", content_type="application/json")
    head = store.get_object_metadata("a/b.json")
    answer = head["ResponseMetadata"]
    assert answer["HTTPStatusCode"] == 200
    headers = answer["HTTPHeaders"]
    assert headers["content-length"] == "2"
    assert headers["content-type"] == head["ContentType"]
    assert headers.get("etag") == head.get("ETag")
    assert parsedate_to_datetime(headers["last-modified"]) == head["LastModified"].replace(
        microsecond=0
    )
    items: list[Any] = [{"member_path": "m", "source": b"abc"}]
    store.put_shard_archive("a/s.tar", items)
    member = store.get_object_metadata("a/s.tar#m")["ResponseMetadata"]
    assert member["HTTPHeaders"]["content-length"] == "3"
    assert set(member["HTTPHeaders"]) >= {"x-amz-meta-crc32c", "x-amz-meta-blake3"}


def test_the_base_prefix_stands_before_every_key_and_only_once(store: ExchangeStore) -> None:
    entry = store.put_object("x/y", b"1")
    assert entry["key"] == "x/y"
    assert store.objects.exists(f"{BASE}/x/y")
    assert store.put_object(f"{BASE}/x/y", b"2")["key"] == f"{BASE}/x/y"
    assert store.get_object("x/y").read() == b"2"
    assert store.get_object(f"{BASE}/x/y").read() == b"2"
    assert list(store.objects.list()) == list(store.objects.list(f"{BASE}/"))
    assert store.scope(n=3).key("{n}/y") == f"{BASE}/3/y"


def test_what_is_not_there_is_named_as_it_was_asked_for(store: ExchangeStore) -> None:
    for call in (store.get_object, store.get_object_metadata, store.head_object):
        with pytest.raises(ObjectNotFoundError) as caught:
            call("not/there")
        assert caught.value.key == "not/there"
        assert isinstance(caught.value, FileNotFoundError)
    assert not store.exists("not/there")
    assert not store.exists("not#there")


def test_a_key_that_contains_404_is_a_key_like_others(store: ExchangeStore) -> None:
    store.put_object("runs/404/NoSuchKey", b"x")
    assert store.exists("runs/404/NoSuchKey")
    assert store.get_object("runs/404/NoSuchKey").read() == b"x"


def test_a_store_that_cannot_be_reached_does_not_say_that_there_is_nothing() -> None:
    class Refusing:
        """A store that lets nobody in; everything else about it is as in memory."""

        def __init__(self, objects: Any) -> None:
            self._objects = objects

        def __getattr__(self, name: str) -> Any:
            return getattr(self._objects, name)

        def head(self, key: str, **_: Any) -> Any:
            raise AccessDeniedError("not for you", key=key, status=403)

        get = read = head

    store = ExchangeStore(Refusing(fresh_memory().objects))
    for key in ("runs/404/x", "a.tar#member"):
        with pytest.raises(AccessDeniedError):
            store.exists(key)
        with pytest.raises(AccessDeniedError):
            store.get_object(key)


def test_a_body_has_the_calls_of_botocore_and_of_files(store: ExchangeStore) -> None:
    text = b"one\ntwo\n\nfour"
    store.put_object("text", text)

    def body() -> Any:
        return store.get_object("text")

    with body() as opened:
        assert opened.readable()
        assert opened.read(amt=3) == b"one"
        assert opened.tell() == 3
        target = bytearray(4)
        assert opened.readinto(target) == 4
        assert bytes(target) == b"\ntwo"
        assert opened.read() == b"\n\nfour"
        assert opened.read() == opened.read(5) == b""
        assert opened.readinto(target) == 0
    assert opened.closed
    with pytest.raises(ValueError, match="closed"):
        opened.read()
    assert list(body().iter_lines()) == [b"one", b"two", b"", b"four"]
    assert list(body().iter_lines(chunk_size=2, limit=2)) == [b"one", b"two"]
    assert list(body().iter_lines(keepends=True)) == [b"one\n", b"two\n", b"\n", b"four"]
    assert body().readlines() == [b"one\n", b"two\n", b"\n", b"four"]
    assert list(body().iter_chunks(5)) == [b"one\nt", b"wo\n\nf", b"our"]
    assert b"".join(body()) == text
    assert next(body()) == text
    assert io.TextIOWrapper(io.BufferedReader(body())).read() == text.decode()


def test_a_range_of_an_object_can_be_read(store: ExchangeStore) -> None:
    store.put_object("data", DATA)
    assert store.get_object("data", start=10, end=20).read() == DATA[10:20]
    assert store.get_object("data", start=-7).read() == DATA[-7:]
    assert store.get_object("data", start=len(DATA) - 3).read() == DATA[-3:]


def test_a_key_with_a_hash_sign_is_an_object_where_there_is_no_such_archive(
    store: ExchangeStore,
) -> None:
    store.put_object("notes#1.txt", b"literal")
    store.put_object("none.tar.gz#m", b"literal too")
    assert store.get_object("notes#1.txt").read() == b"literal"
    assert store.get_object("none.tar.gz#m").read() == b"literal too"
    assert store.get_object("notes#1.txt", resolve_virtual_keys=False).read() == b"literal"
    assert store.exists("notes#1.txt")
    assert store.head_object("notes#1.txt")["ContentLength"] == 7
    with pytest.raises(ObjectNotFoundError) as caught:
        store.get_object("notes#2.txt")
    assert caught.value.key == "notes#2.txt"


@pytest.mark.parametrize("key", ["", "/", "a/../b", "..", "a/./b", "a\0b"])
def test_keys_that_lead_elsewhere_are_refused(key: str) -> None:
    store = fresh_memory(BASE)
    with pytest.raises(UnsafePathError):
        store.put_object(key, b"x")
    with pytest.raises(UnsafePathError):
        store.get_object(key)
    assert not list(store.objects.list())


@pytest.mark.parametrize("data", [io.StringIO("text"), ["text"], [1], 7, None])
def test_what_is_no_bytes_is_refused(data: Any) -> None:
    store = fresh_memory()
    with pytest.raises(TypeError):
        store.put_object("x", data)
    assert not store.exists("x")


def test_a_missing_file_is_told_by_the_call_that_names_it(tmp_path: Path) -> None:
    store = fresh_memory()
    with pytest.raises(FileNotFoundError):
        store.put_object("x", tmp_path / "missing")
    assert not store.exists("x")


def test_a_failing_source_leaves_nothing(store: ExchangeStore) -> None:
    def broken() -> Any:
        yield b"some"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        store.put_object("half", broken())
    assert not store.exists("half")


def test_a_store_pickles(tmp_path: Path) -> None:
    store = ExchangeStore.open(
        f"file://{tmp_path}", base_prefix="b", default_vars={"a": 1}, append="single-writer"
    )
    store.put_object("x", b"1")
    again = pickle.loads(pickle.dumps(store))
    assert again.get_object("x").read() == b"1"
    assert (again.base_prefix, again.default_vars, again.append) == ("b", {"a": 1}, store.append)
    assert os.fspath(tmp_path) in repr(again)


def test_options_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="append"):
        fresh_memory(append="whatever")
    with pytest.raises(ValueError, match="concurrency"):
        fresh_memory(concurrency=0)
