"""What is young, or was in use a moment ago, is no garbage yet: by the clock of the store."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from exchange_runs import items, keys, killed_before_the_manifest
from impolite import Impolite, answer, store_at
from servers import moto_server, rclone_server, s3_server, versitygw_server
from shardpack.exchange.keys import Space
from shardpack.exchange.manifest.append import append
from shardpack.exchange.manifest.reading import iter_entries
from shardpack.exchange.manifest.rewrite import compact, overwrite
from shardpack.exchange.packing.pack import pack
from shardpack.exchange.shard.writing import put_archive
from shardpack.exchange.upkeep.gc import GRACE_S, find_garbage, survey, sweep
from shardpack.storage.base import Upload
from shardpack.storage.clock import time_of
from shardpack.storage.memory import MemoryStore
from shardpack.storage.s3 import S3Store
from store_places import make_place, place, s3_clients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from servers import S3Server
    from shardpack.storage.base import ObjectInfo
    from store_places import Place

__all__ = [
    "moto_server",
    "place",
    "rclone_server",
    "s3_clients",
    "s3_server",
    "versitygw_server",
]

DAYS = timedelta(days=1)


class Aged(MemoryStore):
    """A store in memory in which objects are as old as a test says."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        # How much older than they are, of the version that was written then.
        self.ages: dict[tuple[str, datetime | None], timedelta] = {}
        self.clock = timedelta(0)

    def server_time(self) -> datetime | None:
        return datetime.now(UTC) + self.clock

    def age(self, keys: set[str], by: timedelta = 3 * DAYS) -> None:
        for key in keys:
            version = (key, super().head(key).last_modified)
            self.ages[version] = self.ages.get(version, 0 * DAYS) + by

    def head(self, *arguments: Any, **options: Any) -> ObjectInfo:
        return self.dated(super().head(*arguments, **options))

    def list(self, *arguments: Any, **options: Any) -> Iterator[ObjectInfo]:
        return map(self.dated, super().list(*arguments, **options))

    def list_level(self, prefix: str = "") -> Iterator[ObjectInfo | str]:
        for found in super().list_level(prefix):
            yield found if isinstance(found, str) else self.dated(found)

    def dated(self, info: ObjectInfo) -> ObjectInfo:
        assert info.last_modified is not None
        age = self.ages.get((info.key, info.last_modified), 0 * DAYS)
        return replace(info, last_modified=info.last_modified - age)


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Iterator[Aged]:
    made = Aged(f"grace-{request.node.name.replace('/', '.')}")
    yield made
    for info in list(made.list()):
        made.delete(info.key)


@pytest.fixture
def space(store: Aged) -> Space:
    return Space(store)


def young(space: Space, prefix: str = "", **options: Any) -> set[str]:
    return {item.key for item in survey(space, prefix, **options).young}


def garbage(space: Space, prefix: str = "", **options: Any) -> set[str]:
    return {item.key for item in survey(space, prefix, **options).garbage}


def parts(space: Space) -> set[str]:
    return {key for key in keys(space) if "/manifests/" in key}


def appended(space: Space, key: str, count: int) -> set[str]:
    """Append to a manifest; gives the parts."""
    before = keys(space)
    for n in range(count):
        append(space, key, [{"kind": "file", "key": f"k{n}"}])
    return keys(space) - before - {key}


def test_what_was_just_written_stays_everywhere_unless_told_otherwise(place: Place) -> None:
    space = Space(place.store)
    pack(space, items(), "good", max_entries=2, append="single-writer")
    left = killed_before_the_manifest(space, "bad", append="single-writer")
    report = survey(space, "")
    assert (report.garbage, find_garbage(space, "")) == ((), [])
    assert {item.key for item in report.young} == left
    report = survey(space, "", older_than_s=0)
    assert report.young == ()
    assert {item.key for item in report.garbage} == left


