"""Many records in one call: sequences of buffers and Arrow arrays, in and out in order."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shardpack
from arrow_capsules import CapsuleArray, read_capsules
from inputs import make
from shardpack import BinaryArray, Codec, CpuGzip, CpuZstd, CpuZstdDict, Passthrough

pyarrow = pytest.importorskip("pyarrow", reason="Arrow arrays come from pyarrow here")

CODECS: list[Codec] = [
    CpuZstd(),
    CpuZstd(1, content_size=True),
    CpuGzip(),
    CpuZstdDict(make("events", 4000)),
    Passthrough(),
]
RECORDS: list[bytes | None] = [
    b"",
    b"a",
    None,
    make("lines", 1000),
    make("noise", 3000),
    None,
    b"",
    *(make("events", 50 + 13 * number) for number in range(40)),
]
each_codec = pytest.mark.parametrize("codec", CODECS, ids=repr)


@each_codec
@pytest.mark.parametrize("threads", [None, 1, 2, 7])
def test_lists_come_back_in_order(codec: Codec, threads: int | None) -> None:
    stored = codec.compress_many(RECORDS, threads=threads)
    assert isinstance(stored, list)
    assert [item is None for item in stored] == [item is None for item in RECORDS]
    assert stored == [None if item is None else codec.compress(item)[0] for item in RECORDS]
    assert codec.decompress_many(stored, threads=threads) == RECORDS


@pytest.mark.parametrize("wrap", [tuple, list])
def test_any_sequence_of_any_buffers(wrap: Any) -> None:
    mixed = wrap([bytearray(b"abc"), memoryview(b"abc"), b"abc", None])
    assert CpuZstd().compress_many(mixed) == [CpuZstd().compress(b"abc")[0]] * 3 + [None]
    assert CpuZstd().compress_many(wrap([])) == []
    assert CpuZstd().decompress_many(wrap([])) == []


@given(st.lists(st.one_of(st.none(), st.binary(max_size=200)), max_size=60), st.integers(1, 4))
def test_batches_equal_single_calls(records: list[bytes | None], threads: int) -> None:
    codec = CpuZstd(1)
    stored = codec.compress_many(records, threads=threads)
    assert stored == [None if item is None else codec.compress(item)[0] for item in records]
    assert codec.decompress_many(stored, threads=threads) == records


def arrays() -> dict[str, Any]:
    binary = pyarrow.array(RECORDS, pyarrow.binary())
    table = {
        "binary": binary,
        "large binary": binary.cast(pyarrow.large_binary()),
        "binary view": pyarrow.array(RECORDS, pyarrow.binary_view()),
        "string": pyarrow.array(["", "a", None, "zoë" * 50], pyarrow.string()),
        "large string": pyarrow.array(["", "a", None, "zoë" * 50], pyarrow.large_string()),
        "string view": pyarrow.array(["", "a", None, "zoë" * 50], pyarrow.string_view()),
        "slice": binary[3:20],
        "slice of a slice": binary[1:][2:9][1:],
        "slice off a byte boundary of the nulls": binary[9:],
        "large slice": binary.cast(pyarrow.large_binary())[5:11],
        "view slice": pyarrow.array(RECORDS, pyarrow.binary_view())[2:30],
        "empty": pyarrow.array([], pyarrow.binary()),
        "empty slice": binary[4:4],
        "only nulls": pyarrow.array([None, None], pyarrow.binary()),
        "chunks": pyarrow.chunked_array([binary[:5], binary[5:5], binary[5:]]),
        "one chunk": pyarrow.chunked_array([binary]),
        "no chunks": pyarrow.chunked_array([], pyarrow.binary()),
    }
    return {name: (array, plain_values(array)) for name, array in table.items()}


def plain_values(array: Any) -> list[bytes | None]:
    return [value.encode() if isinstance(value, str) else value for value in array.to_pylist()]


ARRAYS = arrays()


@pytest.mark.parametrize("name", ARRAYS)
@each_codec
def test_arrow_arrays_come_back_in_order(codec: Codec, name: str) -> None:
    array, values = ARRAYS[name]
    stored = codec.compress_many(array)
    assert isinstance(stored, BinaryArray)
    assert list(stored) == codec.compress_many(values)
    plain = codec.decompress_many(stored)
    assert isinstance(plain, BinaryArray)
    assert list(plain) == values
    assert plain.to_pyarrow().to_pylist() == values


@pytest.mark.parametrize("name", ["binary", "large binary", "binary view", "slice", "chunks"])
def test_arrow_results_go_back_into_pyarrow(name: str) -> None:
    array, values = ARRAYS[name]
    stored = CpuZstd().compress_many(array)
    imported = pyarrow.array(stored)
    imported.validate(full=True)
    assert imported.type in {pyarrow.binary(), pyarrow.large_binary()}
    assert imported.null_count == values.count(None)
    assert CpuZstd().decompress_many(imported).to_pyarrow().to_pylist() == values
    batch = pyarrow.record_batch([imported], names=["payload"])
    del stored
    gc.collect()
    assert batch.column(0).to_pylist() == CpuZstd().compress_many(values)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_arrow_bytes_do_not_depend_on_the_thread_count(threads: int) -> None:
    array = pyarrow.array([make("lines", 20 * number) for number in range(300)], pyarrow.binary())
    alone = CpuZstd().compress_many(array, threads=1).to_pyarrow()
    assert CpuZstd().compress_many(array, threads=threads).to_pyarrow().equals(alone)


@pytest.mark.parametrize("format", [b"z", b"Z", b"u"])
def test_arrays_from_another_library_need_no_pyarrow(format: bytes) -> None:  # noqa: A002
    values = [b"", b"hello", None, b"world" * 100, None]
    source = CapsuleArray(values, format)
    stored = CpuZstd().compress_many(source)
    assert list(stored) == CpuZstd().compress_many(values)
    del stored
    gc.collect()
    assert source.released == 1
    letter, payloads = read_capsules(CpuZstd().compress_many(CapsuleArray(values)))
    assert (letter, payloads) == ("z", CpuZstd().compress_many(values))
    letter, plain = read_capsules(CpuZstd().decompress_many(CapsuleArray(payloads)))
    assert (letter, plain) == ("z", values)


def test_no_records_from_another_library() -> None:
    assert list(CpuZstd().compress_many(CapsuleArray([]))) == []
    assert read_capsules(CpuZstd().compress_many(CapsuleArray([]))) == ("z", [])


def test_a_binary_array_is_a_sequence() -> None:
    array = Passthrough().compress_many(pyarrow.array([b"ab", None, b"", b"cde"], pyarrow.binary()))
    assert len(array) == 4
    assert [array[number] for number in range(4)] == [b"ab", None, b"", b"cde"]
    assert (array[-1], array[-4]) == (b"cde", b"ab")
    assert list(array) == [b"ab", None, b"", b"cde"]
    assert array.nbytes >= 5
    for number in (4, -5, 1 << 40):
        with pytest.raises(IndexError):
            array[number]
    assert "4" in repr(array)


def test_a_binary_array_can_be_taken_more_than_once() -> None:
    array = CpuZstd().compress_many(pyarrow.array([b"ab", None], pyarrow.binary()))
    assert pyarrow.array(array).equals(pyarrow.array(array))
    assert list(CpuZstd().decompress_many(array)) == list(CpuZstd().decompress_many(array))


@pytest.mark.parametrize(
    "array",
    [
        pyarrow.array([1, 2, 3]),
        pyarrow.array([[b"a"], None]),
        pyarrow.array(["a", "b"]).dictionary_encode(),
        pyarrow.array([{"a": b"a"}]),
        pyarrow.record_batch([pyarrow.array([1.5])], names=["x"]),
    ],
    ids=lambda array: str(array.schema if hasattr(array, "schema") else array.type),
)
def test_arrays_of_another_type_are_refused(array: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        CpuZstd().compress_many(array)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [b"bytes", "text", None, 5, object()])
def test_what_is_no_sequence_of_buffers_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError):
        CpuZstd().compress_many(wrong)
    with pytest.raises(TypeError):
        CpuZstd().decompress_many(wrong)


@pytest.mark.parametrize("wrong", ["text", 5, memoryview(b"abcd")[::2]])
def test_a_record_of_another_type_is_named(wrong: Any) -> None:
    with pytest.raises(TypeError, match="7"):
        CpuZstd().compress_many([b"a"] * 7 + [wrong])


@each_codec
@pytest.mark.parametrize("threads", [1, 3])
def test_errors_name_the_record(codec: Codec, threads: int) -> None:
    if codec == Passthrough():
        pytest.skip("plain bytes have nothing to be wrong in")
    stored = codec.compress_many([b"hello" * 20] * 50)
    stored[37] = b"garbage, and no payload at all"
    for records in (stored, pyarrow.array(stored, pyarrow.binary())):
        with pytest.raises(shardpack.S4IoError, match=r"\b37\b"):
            codec.decompress_many(records, threads=threads)


def test_the_first_bad_record_is_the_one_that_is_named() -> None:
    stored = CpuZstd().compress_many([b"hello" * 20] * 100)
    stored[11] = stored[90] = b"garbage"
    for threads in (1, 2, 8):
        with pytest.raises(shardpack.S4IoError, match=r"\b11\b"):
            CpuZstd().decompress_many(stored, threads=threads)


@pytest.mark.parametrize("codec", CODECS[:4], ids=repr)
def test_a_record_beyond_the_limit_is_refused(codec: Codec) -> None:
    stored = codec.compress_many([b"a", bytes(100_000), b"b"])
    assert codec.decompress_many(stored, max_original_size=100_000)[1] == bytes(100_000)
    with pytest.raises(
        (shardpack.S4IoError, shardpack.S4ManifestSizeExceedsLimitError), match=r"\b1\b"
    ):
        codec.decompress_many(stored, max_original_size=99_999)
