"""The class of shard archives: making, splitting, reading, refusing."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from exchange_stores import fresh_memory
from inputs import KIB, make
from shardpack.errors import ObjectNotFoundError, ShardReadError, UnsafePathError
from shardpack.exchange import ExchangeStore, Shard

ITEMS: list[Any] = [
    {"member_path": "a.txt", "source": b"first", "id": "A", "meta": {"n": 1}},
    {"member_path": "b/c.bin", "source": make("noise", 50 * KIB), "size_bytes": 50 * KIB},
    {"member_path": "empty", "source": bytearray()},
]


def plain_tar(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:") as archive:
        for path, data in members:
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_a_shard_tells_what_it_is(store: ExchangeStore) -> None:
    shard = store.put_shard_archive("s/0.tar.gz", ITEMS)
    entry = shard.entry
    assert list(entry)[:8] == [
        *("kind", "archive_key", "format", "compression", "internal_manifest_path"),
        *("count", "size_bytes", "meta"),
    ]
    assert (shard.archive_key, shard.format, shard.compression) == ("s/0.tar.gz", "tar", "gzip")
    assert shard.internal_manifest_path == "__manifest__.jsonl"
    assert entry["count"] == len(ITEMS)
    assert entry["size_bytes"] == store.head_object("s/0.tar.gz")["ContentLength"]
    assert "etag" in (entry["meta"] or {})
    assert shard.store is store
    for again in (store.get_shard("s/0.tar.gz"), Shard.from_entry(store, entry)):
        assert again.archive_key == shard.archive_key
        assert again.compression == "gzip"
        assert repr(again) == "Shard(archive_key='s/0.tar.gz')"
    bare = Shard.from_entry(store, {"kind": "shard", "archive_key": "x"})
    assert (bare.format, bare.compression) == ("tar", "gzip")


def test_the_manifest_inside_names_the_members(store: ExchangeStore) -> None:
    shard = store.put_shard_archive("s/0.tar.gz", ITEMS)
    for manifest in (shard.get_manifest(), store.get_manifest("s/0.tar.gz")):
        entries: list[Any] = list(manifest)
        assert [entry["key"] for entry in entries] == [
            "s/0.tar.gz#a.txt",
            "s/0.tar.gz#b/c.bin",
            "s/0.tar.gz#empty",
        ]
        assert [entry["size_bytes"] for entry in entries] == [5, 50 * KIB, 0]
        assert entries[0]["id"] == "A"
        assert entries[0]["meta"] == {"n": 1}
        assert all(entry["archive_key"] == "s/0.tar.gz" for entry in entries)


def test_members_are_iterated_in_the_order_of_the_archive(store: ExchangeStore) -> None:
    shard = store.put_shard_archive("s/0.tar", ITEMS, compression=None)
    found = [(entry["member_path"], body.read()) for body, entry in shard.iter_entries()]
    assert found == [(item["member_path"], bytes(item["source"])) for item in ITEMS]
    assert len(list(shard.iter_entries(limit=2))) == 2
    with_manifest = [entry["member_path"] for _, entry in shard.iter_objects()]
    assert with_manifest == ["__manifest__.jsonl", "a.txt", "b/c.bin", "empty"]
    assert len(list(shard.iter_objects(limit=1))) == 1


def test_standard_tools_read_what_is_written(store: ExchangeStore) -> None:
    store.put_shard_archive("s/0.tar.gz", ITEMS)
    data = gzip.decompress(store.get_object("s/0.tar.gz").read())
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["__manifest__.jsonl", "a.txt", "b/c.bin", "empty"]
        member = archive.extractfile("b/c.bin")
        assert member is not None
        assert member.read() == ITEMS[1]["source"]


@pytest.mark.parametrize("compression", [None, "gzip", "zstd", "s4", "bzip2", "xz"])
def test_each_compression_comes_back(compression: str | None) -> None:
    store = fresh_memory()
    suffix = {None: "", "gzip": ".gz", "zstd": ".zst", "s4": ".s4", "bzip2": ".bz2", "xz": ".xz"}
    shard = store.put_shard_archive(f"0.tar{suffix[compression]}", ITEMS, compression=compression)
    assert {entry["member_path"]: body.read() for body, entry in shard.iter_entries()} == {
        item["member_path"]: bytes(item["source"]) for item in ITEMS
    }
    assert store.get_object(f"{shard.archive_key}#a.txt").read() == b"first"


def test_an_archive_whose_key_says_something_else_is_read_all_the_same() -> None:
    store = fresh_memory()
    store.put_object("packed.tar", gzip.compress(plain_tar(("m", b"x"))))
    store.put_object("plain.tar.gz", plain_tar(("m", b"x")))
    assert store.get_object("packed.tar#m").read() == b"x"
    assert store.get_object("plain.tar.gz#m").read() == b"x"


@pytest.mark.parametrize("path", ["../evil", "/abs", "ok/../../z", "", "dir/", "a\0b"])
def test_members_that_lead_elsewhere_are_refused_before_anything_is_written(path: str) -> None:
    store = fresh_memory()
    items: list[Any] = [*ITEMS, {"member_path": path, "source": b"x"}]
    with pytest.raises(UnsafePathError):
        store.put_shard_archive("0.tar.gz", items)
    assert list(store.objects.list()) == []


def test_members_that_hide_each_other_are_refused() -> None:
    store = fresh_memory()
    with pytest.raises(ValueError, match=r"a\.txt"):
        store.put_shard_archive("0.tar.gz", [*ITEMS, ITEMS[0]])
    with pytest.raises(UnsafePathError, match="__manifest__"):
        store.put_shard_archive("0.tar", [{"member_path": "__manifest__.jsonl", "source": b""}])
    with pytest.raises(ValueError, match="zip"):
        store.put_shard_archive("0.zip", ITEMS, format="zip")
    with pytest.raises(ValueError, match="lz4"):
        store.put_shard_archive("0.tar", ITEMS, compression="lz4")
    assert list(store.objects.list()) == []


def test_a_hostile_member_of_another_program_is_not_handed_out_as_a_file(tmp_path: Path) -> None:
    store = fresh_memory()
    store.put_object("evil.tar", plain_tar(("../../evil", b"x"), ("fine", b"y")))
    with pytest.raises(UnsafePathError):
        store.download_objects(["evil.tar#../../evil"], tmp_path / "a", keep_folders=True)
    store.download_objects(["evil.tar#../../evil", "evil.tar#fine"], tmp_path / "b", missing="skip")
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"evil", "fine"}
    assert not (tmp_path.parent / "evil").exists()
    assert all(path.parent == tmp_path / "b" for path in tmp_path.rglob("*") if path.is_file())


def test_a_symbolic_link_as_source_is_the_file_that_it_leads_to(tmp_path: Path) -> None:
    store = fresh_memory()
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    items: list[Any] = [{"member_path": "m", "source": tmp_path / "link"}]
    shard = store.put_shard_archive("0.tar", items, compression=None)
    assert [body.read() for body, _ in shard.iter_entries()] == [b"content"]


@pytest.mark.parametrize("compression", [None, "gzip", "zstd", "s4"])
def test_the_same_items_give_the_same_bytes(compression: str | None) -> None:
    made = []
    for threads in (1, 3):
        store = fresh_memory()
        store.put_shard_archive("0.tar", ITEMS, compression=compression, threads=threads)
        made.append(store.get_object("0.tar").read())
    assert made[0] == made[1]


def test_an_archive_is_made_without_being_stored(tmp_path: Path) -> None:
    data, size = Shard.create_archive(ITEMS, "s/0.tar.gz")
    assert isinstance(data, bytes)
    assert len(data) == size
    store = fresh_memory()
    store.put_shard_archive("s/0.tar.gz", ITEMS)
    assert store.get_object("s/0.tar.gz").read() == data
    path, size = Shard.create_archive(ITEMS, "s/0.tar.gz", temp_file_threshold=100)
    assert isinstance(path, Path)
    assert path.read_bytes() == data
    assert path.stat().st_size == size
    path.unlink()
    held, _ = Shard.create_archive(
        ITEMS, "s/0.tar.gz", temp_file_threshold=100, use_temp_file=False
    )
    assert held == data
    with pytest.raises(ValueError, match="zip"):
        Shard.create_archive(ITEMS, "0.zip", format="zip")
    before = set(os.listdir(os.path.dirname(path)))
    with pytest.raises(FileNotFoundError):
        Shard.create_archive([{"member_path": "m", "source": tmp_path / "none"}], "0.tar")
    assert {name for name in os.listdir(os.path.dirname(path)) if "shardpack-" in name} <= before


def test_formats_are_told_by_extensions() -> None:
    told = {
        "a.tar": ("tar", None),
        "a.tar.gz": ("tar", "gzip"),
        "a.tgz": ("tar", "gzip"),
        "a.tar.bz2": ("tar", "bzip2"),
        "a.tar.xz": ("tar", "xz"),
        "a.tar.zst": ("tar", "zstd"),
        "a.tar.s4": ("tar", "s4"),
        "a.bin": ("tar", None),
    }
    assert {key: Shard.infer_archive_format(key) for key in told} == told


def test_items_are_split_by_the_bytes_that_they_have(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1000))
    sources: list[Any] = [bytes(1000), bytearray(1000), path, str(path), memoryview(bytes(1000))]
    items: list[Any] = [
        {"member_path": str(i), "source": source} for i, source in enumerate(sources)
    ]

    def counts(**limits: int) -> list[int]:
        return [len(batch) for batch in Shard.split_items(items, **limits)]

    assert counts(max_bytes=1500) == [1, 1, 1, 1, 1]
    assert counts(max_bytes=2000) == [2, 2, 1]
    assert counts(max_bytes=10) == [1, 1, 1, 1, 1]
    assert counts(max_entries=2) == [2, 2, 1]
    assert counts(max_entries=3, max_bytes=2000) == [2, 2, 1]
    assert counts() == [5]
    assert list(Shard.split_items([])) == [[]]
    assert list(Shard.split_items([], max_entries=1)) == []
    with pytest.raises(ValueError, match="max_bytes"):
        Shard.split_items(items, max_bytes=0)
    with pytest.raises(FileNotFoundError):
        list(Shard.split_items([{"member_path": "m", "source": "/none"}], max_bytes=1))
    unknown: Any = {"member_path": "m", "source": iter([b"x"])}
    with pytest.raises(ValueError, match="size_bytes"):
        list(Shard.split_items([unknown], max_bytes=1))
    unknown["size_bytes"] = 1
    assert list(Shard.split_items([unknown], max_bytes=1))


def internal(*lines: bytes) -> bytes:
    return plain_tar(("__manifest__.jsonl", b"".join(lines)), ("m", b"x"))


def test_old_manifests_without_keys_are_read() -> None:
    store = fresh_memory()
    store.put_object("0.tar", internal(b'{"kind":"file","member_path":"m","id":"I"}\n\n'))
    (entry,) = store.get_manifest("0.tar")
    assert entry.get("key") == "0.tar#m"
    assert entry.get("id") == "I"
    assert [body.read() for body, _ in store.get_shard("0.tar").iter_entries()] == [b"x"]


@pytest.mark.parametrize(
    "line",
    [
        b"{broken\n",
        b'{"kind":"shard","archive_key":"other"}\n',
        b'{"kind":"file"}\n',
        b"[]\n",
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
    ],
)
def test_a_broken_manifest_inside_is_told(line: bytes) -> None:
    store = fresh_memory()
    store.put_object("0.tar", internal(line))
    with pytest.raises(ShardReadError) as caught:
        store.get_manifest("0.tar")
    assert caught.value.key == "0.tar"
    with pytest.raises(ShardReadError):
        list(store.list_manifest_files([{"kind": "shard", "archive_key": "0.tar"}]))


def test_a_shard_that_is_not_there_is_told(store: ExchangeStore) -> None:
    shard = store.get_shard("none/0.tar")
    for call in (
        shard.get_manifest,
        lambda: shard.get_member("m"),
        lambda: list(shard.iter_entries()),
        lambda: list(shard.iter_objects()),
    ):
        with pytest.raises(ObjectNotFoundError) as caught:
            call()
        assert caught.value.key in {"none/0.tar", "none/0.tar#m"}
    shard.delete()


def test_a_manifest_inside_that_lacks_members_is_told() -> None:
    store = fresh_memory()
    entry = dict(store.put_shard_archive("0.tar", ITEMS, compression=None).entry)
    told: Any = {**entry, "count": 4}
    with pytest.raises(ShardReadError, match="3 members"):
        list(store.list_manifest_files([told]))
