"""Slow, independent codecs for S4 payloads: zstd, gzip, FCG1 containers, CRC32C from a table."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

from oracles.gdeflate_oracle import GdeflateOracleError, gdeflate_decompress

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "S4OracleError",
    "crc32c",
    "decode_payload",
    "fcg_build",
    "gzip_decompress",
    "zstd_compress",
    "zstd_decompress",
]

FCG_HEADER = struct.Struct("<4sBB2xQII")
FCG_ALGORITHMS = {"nvcomp-zstd": 3, "nvcomp-bitcomp": 4, "nvcomp-gdeflate": 5}
MAX_ORIGINAL = 5 << 30
MAX_CHUNK = 16 << 20


class S4OracleError(ValueError):
    """One failure; ``kind`` names the exception class that is due."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data: bytes, init: int = 0) -> int:
    """CRC32C, one byte at a time."""
    crc = init ^ 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _checked(plain: bytes, original_size: int, crc: int) -> bytes:
    if len(plain) > original_size:
        raise S4OracleError("S4IoError", "more output than claimed")
    if len(plain) < original_size:
        raise S4OracleError("S4SizeMismatchError", f"{len(plain)} of {original_size}")
    if crc32c(plain) != crc:
        raise S4OracleError("S4CrcMismatchError", "checksum differs")
    return plain


def _check_claim(original_size: int) -> None:
    if original_size > MAX_ORIGINAL:
        raise S4OracleError("S4ManifestSizeExceedsLimitError", str(original_size))


def zstd_compress(data: bytes, level: int = 3, dictionary: bytes | None = None) -> bytes:
    """A stream whose size is not announced; needs a build on libzstd 1.5.7."""
    import zstandard

    options: dict[str, Any] = {"level": min(22, max(1, level))}
    if dictionary is not None:
        options["dict_data"] = zstandard.ZstdCompressionDict(dictionary)
    stream = zstandard.ZstdCompressor(**options).compressobj()
    head: bytes = stream.compress(data) if data else b""
    tail: bytes = stream.flush()
    return head + tail


def _zstd_frames(payload: bytes, limit: int, dictionary: bytes | None) -> bytes:
    import zstandard

    options: dict[str, Any] = {"max_window_size": 1 << 27}
    if dictionary is not None:
        options["dict_data"] = zstandard.ZstdCompressionDict(dictionary)
    context = zstandard.ZstdDecompressor(**options)
    plain = bytearray()
    while payload:
        stream = context.decompressobj()
        fed = 0
        while not stream.eof and fed < len(payload):
            plain += stream.decompress(payload[fed : fed + 256])
            fed += 256
            if len(plain) > limit:
                return bytes(plain)
        if not stream.eof:
            raise S4OracleError("S4IoError", "frame is cut")
        payload = stream.unused_data + payload[fed:]
    return bytes(plain)


def zstd_decompress(
    payload: bytes, original_size: int, crc: int, dictionary: bytes | None = None
) -> bytes:
    """Every frame of the payload, checked against the claims."""
    import zstandard

    _check_claim(original_size)
    if not payload:
        raise S4OracleError("S4IoError", "no bytes")
    try:
        plain = _zstd_frames(payload, original_size, dictionary)
    except zstandard.ZstdError as error:
        raise S4OracleError("S4IoError", str(error)) from error
    return _checked(plain, original_size, crc)


def gzip_decompress(payload: bytes, original_size: int, crc: int) -> bytes:
    """The first member; what follows it is not looked at."""
    _check_claim(original_size)
    stream = zlib.decompressobj(31)
    try:
        plain = stream.decompress(payload, original_size + 1024)
    except zlib.error as error:
        raise S4OracleError("S4IoError", str(error)) from error
    if len(plain) <= original_size and not stream.eof:
        raise S4OracleError("S4IoError", "member is cut")
    return _checked(plain, original_size, crc)


def fcg_build(
    algorithm: int, original_size: int, chunk_size: int, chunks: Sequence[bytes], data_type: int = 0
) -> bytes:
    """An FCG1 container."""
    header = FCG_HEADER.pack(b"FCG1", algorithm, data_type, original_size, chunk_size, len(chunks))
    table = struct.pack(f"<{len(chunks)}I", *map(len, chunks))
    return header + table + b"".join(chunks)


def _fcg_chunks(payload: bytes, codec: str, original_size: int) -> tuple[int, list[bytes]]:
    """Chunk size and stored chunks of a container, every field checked."""
    bad = "S4BackendError"
    if len(payload) < FCG_HEADER.size:
        raise S4OracleError(bad, "header is cut")
    magic, algorithm, _data_type, claimed, chunk_size, count = FCG_HEADER.unpack_from(payload)
    if magic != b"FCG1" or algorithm != FCG_ALGORITHMS[codec]:
        raise S4OracleError(bad, f"magic {magic!r}, algorithm {algorithm}")
    if not 0 < chunk_size <= MAX_CHUNK or count != -(-claimed // chunk_size):
        raise S4OracleError(bad, "count and size disagree")
    if claimed != original_size:
        raise S4OracleError("S4SizeMismatchError", "container and frame disagree")
    at = FCG_HEADER.size + 4 * count
    if len(payload) < at:
        raise S4OracleError(bad, "table is cut")
    chunks = []
    for size in struct.unpack_from(f"<{count}I", payload, FCG_HEADER.size):
        if at + size > len(payload):
            raise S4OracleError(bad, "chunk is cut")
        chunks.append(payload[at : at + size])
        at += size
    return chunk_size, chunks


def fcg_decompress(payload: bytes, codec: str, original_size: int, crc: int) -> bytes:
    """A GPU-written payload of zstd or GDeflate chunks."""
    import zstandard

    _check_claim(original_size)
    chunk_size, chunks = _fcg_chunks(payload, codec, original_size)
    plain = bytearray()
    for chunk in chunks:
        want = min(chunk_size, original_size - len(plain))
        try:
            if codec == "nvcomp-zstd":
                context = zstandard.ZstdDecompressor()
                part = context.decompress(chunk, max_output_size=want)
            else:
                part = gdeflate_decompress(chunk, want)
        except (zstandard.ZstdError, GdeflateOracleError) as error:
            raise S4OracleError("S4BackendError", str(error)) from error
        if len(part) != want:
            raise S4OracleError("S4BackendError", f"chunk of {len(part)} instead of {want}")
        plain += part
    return _checked(bytes(plain), original_size, crc)


def decode_payload(
    codec: str, payload: bytes, original_size: int, crc: int, dictionary: bytes | None = None
) -> bytes:
    """One payload of any codec."""
    if codec == "passthrough":
        if crc32c(payload) != crc:
            raise S4OracleError("S4CrcMismatchError", "checksum differs")
        return _checked(payload, original_size, crc)
    if codec == "cpu-zstd":
        return zstd_decompress(payload, original_size, crc)
    if codec == "cpu-gzip":
        return gzip_decompress(payload, original_size, crc)
    if codec == "cpu-zstd-dict":
        if not dictionary:
            raise S4OracleError("DictionaryError", "dictionary is missing")
        return zstd_decompress(payload, original_size, crc, dictionary)
    if codec in {"nvcomp-zstd", "nvcomp-gdeflate"}:
        return fcg_decompress(payload, codec, original_size, crc)
    raise S4OracleError("NotImplementedError", codec)
