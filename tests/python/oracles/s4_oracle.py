"""A slow, independent reader and writer of the S4 format, to compare the package with.

It shares no code with the package: frames and sidecars are `struct` calls, payloads go through
`payload_oracle`. Failures are `S4OracleError`, with the name of the exception class that is due.
"""

from __future__ import annotations

import hashlib
import math
import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from oracles.payload_oracle import S4OracleError, crc32c, decode_payload, zstd_compress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "CODECS",
    "Entry",
    "Frame",
    "Index",
    "Plan",
    "Sse",
    "build_index",
    "decode_index",
    "decode_object",
    "decode_range",
    "dict_id",
    "encode_index",
    "encode_object",
    "iter_frames",
    "lookup_range",
    "part_padding",
    "pick_chunk_size",
    "pick_codec",
    "read_frame",
    "sidecar_is_trusted",
    "write_frame",
]

FRAME_HEADER = struct.Struct("<4sIQQI")
PADDING_HEADER = struct.Struct("<4sQ")
INDEX_FIXED = struct.Struct("<4sIQQQ")
INDEX_BINDING = struct.Struct("<QI")
INDEX_SSE = struct.Struct("<IIH8sQI")
INDEX_ENTRY = struct.Struct("<QQQQ")

CODECS = (
    "passthrough",
    "cpu-zstd",
    "nvcomp-zstd",
    "nvcomp-bitcomp",
    "nvcomp-gans",
    "dietgpu-ans",
    "nvcomp-gdeflate",
    "cpu-gzip",
    "cpu-zstd-dict",
)
ENVELOPES = (b"S4E1", b"S4E2", b"S4E3", b"S4E4", b"S4E5", b"S4E6")

MIB = 1 << 20
MAX_ENTRIES = 16 * MIB
MAX_ETAG = 4096
MIN_PART = 5 * MIB
U64 = (1 << 64) - 1


# --- frames -------------------------------------------------------------------------------


class Frame(NamedTuple):
    """One data frame, and where its header lies in the body."""

    codec: str
    original_size: int
    compressed_size: int
    crc32c: int
    offset: int
    payload: bytes


def read_frame(body: bytes, at: int = 0) -> tuple[Frame, int]:
    """The frame at ``at`` and the offset after it."""
    left = len(body) - at
    if left < FRAME_HEADER.size:
        raise S4OracleError("S4FrameError", f"{left} bytes are no header")
    magic, codec, original, compressed, crc = FRAME_HEADER.unpack_from(body, at)
    if magic != b"S4F2":
        raise S4OracleError("S4FrameError", f"magic {magic!r}")
    if codec >= len(CODECS):
        raise S4OracleError("S4FrameError", f"codec {codec}")
    start = at + FRAME_HEADER.size
    if compressed > len(body) - start:
        raise S4OracleError("S4FrameError", f"payload of {compressed} is cut")
    end = start + compressed
    return Frame(CODECS[codec], original, compressed, crc, at, body[start:end]), end


def iter_frames(body: bytes) -> Iterator[Frame]:
    """All data frames; padding is stepped over, anything else is an error."""
    at = 0
    while at < len(body):
        if body[at : at + 4] != b"S4P1":
            frame, at = read_frame(body, at)
            yield frame
            continue
        if len(body) - at < PADDING_HEADER.size:
            raise S4OracleError("S4FrameError", "padding header is cut")
        _, length = PADDING_HEADER.unpack_from(body, at)
        at += PADDING_HEADER.size
        if length > len(body) - at:
            raise S4OracleError("S4FrameError", "padding is cut")
        at += length


def write_frame(codec: str, original: bytes, payload: bytes) -> bytes:
    """Header and payload."""
    fields = (b"S4F2", CODECS.index(codec), len(original), len(payload), crc32c(original))
    return FRAME_HEADER.pack(*fields) + payload


