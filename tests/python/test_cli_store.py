from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from commands import bad, good, names, run
from inputs import make

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a few files, one of them in a folder of its own."""
    top = tmp_path / "photos"
    (top / "2024").mkdir(parents=True)
    for number in range(20):
        (top / "2024" / f"{number:02d}.bin").write_bytes(make("lines", 3000, str(number)))
    (top / "empty").write_bytes(b"")
    (top / "large.bin").write_bytes(make("noise", 300_000))
    return top


@pytest.fixture
def packed(folder: Path, tmp_path: Path) -> str:
    url = f"file://{tmp_path}/store"
    good("pack", "-q", folder, url)
    return url


def tree(top: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(top)): path.read_bytes()
        for path in sorted(top.rglob("*"))
        if path.is_file()
    }


def lines(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def shards(url: str) -> list[str]:
    return [
        fact["archive_key"]
        for fact in lines(good("manifest", "show", "--json", f"{url}/manifest.jsonl"))
        if fact["kind"] == "shard"
    ]


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd", "s4", "xz"])
def test_what_is_packed_comes_back(folder: Path, tmp_path: Path, compression: str) -> None:
    url = f"file://{tmp_path}/store"
    report = json.loads(good("pack", "--json", "-z", compression, folder, url))
    assert (report["items"], report["shards"]) == (22, 1)
    assert report["bytes_in"] == sum(map(len, tree(folder).values()))
    good("verify", "-q", f"{url}/manifest.jsonl")
    good("get", "-x", f"{url}/manifest.jsonl", tmp_path / "back")
    assert tree(tmp_path / "back") == tree(folder)


def test_packing_twice_sends_nothing_again(folder: Path, packed: str) -> None:
    report = json.loads(good("pack", "--json", folder, packed))
    assert (report["skipped"], report["bytes_out"], report["added_entries"]) == (1, 0, 0)
    assert len(shards(packed)) == 1


def test_shards_are_bounded_and_files_chosen(folder: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store"
    options = ("--max-entries", "4", "--include", "2024/*", "--exclude", "*3.bin")
    report = json.loads(good("pack", "--json", *options, folder, url))
    assert (report["items"], report["shards"]) == (18, 5)


def test_one_member_is_written_to_standard_output(folder: Path, packed: str) -> None:
    archive = shards(packed)[0]
    url = f"{packed}/{archive}#2024/07.bin"
    whole = (folder / "2024" / "07.bin").read_bytes()
    assert good("cat", url) == whole
    assert good("cat", "--range", "100:200", url) == whole[100:200]
    assert good("cat", "--range", "-10:", url) == whole[-10:]
    assert good("cat", "--range", "10:10", url) == b""


def test_a_local_path_needs_no_protocol(packed: str) -> None:
    path = packed.removeprefix("file://")
    member = f"{path}/{shards(packed)[0]}#empty"
    assert good("cat", member) == b""
    assert good("ls", path) == good("ls", packed)


def test_missing_things_are_named(packed: str) -> None:
    assert "nothing.bin" in bad("cat", f"{packed}/{shards(packed)[0]}#nothing.bin")
    assert "nothing.tar" in bad("cat", f"{packed}/nothing.tar#a")
    assert "nothing" in bad("get", f"{packed}/nothing")
    assert "nothing" in bad("ls", f"{packed}/nothing")
    assert "nothing" in bad("manifest", "show", f"{packed}/nothing.jsonl")
    assert "nothing" in bad("rm", f"{packed}/nothing")
    assert "az://" in bad("ls", "az://bucket/key") or "'az'" in bad("ls", "az://bucket/key")


def test_ls_shows_levels_objects_manifests_and_members(packed: str) -> None:
    assert good("ls", packed).split() == [b"manifest.jsonl", b"manifests/", b"shards/"]
    archive = shards(packed)[0]
    assert archive in [fact["key"] for fact in lines(good("ls", "-r", "--json", packed))]
    assert archive.encode() in good("ls", f"{packed}/manifest.jsonl")
    members = lines(good("ls", "--json", f"{packed}/{archive}#2024/"))
    assert len(members) == 20
    assert {fact["size"] for fact in members} == {3000}
    assert b"2.9 KiB" in good("ls", "-l", f"{packed}/{archive}#2024/07")
    assert b"22 objects" in good("ls", "-s", f"{packed}/{archive}#").splitlines()[-1]


def test_get_fetches_objects_and_members(folder: Path, packed: str, tmp_path: Path) -> None:
    archive = shards(packed)[0]
    target = tmp_path / "one.bin"
    good("get", f"{packed}/{archive}#2024/07.bin", target)
    assert target.read_bytes() == (folder / "2024" / "07.bin").read_bytes()
    assert "exists" in bad("get", f"{packed}/{archive}#2024/08.bin", target)
    good("get", "-f", f"{packed}/{archive}#2024/08.bin", target)
    assert target.read_bytes() == (folder / "2024" / "08.bin").read_bytes()
    into = tmp_path / "into"
    into.mkdir()
    good("get", f"{packed}/{archive}#2024/09.bin", into)
    good("get", f"{packed}/manifest.jsonl", into)
    assert names(into) == ["09.bin", "manifest.jsonl"]


def test_extracting_replaces_nothing_unasked(folder: Path, packed: str, tmp_path: Path) -> None:
    into = tmp_path / "into"
    (into / "2024").mkdir(parents=True)
    (into / "2024" / "07.bin").write_bytes(b"mine")
    assert "07.bin" in bad("get", "-x", f"{packed}/manifest.jsonl", into)
    assert (into / "2024" / "07.bin").read_bytes() == b"mine"
    good("get", "-f", "-x", f"{packed}/manifest.jsonl", into)
    assert tree(into) == tree(folder)


def test_entries_are_appended_and_compacted(packed: str, tmp_path: Path) -> None:
    manifest = f"{packed}/manifest.jsonl"
    before = lines(good("manifest", "show", "--json", manifest))
    new = [{"kind": "file", "key": f"loose/{number}"} for number in range(3)]
    text = "".join(json.dumps(entry) + "\n" for entry in new)
    file = tmp_path / "new.jsonl"
    file.write_text(text)
    good("manifest", "append", "-q", manifest, file)
    good("manifest", "append", "-q", manifest, "-", stdin=text.encode())
    after = lines(good("manifest", "show", "--json", manifest))
    assert after == before + new + new
    assert {fact["kind"] for fact in lines(good("manifest", "show", "--json", "--tree", manifest))}
    report = json.loads(good("manifest", "compact", "--json", manifest))
    assert report["total_entries"] == len(after)
    assert lines(good("manifest", "show", "--json", "--tree", manifest)) == after
    assert len(good("manifest", "show", "--limit", "2", manifest).splitlines()) == 2


def test_a_bad_entry_is_not_appended(packed: str, tmp_path: Path) -> None:
    manifest = f"{packed}/manifest.jsonl"
    before = good("manifest", "show", "--json", manifest)
    file = tmp_path / "bad.jsonl"
    file.write_text('{"kind": "file", "key": "good"}\n{"kind": "file"}\n')
    assert "2" in bad("manifest", "append", manifest, file)
    assert good("manifest", "show", "--json", manifest) == before


def test_verify_finds_a_flipped_byte(packed: str) -> None:
    path = Path(packed.removeprefix("file://")) / shards(packed)[0]
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    done = run("verify", f"{packed}/manifest.jsonl")
    assert done.returncode == 1
    assert path.name.encode() in done.stdout + done.stderr
    facts = json.loads(run("verify", "--json", f"{packed}/manifest.jsonl").stdout)
    assert facts[0]["verified"] is False


def test_gc_removes_what_nothing_refers_to(folder: Path, packed: str) -> None:
    root = Path(packed.removeprefix("file://"))
    manifest = (root / "manifest.jsonl").read_bytes()
    (folder / "another").write_bytes(b"more")
    good("pack", "-q", folder, packed)
    assert len(list((root / "shards").glob("*.tar.gz"))) == 2
    (root / "manifest.jsonl").write_bytes(manifest)
    young = json.loads(good("gc", "--json", packed))
    assert young["removed"] == []
    named = json.loads(good("gc", "--json", "-n", "--older-than", "0", packed))["removed"]
    assert [fact["kind"] for fact in named].count("shard") == 1
    assert len(list((root / "shards").glob("*.tar.gz"))) == 2
    good("gc", "-q", "--older-than", "0", packed)
    assert len(list((root / "shards").glob("*.tar.gz"))) == 1
    good("verify", "-q", f"{packed}/manifest.jsonl")
    assert json.loads(good("gc", "--json", "--older-than", "0", packed))["removed"] == []


def test_rm_removes_objects_prefixes_and_datasets(folder: Path, packed: str) -> None:
    root = Path(packed.removeprefix("file://"))
    (root / "a").mkdir()
    for name in ("one", "two", "three"):
        (root / "a" / name).write_bytes(b"x")
    good("rm", "-q", f"{packed}/a/one")
    assert names(root / "a") == ["three", "two"]
    # A folder is a folder, as everywhere.
    assert "nothing of this name" in bad("rm", "-r", f"{packed}/a/t")
    told = good("rm", "--prefix", "-n", f"{packed}/a/t").splitlines()
    assert told == [b"would be removed: three", b"would be removed: two"]
    assert names(root / "a") == ["three", "two"]
    (root / "a2").mkdir()
    (root / "a2" / "other").write_bytes(b"x")
    good("rm", "-q", "--prefix", f"{packed}/a/th")
    assert names(root / "a") == ["two"]
    assert "whole store" in bad("rm", "-r", packed)
    good("rm", "-r", "-q", "--root", root, f"{packed}/a/")
    assert not (root / "a").exists()
    assert names(root / "a2") == ["other"]
    good("rm", "-r", "-q", "--root", root, f"{packed}/a2")
    assert not (root / "a2").exists()
    dry = run("rm", "--manifest", "-n", packed)
    assert {line.split(b": ")[0] for line in dry.stdout.splitlines()} == {b"would be removed"}
    assert shards(packed)[0].encode() in dry.stdout
    assert b"1 shard, 2 manifests would be removed" in dry.stderr
    report = json.loads(good("rm", "--json", "--manifest", f"{packed}/manifest.jsonl"))[0]
    assert (report["deleted_archive_count"], report["errors"]) == (1, {})
    assert json.loads(good("ls", "-r", "--json", packed) or b"[]") == []
    assert tree(folder)


def foreign_archives(folder: Path, place: Path) -> Iterator[Path]:
    for mode in ("w", "w:gz"):
        path = place / ("old.tar" + mode[1:].replace(":", "."))
        with tarfile.open(path, mode) as archive:
            for name, content in tree(folder).items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        yield path


def test_archives_of_other_programs_get_an_index(folder: Path, tmp_path: Path) -> None:
    for path in foreign_archives(folder, tmp_path):
        wanted = (folder / "2024" / "11.bin").read_bytes()
        assert good("cat", f"{path}#2024/11.bin") == wanted
        fact = json.loads(good("index", "--json", path))[0]
        assert fact["members"] == 22
        assert good("cat", f"{path}#2024/11.bin") == wanted


def test_hostile_members_are_not_extracted(tmp_path: Path) -> None:
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("../escaped")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"evil"))
    (tmp_path / "into").mkdir()
    assert "../escaped" in bad("get", "-x", path, tmp_path / "into")
    assert not (tmp_path / "escaped").exists()
    assert names(tmp_path / "into") == []


@pytest.mark.parametrize(
    "verb", ["pack", "ls", "get", "cat", "manifest", "verify", "index", "gc", "rm"]
)
def test_help_teaches_with_examples(verb: str) -> None:
    text = good(verb, "--help").decode()
    assert "examples:" in text
    assert f"shardpack {verb}" in text


def test_a_listed_manifest_needs_no_conditional_writes(folder: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store"
    good("pack", "-q", "--append", "listed", "--max-entries", "8", folder, url)
    assert len(shards(url)) == 3
    assert b'"layout":"listed"' in (tmp_path / "store" / "manifest.jsonl").read_bytes()
    good("verify", "-q", f"{url}/manifest.jsonl")
