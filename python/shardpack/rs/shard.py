"""Shards: parity that remembers its code, and lists of shards that must agree with it."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, TypeVar

from shardpack.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    from typing_extensions import Buffer

__all__ = [
    "MAX_SHARDS",
    "ParityShard",
    "data_shards_of",
    "is_array",
    "listed",
    "require_known",
    "require_place",
    "rows",
]

MAX_SHARDS = 256

_MATRIX = 2
_Item = TypeVar("_Item")


class ParityShard(bytes):
    """Parity that knows its code: ``bytes`` in every respect, with three numbers more.

    They let ``reconstruct`` and ``verify`` do without ``data_shards=``, and refuse a list that
    does not belong to the code. Slices and copies made by ``bytes`` are plain ``bytes``; pickles
    and the copies of ``copy`` keep the numbers.

    Args:
        data: The bytes.
        data_shards: Data shards of the code, k.
        parity_shards: Parity shards of the code, m.
        index: Place in the list of all shards, from k to k + m - 1.

    Raises:
        InvalidInput: The numbers make no code, or the place is not one of parity.

    Example:
        >>> from shardpack import rs
        >>> shard = rs.encode([b"ab", b"cd"], 1)[0]
        >>> shard, shard.data_shards, shard.parity_shards, shard.index
        (<ParityShard 2 of 2+1, 2 bytes>, 2, 1, 2)
        >>> shard == bytes(shard)
        True
    """

    _tag: tuple[int, int, int]

    def __new__(cls, data: Buffer, data_shards: int, parity_shards: int, index: int) -> Self:
        """Copy the bytes and check the numbers."""
        if data_shards < 1 or parity_shards < 1 or data_shards + parity_shards > MAX_SHARDS:
            raise InvalidInput(f"{data_shards}+{parity_shards} shards make no code")
        if not data_shards <= index < data_shards + parity_shards:
            raise InvalidInput(
                f"shard {index} of {data_shards}+{parity_shards} is not one of parity"
            )
        shard = super().__new__(cls, memoryview(data))
        shard._tag = (data_shards, parity_shards, index)
        return shard

    @property
    def data_shards(self) -> int:
        """Data shards of the code."""
        return self._tag[0]

    @property
    def parity_shards(self) -> int:
        """Parity shards of the code."""
        return self._tag[1]

    @property
    def index(self) -> int:  # type: ignore[override]  # hides bytes.index, as documented
        """Place in the list of all shards."""
        return self._tag[2]

    def __repr__(self) -> str:
        """Show the numbers, not megabytes."""
        data_shards, parity_shards, index = self._tag
        return f"<ParityShard {index} of {data_shards}+{parity_shards}, {len(self)} bytes>"

    # `bytes.__new__` prepares the cache that `bytes.__hash__` reads; native code makes parity
    # without it. The number is the same.
    def __hash__(self) -> int:
        return hash(bytes(self))

    def __getnewargs__(self) -> tuple[bytes, int, int, int]:  # type: ignore[override]
        """Give what ``__new__`` takes, for pickles and copies."""
        return (bytes(self), *self._tag)


def is_array(shards: object) -> bool:
    """Tell an array, whose rows native code takes as they are, from a sequence of shards."""
    if isinstance(shards, list | tuple):
        return False
    try:
        memoryview(shards)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def rows(shards: Iterable[_Item]) -> list[_Item]:
    """List shards; those of a view of two dimensions, which cannot be iterated, are its rows."""
    if isinstance(shards, memoryview) and shards.ndim == _MATRIX:
        flat: Any = shards.cast("B")
        width = shards.nbytes // len(shards)
        return [flat[at : at + width] for at in range(0, shards.nbytes, width)]
    return list(shards)


def listed(
    shards: Iterable[Buffer | None] | Buffer, data_shards: int | None
) -> tuple[Iterable[Buffer | None] | Buffer, int]:
    """Give the shards as native code takes them, and how many of them are data."""
    if is_array(shards):
        return shards, require_known(data_shards)
    found: list[Buffer | None] = list(shards)  # type: ignore[arg-type]
    return found, require_known(data_shards_of(found, data_shards))


def data_shards_of(shards: Sequence[object], data_shards: int | None) -> int | None:
    """Find how many shards are data; every tag must say the same, and be where it belongs.

    Args:
        shards: All shards in order.
        data_shards: What the caller says.

    Returns:
        The number, ``None`` if neither the caller nor a shard tells.

    Raises:
        InvalidInput: A tag contradicts the caller, its place, the list or another tag.
    """
    known = data_shards
    for position, shard in enumerate(shards):
        if isinstance(shard, ParityShard):
            known = shard.data_shards if known is None else known
            require_place(shard, position, known, len(shards))
    return known


def require_place(shard: object, position: int, data_shards: int, total: int) -> None:
    """Refuse parity that is at the wrong place, or of another code; anything else may be anywhere.

    Raises:
        InvalidInput: Its tag says so.
    """
    if not isinstance(shard, ParityShard):
        return
    if shard.index != position:
        raise InvalidInput(f"shard {position} is {shard!r}: it belongs to another place")
    if shard.data_shards != data_shards or data_shards + shard.parity_shards != total:
        raise InvalidInput(
            f"shard {position} is {shard!r}, which does not go with {data_shards} data shards"
            f" in a list of {total}"
        )


def require_known(data_shards: int | None) -> int:
    """Give the number of data shards.

    Raises:
        InvalidInput: It is not known, or no number.
    """
    if data_shards is None:
        raise InvalidInput("no parity shard tells how many shards are data: pass data_shards=")
    try:
        return operator.index(data_shards)
    except TypeError:
        kind = type(data_shards).__name__
        raise InvalidInput(f"data_shards must be an integer, not '{kind}'") from None
