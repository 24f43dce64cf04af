r"""Open packed files like plain ones, as ``gzip.open`` does for gzip.

Reading recognises S4 frames, zstd and gzip by their first bytes and passes anything else through;
writing chooses by the suffix. ``StreamReader`` and ``StreamWriter`` turn any codec into a file
object with little memory and no delay; ``open`` writes through the parallel writers instead.

Example:
    >>> import os, tempfile, shardpack
    >>> path = os.path.join(tempfile.mkdtemp(), "lines.txt.zst")
    >>> with shardpack.open(path, "wt") as file:
    ...     _ = file.write("one\ntwo\n")
    >>> with shardpack.open(path, "rt") as file:
    ...     [line.strip() for line in file]
    ['one', 'two']
"""

from __future__ import annotations

import codecs
import io
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TextIO, cast, overload

from shardpack.atomic import AtomicFile, is_special
from shardpack.codec import (
    MAX_ORIGINAL_SIZE,
    Codec,
    CpuGzip,
    CpuZstd,
    CpuZstdDict,
    Passthrough,
    dict_id,
)
from shardpack.codec_io import StreamReader, StreamWriter
from shardpack.container import MAGIC_BYTES, container_of_bytes, container_of_name, open_writer
from shardpack.frame import bind_index
from shardpack.frame_io import FrameReader, FrameWriter
from shardpack.frame_io.publish import publish_body, require_sidecar_place
from shardpack.frame_io.source import open_source
from shardpack.frame_io.table import usable_sidecar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Buffer

    from shardpack.batch import BatchWriter
    from shardpack.container import Container, PackedWriter
    from shardpack.frame_io.source import ByteSource
    from shardpack.frame_io.table import FrameTable

__all__ = ["StreamReader", "StreamWriter", "open", "open_reader"]

# Every call of the buffered reader goes through Python once per this many bytes.
_BUFFER_BYTES = 128 << 10

_CONTAINER_OF_CODEC: dict[str, Container] = {
    "auto": "s4",
    "passthrough": "s4",
    "cpu-zstd": "zst",
    "cpu-zstd-dict": "zst",
    "cpu-gzip": "gz",
}


def open_reader(
    source: ByteSource,
    *,
    name: str | None = None,
    sidecar: Buffer | FrameTable | None = None,
    dictionary: Buffer | None = None,
    threads: int | None = None,
    max_original_size: int = MAX_ORIGINAL_SIZE,
    on_consumed: Callable[[int], object] | None = None,
) -> tuple[Container | None, FrameReader | StreamReader]:
    """Make the reader that the first bytes of a source call for.

    Bytes that no container begins with are plain, unless the name says otherwise: a damaged
    ``data.s4`` is then refused instead of being handed out as it lies.

    Args:
        source: The source, at its start; it is closed together with the reader.
        name: Name of the file, if it has one.
        sidecar: The S4IX sidecar of S4 frames, or the table that was read from it.
        dictionary: Bytes of the dictionary that the source was compressed with.
        threads: Threads to decode with; all cores when ``None``.
        max_original_size: Largest original size that a frame may claim.
        on_consumed: Called with the number of packed bytes consumed so far.

    Returns:
        The container that was found (``None``: the bytes are plain) and its reader.

    Raises:
        EncryptedObjectError: The source is in an S4 encryption envelope.
    """
    container = container_of_bytes(source.peek(MAGIC_BYTES))
    if container is None and name is not None:
        container = container_of_name(name)
    if container == "s4":
        dicts = None if dictionary is None else {dict_id(dictionary): dictionary}
        return container, FrameReader(
            source,
            sidecar=sidecar,
            dicts=dicts,
            threads=threads,
            max_original_size=max_original_size,
            on_consumed=on_consumed,
        )
    codec: Codec = Passthrough()
    if container == "zst":
        codec = CpuZstd() if dictionary is None else CpuZstdDict(dictionary)
    elif container == "gz":
        codec = CpuGzip()
    return container, StreamReader(source, codec, on_consumed=on_consumed)


