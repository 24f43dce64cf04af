"""The first two lines of the index of an archive: what the archive is, and its chunks."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import orjson

from shardpack.archive.chunks import ChunkTable
from shardpack.archive.compression import READABLE_COMPRESSIONS
from shardpack.batch import MAX_CHUNK_BYTES
from shardpack.errors import ShardReadError

if TYPE_CHECKING:
    from shardpack.archive.compression import ReadableCompression

__all__ = ["BLAKE3_DIGITS", "FORMAT", "IndexHead", "table_fields", "unhex"]

FORMAT = "shardpack-index/1"
BLAKE3_DIGITS = 64

_FORMAT_FAMILY = "shardpack-index/"
_MOST_HEADER_BYTES = 64 << 10
_MOST_SIZE = 2**63 - 1
_MOST_WINDOW_BYTES = 32 << 10


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


def _differences(starts: list[int]) -> list[int]:
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
        self._table = self._object(decoded[first + 1 : second] if second >= 0 else b"")
        self._members_start = second + 1
        self._text_end = len(decoded) - sum(self._windows_lens())

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

    def size(self, name: str) -> int:
        """Give a number of the first line."""
        value = self._header.get(name)
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

    def chunks(self) -> ChunkTable:
        """Give the chunks."""
        stored = self._numbers("stored", 1, _MOST_SIZE)
        original = self._numbers("original", 1, MAX_CHUNK_BYTES)
        checksums = bits = windows = None
        if self._table.get("crc32c") is not None:
            checksums = self._numbers("crc32c", 0, 2**32 - 1)
        if "bits" in self._table or "windows" in self._table:
            if self.compression != "gzip":
                raise self.bad("checkpoints in an archive that is no gzip file")
            bits = self._numbers("bits", 0, 7)
            windows = self._windows()
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
        if end < start or self._decoded[end - 1 : end] != b"\n":
            raise self.bad("it is cut short")
        return start, end

    def _windows(self) -> list[bytes]:
        windows = []
        position = self._text_end
        for size in self._windows_lens():
            windows.append(self._decoded[position : position + size])
            position += size
        return windows

    def _windows_lens(self) -> list[int]:
        if "windows" not in self._table:
            return []
        return self._numbers("windows", 0, _MOST_WINDOW_BYTES)

    def _numbers(self, name: str, least: int, most: int) -> list[int]:
        values = self._table.get(name)
        if type(values) is not list or not all(type(value) is int for value in values):
            raise self.bad(f"{name} of the chunks is no list of numbers")
        if values and not (least <= min(values) and max(values) <= most):
            raise self.bad(f"{name} of a chunk is not within {least} to {most}")
        return values

    def _object(self, line: bytes) -> dict[str, Any]:
        try:
            value = orjson.loads(line)
        except ValueError as error:
            raise self.bad("its first lines are no json") from error
        if not isinstance(value, dict):
            raise self.bad("its first lines are no objects")
        return value
