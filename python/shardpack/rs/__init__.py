"""Reed-Solomon erasure coding: lost or rotten shards come back from those that are left.

``k`` data shards get ``m`` parity shards; any ``k`` of the ``k + m`` give back all of them::

    data    0 1 2 3 4 5 6 7 8 9          10 shards of equal length
    parity                      a b c d  4 more, made from them
    lost      x     x         x     x    any 4
    rebuilt 0 1 2 3 4 5 6 7 8 9 a b c d  byte for byte

The bytes are those of Backblaze's JavaReedSolomon, klauspost/reedsolomon (default options) and
reed-solomon-erasure: GF(2^8) with the polynomial 0x11D, a Vandermonde matrix made systematic. A
parity shard depends on ``k`` and its own index alone, so parity can be added later. Data and
parity shards together are at most 256.

Shards are any C-contiguous buffers of equal length, at least one byte; wherever a sequence of them
is taken, the rows of a two-dimensional array of bytes (numpy, or ``memoryview.cast``) do too,
without a copy. A buffer that is written to during a call makes that call's result meaningless,
nothing worse. Results depend neither on the number of threads nor on the CPU.

Erasures are corrected, not errors: keep a digest of each shard, and let ``repair`` leave out those
that do not match. For files there is ``shardpack.parity``.

Example:
    >>> from shardpack import rs
    >>> data = [b"pack", b"ship", b"prov"]
    >>> parity = rs.encode(data_shards=data, parity_shards=2)
    >>> rs.reconstruct([None, b"ship", None, *parity])[:3] == data
    True
    >>> rs.verify([*data, *parity], 3)
    True
"""

from __future__ import annotations

from shardpack._native import Encoder
from shardpack.rs.code import (
    encode,
    encode_into,
    reconstruct,
    reconstruct_into,
    update,
    verify,
)
from shardpack.rs.damage import locate, repair
from shardpack.rs.layout import decode_striped, encode_striped, join, split
from shardpack.rs.shard import MAX_SHARDS, ParityShard

__all__ = [
    "MAX_SHARDS",
    "Encoder",
    "ParityShard",
    "decode_striped",
    "encode",
    "encode_into",
    "encode_striped",
    "join",
    "locate",
    "reconstruct",
    "reconstruct_into",
    "repair",
    "split",
    "update",
    "verify",
]