@pytest.mark.parametrize("kind", ["file", "versitygw"])
def test_what_was_written_before_that_time_goes(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    where = make_place(kind, request, tmp_path)
    space = Space(where.store)
    left = killed_before_the_manifest(space, "bad")
    assert young(space) == left
    assert where.folder is not None
    old = datetime.now(UTC).timestamp() - GRACE_S - 3600
    for key in left:
        os.utime(where.folder / key, (old, old))
    assert garbage(space) == left
    assert young(space, older_than_s=GRACE_S + 7200) == left


@pytest.mark.parametrize("how", ["compact", "overwrite"])
def test_the_parts_before_a_compaction_stay_for_those_who_read_them(
    space: Space, store: Aged, how: str
) -> None:
    old = appended(space, "a/m.jsonl", 5)
    store.age(keys(space))
    reader = iter_entries(space, "a/m.jsonl", concurrency=1)
    first = next(reader)
    if how == "compact":
        compact(space, "a/m.jsonl", "a/m.jsonl")
    else:
        overwrite(space, "a/m.jsonl", [{"kind": "file", "key": "x"}])
    assert (garbage(space), young(space)) == (set(), old)
    assert (garbage(space, "a/manifests"), young(space, "a/manifests")) == (set(), old)
    sweep(space, find_garbage(space, ""))
    assert [first, *reader] == [{"kind": "file", "key": f"k{n}"} for n in range(5)]
    # Once the new manifest is old, nobody reads the one before it.
    store.age({"a/m.jsonl"})
    assert (garbage(space), young(space)) == (old, set())


def test_a_manifest_that_grows_every_hour_keeps_nothing_back(space: Space, store: Aged) -> None:
    dead = appended(space, "a/m.jsonl", 5)
    store.age(keys(space))
    compact(space, "a/m.jsonl", "a/m.jsonl")
    alive = appended(space, "a/m.jsonl", 1)
    assert young(space) == dead
    store.age(keys(space))
    # The root is new now, and still holds the part that was added after the compaction.
    alive |= appended(space, "a/m.jsonl", 2)
    assert (garbage(space), young(space)) == (dead, set())
    sweep(space, find_garbage(space, ""))
    assert parts(space) == alive


def test_a_part_that_never_was_referred_to_goes_however_busy_the_manifest(
    space: Space, store: Aged
) -> None:
    appended(space, "a/m.jsonl", 70)
    lost = "a/manifests/part-20260101-000000-0123abcd.jsonl"
    space.objects.put(lost, b'{"kind":"file","key":"lost"}\n')
    assert young(space) == {lost}
    store.age(keys(space))
    appended(space, "a/m.jsonl", 70)
    assert (garbage(space), young(space)) == ({lost}, set())


@pytest.mark.parametrize("old", ["a/0.jsonl", "a/z.jsonl"])
def test_of_manifests_that_share_a_folder_the_newest_counts(
    space: Space, store: Aged, old: str
) -> None:
    appended(space, old, 2)
    dead = appended(space, "a/m.jsonl", 5)
    store.age(keys(space))
    compact(space, "a/m.jsonl", "a/m.jsonl")
    assert (garbage(space), young(space)) == (set(), dead)


def test_manifests_that_a_new_one_refers_to_do_not_make_it_old(space: Space, store: Aged) -> None:
    appended(space, "b/other.jsonl", 2)
    dead = appended(space, "a/m.jsonl", 5)
    store.age(keys(space))
    overwrite(space, "a/m.jsonl", [{"kind": "manifest_ref", "key": "b/other.jsonl"}])
    assert (garbage(space), young(space)) == (set(), dead)


def test_shards_that_a_manifest_named_until_now_stay(space: Space, store: Aged) -> None:
    pack(space, items(word="old"), "a", max_entries=2)
    pack(space, items(word="other"), "b", max_entries=2)
    left = killed_before_the_manifest(space, "dead")
    before = {key for key in keys(space) if key.startswith("a/")} - {"a/manifest.jsonl"}
    store.age(keys(space))
    pack(space, items(word="new"), "a", max_entries=2, mode="overwrite")
    # What happens in one folder keeps nothing in others.
    assert garbage(space) == left
    assert young(space) == before
    store.age(keys(space))
    assert garbage(space) == left | before


def test_a_new_manifest_beside_keeps_what_it_may_have_named(space: Space, store: Aged) -> None:
    left = killed_before_the_manifest(space, "a")
    store.age(keys(space))
    assert garbage(space) == left
    overwrite(space, "a/new.jsonl", [{"kind": "file", "key": "x"}])
    assert (garbage(space), young(space)) == (set(), left)
    space.objects.delete("a/new.jsonl")
    overwrite(space, "b/new.jsonl", [{"kind": "file", "key": "x"}])
    assert garbage(space) == left


@pytest.mark.parametrize("far", ["far", "far/shards"])
def test_shards_in_a_folder_of_their_own_are_told_by_their_neighbours(
    space: Space, store: Aged, far: str
) -> None:
    keys_of_shards = [f"{far}/shard-{digit:0>16}.tar" for digit in "01"]
    for key in keys_of_shards:
        put_archive(space, key, items(word=key))
    shards: list[Any] = [{"kind": "shard", "archive_key": key} for key in keys_of_shards]
    overwrite(space, "near/m.jsonl", shards)
    store.age(keys(space))
    overwrite(space, "near/m.jsonl", shards[1:])
    unlinked = {key for key in keys(space) if "shard-0000000000000000" in key}
    assert len(unlinked) == 2
    assert (garbage(space), young(space)) == (set(), unlinked)
    store.age(keys(space))
    assert garbage(space) == unlinked


def test_an_index_stays_as_long_as_its_archive(space: Space, store: Aged) -> None:
    left = killed_before_the_manifest(space, "a")
    indexes = {key for key in left if key.endswith(".shardindex")}
    store.age(indexes)
    assert (garbage(space), young(space)) == (set(), left)
    store.age(left - indexes)
    assert garbage(space) == left


def test_parts_that_readers_list_stay_when_the_listing_is_replaced(
    space: Space, store: Aged
) -> None:
    for word in ("a", "b"):
        append(space, "m.jsonl", [{"kind": "file", "key": word}], mode="listed")
    old = keys(space) - {"m.jsonl"}
    store.age(keys(space))
    overwrite(space, "m.jsonl", [{"kind": "file", "key": "c"}], mode="listed")
    append(space, "m.jsonl", [{"kind": "file", "key": "d"}], mode="listed")
    assert (garbage(space), young(space)) == (set(), old)
    store.age(keys(space))
    append(space, "m.jsonl", [{"kind": "file", "key": "e"}], mode="listed")
    assert (garbage(space), young(space)) == (old, set())


@pytest.mark.parametrize("days", [-3, 3])
def test_the_clock_of_the_store_decides_not_that_of_this_machine(
    space: Space, store: Aged, days: int
) -> None:
    left = killed_before_the_manifest(space, "a")
    store.clock = days * DAYS
    store.age(left, -days * DAYS)
    assert (garbage(space), young(space)) == (set(), left)
    store.age(left, 2 * DAYS)
    assert (garbage(space), young(space)) == (left, set())


def test_servers_say_what_time_it_is(s3_server: S3Server) -> None:
    with closing(s3_server.client()) as client:
        store = S3Store(client, s3_server.fresh_bucket(client))
        # Whole seconds, and some servers look at the clock only now and then.
        before = datetime.now(UTC) - timedelta(minutes=1)
        told = store.server_time()
        assert told is not None
        assert before <= told <= datetime.now(UTC)
        assert before <= time_of(store) <= datetime.now(UTC)


LISTING = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


@pytest.mark.parametrize(
    ("date", "told"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)),
        ("some day", None),
        (None, None),
    ],
)
def test_a_server_that_does_not_say_leaves_it_to_this_machine(
    rclone_server: S3Server, date: str | None, told: datetime | None
) -> None:
    headers = [f"Content-Length: {len(LISTING)}", *([f"Date: {date}"] if date else [])]
    impolite = Impolite([answer(LISTING, *headers, status="200 OK")] * 2)
    try:
        store = store_at(rclone_server, impolite)
        assert store.server_time() == told
        before = datetime.now(UTC)
        found = time_of(store)
        assert found == told or before <= found <= datetime.now(UTC)
    finally:
        impolite.end()


