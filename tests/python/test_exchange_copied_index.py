"""Indexes beside archives with another ETag: copies are read by range, other archives never."""

from __future__ import annotations

import gzip
import json
import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from foreign_archives import python_tar
from reading import CountingStore, fresh_space, members, noise, proxied_space, put_shard
from shardpack.archive import ArchiveIndex
from shardpack.errors import IntegrityError, ObjectNotFoundError, ShardReadError
from shardpack.exchange.keys import Space
from shardpack.exchange.reading.pipeline import iter_objects
from shardpack.exchange.shard.index_cache import CACHE
from shardpack.exchange.shard.source import LARGE_BYTES, ArchiveSource
from shardpack.exchange.upkeep.verify import verify
from shardpack.storage.file import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from servers import S3Server

COMPRESSIONS = (None, "gzip", "zstd", "s4")
MANIFEST = "__manifest__.jsonl"


@dataclass
class WatchedStore(CountingStore):
    """Notes the ETag that each range is asked for."""

    asked: list[str | None] = field(default_factory=list)

    def get(self, key: str, **options: Any) -> Any:
        if options.get("start") is not None:
            self.asked.append(options.get("if_match"))
        return super().get(key, **options)

    @property
    def whole(self) -> list[str]:
        """Keys of archives that were read as a stream."""
        return [key for key, start, _ in self.reads if start is None and "index" not in key]


def copied(space: Space, key: str = "a.tar") -> tuple[Space, WatchedStore]:
    """All that belongs to an archive, in another store."""
    _, fresh = fresh_space()
    store = WatchedStore(f"{fresh.name}-copy")
    # Versions are counted, so that none of these has the number of the first.
    for name in (key, f"{key}.shardindex"):
        store.put(name, space.objects.read(name))
    CACHE.clear()
    assert store.head(key).etag != space.objects.head(key).etag
    return Space(store), store


# --- copies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_members_of_a_copied_archive_are_read_by_range(compression: str | None) -> None:
    files = members(300, 3000) | {"empty": b"", "n" * 150: b"long name", "ü/日本": b"not ascii"}
    space, _ = fresh_space()
    put_shard(space, "a.tar", files, compression, chunk_size=16 << 10)
    copy, store = copied(space)
    source = ArchiveSource(copy, "a.tar")
    for path in ("m/00200.bin", "empty", "n" * 150, "ü/日本", "m/00000.bin", "m/00299.bin"):
        assert source.read(path) == files[path]
        assert ArchiveSource(copy, "a.tar").read(path) == files[path]
    assert store.whole == []
    # The first request asked for the ETag that the index knows, all others for that of the copy.
    etag = store.head("a.tar").etag
    assert store.asked[0] != etag
    assert set(store.asked[1:]) == {etag}


@pytest.mark.parametrize("form", ["plain", "gzip"])
def test_members_of_a_copied_foreign_archive_are_read_by_range(form: str) -> None:
    files = members(100, 3000) | {"d/" * 60 + "n": b"a name that needs a header of its own"}
    tar = python_tar(files)
    space, _ = fresh_space()
    space.objects.put("a.tar", tar if form == "plain" else gzip.compress(tar))
    ArchiveSource(space, "a.tar").build_index()
    copy, store = copied(space)
    source = ArchiveSource(copy, "a.tar")
    assert source.read("m/00050.bin") == files["m/00050.bin"]
    assert store.whole == []
    # Its own header does not have all of the name, so that it proves nothing.
    assert source.read("d/" * 60 + "n") == files["d/" * 60 + "n"]
    assert store.whole == ["a.tar"]


