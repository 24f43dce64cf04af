"""Members of an indexed archive that are fetched and decoded together.

A run takes members in the order in which they are wanted. Its chunks are fetched by as few ranges
as are worth it, decoded at once by all cores, and cut into members, each of which is checked.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from shardpack.archive.chunks import decode_run
from shardpack.checksum import crc32c_many
from shardpack.errors import IntegrityError, ShardReadError
from shardpack.hash import many as hash_many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from typing_extensions import Buffer

    from shardpack.archive.index import ArchiveIndex, Member

__all__ = ["MemberRun", "check_members", "plan_runs", "read_run"]

# What a member takes beside its bytes: no more than its header, so that whole chunks stay together.
_MEMBER_BYTES: Final = 256
# A request costs about as much as so many bytes that nobody wants.
_GAP_BYTES: Final = 128 << 10
# From so many bytes on a second thread is worth waking.
_THREADED_BYTES: Final = 1 << 20


class _Part(NamedTuple):
    """Neighbouring bytes of the tar stream, with the chunks that hold them, if there are any."""

    original_start: int
    original_end: int
    stored_start: int
    stored_end: int
    rows: range | None


@dataclass(frozen=True, slots=True)
class MemberRun:
    """Members that are read together, and what has to be read for them.

    Attributes:
        members: The members, in the order in which they are wanted.
        parts: What is decoded, in the order of the archive.
        stored_size: Bytes that are fetched.
        original_size: Bytes that they decode to.
    """

    members: tuple[Member, ...]
    parts: tuple[_Part, ...]
    stored_size: int
    original_size: int


def plan_runs(
    index: ArchiveIndex, members: Iterable[Member], *, limits: Iterator[int]
) -> Iterator[MemberRun]:
    """Cut a sequence of members into runs.

    Args:
        index: The index of their archive.
        members: The members, in the order in which they are wanted.
        limits: Most bytes that each run may decode to, and that its members may have; a member that
            is larger is one by itself.

    Yields:
        The runs.
    """
    limit = next(limits)
    taken: list[Member] = []
    rows: set[int] = set()
    # Bytes that are decoded or fetched, and bytes of members, which may share those.
    size = given = 0
    starts = index.chunks.original_starts
    is_plain = index.compression is None
    # Where the member before ends; and the chunk that holds its last byte.
    end = low = high = 0
    covering = range(0)
    for member in members:
        start = member.offset
        needed: Sequence[int] = ()
        if is_plain:
            more = member.size + (min(abs(start - end), _GAP_BYTES) if taken else 0)
            end = start + member.size
        elif member.size and low <= start and start + member.size <= high:
            # As most of them: in a chunk that is decoded anyway.
            more = 0
            covering = range(covering.stop - 1, covering.stop)
        else:
            covering = index.chunks.covering(start, start + member.size)
            needed = [row for row in covering if row not in rows]
            more = _decoded_size(starts, needed)
            low, high = (starts[covering.stop - 1], starts[covering.stop]) if covering else (0, 0)
        if taken and max(size + more, given + member.size + _MEMBER_BYTES) > limit:
            yield _run(index, taken, rows)
            limit = next(limits)
            needed = () if is_plain else covering
            more = member.size if is_plain else _decoded_size(starts, needed)
            taken, rows, size, given = [], set(), 0, 0
        taken.append(member)
        rows.update(needed)
        size += more
        given += member.size + _MEMBER_BYTES
    if taken:
        yield _run(index, taken, rows)


def _decoded_size(starts: Sequence[int], rows: Iterable[int]) -> int:
    return sum(starts[row + 1] - starts[row] for row in rows)


def _run(index: ArchiveIndex, members: list[Member], rows: set[int]) -> MemberRun:
    parts = _plain_parts(members) if index.compression is None else _chunk_parts(index, rows)
    return MemberRun(
        tuple(members),
        tuple(parts),
        sum(part.stored_end - part.stored_start for part in parts),
        sum(part.original_end - part.original_start for part in parts),
    )


def _plain_parts(members: list[Member]) -> list[_Part]:
    spans: list[list[int]] = []
    for member in sorted(members, key=lambda member: member.offset):
        if not member.size:
            continue
        start, end = member.offset, member.offset + member.size
        if spans and start - spans[-1][1] <= _GAP_BYTES:
            spans[-1][1] = max(spans[-1][1], end)
        else:
            spans.append([start, end])
    return [_Part(start, end, start, end, None) for start, end in spans]


def _chunk_parts(index: ArchiveIndex, rows: set[int]) -> list[_Part]:
    if not rows:
        return []
    ordered = sorted(rows)
    breaks = [at for at, (low, high) in enumerate(pairwise(ordered), 1) if high != low + 1]
    starts = index.chunks.original_starts
    parts = []
    for first, stop in zip([0, *breaks], [*breaks, len(ordered)], strict=True):
        run = range(ordered[first], ordered[stop - 1] + 1)
        parts.append(
            _Part(starts[run.start], starts[run.stop], *index.chunks.stored_range(run), run)
        )
    return parts


def read_run(
    index: ArchiveIndex, run: MemberRun, fetch: Callable[[int, int], Buffer], *, key: str
) -> list[memoryview]:
    """Fetch and decode a run.

    Args:
        index: The index of the archive.
        run: The run.
        fetch: Gives a range of the stored archive, all of it.
        key: Key of the archive, for errors.

    Returns:
        The bytes of each member, not yet compared with their digests.

    Raises:
        ShardReadError: A chunk is damaged, or bytes are missing.
    """
    decoded: list[memoryview] = []
    for group in _fetch_groups(run.parts):
        start, end = group[0].stored_start, group[-1].stored_end
        stored = memoryview(fetch(start, end))
        if stored.nbytes != end - start:
            raise ShardReadError(
                f"{stored.nbytes} bytes arrived instead of {end - start}", key=key, offset=start
            )
        for part in group:
            piece = stored[part.stored_start - start : part.stored_end - start]
            decoded.append(_decoded(index, part, piece, key))
    begins = [part.original_start for part in run.parts]
    found = []
    for member in run.members:
        if not member.size:
            found.append(memoryview(b""))
            continue
        at = bisect_right(begins, member.offset) - 1
        first = member.offset - begins[at]
        found.append(decoded[at][first : first + member.size])
    return found


def _fetch_groups(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    group: list[_Part] = []
    for part in parts:
        if group and part.stored_start - group[-1].stored_end > _GAP_BYTES:
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def _decoded(index: ArchiveIndex, part: _Part, stored: memoryview, key: str) -> memoryview:
    if part.rows is None:
        return stored
    pieces = decode_run(index.compression, index.chunks, part.rows, stored, key=key)
    return memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))


def check_members(members: Sequence[Member], data: Sequence[memoryview], *, key: str) -> None:
    """Compare members with the sizes and digests that the index has of them.

    Args:
        members: The members.
        data: The bytes of each.
        key: Key of the archive, for errors.

    Raises:
        IntegrityError: One differs; the first is named.
    """
    for member, view in zip(members, data, strict=True):
        if view.nbytes != member.size:
            raise _differs(key, member.path, "size", member.size, view.nbytes)
    threads = None if sum(view.nbytes for view in data) >= _THREADED_BYTES else 1
    with_crc = [at for at, member in enumerate(members) if member.crc32c is not None]
    checksums = crc32c_many([data[at] for at in with_crc], threads=threads)
    for at, checksum in zip(with_crc, checksums, strict=True):
        expected = members[at].crc32c
        if checksum != expected:
            told = f"{expected:08x}", f"{checksum:08x}"
            raise _differs(key, members[at].path, "crc32c", *told)
    with_hash = [at for at, member in enumerate(members) if member.blake3 is not None]
    digests = hash_many("blake3", [data[at] for at in with_hash], threads=threads)
    for at, digest in zip(with_hash, digests, strict=True):
        wanted = members[at].blake3
        if wanted is not None and digest != wanted:
            raise _differs(key, members[at].path, "blake3", wanted.hex(), digest.hex())


def _differs(
    key: str, member: str, algorithm: str, expected: str | int, actual: str | int
) -> IntegrityError:
    return IntegrityError(
        f"{algorithm} of {key}#{member} is {actual}, {expected} was recorded",
        key=key,
        member=member,
        algorithm=algorithm,
        expected=expected,
        actual=actual,
    )
