"""Stores in other processes: pickled, forked, raced by many."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from inputs import MIB, make
from shardpack.errors import StorageError
from shardpack.storage import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardpack.storage import ObjectStore
    from store_places import Place

DATA = make("noise", 3 * MIB)
RACER = """
import pickle, sys
from shardpack.errors import PreconditionFailedError
store = pickle.loads(bytes.fromhex(sys.argv[1]))
number = sys.argv[2].encode()
print("ready", flush=True)
sys.stdin.readline()
for turn in range(3):
    try:
        store.put(f"object{turn}", number, if_absent=True, content_type="x/" + sys.argv[2])
        print(turn)
    except PreconditionFailedError:
        pass
for _ in range(3):
    while True:
        with store.get("count") as body:
            value, tag = int(body.read()), body.info.etag
        try:
            store.put("count", str(value + 1).encode(), if_match=tag, metadata={"by": sys.argv[2]})
            break
        except PreconditionFailedError:
            continue
"""


@pytest.fixture
def store(place: Place) -> ObjectStore:
    return place.store


def environment_of(place: Place) -> dict[str, str]:
    return os.environ | (place.server.environment() if place.server is not None else {})


def in_child(work: Callable[[], None]) -> None:
    """Run a function in a forked process; what it raises fails the test."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException as error:  # noqa: BLE001 - the child must not return into the tests
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_pickle_is_the_same_store_without_secrets(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.store.put("object", DATA)
    stored = pickle.dumps(place.store)
    assert b"secret" not in stored
    assert len(stored) < 2000
    if place.server is not None:
        for name, value in place.server.environment().items():
            monkeypatch.setenv(name, value)
    again = pickle.loads(stored)
    assert type(again) is type(place.store)
    assert again.url == place.store.url
    assert again.read("object") == DATA
    again.put("other", b"x")
    assert place.store.read("other") == b"x"


def test_objects_in_memory_do_not_cross_processes() -> None:
    store = MemoryStore("not shared")
    store.put("object", b"1")
    again = pickle.loads(pickle.dumps(store))
    assert again.read("object") == b"1"

    def work() -> None:
        assert store.read("object") == b"1"
        store.put("object", b"2")

    in_child(work)
    assert store.read("object") == b"1"


def test_threads_share_a_store(store: ObjectStore) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(10):
                key = f"{number}/{i}"
                data = DATA[: (number * 10 + i) * 100]
                store.put(key, data, metadata={"n": str(number)})
                assert store.read(key) == data
                assert store.head(key).metadata["n"] == str(number)
                if i % 2:
                    store.delete(key)
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(list(store.list())) == 60


def test_a_child_does_not_end_what_its_parent_writes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Files with a temporary name are what a child could remove.
    monkeypatch.delattr(os, "O_TMPFILE")
    data = make("noise", 6 << 20)
    with place.store.writer("object") as writer:
        writer.write(data)

        def abort() -> None:
            writer.abort()

        def leave() -> None:
            with pytest.raises(KeyError), writer:
                raise KeyError

        def end() -> None:
            with pytest.raises(StorageError):
                writer.close()

        in_child(abort)
        in_child(leave)
        if place.shared:
            in_child(end)
        assert not place.store.exists("object")
        writer.write(data)
    assert place.store.read("object") == data + data


def test_a_store_works_on_both_sides_of_a_fork(place: Place) -> None:
    store = place.store
    store.put("object", DATA)
    assert store.read("object") == DATA
    with store.get("object") as half_read:
        beginning = half_read.read(1000)

        def work() -> None:
            for _ in range(3):
                assert store.read("object", start=7, end=MIB) == DATA[7:MIB]
            store.put("from the child", DATA)

        in_child(work)
        assert beginning + half_read.read() == DATA
    for _ in range(3):
        assert store.read("object") == DATA
    assert store.exists("from the child") is place.shared


def test_a_fork_while_other_threads_use_the_store(place: Place) -> None:
    store = place.store
    store.put("object", DATA[:1000])
    stop = threading.Event()
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            while not stop.is_set():
                assert store.read("object") == DATA[:1000]
                store.put(f"other{number}", b"x")
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()

    def child() -> None:
        assert store.read("object") == DATA[:1000]
        store.put("child", b"x")
        assert store.read("child") == b"x"

    try:
        for _ in range(2):
            in_child(child)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_of_eight_processes_one_makes_the_object_and_none_loses_a_count(place: Place) -> None:
    if not place.shared:
        pytest.skip("memory is not shared")
    if not place.conditional_writes:
        pytest.skip(f"{place.name} ignores conditions, which another test states")
    place.store.put("count", b"0")
    racers: list[subprocess.Popen[Any]] = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, pickle.dumps(place.store).hex(), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment_of(place),
        )
        for number in range(8)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    won: dict[int, list[int]] = {turn: [] for turn in range(3)}
    for number, racer in enumerate(racers):
        told, _ = racer.communicate(timeout=60)
        assert racer.returncode == 0
        for turn in told.split():
            won[int(turn)].append(number)
    for turn, winners in won.items():
        assert len(winners) == 1
        assert place.store.read(f"object{turn}") == str(winners[0]).encode()
        assert place.store.head(f"object{turn}").content_type == f"x/{winners[0]}"
    assert place.store.read("count") == b"24"
    assert place.store.head("count").metadata["by"] in "01234567"
