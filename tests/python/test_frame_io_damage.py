"""Damaged, cut and lying bodies, and how much memory streams take."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

import shardpack
from frames import BODY, BOUND, CHUNK, DATA, body_of, pack
from inputs import MIB, make, pieces, run_python
from shardpack import (
    CpuZstdDict,
    FrameReader,
    S4FrameError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = body_of(pack(make("lines", 300), chunk_size=120))


def boundaries(body: bytes) -> set[int]:
    index = shardpack.decode_index(shardpack.build_index(body))
    return {0} | {e["compressed_offset"] + e["compressed_size"] for e in index["entries"]}


def readers(body: bytes) -> Iterator[FrameReader]:
    yield FrameReader(io.BytesIO(body))
    yield FrameReader(pieces(body, [13]))


def test_input_cut_at_any_byte_raises() -> None:
    whole = boundaries(SMALL)
    for length in range(len(SMALL)):
        for reader in readers(SMALL[:length]):
            if length in whole:
                reader.read()
                continue
            with pytest.raises(S4FrameError):
                reader.read()
        if length not in whole:
            with pytest.raises(S4FrameError):
                FrameReader(io.BytesIO(SMALL[:length])).read_range(0, 1)


def test_any_flipped_bit_raises_or_changes_nothing() -> None:
    data = make("lines", 300)
    for bit in range(8 * len(SMALL)):
        damaged = bytearray(SMALL)
        damaged[bit // 8] ^= 1 << bit % 8
        for reader in readers(bytes(damaged)):
            try:
                read = reader.read()
            except shardpack.ShardpackError:
                continue
            assert read == data, f"bit {bit}"


def test_after_damage_no_later_read_steps_over_it() -> None:
    index = shardpack.decode_index(BOUND)["entries"]
    damaged = bytearray(BODY)
    damaged[index[3]["compressed_offset"] + 40] ^= 0xFF
    for reader in readers(bytes(damaged)):
        assert reader.read(10) == DATA[:10]
        for _ in range(3):
            with pytest.raises(shardpack.ShardpackError):
                reader.read()
    seekable = FrameReader(io.BytesIO(damaged))
    with pytest.raises(shardpack.ShardpackError):
        seekable.read()
    # What is whole can still be reached by asking for it.
    assert seekable.read_range(5 * CHUNK, 6 * CHUNK) == DATA[5 * CHUNK : 6 * CHUNK]
    assert seekable.seek(0) == 0
    assert seekable.read(2 * CHUNK) == DATA[: 2 * CHUNK]


def header(codec: int, original_size: int, payload_size: int) -> bytes:
    return b"S4F2" + struct.pack("<IQQI", codec, original_size, payload_size, 0)


@pytest.mark.parametrize(
    "body",
    [
        header(1, 100, 1 << 62),
        header(1, 100, (1 << 64) - 1) + bytes(100_000),
        header(0, 5 << 30, 5 << 30) + bytes(1000),
        b"S4P1" + struct.pack("<Q", (1 << 64) - 1) + bytes(50),
    ],
    ids=["huge payload", "largest payload", "huge passthrough", "huge padding"],
)
def test_claimed_sizes_cost_no_memory(body: bytes) -> None:
    for reader in (FrameReader(io.BytesIO(body)), FrameReader([body])):
        tracemalloc.start()
        with pytest.raises(S4FrameError, match="cut short"):
            reader.read()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 * MIB


def test_claims_above_the_limit_are_refused_before_decoding() -> None:
    with pytest.raises(shardpack.S4ManifestSizeExceedsLimitError) as caught:
        FrameReader(io.BytesIO(BODY), max_original_size=CHUNK - 1).read()
    assert (caught.value.requested, caught.value.limit) == (CHUNK, CHUNK - 1)
    assert FrameReader(io.BytesIO(BODY), max_original_size=CHUNK).read() == DATA
    with pytest.raises(shardpack.S4ManifestSizeExceedsLimitError):
        FrameReader([header(1, (5 << 30) + 1, 4) + b"abcd"]).read()


def test_a_missing_dictionary_is_named_and_a_wrong_one_refused() -> None:
    codec = CpuZstdDict(make("events", 4000))
    body = body_of(pack(codec=codec))
    with pytest.raises(shardpack.DictionaryError, match="--dictionary"):
        FrameReader(body).read()
    assert FrameReader(body, dicts={codec.dict_id: codec.dict_bytes}).read() == DATA
    other = CpuZstdDict(make("events", 4000, "other"))
    with pytest.raises(shardpack.ShardpackError):
        FrameReader(body, dicts={other.dict_id: other.dict_bytes}).read()


def test_a_pipe_cannot_seek() -> None:
    reader = FrameReader([BODY])
    for call in (
        lambda: reader.seek(0),
        lambda: reader.read_range(0, 1),
        lambda: reader.original_size,
    ):
        with pytest.raises(io.UnsupportedOperation):
            call()
    assert reader.read(5) == DATA[:5]
    assert reader.tell() == 5


def test_a_closed_reader_refuses_everything() -> None:
    reader = FrameReader(io.BytesIO(BODY))
    reader.close()
    reader.close()
    for call in (reader.read, reader.tell, reader.seekable, lambda: next(reader)):
        with pytest.raises(ValueError, match="closed"):
            call()


WRITE_A_GIBIBYTE = """
class Sink:
    def write(self, data): pass
with shardpack.FrameWriter(Sink(), "cpu-zstd", level=1, chunk_size=16 << 20) as writer:
    writer.copy_from(block for _ in range(1024))
total = writer.original_size
"""
READ_A_GIBIBYTE = """
frame = shardpack.write_frame(shardpack.Passthrough(), block * 16)
reader = shardpack.FrameReader(frame for _ in range(64))
total = 0
while piece := next(reader, b""):
    total += len(piece)
    del piece
"""


@pytest.mark.slow
@pytest.mark.parametrize("code", [WRITE_A_GIBIBYTE, READ_A_GIBIBYTE], ids=["write", "read"])
def test_a_stream_of_a_gibibyte_takes_bounded_memory(code: str) -> None:
    before = "import random, shardpack\nblock = random.Random(1).randbytes(1 << 20)\n"
    # Not `ru_maxrss`: a child starts with that of its parent.
    after = "print(total, open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    total, resident_kib = map(int, run_python(before + code + after).split())
    assert total == 1 << 30
    assert resident_kib < 200 << 10


def test_random_access_over_many_small_frames_is_right() -> None:
    writer = pack(DATA, chunk_size=97)
    sidecar = writer.sidecar
    assert sidecar is not None
    entries = shardpack.decode_index(sidecar)["entries"]
    assert all(a["original_offset"] < b["original_offset"] for a, b in pairwise(entries))
    reader = FrameReader(
        body_of(writer), sidecar=shardpack.bind_index(sidecar, len(body_of(writer)))
    )
    chance = random.Random(7)
    for _ in range(100):
        start = chance.randrange(len(DATA))
        end = start + chance.randrange(500)
        assert reader.read_range(start, end) == DATA[start:end]
