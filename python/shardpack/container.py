"""The three kinds of packed files: how each is named, recognised and written.

========= ======= ================================================== ===================
container suffix  what it holds                                      read by
========= ======= ================================================== ===================
``s4``    ``.s4`` S4F2 frames, with a sidecar for ranges             shardpack, S4
``zst``   ``.zst`` independent zstd frames that state their size     ``zstd``, everyone
``gz``    ``.gz`` independent gzip members                           ``gunzip``, everyone
========= ======= ================================================== ===================
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, get_args

from shardpack.batch import BatchWriter
from shardpack.codec import Codec, CpuGzip, CpuZstd, CpuZstdDict, make_codec
from shardpack.errors import EncryptedObjectError
from shardpack.frame import FRAME_MAGIC, PADDING_MAGIC, SIDECAR_SUFFIX
from shardpack.frame_io import FrameWriter
from shardpack.frame_io.writer import DEFAULT_CHUNK_SIZE

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from shardpack.batch import Sink

__all__ = [
    "CONTAINERS",
    "MAGIC_BYTES",
    "Container",
    "GzipWriter",
    "PackedWriter",
    "ZstdWriter",
    "container_of_bytes",
    "container_of_name",
    "open_writer",
    "strip_suffix",
    "suffix_of",
]

Container = Literal["s4", "zst", "gz"]
CONTAINERS: tuple[Container, ...] = get_args(Container)

MAGIC_BYTES = 4

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE_TAIL = b"\x2a\x4d\x18"
_GZIP_MAGIC = b"\x1f\x8b"
_ENVELOPE_MAGICS = frozenset(b"S4E%d" % number for number in range(1, 7))

# The short forms that tar uses name a tar file inside.
_SUFFIXES: dict[str, tuple[Container, str]] = {
    ".s4": ("s4", ""),
    ".zst": ("zst", ""),
    ".zstd": ("zst", ""),
    ".gz": ("gz", ""),
    ".tzst": ("zst", ".tar"),
    ".tgz": ("gz", ".tar"),
}


class ZstdWriter(BatchWriter):
    """Write independent zstd frames, each with its content size, so that readers can go parallel.

    Args:
        fileobj: Where the frames go; it stays open.
        codec: A ``CpuZstd`` or ``CpuZstdDict``.
        chunk_size: Original bytes of each frame.
        threads: Threads to compress with; all cores when ``None``.
        close_fileobj: Close ``fileobj`` together with this writer.
    """

    def __init__(
        self,
        fileobj: Sink,
        codec: CpuZstd | CpuZstdDict,
        *,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        threads: int | None = None,
        close_fileobj: bool = False,
    ) -> None:
        super().__init__(
            fileobj, chunk_size=chunk_size, threads=threads, close_fileobj=close_fileobj
        )
        self._codec = codec
        self.frame_count = 0

    @property
    def codec(self) -> str:
        """Name of the codec."""
        return self._codec.name

    def _encode_batch(self, batch: memoryview) -> bytes:
        size = self._chunk_size
        chunks = [batch[at : at + size] for at in range(0, batch.nbytes, size)]
        self.frame_count += len(chunks)
        if len(chunks) == 1:
            return self._codec.compress(chunks[0])[0]
        frames = self._codec.compress_many(chunks, threads=self._threads)
        return b"".join(frame for frame in frames if frame is not None)

    def _encode_end(self) -> bytes:
        if self.frame_count:
            return b""
        # Without any frame the file would not be a zstd file.
        self.frame_count = 1
        return self._codec.compress(b"")[0]


class GzipWriter(BatchWriter):
    """Write independent gzip members, which every gunzip joins.

    Args:
        fileobj: Where the members go; it stays open.
        codec: A ``CpuGzip``.
        chunk_size: Original bytes of each member.
        threads: Threads to compress with; all cores when ``None``.
        close_fileobj: Close ``fileobj`` together with this writer.
    """

    def __init__(
        self,
        fileobj: Sink,
        codec: CpuGzip,
        *,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        threads: int | None = None,
        close_fileobj: bool = False,
    ) -> None:
        super().__init__(
            fileobj, chunk_size=chunk_size, threads=threads, close_fileobj=close_fileobj
        )
        self._codec = codec
        self.frame_count = 0

    @property
    def codec(self) -> str:
        """Name of the codec."""
        return self._codec.name

    def _encode_batch(self, batch: memoryview) -> bytes:
        self.frame_count += -(-batch.nbytes // self._chunk_size)
        return self._codec.compress_members(
            batch, member_size=self._chunk_size, threads=self._threads
        )

    def _encode_end(self) -> bytes:
        if self.frame_count:
            return b""
        # gunzip calls an empty file cut short.
        self.frame_count = 1
        return self._codec.compress(b"")[0]


PackedWriter = FrameWriter | ZstdWriter | GzipWriter


def open_writer(
    fileobj: Sink,
    container: Container,
    codec: str | Codec = "auto",
    *,
    level: int | None = None,
    dictionary: Buffer | None = None,
    chunk_size: int | None = None,
    threads: int | None = None,
    close_fileobj: bool = False,
) -> PackedWriter:
    """Make the writer of a container.

    Args:
        fileobj: Where the packed bytes go.
        container: ``"s4"``, ``"zst"`` or ``"gz"``.
        codec: A codec or its name; ``"auto"`` is the gateway's choice in an ``s4`` container and
            the container's own codec in the others.
        level: Compression level, where ``codec`` is a name.
        dictionary: Bytes of a zstd dictionary, where ``codec`` is a name.
        chunk_size: Original bytes of each frame or member; 4 MiB when ``None``.
        threads: Threads to compress with; all cores when ``None``.
        close_fileobj: Close ``fileobj`` together with the writer.

    Returns:
        The writer.

    Raises:
        ValueError: The container is unknown, or cannot hold what the codec makes.
    """
    size = DEFAULT_CHUNK_SIZE if chunk_size is None else chunk_size
    if container not in CONTAINERS:
        raise ValueError(
            f"unknown container {container!r}, expected one of {', '.join(CONTAINERS)}"
        )
    if codec == "auto" and (container != "s4" or dictionary is not None):
        codec = "cpu-gzip" if container == "gz" else "cpu-zstd"
    if container == "s4":
        # "auto" is resolved by the writer, which sees the data.
        chosen = codec if codec == "auto" else make_codec(codec, level=level, dictionary=dictionary)
        return FrameWriter(
            fileobj,
            chosen,
            level=level if chosen == "auto" else None,
            chunk_size=size,
            threads=threads,
            close_fileobj=close_fileobj,
        )
    # The checksum is the one that the zstd tool writes: frames of this file have no other.
    made = make_codec(codec, level=level, dictionary=dictionary, content_size=True, checksum=True)
    if container == "zst" and isinstance(made, CpuZstd | CpuZstdDict):
        return ZstdWriter(
            fileobj, made, chunk_size=size, threads=threads, close_fileobj=close_fileobj
        )
    if container == "gz" and isinstance(made, CpuGzip):
        return GzipWriter(
            fileobj, made, chunk_size=size, threads=threads, close_fileobj=close_fileobj
        )
    raise ValueError(f"a .{container} file cannot hold {made.name}")


def suffix_of(container: Container) -> str:
    """Give the suffix of new files of a container, with its dot."""
    return f".{container}"


def container_of_name(name: str | os.PathLike[str]) -> Container | None:
    """Tell the container from a file name, ``None`` if the suffix is not one of ours."""
    found = _SUFFIXES.get(os.path.splitext(name)[1].lower())
    return None if found is None else found[0]


def strip_suffix(name: str) -> str | None:
    """Give the name of the original file, ``None`` if the suffix is not one of ours."""
    stem, suffix = os.path.splitext(name)
    found = _SUFFIXES.get(suffix.lower())
    return None if found is None else stem + found[1]


def container_of_bytes(head: bytes) -> Container | None:
    """Tell the container from the first four bytes of a file.

    Args:
        head: The bytes, fewer if the file is shorter.

    Returns:
        The container, or ``None`` if the bytes are those of none.

    Raises:
        EncryptedObjectError: They are those of an S4 encryption envelope.
    """
    head = head[:MAGIC_BYTES]
    if head in _ENVELOPE_MAGICS:
        raise EncryptedObjectError(
            f"the file is in an encryption envelope ({head.decode()}); only the S4 gateway that"
            " holds its key can read it: fetch it through the gateway"
        )
    if head in (FRAME_MAGIC, PADDING_MAGIC):
        return "s4"
    if head == _ZSTD_MAGIC or (head[1:] == _ZSTD_SKIPPABLE_TAIL and head[0] >> 4 == 5):  # noqa: PLR2004 - 0x50 to 0x5f
        return "zst"
    if head.startswith(_GZIP_MAGIC):
        return "gz"
    return None


def is_sidecar_name(name: str) -> bool:
    """Tell whether a file is a sidecar by its name."""
    return name.endswith(SIDECAR_SUFFIX)