def test_after_the_first_read_a_copy_costs_no_more_requests() -> None:
    files = members(50, 3000)
    space, _ = fresh_space()
    put_shard(space, "a.tar", files)
    copy, store = copied(space)
    ArchiveSource(copy, "a.tar").read("m/00001.bin")
    store.forget()
    ArchiveSource(copy, "a.tar").read("m/00002.bin")
    assert (len(store.reads), store.heads) == (1, 0)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_copy_that_its_entry_vouches_for_is_read_by_range_as_a_whole(
    compression: str | None,
) -> None:
    files = members(300, 3000) | {"large": noise("large", LARGE_BYTES + 5000)}
    space, _ = fresh_space()
    entry = put_shard(space, "a.tar", files, compression)
    copy, store = copied(space)
    with iter_objects(copy, [entry]) as objects:
        assert {e["member_path"]: body.read() for body, e in objects} == files  # type: ignore[typeddict-item]
    source = ArchiveSource(copy, "a.tar", entry=entry)
    assert {path: body.read() for path, body in source.iter_members() if path != MANIFEST} == files
    assert source.read("large") == files["large"]
    with source.open("large") as body:
        body.seek(LARGE_BYTES)
        assert body.read(100) == files["large"][LARGE_BYTES:][:100]
    with pytest.raises(ObjectNotFoundError):
        source.read("not there")
    assert store.whole == []


@pytest.mark.parametrize("verify", [True, False])
def test_without_an_entry_a_copy_is_listed_and_iterated_as_a_stream(*, verify: bool) -> None:
    files = members(30, 3000) | {"large": noise("large", LARGE_BYTES + 5000)}
    space, _ = fresh_space()
    entry = put_shard(space, "a.tar", files)
    copy, store = copied(space)
    source = ArchiveSource(copy, "a.tar")
    assert {path: body.read() for path, body in source.iter_members() if path != MANIFEST} == files
    assert source.read("large") == files["large"]
    with pytest.raises(ObjectNotFoundError):
        source.read("not there")
    assert len(store.whole) == 3
    # Nothing would be compared: so the digest of the whole is.
    with iter_objects(copy, [entry], verify=verify) as objects:
        assert {e["member_path"]: body.read() for body, e in objects} == files  # type: ignore[typeddict-item]
    assert len(store.whole) == (3 if verify else 4)


@pytest.mark.parametrize("tag", ["0" * 32, "0" * 32 + "-3"])
def test_a_copy_whose_tag_has_another_form_is_read_as_any_other(tag: str) -> None:
    # Other stores have such tags, and other ways of uploading to the same store.
    files = members(30, 3000) | {"large": noise("large", LARGE_BYTES + 5000)}
    space, store = fresh_space()
    store.put("a.tar", python_tar(files))
    built = ArchiveSource(space, "a.tar").build_index(write=False)
    store.put("a.tar.shardindex", built.bind(built.stored_size, tag).to_bytes())
    CACHE.clear()
    source = ArchiveSource(space, "a.tar", caches=False)
    assert source.read("large") == files["large"]
    assert {path: body.read() for path, body in source.read_many(list(files))} == files
    assert {path: body.read() for path, body in source.iter_members()} == files
    with pytest.raises(ObjectNotFoundError):
        source.read("not there")
    entries: list[Any] = [{"kind": "file", "key": f"a.tar#{path}"} for path in files]
    shard: Any = {"kind": "shard", "archive_key": "a.tar", "format": "tar"}
    for wanted in ([shard], entries):
        with iter_objects(space, wanted) as objects:
            assert {e["key"][6:]: body.read() for body, e in objects} == files  # type: ignore[typeddict-item]


def test_a_copy_in_files_is_read_by_range(tmp_path: Path) -> None:
    files = members(50, 3000)
    space, _ = fresh_space()
    put_shard(space, "a.tar", files)
    store = FileStore(str(tmp_path))
    for name in ("a.tar", "a.tar.shardindex"):
        store.put(name, space.objects.read(name))
    CACHE.clear()
    source = ArchiveSource(Space(store), "a.tar")
    assert source.read("m/00001.bin") == files["m/00001.bin"]
    index = source.index()
    assert index is not None
    assert index.doubtful


@pytest.mark.parametrize("vouched", [True, False])
def test_verify_reads_a_copy_and_finds_nothing_wrong(*, vouched: bool) -> None:
    files = members(50, 3000)
    space, _ = fresh_space()
    entry: Any = dict(put_shard(space, "a.tar", files))
    if not vouched:
        del entry["blake3"], entry["meta"]
    copy, store = copied(space)
    store.put("m.jsonl", json.dumps(entry).encode() + b"\n")
    assert verify(copy, "m.jsonl", full=True).findings == ()
    changed = bytearray(store.read("a.tar"))
    changed[-5] ^= 1
    store.put("a.tar", bytes(changed))
    assert verify(copy, "m.jsonl", full=True).findings != ()