@overload
def open(
    file: str | os.PathLike[str] | Any,  # noqa: ANN401 - any file object
    mode: Literal["r", "rb", "w", "wb", "x", "xb"] = "rb",
    *,
    codec: str | Codec | None = None,
    level: int | None = None,
    dictionary: Buffer | None = None,
    container: Container | None = None,
    chunk_size: int | None = None,
    threads: int | None = None,
    encoding: None = None,
    errors: None = None,
    newline: None = None,
) -> BinaryIO: ...
@overload
def open(
    file: str | os.PathLike[str] | Any,  # noqa: ANN401 - any file object
    mode: Literal["rt", "wt", "xt"],
    *,
    codec: str | Codec | None = None,
    level: int | None = None,
    dictionary: Buffer | None = None,
    container: Container | None = None,
    chunk_size: int | None = None,
    threads: int | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> TextIO: ...
def open(  # noqa: PLR0913 - the options of writing, and those of text
    file: str | os.PathLike[str] | Any,
    mode: str = "rb",
    *,
    codec: str | Codec | None = None,
    level: int | None = None,
    dictionary: Buffer | None = None,
    container: Container | None = None,
    chunk_size: int | None = None,
    threads: int | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> BinaryIO | TextIO:
    """Open a packed file for reading or writing original bytes or text.

    Reading goes by the first bytes of the file; ``codec="passthrough"`` gives them as they lie.
    A path that is written appears when it is closed, whole: a ``with`` block that fails leaves what
    was there before. Several S4 frames get a sidecar, as ``compress_file`` makes it.

    Args:
        file: A path, or a binary file object, which stays open.
        mode: ``"rb"``, ``"wb"``, ``"xb"`` (a new file only) or ``"rt"``, ``"wt"``, ``"xt"``.
        codec: For writing, a codec or its name; it also chooses the container if the suffix
            does not.
        level: Compression level, where ``codec`` is no codec object.
        dictionary: Bytes of a zstd dictionary.
        container: For writing, ``"s4"``, ``"zst"`` or ``"gz"`` instead of what the suffix says.
        chunk_size: For writing, original bytes of each frame or member.
        threads: Threads to work with; all cores when ``None``.
        encoding: Text encoding, UTF-8 when ``None``.
        errors: What to do about encoding errors, as for the built-in ``open``.
        newline: How to treat line ends, as for the built-in ``open``.

    Returns:
        A file object. Seeking works while reading, and in S4 frames decodes only what is read.

    Raises:
        ValueError: The mode is unknown, or nothing says which container to write.
        LookupError: The encoding is unknown.
        FileExistsError: With ``"x"``, the file exists, or another lies where its sidecar belongs.
        OSError: The file cannot be opened.
        EncryptedObjectError: The file is in an S4 encryption envelope.
    """
    action, kind = mode.rstrip("bt"), mode[1:]
    if action not in ("r", "w", "x") or kind not in ("", "b", "t"):
        raise ValueError(f"mode must be r, w or x with b or t, got {mode!r}")
    if kind != "t" and not (encoding is errors is newline is None):
        raise ValueError(f"encoding, errors and newline need a text mode, got {mode!r}")
    if kind == "t":
        encoding = encoding or "utf-8"
        codecs.lookup(encoding)
    if action == "r":
        binary = _open_to_read(file, codec, dictionary, threads)
        return io.TextIOWrapper(binary, encoding, errors, newline) if kind == "t" else binary
    writer = _open_writer(
        file,
        action,
        container or _container_to_write(file, codec),
        codec or "auto",
        level=level,
        dictionary=dictionary,
        chunk_size=chunk_size,
        threads=threads,
    )
    binary = cast("BinaryIO", writer)
    if kind != "t" or encoding is None:
        return binary
    try:
        if codecs.lookup(encoding).name in ("utf-16", "utf-32"):
            # TextIOWrapper writes this mark only to files that can seek, and its reader insists
            # on it.
            binary.write("".encode(encoding))
        return _TextWriter(binary, encoding, errors, newline)
    except BaseException:
        writer.abandon()
        raise


def _open_writer(
    file: Any,  # noqa: ANN401 - any file object
    action: str,
    container: Container,
    codec: str | Codec,
    **options: Any,  # noqa: ANN401 - those of `open_writer`
) -> PackedWriter:
    # Mistakes in the options must not be found out by opening: a pipe waits, a name is reserved.
    open_writer(io.BytesIO(), container, codec, **options).abandon()
    if action == "x" and container == "s4" and not hasattr(file, "write"):
        # Not after everything is written.
        require_sidecar_place(os.path.realpath(file))
    sink, owned = _open_to_write(file, action)
    try:
        writer = open_writer(sink, container, codec, close_fileobj=owned, **options)
    except BaseException:
        if owned:
            sink.close()
        raise
    if isinstance(sink, _NewFile):
        writer.on_complete = sink.publish
    return writer


def _container_to_write(file: object, codec: str | Codec | None) -> Container:
    named = container_of_name(file) if isinstance(file, str | os.PathLike) else None
    if named is not None:
        return named
    name = codec.name if isinstance(codec, Codec) else codec
    if name in _CONTAINER_OF_CODEC:
        return _CONTAINER_OF_CODEC[name]
    raise ValueError(f"no suffix .s4, .zst or .gz in {file!r}: say which with container= or codec=")


def _open_to_write(file: Any, action: str) -> tuple[Any, bool]:  # noqa: ANN401 - any file object
    """Give what to write to, and whether it was opened here."""
    if hasattr(file, "write"):
        return file, False
    path = os.fspath(file)
    if action == "w" and is_special(path):
        return io.open(path, "wb", buffering=0), True  # noqa: UP020 - `open` is our own here
    target = AtomicFile(path, overwrite=action == "w")
    with suppress(OSError):
        os.fchmod(target.file.fileno(), os.stat(target.path).st_mode & 0o777)
    return _NewFile(target), True


class _NewFile(io.RawIOBase):
    """A file that has no name before it is published."""

    def __init__(self, target: AtomicFile) -> None:
        super().__init__()
        self._target = target

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        return self._target.file.write(data)

    def publish(self, writer: BatchWriter) -> None:
        """Give the file its name; frames get a sidecar if they are more than one."""
        if not isinstance(writer, FrameWriter):
            self._target.publish()
            return
        sidecar = writer.sidecar
        if sidecar is not None:
            sidecar = bind_index(sidecar, writer.stored_size)
        publish_body(self._target, sidecar)

    def close(self) -> None:
        if not self.closed:
            super().close()
            if hasattr(self, "_target"):
                self._target.close()


class _TextWriter(io.TextIOWrapper):
    """Text that is dropped, as bytes are, if the block that writes it fails."""

    def abandon(self) -> None:
        """Close without keeping what was written."""
        cast("BatchWriter", self.buffer).abandon()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; after an error without writing the rest."""
        if kind is None:
            self.close()
        else:
            self.abandon()


def _open_to_read(
    file: Any,  # noqa: ANN401 - any file object
    codec: str | Codec | None,
    dictionary: Buffer | None,
    threads: int | None,
) -> BinaryIO:
    is_path = isinstance(file, str | os.PathLike)
    name = codec.name if isinstance(codec, Codec) else codec
    if name == "passthrough" and is_path:
        return io.open(file, "rb")  # noqa: UP020 - `open` is our own here
    if isinstance(codec, CpuZstdDict):
        dictionary = codec.dict_bytes
    source = open_source(file)
    container: Container | None = None
    reader: FrameReader | StreamReader
    try:
        sidecar = path = None
        if is_path:
            path = os.fspath(file)
            sidecar = usable_sidecar(path, source.size()) if source.seekable else None
        if name == "passthrough":
            reader = StreamReader(source, Passthrough())
        else:
            container, reader = open_reader(
                source, name=path, sidecar=sidecar, dictionary=dictionary, threads=threads
            )
    except BaseException:
        source.close()
        raise
    if container is None and is_path:
        source.close()
        return io.open(file, "rb")  # noqa: UP020 - `open` is our own here
    return io.BufferedReader(reader, _BUFFER_BYTES)
