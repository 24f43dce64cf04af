"""The indexes of archives that this process has read, bounded by the memory that they take."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from shardpack.archive.index import ArchiveIndex

__all__ = ["CACHE", "IndexCache", "index_weight"]

_CACHE_BYTES: Final = 32 << 20
# What an index takes in memory: measured on parsed indexes of short paths.
_MEMBER_BYTES: Final = 400
_CHUNK_BYTES: Final = 24
_FIXED_BYTES: Final = 4 << 10


class IndexCache:
    """Decoded indexes by store and key; those that were used longest ago go first.

    An entry may be out of date: whoever uses it compares it with the archive at each read.

    Args:
        size: Most bytes that the indexes may take together; the last one stays in any case.
    """

    def __init__(self, size: int = _CACHE_BYTES) -> None:
        self._size = size
        self.clear()

    def clear(self) -> None:
        """Forget everything, the lock too: a forked child may have got it locked."""
        self._lock = threading.Lock()
        self._held = 0
        self._indexes: OrderedDict[tuple[str, str], tuple[ArchiveIndex, int]] = OrderedDict()

    def get(self, url: str, key: str) -> ArchiveIndex | None:
        """Find an index.

        Args:
            url: Where the store is.
            key: Full key of the index.
        """
        with self._lock:
            found = self._indexes.get((url, key))
            if found is None:
                return None
            self._indexes.move_to_end((url, key))
            return found[0]

    def put(self, url: str, key: str, index: ArchiveIndex) -> None:
        """Keep an index.

        Args:
            url: Where the store is.
            key: Full key of the index.
            index: The index.
        """
        weight = index_weight(index)
        with self._lock:
            self._drop(url, key)
            self._indexes[url, key] = index, weight
            self._held += weight
            while self._held > self._size and len(self._indexes) > 1:
                _, (_, oldest) = self._indexes.popitem(last=False)
                self._held -= oldest

    def drop(self, url: str, key: str) -> None:
        """Forget an index.

        Args:
            url: Where the store is.
            key: Full key of the index.
        """
        with self._lock:
            self._drop(url, key)

    def _drop(self, url: str, key: str) -> None:
        found = self._indexes.pop((url, key), None)
        if found is not None:
            self._held -= found[1]


def index_weight(index: ArchiveIndex) -> int:
    """Estimate the memory that an index takes when all its members have been looked at.

    Args:
        index: The index.

    Returns:
        Bytes.
    """
    chunks = index.chunks
    windows = sum(len(window) for window in chunks.windows or ())
    table = _MEMBER_BYTES * index.member_count + _CHUNK_BYTES * len(chunks)
    return _FIXED_BYTES + table + windows


CACHE: Final = IndexCache()
os.register_at_fork(after_in_child=CACHE.clear)
