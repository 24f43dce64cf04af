"""Shard archives as they are written: whole or not at all, readable by all, always the same."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from inputs import MIB, make, run_python
from servers import moto_server, rclone_server, s3_server
from shardpack import decode_object, index_is_trusted
from shardpack.archive.index import ArchiveIndex
from shardpack.errors import S4IoError, UnsafePathError
from shardpack.exchange.keys import Space
from shardpack.exchange.shard.items import prepare_item
from shardpack.exchange.shard.spool import Spool
from shardpack.exchange.shard.target import tar_size
from shardpack.exchange.shard.writing import put_archive
from shardpack.hash import blake3
from shardpack.storage.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from servers import S3Server
    from shardpack.storage.base import ObjectInfo

__all__ = ["moto_server", "rclone_server", "s3_server"]

COMPRESSIONS = [None, "gzip", "zstd", "s4", "bzip2", "xz"]
CHUNKED = [None, "gzip", "zstd", "s4"]


@pytest.fixture
def space(request: pytest.FixtureRequest) -> Iterator[Space]:
    objects = MemoryStore(request.node.name.replace("/", "."))
    yield Space(objects)
    for info in list(objects.list()):
        objects.delete(info.key)


def some_items(count: int = 30, size: int = 20_000) -> list[dict[str, Any]]:
    return [
        {
            "member_path": f"folder/{n:04d}.txt",
            "source": make("lines", size + n, f"item {n}"),
            "id": f"id-{n}",
            "meta": {"n": n},
        }
        for n in range(count)
    ]


def keys(space: Space) -> list[str]:
    return [info.key for info in space.objects.list()]


def write(space: Space, key: str, items: Any, **options: Any) -> dict[str, Any]:
    return dict(put_archive(space, key, items, **options))


def tar_of(body: bytes, compression: str | None, metadata: Mapping[str, str]) -> bytes:
    """The plain tar, by other programs than ours where there are any."""
    if compression == "s4":
        return decode_object(body, dict(metadata))
    command = {None: ["cat"], "gzip": ["gzip", "-dc"], "zstd": ["zstd", "-dc"]}
    command |= {"bzip2": ["bzip2", "-dc"], "xz": ["xz", "-dc"]}
    if shutil.which(command[compression][0]) is None:
        pytest.skip(f"{command[compression][0]} is not installed")
    return subprocess.run(command[compression], input=body, capture_output=True, check=True).stdout


def members_of(tar: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        found = {}
        for member in archive:
            opened = archive.extractfile(member)
            assert opened is not None
            found[member.name] = opened.read()
        return found


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_tool_reads_the_archive(space: Space, compression: str | None) -> None:
    items = some_items()
    entry = write(space, "shards/a", items, compression=compression)
    body, info = space.objects.read("shards/a"), space.objects.head("shards/a")
    members = members_of(tar_of(body, compression, info.metadata))
    assert next(iter(members)) == "__manifest__.jsonl"
    assert members.pop("__manifest__.jsonl").count(b"\n") == len(items)
    assert members == {item["member_path"]: item["source"] for item in items}
    assert entry["size_bytes"] == len(body)
    assert entry["blake3"] == blake3(body).hex()
    assert entry["meta"] == {"etag": info.etag}
    assert (entry["kind"], entry["format"], entry["count"]) == ("shard", "tar", len(items))
    assert entry["compression"] == compression


@pytest.mark.parametrize("compression", CHUNKED)
@pytest.mark.parametrize("size", [100, 20_000, 500_000])
def test_the_index_is_bound_to_the_archive(
    space: Space, compression: str | None, size: int
) -> None:
    entry = write(space, "a", some_items(size=size), compression=compression)
    info = space.objects.head("a")
    index = ArchiveIndex.from_bytes(space.objects.read(entry["index_key"]))
    assert (index.etag, index.stored_size) == (info.etag, info.size)
    assert index.internal_manifest_path == "__manifest__.jsonl"
    assert len(index.members) == 31
    member = index.member("folder/0007.txt")
    assert member is not None
    assert member.blake3 == blake3(make("lines", size + 7, "item 7"))


@pytest.mark.parametrize("size", [10, 20_000, 600_000])
def test_an_s4_archive_is_an_object_that_a_gateway_serves(space: Space, size: int) -> None:
    # The largest is above what goes as one request: its metadata are known before it is complete.
    items = [{"member_path": f"{n}", "source": make("noise", size, str(n))} for n in range(30)]
    write(space, "a.tar.s4", items, compression="s4")
    body, info = space.objects.read("a.tar.s4"), space.objects.head("a.tar.s4")
    tar = decode_object(body, dict(info.metadata))
    assert members_of(tar)["29"] == items[29]["source"]
    assert info.metadata["s4-original-size"] == str(len(tar))
    if size < 600_000:
        assert info.metadata["s4-framed"] == "true"
        assert set(info.metadata) > {"s4-codec", "s4-crc32c", "s4-compressed-size"}
    else:
        assert set(info.metadata) == {"s4-codec", "s4-multipart", "s4-original-size"}
    if size > 10:
        sidecar = space.objects.read("a.tar.s4.s4index")
        assert index_is_trusted(sidecar, len(body), info.etag)
    else:
        assert "a.tar.s4.s4index" not in keys(space)


def test_an_archive_that_replaces_another_leaves_no_index_of_it(space: Space) -> None:
    write(space, "a", some_items(), compression="s4")
    assert keys(space) == ["a", "a.s4index", "a.shardindex"]
    write(space, "a", some_items(1, 10), compression="gzip")
    assert keys(space) == ["a", "a.shardindex"]
    write(space, "a", some_items(1, 10), compression="xz")
    assert keys(space) == ["a"]


class Recorder(MemoryStore):
    """Tells what is there whenever something is about to change."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.states: list[set[str]] = []

    def _publish(self, *arguments: Any, **options: Any) -> ObjectInfo:
        info = super()._publish(*arguments, **options)
        self.states.append({found.key for found in self.list()})
        return info

    def delete(self, key: str) -> None:
        super().delete(key)
        self.states.append({found.key for found in self.list()})


