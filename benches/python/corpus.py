"""The data that the benches run on: seeded, so that two runs see the same bytes.

``source`` and ``binary`` are the exception: they are the Python files and the shared libraries of
the interpreter at hand, since nothing generated compresses like them. The JSON of a run has the
CRC32C of each corpus, so that two runs can be told apart.
"""

from __future__ import annotations

import functools
import json
import random
import sysconfig
from itertools import accumulate, chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CORPORA", "corpus", "records"]

_SEED = 20_240_229
_EPOCH = 1_709_200_000
_PATHS = ("/", "/index.html", "/api/v1/items", "/api/v1/users", "/static/app.js", "/login")
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:124.0) Gecko/20100101 Firefox/124.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/122.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_3 like Mac OS X) AppleWebKit/605.1.15 Safari/604.1",
    "curl/8.5.0",
    "python-requests/2.31.0",
)


def _fill(size: int, pieces: Iterator[bytes]) -> bytes:
    """Join pieces until there are ``size`` bytes."""
    out = bytearray()
    for piece in pieces:
        out += piece
        if len(out) >= size:
            return bytes(out[:size])
    message = f"only {len(out)} of {size} bytes were found for this corpus"
    raise RuntimeError(message)


def _log(size: int) -> bytes:
    """An access log in nginx's combined format: few clients, skewed paths, rising times."""
    rng = random.Random(_SEED)
    clients = [".".join(str(rng.randrange(1, 255)) for _ in range(4)) for _ in range(2000)]
    weights = [1 / (rank + 1) for rank in range(len(clients))]
    cumulative = list(accumulate(weights))

    def lines() -> Iterator[bytes]:
        second = _EPOCH
        while True:
            second += rng.randrange(3)
            client = rng.choices(clients, cum_weights=cumulative)[0]
            path = rng.choice(_PATHS)
            if path.startswith("/api"):
                path = f"{path}/{rng.randrange(100_000)}?page={rng.randrange(50)}"
            clock = f"{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}"
            status = rng.choices((200, 304, 404, 500), (85, 9, 5, 1))[0]
            agent = rng.choice(_AGENTS)
            yield (
                f"{client} - - [29/Feb/2024:{clock} +0000] "
                f'"{rng.choice(("GET", "GET", "GET", "POST"))} {path} HTTP/1.1" {status} '
                f'{rng.randrange(100, 90_000)} "https://example.com{path}" "{agent}"\n'
            ).encode()

    return _fill(size, lines())


def _jsonl(size: int) -> bytes:
    """JSON lines: events with fixed keys, identifiers, numbers and words."""
    rng = random.Random(_SEED + 1)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randrange(3, 11)))
             for _ in range(3000)]  # fmt: skip

    def lines() -> Iterator[bytes]:
        number = 0
        while True:
            number += 1
            event = {
                "id": f"{rng.getrandbits(64):016x}",
                "seq": number,
                "ts": _EPOCH + number * 37 // 10,
                "user": {"id": rng.randrange(50_000), "country": rng.choice(("DE", "US", "JP"))},
                "kind": rng.choice(("view", "click", "cart", "purchase")),
                "price": round(rng.lognormvariate(3, 1), 2),
                "tags": rng.choices(words, k=rng.randrange(4)),
                "text": " ".join(rng.choices(words, k=rng.randrange(4, 16))),
            }
            yield json.dumps(event).encode() + b"\n"

    return _fill(size, lines())


def _columns(size: int) -> bytes:
    """Pages as a columnar file has them: sorted integers, timestamps, prices, categories."""
    rng = np.random.default_rng(_SEED + 2)
    rows = 1 << 16

    def pages() -> Iterator[bytes]:
        start = 0
        while True:
            yield (start + np.cumsum(rng.integers(1, 9, rows))).astype("<i8").tobytes()
            times = _EPOCH * 1000 + np.cumsum(rng.exponential(250, rows))
            yield times.astype("<i8").tobytes()
            yield rng.integers(0, 12, rows).astype("<i4").tobytes()
            yield np.round(rng.lognormal(3, 1, rows), 2).astype("<f8").tobytes()
            yield rng.zipf(1.4, rows).clip(0, 60_000).astype("<i4").tobytes()
            start += 5 * rows

    return _fill(size, pages())


def _installed(*patterns: str) -> Iterator[bytes]:
    """The files of the interpreter and of the packages installed beside it."""
    folders = (sysconfig.get_path("stdlib"), sysconfig.get_path("platlib"), "/usr/lib")
    for path in chain.from_iterable(
        sorted(Path(folder).rglob(pattern)) for folder in folders for pattern in patterns
    ):
        if path.is_file() and not path.is_symlink():
            yield path.read_bytes()


def _source(size: int) -> bytes:
    """Program text."""
    return _fill(size, _installed("*.py"))


def _binary(size: int) -> bytes:
    """Machine code with its tables."""
    return _fill(size, _installed("*.so", "*.so.*"))


def _random(size: int) -> bytes:
    """Nothing to gain."""
    return random.Random(_SEED + 3).randbytes(size)


_MAKERS: dict[str, Callable[[int], bytes]] = {
    "nginx": _log,
    "jsonl": _jsonl,
    "columns": _columns,
    "source": _source,
    "binary": _binary,
    "random": _random,
}
CORPORA = tuple(_MAKERS)


@functools.cache
def corpus(name: str, size: int) -> bytes:
    """Make a corpus.

    Args:
        name: One of ``CORPORA``.
        size: Its length in bytes.

    Returns:
        The same bytes for the same arguments.
    """
    return _MAKERS[name](size)


def records(name: str, size: int, count: int) -> list[bytes]:
    """Cut records of equal length out of a corpus, each from the start of a line.

    Args:
        name: One of ``CORPORA``.
        size: Length of a record in bytes.
        count: How many.

    Returns:
        The records; they overlap where the corpus is shorter than all of them together.
    """
    data = corpus(name, 64 << 20)
    rng = random.Random(_SEED + size)
    starts = (
        data.find(b"\n", rng.randrange(len(data) - 2 * size - 4096)) + 1 for _ in range(count)
    )
    return [data[start : start + size] for start in starts]
