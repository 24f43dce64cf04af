"""What only stores on files do: links, leftovers, full disks, killed writers."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inputs import MIB, make, python_environment, run_python
from shardpack.errors import (
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageError,
)
from shardpack.storage import FileStore, ObjectInfo, Upload
from shardpack.storage.file_metadata import metadata_name

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = make("noise", 10_000)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "root")


def files_below(folder: str | Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for path in Path(folder).rglob("*") if not path.is_dir()
    )


def folders_below(folder: str | Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_dir()
    )


def test_an_object_is_the_file_of_its_key_and_nothing_else(store: FileStore) -> None:
    store.put("a/b", DATA)
    assert (Path(store.root) / "a" / "b").read_bytes() == DATA
    assert files_below(store.root) == ["a/b"]
    store.put("a/b", DATA, metadata={"x": "y"})
    assert files_below(store.root) == ["a/.b.shardmeta", "a/b"]
    assert [info.key for info in store.list()] == ["a/b"]
    store.put("a/b", DATA)
    assert files_below(store.root) == ["a/b"]


def test_files_of_other_programs_are_objects(store: FileStore) -> None:
    path = Path(store.root) / "made" / "elsewhere"
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    info = store.head("made/elsewhere")
    assert info.size == len(DATA)
    assert info.metadata == {}
    assert [one.key for one in store.list()] == ["made/elsewhere"]
    path.write_bytes(DATA + b"more")
    assert store.head("made/elsewhere").etag != info.etag
    with pytest.raises(PreconditionFailedError):
        store.put("made/elsewhere", b"", if_match=info.etag)


def test_metadata_of_a_file_that_others_replaced_is_not_told(store: FileStore) -> None:
    store.put("object", DATA, metadata={"x": "y"})
    path = Path(store.root) / "object"
    other = path.with_name("other")
    other.write_bytes(DATA)
    other.rename(path)
    assert store.head("object").metadata == {}
    store.put("object", DATA, metadata={"a": "b"})
    assert store.head("object").metadata == {"a": "b"}


def test_metadata_of_a_damaged_hidden_file_is_an_error(store: FileStore) -> None:
    store.put("object", DATA, metadata={"x": "y"})
    for text in ["", "no json\n", "[]\n", '{"etag": 5}\n']:
        (Path(store.root) / ".object.shardmeta").write_text(text)
        if not text:
            assert store.head("object").metadata == {}
            continue
        with pytest.raises(StorageError, match="damaged metadata"):
            store.head("object")
        assert store.read("object") == DATA


def test_deleting_removes_metadata_and_empty_folders(store: FileStore) -> None:
    store.put("a/b/c/d", DATA, metadata={"x": "y"})
    store.put("a/e", DATA)
    store.delete("a/b/c/d")
    assert files_below(store.root) == ["a/e"]
    assert folders_below(store.root) == ["a"]
    store.delete("a/e")
    assert Path(store.root).is_dir()
    assert os.listdir(store.root) == []
    store.delete("a/e")
    FileStore(Path(store.root) / "not there").delete("a")


def test_names_of_the_store_itself_are_no_keys(store: FileStore) -> None:
    for key in [".x.shardmeta", "a/.x.shardmeta", ".x.0123456789ab.tmp", "a/.x.shardmeta/b"]:
        calls: list[Callable[[str], object]] = [
            lambda key: store.put(key, DATA),
            store.read,
            store.delete,
        ]
        for call in calls:
            with pytest.raises(StorageError, match="use themselves"):
                call(key)
    for key in ["a//b", "a/", "a/b//"]:
        with pytest.raises(StorageError, match="empty part"):
            store.put(key, DATA)
    for key in [".shardmeta", ".x.tmp", "x.shardmeta", ".x.0123456789AB.tmp"]:
        store.put(key, DATA)
        assert store.read(key) == DATA
    assert len(list(store.list())) == 4


def test_long_names_have_metadata_too(store: FileStore) -> None:
    names = ["x" * 255, "x" * 254 + "y", "\u00fc" * 127, "x" * 244, "x" * 245]
    for number, name in enumerate(names):
        store.put(name, DATA, metadata={"number": str(number)})
    for number, name in enumerate(names):
        assert store.head(name).metadata == {"number": str(number)}
        assert len(os.fsencode(metadata_name(name))) <= 255
    assert len(list(store.list())) == len(names)
    with pytest.raises(StorageError, match="name too long"):
        store.put("x" * 256, DATA)


def test_links_out_of_the_store_are_refused(store: FileStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"secret")
    root = Path(store.root)
    store.put("real/file", DATA)
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "file")
    (root / "inner").symlink_to(root / "real")
    (root / "good").symlink_to(root / "real" / "file")
    (root / "broken").symlink_to(root / "nothing")
    (root / "loop").symlink_to(root)
    assert [info.key for info in store.list()] == ["good", "real/file"]
    level = [one.key if isinstance(one, ObjectInfo) else one for one in store.list_level()]
    assert level == ["good", "real/"]
    assert list(store.list("folder/")) == list(store.list_level("folder/")) == []
    assert store.read("good") == DATA
    for key in ["folder/file", "file", "inner/file", "loop/real/file"]:
        with pytest.raises(StorageError, match="symbolic link"):
            store.read(key)
    for key in ["folder/file", "folder/new", "file", "good", "inner/new", "broken", "loop/new"]:
        with pytest.raises(StorageError, match="symbolic link"):
            store.put(key, b"overwritten")
    for key in ["folder/file", "inner/file"]:
        with pytest.raises(StorageError, match="symbolic link"):
            store.delete(key)
    assert not store.exists("broken")
    assert files_below(outside) == ["file"]
    assert (outside / "file").read_bytes() == b"secret"
    # The link itself goes, not what it leads to.
    store.delete("file")
    assert (outside / "file").exists()


def test_a_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    store = FileStore(tmp_path / "link")
    store.put("a/b", DATA)
    assert store.read("a/b") == DATA
    assert files_below(tmp_path / "real") == ["a/b"]


def test_pipes_and_devices_are_no_objects(store: FileStore) -> None:
    store.put("a", b"")
    os.mkfifo(Path(store.root) / "pipe")
    assert not store.exists("pipe")
    assert [info.key for info in store.list()] == ["a"]
    with pytest.raises(ObjectNotFoundError):
        store.get("pipe")


def test_names_that_are_not_text_end_the_listing(store: FileStore) -> None:
    store.put("a", b"")
    (Path(store.root) / os.fsdecode(b"bad\xff")).write_bytes(b"")
    with pytest.raises(StorageError, match="not UTF-8"):
        list(store.list())


def test_empty_folders_do_not_show_and_do_not_hinder(store: FileStore) -> None:
    (Path(store.root) / "empty" / "below").mkdir(parents=True)
    assert list(store.list()) == list(store.list_level()) == []
    assert not store.exists("empty")
    store.put("empty", DATA)
    assert store.read("empty") == DATA


FORBIDDEN = """
import os, sys
from shardpack.errors import AccessDeniedError
from shardpack.storage import FileStore
store = FileStore(sys.argv[1])
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for call in (
    lambda: store.read("a/unreadable"),
    lambda: store.head("a/unreadable"),
    lambda: store.put("a/new", b""),
    lambda: store.put("new/new", b""),
    lambda: store.delete("a/unreadable"),
    lambda: list(store.list("closed/")),
):
    try:
        call()
    except AccessDeniedError as error:
        assert error.__cause__ is not None
    else:
        sys.exit("allowed")
