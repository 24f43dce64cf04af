"""Read members of an archive by its index: only the stored bytes that hold them, and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shardpack.archive.chunks import decode_run
from shardpack.body import MemoryBody, SeekableBody
from shardpack.checksum import crc32c, crc32c_many
from shardpack.errors import IntegrityError, ObjectNotFoundError, ShardReadError
from shardpack.hash import Blake3, blake3, many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from typing_extensions import Buffer

    from shardpack.archive.index import ArchiveIndex, Member
    from shardpack.body import Body

__all__ = ["IndexedBody", "MemberReader", "verify_member"]

# Neighbours that lie closer share a fetch: what lies between costs less than a request.
_GAP_BYTES = 1 << 20

# What one fetch of several members brings, and what it may decode to.
_MOST_FETCHED = 16 << 20
_MOST_DECODED = 64 << 20

# What an open member holds at most, when it is read from front to end.
_MOST_AHEAD = 8 << 20
_FIRST_AHEAD = 1 << 20

# Larger members are streamed by `iter_members`.
_MOST_HELD = 16 << 20


@dataclass(frozen=True, slots=True)
class _Need:
    """What has to be fetched for a member.

    Attributes:
        member: The member.
        rows: Numbers of its chunks; empty where the archive is not compressed.
        start: First stored byte.
        end: First stored byte after them.
        decoded: Bytes that they decode to.
    """

    member: Member
    rows: range
    start: int
    end: int
    decoded: int


class _Segments:
    """Decoded parts of the tar stream, in order."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, Buffer]] = []

    def add(self, start: int, pieces: Iterable[Buffer]) -> None:
        for piece in pieces:
            self._parts.append((start, piece))
            start += memoryview(piece).nbytes

    def take(self, start: int, end: int) -> bytes:
        """Give a range, which must be among the parts."""
        found = []
        for part_start, part in self._parts:
            view = memoryview(part)
            if part_start < end and start < part_start + view.nbytes:
                piece = view[max(0, start - part_start) : end - part_start]
                if piece.nbytes == end - start:
                    # Where the whole part is asked for, it is the result.
                    whole = piece.nbytes == view.nbytes and type(part) is bytes
                    return part if whole else bytes(piece)  # type: ignore[return-value]
                found.append(piece)
        return b"".join(found)


