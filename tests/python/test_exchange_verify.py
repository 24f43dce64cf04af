"""A check finds whatever is wrong with a manifest and all it names, and all of it at once."""

from __future__ import annotations

import gzip
import io
import tarfile
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from inputs import make
from servers import rclone_server
from shardpack.archive.index import ArchiveIndex
from shardpack.errors import ManifestNotFoundError, ObjectNotFoundError, StorageError
from shardpack.exchange.keys import Space
from shardpack.exchange.manifest.append import append
from shardpack.exchange.manifest.reading import iter_entries
from shardpack.exchange.manifest.rewrite import overwrite
from shardpack.exchange.packing.pack import pack
from shardpack.exchange.shard.writing import put_archive
from shardpack.exchange.upkeep.verify import verify
from shardpack.storage.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import S3Server

__all__ = ["rclone_server"]

CHUNKED: list[Any] = [None, "gzip", "zstd", "s4"]


@pytest.fixture
def space(request: pytest.FixtureRequest) -> Iterator[Space]:
    objects = MemoryStore(request.node.name.replace("/", "."))
    yield Space(objects)
    for info in list(objects.list()):
        objects.delete(info.key)


def items(count: int = 20, size: int = 1000) -> list[Any]:
    return [
        {"member_path": f"f/{n:02d}", "source": make("noise", size + n, str(n))}
        for n in range(count)
    ]


def problems(space: Space, target: str, **options: Any) -> list[tuple[str, str | None]]:
    report = verify(space, target, **options)
    assert report.ok == (not report.findings)
    return sorted((finding.problem, finding.member) for finding in report.findings)


def archive_of(space: Space, manifest_key: str = "p/manifest.jsonl") -> str:
    return str(next(iter(iter_entries(space, manifest_key))).get("archive_key"))


def rewrite(space: Space, key: str, data: bytes) -> None:
    """Change an object behind the back of its manifest, keeping its tag where there is a way."""
    store = space.objects
    assert isinstance(store, MemoryStore)
    info = store.head(key)
    held = store._space.objects[key]
    from dataclasses import replace

    store._space.objects[key] = replace(held, data=data, info=replace(info, size=len(data)))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("compression", [*CHUNKED, "bzip2", "xz"])
def test_what_is_sound_is_found_sound(space: Space, compression: Any) -> None:
    pack(space, items(), "p", compression=compression, max_entries=6, loose_above=1018)
    for target in ("p/manifest.jsonl", "p", "", "p/", archive_of(space)):
        for full in (True, False):
            report = verify(space, target, full=full)
            assert report.findings == ()
            assert report.full is full
    report = verify(space, "p/manifest.jsonl")
    assert (report.manifests, report.shards, report.members, report.objects) == (2, 4, 19, 1)
    stored = {info.key: info.size for info in space.objects.list()}
    assert report.bytes == sum(
        size
        for key, size in stored.items()
        if "/shard-" in key or "/loose-" in key
        if not key.endswith("index")
    )


