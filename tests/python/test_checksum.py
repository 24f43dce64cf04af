"""CRC32C against RFC 3720, recorded vectors and a table."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inputs import drbg, load_json
from oracles.payload_oracle import crc32c as table_crc32c
from shardpack import crc32c, crc32c_base64, crc32c_combine

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
