"""CRC32C: one buffer, and many buffers in one call, beside the other packages."""

from __future__ import annotations

from collections import deque
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

import crc32c as icrar
import fastcrc
import google_crc32c
import numpy as np
import pyarrow as pa
from awscrt import checksums as awscrt

from harness import MIB, Case, Contender, Report, parse_arguments
from shardpack import cpu_features, crc32c, crc32c_many

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

_PEERS: Final[dict[str, Callable[[Any], int]]] = {
    "fastcrc": fastcrc.crc32.iscsi,
    "crc32c": icrar.crc32c,
    "google-crc32c": google_crc32c.value,
    "awscrt": awscrt.crc32c,
}

#: Goals by length, where the peers cannot use AVX-512 either.
_GOALS: Final = {64: 1.0, 4 << 10: 1.4, 64 << 10: 1.7, MIB: 1.7, 64 * MIB: 1.3}
_MANY_GOAL: Final = 2.5
#: The packages that use AVX-512 are as near to the limit as one can get.
_AVX512_GOAL: Final = 1.0

_SIZES: Final = (64, 256, 1 << 10, 4 << 10, 64 << 10, MIB)
_LARGE: Final = 64 * MIB
#: How many buffers of how many bytes; in the caches, and beyond them.
_BATCHES: Final = ((10_000, 64), (256, 4 << 10), (16_384, 4 << 10))
_QUICK_COUNT: Final = 100

#: Bytes of one timed call, so that short buffers are not lost in the clock.
_CALL_BYTES: Final = 64 << 10


def _each(call: Callable[[Any], object], buffers: Sequence[bytes]) -> Callable[[], object]:
    return lambda: deque(map(call, buffers), maxlen=0)


def _again(call: Callable[[Any], object], data: bytes) -> Callable[[], object]:
    count = max(1, _CALL_BYTES // len(data))
    return lambda: deque(map(call, repeat(data, count)), maxlen=0)


def _check(name: str, found: object, expected: object) -> None:
    if found != expected:
        message = f"{name} and shardpack differ"
        raise RuntimeError(message)


def _one(report: Report, size: int, goal: float) -> None:
    data = np.random.default_rng(size).bytes(size)
    expected = crc32c(data)
    for name, call in _PEERS.items():
        _check(name, call(data), expected)
    report.compare(
        Case("crc32c", _length(size), max(_CALL_BYTES, size) / 1e6, goal),
        [
            Contender("shardpack", _again(crc32c, data), ours=True),
            *(Contender(name, _again(call, data)) for name, call in _PEERS.items()),
        ],
    )


def _large(report: Report, size: int, goal: float, threads: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    alone = partial(crc32c_many, [data], threads=threads)
    peers = [Contender(name, partial(call, data)) for name, call in _PEERS.items()]
    for name, call in _PEERS.items():
        _check(name, [call(data)], alone())
    report.compare(
        Case("crc32c", _length(size), size / 1e6, goal, threads=threads),
        [Contender("crc32c_many of one", alone, ours=True), *peers],
    )


def _many(report: Report, count: int, size: int, goal: float, threads: int) -> None:
    whole = np.random.default_rng(size).bytes(count * size)
    buffers = [whole[start : start + size] for start in range(0, len(whole), size)]
    column = pa.array(buffers, pa.binary())
    expected = crc32c_many(buffers)
    _check("crc32c_many of Arrow", crc32c_many(column), expected)
    for name, call in _PEERS.items():
        _check(name, [call(one) for one in buffers], expected)
    ours = {"list": buffers, "Arrow": column}
    report.compare(
        Case(
            "crc32c, many",
            f"{count:,} x {_length(size)}",
            count / 1e3,
            goal,
            unit="k buffers",
            threads=threads,
        ),
        [
            *(
                Contender(
                    f"crc32c_many, {kind}", partial(crc32c_many, batch, threads=threads), ours=True
                )
                for kind, batch in ours.items()
            ),
            *(Contender(name, _each(call, buffers)) for name, call in _PEERS.items()),
        ],
    )


def _length(size: int) -> str:
    if size >= MIB:
        return f"{size // MIB} MiB"
    return f"{size >> 10} KiB" if size >= 1 << 10 else f"{size} B"


def _run(arguments: argparse.Namespace) -> None:
    found = cpu_features()
    level, peers_have_avx512 = found["level"], "avx512" in found["levels"]

    def goal_of(goal: float) -> float:
        return _AVX512_GOAL if peers_have_avx512 else goal

    report = Report(f"CRC32C at level {level}", arguments)
    for size in _SIZES:
        _one(report, size, goal_of(_GOALS.get(size, 1.0)))
    large = min(_LARGE, arguments.size)
    counts = sorted({1, arguments.threads})
    for threads in counts:
        _large(report, large, goal_of(_GOALS[_LARGE]), threads)
    for count, size in _BATCHES:
        for threads in counts:
            goal = goal_of(_MANY_GOAL if size > _SIZES[0] else 1.0)
            _many(report, _QUICK_COUNT if arguments.quick else count, size, goal, threads)
    report.finish()


if __name__ == "__main__":
    _run(parse_arguments("CRC32C against the other packages"))
