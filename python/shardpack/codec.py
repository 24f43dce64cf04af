"""The codecs: bytes in, a payload with its original size and CRC32C out, and back.

Each codec is immutable, safe under threads, and pickles. ``compress`` and ``decompress`` are the
calls of ``s4-codec``, with its bytes; ``compress_many`` and ``decompress_many`` take a sequence of
buffers or an Arrow array and use every core; ``compressor`` and ``decompressor`` stream.

Example:
    >>> from shardpack import CpuZstd
    >>> payload, original_size, crc = CpuZstd(level=3).compress(b"hello " * 100)
    >>> CpuZstd().decompress(payload, original_size, crc) == b"hello " * 100
    True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardpack._native import (
    MAX_ORIGINAL_SIZE,
    BinaryArray,
    Codec,
    Compressor,
    CpuGzip,
    CpuZstd,
    CpuZstdDict,
    Decompressor,
    Passthrough,
    dict_id,
    pick_codec,
    train_dict,
)
from shardpack.errors import DictionaryError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "CODEC_NAMES",
    "MAX_ORIGINAL_SIZE",
    "BinaryArray",
    "Codec",
    "Compressor",
    "CpuGzip",
    "CpuZstd",
    "CpuZstdDict",
    "Decompressor",
    "Passthrough",
    "dict_id",
    "make_codec",
    "pick_codec",
    "train_dict",
]

CODEC_NAMES = ("cpu-zstd", "cpu-gzip", "cpu-zstd-dict", "passthrough")

_DEFAULT_ZSTD_LEVEL = 3
_DEFAULT_GZIP_LEVEL = 6


def make_codec(
    codec: str | Codec,
    *,
    level: int | None = None,
    dictionary: Buffer | None = None,
    content_size: bool = False,
    checksum: bool = False,
) -> Codec:
    """Build a codec from the name that frames and metadata give it.

    Args:
        codec: One of ``CODEC_NAMES``, or a codec, which is returned as it is.
        level: Compression level; the codec's own default when ``None``.
        dictionary: Bytes of a dictionary; turns ``cpu-zstd`` into ``cpu-zstd-dict``.
        content_size: Write the original size into each zstd frame (see ``CpuZstd``).
        checksum: Write a checksum at the end of each zstd frame (see ``CpuZstd``).

    Returns:
        The codec.

    Raises:
        ValueError: The name is unknown, or an option does not apply to the codec.
        DictionaryError: ``cpu-zstd-dict`` without a dictionary.

    Example:
        >>> make_codec("cpu-gzip", level=9).name
        'cpu-gzip'
    """
    if isinstance(codec, Codec):
        if level is not None or dictionary is not None:
            raise ValueError(f"{codec!r} has its level and dictionary already")
        return codec
    if dictionary is not None and codec in ("cpu-zstd", "cpu-zstd-dict"):
        zstd_level = _DEFAULT_ZSTD_LEVEL if level is None else level
        return CpuZstdDict(dictionary, zstd_level, content_size=content_size, checksum=checksum)
    if dictionary is not None:
        raise ValueError(f"codec {codec!r} takes no dictionary")
    if codec == "cpu-zstd":
        zstd_level = _DEFAULT_ZSTD_LEVEL if level is None else level
        return CpuZstd(zstd_level, content_size=content_size, checksum=checksum)
    if codec == "cpu-gzip":
        return CpuGzip(_DEFAULT_GZIP_LEVEL if level is None else level)
    if codec == "passthrough":
        if level is not None:
            raise ValueError("codec 'passthrough' takes no level")
        return Passthrough()
    if codec == "cpu-zstd-dict":
        raise DictionaryError("codec 'cpu-zstd-dict' needs a dictionary")
    raise ValueError(f"unknown codec {codec!r}, expected one of {', '.join(CODEC_NAMES)}")
