from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from shardpack.errors import (
    AccessDeniedError,
    InvalidManifestError,
    ManifestNotFoundError,
    StorageUnavailableError,
    UnsafePathError,
)
from shardpack.exchange.keys import Space
from shardpack.exchange.manifest.manifest import append, iter_entries, overwrite
from shardpack.storage import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from store_places import Place


class Watched(MemoryStore):
    """A store in memory that answers slowly or not at all, and counts."""

    def __init__(self) -> None:
        super().__init__(f"watched-{id(self)}-{time.monotonic_ns()}")
        self.reads: list[str] = []
        self.open_bodies = 0
        self.latency_s = 0.0
        self.failing: dict[str, Exception] = {}
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    def get(self, key: str, **options: Any) -> Any:
        with self._lock:
            self.reads.append(key)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        time.sleep(self.latency_s)
        with self._lock:
            self._now -= 1
        if key in self.failing:
            raise self.failing[key]
        return super().get(key, **options)


def file(key: str) -> bytes:
    return b'{"kind":"file","key":"%s"}\n' % key.encode()


def ref(key: str) -> bytes:
    return b'{"kind":"manifest_ref","key":"%s"}\n' % key.encode()


@pytest.fixture
def store() -> Watched:
    return Watched()


def keys(space: Space, root: Any = "root.jsonl", **options: Any) -> list[str]:
    found: Iterable[Any] = iter_entries(space, root, **options)
    return [entry["key"] for entry in found]


def test_references_are_followed_depth_first_in_the_order_of_lines(place: Place) -> None:
    space = Space(place.store, "base")
    put = place.store.put
    put("base/root.jsonl", file("1") + ref("a.jsonl") + file("5") + ref("base/c.jsonl"))
    put("base/a.jsonl", file("2") + ref("b.jsonl") + file("4"))
    put("base/b.jsonl", file("3"))
    put("base/c.jsonl", b"\n")
    assert keys(space) == ["1", "2", "3", "4", "5"]
    assert keys(space, resolve_refs=False) == ["1", "a.jsonl", "5", "base/c.jsonl"]
    assert keys(space, limit=3) == ["1", "2", "3"]
    assert keys(space, limit=0) == []
    assert keys(space, concurrency=1) == ["1", "2", "3", "4", "5"]


def test_entries_in_memory_act_as_a_manifest(store: Watched) -> None:
    store.put("a.jsonl", file("2"))
    entries: list[Any] = [
        {"kind": "file", "key": "1"},
        {"kind": "manifest_ref", "key": "a.jsonl"},
        {"kind": "file", "key": "3"},
    ]
    space = Space(store)
    assert keys(space, entries) == ["1", "2", "3"]
    assert keys(space, iter(entries), resolve_refs=False) == ["1", "a.jsonl", "3"]
    with pytest.raises(InvalidManifestError, match="Line 2"):
        keys(space, [entries[0], {"kind": "nothing"}])


def test_a_manifest_named_twice_is_read_twice(store: Watched) -> None:
    store.put("root.jsonl", ref("a.jsonl") + ref("a.jsonl") + ref("b.jsonl"))
    store.put("a.jsonl", file("1"))
    store.put("b.jsonl", ref("a.jsonl"))
    assert keys(Space(store)) == ["1", "1", "1"]


def test_a_circle_is_an_error_that_shows_it(store: Watched) -> None:
    store.put("root.jsonl", file("1") + ref("a.jsonl"))
    store.put("a.jsonl", file("2") + ref("b.jsonl"))
    store.put("b.jsonl", ref("/a.jsonl"))
    found: list[Any] = []
    with pytest.raises(InvalidManifestError, match=r"circle: a.jsonl -> b.jsonl -> a.jsonl"):
        found.extend(iter_entries(Space(store), "root.jsonl"))
    assert len(found) == 2
    store.put("self.jsonl", ref("self.jsonl"))
    with pytest.raises(InvalidManifestError, match=r"circle: self.jsonl -> self.jsonl"):
        keys(Space(store), "self.jsonl")


