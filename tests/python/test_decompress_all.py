"""Plain streams read in full: every member, every frame, in parallel where sizes are known."""

from __future__ import annotations

import gzip
import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shardpack
from inputs import MIB, make
from shardpack import Codec, CpuGzip, CpuZstd, CpuZstdDict, Passthrough

TEXT = make("lines", 300_000)


def members(payload: bytes) -> list[bytes]:
    """Cut a file of indexed members at the sizes that their ``IG`` subfields state."""
    parts = []
    while payload:
        head = struct.unpack_from("<2sBBIBBH2sHI", payload)
        magic, method, flags, mtime, _extra_flags, system, extra_len, subfield, length, size = head
        assert (magic, method, mtime, system) == (b"\x1f\x8b", 8, 0, 255)
        assert (flags, extra_len, subfield, length) == (4, 8, b"IG", 4)
        parts.append(payload[:size])
        payload = payload[size:]
    return parts


def test_members_state_their_size_and_stand_alone() -> None:
    payload = CpuGzip(6).compress_members(TEXT, member_size=65536)
    parts = members(payload)
    assert len(parts) == -(-len(TEXT) // 65536)
    assert [gzip.decompress(part) for part in parts] == [
        TEXT[at : at + 65536] for at in range(0, len(TEXT), 65536)
    ]
    assert gzip.decompress(payload) == TEXT


def test_members_do_not_depend_on_the_thread_count() -> None:
    alone = CpuGzip(6).compress_members(TEXT, member_size=10_000, threads=1)
    for threads in (2, 3, 8):
        assert CpuGzip(6).compress_members(TEXT, member_size=10_000, threads=threads) == alone


@pytest.mark.parametrize("size", [0, 1, 9999, 10_000, 10_001])
def test_members_of_any_length_are_plain_gzip(size: int) -> None:
    data = make("lines", size)
    payload = CpuGzip(1).compress_members(data, member_size=10_000)
    assert payload[:2] == b"\x1f\x8b"
    assert gzip.decompress(payload) == data
    assert CpuGzip().decompress_all(payload) == data


def test_a_member_size_of_zero_is_refused() -> None:
    with pytest.raises((ValueError, OverflowError)):
        CpuGzip().compress_members(TEXT, member_size=0)


def test_pgzip_reads_our_members_in_parallel_and_we_read_its() -> None:
    pgzip = pytest.importorskip("pgzip", reason="another reader of IG members")
    payload = CpuGzip(6).compress_members(TEXT, member_size=50_000)
    with pgzip.PgzipFile(fileobj=io.BytesIO(payload), mode="rb", thread=2) as reader:
        assert reader.read() == TEXT
    target = io.BytesIO()
    with pgzip.PgzipFile(
        filename="x", fileobj=target, mode="wb", thread=2, blocksize=50_000
    ) as file:
        file.write(TEXT)
    assert CpuGzip().decompress_all(target.getvalue()) == TEXT


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.booleans())
def test_gzip_members_are_joined(parts: list[bytes], indexed: bool) -> None:
    codec = CpuGzip(1)
    stored = [codec.compress_members(part) if indexed else gzip.compress(part) for part in parts]
    assert codec.decompress_all(b"".join(stored)) == b"".join(parts)


@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.lists(st.booleans(), min_size=5)
)
def test_zstd_frames_are_joined(parts: list[bytes], announced: list[bool]) -> None:
    stored = [
        CpuZstd(1, content_size=known).compress(part)[0]
        for part, known in zip(parts, announced, strict=False)
    ]
    skippable = struct.pack("<II", 0x184D2A5F, 3) + b"abc"
    assert CpuZstd().decompress_all(skippable.join(stored)) == b"".join(parts)


@pytest.mark.parametrize("threads", [1, 2, 5, None])
def test_any_number_of_threads_reads_the_same(threads: int | None) -> None:
    data = make("lines", 4 * MIB)
    frames = b"".join(
        CpuZstd(1, content_size=True).compress(data[at : at + 100_000])[0]
        for at in range(0, len(data), 100_000)
    )
    assert CpuZstd().decompress_all(frames, threads=threads) == data
    packed = CpuGzip(1).compress_members(data, member_size=100_000)
    assert CpuGzip().decompress_all(packed, threads=threads) == data


def test_dictionary_frames_are_joined() -> None:
    codec = CpuZstdDict(make("events", 4000), content_size=True)
    parts = [make("events", 180), b"", make("events", 3000)]
    stored = b"".join(codec.compress(part)[0] for part in parts)
    assert codec.decompress_all(stored) == b"".join(parts)


def test_passthrough_is_the_data() -> None:
    assert Passthrough().decompress_all(TEXT) == TEXT


@pytest.mark.parametrize("codec", [CpuZstd(), CpuZstd(content_size=True), CpuGzip()], ids=repr)
def test_a_claimed_size_is_held_to(codec: Codec) -> None:
    payload = codec.compress(TEXT)[0]
    assert codec.decompress_all(payload, original_size=len(TEXT)) == TEXT
    with pytest.raises(shardpack.S4SizeMismatchError):
        codec.decompress_all(payload, original_size=len(TEXT) + 1)
    with pytest.raises((shardpack.S4IoError, shardpack.S4SizeMismatchError)):
        codec.decompress_all(payload, original_size=len(TEXT) - 1)


@pytest.mark.parametrize("codec", [CpuZstd(), CpuZstd(content_size=True), CpuGzip()], ids=repr)
def test_output_stops_at_the_limit(codec: Codec) -> None:
    payload = codec.compress(TEXT)[0]
    assert codec.decompress_all(payload, max_original_size=len(TEXT)) == TEXT
    for stored in (payload, payload + payload):
        with pytest.raises((shardpack.S4IoError, shardpack.S4ManifestSizeExceedsLimitError)):
            codec.decompress_all(stored, max_original_size=len(TEXT) - 1)


@pytest.mark.parametrize("size", [0, 1, 19, 20, 27, 28, 1000, (1 << 32) - 1])
def test_a_false_member_size_never_gives_false_bytes(size: int) -> None:
    engine = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = engine.compress(TEXT) + engine.flush()
    head = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff" + struct.pack("<H2sHI", 8, b"IG", 4, size)
    member = head + body + struct.pack("<II", zlib.crc32(TEXT), len(TEXT))
    good = CpuGzip().compress_members(TEXT)
    for payload in (member + good, good + member, member + member):
        try:
            plain = CpuGzip().decompress_all(payload)
        except shardpack.S4IoError:
            continue
        assert plain == TEXT + TEXT


def test_a_false_content_size_never_gives_false_bytes() -> None:
    good = CpuZstd(content_size=True).compress(TEXT)[0]
    # The frame header descriptor of a frame of this size has a content size of 4 bytes.
    descriptor = good[4]
    assert descriptor >> 6 == 2
    at = 5 if descriptor & 0x20 else 6
    for claimed in (0, len(TEXT) - 1, len(TEXT) + 1, (1 << 32) - 1):
        bad = good[:at] + struct.pack("<I", claimed) + good[at + 4 :]
        for payload in (bad, bad + good, good + bad):
            with pytest.raises((shardpack.S4IoError, shardpack.S4SizeMismatchError)):
                CpuZstd().decompress_all(payload)


@pytest.mark.parametrize("threads", [-1, -(2**70)])
def test_a_negative_thread_count_is_refused(threads: int) -> None:
    with pytest.raises((ValueError, OverflowError)):
        CpuZstd().decompress_all(CpuZstd().compress(b"")[0], threads=threads)
