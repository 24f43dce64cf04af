"""Shard archives made in memory, for the tests of everything that writes and reads them."""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hypothesis import strategies as st

from inputs import make
from shardpack import CpuZstd, decode_object
from shardpack.archive import ArchiveIndex, ArchiveWriter, MemberReader

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "COMPRESSIONS",
    "GOLDEN",
    "Built",
    "Fetches",
    "build",
    "member_lists",
    "reader_of",
    "tar_members",
    "tar_stream",
]

Compression = Literal["gzip", "zstd", "s4"] | None
COMPRESSIONS: tuple[Compression, ...] = (None, "gzip", "zstd", "s4")


@dataclass(frozen=True)
class Built:
    """An archive with all that belongs to it."""

    stored: bytes
    index: ArchiveIndex
    writer: ArchiveWriter
    compression: Compression

    @property
    def tar(self) -> bytes:
        """The tar stream, decoded by others than the reader under test."""
        return tar_stream(self.stored, self.compression, self.writer)


def tar_stream(stored: bytes, compression: Compression, writer: ArchiveWriter) -> bytes:
    if compression == "gzip":
        return gzip.decompress(stored)
    if compression == "zstd":
        return CpuZstd().decompress_all(stored)
    if compression == "s4":
        return decode_object(stored, writer.s4_metadata, writer.s4_sidecar)
    return stored


def build(
    members: Iterable[tuple[str, bytes]],
    compression: Compression = None,
    *,
    chunk_size: int = 4096,
    threads: int | None = None,
    level: int | None = None,
) -> Built:
    sink = io.BytesIO()
    writer = ArchiveWriter(
        sink,
        compression=compression,
        level=level,
        chunk_size=chunk_size,
        threads=threads,
        internal_manifest_path="__manifest__.jsonl",
    )
    for path, data in members:
        writer.add(path, data)
    index = writer.close()
    return Built(sink.getvalue(), index, writer, compression)


def tar_members(stream: bytes) -> dict[str, bytes]:
    """All members, as Python's tarfile reads them."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(stream), mode="r:") as archive:
        for info in archive:
            assert info.isreg()
            assert (info.mtime, info.mode, info.uid, info.gid) == (0, 0o644, 0, 0)
            data = archive.extractfile(info)
            assert data is not None
            found[info.name] = data.read()
    return found


class Fetches:
    """Stored bytes with a record of what was asked for."""

    def __init__(self, stored: bytes) -> None:
        self.stored = stored
        self.ranges: list[tuple[int, int]] = []

    def __call__(self, start: int, end: int) -> bytes:
        self.ranges.append((start, end))
        return self.stored[start:end]

    @property
    def total(self) -> int:
        return sum(end - start for start, end in self.ranges)


def reader_of(built: Built, key: str | None = "shards/a.tar") -> tuple[MemberReader, Fetches]:
    fetches = Fetches(built.stored)
    return MemberReader(built.index, fetches, key=key), fetches


# What the archives in the vectors hold: empty, small, larger than a chunk, incompressible, and
# names that need every kind of header.
GOLDEN: list[tuple[str, bytes]] = [
    ("__manifest__.jsonl", b'{"kind":"file"}\n'),
    ("empty", b""),
    ("lines/a.txt", make("lines", 3000)),
    ("lines/b.txt", make("lines", 5000)),
    ("noise.bin", make("noise", 9000)),
    ("events.json", make("events", 20_000)),
    ("one block", make("zeros", 512)),
    ("größe/日本.txt", b"not ascii"),
    ("p" * 90 + "/" + "n" * 90, b"prefix field"),
    ("l" * 150, b"long name"),
    ("last", make("cycle", 1)),
]

_parts = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/\\:."), min_size=1, max_size=60
)
_paths = st.lists(_parts, min_size=1, max_size=6).map("/".join)
_bytes = st.one_of(
    st.binary(max_size=200),
    st.builds(
        make,
        st.sampled_from(["lines", "noise", "zeros"]),
        st.integers(0, 20_000),
    ),
)
member_lists = st.lists(st.tuples(_paths, _bytes), max_size=12, unique_by=lambda pair: pair[0])