"""


def test_what_is_forbidden_is_told(tmp_path: Path) -> None:
    # Not below the folder of the tests, which nobody else may enter.
    with tempfile.TemporaryDirectory() as folder:
        store = FileStore(folder)
        store.put("a/unreadable", DATA)
        store.put("closed/object", DATA)
        os.chmod(store.root, 0o555)
        os.chmod(f"{folder}/a/unreadable", 0)
        os.chmod(f"{folder}/a", 0o555)
        os.chmod(f"{folder}/closed", 0o111)
        try:
            done = subprocess.run(
                [sys.executable, "-c", FORBIDDEN, folder],
                cwd=tmp_path,
                env=python_environment(),
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            for path in [folder, f"{folder}/a", f"{folder}/closed"]:
                os.chmod(path, 0o755)
    assert done.returncode == 0, done.stderr


def test_a_full_disk_leaves_what_was_there(store: FileStore, tmp_path: Path) -> None:
    store.put("object", DATA, metadata={"x": "y"})
    (tmp_path / "large").write_bytes(bytes(4 * MIB))

    def limited() -> None:
        sources: list[object] = [bytes(4 * MIB), tmp_path / "large", iter([bytes(MIB)] * 4)]
        for source in sources:
            with pytest.raises(StorageError, match="File too large") as caught:
                store.put("object", source)
            assert isinstance(caught.value.__cause__, OSError)
            assert caught.value.code == "EFBIG"
        with pytest.raises(StorageError), store.writer("object") as writer:
            writer.write(bytes(4 * MIB))

    # The kernel refuses to let files grow: the nearest thing to a full disk.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, before[1]))
    try:
        limited()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert store.read("object") == DATA
    assert store.head("object").metadata == {"x": "y"}
    assert files_below(store.root) == [".object.shardmeta", "object"]


@pytest.mark.parametrize("nameless", [True, False])
def test_leftovers_are_found_and_removed(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, *, nameless: bool
) -> None:
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE")
    store.put("a/other", DATA)
    writer = store.writer("a/b/object")
    writer.write(bytes(MIB))
    uploads = list(store.iter_uploads("a/b"))
    assert [one.key for one in uploads] == ([] if nameless else ["a/b/object"])
    assert list(store.iter_uploads("x")) == []
    assert [info.key for info in store.list()] == ["a/other"]
    for upload in uploads:
        assert upload.initiated is not None
        store.abort_upload(upload)
        store.abort_upload(upload)
        with pytest.raises(StorageError):
            writer.close()
    writer.abort()
    assert list(store.iter_uploads()) == []
    assert files_below(store.root) == ["a/other"]
    with pytest.raises(ValueError, match="not an upload"):
        store.abort_upload(Upload("a/other", "a/other"))
    assert store.exists("a/other")


def test_a_file_that_shrinks_while_it_is_read_is_an_error(store: FileStore) -> None:
    store.put("object", DATA)
    with store.get("object") as body:
        assert body.read(10) == DATA[:10]
        os.truncate(Path(store.root) / "object", 100)
        with pytest.raises(StorageError, match="cut short"):
            body.read()
        buffer = bytearray(1000)
        with pytest.raises(StorageError, match="cut short"):
            body.readinto(buffer)


def test_a_body_can_seek_and_stays_the_version_that_was_opened(store: FileStore) -> None:
    store.put("object", DATA)
    with store.get("object", start=100, end=200) as body:
        store.put("object", b"new")
        store.delete("object")
        assert body.seekable()
        assert body.seek(-10, os.SEEK_END) == 90
        assert body.read() == DATA[190:200]
        assert body.seek(5) == body.tell() == 5
        assert body.read(3) == DATA[105:108]
        assert body.seek(500) == 500
        assert body.read() == b""
        with pytest.raises(ValueError, match="negative"):
            body.seek(-1)


def test_the_tag_of_a_version_never_comes_back(store: FileStore) -> None:
    quick = FileStore(store.root, sync=False)
    tags = [quick.put("object", b"same size").etag for _ in range(500)]
    assert len(set(tags)) == 500


def test_removing_folders_and_filling_them_do_not_meet(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "root", sync=False)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(150):
                key = f"a/b{i % 2}/c/{number}"
                store.put(key, str(i).encode(), metadata={"i": str(i)} if i % 3 else None)
                assert store.read(key) == str(i).encode()
                store.delete(key)
                assert not store.exists(key)
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    # A folder whose lock somebody held just then stays, empty.
    assert files_below(store.root) == []
    assert list(store.list()) == []


def test_a_listing_holds_one_folder_not_the_tree(tmp_path: Path) -> None:
    for folder in range(20):
        (tmp_path / f"{folder:02d}").mkdir()
        for name in range(10):
            (tmp_path / f"{folder:02d}" / f"{name}").touch()
    listing = FileStore(tmp_path).list()
    assert next(listing).key == "00/0"
    (tmp_path / "10" / "later").touch()
    keys = [info.key for info in listing]
    assert "10/later" in keys
    assert keys == sorted(keys)


WRITER = """
import os, sys
from shardpack.storage import FileStore
store = FileStore(sys.argv[1])
if sys.argv[2] == "named":
    del os.O_TMPFILE
