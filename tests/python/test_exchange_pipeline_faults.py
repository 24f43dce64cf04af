"""Objects and members that are missing, damaged, replaced or cut off while they are read."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest

from fault_proxy import Fault
from inputs import KIB, MIB, run_python
from reading import foreign_archive, fresh_space, members, noise, proxied_space, put_shard
from shardpack import crc32c
from shardpack.archive import ArchiveIndex, ArchiveWriter
from shardpack.errors import (
    IntegrityError,
    ManifestNotFoundError,
    ObjectNotFoundError,
    ShardReadError,
    StorageError,
)
from shardpack.exchange.reading.pipeline import iter_objects
from shardpack.exchange.shard.index_cache import CACHE
from shardpack.exchange.shard.source import LARGE_BYTES
from shardpack.hash import blake3

if TYPE_CHECKING:
    from pathlib import Path

    from reading import CountingStore
    from servers import S3Server
    from shardpack.exchange.keys import Space

COMPRESSIONS = [None, "gzip", "zstd", "s4"]


@pytest.fixture(autouse=True)
def no_indexes_in_memory() -> None:
    CACHE.clear()


def file_entry(key: str, data: bytes, **changes: Any) -> Any:
    entry = {
        "kind": "file",
        "key": key,
        "size_bytes": len(data),
        "crc32c": f"{crc32c(data):08x}",
        "blake3": blake3(data).hex(),
    }
    return {name: value for name, value in (entry | changes).items() if value is not None}


def read_until_error(found: Any) -> tuple[list[str], Any]:
    keys: list[str] = []
    try:
        for body, entry in found:
            body.read()
            keys.append(entry["key"])
    except (StorageError, ShardReadError, IntegrityError) as error:
        assert list(found) == [], "an error ends the iteration"
        assert not [each for each in threading.enumerate() if "prefetch" in each.name]
        return keys, error
    return keys, None


def replace_bytes(space: Space, key: str, data: bytes) -> None:
    """Store other bytes, with the index bound to them as if nothing had happened."""
    index = ArchiveIndex.from_bytes(space.objects.read(f"{key}.shardindex"))
    info = space.objects.put(key, data)
    if info.size == index.stored_size:
        bound = index.bind(info.size, info.etag)
        space.objects.put(f"{key}.shardindex", bound.to_bytes())
    CACHE.clear()


# --- objects --------------------------------------------------------------------------------


def test_a_missing_object_is_told_in_its_place() -> None:
    space, store = fresh_space("base")
    entries: Any = []
    for number in range(40):
        entries.append(file_entry(f"o/{number}", b"x"))
        if number != 20:
            store.put(f"base/o/{number}", b"x")
    keys, error = read_until_error(iter_objects(space, entries))
    assert keys == [f"o/{number}" for number in range(20)]
    assert isinstance(error, ObjectNotFoundError)
    assert error.key == "o/20"


@pytest.mark.parametrize("size", [1000, LARGE_BYTES + 1000])
@pytest.mark.parametrize("algorithm", ["size", "crc32c", "blake3", "etag"])
def test_an_object_that_is_not_the_one_of_its_entry_is_refused(algorithm: str, size: int) -> None:
    space, store = fresh_space()
    data = noise("right", size)
    info = store.put("o", noise("wrong", size + (algorithm == "size")))
    recorded: Any = {
        "size": {"size_bytes": size, "crc32c": None, "blake3": None},
        "crc32c": {"blake3": None},
        "blake3": {"crc32c": None},
        "etag": {"crc32c": None, "blake3": None, "etag": "999999"},
    }
    entry = file_entry("o", data, **recorded[algorithm])
    _, error = read_until_error(iter_objects(space, [entry]))
    assert isinstance(error, IntegrityError)
    assert (error.key, error.member, error.algorithm) == ("o", None, algorithm)
    told = {"size": size, "etag": "999999", "crc32c": f"{crc32c(data):08x}"}
    assert error.expected == told.get(algorithm, blake3(data).hex())
    assert error.actual != error.expected
    if algorithm == "etag":
        assert error.actual == info.etag
    _, unchecked = read_until_error(iter_objects(space, [entry], verify=False))
    assert (unchecked is None) == (algorithm in {"crc32c", "blake3"})


def test_the_same_bytes_stored_again_are_the_same_object() -> None:
    space, store = fresh_space()
    store.put("o", b"bytes")
    found = iter_objects(space, [file_entry("o", b"bytes", etag="0" * 32)])
    assert [body.read() for body, _ in found] == [b"bytes"]


def test_a_byte_turned_over_on_the_way_is_read_again() -> None:
    space, store = fresh_space()
    store.put("o", b"0123456789")
    store.flips.append(("o", 5, 1))
    found = iter_objects(space, [file_entry("o", b"0123456789")])
    assert [body.read() for body, _ in found] == [b"0123456789"]
    assert len(store.reads) == 2


def test_what_is_left_out_does_not_count() -> None:
    space, store = fresh_space()
    entries = [file_entry(f"o/{number}", b"x") for number in range(200)]
    for number in range(100, 200):
        store.put(f"o/{number}", b"x")
    found = iter_objects(space, entries, limit=5, on_error="skip")
    assert [entry.get("key") for _, entry in found] == [f"o/{n}" for n in range(100, 105)]
    assert [failure.key for failure in found.failures] == [f"o/{n}" for n in range(100)]


def test_a_missing_manifest_is_no_missing_object() -> None:
    with pytest.raises(ManifestNotFoundError):
        next(iter_objects(fresh_space()[0], "nothing.jsonl"))


# --- shards ---------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [True, False])
def test_a_missing_archive_is_told_in_its_place(*, index: bool) -> None:
    space, store = fresh_space()
    first = put_shard(space, "a.tar.gz", members(5), index=index)
    gone = put_shard(space, "b.tar.gz", members(5), index=index)
    store.delete("b.tar.gz")
    keys, error = read_until_error(iter_objects(space, [first, gone, first]))
    assert len(keys) == 5
    assert isinstance(error, ObjectNotFoundError)
    assert error.key == "b.tar.gz"


@pytest.mark.parametrize("index", [True, False])
def test_a_missing_member_is_told_in_its_place(*, index: bool) -> None:
    space, _ = fresh_space()
    put_shard(space, "a.tar.gz", members(5), index=index)
    paths = ["m/00000.bin", "m/00002.bin", "none", "m/00003.bin"]
    entries: Any = [{"kind": "file", "key": f"a.tar.gz#{path}"} for path in paths]
    keys, error = read_until_error(iter_objects(space, entries))
    assert keys == ["a.tar.gz#m/00000.bin", "a.tar.gz#m/00002.bin"]
    assert isinstance(error, ObjectNotFoundError)
    assert error.key == "a.tar.gz#none"
    found = iter_objects(space, entries, on_error="skip")
    assert [entry.get("key") for _, entry in found] == [*keys, "a.tar.gz#m/00003.bin"]
    assert [failure.member for failure in found.failures] == ["none"]


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_members_before_the_damage_still_come(compression: str | None, *, index: bool) -> None:
    space, store = fresh_space()
    files = members(300)
    shard: Any = put_shard(space, "a.tar", files, compression, index=True)
    data = bytearray(store.read("a.tar"))
    data[len(data) // 2] ^= 0xFF
    replace_bytes(space, "a.tar", bytes(data))
    if not index:
        store.delete("a.tar.shardindex")
    shard = {**shard, "meta": None}
    keys, error = read_until_error(iter_objects(space, [shard]))
    if compression is None and not index and error is None:
        pytest.skip("nothing in a plain tar without index tells this damage")
    assert isinstance(error, ShardReadError | IntegrityError)
    assert error.key == "a.tar"
    expected = [f"a.tar#{path}" for path in files]
    assert keys == expected[: len(keys)]
    assert len(keys) > 50 or not index


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_rotten_member_is_left_out_when_asked(compression: str | None) -> None:
    space, store = fresh_space()
    files = members(300)
    shard: Any = put_shard(space, "a.tar", files, compression)
    data = bytearray(store.read("a.tar"))
    data[len(data) // 2] ^= 0xFF
    replace_bytes(space, "a.tar", bytes(data))
    shard["meta"] = None
    found = iter_objects(space, [shard], on_error="skip")
    read = {entry.get("member_path"): body.read() for body, entry in found}
    lost = {failure.member for failure in found.failures}
    assert 1 <= len(lost) <= 64 * KIB // 2000 + 2
    assert read == {path: data for path, data in files.items() if path not in lost}
    for failure in found.failures:
        assert failure.key == "a.tar"
        assert isinstance(failure.error, ShardReadError | IntegrityError)
        assert failure.entry.get("key") == f"a.tar#{failure.member}"


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_one_bad_shard_does_not_end_the_job_when_asked(
    compression: str | None, *, index: bool
) -> None:
    space, store = fresh_space()
    good = put_shard(space, "good.tar", members(10), compression, index=index)
    bad: Any = put_shard(space, "bad.tar", members(200), compression, index=index)
    data = store.read("bad.tar")
    store.put("bad.tar", data[: len(data) // 2])
    CACHE.clear()
    bad = {**bad, "size_bytes": None, "meta": None}
    found = iter_objects(space, [good, bad, good], on_error="skip")
    keys = [entry["key"] for _, entry in found if entry["kind"] == "file"]
    assert [key for key in keys if key.startswith("good")] == [
        f"good.tar#{path}" for path in members(10)
    ] * 2
    assert found.failures
    assert {failure.key for failure in found.failures} == {"bad.tar"}
    for failure in found.failures:
        assert isinstance(failure.error, ShardReadError | IntegrityError)


def shortened(space: Space, store: CountingStore, *, index: bool) -> Any:
    """A shard that was cut between two members and given a proper end, so that tar sees nothing."""
    files = members(20)
    shard: Any = put_shard(space, "a.tar", files, None)
    whole = ArchiveIndex.from_bytes(store.read("a.tar.shardindex"))
    manifest = whole.members["__manifest__.jsonl"]
    data = store.read("a.tar")
    writer = store.writer("a.tar")
    archive = ArchiveWriter(writer, compression=None, internal_manifest_path="__manifest__.jsonl")
    text = data[manifest.offset : manifest.offset + manifest.size]
    archive.add("__manifest__.jsonl", text)
    for path, content in list(files.items())[:12]:
        archive.add(path, content)
    made = archive.close()
    info = writer.close()
    if index:
        store.put("a.tar.shardindex", made.bind(info.size, info.etag).to_bytes())
    else:
        store.delete("a.tar.shardindex")
    CACHE.clear()
    return {**shard, "size_bytes": None, "meta": None, "blake3": None}


@pytest.mark.parametrize("index", [True, False])
def test_a_member_that_the_manifest_inside_names_must_be_there(*, index: bool) -> None:
    space, store = fresh_space()
    shard = shortened(space, store, index=index)
    keys, error = read_until_error(iter_objects(space, [shard]))
    assert len(keys) == 12
    assert isinstance(error, ShardReadError)
    assert error.member == "m/00012.bin"
    assert len(list(iter_objects(space, [shard], limit=12))) == 12


@pytest.mark.parametrize("index", [True, False])
def test_a_missing_member_is_told_once_by_iterations_that_go_on(*, index: bool) -> None:
    space, store = fresh_space()
    shard = shortened(space, store, index=index)
    begun = iter_objects(space, [shard], on_error="skip")
    assert len(list(begun)) == 12
    assert len(begun.failures) == 1
    rest = iter_objects(space, [shard], on_error="skip")
    rest.load_state_dict(begun.state_dict())
    assert (list(rest), rest.failures) == ([], [])


@pytest.mark.parametrize("index", [True, False])
def test_a_shard_that_was_replaced_is_not_the_one_of_its_entry(*, index: bool) -> None:
    space, _ = fresh_space()
    old: Any = dict(put_shard(space, "a.tar.gz", {"x": b"one"}, index=index))
    old["size_bytes"] = None
    put_shard(space, "a.tar.gz", {"x": b"two"}, index=index)
    CACHE.clear()
    _, error = read_until_error(iter_objects(space, [old]))
    assert isinstance(error, IntegrityError)
    assert (error.key, error.algorithm) == ("a.tar.gz", "blake3")
    old["blake3"] = None
    _, error = read_until_error(iter_objects(space, [old]))
    assert isinstance(error, IntegrityError)
    assert (error.key, error.algorithm) == ("a.tar.gz", "etag")


def test_a_shard_replaced_while_it_is_read_gives_no_wrong_bytes() -> None:
    space, _ = fresh_space()
    files = members(3000, 4000, "old")
    shard: Any = dict(put_shard(space, "a.tar", files, None))
    del shard["meta"]
    found = iter_objects(space, [shard], concurrency=1, prefetch_bytes=1)
    for _ in range(10):
        body, entry = next(found)
        assert body.read() == files[str(entry.get("member_path"))]
    put_shard(space, "a.tar", members(3000, 4000, "new"), None)
    for body, entry in itertools.islice(found, 200):
        assert body.read() == files[str(entry.get("member_path"))]
    keys, error = read_until_error(found)
    assert len(keys) < 2700
    assert isinstance(error, IntegrityError)
    assert (error.key, error.algorithm) == ("a.tar", "etag")


def test_a_shard_whose_index_is_of_another_archive_is_streamed() -> None:
    space, store = fresh_space()
    put_shard(space, "a.tar.gz", {"x": b"old"})
    store.put("a.tar.gz", foreign_archive({"x": b"new", "y": b"more"}, "w:gz"))
    found = iter_objects(space, "a.tar.gz")
    assert [body.read() for body, _ in found] == [b"new", b"more"]


@pytest.mark.parametrize("index", [True, False])
def test_members_are_compared_with_their_entries(*, index: bool) -> None:
    space, _ = fresh_space()
    files = {"a": b"aaaa", "b": b"bbbb", "large": noise("l", LARGE_BYTES + 5)}
    put_shard(space, "s.tar", files, None, index=index)
    good: Any = [file_entry(f"s.tar#{path}", data) for path, data in files.items()]
    assert len(list(iter_objects(space, good))) == 3
    for algorithm, entry in (
        ("size", file_entry("s.tar#b", b"bbb", crc32c=None, blake3=None)),
        ("crc32c", file_entry("s.tar#b", b"BBBB", blake3=None)),
        ("blake3", file_entry("s.tar#b", b"BBBB", crc32c=None)),
    ):
        keys, error = read_until_error(iter_objects(space, [good[0], entry, good[0]]))
        assert keys == ["s.tar#a"]
        assert isinstance(error, IntegrityError)
        assert (error.key, error.member, error.algorithm) == ("s.tar", "b", algorithm)
    wrong = file_entry("s.tar#large", bytes(LARGE_BYTES + 5), crc32c=None)
    _, error = read_until_error(iter_objects(space, [wrong]))
    assert isinstance(error, IntegrityError)
    assert error.member == "large"


# --- over the network -----------------------------------------------------------------------


@pytest.mark.parametrize("index", [True, False])
def test_faults_of_the_network_do_not_show(s3_server: S3Server, *, index: bool) -> None:
    files = members(600, 10_000)
    with proxied_space(s3_server) as (space, proxy):
        shard = put_shard(space, "a.tar.gz", files, index=index)
        entries: Any = [shard]
        for number in range(20):
            data = noise(str(number), 30_000)
            space.objects.put(f"o/{number}", data)
            entries.append(file_entry(f"o/{number}", data))
        CACHE.clear()
        proxy.faults[:] = [
            Fault(path="a.tar.gz$", cut_after=200_000),
            Fault(path="a.tar.gz$", cut_after=100_000, reset=True, skip=1),
            Fault(path="o/3$", cut_after=1000),
            Fault(path="o/4$", reset=True, cut_after=20_000),
            Fault(path="o/5$", answer=503, code="SlowDown"),
            Fault(path="o/6$", flip_at=500),
        ]
        if index:
            proxy.faults.append(Fault(path="a.tar.gz$", flip_at=300_000, skip=2))
        found = [body.read() for body, _ in iter_objects(space, entries)]
        assert found[:600] == list(files.values())
        assert found[600:] == [noise(str(number), 30_000) for number in range(20)]
        assert sum(fault.applied for fault in proxy.faults) >= 5


def test_objects_over_the_network_share_connections(rclone_server: S3Server) -> None:
    with proxied_space(rclone_server) as (space, proxy):
        entries = []
        for number in range(60):
            space.objects.put(f"o/{number}", b"x" * number)
            entries.append(file_entry(f"o/{number}", b"x" * number))
        proxy.forget()
        proxy.latency_s = 0.01
        assert [len(body.read()) for body, _ in iter_objects(space, entries)] == [*range(60)]
        assert proxy.count("GET") == 60
        assert len({seen.connection for seen in proxy.requests}) <= 16


def test_a_shard_over_the_network_comes_once(s3_server: S3Server) -> None:
    files = members(300, 20_000)
    with proxied_space(s3_server) as (space, proxy):
        for index in (True, False):
            shard = put_shard(space, "a.tar.gz", files, index=index, chunk_size=512 * KIB)
            CACHE.clear()
            proxy.forget()
            found = [body.read() for body, _ in iter_objects(space, [shard])]
            assert found == list(files.values())
            assert proxy.bytes_down <= shard["size_bytes"] + 1 * MIB


# --- memory and signals ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("index", [True, False])
def test_memory_is_the_budget_and_little_more(tmp_path: Path, *, index: bool) -> None:
    code = f"""
