"""Streams: any slicing, bounded output, several frames or members, cut ends."""

from __future__ import annotations

import copy
import gzip
import pickle
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shardpack
from inputs import DEBUG_BUILD, MIB, make, pieces
from shardpack import Codec, Compressor, CpuGzip, CpuZstd, CpuZstdDict, Decompressor, Passthrough

TEXT = make("lines", 300_000)
CODECS: list[Codec] = [
    CpuZstd(),
    CpuZstd(19),
    CpuGzip(),
    CpuZstdDict(make("events", 4000)),
    Passthrough(),
]
each_codec = pytest.mark.parametrize("codec", CODECS, ids=repr)
slicings = st.lists(st.integers(0, 70_000), min_size=1, max_size=6)


def compress(codec: Codec, data: bytes, sizes: list[int]) -> bytes:
    stream = codec.compressor()
    return b"".join(stream.compress(piece) for piece in pieces(data, sizes)) + stream.flush()


def decompress(codec: Codec, payload: bytes, sizes: list[int], max_length: int = -1) -> bytes:
    stream = codec.decompressor()
    parts = []
    for piece in pieces(payload, sizes):
        parts.append(stream.decompress(piece, max_length))
        while not stream.needs_input:
            parts.append(stream.decompress(b"", max_length))
    stream.flush()
    assert max_length < 0 or all(len(part) <= max_length for part in parts)
    return b"".join(parts)


@each_codec
@given(sizes=slicings, size=st.integers(0, 200_000))
def test_any_slicing_comes_back(codec: Codec, sizes: list[int], size: int) -> None:
    sizes = [part * 7 + 50 for part in sizes]
    payload = compress(codec, TEXT[:size], sizes)
    assert decompress(codec, payload, sizes[::-1]) == TEXT[:size]
    assert codec.decompress_all(payload) == TEXT[:size]


@pytest.mark.parametrize(
    "codec", [CpuZstd(), CpuZstd(9), CpuZstdDict(make("events", 4000)), Passthrough()], ids=repr
)
@pytest.mark.parametrize("sizes", [[1], [3, 0, 7], [65_536], [300_000], [131_072, 1]])
def test_any_slicing_gives_the_bytes_of_compress(codec: Codec, sizes: list[int]) -> None:
    data = TEXT if max(sizes) > 10 else TEXT[:3000]
    assert compress(codec, data, sizes) == codec.compress(data)[0]


@each_codec
def test_an_empty_stream_is_the_empty_payload(codec: Codec) -> None:
    assert codec.decompress_all(codec.compressor().flush()) == b""
    stream = codec.compressor()
    payload = stream.compress(b"") + stream.flush()
    # Gzip streams may come from another engine than one-shot gzip.
    assert payload == codec.compress(b"")[0] or codec == CpuGzip()
    assert codec.decompress(payload, 0, 0) == b""


