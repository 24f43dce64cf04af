"""gzip in memory: one thread on one member, then independent members on several threads."""

from __future__ import annotations

import gzip
import io
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import cramjam
import deflate
import pgzip
from isal import igzip, igzip_threaded
from zlib_ng import gzip_ng

from corpus import corpus
from harness import MIB, Case, Report, chunked, compressing, decoding, parse_arguments
from shardpack import CpuGzip, crc32c

if TYPE_CHECKING:
    import argparse

#: Levels, each with ISA-L's own level of that class and the divisor of the corpus.
_LEVELS = {1: (1, 1), 6: (2, 1), 9: (3, 2)}
_MEMBER_SIZE = MIB


def _compress(report: Report, name: str, level: int, data: bytes) -> None:
    codec = CpuGzip(level)
    isal_level = _LEVELS[level][0]
    decode = gzip.decompress
    case = Case(f"gzip -{level} compress", name, len(data) / 1e6, goal=1.0, original_size=len(data))
    contenders = [
        compressing("CpuGzip", lambda: codec.compress(data)[0], decode, data, ours=True),
        compressing("deflate", lambda: deflate.gzip_compress(data, level), decode, data),
        compressing("isal", lambda: igzip.compress(data, isal_level), decode, data),
        compressing("zlib-ng", lambda: gzip_ng.compress(data, level), decode, data),
        compressing(
            "cramjam", lambda: bytes(cramjam.gzip.compress(data, level=level)), decode, data
        ),
    ]
    report.compare(case, contenders)


def _decompress(report: Report, name: str, data: bytes) -> None:
    # Written by zlib, as nearly all gzip files are.
    member = gzip.compress(data, 6)
    size, checksum, codec = len(data), crc32c(data), CpuGzip()
    target = bytearray(size)

    def into(call: str) -> bytearray:
        if call == "shardpack":
            codec.decompress_into(member, target)
        else:
            cramjam.gzip.decompress_into(member, target)
        return target

    contenders = [
        decoding(
            "decompress, checksum verified",
            lambda: codec.decompress(member, size, checksum),
            data,
            ours=True,
        ),
        decoding("decompress_all", lambda: codec.decompress_all(member), data, ours=True),
        decoding("deflate", lambda: deflate.gzip_decompress(member), data),
        decoding("isal", lambda: igzip.decompress(member), data),
        decoding("zlib-ng", lambda: gzip_ng.decompress(member), data),
        decoding("cramjam", lambda: bytes(cramjam.gzip.decompress(member)), data),
    ]
    case = Case("gzip decompress", name, size / 1e6, goals_by_peer={"deflate": 1.5}, goal=1.0)
    report.compare(case, contenders)
    report.compare(
        Case("gzip decompress into", name, size / 1e6, 1.0),
        [
            decoding("decompress_into", lambda: into("shardpack"), data, ours=True),
            decoding("cramjam decompress_into", lambda: into("cramjam"), data),
        ],
    )


def _compress_members(
    report: Report, name: str, data: bytes, pool: ThreadPoolExecutor, threads: int
) -> None:
    codec = CpuGzip(6)
    chunks = chunked(data, _MEMBER_SIZE)
    decode = gzip.decompress

    def with_pool() -> bytes:
        return b"".join(pool.map(lambda chunk: deflate.gzip_compress(chunk, 6), chunks))

    def with_isal() -> bytes:
        target = io.BytesIO()
        with igzip_threaded.open(target, "wb", compresslevel=2, threads=threads) as file:
            file.write(data)
        return target.getvalue()

    def with_pgzip() -> bytes:
        return bytes(pgzip.compress(data, 6, thread=threads, blocksize=_MEMBER_SIZE))

    report.compare(
        Case(
            "gzip -6 members, compress",
            name,
            len(data) / 1e6,
            1.1,
            original_size=len(data),
            threads=threads,
        ),
        [
            compressing(
                "compress_members",
                lambda: codec.compress_members(data, member_size=_MEMBER_SIZE, threads=threads),
                decode,
                data,
                ours=True,
            ),
            compressing("deflate in a pool", with_pool, decode, data),
            compressing("igzip_threaded", with_isal, decode, data),
            compressing("pgzip", with_pgzip, decode, data),
        ],
    )


def _decompress_members(
    report: Report, name: str, data: bytes, pool: ThreadPoolExecutor, threads: int
) -> None:
    codec = CpuGzip(6)
    stream = codec.compress_members(data, member_size=_MEMBER_SIZE)
    members = [codec.compress(chunk)[0] for chunk in chunked(data, _MEMBER_SIZE)]

    def with_isal() -> bytes:
        with igzip_threaded.open(io.BytesIO(stream), "rb") as file:
            return bytes(file.read())

    report.compare(
        Case("gzip members, decompress", name, len(data) / 1e6, 1.6, threads=threads),
        [
            decoding(
                "decompress_all",
                lambda: codec.decompress_all(stream, threads=threads),
                data,
                ours=True,
            ),
            decoding(
                "deflate in a pool",
                lambda: b"".join(pool.map(deflate.gzip_decompress, members)),
                data,
            ),
            decoding("igzip_threaded", with_isal, data),
            decoding("pgzip", lambda: pgzip.decompress(stream, thread=threads), data),
        ],
    )


def _run(arguments: argparse.Namespace, pool: ThreadPoolExecutor) -> None:
    report = Report("gzip", arguments)
    for name in arguments.corpora:
        data = corpus(name, arguments.size)
        for level, (_, divisor) in _LEVELS.items():
            _compress(report, name, level, data[: len(data) // divisor])
        _decompress(report, name, data)
        _compress_members(report, name, data, pool, arguments.threads)
        _decompress_members(report, name, data, pool, arguments.threads)
    report.finish()


if __name__ == "__main__":
    ARGUMENTS = parse_arguments("gzip against the other packages")
    with ThreadPoolExecutor(ARGUMENTS.threads) as POOL:
        _run(ARGUMENTS, POOL)