def test_verify_tells_the_index_of_another_archive_of_the_same_size() -> None:
    old, new = {"a": b"one", "b": b"two"}, {"b": b"one", "a": b"two"}
    space, store, _ = stale(old, new, None)
    store.put("m.jsonl", b'{"kind":"shard","archive_key":"a.tar","format":"tar"}\n')
    found = verify(space, "m.jsonl", full=True).findings
    # It says nothing about the archive, which is sound.
    assert [(each.key, each.problem) for each in found] == [("a.tar", "index")]


def test_doubt_is_pickled() -> None:
    space, _ = fresh_space()
    put_shard(space, "a.tar", members(3))
    index = ArchiveSource(space, "a.tar").index()
    assert index is not None
    assert not pickle.loads(pickle.dumps(index)).doubtful
    doubtful = index.doubted("other")
    assert (doubtful.doubtful, doubtful.etag, index.doubtful) == (True, "other", False)
    assert pickle.loads(pickle.dumps(doubtful)).doubtful


# --- other archives of the same size ------------------------------------------------------------


def stale(
    old: Mapping[str, bytes], new: Mapping[str, bytes], compression: str | None
) -> tuple[Space, WatchedStore, Any]:
    """An archive beside the index of another one, and the entry of that one."""
    before, _ = fresh_space()
    entry = put_shard(before, "a.tar", old, compression, chunk_size=4096)
    after, _ = fresh_space()
    put_shard(after, "a.tar", new, compression, chunk_size=4096)
    copy, store = copied(after)
    store.put("a.tar.shardindex", before.objects.read("a.tar.shardindex"))
    return copy, store, entry


def size_of(space: Space) -> int:
    return space.objects.head("a.tar").size


@settings(max_examples=60, deadline=None)
@given(data=st.data(), compression=st.sampled_from(COMPRESSIONS))
def test_an_archive_of_the_same_size_gives_its_own_members(
    data: st.DataObject, compression: str | None
) -> None:
    size = data.draw(st.sampled_from([0, 5, 512, 3000]))
    names = [f"file-{number}" for number in range(8)]
    contents = [noise(f"content-{number}", size) for number in range(8)]
    drawn = st.permutations(range(8)).map(lambda order: order[:4])
    old = {names[a]: contents[b] for a, b in zip(data.draw(drawn), data.draw(drawn), strict=True)}
    new = {names[a]: contents[b] for a, b in zip(data.draw(drawn), data.draw(drawn), strict=True)}
    space, _, entry = stale(old, new, compression)
    assume(size_of(space) == entry["size_bytes"])
    source = ArchiveSource(space, "a.tar")
    for path in data.draw(st.permutations(names)):
        if path in new:
            assert source.read(path) == new[path]
        else:
            with pytest.raises(ObjectNotFoundError):
                source.read(path)
    for _ in range(2):
        found = {path: body.read() for path, body in source.iter_members() if path != MANIFEST}
        assert found == new
        CACHE.clear()
        with iter_objects(space, "a.tar") as objects:
            assert {e["member_path"]: body.read() for body, e in objects} == new  # type: ignore[typeddict-item]
    # What a manifest vouches for is given as it should be, or not at all.
    vouched = ArchiveSource(space, "a.tar", entry=entry)
    for path, expected in old.items():
        try:
            assert vouched.read(path) == expected
        except (IntegrityError, ShardReadError):
            assert new != old


