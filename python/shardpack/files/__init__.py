"""Pack, read and check files on a local disk, of any size in bounded memory."""

from __future__ import annotations

from shardpack.files.compress import compress_file
from shardpack.files.decompress import decompress_file
from shardpack.files.inspect import inspect_file
from shardpack.files.ranges import iter_range, read_range
from shardpack.files.report import FileReport
from shardpack.files.verify import verify_file

__all__ = [
    "FileReport",
    "compress_file",
    "decompress_file",
    "inspect_file",
    "iter_range",
    "read_range",
    "verify_file",
]
