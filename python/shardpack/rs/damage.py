"""Shards that are not what they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from shardpack._native import rs_locate, rs_repair
from shardpack.rs.shard import data_shards_of, listed, require_known, rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

    _Shard = TypeVar("_Shard", bound=Buffer)

__all__ = ["locate", "repair"]


def repair(
    shards: Iterable[_Shard | None],
    data_shards: int | None,
    digests: Iterable[Buffer] | Buffer,
    hash: str = "blake3",
    *,
    threads: int | None = None,
) -> tuple[list[_Shard | bytes], list[int]]:
    """Find the shards that are not what they were, and bring back what they were.

    A shard that is lost, or hashes to something else, counts as lost, whatever its length. What is
    rebuilt is hashed too, so the result is what the digests say, or there is none.

    Args:
        shards: All shards in order, data first; ``None`` for a lost one.
        data_shards: How many of them are data; ``None`` with a ``ParityShard`` among them.
        digests: The digest of each shard, as it was made.
        hash: ``"blake3"``, ``"sha256"``, ``"keccak256"``, ``"sha3_256"`` (32 bytes each) or
            ``"crc32c"`` (4 bytes, big-endian; against accidents only).
        threads: Threads to work with; all cores when ``None``.

    Returns:
        All shards, and the indexes of those that were rebuilt.

    Raises:
        ComputationFailed: Too few shards match their digests, or what they give does not.
        InvalidInput: As in ``reconstruct``; or a digest has the wrong length, or the hash is
            unknown.
        TypeError: A shard is no contiguous buffer.

    Example:
        >>> import hashlib
        >>> from shardpack import rs
        >>> shards = [b"pack", b"ship", *rs.encode([b"pack", b"ship"], 1)]
        >>> digests = [hashlib.sha256(shard).digest() for shard in shards]
        >>> rs.repair([b"pack", b"shop", shards[2]], 2, digests, hash="sha256")
        ([b'pack', b'ship', <ParityShard 2 of 2+1, 4 bytes>], [1])
    """
    found = rows(shards)
    known = require_known(data_shards_of(found, data_shards))
    rebuilt = dict(rs_repair(found, known, digests, hash, threads=threads))
    whole = [rebuilt.get(index, shard) for index, shard in enumerate(found)]
    return [shard for shard in whole if shard is not None], sorted(rebuilt)


def locate(
    shards: Iterable[Buffer | None] | Buffer,
    data_shards: int | None = None,
    max_errors: int = 1,
    *,
    threads: int | None = None,
) -> list[int] | None:
    """Find out which shards are wrong, without digests.

    This is a diagnosis, not a defence: who can change shards can make others look wrong. Digests
    and ``repair`` are.

    Args:
        shards: All shards in order, data first; ``None`` for a lost one.
        data_shards: How many of them are data; may be left out with a ``ParityShard`` among them.
        max_errors: Most wrong shards to look for, at most 2.
        threads: Threads to work with; all cores when ``None``.

    Returns:
        The smallest set of shards without which the others agree, ``[]`` if all agree; ``None`` if
        there is no such set, or more than one, or no shard to spare for telling.

    Raises:
        InvalidInput: As in ``reconstruct``; or ``max_errors`` is too large.
        TypeError: A shard is no contiguous buffer.

    Example:
        >>> from shardpack import rs
        >>> parity = rs.encode([b"pack", b"ship"], 2)
        >>> rs.locate([b"pack", b"shop", *parity])
        [1]
    """
    found, known = listed(shards, data_shards)
    return rs_locate(found, known, max_errors, threads=threads)
