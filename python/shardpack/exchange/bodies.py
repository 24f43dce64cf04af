"""The streams that a store of exchanges gives: objects, members of archives, checked bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from shardpack.checksum import crc32c
from shardpack.errors import IntegrityError
from shardpack.hash import Blake3
from shardpack.storage.base import ObjectInfo
from shardpack.storage.body import ObjectBody
from shardpack.storage.transfer import check_range, resolve_range

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["ArchiveMemberBody", "ObjectStream", "VerifiedBody", "section_of_member"]

_PIECE = 1 << 20


class ObjectStream(ObjectBody):
    """An object being read, with the calls of botocore's ``StreamingBody`` and of ``io``.

    Args:
        body: What the store gave.
    """

    def __init__(self, body: ObjectBody) -> None:
        super().__init__()
        self.info = body.info
        self._body = body
        self._position = 0

    def read(self, amt: int | None = None) -> bytes:
        """Read bytes.

        Args:
            amt: How many; all that is left when ``None`` or negative.

        Returns:
            That many bytes, fewer only at the end.
        """
        data = self._body.read(amt)
        self._position += len(data)
        return data

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """Read the lines that are left, with their ends.

        Args:
            hint: Stop when this many bytes have been read; never when ``None`` or below 1.
        """
        return _read_lines(self, hint)

    def tell(self) -> int:
        """Give the number of bytes read so far."""
        return self._position

    def set_socket_timeout(self, timeout: float) -> None:
        """Do nothing: the store has time limits of its own, and repeats what fails.

        Args:
            timeout: Seconds.
        """

    def __next__(self) -> bytes:
        """Read the next piece."""
        if piece := self.read(_PIECE):
            return piece
        raise StopIteration

    def _next_into(self, target: memoryview) -> int:
        count = self._body.readinto(target)
        self._position += count
        return count

    def _release(self) -> None:
        self._body.close()


class ArchiveMemberBody(ObjectBody):
    r"""A member of an archive being read.

    Unlike those of plain objects, its ``iter_lines`` leaves the ``\n`` at each line, and it can
    seek where the file behind it can.

    Args:
        fileobj: A binary file object with the bytes of the member.
        archive_stream: Closed together with it.
        info: Key, size and what else is known of the member.
    """

    def __init__(
        self,
        fileobj: Any,  # noqa: ANN401 - whatever reads
        archive_stream: Any = None,  # noqa: ANN401 - whatever closes
        *,
        info: ObjectInfo | None = None,
    ) -> None:
        super().__init__()
        known = info or getattr(fileobj, "info", None)
        self.info = known if isinstance(known, ObjectInfo) else ObjectInfo(key="", size=-1)
        self._file = fileobj
        self._archive_stream = archive_stream

    def read(self, amt: int | None = None) -> bytes:
        """Read bytes.

        Args:
            amt: How many; all that is left when ``None`` or negative.

        Returns:
            That many bytes, fewer only at the end.
        """
        if self.closed:
            raise ValueError("I/O operation on a closed body")
        data: bytes = self._file.read(-1 if amt is None else amt)
        return data

    def iter_lines(
        self, chunk_size: int | None = None, limit: int | None = None, *, keepends: bool = True
    ) -> Iterator[bytes]:
        r"""Give the lines that are left, split at ``\n``.

        Args:
            chunk_size: Bytes to read at a time.
            limit: Most lines to give.
            keepends: Leave the line end at each line.
        """
        return super().iter_lines(chunk_size, limit, keepends=keepends)

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """Read the lines that are left, with their ends.

        Args:
            hint: Stop when this many bytes have been read; never when ``None`` or below 1.
        """
        return _read_lines(self, hint)

    def seekable(self) -> bool:
        """Tell whether ``seek`` works."""
        seekable = getattr(self._file, "seekable", None)
        return bool(seekable and seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a position.

        Args:
            offset: Bytes from where ``whence`` says.
            whence: ``io.SEEK_SET``, ``io.SEEK_CUR`` or ``io.SEEK_END``.

        Returns:
            The new position.

        Raises:
            io.UnsupportedOperation: The archive is read as a stream.
        """
        if not self.seekable():
            raise io.UnsupportedOperation("this member is read as a stream, it cannot seek")
        position: int = self._file.seek(offset, whence)
        return position

    def tell(self) -> int:
        """Give the position."""
        position: int = self._file.tell()
        return position

    def __next__(self) -> bytes:
        """Read the next piece."""
        if piece := self.read(_PIECE):
            return piece
        raise StopIteration

    def _next_into(self, target: memoryview) -> int:
        readinto = getattr(self._file, "readinto", None)
        if readinto is not None:
            return readinto(target) or 0
        piece = self._file.read(target.nbytes)
        target[: len(piece)] = piece
        return len(piece)

    def _release(self) -> None:
        try:
            self._file.close()
        finally:
            if self._archive_stream is not None:
                self._archive_stream.close()


