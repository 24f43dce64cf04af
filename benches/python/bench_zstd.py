"""zstd in memory: one thread on one stream, then independent frames on several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import cramjam
import pyarrow as pa
import zstandard
from backports import zstd as stdlib_zstd

from corpus import corpus
from harness import MIB, Case, Report, chunked, compressing, decoding, parse_arguments
from shardpack import CpuZstd, crc32c, decode_frames, encode_frames

if TYPE_CHECKING:
    import argparse

#: Levels, each with the divisor of the corpus it is tried on: the high ones are slow.
_LEVELS = {1: 1, 3: 1, 9: 2, 19: 8}
_FRAME_SIZE = MIB


def _compress(report: Report, name: str, level: int, data: bytes) -> None:
    streaming, announced = CpuZstd(level), CpuZstd(level, content_size=True)
    arrow = pa.Codec("zstd", compression_level=level)
    context = zstandard.ZstdCompressor(level=level)
    decode = stdlib_zstd.decompress
    case = Case(
        f"zstd -{level} compress",
        name,
        len(data) / 1e6,
        goals_by_peer={"pyarrow": 1.0, "zstandard": 1.1},
        original_size=len(data),
    )
    contenders = [
        compressing("CpuZstd", lambda: streaming.compress(data)[0], decode, data, ours=True),
        compressing(
            "CpuZstd, size announced", lambda: announced.compress(data)[0], decode, data, ours=True
        ),
        compressing("pyarrow", lambda: arrow.compress(data, asbytes=True), decode, data),
        compressing("zstandard", lambda: context.compress(data), decode, data),
        compressing("backports.zstd", lambda: stdlib_zstd.compress(data, level), decode, data),
        compressing(
            "cramjam", lambda: bytes(cramjam.zstd.compress(data, level=level)), decode, data
        ),
    ]
    report.compare(case, contenders)


def _decompress(report: Report, name: str, level: int, data: bytes) -> None:
    frame = CpuZstd(level, content_size=True).compress(data)[0]
    size, checksum, codec = len(data), crc32c(data), CpuZstd()
    context = zstandard.ZstdDecompressor()
    arrow = pa.Codec("zstd")
    contenders = [
        decoding(
            "decompress, checksum verified",
            lambda: codec.decompress(frame, size, checksum),
            data,
            ours=True,
        ),
        decoding("decompress_all", lambda: codec.decompress_all(frame, threads=1), data, ours=True),
        decoding("pyarrow", lambda: arrow.decompress(frame, size, asbytes=True), data),
        decoding("zstandard", lambda: context.decompress(frame), data),
        decoding("backports.zstd", lambda: stdlib_zstd.decompress(frame), data),
        decoding("cramjam", lambda: bytes(cramjam.zstd.decompress(frame)), data),
    ]
    case = Case(
        f"zstd -{level} decompress",
        name,
        size / 1e6,
        goals_by_peer={"pyarrow": 1.0, "zstandard": 1.8},
    )
    report.compare(case, contenders)


def _decompress_into(report: Report, name: str, level: int, data: bytes) -> None:
    frame = CpuZstd(level, content_size=True).compress(data)[0]
    size, codec = len(data), CpuZstd()
    context = zstandard.ZstdDecompressor()
    target = bytearray(size)

    def with_reader() -> bytearray:
        context.stream_reader(frame).readinto(target)
        return target

    def with_cramjam() -> bytearray:
        cramjam.zstd.decompress_into(frame, target)
        return target

    def with_codec() -> bytearray:
        codec.decompress_into(frame, target)
        return target

    contenders = [
        decoding("decompress_into", with_codec, data, ours=True),
        decoding("zstandard readinto", with_reader, data),
        decoding("cramjam decompress_into", with_cramjam, data),
    ]
    report.compare(Case(f"zstd -{level} decompress into", name, size / 1e6, 1.0), contenders)


def _compress_frames(
    report: Report, name: str, level: int, data: bytes, pool: ThreadPoolExecutor, threads: int
) -> None:
    codec = CpuZstd(level, content_size=True)
    context = zstandard.ZstdCompressor(level=level, threads=threads)
    arrow = pa.Codec("zstd", compression_level=level)
    chunks = chunked(data, _FRAME_SIZE)
    options: dict[int, int] = {
        stdlib_zstd.CompressionParameter.compression_level: level,
        stdlib_zstd.CompressionParameter.nb_workers: threads,
    }

    def with_pool() -> bytes:
        frames = pool.map(lambda chunk: arrow.compress(chunk, asbytes=True), chunks)
        return b"".join(frames)

    def with_contexts() -> bytes:
        def one(chunk: memoryview) -> bytes:
            return bytes(zstandard.ZstdCompressor(level=level).compress(chunk))

        return b"".join(pool.map(one, chunks))

    decode = stdlib_zstd.decompress
    single = f"{threads} threads against 1"
    report.compare(
        Case(
            f"zstd -{level} frames, compress",
            name,
            len(data) / 1e6,
            1.1,
            original_size=len(data),
            threads=threads,
        ),
        [
            compressing(
                "encode_frames",
                lambda: encode_frames(codec, data, _FRAME_SIZE, threads=threads)[0],
                decode_frames,
                data,
                ours=True,
            ),
            compressing("pyarrow in a pool", with_pool, decode, data),
            compressing("zstandard in a pool", with_contexts, decode, data),
            compressing("zstandard workers", lambda: context.compress(data), decode, data),
            compressing(
                "backports.zstd workers",
                lambda: stdlib_zstd.compress(data, options=options),
                decode,
                data,
            ),
        ],
    )
    report.compare(
        Case(
            f"zstd -{level} frames, compress, {single}",
            name,
            len(data) / 1e6,
            0.9 * threads,
            threads=threads,
        ),
        [
            decoding(
                f"{threads} threads",
                lambda: encode_frames(codec, data, _FRAME_SIZE, threads=threads),
                encode_frames(codec, data, _FRAME_SIZE, threads=1),
                ours=True,
            ),
            decoding(
                "1 thread",
                lambda: encode_frames(codec, data, _FRAME_SIZE, threads=1),
                encode_frames(codec, data, _FRAME_SIZE, threads=threads),
            ),
        ],
    )


def _decompress_frames(
    report: Report, name: str, level: int, data: bytes, pool: ThreadPoolExecutor, threads: int
) -> None:
    codec = CpuZstd(level, content_size=True)
    framed = encode_frames(codec, data, _FRAME_SIZE)[0]
    frames = [codec.compress(chunk)[0] for chunk in chunked(data, _FRAME_SIZE)]
    stream = b"".join(frames)
    arrow = pa.Codec("zstd")
    sizes = [len(chunk) for chunk in chunked(data, _FRAME_SIZE)]

    def with_arrow() -> bytes:
        return b"".join(pool.map(arrow.decompress, frames, sizes))

    def with_contexts() -> bytes:
        def one(frame: bytes) -> bytes:
            return bytes(zstandard.ZstdDecompressor().decompress(frame))

        return b"".join(pool.map(one, frames))

    report.compare(
        Case(f"zstd -{level} frames, decompress", name, len(data) / 1e6, 1.6, threads=threads),
        [
            decoding(
                "decode_frames", lambda: decode_frames(framed, threads=threads), data, ours=True
            ),
            decoding(
                "decompress_all",
                lambda: codec.decompress_all(stream, threads=threads),
                data,
                ours=True,
            ),
            decoding("pyarrow in a pool", with_arrow, data),
            decoding("zstandard in a pool", with_contexts, data),
            decoding("backports.zstd", lambda: stdlib_zstd.decompress(stream), data),
        ],
    )


def _run(arguments: argparse.Namespace, pool: ThreadPoolExecutor) -> None:
    report = Report("zstd", arguments)
    for name in arguments.corpora:
        data = corpus(name, arguments.size)
        for level, divisor in _LEVELS.items():
            part = data[: len(data) // divisor]
            _compress(report, name, level, part)
        for level in (1, 3):
            _decompress(report, name, level, data)
        _decompress_into(report, name, 3, data)
        _compress_frames(report, name, 3, data, pool, arguments.threads)
        _decompress_frames(report, name, 3, data, pool, arguments.threads)
    report.finish()


if __name__ == "__main__":
    ARGUMENTS = parse_arguments("zstd against the other packages")
    with ThreadPoolExecutor(ARGUMENTS.threads) as POOL:
        _run(ARGUMENTS, POOL)
