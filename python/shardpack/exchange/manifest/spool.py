"""Entries that wait to be written: a few in memory, many in a file without a name."""

from __future__ import annotations

import io
import shutil
import tempfile
from typing import IO, TYPE_CHECKING, Final

from shardpack.exchange.manifest.lines import check_entry, serialize_entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shardpack.exchange.types import ManifestEntry

__all__ = ["EntrySpool"]

_MOST_IN_MEMORY: Final = 8 << 20
_PIECE: Final = 256 << 10


class EntrySpool:
    """Entries in the order in which they came; they can be read again until they are cleared.

    Attributes:
        count: How many there are.
        size: Bytes of their lines.
    """

    def __init__(self) -> None:
        self.count = 0
        self.size = 0
        self._file: IO[bytes] = io.BytesIO()

    def add(self, entry: ManifestEntry) -> None:
        """Take an entry, as it is now.

        Raises:
            InvalidManifestError: It is none.
        """
        check_entry(entry)
        line = serialize_entry(entry) + b"\n"
        if self.size + len(line) > _MOST_IN_MEMORY and isinstance(self._file, io.BytesIO):
            self._move_to_disk()
        # A reader, or a write that failed, may have left the position elsewhere.
        self._file.seek(self.size)
        self._file.write(line)
        self.count += 1
        self.size += len(line)

    def _move_to_disk(self) -> None:
        held, self._file = self._file, tempfile.TemporaryFile()  # noqa: SIM115 - see close
        held.seek(0)
        shutil.copyfileobj(held, self._file)

    def blocks(self) -> Iterator[bytes]:
        """Give their lines from the first, in pieces."""
        position = 0
        while position < self.size:
            self._file.seek(position)
            piece = self._file.read(_PIECE)
            position += len(piece)
            yield piece

    def clear(self) -> None:
        """Forget all entries."""
        self.count = self.size = 0
        self._file.seek(0)
        self._file.truncate()

    def close(self) -> None:
        """Give back what is held."""
        self._file.close()
