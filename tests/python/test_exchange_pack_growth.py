"""Packing a folder again that has grown or changed: what is new is sent, nothing comes twice."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from inputs import python_environment
from shardpack.errors import BulkError, S3ExchangeError
from shardpack.exchange import ExchangeStore
from shardpack.exchange.download.extract import extract
from shardpack.exchange.keys import Space
from shardpack.exchange.manifest.reading import iter_entries
from shardpack.exchange.manifest.rewrite import compact
from shardpack.exchange.packing.folder_scan import FolderScan
from shardpack.exchange.packing.jobs import Workplace
from shardpack.exchange.packing.pack import PackReport, pack
from shardpack.exchange.reading.pipeline import iter_objects
from shardpack.exchange.upkeep.gc import collect, find_garbage
from shardpack.exchange.upkeep.verify import verify
from shardpack.storage.file import FileStore
from shardpack.storage.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from shardpack.exchange.packing.folder_scan import FoundFile
    from shardpack.exchange.packing.jobs import Finished
    from shardpack.storage.base import ObjectInfo

MANIFEST = "p/manifest.jsonl"
_SECONDS = itertools.count(1)


@pytest.fixture
def space(request: pytest.FixtureRequest) -> Iterator[Space]:
    objects = MemoryStore(request.node.name.replace("/", "."))
    yield Space(objects)
    for info in list(objects.list()):
        objects.delete(info.key)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three small files."""
    for name in "bcd":
        write(tmp_path / "in", name)
    return tmp_path / "in"


def write(folder: Path, name: str, text: str | None = None) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes((text or f"the text of {name}").encode())
    # Clocks of file systems tick so slowly that a file can change and keep its time.
    time = next(_SECONDS) * 10**9
    os.utime(folder / name, ns=(time, time))


def read(space: Space, manifest: str = MANIFEST) -> list[bytes]:
    with iter_objects(space, manifest) as objects:
        return [body.read() for body, _ in objects]


def counts(report: PackReport) -> tuple[int, int, int, int]:
    return report.items, report.unchanged, report.replaced, report.added_entries


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def state(space: Space) -> dict[str, str | None]:
    return {info.key: info.etag for info in space.objects.list()}


def test_a_file_that_is_added_is_sent_alone(space: Space, folder: Path) -> None:
    first = pack(space, folder, "p")
    assert counts(first) == (3, 0, 0, 1)
    for name in "az":
        write(folder, name)
        report = pack(space, folder, "p")
        assert counts(report)[2:] == (0, 1)
        assert report.unchanged == report.items - 1
        assert report.bytes_in == sum(map(len, content(folder).values()))
    assert sorted(read(space)) == sorted(content(folder).values())
    assert verify(space, MANIFEST).members == 5
    assert list(find_garbage(space, "p", older_than_s=0)) == []
    before = state(space)
    report = pack(space, folder, "p")
    assert counts(report) == (5, 5, 0, 0)
    assert report.bytes_out == 0
    assert state(space) == before


def test_files_that_were_only_touched_stay_where_they_are(space: Space, folder: Path) -> None:
    pack(space, folder, "p")
    before = state(space)
    os.utime(folder / "c", ns=(5, 5))
    assert counts(pack(space, folder, "p")) == (3, 3, 0, 0)
    assert state(space) == before


@pytest.mark.parametrize("text", ["longer than it was before", "The Text Of c"])
def test_another_version_of_a_file_is_added_and_told(
    space: Space, folder: Path, tmp_path: Path, text: str
) -> None:
    pack(space, folder, "p")
    write(folder, "c", text)
    report = pack(space, folder, "p")
    assert counts(report) == (3, 2, 1, 1)
    assert len(read(space)) == 4
    assert read(space)[-1] == text.encode()
    assert counts(pack(space, folder, "p")) == (3, 3, 0, 0)
    # Only one version of each is left of a manifest that is written anew.
    again = pack(space, folder, "p", mode="overwrite")
    assert (again.unchanged, again.replaced) == (0, 0)
    assert sorted(read(space)) == sorted(content(folder).values())
    extract(space, MANIFEST, tmp_path / "out")
    assert content(tmp_path / "out") == content(folder)


