"""Reading an object through connections that may break, and never from two versions of it."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from shardpack.errors import PreconditionFailedError, StorageError, StorageUnavailableError
from shardpack.storage.body import ObjectBody
from shardpack.storage.retry import is_transient
from shardpack.storage.s3.answer import refuse_other_version
from shardpack.storage.s3.digests import BodyCheck

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from shardpack.storage.base import ObjectInfo
    from shardpack.storage.retry import Attempts
    from shardpack.storage.s3.answer import Answer
    from shardpack.storage.s3.requests import Requests

__all__ = ["RangeReader", "S3Body"]

_SKIP_PIECE = 1 << 18
# A connection that carries this much before it breaks is worth as many attempts again.
_PROGRESS = 1 << 20
_RANGE_NOT_SATISFIABLE = 416


class RangeReader:
    """A range of one version of an object, read from the front.

    Args:
        requests: How requests are sent.
        key: Key of the object.
        start: First byte; a negative one counts from the end.
        end: First byte after the range.
        if_match: ETag of the version.
        version_id: Version in a versioned bucket.

    Attributes:
        position: Where in the object the next byte is.
        end: First byte after what there is of the range.
        total: Length of the whole object.
        etag: ETag of the version that is read, where the server has any.
    """

    def __init__(
        self,
        requests: Requests,
        key: str,
        start: int | None = None,
        end: int | None = None,
        *,
        if_match: str | None = None,
        version_id: str | None = None,
    ) -> None:
        self._requests = requests
        self._key = key
        self._version_id = version_id
        self._attempts: Attempts | None = None
        self._answer: Answer | None = None
        self._first: Answer | None = None
        # What a HEAD said, where the answer was about nothing.
        self._told: ObjectInfo | None = None
        self.etag = if_match
        self.position = self.end = self.total = 0
        self._broke_at = 0
        self._open(start, end)

    def info(self) -> ObjectInfo:
        """Say what the first answer said about the object."""
        if self._told is not None:
            return self._told
        assert self._first is not None  # noqa: S101 - one of the two is there
        return self._first.info()

    def shorten(self, end: int) -> None:
        """Leave the rest to others.

        Args:
            end: First byte that is not to be read.
        """
        self.end = min(self.end, end)

    def check(self) -> BodyCheck | None:
        """Give the check of the whole object; ``None`` where the server keeps no checksum of it."""
        first = self._first
        if first is None or first.start or first.total != self.end:
            return None
        if not self._requests.validates:
            return None
        return BodyCheck.of(self._key, first.headers)

    def read_rest(self) -> bytes:
        """Read all that is left, and check it where it is the whole object."""
        check = self.check() if self.position == 0 else None
        data = self.read(self.end - self.position)
        if check is not None:
            check.update(data)
            check.finish()
        return data

    def read(self, size: int) -> bytes:
        """Read bytes.

        Args:
            size: How many; no more than are left.
        """
        # The bytes object inside is filled in place: no copy at the end.
        store = io.BytesIO(bytes(size))
        with store.getbuffer() as view:
            self.readinto(view)
        return store.getvalue()

    def readinto(self, target: memoryview) -> int:
        """Fill a buffer.

        Args:
            target: A writable buffer of bytes.

        Returns:
            The number of bytes, fewer than fit only at the end of the range.
        """
        wanted = min(target.nbytes, self.end - self.position)
        if self._requests.pid != os.getpid():
            raise StorageError(
                f"the body of {self._key!r} was opened in another process", key=self._key
            )
        begin = self.position
        try:
            self._fill(target[:wanted])
        except BaseException:
            # The caller gets none of the bytes, and some may be lost on the way (Ctrl-C): whoever
            # goes on reading gets them again.
            self.close()
            self.position = begin
            raise
        if self.position >= self.end:
            self.close()
        return wanted

    def _fill(self, target: memoryview) -> None:
        filled = 0
        while filled < target.nbytes:
            answer = self._answer
            if answer is None:
                self._resume()
                continue
            before = answer.left
            try:
                filled += answer.readinto(target[filled:])
            except StorageError as error:
                arrived = before - answer.left
                filled += arrived
                self.position += arrived
                self._broke(error)
            else:
                self.position += before - answer.left

    def close(self) -> None:
        """Give the connection back."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()

    def _open(self, start: int | None, end: int | None) -> None:
        asked = start
        while True:
            try:
                answer = self._requests.open(self._key, asked, end, self.etag, self._version_id)
            except StorageError as error:
                if error.status == _RANGE_NOT_SATISFIABLE:
                    if asked is not None and asked < 0:
                        # Some servers say so of the last bytes when there are fewer than asked for.
                        asked = None
                    elif self._is_beyond(start or 0):
                        return
                    else:
                        self._broke(self._refused_wrongly(error))
                    continue
                self._broke(error)
                continue
            try:
                self._answer = answer
                answer.check_version(self.etag)
                self._first = answer
                self.etag = answer.etag
                self.total = answer.total
                self._find_place(answer, start, end)
            except StorageError as error:
                self.close()
                self._broke(error)
            else:
                return

    def _is_beyond(self, start: int) -> bool:
        """Tell whether a range begins beyond the end: the refusal does not say of which version."""
        info = self._requests.head(self._key, version_id=self._version_id)
        refuse_other_version(self._key, info.etag, self.etag)
        if start < info.size:
            return False
        self._told = info
        self.etag = info.etag
        self.position = self.end = self.total = info.size
        return True

    def _refused_wrongly(self, error: StorageError) -> StorageUnavailableError:
        again = StorageUnavailableError(
            f"the server has no range of {self._key!r} that is there", key=self._key
        )
        again.__cause__ = error
        return again

    def _find_place(self, answer: Answer, start: int | None, end: int | None) -> None:
        first = start or 0
        first = max(0, self.total + first) if first < 0 else min(first, self.total)
        self.end = max(first, self.total if end is None else min(end, self.total))
        self.position = first
        if self.position >= self.end:
            self.close()
        else:
            self._skip(answer)

    def _skip(self, answer: Answer) -> None:
        """Pass over what a server sent that knows no ranges."""
        gap = self.position - answer.start
        if gap:
            scratch = memoryview(bytearray(min(gap, _SKIP_PIECE)))
            while gap:
                gap -= answer.readinto(scratch[:gap])

    def _resume(self) -> None:
        """Ask for the rest."""
        try:
            answer = self._requests.open(
                self._key, self.position, self.end, self.etag, self._version_id
            )
        except StorageError as error:
            if error.status == _RANGE_NOT_SATISFIABLE:
                raise self._changed() from error
            if isinstance(error, PreconditionFailedError):
                raise self._changed() from error
            self._broke(error)
            return
        self._answer = answer
        if not self._is_same_version(answer):
            self.close()
            raise self._changed()
        try:
            self._skip(answer)
        except StorageError as error:
            self._broke(error)

    def _is_same_version(self, answer: Answer) -> bool:
        if answer.total != self.total or answer.etag != self.etag:
            return False
        if self.etag is not None or self._first is None:
            return True
        return answer.headers.get("last-modified") == self._first.headers.get("last-modified")

    def _changed(self) -> PreconditionFailedError:
        return PreconditionFailedError(
            f"{self._key!r} was replaced while it was read", key=self._key, status=412
        )

    def _broke(self, error: StorageError) -> None:
        """Wait before the next attempt, or raise when there is none."""
        self.close()
        if not is_transient(error):
            raise error
        if self._attempts is None:
            self._attempts = self._requests.retry.begin("get", self._key)
        elif self.position - self._broke_at >= _PROGRESS:
            self._attempts.reset()
        elif self.position > self._broke_at:
            # A slow reader may come back to a connection that was closed meanwhile.
            self._attempts.restart_clock()
        self._broke_at = self.position
        self._attempts.wait(error)


class S3Body(ObjectBody):
    """The body of a GET. A connection that breaks is made again and the rest fetched.

    Args:
        reader: Gives the bytes.
    """

    def __init__(self, reader: RangeReader) -> None:
        super().__init__()
        self._reader = reader
        self._info = None if reader.total else reader.info()
        self._check = reader.check()

    @property
    def info(self) -> ObjectInfo:  # type: ignore[override]
        """What the store said about the object with the first response."""
        if self._info is None:
            self._info = self._reader.info()
        return self._info

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes, as ``ObjectBody.read`` does, into memory of the right size at once."""
        if self.closed:
            raise ValueError("I/O operation on a closed body")
        left = self._reader.end - self._reader.position
        data = self._reader.read(left if size is None or size < 0 else min(size, left))
        self._verify(data)
        return data

    def _next_into(self, target: memoryview) -> int:
        count = self._reader.readinto(target)
        self._verify(target[:count])
        return count

    def _verify(self, piece: Buffer) -> None:
        check = self._check
        if check is None:
            return
        check.update(piece)
        if self._reader.position == self._reader.end:
            self._check = None
            check.finish()

    def _release(self) -> None:
        self._reader.close()
