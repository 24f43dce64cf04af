"""Bodies of frames to test with, and files that watch or refuse."""

from __future__ import annotations

import io
from typing import Any

import shardpack
from inputs import make
from shardpack import (
    FrameWriter,
)

__all__ = [
    "BODY",
    "BOUND",
    "CHUNK",
    "DATA",
    "UNBOUND",
    "WRITER",
    "FullDisk",
    "RecordingFile",
    "body_of",
    "pack",
]

DATA = make("lines", 40_000) + make("noise", 20_000) + make("lines", 40_000, "b")
CHUNK = 7_000


def pack(data: bytes = DATA, codec: Any = "cpu-zstd", chunk_size: int = CHUNK) -> FrameWriter:
    """A closed writer, see `body_of` for what it wrote."""
    body = io.BytesIO()
    with FrameWriter(body, codec, chunk_size=chunk_size) as writer:
        writer.write(data)
    writer.body = body.getvalue()  # type: ignore[attr-defined]
    return writer


def body_of(writer: FrameWriter) -> bytes:
    body: bytes = writer.body  # type: ignore[attr-defined]
    return body


WRITER = pack()
BODY = body_of(WRITER)

UNBOUND = shardpack.build_index(BODY)
BOUND = shardpack.bind_index(UNBOUND, len(BODY))


class RecordingFile(io.BytesIO):
    """A file that remembers which bytes were read of it."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.spans: list[tuple[int, int]] = []

    def read(self, size: int | None = -1, /) -> bytes:
        start = self.tell()
        piece = super().read(size)
        self.spans.append((start, start + len(piece)))
        return piece

    def readinto(self, buffer: Any, /) -> int:
        start = self.tell()
        count = super().readinto(buffer)
        self.spans.append((start, start + count))
        return count

    @property
    def count(self) -> int:
        return sum(end - start for start, end in self.spans)


class FullDisk(io.RawIOBase):
    """A file that takes some bytes and then no more."""

    def __init__(self, space: int) -> None:
        self.space = space
        self.taken = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        if len(self.taken) >= self.space:
            raise OSError(28, "No space left on device")
        piece = bytes(data)[: self.space - len(self.taken)]
        self.taken += piece
        return len(piece)
