"""Which frame holds a byte: the frame table of one body, from its sidecar or from its headers."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Literal

from shardpack.errors import S4IndexError
from shardpack.frame import SIDECAR_SUFFIX, decode_index, index_is_trusted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typing_extensions import Buffer

    from shardpack.frame import Index

__all__ = [
    "FrameTable",
    "SidecarState",
    "read_sidecar",
    "sidecar_state",
    "trusted_table",
    "usable_sidecar",
]

SidecarState = Literal["absent", "unbound", "trusted", "stale", "damaged"]

# 16 Mi entries of 32 bytes, the most that the format allows, and the header.
_SIDECAR_BYTES = (16 << 20) * 32 + (64 << 10)


class FrameTable:
    """Stored offset, stored size and original size of every frame, in order.

    The frames follow one another without a gap in the original bytes, from 0 on.
    """

    def __init__(self, frames: Iterable[tuple[int, int, int]], *, from_sidecar: bool) -> None:
        self.from_sidecar = from_sidecar
        self._offsets: list[int] = []
        self._stored_sizes: list[int] = []
        self._ends: list[int] = []
        end = 0
        for offset, stored_size, original_size in frames:
            end += original_size
            self._offsets.append(offset)
            self._stored_sizes.append(stored_size)
            self._ends.append(end)

    def __len__(self) -> int:
        """Count the frames."""
        return len(self._ends)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Give stored offset, stored size and original size of each frame."""
        start = 0
        for offset, stored, end in zip(self._offsets, self._stored_sizes, self._ends, strict=True):
            yield offset, stored, end - start
            start = end

    @property
    def original_size(self) -> int:
        """Length of the original bytes."""
        return self._ends[-1] if self._ends else 0

    def frame_at(self, position: int) -> int:
        """Number of the frame that holds the original byte at ``position``; never an empty one."""
        return bisect_right(self._ends, position)

    def original_start(self, number: int) -> int:
        """Offset of the first original byte of a frame."""
        return self._ends[number - 1] if number else 0

    def stored_start(self, number: int) -> int:
        """Offset of the header of a frame in the stored bytes."""
        return self._offsets[number]

    def check(self, number: int, offset: int, stored_size: int, original_size: int) -> None:
        """Compare a frame that was read with what the table says of it.

        Raises:
            S4IndexError: They differ, so the sidecar belongs to another body.
        """
        if not self.from_sidecar:
            return
        if number >= len(self):
            raise S4IndexError(
                f"index error: sidecar knows {len(self)} frames, the body has another at {offset}"
            )
        found = (offset, stored_size, original_size)
        start = self.original_start(number)
        told = (self._offsets[number], self._stored_sizes[number], self._ends[number] - start)
        if found != told:
            raise S4IndexError(
                f"index error: sidecar has frame {number} as {told}, the body as {found} (offset,"
                f" stored size, original size); the sidecar is stale, remove it"
            )


def trusted_table(sidecar: Buffer, stored_size: int) -> FrameTable | None:
    """Read a sidecar, if it is bound to a body of this size and describes all of it.

    Args:
        sidecar: The bytes of the sidecar.
        stored_size: Length of the body in bytes.

    Returns:
        The table, or ``None`` when the headers of the body must be read instead: no binding, or
        a binding to another size, or entries that leave original bytes out.

    Raises:
        S4IndexError: The bytes are no sidecar.
    """
    index: Index = decode_index(sidecar)
    if index["sse"] is not None or not index_is_trusted(sidecar, stored_size):
        return None
    entries = index["entries"]
    expected = 0
    for entry in entries:
        if entry["original_offset"] != expected:
            return None
        expected += entry["original_size"]
    if entries and entries[-1]["compressed_offset"] + entries[-1]["compressed_size"] > stored_size:
        return None
    return FrameTable(
        ((e["compressed_offset"], e["compressed_size"], e["original_size"]) for e in entries),
        from_sidecar=True,
    )


def sidecar_state(sidecar: Buffer | None, stored_size: int) -> SidecarState:
    """Tell whether readers will use a sidecar.

    Args:
        sidecar: Its bytes, ``None`` if there is none.
        stored_size: Length of the body in bytes.

    Returns:
        ``trusted`` if they will; ``unbound`` if it names no body; ``stale`` if it names another
        body or does not describe all of it; ``damaged`` if it is no sidecar.
    """
    if sidecar is None:
        return "absent"
    try:
        index = decode_index(sidecar)
        table = trusted_table(sidecar, stored_size)
    except S4IndexError:
        return "damaged"
    if index["source_compressed_size"] is None and index["source_etag"] is None:
        return "unbound"
    return "stale" if table is None else "trusted"


def read_sidecar(path: str) -> bytes | None:
    """Read the sidecar beside a body.

    Args:
        path: Path of the body.

    Returns:
        The bytes, or ``None`` if there is no such file or it is larger than a sidecar can be.
    """
    try:
        with open(path + SIDECAR_SUFFIX, "rb") as file:
            sidecar = file.read(_SIDECAR_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError):
        return None
    return sidecar if len(sidecar) <= _SIDECAR_BYTES else None


def usable_sidecar(path: str, stored_size: int) -> bytes | None:
    """Read the sidecar beside a body if a reader of the body can use it.

    Args:
        path: Path of the body.
        stored_size: Length of the body in bytes.

    Returns:
        The bytes, or ``None``: readers then find the frames by their headers.
    """
    sidecar = read_sidecar(path)
    return sidecar if sidecar_state(sidecar, stored_size) == "trusted" else None
