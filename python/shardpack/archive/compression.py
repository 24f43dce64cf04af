"""How shard archives are compressed, and what their keys end in.

=========== ================== =================================================
compression suffix             chunks
=========== ================== =================================================
``None``    ``.tar``           none
``gzip``    ``.tar.gz``        gzip members
``zstd``    ``.tar.zst``       zstd frames with their size and a checksum
``s4``      ``.tar.s4``        S4F2 frames, served as a plain tar by an S4 gateway
``bzip2``   ``.tar.bz2``       read only
``xz``      ``.tar.xz``        read only
=========== ================== =================================================
"""

from __future__ import annotations

from typing import Literal, get_args

__all__ = [
    "COMPRESSIONS",
    "READABLE_COMPRESSIONS",
    "Compression",
    "ReadableCompression",
    "compression_of_key",
    "is_archive_key",
    "suffix_of",
]

Compression = Literal["gzip", "zstd", "s4"]
ReadableCompression = Literal["gzip", "zstd", "s4", "bzip2", "xz"]

COMPRESSIONS: tuple[Compression | None, ...] = (None, *get_args(Compression))
"""What an archive can be written with."""

READABLE_COMPRESSIONS: tuple[ReadableCompression | None, ...] = (
    None,
    *get_args(ReadableCompression),
)
"""What an archive can be read with."""

_SUFFIXES: dict[str, ReadableCompression | None] = {
    ".tar": None,
    ".tar.gz": "gzip",
    ".tgz": "gzip",
    ".tar.bz2": "bzip2",
    ".tar.xz": "xz",
    ".tar.zst": "zstd",
    ".tzst": "zstd",
    ".tar.s4": "s4",
}


def is_archive_key(key: str) -> bool:
    """Tell whether a key ends as those of shard archives do."""
    return key.endswith(tuple(_SUFFIXES))


def compression_of_key(key: str) -> ReadableCompression | None:
    """Tell the compression of an archive from its key; ``None`` for any unknown ending."""
    for suffix, compression in _SUFFIXES.items():
        if key.endswith(suffix):
            return compression
    return None


def suffix_of(compression: ReadableCompression | None) -> str:
    """Give the usual suffix of archives with this compression, with its dot.

    Raises:
        ValueError: There is no such compression.
    """
    for suffix, known in _SUFFIXES.items():
        if known == compression:
            return suffix
    raise ValueError(f"unknown compression {compression!r}")
