"""CRC32C against RFC 3720, recorded vectors and a table; every kernel, one and many buffers."""

from __future__ import annotations

import base64
import pickle
import sys
from array import array
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inputs import MIB, drbg, load_json, make, run_python
from oracles.payload_oracle import crc32c as table_crc32c
from shardpack import cpu_features, crc32c, crc32c_base64, crc32c_combine, crc32c_many

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

VECTORS = load_json("hash/crc32c.json")
U32 = (1 << 32) - 1


@pytest.mark.parametrize("vector", VECTORS["rfc3720"], ids=lambda vector: vector["name"])
def test_rfc_3720_examples(vector: dict[str, str]) -> None:
    # The RFC prints the bytes as they go over the wire, which is how the vectors were kept.
    assert crc32c(bytes.fromhex(vector["msg"])) == int(vector["crc32c"], 16)


def test_check_value_of_the_catalogue() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0


@pytest.mark.parametrize("vector", VECTORS["generated"], ids=lambda vector: vector["label"])
def test_generated_vectors(vector: dict[str, Any]) -> None:
    data = drbg(vector["label"], vector["len"])
    assert crc32c(data) == int(vector["crc32c"], 16)
    assert crc32c_base64(data) == vector["s3_base64"]
    # As TFRecord, Snappy and LevelDB store it.
    crc = crc32c(data)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & U32
    assert masked == int(vector["masked"], 16)


@pytest.mark.parametrize("vector", VECTORS["combine"])
def test_combine_vectors(vector: dict[str, Any]) -> None:
    a, b = int(vector["crc_a"], 16), int(vector["crc_b"], 16)
    assert crc32c_combine(a, b, vector["len_b"]) == int(vector["crc_ab"], 16)


@pytest.mark.parametrize("vector", VECTORS["continue"])
def test_continues_from_an_earlier_checksum(vector: dict[str, str]) -> None:
    so_far, rest = int(vector["crc_so_far"], 16), bytes.fromhex(vector["next"])
    assert crc32c(rest, so_far) == int(vector["crc32c"], 16)
    assert crc32c(rest, init=so_far) == int(vector["crc32c"], 16)


@given(st.binary(max_size=600))
def test_equals_the_table(data: bytes) -> None:
    assert crc32c(data) == table_crc32c(data)


@given(st.binary(max_size=400), st.integers(0, 400))
def test_any_cut_gives_the_same_checksum(data: bytes, cut: int) -> None:
    head, tail = data[:cut], data[cut:]
    assert crc32c(tail, crc32c(head)) == crc32c(data)
    assert crc32c_combine(crc32c(head), crc32c(tail), len(tail)) == crc32c(data)


@given(st.binary(max_size=64))
def test_base64_is_of_the_big_endian_bytes(data: bytes) -> None:
    assert base64.b64decode(crc32c_base64(data)) == crc32c(data).to_bytes(4, "big")


def test_unaligned_starts_give_the_same_checksum() -> None:
    data = drbg("unaligned", 5000)
    view = memoryview(data)
    for start in range(17):
        assert crc32c(view[start:]) == table_crc32c(data[start:])


def test_combine_with_nothing_is_the_first() -> None:
    assert crc32c_combine(0xE3069283, 0, 0) == 0xE3069283
    assert crc32c_combine(0, 0xE3069283, 9) == 0xE3069283


@pytest.mark.parametrize("value", [-1, U32 + 1])
def test_a_start_value_of_more_than_32_bits_is_refused(value: int) -> None:
    with pytest.raises(OverflowError):
        crc32c(b"a", value)
    with pytest.raises(OverflowError):
        crc32c_combine(value, 0, 1)
    with pytest.raises(OverflowError):
        crc32c_combine(0, value, 1)


@pytest.mark.parametrize("length", [-1, 1 << 64])
def test_a_length_outside_64_bits_is_refused(length: int) -> None:
    with pytest.raises(OverflowError):
        crc32c_combine(0, 0, length)


@pytest.mark.parametrize("value", [1.0, "1", None, b"1"])
def test_a_start_value_that_is_no_integer_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        crc32c(b"a", value)


# --- many ---------------------------------------------------------------------------------


def buffers() -> list[bytes]:
    data = make("noise", 100_000)
    return [data[at : at + at % 5000] for at in range(0, 90_000, 97)]


@pytest.mark.parametrize("threads", [None, 1, 2, 7])
def test_many_equal_one_at_a_time(threads: int | None) -> None:
    assert crc32c_many(buffers(), threads=threads) == [crc32c(one) for one in buffers()]


@pytest.mark.slow
def test_many_that_threads_share_equal_one_at_a_time() -> None:
    # Enough for the pool, one that threads share by itself, and many that they share out.
    large = make("cycle", 9 * MIB)
    data = [large, *(large[at : at + 4096] for at in range(0, len(large), 1000)), large[1:]]
    due = [crc32c(one) for one in data]
    for threads in (1, 2, 5):
        assert crc32c_many(data, threads=threads) == due
    assert crc32c_many(pa.array(data[1:-1], pa.binary()), threads=2) == due[1:-1]


@given(st.lists(st.binary(max_size=200), max_size=40))
def test_many_take_any_iterable(data: list[bytes]) -> None:
    def one_by_one() -> Iterator[bytes]:
        yield from data

    due = [table_crc32c(one) for one in data]
    assert crc32c_many(data) == crc32c_many(tuple(data)) == crc32c_many(one_by_one()) == due