def test_a_file_that_becomes_again_what_it_was_comes_last(space: Space, folder: Path) -> None:
    text, times = (folder / "c").read_bytes(), (folder / "c").stat().st_mtime_ns
    pack(space, folder, "p", max_entries=1)
    write(folder, "c", "something else")
    pack(space, folder, "p", max_entries=1)
    for _ in range(2):
        # Its time too, so that its shard has the name of the first one.
        (folder / "c").write_bytes(text)
        os.utime(folder / "c", ns=(times, times))
        report = pack(space, folder, "p", max_entries=1)
        assert counts(report) == (3, 2, 1, 1)
        assert report.bytes_in == sum(map(len, content(folder).values()))
        assert read(space)[-1] == text
        assert counts(pack(space, folder, "p", max_entries=1)) == (3, 3, 0, 0)
        write(folder, "c", f"other text, {_}")
        assert counts(pack(space, folder, "p", max_entries=1)) == (3, 2, 1, 1)
    keys = [str(entry.get("archive_key")) for entry in iter_entries(space, MANIFEST)]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("compression", [None, "gzip", "zstd", "s4", "xz"])
def test_shards_are_compared_however_they_were_made(
    space: Space, tmp_path: Path, compression: Any
) -> None:
    folder = tmp_path / "in"
    for number in range(20):
        write(folder, f"{number % 3}/{number:02d}", random.Random(number).randbytes(900).hex())
    pack(space, folder, "p", compression=compression, max_entries=6)
    write(folder, "0/000")
    # Every border between shards moves, and another plan is made.
    assert counts(pack(space, folder, "p", max_entries=5)) == (21, 20, 0, 1)
    assert sorted(read(space)) == sorted(content(folder).values())
    assert counts(pack(space, folder, "p", max_entries=4)) == (21, 21, 0, 0)


def test_large_files_of_their_own_are_compared_too(space: Space, folder: Path) -> None:
    write(folder, "large", "x" * 100)
    pack(space, folder, "p", loose_above=50)
    os.utime(folder / "large", ns=(5, 5))
    assert counts(pack(space, folder, "p", loose_above=50)) == (4, 4, 0, 0)
    assert counts(pack(space, folder, "p")) == (4, 4, 0, 0)
    write(folder, "large", "y" * 100)
    report = pack(space, folder, "p", loose_above=50)
    assert counts(report) == (4, 3, 1, 1)
    assert report.loose == 1
    assert counts(pack(space, folder, "p", loose_above=50)) == (4, 4, 0, 0)
    assert len(read(space)) == 5


def test_a_manifest_that_names_members_is_understood(space: Space, folder: Path) -> None:
    pack(space, folder, "p")
    ExchangeStore(space.objects).compact_manifest(MANIFEST, MANIFEST, expand_shards=True)
    write(folder, "e")
    assert counts(pack(space, folder, "p")) == (4, 3, 0, 1)
    assert sorted(read(space)) == sorted(content(folder).values())


def test_a_shard_that_is_named_by_all_its_members_is_not_named_once_more(space: Space) -> None:
    items: list[Any] = [{"member_path": name, "source": name.encode()} for name in "bcd"]
    store = ExchangeStore(space.objects)
    pack(space, items, "p")
    store.compact_manifest(MANIFEST, MANIFEST, expand_shards=True)
    assert pack(space, items, "p").added_entries == 0
    entries = list(iter_entries(space, MANIFEST))
    internal: Any = {**entries[0], "key": str(entries[0].get("key"))[:-1] + "__manifest__.jsonl"}
    for some in ([entries[0], *entries[:2]], [internal, *entries[:2]]):
        # One of them is missing.
        store.write_manifest(MANIFEST, some, mode="overwrite")
        assert pack(space, items, "p").added_entries == 1


def test_a_folded_manifest_is_understood(space: Space, folder: Path) -> None:
    pack(space, folder, "p")
    compact(space, MANIFEST, MANIFEST)
    write(folder, "e")
    assert counts(pack(space, folder, "p")) == (4, 3, 0, 1)


def test_other_data_sets_of_the_manifest_do_not_count(space: Space, folder: Path) -> None:
    pack(space, folder, "train", manifest_key="all.jsonl")
    report = pack(space, folder, "test", manifest_key="all.jsonl")
    assert counts(report) == (3, 0, 0, 1)
    assert len(read(space, "all.jsonl")) == 6


