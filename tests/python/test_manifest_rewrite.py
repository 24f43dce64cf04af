from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from shardpack.errors import (
    ConcurrencyUnsupportedError,
    InvalidManifestError,
    ManifestNotFoundError,
    PreconditionFailedError,
)
from shardpack.exchange.keys import Space
from shardpack.exchange.manifest import append as manifest_append
from shardpack.exchange.manifest.manifest import append, compact, iter_entries, overwrite
from shardpack.storage import MemoryStore
from shardpack.storage.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import S3Server
    from store_places import Place

ROOT = "data/m.jsonl"
_numbers = itertools.count(1)


def entry(name: object) -> Any:
    return {"kind": "file", "key": str(name)}


def shard(name: object) -> Any:
    return {"kind": "shard", "archive_key": str(name)}


def names(space: Space, key: str = ROOT) -> list[str]:
    found: Any = iter_entries(space, key)
    return [each.get("key") or each["archive_key"] for each in found]


@pytest.fixture
def space() -> Space:
    return Space(MemoryStore(f"rewrite-{next(_numbers)}"))


def test_overwriting_replaces_all(place: Place) -> None:
    space = Space(place.store, "base")
    assert overwrite(space, ROOT, map(entry, range(3))) == 3
    assert names(space) == ["0", "1", "2"]
    assert place.store.read(f"base/{ROOT}") == b"".join(
        b'{"kind":"file","key":"%d"}\n' % number for number in range(3)
    )
    assert place.store.head(f"base/{ROOT}").content_type == "application/x-ndjson"
    assert overwrite(space, ROOT, iter([])) == 0
    assert place.store.read(f"base/{ROOT}") == b"\n"
    assert names(space) == []


def test_large_manifests_are_written_as_streams(place: Place) -> None:
    space = Space(place.store)
    wide: Iterator[Any] = ({**entry(number), "meta": "x" * 1000} for number in range(12_000))
    assert overwrite(space, ROOT, wide) == 12_000
    assert place.store.head(ROOT).size > 12_000_000
    assert len(names(space)) == 12_000


def test_a_large_manifest_is_sent_while_it_is_written(moto_server: S3Server) -> None:
    client = moto_server.client()
    store = S3Store(client, moto_server.fresh_bucket(client))
    wide: Iterator[Any] = ({**entry(number), "meta": "x" * 10_000} for number in range(2000))
    overwrite(Space(store), ROOT, wide)
    # The tag of an upload tells its parts.
    assert (store.head(ROOT).etag or "").endswith("-3")
    for wished, told in ((1, "-3"), (10 << 20, "-2"), (1 << 40, "")):
        with store.writer("object", part_size=wished) as writer:
            writer.write(bytes(11 << 20))
        assert (store.head("object").etag or "")[32:] == told


def test_a_manifest_may_be_rewritten_from_itself(space: Space) -> None:
    overwrite(space, ROOT, map(entry, range(50_000)))
    even = (each for each in iter_entries(space, ROOT) if int(each["key"]) % 2 == 0)  # type: ignore[typeddict-item]
    overwrite(space, ROOT, even)
    assert names(space) == [str(number) for number in range(0, 50_000, 2)]


@pytest.mark.parametrize("count", [3, 400_000])
def test_entries_that_fail_on_their_way_leave_the_old_manifest(space: Space, count: int) -> None:
    overwrite(space, ROOT, [entry("old")])

    def broken() -> Iterator[Any]:
        yield from map(entry, range(count))
        raise RuntimeError("the source failed")

    with pytest.raises(RuntimeError, match="the source failed"):
        overwrite(space, ROOT, broken())
    with pytest.raises(InvalidManifestError, match="Line 4"):
        overwrite(space, ROOT, [*map(entry, range(3)), {"kind": "file"}])
    assert names(space) == ["old"]
    assert [info.key for info in space.objects.list()] == [ROOT]


def build(space: Space) -> None:
    """A manifest of seven entries: two flat, two in parts, one of them nested, and two shards."""
    overwrite(space, "data/nested.jsonl", [entry("n1"), shard("s1.tar")])
    overwrite(space, ROOT, [entry("f1"), shard("s2.tar"), entry("f2")])
    nested: Any = {"kind": "manifest_ref", "key": "data/nested.jsonl"}
    append(space, ROOT, [entry("p1"), nested])
    append(space, ROOT, [entry("p2")])


ALL = ["f1", "s2.tar", "f2", "p1", "n1", "s1.tar", "p2"]


def test_compacting_writes_all_entries_into_one_manifest(place: Place) -> None:
    if not place.conditional_writes:
        pytest.skip("the manifest is built by appending")
    space = Space(place.store, "base")
    build(space)
    report = compact(space, ROOT, "data/flat.jsonl")
    assert report == {
        "total_entries": 7,
        "removed_entries": 0,
        "resolved_refs": 3,
        "expanded_shards": 0,
    }
    assert names(space, "data/flat.jsonl") == ALL == names(space)
    flat = place.store.read("base/data/flat.jsonl")
    assert flat.count(b"\n") == 7
    assert b"manifest_ref" not in flat
    assert compact(space, ROOT, ROOT)["total_entries"] == 7
    assert place.store.read(f"base/{ROOT}") == flat


