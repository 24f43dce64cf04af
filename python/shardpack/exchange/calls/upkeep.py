"""The calls of a store for whole data sets: pack them, check them, clear away what is left over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shardpack.exchange.calls.base import StoreBase

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from shardpack.errors import StorageError
    from shardpack.exchange.packing.pack import PackReport
    from shardpack.exchange.types import ShardItem
    from shardpack.exchange.upkeep.gc import Garbage
    from shardpack.exchange.upkeep.verify import VerifyReport

__all__ = ["UpkeepCalls"]


class UpkeepCalls(StoreBase):
    """The calls for whole data sets. What they need is imported when they are called."""

    def pack(
        self,
        source: str | os.PathLike[str] | Iterable[ShardItem],
        prefix: str,
        **options: Any,  # noqa: ANN401 - passed through
    ) -> PackReport:
        """Pack a folder, or a stream of items, into shards, and name them in a manifest.

        Args:
            source: A folder, or items as for ``put_shard_archive``.
            prefix: Prefix of shards (``PREFIX/shards/``) and of the manifest
                (``PREFIX/manifest.jsonl``).
            **options: See ``shardpack.exchange.packing.pack.pack``: ``compression``, ``max_bytes``,
                ``resume``, ``progress``, ...

        Returns:
            What was done.
        """
        from shardpack.exchange.packing.pack import pack

        return pack(self.space, source, prefix, **{**self._defaults(), **options})

    def verify(self, target: str, **options: Any) -> VerifyReport:  # noqa: ANN401 - passed through
        """Check a manifest, an archive, or all manifests below a prefix, and all that they name.

        Args:
            target: Key of a manifest or an archive, or a prefix.
            **options: ``full``, ``concurrency``, ``progress``: see
                ``shardpack.exchange.upkeep.verify.verify``.

        Returns:
            What was found; ``ok`` is True where nothing is wrong.
        """
        from shardpack.exchange.upkeep.verify import verify

        return verify(self.space, target, **{"concurrency": self._concurrency, **options})

    def find_garbage(self, prefix: str, *, older_than_s: float = 86_400.0) -> list[Garbage]:
        """Find parts, shards and uploads that no manifest refers to.

        Args:
            prefix: The folder to look in; see ``find_garbage`` in ``shardpack.exchange.upkeep.gc``
                for what it must hold.
            older_than_s: Leave what is younger, in seconds.
        """
        from shardpack.exchange.upkeep.gc import find_garbage

        return find_garbage(self.space, prefix, older_than_s=older_than_s)

    def collect_garbage(
        self, found: Iterable[Garbage], *, dry_run: bool = True
    ) -> dict[str, StorageError]:
        """Remove what ``find_garbage`` found; what is referred to by now stays.

        Args:
            found: The garbage.
            dry_run: Remove nothing.

        Returns:
            What could not be removed, by key.
        """
        from shardpack.exchange.upkeep.gc import collect

        return collect(self.space, found, dry_run=dry_run)

    def _defaults(self) -> dict[str, Any]:
        return {"append": self.append, "concurrency": self._concurrency}