@pytest.mark.parametrize("lost", ["archive", "index", "bytes"])
def test_what_cannot_be_read_of_the_data_set_is_packed_again(
    space: Space, folder: Path, lost: str
) -> None:
    pack(space, folder, "p")
    (victim,) = (key for key in state(space) if key.endswith(".tar.gz"))
    write(folder, "e")
    if lost == "bytes":
        space.objects.put(victim, space.objects.read(victim)[:-40])
    else:
        space.objects.delete(victim + (".shardindex" if lost == "index" else ""))
    report = pack(space, folder, "p")
    # Without an index the archive itself tells.
    assert report.unchanged == (3 if lost == "index" else 0)
    assert report.items == 4


def test_an_archive_of_the_right_size_with_other_bytes_does_not_have_its_files(
    space: Space, folder: Path
) -> None:
    pack(space, folder, "p")
    (victim,) = (key for key in state(space) if key.endswith(".tar.gz"))
    data = space.objects.read(victim)
    space.objects.put(victim, data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    write(folder, "e")
    assert counts(pack(space, folder, "p")) == (4, 0, 0, 1)


def test_an_archive_that_was_copied_with_its_index_still_has_its_files(
    space: Space, folder: Path
) -> None:
    pack(space, folder, "p")
    (victim,) = (key for key in state(space) if key.endswith(".tar.gz"))
    before = space.objects.head(victim).etag
    space.objects.put(victim, space.objects.read(victim))
    assert space.objects.head(victim).etag != before
    write(folder, "e")
    assert counts(pack(space, folder, "p")) == (4, 3, 0, 1)


@pytest.mark.parametrize("damage", ["gone", "short", "other", "same"])
def test_objects_of_large_files_are_looked_for(space: Space, folder: Path, damage: str) -> None:
    write(folder, "large", "x" * 100)
    pack(space, folder, "p", loose_above=50)
    (victim,) = (key for key in state(space) if "/objects/" in key)
    if damage == "gone":
        space.objects.delete(victim)
    else:
        data = {"short": b"x" * 99, "other": b"y" * 100, "same": b"x" * 100}[damage]
        space.objects.put(victim, data)
    # Its object would have another name now.
    os.utime(folder / "large", ns=(5, 5))
    report = pack(space, folder, "p", loose_above=50)
    if damage == "same":
        assert counts(report) == (4, 4, 0, 0)
    else:
        assert (report.unchanged, report.added_entries) == (3, 1)
        assert b"x" * 100 in [space.objects.read(key) for key in state(space) if "/obj" in key]


@pytest.mark.parametrize("lost", ["archive", "bytes", "nothing"])
def test_members_that_a_manifest_names_are_looked_for(
    space: Space, folder: Path, lost: str
) -> None:
    pack(space, folder, "p")
    ExchangeStore(space.objects).compact_manifest(MANIFEST, MANIFEST, expand_shards=True)
    (victim,) = (key for key in state(space) if key.endswith(".tar.gz"))
    if lost == "archive":
        space.objects.delete(victim)
    elif lost == "bytes":
        space.objects.put(victim, space.objects.read(victim)[:-40])
    write(folder, "e")
    expected = (4, 3, 0, 1) if lost == "nothing" else (4, 0, 0, 1)
    assert counts(pack(space, folder, "p")) == expected


def test_members_that_a_manifest_does_not_name_are_none_of_the_data_set(
    space: Space, folder: Path
) -> None:
    pack(space, folder, "p")
    ExchangeStore(space.objects).compact_manifest(MANIFEST, MANIFEST, expand_shards=True)
    kept = [entry for entry in iter_entries(space, MANIFEST) if not str(entry).count("#c")]
    assert len(kept) == 2
    ExchangeStore(space.objects).write_manifest(MANIFEST, kept, mode="overwrite")
    assert counts(pack(space, folder, "p", max_entries=2)) == (3, 2, 0, 1)
    assert sorted(read(space)) == sorted(content(folder).values())


@pytest.mark.parametrize("what", ["overwritten", "removed", "expanded"])
def test_a_manifest_that_loses_what_was_relied_on_is_told(
    space: Space, folder: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    pack(space, folder, "p")
    write(folder, "e")
    store = ExchangeStore(space.objects)

    def meanwhile(workplace: Workplace, reused: Sequence[Finished]) -> None:
        """Another process does so after the comparison, before the manifest is written."""
        if what == "overwritten":
            store.write_manifest(MANIFEST, [], mode="overwrite")
        elif what == "removed":
            space.objects.delete(MANIFEST)
        else:
            store.compact_manifest(MANIFEST, MANIFEST, expand_shards=True)
        original(workplace, reused)

    original = Workplace.require_present
    with monkeypatch.context() as patch:
        patch.setattr(Workplace, "require_present", meanwhile)
        if what == "expanded":
            assert counts(pack(space, folder, "p")) == (4, 3, 0, 1)
        else:
            with pytest.raises(S3ExchangeError, match="run it again"):
                pack(space, folder, "p")
    pack(space, folder, "p")
    assert sorted(read(space)) == sorted(content(folder).values())


def test_a_path_that_two_looks_at_a_folder_gave_twice_is_told(
    space: Space, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(space, folder, "p", max_entries=1)
    write(folder, "e")

    class Watched(FolderScan):
        """A file that is moved about while it is looked for."""

        def __iter__(self) -> Iterator[FoundFile]:
            for file in super().__iter__():
                yield from [file, file] if file.member_path == "e" else [file]

    monkeypatch.setattr("shardpack.exchange.packing.pack.FolderScan", Watched)
    # Not in one job of the whole plan, but in one of what is new.
    with pytest.raises(BulkError, match="there twice"):
        pack(space, folder, "p", max_entries=4)


def test_an_interrupted_addition_is_finished_by_the_next(folder: Path, tmp_path: Path) -> None:
    class Broken(FileStore):
        """Full when the manifest is to be written."""

        def put(self, key: str, *args: Any, **options: Any) -> ObjectInfo:
            if "manifest" in key:
                raise OSError(28, "No space left on device", key)
            return super().put(key, *args, **options)

    store = tmp_path / "store"
    space = Space(FileStore(store))
    pack(space, folder, "p")
    for number in range(7):
        write(folder, f"new {number}")
    with pytest.raises(OSError, match="No space"):
        pack(Space(Broken(store)), folder, "p", max_entries=3)
    sent = state(space)
    report = pack(space, folder, "p", max_entries=3)
    assert counts(report) == (10, 3, 0, 3)
    # That of the first run is one of this plan, too.
    assert (report.skipped, report.bytes_out) == (4, 0)
    assert sent.items() <= {**state(space), MANIFEST: sent[MANIFEST]}.items()
    assert sorted(read(space)) == sorted(content(folder).values())


def test_what_cannot_be_compared_is_told_with_all_that_cannot_be_packed(
    space: Space, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(space, folder, "p")
    before = state(space)
    write(folder, "e")
    looks: list[str] = []

    class Watched(FolderScan):
        """Somebody removes a file that the second look found, and that is not read yet."""

        def __iter__(self) -> Iterator[FoundFile]:
            looks.append(self.folder)
            for file in super().__iter__():
                if len(looks) == 2 and file.member_path == "e":
                    (folder / "c").unlink()
                yield file

    monkeypatch.setattr("shardpack.exchange.packing.pack.FolderScan", Watched)
    with pytest.raises(BulkError, match="the source is gone") as caught:
        pack(space, folder, "p")
    assert list(caught.value.failures) == ["c"]
    assert state(space) == before


def test_progress_reaches_the_sum_when_most_is_there(space: Space, folder: Path) -> None:
    pack(space, folder, "p")
    write(folder, "e")
    done: list[int] = []
    report = pack(space, folder, "p", progress=done.append)
    assert done[-1] == report.bytes_in == sum(map(len, content(folder).values()))
    assert done == sorted(done)


def test_a_folder_that_changes_between_two_looks_is_compared_with_all_shards(
    space: Space, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(space, folder, "p")
    looks: list[str] = []

    class Watched(FolderScan):
        """Somebody writes when the second look begins."""

        def __iter__(self) -> Iterator[FoundFile]:
            looks.append(self.folder)
            if len(looks) == 2:
                write(folder, "e")
            return super().__iter__()

    monkeypatch.setattr("shardpack.exchange.packing.pack.FolderScan", Watched)
    assert counts(pack(space, folder, "p")) == (4, 3, 0, 1)
    assert len(looks) == 2
    assert sorted(read(space)) == sorted(content(folder).values())


@pytest.mark.parametrize("loose_above", [None, 50])
def test_a_data_set_is_known_with_and_without_a_base_prefix(
    space: Space, folder: Path, loose_above: int | None
) -> None:
    write(folder, "large", "x" * 100)
    pack(space, folder, "base/p", loose_above=loose_above)
    inside = Space(space.objects, "base")
    assert counts(pack(inside, folder, "p", loose_above=loose_above)) == (4, 4, 0, 0)
    write(folder, "e")
    assert counts(pack(inside, folder, "p", loose_above=loose_above)) == (5, 4, 0, 1)
    assert sorted(read(inside)) == sorted(content(folder).values())
    items: list[Any] = [{"member_path": "a", "source": b"item"}]
    pack(space, items, "base/p")
    assert pack(inside, items, "p").added_entries == 0


def test_keys_that_lead_elsewhere_are_none_of_the_data_set(space: Space, folder: Path) -> None:
    lines = [
        {"kind": "file", "key": "p/../q"},
        {"kind": "shard", "archive_key": "p/shards/../../x.tar", "format": "tar"},
        {"kind": "shard", "archive_key": "p/shards/y.tar", "index_key": "../../y"},
        {"kind": "file", "key": "p/objects/"},
        {"kind": "file", "key": "p/objects/loose-2/b", "size_bytes": 10, "meta": ["b"]},
        {"kind": "file", "key": "p/shards/a.tar#../b", "size_bytes": True, "blake3": 5},
        {"kind": "file", "key": "p/objects/loose-1/b", "size_bytes": 10, "meta": {"path": ["b"]}},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    space.objects.put(MANIFEST, text.encode())
    assert counts(pack(space, folder, "p")) == (3, 0, 0, 1)
    assert counts(pack(space, folder, "p")) == (3, 3, 0, 0)


# Dies at the given write of the store, like a process that is killed.
_KILLED = """
import os, signal, sys
from shardpack.exchange.keys import Space
from shardpack.exchange.packing.pack import pack
from shardpack.storage.file import FileStore

class Deadly(FileStore):
    left = int(sys.argv[3])

    def count(self):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

    def put(self, *args, **options):
        self.count()
        return super().put(*args, **options)

    def writer(self, *args, **options):
        self.count()
        return super().writer(*args, **options)

pack(Space(Deadly(sys.argv[1])), sys.argv[2], "p", max_entries=3, concurrency=1)
"""


@pytest.mark.timeout(120)
def test_an_addition_that_is_killed_at_any_write_is_finished_by_the_next(
    folder: Path, tmp_path: Path
) -> None:
    pack(Space(FileStore(tmp_path / "first")), folder, "p", max_entries=3)
    for number in range(5):
        write(folder, f"a{number}")
    write(folder, "c", "another version")
    status = -signal.SIGKILL
    deaths = 0
    while status:
        store = tmp_path / f"store-{deaths}"
        shutil.copytree(tmp_path / "first", store)
        arguments = [str(store), str(folder), str(deaths + 1)]
        status = subprocess.run(
            [sys.executable, "-c", _KILLED, *arguments], env=python_environment(None), check=False
        ).returncode
        assert status in {0, -signal.SIGKILL}
        space = Space(FileStore(store))
        sent = {info.key for info in space.objects.list() if info.key.endswith(".shardindex")}
        report = pack(space, folder, "p", max_entries=3, abandoned_after_s=0)
        # 2 shards of new files and the version; the one of the first run is of another plan.
        assert (report.items, report.unchanged) in {(8, 2), (8, 8)}
        # Once all is named, the first new one turns out to be one of the whole plan.
        assert report.skipped == (len(sent) - 1 if report.unchanged == 2 else 1)
        # The older version of the one file, too.
        assert len(read(space)) == 9
        assert set(read(space)) >= set(content(folder).values())
        collect(space, find_garbage(space, "p", older_than_s=0), dry_run=False)
        assert verify(space, MANIFEST).findings == ()
        assert counts(pack(space, folder, "p", max_entries=3)) == (8, 8, 0, 0)
        deaths += status != 0
    assert deaths > 4
