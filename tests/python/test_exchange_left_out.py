"""Links, devices and pipes are no files: extraction leaves them out, and says which."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from commands import good, run
from shardpack.archive.foreign import build_index
from shardpack.archive.index import ArchiveIndex
from shardpack.archive.left_out import LeftOutMember, LeftOutMembers
from shardpack.codec import CpuZstd
from shardpack.errors import ObjectNotFoundError, ShardReadError
from shardpack.exchange.download.extract import LeftOut, extract
from shardpack.exchange.keys import Space
from shardpack.exchange.manifest.rewrite import overwrite
from shardpack.exchange.packing.pack import pack
from shardpack.exchange.shard.source import ArchiveSource
from shardpack.storage.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = {
    "a/link": (tarfile.SYMTYPE, "symlink"),
    "hard": (tarfile.LNKTYPE, "hardlink"),
    "null": (tarfile.CHRTYPE, "device"),
    "disk": (tarfile.BLKTYPE, "device"),
    "pipe": (tarfile.FIFOTYPE, "fifo"),
    "contiguous-no": (b"Z", "other"),
}
FILES = {"a/file": b"1", "file": b"22"}


@pytest.fixture
def space(request: pytest.FixtureRequest) -> Iterator[Space]:
    objects = MemoryStore(f"left-out-{request.node.name.replace('/', '.')}")
    yield Space(objects)
    for info in list(objects.list()):
        objects.delete(info.key)


def archive(
    names: dict[str, bytes] | None = None, mode: str = "w", files: dict[str, bytes] | None = None
) -> bytes:
    """An archive with folders, files, and members of other kinds."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as tar:  # type: ignore[call-overload]
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for path, data in (FILES if files is None else files).items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        kinds = {path: kind for path, (kind, _) in KINDS.items()} if names is None else names
        for path, kind in kinds.items():
            info = tarfile.TarInfo(path)
            info.type, info.linkname = kind, "file"
            tar.addfile(info)
    return made.getvalue()


def expected(key: str) -> tuple[LeftOut, ...]:
    return tuple(sorted(LeftOut(key, path, kind) for path, (_, kind) in KINDS.items()))


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("key", ["a.tar", "a.tar.gz", "a.tar.bz2"])
def test_what_is_no_file_is_reported(space: Space, tmp_path: Path, key: str, indexed: bool) -> None:
    mode = {"a.tar": "w", "a.tar.gz": "w:gz", "a.tar.bz2": "w:bz2"}[key]
    space.objects.put(key, archive(mode=mode))
    if indexed:
        ArchiveSource(space, key).build_index()
    report = extract(space, key, tmp_path)
    assert (report.files, report.bytes) == (2, 3)
    assert report.left_out_count == len(KINDS)
    assert report.left_out == expected(key)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "file", "file"]


@pytest.mark.parametrize("indexed", [False, True])
def test_members_of_archives_of_others_are_chosen_by_their_paths(
    space: Space, tmp_path: Path, indexed: bool
) -> None:
    space.objects.put("a.tar.gz", archive(mode="w:gz"))
    if indexed:
        ArchiveSource(space, "a.tar.gz").build_index()
    report = extract(space, "a.tar.gz", tmp_path, members=["a/file"])
    assert (report.files, report.bytes, report.left_out_count) == (1, 1, 0)
    assert (tmp_path / "a" / "file").read_bytes() == b"1"
    for missing in ("none", "a/link"):
        with pytest.raises(ObjectNotFoundError, match=missing):
            extract(space, "a.tar.gz", tmp_path / "other", members=["file", missing])


def test_all_archives_of_a_manifest_count(space: Space, tmp_path: Path) -> None:
    shards: list[Any] = []
    for name in "xyz":
        files = {f"{name}/1": b"1", f"{name}/2": b"2"}
        space.objects.put(f"{name}.tar", archive(files=files))
        shards.append({"kind": "shard", "archive_key": f"{name}.tar"})
    ArchiveSource(space, "y.tar").build_index()
    overwrite(space, "m.jsonl", shards)
    report = extract(space, "m.jsonl", tmp_path)
    assert (report.files, report.left_out_count) == (6, 3 * len(KINDS))
    assert report.left_out == expected("x.tar") + expected("y.tar") + expected("z.tar")


