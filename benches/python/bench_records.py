"""Small records: a call for each, then the batch calls over lists and over Arrow arrays."""

from __future__ import annotations

import gzip
from collections import deque
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

import deflate
import pyarrow as pa
import zstandard
from backports import zstd as stdlib_zstd
from isal import igzip
from zlib_ng import gzip_ng

from corpus import records
from harness import Case, Contender, Report, parse_arguments
from shardpack import Codec, CpuGzip, CpuZstd, CpuZstdDict, train_dict

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Sequence

_COUNT: Final = 100_000
_QUICK_COUNT: Final = 2_000
_SIZES: Final = (1024, 8192)
_DICT_SIZE: Final = 16_384
#: Records that are checked, and from which the stored size of all is worked out.
_CHECKED: Final = 1_000


class _Records:
    """One set of records.

    Args:
        corpus: Where they come from.
        size: Length of each in bytes.
        count: How many.
    """

    def __init__(self, corpus: str, size: int, count: int) -> None:
        self.all = records(corpus, size, count)
        self.sample = self.all[:_CHECKED]
        self.label = f"{corpus}, {count:,} x {size >> 10} KiB"
        self.total_size = size * count

    def case(self, name: str, goal: float, *, compresses: bool, threads: int = 1) -> Case:
        """Name a piece of work on these records."""
        return Case(
            name,
            self.label,
            len(self.all) / 1e3,
            goal,
            unit="k records",
            original_size=self.total_size if compresses else None,
            threads=threads,
        )

    def stored_size(self, payloads: Sequence[bytes], decode: Callable[[Any], object]) -> int:
        """Check the payloads of the sample and work out the size of those of all records."""
        if [decode(payload) for payload in payloads] != self.sample:
            message = f"a contender returned a wrong result for {self.label}"
            raise RuntimeError(message)
        return sum(map(len, payloads)) * len(self.all) // len(payloads)


def _each(call: Callable[..., object], *arguments: Iterable[object]) -> Callable[[], object]:
    """Call once for each record and drop the results, without a loop in Python."""
    return lambda: deque(map(call, *arguments), maxlen=0)


def _codec_calls(
    name: str, codec: Codec, decode: Callable[[Any], object], data: _Records
) -> Contender:
    payloads = [codec.compress(record)[0] for record in data.sample]
    stored_size = data.stored_size(payloads, decode)
    return Contender(name, _each(codec.compress, data.all), ours=True, stored_size=stored_size)


def _peer_calls(
    name: str, call: Callable[[Any], Any], decode: Callable[[Any], object], data: _Records
) -> Contender:
    stored_size = data.stored_size([call(record) for record in data.sample], decode)
    return Contender(name, _each(call, data.all), stored_size=stored_size)


def _zstd_peers(data: _Records) -> list[Contender]:
    decode = stdlib_zstd.decompress
    arrow = pa.Codec("zstd", compression_level=3)
    return [
        _peer_calls("zstandard", zstandard.ZstdCompressor(level=3).compress, decode, data),
        _peer_calls("backports.zstd", stdlib_zstd.compress, decode, data),
        _peer_calls("pyarrow", partial(arrow.compress, asbytes=True), decode, data),
    ]


def _zstd_calls(report: Report, data: _Records) -> None:
    announced = CpuZstd(content_size=True)
    decode = stdlib_zstd.decompress
    report.compare(
        data.case("zstd -3, per call, compress", 1.0, compresses=True),
        [
            _codec_calls("CpuZstd", CpuZstd(), decode, data),
            _codec_calls("CpuZstd, size announced", announced, decode, data),
            *_zstd_peers(data),
        ],
    )
    payloads, sizes, checksums = zip(*map(announced.compress, data.all), strict=True)
    context, arrow = zstandard.ZstdDecompressor(), pa.Codec("zstd")
    report.compare(
        data.case("zstd -3, per call, decompress", 1.05, compresses=False),
        [
            Contender(
                "CpuZstd, checksum verified",
                _each(announced.decompress, payloads, sizes, checksums),
                ours=True,
            ),
            Contender("zstandard", _each(context.decompress, payloads)),
            Contender("backports.zstd", _each(stdlib_zstd.decompress, payloads)),
            Contender("pyarrow", _each(arrow.decompress, payloads, sizes, repeat(object=True))),
        ],
    )


def _gzip_calls(report: Report, data: _Records) -> None:
    codec, decode = CpuGzip(), gzip.decompress
    report.compare(
        data.case("gzip -6, per call, compress", 1.0, compresses=True),
        [
            _codec_calls("CpuGzip", codec, decode, data),
            _peer_calls("deflate", lambda one: deflate.gzip_compress(one, 6), decode, data),
            _peer_calls("isal", partial(igzip.compress, compresslevel=2), decode, data),
            _peer_calls("zlib-ng", partial(gzip_ng.compress, compresslevel=6), decode, data),
        ],
    )
    payloads, sizes, checksums = zip(*map(codec.compress, data.all), strict=True)
    report.compare(
        data.case("gzip, per call, decompress", 1.05, compresses=False),
        [
            Contender(
                "CpuGzip, checksum verified",
                _each(codec.decompress, payloads, sizes, checksums),
                ours=True,
            ),
            Contender("deflate", _each(deflate.gzip_decompress, payloads)),
            Contender("isal", _each(igzip.decompress, payloads)),
            Contender("zlib-ng", _each(gzip_ng.decompress, payloads)),
        ],
    )


