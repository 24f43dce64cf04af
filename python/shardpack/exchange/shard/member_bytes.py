"""A member of an archive, or a small object, that is in memory already."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from shardpack.exchange.bodies import ArchiveMemberBody
from shardpack.storage.base import ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MemberBytes", "member_info"]


def member_info(
    key: str, size: int, *, crc32c: str | int | None = None, blake3: str | bytes | None = None
) -> ObjectInfo:
    """Describe a member as a store describes an object; its digests are metadata.

    Args:
        key: Its virtual key.
        size: Its length in bytes.
        crc32c: Its CRC32C, where it is known.
        blake3: Its BLAKE3 hash, where it is known.
    """
    metadata: dict[str, str] = {}
    if crc32c is not None:
        metadata["crc32c"] = f"{crc32c:08x}" if isinstance(crc32c, int) else str(crc32c)
    if blake3 is not None:
        metadata["blake3"] = blake3.hex() if isinstance(blake3, bytes) else str(blake3)
    return ObjectInfo(key=key, size=size, metadata=metadata)


class MemberBytes(ArchiveMemberBody):
    """A member whose bytes have been read and checked. It seeks, and reading it all copies nothing.

    Args:
        data: The bytes.
        entry: What is known of it: ``key``, ``crc32c`` and ``blake3`` are looked at.
    """

    def __init__(self, data: bytes, entry: Mapping[str, Any]) -> None:
        # Nothing of the base is set up but the stream itself: there are many of these.
        io.RawIOBase.__init__(self)
        self._data = data
        self._position = 0
        self._entry = entry

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self._data)

    @property
    def info(self) -> ObjectInfo:  # type: ignore[override]
        """What is known of the member."""
        entry = self._entry
        return member_info(
            str(entry.get("key", "")),
            len(self._data),
            crc32c=entry.get("crc32c"),
            blake3=entry.get("blake3"),
        )

    def read(self, amt: int | None = None) -> bytes:
        """Read bytes.

        Args:
            amt: How many; all that is left when ``None`` or negative.

        Returns:
            That many bytes, fewer only at the end.
        """
        if self.closed:
            raise ValueError("I/O operation on a closed body")
        position = self._position
        if amt is None or amt < 0:
            self._position = max(position, len(self._data))
            return self._data[position:] if position else self._data
        piece = self._data[position : position + amt]
        self._position += len(piece)
        return piece

    def seekable(self) -> bool:
        """Answer True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a position.

        Args:
            offset: Bytes from where ``whence`` says.
            whence: ``io.SEEK_SET``, ``io.SEEK_CUR`` or ``io.SEEK_END``.

        Returns:
            The new position.
        """
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._data)}
        if whence not in base:
            raise ValueError(f"whence must be 0, 1 or 2, got {whence}")
        if base[whence] + offset < 0:
            raise ValueError(f"negative seek position {base[whence] + offset}")
        self._position = base[whence] + offset
        return self._position

    def tell(self) -> int:
        """Give the position."""
        return self._position

    def _next_into(self, target: memoryview) -> int:
        piece = memoryview(self._data)[self._position : self._position + target.nbytes]
        target[: piece.nbytes] = piece
        self._position += piece.nbytes
        return piece.nbytes

    def _release(self) -> None:
        # An open view of the bytes may still exist; they are let go with the body.
        self._position = 0
