"""Packing folders and streams: what arrives, what is sent again, and what a killed run leaves."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from inputs import KIB, MIB, make, python_environment, run_python
from servers import moto_server, rclone_server
from shardpack.errors import (
    BulkError,
    ConcurrencyUnsupportedError,
    S3ExchangeError,
    StorageUnavailableError,
)
from shardpack.exchange.download.extract import extract
from shardpack.exchange.keys import Space
from shardpack.exchange.manifest.reading import iter_entries
from shardpack.exchange.packing.folder_scan import LeftOut
from shardpack.exchange.packing.pack import pack
from shardpack.exchange.upkeep.gc import collect, find_garbage
from shardpack.exchange.upkeep.verify import verify
from shardpack.storage.file import FileStore
from shardpack.storage.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import S3Server
    from shardpack.storage.base import ObjectInfo, ObjectStore

__all__ = ["moto_server", "rclone_server"]


@pytest.fixture
def space(request: pytest.FixtureRequest) -> Iterator[Space]:
    objects = MemoryStore(request.node.name.replace("/", "."))
    yield Space(objects)
    for info in list(objects.list()):
        objects.delete(info.key)


def fill(folder: Path, count: int = 40, size: int = 5000) -> dict[str, bytes]:
    """Files in some folders; gives their content by path."""
    made = {}
    for n in range(count):
        path = f"{n % 3}/{n % 7}/file {n:03d}.bin"
        made[path] = random.Random(n).randbytes(size + n)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(made[path])
    return made


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def keys(space: Space, prefix: str = "") -> list[str]:
    return [info.key for info in space.objects.list(prefix)]


def archives(space: Space, prefix: str = "") -> dict[str, ObjectInfo]:
    return {info.key: info for info in space.objects.list(prefix) if info.key.endswith(".tar.gz")}


def items(count: int, size: int = 100) -> list[Any]:
    return [
        {"member_path": f"{n:05d}", "source": make("lines", size, str(n)), "id": f"i{n}"}
        for n in range(count)
    ]


@pytest.mark.parametrize("compression", [None, "gzip", "zstd", "s4", "xz"])
def test_what_is_packed_comes_out_again(space: Space, tmp_path: Path, compression: Any) -> None:
    made = fill(tmp_path / "in")
    report = pack(
        space, tmp_path / "in", "data/set", compression=compression, max_entries=7, loose_above=5035
    )
    assert (report.items, report.shards, report.loose, report.skipped) == (40, 6, 4, 0)
    assert report.bytes_in == sum(map(len, made.values()))
    assert verify(space, report.manifest_key).findings == ()
    done = extract(space, report.manifest_key, tmp_path / "out")
    assert (done.files, done.bytes) == (40, report.bytes_in)
    assert content(tmp_path / "out") == made


def test_the_manifest_names_files_in_the_order_of_their_paths(space: Space, tmp_path: Path) -> None:
    made = fill(tmp_path)
    report = pack(space, tmp_path, "p", max_entries=4, concurrency=4, compression=None)
    paths = []
    for entry in iter_entries(space, report.manifest_key):
        assert entry["kind"] == "shard"
        tar = space.objects.read(entry["archive_key"])
        first = tar[512 : tar.index(b"\0", 512)]
        paths += [json.loads(line)["member_path"] for line in first.splitlines()]
    assert paths == sorted(made, key=str.encode)


def test_a_second_run_sends_nothing_and_names_nothing_twice(space: Space, tmp_path: Path) -> None:
    fill(tmp_path)
    first = pack(space, tmp_path, "p", max_entries=7, loose_above=5035)
    before = {info.key: info.etag for info in space.objects.list()}
    second = pack(space, tmp_path, "p", max_entries=7, loose_above=5035)
    assert (second.bytes_out, second.skipped, second.added_entries) == (0, 10, 0)
    assert (second.items, second.bytes_in) == (first.items, first.bytes_in)
    assert {info.key: info.etag for info in space.objects.list()} == before


def test_new_files_are_added_beside_the_old_ones(space: Space, tmp_path: Path) -> None:
    fill(tmp_path)
    pack(space, tmp_path, "p", max_entries=10)
    (tmp_path / "zzz").write_bytes(b"later")
    report = pack(space, tmp_path, "p", max_entries=10)
    assert (report.skipped, report.added_entries) == (4, 1)
    names = [str(entry.get("archive_key")) for entry in iter_entries(space, "p/manifest.jsonl")]
    assert len(names) == len(set(names)) == 5


def test_other_runs_never_overwrite_shards(space: Space) -> None:
    one = pack(space, items(10), "p", max_entries=5)
    other = pack(space, items(10, size=101), "p", max_entries=5)
    assert (one.shards, other.shards, other.skipped) == (2, 2, 0)
    assert verify(space, "p/manifest.jsonl").members == 20
    assert len(archives(space)) == 4


def test_overwrite_replaces_the_manifest_also_by_an_empty_one(space: Space, tmp_path: Path) -> None:
    pack(space, items(10), "p", max_entries=5)
    report = pack(space, items(3), "p", mode="overwrite")
    assert report.added_entries == 1
    assert [entry["count"] for entry in iter_entries(space, "p/manifest.jsonl")] == [3]  # type: ignore[typeddict-item]
    (tmp_path / "empty").mkdir()
    pack(space, tmp_path / "empty", "p", mode="overwrite")
    assert list(iter_entries(space, "p/manifest.jsonl")) == []


def test_an_interrupted_last_step_is_done_once(space: Space) -> None:
    plan = items(10)
    pack(space, plan, "p", max_entries=3)
    expected = list(iter_entries(space, "p/manifest.jsonl"))
    # As if killed right before the manifest was written.
    for key in keys(space):
        if key.endswith(".jsonl"):
            space.objects.delete(key)
    report = pack(space, plan, "p", max_entries=3)
    assert (report.bytes_out, report.added_entries) == (0, 4)
    assert list(iter_entries(space, "p/manifest.jsonl")) == expected


@pytest.mark.parametrize("lost", ["archive", "index", "other archive"])
def test_a_shard_that_is_not_complete_is_sent_again(space: Space, lost: str) -> None:
    plan = items(10)
    pack(space, plan, "p", max_entries=5)
    victim = min(archives(space))
    if lost == "other archive":
        space.objects.put(victim, space.objects.read(victim)[:-1] + b"x")
    else:
        space.objects.delete(victim + (".shardindex" if lost == "index" else ""))
    report = pack(space, plan, "p", max_entries=5)
    assert (report.skipped, report.added_entries) == (1, 0)
    entries = [dict(entry) for entry in iter_entries(space, "p/manifest.jsonl")]
    assert len(entries) == 2
    blake3 = {finding.problem for finding in verify(space, "p/manifest.jsonl").findings}
    # The bytes are the same again; this store gives every version another tag.
    assert blake3 <= {"etag"}


def test_without_resume_everything_is_sent(space: Space) -> None:
    pack(space, items(10), "p", max_entries=5)
    report = pack(space, items(10), "p", max_entries=5, resume=False)
    assert report.skipped == 0
    assert report.bytes_out > 0


def test_what_is_sent_again_is_not_named_again(space: Space) -> None:
    first = pack(space, items(10), "p", max_entries=5)
    expected = list(iter_entries(space, "p/manifest.jsonl"))
    report = pack(space, items(10), "p", max_entries=5, resume=False)
    assert (first.added_entries, report.added_entries) == (2, 0)
    for key in archives(space):
        space.objects.delete(key)
    assert pack(space, items(10), "p", max_entries=5).added_entries == 0
    assert list(iter_entries(space, "p/manifest.jsonl")) == expected


@pytest.mark.parametrize("append", ["conditional", "listed", "single-writer"])
def test_an_empty_folder_has_an_empty_manifest(space: Space, tmp_path: Path, append: Any) -> None:
    report = pack(space, tmp_path, "p", append=append)
    assert (report.items, report.added_entries) == (0, 0)
    assert list(iter_entries(space, report.manifest_key)) == []
    # One that is there stays as it is.
    pack(space, items(3), "p", append=append)
    expected = list(iter_entries(space, "p/manifest.jsonl"))
    pack(space, tmp_path, "p", append=append)
    assert list(iter_entries(space, "p/manifest.jsonl")) == expected
    assert len(expected) == 1


def test_a_shard_that_goes_while_the_manifest_is_written_is_missed(space: Space) -> None:
    assert isinstance(space.objects, MemoryStore)
    pack(space, items(10), "p", max_entries=5)
    victim = min(archives(space))
    space.objects.delete("p/manifest.jsonl")

    class Collected(MemoryStore):
        """Another program takes a shard away at the last moment."""

        def put(self, key: str, *args: Any, **options: Any) -> ObjectInfo:
            if key == "p/manifest.jsonl":
                super().delete(victim)
            return super().put(key, *args, **options)

    with pytest.raises(S3ExchangeError, match="run it again"):
        pack(Space(Collected(space.objects.name)), items(10), "p", max_entries=5)
    report = pack(space, items(10), "p", max_entries=5)
    assert (report.skipped, report.added_entries) == (1, 0)
    assert verify(space, "p/manifest.jsonl").members == 10


def test_a_manifest_is_called_so_that_others_find_it(space: Space) -> None:
    with pytest.raises(ValueError, match=r"must end in \.jsonl"):
        pack(space, items(3), "p", manifest_key="p/manifest")
    assert keys(space) == []


def test_links_and_pipes_are_told_about(space: Space, tmp_path: Path) -> None:
    fill(tmp_path, 3)
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    report = pack(space, tmp_path, "p")
    assert report.items == 3
    assert tuple(sorted(report.left_out)) == (
        LeftOut("link", "symlink"),
        LeftOut("pipe", "special"),
    )


def test_globs_choose_what_is_packed(space: Space, tmp_path: Path) -> None:
    fill(tmp_path)
    assert pack(space, tmp_path, "p", include=["*9.bin"], exclude=["0"]).items == 2


def changing(folder: Path, victims: list[str]) -> Any:
    """A callback that changes files once the first bytes were packed."""

    def change(done: int) -> None:
        for victim in victims if done else []:
            with open(folder / victim, "ab") as file:
                file.write(b"more")
        if done:
            victims.clear()

    return change


def test_files_that_change_meanwhile_are_all_named_and_nothing_refers_to_the_rest(
    space: Space, tmp_path: Path
) -> None:
    # In one folder: what lies in another one is looked at only when its turn comes.
    for n in range(40):
        (tmp_path / f"{n:02d}").write_bytes(make("noise", 1000 + n))
    victims = ["20", "39"]
    with pytest.raises(BulkError, match="2 of the files cannot be packed") as caught:
        pack(
            space,
            tmp_path,
            "p",
            max_entries=1,
            concurrency=1,
            progress=changing(tmp_path, list(victims)),
        )
    assert sorted(caught.value.failures) == victims
    assert all("changed" in reason for reason in caught.value.failures.values())
    # All others arrived; run again, the changed ones go too.
    assert len(archives(space)) == 38
    assert not any(key.endswith(".jsonl") for key in keys(space))
    report = pack(space, tmp_path, "p", max_entries=1)
    assert (report.skipped, report.items) == (38, 40)
    assert verify(space, "p/manifest.jsonl").findings == ()


def test_paths_that_no_archive_may_have_are_named(space: Space, tmp_path: Path) -> None:
    fill(tmp_path, 3)
    (tmp_path / os.fsdecode(b"not \xff utf-8")).write_bytes(b"")
    (tmp_path / "C:x").write_bytes(b"")
    with pytest.raises(BulkError) as caught:
        pack(space, tmp_path, "p")
    assert len(caught.value.failures) == 2


def test_hostile_items_fail_the_run(space: Space) -> None:
    bad = ["/etc/passwd", "../x", "a/../../x", "__manifest__.jsonl"]
    plan = [*items(3), *({"member_path": path, "source": b""} for path in bad)]
    with pytest.raises(BulkError) as caught:
        pack(space, plan, "p")
    assert list(caught.value.failures) == bad
    assert not any(key.endswith(".jsonl") for key in keys(space))


class Failing(MemoryStore):
    """Refuses the third archive."""

    def put(self, key: str, data: Any, **options: Any) -> ObjectInfo:
        if key.endswith(".tar.gz") and len(archives(Space(self))) == 2:
            raise StorageUnavailableError("no more", key=key)
        return super().put(key, data, **options)


def test_a_store_that_fails_stops_the_run() -> None:
    taken = 0

    def stream() -> Iterator[Any]:
        nonlocal taken
        for item in items(1000):
            taken += 1
            yield item

    with pytest.raises(StorageUnavailableError, match="no more"):
        pack(Space(Failing("failing")), stream(), "p", max_entries=2, concurrency=2)
    assert taken < 50


def test_an_interrupt_stops_the_run(space: Space) -> None:
    def interrupt(_done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(space, items(100), "p", max_entries=2, progress=interrupt)


def test_progress_reaches_the_sum_also_when_shards_are_there_already(space: Space) -> None:
    for _ in range(2):
        told: list[int] = []
        report = pack(space, items(30), "p", max_entries=4, progress=told.append)
        assert told == sorted(told)
        assert told[-1] == report.bytes_in


def test_a_stream_is_taken_as_it_is_needed(space: Space) -> None:
    taken = 0
    most_ahead = 0

    def stream() -> Iterator[Any]:
        nonlocal taken, most_ahead
        for item in items(300):
            taken += 1
            most_ahead = max(most_ahead, taken - 10 * len(archives(space)))
            yield item

    pack(space, stream(), "p", max_entries=10, concurrency=2)
    assert most_ahead <= 60


def test_bytes_and_files_and_streams_mix(space: Space, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")
    plan: list[Any] = [
        {"member_path": "a", "source": b"bytes", "meta": {"k": [1]}},
        {"member_path": "b", "source": str(tmp_path / "file"), "content_type": "text/plain"},
        {"member_path": "c", "source": iter([b"from ", b"a stream"])},
    ]
    report = pack(space, iter(plan), "p", loose_above=11)
    extract(space, report.manifest_key, tmp_path / "out")
    assert content(tmp_path / "out") == {
        "a": b"bytes",
        "b": b"from a file",
        "c": b"from a stream",
    }


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "append"},
        {"max_entries": 0},
        {"max_bytes": 0},
        {"compression": "zip"},
        {"internal_manifest_path": "/m"},
        {"concurrency": 0},
    ],
)
def test_options_that_make_no_sense_are_refused(space: Space, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        pack(space, items(1), "p", **options)
    assert keys(space) == []


def test_a_store_that_cannot_append_is_told_before_anything_is_sent(
    rclone_server: S3Server, tmp_path: Path
) -> None:
    from shardpack.storage.s3 import S3Store

    fill(tmp_path)
    with closing(rclone_server.client()) as client:
        space = Space(S3Store(client, rclone_server.fresh_bucket(client)))
        with pytest.raises(ConcurrencyUnsupportedError):
            pack(space, tmp_path, "p")
        assert not any("shard-" in key for key in keys(space))
        for append in ("single-writer", "listed"):
            report = pack(space, tmp_path, append, append=append, max_entries=9)
            assert verify(space, report.manifest_key).findings == ()
            again = pack(space, tmp_path, append, append=append, max_entries=9)
            assert (again.bytes_out, again.added_entries) == (0, 0)


def test_old_unfinished_uploads_of_shards_are_removed_and_no_others(
    rclone_server: S3Server,
) -> None:
    from shardpack.storage.s3 import S3Store

    # Not moto: there all uploads were begun in the year 2010.
    with closing(rclone_server.client()) as client:
        store = S3Store(client, rclone_server.fresh_bucket(client))
        ours, foreign = "p/shards/shard-0123456789abcdef.tar.gz", "p/shards/film.mp4"
        for key in (ours, foreign):
            client.create_multipart_upload(Bucket=store.bucket, Key=key)
        options: Any = {"append": "single-writer"}
        assert pack(Space(store), items(3), "p", **options).aborted_uploads == 0
        report = pack(Space(store), items(3), "p", abandoned_after_s=0, **options)
        assert report.aborted_uploads == 1
        assert [upload.key for upload in store.iter_uploads()] == [foreign]


# --- killed -----------------------------------------------------------------------------------

_CHILD = """
import sys
from shardpack.exchange.keys import Space
from shardpack.exchange.packing.pack import pack
from shardpack.storage import open_store

