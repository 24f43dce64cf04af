"""What ``verify`` says of datasets: each finding on a line, and what was not there to be read."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from commands import bad, good, run
from inputs import make

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.bin").write_bytes(make("noise", 5000, str(number)))
    good("pack", "-q", "-z", "none", folder, tmp_path / "store" / "set")
    return tmp_path / "store"


def archive_in(store: Path) -> Path:
    return next((store / "set" / "shards").glob("*.tar"))


def test_each_finding_is_one_readable_line(store: Path) -> None:
    path = archive_in(store)
    status, content = path.stat(), bytearray(path.read_bytes())
    content[content.index(make("noise", 5000, "2")) + 100] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    done = run("verify", "-q", store / "set" / "manifest.jsonl")
    assert done.returncode == 1
    *lines, last = done.stdout.decode().splitlines()
    key = f"shards/{path.name}"
    assert any(line.startswith(f"{key}#2.bin: ") for line in lines)
    assert all(line.startswith((f"{key}#", f"{key}: ")) for line in lines)
    assert all(line.count(": ") >= 2 and "Finding" not in line for line in lines)
    assert "FAILED" in last
    fact = json.loads(run("verify", "--json", store / "set" / "manifest.jsonl").stdout)[0]
    assert (fact["verified"], fact["shards"]) == (False, 1)
    found = fact["findings"]
    assert {tuple(finding) for finding in found} == {("key", "problem", "message", "member")}
    assert "2.bin" in {finding["member"] for finding in found}


def test_a_dataset_without_its_manifest_is_not_ok(store: Path) -> None:
    (store / "set" / "manifest.jsonl").unlink()
    for part in (store / "set" / "manifests").glob("*"):
        part.unlink()
    url = f"file://{store}/set"
    done = run("verify", url)
    assert done.returncode == 1
    text = done.stdout.decode()
    assert "no manifest was found" in text
    assert "1 shard, 4 members" in text
    fact = json.loads(run("verify", "--json", url).stdout)[0]
    assert (fact["verified"], fact["manifests"], fact["shards"]) == (False, 0, 1)


def test_archives_of_others_have_no_manifest_and_that_is_said(store: Path) -> None:
    archives = store / "archives"
    archives.mkdir()
    archive_in(store).rename(archives / "mine.tar")
    text = good("verify", f"file://{archives}").decode()
    assert "ok, no manifest was found: 1 shard" in text


def test_what_is_no_dataset_is_told_as_by_get(store: Path, tmp_path: Path) -> None:
    (store / "plain").mkdir()
    (store / "plain" / "x.txt").write_bytes(b"text")
    reason = "this is no manifest, no archive, and no folder with a manifest.jsonl"
    for name in ("plain/x.txt", "plain", "nothing"):
        url = f"file://{store}/{name}"
        done = run("verify", "--root", store, url)
        assert done.returncode == 1
        assert done.stdout.decode().rstrip() == f"{url}: FAILED, {reason}"
        assert reason in bad("get", "-x", "--root", store, url, tmp_path / "out")
