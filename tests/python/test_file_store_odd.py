"""File stores on trees that no store has made, and sources that are odd files."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING

import pytest

from shardpack.errors import StorageError
from shardpack.storage import FileStore
from shardpack.storage.file_listing import walk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shardpack.storage import ObjectStore
    from store_places import Place


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "root")


@pytest.fixture
def store(place: Place) -> ObjectStore:
    return place.store


@pytest.mark.parametrize("prefix", ["a//", "a//b", "//", "a/b//c", "a/b//"])
def test_a_prefix_with_an_empty_part_has_no_keys(store: ObjectStore, prefix: str) -> None:
    store.put("a/b/c", b"x")
    if prefix.startswith("/"):
        prefix = "a" + prefix
    assert list(store.list(prefix)) == []
    assert list(store.list_level(prefix)) == []


def test_the_root_of_the_file_system_may_be_the_root(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"data")
    store = FileStore("/")
    key = f"{tmp_path}/folder/file".lstrip("/")
    assert store.read(key) == b"data"
    assert [info.key for info in store.list(os.path.dirname(key) + "/")] == [key]
    level = list(store.list_level(f"{tmp_path}/".lstrip("/")))
    assert level == [os.path.dirname(key) + "/"]
    top = key.partition("/")[0] + "/"
    assert top in list(store.list_level())
    assert next(walk("/", "")) is not None
    store.delete(key)
    assert not store.exists(key)


def test_a_hidden_file_that_is_a_pipe_does_not_block(files: FileStore) -> None:
    files.put("k", b"x")
    os.mkfifo(f"{files.root}/.k.shardmeta")
    with pytest.raises(StorageError, match="metadata"):
        files.head("k")


@pytest.mark.parametrize(
    "row",
    [
        {"content_type": 5, "metadata": {}},
        {"content_type": None, "metadata": [1]},
        {"content_type": None, "metadata": {"a": 1}},
        {"content_type": None, "metadata": None},
    ],
)
def test_a_hidden_file_with_other_things_in_it_is_an_error(files: FileStore, row: object) -> None:
    etag = files.put("k", b"x", content_type="text/plain").etag
    assert isinstance(row, dict)
    with open(f"{files.root}/.k.shardmeta", "w") as file:
        file.write(json.dumps({"etag": etag} | row))
    with pytest.raises(StorageError, match="metadata"):
        files.head("k")
    with open(f"{files.root}/.k.shardmeta", "w") as file:
        file.write("[" * 200_000)
    with pytest.raises(StorageError, match="metadata"):
        files.get("k")


def write_in_thread(path: Path, data: bytes) -> Callable[[], None]:
    thread = threading.Thread(target=path.write_bytes, args=(data,))
    thread.start()
    return thread.join


def test_the_path_of_a_pipe_gives_what_comes_out_of_it(store: ObjectStore, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for data in (b"short", b"long" * 100_000):
        ended = write_in_thread(pipe, data)
        assert store.put("k", pipe).size == len(data)
        ended()
        assert store.read("k") == data


def test_a_file_that_does_not_tell_its_size_is_not_empty(store: ObjectStore) -> None:
    assert os.stat("/proc/version").st_size == 0
    with open("/proc/version", "rb") as file:
        expected = file.read()
    store.put("k", "/proc/version")
    assert store.read("k") == expected


def test_an_unreadable_folder_ends_a_listing(files: FileStore) -> None:
    files.put("a/k", b"x")
    files.put("b/k", b"x")
    os.symlink("..", f"{files.root}/b/loop")
    os.mkfifo(f"{files.root}/b/pipe")
    assert [info.key for info in files.list()] == ["a/k", "b/k"]
