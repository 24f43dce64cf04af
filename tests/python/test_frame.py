"""Frames and padding: recorded parser outcomes, writing, chunking, multipart parts."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shardpack
from inputs import MIB, S4_VECTORS, load_json, make
from oracles.s4_oracle import CODECS, part_padding
from oracles.s4_oracle import pick_chunk_size as oracle_chunk_size
from shardpack import (
    Codec,
    CpuGzip,
    CpuZstd,
    CpuZstdDict,
    Passthrough,
    crc32c,
    decode_frames,
    encode_frames,
    frame_iter,
    pad_part,
    parse_frame_header,
    pick_chunk_size,
    read_frame,
    write_frame,
)

FRAME_VECTORS = load_json("s4/parser_vectors.json")["frames"]
DICTIONARY = (S4_VECTORS / "dict_raw_open.bin").read_bytes()
EXAMPLE = bytes.fromhex(
    "533446320100000005000000000000000e000000000000004cbb719a28b52ffd005829000068656c6c6f"
)
each_codec = pytest.mark.parametrize(
    "codec",
    [CpuZstd(), CpuGzip(), CpuZstdDict(DICTIONARY), Passthrough()],
    ids=lambda codec: codec.name,
)


def unhex(value: Any) -> Any:
    """Turn ``{"hex": ...}`` of the vectors into bytes, lists of pairs into tuples."""
    if isinstance(value, dict):
        return (
            bytes.fromhex(value["hex"])
            if "hex" in value
            else {k: unhex(v) for k, v in value.items()}
        )
    return [unhex(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("vector", FRAME_VECTORS, ids=lambda vector: vector["name"])
@pytest.mark.parametrize("function", ["read_frame", "frame_iter"])
def test_recorded_outcomes(vector: dict[str, Any], function: str) -> None:
    data, due = bytes.fromhex(vector["bytes_hex"]), vector[function]
    call = getattr(shardpack, function)
    if "error" in due:
        with pytest.raises(getattr(shardpack, due["error"]["class"])) as caught:
            call(data)
        assert type(caught.value).__name__ == due["error"]["class"]
        return
    expected = unhex(due["ok"])
    if function == "read_frame":
        assert call(data) == tuple(expected)
    else:
        assert call(data) == [tuple(pair) for pair in expected]


def test_the_published_example() -> None:
    assert write_frame(CpuZstd(), b"hello") == EXAMPLE
    header, payload, rest = read_frame(EXAMPLE + b"tail")
    assert header == {
        "codec": "cpu-zstd",
        "original_size": 5,
        "compressed_size": 14,
        "crc32c": 0x9A71BB4C,
    }
    assert list(header) == ["codec", "original_size", "compressed_size", "crc32c"]
    assert (payload, rest) == (EXAMPLE[28:], b"tail")


def test_constants() -> None:
    assert (shardpack.FRAME_MAGIC, shardpack.PADDING_MAGIC) == (b"S4F2", b"S4P1")
    assert (shardpack.FRAME_HEADER_BYTES, shardpack.SIDECAR_SUFFIX) == (28, ".s4index")


def test_frame_iter_is_like_a_list() -> None:
    body = EXAMPLE + b"S4P1" + struct.pack("<Q", 3) + b"abc" + write_frame(CpuGzip(), b"world")
    frames = frame_iter(body)
    assert len(frames) == 2
    assert frames == list(frames) == [frames[0], frames[1]]
    assert frames[-1][0]["codec"] == "cpu-gzip"
    assert [header["codec"] for header, _payload in frames] == ["cpu-zstd", "cpu-gzip"]
    assert frame_iter(b"") == []


@pytest.mark.parametrize("number", range(len(CODECS)))
def test_every_codec_id_has_its_name(number: int) -> None:
    head = struct.pack("<4sIQQI", b"S4F2", number, 2**64 - 1, 0, 2**32 - 1)
    expected = {
        "codec": CODECS[number],
        "original_size": 2**64 - 1,
        "compressed_size": 0,
        "crc32c": 2**32 - 1,
    }
    assert read_frame(head)[0] == expected
    assert parse_frame_header(head) == expected


def test_a_header_alone_can_be_parsed() -> None:
    assert parse_frame_header(EXAMPLE[:28]) == read_frame(EXAMPLE)[0]
    for bad in (EXAMPLE[:27], b"S4P1" + EXAMPLE[4:28], EXAMPLE[:4] + b"\x09" + EXAMPLE[5:28]):
        with pytest.raises(shardpack.S4FrameError):
            parse_frame_header(bad)


@each_codec
def test_one_frame_is_header_and_payload(codec: Codec) -> None:
    data = make("lines", 5000)
    payload, size, crc = codec.compress(data)
    header, stored, rest = read_frame(write_frame(codec, data))
    assert (stored, rest) == (payload, b"")
    assert header == {
        "codec": codec.name,
        "original_size": size,
        "compressed_size": len(payload),
        "crc32c": crc,
    }


@each_codec
@pytest.mark.parametrize(("size", "chunk"), [(0, 10), (1, 10), (99, 10), (100, 10), (5000, 4999)])
def test_frames_are_chunks_one_after_another(codec: Codec, size: int, chunk: int) -> None:
    data = make("lines", size)
    body, sizes, crc = encode_frames(codec, data, chunk)
    chunks = [data[at : at + chunk] for at in range(0, size, chunk)]
    assert body == b"".join(write_frame(codec, part) for part in chunks)
    assert sizes == [(len(part), len(write_frame(codec, part))) for part in chunks]
    assert crc == crc32c(data)
    assert decode_frames(body, dicts={shardpack.dict_id(DICTIONARY): DICTIONARY}) == data


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_frames_do_not_depend_on_the_thread_count(threads: int) -> None:
    data = make("lines", 3 * MIB)
    for codec in (CpuZstd(), CpuGzip(1), CpuZstdDict(DICTIONARY)):
        alone = encode_frames(codec, data, 100_000, threads=1)
        assert encode_frames(codec, data, 100_000, threads=threads) == alone
        assert (
            decode_frames(
                alone[0],
                dict_id=None,
                dicts={shardpack.dict_id(DICTIONARY): DICTIONARY},
                threads=threads,
            )
            == data
        )


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=200), st.booleans()), max_size=6))
def test_frames_of_different_codecs_and_padding_mix(parts: list[tuple[int, bytes, bool]]) -> None:
    codecs: list[Codec] = [CpuZstd(1), CpuGzip(1), CpuZstdDict(DICTIONARY), Passthrough()]
    body = b"".join(
        write_frame(codecs[number], data)
        + (b"S4P1" + struct.pack("<Q", len(data)) + bytes(len(data)) if padded else b"")
        for number, data, padded in parts
    )
    headers = [header for header, _payload in frame_iter(body)]
    assert [header["codec"] for header in headers] == [
        codecs[number].name for number, _, _ in parts
    ]
    plain = decode_frames(body, dicts={shardpack.dict_id(DICTIONARY): DICTIONARY})
    assert plain == b"".join(data for _, data, _ in parts)


def test_a_chunk_size_below_one_is_refused() -> None:
    for chunk in (0, -1):
        with pytest.raises((ValueError, OverflowError)):
            encode_frames(CpuZstd(), b"hello", chunk)


def test_dictionary_frames_need_their_dictionary() -> None:
    trained = shardpack.train_dict([make("events", 100 + n)[n:] for n in range(300)], 2048)
    body = write_frame(CpuZstdDict(DICTIONARY), make("events", 180))
    own = shardpack.dict_id(DICTIONARY)
    both = {own: DICTIONARY, shardpack.dict_id(trained): trained}
    assert decode_frames(body, dicts={own: DICTIONARY}) == make("events", 180)
    assert decode_frames(body, dicts=both, dict_id=own) == make("events", 180)
    for bad in ({}, {"dict_id": own}, {"dicts": {}, "dict_id": own}, {"dicts": both}):
        with pytest.raises(shardpack.DictionaryError) as caught:
            decode_frames(body, **bad)
        assert "dictionary" in str(caught.value)


def test_a_dictionary_under_a_false_id_is_refused() -> None:
    body = write_frame(CpuZstdDict(DICTIONARY), make("events", 180))
    own = shardpack.dict_id(DICTIONARY)
    with pytest.raises(shardpack.DictionaryError):
        decode_frames(body, dicts={own: DICTIONARY + b"!"}, dict_id=own)


def test_the_sum_of_the_claims_is_held_to_the_limit() -> None:
    body, _sizes, _crc = encode_frames(CpuZstd(), make("lines", 10_000), 1000)
    assert decode_frames(body, max_original_size=10_000) == make("lines", 10_000)
    with pytest.raises(shardpack.S4ManifestSizeExceedsLimitError) as caught:
        decode_frames(body, max_original_size=9999)
    assert caught.value.limit == 9999


@pytest.mark.parametrize(
    ("size", "chunk"),
    [
        (0, MIB),
        (MIB, MIB),
        (MIB + 1, 4 * MIB),
        (100 * MIB, 4 * MIB),
        (100 * MIB + 1, 16 * MIB),
        (2**64 - 1, 16 * MIB),
    ],
)
def test_chunk_sizes_of_the_gateway(size: int, chunk: int) -> None:
    assert pick_chunk_size(size) == oracle_chunk_size(size) == chunk
    assert pick_chunk_size(content_length=size) == chunk


@pytest.mark.parametrize("size", [-1, 2**64])
def test_chunk_size_of_an_impossible_length(size: int) -> None:
    with pytest.raises(OverflowError):
        pick_chunk_size(size)


@pytest.mark.parametrize(
    "vector",
    [v for v in load_json("s4/rule_vectors.json")["padding"] if v["minimum"] == 5 * MIB],
    ids=lambda vector: str(vector["length"]),
)
def test_recorded_padding(vector: dict[str, int | None]) -> None:
    length, padded = vector["length"], vector["padded_length"]
    assert length is not None
    part = pad_part(bytes(length), 5 * MIB)
    assert len(part) == padded
    if vector["padding_len_field"] is not None:
        assert part[length : length + 12] == b"S4P1" + struct.pack(
            "<Q", vector["padding_len_field"]
        )
        assert not any(part[length + 12 :])


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize(
    ("framed", "original"),
    [
        (0, 0),
        (100, 5 * MIB - 1),
        (100, 5 * MIB),
        (5 * MIB - 1, 5 * MIB),
        (5 * MIB + 5, 5 * MIB),
        (5 * MIB + 40_000, 5 * MIB),
        (5 * MIB + 5 * MIB // 128 + 4096 - 12, 5 * MIB),
        (5 * MIB + 5 * MIB // 128 + 4096 - 11, 5 * MIB),
        (100_000, 8 * MIB),
        (9 * MIB, 8 * MIB),
    ],
)
def test_parts_are_padded_by_the_rule(framed: int, original: int, uniform: bool) -> None:
    body = make("cycle", framed)
    assert pad_part(body, original, uniform=uniform) == part_padding(
        body, original, uniform=uniform
    )


def test_padded_parts_are_read_back() -> None:
    data = make("lines", 5 * MIB + 17)
    part = pad_part(write_frame(CpuZstd(1), data), len(data))
    assert len(part) == 5 * MIB
    body = part + write_frame(CpuZstd(1), b"the last part")
    assert decode_frames(body) == data + b"the last part"
    assert [header["original_size"] for header, _ in frame_iter(body)] == [len(data), 13]