def test_gzip_streams_are_plain_gzip() -> None:
    payload = compress(CpuGzip(9), TEXT, [1000, 70_000])
    assert gzip.decompress(payload) == TEXT
    assert zlib.decompress(payload, 31) == TEXT
    assert payload[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"


@each_codec
def test_a_finished_compressor_is_unusable(codec: Codec) -> None:
    stream = codec.compressor()
    stream.compress(b"hello")
    stream.flush()
    with pytest.raises((ValueError, RuntimeError)):
        stream.compress(b"more")
    with pytest.raises((ValueError, RuntimeError)):
        stream.flush()


@each_codec
@pytest.mark.parametrize("max_length", [1, 7, 4096])
def test_output_is_bounded_by_max_length(codec: Codec, max_length: int) -> None:
    data = TEXT[: 200 * max_length][:50_000]
    payload = codec.compress(data)[0]
    assert decompress(codec, payload, [len(payload)], max_length) == data
    assert decompress(codec, payload, [1, 100], max_length) == data


def test_a_bomb_comes_out_in_small_pieces() -> None:
    payload = CpuZstd().compress(bytes(64 * MIB))[0]
    stream = CpuZstd().decompressor()
    assert stream.decompress(payload, 1000) == bytes(1000)
    assert not stream.needs_input
    assert stream.decompress(b"", 10) == bytes(10)


def test_small_outputs_of_a_large_input_do_not_copy_the_rest_each_time() -> None:
    data = make("noise", 8 * MIB)
    stream = CpuZstd().decompressor()
    payload = CpuZstd().compress(data)[0]
    start = time.perf_counter()
    parts = [stream.decompress(payload, 8192)]
    while not stream.needs_input:
        parts.append(stream.decompress(b"", 8192))
    assert b"".join(parts) == data
    assert time.perf_counter() - start < (10 if DEBUG_BUILD else 1)


def test_max_length_of_zero_gives_nothing_and_loses_nothing() -> None:
    payload = CpuZstd().compress(b"hello")[0]
    stream = CpuZstd().decompressor()
    assert stream.decompress(payload, 0) == b""
    assert stream.decompress(b"") == b"hello"


@each_codec
def test_a_fresh_decompressor_needs_input(codec: Codec) -> None:
    stream = codec.decompressor()
    assert stream.needs_input
    assert stream.decompress() == b""
    assert stream.decompress(b"") == b""
    assert stream.needs_input


@pytest.mark.parametrize("codec", CODECS[:4], ids=repr)
def test_concatenated_streams_are_read_in_full(codec: Codec) -> None:
    parts = [b"", b"hello", TEXT, b"", b"!"]
    payload = b"".join(codec.compress(part)[0] for part in parts)
    for sizes in ([1000], [len(payload)], [17, 0, 1]):
        assert decompress(codec, payload, sizes) == b"".join(parts)


def test_indexed_members_and_skippable_frames_are_read() -> None:
    payload = CpuGzip().compress_members(TEXT, member_size=10_000)
    assert decompress(CpuGzip(), payload, [777]) == TEXT
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    frame = CpuZstd().compress(b"hello")[0]
    assert decompress(CpuZstd(), skippable + frame + skippable + frame, [3]) == b"hello" * 2


@pytest.mark.parametrize("codec", CODECS[:4], ids=repr)
@pytest.mark.parametrize("kept", [1, 3, 5, 12, -9, -5, -1])
def test_a_cut_stream_is_noticed(codec: Codec, kept: int) -> None:
    payload = codec.compress(make("lines", 2000))[0]
    stream = codec.decompressor()
    stream.decompress(payload[:kept])
    with pytest.raises(shardpack.S4IoError):
        stream.flush()


@pytest.mark.parametrize("codec", CODECS[:4], ids=repr)
def test_a_cut_second_stream_is_noticed(codec: Codec) -> None:
    payload = codec.compress(b"hello")[0]
    stream = codec.decompressor()
    assert stream.decompress(payload + payload[:-1])[:5] == b"hello"
    with pytest.raises(shardpack.S4IoError):
        stream.flush()


@pytest.mark.parametrize("codec", CODECS[:4], ids=repr)
def test_damage_in_the_middle_is_refused(codec: Codec) -> None:
    with pytest.raises(shardpack.S4IoError):
        decompress(codec, b"no payload of this codec", [5])
    payload = codec.compress(b"hello")[0]
    with pytest.raises(shardpack.S4IoError):
        decompress(codec, payload + b"junk behind the end", [7])


def test_a_gzip_trailer_is_checked() -> None:
    payload = bytearray(CpuGzip().compress(TEXT)[0])
    for at in (-1, -5):
        payload[at] ^= 1
        with pytest.raises(shardpack.S4IoError):
            decompress(CpuGzip(), bytes(payload), [1000])
        payload[at] ^= 1


def test_nothing_is_asked_for_after_the_whole_stream() -> None:
    stream = CpuZstd().decompressor()
    assert stream.decompress(CpuZstd().compress(TEXT)[0]) == TEXT
    assert stream.needs_input
    stream.flush()


@each_codec
def test_streams_neither_pickle_nor_copy(codec: Codec) -> None:
    for stream in (codec.compressor(), codec.decompressor()):
        for way in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                way(stream)


def test_streams_are_made_by_codecs_only() -> None:
    for kind in (Compressor, Decompressor):
        with pytest.raises(TypeError):
            kind()
    assert isinstance(CpuZstd().compressor(), Compressor)
    assert isinstance(CpuZstd().decompressor(), Decompressor)


@each_codec
def test_streams_of_one_codec_do_not_mix(codec: Codec) -> None:
    first, second = codec.compressor(), codec.compressor()
    out_first, out_second = first.compress(b"first"), second.compress(b"second")
    out_second += second.flush()
    out_first += first.flush()
    assert codec.decompress_all(out_first) == b"first"
    assert codec.decompress_all(out_second) == b"second"
