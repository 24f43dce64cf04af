"""Removing source files, and only those that were really read."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from shardpack.errors import S4IoError

if TYPE_CHECKING:
    from shardpack.cli.inputs import Input

__all__ = ["SourceFile"]


class SourceFile:
    """A source that ``--rm`` may remove.

    Args:
        item: The file, not read yet.
        remove: Whether to remove it in the end.
        companions: Files that have no use without it.
    """

    def __init__(self, item: Input, *, remove: bool, companions: tuple[str, ...] = ()) -> None:
        self._path = item.path
        self._companions = companions
        self._before = os.stat(item.path) if remove and not item.is_standard else None

    def finish(self, destination: str | None) -> None:
        """Remove the source, now that the result is on the disk.

        Args:
            destination: Where the result is, ``None`` for standard output.

        Raises:
            S4IoError: The path is a symbolic link, or another file now, or has changed since it was
            read.
            OSError: It cannot be removed.
        """
        before = self._before
        if before is None or destination is None or not os.path.isfile(destination):
            return
        if os.path.islink(self._path):
            raise S4IoError("not removed: it is a symbolic link")
        now = os.stat(self._path)
        same = os.path.samestat(before, now) and before.st_size == now.st_size
        if not same or before.st_mtime_ns != now.st_mtime_ns:
            raise S4IoError("not removed: it has changed since it was read")
        os.unlink(self._path)
        for companion in self._companions:
            with suppress(FileNotFoundError):
                os.unlink(companion)
