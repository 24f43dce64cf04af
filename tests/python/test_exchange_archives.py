"""Members of archives in a store: what they cost, and what happens when the archive changes."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from fault_proxy import Fault
from inputs import KIB, MIB, run_python
from reading import (
    CountingStore,
    foreign_archive,
    fresh_space,
    members,
    noise,
    proxied_space,
    put_shard,
)
from shardpack.archive import ArchiveIndex
from shardpack.errors import (
    IntegrityError,
    ObjectNotFoundError,
    PreconditionFailedError,
    ShardReadError,
)
from shardpack.exchange.keys import Space
from shardpack.exchange.shard.access import same_version
from shardpack.exchange.shard.index_cache import CACHE, IndexCache
from shardpack.exchange.shard.source import LARGE_BYTES, ArchiveSource

if TYPE_CHECKING:
    from servers import S3Server

COMPRESSIONS = [None, "gzip", "zstd", "s4"]


@pytest.fixture(autouse=True)
def no_indexes_in_memory() -> None:
    CACHE.clear()


# --- what a member costs --------------------------------------------------------------------


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_member_costs_two_requests_cold_and_one_warm(compression: str | None) -> None:
    space, store = fresh_space("base")
    files = members(300)
    put_shard(space, "a.tar", files, compression)
    store.forget()
    path = "m/00150.bin"
    assert ArchiveSource(space, "a.tar").read(path) == files[path]
    assert store.requests == 2
    (index, _, _), (archive, start, end) = store.reads
    assert (index, archive) == ("base/a.tar.shardindex", "base/a.tar")
    assert start is not None
    assert end is not None
    # The member, and at most the two chunks that hold it.
    assert end - start <= 2 * (64 * KIB + KIB)
    store.forget()
    assert ArchiveSource(space, "a.tar").read(path) == files[path]
    assert store.requests == 1


def test_members_are_all_there_whatever_the_chunks() -> None:
    space, _ = fresh_space()
    files = {**members(20), "empty": b"", "large": noise("large", 9 * MIB), "after": b"!"}
    for compression in COMPRESSIONS:
        put_shard(space, "b.tar", files, compression, chunk_size=4 * KIB)
        source = ArchiveSource(space, "b.tar")
        for path, data in files.items():
            assert source.read(path) == data, (compression, path)
        wanted = ["large", "m/00007.bin", "empty", "m/00000.bin", "m/00007.bin", "after"]
        read = [(path, body.read()) for path, body in source.read_many(wanted)]
        assert read == [(path, files[path]) for path in wanted]
        inside = {path: body.read() for path, body in source.iter_members()}
        assert inside.pop("__manifest__.jsonl").count(b"\n") == len(files)
        assert inside == files


def test_many_members_share_requests() -> None:
    space, store = fresh_space()
    files = members(500)
    put_shard(space, "a.tar.gz", files)
    source = ArchiveSource(space, "a.tar.gz")
    store.forget()
    assert {path: body.read() for path, body in source.read_many(files)} == files
    # The index, the version of the archive, and all members.
    assert store.requests == 3


def test_a_body_seeks_and_knows_what_it_is() -> None:
    space, _ = fresh_space()
    files = {"small": b"0123456789", "large": noise("seek", LARGE_BYTES + 100)}
    put_shard(space, "a.tar.gz", files)
    source = ArchiveSource(space, "a.tar.gz")
    for path, data in files.items():
        with source.open(path) as body:
            assert body.info.key == f"a.tar.gz#{path}"
            assert body.info.size == len(data)
            assert set(body.info.metadata) == {"crc32c", "blake3"}
            assert body.seek(-4, io.SEEK_END) == len(data) - 4
            assert body.read() == data[-4:]
            assert body.seek(3) == 3
            assert body.read(5) == data[3:8]
            assert body.tell() == 8


def test_lines_of_a_member_keep_their_ends() -> None:
    space, _ = fresh_space()
    put_shard(space, "a.tar.gz", {"lines": b"one\ntwo\n\nthree"})
    body = ArchiveSource(space, "a.tar.gz").open("lines")
    assert list(body.iter_lines()) == [b"one\n", b"two\n", b"\n", b"three"]


# --- archives without an index --------------------------------------------------------------


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_archives_of_others_are_read_as_a_stream(mode: str) -> None:
    space, store = fresh_space()
    files = {**members(30), "large": bytes(9 * MIB) + b"tail", "last": b"end"}
    store.put("f.tar", foreign_archive(files, mode))
    source = ArchiveSource(space, "f.tar")
    for path in ("m/00003.bin", "large", "last"):
        assert source.read(path) == files[path]
    assert {path: body.read() for path, body in source.iter_members()} == files


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_index_can_be_built_for_an_archive_of_others(mode: str) -> None:
    space, store = fresh_space()
    files = members(400, 30_000)
    store.put("f.tar", foreign_archive(files, mode))
    store.forget()
    ArchiveSource(space, "f.tar").build_index()
    assert len(store.reads) == 1
    CACHE.clear()
    store.forget()
    assert ArchiveSource(space, "f.tar").read("m/00333.bin") == files["m/00333.bin"]
    assert store.requests == 2
    assert store.bytes_read < store.head("f.tar").size // 2


def test_an_index_can_be_built_without_storing_it() -> None:
    space, store = fresh_space()
    store.put("f.tar", foreign_archive(members(5)))
    index = ArchiveSource(space, "f.tar").build_index(write=False)
    assert len(index.members) == 5
    assert not store.exists("f.tar.shardindex")


# --- what is not there ----------------------------------------------------------------------


@pytest.mark.parametrize("index", [True, False])
def test_what_is_missing_is_named(*, index: bool) -> None:
    space, store = fresh_space("base")
    put_shard(space, "a.tar.gz", members(3), index=index)
    with pytest.raises(ObjectNotFoundError) as caught:
        ArchiveSource(space, "a.tar.gz").read("nothing")
    assert caught.value.key == "a.tar.gz#nothing"
    store.delete("base/a.tar.gz")
    with pytest.raises(ObjectNotFoundError) as caught:
        ArchiveSource(space, "a.tar.gz").read("m/00001.bin")
    assert caught.value.key == "a.tar.gz"


# --- archives that change -------------------------------------------------------------------


@pytest.mark.parametrize("with_etags", [True, False])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_an_archive_that_was_replaced_gives_its_new_bytes(
    compression: str | None, *, with_etags: bool
) -> None:
    space, store = fresh_space()
    store.with_etags = with_etags
    source = ArchiveSource(space, "a.tar")
    put_shard(space, "a.tar", {"x": noise("old", 5000), "y": b"1"}, compression)
    assert source.read("x") == noise("old", 5000)
    # The same lengths: where there are no ETags, only digests tell the two apart.
    put_shard(space, "a.tar", {"x": noise("new", 5000), "y": b"1", "z": b"2"}, compression)
    assert source.read("x") == noise("new", 5000)
    assert source.read("z") == b"2"
    assert ArchiveSource(space, "a.tar").read("x") == noise("new", 5000)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_an_index_of_another_archive_is_not_used(compression: str | None) -> None:
    space, store = fresh_space()
    put_shard(space, "a.tar", {"x": b"old", "y": b"gone"}, compression)
    stale = store.read("a.tar.shardindex")
    put_shard(space, "a.tar", {"w": b"first", "x": b"new"}, compression)
    store.put("a.tar.shardindex", stale)
    CACHE.clear()
    source = ArchiveSource(space, "a.tar")
    assert source.read("x") == b"new"
    with pytest.raises(ObjectNotFoundError):
        source.read("y")


def test_an_archive_replaced_by_one_without_index_is_streamed() -> None:
    space, store = fresh_space()
    put_shard(space, "a.tar.gz", {"x": b"old"})
    source = ArchiveSource(space, "a.tar.gz")
    assert source.read("x") == b"old"
    store.put("a.tar.gz", foreign_archive({"x": b"newer"}, "w:gz"))
    assert source.read("x") == b"newer"
    assert {path: body.read() for path, body in source.iter_members()} == {"x": b"newer"}


def test_a_damaged_index_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    space, store = fresh_space()
    put_shard(space, "a.tar.gz", {"x": b"bytes"})
    store.put("a.tar.gz.shardindex", b"no index at all")
    CACHE.clear()
    assert ArchiveSource(space, "a.tar.gz").read("x") == b"bytes"
    assert "a.tar.gz.shardindex" in caplog.text


def test_an_archive_is_compared_with_its_entry() -> None:
    space, _ = fresh_space()
    entry: Any = dict(put_shard(space, "a.tar.gz", {"x": b"one"}))
    put_shard(space, "a.tar.gz", {"x": b"two"})
    with pytest.raises(IntegrityError) as caught:
        ArchiveSource(space, "a.tar.gz", entry={**entry, "size_bytes": None}).read("x")
    assert caught.value.algorithm == "blake3"
    bare = {**entry, "size_bytes": None, "blake3": None}
    with pytest.raises(IntegrityError) as caught:
        ArchiveSource(space, "a.tar.gz", entry=bare).read("x")
    assert caught.value.algorithm == "etag"
    with pytest.raises(IntegrityError) as caught:
        ArchiveSource(space, "a.tar.gz", entry={**entry, "size_bytes": 7}).read("x")
    assert (caught.value.algorithm, caught.value.expected) == ("size", 7)


def test_tags_of_parts_and_of_bytes_are_not_compared() -> None:
    assert same_version('"abc"', "abc")
    assert not same_version("abc", "abd")
    assert same_version("abc-2", "abd")
    assert not same_version("abc-2", "abd-2")
    assert same_version(None, "abc")
    assert same_version("abc", "")


# --- damage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_byte_turned_over_on_the_way_is_read_again(compression: str | None) -> None:
    space, store = fresh_space()
    files = members(50)
    put_shard(space, "a.tar", files, compression)
    store.flips.append(("a.tar", store.head("a.tar").size // 2, 1))
    source = ArchiveSource(space, "a.tar")
    assert [source.read(path) for path in files] == list(files.values())
    assert store.flips[0][2] == 0


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_byte_that_rotted_is_told_with_member_and_digests(compression: str | None) -> None:
    space, store = fresh_space()
    files = members(50)
    put_shard(space, "a.tar", files, compression)
    data = bytearray(store.read("a.tar"))
    data[len(data) // 2] ^= 1
    index = ArchiveIndex.from_bytes(store.read("a.tar.shardindex"))
    info = store.put("a.tar", bytes(data))
    store.put("a.tar.shardindex", index.bind(info.size, info.etag).to_bytes())
    CACHE.clear()
    source = ArchiveSource(space, "a.tar")
    failures: list[Any] = []
    for path, expected in files.items():
        try:
            assert source.read(path) == expected
        except (IntegrityError, ShardReadError) as error:
            failures.append(error)
    assert failures
    for failure in failures:
        assert failure.key == "a.tar"
        if isinstance(failure, IntegrityError):
            assert failure.member in files
            assert failure.expected != failure.actual


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_truncated_archive_is_no_archive(compression: str | None, *, index: bool) -> None:
    space, store = fresh_space()
    put_shard(space, "a.tar", members(100), compression, index=index)
    data = store.read("a.tar")
    store.put("a.tar", data[: len(data) // 2])
    CACHE.clear()
    with pytest.raises(ShardReadError) as caught:
        ArchiveSource(space, "a.tar").read("m/00099.bin")
    assert caught.value.key == "a.tar"
    assert caught.value.offset is not None


# --- the cache ------------------------------------------------------------------------------


def test_the_cache_is_bounded_and_forgets_what_was_used_longest_ago() -> None:
    space, store = fresh_space()
    put_shard(space, "a.tar", members(10))
    index = ArchiveIndex.from_bytes(store.read("a.tar.shardindex"))
    cache = IndexCache(3 * 10_000)
    for number in range(5):
        cache.put("u", str(number), index)
        cache.get("u", "0")
    kept = [number for number in range(5) if cache.get("u", str(number)) is not None]
    assert 0 in kept
    assert 4 in kept
    assert len(kept) < 5
    cache.drop("u", "0")
    assert cache.get("u", "0") is None


def test_a_source_pickles_no_more_than_it_must() -> None:
    space, _ = fresh_space()
    assert pickle.loads(pickle.dumps(space)).objects.url == space.objects.url


def test_a_forked_child_reads_on_its_own() -> None:
    code = """
