"""What a pack does before it reads or sends: it walks, checks, cuts and names."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardpack.errors import BulkError, UnsafePathError
from shardpack.exchange.packing.folder_scan import FolderScan, LeftOut, glob_matcher
from shardpack.exchange.packing.plan import ShardOptions, is_our_shard, loose_name, shard_name
from shardpack.exchange.packing.source import Limits, Planner
from shardpack.exchange.shard.items import (
    FileReader,
    ItemFailure,
    PreparedItem,
    internal_manifest,
    open_source,
    prepare_item,
)
from shardpack.exchange.shard.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from shardpack.exchange.packing.jobs import Job


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def found(folder: Path, **options: Any) -> list[str]:
    return [file.member_path for file in FolderScan(str(folder), **options)]


def planned(items: Iterable[Any], **limits: Any) -> list[Job]:
    planner = Planner(Limits(**{"max_entries": 10_000, "max_bytes": 1 << 20, **limits}), "_", 2)
    jobs = list(planner.of_items(items))
    assert not planner.failures
    return jobs


def item(path: str = "a", size: int = 1, **fields: Any) -> PreparedItem:
    return PreparedItem(path, f"/data/{path}", size, 7, **fields)


# --- folders --------------------------------------------------------------------------------


def test_files_come_in_the_order_of_their_whole_paths(tmp_path: Path) -> None:
    names = ["a/b", "a-b", "a.txt", "a/c/d", "b", "é", "a0", "z/\U0001f600", "z/\uffff", "A"]
    tree(tmp_path, *names)
    assert found(tmp_path) == sorted(names, key=lambda name: name.encode())


def test_links_and_special_files_are_left_out_and_reported(tmp_path: Path) -> None:
    tree(tmp_path, "real/file")
    (tmp_path / "link").symlink_to("real/file")
    (tmp_path / "folder-link").symlink_to("real")
    (tmp_path / "nowhere").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe")
    scan = FolderScan(str(tmp_path))
    assert [file.member_path for file in scan] == ["real/file"]
    assert sorted(scan.left_out) == [
        LeftOut("folder-link", "symlink"),
        LeftOut("link", "symlink"),
        LeftOut("nowhere", "symlink"),
        LeftOut("pipe", "special"),
    ]


def test_links_are_followed_when_asked_for_but_never_in_circles(tmp_path: Path) -> None:
    tree(tmp_path / "in", "real/file")
    tree(tmp_path, "outside")
    (tmp_path / "in/link").symlink_to("../outside")
    (tmp_path / "in/again").symlink_to("real")
    (tmp_path / "in/real/up").symlink_to("..")
    (tmp_path / "in/nowhere").symlink_to("gone")
    scan = FolderScan(str(tmp_path / "in"), follow_symlinks=True)
    assert [file.member_path for file in scan] == ["again/file", "link", "real/file"]
    assert sorted(scan.left_out) == [
        LeftOut("again/up", "loop"),
        LeftOut("nowhere", "symlink"),
        LeftOut("real/up", "loop"),
    ]


def test_globs_choose_files_and_prune_folders(tmp_path: Path) -> None:
    tree(tmp_path, "a.txt", "b.jpg", "d/a.txt", "d/e/f.jpg", ".git/x", "d/.git/y", "d/e/[1].txt")
    assert found(tmp_path, include=["*.jpg"]) == ["b.jpg", "d/e/f.jpg"]
    assert found(tmp_path, include=["d/*.txt"]) == ["d/a.txt"]
    assert found(tmp_path, include=["d/**/*.txt", "b.*"]) == ["b.jpg", "d/a.txt", "d/e/[1].txt"]
    assert found(tmp_path, exclude=[".git", "d/e"]) == ["a.txt", "b.jpg", "d/a.txt"]
    assert found(tmp_path, include=["*.txt"], exclude=["**/e/**"]) == ["a.txt", "d/a.txt"]
    # What is in a folder that is left out is not even looked at.
    (tmp_path / "d/e").chmod(0)
    assert "d/e/f.jpg" not in found(tmp_path, exclude=["e"])


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*", ["a", "b/c"], []),
        ("a/*", ["a/b"], ["a", "a/b/c", "x/a/b"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b"]),
        ("**/a", ["a", "x/a", "x/y/a"], ["b", "xa"]),
        ("x?z", ["xyz", "a/xyz"], ["xz", "x/z"]),
        ("[a-c]1", ["a1", "d/b1"], ["d1"]),
        ("[!a]1", ["b1"], ["a1", "/1"]),
        ("[]]1", ["]1"], ["[1"]),
        ("a.b", ["a.b"], ["axb"]),
        ("[", ["["], ["a"]),
    ],
)
def test_a_glob_matches_what_a_shell_would(pattern: str, yes: list[str], no: list[str]) -> None:
    matches = glob_matcher([pattern])
    assert [path for path in yes if not matches(path)] == []
    assert [path for path in no if matches(path)] == []


@given(pattern=st.text(max_size=12), path=st.text(max_size=12))
def test_any_text_is_a_glob(pattern: str, path: str) -> None:
    assert glob_matcher([pattern])(path) in (True, False)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError):
        FolderScan(str(tree(tmp_path, "file") / "file"))


# --- items ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        b"hello",
        bytearray(b"hello"),
        memoryview(b"hello"),
        io.BytesIO(b"hello"),
        [b"he", b"", b"llo"],
        (piece for piece in (b"hel", b"lo")),
    ],
)
@pytest.mark.parametrize("memory", [0, 3, 100])
def test_every_kind_of_source_gives_its_bytes(source: Any, memory: int) -> None:
    if not isinstance(source, bytes | bytearray | memoryview | list):
        source = io.BytesIO(b"hello") if isinstance(source, io.BytesIO) else iter([b"hel", b"lo"])
    with Spool(memory) as spool:
        prepared = prepare_item({"member_path": "a", "source": source}, spool, hold=False)
        assert prepared.size == 5
        assert bytes(open_source(prepared)) == b"hello"  # type: ignore[arg-type]


def test_a_generator_may_use_its_buffer_again() -> None:
    buffer = bytearray(b"first")
    with Spool(100) as spool:
        prepared = prepare_item({"member_path": "a", "source": buffer}, spool, hold=False)
        buffer[:] = b"later"
        assert open_source(prepared) == b"first"


def test_an_item_that_is_not_as_it_says_is_refused(tmp_path: Path) -> None:
    with Spool(0) as spool:
        for wrong in (
            {"member_path": "a", "source": b"12", "size_bytes": 3},
            {"member_path": "a"},
            {"source": b""},
        ):
            with pytest.raises(ValueError, match="member"):
                prepare_item(wrong, spool, hold=True)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="'a'"):
            prepare_item({"member_path": "a", "source": 5}, spool, hold=True)  # type: ignore[typeddict-item]
        with pytest.raises(UnsafePathError, match="not a regular file"):
            prepare_item({"member_path": "a", "source": tmp_path}, spool, hold=True)
        with pytest.raises(FileNotFoundError):
            prepare_item({"member_path": "a", "source": tmp_path / "gone"}, spool, hold=True)


@pytest.mark.parametrize("change", ["longer", "shorter", "touched", "gone", "pipe"])
@pytest.mark.parametrize("size", [100, 5 << 20])
def test_a_file_that_changed_since_it_was_planned_is_told(
    tmp_path: Path, change: str, size: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    with Spool(0) as spool:
        prepared = prepare_item({"member_path": "m", "source": path}, spool, hold=True)
    if change in ("gone", "pipe"):
        path.unlink()
        if change == "pipe":
            os.mkfifo(path)
    elif change == "touched":
        os.utime(path, ns=(1, 1))
    else:
        os.truncate(path, size + (1 if change == "longer" else -1))
    with pytest.raises(ItemFailure) as caught:
        open_source(prepared)
    assert str(path) in str(caught.value.error)


def test_a_large_file_that_shrinks_while_it_is_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(5 << 20))
    with Spool(0) as spool:
        prepared = prepare_item({"member_path": "m", "source": path}, spool, hold=True)
    reader = open_source(prepared)
    assert isinstance(reader, FileReader)
    with reader:
        reader.read(1 << 20)
        os.truncate(path, 2 << 20)
        with pytest.raises(ItemFailure, match="changed while it was packed"):
            reader.read()


def test_the_internal_manifest_has_the_lines_that_older_readers_expect() -> None:
    items = [item("a", 3, id="one", meta={"n": 1}), item("b/ü", 0)]
    assert internal_manifest(items, "shards/s.tar").splitlines() == [
        (
            b'{"kind":"file","key":"shards/s.tar#a","member_path":"a","id":"one","meta":{"n":1},'
            b'"size_bytes":3}'
        ),
        (
            b'{"kind":"file","key":"shards/s.tar#b/\\u00fc","member_path":"b/\\u00fc","id":null,'
            b'"meta":null,"size_bytes":0}'
        ),
    ]


# --- shards ---------------------------------------------------------------------------------


def test_no_shard_is_larger_than_asked_for() -> None:
    sizes = [900, 200, 1500, 100, 100, 100, 800, 0, 201]
    jobs = planned(
        [{"member_path": str(n), "source": bytes(size)} for n, size in enumerate(sizes)],
        max_bytes=1000,
        max_entries=3,
    )
    assert [[member.size for member in job.items] for job in jobs] == [
        [900],
        [200],
        [1500],
        [100, 100, 100],
        [800, 0],
        [201],
    ]


def test_what_is_too_large_goes_loose() -> None:
    source = ({"member_path": str(n), "source": bytes(n * 100)} for n in range(5))
    jobs = planned(source, loose_above=250)
    assert [([member.member_path for member in job.items], job.is_loose) for job in jobs] == [
        (["3"], True),
        (["4"], True),
        (["0", "1", "2"], False),
    ]


def test_streamed_items_wait_on_disk_and_keep_their_bytes() -> None:
    count = 40
    source = ({"member_path": str(n), "source": bytes([n]) * (1 << 20)} for n in range(count))
    jobs = planned(source, max_bytes=30 << 20)
    seen = [open_source(member) for job in jobs for member in job.items]
    assert seen == [bytes([n]) * (1 << 20) for n in range(count)]
    # 64 MiB over two in work, one that waits, and the one being filled.
    in_memory = sum(len(getattr(member.source, "data", None) or b"") for member in jobs[0].items)
    assert in_memory == 16 << 20


def test_the_name_of_a_shard_follows_from_all_that_decides_its_bytes() -> None:
    options = ShardOptions()
    plan = [item("a", 5), item("b", 6)]
    name = shard_name(plan, options)
    assert name == shard_name(list(plan), ShardOptions())
    assert is_our_shard(f"some/prefix/{name}")
    others = {
        shard_name(plan[::-1], options),
        shard_name(plan[:1], options),
        shard_name([item("a", 5), item("b", 7)], options),
        shard_name([item("a", 5), item("c", 6)], options),
        shard_name([item("a", 5), item("b", 6, id="x")], options),
        shard_name([item("a", 5), item("b", 6, meta={"x": 1})], options),
        shard_name([item("a", 5), item("b", 6)._replace(mtime_ns=8)], options),
        shard_name([item("a", 5), item("b", 6)._replace(source=b"123456", mtime_ns=None)], options),
        shard_name([item("a", 5), item("b", 6)._replace(source=b"123457", mtime_ns=None)], options),
        shard_name(plan, replace(options, level=1)),
        shard_name(plan, replace(options, compression="zstd")),
        shard_name(plan, replace(options, chunk_size=1 << 16)),
        shard_name(plan, replace(options, internal_manifest_path="m")),
    }
    assert len(others - {name}) == 13


def test_the_same_bytes_have_one_name_wherever_they_wait() -> None:
    names = set()
    for memory in (0, 100):
        with Spool(memory) as spool:
            sources: list[Any] = [b"hello", [b"hel", b"lo"]]
            for source in sources:
                one = prepare_item({"member_path": "a", "source": source}, spool, hold=False)
                names.add(shard_name([one], ShardOptions()))
            held = prepare_item({"member_path": "a", "source": b"hello"}, spool, hold=True)
            names.add(shard_name([held], ShardOptions()))
    assert len(names) == 1


@pytest.mark.parametrize(
    "key",
    ["a/shard-1.tar", "shard-0123456789abcdeg.tar", "shard-0123456789abcdef.tar.zip", "x.tar"],
)
def test_names_of_others_are_not_taken_for_ours(key: str) -> None:
    assert not is_our_shard(key)


def test_a_loose_object_keeps_its_path_behind_a_digest() -> None:
    folder, _, rest = loose_name(item("a/b.bin", 5)).partition("/")
    assert (len(folder), rest) == (22, "a/b.bin")
    assert loose_name(item("a/b.bin", 6)) != loose_name(item("a/b.bin", 5))


def test_bad_items_are_named_all_at_once_and_the_others_planned() -> None:
    planner = Planner(Limits(10, 100), "__m__", 1)
    bad = ["/abs", "../up", "a/../../b", ""]
    items = [{"member_path": path, "source": b"x"} for path in [*bad, "fine"]]
    jobs = list(planner.of_items(items))  # type: ignore[arg-type]
    assert [member.member_path for job in jobs for member in job.items] == ["fine"]
    assert list(planner.failures) == bad


def test_two_members_of_one_path_and_a_second_internal_manifest_are_refused() -> None:
    planner = Planner(Limits(10, 100), "__m__", 1)
    items = [{"member_path": path, "source": b"x"} for path in ("a", "a")]
    assert list(planner.of_items(items)) == []  # type: ignore[arg-type]
    assert list(planner.of_items([{"member_path": "__m__", "source": b""}])) == []
    assert list(planner.failures) == ["member 'a' is there twice", "__m__"]


def test_a_run_in_which_everything_is_wrong_stops() -> None:
    planner = Planner(Limits(10, 100), "__m__", 1)
    endless = ({"member_path": f"/{n}", "source": b""} for n in range(10**9))
    with pytest.raises(BulkError, match="stopped after 1000 failures") as caught:
        list(planner.of_items(endless))  # type: ignore[arg-type]
    assert len(caught.value.failures) == 1000


@pytest.mark.parametrize("limits", [{"max_entries": 0}, {"max_bytes": 0}, {"loose_above": -1}])
def test_limits_that_leave_no_room_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        Limits(**{"max_entries": 1, "max_bytes": 1, **limits})
