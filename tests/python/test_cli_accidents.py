"""The command on terminals, and when things go wrong: signals, full disks, closed pipes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from commands import (
    COMMAND,
    TIMEOUT_S,
    bad,
    good,
    names,
    on_terminal,
    run,
    start,
    wait_until_working,
)
from inputs import MIB, make, python_environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = make("lines", 300_000) + make("noise", 100_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.bin").write_bytes(DATA)
    return tmp_path


# --- terminals ----------------------------------------------------------------------------


def test_a_bar_and_a_summary_are_shown_on_a_terminal_only(folder: Path) -> None:
    code, shown = on_terminal("compress", "data.bin", cwd=folder)
    assert code == 0
    assert "%|" in shown
    assert "data.bin.s4" in shown
    for option in ("--quiet", "--no-progress"):
        code, shown = on_terminal("compress", "-f", option, "data.bin", cwd=folder)
        assert (code, shown) == (0, "")
    assert run("compress", "-f", "data.bin", cwd=folder).stderr == b""


def test_colours_are_for_terminals_that_want_them(folder: Path) -> None:
    good("compress", "data.bin", cwd=folder)
    colour = "\x1b[32m"
    verify = ("verify", "--no-progress", "data.bin.s4")
    assert colour in on_terminal(*verify, cwd=folder)[1]
    assert "\x1b" not in on_terminal(*verify, cwd=folder, environment={"NO_COLOR": "1"})[1]
    assert "\x1b" not in on_terminal(*verify, cwd=folder, environment={"TERM": "dumb"})[1]
    assert b"\x1b" not in good(*verify, cwd=folder)
    code, shown = on_terminal("verify", "missing.s4", "--no-progress", cwd=folder)
    assert (code, "\x1b[31m" in shown) == (1, True)


def test_packed_bytes_are_not_written_to_a_terminal_unless_forced(folder: Path) -> None:
    code, shown = on_terminal("compress", "-c", "data.bin", cwd=folder)
    assert code == 2
    assert "terminal" in shown
    assert "S4F2" not in shown
    code, shown = on_terminal("compress", "-c", "-f", "-q", "data.bin", cwd=folder)
    assert code == 0
    assert "S4F2" in shown


def test_nothing_named_and_nothing_piped_is_a_usage_error(folder: Path) -> None:
    for verb in ("compress", "decompress", "cat"):
        code, shown = on_terminal(verb, cwd=folder)
        assert (code, "name a file" in shown) == (2, True)


# --- accidents ----------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that takes seconds to pack at a high level."""
    path = tmp_path / "large"
    path.write_bytes(make("lines", 4 * MIB) * 16)
    return path


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_run_leaves_the_source_and_nothing_else(large: Path, number: int) -> None:
    before = large.read_bytes()
    process = start("compress", "--rm", "--level", "19", "large", cwd=large.parent)
    wait_until_working(process)
    assert process.poll() is None, "it was to be killed at work"
    process.send_signal(number)
    started = time.monotonic()
    _, errors = process.communicate(timeout=TIMEOUT_S)
    took = time.monotonic() - started
    assert large.read_bytes() == before
    assert names(large.parent) == ["large"]
    due = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[signal.Signals(number)]
    assert process.returncode == due
    assert b"Traceback" not in errors
    assert took < 1


def test_a_killed_overwrite_leaves_the_old_file(large: Path) -> None:
    (large.parent / "large.s4").write_bytes(b"old")
    process = start("compress", "-f", "--level", "19", "large", cwd=large.parent)
    wait_until_working(process)
    process.kill()
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == -9
    assert (large.parent / "large.s4").read_bytes() == b"old"


def test_a_reader_that_goes_away_ends_cat_quietly(large: Path) -> None:
    good("compress", "large", cwd=large.parent)
    process = start("cat", "large.s4", cwd=large.parent)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(100) == large.read_bytes()[:100]
    process.stdout.close()
    assert process.wait(TIMEOUT_S) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_text_reader_that_goes_away_is_quiet_too(folder: Path) -> None:
    good("compress", "data.bin", cwd=folder)
    shell = f"{sys.executable} -m shardpack info {'data.bin.s4 ' * 3000} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", shell],
        cwd=folder,
        env=python_environment(),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    assert done.stderr == b""


def limit_files(size: int) -> Callable[[], None]:
    def limit() -> None:
        # Beyond the limit a write fails as on a full disk, if the signal is ignored.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def test_a_disk_that_fills_up_fails_that_file_and_leaves_nothing_of_it(folder: Path) -> None:
    (folder / "noise").write_bytes(make("noise", 300_000))
    (folder / "small").write_bytes(b"small")
    process = start(
        "compress", "--rm", "noise", "small", cwd=folder, preexec_fn=limit_files(100_000)
    )
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert errors.decode() == "shardpack: noise: file too large\n"
    assert names(folder) == ["data.bin", "noise", "small.s4"]


def test_a_full_standard_output_is_reported(folder: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "compress", "-c", "data.bin"],
            cwd=folder,
            stdout=full,
            stderr=subprocess.PIPE,
            env=python_environment(),
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.decode() == "shardpack: data.bin: no space left on device\n"


def test_a_full_standard_output_for_text_is_reported_too(folder: Path) -> None:
    good("compress", "data.bin", cwd=folder)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "info", "data.bin.s4"],
            cwd=folder,
            stdout=full,
            stderr=subprocess.PIPE,
            env=python_environment(),
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.decode() == "shardpack: standard output: no space left on device\n"


@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ("compress data.bin <&- >&- 2>&-", 0),
        ("compress <&-", 1),
        ("cat data.bin >&-", 1),
        ("compress missing 2>&-", 1),
        ("info missing >&- 2>&-", 1),
    ],
)
def test_closed_standard_streams_are_no_excuse(folder: Path, shell: str, code: int) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m shardpack {shell}"],
        cwd=folder,
        env=python_environment(),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert (folder / "data.bin").read_bytes() == DATA


def test_a_file_that_vanishes_fails_alone(folder: Path) -> None:
    # It is there when the arguments are looked at, and gone when its turn comes.
    code = """
import os, sys
from shardpack.cli import main
def vanish(event, arguments):
    if event == "open" and arguments[0] == "gone" and os.path.exists("gone"):
        os.unlink("gone")
sys.addaudithook(vanish)
sys.exit(main(["compress", "data.bin", "gone", "last"]))
"""
    (folder / "gone").write_bytes(b"gone")
    (folder / "last").write_bytes(b"last")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=python_environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.decode() == "shardpack: gone: no such file or directory\n"
    assert names(folder) == ["data.bin", "data.bin.s4", "last", "last.s4"]


def test_an_unreadable_file_fails_alone(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (folder / "secret").write_bytes(b"secret")
    (folder / "secret").chmod(0)
    assert "permission denied" in bad("compress", "secret", "data.bin", cwd=folder)
    assert (folder / "data.bin.s4").exists()


def test_names_that_are_no_text_work(folder: Path) -> None:
    name = b"caf\xe9 \xff.bin"
    (folder / os.fsdecode(name)).write_bytes(DATA)
    done = subprocess.run(
        [*map(os.fsencode, COMMAND), b"compress", b"--", name],
        cwd=folder,
        env=python_environment(),
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    assert os.listdir(os.fsencode(folder)).count(name + b".s4") == 1
    assert b"ok" in good("verify", "-r", ".", cwd=folder)


def test_a_name_that_looks_like_an_option_works_after_two_dashes(folder: Path) -> None:
    (folder / "-rf").write_bytes(b"x")
    good("compress", "--", "-rf", cwd=folder)
    assert (folder / "-rf.s4").exists()