def test_no_index_ever_lies_beside_an_archive_that_it_does_not_describe() -> None:
    store = Recorder("order")
    write(Space(store), "a", some_items(), compression="s4")
    store.states.clear()
    write(Space(store), "a", some_items(size=100), compression="s4")
    # Old indexes go, the archive changes, new indexes come.
    assert store.states[1] == {"a"}
    assert store.states[2] == {"a"}
    assert store.states[3] == {"a", "a.shardindex"}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_same_items_give_the_same_bytes(
    space: Space, compression: str | None, tmp_path: Path
) -> None:
    items = some_items()
    for item in items:
        (tmp_path / item["id"]).write_bytes(item["source"])
    from_paths = [{**item, "source": tmp_path / item["id"]} for item in items]
    from_streams = ({**item, "source": io.BytesIO(item["source"])} for item in items)
    bodies = set()
    for threads, source in ((1, items), (4, from_paths), (2, from_streams)):
        os.utime(tmp_path / "id-3", ns=(threads, threads))
        write(space, "a", source, compression=compression, threads=threads)
        bodies.add(space.objects.read("a"))
    assert len(bodies) == 1


def test_large_members_are_read_piece_by_piece(space: Space, tmp_path: Path) -> None:
    large = make("lines", 9 * MIB)
    (tmp_path / "file").write_bytes(large)

    def items() -> Iterator[dict[str, Any]]:
        yield {"member_path": "filler", "source": bytes(30 * MIB)}
        yield {"member_path": "file", "source": tmp_path / "file"}
        # Beyond what is held in memory of a generator.
        yield {"member_path": "bytes", "source": large}
        yield {
            "member_path": "pieces",
            "source": (large[at : at + MIB] for at in range(0, 9 * MIB, MIB)),
        }

    write(space, "a", items(), compression=None)
    members = members_of(space.objects.read("a"))
    assert members["file"] == members["bytes"] == members["pieces"] == large


def test_sources_that_are_links_are_stored_as_files(space: Space, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    write(space, "a", [{"member_path": "m", "source": tmp_path / "link"}], compression=None)
    assert members_of(space.objects.read("a"))["m"] == b"content"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/absolute", UnsafePathError),
        ("../up", UnsafePathError),
        ("a/../../b", UnsafePathError),
        ("", UnsafePathError),
        ("C:\\x", UnsafePathError),
        ("nul\0", UnsafePathError),
        ("folder/", UnsafePathError),
        ("\ud800", UnsafePathError),
        ("__manifest__.jsonl", UnsafePathError),
        ("folder/0001.txt", ValueError),
    ],
)
def test_hostile_members_are_refused_before_anything_is_sent(
    space: Space, path: str, error: type[Exception]
) -> None:
    items = [*some_items(3), {"member_path": path, "source": b"x"}]
    with pytest.raises(error):
        put_archive(space, "a", items)  # type: ignore[arg-type]
    assert keys(space) == []


