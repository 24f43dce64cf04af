"""Maps of sparse members: which of their bytes a tar stream holds; all others are zeros.

GNU tar writes the map in four ways. Its old format has four extents in the header, and blocks with
more of them behind it. In PAX 0.0 each extent is two records with names that repeat, in PAX 0.1 all
of them are one record, and in PAX 1.0 they are lines of digits in front of the data. bsdtar writes
the last of these.

A map is believed only if its extents follow one another without overlap, end within the real size,
and have as many bytes together as the archive stores. How many there may be is bounded, and so is
the real size, because whoever reads the member is given every zero of it.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from shardpack.archive.tar_numbers import read_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = [
    "MOST_EXTENTS",
    "MOST_REAL_BYTES",
    "PAX_SPARSE",
    "BadSparseMapError",
    "SparseMap",
    "read_gnu_map",
    "read_pax_map",
]

MOST_EXTENTS: Final = 1 << 20
"""Extents of one member; each takes 16 bytes of memory."""

MOST_REAL_BYTES: Final = 1 << 40
"""The longest sparse member that is read, holes and all."""

PAX_SPARSE: Final = "GNU.sparse."
"""What the names of the PAX records of sparse members begin with."""

_BLOCK_BYTES: Final = 512
_MOST_DIGITS: Final = 19

# Where the extents of the old format lie: their place, how many, the flag that more follow.
_IN_HEADER: Final = (386, 4, 482)
_IN_BLOCK: Final = (0, 21, 504)
_REAL_SIZE: Final = slice(483, 495)
_NUMBER_BYTES: Final = 12


class BadSparseMapError(Exception):
    """The map of a sparse member contradicts itself, or is beyond all bounds."""


@dataclass(frozen=True, slots=True)
class SparseMap:
    """Where the stored bytes of a sparse member belong.

    Attributes:
        size: Bytes of the member, with its holes.
        stored_size: Bytes of it that the tar stream holds, one extent after another.
        offsets: Where each extent begins in the member.
        lengths: How many bytes each extent has, at least one.
    """

    size: int
    stored_size: int
    offsets: array[int]
    lengths: array[int]


def read_gnu_map(
    header: bytes, stored_size: int, read: Callable[[int], bytes]
) -> tuple[SparseMap, int]:
    """Read the map of an old GNU header.

    Args:
        header: The block of the header.
        stored_size: Bytes of data that it announces.
        read: Gives the bytes that follow the header.

    Returns:
        The map, and how many bytes were read.

    Raises:
        BadSparseMapError: The map is not believed.
    """
    size = read_number(header[_REAL_SIZE])
    if size is None:
        raise BadSparseMapError(f"a bad real size {header[_REAL_SIZE]!r}")
    taken = 0

    def numbers() -> Iterator[int]:
        nonlocal taken
        block, (start, count, more) = header, _IN_HEADER
        while True:
            for at in range(start, start + 2 * count * _NUMBER_BYTES, _NUMBER_BYTES):
                field = block[at : at + _NUMBER_BYTES]
                number = read_number(field)
                if number is None:
                    raise BadSparseMapError(f"a bad number {field!r}")
                yield number
            if not block[more]:
                return
            block, (start, count, more) = read(_BLOCK_BYTES), _IN_BLOCK
            taken += _BLOCK_BYTES

    return _checked(numbers(), size, stored_size), taken


def read_pax_map(
    records: Mapping[str, str], stored_size: int, read: Callable[[int], bytes]
) -> tuple[SparseMap, int]:
    """Read the map that PAX records tell or announce.

    Args:
        records: The records of the member; ``GNU.sparse.map`` stands for the records of version 0.0
            too, see ``parse_pax``.
        stored_size: Bytes of data that the header announces.
        read: Gives the bytes that follow the header.

    Returns:
        The map, and how many bytes were read; of these, ``stored_size`` counts none in the map.

    Raises:
        BadSparseMapError: The map is not believed.
    """
    said = {name.removeprefix(PAX_SPARSE): value for name, value in records.items()}
    if "map" in said:
        text = said["map"]
        numbers = (_digits(number) for number in text.split(",")) if text else iter(())
        return _checked(numbers, _digits(said.get("size", "")), stored_size), 0
    if (said.get("major"), said.get("minor")) == ("1", "0"):
        size = _digits(said.get("realsize", ""))
        lines = _Lines(read, stored_size)
        count = next(lines.numbers)
        if count > MOST_EXTENTS:
            raise BadSparseMapError(f"{count} extents, more than {MOST_EXTENTS}")
        extents = islice(lines.numbers, 2 * count)
        # The map counts as data; how long it is shows when it has been read.
        return _checked(extents, size, lambda: stored_size - lines.taken), lines.taken
    if "size" in said and "numblocks" in said and said["numblocks"] == "0":
        return _checked(iter(()), _digits(said["size"]), stored_size), 0
    version = f"{said.get('major', '?')}.{said.get('minor', '?')}"
    raise BadSparseMapError(f"no map of a version that is known, but {version}")


class _Lines:
    """Numbers of the lines in front of the data of a member.

    Attributes:
        taken: How many bytes were read.
        numbers: The numbers, without end.
    """

    def __init__(self, read: Callable[[int], bytes], most: int) -> None:
        self._read = read
        self._most = most
        self.taken = 0
        self.numbers = self._numbers()

    def _numbers(self) -> Iterator[int]:
        rest = b""
        while True:
            if self.taken + _BLOCK_BYTES > self._most:
                raise BadSparseMapError(f"it does not end within the {self._most} bytes of data")
            lines = (rest + self._read(_BLOCK_BYTES)).split(b"\n")
            self.taken += _BLOCK_BYTES
            rest = lines.pop()
            for line in lines:
                yield _digits(line.decode("latin-1"))
            if len(rest) > _BLOCK_BYTES:
                raise BadSparseMapError("a number without end")


def _digits(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > _MOST_DIGITS:
        raise BadSparseMapError(f"a bad number {text[:40]!r}")
    return int(text)


def _checked(numbers: Iterable[int], size: int, stored_size: int | Callable[[], int]) -> SparseMap:
    """Gather offsets and lengths, as far as they make sense."""
    if size > MOST_REAL_BYTES:
        raise BadSparseMapError(f"a real size of {size} bytes, more than {MOST_REAL_BYTES}")
    offsets, lengths = array("Q"), array("Q")
    end = total = count = 0
    pairs = iter(numbers)
    for offset in pairs:
        length = next(pairs, None)
        if length is None:
            raise BadSparseMapError("an offset without a length")
        count += 1
        if count > MOST_EXTENTS:
            raise BadSparseMapError(f"more than {MOST_EXTENTS} extents")
        if not length:
            # The end of the file, or the rest of a block that is not full.
            continue
        if offset < end:
            raise BadSparseMapError(f"an extent at {offset}, the one before ends at {end}")
        end = offset + length
        if end > size:
            raise BadSparseMapError(f"an extent up to {end}, beyond the {size} bytes of the member")
        offsets.append(offset)
        lengths.append(length)
        total += length
    stored = stored_size if isinstance(stored_size, int) else stored_size()
    if total != stored:
        raise BadSparseMapError(f"extents of {total} bytes, the archive stores {stored}")
    return SparseMap(size, stored, offsets, lengths)
