"""Peak resident memory: a 4 GiB file through the file calls, 64 MiB through the codecs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from corpus import corpus
from harness import MIB, Report, parse_arguments, peak_rss

if TYPE_CHECKING:
    import argparse

_FILE_SIZE: Final = 4096 * MIB
_QUICK_FILE_SIZE: Final = 256 * MIB
_BLOCK_SIZE: Final = 64 * MIB
#: What the file calls may hold, in MiB.
_LIMIT: Final = 200

_IMPORT: Final = "import shardpack"
_COMPRESS: Final = """
import sys, shardpack
shardpack.compress_file(sys.argv[1], sys.argv[2])
"""
_DECOMPRESS: Final = """
import sys, shardpack
shardpack.decompress_file(sys.argv[1], sys.argv[2])
"""
_VERIFY: Final = """
import sys, shardpack
shardpack.verify_file(sys.argv[1])
"""
_RANGE: Final = """
import sys, shardpack
start = int(sys.argv[2])
assert len(shardpack.read_range(sys.argv[1], start, start + 1024)) == 1024
"""
#: Each holds the input, then does one call; the first does none.
_IN_MEMORY: Final = {
    "input alone": "",
    "shardpack": "import shardpack; out = shardpack.CpuZstd(3).compress(data)",
    "zstandard": "import zstandard; out = zstandard.ZstdCompressor(level=3).compress(data)",
    "pyarrow": "import pyarrow; out = pyarrow.compress(data, 'zstd', asbytes=True)",
}


def _same(left: Path, right: Path) -> bool:
    with left.open("rb") as one, right.open("rb") as other:
        while True:
            block = one.read(MIB)
            if block != other.read(MIB):
                return False
            if not block:
                return True


def _files(report: Report, folder: Path, *, quick: bool) -> None:
    size = _QUICK_FILE_SIZE if quick else _FILE_SIZE
    source, back = folder / "log.txt", folder / "back.txt"
    block = corpus("nginx", _BLOCK_SIZE)
    with source.open("wb") as file:
        for _ in range(size // _BLOCK_SIZE):
            file.write(block)
    label = f"nginx, {size // MIB} MiB"
    report.note("import shardpack", "", peak_rss(_IMPORT) / MIB)
    for suffix in (".s4", ".zst", ".gz"):
        packed = folder / f"log.txt{suffix}"
        peak = peak_rss(_COMPRESS, str(source), str(packed))
        report.note(f"compress_file to {suffix}", label, peak / MIB, _LIMIT)
        peak = peak_rss(_DECOMPRESS, str(packed), str(back))
        report.note(f"decompress_file from {suffix}", label, peak / MIB, _LIMIT)
        if not _same(source, back):
            message = f"{suffix}: another file came back"
            raise RuntimeError(message)
        peak = peak_rss(_VERIFY, str(packed))
        report.note(f"verify_file of {suffix}", label, peak / MIB, _LIMIT)
        if suffix == ".s4":
            peak = peak_rss(_RANGE, str(packed), str(size // 2))
            report.note("read_range of 1 KiB", label, peak / MIB, _LIMIT)
        packed.unlink()
        back.unlink()


def _in_memory(report: Report, folder: Path) -> None:
    data = folder / "data.bin"
    data.write_bytes(corpus("nginx", _BLOCK_SIZE))
    for name, call in _IN_MEMORY.items():
        code = f"import sys; data = open(sys.argv[1], 'rb').read(); {call}"
        peak = peak_rss(code, str(data))
        report.note(f"zstd -3 compress in memory: {name}", "nginx, 64 MiB", peak / MIB)


def _run(arguments: argparse.Namespace) -> None:
    report = Report("memory", arguments)
    with tempfile.TemporaryDirectory(prefix="shardpack-bench-") as folder:
        _files(report, Path(folder), quick=arguments.quick)
        _in_memory(report, Path(folder))
    report.finish()


if __name__ == "__main__":
    _run(parse_arguments("peak resident memory"))