turn = int(sys.argv[3])
print("ready", flush=True)
while True:
    turn += 1
    digit = str(turn % 10)
    size = 1000 * (turn % 10) + turn % 7
    for key in ("folder/same", f"folder/{turn % 3}/other"):
        metadata = {"size": str(size), "digit": digit} if turn % 4 else None
        store.put(key, digit.encode() * size, metadata=metadata, content_type="x/y")
        if turn % 5 == 0:
            store.delete(f"folder/{turn % 3}/other")
"""


@pytest.mark.parametrize(("kind", "times"), [("nameless", 20), ("named", 8)])
def test_objects_are_whole_after_their_writer_was_killed(
    tmp_path: Path, kind: str, times: int
) -> None:
    root = tmp_path / "root"
    store = FileStore(root)
    store.put("folder/same", b"")
    seen = 0
    for turn in range(times):
        command = [sys.executable, "-c", WRITER, str(root), kind, str(turn * 1000 + turn)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=python_environment()
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.005 * (turn % 7) + 0.001 * turn)
        process.kill()
        process.communicate()
        for info in store.list():
            with store.get(info.key) as body:
                data, facts = body.read(), body.info
            assert len(data) == info.size
            assert len(set(data)) <= 1
            if data and facts.metadata:
                seen += 1
                assert facts.metadata == {"size": str(len(data)), "digit": chr(data[0])}
                assert facts.content_type == "x/y"
            elif data:
                # Every fourth was put without metadata, with a content type alone.
                assert facts.content_type == "x/y"
        # The dead hold no lock, and what they left is in nobody's way.
        store.put("folder/same", b"", if_match=store.head("folder/same").etag)
    assert seen
    for upload in store.iter_uploads():
        store.abort_upload(upload)
    names = files_below(root)
    assert [name for name in names if name.endswith(".tmp")] == []
    hidden = [name for name in names if name.endswith(".shardmeta")]
    for name in hidden:
        rows = [json.loads(line) for line in (root / name).read_text().splitlines()]
        assert len(rows) <= 2


HOLDER = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(60)
"""


