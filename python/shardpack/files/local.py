"""Files as sources and destinations: opening, counting, publishing."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from shardpack.atomic import AtomicFile, is_special
from shardpack.batch import as_bytes_view
from shardpack.errors import S4IoError
from shardpack.frame_io.publish import publish_body, require_sidecar_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shardpack.batch import Sink

__all__ = [
    "Destination",
    "FileLike",
    "LocalSource",
    "open_destination",
    "open_local",
]


if TYPE_CHECKING:
    FileLike = str | os.PathLike[str] | Any
else:
    FileLike = object


class LocalSource:
    """A file being read from start to end, which must not change meanwhile."""

    def __init__(self, fileobj: Any, name: str | None, on_read: Callable[[int], object]) -> None:  # noqa: ANN401 - any file object
        self.fileobj = fileobj
        self.name = name
        self.count = 0
        self._on_read = on_read
        # Only a regular file has a length to rely on, and attributes to hand on.
        self.stat: os.stat_result | None = None
        with suppress(AttributeError, OSError):
            found = os.fstat(fileobj.fileno())
            if name is not None and stat.S_ISREG(found.st_mode):
                self.stat = found

    @property
    def size(self) -> int | None:
        """Length in bytes, ``None`` for pipes and file objects."""
        return None if self.stat is None else self.stat.st_size

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer, as files do, and count."""
        if hasattr(self.fileobj, "readinto"):
            count: int | None = self.fileobj.readinto(buffer)
        else:
            piece = as_bytes_view(self.fileobj.read(buffer.nbytes))
            count = piece.nbytes
            buffer[:count] = piece
        if count is None:
            raise BlockingIOError("the source is in non-blocking mode and has no bytes yet")
        if count:
            self.count += count
            self._on_read(self.count)
        return count

    def require_unchanged(self, count: int) -> None:
        """Refuse what was read if the file was written to meanwhile.

        Args:
            count: How many bytes were read of it.

        Raises:
            S4IoError: The length is not what it was, or the file was modified.
        """
        if self.stat is None:
            return
        now = os.fstat(self.fileobj.fileno())
        before = self.stat
        if not count == before.st_size == now.st_size:
            raise S4IoError(
                f"io: the source changed while it was read: it had {before.st_size} bytes,"
                f" {count} were read, now it has {now.st_size}"
            )
        if before.st_mtime_ns != now.st_mtime_ns:
            raise S4IoError("io: the source was modified while it was read")


@contextmanager
def open_local(source: FileLike, on_read: Callable[[int], object]) -> Iterator[LocalSource]:
    """Open a path, or take a file object as it is.

    Args:
        source: The path or file object; a file object stays open.
        on_read: Called with the number of bytes read so far.

    Yields:
        The source.

    Raises:
        OSError: The path cannot be opened.
    """
    if hasattr(source, "read"):
        yield LocalSource(source, None, on_read)
        return
    path = os.fsdecode(source)
    with open(path, "rb", buffering=0) as file:
        yield LocalSource(file, path, on_read)


class Destination:
    """Where a result goes: a new file with a sidecar, or something that is written in place."""

    def __init__(self, sink: Sink, path: str | None, atomic: AtomicFile | None) -> None:
        self.sink = sink
        self.path = path
        self._atomic = atomic

    def publish(self, sidecar: bytes | None = None, *, keep_sidecar: bool = False) -> bool:
        """Give the finished file its name, then its sidecar.

        Args:
            sidecar: The bytes, ``None`` for a file without one.
            keep_sidecar: Leave what lies at the sidecar's path alone: the file is no body.

        Returns:
            Whether there is a sidecar now.

        Raises:
            FileExistsError: A file that is no sidecar lies in the sidecar's place and may not be
                replaced.
        """
        body = self._atomic
        if body is None:
            return False
        if keep_sidecar:
            body.publish()
            return False
        publish_body(body, sidecar)
        return sidecar is not None

    def require_sidecar_place(self) -> None:
        """Fail now rather than after the work if the sidecar's place is taken.

        Raises:
            FileExistsError: By a file that is no sidecar, and that may not be replaced.
        """
        if self._atomic is not None and not self._atomic.overwrite:
            require_sidecar_place(self._atomic.path)


@contextmanager
def open_destination(
    destination: FileLike, source: LocalSource, *, overwrite: bool
) -> Iterator[Destination]:
    """Open what a result is written to; nothing stays of it unless it is published.

    Args:
        destination: A path, or a file object, which stays open.
        source: Where the bytes come from; gives permission bits and modification time.
        overwrite: Replace an existing file.

    Yields:
        The destination.

    Raises:
        FileExistsError: The path exists and ``overwrite`` is not set.
        ValueError: Source and destination are the same file.
    """
    if not isinstance(destination, str | os.PathLike):
        sink: Sink = destination
        yield Destination(sink, None, None)
        return
    path = os.fspath(destination)
    if is_special(path):
        with open(path, "wb", buffering=0) as file:
            yield Destination(file, path, None)
        return
    if (
        source.stat is not None
        and os.path.exists(path)
        and os.path.samestat(source.stat, os.stat(path))
    ):
        raise ValueError(f"source and destination are the same file {path!r}")
    with AtomicFile(path, overwrite=overwrite, attributes_of=source.stat) as atomic:
        yield Destination(atomic.file, path, atomic)
