"""What a member of an archive can be read from, and the checks that all of it arrives."""

from __future__ import annotations

import os
import stat
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, Self

from shardpack.archive.member_path import unsafe_path
from shardpack.batch import as_bytes_view
from shardpack.errors import IntegrityError, S4IoError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from typing_extensions import Buffer

__all__ = ["OpenSource", "open_source"]

# Sources of unknown length are held up to this, larger ones lie in a temporary file.
_HELD_BYTES = 8 << 20
_READ_PIECE = 1 << 20


class OpenSource:
    """A source of a member, from its start to its end.

    Attributes:
        size: Bytes that it has.
        data: The bytes, where they are in memory already; the calls below are then for nothing.
    """

    def __init__(self, size: int, member_path: str, data: memoryview | None = None) -> None:
        self.size = size
        self.data = data
        self._member_path = member_path
        self._position = 0

    def read_into(self, target: memoryview) -> int:
        """Put at least one byte into ``target``.

        Args:
            target: Room for some bytes, not beyond ``size``.

        Returns:
            How many bytes came.

        Raises:
            IntegrityError: The source has fewer bytes than ``size``.
            S4IoError: The file has become shorter.
        """
        count = self._next_into(target)
        if not count:
            raise self._wrong_size(self._position)
        self._position += count
        return count

    def require_end(self) -> None:
        """Check that the source has no more bytes than ``size``.

        Raises:
            IntegrityError: It has more.
            S4IoError: The file has changed.
        """
        if self._next_into(memoryview(bytearray(1))):
            raise self._wrong_size(self._position + 1)

    def close(self) -> None:
        """Close what was opened for this member."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _next_into(self, target: memoryview) -> int:
        raise NotImplementedError

    def _wrong_size(self, found: int) -> Exception:
        return wrong_size(self._member_path, self.size, found)


def wrong_size(member_path: str, expected: int, found: int) -> IntegrityError:
    """Make the error for a source that has not as many bytes as was said."""
    least = "at least " if found > expected else ""
    return IntegrityError(
        f"the source of member {member_path!r} has {least}{found} bytes instead of {expected}",
        member=member_path,
        algorithm="size",
        expected=expected,
        actual=found,
    )


def open_source(source: Any, size: int | None, member_path: str) -> OpenSource:  # noqa: ANN401 - see below
    """Open the source of a member.

    Args:
        source: A buffer, the path of a regular file, a binary file object, or an iterable of
            buffers.
        size: How many bytes it has, if that is known.
        member_path: Path of the member, for errors.

    Returns:
        The source, to be closed by the caller.

    Raises:
        TypeError: It is none of these.
        UnsafePathError: The file is a folder, a device, a pipe or a socket.
        IntegrityError: It has another number of bytes than ``size``.
        OSError: The file cannot be opened.
    """
    if size is not None and size < 0:
        raise ValueError(f"size must not be negative, got {size}")
    if isinstance(source, str | os.PathLike):
        return _checked(_FileSource(os.fspath(source), member_path), size, member_path)
    if isinstance(source, bytes | bytearray | memoryview):
        view = as_bytes_view(source)
        return _checked(OpenSource(view.nbytes, member_path, view), size, member_path)
    stream = _stream_of(source, member_path)
    if isinstance(stream, memoryview):
        return _checked(OpenSource(stream.nbytes, member_path, stream), size, member_path)
    if size is None:
        return _SpooledSource(stream, member_path)
    return _StreamSource(stream, size, member_path)


def _checked(opened: OpenSource, size: int | None, member_path: str) -> OpenSource:
    if size is not None and size != opened.size:
        opened.close()
        raise wrong_size(member_path, size, opened.size)
    return opened


def _stream_of(source: Any, member_path: str) -> memoryview | Any:  # noqa: ANN401 - any file object
    if hasattr(source, "readinto") or hasattr(source, "read"):
        return source
    try:
        return as_bytes_view(source)
    except TypeError:
        if not hasattr(source, "__iter__"):
            raise TypeError(
                f"the source of member {member_path!r} must be bytes, a path, a file object or an"
                f" iterable of buffers, got {type(source).__name__}"
            ) from None
    return _IterableFile(source)


class _IterableFile:
    """The buffers of an iterable, as a file object."""

    def __init__(self, pieces: Iterable[Buffer]) -> None:
        self._pieces: Iterator[Buffer] = iter(pieces)
        self._rest = memoryview(b"")

    def readinto(self, target: memoryview) -> int:
        while not self._rest.nbytes:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = as_bytes_view(piece)
        count = min(self._rest.nbytes, target.nbytes)
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class _StreamSource(OpenSource):
    """A binary file object, which stays open."""

    def __init__(self, stream: Any, size: int, member_path: str) -> None:  # noqa: ANN401 - any file object
        super().__init__(size, member_path)
        self._stream = stream

    def _next_into(self, target: memoryview) -> int:
        if hasattr(self._stream, "readinto"):
            count = self._stream.readinto(target)
        else:
            piece = self._stream.read(min(target.nbytes, _READ_PIECE))
            count = None if piece is None else len(piece)
            if piece:
                target[:count] = piece
        if count is None:
            raise BlockingIOError("the source is in non-blocking mode and has no bytes yet")
        return int(count)


class _SpooledSource(_StreamSource):
    """A stream of unknown length, copied to where its length shows."""

    def __init__(self, stream: Any, member_path: str) -> None:  # noqa: ANN401 - any file object
        # Closed by `close`; its life is that of this object.
        spool = SpooledTemporaryFile(_HELD_BYTES)  # noqa: SIM115
        try:
            source = _StreamSource(stream, 0, member_path)
            piece = memoryview(bytearray(_READ_PIECE))
            size = 0
            while count := source._next_into(piece):  # noqa: SLF001 - of the same family
                spool.write(piece[:count])
                size += count
            spool.seek(0)
        except BaseException:
            spool.close()
            raise
        super().__init__(spool, size, member_path)

    def close(self) -> None:
        self._stream.close()


class _FileSource(OpenSource):
    """A regular file, which must not change while it is read."""

    def __init__(self, path: str | bytes, member_path: str) -> None:
        self._path = os.fsdecode(path)
        # A pipe would wait for its writer; the flag means nothing to regular files.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._before = self._regular()
        except BaseException:
            self.close()
            raise
        super().__init__(self._before.st_size, member_path)

    def _regular(self) -> os.stat_result:
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise unsafe_path(self._path, "the source is no regular file")
        return found

    def close(self) -> None:
        os.close(self._descriptor)

    def require_end(self) -> None:
        super().require_end()
        after = os.fstat(self._descriptor)
        if (after.st_size, after.st_mtime_ns) != (self.size, self._before.st_mtime_ns):
            raise self._wrong_size(after.st_size)

    def _next_into(self, target: memoryview) -> int:
        return os.readv(self._descriptor, [target])

    def _wrong_size(self, found: int) -> Exception:
        now = os.fstat(self._descriptor).st_size
        return S4IoError(
            f"io: {self._path!r} changed while it was read: it had {self.size} bytes, now it has"
            f" {max(now, found) if found > self.size else now}"
        )
