"""A slow Reed-Solomon code over GF(2^8): matrices, Gauss-Jordan elimination, one byte at a time.

Polynomial 0x11D, generator 2; rows of the Vandermonde matrix ``V[r][c] = r^c`` times the inverse of
its top square, as Backblaze, klauspost and reed-solomon-erasure build theirs.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "decode_striped",
    "encode",
    "encode_striped",
    "join",
    "locate",
    "reconstruct",
    "split",
    "update",
]

Matrix = tuple[tuple[int, ...], ...]


def _tables() -> tuple[list[int], list[int]]:
    exponentials, logarithms = [0] * 510, [0] * 256
    value = 1
    for power in range(255):
        exponentials[power] = exponentials[power + 255] = value
        logarithms[value] = power
        value <<= 1
        if value & 0x100:
            value ^= 0x11D
    return exponentials, logarithms


EXP, LOG = _tables()


def mul(a: int, b: int) -> int:
    return EXP[LOG[a] + LOG[b]] if a and b else 0


def power(a: int, n: int) -> int:
    if n == 0:
        return 1
    return EXP[LOG[a] * n % 255] if a else 0


# For bytes.translate.
PRODUCTS = [bytes(mul(factor, x) for x in range(256)) for factor in range(256)]


def multiply(a: Matrix, b: Matrix) -> Matrix:
    columns = list(zip(*b, strict=True))
    rows = []
    for row in a:
        cells = []
        for column in columns:
            cell = 0
            for x, y in zip(row, column, strict=True):
                cell ^= mul(x, y)
            cells.append(cell)
        rows.append(tuple(cells))
    return tuple(rows)


def invert(matrix: Matrix) -> Matrix:
    size = len(matrix)
    rows = [[*row, *(int(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = next(row for row in range(column, size) if rows[row][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        scale = PRODUCTS[EXP[255 - LOG[rows[column][column]]]]
        rows[column] = [scale[x] for x in rows[column]]
        for other in range(size):
            factor = rows[other][column]
            if other != column and factor:
                table = PRODUCTS[factor]
                rows[other] = [x ^ table[y] for x, y in zip(rows[other], rows[column], strict=True)]
    return tuple(tuple(row[size:]) for row in rows)


@lru_cache(maxsize=256)
def matrix_of(data_shards: int, total: int) -> Matrix:
    vandermonde = tuple(
        tuple(power(row, column) for column in range(data_shards)) for row in range(total)
    )
    return multiply(vandermonde, invert(vandermonde[:data_shards]))


def combine(row: Sequence[int], shards: Sequence[bytes]) -> bytes:
    total = 0
    for factor, shard in zip(row, shards, strict=True):
        total ^= int.from_bytes(shard.translate(PRODUCTS[factor]), "little")
    return total.to_bytes(len(shards[0]), "little")


def encode(data: Sequence[bytes], parity_shards: int) -> list[bytes]:
    rows = matrix_of(len(data), len(data) + parity_shards)
    return [combine(row, data) for row in rows[len(data) :]]


def reconstruct(shards: Sequence[bytes | None], data_shards: int) -> list[bytes]:
    """All shards; at least as many as there are data shards must be there."""
    rows = matrix_of(data_shards, len(shards))
    left = [(index, shard) for index, shard in enumerate(shards) if shard is not None]
    left = left[:data_shards]
    inverse = invert(tuple(rows[index] for index, _ in left))
    data = [combine(row, [shard for _, shard in left]) for row in inverse]
    return data + encode(data, len(shards) - data_shards)


def update(
    parity: Sequence[bytes], data_shards: int, index: int, old: bytes, new: bytes
) -> list[bytes]:
    rows = matrix_of(data_shards, data_shards + len(parity))
    change = bytes(a ^ b for a, b in zip(old, new, strict=True))
    return [
        combine([1, row[index]], [shard, change])
        for row, shard in zip(rows[data_shards:], parity, strict=True)
    ]


def locate(shards: Sequence[bytes | None], data_shards: int, max_errors: int) -> list[int] | None:
    """The only smallest set whose removal leaves agreeing shards, with one to spare."""
    there = [index for index, shard in enumerate(shards) if shard is not None]
    for count in range(max_errors + 1):
        hits = []
        for bad in combinations(there, count):
            left = [index for index in there if index not in bad]
            if len(left) <= data_shards:
                continue
            trial = [shards[i] if i in left[:data_shards] else None for i in range(len(shards))]
            whole = reconstruct(trial, data_shards)
            if all(whole[index] == shards[index] for index in left):
                hits.append(list(bad))
        if hits:
            return hits[0] if len(hits) == 1 else None
    return None


def split(data: bytes, data_shards: int) -> list[bytes]:
    size = -(-len(data) // data_shards)
    padded = data.ljust(size * data_shards, b"\0")
    return [padded[at : at + size] for at in range(0, len(padded), size)]


def join(shards: Sequence[bytes], size: int) -> bytes:
    return b"".join(shards)[:size]


def encode_striped(data: bytes, data_shards: int, parity_shards: int, block: int) -> list[bytes]:
    shards = [b""] * (data_shards + parity_shards)
    for start in range(0, len(data), data_shards * block):
        blocks = split(data[start : start + data_shards * block], data_shards)
        blocks += encode(blocks, parity_shards)
        shards = [shard + piece for shard, piece in zip(shards, blocks, strict=True)]
    return shards


def decode_striped(
    shards: Sequence[bytes | None], data_shards: int, block: int, size: int
) -> bytes:
    data, at = b"", 0
    for start in range(0, size, data_shards * block):
        rest = min(data_shards * block, size - start)
        width = block if rest == data_shards * block else -(-rest // data_shards)
        column = [None if shard is None else shard[at : at + width] for shard in shards]
        data += join(reconstruct(column, data_shards)[:data_shards], rest)
        at += width
    return data
