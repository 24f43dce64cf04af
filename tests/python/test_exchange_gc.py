"""Garbage is what nothing refers to: never what somebody else made, needs, or is about to use."""

from __future__ import annotations

import os
import pickle
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from exchange_runs import items, keys, killed_before_the_manifest
from exchange_stores import fresh_memory
from servers import moto_server, rclone_server
from shardpack.errors import InvalidManifestError, ManifestNotFoundError, StorageError
from shardpack.exchange.keys import Space
from shardpack.exchange.manifest.append import append
from shardpack.exchange.manifest.reading import iter_entries
from shardpack.exchange.manifest.rewrite import overwrite
from shardpack.exchange.packing.pack import pack
from shardpack.exchange.shard.writing import put_archive
from shardpack.exchange.upkeep.gc import collect, find_garbage, is_root_key, survey, sweep
from shardpack.exchange.upkeep.verify import verify
from shardpack.storage.base import Upload
from shardpack.storage.file import FileStore
from shardpack.storage.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import S3Server
    from shardpack.exchange.types import FileEntry

__all__ = ["moto_server", "rclone_server"]


@pytest.fixture
def space(request: pytest.FixtureRequest) -> Iterator[Space]:
    objects = MemoryStore(request.node.name.replace("/", "."))
    yield Space(objects)
    for info in list(objects.list()):
        objects.delete(info.key)


def garbage(space: Space, prefix: str = "", **options: Any) -> dict[str, str]:
    found = find_garbage(space, prefix, **{"older_than_s": 0, **options})
    return {item.key: item.kind for item in found}


def test_what_manifests_refer_to_is_no_garbage(space: Space) -> None:
    for n in range(3):
        pack(space, items(word=str(n)), "a/b", max_entries=2, loose_above=2)
        pack(space, items(word=str(n)), "a/c", max_entries=2, mode="overwrite")
    for n in range(200):
        append(space, "a/b/manifest.jsonl", [{"kind": "file", "key": f"k{n}"}])
    assert any("/level1-" in key for key in keys(space))
    for prefix in ("", "a", "a/b", "a/b/", "a/b/shards", "a/b/manifests"):
        found = garbage(space, prefix)
        # Runs that were replaced by `overwrite`; and what folding has left behind is no garbage.
        assert {key for key in found if not key.startswith("a/c/")} == set()


def test_what_a_killed_run_leaves_is_garbage(space: Space) -> None:
    pack(space, items(word="good"), "good", max_entries=2)
    kept = keys(space)
    left = killed_before_the_manifest(space, "bad", loose_above=50)
    found = find_garbage(space, "", older_than_s=0)
    assert {item.key for item in found} == left
    assert {item.kind for item in found} == {"object", "shard", "index"}
    assert collect(space, found) == {}
    assert keys(space) == kept | left
    assert collect(space, found, dry_run=False) == {}
    assert keys(space) == kept


def test_parts_that_no_root_names_are_garbage(space: Space) -> None:
    append(space, "m.jsonl", [{"kind": "file", "key": "a"}])
    append(space, "m.jsonl", [{"kind": "file", "key": "b"}], mode="single-writer")
    overwrite(space, "m.jsonl", [{"kind": "file", "key": "c"}])
    found = garbage(space)
    assert set(found.values()) == {"part"}
    assert len(found) == 2
    collect(space, find_garbage(space, "", older_than_s=0), dry_run=False)
    assert keys(space) == {"m.jsonl"}


def test_listed_parts_are_kept_and_those_of_an_older_listing_are_not(space: Space) -> None:
    for word in ("a", "b"):
        append(space, "m.jsonl", [{"kind": "file", "key": word}], mode="listed")
    assert garbage(space) == {}
    overwrite(space, "m.jsonl", [{"kind": "file", "key": "c"}], mode="listed")
    append(space, "m.jsonl", [{"kind": "file", "key": "d"}], mode="listed")
    assert len(garbage(space)) == 2
    collect(space, find_garbage(space, "", older_than_s=0), dry_run=False)
    assert [entry.get("key") for entry in iter_entries(space, "m.jsonl")] == ["c", "d"]


def test_names_that_others_give_are_never_garbage(space: Space) -> None:
    foreign = [
        "shards/shard-000001.tar",
        "train/shard-000001.tar.gz",
        "shard-abc.tar",
        "objects/0123456789abcdef/x",
        "data/file.bin",
        "data/my.tar.gz",
        "manifests/notes.txt",
        "manifests/part-1.jsonl.bak",
        "x.s4index",
    ]
    for key in foreign:
        space.objects.put(key, b"precious")
    put_archive(space, "mine/named.tar.gz", items())
    assert garbage(space) == {}


