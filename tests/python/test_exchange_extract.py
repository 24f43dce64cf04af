"""Extraction writes all files, each whole, and none outside of its folder."""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from inputs import MIB, make
from shardpack.errors import BulkError, IntegrityError, ObjectNotFoundError, UnsafePathError
from shardpack.exchange.download.extract import extract
from shardpack.exchange.download.safe_folder import SafeFolder
from shardpack.exchange.keys import Space
from shardpack.exchange.manifest.rewrite import overwrite
from shardpack.exchange.packing.pack import pack
from shardpack.exchange.shard.writing import put_archive
from shardpack.storage.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def space(request: pytest.FixtureRequest) -> Iterator[Space]:
    objects = MemoryStore(request.node.name.replace("/", "."))
    yield Space(objects)
    for info in list(objects.list()):
        objects.delete(info.key)


def put(space: Space, members: dict[str, bytes], key: str = "a.tar.gz", **options: Any) -> None:
    items = [{"member_path": path, "source": data} for path, data in members.items()]
    put_archive(space, key, items, **options)  # type: ignore[arg-type]


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if not path.is_dir())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def damage(space: Space, key: str, found: bytes) -> None:
    """Invert a bit in the middle of some bytes of an object."""
    store = space.objects
    assert isinstance(store, MemoryStore)
    held = store._space.objects[key]
    body = bytearray(held.data)
    body[body.index(found) + len(found) // 2] ^= 1
    store._space.objects[key] = replace(held, data=bytes(body))


MEMBERS = {"one": b"1", "a/two": b"22", "a/b/c/three": b"333", "a/b/four": b"", "ü/ß": b"5"}


@pytest.mark.parametrize("compression", [None, "gzip", "zstd", "s4", "bzip2", "xz"])
def test_an_archive_becomes_files(space: Space, tmp_path: Path, compression: Any) -> None:
    put(space, MEMBERS, "a", compression=compression)
    overwrite(
        space,
        "m.jsonl",
        [{"kind": "shard", "archive_key": "a", "compression": compression, "format": "tar"}],
    )
    report = extract(space, "m.jsonl", tmp_path / "new" / "folder")
    assert content(tmp_path / "new" / "folder") == MEMBERS
    assert (report.files, report.bytes, report.collisions) == (5, 7, ())


def test_large_members_arrive_too(space: Space, tmp_path: Path) -> None:
    members = {"large": make("lines", 20 * MIB), "small": b"x"}
    put(space, members)
    told: list[int] = []
    extract(space, "a.tar.gz", tmp_path, progress=told.append)
    assert content(tmp_path) == members
    assert told == sorted(told)
    assert told[-1] == 20 * MIB + 1


def test_chosen_members_alone_are_written(space: Space, tmp_path: Path) -> None:
    put(space, MEMBERS)
    assert extract(space, "a.tar.gz", tmp_path, members=["a/two", "one"]).files == 2
    assert content(tmp_path) == {"one": b"1", "a/two": b"22"}
    with pytest.raises(ObjectNotFoundError, match="none"):
        extract(space, "a.tar.gz", tmp_path / "x", members=["none", "one"])


def test_objects_of_their_own_lie_where_their_key_says(space: Space, tmp_path: Path) -> None:
    space.objects.put("data/x.bin", b"loose")
    entry: Any = {"kind": "file", "key": "data/x.bin"}
    overwrite(space, "m.jsonl", [entry, entry | {"meta": {"path": "elsewhere"}}])
    extract(space, "m.jsonl", tmp_path)
    assert content(tmp_path) == {"data/x.bin": b"loose", "elsewhere": b"loose"}


def test_existing_files_are_replaced_only_when_asked_for(space: Space, tmp_path: Path) -> None:
    put(space, MEMBERS)
    (tmp_path / "one").write_bytes(b"mine")
    with pytest.raises(BulkError, match="File exists") as caught:
        extract(space, "a.tar.gz", tmp_path)
    assert list(caught.value.failures) == ["one"]
    assert content(tmp_path) == {**MEMBERS, "one": b"mine"}
    extract(space, "a.tar.gz", tmp_path, overwrite=True)
    assert content(tmp_path) == MEMBERS


def hostile(names: list[tuple[str, bytes, str]]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, kind, link in names:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            info.size = 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"evil"))
    return made.getvalue()


@pytest.mark.parametrize("overwrite", [False, True])
def test_hostile_archives_write_nothing_outside(
    space: Space, tmp_path: Path, overwrite: bool
) -> None:
    file = tarfile.REGTYPE
    inside = tmp_path / "in"
    bad = [f"{tmp_path}/absolute", "../up", "a/../../up", "..", "C:\\x", "a/b/../../../up"]
    space.objects.put(
        "a.tar",
        hostile(
            [
                ("link", tarfile.SYMTYPE, str(tmp_path)),
                ("link/through", file, ""),
                ("hard", tarfile.LNKTYPE, "/etc/passwd"),
                ("pipe", tarfile.FIFOTYPE, ""),
                ("device", tarfile.CHRTYPE, ""),
                *((name, file, "") for name in bad),
                ("fine", file, ""),
            ]
        ),
    )
    with pytest.raises(BulkError) as caught:
        extract(space, "a.tar", inside, overwrite=overwrite)
    assert sorted(caught.value.failures) == sorted(bad)
    assert content(tmp_path) == {"in/fine": b"evil", "in/link/through": b"evil"}
    assert not os.path.islink(inside / "link")


