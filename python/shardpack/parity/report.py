"""What a look at a parity group found."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ParityReport", "ShardDamage"]


class ShardDamage(NamedTuple):
    """What is wrong with one shard.

    Attributes:
        shard: Its index, data first.
        key: Name of the file that it is in.
        missing: Whether there is no such file.
        bad_blocks: How many of its blocks are lost or changed.
        block_count: How many it has.
        ranges: Where they are in that file, as bytes ``(start, end)``.
    """

    shard: int
    key: str
    missing: bool
    bad_blocks: int
    block_count: int
    ranges: tuple[tuple[int, int], ...]


class ParityReport(NamedTuple):
    """Facts about a file with parity; sizes are bytes.

    Attributes:
        path: The file.
        folder: Where its parity is.
        size_bytes: Length that the file had when its parity was made.
        data_shards: Number of data shards, k: consecutive parts of the file.
        parity_shards: Number of parity shards, m.
        shard_len: Length of each.
        block: Length of a block: what is found to be damaged, and rebuilt, as a whole.
        damage: The damaged shards; for ``repair_file`` what there was before.
        problems: Whatever else is wrong: one line each, beginning with the name of a file.
        modified: Whether the damaged file was written to since its parity was made, by its time
            stamp, which rot does not set. If that was meant, parity is to be made anew.
        worst: Most damaged shards in any column of blocks; up to ``parity_shards`` can be rebuilt.
        repaired: Names of the files that were replaced.
        backup: Where ``repair_file`` left the damaged file, ``None`` if it did not.
    """

    path: str
    folder: str
    size_bytes: int
    data_shards: int
    parity_shards: int
    shard_len: int
    block: int
    damage: tuple[ShardDamage, ...] = ()
    problems: tuple[str, ...] = ()
    modified: bool = False
    worst: int = 0
    repaired: tuple[str, ...] = ()
    backup: str | None = None

    @property
    def intact(self) -> bool:
        """Whether file and parity were as they were made."""
        return not self.damage and not self.problems

    @property
    def repairable(self) -> bool:
        """Whether all that is damaged can be rebuilt."""
        return self.worst <= self.parity_shards

    def to_dict(self) -> dict[str, object]:
        """Give the facts as values that JSON can hold."""
        return {
            **self._asdict(),
            "damage": [damage._asdict() for damage in self.damage],
            "intact": self.intact,
            "repairable": self.repairable,
        }
