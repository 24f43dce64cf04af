"""Whole S4 objects: encode one, decode one, and read a range, against s4_codec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import shardpack
from corpus import corpus
from harness import MIB, Case, Contender, Report, compressing, decoding, parse_arguments
from s4_peer import import_s4_codec

if TYPE_CHECKING:
    import argparse

_OBJECT_SIZE: Final = 32 * MIB
_RANGE_SIZE: Final = 1024


def _encode(report: Report, s4_codec: Any, name: str, data: bytes, threads: int) -> None:  # noqa: ANN401
    def decode(body: bytes) -> bytes:
        codec = s4_codec.CpuZstd()
        return b"".join(
            codec.decompress(payload, header["original_size"], header["crc32c"])
            for header, payload in s4_codec.frame_iter(body)
        )

    report.compare(
        Case(
            "encode_s4_object",
            name,
            len(data) / 1e6,
            3.0,
            original_size=len(data),
            threads=threads,
        ),
        [
            compressing(
                "shardpack",
                lambda: shardpack.encode_s4_object(data)["body"],
                decode,
                data,
                ours=True,
            ),
            compressing("s4_codec", lambda: s4_codec.encode_s4_object(data)["body"], decode, data),
        ],
    )


def _decode(report: Report, s4_codec: Any, name: str, data: bytes, threads: int) -> None:  # noqa: ANN401
    packed = shardpack.encode_s4_object(data)
    body, metadata = packed["body"], packed["metadata"]

    def by_frames(module: Any) -> bytes:  # noqa: ANN401 - one of two modules with one interface
        codec = module.CpuZstd()
        return b"".join(
            codec.decompress(payload, header["original_size"], header["crc32c"])
            for header, payload in module.frame_iter(body)
        )

    report.compare(
        Case("read and decode frames", name, len(data) / 1e6, 5.0, threads=threads),
        [
            decoding(
                "decode_object", lambda: shardpack.decode_object(body, metadata), data, ours=True
            ),
            decoding("s4_codec", lambda: by_frames(s4_codec), data),
        ],
    )
    report.compare(
        Case("read and decode frames, the same calls", name, len(data) / 1e6, 1.0),
        [
            decoding("shardpack", lambda: by_frames(shardpack), data, ours=True),
            decoding("s4_codec", lambda: by_frames(s4_codec), data),
        ],
    )


def _range(report: Report, s4_codec: Any, name: str, data: bytes) -> None:  # noqa: ANN401
    packed = shardpack.encode_s4_object(data)
    body, metadata, sidecar = packed["body"], packed["metadata"], packed["sidecar"]
    start = len(data) // 2
    end = start + _RANGE_SIZE
    entries = s4_codec.decode_index(sidecar)["entries"] if sidecar else [
        {"original_offset": 0, "compressed_offset": 0, "compressed_size": len(body)}
    ]  # fmt: skip

    def with_peer() -> bytes:
        entry = max(
            (entry for entry in entries if entry["original_offset"] <= start),
            key=lambda entry: entry["original_offset"],
        )
        first = entry["compressed_offset"]
        header, payload, _ = s4_codec.read_frame(body[first : first + entry["compressed_size"]])
        plain = s4_codec.CpuZstd().decompress(payload, header["original_size"], header["crc32c"])
        inside = start - entry["original_offset"]
        return bytes(plain[inside : inside + _RANGE_SIZE])

    report.compare(
        Case("a range of 1 KiB", name, 1, 1.0, unit="reads"),
        [
            decoding(
                "decode_range",
                lambda: shardpack.decode_range(body, start, end, metadata, sidecar),
                data[start:end],
                ours=True,
            ),
            decoding("s4_codec", with_peer, data[start:end]),
        ],
    )


def _small(report: Report, s4_codec: Any, name: str, data: bytes) -> None:  # noqa: ANN401
    ours, theirs = shardpack.CpuZstd(), s4_codec.CpuZstd()
    record = data[:1000]
    expected = ours.compress(record)
    contenders = [
        decoding("shardpack", lambda: ours.compress(record), expected, ours=True),
        decoding("s4_codec", lambda: theirs.compress(record), expected),
    ]
    report.compare(
        Case("CpuZstd.compress, 1000 bytes", name, 1e-3, 1.0, unit="k calls"), contenders
    )
    payload, size, checksum = expected
    contenders = [
        Contender("shardpack", lambda: ours.decompress(payload, size, checksum), ours=True),
        Contender("s4_codec", lambda: theirs.decompress(payload, size, checksum)),
    ]
    report.compare(
        Case("CpuZstd.decompress, 1000 bytes", name, 1e-3, 1.0, unit="k calls"), contenders
    )


def _run(arguments: argparse.Namespace) -> None:
    report = Report("object", arguments)
    s4_codec = import_s4_codec()
    threads = shardpack.thread_count()
    for name in arguments.corpora:
        data = corpus(name, arguments.size)[:_OBJECT_SIZE]
        _encode(report, s4_codec, name, data, threads)
        _decode(report, s4_codec, name, data, threads)
        _range(report, s4_codec, name, data)
        _small(report, s4_codec, name, data)
    report.finish()


if __name__ == "__main__":
    _run(parse_arguments("S4 objects against s4_codec"))