def test_compacting_may_keep_references(space: Space) -> None:
    build(space)
    report = compact(space, ROOT, "data/copy.jsonl", resolve_refs=False)
    assert report["total_entries"] == 5
    assert report["resolved_refs"] == 0
    assert space.objects.read("data/copy.jsonl") == space.objects.read(ROOT)
    assert names(space, "data/copy.jsonl") == ALL


def test_compacting_copies_lines_byte_for_byte(space: Space) -> None:
    lines = b'{ "kind":"file", "key":"a", "n":1e2, "big":%d }\n{"key":"b","kind":"file"}\n' % 10**30
    space.objects.put("data/part.jsonl", lines)
    space.objects.put(ROOT, b'\n\n{"kind":"manifest_ref","key":"data/part.jsonl"}')
    compact(space, ROOT, "data/flat.jsonl")
    assert space.objects.read("data/flat.jsonl") == lines


def test_shards_give_way_to_their_members_where_that_is_asked_for(space: Space) -> None:
    build(space)

    def members(each: Any) -> Iterator[Any]:
        for number in range(2):
            yield entry(f"{each['archive_key']}#{number}")

    report = compact(space, ROOT, "data/flat.jsonl", expand=members)
    assert report["total_entries"] == 9
    assert report["expanded_shards"] == 4
    found = names(space, "data/flat.jsonl")
    assert found[:4] == ["f1", "s2.tar#0", "s2.tar#1", "f2"]
    assert "s1.tar" not in found


def test_repeated_keys_are_left_out_only_where_that_is_asked_for(space: Space) -> None:
    twice = [entry("a"), shard("a"), entry("a"), entry("b"), shard("a")]
    overwrite(space, ROOT, twice)
    assert compact(space, ROOT, "data/all.jsonl")["removed_entries"] == 0
    report = compact(space, ROOT, "data/once.jsonl", dedupe=True)
    assert (report["total_entries"], report["removed_entries"]) == (3, 2)
    assert names(space, "data/once.jsonl") == ["a", "a", "b"]


def test_an_empty_manifest_compacts_to_an_empty_one(space: Space) -> None:
    overwrite(space, ROOT, [])
    assert compact(space, ROOT, "data/flat.jsonl")["total_entries"] == 0
    assert space.objects.read("data/flat.jsonl") == b"\n"


def test_entries_in_memory_are_compacted_too(space: Space) -> None:
    build(space)
    source: list[Any] = [entry(1), {"kind": "manifest_ref", "key": ROOT}]
    assert compact(space, source, "data/flat.jsonl")["total_entries"] == 8
    assert names(space, "data/flat.jsonl") == ["1", *ALL]


@pytest.mark.parametrize("target", [ROOT, "data/flat.jsonl"])
def test_a_manifest_that_cannot_be_read_leaves_the_target(space: Space, target: str) -> None:
    good = json.dumps(entry("old")).encode() + b"\n"
    space.objects.put("data/flat.jsonl", good)
    broken = b'{"kind":"file","key":"a"}\n' * 3 + b"{broken\n"
    space.objects.put(ROOT, broken)
    with pytest.raises(InvalidManifestError, match="Line 4"):
        compact(space, ROOT, target)
    assert space.objects.read("data/flat.jsonl") == good
    assert space.objects.read(ROOT) == broken
    with pytest.raises(ManifestNotFoundError):
        compact(space, "none.jsonl", target)
    with pytest.raises(ManifestNotFoundError):
        compact(space, "none.jsonl", "none.jsonl")
    assert sorted(info.key for info in space.objects.list()) == ["data/flat.jsonl", ROOT]


class Busy(MemoryStore):
    """A store in which somebody appends whenever a manifest is about to be replaced."""

    rivals = 0

    def put(self, key: str, data: Any, **options: Any) -> Any:
        if key == ROOT and self.rivals and not isinstance(data, bytes):
            self.rivals -= 1
            append(Space(self), ROOT, [entry(f"rival{self.rivals}")])
        return super().put(key, data, **options)


def test_compacting_in_place_loses_no_entry_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_append, "_LONGEST_WAIT_S", 0.01)
    store = Busy(f"busy-{next(_numbers)}")
    space = Space(store)
    build(space)
    store.rivals = 2
    assert compact(space, ROOT, ROOT)["total_entries"] == 9
    assert names(space) == [*ALL, "rival1", "rival0"]
    store.rivals = 100
    with pytest.raises(PreconditionFailedError, match="while it was compacted"):
        compact(space, ROOT, ROOT)
    assert names(space)[:9] == [*ALL, "rival1", "rival0"]
    assert len(names(space)) == 9 + 100 - store.rivals


def test_listed_parts_are_compacted_elsewhere_only(space: Space) -> None:
    for number in range(3):
        append(space, ROOT, [entry(number)], mode="listed")
    with pytest.raises(ConcurrencyUnsupportedError, match="another manifest"):
        compact(space, ROOT, ROOT, mode="listed")
    assert compact(space, ROOT, "data/flat.jsonl", mode="listed")["total_entries"] == 3
    assert names(space, "data/flat.jsonl") == ["0", "1", "2"]