def test_archives_of_files_leave_nothing_out(space: Space, tmp_path: Path) -> None:
    (tmp_path / "in" / "empty").mkdir(parents=True)
    (tmp_path / "in" / "file").write_bytes(b"1")
    pack(space, tmp_path / "in", "p")
    report = extract(space, "p/manifest.jsonl", tmp_path / "out")
    assert (report.left_out, report.left_out_count) == ((), 0)


def test_many_are_counted_and_the_first_named(space: Space, tmp_path: Path) -> None:
    links = {f"a/folder/link-{n}": tarfile.SYMTYPE for n in range(3000)}
    for key in ("plain.tar", "indexed.tar"):
        space.objects.put(key, archive(links))
    index = ArchiveSource(space, "indexed.tar").build_index()
    assert len(index.to_bytes()) < 64 << 10
    for key, least in (("plain.tar", 1000), ("indexed.tar", 300)):
        report = extract(space, key, tmp_path / key)
        assert report.left_out_count == 3000
        assert least <= len(report.left_out) <= 1000
        assert {found.path for found in report.left_out} <= set(links)


@pytest.mark.parametrize("odd", ["caf\udce9", "x" * 3000, "\n\x01", "d/" * 400 + "end"])
def test_odd_names_are_shown_or_counted(space: Space, tmp_path: Path, odd: str) -> None:
    space.objects.put("a.tar", archive({odd: tarfile.SYMTYPE, "plain": tarfile.SYMTYPE}))
    found: list[list[str]] = []
    for _ in range(2):
        report = extract(space, "a.tar", tmp_path / str(len(found)))
        assert report.left_out_count == 2
        found.append([each.path for each in report.left_out])
        ArchiveSource(space, "a.tar").build_index()
    assert found[0] == found[1]
    assert "plain" in found[0]


def test_an_index_holds_them_and_reads_them_back() -> None:
    index = build_index(io.BytesIO(archive()), None)
    again = ArchiveIndex.from_bytes(index.to_bytes())
    assert again.left_out.count == len(KINDS)
    assert again.left_out.first == tuple(
        LeftOutMember(path, kind) for path, (_, kind) in KINDS.items()
    )
    assert again == index
    without = build_index(io.BytesIO(archive({})), None)
    assert b"left_out" not in CpuZstd().decompress_all(without.to_bytes())


@pytest.mark.parametrize(
    "fields",
    [
        [],
        {},
        {"count": -1, "first": []},
        {"count": True, "first": []},
        {"count": 1 << 63, "first": []},
        {"count": 1, "first": None},
        {"count": 0, "first": [["a", "symlink"]]},
        {"count": 1, "first": ["ab"]},
        {"count": 1, "first": [["a", 1]]},
        {"count": 1, "first": [["a", "b", "c"]]},
    ],
)
def test_a_damaged_list_of_them_is_refused(fields: object) -> None:
    index = build_index(io.BytesIO(archive()), None)
    head, _, rest = CpuZstd().decompress_all(index.to_bytes()).partition(b"\n")
    header = orjson.loads(head) | {"left_out": fields}
    damaged = CpuZstd().compress(json.dumps(header, separators=(",", ":")).encode() + b"\n" + rest)[
        0
    ]
    with pytest.raises(ShardReadError, match="left_out"):
        ArchiveIndex.from_bytes(damaged)
    with pytest.raises(ValueError, match="no "):
        LeftOutMembers.from_fields(fields)


def test_the_command_names_them_and_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "old.tar"
    path.write_bytes(archive())
    done = run("get", "-x", path, tmp_path / "text")
    assert (done.returncode, done.stdout) == (0, b"")
    assert "left out a/link (symlink), " in done.stderr.decode()
    assert "and 3 others" in done.stderr.decode()
    fact = json.loads(good("get", "--json", "-x", path, tmp_path / "json"))
    assert (fact["files"], fact["left_out_count"]) == (2, len(KINDS))
    assert {each["path"]: each["kind"] for each in fact["left_out"]} == {
        path: kind for path, (_, kind) in KINDS.items()
    }
    assert good("get", "-q", "-x", path, tmp_path / "quiet") == b""
    assert "exit code" in good("get", "--help").decode()