@pytest.mark.parametrize("compression", CHUNKED)
def test_every_flipped_bit_of_an_archive_is_found(space: Space, compression: Any) -> None:
    pack(space, items(40, 30_000), "p", compression=compression, chunk_size=100_000)
    key = archive_of(space)
    body = space.objects.read(key)
    for at in range(7, len(body), len(body) // 12):
        rewrite(space, key, flipped(body, at))
        assert not verify(space, "p/manifest.jsonl").ok
        # What the store says has not changed.
        assert verify(space, "p/manifest.jsonl", full=False).ok
    rewrite(space, key, body)
    assert verify(space, "p/manifest.jsonl").ok


@pytest.mark.parametrize("compression", ["gzip", "zstd", "s4"])
def test_all_damaged_members_are_named_and_no_others(space: Space, compression: Any) -> None:
    pack(space, items(40, 30_000), "p", compression=compression, chunk_size=100_000)
    key = archive_of(space)
    body = space.objects.read(key)
    index = ArchiveIndex.from_bytes(space.objects.read(f"{key}.shardindex"))
    damaged = set()
    for path in ("f/05", "f/20", "f/33"):
        member = index.member(path)
        assert member is not None
        row = index.chunks_for(member.offset, member.offset + member.size)[0]
        start, end = index.chunks.stored_range(range(row, row + 1))
        body = flipped(body, (start + end) // 2)
        chunk = index.chunks[row]
        low, high = chunk.original_offset, chunk.original_offset + chunk.original_size
        damaged |= {m.path for m in index.members.values() if low - m.size < m.offset < high}
    rewrite(space, key, body)
    found = {finding.member for finding in verify(space, "p/manifest.jsonl").findings}
    assert found - {None} == damaged
    assert len(damaged) < 15


@pytest.mark.parametrize("compression", [*CHUNKED, "xz"])
@pytest.mark.parametrize("left", [0, 100, 0.5, 0.999])
def test_an_archive_that_was_cut_is_found(space: Space, compression: Any, left: float) -> None:
    pack(space, items(), "p", compression=compression)
    key = archive_of(space)
    body = space.objects.read(key)
    rewrite(space, key, body[: int(left if left > 1 else left * len(body))])
    for full in (True, False):
        assert "size" in {problem for problem, _ in problems(space, "p", full=full)}
    assert not verify(space, key).ok


def test_an_archive_that_is_longer_is_found(space: Space) -> None:
    pack(space, items(), "p")
    key = archive_of(space)
    rewrite(space, key, space.objects.read(key) + gzip.compress(b"more"))
    assert not verify(space, "p").ok


def test_missing_things_are_all_named(space: Space) -> None:
    pack(space, items(), "p", max_entries=5, loose_above=1017)
    archives = sorted(info.key for info in space.objects.list() if info.key.endswith(".tar.gz"))
    space.objects.delete(archives[0])
    space.objects.delete(f"{archives[1]}.shardindex")
    loose = [info.key for info in space.objects.list() if "loose-" in info.key]
    space.objects.delete(loose[0])
    append(space, "p/manifest.jsonl", [{"kind": "manifest_ref", "key": "gone.jsonl"}])
    for full in (True, False):
        found = {
            (finding.key, finding.problem)
            for finding in verify(space, "p/manifest.jsonl", full=full).findings
        }
        assert found == {
            (archives[0], "missing"),
            (archives[1], "index"),
            (loose[0], "missing"),
            ("gone.jsonl", "missing"),
        }


def test_an_object_that_was_replaced_is_found(space: Space) -> None:
    pack(space, items(2), "p", loose_above=0)
    entry = next(iter(iter_entries(space, "p/manifest.jsonl")))
    key = str(entry.get("key"))
    body = space.objects.read(key)
    space.objects.put(key, flipped(body, 5))
    assert problems(space, "p") == [("blake3", None), ("crc32c", None)]
    space.objects.put(key, body + b"x")
    assert ("size", None) in problems(space, "p", full=False)


def test_an_index_of_another_archive_is_found(space: Space) -> None:
    put_archive(space, "a.tar.gz", items(5))
    put_archive(space, "b.tar.gz", items(6))
    space.objects.put("a.tar.gz.shardindex", space.objects.read("b.tar.gz.shardindex"))
    assert problems(space, "a.tar.gz") == [("index", None)]
    space.objects.put("a.tar.gz.shardindex", b"nothing of the kind")
    assert problems(space, "a.tar.gz", full=False) == [("index", None)]


def test_an_index_that_lies_is_found(space: Space) -> None:
    put_archive(space, "a.tar", items(5), compression=None)
    info = space.objects.head("a.tar")
    index = ArchiveIndex.from_bytes(space.objects.read("a.tar.shardindex"))
    members = list(index.members.values())
    first, second, third = members[1], members[2], members[3]
    lies = [
        members[0],
        first._replace(size=first.size - 1),
        second._replace(blake3=bytes(32)),
        third._replace(path="f/none"),
        *members[4:],
    ]
    made = ArchiveIndex(
        compression=None,
        stored_size=info.size,
        original_size=info.size,
        chunks=index.chunks,
        members=lies,
        etag=info.etag,
        internal_manifest_path="__manifest__.jsonl",
    )
    space.objects.put("a.tar.shardindex", made.to_bytes())
    assert problems(space, "a.tar") == [
        ("blake3", second.path),
        ("member", first.path),
        ("member", third.path),
        ("member", "f/none"),
    ]


def tar_with(members: list[tuple[str, bytes, bytes]]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, kind, data in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.size = len(data)
            info.linkname = "/etc/passwd" if kind == tarfile.SYMTYPE else ""
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


def test_archives_of_others_are_checked_against_their_internal_manifest(space: Space) -> None:
    manifest = b"".join(
        b'{"kind":"file","key":"a.tar#%s","member_path":"%s","size_bytes":%d}\n' % row
        for row in [(b"one", b"one", 3), (b"two", b"two", 5), (b"gone", b"gone", 1)]
    )
    file = tarfile.REGTYPE
    body = tar_with(
        [
            ("__manifest__.jsonl", file, manifest),
            ("one", file, b"one"),
            ("two", file, b"two"),
            ("two", file, b"again"),
            ("folder", tarfile.DIRTYPE, b""),
            ("link", tarfile.SYMTYPE, b""),
            ("../up", file, b"x"),
        ]
    )
    space.objects.put("a.tar", body)
    overwrite(
        space,
        "m.jsonl",
        [{"kind": "shard", "archive_key": "a.tar", "compression": None, "count": 3}],
    )
    assert problems(space, "m.jsonl") == sorted(
        [
            ("size", "two"),
            ("member", "two"),
            ("member", "gone"),
            ("member", "../up"),
            ("unsafe", "../up"),
            ("unsafe", "link"),
            ("count", None),
        ],
        key=lambda row: (row[0], row[1] or ""),
    )


def test_manifests_that_are_broken_or_refer_to_themselves_are_found(space: Space) -> None:
    space.objects.put("data", b"1234")
    overwrite(
        space,
        "root.jsonl",
        [
            {"kind": "manifest_ref", "key": "broken.jsonl"},
            {"kind": "manifest_ref", "key": "circle.jsonl"},
            {"kind": "file", "key": "data", "size_bytes": 5},
        ],
    )
    space.objects.put("broken.jsonl", b'{"kind":"file","key":"data","size_bytes":4}\nno json\n')
    space.objects.put("circle.jsonl", b'{"kind":"manifest_ref","key":"root.jsonl"}\n')
    report = verify(space, "root.jsonl")
    assert sorted((finding.key, finding.problem) for finding in report.findings) == [
        ("broken.jsonl", "manifest"),
        ("data", "size"),
        ("root.jsonl", "manifest"),
    ]
    assert report.objects == 2


def test_members_that_entries_name_one_by_one_are_checked(space: Space) -> None:
    put_archive(space, "a.tar.gz", items(5))
    overwrite(
        space,
        "m.jsonl",
        [
            {"kind": "file", "key": "a.tar.gz#f/01", "size_bytes": 1001},
            {"kind": "file", "key": "a.tar.gz#f/02", "size_bytes": 7},
            {"kind": "file", "key": "a.tar.gz#f/99"},
            {"kind": "file", "key": "a.tar.gz#f/03", "blake3": "00" * 32},
        ],
    )
    full = {(finding.key, finding.problem) for finding in verify(space, "m.jsonl").findings}
    assert full == {
        ("a.tar.gz#f/02", "size"),
        ("a.tar.gz#f/99", "missing"),
        ("a.tar.gz#f/03", "blake3"),
    }
    quick = {
        (finding.key, finding.problem) for finding in verify(space, "m.jsonl", full=False).findings
    }
    assert quick == full - {("a.tar.gz#f/03", "blake3")}


@pytest.mark.parametrize("target", ["none.jsonl", "none.tar.gz", "none", "none/"])
def test_nothing_to_check_is_no_success(space: Space, target: str) -> None:
    space.objects.put("nonesuch/x.jsonl", b"\n")
    with pytest.raises((ManifestNotFoundError, ObjectNotFoundError)):
        verify(space, target)


def test_an_object_that_the_store_refuses_is_a_finding(space: Space) -> None:
    pack(space, items(), "p", max_entries=10, loose_above=1018)

    class Refusing(MemoryStore):
        def get(self, key: str, **options: Any) -> Any:
            if key.endswith(".tar.gz") or "loose-" in key:
                raise StorageError("not today", key=key)
            return super().get(key, **options)

    assert isinstance(space.objects, MemoryStore)
    refusing = Space(Refusing(space.objects.name))
    assert [problem for problem, _ in problems(refusing, "p")] == ["unreadable"] * 3


def test_progress_counts_what_is_read(space: Space) -> None:
    pack(space, items(), "p", max_entries=5)
    told: list[int] = []
    report = verify(space, "p", progress=told.append)
    assert told == sorted(told)
    assert told[-1] == report.bytes


def test_a_server_is_checked_like_a_memory(rclone_server: S3Server) -> None:
    from shardpack.storage.s3 import S3Store

    with closing(rclone_server.client()) as client:
        space = Space(S3Store(client, rclone_server.fresh_bucket(client)))
        pack(space, items(), "p", max_entries=5, append="single-writer", compression="zstd")
        assert verify(space, "p").findings == ()
        assert rclone_server.folder is not None
        (bucket,) = [space.objects.bucket]  # type: ignore[attr-defined]
        victim = archive_of(space)
        path = rclone_server.folder / bucket / victim
        body = path.read_bytes()
        path.write_bytes(flipped(body, len(body) // 2))
        assert not verify(space, "p").ok


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"kind": "file", "key": "../x"}, "unsafe"),
    ({"kind": "file", "key": ""}, "unsafe"),
    ({"kind": "file", "key": "a\0b"}, "unsafe"),
    ({"kind": "shard", "archive_key": "../x.tar"}, "unsafe"),
    ({"kind": "manifest_ref", "key": "../x.jsonl"}, "unsafe"),
    ({"kind": "manifest_ref", "key": "../x/", "layout": "listed"}, "unsafe"),
    ({"kind": "file", "key": "a", "etag": 5, "meta": 3, "crc32c": [1]}, "crc32c"),
    ({"kind": "file", "key": "a.tar#f/03", "member_path": 5, "archive_key": 7}, ""),
    ({"kind": "shard", "archive_key": "a.tar", "meta": [1]}, ""),
    ({"kind": "shard", "archive_key": "a.tar", "index_key": 5}, "index"),
    ({"kind": "shard", "archive_key": "a.tar", "index_key": "../i"}, "index"),
    ({"kind": "shard", "archive_key": "a.tar", "internal_manifest_path": [1]}, "manifest"),
    ({"kind": "shard", "archive_key": "a.tar", "compression": {}, "count": "q"}, "count"),
    ({"kind": "shard", "archive_key": "a.tar", "meta": {"etag": {"a": 1}}}, ""),
]


@pytest.mark.parametrize(("entry", "problem"), HOSTILE)
@pytest.mark.parametrize("full", [True, False])
def test_entries_that_make_no_sense_are_found_and_stop_nothing(
    space: Space, entry: Any, problem: str, *, full: bool
) -> None:
    space.objects.put("a", b"hello")
    put_archive(space, "a.tar", items(), compression=None)
    missing: Any = {"kind": "file", "key": "gone"}
    overwrite(space, "m.jsonl", [entry, missing])
    found = {kind for kind, _ in problems(space, "m.jsonl", full=full)}
    assert "missing" in found
    if problem and (full or problem in {"unsafe", "index"}):
        assert problem in found
    if not problem:
        assert found == {"missing"}