@pytest.mark.parametrize("source", ["folder", "pipe", "/dev/zero", "gone"])
def test_sources_that_are_no_files_are_refused(space: Space, source: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises((UnsafePathError, FileNotFoundError), match=source.strip("/")):
        put_archive(space, "a", [{"member_path": "m", "source": tmp_path / source}])
    assert keys(space) == []


@pytest.mark.parametrize(
    "options",
    [
        {"format": "zip"},
        {"compression": "lz4"},
        {"compression": "bzip2", "level": 10},
        {"compression": "xz", "level": -1},
        {"chunk_size": 1},
        {"threads": 0},
        {"internal_manifest_path": "../m"},
    ],
)
def test_options_that_make_no_sense_are_refused(space: Space, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        put_archive(space, "a", some_items(2), **options)  # type: ignore[arg-type]
    assert keys(space) == []


def test_a_file_that_changes_fails_the_archive_and_leaves_the_old_one(
    space: Space, tmp_path: Path
) -> None:
    before = write(space, "a", some_items(2))
    (tmp_path / "file").write_bytes(bytes(100))

    def items() -> Iterator[dict[str, Any]]:
        # Large enough that parts are on their way when the change is found.
        yield {"member_path": "large", "source": make("noise", 20 * MIB)}
        yield {"member_path": "m", "source": tmp_path / "file"}
        (tmp_path / "file").write_bytes(bytes(101))

    with pytest.raises(S4IoError, match="file'"):
        write(space, "a", items())
    assert keys(space) == ["a", "a.shardindex"]
    assert space.objects.head("a").etag == before["meta"]["etag"]


def test_progress_counts_the_bytes_of_members(space: Space) -> None:
    told: list[int] = []
    write(space, "a", some_items(5, 1000), progress=told.append)
    assert told == sorted(told)
    assert told[-1] == sum(range(1000, 1005))


def test_the_length_of_the_tar_is_known_beforehand(space: Space) -> None:
    paths = ["a", "ü" * 60, "p/" * 49 + "q", "long/" * 20 + "x", "x" * 256, "y" * 2000]
    items = [{"member_path": path, "source": bytes(513 * n)} for n, path in enumerate(paths)]
    write(space, "a", items, compression=None)
    with Spool(0) as spool:
        prepared = [prepare_item(item, spool, hold=True) for item in items]  # type: ignore[arg-type]
    first = members_of(space.objects.read("a"))["__manifest__.jsonl"]
    assert tar_size("__manifest__.jsonl", first, prepared) == space.objects.head("a").size


def test_an_empty_archive_is_one(space: Space) -> None:
    entry = write(space, "a", [], compression="gzip")
    assert entry["count"] == 0
    assert members_of(tar_of(space.objects.read("a"), "gzip", {})) == {"__manifest__.jsonl": b""}


def test_the_base_prefix_stands_before_the_keys_and_not_in_the_entry() -> None:
    store = MemoryStore("based")
    entry = write(Space(store, "base/p"), "/x//a.tar", some_items(1), compression=None)
    assert (entry["archive_key"], entry["index_key"]) == ("x/a.tar", "x/a.tar.shardindex")
    assert keys(Space(store)) == ["base/p/x/a.tar", "base/p/x/a.tar.shardindex"]
    manifest = members_of(store.read("base/p/x/a.tar"))["__manifest__.jsonl"]
    assert b'"key":"x/a.tar#folder/0000.txt"' in manifest


# --- on servers -----------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["gzip", "s4"])
@pytest.mark.parametrize("count", [3, 40])
def test_a_server_gets_the_archive_its_index_and_its_metadata(
    s3_server: S3Server, compression: str, count: int
) -> None:
    from shardpack.storage.s3 import S3Store

    with closing(s3_server.client()) as client:
        # With the smallest parts that servers take, the larger one goes in several.
        store = S3Store(client, s3_server.fresh_bucket(client), part_size=5 * MIB)
        items = [
            {"member_path": f"{n}", "source": make("noise", MIB, str(n))} for n in range(count)
        ]
        entry = write(Space(store), "s/a", items, compression=compression)
        info = store.head("s/a")
        etag = entry["meta"]["etag"]
        # This rclone keeps no tags: what it answers to a PUT it never shows again.
        assert etag == info.etag or (s3_server.name, info.etag) == ("rclone", None)
        body = store.read("s/a")
        assert blake3(body).hex() == entry["blake3"]
        index = ArchiveIndex.from_bytes(store.read("s/a.shardindex"))
        assert (index.etag, index.stored_size) == (etag, info.size)
        if compression == "s4":
            tar = decode_object(body, dict(info.metadata))
            assert members_of(tar)["2"] == items[2]["source"]
            assert index_is_trusted(store.read("s/a.s4index"), info.size, etag)


def test_nothing_of_an_archive_that_failed_stays_on_the_server(
    s3_server: S3Server, tmp_path: Path
) -> None:
    from shardpack.storage.s3 import S3Store

    (tmp_path / "file").write_bytes(b"1")

    def items() -> Iterator[dict[str, Any]]:
        for n in range(40):
            yield {"member_path": str(n), "source": make("noise", MIB, str(n))}
        yield {"member_path": "m", "source": tmp_path / "file"}
        (tmp_path / "file").write_bytes(b"12")

    with closing(s3_server.client()) as client:
        store = S3Store(client, s3_server.fresh_bucket(client), part_size=5 * MIB)
        with pytest.raises(S4IoError):
            write(Space(store), "a", items())
        assert list(store.list()) == []
        assert list(store.iter_uploads()) == []


@pytest.mark.slow
def test_memory_does_not_grow_with_the_archive() -> None:
    peak = run_python(
        """
import resource, tempfile
from shardpack.exchange.keys import Space
from shardpack.exchange.shard.writing import put_archive
from shardpack.storage.file import FileStore

def items(count):
    block = bytes(range(256)) * 4096
    for n in range(count):
        yield {"member_path": f"{n}", "source": n.to_bytes(4, "big") + block}

with tempfile.TemporaryDirectory() as folder:
    space = Space(FileStore(folder))
    put_archive(space, "warm", items(70))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    put_archive(space, "large", items(300))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    )
    assert int(peak) < 32 << 10
