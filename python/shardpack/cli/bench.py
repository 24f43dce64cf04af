"""``shardpack bench``."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from shardpack.atomic import is_special
from shardpack.cli import arguments
from shardpack.cli.console import EXPECTED_ERRORS, Console, printable
from shardpack.cli.inputs import STANDARD, usage_error
from shardpack.cli.plot import save_plot
from shardpack.cli.sizes import format_size, size
from shardpack.codec import Codec, CpuGzip, CpuZstd, Passthrough
from shardpack.frame import decode_frames, encode_frames, pick_chunk_size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

__all__ = ["Measurement", "add_parser"]

_EXAMPLES = """\
  shardpack bench data.csv
  shardpack bench --max-bytes 16M --codec cpu-zstd data.csv
  shardpack bench --plot data.png data.csv    ratio against speed (needs shardpack[plot])
  shardpack bench --json data.csv

Measured in memory, with the chunks and threads that compress would use. Speeds are original MB
(10^6 bytes) per second, the best of some runs.
"""

_Result = TypeVar("_Result")

_DEFAULT_BYTES = 64 << 20
_ENOUGH_SECONDS = 0.4
_MOST_RUNS = 5
_MEGABYTE = 1e6
_ROW = "{:<12} {:>5} {:>8} {:>14} {:>16}"


class Measurement(NamedTuple):
    """What one codec at one level did to the file; speeds in 10^6 original bytes per second."""

    codec: str
    level: int | None
    ratio: float
    compress_mb_s: float
    decompress_mb_s: float


def add_parser(verbs: arguments.Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(
        verbs, "bench", "Measure every codec and level on a file of yours.", _EXAMPLES
    )
    parser.add_argument("file", metavar="FILE", help="file whose data to measure with")
    parser.add_argument(
        "--max-bytes",
        type=size,
        metavar="SIZE",
        default=_DEFAULT_BYTES,
        help="take this much from the start of the file (default 64M)",
    )
    parser.add_argument(
        "--codec", choices=("cpu-zstd", "cpu-gzip", "passthrough"), help="measure only this one"
    )
    parser.add_argument("--plot", metavar="PNG", help="draw ratio against speed into this file")
    parser.add_argument("-f", "--force", action="store_true", help="replace an existing PNG")
    arguments.add_threads(parser)
    arguments.add_json(parser)
    arguments.add_quiet(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure the file of the command line; gives the exit code."""
    if options.file == STANDARD:
        return usage_error("bench reads a file, not standard input")
    console = Console(options)
    try:
        with open(options.file, "rb") as file:
            data = file.read(options.max_bytes)
    except OSError as error:
        console.error(options.file, error)
        return console.status
    if not data:
        console.error(options.file, "is empty, there is nothing to measure")
        return console.status
    if options.plot is not None and not options.force and _is_taken(options.plot):
        # Known before the measurements, which take minutes.
        console.fail(f"{printable(options.plot)} exists already; use -f to replace it")
        return console.status
    measurements = _measure_all(options, console, data)
    if options.json:
        print(json.dumps([measured._asdict() for measured in measurements], indent=2))
    if options.plot is not None:
        title = f"{printable(options.file)}, {format_size(len(data))}"
        try:
            save_plot(options.plot, measurements, title=title, overwrite=options.force)
        except (ImportError, *EXPECTED_ERRORS) as error:
            console.error(options.plot, error)
    return console.status


def _is_taken(path: str) -> bool:
    return os.path.lexists(path) and not is_special(path)


def _measure_all(options: argparse.Namespace, console: Console, data: bytes) -> list[Measurement]:
    measurements: list[Measurement] = []
    if not options.json:
        print(f"{format_size(len(data))} of {printable(options.file)}")
        print(_ROW.format("CODEC", "LEVEL", "RATIO", "COMPRESS MB/s", "DECOMPRESS MB/s"))
    with console.progress(None) as bar:
        for codec, level in _candidates(options.codec):
            measured = _measure(codec, level, data, options.threads)
            measurements.append(measured)
            if bar is not None:
                bar.update(len(data))
            if not options.json:
                console.say(_row(measured))
    return measurements


def _candidates(only: str | None) -> Iterator[tuple[Codec, int | None]]:
    if only in (None, "passthrough"):
        yield Passthrough(), None
    if only in (None, "cpu-zstd"):
        for level in range(1, 23):
            yield CpuZstd(level), level
    if only in (None, "cpu-gzip"):
        for level in range(10):
            yield CpuGzip(level), level


def _measure(codec: Codec, level: int | None, data: bytes, threads: int | None) -> Measurement:
    chunk_size = pick_chunk_size(len(data))
    (body, _, _), packing = _best_of(
        lambda: encode_frames(codec, data, chunk_size, threads=threads)
    )
    unpacked, unpacking = _best_of(lambda: decode_frames(body, threads=threads))
    if unpacked != data:
        raise AssertionError(f"{codec!r} did not give the bytes back")
    return Measurement(
        codec=codec.name,
        level=level,
        ratio=len(data) / len(body),
        compress_mb_s=len(data) / _MEGABYTE / packing,
        decompress_mb_s=len(data) / _MEGABYTE / unpacking,
    )


def _best_of(action: Callable[[], _Result]) -> tuple[_Result, float]:
    """Repeat until it took long enough; gives the result and the shortest time in seconds."""
    best = total = 0.0
    for run_number in range(_MOST_RUNS):
        started = time.perf_counter()
        result = action()
        took = max(time.perf_counter() - started, 1e-9)
        best = took if run_number == 0 else min(best, took)
        total += took
        if total >= _ENOUGH_SECONDS:
            break
    return result, best


def _row(measured: Measurement) -> str:
    return _ROW.format(
        measured.codec,
        "-" if measured.level is None else measured.level,
        f"{measured.ratio:.3f}",
        f"{measured.compress_mb_s:.1f}",
        f"{measured.decompress_mb_s:.1f}",
    )
