"""A run of members as it arrives: fetched by one request, decoded and checked piece by piece.

What is received, decoded, hashed and copied is still in the cache of the processor at each step,
and its memory is used again for the next piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shardpack.archive.chunks import decode_into
from shardpack.errors import ShardReadError
from shardpack.exchange.shard.access import StaleIndexError
from shardpack.exchange.shard.member_runs import check_members

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from shardpack.archive.index import ArchiveIndex, Member
    from shardpack.exchange.shard.member_runs import MemberRun
    from shardpack.exchange.shard.source import ArchiveSource

__all__ = ["RunPieces"]

# A piece has at least so many bytes, but for the last.
_PIECE_BYTES: Final = 256 << 10


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some members of a run, and what they are decoded from.

    Attributes:
        stop: Number of the first member after them in the run.
        rows: Their chunks; empty where nothing is compressed, or they have no bytes.
        original_start: Where their bytes begin in the tar stream.
        original_end: Where those end.
        stored_start: Where what is stored of them begins in the archive.
        stored_end: Where that ends.
    """

    stop: int
    rows: range
    original_start: int
    original_end: int
    stored_start: int
    stored_end: int


class RunPieces:
    """The pieces of a run.

    Args:
        index: The index of the archive.
        run: The run.
    """

    def __init__(self, index: ArchiveIndex, run: MemberRun) -> None:
        self._index = index
        self._run = run
        self._pieces = _cut(index, run.members)
        self._stored_size = max(piece.stored_end - piece.stored_start for piece in self._pieces)
        self._original_size = max(
            piece.original_end - piece.original_start for piece in self._pieces
        )

    @classmethod
    def of(cls, index: ArchiveIndex, run: MemberRun) -> RunPieces | None:
        """Cut a run; ``None`` where it cannot be read from its front to its end.

        Args:
            index: The index of the archive.
            run: The run.
        """
        # Checkpoints share bytes, and their decoder has memory of its own.
        if len(run.parts) != 1 or index.chunks.windows is not None:
            return None
        end = 0
        for member in run.members:
            if member.offset < end:
                return None
            end = member.offset + member.size
        return cls(index, run)

    @property
    def cost(self) -> int:
        """Bytes that reading takes at once, beside the members."""
        return self._stored_size + self._original_size

    def read(self, source: ArchiveSource, *, verify: bool) -> Generator[list[bytes], None, None]:
        """Read the members, compared with the digests of the index.

        Args:
            source: The archive.
            verify: Compare with digests; sizes are compared in any case.

        Yields:
            The bytes of some members, in their order.

        Raises:
            IntegrityError: A member differs, or the archive is not that of the index any more.
            ShardReadError: The archive is damaged.
        """
        (part,) = self._run.parts
        try:
            body = source.open_range(self._index, part.stored_start, part.stored_end)
        except StaleIndexError as error:
            raise source.replaced(self._index) from error
        first = 0
        with body:
            # Not before the archive is known to be as long as the index claims.
            stored = memoryview(bytearray(self._stored_size))
            original = memoryview(bytearray(self._original_size))
            for piece in self._pieces:
                size = piece.stored_end - piece.stored_start
                if body.readinto(stored[:size]) != size:
                    raise ShardReadError(
                        f"the archive ends before byte {piece.stored_end}",
                        key=source.archive_key,
                        offset=piece.stored_start,
                    )
                members = self._run.members[first : piece.stop]
                first = piece.stop
                views = self._views(piece, members, stored[:size], original, source.archive_key)
                if verify:
                    check_members(members, views, key=source.archive_key)
                yield [bytes(view) for view in views]

    def _views(
        self,
        piece: _Piece,
        members: Sequence[Member],
        stored: memoryview,
        original: memoryview,
        key: str,
    ) -> list[memoryview]:
        data = stored
        if piece.rows:
            index = self._index
            data = decode_into(
                index.compression, index.chunks, piece.rows, stored, original, key=key
            )
        base = piece.original_start
        return [
            data[member.offset - base : member.offset - base + member.size] for member in members
        ]


def _cut(index: ArchiveIndex, members: Sequence[Member]) -> list[_Piece]:
    """Cut members where no chunk is shared: what has been decoded is not needed again."""
    if index.compression is None:
        return _cut_plain(members)
    starts = index.chunks.original_starts
    pieces: list[_Piece] = []
    # The chunks of the piece, and where the last of them ends.
    rows = range(0)
    end = 0
    for at, member in enumerate(members):
        if not member.size or member.offset + member.size <= end:
            continue
        needed = index.chunks.covering(member.offset, member.offset + member.size)
        if rows and needed.start >= rows.stop and end - starts[rows.start] >= _PIECE_BYTES:
            pieces.append(_chunked(index, rows, at))
            rows = range(0)
        rows = range(rows.start if rows else needed.start, needed.stop)
        end = starts[rows.stop]
    return [*pieces, _chunked(index, rows, len(members))]


def _chunked(index: ArchiveIndex, rows: range, stop: int) -> _Piece:
    starts = index.chunks.original_starts
    return _Piece(
        stop, rows, starts[rows.start], starts[rows.stop], *index.chunks.stored_range(rows)
    )


def _cut_plain(members: Sequence[Member]) -> list[_Piece]:
    pieces: list[_Piece] = []
    start = end = next(member.offset for member in members if member.size)
    for at, member in enumerate(members):
        if not member.size:
            continue
        if end - start >= _PIECE_BYTES:
            # With what lies between the two, so that the next piece follows it.
            pieces.append(_Piece(at, range(0), start, member.offset, start, member.offset))
            start = member.offset
        end = member.offset + member.size
    return [*pieces, _Piece(len(members), range(0), start, end, start, end)]
