"""Many digests in one call: lists, generators, Arrow arrays, nulls."""

from __future__ import annotations

import hashlib
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inputs import MIB, make
from shardpack import BinaryArray, InvalidInput, crc32c, hash

if TYPE_CHECKING:
    from collections.abc import Callable

pyarrow = pytest.importorskip("pyarrow", reason="Arrow arrays are among the inputs")

ONE: dict[str, Callable[[bytes], bytes]] = {
    "blake3": hash.blake3,
    "sha256": hash.sha256,
    "keccak256": hash.keccak256,
    "sha3_256": hash.sha3_256,
    "crc32c": lambda data: crc32c(data).to_bytes(4, "big"),
}


def records(count: int, longest: int) -> list[bytes]:
    data = make("noise", longest + count)
    return [data[i : i + i * 7919 % (longest + 1)] for i in range(count)]


def test_the_names_are_those_of_the_table() -> None:
    assert set(ONE) == set(hash.ALGORITHMS)


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize(
    ("count", "longest"), [(0, 0), (1, 5), (17, 200), (500, 3000), (40, 90_000)]
)
def test_each_is_the_digest_of_its_buffer(name: str, count: int, longest: int) -> None:
    messages = records(count, longest)
    due = [ONE[name](message) for message in messages]
    assert hash.many(name, messages) == due
    assert hash.many_packed(name, messages) == b"".join(due)


@given(st.lists(st.binary(max_size=300), max_size=40), st.sampled_from(sorted(ONE)))
def test_any_list_of_buffers(messages: list[bytes], name: str) -> None:
    due = [ONE[name](message) for message in messages]
    assert hash.many(name, messages) == due
    assert hash.many_packed(name, iter(messages)) == b"".join(due)


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_long_messages_among_short_ones(name: str, threads: int) -> None:
    messages = [b"", make("noise", 9 * MIB), b"abc", make("noise", 4 * MIB + 1), b"x" * 100]
    due = [ONE[name](message) for message in messages]
    assert hash.many(name, messages, threads=threads) == due
    assert hash.many_packed(name, messages, threads=threads) == b"".join(due)


def test_any_iterable_of_any_buffers() -> None:
    due = [hashlib.sha256(b"ab").digest()] * 4
    mixed = (b"ab", bytearray(b"ab"), memoryview(b"xab")[1:], pyarrow.py_buffer(b"ab"))
    assert hash.many("sha256", mixed) == due
    assert hash.many("sha256", (one for one in mixed)) == due


def test_the_list_may_be_emptied_while_it_is_hashed() -> None:
    # Fresh objects that nothing but the list and the call keeps alive.
    messages = [bytes(bytearray(20_000 + i)) for i in range(2000)]
    due = hash.many("keccak256", messages)
    found: list[list[bytes]] = []
    thread = threading.Thread(target=lambda: found.append(hash.many("keccak256", messages)))
    thread.start()
    time.sleep(0.01)
    messages.clear()
    # Memory that was given back is written to again.
    filler = [b"x" * (20_000 + i) for i in range(2000)]
    thread.join()
    assert len(filler) == 2000
    # The call read the list before it was emptied, or after.
    assert found[0] in (due, [])


# --- Arrow and nulls ----------------------------------------------------------------------

VALUES = [b"one", None, b"", make("noise", 1000), None, b"three"]


@pytest.mark.parametrize(
    "kind", ["binary", "large_binary", "binary_view", "string", "large_string"]
)
@pytest.mark.parametrize("name", ONE)
def test_arrow_in_arrow_out(name: str, kind: str) -> None:
    values: list[Any] = [b"one", None, b"", b"x" * 300, None]
    if "string" in kind:
        values = [None if value is None else value.decode() for value in values]
    found = hash.many(name, pyarrow.array(values, getattr(pyarrow, kind)()))
    assert isinstance(found, BinaryArray)
    due = [
        None if value is None else ONE[name](value.encode() if isinstance(value, str) else value)
        for value in values
    ]
    assert list(found) == due
    assert pyarrow.array(found).to_pylist() == due


def test_fixed_width_values_and_chunked_arrays() -> None:
    fixed = pyarrow.array([b"abcd", b"efgh"], pyarrow.binary(4))
    assert list(hash.many("blake3", fixed)) == [hash.blake3(b"abcd"), hash.blake3(b"efgh")]
    chunked = pyarrow.chunked_array([[b"a", None], [], [b"b"]], pyarrow.binary())
    assert list(hash.many("blake3", chunked)) == [hash.blake3(b"a"), None, hash.blake3(b"b")]


def test_an_empty_array_stays_one() -> None:
    assert list(hash.many("sha256", pyarrow.array([], pyarrow.binary()))) == []
    assert hash.many_packed("sha256", pyarrow.array([], pyarrow.binary())) == b""


def test_a_slice_of_an_array_is_only_the_slice() -> None:
    array = pyarrow.array([b"a", b"b", b"c", b"d"]).slice(1, 2)
    assert list(hash.many("sha256", array)) == hash.many("sha256", [b"b", b"c"])
    assert hash.many_packed("crc32c", array) == b"".join(map(ONE["crc32c"], (b"b", b"c")))


def test_none_in_a_list_stays_none() -> None:
    found = hash.many("sha256", VALUES)
    assert found == [None if value is None else hash.sha256(value) for value in VALUES]


def test_packed_digests_have_no_place_for_nulls() -> None:
    values: Any = VALUES
    with pytest.raises(TypeError, match="record 1: null has no digest"):
        hash.many_packed("sha256", values)
    with pytest.raises(TypeError, match="record 2: null has no digest"):
        hash.many_packed("sha256", pyarrow.array([b"", b"", None]))


def test_arrow_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match="binary or string values"):
        hash.many("sha256", pyarrow.array([1, 2, 3]))


# --- refusals -----------------------------------------------------------------------------


def test_the_error_names_the_buffer() -> None:
    wrong: Any = [b"a", b"b", "c"]
    with pytest.raises(TypeError, match="record 2: a bytes-like object is required, not 'str'"):
        hash.many("sha256", wrong)
    one: Any = b"not a list"
    with pytest.raises(TypeError, match="record 0: a bytes-like object is required, not 'int'"):
        hash.many("sha256", one)


@pytest.mark.parametrize("name", ["", "md5", "SHA256", "sha3-256", "blake3 ", "sha-256"])
def test_an_unknown_algorithm_is_refused_with_the_names(name: str) -> None:
    text = "there are blake3, sha256, keccak256, sha3_256, crc32c"
    calls: list[Callable[[], object]] = [
        lambda: hash.many(name, [b""]),
        lambda: hash.many_packed(name, [b""]),
        lambda: hash.new(name),
        lambda: hash.file(__file__, name),
    ]
    for call in calls:
        with pytest.raises(InvalidInput, match=text) as caught:
            call()
        assert name in str(caught.value)
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, RuntimeError)