def test_many_take_any_buffer() -> None:
    data = b"123456789"
    kinds: list[Buffer] = [
        data,
        bytearray(data),
        memoryview(data),
        memoryview(b"-" + data)[1:],
        array("B", data),
    ]
    assert crc32c_many(kinds) == [0xE3069283] * len(kinds)


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.string()], ids=str
)
def test_many_take_arrow(kind: Any) -> None:
    values = [b"123456789", None, b"", b"a longer value than a view holds inside"]
    due = [None if value is None else crc32c(value) for value in values]
    column = pa.array(values, pa.binary()).cast(kind)
    assert crc32c_many(column) == due
    assert crc32c_many(column[1:]) == due[1:]
    assert crc32c_many(pa.chunked_array([column, column])) == due * 2
    assert crc32c_many(values) == due


def test_many_of_nothing() -> None:
    assert crc32c_many([]) == []
    assert crc32c_many([b"", b""]) == [0, 0]
    assert crc32c_many([None]) == [None]
    assert crc32c_many(pa.array([], pa.binary())) == []


def test_what_is_no_buffer_is_named() -> None:
    wrong: Any = [b"a", b"b", 3]
    with pytest.raises(TypeError, match="record 2: a bytes-like object is required, not 'int'"):
        crc32c_many(wrong)
    gaps: Any = [memoryview(b"abcd")[::2]]
    with pytest.raises(TypeError, match="record 0: the buffer is not C-contiguous"):
        crc32c_many(gaps)
    text: Any = ["text"]
    with pytest.raises(TypeError, match="record 0"):
        crc32c_many(text)
    nothing: Any = None
    with pytest.raises(TypeError):
        crc32c_many(nothing)
    numbers = pa.array([1, 2])
    with pytest.raises(TypeError):
        crc32c_many(numbers)


# --- kernels ------------------------------------------------------------------------------

#: Prints the checksums of all lengths to 700 and of some above, from different starts, and the
#: kernel that made them.
ALL_KINDS = """
import shardpack
data = memoryview(bytes((at * at * 7 + (at >> 8)) & 255 for at in range(70_000)))
lengths = [*range(700), 1000, 1023, 4095, 4096, 5000, 12_800, 15_360, 15_361, 30_721, 65_536]
crcs = [shardpack.crc32c(data[at % 64 : at % 64 + at], at) for at in lengths]
crcs += shardpack.crc32c_many([data[at % 61 : at % 61 + at] for at in lengths])
joined = shardpack.crc32c_combine(crcs[-1], crcs[-2], 10**15)
print(shardpack.cpu_features()["kernels"]["crc32c"], hash((*crcs, joined)))
"""


def test_every_level_of_the_cpu_gives_the_same_checksums() -> None:
    levels = cpu_features()["levels"]
    printed = {level: run_python(ALL_KINDS, {"SHARDPACK_CPU": level}).split() for level in levels}
    assert printed["scalar"][0] == "portable"
    assert len({checksums for _, checksums in printed.values()}) == 1, printed
    best = run_python(ALL_KINDS, {"SHARDPACK_CPU": None}).split()
    assert best == printed[levels[-1]]
    if len(levels) > 1:
        assert best[0] != "portable"


@pytest.mark.parametrize("size", [0, 64, 256, 257, 2000, 70_000, 262_143, 262_144])
def test_kinds_of_buffers_do_not_matter(size: int) -> None:
    # Short `bytes` take a way of their own.
    data = make("noise", size)
    due = table_crc32c(data)
    view = memoryview(b"--" + data)[2:]
    assert crc32c(data) == crc32c(bytearray(data)) == crc32c(view) == due
    assert crc32c(data, 7) == crc32c(bytearray(data), 7) == crc32c(view, init=7)


def test_a_subclass_of_bytes_is_a_buffer() -> None:
    class Name(bytes):
        pass

    assert crc32c(Name(b"123456789")) == 0xE3069283


def test_keywords_are_taken() -> None:
    so_far = crc32c(data=b"1234")
    assert crc32c(data=b"56789", init=so_far) == 0xE3069283
    joined = crc32c_combine(a=so_far, b=crc32c(b"56789"), len_b=5)
    assert joined == 0xE3069283


def test_start_values_of_any_integer_type_are_taken() -> None:
    class Seven:
        def __index__(self) -> int:
            return 7

    due = crc32c(b"a", 7)
    assert crc32c(b"a", Seven()) == crc32c(bytearray(b"a"), Seven()) == due  # type: ignore[arg-type]
    one: int = True
    assert crc32c(b"a", one) == crc32c(b"a", 1)
    assert crc32c(b"", U32) == U32


def test_wrong_calls_are_refused() -> None:
    call: Any = crc32c
    for arguments in ((), (b"a", 0, 0), (0,), ("a",)):
        with pytest.raises(TypeError):
            call(*arguments)
    for names in ({"foo": 1}, {"data": b"b"}):
        with pytest.raises(TypeError):
            call(b"a", **names)
    with pytest.raises(TypeError):
        call(init=1)


def test_the_function_pickles_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(crc32c)) is crc32c


def test_arguments_are_not_kept() -> None:
    data, start = drbg("kept", 100), 1 << 31
    wrong: Any = "1"
    before = sys.getrefcount(data), sys.getrefcount(start), sys.getrefcount(wrong)
    for _ in range(100):
        crc32c(data)
        crc32c(data, start)
        crc32c(data=data, init=start)
        crc32c(data, init=start)
        crc32c(memoryview(data), start)
        crc32c_many([data, memoryview(data)])
        with pytest.raises(TypeError):
            crc32c(data, wrong)
    assert (sys.getrefcount(data), sys.getrefcount(start), sys.getrefcount(wrong)) == before