import os, sys
sys.path.insert(0, "tests/python")
from reading import fresh_space, members, put_shard
from shardpack.exchange.shard.source import ArchiveSource
from shardpack.exchange.shard.index_cache import CACHE
space, _ = fresh_space()
files = members(5)
put_shard(space, "a.tar.gz", files)
source = ArchiveSource(space, "a.tar.gz")
source.index()
CACHE._lock.acquire()
child = os.fork()
if not child:
    os._exit(0 if CACHE.get("u", "k") is None else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("read")
"""
    assert run_python(code) == "read"


# --- over the network -----------------------------------------------------------------------


def test_a_member_over_the_network_costs_its_chunks(s3_server: S3Server) -> None:
    files = members(1000, 20_000)
    with proxied_space(s3_server) as (space, proxy):
        put_shard(space, "big.tar.gz", files, chunk_size=512 * KIB)
        index_size = space.objects.head("big.tar.gz.shardindex").size
        CACHE.clear()
        proxy.forget()
        assert ArchiveSource(space, "big.tar.gz").read("m/00500.bin") == files["m/00500.bin"]
        assert len(proxy.requests) == 2
        assert sum(seen.bytes_down for seen in proxy.requests) <= index_size + 3 * 512 * KIB
        proxy.forget()
        assert ArchiveSource(space, "big.tar.gz").read("m/00501.bin") == files["m/00501.bin"]
        assert len(proxy.requests) == 1


def test_cut_connections_and_turned_bytes_do_not_show(s3_server: S3Server) -> None:
    files = members(200, 20_000)
    with proxied_space(s3_server) as (space, proxy):
        put_shard(space, "a.tar.gz", files)
        CACHE.clear()
        source = ArchiveSource(space, "a.tar.gz")
        for fault in (
            Fault(path="a.tar.gz$", cut_after=10_000),
            Fault(path="a.tar.gz$", cut_after=10_000, reset=True),
            Fault(path="a.tar.gz$", flip_at=10_000),
            Fault(path="shardindex", cut_after=100),
            Fault(path="a.tar.gz$", answer=503, code="SlowDown"),
        ):
            proxy.faults[:] = [fault]
            CACHE.clear()
            found = {path: body.read() for path, body in source.read_many(list(files)[50:60])}
            assert found == {path: files[path] for path in list(files)[50:60]}, fault
            source = ArchiveSource(space, "a.tar.gz")


def test_an_archive_replaced_on_a_server_gives_its_new_bytes(s3_server: S3Server) -> None:
    with proxied_space(s3_server) as (space, _):
        put_shard(space, "a.tar.gz", {"x": b"old"})
        source = ArchiveSource(space, "a.tar.gz")
        assert source.read("x") == b"old"
        put_shard(space, "a.tar.gz", {"x": b"and new"})
        assert source.read("x") == b"and new"


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_members_that_are_asked_for_twice_come_twice(compression: str | None) -> None:
    space, _ = fresh_space()
    files = {"a": noise("a", 5 * MIB), "b": noise("b", 5 * MIB)}
    put_shard(space, "a.tar", files, compression)
    wanted = ["a", "a", "b", "a", "b", "b"]
    found = ArchiveSource(space, "a.tar").read_many(wanted)
    assert [(path, body.read()) for path, body in found] == [(path, files[path]) for path in wanted]


def test_going_through_an_archive_asks_for_its_version_once() -> None:
    space, store = fresh_space()
    put_shard(space, "a.tar.gz", members(10))
    store.forget()
    assert len(list(ArchiveSource(space, "a.tar.gz").iter_members())) == 11
    assert (store.heads, len(store.reads)) == (1, 2)


def test_an_index_too_long_to_be_read_is_not_used(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, _ = fresh_space()
    files = members(10)
    put_shard(space, "a.tar.gz", files)
    monkeypatch.setattr("shardpack.exchange.shard.access.MAX_INDEX_SIZE", 100)
    source = ArchiveSource(space, "a.tar.gz")
    assert source.read("m/00003.bin") == files["m/00003.bin"]
    assert "an index of" in caplog.text


def test_a_store_that_shows_no_tags_is_asked_for_none() -> None:
    class Untagged(CountingStore):
        """A copy on a server that has no ETags, where no condition can be fulfilled."""

        def get(self, key: str, *, if_match: str | None = None, **options: Any) -> Any:
            if if_match is not None:
                raise PreconditionFailedError("no ETag", key=key, status=412)
            return super().get(key, **options)

    space, store = fresh_space()
    files = members(30)
    put_shard(space, "a.tar.gz", files)
    other = Untagged(store.name, with_etags=False)
    source = ArchiveSource(Space(other), "a.tar.gz")
    assert source.read("m/00007.bin") == files["m/00007.bin"]
    # The index, the refused range is not counted, the tag, the range.
    assert other.requests == 3
    other.forget()
    assert ArchiveSource(Space(other), "a.tar.gz").read("m/00008.bin") == files["m/00008.bin"]
    assert other.requests == 1
