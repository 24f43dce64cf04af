"""Names of new shard archives, of which none has been used before."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from shardpack.errors import PreconditionFailedError
from shardpack.exchange.keys import normalize_key

if TYPE_CHECKING:
    from shardpack.exchange.keys import Space

__all__ = ["ShardNumbers"]

_SUFFIXES: Final = {None: ".tar", "gzip": ".tar.gz", "zstd": ".tar.zst", "s4": ".tar.s4"}
_NUMBER: Final = re.compile(r"shard-(\d{1,18})[.-]")


class ShardNumbers:
    """Numbers shards ``shard-000001.tar`` and up, behind the highest number that is there.

    Args:
        space: Where the shards go.
        manifest_key: Key of their manifest.
        prefix: Prefix of their keys; ``shards`` beside the manifest when ``None``.
        compression: Of the archives.

    Raises:
        ValueError: There is no such compression.
    """

    def __init__(
        self, space: Space, manifest_key: str, *, prefix: str | None, compression: str | None
    ) -> None:
        if compression not in _SUFFIXES:
            told = ", ".join(str(name) for name in _SUFFIXES)
            raise ValueError(f"compression must be one of {told}, got {compression!r}")
        folder, slash, _ = normalize_key(manifest_key).rpartition("/")
        self._space = space
        self._prefix = normalize_key(f"{folder}{slash}shards" if prefix is None else prefix)
        self._suffix = _SUFFIXES[compression]
        self._last: int | None = None

    def take(self) -> str:
        """Give the key of the next shard.

        Where the store has conditional writes an empty object is put there, which holds the number
        against other writers until the archive replaces it. Elsewhere the name carries random
        digits: two writers may meet on a number, never on a name.
        """
        if self._last is None:
            self._last = self._highest()
        conditional = self._space.honours_conditions(f"{self._prefix}/shard")
        while True:
            self._last += 1
            name = f"{self._prefix}/shard-{self._last:06d}"
            if not conditional:
                return f"{name}-{os.urandom(4).hex()}{self._suffix}".lstrip("/")
            key = f"{name}{self._suffix}".lstrip("/")
            try:
                self._space.objects.put(self._space.full(key), b"", if_absent=True)
            except PreconditionFailedError:
                continue
            return key

    def _highest(self) -> int:
        prefix = self._space.full_prefix(f"{self._prefix}/shard-".lstrip("/"))
        highest = 0
        for info in self._space.objects.list(prefix):
            found = _NUMBER.match(info.key.rpartition("/")[2])
            if found is not None:
                highest = max(highest, int(found[1]))
        return highest
