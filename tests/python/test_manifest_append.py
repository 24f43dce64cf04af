from __future__ import annotations

import itertools
import json
import re
import threading
from typing import TYPE_CHECKING, Any

import pytest

from shardpack.errors import (
    AccessDeniedError,
    ConcurrencyUnsupportedError,
    InvalidManifestError,
    PreconditionFailedError,
    StorageUnavailableError,
)
from shardpack.exchange.keys import Space
from shardpack.exchange.manifest import append as manifest_append
from shardpack.exchange.manifest.append import Publication
from shardpack.exchange.manifest.manifest import append, compact, iter_entries, overwrite
from shardpack.storage import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store_places import Place

ROOT = "data/m.jsonl"
PART = re.compile(r"data/manifests/part-\d{8}-\d{6}-[0-9a-f]{8}\.jsonl")
_numbers = itertools.count(1)


def entry(name: object) -> Any:
    return {"kind": "file", "key": str(name)}


def names(space: Space, key: str = ROOT) -> list[str]:
    found: Any = iter_entries(space, key)
    return [each["key"] for each in found]


class Flaky(MemoryStore):
    """A store in memory whose writes and reads can be made to fail, before or after the fact."""

    def __init__(self) -> None:
        super().__init__(f"flaky-{next(_numbers)}")
        self.before_put: Callable[[str], None] = lambda _: None
        self.after_put: Callable[[str], None] = lambda _: None
        self.before_get: Callable[[str], None] = lambda _: None
        self.sent = 0

    def put(self, key: str, data: Any, **options: Any) -> Any:
        self.before_put(key)
        self.sent += len(data) if isinstance(data, bytes) else 0
        info = super().put(key, data, **options)
        self.after_put(key)
        return info

    def get(self, key: str, **options: Any) -> Any:
        self.before_get(key)
        return super().get(key, **options)


@pytest.fixture
def store() -> Flaky:
    return Flaky()


@pytest.fixture
def space(store: Flaky) -> Space:
    return Space(store)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_append, "_LONGEST_WAIT_S", 0.01)


def once(key: str, error: Exception) -> Callable[[str], None]:
    left = [error]

    def fail(given: str) -> None:
        if given == key and left:
            raise left.pop()

    return fail


def lost_answer() -> StorageUnavailableError:
    error = StorageUnavailableError("the connection broke")
    error.ambiguous = True
    return error


def test_appended_entries_stand_behind_those_before(place: Place) -> None:
    space = Space(place.store, "base")
    mode: Any = "conditional" if place.conditional_writes else "single-writer"
    (first,) = append(space, ROOT, [entry(1), entry(2)], mode=mode)
    (second,) = append(space, ROOT, iter([entry(3)]), mode=mode)
    assert PART.fullmatch(first)
    assert names(space) == ["1", "2", "3"]
    root = place.store.read(f"base/{ROOT}")
    assert root == (
        b'{"kind":"manifest_ref","key":"%s"}\n{"kind":"manifest_ref","key":"%s"}\n'
        % (first.encode(), second.encode())
    )
    assert place.store.head(f"base/{ROOT}").content_type == "application/x-ndjson"


def test_a_root_without_folder_has_its_parts_beside_it(space: Space) -> None:
    (part,) = append(space, "m.jsonl", [entry(1)])
    assert re.fullmatch(r"manifests/part-\d{8}-\d{6}-[0-9a-f]{8}\.jsonl", part)


def test_many_entries_make_several_parts_that_appear_together(space: Space) -> None:
    parts = append(space, ROOT, map(entry, range(25)), part_max_entries=10)
    assert len(parts) == 3
    assert names(space) == [str(number) for number in range(25)]
    assert len(append(space, ROOT, map(entry, range(1000)), part_max_bytes=5000)) > 3
    assert names(space)[25:] == [str(number) for number in range(1000)]


