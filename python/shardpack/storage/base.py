"""What every store can do, whatever holds its bytes.

A store maps keys to objects. Keys are text with ``/`` between their parts and none at the ends;
an object is bytes with a content type and user metadata. Objects appear whole or not at all.

Stores hold configuration alone: they pickle, survive a fork, and may be used by any number of
threads. Connections are made when first needed and belong to one process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType
    from typing import Any, Self

    from typing_extensions import Buffer

    from shardpack.errors import StorageError
    from shardpack.storage.body import ObjectBody

__all__ = ["ObjectInfo", "ObjectStore", "ObjectWriter", "PutSource", "Upload"]

if TYPE_CHECKING:
    import os

    # Bytes, the path of a file, a binary file object, or an iterable of buffers. A `str` is a path.
    PutSource = Buffer | str | os.PathLike[str] | Any | Iterable[Buffer]
else:
    PutSource = object


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store knows about an object.

    Attributes:
        key: Its key.
        size: Its length in bytes.
        etag: The store's tag of this version, without quotes; ``None`` where it has none.
        last_modified: When it was written, with a time zone.
        content_type: Its media type; ``None`` where it was not asked for, as in listings.
        content_encoding: Its ``Content-Encoding``.
        metadata: User metadata, names in lower case.
        version_id: Its version in a versioned bucket.
    """

    key: str
    size: int
    etag: str | None = None
    last_modified: datetime | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload in parts that was begun and not completed.

    Attributes:
        key: Key of the object that it would become.
        upload_id: The store's name for it.
        initiated: When it was begun, with a time zone.
    """

    key: str
    upload_id: str
    initiated: datetime | None = None


class ObjectWriter(Protocol):
    """An object being written as a stream; it appears under its key when ``close`` returns.

    Used as a context manager, an exception in the block aborts: nothing appears, and the parts
    that were sent are removed.
    """

    def write(self, data: Buffer, /) -> int:
        """Take all bytes; parts are sent in the background, at most a few are held."""

    def close(self) -> ObjectInfo:
        """Send what is left and give the object its key."""

    def abort(self) -> None:
        """Throw away what was sent. After ``close`` this does nothing."""

    def __enter__(self) -> Self:
        """Give the writer."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; abort after an error."""


class ObjectStore(Protocol):
    """The calls that every store has.

    All of them raise ``ObjectNotFoundError`` for a key that is not there (``delete`` does not),
    ``AccessDeniedError``, ``PreconditionFailedError``, ``StorageUnavailableError`` when every
    attempt failed, and ``StorageError`` for the rest. Ranges count bytes from 0, the end is
    exclusive; a range that reaches beyond the end of the object gives what is there.
    """

    @property
    def url(self) -> str:
        """Where it is, such as ``s3://bucket``, without credentials; ``open_store`` takes it."""

    @property
    def conditional_writes(self) -> bool:
        """Whether ``if_match`` and ``if_absent`` are honoured; found out when first asked for."""

    @property
    def concurrency(self) -> int:
        """How many requests at once make sense by default."""

    def get(
        self,
        key: str,
        *,
        start: int | None = None,
        end: int | None = None,
        if_match: str | None = None,
        version_id: str | None = None,
    ) -> ObjectBody:
        """Open an object, or a range of it, as a stream.

        A connection that breaks is made again and the rest fetched, from the same version.

        Args:
            key: The key.
            start: First byte; a negative one counts from the end, and then ``end`` must be None.
            end: First byte after the range.
            if_match: Refuse another version than the one with this ETag.
            version_id: Version in a versioned bucket.
        """

    def read(
        self,
        key: str,
        *,
        start: int | None = None,
        end: int | None = None,
        if_match: str | None = None,
    ) -> bytes:
        """Read an object, or a range of it, at once; large ones by several ranges in parallel."""

    def read_ranges(
        self,
        key: str,
        ranges: Sequence[tuple[int, int]],
        *,
        if_match: str | None = None,
    ) -> list[bytes]:
        """Read many ranges of one object; neighbours share a request, requests run in parallel.

        Args:
            key: The key.
            ranges: ``(start, end)`` of each, in any order; they may overlap.
            if_match: Refuse another version than the one with this ETag.

        Returns:
            The bytes of each range, in the order of ``ranges``.
        """

    def download(
        self,
        key: str,
        path: str | os.PathLike[str],
        *,
        progress: Callable[[int], object] | None = None,
    ) -> ObjectInfo:
        """Write an object to a file, which appears whole or not at all.

        Args:
            key: The key.
            path: The file; its folder is made, an existing file is replaced.
            progress: Called with the number of bytes done so far.
        """

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo:
        """Tell what is known about an object, without its bytes."""

    def exists(self, key: str) -> bool:
        """Tell whether there is an object. Anything but a clear answer raises."""

    def put(
        self,
        key: str,
        data: PutSource,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        if_match: str | None = None,
        if_absent: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> ObjectInfo:
        """Write an object; a large one in parallel parts.

        A conditional write that breaks after it was sent raises ``StorageUnavailableError`` with
        ``ambiguous`` set; it is not repeated blindly, it could meet itself.

        Args:
            key: The key.
            data: Bytes, the path of a file, a file object or an iterable of buffers.
            content_type: Media type.
            metadata: User metadata, ASCII.
            if_match: Replace only the version with this ETag.
            if_absent: Write only where nothing is.
            progress: Called with the number of bytes sent so far.

        Raises:
            ConcurrencyUnsupportedError: A condition is given and the store ignores conditions.
        """

    def writer(
        self,
        key: str,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        part_size: int | None = None,
    ) -> ObjectWriter:
        """Begin an object of unknown length.

        Args:
            key: The key.
            content_type: Media type.
            metadata: User metadata, ASCII.
            part_size: Bytes that are sent while the next ones are made, fewer than the store would
                gather by itself; for bytes that come slowly. Not every store sends parts.
        """

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """List the objects whose keys begin with ``prefix``, in the order of their UTF-8 bytes."""

    def list_level(self, prefix: str = "") -> Iterator[ObjectInfo | str]:
        """List one level: objects, and common prefixes up to the next ``/`` as strings."""

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""

    def delete_many(self, keys: Iterable[str]) -> dict[str, StorageError]:
        """Remove many objects.

        Returns:
            The failures by key; empty when all are gone.
        """

    def copy(
        self,
        source: str,
        target: str,
        *,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Copy an object inside the store, without its bytes passing through here.

        Args:
            source: Key of the object.
            target: Key of the copy.
            if_match: Copy only the version of the source with this ETag.
            metadata: New user metadata; the source's when ``None``.
        """

    def iter_uploads(self, prefix: str = "") -> Iterator[Upload]:
        """List unfinished uploads in parts."""

    def abort_upload(self, upload: Upload) -> None:
        """Remove the parts of an unfinished upload."""