class MemberReader:
    """Read members of one archive.

    Every member that is read as a whole is checked against the size, CRC32C and BLAKE3 of the
    index, and every chunk against its CRC32C. It may be used by several threads if ``fetch`` may.

    Args:
        index: The index of the archive.
        fetch: Gives the bytes ``[start, end)`` of the stored archive.
        key: Key of the archive, for errors.

    Raises:
        ShardReadError: The archive is not seekable (``ArchiveIndex.seekable``).

    Example:
        >>> import io
        >>> from shardpack.archive import ArchiveWriter, MemberReader
        >>> stored = io.BytesIO()
        >>> with ArchiveWriter(stored, compression="gzip") as writer:
        ...     _ = writer.add("one.txt", b"hello")
        >>> archive = stored.getvalue()
        >>> reader = MemberReader(writer.close(), lambda start, end: archive[start:end])
        >>> reader.read("one.txt")
        b'hello'
    """

    def __init__(
        self, index: ArchiveIndex, fetch: Callable[[int, int], Buffer], *, key: str | None = None
    ) -> None:
        if not index.seekable:
            raise ShardReadError(
                f"an archive with compression {index.compression!r} can only be read from its"
                " front: it has no places from which decoding can begin",
                key=key,
            )
        self.index = index
        self.key = key
        self._fetch = fetch

    def read(self, path: str) -> bytes:
        """Read a member with one fetch.

        Args:
            path: Its path.

        Returns:
            All its bytes.

        Raises:
            ObjectNotFoundError: There is no such member.
            IntegrityError: The bytes are not those that were written.
            ShardReadError: A chunk is damaged, or the archive is shorter than its index says.
        """
        return self.read_member(self.find(path))

    def read_member(self, member: Member) -> bytes:
        """Read a member of the index, as ``read`` does.

        Args:
            member: The member.
        """
        need = self._need(member)
        segments = _Segments()
        if need.start < need.end:
            segments.add(*self.load(need.rows, need.start, need.end, member.path))
        data = segments.take(member.offset, member.offset + member.size)
        verify_member(member, data, self.key)
        return data

    def open(self, path: str) -> IndexedBody:
        """Open a member as a stream that can seek; nothing is fetched yet.

        Args:
            path: Its path.

        Returns:
            The stream. What is read of it is checked chunk by chunk; if all of it is read from the
            front on, the whole is checked too, before its last bytes are given.

        Raises:
            ObjectNotFoundError: There is no such member.
        """
        return IndexedBody(self, self.find(path))

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Read some members: neighbours with one fetch, each chunk only once.

        Args:
            paths: Their paths; one that stands twice is read once.

        Returns:
            Path and bytes of each, in the order of the archive.

        Raises:
            ObjectNotFoundError: There is no such member.
            IntegrityError: The bytes are not those that were written.
            ShardReadError: A chunk is damaged, or the archive is shorter than its index says.
        """
        members = [self.find(path) for path in dict.fromkeys(paths)]
        members.sort(key=lambda member: member.offset)
        for member, data in self._read_sorted(members):
            yield member.path, data

    def iter_members(self) -> Iterator[tuple[Member, Body]]:
        """Read all members in the order of the archive, with bounded memory.

        Returns:
            Each member with its bytes, checked already if there are at most 16 MiB of them; larger
            ones are checked while they are read.

        Raises:
            IntegrityError: The bytes are not those that were written.
            ShardReadError: A chunk is damaged, the archive is shorter than its index says, or it
                has sparse members, which no index tells.
        """
        if self.index.sparse:
            raise self._not_here("the archive has sparse members")
        small: list[Member] = []
        held = 0
        for member in self.index.members.values():
            if member.size <= _MOST_HELD:
                small.append(member)
                held += member.size
                # Some fetches at a time; the list itself must not grow with the archive.
                if held < _MOST_DECODED:
                    continue
            yield from self._bodies(small)
            small, held = [], 0
            if member.size > _MOST_HELD:
                yield member, IndexedBody(self, member)
        yield from self._bodies(small)

    def find(self, path: str) -> Member:
        """Look a member up.

        Args:
            path: Its path.

        Raises:
            ObjectNotFoundError: There is no such member.
            ShardReadError: It is not in the index, but may be one of the sparse members.
        """
        member = self.index.member(path)
        if member is None and self.index.sparse:
            raise self._not_here("there is none, or it is sparse", path)
        if member is None:
            raise ObjectNotFoundError(path if self.key is None else f"{self.key}#{path}")
        return member

    def _not_here(self, reason: str, path: str | None = None) -> ShardReadError:
        return ShardReadError(
            f"{reason}, and those are only read by going through the archive",
            key=self.key,
            member=path,
        )

    def load(
        self, rows: range, start: int, end: int, member: str | None
    ) -> tuple[int, list[Buffer]]:
        """Fetch and decode a part of the archive.

        Args:
            rows: The chunks in it; empty where the archive is not compressed.
            start: First stored byte.
            end: First stored byte after them.
            member: Path of the member, for errors.

        Returns:
            Where the part begins in the tar stream, and its bytes in pieces.
        """
        data = self._fetch_exactly(start, end, member)
        if not rows:
            return start, [data]
        index = self.index
        pieces = decode_run(
            index.compression, index.chunks, rows, data, key=self.key, member=member
        )
        return index.chunks.original_starts[rows.start], list(pieces)

    # --- several members --------------------------------------------------------------------

    def _bodies(self, members: Sequence[Member]) -> Iterator[tuple[Member, Body]]:
        for member, data in self._read_sorted(members):
            yield member, MemoryBody(data)

    def _read_sorted(self, members: Iterable[Member]) -> Iterator[tuple[Member, bytes]]:
        kept: tuple[int, bytes] | None = None
        for group in self._groups(self._need(member) for member in members):
            segments, kept = self._load_group(group, kept)
            found = [need.member for need in group]
            data = [segments.take(member.offset, member.offset + member.size) for member in found]
            _verify_members(found, data, self.key)
            yield from zip(found, data, strict=True)

    def _groups(self, needs: Iterable[_Need]) -> Iterator[list[_Need]]:
        group: list[_Need] = []
        start = end = decoded = 0
        for need in needs:
            more = decoded + need.decoded
            apart = need.start - end >= _GAP_BYTES
            if group and (apart or need.end - start > _MOST_FETCHED or more > _MOST_DECODED):
                yield group
                group = []
            if not group:
                start, end, more = need.start, need.end, need.decoded
            group.append(need)
            end = max(end, need.end)
            decoded = more
        if group:
            yield group

    def _load_group(
        self, group: Sequence[_Need], kept: tuple[int, bytes] | None
    ) -> tuple[_Segments, tuple[int, bytes] | None]:
        """Fetch what a group of members needs and decode each chunk of it once.

        Args:
            group: The members.
            kept: The last chunk of the group before, by its number, which this one may share.

        Returns:
            The decoded parts, and the last chunk.
        """
        segments = _Segments()
        member = group[0].member.path
        if self.index.compression is None:
            start, end = group[0].start, max(need.end for need in group)
            if start < end:
                segments.add(*self.load(range(0), start, end, member))
            return segments, None
        chunks = self.index.chunks
        wanted = sorted({row for need in group for row in need.rows})
        if kept is not None and wanted and wanted[0] == kept[0]:
            segments.add(chunks.original_starts[kept[0]], [kept[1]])
            wanted.pop(0)
        if not wanted:
            return segments, kept
        start, end = chunks.stored_range(range(wanted[0], wanted[-1] + 1))
        data = memoryview(self._fetch_exactly(start, end, member))
        for run in _runs(wanted):
            low, high = chunks.stored_range(run)
            pieces = decode_run(
                self.index.compression, chunks, run, data[low - start : high - start], key=self.key
            )
            segments.add(chunks.original_starts[run.start], pieces)
        last = wanted[-1]
        bounds = chunks.original_starts[last], chunks.original_starts[last + 1]
        return segments, (last, segments.take(*bounds))

    def _need(self, member: Member) -> _Need:
        offset, end = member.offset, member.offset + member.size
        if self.index.compression is None:
            return _Need(member, range(0), offset, end, member.size)
        chunks = self.index.chunks
        rows = chunks.covering(offset, end)
        if not rows:
            return _Need(member, rows, 0, 0, 0)
        decoded = chunks.original_starts[rows.stop] - chunks.original_starts[rows.start]
        return _Need(member, rows, *chunks.stored_range(rows), decoded)

    def _fetch_exactly(self, start: int, end: int, member: str | None) -> Buffer:
        data = self._fetch(start, end)
        size = memoryview(data).nbytes
        if size != end - start:
            raise ShardReadError(
                f"the archive is cut short: {size} bytes instead of {end - start}",
                key=self.key,
                member=member,
                offset=start,
            )
        return data


def _runs(rows: Sequence[int]) -> Iterator[range]:
    """Join neighbours."""
    first = 0
    for at in range(1, len(rows) + 1):
        if at == len(rows) or rows[at] != rows[at - 1] + 1:
            yield range(rows[first], rows[at - 1] + 1)
            first = at


class IndexedBody(SeekableBody):
    """A member of an archive as a stream that can seek.

    Args:
        reader: What fetches and decodes.
        member: The member.

    Attributes:
        member: As above.
    """

    def __init__(self, reader: MemberReader, member: Member) -> None:
        super().__init__(member.size)
        self.member = member
        self._reader = reader
        # What was decoded last, and where it lies in the tar stream.
        self._held = memoryview(b"")
        self._held_start = 0
        self._ahead = 0
        # Digests of the front of the member, as far as that was seen without a gap.
        self._digested = 0
        self._blake3 = None if member.blake3 is None else Blake3()
        self._crc32c = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes, as ``Body.read`` does; a whole member with one fetch."""
        everything = size is None or size < 0 or size >= self._size
        if everything and not self._position and not self.closed and not self._held:
            data = self._reader.read_member(self.member)
            self._position = len(data)
            return data
        return super().read(size)

    def _next_into(self, target: memoryview) -> int:
        left = self._size - self._position
        if left <= 0:
            return 0
        at = self.member.offset + self._position
        if not self._held_start <= at < self._held_start + self._held.nbytes:
            self._load(at, min(left, target.nbytes))
        start = at - self._held_start
        piece = self._held[start : start + min(left, target.nbytes)]
        target[: piece.nbytes] = piece
        self._position += piece.nbytes
        return piece.nbytes

    def _release(self) -> None:
        self._held = memoryview(b"")

    def _load(self, at: int, wanted: int) -> None:
        """Decode what lies at a place of the tar stream; more of it the longer reads go on."""
        goes_on = self._held.nbytes and at == self._held_start + self._held.nbytes
        self._ahead = min(max(2 * self._ahead, _FIRST_AHEAD), _MOST_AHEAD) if goes_on else 0
        self._held = memoryview(b"")
        size = max(1, min(wanted, _MOST_AHEAD), self._ahead)
        end = min(at + size, self.member.offset + self._size)
        chunks = self._reader.index.chunks
        rows = chunks.covering(at, end) if len(chunks) else range(0)
        low, high = chunks.stored_range(rows) if rows else (at, end)
        start, pieces = self._reader.load(rows, low, high, self.member.path)
        self._digest(start, pieces)
        joined = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._held = memoryview(joined)
        self._held_start = start

    def _digest(self, start: int, pieces: Iterable[Buffer]) -> None:
        """Take in what continues the front of the member, and check the whole at its end."""
        member = self.member
        for piece in pieces:
            view = memoryview(piece)
            due = member.offset + self._digested - start
            fresh = view[due : due + member.size - self._digested] if due >= 0 else view[:0]
            start += view.nbytes
            if not fresh.nbytes:
                continue
            if self._blake3 is not None:
                self._blake3.update(fresh)
            self._crc32c = crc32c(fresh, self._crc32c)
            self._digested += fresh.nbytes
            if self._digested == member.size:
                digest = None if self._blake3 is None else self._blake3.digest()
                _require(member, self._crc32c, digest, self._reader.key)