def test_large_parts_are_sent_as_streams(place: Place) -> None:
    if not place.conditional_writes:
        pytest.skip("the way of writing parts is the same")
    space = Space(place.store)
    wide: list[Any] = [{**entry(number), "meta": "x" * 1000} for number in range(12_000)]
    (part,) = append(space, ROOT, wide)
    assert place.store.head(part).size > 12_000_000
    assert names(space) == [str(number) for number in range(12_000)]


def test_nothing_appended_makes_an_empty_manifest_and_changes_none(space: Space) -> None:
    assert append(space, ROOT, []) == []
    assert space.objects.read(ROOT) == b"\n"
    append(space, ROOT, [entry(1)])
    before = space.objects.read(ROOT)
    append(space, ROOT, [])
    assert space.objects.read(ROOT) == before


@pytest.mark.parametrize(
    "root",
    [
        b'{"kind":"file","key":"0"}\n',
        b'{ "kind" : "file", "key":"0", "n": 1.0e0 }',
        b'{"kind":"file","key":"0"}\r\n\r\n{"kind":"manifest_ref","key":"other.jsonl"}\r\n',
    ],
)
def test_the_lines_of_a_root_stay_byte_for_byte(space: Space, root: bytes) -> None:
    space.objects.put(ROOT, root)
    append(space, ROOT, [entry(1)])
    changed = space.objects.read(ROOT)
    assert changed.startswith(root.rstrip(b"\n") + b"\n")
    assert changed.count(b"\n") == root.rstrip(b"\n").count(b"\n") + 2


def test_a_damaged_line_stays_and_wipes_nothing(space: Space) -> None:
    lines = [json.dumps(entry(number)).encode() for number in range(1000)]
    lines[499] = b'{"kind":"file","key":"cut'
    space.objects.put(ROOT, b"\n".join(lines))
    append(space, ROOT, [entry("new")])
    assert space.objects.read(ROOT).split(b"\n")[:1000] == lines
    with pytest.raises(InvalidManifestError, match="Line 500") as caught:
        names(space)
    assert caught.value.key == ROOT


@pytest.mark.parametrize("error", [AccessDeniedError("no"), StorageUnavailableError("down")])
def test_a_root_that_cannot_be_read_is_not_an_empty_one(
    store: Flaky, space: Space, error: Exception
) -> None:
    overwrite(space, ROOT, map(entry, range(50)))
    store.before_get = once(ROOT, error)
    with pytest.raises(type(error)):
        append(space, ROOT, [entry("new")])
    assert len(names(space)) == 50


def test_references_fold_so_that_the_root_stays_small(store: Flaky, space: Space) -> None:
    sizes = []
    for number in range(300):
        before = store.sent
        append(space, ROOT, [entry(number)])
        sizes.append(store.sent - before)
    assert names(space) == [str(number) for number in range(300)]
    lines = store.read(ROOT).splitlines()
    levels = [json.loads(line).get("level", 0) for line in lines]
    assert levels == [1] * 4 + [0] * 44
    assert max(sizes) < 2 * 64 * 120
    node = json.loads(lines[0])["key"]
    assert re.fullmatch(r"data/manifests/level1-\d{8}-\d{6}-[0-9a-f]{8}\.jsonl", node)
    assert store.read(node).count(b"\n") == 64


