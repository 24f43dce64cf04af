"""What a store on S3 does beyond what every store does, on real servers."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from fault_proxy import FaultProxy
from inputs import MIB, make
from shardpack.errors import (
    ConcurrencyUnsupportedError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageError,
)
from shardpack.storage.base import ObjectStore
from shardpack.storage.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from servers import S3Server

PART = 5 * MIB
ODD_KEYS = [
    "a b",
    "plus+percent%25%",
    "tilde~",
    "umlaut ü",
    "日本/語",
    "quote'\"<&>",
    "a=b?c#d;e",
    "x" * 200,
]


class Place(NamedTuple):
    """A server, a proxy before it, and a client that goes through the proxy."""

    server: S3Server
    proxy: FaultProxy
    client: Any


@pytest.fixture(scope="module")
def place(s3_server: S3Server) -> Iterator[Place]:
    with FaultProxy(s3_server.endpoint_url) as running:
        client = s3_server.client(running.url)
        yield Place(s3_server, running, client)
        client.close()


@pytest.fixture
def bucket(place: Place) -> str:
    name = place.server.fresh_bucket(place.client)
    place.proxy.forget()
    return name


@pytest.fixture
def proxy(place: Place, bucket: str) -> FaultProxy:
    assert bucket
    return place.proxy


@pytest.fixture(params=[True, False], ids=["fast", "plain"])
def store(request: pytest.FixtureRequest, place: Place, bucket: str) -> S3Store:
    """A store on a fresh bucket, through the proxy."""
    if not request.param and place.server.name == "moto":
        pytest.skip("moto is slow, and the other servers try boto3 alone")
    return S3Store(place.client, bucket, part_size=PART, fast_path=request.param)


def is_fast(store: S3Store) -> bool:
    return store._requests.fast is not None and store._requests.fast.usable()


def test_it_is_an_object_store_with_a_url_without_secrets(store: S3Store, bucket: str) -> None:
    calls = {name for name in vars(ObjectStore) if not name.startswith("_")}
    assert calls <= set(dir(store))
    assert store.url == f"s3://{bucket}"
    assert bucket in repr(store)


def test_small_objects_take_one_request_each(store: S3Store, proxy: FaultProxy) -> None:
    info = store.put("k", b"some bytes", content_type="text/x", metadata={"Owner": "me"})
    assert (info.key, info.size) == ("k", 10)
    assert info.etag in (None, hashlib.md5(b"some bytes").hexdigest())
    assert store.read("k") == b"some bytes"
    assert store.get("k").read() == b"some bytes"
    found = store.head("k")
    assert (found.size, found.content_type) == (10, "text/x")
    assert found.metadata["owner"] == "me"
    assert [seen.method for seen in proxy.requests] == ["PUT", "GET", "GET", "HEAD"]


def test_the_fast_path_keeps_its_connection_and_is_what_it_says(
    store: S3Store, proxy: FaultProxy, s3_server: S3Server
) -> None:
    for n in range(5):
        store.put(f"k{n}", b"x" * n)
        assert store.read(f"k{n}") == b"x" * n
    if s3_server.name != "moto":  # which closes after each answer
        assert proxy.connections <= 1
    agents = {seen.headers["user-agent"] for seen in proxy.requests}
    assert (agents == {"shardpack"}) == is_fast(store)


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 1), (0, 99), (3, 3), (3, 7), (9, 10), (9, 99), (10, 11), (50, 60), (None, 4), (4, None)],
)
def test_ranges_give_what_is_there(store: S3Store, start: int | None, end: int | None) -> None:
    data = b"0123456789"
    store.put("k", data)
    with store.get("k", start=start, end=end) as body:
        assert body.info.size == 10
        assert body.read() == data[start:end]
    assert store.read("k", start=start, end=end) == data[start:end]


def test_ranges_from_the_end(store: S3Store) -> None:
    store.put("k", b"0123456789")
    store.put("empty", b"")
    for count in (1, 9, 10, 99):
        assert store.get("k", start=-count).read() == b"0123456789"[-count:]
        assert store.read("k", start=-count) == b"0123456789"[-count:]
        assert store.read("empty", start=-count) == b""
    with pytest.raises(ValueError, match="range"):
        store.get("k", start=-3, end=5)


def test_large_objects_go_in_parts_and_come_in_ranges(
    store: S3Store, proxy: FaultProxy, tmp_path: Path
) -> None:
    data = make("noise", 12 * MIB + 345)
    done: list[int] = []
    info = store.put("big", data, progress=done.append)
    assert info.size == len(data)
    assert done[-1] == len(data)
    assert done == sorted(done)
    assert proxy.count("PUT", "/big.*partNumber=") == 3
    proxy.requests.clear()
    assert store.read("big") == data
    assert len(proxy.seen("GET")) == 3
    assert sum(seen.bytes_down for seen in proxy.requests) == len(data)
    assert store.read("big", start=100, end=11 * MIB) == data[100 : 11 * MIB]
    assert store.read("big", start=-(11 * MIB)) == data[-11 * MIB :]
    target = tmp_path / "new" / "file"
    done.clear()
    assert store.download("big", target, progress=done.append).size == len(data)
    assert target.read_bytes() == data
    assert done[-1] == len(data)


@pytest.mark.parametrize("size", [0, 10, PART, PART + 1, 2 * PART + 7])
def test_every_kind_of_source_gives_the_same_object(
    store: S3Store, size: int, tmp_path: Path
) -> None:
    data = make("noise", size)
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("rb") as file:
        pieces = [data[at : at + 999_999] for at in range(0, size, 999_999)]
        sources: list[Any] = [
            bytearray(data),
            str(path),
            path,
            file,
            io.BytesIO(data),
            iter(pieces),
        ]
        for source in sources:
            assert store.put("k", source).size == size
            assert store.head("k").size == size
            assert store.read("k") == data
    assert list(store.iter_uploads()) == []


def test_a_writer_sends_small_objects_at_once_and_large_ones_in_parts(
    store: S3Store, proxy: FaultProxy
) -> None:
    with store.writer("small", metadata={"a": "b"}) as writer:
        writer.write(b"one ")
        writer.write(b"two")
    assert store.read("small") == b"one two"
    assert proxy.count("POST") == 0
    data = make("noise", 11 * MIB)
    with store.writer("large") as writer:
        for at in range(0, len(data), 700_000):
            piece = bytearray(data[at : at + 700_000])
            assert writer.write(piece) == len(piece)
            piece[:] = bytes(len(piece))
        info = writer.close()
    assert info.size == len(data)
    assert store.read("large") == data


def test_a_writer_that_is_left_by_an_error_leaves_nothing(store: S3Store) -> None:
    def fail_midway() -> None:
        with store.writer("k") as writer:
            writer.write(make("noise", 11 * MIB))
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        fail_midway()
    assert not store.exists("k")
    assert list(store.iter_uploads()) == []


def test_a_source_that_fails_midway_leaves_nothing(store: S3Store, tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield make("noise", 11 * MIB)
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        store.put("k", pieces())
    assert not store.exists("k")
    assert list(store.iter_uploads()) == []
    with pytest.raises(FileNotFoundError):
        store.put("k", tmp_path / "nothing")


def test_unfinished_uploads_are_found_and_removed(store: S3Store) -> None:
    made = store.client.create_multipart_upload(Bucket=store.bucket, Key="left/behind")
    found = list(store.iter_uploads())
    assert [(one.key, one.upload_id) for one in found] == [("left/behind", made["UploadId"])]
    assert list(store.iter_uploads("other/")) == []
    store.abort_upload(found[0])
    store.abort_upload(found[0])
    assert list(store.iter_uploads()) == []


def test_ranges_close_together_share_a_request(store: S3Store, proxy: FaultProxy) -> None:
    data = make("noise", 8 * MIB)
    store.put("big", data)
    proxy.requests.clear()
    ranges = [(7 * MIB, 7 * MIB + 10), (0, 100), (200, 300), (150, 250), (5, 5)]
    assert store.read_ranges("big", ranges) == [data[start:end] for start, end in ranges]
    assert len(proxy.requests) == 2
    assert store.read_ranges("big", [(8 * MIB - 3, 9 * MIB), (9 * MIB, 10 * MIB)]) == [
        data[-3:],
        b"",
    ]
    assert store.read_ranges("big", []) == []


def test_odd_keys_survive_every_call(store: S3Store) -> None:
    for key in ODD_KEYS:
        store.put(key, key.encode())
    for key in ODD_KEYS:
        assert store.read(key) == key.encode()
        assert store.head(key).size == len(key.encode())
    listed = [info.key for info in store.list()]
    assert listed == sorted(ODD_KEYS, key=lambda key: key.encode())
    store.copy(ODD_KEYS[3], "copy of ü")
    assert store.read("copy of ü") == ODD_KEYS[3].encode()
    assert store.delete_many([*ODD_KEYS, "copy of ü", "never there"]) == {}
    assert list(store.list()) == []


def test_listings_have_pages_and_levels(store: S3Store, s3_server: S3Server) -> None:
    if s3_server.name == "moto":
        pytest.skip("moto is slow, and as much is listed there for the contract")
    keys = [f"a/{n:04}" for n in range(1005)] + ["a-b", "b/c/d", "z"]
    quick = S3Store(store.client, store.bucket)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: quick.put(key, b"x"), keys))
    assert [info.key for info in store.list()] == sorted(keys)
    assert [info.key for info in store.list("a/", start_after="a/1001")] == [
        "a/1002",
        "a/1003",
        "a/1004",
    ]
    level = [one if isinstance(one, str) else one.key for one in store.list_level()]
    assert level == ["a-b", "a/", "b/", "z"]
    assert [one for one in store.list_level("b/") if isinstance(one, str)] == ["b/c/"]
    assert store.delete_many(keys) == {}
    assert list(store.list()) == []


def test_what_is_not_there_is_told_apart(store: S3Store, s3_server: S3Server) -> None:
    store.put("k", b"x")
    calls: list[Callable[[str], object]] = [store.get, store.read, store.head]
    for call in calls:
        with pytest.raises(ObjectNotFoundError) as caught:
            call("none/here")
        assert caught.value.key == "none/here"
    assert not store.exists("none/here")
    assert store.exists("k")
    store.delete("k")
    store.delete("k")
    lost = S3Store(s3_server.client(), "no-such-bucket-here", fast_path=store._fast_path)
    for call in (lost.get, lost.read, lost.head, lost.exists, lambda key: list(lost.list(key))):
        with pytest.raises(StorageError) as missing:
            call("k")
        assert missing.value.code == "NoSuchBucket"
        assert not isinstance(missing.value, ObjectNotFoundError)
        assert "no-such-bucket-here" in str(missing.value)


def test_a_copy_keeps_or_renews_the_metadata(store: S3Store, s3_server: S3Server) -> None:
    store.put("a", b"bytes", content_type="text/x", metadata={"one": "1"})
    assert store.copy("a", "b").size == 5
    assert store.head("b").metadata["one"] == "1"
    store.copy("a", "c", metadata={"two": "2"})
    found = store.head("c")
    assert found.metadata["two"] == "2"
    if s3_server.name != "rclone":  # which adds, and takes nothing away
        assert "one" not in found.metadata
    assert found.content_type == "text/x"
    with pytest.raises(ObjectNotFoundError):
        store.copy("nothing", "d")
    etag = store.head("a").etag
    if etag is not None:
        store.copy("a", "e", if_match=etag)
        with pytest.raises(PreconditionFailedError):
            store.copy("a", "f", if_match="0" * 32)
        assert not store.exists("f")


def test_conditions_are_tried_out_and_then_kept_or_refused(
    store: S3Store, s3_server: S3Server
) -> None:
    assert store.conditional_writes == s3_server.conditional_writes
    assert list(store.list()) == [], "the scratch object was left behind"
    if not s3_server.conditional_writes:
        with pytest.raises(ConcurrencyUnsupportedError):
            store.put("k", b"1", if_absent=True)
        with pytest.raises(ConcurrencyUnsupportedError):
            store.put("k", b"1", if_match="0" * 32)
        assert not store.exists("k")
        return
    first = store.put("k", b"1", if_absent=True)
    with pytest.raises(PreconditionFailedError):
        store.put("k", b"2", if_absent=True)
    second = store.put("k", b"2", if_match=first.etag)
    with pytest.raises(PreconditionFailedError):
        store.put("k", b"3", if_match=first.etag)
    assert store.read("k", if_match=second.etag) == b"2"
    with pytest.raises(PreconditionFailedError):
        store.get("k", if_match=first.etag)
    with pytest.raises(PreconditionFailedError):
        store.put("k", make("noise", 11 * MIB), if_absent=True)
    assert list(store.iter_uploads()) == []
    with pytest.raises(ValueError, match="exclude"):
        store.put("k", b"3", if_match="x", if_absent=True)


def test_threads_share_a_store(store: S3Store) -> None:
    bodies = {f"k{n}": make("noise", 1000 + n, seed=str(n)) for n in range(16)}
    for key, data in bodies.items():
        store.put(key, data)
    keys = list(bodies) * 20
    with ThreadPoolExecutor(8) as threads:
        for key, data in zip(keys, threads.map(store.read, keys), strict=True):
            assert data == bodies[key]


def read_all(store: S3Store, bodies: dict[str, bytes], wrong: Any) -> None:
    for key, data in list(bodies.items()) * 2:
        if store.read(key) != data or store.get(key, start=5).read() != data[5:]:
            wrong.value += 1


# Forking a process with threads is what is tried here.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_children_share_an_inherited_store_and_get_their_own_bodies(store: S3Store) -> None:
    bodies = {f"k{n}": make("noise", 20_000 + n, seed=str(n)) for n in range(20)}
    for key, data in bodies.items():
        store.put(key, data)
    context = multiprocessing.get_context("fork")
    wrong = context.Value("i", 0)
    children = [context.Process(target=read_all, args=(store, bodies, wrong)) for _ in range(4)]
    for child in children:
        child.start()
    read_all(store, bodies, wrong)
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4
    assert wrong.value == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_body_does_not_cross_a_fork(store: S3Store) -> None:
    store.put("k", make("noise", 3 * MIB))
    with store.get("k") as body:
        body.read(10)
        child = os.fork()
        if child == 0:
            try:
                body.read(10)
            except StorageError:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert body.read(10) == make("noise", 3 * MIB)[10:20]


def test_metadata_that_is_no_header_is_refused(store: S3Store) -> None:
    for metadata in ({"a": "one\r\nx-amz-acl: public-read"}, {"a": "ü"}, {"a\nb": "x"}):
        with pytest.raises(ValueError, match="header"):
            store.put("k", b"x", metadata=metadata)
        with pytest.raises(ValueError, match="header"):
            store.writer("k", metadata=metadata)
    with pytest.raises(ValueError, match="header"):
        store.put("k", b"x", content_type="text/x\nx-amz-acl: public-read")
    assert not store.exists("k")


def test_keys_and_conditions_that_are_none_are_refused(store: S3Store) -> None:
    store.put("k", b"x")
    for call in (store.read, store.head, store.get, lambda key: store.put(key, b"x")):
        with pytest.raises((ValueError, StorageError)):
            call("")
    with pytest.raises(ValueError, match="header"):
        store.read("k", if_match='x"\r\nx-amz-acl: public-read')
    assert [info.key for info in store.list()] == ["k"]


def test_two_bodies_can_be_read_in_turns(store: S3Store) -> None:
    first, second = make("noise", 300_000, seed="1"), make("noise", 300_000, seed="2")
    store.put("1", first)
    store.put("2", second)
    with store.get("1") as one, store.get("2") as two:
        got = [b"", b""]
        for _ in range(30):
            got[0] += one.read(10_000)
            got[1] += two.read(10_000)
        assert got == [first, second]
        assert one.read() == b""


def test_objects_too_large_for_one_copy_are_copied_in_parts(
    conditional_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shardpack.storage.s3.sending._MOST_COPIED", 6 * MIB)
    monkeypatch.setattr("shardpack.storage.s3.sending._COPY_PART", 5 * MIB)
    client = conditional_server.client()
    with FaultProxy(conditional_server.endpoint_url) as proxy:
        through = conditional_server.client(proxy.url)
        store = S3Store(through, conditional_server.fresh_bucket(client), part_size=PART)
        data = make("noise", 11 * MIB)
        store.put("big", data, metadata={"a": "b"}, content_type="text/x")
        proxy.forget()
        info = store.copy("big", "copies/ü big", if_match=store.head("big").etag)
        assert info.size == len(data)
        assert proxy.count("PUT", "partNumber=") == 3
        assert proxy.bytes_up < 10_000
        assert store.read("copies/ü big") == data
        found = store.head("copies/ü big")
        assert (found.metadata, found.content_type) == ({"a": "b"}, "text/x")
        through.close()
    client.close()


def test_versions_are_told_apart(moto_server: S3Server) -> None:
    client = moto_server.client()
    bucket = moto_server.fresh_bucket(client)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for fast_path in (True, False):
        store = S3Store(client, bucket, fast_path=fast_path)
        first = store.put("k", b"first")
        second = store.put("k", b"second")
        assert first.version_id is not None
        assert first.version_id != second.version_id
        with store.get("k", version_id=first.version_id) as body:
            assert body.read() == b"first"
            assert body.info.version_id == first.version_id
        assert store.head("k", version_id=first.version_id).size == 5
        assert store.read("k") == b"second"
        with pytest.raises(StorageError):
            store.get("k", version_id="no-such-version")
    client.close()