url, folder, prefix, options = sys.argv[1], sys.argv[2], sys.argv[3], eval(sys.argv[4])
store, _ = open_store(url, **options)
print("ready", flush=True)
pack(Space(store), folder, prefix, max_entries=8, max_bytes=12 << 20, concurrency=3)
print("done", flush=True)
"""


def start_pack(
    url: str, folder: Path, prefix: str, options: dict[str, Any], environment: dict[str, str]
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD, url, str(folder), prefix, repr(options)],
        env=python_environment(environment),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def names_of_shards(space: Space, prefix: str) -> list[str]:
    entries = iter_entries(space, f"{prefix}/manifest.jsonl")
    return [str(entry.get("archive_key")).rpartition("/")[2] for entry in entries]


def wait_until_settled(store: ObjectStore, prefix: str) -> None:
    """Wait for requests that arrived before their sender was killed: a server still does them."""
    alike = 0
    seen: object = None
    while alike < 3:
        time.sleep(0.1)
        uploads = [upload.upload_id for upload in store.iter_uploads(prefix)]
        now = (sorted((info.key, info.etag) for info in store.list(prefix)), uploads)
        alike = alike + 1 if now == seen else 0
        seen = now


def survive_kills(
    store: ObjectStore,
    folder: Path,
    url: str,
    options: dict[str, Any],
    environment: dict[str, str],
    kills: int,
) -> None:
    space = Space(store)
    start = time.monotonic()
    with start_pack(url, folder, "whole", options, environment) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "done\n"
    duration = time.monotonic() - start
    expected = names_of_shards(space, "whole")
    moments = random.Random(url + folder.name)
    for turn in range(kills):
        prefix = f"killed-{turn}"
        with start_pack(url, folder, prefix, options, environment) as process:
            time.sleep(moments.uniform(0, duration))
            process.send_signal(signal.SIGKILL)
        wait_until_settled(store, prefix)
        if store.exists(f"{prefix}/manifest.jsonl"):
            assert verify(space, f"{prefix}/manifest.jsonl").findings == ()
        before = archives(space, f"{prefix}/")
        indexes = set(keys(space, f"{prefix}/"))
        complete = {key: info for key, info in before.items() if f"{key}.shardindex" in indexes}

        report = pack(space, folder, prefix, max_entries=8, max_bytes=12 * MIB, abandoned_after_s=0)
        after = archives(space, f"{prefix}/")
        assert {key: after[key].last_modified for key in complete} == {
            key: info.last_modified for key, info in complete.items()
        }
        sent = sum(info.size for key, info in after.items() if key not in complete)
        assert (report.bytes_out, report.skipped) == (sent, len(complete))
        assert names_of_shards(space, prefix) == expected
        garbage = find_garbage(space, prefix, older_than_s=0)
        # A part whose run was killed before the root named it.
        assert {item.kind for item in garbage} <= {"part", "upload"}
        assert collect(space, garbage, dry_run=False) == {}
        assert verify(space, f"{prefix}/manifest.jsonl").findings == ()
        assert find_garbage(space, prefix, older_than_s=0) == []


@pytest.mark.timeout(120)
def test_a_run_that_is_killed_at_any_moment_is_finished_by_the_next(tmp_path: Path) -> None:
    fill(tmp_path / "in", 300, 20 * KIB)
    store = FileStore(tmp_path / "store")
    survive_kills(store, tmp_path / "in", store.url, {}, {}, kills=6)


@pytest.mark.timeout(120)
def test_a_run_that_is_killed_in_the_middle_of_uploads_is_finished_by_the_next(
    moto_server: S3Server, tmp_path: Path
) -> None:
    from shardpack.storage.s3 import S3Store

    fill(tmp_path / "in", 14, 2 * MIB)
    with closing(moto_server.client()) as client:
        store = S3Store(client, moto_server.fresh_bucket(client), part_size=5 * MIB)
        options = {"endpoint_url": moto_server.endpoint_url, "part_size": 5 * MIB}
        environment = moto_server.environment()
        survive_kills(store, tmp_path / "in", store.url, options, environment, kills=4)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_stream() -> None:
    grown = run_python(
        """
import resource, tempfile
from shardpack.exchange.keys import Space
from shardpack.exchange.packing.pack import pack
from shardpack.storage.file import FileStore

def items(count):
    block = bytes(range(256)) * 4096
    for n in range(count):
        yield {"member_path": f"{n}", "source": n.to_bytes(4, "big") + block}

with tempfile.TemporaryDirectory() as folder:
    space = Space(FileStore(folder))
    pack(space, items(100), "warm", max_bytes=30 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pack(space, items(300), "large", max_bytes=30 << 20)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    )
    assert int(grown) < 48 << 10
