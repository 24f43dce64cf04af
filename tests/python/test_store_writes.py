"""What every store does when objects are written: sources, conditions, streams, large objects."""

from __future__ import annotations

import hashlib
import io
import mmap
import os
import threading
from array import array
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from inputs import KIB, MIB, make
from shardpack.errors import (
    ConcurrencyUnsupportedError,
    ObjectNotFoundError,
    PreconditionFailedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from shardpack.storage import ObjectStore
    from store_places import Place

DATA = make("noise", 10_000)
LARGE = 23 * MIB + 17


@pytest.fixture
def store(place: Place) -> ObjectStore:
    return place.store


class Trickle(io.RawIOBase):
    """A file object that cannot seek and gives little at a time."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._rest = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        piece = self._rest.read(min(len(buffer), 777))
        buffer[: len(piece)] = piece
        return len(piece)


def pieces_of(data: bytes, size: int = 3333) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
        yield b""


def mapped(data: bytes, path: Path) -> mmap.mmap:
    path.write_bytes(data)
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def saved(data: bytes, path: Path) -> Path:
    path.write_bytes(data)
    return path


SOURCES: dict[str, Callable[[bytes, Path], Any]] = {
    "bytes": lambda data, _: data,
    "bytearray": lambda data, _: bytearray(data),
    "memoryview": lambda data, _: memoryview(b"x" + data)[1:],
    "array": lambda data, _: array("H", data),
    "mmap": mapped,
    "path": saved,
    "path as text": lambda data, path: str(saved(data, path)),
    "file object": lambda data, _: io.BytesIO(data),
    "open file": lambda data, path: saved(data, path).open("rb"),
    "raw file": lambda data, path: saved(data, path).open("rb", buffering=0),
    "file that trickles": lambda data, _: Trickle(data),
    "iterator": lambda data, _: pieces_of(data),
    "list": lambda data, _: [data[:5], memoryview(data)[5:], bytearray()],
}


@pytest.mark.parametrize("kind", SOURCES)
def test_any_source_is_put(store: ObjectStore, tmp_path: Path, kind: str) -> None:
    source = SOURCES[kind](DATA, tmp_path / "source")
    told: list[int] = []
    info = store.put(
        "object", source, content_type="a/b", metadata={"x": "y"}, progress=told.append
    )
    if hasattr(source, "close"):
        source.close()
    assert info.size == len(DATA)
    assert store.read("object") == DATA
    head = store.head("object")
    assert head.content_type == "a/b"
    assert head.metadata["x"] == "y"
    assert told[-1] == len(DATA)


@pytest.mark.parametrize("kind", ["bytes", "path", "open file", "iterator", "memoryview"])
def test_large_objects_are_put_in_parts(place: Place, tmp_path: Path, kind: str) -> None:
    data = make("noise", LARGE)
    source = SOURCES[kind](data, tmp_path / "source")
    told: list[int] = []
    info = place.store.put("object", source, metadata={"x": "y"}, progress=told.append)
    if hasattr(source, "close"):
        source.close()
    assert info.size == LARGE
    assert told[-1] == LARGE
    assert told == sorted(told)
    assert hashlib.sha256(place.store.read("object")).digest() == hashlib.sha256(data).digest()
    assert (
        place.store.read("object", start=5 * MIB - 3, end=10 * MIB + 3)
        == (data[5 * MIB - 3 : 10 * MIB + 3])
    )
    assert place.store.read("object", start=-17) == data[-17:]
    assert place.store.head("object").metadata["x"] == "y"
    assert list(place.store.iter_uploads()) == []


def test_a_file_object_is_read_from_where_it_stands(store: ObjectStore, tmp_path: Path) -> None:
    saved(DATA, tmp_path / "source")
    with (tmp_path / "source").open("rb") as file:
        file.read(100)
        assert store.put("object", file).size == len(DATA) - 100
    assert store.read("object") == DATA[100:]


def test_a_source_that_is_none_is_refused(store: ObjectStore, tmp_path: Path) -> None:
    for bad in [5, None, [1, 2], ["text"], io.StringIO("text")]:
        with pytest.raises(TypeError):
            store.put("object", bad)
    with pytest.raises(FileNotFoundError) as caught:
        store.put("object", tmp_path / "missing")
    assert not isinstance(caught.value, ObjectNotFoundError)
    assert list(store.list()) == []
    assert list(store.iter_uploads()) == []


@pytest.mark.parametrize("size", [0, 5, 6 * MIB])
def test_a_source_that_fails_leaves_nothing(store: ObjectStore, size: int) -> None:
    def failing() -> Iterator[bytes]:
        yield bytes(size)
        yield bytes(size)
        raise RuntimeError("the source broke")

    store.put("object", b"before")
    with pytest.raises(RuntimeError, match="the source broke"):
        store.put("object", failing())
    assert store.read("object") == b"before"
    assert [info.key for info in store.list()] == ["object"]
    assert list(store.iter_uploads()) == []


def test_bytes_may_change_after_the_put(store: ObjectStore) -> None:
    data = bytearray(DATA)
    store.put("object", data)
    data[:] = bytes(len(data))
    assert store.read("object") == DATA


def test_conditions_are_kept_or_refused_as_a_whole(place: Place) -> None:
    store = place.store
    assert store.conditional_writes is place.conditional_writes
    if not place.conditional_writes:
        first = store.put("object", b"1")
        with pytest.raises(ConcurrencyUnsupportedError):
            store.put("new", DATA, if_absent=True)
        with pytest.raises(ConcurrencyUnsupportedError):
            store.put("object", DATA, if_match=first.etag)
        assert [info.key for info in store.list()] == ["object"]
        assert store.read("object") == b"1"
        return
    first = store.put("object", b"1", if_absent=True)
    with pytest.raises(PreconditionFailedError) as caught:
        store.put("object", b"2", if_absent=True)
    assert caught.value.key == "object"
    assert caught.value.status == 412
    second = store.put("object", b"2", if_match=first.etag, metadata={"a": "b"})
    with pytest.raises(PreconditionFailedError):
        store.put("object", b"3", if_match=first.etag)
    assert store.read("object") == b"2"
    assert store.head("object").metadata["a"] == "b"
    assert store.head("object").etag == second.etag
    with pytest.raises((PreconditionFailedError, ObjectNotFoundError)):
        store.put("missing", b"3", if_match=second.etag)
    assert not store.exists("missing")
    store.delete("object")
    store.put("object", b"4", if_absent=True)


def test_conditions_hold_for_large_objects(place: Place, tmp_path: Path) -> None:
    if not place.conditional_writes:
        pytest.skip(f"{place.name} ignores conditions, which another test states")
    store = place.store
    path = saved(make("noise", LARGE), tmp_path / "source")
    first = store.put("object", path, if_absent=True)
    for source in [path, pieces_of(make("noise", LARGE), MIB)]:
        with pytest.raises(PreconditionFailedError):
            store.put("object", source, if_absent=True)
    other = saved(make("lines", LARGE), tmp_path / "other")
    store.put("object", other, if_match=first.etag)
    if place.name == "moto":
        # It looks at If-None-Match when an upload is completed, and not at If-Match.
        store.put("object", path, if_match=first.etag)
    else:
        with pytest.raises(PreconditionFailedError):
            store.put("object", path, if_match=first.etag)
        assert store.read("object", start=-5) == make("lines", LARGE)[-5:]
    assert list(store.iter_uploads()) == []


def test_of_twenty_threads_one_makes_the_object(place: Place) -> None:
    if not place.conditional_writes:
        pytest.skip(f"{place.name} ignores conditions, which another test states")
    start = threading.Barrier(20)

    def race(number: int) -> bool:
        start.wait()
        try:
            place.store.put("object", str(number).encode(), if_absent=True)
        except PreconditionFailedError:
            return False
        return True

    for _ in range(3):
        with ThreadPoolExecutor(20) as pool:
            won = list(pool.map(race, range(20)))
        assert won.count(True) == 1
        assert place.store.read("object") == str(won.index(True)).encode()
        place.store.delete("object")


def test_threads_that_count_by_conditions_lose_nothing(place: Place) -> None:
    if not place.conditional_writes:
        pytest.skip(f"{place.name} ignores conditions, which another test states")
    place.store.put("count", b"0")

    def count_up(_: int) -> None:
        while True:
            with place.store.get("count") as body:
                value, tag = int(body.read()), body.info.etag
            try:
                place.store.put("count", str(value + 1).encode(), if_match=tag)
            except PreconditionFailedError:
                continue
            return

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(count_up, range(36)))
    assert place.store.read("count") == b"36"


@pytest.mark.parametrize("size", [0, 1, 300 * KIB, 12 * MIB])
def test_a_stream_becomes_an_object_when_it_is_closed(store: ObjectStore, size: int) -> None:
    data = make("noise", size)
    writer = store.writer("object", content_type="a/b", metadata={"X": "y"})
    for start in range(0, size, 100_001):
        piece = bytearray(data[start : start + 100_001])
        assert writer.write(piece) == len(piece)
        piece[:] = bytes(len(piece))
    assert not store.exists("object")
    info = writer.close()
    assert info.size == size
    writer.abort()
    assert store.read("object") == data
    head = store.head("object")
    assert head.content_type == "a/b"
    assert head.metadata["x"] == "y"
    for late in [lambda: writer.write(b"more"), writer.close]:
        with pytest.raises(ValueError, match="closed"):
            late()


def test_a_stream_that_is_aborted_leaves_nothing(store: ObjectStore) -> None:
    store.put("object", b"before")
    writer = store.writer("object")
    writer.write(make("noise", 11 * MIB))
    writer.abort()
    writer.abort()
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"more")
    with pytest.raises(ValueError, match="closed"):
        writer.close()
    with suppress(KeyError), store.writer("other") as failing:
        failing.write(make("noise", 11 * MIB))
        raise KeyError
    with store.writer("third") as third:
        third.write(b"whole")
    assert store.read("object") == b"before"
    assert sorted(info.key for info in store.list()) == ["object", "third"]
    assert list(store.iter_uploads()) == []


def test_a_stream_that_is_forgotten_leaves_no_object(store: ObjectStore) -> None:
    writer = store.writer("object")
    writer.write(b"some")
    del writer
    assert not store.exists("object")


def test_readers_see_whole_objects_while_they_are_replaced(place: Place) -> None:
    if place.name == "rclone":
        pytest.skip("rclone answers NoSuchKey for a moment while an object is replaced")
    store = place.store
    contents = [bytes([i]) * (200_000 + i) for i in range(8)]
    store.put("object", contents[0], metadata={"number": "0"})
    stop = threading.Event()

    def replace() -> None:
        number = 0
        while not stop.is_set():
            number = (number + 1) % len(contents)
            store.put("object", contents[number], metadata={"number": str(number)})

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        for _ in range(60):
            with store.get("object") as body:
                number = int(body.info.metadata["number"])
                assert body.read() == contents[number]
    finally:
        stop.set()
        thread.join()


def test_uploads_of_the_killed_are_found_and_removed(place: Place) -> None:
    if place.server is None:
        pytest.skip("parts are what S3 has")
    client = place.store.client  # type: ignore[attr-defined]
    bucket = place.store.url.removeprefix("s3://")
    begun = client.create_multipart_upload(Bucket=bucket, Key="folder/object")
    uploads = list(place.store.iter_uploads("folder/"))
    assert [(one.key, one.upload_id) for one in uploads] == [("folder/object", begun["UploadId"])]
    assert list(place.store.iter_uploads("other/")) == []
    place.store.abort_upload(uploads[0])
    assert list(place.store.iter_uploads()) == []
    place.store.abort_upload(uploads[0])


def test_a_source_path_may_be_a_pipe(store: ObjectStore, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def feed() -> None:
        pipe.write_bytes(DATA)

    thread = threading.Thread(target=feed)
    thread.start()
    with pipe.open("rb") as file:
        store.put("object", file)
    thread.join()
    assert store.read("object") == DATA
