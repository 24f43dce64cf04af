"""Which frame holds a byte: the frame table of one body, from its sidecar or from its headers."""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from operator import add
from typing import TYPE_CHECKING, Literal, Self

from shardpack.batch import as_bytes_view
from shardpack.errors import S4FrameError, S4IndexError
from shardpack.frame import SIDECAR_SUFFIX, decode_index, index_is_trusted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typing_extensions import Buffer

__all__ = [
    "MAX_SIDECAR_BYTES",
    "FrameTable",
    "Sidecar",
    "SidecarState",
    "read_sidecar",
    "sidecar_state",
    "trusted_table",
    "usable_sidecar",
]

SidecarState = Literal["absent", "unbound", "trusted", "stale", "damaged"]

# The gateway reads no larger one either; the headers of the body say the same.
MAX_SIDECAR_BYTES = 64 << 20

_COUNT = slice(8, 16)
_ENTRY_BYTES = 32
_ENTRY_NUMBERS = 4
_MOST_ORIGINAL_BYTES = (1 << 64) - 1


class FrameTable:
    """Stored offset, stored size and original size of every frame, in order.

    The frames follow one another without a gap in the original bytes, from 0 on.
    """

    def __init__(self, frames: Iterable[tuple[int, int, int]], *, from_sidecar: bool) -> None:
        self.from_sidecar = from_sidecar
        self._offsets = array("Q")
        self._stored_sizes = array("Q")
        self._ends = array("Q")
        end = 0
        for offset, stored_size, original_size in frames:
            end += original_size
            if end > _MOST_ORIGINAL_BYTES:
                raise S4FrameError("frame error: the frames claim more than 2^64 original bytes")
            self._offsets.append(offset)
            self._stored_sizes.append(stored_size)
            self._ends.append(end)

    @classmethod
    def of_columns(cls, offsets: array[int], stored_sizes: array[int], ends: array[int]) -> Self:
        """Make the table of a sidecar from its columns.

        Args:
            offsets: Stored offset of each frame.
            stored_sizes: Stored size of each frame.
            ends: Original offset of the end of each frame.

        Returns:
            The table.
        """
        table = cls((), from_sidecar=True)
        table._offsets, table._stored_sizes, table._ends = offsets, stored_sizes, ends
        return table

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


class Sidecar:
    """A sidecar whose bytes are in order; its entries are never Python objects.

    Args:
        sidecar: The bytes.

    Attributes:
        bound_size: Length of the body that it is bound to, ``None`` if it names none.
        etag: ETag of the body that it is bound to, ``None`` if it names none.

    Raises:
        S4IndexError: The bytes are no sidecar.
    """

    def __init__(self, sidecar: Buffer) -> None:
        # Checks every byte that the rest relies on.
        index_is_trusted(sidecar)
        view = as_bytes_view(sidecar)
        count = int.from_bytes(view[_COUNT], "little")
        entries_at = view.nbytes - count * _ENTRY_BYTES
        header = bytearray(view[:entries_at])
        header[_COUNT] = bytes(8)
        facts = decode_index(header)
        self.bound_size = facts["source_compressed_size"]
        self.etag = facts["source_etag"]
        self._is_encrypted = facts["sse"] is not None
        self._sidecar = sidecar
        self._entries = view[entries_at:].cast("Q")

    def table(self) -> FrameTable:
        """Give the frame table.

        Raises:
            S4IndexError: The entries leave original bytes out.
        """
        starts, sizes = self._column(0), self._column(1)
        ends = array("Q", map(add, starts, sizes))
        expected = 0
        for start, end in zip(starts, ends, strict=True):
            if start != expected:
                raise S4IndexError(
                    f"index error: sidecar leaves out the original bytes from {expected} to {start}"
                )
            expected = end
        del starts, sizes
        return FrameTable.of_columns(self._column(2), self._column(3), ends)

    def table_if_trusted(self, stored_size: int) -> FrameTable | None:
        """Give the frame table if a reader of a body of this size can use it."""
        if self._is_encrypted or not index_is_trusted(self._sidecar, stored_size):
            return None
        if len(self._entries) and self._entries[-2] + self._entries[-1] > stored_size:
            return None
        try:
            return self.table()
        except S4IndexError:
            return None

    def _column(self, number: int) -> array[int]:
        column = array("Q", self._entries[number::_ENTRY_NUMBERS])
        if sys.byteorder == "big":
            column.byteswap()
        return column


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
    return Sidecar(sidecar).table_if_trusted(stored_size)


def sidecar_state(
    sidecar: Buffer | None, stored_size: int
) -> tuple[SidecarState, FrameTable | None]:
    """Tell whether readers will use a sidecar.

    Args:
        sidecar: Its bytes, ``None`` if there is none.
        stored_size: Length of the body in bytes.

    Returns:
        ``trusted`` if they will, and the table that they use; ``unbound`` if it names no body;
        ``stale`` if it names another body or does not describe all of it; ``damaged`` if it is no
        sidecar.
    """
    if sidecar is None:
        return "absent", None
    try:
        known = Sidecar(sidecar)
    except S4IndexError:
        return "damaged", None
    if known.bound_size is None and known.etag is None:
        return "unbound", None
    table = known.table_if_trusted(stored_size)
    return ("stale" if table is None else "trusted"), table


def read_sidecar(path: str) -> bytes | None:
    """Read the sidecar beside a body.

    Args:
        path: Path of the body.

    Returns:
        The bytes, or ``None`` if there is no such file or it is larger than readers take.
    """
    try:
        with open(path + SIDECAR_SUFFIX, "rb") as file:
            sidecar = file.read(MAX_SIDECAR_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError):
        return None
    return sidecar if len(sidecar) <= MAX_SIDECAR_BYTES else None


def usable_sidecar(path: str, stored_size: int) -> FrameTable | None:
    """Read the sidecar beside a body if a reader of the body can use it.

    Args:
        path: Path of the body.
        stored_size: Length of the body in bytes.

    Returns:
        Its table, or ``None``: readers then find the frames by their headers.

    Raises:
        S4IndexError: It is bound to a longer body. Frames do not say that they are the last, so
            this is the only trace of a file that was cut between two of them.
    """
    sidecar = read_sidecar(path)
    state, table = sidecar_state(sidecar, stored_size)
    if sidecar is not None and state == "stale":
        bound = Sidecar(sidecar).bound_size
        if bound is not None and bound > stored_size:
            raise S4IndexError(
                f"index error: the sidecar belongs to a file of {bound} bytes, this one has"
                f" {stored_size}: it was cut or replaced; if it is whole, remove the sidecar"
            )
    return table