def test_a_tower_of_repeats_ends_with_an_error(
    store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shardpack.exchange.manifest.reading._MOST_REPEATS", 500)
    for floor in range(60):
        store.put(f"{floor}.jsonl", ref(f"{floor + 1}.jsonl") * 2)
    store.put("60.jsonl", b"\n")
    with pytest.raises(InvalidManifestError, match="too often"):
        keys(Space(store), "0.jsonl")
    assert len(store.reads) < 5000


def test_long_chains_of_references_are_followed_and_endless_ones_are_not(
    store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3000):
        store.put(f"{number}.jsonl", file(f"f{number}") + ref(f"{number + 1}.jsonl"))
    store.put("3000.jsonl", file("last"))
    assert keys(Space(store), "0.jsonl") == [*(f"f{number}" for number in range(3000)), "last"]
    monkeypatch.setattr("shardpack.exchange.manifest.reading._MOST_DEPTH", 2000)
    with pytest.raises(InvalidManifestError, match="beyond 2000"):
        keys(Space(store), "0.jsonl")


@pytest.mark.parametrize("concurrency", [1, 2, 16])
def test_many_manifests_keep_their_order_whoever_comes_first(
    store: Watched, concurrency: int
) -> None:
    root = []
    for number in range(60):
        root.append(ref(f"{number}.jsonl") + (file(f"between{number}") if number % 7 == 0 else b""))
        store.put(f"{number}.jsonl", file(f"{number}a") + file(f"{number}b"))
    store.put("root.jsonl", b"".join(root))
    expected = []
    for number in range(60):
        expected += [f"{number}a", f"{number}b", *([f"between{number}"] if number % 7 == 0 else [])]
    assert keys(Space(store), concurrency=concurrency) == expected
    assert len(store.reads) == 61


def test_manifests_are_fetched_ahead_several_at_a_time_and_not_all_at_once(
    store: Watched,
) -> None:
    for number in range(300):
        store.put(f"{number}.jsonl", file(str(number)))
    store.put("root.jsonl", b"".join(ref(f"{number}.jsonl") for number in range(300)))
    store.latency_s = 0.01
    found = iter_entries(Space(store), "root.jsonl", concurrency=8)
    next(found)
    time.sleep(0.3)
    assert len(store.reads) <= 1 + 4 * 8
    assert sum(1 for _ in found) == 299
    assert 2 <= store.most_at_once <= 9


def test_levels_below_levels_are_fetched_ahead_too(store: Watched) -> None:
    for node in range(6):
        for part in range(20):
            store.put(f"{node}-{part}.jsonl", file(f"{node}-{part}"))
        store.put(f"n{node}.jsonl", b"".join(ref(f"{node}-{part}.jsonl") for part in range(20)))
    tail = b"".join(ref(f"5-{part}.jsonl") for part in range(20))
    store.put("root.jsonl", b"".join(ref(f"n{node}.jsonl") for node in range(6)) + tail)
    store.latency_s = 0.003
    assert len(keys(Space(store), concurrency=8)) == 140
    assert store.most_at_once >= 6


def test_large_manifests_are_read_in_pieces_of_one_version(place: Place) -> None:
    big = b"".join(file(f"{number:0200d}") for number in range(6000))
    root = b"".join(file(f"r{number}") + ref("big.jsonl") for number in range(2)) + big
    place.store.put("big.jsonl", big)
    place.store.put("root.jsonl", root)
    found = keys(Space(place.store))
    assert len(found) == 3 * 6000 + 2
    assert found[0] == "r0"
    assert found[6001] == "r1"


def test_limits_read_no_more_than_they_need(store: Watched) -> None:
    store.put("root.jsonl", file("1") + ref("a.jsonl"))
    assert keys(Space(store), limit=1) == ["1"]
    assert store.reads == ["root.jsonl"]


def test_a_manifest_that_is_not_there_is_named(place: Place) -> None:
    space = Space(place.store, "base")
    with pytest.raises(ManifestNotFoundError) as caught:
        keys(space, "none.jsonl")
    assert caught.value.key == "none.jsonl"
    place.store.put("base/root.jsonl", file("1") + ref("gone.jsonl") + ref("gone2.jsonl"))
    with pytest.raises(ManifestNotFoundError) as caught:
        keys(space)
    assert caught.value.key == "gone.jsonl"


@pytest.mark.parametrize(
    "failure", [AccessDeniedError("no", status=403), StorageUnavailableError("down", status=503)]
)
@pytest.mark.parametrize("key", ["root.jsonl", "a.jsonl", "b.jsonl"])
def test_other_failures_keep_their_class(store: Watched, failure: Exception, key: str) -> None:
    store.put("root.jsonl", ref("a.jsonl") + ref("b.jsonl"))
    store.put("a.jsonl", file("1"))
    store.put("b.jsonl", file("2"))
    store.failing[key] = failure
    with pytest.raises(type(failure)):
        keys(Space(store))


def test_references_cannot_climb_out(store: Watched) -> None:
    store.put("base/root.jsonl", ref("../secret.jsonl"))
    store.put("secret.jsonl", file("1"))
    with pytest.raises(UnsafePathError):
        keys(Space(store, "base"))


def test_the_root_is_read_again_when_a_manifest_went_away_before_the_first_entry(
    store: Watched,
) -> None:
    store.put("root.jsonl", ref("old.jsonl"))

    original = store.get

    def get(key: str, **options: Any) -> Any:
        if key == "old.jsonl":
            store.put("root.jsonl", ref("new.jsonl"))
            store.put("new.jsonl", file("1"))
        return original(key, **options)

    store.get = get  # type: ignore[method-assign]
    assert keys(Space(store)) == ["1"]
    assert store.reads == ["root.jsonl", "old.jsonl", "root.jsonl", "new.jsonl"]


def test_a_manifest_that_goes_away_after_the_first_entry_is_an_error(store: Watched) -> None:
    store.put("root.jsonl", file("1") + ref("gone.jsonl"))
    with pytest.raises(ManifestNotFoundError):
        keys(Space(store))
    assert store.reads == ["root.jsonl", "gone.jsonl"]


def test_a_reader_keeps_the_root_that_it_began_with(store: Watched) -> None:
    space = Space(store)
    for number in range(70):
        append(space, "root.jsonl", [{"kind": "file", "key": str(number)}])
    found = iter_entries(space, "root.jsonl", concurrency=1)
    first = next(found)
    overwrite(space, "root.jsonl", [{"kind": "file", "key": "new"}])
    assert [entry["key"] for entry in (first, *found) if entry["kind"] == "file"] == [
        str(number) for number in range(70)
    ]
    assert keys(space) == ["new"]


def test_readers_leave_no_threads_behind(store: Watched) -> None:
    for number in range(40):
        store.put(f"{number}.jsonl", file(str(number)))
    store.put("root.jsonl", b"".join(ref(f"{number}.jsonl") for number in range(40)))
    found = iter_entries(Space(store), "root.jsonl")
    next(found)
    del found
    deadline = time.monotonic() + 10
    while any(thread.name.startswith("shardpack-manifest") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
