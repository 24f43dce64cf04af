"""What a task of an iteration hands over: bodies with their entries, and what could not be read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from shardpack.checksum import crc32c
from shardpack.errors import IntegrityError
from shardpack.exchange.report import Report
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
class Failure(Report):
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
        self._process = os.getpid()
        # Queues alone, no lock of our own: an interrupt of the reader cannot leave one taken.
        self._pieces: SimpleQueue[memoryview | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(_PIPE_PIECES):
            self._room.put(None)
        self._piece = memoryview(b"")
        self._finished = False
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
        while True:
            try:
                self._room.get(timeout=_LOOK_UP_S)
                has_room = True
            except Empty:
                has_room = False
            if self._abandoned or stopped():
                return False
            if has_room:
                self._pieces.put(memoryview(piece))
                return True

    def finish(self, error: Exception | None = None) -> None:
        """Say that there is no more.

        Args:
            error: Raised at the end of what was handed over.
        """
        if not self._abandoned:
            self._error = error
        self._pieces.put(None)
        self._finished = True

    def abandon(self) -> None:
        """Stop reading; later reads raise."""
        if self._abandoned:
            return
        marks = int(self._finished and not self._ended)
        is_read = self._finished and self._pieces.qsize() == marks and not self._piece
        if self._error is None and not is_read:
            self._error = ValueError(
                "the iteration went on; read a large member before asking for the next item"
            )
        self._abandoned = True
        self._piece = memoryview(b"")
        # Whichever side waits looks up.
        self._room.put(None)
        self._pieces.put(None)

    def _next_into(self, target: memoryview) -> int:
        while not self._piece:
            if self._ended or self._abandoned:
                if self._error is not None:
                    raise self._error
                return 0
            self._take()
        count = min(self._piece.nbytes, target.nbytes)
        target[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def _take(self) -> None:
        if self._process != os.getpid():
            raise RuntimeError(
                f"the iteration belongs to process {self._process}; begin another one after a fork"
            )
        try:
            piece = self._pieces.get()
            if piece is None:
                self._ended = True
            else:
                self._piece = piece
                self._room.put(None)
        except BaseException:
            # What was taken may be lost: going on would give short data.
            self._error = ValueError("reading was interrupted; open the member again")
            self.abandon()
            raise

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