def test_an_index_whose_archive_is_gone_is_garbage(space: Space) -> None:
    for key in ("named.tar.gz", "no-suffix", "kept.tar.zst"):
        put_archive(space, key, items())
    for key in ("named.tar.gz", "no-suffix"):
        space.objects.delete(key)
    assert garbage(space) == {
        "named.tar.gz.shardindex": "index",
        "no-suffix.shardindex": "index",
    }


def test_what_is_young_stays(space: Space) -> None:
    killed_before_the_manifest(space, "bad")
    assert garbage(space, older_than_s=60) == {}
    assert garbage(space, older_than_s=0) != {}


@pytest.mark.parametrize("damage", ["no json", "missing part", "refused"])
def test_a_manifest_that_cannot_be_read_stops_everything(space: Space, damage: str) -> None:
    killed_before_the_manifest(space, "bad")
    pack(space, items(), "good")
    found = find_garbage(space, "", older_than_s=0)
    assert found
    if damage == "no json":
        space.objects.put("other.jsonl", b'{"kind":"file","key":"a"}\n{oops\n')
    elif damage == "missing part":
        space.objects.put("other.jsonl", b'{"kind":"manifest_ref","key":"gone.jsonl"}\n')
    else:

        class Refusing(MemoryStore):
            def get(self, key: str, **options: Any) -> Any:
                if key == "good/manifest.jsonl":
                    raise StorageError("not now", key=key)
                return super().get(key, **options)

        assert isinstance(space.objects, MemoryStore)
        space = Space(Refusing(space.objects.name))
    before = keys(space)
    expected = (InvalidManifestError, ManifestNotFoundError, StorageError)
    with pytest.raises(expected):
        find_garbage(space, "", older_than_s=0)
    with pytest.raises(expected):
        collect(space, found, dry_run=False)
    assert keys(space) == before


def test_what_is_referred_to_meanwhile_is_not_removed(space: Space) -> None:
    killed_before_the_manifest(space, "run")
    found = find_garbage(space, "run", older_than_s=0)
    # The same run over again finds its shards and names them.
    assert pack(space, items(word="run"), "run", max_entries=2).skipped == 3
    assert collect(space, found, dry_run=False) == {}
    assert verify(space, "run/manifest.jsonl").findings == ()


def test_what_was_written_anew_meanwhile_is_not_removed(space: Space) -> None:
    killed_before_the_manifest(space, "run")
    found = find_garbage(space, "run", older_than_s=0)
    pack(space, items(word="run"), "run", max_entries=2, resume=False)
    space.objects.delete("run/manifest.jsonl")
    collect(space, found, dry_run=False)
    assert any(key.endswith(".tar.gz") for key in keys(space))


def test_a_folder_of_shards_is_judged_by_the_manifest_above_it(space: Space) -> None:
    pack(space, items(), "data/set", max_entries=2)
    assert garbage(space, "data/set/shards") == {}
    space.objects.delete("data/set/manifest.jsonl")
    assert len(garbage(space, "data/set/shards")) == 6


def test_manifests_of_other_names_are_looked_for_below_the_base_prefix_alone() -> None:
    store = MemoryStore("gc-floor")
    inner = Space(store, "base")
    key = f"shard-{'0' * 16}.tar"
    put_archive(inner, key, items())
    overwrite(Space(store), "all", [{"kind": "shard", "archive_key": f"base/{key}"}])
    assert set(garbage(inner)) == {key, f"{key}.shardindex"}
    assert garbage(Space(store)) == {}


def test_a_prefix_is_a_folder_and_the_base_prefix_is_never_left() -> None:
    store = MemoryStore("gc-based")
    inner, outer = Space(store, "base"), Space(store)
    left = killed_before_the_manifest(inner, "run")
    killed_before_the_manifest(outer, "running")
    killed_before_the_manifest(outer, "other")
    assert {f"base/{key}" for key in garbage(inner)} == left
    assert garbage(inner, "ru") == {}
    found = find_garbage(inner, "run", older_than_s=0)
    collect(inner, found, dry_run=False)
    assert keys(outer) & left == set()
    assert len(garbage(outer, "running")) == len(left)


def test_members_that_entries_name_one_by_one_keep_their_archive(space: Space) -> None:
    pack(space, items(), "p")
    (entry,) = list(iter_entries(space, "p/manifest.jsonl"))
    key = f"{entry['archive_key']}#3"  # type: ignore[typeddict-item]
    overwrite(space, "p/manifest.jsonl", [{"kind": "file", "key": key}])
    assert set(garbage(space).values()) == {"part"}


