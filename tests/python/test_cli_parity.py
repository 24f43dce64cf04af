"""``shardpack parity`` as a process of its own: what it says, its exit codes, and accidents."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from commands import TIMEOUT_S, bad, good, names, on_terminal, run, start, wait_until_working
from inputs import MIB, make
from shardpack import parity

DATA = make("noise", 123_457)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.bin").write_bytes(DATA)
    return tmp_path


def flip(path: Path, *places: int) -> None:
    content = bytearray(path.read_bytes())
    for place in places:
        content[place] ^= 0x55
    path.write_bytes(content)


def state(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder)}


# --- what it says -------------------------------------------------------------------------


def test_encode_verify_repair(folder: Path) -> None:
    assert good("parity", "encode", "-k", 10, "-m", 4, "data.bin", cwd=folder) == b""
    assert good("parity", "verify", "data.bin", cwd=folder).decode() == (
        "data.bin: ok, 10+4 shards of 12.1 KiB\n"
    )
    before = state(folder)
    flip(folder / "data.bin", 50_000, 50_001, 90_000)
    (folder / "data.bin.parity" / "p-012.rs").unlink()
    damaged = (folder / "data.bin").read_bytes()
    done = run("parity", "verify", "data.bin", cwd=folder)
    assert (done.returncode, done.stderr) == (1, b"")
    lines = [
        "  data.bin, shard 4: 1 of 4 blocks, bytes 49384 to 53480",
        "  data.bin, shard 7: 1 of 4 blocks, bytes 86422 to 90518",
        "  data.bin.parity/p-012.rs, shard 12: missing",
        "  written to since its parity was made; if that was meant, encode again",
    ]
    assert done.stdout.decode().splitlines() == [
        "data.bin: DAMAGED, 6 blocks of 3 shards, repairable",
        *lines,
    ]
    assert good("parity", "repair", "data.bin", cwd=folder).decode().splitlines() == [
        "data.bin: repaired, 6 blocks of 3 shards; the damaged file is data.bin.1",
        *lines,
    ]
    assert (folder / "data.bin.1").read_bytes() == damaged
    (folder / "data.bin.1").unlink()
    assert state(folder) == before
    said = good("parity", "repair", "data.bin", cwd=folder).decode()
    assert said == "data.bin: ok, nothing to repair\n"


def test_too_much_damage_fails_and_changes_nothing(folder: Path) -> None:
    good("parity", "encode", "-k", 10, "-m", 1, "data.bin", cwd=folder)
    flip(folder / "data.bin", 0, 30_000)
    os.truncate(folder / "data.bin.parity" / "checks.bin", 10)
    before = state(folder)
    done = run("parity", "verify", "data.bin", cwd=folder)
    assert done.returncode == 1
    said = done.stdout.decode()
    assert "2 in one column, at most 1 can be rebuilt" in said
    assert "  checks.bin: damaged or missing" in said
    done = run("parity", "repair", "data.bin", cwd=folder)
    assert (done.returncode, done.stderr) == (1, b"")
    assert done.stdout.decode().startswith("data.bin: FAILED, column 0 (bytes 0 to 4096 of every")
    assert state(folder) == before


def test_each_file_of_several_is_told_and_one_failure_is_enough(folder: Path) -> None:
    (folder / "other").write_bytes(DATA)
    text = bad("parity", "encode", "data.bin", "missing", "other", cwd=folder)
    assert text == "shardpack: missing: no such file or directory\n"
    flip(folder / "other", 5)
    done = run("parity", "verify", "-q", "data.bin", "missing", "other", cwd=folder)
    assert done.returncode == 1
    assert done.stdout.decode().splitlines() == [
        "missing: FAILED, missing.parity/group.json: no such file or directory",
        "other: DAMAGED, 1 block of 1 shard, repairable",
        "  other, shard 0: 1 of 4 blocks, bytes 0 to 4096",
        "  written to since its parity was made; if that was meant, encode again",
    ]
    assert good("parity", "repair", "-q", "--no-backup", "data.bin", "other", cwd=folder) == b""
    assert (folder / "other").read_bytes() == DATA
    assert not (folder / "other.1").exists()


def test_json_for_programs(folder: Path) -> None:
    (made,) = json.loads(good("parity", "encode", "--json", "data.bin", cwd=folder))
    assert made["data_shards"] == 10
    assert made["intact"]
    flip(folder / "data.bin", 5, 123_456)
    done = run("parity", "verify", "--json", "data.bin", "missing", cwd=folder)
    assert done.returncode == 1
    found, missing = json.loads(done.stdout)
    assert (found["intact"], found["repairable"], found["worst"]) == (False, True, 1)
    assert found["damage"][0] == {
        "shard": 0,
        "key": "data.bin",
        "missing": False,
        "bad_blocks": 1,
        "block_count": 4,
        "ranges": [[0, 4096]],
    }
    assert missing == {
        "path": "missing",
        "intact": False,
        "error": "missing.parity/group.json: no such file or directory",
    }
    (repaired,) = json.loads(good("parity", "repair", "--json", "data.bin", cwd=folder))
    assert (repaired["repaired"], repaired["backup"]) == (["data.bin"], "data.bin.1")
    done = run("parity", "encode", "--json", "data.bin", cwd=folder)
    assert done.returncode == 1
    assert "exists already" in json.loads(done.stdout)[0]["error"]


def test_existing_parity_is_replaced_with_force_only(folder: Path) -> None:
    good("parity", "encode", "data.bin", cwd=folder)
    before = state(folder)
    text = bad("parity", "encode", "-k", 3, "data.bin", cwd=folder)
    assert text == "shardpack: data.bin: data.bin.parity exists already; use -f to replace it\n"
    assert state(folder) == before
    good("parity", "encode", "-f", "-k", 3, "--block", "1K", "data.bin", cwd=folder)
    report = parity.verify_file(folder / "data.bin")
    assert (report.data_shards, report.block, report.intact) == (3, 1024, True)


def test_outputs_go_where_they_are_sent(folder: Path) -> None:
    (folder / "other").write_bytes(DATA[:5000])
    (folder / "disk").mkdir()
    good("parity", "encode", "-o", "disk", "data.bin", "other", cwd=folder)
    good("parity", "encode", "-o", "p", "data.bin", cwd=folder)
    assert (folder / "disk" / "data.bin.parity" / "group.json").exists()
    assert (folder / "disk" / "other.parity" / "group.json").exists()
    assert (folder / "p" / "group.json").exists()
    flip(folder / "data.bin", 5)
    damaged = (folder / "data.bin").read_bytes()
    good("parity", "repair", "--folder", "p", "-o", "good", "data.bin", cwd=folder)
    assert (folder / "good").read_bytes() == DATA
    assert (folder / "data.bin").read_bytes() == damaged
    done = run("parity", "repair", "--folder", "p", "-o", "good", "data.bin", cwd=folder)
    assert done.returncode == 1
    assert "good exists already; use -f" in done.stdout.decode()
    good("parity", "repair", "-f", "--folder", "p", "-o", "disk", "data.bin", cwd=folder)
    assert (folder / "disk" / "data.bin").read_bytes() == DATA


def test_an_output_is_a_file_whatever_folders_there_are(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "name").write_bytes(DATA)
    (folder / "name").mkdir()
    good("parity", "encode", "sub/name", cwd=folder)
    out = good("parity", "repair", "-o", "out.bin", "sub/name", cwd=folder)
    assert out.decode() == "sub/name: ok, written to out.bin\n"
    assert (folder / "out.bin").read_bytes() == DATA


def test_a_renamed_file_is_called_what_it_is_called_now(folder: Path) -> None:
    good("parity", "encode", "data.bin", cwd=folder)
    for suffix in ("", ".parity"):
        (folder / f"data.bin{suffix}").rename(folder / f"now.bin{suffix}")
    flip(folder / "now.bin", 0)
    done = run("parity", "verify", "now.bin", cwd=folder)
    assert b"  now.bin, shard 0: 1 of 4 blocks" in done.stdout
    assert b"data.bin" not in done.stdout


def test_the_folder_is_as_good_as_the_file(folder: Path) -> None:
    good("parity", "encode", "-k", 2, "-m", 2, "data.bin", cwd=folder)
    (folder / "data.bin").unlink()
    done = run("parity", "verify", "data.bin.parity", cwd=folder)
    assert done.returncode == 1
    assert done.stdout.decode().count("missing") == 2
    good("parity", "repair", "data.bin.parity/", "-o", "back/", cwd=folder)
    assert (folder / "back" / "data.bin").read_bytes() == DATA
    good("parity", "repair", "data.bin.parity", cwd=folder)
    assert (folder / "data.bin").read_bytes() == DATA


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("encode",),
        ("encode", "-k", 0, "data.bin"),
        ("encode", "-k", "ten", "data.bin"),
        ("encode", "-m", 256, "data.bin"),
        ("encode", "-k", 200, "-m", 57, "data.bin"),
        ("encode", "--block", 0, "data.bin"),
        ("encode", "--block", "many", "data.bin"),
        ("encode", "-"),
        ("encode", "-o", "p", "data.bin", "data.bin"),
        ("encode", "-o", "-", "data.bin"),
        ("repair", "-o", "-", "data.bin"),
        ("verify",),
        ("verify", "--folder", "p", "data.bin", "other"),
        ("repair", "--folder", "p", "data.bin", "other"),
        ("repair", "-o", "p", "data.bin", "other"),
        ("mend", "data.bin"),
    ],
)
def test_command_lines_that_make_no_sense(folder: Path, arguments: tuple[Any, ...]) -> None:
    text = bad("parity", *arguments, cwd=folder, code=2)
    assert text
    assert names(folder) == ["data.bin"]


def test_what_cannot_be_encoded_fails_alone(folder: Path) -> None:
    (folder / "empty").write_bytes(b"")
    (folder / "sub").mkdir()
    text = bad("parity", "encode", "empty", "sub", "data.bin", cwd=folder)
    assert sorted(text.splitlines()) == [
        "shardpack: empty: an empty file needs no parity",
        "shardpack: sub: is a folder; parity is for files",
    ]
    assert parity.verify_file(folder / "data.bin").intact


@pytest.mark.parametrize("verb", ["", "encode", "verify", "repair"])
def test_help_teaches_by_examples(verb: str) -> None:
    text = good("parity", *([verb] if verb else []), "--help").decode()
    assert "examples:" in text
    assert "shardpack parity encode" in text or verb in {"verify", "repair"}
    if not verb:
        assert "column" in text


def test_a_bar_and_a_summary_are_shown_on_a_terminal_only(folder: Path) -> None:
    code, shown = on_terminal("parity", "encode", "data.bin", cwd=folder)
    assert code == 0
    assert "%|" in shown
    assert "10+4 shards of 12.1 KiB" in shown
    code, shown = on_terminal("parity", "verify", "data.bin", cwd=folder)
    assert (code, "%|" in shown, "\x1b[32mok" in shown) == (0, True, True)
    code, shown = on_terminal("parity", "verify", "--no-progress", "data.bin", cwd=folder)
    assert "%|" not in shown


# --- accidents ----------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that takes seconds to encode, and no space."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(3 << 30)
    return path


SLOW = ("-k", "100", "-m", "1", "-T", "1")


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline and not path.exists():
        time.sleep(0.001)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_encode_leaves_the_file_and_no_parity(large: Path, number: int) -> None:
    before = large.stat()
    process = start("parity", "encode", *SLOW, "large", cwd=large.parent)
    wait_for(large.parent / "large.parity")
    assert process.poll() is None, "it was to be killed at work"
    process.send_signal(number)
    started = time.monotonic()
    _, errors = process.communicate(timeout=TIMEOUT_S)
    took = time.monotonic() - started
    due = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[signal.Signals(number)]
    assert process.returncode == due
    assert b"Traceback" not in errors
    assert took < 2
    assert (large.stat().st_size, large.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert names(large.parent) == ["large"]
    if number != signal.SIGKILL:
        assert os.listdir(large.parent) == ["large"]
    # What is left, an empty folder, is in nobody's way.
    os.truncate(large, 100_000)
    good("parity", "encode", "large", cwd=large.parent)
    assert parity.verify_file(large).intact


def test_a_killed_encode_leaves_the_parity_that_was_there(large: Path) -> None:
    os.truncate(large, 100_000)
    good("parity", "encode", "large", cwd=large.parent)
    kept = large.parent / "large.parity"
    before = state(kept)
    os.truncate(large, 3 << 30)
    process = start("parity", "encode", "-f", *SLOW, "large", cwd=large.parent)
    wait_until_working(process)
    assert process.poll() is None, "it was to be killed at work"
    process.kill()
    process.communicate(timeout=TIMEOUT_S)
    assert state(kept) == before


@pytest.mark.timeout(180)
def test_a_repair_that_is_killed_at_any_moment_leaves_what_can_be_repaired(
    tmp_path: Path,
) -> None:
    data = make("noise", 4 * MIB) * 4
    large = tmp_path / "large"
    large.write_bytes(data)
    good("parity", "encode", "-k", 4, "-m", 2, "large", cwd=tmp_path)
    whole = state(tmp_path)
    wait = 0.15
    repaired = False
    while not repaired:
        # A bit of everything: the file, a parity file, the checks, the record.
        flip(large, 0, 5 * MIB, len(data) - 1)
        (tmp_path / "large.parity" / "p-004.rs").unlink()
        flip(tmp_path / "large.parity" / "checks.bin", 7)
        (tmp_path / "large.parity" / "group.json").unlink()
        damaged = large.read_bytes()
        process = start("parity", "repair", "large", cwd=tmp_path)
        time.sleep(wait)
        process.kill()
        process.communicate(timeout=TIMEOUT_S)
        repaired = process.returncode == 0
        wait *= 1.2
        backups = [tmp_path / name for name in names(tmp_path) if name.startswith("large.1")]
        assert large.read_bytes() in (damaged, data)
        assert all(backup.read_bytes() == damaged for backup in backups)
        parity.repair_file(large, backup=False)
        for backup in backups:
            backup.unlink()
        assert state(tmp_path) == whole


def limit_files() -> None:
    # Beyond the limit a write fails as on a full disk, if the signal is ignored.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))


def test_a_disk_that_fills_up_fails_that_file_and_leaves_nothing_of_it(folder: Path) -> None:
    (folder / "small").write_bytes(b"small")
    process = start("parity", "encode", "data.bin", "small", cwd=folder, preexec_fn=limit_files)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert errors.decode() == "shardpack: data.bin: file too large\n"
    assert not (folder / "data.bin.parity").exists()
    assert parity.verify_file(folder / "small").intact


def test_a_disk_that_fills_up_does_not_harm_a_damaged_file(folder: Path) -> None:
    good("parity", "encode", "data.bin", cwd=folder)
    flip(folder / "data.bin", 5)
    before = state(folder)
    process = start("parity", "repair", "data.bin", cwd=folder, preexec_fn=limit_files)
    out, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert b"file too large" in out
    assert state(folder) == before


def test_names_that_are_no_text_work(folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xff.bin")
    (folder / name).write_bytes(DATA)
    report = parity.encode_file(folder / name)
    assert Path(report.folder).is_dir()
    flip(folder / name, 5)
    assert "caf\\xe9 \\xff.bin: repaired" in good("parity", "repair", name, cwd=folder).decode()
    assert (folder / name).read_bytes() == DATA
