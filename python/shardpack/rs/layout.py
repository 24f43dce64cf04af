"""One buffer as shards: one part after the other, or block by block in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardpack._native import rs_decode_striped, rs_encode_striped, rs_join, rs_split
from shardpack.errors import InvalidInput
from shardpack.rs.shard import ParityShard, is_array, listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

__all__ = ["decode_striped", "encode_striped", "join", "split"]


def split(data: Buffer, data_shards: int) -> list[bytes]:
    """Cut a buffer into shards, one after the other; the last ones are filled up with zeros.

    Every shard has ``ceil(len(data) / data_shards)`` bytes, as with klauspost's ``Split``. Keep
    the length of the data: ``join`` asks for it.

    Args:
        data: The buffer, at least one byte.
        data_shards: How many shards.

    Returns:
        The shards, copies of the parts of ``data``. An array of ``data_shards`` rows over
        ``data`` does without the copy, where the length is a multiple of ``data_shards``.

    Raises:
        InvalidInput: There is nothing to split, or ``data_shards`` is no count.

    Example:
        >>> from shardpack import rs
        >>> [shard.hex() for shard in rs.split(b"12345", 2)]
        ['313233', '343500']
    """
    return rs_split(data, data_shards)


def join(shards: Iterable[Buffer] | Buffer, size: int) -> bytes:
    """Put the data shards together again.

    Args:
        shards: The data shards in order; a ``ParityShard`` and what follows it is left out.
        size: Bytes of the original, which ends somewhere in the last shards.

    Returns:
        The original.

    Raises:
        InvalidInput: The shards have fewer bytes, or one that is needed is ``None``.

    Example:
        >>> from shardpack import rs
        >>> rs.join([b"packs", b"hip!?"], 9)
        b'packship!'
    """
    if is_array(shards):
        return rs_join(shards, size)
    data = []
    for shard in shards:  # type: ignore[union-attr]
        if isinstance(shard, ParityShard):
            break
        data.append(shard)
    return rs_join(data, size)


def encode_striped(
    data: Buffer,
    data_shards: int,
    parity_shards: int,
    block: int,
    *,
    threads: int | None = None,
) -> list[bytes]:
    """Cut a buffer into blocks that go to the shards in turn, and make parity.

    Stripe s is ``data_shards`` blocks, one for each data shard; the last stripe has smaller
    blocks. A reader finds any part of the data in few places.

    Args:
        data: The buffer, at least one byte.
        data_shards: How many data shards.
        parity_shards: How many parity shards.
        block: Bytes of a block, at least 1.
        threads: Threads to work with; all cores when ``None``.

    Returns:
        The data shards, then the parity shards, which are ``ParityShard``.

    Raises:
        InvalidInput: The counts make no code, the block has no bytes, or there are no data.

    Example:
        >>> from shardpack import rs
        >>> rs.encode_striped(b"packship", 2, 1, 2)[:2]
        [b'pash', b'ckip']
    """
    view = memoryview(data)
    if view.nbytes == 0:
        raise InvalidInput("0 bytes cannot be split into shards")
    return rs_encode_striped(data, data_shards, parity_shards, block, threads=threads)


def decode_striped(
    shards: Iterable[Buffer | None],
    data_shards: int,
    block: int,
    size: int,
    *,
    threads: int | None = None,
) -> bytes:
    """Put together what ``encode_striped`` cut, from any ``data_shards`` of the shards.

    Args:
        shards: All shards in order; ``None`` for a lost one.
        data_shards: How many of them are data.
        block: Bytes of a block.
        size: Bytes of the original.
        threads: Threads to work with; all cores when ``None``.

    Returns:
        The original.

    Raises:
        ComputationFailed: Fewer shards are left than there are data shards.
        InvalidInput: The counts make no code, or a shard has not the length that ``size`` and
            ``block`` make.

    Example:
        >>> from shardpack import rs
        >>> shards = rs.encode_striped(b"packship", 2, 1, 2)
        >>> rs.decode_striped([None, *shards[1:]], 2, 2, 8)
        b'packship'
    """
    found, known = listed(shards, data_shards)
    return rs_decode_striped(found, known, block, size, threads=threads)
