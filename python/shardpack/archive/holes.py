"""Sparse members with their holes filled: the zeros are made as they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shardpack.archive.decoding import DECODED_PIECE, TarStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shardpack.archive.sparse import SparseMap

__all__ = ["filled"]

_ZEROS: Final = bytes(256 << 10)


def filled(tar: TarStream, sparse: SparseMap) -> TarStream:
    """Give the bytes of a sparse member as a stream of its own.

    Args:
        tar: The stream that its stored bytes come from; it stands at the first of them, and nobody
            else takes from it meanwhile.
        sparse: Where they belong.

    Returns:
        A stream of ``sparse.size`` bytes; errors are those of ``tar``.
    """
    # No decoder fails in it, so that it needs to know none.
    source, key = tar._source, tar._key  # noqa: SLF001 - of the same kind
    return TarStream(_pieces(tar, sparse), source, None, key=key)


def _pieces(tar: TarStream, sparse: SparseMap) -> Iterator[bytes]:
    at = 0
    for offset, length in zip(sparse.offsets, sparse.lengths, strict=True):
        yield from _zeros(offset - at)
        left = length
        while left:
            piece = tar.take_some(min(left, DECODED_PIECE))
            left -= len(piece)
            yield piece
        at = offset + length
    yield from _zeros(sparse.size - at)


def _zeros(count: int) -> Iterator[bytes]:
    while count >= len(_ZEROS):
        yield _ZEROS
        count -= len(_ZEROS)
    if count:
        yield _ZEROS[:count]
