"""The first two lines of the index of an archive: what the archive is, and its chunks."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Final, cast, overload

import orjson

from shardpack.archive.chunks import ChunkTable
from shardpack.archive.compression import READABLE_COMPRESSIONS
from shardpack.archive.left_out import LeftOutMembers
from shardpack.batch import MAX_CHUNK_BYTES
from shardpack.errors import ShardReadError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardpack.archive.compression import ReadableCompression

__all__ = [
    "BLAKE3_DIGITS",
    "FORMAT",
    "MOST_CHUNKS",
    "MOST_MEMBERS",
    "IndexHead",
    "table_fields",
    "unhex",
]

FORMAT = "shardpack-index/1"
BLAKE3_DIGITS = 64

_FORMAT_FAMILY = "shardpack-index/"
_MOST_HEADER_BYTES = 64 << 10
_MOST_SIZE = 2**63 - 1
_MOST_WINDOW_BYTES = 32 << 10

MOST_CHUNKS: Final = 1 << 23
"""Chunks of an archive whose index is read: 4 TiB in chunks of 512 KiB. Each takes 20 bytes."""

MOST_MEMBERS: Final = 1 << 21
"""Members of an archive whose index is read. Each takes some 400 bytes, once all are looked at."""

# Each member has a header of its own in the tar stream. Few members do no harm.
_LEAST_MEMBER_BYTES: Final = 512
_FEW_MEMBERS: Final = 1 << 16

_COLUMN: Final = re.compile(rb'[{,]"([a-z0-9_]{1,32})":(null|\[)')
_IN_COLUMN: Final = b"0123456789,"
_PIECE_BYTES: Final = 64 << 10


def table_fields(chunks: ChunkTable) -> dict[str, Any]:
    """Give the fields of the line of the chunks."""
    table: dict[str, Any] = {
        "stored": _differences(chunks.stored_starts),
        "original": _differences(chunks.original_starts),
        "crc32c": None if chunks.checksums is None else list(chunks.checksums),
    }
    if chunks.bits is not None and chunks.windows is not None:
        table["bits"] = list(chunks.bits)
        table["windows"] = [len(window) for window in chunks.windows]
    return table


def _differences(starts: Iterable[int]) -> list[int]:
    return [end - start for start, end in pairwise(starts)]


def unhex(text: Any, digits: int) -> bytes:  # noqa: ANN401 - whatever the index holds
    """Read a digest.

    Args:
        text: What should be its hexadecimal digits.
        digits: How many there must be.

    Raises:
        ValueError: It is something else.
    """
    if type(text) is not str or len(text) != digits:
        raise ValueError(f"{text!r} has not {digits} hexadecimal digits")
    # Spaces, which `fromhex` skips, make it too short.
    value = bytes.fromhex(text)
    if len(value) * 2 != digits:
        raise ValueError(f"{text!r} has not {digits} hexadecimal digits")
    return value


class IndexHead:
    """The first two lines of an index, checked.

    Args:
        decoded: The decoded index.
        key: Its key, for errors.

    Raises:
        ShardReadError: They are damaged; so do all calls.
    """

    def __init__(self, decoded: bytes, key: str | None) -> None:
        self._key = key
        self._decoded = decoded
        first = decoded.find(b"\n", 0, _MOST_HEADER_BYTES)
        self._header = self._object(decoded[:first] if first >= 0 else b"")
        form = self._header.get("format")
        if form != FORMAT:
            newer = isinstance(form, str) and form.startswith(_FORMAT_FAMILY)
            raise self.bad(
                f"format {form!r} is newer than this reader" if newer else "it is of another format"
            )
        second = decoded.find(b"\n", first + 1)
        self._columns = self._find_columns(first + 1, second)
        self._members_start = second + 1
        self._windows_lens = self._window_sizes()
        self._text_end = len(decoded) - sum(self._windows_lens)
        if self._text_end < self._members_start:
            raise self.bad("it is cut short")

    @property
    def compression(self) -> ReadableCompression | None:
        """What the archive is compressed with."""
        compression = self._header.get("compression", "")
        if compression not in READABLE_COMPRESSIONS:
            raise self.bad(f"unknown compression {compression!r}")
        return cast("ReadableCompression | None", compression)

    def bad(self, message: str) -> ShardReadError:
        """Make the error for a damaged index."""
        return ShardReadError(f"damaged archive index: {message}", key=self._key)

    def size(self, name: str, *, otherwise: int | None = None) -> int:
        """Give a number of the first line."""
        value = self._header.get(name, otherwise)
        if type(value) is not int or not 0 <= value <= _MOST_SIZE:
            raise self.bad(f"{name} is {value!r}")
        return value

    def text(self, name: str) -> str | None:
        """Give a text of the first line."""
        value = self._header.get(name)
        if value is not None and not isinstance(value, str):
            raise self.bad(f"{name} is {value!r}")
        return value

    def digest(self) -> bytes | None:
        """Give the BLAKE3 hash of the archive."""
        value = self._header.get("blake3")
        try:
            return None if value is None else unhex(value, BLAKE3_DIGITS)
        except ValueError as error:
            raise self.bad(f"blake3 is {value!r}") from error

    def left_out(self) -> LeftOutMembers:
        """Give the members that are neither files nor folders."""
        try:
            return LeftOutMembers.from_fields(self._header.get("left_out"))
        except ValueError as error:
            raise self.bad(f"left_out is {error}") from error

    def chunks(self) -> ChunkTable:
        """Give the chunks."""
        stored = self._numbers("stored", 1, _MOST_SIZE)
        original = self._numbers("original", 1, MAX_CHUNK_BYTES)
        checksums = bits = windows = None
        if self._columns.get("crc32c") is not None:
            checksums = self._numbers("crc32c", 0, 2**32 - 1, "I")
        if "bits" in self._columns or "windows" in self._columns:
            if self.compression != "gzip":
                raise self.bad("checkpoints in an archive that is no gzip file")
            bits = self._numbers("bits", 0, 7, "B")
            windows = _Windows(self._decoded, self._text_end, self._windows_lens)
        try:
            table = ChunkTable(stored, original, checksums, bits=bits, windows=windows)
        except ValueError as error:
            raise self.bad(str(error)) from error
        if len(table) != self.size("chunks"):
            raise self.bad(f"{len(table)} chunks instead of {self.size('chunks')}")
        if len(table):
            sizes = (table.stored_size, table.original_size)
            expected = (self.size("stored_size"), self.size("original_size"))
            if sizes != expected:
                raise self.bad(f"the chunks have {sizes} bytes instead of {expected}")
        elif self.compression is None and self.size("stored_size") < self.size("original_size"):
            raise self.bad("the tar stream is longer than the archive")
        if self.compression is None and table.stored_starts != table.original_starts:
            raise self.bad("chunks of different lengths where nothing is compressed")
        return table

    def member_lines(self) -> tuple[int, int]:
        """Tell where the lines of the members begin and end."""
        start, end = self._members_start, self._text_end
        if self._decoded[end - 1 : end] != b"\n":
            raise self.bad("it is cut short")
        return start, end

    def member_count(self) -> int:
        """Tell how many members there are to be, as far as that can be."""
        count = self.size("members")
        if count > MOST_MEMBERS:
            raise self.bad(f"{count} members, more than {MOST_MEMBERS}")
        if count > _FEW_MEMBERS and count * _LEAST_MEMBER_BYTES > self.size("original_size"):
            raise self.bad(f"{count} members in a tar of {self.size('original_size')} bytes")
        return count

    def _window_sizes(self) -> array[int]:
        if "windows" not in self._columns:
            return array("Q")
        return self._numbers("windows", 0, _MOST_WINDOW_BYTES)

    def _find_columns(self, start: int, end: int) -> dict[str, tuple[int, int] | None]:
        """Find out where the columns of the table lie in the text, without parsing their numbers.

        As lists of numbers, a table can take twenty times the memory of its text.
        """
        columns: dict[str, tuple[int, int] | None] = {}
        at = start
        if self._decoded[start : start + 1] != b"{":
            end = -1
        while at < end - 1:
            found = _COLUMN.match(self._decoded, at, end)
            # Only the first one opens the object.
            if found is None or (self._decoded[at] == ord("{")) is not (at == start):
                end = -1
                break
            at = found.end()
            columns[found[1].decode()] = None
            if found[2] == b"[":
                close = self._decoded.find(b"]", at, end)
                columns[found[1].decode()] = (at, close)
                at = close + 1 if close >= 0 else end
        if end < 0 or self._decoded[at:end] != b"}":
            raise self.bad("the line of the chunks is no json of columns of numbers")
        return columns

    def _numbers(self, name: str, least: int, most: int, typecode: str = "Q") -> array[int]:
        span = self._columns.get(name)
        if span is None:
            raise self.bad(f"{name} of the chunks is no list of numbers")
        start, end = span
        count = self._decoded.count(b",", start, end) + 1 if start < end else 0
        # Each chunk has at least one stored byte.
        most_chunks = min(MOST_CHUNKS, self.size("stored_size"))
        if count > most_chunks:
            raise self.bad(f"{count} chunks, more than {most_chunks}")
        values = array(typecode)
        while start < end:
            stop = self._decoded.find(b",", min(start + _PIECE_BYTES, end), end)
            stop = stop if stop >= 0 else end
            piece = self._piece(name, start, stop)
            if not (least <= min(piece) and max(piece) <= most):
                raise self.bad(f"{name} of a chunk is not within {least} to {most}")
            values.fromlist(piece)
            start = stop + 1
            if start == end:
                raise self.bad(f"{name} of the chunks ends in a comma")
        return values

    def _piece(self, name: str, start: int, stop: int) -> list[int]:
        """Parse some numbers."""
        text = self._decoded[start:stop]
        try:
            if text.translate(None, _IN_COLUMN):
                raise ValueError(f"not only digits: {text[:40]!r}")  # noqa: TRY301 - as no json
            piece: list[int] = orjson.loads(b"[" + text + b"]")
        except ValueError as error:
            raise self.bad(f"{name} of the chunks is no list of numbers") from error
        return piece

    def _object(self, line: bytes) -> dict[str, Any]:
        try:
            value = orjson.loads(line)
        except ValueError as error:
            raise self.bad("its first lines are no json") from error
        if not isinstance(value, dict):
            raise self.bad("its first lines are no objects")
        return value


class _Windows(Sequence[bytes]):
    """The windows of checkpoints, cut out of the index as they are needed."""

    def __init__(self, data: bytes, start: int, sizes: Sequence[int]) -> None:
        self._data = data
        self._ends = array("Q", accumulate(sizes, initial=start))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int, /) -> bytes: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[bytes]: ...
    def __getitem__(self, index: int | slice, /) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        return self._data[self._ends[at] : self._ends[at + 1]]
