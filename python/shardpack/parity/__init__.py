"""Parity for files: whatever rots, is cut off or gets lost later comes back, within a budget.

``encode_file`` takes a file as k parts and writes m parity shards of that length beside it::

    backup.tar                 0   1   2  ...  9     k = 10 parts of one file, untouched
    backup.tar.parity/
        p-010.rs ... p-013.rs  10 ... 13             m = 4 parity shards, raw: any tool reads them
        checks.bin                                   a BLAKE3 digest for every block of all of them
        group.json                                   what belongs together, with digests of all
        group.copy.json  group.b3                    the record once more, and its digest

Parts and shards are cut into blocks; the i-th blocks of all of them are a column, and any k blocks
of a column give back the others. So up to m blocks of every column may be damaged, wherever they
are: flipped bits, a lost parity file, a file that was cut short, bad sectors, even the file as a
whole where m is at least k. ``verify_file`` says what is damaged, ``repair_file`` rebuilds it.

The format is ``shardpack-parity/1``, with the code of ``shardpack.rs``.

Example:
    >>> import os, tempfile
    >>> from shardpack import parity
    >>> path = os.path.join(tempfile.mkdtemp(), "backup.tar")
    >>> content = os.urandom(1_000_000)
    >>> with open(path, "wb") as file:
    ...     _ = file.write(content)
    >>> report = parity.encode_file(path, data_shards=10, parity_shards=4)
    >>> with open(path, "r+b") as file:
    ...     _ = file.seek(123_456)
    ...     _ = file.write(b"rot")
    >>> [(damage.shard, damage.bad_blocks) for damage in parity.verify_file(path).damage]
    [(1, 1)]
    >>> parity.repair_file(path).repaired
    ('backup.tar',)
    >>> with open(path, "rb") as file:
    ...     file.read() == content
    True
"""

from __future__ import annotations

from shardpack.parity.encode import encode_file
from shardpack.parity.repair import repair_file
from shardpack.parity.report import ParityReport, ShardDamage
from shardpack.parity.verify import verify_file

__all__ = ["ParityReport", "ShardDamage", "encode_file", "repair_file", "verify_file"]