def part_padding(framed: bytes, original_size: int, *, uniform: bool = False) -> bytes:
    """One framed multipart part as it is uploaded."""
    if original_size < MIN_PART:
        return framed
    minimum = MIN_PART
    if uniform:
        target = max(MIN_PART, original_size + original_size // 128 + 4096)
        if len(framed) + PADDING_HEADER.size <= target:
            minimum = target
    if len(framed) >= minimum:
        return framed
    length = max(0, minimum - len(framed) - PADDING_HEADER.size)
    return framed + PADDING_HEADER.pack(b"S4P1", length) + bytes(length)


def pick_chunk_size(length: int) -> int:
    """Bytes per frame for an object of ``length``."""
    if length <= MIB:
        return MIB
    return 4 * MIB if length <= 100 * MIB else 16 * MIB


# --- sidecars -----------------------------------------------------------------------------


class Entry(NamedTuple):
    """Where one frame lies in the original and in the stored bytes."""

    original_offset: int
    original_size: int
    compressed_offset: int
    compressed_size: int

    @property
    def original_end(self) -> int:
        return self.original_offset + self.original_size

    @property
    def compressed_end(self) -> int:
        return self.compressed_offset + self.compressed_size


class Sse(NamedTuple):
    """The encryption block of a version 3 sidecar."""

    chunk_size: int
    chunk_count: int
    key_id: int
    salt: bytes
    plaintext_len: int
    header_bytes: int


class Index(NamedTuple):
    """A decoded sidecar."""

    total_padded: int
    entries: list[Entry]
    etag: str | None = None
    source_size: int | None = None
    sse: Sse | None = None

    @property
    def total_original(self) -> int:
        return self.entries[-1].original_end if self.entries else 0


class Plan(NamedTuple):
    """Which frames hold a range, and where they are stored."""

    first_frame: int
    last_frame: int
    byte_start: int
    byte_end: int
    slice_start: int
    slice_end: int


def _decode_binding(raw: bytes, version: int) -> tuple[int, str | None, int | None, Sse | None]:
    at = INDEX_FIXED.size
    if len(raw) - at < INDEX_BINDING.size:
        raise S4OracleError("S4IndexError", "binding is cut")
    size, etag_len = INDEX_BINDING.unpack_from(raw, at)
    at += INDEX_BINDING.size
    if etag_len > MAX_ETAG or len(raw) - at < etag_len:
        raise S4OracleError("S4IndexError", f"etag of {etag_len}")
    try:
        etag = raw[at : at + etag_len].decode() or None
    except UnicodeDecodeError:
        etag = None
    at += etag_len
    sse = None
    if version == 3:
        if len(raw) - at < INDEX_SSE.size:
            raise S4OracleError("S4IndexError", "encryption block is cut")
        sse = Sse(*INDEX_SSE.unpack_from(raw, at))
        at += INDEX_SSE.size
        if not sse.chunk_size or not sse.chunk_count:
            sse = None
    return at, etag, size or None, sse


def decode_index(raw: bytes) -> Index:
    """A sidecar of version 1, 2 or 3."""
    if len(raw) < INDEX_FIXED.size:
        raise S4OracleError("S4IndexError", "header is cut")
    magic, version, count, _total_original, padded = INDEX_FIXED.unpack_from(raw)
    if magic != b"S4IX" or count > MAX_ENTRIES or version not in {1, 2, 3}:
        raise S4OracleError("S4IndexError", f"{magic!r}, {count} entries, version {version}")
    at, etag, size, sse = INDEX_FIXED.size, None, None, None
    if version > 1:
        at, etag, size, sse = _decode_binding(raw, version)
    if len(raw) - at != count * INDEX_ENTRY.size:
        raise S4OracleError("S4IndexError", "entry table has another length")
    entries = [Entry(*row) for row in INDEX_ENTRY.iter_unpack(raw[at:])]
    if any(max(entry.original_end, entry.compressed_end) > U64 for entry in entries):
        raise S4OracleError("S4IndexError", "entry beyond 64 bits")
    for before, after in pairwise(entries):
        if (
            after.original_offset < before.original_end
            or after.compressed_offset < before.compressed_end
        ):
            raise S4OracleError("S4IndexError", "entries overlap")
    return Index(padded, entries, etag, size, sse)


def encode_index(index: Index) -> bytes:
    """The sidecar of version 2, or 3 where there is an encryption block."""
    etag = (index.etag or "").encode()
    version = 3 if index.sse else 2
    parts = [
        INDEX_FIXED.pack(
            b"S4IX", version, len(index.entries), index.total_original, index.total_padded
        ),
        INDEX_BINDING.pack(index.source_size or 0, len(etag)),
        etag,
        INDEX_SSE.pack(*index.sse) if index.sse else b"",
        *(INDEX_ENTRY.pack(*entry) for entry in index.entries),
    ]
    return b"".join(parts)


def build_index(body: bytes) -> Index:
    """The index of a framed body."""
    entries = []
    at = 0
    for frame in iter_frames(body):
        stored = FRAME_HEADER.size + frame.compressed_size
        entries.append(Entry(at, frame.original_size, frame.offset, stored))
        at += frame.original_size
    return Index(len(body), entries)


def lookup_range(index: Index, start: int, end: int) -> Plan | None:
    """Which frames hold ``[start, end)``; the slow way, entry by entry."""
    if start >= end or start >= index.total_original:
        return None
    end = min(end, index.total_original)

    def holder(position: int) -> int | None:
        for number, entry in enumerate(index.entries):
            if entry.original_offset <= position < entry.original_end:
                return number
        return None

    first, last = holder(start), holder(end - 1)
    if first is None or last is None:
        return None
    base = index.entries[first].original_offset
    stored = index.entries[first].compressed_offset, index.entries[last].compressed_end
    return Plan(first, last, *stored, start - base, end - base)


def sidecar_is_trusted(index: Index, size: int | None, etag: str | None) -> bool:
    """No binding, no trust; else all that both sides know must agree."""

    def bare(text: str | None) -> str:
        return (text or "").strip().removeprefix("W/").strip('"')

    if index.etag is None and index.source_size is None:
        return False
    if bare(index.etag) and bare(etag) and bare(index.etag) != bare(etag):
        return False
    return size is None or index.source_size is None or size == index.source_size


# --- objects ------------------------------------------------------------------------------


def dict_id(dictionary: bytes) -> str:
    """How objects name a dictionary."""
    return hashlib.sha256(dictionary).hexdigest()[:16]


def decode_object(
    body: bytes,
    metadata: Mapping[str, str] | None = None,
    dicts: Mapping[str, bytes] | None = None,
) -> bytes:
    """A whole object, by the metadata first and by its head where they are silent."""
    meta = dict(metadata or {})
    codec = meta.get("s4-codec")
    if meta.get("s4-encrypted") or (codec is None and body[:4] in ENVELOPES):
        raise S4OracleError("NotImplementedError", "encrypted")
    dictionary = (dicts or {}).get(meta.get("s4-dict-id", ""))
    if dictionary is not None and dict_id(dictionary) != meta["s4-dict-id"]:
        raise S4OracleError("DictionaryError", "another dictionary")
    framed = "true" in {meta.get("s4-framed"), meta.get("s4-multipart")}
    if framed or (codec != "passthrough" and body[:4] in {b"S4F2", b"S4P1"}):
        return b"".join(
            decode_payload(
                frame.codec, frame.payload, frame.original_size, frame.crc32c, dictionary
            )
            for frame in iter_frames(body)
        )
    if codec is None or codec == "passthrough":
        return body
    size, crc = int(meta["s4-original-size"]), int(meta["s4-crc32c"])
    return decode_payload(codec, body, size, crc, dictionary)


def decode_range(body: bytes, index: Index, start: int, end: int) -> bytes:
    """``[start, end)`` of the original, from the covering frames only."""
    plan = lookup_range(index, start, end)
    if plan is None:
        return b""
    plain = b"".join(
        decode_payload(frame.codec, frame.payload, frame.original_size, frame.crc32c)
        for frame in iter_frames(body[plan.byte_start : plan.byte_end])
    )
    return plain[plan.slice_start : plan.slice_end]


def encode_object(data: bytes, codec: str = "cpu-zstd", level: int = 3) -> dict[str, Any]:
    """A whole object as the gateway's client library writes it."""
    body = data
    if codec == "cpu-zstd":
        step = pick_chunk_size(len(data))
        chunks = [data[at : at + step] for at in range(0, len(data), step)]
        body = b"".join(write_frame(codec, chunk, zstd_compress(chunk, level)) for chunk in chunks)
    metadata = {
        "s4-codec": codec,
        "s4-original-size": str(len(data)),
        "s4-compressed-size": str(len(body)),
        "s4-crc32c": str(crc32c(data)),
    }
    sidecar = None
    if codec == "cpu-zstd":
        metadata["s4-framed"] = "true"
        index = build_index(body)
        sidecar = encode_index(index) if len(index.entries) > 1 else None
    return {"body": body, "sidecar": sidecar, "metadata": metadata}


_PACKED_HEADS = (
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"%PDF-",
    b"PK\x03\x04",
    b"7z\xbc\xaf\x27\x1c",
    b"\xfd7zXZ\x00",
    b"BZh",
    b"\x1a\x45\xdf\xa3",
)


def _entropy(data: bytes) -> float:
    shares = [data.count(value) / len(data) for value in set(data)]
    return -sum(share * math.log2(share) for share in shares)


def pick_codec(sample: bytes) -> str:
    """The gateway's choice without a GPU, default codec cpu-zstd."""
    head = sample[:4096]
    packed = (
        head.startswith(_PACKED_HEADS)
        or head[4:8] == b"ftyp"
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    )
    if packed and len(head) > 48 and _entropy(head[16:]) >= 7.5:
        return "passthrough"
    if len(head) >= 128 and _entropy(head) >= 7.5:
        return "passthrough"
    return "cpu-zstd"