def test_the_same_names_in_a_folder_called_like_the_base_prefix_are_other_objects() -> None:
    store = MemoryStore("gc-twice")
    inner = Space(store, "base")
    pack(inner, items(), "run", max_entries=2)
    kept = keys(inner)
    pack(Space(store), items(), "base/base/run", max_entries=2)
    store.delete("base/base/run/manifest.jsonl")
    found = find_garbage(inner, "", older_than_s=0)
    assert {inner.full(item.key) for item in found} == keys(inner) - kept
    collect(inner, found, dry_run=False)
    assert keys(inner) == kept


def test_keys_that_no_exchange_gives_are_left_alone_and_never_taken_for_others(
    space: Space,
) -> None:
    pack(space, items(), "p", max_entries=2)
    kept = keys(space)
    for key in kept:
        if "/shards/" in key:
            space.objects.put(key.replace("/shards/", "//shards/"), b"a copy")
    before = keys(space)
    found = find_garbage(space, "", older_than_s=0)
    collect(space, found, dry_run=False)
    assert keys(space) == before


def test_a_manifest_at_a_key_that_no_exchange_gives_keeps_what_it_names(space: Space) -> None:
    pack(space, items(), "p", max_entries=2)
    root = space.objects.read("p/manifest.jsonl")
    space.objects.delete("p/manifest.jsonl")
    space.objects.put("p//manifest.jsonl", root)
    assert garbage(space) == {}


@pytest.mark.parametrize("name", ["manifest", "index.json", "all.ndjson"])
def test_a_manifest_with_a_name_of_its_own_keeps_what_it_names(space: Space, name: str) -> None:
    for n in range(3):
        append(space, f"a/{name}", [{"kind": "file", "key": f"k{n}"}])
    pack(space, items(), "p", max_entries=2, manifest_key="p/manifest.jsonl")
    overwrite(space, f"p/{name}", list(iter_entries(space, "p/manifest.jsonl")))
    space.objects.delete("p/manifest.jsonl")
    # Neighbours of other kinds: empty, binary, JSON of something else, a line without an end.
    for key, data in {
        "empty": b"",
        "x.bin": b"\0\1",
        "x.json": b'{"a": 1}',
        "y": b"{" * 99,
    }.items():
        space.objects.put(f"a/{key}", data)
        space.objects.put(f"p/{key}", data)
    assert set(garbage(space).values()) == {"part"}
    assert len(garbage(space)) == 1
    assert garbage(space, "a") == {}


def test_lines_of_data_that_a_manifest_names_are_no_manifest(space: Space) -> None:
    left = killed_before_the_manifest(space, "bad")
    space.objects.put("data/events.jsonl", b'{"kind":"file","key":"a","cut\n')
    with pytest.raises(InvalidManifestError, match=r"data/events\.jsonl"):
        garbage(space)
    overwrite(space, "manifest.jsonl", [{"kind": "file", "key": "data/events.jsonl"}])
    assert set(garbage(space)) == left
    report = verify(space, "")
    assert (report.findings, report.objects) == ((), 1)


def test_an_upload_that_cannot_be_removed_is_told_and_stops_nothing(space: Space) -> None:
    class Refusing(MemoryStore):
        def iter_uploads(self, prefix: str = "") -> Iterator[Upload]:
            for key in ("a", "b"):
                if key.startswith(prefix):
                    yield Upload(key, f"id of {key}", datetime(2020, 1, 1, tzinfo=UTC))

        def abort_upload(self, upload: Upload) -> None:
            if upload.key == "a":
                raise StorageError("no", key="a")
            aborted.append(upload.key)

    assert isinstance(space.objects, MemoryStore)
    aborted: list[str] = []
    refusing = Space(Refusing(space.objects.name))
    found = find_garbage(refusing, "", older_than_s=0)
    swept = sweep(refusing, found)
    assert list(swept.failures) == ["a"]
    assert [item.key for item in swept.removed] == aborted == ["b"]


def test_only_what_was_removed_counts(space: Space) -> None:
    killed_before_the_manifest(space, "run")
    found = find_garbage(space, "run", older_than_s=0)
    pack(space, items(word="run"), "run", max_entries=2)
    swept = sweep(space, found)
    assert (swept.removed, swept.failures) == ((), {})


def test_progress_counts_what_is_listed_read_and_removed(space: Space) -> None:
    pack(space, items(), "good", max_entries=2)
    left = killed_before_the_manifest(space, "bad")
    read = {key for key in keys(space) if key.endswith(".jsonl")}
    told: list[int] = []
    report = survey(space, "", older_than_s=0, progress=told.append)
    assert told == list(range(1, len(keys(space)) + len(read) + 1))
    looked_at, told = len(told), []
    sweep(space, report.garbage, progress=told.append)
    assert told == list(range(1, looked_at + len(left) + 1))