def test_links_that_lie_in_the_folder_are_not_followed(space: Space, tmp_path: Path) -> None:
    put(space, {"a/b/c": b"x", "file": b"y", "ok": b"z"})
    inside, outside = tmp_path / "in", tmp_path / "out"
    (inside / "a").mkdir(parents=True)
    outside.mkdir()
    (outside / "file").write_bytes(b"precious")
    (inside / "a" / "b").symlink_to(outside)
    (inside / "file").symlink_to(outside / "file")
    with pytest.raises(BulkError) as caught:
        extract(space, "a.tar.gz", inside, overwrite=True)
    assert list(caught.value.failures) == ["a/b/c"]
    assert "link" in caught.value.failures["a/b/c"]
    assert isinstance(caught.value.__cause__, UnsafePathError)
    assert content(outside) == {"file": b"precious"}
    # The link itself was replaced, not what it points to.
    assert (inside / "file").read_bytes() == b"y"
    assert not (inside / "file").is_symlink()


def test_the_folder_itself_may_be_reached_by_a_link(space: Space, tmp_path: Path) -> None:
    put(space, MEMBERS)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    extract(space, "a.tar.gz", tmp_path / "link")
    assert content(tmp_path / "real") == MEMBERS


def test_a_path_that_is_file_and_folder_is_told(space: Space, tmp_path: Path) -> None:
    put(space, {"a": b"1", "a/b": b"2", "c/d": b"3", "c": b"4", "e": b"5"})
    for again in (False, True):
        folder = tmp_path / str(again)
        with pytest.raises(BulkError) as caught:
            extract(space, "a.tar.gz", folder, overwrite=again)
        assert list(caught.value.failures) == ["a/b", "c"]
        assert content(folder) == {"a": b"1", "c/d": b"3", "e": b"5"}


def test_paths_that_some_disks_take_for_one_are_told(space: Space, tmp_path: Path) -> None:
    members = {"Data": b"1", "data": b"2", "caf\u00e9": b"3", "cafe\u0301": b"4", "x": b"5"}
    put(space, members)
    for again in (False, True):
        report = extract(space, "a.tar.gz", tmp_path, overwrite=again)
        assert report.collisions == ("data", "cafe\u0301")
        assert content(tmp_path) == members
        (tmp_path / "x").unlink()
        if not again:
            for path in list(tmp_path.iterdir()):
                path.unlink()


def test_of_two_shards_with_one_path_the_later_entry_wins(space: Space, tmp_path: Path) -> None:
    put(space, {"same": b"first", "a": b"1"}, "a.tar.gz")
    put(space, {"same": b"second", "b": b"2"}, "b.tar.gz")
    shards: list[Any] = [
        {"kind": "shard", "archive_key": f"{name}.tar.gz", "compression": "gzip"} for name in "ab"
    ]
    overwrite(space, "m.jsonl", shards)
    for again in (False, True):
        report = extract(space, "m.jsonl", tmp_path / str(again), overwrite=again)
        assert (report.files, report.replaced) == (3, 1)
        assert content(tmp_path / str(again)) == {"same": b"second", "a": b"1", "b": b"2"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "same").write_bytes(b"mine")
    # What this run has not written it does not replace, however often the path comes.
    with pytest.raises(BulkError) as caught:
        extract(space, "m.jsonl", tmp_path / "mine")
    assert list(caught.value.failures) == ["same"]
    assert content(tmp_path / "mine") == {"same": b"mine", "a": b"1", "b": b"2"}


def test_a_later_version_makes_up_for_a_damaged_one(space: Space, tmp_path: Path) -> None:
    put(space, {"same": b"first", "a": b"1"}, "a.tar", compression=None)
    put(space, {"same": b"second"}, "b.tar", compression=None)
    damage(space, "a.tar", b"first")
    shards: list[Any] = [{"kind": "shard", "archive_key": f"{name}.tar"} for name in "ab"]
    overwrite(space, "m.jsonl", shards)
    assert extract(space, "m.jsonl", tmp_path / "out").files == 2
    assert content(tmp_path / "out") == {"same": b"second", "a": b"1"}
    overwrite(space, "m.jsonl", shards[::-1])
    with pytest.raises(BulkError) as caught:
        extract(space, "m.jsonl", tmp_path / "other")
    assert list(caught.value.failures) == ["same"]


