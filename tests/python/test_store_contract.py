"""What every store does, over memory, files and real S3 servers: reading, listing, removing."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from inputs import MIB, make
from shardpack.errors import (
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageError,
    UnsafePathError,
)
from shardpack.storage import ObjectInfo, ObjectStore, open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from store_places import Place

DATA = make("noise", 1000)
ODD_KEYS = [
    "space in it",
    "plus+plus",
    "per%20cent%",
    "hash#tag",
    "question?mark=1&versionId=2",
    "\u00fc/\u65e5\u672c/\U0001f600",
    "e\u0301 decomposed",
    "quote'\"<>&",
    ".hidden/..two/...",
    "a..b",
    "~tilde!$()*,;:@=[]{}^|`",
    "x" * 200 + "/" + "y" * 200,
]


@pytest.fixture
def store(place: Place) -> ObjectStore:
    return place.store


def test_every_store_has_every_call(store: ObjectStore) -> None:
    calls = {name for name in vars(ObjectStore) if not name.startswith("_")}
    assert calls <= set(dir(store))


def test_an_object_comes_back_as_it_was_put(place: Place, store: ObjectStore) -> None:
    before = datetime.now(UTC) - timedelta(seconds=3)
    put = store.put("folder/object", DATA, content_type="text/x-test", metadata={"One": "1 a"})
    info = store.head("folder/object")
    assert info.key == put.key == "folder/object"
    assert info.size == put.size == len(DATA)
    assert put.etag
    assert '"' not in put.etag
    assert info.etag == (put.etag if place.tags else None)
    assert info.content_type == "text/x-test"
    assert info.metadata["one"] == "1 a"
    assert info.last_modified is not None
    assert before <= info.last_modified <= datetime.now(UTC) + timedelta(seconds=3)
    assert store.read("folder/object") == DATA
    with store.get("folder/object") as body:
        assert body.info.etag == info.etag
        assert body.info.size == len(DATA)
        assert body.info.metadata["one"] == "1 a"
        assert body.read() == DATA
        assert body.read() == b""


def test_an_empty_object_is_an_object(store: ObjectStore, tmp_path: Path) -> None:
    assert store.put("empty", b"").size == 0
    assert store.head("empty").size == 0
    assert store.exists("empty")
    assert store.read("empty") == b""
    assert store.read("empty", start=0, end=10) == b""
    assert store.read("empty", start=-5) == b""
    with store.get("empty") as body:
        assert body.read() == b""
    assert store.read_ranges("empty", [(0, 5), (3, 3)]) == [b"", b""]
    assert store.download("empty", tmp_path / "file").size == 0
    assert (tmp_path / "file").read_bytes() == b""
    store.copy("empty", "copy")
    assert [info.size for info in store.list()] == [0, 0]


@pytest.mark.parametrize("key", ODD_KEYS, ids=range(len(ODD_KEYS)))
def test_keys_are_literal(store: ObjectStore, key: str) -> None:
    store.put(key, DATA, metadata={"m": "v"})
    assert store.exists(key)
    assert store.head(key).key == key
    assert store.read(key, start=5, end=10) == DATA[5:10]
    assert [info.key for info in store.list(key)] == [key]
    assert [info.key for info in store.list_level(key) if isinstance(info, ObjectInfo)] == [key]
    copied = key + ".copy"
    store.copy(key, copied)
    assert store.read(copied) == DATA
    assert store.delete_many([key, copied]) == {}
    assert not store.exists(key)
    assert list(store.list()) == []


RANGES = [
    (None, None),
    (0, None),
    (0, 10),
    (10, 20),
    (990, 1000),
    (990, 5000),
    (999, None),
    (1000, None),
    (1000, 1001),
    (5000, 6000),
    (5000, None),
    (-1, None),
    (-1000, None),
    (-5000, None),
    (3, 3),
    (0, 0),
    (None, 7),
]


@pytest.mark.parametrize("pair", RANGES, ids=str)
def test_ranges_are_those_of_slices(
    store: ObjectStore, pair: tuple[int | None, int | None]
) -> None:
    store.put("object", DATA)
    start, end = pair
    expected = DATA[start:end]
    assert store.read("object", start=start, end=end) == expected
    with store.get("object", start=start, end=end) as body:
        assert body.read() == expected
        assert body.info.size == len(DATA)


@pytest.mark.parametrize("pair", [(-5, 10), (10, 5), (None, -1), (0, -1)], ids=str)
def test_ranges_that_mean_nothing_are_refused(
    store: ObjectStore, pair: tuple[int | None, int | None]
) -> None:
    store.put("object", DATA)
    with pytest.raises(ValueError, match="range"):
        store.read("object", start=pair[0], end=pair[1])
    with pytest.raises(ValueError, match="range"):
        store.get("object", start=pair[0], end=pair[1])


def test_many_ranges_come_in_the_order_asked_for(store: ObjectStore) -> None:
    data = make("noise", 3 * MIB)
    store.put("object", data)
    ranges = [
        (MIB, MIB + 10),
        (0, 5),
        (5, 9),
        (3, 7),
        (3 * MIB - 4, 3 * MIB + 100),
        (2 * MIB, 2 * MIB),
        (17, 2 * MIB),
        (MIB, MIB + 10),
        (4 * MIB, 5 * MIB),
    ]
    expected = [data[start:end] for start, end in ranges]
    assert store.read_ranges("object", ranges) == expected
    assert store.read_ranges("object", []) == []
    for bad in [(-1, 5), (5, 4)]:
        with pytest.raises(ValueError, match="range"):
            store.read_ranges("object", [bad])


def test_a_body_reads_in_pieces_and_lines(store: ObjectStore) -> None:
    data = make("lines", 300_000)
    store.put("object", data)
    with store.get("object") as body:
        assert body.read(10) == data[:10]
        buffer = bytearray(100_000)
        assert body.readinto(buffer) == 100_000
        assert bytes(buffer) == data[10:100_010]
        assert b"".join(body.iter_chunks(7777)) == data[100_010:]
    with store.get("object") as body:
        assert list(body.iter_lines()) == data.splitlines()
    body.close()
    with pytest.raises(ValueError, match="closed"):
        body.read()


def test_a_body_may_be_left_unread(store: ObjectStore) -> None:
    data = make("noise", 3 * MIB)
    store.put("object", data)
    for _ in range(20):
        with store.get("object") as body:
            assert body.read(3) == data[:3]
    assert store.read("object") == data


def test_a_download_is_whole_and_replaces_what_was_there(
    store: ObjectStore, tmp_path: Path
) -> None:
    data = make("noise", 12 * MIB)
    store.put("object", data)
    target = tmp_path / "made" / "for it" / "file"
    told: list[int] = []
    assert store.download("object", target, progress=told.append).size == len(data)
    assert target.read_bytes() == data
    assert told[-1] == len(data)
    assert told == sorted(told)
    store.put("object", DATA)
    store.download("object", str(target))
    assert target.read_bytes() == DATA
    with pytest.raises(ObjectNotFoundError):
        store.download("missing", target)
    assert target.read_bytes() == DATA
    assert [path.name for path in target.parent.iterdir()] == ["file"]


MISSING: list[Callable[[ObjectStore, Path], object]] = [
    lambda store, _: store.get("missing"),
    lambda store, _: store.read("missing"),
    lambda store, _: store.read("missing", start=5, end=5),
    lambda store, _: store.read("missing", start=-5),
    lambda store, _: store.read_ranges("missing", [(0, 5)]),
    lambda store, _: store.head("missing"),
    lambda store, _: store.head("there/below"),
    lambda store, _: store.download("missing", "file"),
    lambda store, _: store.copy("missing", "copy"),
]


@pytest.mark.parametrize("call", range(len(MISSING)))
def test_a_missing_object_is_told_by_its_own_error(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    monkeypatch.chdir(tmp_path)
    store.put("there", DATA)
    with pytest.raises(ObjectNotFoundError, match=r"object not found: (missing|there/below)"):
        MISSING[call](store, tmp_path)
    assert not (tmp_path / "file").exists()
    assert not store.exists("missing")
    assert not store.exists("there/below")
    store.delete("missing")
    assert [info.key for info in store.list()] == ["there"]


UNSAFE = ["", "/absolute", "a/../b", "..", ".", "./a", "a/.", "nul\0", "half\ud800"]


@pytest.mark.parametrize("key", UNSAFE, ids=ascii)
def test_unsafe_keys_are_refused_before_anything_happens(store: ObjectStore, key: str) -> None:
    store.put("there", DATA)
    calls: list[Callable[[], object]] = [
        lambda: store.put(key, DATA),
        lambda: store.read(key),
        lambda: store.get(key),
        lambda: store.head(key),
        lambda: store.exists(key),
        lambda: store.delete(key),
        lambda: store.copy("there", key),
        lambda: store.copy(key, "there"),
        lambda: store.writer(key),
    ]
    for call in calls:
        with pytest.raises(UnsafePathError):
            call()
    assert [info.key for info in store.list()] == ["there"]


def test_listing_is_in_the_order_of_the_bytes(place: Place) -> None:
    keys = [
        "a",
        "a!",
        "a-b",
        "a.b",
        "a0",
        "aB",
        "b/a",
        "b/a-",
        "b/c/d",
        "b/c/e",
        "b/c0",
        "b-",
        "c/x",
        "\u00e9",
        "\U0001f600",
        "\uffee",
    ]
    store = place.store
    for key in keys:
        store.put(key, key.encode())
    expected = sorted(keys, key=str.encode)
    found = list(store.list())
    assert [info.key for info in found] == expected
    assert [info.size for info in found] == [len(key.encode()) for key in expected]
    assert all(info.etag == store.head(info.key).etag for info in found[:3])
    assert all(info.last_modified is not None for info in found)
    for prefix in ["a", "b", "b/", "b/c", "b/c/", "b/c/d", "nothing", "nothing/at/all"]:
        inside = [key for key in expected if key.startswith(prefix)]
        assert [info.key for info in store.list(prefix)] == inside
        for after in [*expected, "b/", "b/b", "b/c/dd", "0", "zz"]:
            rest = [key for key in inside if key > after]
            if place.is_s3 and after not in {"a.b", "b/c/d", "b/", "b/b", "zz"}:
                continue
            assert [info.key for info in store.list(prefix, start_after=after)] == rest


def test_a_level_is_objects_and_folders(store: ObjectStore) -> None:
    for key in ["a", "b/1", "b/2/x", "b/2/y", "b/3", "b.d", "c/d/e"]:
        store.put(key, b"")

    def level(prefix: str) -> list[str]:
        found = store.list_level(prefix)
        return [one.key + "*" if isinstance(one, ObjectInfo) else one for one in found]

    assert sorted(level("")) == ["a*", "b.d*", "b/", "c/"]
    assert sorted(level("b/")) == ["b/1*", "b/2/", "b/3*"]
    assert sorted(level("b")) == ["b.d*", "b/"]
    assert sorted(level("b/2")) == ["b/2/"]
    assert sorted(level("c/d/")) == ["c/d/e*"]
    assert level("none") == []
    assert level("a/") == []


def test_listings_have_pages(place: Place) -> None:
    keys = [f"folder{i % 3}/key{i:05d}" for i in range(place.many)]
    if place.folder is not None:
        # Faster than by its own calls; what is listed is what is found there.
        for key in keys:
            path = place.folder / key
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_bytes(b"")
    else:
        for key in keys:
            place.store.put(key, b"")
    assert [info.key for info in place.store.list()] == sorted(keys)
    after = sorted(keys)[1040]
    rest = [info.key for info in place.store.list(start_after=after)]
    assert rest == sorted(keys)[1041:]
    assert [one for one in place.store.list_level() if isinstance(one, str)] == [
        "folder0/",
        "folder1/",
        "folder2/",
    ]
    first_ten = [info.key for info in itertools.islice(place.store.list("folder1/"), 10)]
    assert first_ten == sorted(key for key in keys if key.startswith("folder1/"))[:10]
    assert place.store.delete_many(iter(keys)) == {}
    assert list(place.store.list()) == []


def test_many_objects_are_removed_at_once(store: ObjectStore) -> None:
    for key in ["a", "b/c", "b/d", "odd & <key>", "stays"]:
        store.put(key, DATA)
    failed = store.delete_many(key for key in ["a", "b/c", "missing", "odd & <key>", "b/d", "a"])
    assert failed == {}
    assert [info.key for info in store.list()] == ["stays"]
    assert store.delete_many([]) == {}


def test_a_copy_has_the_bytes_and_the_metadata(place: Place, store: ObjectStore) -> None:
    store.put("a/source", DATA, content_type="text/x-test", metadata={"one": "1"})
    info = store.copy("a/source", "b/target")
    assert info.key == "b/target"
    assert info.size == len(DATA)
    head = store.head("b/target")
    assert not place.tags or head.etag == info.etag
    assert head.content_type == "text/x-test"
    assert head.metadata["one"] == "1"
    store.copy("a/source", "c", metadata={"two": "2"})
    other = store.head("c")
    assert other.metadata.get("two") == "2"
    assert ("one" in other.metadata) is not place.copies_replace
    assert other.content_type == "text/x-test"
    assert store.read("b/target") == store.read("c") == DATA
    store.put("a/source", b"new")
    assert store.read("b/target") == DATA
    store.copy("a/source", "c")
    assert store.read("c") == b"new"


def test_a_copy_of_another_version_is_refused(place: Place, store: ObjectStore) -> None:
    old = store.put("source", DATA)
    new = store.put("source", b"new")
    if not place.tags:
        store.copy("source", "target", if_match=old.etag)
        assert store.read("target") == b"new"
        return
    with pytest.raises(PreconditionFailedError):
        store.copy("source", "target", if_match=old.etag)
    assert not store.exists("target")
    store.copy("source", "target", if_match=new.etag)
    assert store.read("target") == b"new"


def test_a_read_of_another_version_is_refused(place: Place) -> None:
    store = place.store
    old = store.put("object", DATA)
    new = store.put("object", DATA + b"more")
    calls: list[Callable[[str | None], object]] = [
        lambda tag: store.read("object", if_match=tag),
        lambda tag: store.read("object", start=1, end=5, if_match=tag),
        lambda tag: store.get("object", if_match=tag).read(),
        lambda tag: store.read_ranges("object", [(0, 5), (7, 9)], if_match=tag),
    ]
    for call in calls:
        assert call(new.etag)
        if not place.tags:
            assert call(old.etag) == call(new.etag)
            continue
        with pytest.raises(PreconditionFailedError):
            call(old.etag)


def test_a_new_version_has_a_new_tag(store: ObjectStore) -> None:
    tags = [store.put("object", bytes([i])).etag for i in range(20)]
    assert len(set(tags)) == 20


def test_metadata_of_a_replaced_object_is_gone(store: ObjectStore) -> None:
    store.put("object", DATA, content_type="text/x-old", metadata={"old": "1", "both": "1"})
    store.put("object", DATA, content_type="text/x-new", metadata={"both": "2"})
    info = store.head("object")
    assert info.content_type == "text/x-new"
    assert info.metadata["both"] == "2"
    assert "old" not in info.metadata
    store.put("object", DATA)
    info = store.head("object")
    assert "both" not in info.metadata
    assert info.content_type != "text/x-new"
    store.delete("object")
    store.put("object", DATA)
    assert "both" not in store.head("object").metadata


BAD_METADATA: list[dict[str, str]] = [
    {"bad name": "x"},
    {"bad\nname": "x"},
    {"": "x"},
    {"name": "two\r\nlines"},
    {"name": "\u00fc"},
    {"name": " padded"},
    {"Name": "1", "name": "2"},
]


@pytest.mark.parametrize("metadata", BAD_METADATA, ids=ascii)
def test_metadata_that_headers_cannot_carry_is_refused(
    store: ObjectStore, metadata: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="metadata"):
        store.put("object", DATA, metadata=metadata)
    with pytest.raises(ValueError, match="metadata"):
        store.writer("object", metadata=metadata)
    assert not store.exists("object")


def test_a_key_and_one_below_it(place: Place) -> None:
    place.store.put("f", DATA)
    if place.folder_keys:
        place.store.put("f/g", b"below")
        assert place.store.read("f/g") == b"below"
        assert [info.key for info in place.store.list()] == ["f", "f/g"]
    else:
        with pytest.raises(StorageError):
            place.store.put("f/g", b"below")
    assert place.store.read("f") == DATA


def test_an_object_with_others_below_it(place: Place) -> None:
    place.store.put("f/g", DATA)
    if place.folder_keys:
        place.store.put("f", b"above")
        assert place.store.read("f") == b"above"
    else:
        with pytest.raises(StorageError):
            place.store.put("f", b"above")
        assert not place.store.exists("f")
        if place.name == "rclone":
            # It believes for a while that it had a file `f`, and does not find what is below.
            return
    assert place.store.read("f/g") == DATA


def test_the_url_opens_the_same_store(place: Place) -> None:
    place.store.put("folder/object", DATA)
    options = {"client": place.store.client} if place.is_s3 else {}  # type: ignore[attr-defined]
    again, key = open_store(place.store.url, **options)
    assert key == ""
    assert type(again) is type(place.store)
    assert again.url == place.store.url
    assert again.read("folder/object") == DATA