def test_levels_fold_into_levels(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardpack.exchange.manifest.root.FOLD", 3)
    for number in range(100):
        append(space, ROOT, [entry(number)])
    assert names(space) == [str(number) for number in range(100)]
    levels = [json.loads(line).get("level", 0) for line in space.objects.read(ROOT).splitlines()]
    assert levels == sorted(levels, reverse=True)
    assert max(levels) == 4
    assert len(levels) <= 2 * 5


def test_a_long_flat_root_moves_into_a_part_without_passing_through_here(
    store: Flaky, space: Space
) -> None:
    overwrite(space, ROOT, map(entry, range(20_000)))
    flat = store.read(ROOT)
    store.sent = 0
    append(space, ROOT, [entry("new")])
    assert store.sent < 1000
    moved, _ = (json.loads(line)["key"] for line in store.read(ROOT).splitlines())
    assert PART.fullmatch(moved)
    assert store.read(moved) == flat
    assert names(space)[-2:] == ["19999", "new"]


def test_a_long_root_of_references_folds_at_once(space: Space) -> None:
    space.objects.put("data/p.jsonl", b'{"kind":"file","key":"p"}\n')
    space.objects.put(ROOT, b'{"kind":"manifest_ref","key":"data/p.jsonl"}\n' * 10_000)
    append(space, ROOT, [entry("new")])
    assert len(space.objects.read(ROOT)) < 300
    assert names(space) == ["p"] * 10_000 + ["new"]


def test_a_writer_that_comes_between_is_not_lost(store: Flaky, space: Space) -> None:
    rivals = iter(range(5))

    def rival(key: str) -> None:
        if key == ROOT:
            number = next(rivals, None)
            if number is not None:
                store.before_put, held = (lambda _: None), store.before_put
                append(space, ROOT, [entry(f"rival{number}")])
                store.before_put = held

    store.before_put = rival
    append(space, ROOT, [entry("mine")])
    assert names(space) == [*(f"rival{number}" for number in range(5)), "mine"]


def test_a_root_that_never_stands_still_is_given_up(
    store: Flaky, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_append, "_DEADLINE_S", 0.05)

    def refuse(key: str) -> None:
        if key == ROOT:
            raise PreconditionFailedError("changed", key=key)

    store.before_put = refuse
    with pytest.raises(PreconditionFailedError, match=r"data/m.jsonl changed \d+ times") as caught:
        append(space, ROOT, [entry(1)])
    assert caught.value.ambiguous is False


@pytest.mark.parametrize("happened", [False, True])
@pytest.mark.parametrize("before", [0, 1, 63, 64, 200])
def test_an_answer_that_got_lost_is_looked_up(
    store: Flaky, space: Space, before: int, *, happened: bool
) -> None:
    for number in range(before):
        append(space, ROOT, [entry(number)])
    failure = once(ROOT, lost_answer())
    if happened:
        store.after_put = failure
    else:
        store.before_put = failure
    append(space, ROOT, [entry("mine")])
    assert names(space) == [*map(str, range(before)), "mine"]


@pytest.mark.parametrize("happened", [False, True])
def test_an_answer_that_got_lost_is_looked_up_below_new_levels(
    store: Flaky, space: Space, monkeypatch: pytest.MonkeyPatch, *, happened: bool
) -> None:
    monkeypatch.setattr("shardpack.exchange.manifest.root.FOLD", 3)
    for number in range(7):
        append(space, ROOT, [entry(number)])

    def others(key: str) -> None:
        if key == ROOT:
            store.before_put = store.after_put = lambda _: None
            for number in range(30):
                append(space, ROOT, [entry(f"other{number}")])
            raise lost_answer()

    if happened:
        store.after_put = others
    else:
        store.before_put = others
    append(space, ROOT, [entry("mine")])
    found = names(space)
    assert len(found) == 38
    assert found.count("mine") == 1


def test_an_answer_that_got_lost_before_a_compaction_is_told_and_not_repeated(
    store: Flaky, space: Space
) -> None:
    append(space, ROOT, [entry(1)])

    def compacted(key: str) -> None:
        if key == ROOT:
            store.after_put = lambda _: None
            compact(space, ROOT, ROOT)
            raise lost_answer()

    store.after_put = compacted
    with pytest.raises(StorageUnavailableError) as caught:
        append(space, ROOT, [entry("mine")])
    assert caught.value.ambiguous
    assert names(space) == ["1", "mine"]


def test_the_first_append_and_a_compaction_of_it_are_told_apart(store: Flaky, space: Space) -> None:
    def compacted(key: str) -> None:
        if key == ROOT:
            store.after_put = lambda _: None
            compact(space, ROOT, ROOT)
            raise lost_answer()

    store.after_put = compacted
    with pytest.raises(StorageUnavailableError):
        append(space, ROOT, [entry("mine")])
    assert names(space) == ["mine"]


@pytest.mark.parametrize("mode", ["conditional", "listed", "single-writer"])
def test_a_publication_that_is_run_again_happens_once(
    store: Flaky, space: Space, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_append, "_MOST_TRIES", 1)
    store.put("data/manifests/part.jsonl", b'{"kind":"file","key":"1"}\n')
    publication = Publication(space, ROOT, ["data/manifests/part.jsonl"], mode=mode)
    store.after_put = once(ROOT, lost_answer())
    with pytest.raises((StorageUnavailableError, PreconditionFailedError)):
        publication.run()
    publication.run()
    publication.run()
    assert names(space) == ["1"]


@pytest.mark.parametrize("mode", ["conditional", "listed", "single-writer"])
def test_entries_that_fail_on_their_way_leave_nothing_behind(space: Space, mode: Any) -> None:
    append(space, ROOT, [entry(0)], mode=mode)
    before = sorted(info.key for info in space.objects.list())
    odd: Any = {"kind": "none"}

    def broken() -> Iterator[Any]:
        yield from map(entry, range(5000))
        raise RuntimeError("the source failed")

    with pytest.raises(RuntimeError, match="the source failed"):
        append(space, ROOT, broken(), mode=mode, part_max_entries=1000)
    with pytest.raises(InvalidManifestError):
        append(space, ROOT, [*map(entry, range(2000)), odd], mode=mode)
    assert sorted(info.key for info in space.objects.list()) == before
    assert names(space) == ["0"]


class Unconditional(MemoryStore):
    """A store that ignores conditions."""

    @property
    def conditional_writes(self) -> bool:
        return False


def test_a_store_without_conditions_is_refused_before_anything_is_written() -> None:
    space = Space(Unconditional(f"unconditional-{next(_numbers)}"))
    with pytest.raises(ConcurrencyUnsupportedError, match=r"'listed'.*'single-writer'"):
        append(space, ROOT, [entry(1)])
    assert list(space.objects.list()) == []
    assert append(space, ROOT, [entry(1)], mode="single-writer")
    assert names(space) == ["1"]


def test_a_mode_that_does_not_exist_is_refused(space: Space) -> None:
    with pytest.raises(ValueError, match="got 'other'"):
        append(space, ROOT, [entry(1)], mode="other")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------- listed parts


def test_listed_parts_are_found_by_listing(place: Place) -> None:
    space = Space(place.store, "base")
    append(space, ROOT, [entry(1), entry(2)], mode="listed")
    append(space, ROOT, [entry(3)], mode="listed")
    append(space, ROOT, map(entry, range(4, 2004)), mode="listed", part_max_entries=700)
    assert names(space) == [str(number) for number in range(1, 2004)]
    assert place.store.read(f"base/{ROOT}") == (
        b'{"kind":"manifest_ref","key":"data/manifests/m.jsonl.parts/","layout":"listed"}\n'
    )
    assert append(space, "data/empty.jsonl", [], mode="listed") == []
    assert names(space, "data/empty.jsonl") == []


def test_listed_parts_come_behind_what_a_manifest_has_already(space: Space) -> None:
    overwrite(space, ROOT, [entry(0)])
    append(space, ROOT, [entry(1)], mode="listed")
    append(space, ROOT, [entry(2)], mode="listed")
    assert names(space) == ["0", "1", "2"]
    assert space.objects.read(ROOT).count(b"\n") == 2


def test_overwriting_does_not_bring_old_listed_parts_back(space: Space) -> None:
    for round_number in range(3):
        append(space, ROOT, [entry(f"old{round_number}")], mode="listed")
        overwrite(space, ROOT, [entry("base")], mode="listed")
        assert names(space) == ["base"]
    append(space, ROOT, [entry("new")], mode="listed")
    assert names(space) == ["base", "new"]


def test_threads_append_to_listed_parts_from_the_first_moment(space: Space) -> None:
    def work(number: int) -> None:
        for count in range(10):
            append(space, ROOT, [entry(f"{number}-{count}")], mode="listed")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names(space))) == 80
