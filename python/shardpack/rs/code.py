"""Parity, and what it brings back."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from shardpack._native import (
    rs_encode,
    rs_encode_into,
    rs_rebuild,
    rs_rebuild_into,
    rs_update,
    rs_verify,
)
from shardpack.errors import InvalidInput
from shardpack.rs.shard import data_shards_of, is_array, listed, require_known, require_place, rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Buffer

    from shardpack.rs.shard import ParityShard

    _Shard = TypeVar("_Shard", bound=Buffer)

__all__ = ["encode", "encode_into", "reconstruct", "reconstruct_into", "update", "verify"]


def encode(
    data_shards: Iterable[Buffer] | Buffer, parity_shards: int, *, threads: int | None = None
) -> list[ParityShard]:
    """Make parity shards.

    Args:
        data_shards: The data: buffers of equal length, or an array whose rows they are.
        parity_shards: How many to make, at least 1; data and parity together at most 256.
        threads: Threads to work with; all cores when ``None``.

    Returns:
        The parity shards. They are ``bytes`` that remember their code.

    Raises:
        InvalidInput: The counts make no code, or shards are empty or of unequal length.
        TypeError: A shard is no contiguous buffer.

    Example:
        >>> from shardpack import rs
        >>> data = map(bytes.fromhex, ["0001", "0405", "0203", "0607", "0809"])
        >>> [shard.hex() for shard in rs.encode(data, 5)]
        ['0c0d', '0a0b', '0e0f', '5a5b', '5e5f']
    """
    return rs_encode(data_shards, parity_shards, threads=threads)


def encode_into(
    data_shards: Iterable[Buffer] | Buffer,
    outputs: Iterable[Buffer] | Buffer,
    *,
    threads: int | None = None,
) -> None:
    """Make parity shards in memory of the caller, which saves touching new memory.

    Args:
        data_shards: As in ``encode``.
        outputs: Writable buffers of the length of the data shards, or a writable array; the j-th
            becomes parity shard j. They may not overlap each other or the data.
        threads: Threads to work with; all cores when ``None``.

    Raises:
        InvalidInput: As in ``encode``; or buffers share memory, or an output has another length.
        TypeError: A shard is no contiguous buffer, or an output is read-only.

    Example:
        >>> from shardpack import rs
        >>> shards = bytearray(b"packshipprov" + bytes(8))
        >>> matrix = memoryview(shards).cast("B", (5, 4))
        >>> rows = [memoryview(shards)[at : at + 4] for at in range(0, 20, 4)]
        >>> rs.encode_into(rows[:3], rows[3:])
        >>> rs.verify(matrix, 3)
        True
    """
    rs_encode_into(data_shards, outputs, threads=threads)


def reconstruct(
    shards: Iterable[_Shard | None],
    data_shards: int | None = None,
    *,
    only_data: bool = False,
    threads: int | None = None,
) -> list[_Shard | bytes]:
    """Bring back lost shards.

    How many of the shards are data says ``data_shards``, or any surviving ``ParityShard``. Nobody
    can tell from plain bytes, so a list without either is refused if something is lost.

    Args:
        shards: All shards in order, data first; ``None`` for a lost one.
        data_shards: How many of them are data.
        only_data: Rebuild and return the data shards alone.
        threads: Threads to work with; all cores when ``None``.

    Returns:
        All shards, or the data shards. Those that were there are the same objects; rebuilt data
        are ``bytes``, rebuilt parity is ``ParityShard``.

    Raises:
        ComputationFailed: Fewer shards are left than there are data shards.
        InvalidInput: It is not known how many shards are data; the numbers make no code or
            contradict those of a ``ParityShard``; shards are empty or of unequal length.
        TypeError: A shard is no contiguous buffer.

    Example:
        >>> from shardpack import rs
        >>> parity = rs.encode([b"pack", b"ship", b"prov"], 2)
        >>> rs.reconstruct([b"pack", None, None, *parity], only_data=True)
        [b'pack', b'ship', b'prov']
    """
    found = rows(shards)
    if not found:
        raise InvalidInput("no shards")
    known = data_shards_of(found, data_shards)
    lost = [index for index, shard in enumerate(found) if shard is None]
    if known is None and not lost and not only_data:
        return [shard for shard in found if shard is not None]
    known = require_known(known)
    wanted = [index for index in lost if index < known] if only_data else lost
    rebuilt = iter(rs_rebuild(found, known, wanted, threads=threads))
    end = known if only_data else len(found)
    return [next(rebuilt) if shard is None else shard for shard in found[:end]]


def reconstruct_into(
    shards: Iterable[Buffer | None],
    data_shards: int | None,
    wanted: Sequence[int],
    outputs: Iterable[Buffer] | Buffer,
    *,
    threads: int | None = None,
) -> None:
    """Bring back lost shards in memory of the caller.

    Args:
        shards: As in ``reconstruct``.
        data_shards: As in ``reconstruct``.
        wanted: Indexes of lost shards, those to bring back.
        outputs: Writable buffers, or a writable array; the i-th becomes shard ``wanted[i]``. They
            may not overlap each other or the shards.
        threads: Threads to work with; all cores when ``None``.

    Raises:
        ComputationFailed: Fewer shards are left than there are data shards.
        InvalidInput: As in ``reconstruct``; or a wanted shard is not lost, or buffers share
            memory.
        TypeError: A shard is no contiguous buffer, or an output is read-only.

    Example:
        >>> from shardpack import rs
        >>> parity = rs.encode([b"pack", b"ship"], 1)
        >>> place = bytearray(4)
        >>> rs.reconstruct_into([b"pack", None, *parity], None, [1], [place])
        >>> place
        bytearray(b'ship')
    """
    found = rows(shards)
    known = require_known(data_shards_of(found, data_shards))
    indexes = list(wanted)
    for index in indexes:
        if index < 0:
            raise InvalidInput(f"shard {index} is wanted, the list has {len(found)} shards")
    rs_rebuild_into(found, known, indexes, outputs, threads=threads)


def verify(
    shards: Iterable[Buffer] | Buffer,
    data_shards: int | None = None,
    *,
    threads: int | None = None,
) -> bool:
    """Tell whether the parity belongs to the data.

    Args:
        shards: All shards in order, data first, or an array whose rows they are.
        data_shards: How many of them are data; may be left out with a ``ParityShard`` among them.
        threads: Threads to work with; all cores when ``None``.

    Returns:
        Whether every parity shard is the one that ``encode`` makes.

    Raises:
        InvalidInput: As in ``reconstruct``, and for a shard that is ``None``.
        TypeError: A shard is no contiguous buffer.
    """
    found, known = listed(shards, data_shards)
    return rs_verify(found, known, threads=threads)


def update(
    parity: Iterable[Buffer] | Buffer,
    data_shards: int,
    index: int,
    old: Buffer,
    new: Buffer,
    *,
    threads: int | None = None,
) -> list[ParityShard]:
    """Make the parity that belongs to changed data, without the data that did not change.

    Args:
        parity: All parity shards of the code before the change.
        data_shards: How many data shards the code has.
        index: The data shard that changes.
        old: Its bytes before.
        new: Its bytes after.
        threads: Threads to work with; all cores when ``None``.

    Returns:
        New parity shards.

    Raises:
        InvalidInput: The counts make no code, there is no such data shard, the lengths differ, or
            a ``ParityShard`` is of another code or place.
        TypeError: A shard is no contiguous buffer.

    Example:
        >>> from shardpack import rs
        >>> before = rs.encode([b"pack", b"ship"], 2)
        >>> rs.update(before, 2, 1, b"ship", b"send") == rs.encode([b"pack", b"send"], 2)
        True
    """
    found = parity
    known = require_known(data_shards)
    if not is_array(parity):
        tagged: list[Buffer] = list(parity)  # type: ignore[arg-type]
        found = tagged
        for position, shard in enumerate(tagged):
            require_place(shard, known + position, known, len(tagged) + known)
    return rs_update(found, known, index, old, new, threads=threads)
