"""What a task of an iteration hands over: bodies with their entries, and what could not be read."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from shardpack.checksum import crc32c
from shardpack.errors import IntegrityError
from shardpack.hash import blake3
from shardpack.storage.body import ObjectBody

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shardpack.exchange.bodies import ArchiveMemberBody, ObjectStream
    from shardpack.exchange.types import ManifestEntry
    from shardpack.storage.base import ObjectInfo

__all__ = [
    "Deferred",
    "Delivery",
    "Failure",
    "Item",
    "Piped",
    "PipedBody",
    "Place",
    "check_bytes",
    "mismatch",
]

_PIPE_PIECES: Final = 4
_LOOK_UP_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that could not be read and was left out.

    Attributes:
        key: Key of the object or archive.
        member: Path of the member; ``None`` for an object, and for what is left of an archive.
        entry: Its entry in the manifest.
        error: Why.
    """

    key: str
    member: str | None
    entry: ManifestEntry
    error: Exception


@dataclass(frozen=True, slots=True)
class Deferred:
    """A body that is opened when it is delivered, so that no idle connection waits for its turn.

    Attributes:
        open: Opens it.
        entry: Its entry.
        key: Key of the object or archive.
        member: Path of the member.
    """

    open: Callable[[], ObjectStream | ArchiveMemberBody]
    entry: ManifestEntry
    key: str
    member: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece of work stands in the sequence.

    Attributes:
        segment: Number of the segment.
        work: Number of the work in it.
        item: Number of its first item.
    """

    segment: int
    work: int = 0
    item: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """Items that follow each other.

    Attributes:
        place: Where the first one stands.
        items: The items.
    """

    place: Place
    items: list[Item]


class PipedBody(ObjectBody):
    """A member that is larger than memory should be, handed over while its archive is read.

    It has to be read before the next item is asked for; what is left of it then is stepped over.

    Args:
        info: What is known of the member.
    """

    def __init__(self, info: ObjectInfo) -> None:
        super().__init__()
        self.info = info
        self._changed = threading.Condition()
        self._pieces: deque[memoryview] = deque()
        self._ended = False
        self._abandoned = False
        self._error: Exception | None = None

    def feed(self, piece: bytes, stopped: Callable[[], bool]) -> bool:
        """Hand over the next bytes; waits while many are unread.

        Args:
            piece: The bytes.
            stopped: Tells that nobody will read on.

        Returns:
            False when the reader wants no more.
        """
        with self._changed:
            while len(self._pieces) >= _PIPE_PIECES and not self._abandoned and not stopped():
                self._changed.wait(_LOOK_UP_S)
            if self._abandoned or stopped():
                return False
            self._pieces.append(memoryview(piece))
            self._changed.notify_all()
            return True

    def finish(self, error: Exception | None = None) -> None:
        """Say that there is no more.

        Args:
            error: Raised at the end of what was handed over.
        """
        with self._changed:
            if self._abandoned:
                return
            self._ended = True
            self._error = error
            self._changed.notify_all()

    def abandon(self) -> None:
        """Stop reading; later reads raise."""
        with self._changed:
            if self._error is None and (self._pieces or not self._ended):
                self._error = ValueError(
                    "the iteration went on; read a large member before asking for the next item"
                )
            self._abandoned = True
            self._pieces.clear()
            self._changed.notify_all()

    def _next_into(self, target: memoryview) -> int:
        with self._changed:
            while not self._pieces and not self._ended and not self._abandoned:
                self._changed.wait(_LOOK_UP_S)
            if not self._pieces:
                if self._error is not None:
                    raise self._error
                return 0
            piece = self._pieces[0]
            count = min(piece.nbytes, target.nbytes)
            target[:count] = piece[:count]
            if count < piece.nbytes:
                self._pieces[0] = piece[count:]
            else:
                self._pieces.popleft()
                self._changed.notify_all()
            return count

    def _release(self) -> None:
        if not self._ended:
            self.abandon()


@dataclass(frozen=True, slots=True)
class Piped:
    """A large member that is handed over while its archive is read.

    Attributes:
        pipe: Its bytes.
        entry: Its entry.
    """

    pipe: PipedBody
    entry: ManifestEntry


Item: TypeAlias = (
    "tuple[ObjectStream | ArchiveMemberBody, ManifestEntry] | Deferred | Piped | Failure"
)


def check_bytes(
    data: bytes,
    entry: Mapping[str, Any],
    *,
    key: str,
    member: str | None = None,
    verify: bool = True,
) -> None:
    """Compare bytes with what an entry says of them.

    Args:
        data: The bytes.
        entry: The entry: ``size_bytes``, ``crc32c`` and ``blake3`` are looked at.
        key: Key of the object or archive, for errors.
        member: Path of the member, for errors.
        verify: Look at the digests too.

    Raises:
        IntegrityError: Something differs.
    """
    expected = entry.get("size_bytes")
    if expected is not None and expected != len(data):
        raise mismatch("size", expected, len(data), key=key, member=member)
    if not verify:
        return
    recorded = entry.get("crc32c")
    if recorded and (actual := f"{crc32c(data):08x}") != str(recorded).lower():
        raise mismatch("crc32c", recorded, actual, key=key, member=member)
    recorded = entry.get("blake3")
    if recorded and (actual := blake3(data).hex()) != str(recorded).lower():
        raise mismatch("blake3", recorded, actual, key=key, member=member)


def mismatch(
    algorithm: str,
    expected: str | int | None,
    actual: str | int | None,
    *,
    key: str,
    member: str | None = None,
) -> IntegrityError:
    """Make the error of bytes that are not those that were recorded.

    Args:
        algorithm: What differs.
        expected: What was recorded.
        actual: What was found.
        key: Key of the object or archive.
        member: Path of the member.
    """
    place = key if member is None else f"{key}#{member}"
    return IntegrityError(
        f"{algorithm} of {place} is {actual}, {expected} was recorded",
        key=key,
        member=member,
        algorithm=algorithm,
        expected=expected,
        actual=actual,
    )
