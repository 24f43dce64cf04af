"""What an iteration over files leaves out of archives: links, devices and pipes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardpack.archive.left_out import LeftOutMember

__all__ = ["LeftOut", "LeftOutLog"]

_MOST_NAMED: Final = 1000


class LeftOut(NamedTuple):
    """A member of an archive that is no file.

    Attributes:
        archive_key: Key of the archive.
        path: Its path; bytes that are no UTF-8 are shown as question marks.
        kind: ``"symlink"``, ``"hardlink"``, ``"device"``, ``"fifo"`` or ``"other"``.
    """

    archive_key: str
    path: str
    kind: str


class LeftOutLog:
    """Gathers what is left out, from any thread; the first thousand are named.

    Attributes:
        count: All of them.
    """

    def __init__(self) -> None:
        self.count = 0
        self._named: list[LeftOut] = []
        self._lock = threading.Lock()

    @property
    def named(self) -> tuple[LeftOut, ...]:
        """Those that are named, sorted."""
        with self._lock:
            return tuple(sorted(self._named))

    def add(self, archive_key: str, members: Iterable[LeftOutMember], count: int) -> None:
        """Note members of an archive.

        Args:
            archive_key: Its key.
            members: Those that are known by name.
            count: How many there are.
        """
        with self._lock:
            self.count += count
            for member in members:
                if len(self._named) < _MOST_NAMED:
                    self._named.append(LeftOut(archive_key, *member))