def test_stores_without_a_clock_have_that_of_this_machine() -> None:
    before = datetime.now(UTC)
    assert before <= time_of(MemoryStore("clock")) <= datetime.now(UTC)


class Overtaken(Aged):
    """A store in which something happens between the listing and the reading of manifests."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.meanwhile: list[Callable[[], object]] = []

    def list(self, *arguments: Any, **options: Any) -> Iterator[ObjectInfo]:
        yield from super().list(*arguments, **options)
        while self.meanwhile:
            self.meanwhile.pop()()


@pytest.mark.parametrize("how", ["compact", "overwrite"])
def test_a_compaction_during_the_search_is_seen_as_one_of_now(how: str) -> None:
    store = Overtaken(f"grace-overtaken-{how}")
    space = Space(store)
    old = appended(space, "a/m.jsonl", 5)
    store.age(keys(space))
    if how == "compact":
        store.meanwhile.append(lambda: compact(space, "a/m.jsonl", "a/m.jsonl"))
    else:
        entries: list[Any] = [{"kind": "file", "key": "x"}]
        store.meanwhile.append(lambda: overwrite(space, "a/m.jsonl", entries))
    report = survey(space, "")
    assert not store.meanwhile
    assert (report.garbage, {item.key for item in report.young}) == ((), old)


def test_a_manifest_that_goes_away_during_the_search_stops_nothing() -> None:
    class Fleeting(Aged):
        def head(self, *arguments: Any, **options: Any) -> ObjectInfo:
            self.delete("a/m.jsonl")
            return super().head(*arguments, **options)

    store = Aged("grace-gone")
    space = Space(store)
    left = killed_before_the_manifest(space, "a")
    overwrite(space, "a/m.jsonl", [{"kind": "file", "key": "x"}])
    store.age(keys(space))
    fleeting = Fleeting(store.name)
    fleeting.ages = store.ages
    assert garbage(Space(fleeting)) == left
    assert not store.exists("a/m.jsonl")


def test_young_data_does_not_hide_manifests_of_other_names(space: Space, store: Aged) -> None:
    pack(space, items(), "p", max_entries=2, manifest_key="p/manifest.jsonl")
    overwrite(space, "p/index.json", list(iter_entries(space, "p/manifest.jsonl")))
    for key in keys(space):
        if key == "p/manifest.jsonl" or "/manifests/" in key:
            space.objects.delete(key)
    store.age(keys(space))
    space.objects.put("p/events.jsonl", b'{"event": 1}\n')
    report = survey(space, "")
    assert report.foreign == ("p/events.jsonl",)
    assert (report.garbage, report.young) == ((), ())


def test_an_upload_of_unknown_age_is_young(store: Aged) -> None:
    class Undated(Aged):
        def iter_uploads(self, prefix: str = "") -> Iterator[Upload]:
            yield Upload(f"{prefix}a", "1", None)

    undated = Space(Undated(store.name))
    report = survey(undated, "")
    assert report.garbage == ()
    assert [item.key for item in report.young] == ["a"]
    assert garbage(undated, older_than_s=0) == {"a"}


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_an_age_that_means_nothing_is_refused(space: Space, seconds: float) -> None:
    with pytest.raises(ValueError, match="older_than_s"):
        survey(space, "", older_than_s=seconds)