def _dictionary_calls(report: Report, data: _Records) -> None:
    dictionary = train_dict(data.sample, _DICT_SIZE)
    shared = zstandard.ZstdCompressionDict(dictionary)
    shared.precompute_compress(level=3)
    context = zstandard.ZstdCompressor(level=3, dict_data=shared)
    codec = CpuZstdDict(dictionary, content_size=True)
    decode = zstandard.ZstdDecompressor(dict_data=shared).decompress
    report.compare(
        data.case("zstd -3 with dictionary, per call, compress", 1.0, compresses=True),
        [
            _codec_calls("CpuZstdDict, size announced", codec, decode, data),
            _peer_calls("zstandard", context.compress, decode, data),
        ],
    )
    payloads, sizes, checksums = zip(*map(codec.compress, data.all), strict=True)
    report.compare(
        data.case("zstd -3 with dictionary, per call, decompress", 1.05, compresses=False),
        [
            Contender(
                "CpuZstdDict, checksum verified",
                _each(codec.decompress, payloads, sizes, checksums),
                ours=True,
            ),
            Contender("zstandard", _each(decode, payloads)),
        ],
    )


def _zstd_batches(report: Report, data: _Records, threads: int) -> None:
    codec, column = CpuZstd(content_size=True), pa.array(data.all, pa.binary())
    decode = stdlib_zstd.decompress
    stored_size = data.stored_size([one or b"" for one in codec.compress_many(data.sample)], decode)
    ours = [
        Contender(
            f"compress_many, {kind}",
            partial(codec.compress_many, batch, threads=threads),
            ours=True,
            stored_size=stored_size,
        )
        for kind, batch in (("list", data.all), ("Arrow", column))
    ]
    report.compare(
        data.case("zstd -3, batch, compress", 0.9 * threads, compresses=True, threads=threads),
        [*ours, *_zstd_peers(data)],
    )
    context = zstandard.ZstdCompressor(level=3)
    inputs: list[bytes | bytearray | memoryview] = [*data.all]
    batch = partial(context.multi_compress_to_buffer, inputs, threads=threads)
    report.compare(
        data.case("zstd -3, batch against batch, compress", 1.0, compresses=True, threads=threads),
        [*ours, Contender("multi_compress_to_buffer", batch, stored_size=stored_size)],
    )


def _zstd_batches_back(report: Report, data: _Records, threads: int) -> None:
    codec = CpuZstd(content_size=True)
    payloads = [codec.compress(record)[0] for record in data.all]
    sizes, column = [len(record) for record in data.all], pa.array(payloads, pa.binary())
    if (
        codec.decompress_many(payloads) != data.all
        or list(codec.decompress_many(column)) != data.all
    ):
        message = "decompress_many returned a wrong result"
        raise RuntimeError(message)
    ours = [
        Contender(
            f"decompress_many, {kind}",
            partial(codec.decompress_many, batch, threads=threads),
            ours=True,
        )
        for kind, batch in (("list", payloads), ("Arrow", column))
    ]
    context, arrow = zstandard.ZstdDecompressor(), pa.Codec("zstd")
    report.compare(
        data.case("zstd -3, batch, decompress", 0.9 * threads, compresses=False, threads=threads),
        [
            *ours,
            Contender("zstandard", _each(context.decompress, payloads)),
            Contender("backports.zstd", _each(stdlib_zstd.decompress, payloads)),
            Contender("pyarrow", _each(arrow.decompress, payloads, sizes, repeat(object=True))),
        ],
    )
    inputs: list[bytes | bytearray | memoryview] = [*payloads]
    batch = partial(context.multi_decompress_to_buffer, inputs, threads=threads)
    report.compare(
        data.case(
            "zstd -3, batch against batch, decompress", 1.0, compresses=False, threads=threads
        ),
        [*ours, Contender("multi_decompress_to_buffer", batch)],
    )


def _gzip_batches(report: Report, data: _Records, threads: int) -> None:
    codec, decode = CpuGzip(), gzip.decompress
    payloads = [one or b"" for one in codec.compress_many(data.all)]
    stored_size = data.stored_size(payloads[:_CHECKED], decode)
    report.compare(
        data.case("gzip -6, batch, compress", 0.9 * threads, compresses=True, threads=threads),
        [
            Contender(
                "compress_many, list",
                partial(codec.compress_many, data.all, threads=threads),
                ours=True,
                stored_size=stored_size,
            ),
            _peer_calls("deflate", lambda one: deflate.gzip_compress(one, 6), decode, data),
            _peer_calls("isal", partial(igzip.compress, compresslevel=2), decode, data),
        ],
    )
    report.compare(
        data.case("gzip, batch, decompress", 0.9 * threads, compresses=False, threads=threads),
        [
            Contender(
                "decompress_many, list",
                partial(codec.decompress_many, payloads, threads=threads),
                ours=True,
            ),
            Contender("deflate", _each(deflate.gzip_decompress, payloads)),
            Contender("isal", _each(igzip.decompress, payloads)),
        ],
    )


def _run(arguments: argparse.Namespace) -> None:
    report = Report("records", arguments)
    count = _QUICK_COUNT if arguments.quick else _COUNT
    for corpus in ("nginx", "jsonl"):
        if corpus not in arguments.corpora:
            continue
        for size in _SIZES:
            data = _Records(corpus, size, count)
            _zstd_calls(report, data)
            _gzip_calls(report, data)
            _dictionary_calls(report, data)
            _zstd_batches(report, data, arguments.threads)
            _zstd_batches_back(report, data, arguments.threads)
            _gzip_batches(report, data, arguments.threads)
    report.finish()


if __name__ == "__main__":
    _run(parse_arguments("small records against the other packages"))