import os, resource, sys
sys.path.insert(0, "tests/python")
from reading import noise, put_shard
from shardpack.exchange.keys import Space
from shardpack.exchange.reading.pipeline import iter_objects
from shardpack.storage import FileStore
space = Space(FileStore({str(tmp_path)!r}))
child = os.fork()
if not child:
    files = {{f"m{{i}}": noise(str(i), 20_000) for i in range(6_000)}}
    put_shard(space, "a.tar.zst", files, "zstd", index={index})
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = iter_objects(space, "a.tar.zst", prefetch_bytes=16 << 20)
total = sum(len(body.read()) for body, _ in found)
assert total == 120_000_000
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    assert int(run_python(code)) <= 16 + 64


def test_an_interrupt_ends_an_iteration(tmp_path: Path) -> None:
    code = f"""
import os, signal, sys, threading
sys.path.insert(0, "tests/python")
from reading import members, put_shard
from shardpack.exchange.keys import Space
from shardpack.exchange.reading.pipeline import iter_objects
from shardpack.storage import FileStore
signal.signal(signal.SIGINT, signal.default_int_handler)
space = Space(FileStore({str(tmp_path)!r}))
shard = put_shard(space, "a.tar.gz", members(2000), index=False)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
found = iter_objects(space, [shard] * 100000)
try:
    for body, _ in found:
        body.read()
except KeyboardInterrupt:
    found.close()
    threads = [each for each in threading.enumerate() if each.is_alive()]
    print([each.name for each in threads if "prefetch" in each.name])
"""
    assert run_python(code) == "[]"


def test_a_forked_child_that_reads_on_in_a_large_member_is_told() -> None:
    code = """
import os, sys
sys.path.insert(0, "tests/python")
from inputs import MIB
from reading import fresh_space, noise, put_shard
from shardpack.exchange.reading.pipeline import iter_objects
space, _ = fresh_space()
large = noise("large", 12 * MIB)
shard = put_shard(space, "a.tar", {"large": large}, None, index=False)
with iter_objects(space, [shard]) as found:
    body, _ = next(found)
    assert body.read(10) == large[:10]
    child = os.fork()
    if not child:
        try:
            while body.read(MIB):
                pass
        except RuntimeError as error:
            os._exit(7 if "begin another one after a fork" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert body.read() == large[10:]
print("the parent went on")
"""
    assert run_python(code) == "the parent went on"