def test_a_store_finds_and_collects_its_garbage() -> None:
    store = fresh_memory("base")
    killed_before_the_manifest(store.space, "bad")
    assert store.find_garbage("") == []
    report = store.survey_garbage("")
    assert len(report.young) == 6
    found = store.find_garbage("", older_than_s=0)
    assert found == list(report.young)
    assert store.collect_garbage(found, dry_run=False) == {}
    assert list(store.list_keys()) == []


def test_reports_pickle(space: Space) -> None:
    killed_before_the_manifest(space, "bad")
    report = survey(space, "")
    assert pickle.loads(pickle.dumps(report)) == report


def test_roots_are_told_from_parts() -> None:
    assert is_root_key("a/manifest.jsonl")
    assert is_root_key("manifests/mine.jsonl")
    assert not is_root_key("a/manifests/part-20260101-000000-0123abcd.jsonl")
    assert not is_root_key("manifests/level12-20260101-000000-0123abcd.jsonl")
    assert not is_root_key("m/manifests/x.jsonl.parts/part-20260101-000000-000000-0123abcd.jsonl")
    assert not is_root_key("a/objects/loose-0123456789abcdef/data.jsonl")
    assert not is_root_key("a/manifest.json")


def test_unfinished_uploads_are_garbage_when_they_are_old(rclone_server: S3Server) -> None:
    from shardpack.storage.s3 import S3Store

    with closing(rclone_server.client()) as client:
        space = Space(S3Store(client, rclone_server.fresh_bucket(client)))
        assert garbage(space) == {}
        client.create_multipart_upload(Bucket=space.objects.bucket, Key="p/large")  # type: ignore[attr-defined]
        assert garbage(space, older_than_s=60) == {}
        assert garbage(space, "other") == {}
        found = find_garbage(space, "p", older_than_s=0)
        assert [(item.key, item.kind) for item in found] == [("p/large", "upload")]
        collect(space, found, dry_run=False)
        assert list(space.objects.iter_uploads()) == []


def test_files_of_killed_writers_are_garbage(tmp_path: Path) -> None:
    space = Space(FileStore(tmp_path))
    pack(space, items(), "p", max_entries=2)
    kept = {str(path) for path in tmp_path.rglob("*")}
    if (pid := os.fork()) == 0:
        writer = space.objects.writer("p/shards/shard-0123456789abcdef.tar")
        writer.write(b"x" * 1000)
        os._exit(0)
    os.waitpid(pid, 0)
    found = find_garbage(space, "", older_than_s=0)
    assert {item.kind for item in found} <= {"upload"}
    collect(space, found, dry_run=False)
    assert {str(path) for path in tmp_path.rglob("*")} == kept


def test_a_server_collects_like_a_memory(moto_server: S3Server) -> None:
    from shardpack.storage.s3 import S3Store

    with closing(moto_server.client()) as client:
        space = Space(S3Store(client, moto_server.fresh_bucket(client)))
        pack(space, items(word="good"), "good", max_entries=2)
        kept = keys(space)
        left = killed_before_the_manifest(space, "bad")
        assert set(garbage(space)) == left
        collect(space, find_garbage(space, "", older_than_s=0), dry_run=False)
        assert keys(space) == kept


def test_an_index_that_a_manifest_names_is_no_garbage(space: Space) -> None:
    put_archive(space, "named.tar.gz", items())
    space.objects.delete("named.tar.gz")
    assert garbage(space) == {"named.tar.gz.shardindex": "index"}
    overwrite(space, "m.jsonl", [{"kind": "file", "key": "named.tar.gz.shardindex"}])
    assert garbage(space) == {}


def test_a_file_called_like_the_end_of_an_index_stops_nothing(space: Space) -> None:
    left = killed_before_the_manifest(space, "bad")
    for key in (".shardindex", "bad/.shardindex"):
        space.objects.put(key, b"anything")
    assert set(garbage(space)) == left


def test_members_in_a_folder_with_a_hash_keep_their_archive(space: Space) -> None:
    pack(space, items(), "a#b/p")
    (entry,) = list(iter_entries(space, "a#b/p/manifest.jsonl"))
    archive = entry["archive_key"]  # type: ignore[typeddict-item]
    file: FileEntry = {"kind": "file", "key": f"{archive}#3", "member_path": "3"}
    overwrite(space, "a#b/p/manifest.jsonl", [file])
    assert set(garbage(space).values()) == {"part"}


@pytest.mark.parametrize("folder", ["far", "far/more"])
def test_a_manifest_of_another_name_keeps_shards_in_folders_of_another_name(
    space: Space, folder: str
) -> None:
    key = f"{folder}/shard-{'0' * 16}.tar"
    put_archive(space, key, items())
    assert set(garbage(space)) == {key, f"{key}.shardindex"}
    overwrite(space, "far/index.json", [{"kind": "shard", "archive_key": key}])
    assert garbage(space) == {}
