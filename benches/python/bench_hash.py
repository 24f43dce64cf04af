"""Hashes: one message, and many messages in one call, beside the other packages."""

from __future__ import annotations

import hashlib
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import blake3
import numpy as np
import sha3
from Crypto.Hash import keccak

from harness import MIB, Case, Contender, Report, parse_arguments
from shardpack import cpu_features, hash

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

_BATCH_SIZES: Final = (64, 97, 512, 1024, 4096)
_BATCH_BYTES: Final = 4 * MIB
#: Goals of the batch rows by algorithm and length of a message.
_BATCH_GOALS: Final = {
    ("blake3", 64): 6.0,
    ("blake3", 1024): 4.0,
    ("sha256", 64): 8.0,
    ("sha256", 1024): 2.5,
}
_KECCAK_BATCH_GOALS: Final = {"avx2": 5.0, "gfni": 5.0, "avx512": 15.0}


def _keccak_pycryptodome(data: bytes) -> bytes:
    return bytes(keccak.new(digest_bits=256, data=data).digest())


_PEERS: Final[dict[str, dict[str, Callable[[Any], bytes]]]] = {
    "blake3": {"blake3": lambda data: blake3.blake3(data).digest()},
    "sha256": {"hashlib": lambda data: hashlib.sha256(data).digest()},
    "keccak256": {
        "safe-pysha3": lambda data: bytes(sha3.keccak_256(data).digest()),
        "pycryptodome": _keccak_pycryptodome,
    },
    "sha3_256": {"hashlib": lambda data: hashlib.sha3_256(data).digest()},
}


def _each(call: Callable[[bytes], object], messages: Sequence[bytes]) -> Callable[[], object]:
    return lambda: deque(map(call, messages), maxlen=0)


def _peers(
    algorithm: str, messages: Sequence[bytes], expected: Sequence[bytes], *, one: bool
) -> list[Contender]:
    contenders = []
    for name, call in _PEERS[algorithm].items():
        if [call(message) for message in messages] != expected:
            message = f"{name} and shardpack differ in {algorithm}"
            raise RuntimeError(message)
        work = partial(call, messages[0]) if one else _each(call, messages)
        contenders.append(Contender(name, work))
    return contenders


def _one_message(report: Report, algorithm: str, size: int, goal: float | None) -> None:
    data = np.random.default_rng(size).bytes(size)
    call = getattr(hash, algorithm)
    # Many calls a round, so that short ones are not lost in the clock.
    count = max(1, (64 << 10) // size)
    ours = partial(call, data) if count == 1 else _each(call, [data] * count)
    peers = _peers(algorithm, [data] * count, [call(data)] * count, one=count == 1)
    if algorithm == "blake3":
        ours = partial(call, data, threads=1) if count == 1 else ours
    report.compare(
        Case(f"{algorithm}, one message", _length(size), size * count / 1e6, goal),
        [Contender(f"hash.{algorithm}", ours, ours=True), *peers],
    )


def _batch(report: Report, algorithm: str, size: int, goal: float | None, threads: int) -> None:
    count = _BATCH_BYTES // size
    whole = np.random.default_rng(size).bytes(count * size)
    messages = [whole[start : start + size] for start in range(0, len(whole), size)]
    expected = hash.many(algorithm, messages)
    ours = [
        Contender("hash.many", partial(hash.many, algorithm, messages, threads=threads), ours=True)
    ]
    if hasattr(hash, "many_packed"):
        packed = partial(hash.many_packed, algorithm, messages, threads=threads)
        if packed() != b"".join(expected):
            message = "many_packed and many differ"
            raise RuntimeError(message)
        ours.append(Contender("hash.many_packed", packed, ours=True))
    report.compare(
        Case(
            f"{algorithm}, batch",
            f"{count:,} x {_length(size)}",
            count / 1e3,
            goal,
            unit="k messages",
            threads=threads,
        ),
        [*ours, *_peers(algorithm, messages, expected, one=False)],
    )


def _length(size: int) -> str:
    if size >= MIB:
        return f"{size // MIB} MiB"
    return f"{size >> 10} KiB" if size >= 1 << 10 else f"{size} B"


def _run(arguments: argparse.Namespace) -> None:
    level = cpu_features()["level"]
    report = Report(f"hashes at level {level}", arguments)
    for algorithm in _PEERS:
        is_keccak = algorithm in {"keccak256", "sha3_256"}
        _one_message(report, algorithm, 64, {"blake3": None}.get(algorithm, 2.0))
        for size in (64 << 10, 16 * MIB):
            _one_message(report, algorithm, size, 1.3 if algorithm == "keccak256" else 1.0)
        for size in _BATCH_SIZES:
            goal = _BATCH_GOALS.get((algorithm, size))
            if is_keccak and size == _BATCH_SIZES[0]:
                goal = _KECCAK_BATCH_GOALS.get(level)
            _batch(report, algorithm, size, goal, 1)
            if arguments.threads > 1 and size == 1 << 10:
                _batch(report, algorithm, size, None, arguments.threads)
    report.finish()


if __name__ == "__main__":
    _run(parse_arguments("hashes against the other packages"))
