"""Finding out what is damaged: every stored byte is read and compared with its digest."""

from __future__ import annotations

import operator
import os
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, Self

from shardpack.hash import Blake3, many_packed
from shardpack.parity.group import CHECKS_NAME, DIGEST_BYTES
from shardpack.parity.media import Rows, open_for_reading, read_into
from shardpack.parity.report import ShardDamage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from shardpack.parity.group import Group
    from shardpack.parity.media import ShardFiles

__all__ = ["Checks", "Scan", "block_digests", "scan", "shard_digest"]

_READ_PIECE = 1 << 20


class Checks:
    """``checks.bin``: the digest of every block of every shard.

    Args:
        group: The group.
        folder: Where it is.

    Attributes:
        trusted: Whether it is what the record says. If not, an entry that half matches a block
            still proves that block; one that does not proves nothing.
    """

    def __init__(self, group: Group, folder: str) -> None:
        self._group = group
        self._descriptor = open_for_reading(os.path.join(folder, CHECKS_NAME))
        self.trusted = self._digest() == group.checks_digest

    def entries(self, index: int, first: int, count: int) -> bytes:
        """Read the digests of some blocks of a shard; fewer if they are not there."""
        if self._descriptor is None:
            return b""
        start = (index * self._group.block_count + first) * DIGEST_BYTES
        with suppress(OSError):
            return os.pread(self._descriptor, count * DIGEST_BYTES, start)
        return b""

    def _digest(self) -> bytes:
        if self._descriptor is None:
            return b""
        hasher = Blake3()
        buffer = memoryview(bytearray(_READ_PIECE))
        at = 0
        with suppress(OSError):
            if os.fstat(self._descriptor).st_size != self._group.checks_len:
                return b""
            while count := read_into(self._descriptor, buffer, at):
                hasher.update(buffer[:count])
                at += count
            return hasher.digest()
        return b""

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        """Give the checks."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()


class Scan(NamedTuple):
    """What a look at all shards found.

    Attributes:
        group: The group.
        bad: For each damaged shard a byte for every block, 1 for a block that is lost or changed.
        missing: Shards whose file is not there.
        oversized: Shards whose file goes on after its end.
    """

    group: Group
    bad: dict[int, bytearray]
    missing: frozenset[int]
    oversized: frozenset[int]

    def runs(self) -> Iterator[tuple[int, int, tuple[int, ...]]]:
        """Give runs of columns ``[first, end)`` in which the same shards are damaged."""
        indexes = sorted(self.bad)
        at = 0
        for flags, run in groupby(zip(*(self.bad[index] for index in indexes), strict=True)):
            end = at + sum(1 for _ in run)
            lost = tuple(index for index, flag in zip(indexes, flags, strict=True) if flag)
            if lost:
                yield at, end, lost
            at = end

    def damage(self) -> tuple[ShardDamage, ...]:
        """Describe the damaged shards."""
        return tuple(self._describe(index) for index in sorted(self.bad))

    def _describe(self, index: int) -> ShardDamage:
        group, bad = self.group, self.bad[index]
        offset, length = group.offset(index), group.length(index)
        ranges = []
        at = 0
        for flag, run in groupby(bad):
            end = at + sum(1 for _ in run)
            if flag:
                stop = min(end * group.block, length)
                ranges.append((offset + at * group.block, offset + stop))
            at = end
        return ShardDamage(
            shard=index,
            key=group.file_name(index),
            missing=index in self.missing,
            bad_blocks=sum(bad),
            block_count=-(-length // group.block),
            ranges=tuple(ranges),
        )


def block_digests(
    group: Group, index: int, start: int, row: memoryview, threads: int | None
) -> bytes:
    """Hash the blocks of a part of a shard, as ``checks.bin`` has them.

    Args:
        group: The group.
        index: The shard.
        start: Where in the shard the part begins: at a block.
        row: The part, padded with zeros.
        threads: Threads to hash with.

    Returns:
        The digests, one after the other; of a block's stored bytes, without the padding.
    """
    stored = group.stored(index, start, start + row.nbytes)
    blocks = [
        row[at : min(at + group.block, max(stored, at))] for at in range(0, row.nbytes, group.block)
    ]
    return many_packed("blake3", blocks, threads=threads)


def shard_digest(
    group: Group, index: int, read: Callable[[int, memoryview], int], rows: Rows
) -> bytes | None:
    """Hash a whole shard; ``None`` if some of it cannot be read.

    Args:
        group: The group.
        index: The shard.
        read: Fills a view with the bytes from an offset in the shard on; gives their number.
        rows: Memory to read to.
    """
    hasher = Blake3()
    length = group.length(index)
    for start in range(0, length, rows.width):
        view = rows.row(0, min(rows.width, length - start))
        if read(start, view) != view.nbytes:
            return None
        hasher.update(view)
    return hasher.digest()


def scan(
    files: ShardFiles,
    checks: Checks,
    on_done: Callable[[int], object],
    threads: int | None,
    *,
    confirmed: bool,
) -> Scan:
    """Look at every stored byte of every shard.

    Args:
        files: The files of the shards.
        checks: The digests of the blocks.
        on_done: Called with the number of bytes looked at so far.
        threads: Threads to hash with.
        confirmed: Whether the record is known to be right. If not, every shard has to agree with
            it as a whole.

    Returns:
        What was found.
    """
    group = files.group
    rows = Rows(group, 1)
    bad: dict[int, bytearray] = {}
    missing, oversized = set(), set()
    done = 0
    for index in range(group.total):
        length = group.length(index)
        end = group.size if index < group.data_shards else length
        if files.size(index) > end:
            oversized.add(index)
        if files.descriptor(index) is None:
            missing.add(index)
            count = -(-length // group.block)
            found = bytearray(b"\1" * count + bytes(group.block_count - count))
        else:
            found = _scan_shard(files, checks, index, rows, threads)
            if not checks.trusted or not confirmed:
                _judge_whole(files, index, rows, found, confirmed=confirmed)
        if any(found):
            bad[index] = found
        done += length
        on_done(done)
    return Scan(group, bad, frozenset(missing), frozenset(oversized))


def _scan_shard(
    files: ShardFiles, checks: Checks, index: int, rows: Rows, threads: int | None
) -> bytearray:
    group = files.group
    length = group.length(index)
    # What the record claims beyond the end of the file is lost without a look.
    there = min(length, max(0, files.size(index) - group.offset(index)))
    first_lost = -(-there // group.block)
    lost = -(-length // group.block) - first_lost
    bad = bytearray(first_lost) + b"\1" * lost + bytes(group.block_count - first_lost - lost)
    for start in range(0, there, rows.width):
        row = rows.row(0, min(rows.width, length - start))
        first, count = start // group.block, -(-row.nbytes // group.block)
        whole = files.read(index, start, row) == row.nbytes
        readable = b"\1" * count if whole else _read_blocks(files, index, start, row)
        due = checks.entries(index, first, count)
        found = block_digests(group, index, start, row, threads)
        if whole and found == due:
            continue
        for number in range(count):
            entry = slice(number * DIGEST_BYTES, (number + 1) * DIGEST_BYTES)
            agree = _agree(found[entry], due[entry], exactly=checks.trusted)
            bad[first + number] = not (readable[number] and agree)
    return bad


def _agree(found: bytes, due: bytes, *, exactly: bool) -> bool:
    """Tell whether a digest is the one that was recorded, as far as that is still to be read.

    Half of a digest that is where it belongs is no accident: what is wrong is the recorded one.
    Whatever is rebuilt from such blocks is compared with the digests of whole shards.
    """
    if found == due or exactly:
        return found == due
    alike: int = sum(map(operator.eq, found, due))
    return alike >= DIGEST_BYTES // 2


def _judge_whole(
    files: ShardFiles, index: int, rows: Rows, bad: bytearray, *, confirmed: bool
) -> None:
    """Correct what the checks say by what the record says of the whole shard."""
    if confirmed and not any(bad):
        return
    group = files.group
    digest = shard_digest(group, index, lambda start, view: files.read(index, start, view), rows)
    count = -(-group.length(index) // group.block)
    if digest == group.digests[index]:
        # The entries of the checks are what is wrong.
        bad[:count] = bytes(count)
    elif not any(bad):
        bad[:count] = b"\1" * count


def _read_blocks(files: ShardFiles, index: int, start: int, row: memoryview) -> bytes:
    """Read what can be read of a row, block by block; tells for each block whether it could."""
    group = files.group
    readable = bytearray()
    for at in range(0, row.nbytes, group.block):
        block = row[at : at + group.block]
        readable.append(files.read(index, start + at, block) == block.nbytes)
    return bytes(readable)
