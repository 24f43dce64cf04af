"""What the verbs for stores say to somebody who errs, and to somebody who watches."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import pytest

from commands import bad, good, names, on_terminal, run
from inputs import make
from servers import free_port, moto_server, rclone_server, versitygw_server

if TYPE_CHECKING:
    from pathlib import Path

    from servers import S3Server

__all__ = ["moto_server", "rclone_server", "versitygw_server"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with odd names in it."""
    top = tmp_path / "photos"
    (top / "a b").mkdir(parents=True)
    odd = ["a b/c d.bin", "ü.bin", "new\nline", "-dash", "has#hash", "plain"]
    for name in odd:
        (top / name).write_bytes(make("lines", 3000, name))
    return top


@pytest.fixture
def packed(folder: Path, tmp_path: Path) -> Path:
    store = tmp_path / "store"
    good("pack", "-q", folder, store)
    return store


def one_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, text
    return lines[0]


def archive_in(store: Path) -> str:
    return str(next((store / "shards").glob("*.tar.gz")))


@pytest.mark.parametrize(
    "options",
    [
        ("gc", "--older-than", "-5", "s"),
        ("gc", "--older-than", "nan", "s"),
        ("gc", "--older-than", "soon", "s"),
        ("manifest", "show", "--limit", "-3", "s/m.jsonl"),
        ("manifest", "show", "--limit", "0", "s/m.jsonl"),
        ("pack", "--max-entries", "0", "f", "s"),
    ],
)
def test_numbers_that_make_no_sense_are_usage_errors(options: tuple[str, ...]) -> None:
    assert "is no number of" in bad(*options, code=2)


@pytest.mark.parametrize("name", ["a b/c d.bin", "ü.bin", "new\nline", "-dash", "has#hash"])
def test_members_with_odd_names_are_found(folder: Path, packed: Path, name: str) -> None:
    member = f"{archive_in(packed)}#{name}"
    expected = (folder / name).read_bytes()
    assert good("cat", member) == expected
    good("get", member, packed / "copy")
    assert (packed / "copy").read_bytes() == expected
    (fact,) = (json.loads(line) for line in good("ls", "--json", member).splitlines())
    assert fact["key"].endswith(f"#{name}")


def test_a_dataset_is_fetched_by_its_folder_too(folder: Path, packed: Path) -> None:
    for number, name in enumerate([packed, f"file://{packed}", f"{packed}/manifest.jsonl"]):
        good("get", "-x", name, packed.parent / str(number))
        assert names(packed.parent / str(number)) == names(folder)
        assert b"6 members" in good("verify", name)
    assert "manifest.jsonl" in one_line(bad("get", "-x", folder))


def test_a_prefix_is_no_object(packed: Path) -> None:
    for name in (f"{packed}/shards/", f"file://{packed}/", str(packed)):
        assert "a prefix, not an object" in one_line(bad("get", name))


def test_an_empty_folder_becomes_an_empty_dataset(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    good("pack", "-q", tmp_path / "none", tmp_path / "store")
    assert b"1 manifest, 0 shards" in good("verify", tmp_path / "store")
    assert good("manifest", "show", tmp_path / "store" / "manifest.jsonl") == b""


def test_what_is_left_out_is_told(folder: Path, tmp_path: Path) -> None:
    (folder / "link").symlink_to("plain")
    os.mkfifo(folder / "pipe")
    done = run("pack", folder, tmp_path / "store")
    assert done.returncode == 0
    assert b"left out link, a symbolic link, and 1 other" in done.stderr
    report = json.loads(good("pack", "--json", folder, tmp_path / "store"))
    assert report["left_out"] == [
        {"path": "link", "reason": "symlink"},
        {"path": "pipe", "reason": "special"},
    ]


def test_files_that_are_there_are_all_named_with_the_way_out(packed: Path, tmp_path: Path) -> None:
    good("get", "-x", packed, tmp_path / "out")
    text = bad("get", "-x", packed, tmp_path / "out")
    assert len(text.splitlines()) == 7
    assert "new\\nline" in text
    assert "use -f" in text.splitlines()[-1]


def test_removing_an_archive_removes_its_index(packed: Path) -> None:
    archive = archive_in(packed)
    told = good("rm", archive).decode()
    assert told.count("removed:") == 2
    assert names(packed / "shards") == []


def test_a_manifest_is_compacted_in_place_without_conditions(
    folder: Path, rclone_server: S3Server
) -> None:
    bucket = rclone_server.fresh_bucket()
    url = f"s3://{bucket}/data"
    environment = rclone_server.environment()
    options = ("--append", "single-writer")
    assert "conditional writes" in one_line(bad("pack", folder, url, environment=environment))
    good("pack", "-q", *options, folder, url, environment=environment)
    text = bad("manifest", "compact", f"{url}/manifest.jsonl", environment=environment)
    assert "conditional writes" in one_line(text)
    good("manifest", "compact", "-q", *options, f"{url}/manifest.jsonl", environment=environment)
    good("verify", "-q", url, environment=environment)


def test_what_is_wrong_with_access_is_said_in_one_line(
    folder: Path, versitygw_server: S3Server
) -> None:
    url = f"s3://{versitygw_server.fresh_bucket()}/data"
    right = versitygw_server.environment()
    good("pack", "-q", folder, url, environment=right)
    wrong = {**right, "AWS_SECRET_ACCESS_KEY": "wrong"}
    nobody = {**right, "AWS_ACCESS_KEY_ID": "nobody"}
    verbs: list[tuple[object, ...]] = [("ls",), ("verify",), ("pack", folder), ("get", "-x")]
    for verb, environment in zip(verbs, [wrong, nobody, wrong, nobody], strict=True):
        done = run(*verb, url, environment=environment)
        line = one_line((done.stdout + done.stderr).decode())
        assert done.returncode == 1
        assert line.startswith(("shardpack: s3://", "s3://"))
        assert "delete of" not in line
    nowhere = one_line(bad("ls", "s3://no-such-bucket/", environment=right))
    assert "NoSuchBucket" in nowhere
    text = bad("ls", "--profile", "nobody", url, environment=right)
    assert "nobody" in one_line(text)


def test_a_server_that_is_down_is_named(rclone_server: S3Server) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    environment = rclone_server.environment()
    text = bad("cat", "--endpoint-url", address, "s3://bucket/x", environment=environment)
    assert address.removeprefix("http://") in one_line(text)
    assert "Invalid endpoint" in bad("ls", "--endpoint-url", "x:1", "s3://bucket/x")


def test_bars_show_how_much_there_is_to_do(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(8):
        (tmp_path / "in" / str(number)).write_bytes(make("noise", 8 << 20, str(number)))
    (tmp_path / "in" / "left.out").write_bytes(bytes(64 << 20))
    total = re.compile(r"/64\.0M|100%\|")
    options = ("--exclude", "*.out", "--max-bytes", "20M")
    code, shown = on_terminal("pack", *options, "in", "store", cwd=tmp_path)
    assert code == 0
    assert total.search(shown), shown
    assert "left out" not in shown
    code, shown = on_terminal("get", "-x", "store", "out", cwd=tmp_path)
    assert code == 0
    assert total.search(shown), shown
    (archive, *_) = (tmp_path / "store" / "shards").glob("*.tar.gz")
    code, shown = on_terminal("get", str(archive), "copy", cwd=tmp_path)
    assert code == 0
    assert "%|" in shown