def verify_member(member: Member, data: Buffer, key: str | None = None) -> None:
    """Check the bytes of a member against its size and digests.

    Args:
        member: The member as the index has it.
        data: Its bytes.
        key: Key of the archive, for errors.

    Raises:
        IntegrityError: They differ.
    """
    size = memoryview(data).nbytes
    if size != member.size:
        raise _mismatch(member, "size", member.size, size, key)
    checksum = None if member.crc32c is None else crc32c(data)
    digest = None if member.blake3 is None else blake3(data)
    _require(member, checksum, digest, key)


def _verify_members(members: Sequence[Member], data: Sequence[bytes], key: str | None) -> None:
    checksums = crc32c_many(data)
    hashed = [at for at, member in enumerate(members) if member.blake3 is not None]
    digests = dict(zip(hashed, many("blake3", [data[at] for at in hashed]), strict=True))
    for at, (member, piece) in enumerate(zip(members, data, strict=True)):
        if len(piece) != member.size:
            raise _mismatch(member, "size", member.size, len(piece), key)
        _require(member, checksums[at], digests.get(at), key)


def _require(member: Member, checksum: int | None, digest: bytes | None, key: str | None) -> None:
    if member.crc32c is not None and checksum is not None and checksum != member.crc32c:
        raise _mismatch(member, "crc32c", f"{member.crc32c:08x}", f"{checksum:08x}", key)
    if member.blake3 is not None and digest is not None and digest != member.blake3:
        raise _mismatch(member, "blake3", member.blake3.hex(), digest.hex(), key)


def _mismatch(
    member: Member, algorithm: str, expected: str | int, actual: str | int, key: str | None
) -> IntegrityError:
    place = "" if key is None else f" of {key!r}"
    return IntegrityError(
        f"{algorithm} of member {member.path!r}{place} is {actual} instead of {expected}",
        key=key,
        member=member.path,
        algorithm=algorithm,
        expected=expected,
        actual=actual,
    )
