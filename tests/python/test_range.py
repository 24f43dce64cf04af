"""Ranges of objects equal slices, and cost only the frames that cover them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shardpack
from inputs import make
from shardpack import (
    CpuGzip,
    CpuZstdDict,
    bind_index,
    build_index,
    decode_object,
    decode_range,
    encode_object,
    plan_range,
)

DATA = make("lines", 20_000)
DICTIONARY = make("events", 4000)
offsets = st.integers(0, 21_000)


def layouts() -> dict[str, tuple[dict[str, Any], dict[str, bytes]]]:
    own = {shardpack.dict_id(DICTIONARY): DICTIONARY}
    return {
        "frames": (dict(encode_object(DATA, "cpu-zstd", chunk_size=1000)), {}),
        "one frame": (dict(encode_object(DATA, "cpu-zstd")), {}),
        "gzip": (dict(encode_object(DATA, CpuGzip())), {}),
        "plain": (dict(encode_object(DATA, "passthrough")), {}),
        "no object": ({"body": DATA, "metadata": {}, "sidecar": None}, {}),
        "dictionary": (dict(encode_object(DATA, CpuZstdDict(DICTIONARY), None, 1500)), own),
    }


LAYOUTS = layouts()


@pytest.mark.parametrize("name", LAYOUTS)
@given(start=offsets, end=offsets)
def test_ranges_equal_slices(name: str, start: int, end: int) -> None:
    made, dicts = LAYOUTS[name]
    for sidecar in {made["sidecar"], None}:
        part = decode_range(made["body"], start, end, made["metadata"], sidecar, dicts)
        assert part == DATA[start:end]


@given(
    st.binary(max_size=2000),
    st.integers(1, 300),
    st.integers(0, 2100),
    st.integers(0, 2100),
    st.sampled_from([1, 2, None]),
)
def test_ranges_of_any_object(
    data: bytes, chunk: int, start: int, end: int, threads: int | None
) -> None:
    made = encode_object(data, "cpu-zstd", 1, chunk)
    sidecar = made["sidecar"]
    part = decode_range(made["body"], start, end, made["metadata"], sidecar, threads=threads)
    assert part == data[start:end]
    if sidecar is None or (plan := plan_range(sidecar, start, end)) is None:
        return
    window = made["body"][plan["byte_start"] : plan["byte_end"]]
    plain = shardpack.decode_frames(window)
    assert plain[plan["slice_start"] : plan["slice_end"]] == data[start:end]


def test_frames_outside_the_range_are_not_read() -> None:
    made, _dicts = LAYOUTS["frames"]
    sidecar = made["sidecar"]
    plan = plan_range(sidecar, 7300, 8200)
    assert plan is not None
    assert (plan["first_frame"], plan["last_frame"]) == (7, 8)
    body = bytearray(b"\xff" * len(made["body"]))
    window = slice(plan["byte_start"], plan["byte_end"])
    body[window] = made["body"][window]
    bound = bind_index(sidecar, len(body))
    assert decode_range(body, 7300, 8200, made["metadata"], bound) == DATA[7300:8200]


def test_a_stale_sidecar_gives_no_wrong_bytes() -> None:
    made, _dicts = LAYOUTS["frames"]
    other = encode_object(DATA, "cpu-zstd", chunk_size=900)
    stale = bind_index(other["sidecar"] or b"", len(other["body"]))
    try:
        part = decode_range(made["body"], 5000, 6000, made["metadata"], stale)
    except shardpack.ShardpackError:
        return
    assert part == DATA[5000:6000]


def test_damage_in_the_range_is_refused() -> None:
    made, _dicts = LAYOUTS["frames"]
    body = bytearray(made["body"])
    plan = plan_range(made["sidecar"], 5000, 5001)
    assert plan is not None
    body[plan["byte_start"] + 60] ^= 1
    with pytest.raises(shardpack.ShardpackError):
        decode_range(body, 5000, 5001, made["metadata"], made["sidecar"])


def test_ranges_of_gpu_objects_and_padding() -> None:
    padded = b"S4P1" + (5).to_bytes(8, "little") + b"abcde" + LAYOUTS["frames"][0]["body"]
    sidecar = build_index(padded)
    assert decode_range(padded, 999, 2001, None, sidecar) == DATA[999:2001]
    assert decode_range(padded, 999, 2001) == DATA[999:2001]


@pytest.mark.parametrize("name", LAYOUTS)
def test_ends_beyond_the_object_are_clamped(name: str) -> None:
    made, dicts = LAYOUTS[name]

    def part(start: int, end: int) -> bytes:
        return decode_range(made["body"], start, end, made["metadata"], made["sidecar"], dicts)

    assert part(19_990, (1 << 64) - 1) == DATA[19_990:]
    assert part(20_000, 20_001) == b""
    assert part((1 << 64) - 2, (1 << 64) - 1) == b""
    assert part(7, 7) == part(8, 7) == b""
    assert part(0, 20_000) == decode_object(made["body"], made["metadata"], None, dicts)


def test_negative_ends_are_refused() -> None:
    made, _dicts = LAYOUTS["frames"]
    for start, end in ((-5, 10), (0, -1)):
        with pytest.raises((OverflowError, ValueError)):
            decode_range(made["body"], start, end, made["metadata"], made["sidecar"])


def test_the_limit_holds_for_ranges_too() -> None:
    made, _dicts = LAYOUTS["one frame"]
    with pytest.raises(shardpack.S4ManifestSizeExceedsLimitError):
        decode_range(made["body"], 0, 10, made["metadata"], max_original_size=19_999)
