"""What somebody writes who does not know the verbs for stores yet, and what they say to it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from commands import TIMEOUT_S, bad, good, names, run
from inputs import make, python_environment
from servers import versitygw_server
from shardpack.exchange import ExchangeStore

if TYPE_CHECKING:
    from pathlib import Path

    from servers import S3Server

__all__ = ["versitygw_server"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files."""
    top = tmp_path / "photos"
    top.mkdir()
    for name in "abc":
        (top / name).write_bytes(make("lines", 3000, name))
    return top


def test_packing_again_tells_what_is_new_and_what_stays(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    good("pack", "-q", folder, store)
    (folder / "d").write_bytes(b"later")
    told = run("pack", folder, store).stderr.decode()
    assert "4 files" in told
    assert "3 unchanged; 1 shard" in told
    (folder / "d").write_bytes(b"another version")
    told = run("pack", folder, store).stderr.decode()
    assert "1 file changed: the older versions stay in the dataset until --overwrite" in told
    report = json.loads(good("pack", "--json", folder, store))
    assert (report["items"], report["unchanged"], report["replaced"]) == (4, 4, 0)


def test_the_key_of_a_manifest_may_be_a_url_of_the_same_store(
    folder: Path, tmp_path: Path, versitygw_server: S3Server
) -> None:
    bucket = versitygw_server.fresh_bucket()
    environment = versitygw_server.environment()
    for place in (f"file://{tmp_path}/store", f"s3://{bucket}"):
        url = place if place.startswith("file") else f"{place}/set"
        manifest = f"{place}/one/m.jsonl"
        good("pack", "-q", "--manifest", manifest, folder, url, environment=environment)
        good("verify", "-q", "--root", place, manifest, environment=environment)
        flat = f"{place}/one/flat.jsonl"
        options = ("--root", place, "-q", "--to", flat)
        good("manifest", "compact", *options, manifest, environment=environment)
        shown = good("ls", "--root", place, f"{place}/one/", environment=environment)
        assert b"flat.jsonl" in shown
        assert b"m.jsonl" in shown
    assert "3 members" in good("verify", "--root", place, flat, environment=environment).decode()


@pytest.mark.parametrize(
    "key", ["s3://other/m.jsonl", "s3://bucket-2/m.jsonl", "file:///m.jsonl", "s3:/bucket/m.jsonl"]
)
def test_the_url_of_another_store_is_no_key(folder: Path, key: str) -> None:
    options = ("--endpoint-url", "http://127.0.0.1:9", "--region", "r")
    for line in (
        bad("pack", *options, "--manifest", key, folder, "s3://bucket/set"),
        bad("manifest", "compact", *options, "--to", key, "s3://bucket/set/manifest.jsonl"),
    ):
        assert key in line
        assert "s3://bucket" in line
        assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "meant"),
    [("s3//data/x", "s3://data/x"), ("s3:data/x", "s3://data/x"), ("file:x/y", "file:///x/y")],
)
def test_a_misspelt_url_becomes_no_local_store(
    folder: Path, tmp_path: Path, url: str, meant: str
) -> None:
    line = bad("pack", folder, url, cwd=tmp_path)
    assert f"did you mean {meant}" in line
    assert f"./{url}" in line
    assert names(tmp_path) == ["photos/a", "photos/b", "photos/c"]
    good("pack", "-q", folder, f"./{url}", cwd=tmp_path)
    assert (tmp_path / url / "manifest.jsonl").exists()


@pytest.mark.parametrize(
    ("compression", "level", "text"),
    [
        ("gzip", "-5", "--level must be 0 to 9, got -5"),
        ("gzip", "99", "--level must be 0 to 9, got 99"),
        ("zstd", "99", "--level must be 1 to 22, got 99"),
        ("s4", "0", "--level must be 1 to 22, got 0"),
        ("bzip2", "0", "--level must be 1 to 9, got 0"),
        ("xz", "10", "--level must be 0 to 9, got 10"),
        ("none", "3", "--compression none has no levels"),
        ("zstd", "99999999999999999999", "--level must be 1 to 22"),
    ],
)
def test_levels_that_a_compression_does_not_have_are_usage_errors(
    folder: Path, tmp_path: Path, compression: str, level: str, text: str
) -> None:
    assert text in bad("pack", "-z", compression, "-l", level, folder, tmp_path / "s", code=2)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("compression", "level"), [("gzip", 0), ("zstd", 22), ("s4", 1), ("bzip2", 9), ("xz", 0)]
)
def test_levels_that_a_compression_has_are_taken(
    folder: Path, tmp_path: Path, compression: str, level: int
) -> None:
    good("pack", "-q", "-z", compression, "-l", level, folder, tmp_path / "s")
    good("verify", "-q", tmp_path / "s")


def test_globs_that_match_nothing_fail_and_write_nothing(folder: Path, tmp_path: Path) -> None:
    line = bad("pack", "--include", "*.nope", folder, tmp_path / "s")
    assert "no file matches" in line
    assert not (tmp_path / "s").exists()
    (folder / "empty").mkdir()
    done = run("pack", folder / "empty", tmp_path / "s")
    assert done.returncode == 0
    assert b"no files in it" in done.stderr


def test_a_store_in_memory_is_no_place_to_pack_to(folder: Path) -> None:
    line = bad("pack", folder, "mem://photos/set", code=2)
    assert "mem://photos/set" in line
    assert "ends with this command" in line


@pytest.mark.parametrize("key", ["photos#", "nothing.txt#", "nothing.txt#a", "nothing"])
def test_listing_what_is_not_there_fails(folder: Path, key: str) -> None:
    assert "there is nothing under this name" in bad("ls", f"file://{folder.parent}/{key}")


def test_listing_an_archive_without_members_is_no_failure(tmp_path: Path) -> None:
    ExchangeStore.open(str(tmp_path)).put_shard_archive("empty.tar", [], compression=None)
    assert good("ls", tmp_path / "empty.tar#") == b""


@pytest.mark.parametrize("target", ["s3://bucket/copy", "file:///tmp/copy", "s3:/x", "-"])
def test_a_destination_on_no_disk_is_refused(folder: Path, tmp_path: Path, target: str) -> None:
    for options in ((), ("-x",)):
        line = bad("get", *options, folder / "a", target, cwd=tmp_path, code=2)
        assert "shardpack: " in line
        assert target in line
    assert names(tmp_path) == ["photos/a", "photos/b", "photos/c"]
    good("get", folder / "a", f"./{target}", cwd=tmp_path)
    assert (tmp_path / target).read_bytes() == (folder / "a").read_bytes()


def test_an_interrupt_while_the_command_is_loaded_shows_no_traceback() -> None:
    code = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_rest):\n"
        "        if name in {'shardpack.cli.parity', 'argparse'}:\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from shardpack.cli import main\n"
        "sys.exit(main(['ls', '.']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        timeout=TIMEOUT_S,
        env=python_environment(None),
    )
    assert (done.returncode, done.stderr) == (130, b"shardpack: interrupted\n")
