"""Inputs shared by the tests: generators, recorded vectors and child interpreters."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from array import array
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shardpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "DEBUG_BUILD",
    "GENERATORS",
    "KIB",
    "MIB",
    "REPOSITORY",
    "S4_VECTORS",
    "VECTORS",
    "drbg",
    "generate",
    "load_json",
    "make",
    "pieces",
    "python_environment",
    "run_python",
]

KIB = 1 << 10
MIB = 1 << 20
REPOSITORY = Path(__file__).resolve().parents[2]
VECTORS = REPOSITORY / "tests" / "vectors"
S4_VECTORS = VECTORS / "s4"
# Set for the run on an unoptimised build: tests of many megabytes are left out there.
DEBUG_BUILD = os.environ.get("SHARDPACK_DEBUG_BUILD") == "1"


def _zeros(_seed: str, size: int) -> bytes:
    return bytes(size)


def _noise(seed: str, size: int) -> bytes:
    digests = (hashlib.sha256(f"{seed}:{i}".encode()).digest() for i in range(size // 32 + 1))
    return b"".join(digests)[:size]


def _lines(seed: str, size: int) -> bytes:
    rows: list[str] = []
    length = i = 0
    while length < size:
        rows.append(f"{i:08d} {seed} order={i * 2654435761 % 100000} level=info\n")
        length += len(rows[-1])
        i += 1
    return "".join(rows).encode()[:size]


def _events(seed: str, size: int) -> bytes:
    rows: list[str] = []
    length = i = 0
    while length < size:
        rows.append(
            f'{{"ts":{1780000000 + i},"svc":"{seed}",'
            f'"ev":"order_created","id":"ord_{i * 31:08d}"}}\n'
        )
        length += len(rows[-1])
        i += 1
    return "".join(rows).encode()[:size]


def _cycle(_seed: str, size: int) -> bytes:
    # The pattern has period 256 inside a run of 8192 positions, which all share position >> 13.
    runs = (
        bytes((i * 31 + high) & 0xFF for i in range(256)) * 32 for high in range(size // 8192 + 1)
    )
    return b"".join(runs)[:size]


def _column(code: str, start: int, step: int, size: int) -> bytes:
    width = array(code).itemsize
    values = array(code, range(start, start + step * (size // width + 1), step))
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()[:size]


def _u32col(_seed: str, size: int) -> bytes:
    return _column("I", 0, 3, size)


def _u64col(_seed: str, size: int) -> bytes:
    return _column("Q", 1_700_000_000_000_000_000, 137, size)


GENERATORS: dict[str, Callable[[str, int], bytes]] = {
    "zeros": _zeros,
    "noise": _noise,
    "lines": _lines,
    "events": _events,
    "cycle": _cycle,
    "u32col": _u32col,
    "u64col": _u64col,
}


@lru_cache(maxsize=64)
def make(generator: str, size: int, seed: str = "a") -> bytes:
    """The first ``size`` bytes of a generator (rules: ``tests/vectors/s4/README.md``)."""
    return GENERATORS[generator](seed, size)


def generate(spec: Mapping[str, Any]) -> bytes:
    """The input that a vector names, checked against its SHA-256."""
    data = make(spec["gen"], spec["size"], spec["seed"])
    assert hashlib.sha256(data).hexdigest() == spec["sha256"], f"generator {spec['gen']} is wrong"
    return data


def drbg(label: str, length: int) -> bytes:
    """The byte stream of the checksum vectors: SHA-256 over the label and a counter."""
    count = length // 32 + 1
    return b"".join(
        hashlib.sha256(label.encode() + i.to_bytes(8, "big")).digest() for i in range(count)
    )[:length]


@lru_cache(maxsize=16)
def load_json(path: str) -> Any:
    """A JSON file below ``tests/vectors``."""
    return json.loads((VECTORS / path).read_text())


def pieces(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """Cut ``data`` into pieces of the given sizes, over and over; a size of 0 gives ``b""``."""
    at = turn = 0
    sizes = [*sizes, 1] if not any(sizes) else sizes
    while at < len(data):
        size = sizes[turn % len(sizes)]
        yield data[at : at + size]
        at += size
        turn += 1


def python_environment(changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """The environment for a child interpreter that imports this very package.

    Args:
        changes: Variables to set, or to remove where the value is ``None``.

    Returns:
        A copy of the environment with the changes.
    """
    environment = dict(os.environ)
    package = str(Path(shardpack.__file__).parents[1])
    paths = [package, environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    for name, value in (changes or {}).items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    return environment


def run_python(
    code: str, changes: Mapping[str, str | None] | None = None, *, timeout_s: float = 50
) -> str:
    """Run ``code`` in a fresh interpreter; returns what it printed.

    Args:
        code: The program.
        changes: Environment variables, see `python_environment`.
        timeout_s: Seconds after which it counts as hung, and the test fails.

    Returns:
        Standard output, stripped.
    """
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=python_environment(changes),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()
