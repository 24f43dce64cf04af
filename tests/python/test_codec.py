"""Codecs against recorded vectors: bytes, claims, ranges of arguments."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from typing import Any

import pytest

import shardpack
from inputs import S4_VECTORS, generate, load_json, make
from shardpack import Codec, CpuGzip, CpuZstd, CpuZstdDict, Passthrough, crc32c

CODEC_VECTORS = load_json("s4/codec_vectors.json")["vectors"]
DECOMPRESS_VECTORS = load_json("s4/decompress_vectors.json")["vectors"]
RAW_DICTIONARY = (S4_VECTORS / "dict_raw_open.bin").read_bytes()
GIB = 1 << 30


def codec_of(vector: dict[str, Any], level: int | None = None) -> Codec:
    level = vector.get("level", 3) if level is None else level
    match vector["codec"]:
        case "cpu-zstd":
            return CpuZstd(level)
        case "cpu-gzip":
            return CpuGzip(level)
        case "cpu-zstd-dict":
            return CpuZstdDict((S4_VECTORS / vector["dict"]).read_bytes(), level)
        case other:
            pytest.fail(f"vector of codec {other}")


def identity(vector: dict[str, Any]) -> str:
    source = vector["input"]
    return f"{vector['codec']}-{vector['level']}-{source['gen']}-{source['size']}"


@pytest.mark.parametrize("vector", CODEC_VECTORS, ids=identity)
def test_payloads_are_those_of_the_gateway(vector: dict[str, Any]) -> None:
    data = generate(vector["input"])
    payload, original_size, crc = codec_of(vector).compress(data)
    assert (original_size, crc) == (vector["original_size"], vector["crc32c"])
    if vector["codec"] == "cpu-gzip":
        # The deflate bytes are free: any decoder must read them.
        assert zlib.decompress(payload, 31) == data
    else:
        assert len(payload) == vector["payload_size"]
        assert hashlib.sha256(payload).hexdigest() == vector["payload_sha256"]


@pytest.mark.parametrize("vector", CODEC_VECTORS, ids=identity)
def test_payloads_come_back(vector: dict[str, Any]) -> None:
    data = generate(vector["input"])
    codec = codec_of(vector)
    assert codec.decompress(*codec.compress(data)) == data


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize("size", [0, 1, 5, 1000, 200_000])
def test_gzip_header_and_trailer_are_fixed(level: int, size: int) -> None:
    data = make("lines", size)
    payload = CpuGzip(level).compress(data)[0]
    flags = {0: 4, 1: 4, 9: 2}.get(level, 0)
    assert payload[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00" + bytes([flags, 255])
    assert payload[-8:] == zlib.crc32(data).to_bytes(4, "little") + size.to_bytes(4, "little")
    assert gzip.decompress(payload) == data


def test_gzip_compresses_better_at_higher_levels() -> None:
    data = make("lines", 200_000)
    sizes = [len(CpuGzip(level).compress(data)[0]) for level in (0, 1, 6, 9)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > len(data)


def test_published_zstd_examples() -> None:
    assert CpuZstd().compress(b"a")[0].hex() == "28b52ffd005809000061"
    assert CpuZstd().compress(b"")[0].hex() == "28b52ffd2000010000"
    assert CpuZstd(22).compress(b"a")[0][5] == 0x88


def test_content_size_is_written_on_request_only() -> None:
    zstandard = pytest.importorskip("zstandard", reason="needs another zstd reader")
    data = make("lines", 1000)
    announced = CpuZstd(content_size=True).compress(data)[0]
    assert zstandard.frame_content_size(announced) == 1000
    assert zstandard.frame_content_size(CpuZstd().compress(data)[0]) == -1
    assert zstandard.ZstdDecompressor().decompress(announced) == data
    assert CpuZstd().decompress(announced, 1000, crc32c(data)) == data


@pytest.mark.parametrize("vector", DECOMPRESS_VECTORS, ids=lambda vector: vector["name"])
def test_recorded_claims(vector: dict[str, Any]) -> None:
    codec = codec_of(vector)
    payload = bytes.fromhex(vector["payload_hex"])
    claims = vector["original_size"], vector["crc32c"]
    result = vector["result"]
    if "error" in result:
        with pytest.raises(getattr(shardpack, result["error"]["class"])) as caught:
            codec.decompress(payload, *claims)
        assert type(caught.value).__name__ == result["error"]["class"]
        return
    plain = codec.decompress(payload, *claims)
    assert len(plain) == result["ok_size"]
    assert hashlib.sha256(plain).hexdigest() == result["ok_sha256"]


@pytest.mark.parametrize(
    ("given", "clamped"),
    [(-(2**31), 1), (-1, 1), (0, 1), (1, 1), (22, 22), (23, 22), (2**31 - 1, 22)],
)
def test_zstd_levels_are_clamped(given: int, clamped: int) -> None:
    data = make("lines", 1000)
    assert CpuZstd(given).level == clamped
    assert CpuZstd(given).compress(data) == CpuZstd(clamped).compress(data)
    assert CpuZstdDict(RAW_DICTIONARY, given).level == clamped


@pytest.mark.parametrize(("given", "clamped"), [(0, 0), (9, 9), (10, 9), (12, 9), (2**32 - 1, 9)])
def test_gzip_levels_are_clamped(given: int, clamped: int) -> None:
    assert CpuGzip(given).level == clamped


@pytest.mark.parametrize("level", [2**31, -(2**31) - 1, 2**64, -(2**70)])
def test_zstd_levels_beyond_32_bits_overflow(level: int) -> None:
    with pytest.raises(OverflowError):
        CpuZstd(level)
    with pytest.raises(OverflowError):
        CpuZstdDict(RAW_DICTIONARY, level)


@pytest.mark.parametrize("level", [-1, 2**32, -(2**70)])
def test_gzip_levels_beyond_unsigned_32_bits_overflow(level: int) -> None:
    with pytest.raises(OverflowError):
        CpuGzip(level)


@pytest.mark.parametrize("level", [3.0, "3", None, b"3"])
def test_levels_that_are_no_integers_are_refused(level: Any) -> None:
    for make_codec in (CpuZstd, CpuGzip, lambda level: CpuZstdDict(RAW_DICTIONARY, level)):
        with pytest.raises(TypeError):
            make_codec(level)


def test_whatever_has_an_index_is_an_integer() -> None:
    class Six:
        def __index__(self) -> int:
            return 6

    assert CpuZstd(True).level == 1  # noqa: FBT003 - s4-codec takes a bool as well
    assert CpuGzip(Six()).level == 6  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "codec", [CpuZstd(), CpuGzip(), CpuZstdDict(RAW_DICTIONARY), Passthrough()]
)
@pytest.mark.parametrize(
    ("size", "crc", "error"),
    [
        (-1, 0, OverflowError),
        (1 << 64, 0, OverflowError),
        (1, -1, OverflowError),
        (1, 1 << 32, OverflowError),
        (1.0, 0, TypeError),
        (1, "0", TypeError),
        (None, 0, TypeError),
        ((1 << 64) - 1, 0, shardpack.S4ManifestSizeExceedsLimitError),
        (5 * GIB + 1, 0, shardpack.S4ManifestSizeExceedsLimitError),
    ],
)
def test_claims_outside_their_range(
    codec: Codec, size: Any, crc: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        codec.decompress(b"", size, crc)


def test_five_gibibytes_are_still_within_the_limit() -> None:
    assert shardpack.MAX_ORIGINAL_SIZE == 5 * GIB
    payload, size, crc = CpuZstd().compress(b"hello")
    with pytest.raises(shardpack.S4SizeMismatchError) as caught:
        CpuZstd().decompress(payload, 5 * GIB, crc)
    assert (caught.value.expected, caught.value.actual) == (5 * GIB, size)


def test_the_limit_can_be_moved_by_the_caller() -> None:
    data = make("lines", 1000)
    payload, size, crc = CpuZstd().compress(data)
    with pytest.raises(shardpack.S4ManifestSizeExceedsLimitError) as caught:
        CpuZstd().decompress(payload, size, crc, max_original_size=999)
    assert (caught.value.requested, caught.value.limit) == (1000, 999)
    assert CpuZstd().decompress(payload, size, crc, max_original_size=1000) == data
    with pytest.raises(shardpack.S4SizeMismatchError):
        CpuZstd().decompress(payload, 6 * GIB, crc, max_original_size=7 * GIB)


def test_size_is_checked_before_the_checksum() -> None:
    for codec in (CpuZstd(), CpuGzip(), CpuZstdDict(RAW_DICTIONARY)):
        payload, size, crc = codec.compress(b"hello")
        with pytest.raises(shardpack.S4SizeMismatchError):
            codec.decompress(payload, size + 1, crc ^ 1)
        with pytest.raises(shardpack.S4IoError):
            codec.decompress(payload, size - 1, crc ^ 1)
        with pytest.raises(shardpack.S4CrcMismatchError) as caught:
            codec.decompress(payload, size, crc ^ 1)
        assert (caught.value.expected, caught.value.actual) == (crc ^ 1, crc)


def test_passthrough_checks_the_checksum_before_the_size() -> None:
    codec = Passthrough()
    assert codec.compress(b"hello") == (b"hello", 5, crc32c(b"hello"))
    assert codec.decompress(b"hello", 5, crc32c(b"hello")) == b"hello"
    with pytest.raises(shardpack.S4CrcMismatchError):
        codec.decompress(b"hello", 6, 0)
    with pytest.raises(shardpack.S4SizeMismatchError):
        codec.decompress(b"hello", 6, crc32c(b"hello"))


def test_zstd_reads_several_frames_and_skippable_ones() -> None:
    first, second = CpuZstd().compress(b"hello ")[0], CpuZstd(9).compress(b"world")[0]
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    plain = b"hello world"
    for payload in (
        first + second,
        skippable + first + second,
        first + skippable + second + skippable,
    ):
        assert CpuZstd().decompress(payload, len(plain), crc32c(plain)) == plain
    assert CpuZstd().decompress(skippable, 0, 0) == b""


def test_gzip_reads_the_first_member_only() -> None:
    payload, size, crc = CpuGzip().compress(b"hello")
    assert CpuGzip().decompress(payload + b"junk", size, crc) == b"hello"
    assert CpuGzip().decompress(payload + payload, size, crc) == b"hello"


def test_gzip_reads_optional_header_fields() -> None:
    payload = CpuGzip().compress(b"hello")[0]
    head = payload[:3] + b"\x1c" + payload[4:10]
    fields = b"\x05\x00extra" + b"name\0" + b"comment\0"
    assert CpuGzip().decompress(head + fields + payload[10:], 5, crc32c(b"hello")) == b"hello"


def test_damaged_data_of_another_codec_is_refused() -> None:
    zstd, gz = CpuZstd().compress(b"hello" * 50)[0], CpuGzip().compress(b"hello" * 50)[0]
    with pytest.raises(shardpack.S4IoError):
        CpuZstd().decompress(gz, 250, 0)
    with pytest.raises(shardpack.S4IoError):
        CpuGzip().decompress(zstd, 250, 0)


def test_compress_bound_is_enough() -> None:
    for codec in (CpuZstd(), CpuGzip(), CpuZstdDict(RAW_DICTIONARY), Passthrough()):
        for size in (0, 1, 100, 70_000):
            assert codec.compress_bound(size) >= len(codec.compress(make("noise", size))[0])


def test_names_are_those_of_the_frame_table() -> None:
    codecs = CpuZstd(), CpuGzip(), CpuZstdDict(RAW_DICTIONARY), Passthrough()
    assert [codec.name for codec in codecs] == [
        "cpu-zstd",
        "cpu-gzip",
        "cpu-zstd-dict",
        "passthrough",
    ]
