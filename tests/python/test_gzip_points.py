"""Checkpoints in gzip files from Python: what they give back, what is refused, threads."""

from __future__ import annotations

import gzip
import io
import threading
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING

import pgzip
import pytest

from inputs import KIB, MIB, drbg, make
from shardpack import CpuGzip, S4IoError, crc32c
from shardpack._native import GzipIndexer, gzip_resume

if TYPE_CHECKING:
    from collections.abc import Callable

    Point = tuple[int, int, int, bytes, int]

SPAN = 64 * KIB
TEXT = make("lines", 700_000) + make("noise", 300_000) + make("zeros", 200_000)


def _zlib(data: bytes, strategy: int) -> bytes:
    packer = zlib.compressobj(6, wbits=31, strategy=strategy)
    return packer.compress(data) + packer.flush()


def _flushed(data: bytes) -> bytes:
    packer = zlib.compressobj(6, wbits=31)
    flushes = (zlib.Z_SYNC_FLUSH, zlib.Z_PARTIAL_FLUSH, zlib.Z_BLOCK, zlib.Z_FULL_FLUSH)
    packed = b""
    for number, at in enumerate(range(0, len(data), 5_000)):
        packed += packer.compress(data[at : at + 5_000]) + packer.flush(flushes[number % 4])
    return packed + packer.flush()


def _named(data: bytes) -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile("a name.tar", "wb", fileobj=packed, mtime=1) as file:
        file.write(data)
    return packed.getvalue()


WRITERS: dict[str, Callable[[bytes], bytes]] = {
    "zlib 1": lambda data: gzip.compress(data, 1),
    "zlib 9": lambda data: gzip.compress(data, 9),
    "zlib stored": lambda data: gzip.compress(data, 0),
    "zlib fixed": lambda data: _zlib(data, zlib.Z_FIXED),
    "zlib huffman": lambda data: _zlib(data, zlib.Z_HUFFMAN_ONLY),
    "zlib flushed": _flushed,
    "named": _named,
    "libdeflate": lambda data: CpuGzip(9).compress(data)[0],
    "members": lambda data: CpuGzip(6).compress_members(data, member_size=30_000),
    "pgzip": lambda data: pgzip.compress(data, blocksize=100_000, thread=2),
}


def indexed(
    stored: bytes, span: int = SPAN, piece: int = 50_000, most: int = 100_000
) -> tuple[bytes, list[Point]]:
    """What a file decodes to, and its points."""
    indexer = GzipIndexer(span=span)
    decoded = bytearray()
    points = []
    for at in range(0, len(stored), piece):
        data = stored[at : at + piece]
        while True:
            out = indexer.decompress(data, most)
            assert len(out) <= most
            decoded += out
            points += indexer.take_points()
            if indexer.needs_input:
                break
            data = b""
    checksum = indexer.finish()
    points += indexer.take_points()
    assert checksum == crc32c(decoded[points[-1][2] :])
    return bytes(decoded), points


@pytest.mark.parametrize("writer", WRITERS)
def test_every_point_gives_what_follows_it(writer: str) -> None:
    stored = WRITERS[writer](TEXT)
    decoded, points = indexed(stored)
    assert decoded == TEXT
    assert points[0] == (0, 0, 0, b"", 0)
    for number, (offset, bits, original, window, _) in enumerate(points):
        end = points[number + 1] if number + 1 < len(points) else (len(stored), 0, len(TEXT))
        part = stored[offset : end[0] + (end[1] > 0)]
        expected = TEXT[original : end[2]]
        assert gzip_resume(window, bits, part, len(expected)) == expected
        assert gzip_resume(window, bits, stored[offset:], len(TEXT) - original) == TEXT[original:]
        if number:
            assert points[number][4] == crc32c(TEXT[points[number - 1][2] : original])


@pytest.mark.parametrize(("piece", "most"), [(1, 7), (17, 100_000), (1 << 20, 1), (999, 4_096)])
def test_points_do_not_depend_on_how_the_file_arrives(piece: int, most: int) -> None:
    data = TEXT[650_000:750_000]
    stored = gzip.compress(data, 6)
    assert indexed(stored, 32 * KIB, piece, most) == indexed(stored, 32 * KIB)


def test_points_come_about_every_span() -> None:
    stored = gzip.compress(TEXT, 6)
    for span in (32 * KIB, 100_000, 400_000):
        starts = [point[2] for point in indexed(stored, span)[1]]
        gaps = [end - start for start, end in pairwise(starts)]
        assert min(gaps) >= span
        # Blocks of zlib hold at most some 16,000 symbols; zeros need few.
        assert max(gaps) <= span + 300_000
    assert len(indexed(stored, 10 * MIB)[1]) == 1


def test_windows_hold_only_what_the_next_bytes_refer_to() -> None:
    data = drbg("noise", 600_000)
    points = indexed(gzip.compress(data, 6))[1]
    assert len(points) > 5
    for *_, window, _ in points[1:]:
        assert 0 < len(window) <= 32 * KIB
        assert len(window) - window.count(0) < 500


def test_damage_and_missing_bytes_are_refused() -> None:
    stored = gzip.compress(TEXT, 6)
    for place in (0, 3, 200_000, len(stored) - 6, len(stored) - 2):
        damaged = bytearray(stored)
        damaged[place] ^= 0x7F
        with pytest.raises(S4IoError):
            indexed(bytes(damaged))
    for size in (0, 5, 100_000, len(stored) - 1):
        with pytest.raises(S4IoError):
            indexed(stored[:size])
    offset, bits, original, window, _ = indexed(stored)[1][2]
    size = len(TEXT) - original
    with pytest.raises(S4IoError):
        gzip_resume(window, bits, stored[offset:-20_000], size)
    with pytest.raises(S4IoError):
        gzip_resume(window, bits, stored[offset:], size + 1)
    with pytest.raises(S4IoError):
        gzip_resume(window, bits, b"abc", 1 << 50)
    with pytest.raises(ValueError, match="bit offset 8"):
        gzip_resume(window, 8, stored[offset:], 1)
    with pytest.raises(ValueError, match="below the 32768"):
        GzipIndexer(span=1_000)


def test_an_indexer_that_failed_stays_so() -> None:
    indexer = GzipIndexer()
    with pytest.raises(S4IoError):
        indexer.decompress(b"no gzip")
    with pytest.raises(S4IoError):
        indexer.decompress(gzip.compress(b"data"))
    with pytest.raises(S4IoError):
        indexer.finish()


def test_a_bomb_is_given_out_in_bounded_pieces() -> None:
    packed = gzip.compress(bytes(50 * MIB), 9)
    indexer = GzipIndexer()
    piece = indexer.decompress(packed, 1_000)
    assert piece == bytes(1_000)
    assert not indexer.needs_input
    with pytest.raises(S4IoError):
        indexer.finish()


def test_threads_may_share_an_indexer() -> None:
    stored = gzip.compress(TEXT, 6) * 8
    indexer = GzipIndexer(span=SPAN)
    indexer.decompress(stored, 0)
    found: list[int] = []

    def work() -> None:
        while piece := indexer.decompress(b"", 100_000):
            found.append(len(piece))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found) == 8 * len(TEXT)
    indexer.finish()
