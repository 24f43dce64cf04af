"""What ``get`` does with datasets that changed, are damaged, or are named by their folder."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from commands import bad, good, names, run
from inputs import make

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "in"
    top.mkdir()
    for number in range(30):
        (top / f"{number:02}.bin").write_bytes(make("noise", 5000, str(number)))
    return top


@pytest.fixture
def dataset(folder: Path, tmp_path: Path) -> Path:
    """A dataset in a folder of its store."""
    good("pack", "-q", "-z", "none", "--max-entries", "10", folder, tmp_path / "store" / "set")
    return tmp_path / "store" / "set"


def test_of_a_file_that_changed_the_last_version_comes(
    folder: Path, dataset: Path, tmp_path: Path
) -> None:
    (folder / "07.bin").write_bytes(b"changed")
    good("pack", "-q", folder, dataset)
    report = json.loads(good("get", "-x", "--json", dataset, tmp_path / "out"))
    assert (report["files"], report["replaced"]) == (30, 1)
    assert (tmp_path / "out" / "07.bin").read_bytes() == b"changed"
    assert names(tmp_path / "out") == names(folder)


def test_all_but_the_damaged_and_missing_files_are_written(
    folder: Path, dataset: Path, tmp_path: Path
) -> None:
    shards = sorted((dataset / "shards").glob("*.tar"))
    shards[0].unlink()
    content, status = bytearray(shards[1].read_bytes()), shards[1].stat()
    hit = next(
        path.name for path in sorted(folder.iterdir()) if path.read_bytes() in bytes(content)
    )
    content[content.index((folder / hit).read_bytes()) + 9] ^= 1
    with shards[1].open("r+b") as file:
        file.write(content)
    os.utime(shards[1], ns=(status.st_atime_ns, status.st_mtime_ns))
    text = bad("get", "-x", dataset, tmp_path / "out")
    *lines, last = text.splitlines()
    assert any(line.startswith(f"shardpack: shards/{shards[0].name}: ") for line in lines)
    assert any(line.startswith(f"shardpack: {hit}: ") for line in lines)
    written = names(tmp_path / "out")
    assert f"{len(written)} were" in last
    # A chunk that is damaged may hold several files.
    assert 10 <= len(written) < 20
    for name in written:
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()


def test_a_dataset_with_nothing_where_it_says_is_told_with_the_way_out(
    dataset: Path, tmp_path: Path
) -> None:
    good("manifest", "compact", "-q", dataset)
    text = bad("get", "-x", "--root", dataset.parent, dataset, tmp_path / "out")
    assert "--root says where" in text


def test_the_folder_of_a_dataset_stands_for_its_manifest(dataset: Path) -> None:
    for options in (("show", "--json"), ("show", "--tree")):
        whole = good("manifest", *options, dataset / "manifest.jsonl")
        assert good("manifest", *options, dataset) == whole
        assert good("manifest", *options, f"file://{dataset}/") == whole
    extra = json.dumps({"kind": "file", "key": "x"}).encode()
    good("manifest", "append", "-q", dataset, "-", stdin=extra)
    good("manifest", "compact", "-q", dataset)
    assert b'"x"' in good("manifest", "show", "--json", dataset / "manifest.jsonl")
    assert "no manifest" in bad("manifest", "show", dataset / "shards")
    (dataset.parent / "empty").mkdir()
    assert "no manifest" in bad("rm", "--manifest", dataset.parent / "empty")
    good("rm", "-q", "--manifest", f"file://{dataset}")
    assert names(dataset / "shards") == []


def test_a_folder_that_is_named_like_an_object_gives_the_hint(dataset: Path) -> None:
    text = bad("get", "--root", dataset.parent, f"file://{dataset}")
    assert "a prefix, not an object; -x unpacks a dataset" in text
    assert "not found" in bad("get", "--root", dataset.parent, f"file://{dataset}2")


def test_a_file_in_place_of_the_folder_is_not_to_be_replaced(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    for options in (("-x",), ("-f", "-x")):
        text = bad("get", *options, dataset, tmp_path / "mine")
        assert "not a directory" in text
        assert "-f" not in text
    done = run("get", "-q", "-x", dataset, tmp_path / "out")
    assert done.returncode == 0