def test_a_killed_holder_of_a_lock_blocks_nobody(store: FileStore) -> None:
    store.put("folder/object", b"1")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(Path(store.root) / "folder")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    done = threading.Event()

    def write() -> None:
        store.put("folder/object", b"2")
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    assert not done.wait(0.3)
    assert store.read("folder/object") == b"1"
    process.kill()
    process.communicate()
    assert done.wait(20)
    thread.join()
    assert store.read("folder/object") == b"2"


def test_copies_and_sources_are_read_by_the_kernel(store: FileStore, tmp_path: Path) -> None:
    data = make("noise", 3 * MIB)
    (tmp_path / "source").write_bytes(data)
    calls: list[str] = []
    real = os.copy_file_range

    def counted(*arguments: int, **more: int) -> int:
        calls.append("copy")
        return real(*arguments, **more)

    refused: Callable[..., int] = _refuse
    for replacement in (counted, refused):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "copy_file_range", replacement)
            store.put("object", tmp_path / "source")
            store.copy("object", "copy")
            store.download("copy", tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == store.read("object") == data


def _refuse(*_: int, **__: int) -> int:
    raise OSError(18, "Invalid cross-device link")


def test_the_folder_of_a_store_may_be_missing(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "not" / "yet")
    for listing in (store.list(), store.list_level(), store.iter_uploads()):
        assert list(listing) == []
    assert not store.exists("a")
    assert store.conditional_writes
    assert not (tmp_path / "not").exists()
    store.put("a", b"", if_absent=True)
    assert store.exists("a")


def test_a_relative_root_is_that_of_the_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = FileStore("root")
    monkeypatch.chdir("/")
    store.put("a", b"")
    assert (tmp_path / "root" / "a").exists()


def test_memory_does_not_grow_with_the_object(tmp_path: Path) -> None:
    code = f"""
import resource
from shardpack.storage import FileStore
store = FileStore({str(tmp_path)!r}, sync=False)
store.put("warm", b"x")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.put("big", (bytes(1 << 20) for _ in range(100)))
with store.writer("big2") as writer:
    for _ in range(100):
        writer.write(bytes(1 << 20))
store.copy("big", "copy")
store.download("copy", {str(tmp_path / "target")!r})
with store.get("copy") as body:
    assert sum(len(piece) for piece in body) == 100 << 20
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    assert int(run_python(code)) < 30
