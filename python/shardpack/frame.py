"""S4F2 frames, S4P1 padding and S4IX sidecars, in memory.

A frame is a 28-byte header (codec, both sizes, CRC32C of the original bytes) with its payload. A
body is frames one after another, padding between some of them. A sidecar maps original offsets to
stored offsets, so that a range costs only the frames that cover it.

Example:
    >>> from shardpack import CpuZstd, encode_frames, decode_frames, build_index, plan_range
    >>> body, sizes, crc = encode_frames(CpuZstd(), b"hello " * 1000, 4096)
    >>> decode_frames(body) == b"hello " * 1000
    True
    >>> plan = plan_range(build_index(body), 4000, 4100)
    >>> plan["first_frame"], plan["last_frame"]
    (0, 1)
"""

from __future__ import annotations

from typing import TypedDict

from shardpack._native import (
    FRAME_HEADER_BYTES,
    FRAME_MAGIC,
    PADDING_MAGIC,
    SIDECAR_SUFFIX,
    bind_index,
    build_index,
    decode_frames,
    decode_index,
    encode_frames,
    encode_index,
    frame_iter,
    index_is_trusted,
    pad_part,
    parse_frame_header,
    pick_chunk_size,
    plan_range,
    read_frame,
    write_frame,
)

__all__ = [
    "FRAME_HEADER_BYTES",
    "FRAME_MAGIC",
    "PADDING_MAGIC",
    "SIDECAR_SUFFIX",
    "FrameHeader",
    "Index",
    "IndexEntry",
    "IndexSse",
    "RangePlan",
    "bind_index",
    "build_index",
    "decode_frames",
    "decode_index",
    "encode_frames",
    "encode_index",
    "frame_iter",
    "index_is_trusted",
    "pad_part",
    "parse_frame_header",
    "pick_chunk_size",
    "plan_range",
    "read_frame",
    "write_frame",
]


class FrameHeader(TypedDict):
    """What a frame says of itself; sizes are bytes, the CRC32C is over the original bytes."""

    codec: str
    original_size: int
    compressed_size: int
    crc32c: int


class IndexEntry(TypedDict):
    """One frame in a sidecar; the stored size includes the 28 header bytes."""

    original_offset: int
    original_size: int
    compressed_offset: int
    compressed_size: int


class IndexSse(TypedDict):
    """The encryption block of a version 3 sidecar; its object cannot be read here."""

    enc_chunk_size: int
    enc_chunk_count: int
    enc_key_id: int
    enc_salt: bytes
    enc_plaintext_len: int
    enc_header_bytes: int


class Index(TypedDict):
    """A decoded sidecar; ``source_*`` is the binding to a stored body, ``None`` when unbound."""

    total_padded_size: int
    total_original_size: int
    source_etag: str | None
    source_compressed_size: int | None
    entries: list[IndexEntry]
    sse: IndexSse | None


class RangePlan(TypedDict):
    """The stored bytes to fetch for a range, and where it lies in the frames decoded from them."""

    first_frame: int
    last_frame: int
    byte_start: int
    byte_end: int
    slice_start: int
    slice_end: int
