"""The MD5 of several buffers at once, for uploads, beside ``hashlib``."""

from __future__ import annotations

import hashlib
import mmap
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shardpack
from inputs import MIB, make, run_python
from shardpack._native import md5_many

DATA = make("noise", 40_000)
TESTS = str(Path(__file__).parent)


def due(buffers: list[bytes]) -> list[bytes]:
    return [hashlib.md5(buffer, usedforsecurity=False).digest() for buffer in buffers]


def check() -> int:
    """Compare many batches; gives how many there were, for processes of other levels."""
    count = 0
    for length in range(201):
        equal = [DATA[at : at + length] for at in range(17)]
        assert md5_many(equal) == due(equal), length
        count += 1
    for number in range(41):
        mixed = [DATA[at : at + at * at * 97 % 3000] for at in range(number)]
        assert md5_many(mixed) == due(mixed), number
        count += 1
    return count


@pytest.mark.parametrize("level", shardpack.cpu_features()["levels"])
def test_every_level_agrees_with_hashlib(level: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {TESTS!r}); import test_md5, shardpack;"
        "print(shardpack.cpu_features()['level'], test_md5.check())"
    )
    assert run_python(code, {"SHARDPACK_CPU": level}) == f"{level} 242"


@given(
    st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 63)), max_size=40),
    st.integers(0, 40_000),
)
def test_any_list_of_buffers_at_any_place(pieces: list[tuple[bytes, int]], length: int) -> None:
    buffers = [bytes(offset) + piece for piece, offset in pieces]
    views = [
        memoryview(buffer)[offset:] for buffer, (_, offset) in zip(buffers, pieces, strict=True)
    ]
    expected = due([piece for piece, _ in pieces])
    assert md5_many(views) == expected
    assert md5_many([*views, DATA[:length]]) == [*expected, *due([DATA[:length]])]


def test_nothing_gives_nothing() -> None:
    assert md5_many([]) == []
    assert md5_many([b""]) == due([b""])


def test_any_buffer_will_do() -> None:
    mapped = mmap.mmap(-1, 5000)
    mapped[:] = DATA[:5000]
    found = md5_many((DATA, bytearray(DATA), memoryview(DATA)[1:], mapped))
    assert found == due([DATA, DATA, DATA[1:], DATA[:5000]])


@pytest.mark.parametrize("wrong", ["text", None, 1, memoryview(DATA)[::2]])
def test_what_is_no_buffer_is_refused(wrong: object) -> None:
    with pytest.raises((TypeError, BufferError)):
        md5_many([b"x", wrong])  # type: ignore[list-item]


def test_threads_may_hash_long_messages_at_once() -> None:
    messages = [make("noise", MIB) * 4, make("lines", 5 * MIB + 3), b"short", b""]
    expected = due(messages)
    found: list[list[bytes]] = []
    threads = [threading.Thread(target=lambda: found.append(md5_many(messages))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