def stale_of_one_size(
    make: Callable[[str], tuple[dict[str, bytes], dict[str, bytes]]], compression: str | None
) -> tuple[Space, Any, dict[str, bytes]]:
    """An archive beside the index of another one of its size, of which there are some."""
    for label in range(200):
        old, new = make(str(label))
        space, _, entry = stale(old, new, compression)
        if size_of(space) == entry["size_bytes"]:
            return space, entry, new
    raise AssertionError("no two archives of one size")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_swapped_names_are_not_mistaken(compression: str | None) -> None:
    # The bytes of each lie where they did, and their digests are right: only the headers differ.
    def swapped(label: str) -> tuple[dict[str, bytes], dict[str, bytes]]:
        size = 3000 if compression else 5
        first, second = noise(f"x{label}", size), noise(f"y{label}", size)
        return {"a": first, "b": second}, {"b": first, "a": second}

    space, _, new = stale_of_one_size(swapped, compression)
    for path, data in new.items():
        assert ArchiveSource(space, "a.tar").read(path) == data


def test_a_large_member_that_changed_in_place_is_told_before_it_is_read() -> None:
    old = {"a": noise("old", LARGE_BYTES + 5), "b": b"same"}
    new = {"a": noise("new", LARGE_BYTES + 5), "b": b"same"}
    space, _, entry = stale(old, new, None)
    assert size_of(space) == entry["size_bytes"]
    with ArchiveSource(space, "a.tar").open("a") as body:
        assert body.read() == new["a"]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_an_archive_that_is_not_what_its_entry_vouches_for_is_refused(
    compression: str | None,
) -> None:
    def changed(label: str) -> tuple[dict[str, bytes], dict[str, bytes]]:
        old = members(5, 3000)
        return old, {path: noise(label + path, len(data)) for path, data in old.items()}

    space, entry, _ = stale_of_one_size(changed, compression)
    with iter_objects(space, [entry]) as objects, pytest.raises((IntegrityError, ShardReadError)):
        list(objects)
    with pytest.raises((IntegrityError, ShardReadError)):
        ArchiveSource(space, "a.tar", entry=entry).read("m/00003.bin")


def test_an_archive_replaced_after_its_copy_was_trusted_is_told() -> None:
    files = members(20, 3000)
    space, _ = fresh_space()
    put_shard(space, "a.tar", files, None)
    copy, store = copied(space)
    source = ArchiveSource(copy, "a.tar")
    assert source.read("m/00001.bin") == files["m/00001.bin"]
    other, _ = fresh_space()
    changed = {path: noise(f"other{path}", len(data)) for path, data in files.items()}
    put_shard(other, "a.tar", changed, None)
    store.put("a.tar", other.objects.read("a.tar"))
    for path, data in changed.items():
        assert source.read(path) == data


def test_an_index_of_an_archive_of_another_size_is_not_even_tried() -> None:
    files = members(20, 3000)
    space, store, _ = stale(files, {**files, "more": b"x" * 9000}, None)
    assert ArchiveSource(space, "a.tar").read("m/00003.bin") == files["m/00003.bin"]
    assert len(store.whole) == 1


def test_a_copy_on_a_server_is_read_by_range(conditional_server: S3Server) -> None:
    files = members(200, 5000)
    space, store = fresh_space()
    entry = put_shard(space, "a.tar", files)
    index = ArchiveIndex.from_bytes(store.read("a.tar.shardindex"))
    # As if made in another bucket, from an upload with another tag.
    index.bind(index.stored_size, "0" * 32)
    with proxied_space(conditional_server) as (copy, proxy):
        copy.objects.put("a.tar", store.read("a.tar"))
        copy.objects.put("a.tar.shardindex", index.to_bytes())
        CACHE.clear()
        etag = copy.objects.head("a.tar").etag
        proxy.forget()
        source = ArchiveSource(copy, "a.tar")
        assert source.read("m/00150.bin") == files["m/00150.bin"]
        assert source.read("m/00003.bin") == files["m/00003.bin"]
        with iter_objects(copy, [entry]) as objects:
            assert len(list(objects)) == 200
        ranges = proxy.seen("GET", r"a\.tar(\?|$)")
        assert all(request.range is not None for request in ranges)
        asked = [request.headers["if-match"].strip('"') for request in ranges]
        assert set(asked) == {"0" * 32, etag}
        # Once for each source that does not know yet.
        assert asked.count("0" * 32) <= 2