class VerifiedBody(ObjectBody):
    """A body whose bytes are compared with what was recorded, as they are read to the end.

    Args:
        body: The bytes, from the first.
        entry: What was recorded: ``size_bytes``, ``crc32c`` and ``blake3`` are looked at.
        key: Key of the object, for errors.
        member: Path of the member, where it is one of an archive.
    """

    def __init__(
        self,
        body: ObjectBody,
        entry: Mapping[str, Any],
        *,
        key: str,
        member: str | None = None,
    ) -> None:
        super().__init__()
        self.info = body.info
        self._body = body
        self._key = key
        self._member = member
        self._size = entry.get("size_bytes")
        self._crc32c = _digits(entry.get("crc32c"))
        self._blake3 = _digits(entry.get("blake3"))
        self._hasher = None if self._blake3 is None else Blake3()
        self._checksum = 0
        self._done = 0
        self._checked = False

    def tell(self) -> int:
        """Give the number of bytes read so far."""
        return self._done

    def _next_into(self, target: memoryview) -> int:
        count = self._body.readinto(target)
        self._done += count
        if self._crc32c is not None:
            self._checksum = crc32c(target[:count], self._checksum)
        if self._hasher is not None:
            self._hasher.update(target[:count])
        # A reader may take just as many bytes as there should be and never see the end.
        if not count or self._size == self._done:
            self._check()
        elif self._size is not None and self._done > self._size:
            raise self._differs("size", self._size, self._done)
        return count

    def _release(self) -> None:
        self._body.close()

    def _check(self) -> None:
        if self._checked:
            return
        if self._size is not None and self._size != self._done:
            raise self._differs("size", self._size, self._done)
        if self._crc32c is not None and self._crc32c != f"{self._checksum:08x}":
            raise self._differs("crc32c", self._crc32c, f"{self._checksum:08x}")
        if self._hasher is not None and self._blake3 != self._hasher.hexdigest():
            raise self._differs("blake3", self._blake3, self._hasher.hexdigest())
        self._checked = True

    def _differs(
        self, algorithm: str, expected: str | int | None, actual: str | int
    ) -> IntegrityError:
        what = self._key if self._member is None else f"{self._key}#{self._member}"
        return IntegrityError(
            f"{algorithm} of {what} is {actual}, {expected} was recorded",
            key=self._key,
            member=self._member,
            algorithm=algorithm,
            expected=expected,
            actual=actual,
        )


def _digits(recorded: object) -> str | None:
    """Take a digest as it was recorded, in whichever case; entries may hold anything."""
    return str(recorded).lower() if recorded else None


class _Section(ObjectBody):
    """Some of the bytes of a body."""

    def __init__(self, body: ObjectBody, length: int) -> None:
        super().__init__()
        self.info = body.info
        self._body = body
        self._left = length

    def _next_into(self, target: memoryview) -> int:
        count = self._body.readinto(target[: self._left])
        self._left -= count
        return count

    def _release(self) -> None:
        self._body.close()


def section_of_member(
    body: ArchiveMemberBody, start: int | None, end: int | None
) -> ArchiveMemberBody:
    """Leave some of the bytes of a member.

    Args:
        body: The whole member, not yet read; it is closed with what is returned.
        start: First byte; a negative one counts from the end.
        end: First byte after them; all to the end when ``None``.

    Raises:
        ValueError: The range means nothing.
    """
    check_range(start, end)
    first, last = resolve_range(start, end, body.info.size)
    if body.seekable():
        body.seek(first)
    else:
        rest = first
        while rest and (skipped := len(body.read(min(rest, _PIECE)))):
            rest -= skipped
    return ArchiveMemberBody(_Section(body, last - first), info=body.info)


def _read_lines(body: ObjectBody, hint: int | None) -> list[bytes]:
    lines: list[bytes] = []
    length = 0
    for line in body.iter_lines(keepends=True):
        lines.append(line)
        length += len(line)
        if hint is not None and 0 < hint <= length:
            break
    return lines
