"""The command as a process of its own, with pipes or on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING, Any

from inputs import python_environment

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "COMMAND",
    "TIMEOUT_S",
    "bad",
    "good",
    "names",
    "on_terminal",
    "run",
    "start",
    "wait_until_working",
]

COMMAND = [sys.executable, "-m", "shardpack"]
TIMEOUT_S = 50


def run(
    *arguments: object, cwd: Path | None = None, stdin: bytes = b"", **options: Any
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        env=python_environment(options.pop("environment", None)),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
        **options,
    )


def good(*arguments: object, **options: Any) -> bytes:
    """Standard output of a run that must succeed without a word on standard error."""
    done = run(*arguments, **options)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def bad(*arguments: object, code: int = 1, **options: Any) -> str:
    """Standard error of a run that must fail, without a traceback."""
    done = run(*arguments, **options)
    text = done.stderr.decode()
    assert done.returncode == code, text
    assert "Traceback" not in text
    return text


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def on_terminal(
    *arguments: str, cwd: Path, environment: dict[str, str | None] | None = None, stdin: int = -1
) -> tuple[int, str]:
    """Run with a terminal for all three streams; gives the exit code and what was shown."""
    main, terminal = pty.openpty()
    rows_and_columns = struct.pack("HHHH", 24, 100, 0, 0)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, rows_and_columns)
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cwd,
        stdin=terminal if stdin < 0 else stdin,
        stdout=terminal,
        stderr=terminal,
        env=python_environment({"NO_COLOR": None, "TERM": "xterm", **(environment or {})}),
        close_fds=True,
    )
    os.close(terminal)
    shown = bytearray()
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        if select.select([main], [], [], 0.2)[0]:
            try:
                piece = os.read(main, 65536)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        elif process.poll() is not None:
            break
    os.close(main)
    return process.wait(TIMEOUT_S), shown.decode(errors="replace")


def start(*arguments: str, cwd: Path, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=python_environment(),
        **options,
    )


def wait_until_working(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has used more time than starting takes."""
    ticks = os.sysconf("SC_CLK_TCK")
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with open(f"/proc/{process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        if (int(fields[11]) + int(fields[12])) / ticks > 0.7:
            return
        time.sleep(0.01)
