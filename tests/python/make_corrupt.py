"""Writes ``tests/vectors/corrupt``: damaged and hostile inputs, and the error that each must give.

Run it after a change; the files are committed, and the Rust and Python tests read them through
``manifest.json``. Every case names a function, its arguments and the exception class that is due:

``read_frame``, ``frame_iter``, ``decode_frames``, ``decode_index``
    take the bytes of the file.
``decode_object``
    takes ``metadata`` as well.
``decompress``
    takes ``codec``, ``original_size``, ``crc32c``.
``decompress_all``
    takes ``codec``.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import zstandard

from oracles.gdeflate_oracle import gdeflate_store
from oracles.payload_oracle import (
    S4OracleError,
    crc32c,
    fcg_build,
    zstd_compress,
    zstd_decompress,
)
from oracles.s4_oracle import FRAME_HEADER, Entry, Index, Sse, encode_index, write_frame

__all__ = ["main"]

FOLDER = Path(__file__).resolve().parents[1] / "vectors" / "corrupt"
U32, U64 = (1 << 32) - 1, (1 << 64) - 1
TEXT = b"".join(b"%04d the quick brown fox jumps over the lazy dog\n" % i for i in range(12))
ZSTD = zstd_compress(TEXT)
GZIP = gzip.compress(TEXT, 6, mtime=0)
CRC = crc32c(TEXT)
FRAME = write_frame("cpu-zstd", TEXT, ZSTD)


class Corpus:
    """Collects files and manifest lines."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cases: list[dict[str, Any]] = []

    def add(
        self, name: str, data: bytes, function: str, expected: str, **arguments: object
    ) -> None:
        self.files[f"{name}.bin"] = data
        self.cases.append(
            {
                "file": f"{name}.bin",
                "function": function,
                "arguments": arguments,
                "expected": expected,
            }
        )

    def write(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for old in FOLDER.glob("*.bin"):
            old.unlink()
        for name, data in self.files.items():
            (FOLDER / name).write_bytes(data)
        rows = ",\n".join(json.dumps(case, sort_keys=True) for case in self.cases)
        (FOLDER / "manifest.json").write_text(f"[\n{rows}\n]\n")


def header(
    codec: int, original: int, compressed: int, crc: int = CRC, magic: bytes = b"S4F2"
) -> bytes:
    """A frame header with any fields."""
    return FRAME_HEADER.pack(magic, codec, original, compressed, crc)


def add_frames(corpus: Corpus) -> None:
    """Headers, padding and tails that are no frames."""
    size, stored = len(TEXT), len(ZSTD)
    tail = struct.pack("<4sQ", b"S4P1", 4) + bytes(4)
    for name, data in {
        "frame_header_cut": FRAME[:27],
        "frame_magic_lower_case": b"s4f2" + FRAME[4:],
        "frame_magic_padding": b"S4P1" + FRAME[4:28],
        "frame_codec_9": header(9, size, stored) + ZSTD,
        "frame_codec_max": header(U32, size, stored) + ZSTD,
        "frame_codec_max_and_cut": header(U32, size, stored),
        "frame_payload_cut": FRAME[:-1],
        "frame_payload_size_max": header(1, size, U64) + ZSTD,
        "frame_payload_size_4_gib": header(1, size, (1 << 32) + stored) + ZSTD,
    }.items():
        corpus.add(name, data, "read_frame", "S4FrameError")
    for name, data in {
        "frames_tail_1_byte": FRAME + b"S",
        "frames_tail_8_zeros": FRAME + bytes(8),
        "frames_tail_28_zeros": FRAME + bytes(28),
        "frames_second_cut": FRAME + FRAME[:-1],
        "padding_header_cut": FRAME + tail[:11],
        "padding_cut": FRAME + tail[:-1],
        "padding_size_max": FRAME + struct.pack("<4sQ", b"S4P1", U64),
        "padding_size_wraps": FRAME + struct.pack("<4sQ", b"S4P1", U64 - 11) + FRAME,
    }.items():
        corpus.add(name, data, "frame_iter", "S4FrameError")
        corpus.add(f"{name}_decoded", data, "decode_frames", "S4FrameError")


def add_claims(corpus: Corpus) -> None:
    """Well-formed frames whose claims are false."""
    size, stored = len(TEXT), len(ZSTD)
    bomb = zstd_compress(bytes(50_000_000), 19)
    for name, data, expected in (
        ("claim_one_high", header(1, size + 1, stored) + ZSTD, "S4SizeMismatchError"),
        ("claim_one_low", header(1, size - 1, stored) + ZSTD, "S4IoError"),
        ("claim_crc_off", header(1, size, stored, CRC ^ 1) + ZSTD, "S4CrcMismatchError"),
        ("claim_5_gib", header(1, 5 << 30, stored) + ZSTD, "S4SizeMismatchError"),
        (
            "claim_5_gib_and_1",
            header(1, (5 << 30) + 1, stored) + ZSTD,
            "S4ManifestSizeExceedsLimitError",
        ),
        ("claim_u64_max", header(1, U64, stored) + ZSTD, "S4ManifestSizeExceedsLimitError"),
        (
            "claim_u64_max_twice",
            2 * (header(1, U64, stored) + ZSTD),
            "S4ManifestSizeExceedsLimitError",
        ),
        (
            "claim_second_5_gib",
            FRAME + header(1, 5 << 30, stored) + ZSTD,
            "S4ManifestSizeExceedsLimitError",
        ),
        ("claim_plain_size", header(0, size + 1, size) + TEXT, "S4SizeMismatchError"),
        ("claim_plain_crc", header(0, size, size, CRC ^ 1) + TEXT, "S4CrcMismatchError"),
        ("claim_bomb", header(1, 100, len(bomb)) + bomb, "S4IoError"),
        ("claim_no_payload", header(1, size, 0), "S4IoError"),
        ("claim_wrong_codec", header(7, size, stored) + ZSTD, "S4IoError"),
        ("claim_without_dictionary", header(8, size, stored) + ZSTD, "DictionaryError"),
        ("claim_bitcomp", header(3, size, stored) + ZSTD, "UnsupportedCodecError"),
        ("claim_gans", header(4, size, stored) + ZSTD, "UnsupportedCodecError"),
        ("claim_dietgpu", header(5, size, stored) + ZSTD, "UnsupportedCodecError"),
    ):
        corpus.add(name, data, "decode_frames", expected)
    # The first bytes are left alone: the window size may change without an effect.
    for at in range(7, stored, 5):
        flipped = bytearray(ZSTD)
        flipped[at] ^= 1 << at % 8
        try:
            zstd_decompress(bytes(flipped), size, CRC)
        except S4OracleError as problem:
            frame = header(1, size, stored) + flipped
            corpus.add(f"flip_zstd_{at:03d}", frame, "decode_frames", problem.kind)


def add_indexes(corpus: Corpus) -> None:
    """Sidecars."""
    entries = [Entry(0, 10, 0, 38), Entry(10, 10, 38, 38)]
    good = encode_index(Index(76, entries, "etag", 76))
    sse = encode_index(Index(76, entries, None, 76, Sse(16, 5, 1, bytes(8), 76, 24)))

    def fixed(magic: bytes = b"S4IX", version: int = 2, count: int = 2) -> bytes:
        return struct.pack("<4sIQ", magic, version, count)

    def table(*rows: Entry) -> bytes:
        return encode_index(Index(76, list(rows)))

    def raw(*rows: tuple[int, int, int, int]) -> bytes:
        return struct.pack("<4sIQQQ", b"S4IX", 1, len(rows), 0, 0) + b"".join(
            struct.pack("<4Q", *row) for row in rows
        )

    for name, data in {
        "index_header_cut": good[:31],
        "index_magic": fixed(b"S4F2") + good[16:],
        "index_version_0": fixed(version=0) + good[16:],
        "index_version_4": fixed(version=4) + good[16:],
        "index_count_above_limit": fixed(count=(16 << 20) + 1) + good[16:],
        "index_count_limit": fixed(count=16 << 20) + good[16:],
        "index_count_max": fixed(count=U64) + good[16:],
        "index_count_times_32_wraps": fixed(count=1 << 59) + good[16:],
        "index_binding_cut": good[:43],
        "index_etag_4097": good[:40] + struct.pack("<I", 4097) + bytes(4097),
        "index_etag_max": good[:40] + struct.pack("<I", U32) + good[44:],
        "index_etag_cut": good[:40] + struct.pack("<I", 200) + good[44:],
        "index_sse_cut": sse[: 44 + 29],
        "index_entry_missing": good[:-32],
        "index_entry_cut": good[:-1],
        "index_spare_byte": good + b"\0",
        "index_original_overflow": raw((U64 - 9, 11, 0, 38)),
        "index_stored_overflow": raw((0, 10, U64, 1)),
        "index_originals_overlap": table(entries[0], Entry(9, 10, 38, 38)),
        "index_stored_overlap": table(entries[0], Entry(10, 10, 37, 38)),
        "index_backwards": table(entries[1], entries[0]),
    }.items():
        corpus.add(name, data, "decode_index", "S4IndexError")


def add_zstd(corpus: Corpus) -> None:
    """Zstandard payloads."""
    one_shot = zstandard.ZstdCompressor(write_checksum=True).compress(TEXT)
    content_size_max = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", U64 - 2) + one_shot[7:]
    for name, data in {
        "zstd_nothing": b"",
        "zstd_noise": bytes(range(1, 200, 7)),
        "zstd_magic_only": ZSTD[:4],
        "zstd_cut": ZSTD[:-1],
        "zstd_cut_half": ZSTD[: len(ZSTD) // 2],
        "zstd_tail_zeros": ZSTD + bytes(8),
        "zstd_second_frame_cut": ZSTD + ZSTD[:-2],
        "zstd_checksum": one_shot[:-4] + bytes(4),
        "zstd_window_2_28": ZSTD[:5] + b"\x90" + ZSTD[6:],
        "zstd_window_max": ZSTD[:5] + b"\xff" + ZSTD[6:],
        "zstd_reserved_bit": ZSTD[:4] + b"\x08" + ZSTD[5:],
        "zstd_block_type_3": ZSTD[:6] + bytes([ZSTD[6] | 6]) + ZSTD[7:],
        "zstd_names_dictionary": ZSTD[:4] + b"\x01\x58\x77" + ZSTD[6:],
        "zstd_content_size_max": content_size_max,
        "zstd_skippable_cut": struct.pack("<II", 0x184D2A50, U32) + b"abc",
        "zstd_gzip_instead": GZIP,
    }.items():
        corpus.add(
            name,
            data,
            "decompress",
            "S4IoError",
            codec="cpu-zstd",
            original_size=len(TEXT),
            crc32c=CRC,
        )
        if data:
            corpus.add(f"{name}_all", data, "decompress_all", "S4IoError", codec="cpu-zstd")
    huge = struct.pack("<IB", 0xFD2FB528, 0xE0) + struct.pack("<Q", 4 << 30) + one_shot[6:]
    corpus.add("zstd_content_size_4_gib", huge, "decompress_all", "S4IoError", codec="cpu-zstd")


def indexed_member(plain: bytes) -> bytes:
    """A gzip member that states its own length in an ``IG`` subfield."""
    engine = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = engine.compress(plain) + engine.flush()
    size = 20 + len(body) + 8
    head = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff" + struct.pack("<H2sHI", 8, b"IG", 4, size)
    return head + body + struct.pack("<II", zlib.crc32(plain), len(plain))


def add_gzip(corpus: Corpus) -> None:
    """Gzip payloads."""
    stored = zlib.compress(TEXT, 0)[2:-4]
    wrong_complement = GZIP[:10] + stored[:3] + bytes([stored[3] ^ 1]) + stored[4:] + GZIP[-8:]
    far_back = GZIP[:10] + b"\x03\x02\x00" + GZIP[-8:]
    for name, data in {
        "gzip_nothing": b"",
        "gzip_header_cut": GZIP[:9],
        "gzip_magic": b"\x1f\x8c" + GZIP[2:],
        "gzip_method": GZIP[:2] + b"\x07" + GZIP[3:],
        "gzip_reserved_flags": GZIP[:3] + b"\xe0" + GZIP[4:],
        "gzip_extra_beyond_end": GZIP[:3] + b"\x04" + GZIP[4:10] + b"\xff\xff" + GZIP[10:],
        "gzip_name_without_end": GZIP[:3] + b"\x08" + GZIP[4:10] + b"name" * 9,
        "gzip_header_crc_off": GZIP[:3] + b"\x02" + GZIP[4:10] + b"\x12\x34" + GZIP[10:],
        "gzip_cut": GZIP[: len(GZIP) // 2],
        "gzip_trailer_cut": GZIP[:-1],
        "gzip_trailer_missing": GZIP[:-8],
        "gzip_crc_off": GZIP[:-8] + bytes([GZIP[-8] ^ 1]) + GZIP[-7:],
        "gzip_length_off": GZIP[:-4] + struct.pack("<I", len(TEXT) + 1),
        "gzip_block_type_3": GZIP[:10] + b"\x07" + GZIP[11:],
        "gzip_stored_complement": wrong_complement,
        "gzip_distance_too_far": far_back,
        "gzip_zstd_instead": ZSTD,
    }.items():
        corpus.add(
            name,
            data,
            "decompress",
            "S4IoError",
            codec="cpu-gzip",
            original_size=len(TEXT),
            crc32c=CRC,
        )
        # Most decoders step over a header checksum; one that reads whole files may do so too.
        if data and name != "gzip_header_crc_off":
            corpus.add(f"{name}_all", data, "decompress_all", "S4IoError", codec="cpu-gzip")
    good = indexed_member(TEXT)
    for name, data in {
        "gzip_second_member_cut": GZIP + GZIP[:-3],
        "gzip_junk_after": GZIP + b"junk",
        "gzip_indexed_cut": good + good[:-1],
        "gzip_indexed_length_max": good + good[:-4] + struct.pack("<I", U32),
        "gzip_indexed_crc_off": good + good[:-8] + bytes(4) + good[-4:],
    }.items():
        corpus.add(name, data, "decompress_all", "S4IoError", codec="cpu-gzip")
    bomb = gzip.compress(bytes(10_000_000), 9, mtime=0)
    corpus.add(
        "gzip_bomb", bomb, "decompress", "S4IoError", codec="cpu-gzip", original_size=100, crc32c=0
    )


def add_containers(corpus: Corpus) -> None:
    """FCG1 containers and GDeflate chunks."""
    chunk = zstandard.ZstdCompressor(write_content_size=True).compress(TEXT)
    size = len(TEXT)
    good = fcg_build(3, size, 65536, [chunk])

    def patch(at: int, code: str, value: int) -> bytes:
        raw = bytearray(good)
        struct.pack_into(code, raw, at, value)
        return bytes(raw)

    def lanes(*words: int) -> bytes:
        return struct.pack("<40I", *words, *[0] * (40 - len(words)))

    other = zstandard.ZstdCompressor().compress(TEXT[:-1])
    longer = zstandard.ZstdCompressor().compress(TEXT + b"!")
    zstd_cases = {
        "fcg_header_cut": good[:23],
        "fcg_magic": b"FCG2" + good[4:],
        "fcg_algorithm_0": patch(4, "<B", 0),
        "fcg_algorithm_snappy": patch(4, "<B", 1),
        "fcg_algorithm_gdeflate": patch(4, "<B", 5),
        "fcg_chunk_size_0": patch(16, "<I", 0),
        "fcg_chunk_size_above_limit": patch(16, "<I", (16 << 20) + 1),
        "fcg_chunk_size_small": patch(16, "<I", 1),
        "fcg_count_0": patch(20, "<I", 0),
        "fcg_count_2": patch(20, "<I", 2),
        "fcg_count_max": patch(20, "<I", U32),
        "fcg_table_cut": good[:26],
        "fcg_chunk_cut": good[:-1],
        "fcg_chunk_len_max": patch(24, "<I", U32),
        "fcg_chunk_noise": fcg_build(3, size, 65536, [bytes(40)]),
        "fcg_chunk_empty": fcg_build(3, size, 65536, [b""]),
        "fcg_chunk_short": fcg_build(3, size, 65536, [other]),
        "fcg_chunk_long": fcg_build(3, size, 65536, [longer]),
        "fcg_bare_zstd": ZSTD,
    }
    deflate_cases = {
        "gdeflate_block_type_3": lanes(0x7),
        "gdeflate_stored_long": lanes(0x1 | 0xFFFF << 3),
        "gdeflate_stored_short": gdeflate_store(TEXT[:-1]),
        "gdeflate_fixed_distance_too_far": lanes(*[0x20 << 3 | 0x3, *[0x40] * 31]),
        "gdeflate_dynamic_empty_tree": lanes(0x5),
        "gdeflate_no_words": b"",
        "gdeflate_endless_blocks": bytes(128),
        "gdeflate_cut": gdeflate_store(TEXT)[:136],
    }
    for codec, cases in {
        "nvcomp-zstd": zstd_cases,
        "nvcomp-gdeflate": {
            name: fcg_build(5, size, 65536, [data]) for name, data in deflate_cases.items()
        },
    }.items():
        for name, data in cases.items():
            expected = "ShardpackError" if name == "gdeflate_cut" else "S4BackendError"
            metadata = manifest(codec, len(data))
            corpus.add(name, data, "decode_object", expected, metadata=metadata)
    for name, data, expected in (
        ("fcg_size_differs", patch(8, "<Q", size + 1), "ShardpackError"),
        ("fcg_size_max", patch(8, "<Q", U64), "ShardpackError"),
        (
            "fcg_crc_off",
            fcg_build(3, size, 65536, [zstd_compress(TEXT[::-1])]),
            "S4CrcMismatchError",
        ),
    ):
        corpus.add(
            name, data, "decode_object", expected, metadata=manifest("nvcomp-zstd", len(data))
        )
    framed = header(2, size, len(good) - 1) + good[:-1]
    corpus.add("fcg_framed_cut", framed, "decode_frames", "S4BackendError")


def manifest(codec: str, stored: int, **changes: str | None) -> dict[str, str]:
    """The metadata of an object that holds ``TEXT``."""
    metadata: dict[str, str | None] = {
        "s4-codec": codec,
        "s4-original-size": str(len(TEXT)),
        "s4-compressed-size": str(stored),
        "s4-crc32c": str(CRC),
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    return {name: value for name, value in metadata.items() if value is not None}


def add_objects(corpus: Corpus) -> None:
    """Metadata that are missing, unreadable or contradict the body."""
    stored, framed = len(ZSTD), len(FRAME)
    for number in range(1, 7):
        corpus.add(
            f"object_s4e{number}",
            b"S4E%d" % number + bytes(80),
            "decode_object",
            "EncryptedObjectError",
        )
    for name, data, expected, metadata in (
        (
            "encrypted",
            TEXT,
            "EncryptedObjectError",
            manifest("cpu-zstd", 9, s4_encrypted="aes-256-gcm"),
        ),
        ("size_missing", ZSTD, "S4Error", manifest("cpu-zstd", stored, s4_original_size=None)),
        ("crc_missing", ZSTD, "S4Error", manifest("cpu-zstd", stored, s4_crc32c=None)),
        ("size_unreadable", ZSTD, "S4Error", manifest("cpu-zstd", stored, s4_original_size="1e3")),
        ("crc_in_hex", ZSTD, "S4Error", manifest("cpu-zstd", stored, s4_crc32c="9a71bb4c")),
        (
            "crc_above_32_bits",
            ZSTD,
            "S4Error",
            manifest("cpu-zstd", stored, s4_crc32c="4294967296"),
        ),
        (
            "size_off",
            ZSTD,
            "S4SizeMismatchError",
            manifest("cpu-zstd", stored, s4_original_size="999"),
        ),
        (
            "stored_size_off",
            ZSTD,
            "S4ManifestSizeMismatchError",
            manifest("cpu-zstd", stored + 1),
        ),
        (
            "framed_size_off",
            FRAME,
            "S4ManifestSizeMismatchError",
            manifest("cpu-zstd", framed, s4_framed="true", s4_original_size="999"),
        ),
        (
            "framed_without_frames",
            ZSTD,
            "S4FrameError",
            manifest("cpu-zstd", stored, s4_framed="true"),
        ),
        ("dictionary_not_named", FRAME[:4] + b"\x08" + FRAME[5:], "DictionaryError", {}),
        ("bitcomp", ZSTD, "UnsupportedCodecError", manifest("nvcomp-bitcomp", stored)),
    ):
        corpus.add(f"object_{name}", data, "decode_object", expected, metadata=metadata)


def main() -> None:
    """Write the whole corpus."""
    corpus = Corpus()
    add_frames(corpus)
    add_claims(corpus)
    add_indexes(corpus)
    add_zstd(corpus)
    add_gzip(corpus)
    add_containers(corpus)
    add_objects(corpus)
    corpus.write()


if __name__ == "__main__":
    main()