def test_names_that_the_disk_cannot_have_are_told(space: Space, tmp_path: Path) -> None:
    put(space, {"x" * 300: b"1", "fine": b"2"})
    with pytest.raises(BulkError, match="too long"):
        extract(space, "a.tar.gz", tmp_path)
    assert content(tmp_path) == {"fine": b"2"}


def test_a_damaged_member_is_not_written(space: Space, tmp_path: Path) -> None:
    members = {f"{n}": make("noise", 200_000, str(n)) for n in range(9)}
    put(space, members, compression=None)
    damage(space, "a.tar.gz", members["4"][1000:2000])
    with pytest.raises(BulkError, match="1 could not be written, 8 were; first 4: ") as caught:
        extract(space, "a.tar.gz", tmp_path)
    assert list(caught.value.failures) == ["4"]
    assert isinstance(caught.value.__cause__, IntegrityError)
    del members["4"]
    assert content(tmp_path) == members


def test_a_large_damaged_member_is_not_written_either(space: Space, tmp_path: Path) -> None:
    members = {f"{n}": make("noise", 9 * MIB, str(n)) for n in range(3)}
    put(space, members, compression=None)
    damage(space, "a.tar.gz", members["1"][5 * MIB : 5 * MIB + 1000])
    with pytest.raises(BulkError) as caught:
        extract(space, "a.tar.gz", tmp_path)
    assert list(caught.value.failures) == ["1"]
    del members["1"]
    assert content(tmp_path) == members


def test_what_is_missing_is_told_and_the_rest_is_written(space: Space, tmp_path: Path) -> None:
    put(space, MEMBERS)
    entries: list[Any] = [
        {"kind": "file", "key": "gone"},
        {"kind": "shard", "archive_key": "gone.tar"},
        {"kind": "shard", "archive_key": "a.tar.gz"},
        {"kind": "file", "key": "a.tar.gz#none"},
    ]
    overwrite(space, "m.jsonl", entries)
    with pytest.raises(BulkError) as caught:
        extract(space, "m.jsonl", tmp_path)
    assert sorted(caught.value.failures) == ["gone", "gone.tar", "none"]
    assert content(tmp_path) == MEMBERS


def test_after_a_thousand_failures_it_ends(space: Space, tmp_path: Path) -> None:
    entries: list[Any] = [{"kind": "file", "key": f"gone/{n:04}"} for n in range(3000)]
    overwrite(space, "m.jsonl", entries)
    with pytest.raises(BulkError) as caught:
        extract(space, "m.jsonl", tmp_path)
    assert len(caught.value.failures) == 1000


def test_a_file_is_no_folder(space: Space, tmp_path: Path) -> None:
    put(space, MEMBERS)
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(NotADirectoryError):
        extract(space, "a.tar.gz", tmp_path / "file", overwrite=True)
    assert content(tmp_path) == {"file": b"mine"}


def test_nothing_half_written_stays_when_a_write_fails(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"some"
        raise RuntimeError("torn")

    with SafeFolder(str(tmp_path)) as folder:
        with pytest.raises(RuntimeError, match="torn"):
            folder.write("a/b", pieces(), overwrite=False)
        folder.write("a/b", [b"all"], overwrite=False)
    assert content(tmp_path) == {"a/b": b"all"}


def test_many_folders_need_few_descriptors(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with SafeFolder(str(tmp_path)) as folder:
        for n in range(500):
            folder.write(f"{n % 7}/{n % 50}/{n}/deep/er/file", [b"x"], overwrite=False)
        assert len(os.listdir("/proc/self/fd")) - before < 50
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(content(tmp_path)) == 500


def test_a_packed_folder_comes_out_as_it_went_in(space: Space, tmp_path: Path) -> None:
    for n in range(60):
        path = tmp_path / "in" / f"{n % 4}" / f"{n % 5}" / f"{n}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make("events", n * 977, str(n)))
    pack(space, tmp_path / "in", "p", max_entries=7, loose_above=40_000)
    extract(space, "p/manifest.jsonl", tmp_path / "out")
    assert content(tmp_path / "out") == content(tmp_path / "in")


@pytest.mark.parametrize("depth", [40, 400, 30_000])
def test_paths_of_any_depth_are_written_or_refused(
    space: Space, tmp_path: Path, depth: int
) -> None:
    path = "d/" * depth + "f"
    put(space, {path: b"deep", "last": b"1"})
    if depth < 1000:
        assert extract(space, "a.tar.gz", tmp_path).files == 2
        assert (tmp_path / path).read_bytes() == b"deep"
        return
    with pytest.raises(BulkError) as caught:
        extract(space, "a.tar.gz", tmp_path)
    assert list(caught.value.failures) == [path]
    assert (tmp_path / "last").read_bytes() == b"1"


def test_two_ways_to_write_one_path_are_one_file(space: Space, tmp_path: Path) -> None:
    put(space, {"a/b": b"first", "a//b": b"second", "a/./b": b"third"})
    report = extract(space, "a.tar.gz", tmp_path)
    assert (report.files, report.replaced) == (1, 2)
    assert content(tmp_path) == {"a/b": b"third"}
