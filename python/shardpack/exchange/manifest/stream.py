"""The bytes of one manifest as a stream that can let go of its connection and take it up again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from shardpack.errors import ManifestNotFoundError, ObjectNotFoundError

if TYPE_CHECKING:
    from shardpack.exchange.keys import Space
    from shardpack.storage.body import ObjectBody

__all__ = ["Head", "ManifestStream", "Root", "fetch_head", "read_root"]

#: What is fetched ahead of one manifest.
_HEAD: Final = 256 << 10
#: What is read out at once where the connection is wanted for another manifest. Roots get more:
#: they are replaced while they are read, everything else stays as it was written.
_MOST_KEPT: Final = 256 << 10
_MOST_KEPT_OF_ROOT: Final = 8 << 20


class Head(NamedTuple):
    """The beginning of a manifest, fetched before its turn.

    Attributes:
        data: Its first bytes.
        etag: The version they are of.
        complete: There are no more.
    """

    data: bytes
    etag: str | None
    complete: bool


def fetch_head(space: Space, key: str) -> Head:
    """Fetch the beginning of a manifest, all of it where it is small.

    Args:
        space: Where it lies.
        key: Its key.

    Raises:
        ManifestNotFoundError: There is none.
    """
    with _open(space, key) as body:
        data = body.read(_HEAD)
        return Head(data, body.info.etag, len(data) < _HEAD)


class Root(NamedTuple):
    """A root manifest, read whole as it is rewritten whole.

    Attributes:
        data: Its bytes.
        etag: Its version; ``None`` where there is no such object.
        version: What else tells it from earlier ones with the same bytes.
    """

    data: bytes
    etag: str | None
    version: str

    @property
    def is_absent(self) -> bool:
        """Whether there is no such object."""
        return not self.version


def read_root(space: Space, key: str) -> Root:
    """Read a root manifest.

    Args:
        space: Where it lies.
        key: Its key.

    Returns:
        The root; an absent one only where the store says that there is none. Any other failure
        raises: a manifest that cannot be read is not an empty one.
    """
    try:
        body = space.objects.get(space.full(key))
    except ObjectNotFoundError:
        return Root(b"", None, "")
    with body:
        etag = body.info.etag
        return Root(body.read(), etag, f"{etag} {body.info.last_modified}")


def _open(space: Space, key: str) -> ObjectBody:
    try:
        return space.objects.get(space.full(key))
    except ObjectNotFoundError as error:
        raise ManifestNotFoundError(key) from error


class ManifestStream:
    """The bytes of one manifest, all of one version.

    Args:
        space: Where it lies.
        key: Its key.
        head: Its beginning, where that was fetched ahead.
        is_root: It may be replaced meanwhile; up to some megabytes of it are held rather than
            asked for again.
    """

    def __init__(
        self, space: Space, key: str, head: Head | None = None, *, is_root: bool = False
    ) -> None:
        self._space = space
        self._key = key
        self._etag = None if head is None else head.etag
        self._held = b"" if head is None else head.data
        self._held_from = 0
        self._position = 0
        self._most_kept = _MOST_KEPT_OF_ROOT if is_root else _MOST_KEPT
        self._at_end = head is not None and head.complete
        self._body: ObjectBody | None = None

    def read(self, size: int, /) -> bytes:
        """Read at most ``size`` bytes; none at the end.

        Raises:
            ManifestNotFoundError: There is no such manifest.
            PreconditionFailedError: It was replaced since its first bytes were read.
        """
        offset = self._position - self._held_from
        if offset < len(self._held):
            piece = self._held[offset : offset + size]
        else:
            piece = b"" if self._at_end else self._read_on(size)
        self._position += len(piece)
        return piece

    def pause(self) -> None:
        """Give the connection back until the next read: others want it meanwhile."""
        if self._body is None:
            return
        if self._body.info.size - self._position <= self._most_kept:
            self._held, self._held_from = self._body.read(), self._position
            self._at_end = True
        self.close()

    def close(self) -> None:
        """Give the connection back for good."""
        if self._body is not None:
            self._body.close()
            self._body = None

    def _read_on(self, size: int) -> bytes:
        self._held, self._held_from = b"", self._position
        if self._body is None:
            self._body = self._reopened() if self._position else _open(self._space, self._key)
            self._etag = self._body.info.etag
        piece = self._body.read(size)
        if len(piece) < size:
            self._at_end = True
            self.close()
        return piece

    def _reopened(self) -> ObjectBody:
        full = self._space.full(self._key)
        try:
            return self._space.objects.get(full, start=self._position, if_match=self._etag)
        except ObjectNotFoundError as error:
            raise ManifestNotFoundError(self._key) from error
