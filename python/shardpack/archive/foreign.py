"""Indexes for archives of other writers, made in one pass over them.

A plain tar needs nothing but the places of its members. gzip archives of any writer become seekable
by checkpoints, gzip members and frames of zstd and S4 by themselves. bzip2 and xz, and what was
compressed as one piece of more than 64 MiB that cannot be entered, stay what they are: their index
knows the members, and readers go through the archive (``ArchiveIndex.seekable``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shardpack.archive.chunks import ChunkTable
from shardpack.archive.decoding import SNIFFED_BYTES, TarStream, sniff_compression
from shardpack.archive.entry_points import find_entry_points
from shardpack.archive.index import ArchiveIndex, Member
from shardpack.archive.left_out import LeftOutMembers, is_left_out
from shardpack.archive.reader import iter_members
from shardpack.checksum import crc32c, crc32c_many
from shardpack.frame_io.source import ByteSource, open_source
from shardpack.hash import Blake3, many
from shardpack.progress import progress_callback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shardpack.archive.compression import ReadableCompression
    from shardpack.archive.reader import MemberBody
    from shardpack.archive.tar import TarMember
    from shardpack.frame_io.source import SourceLike
    from shardpack.progress import Progress

__all__ = ["DEFAULT_SPAN", "build_index"]

DEFAULT_SPAN: Final = 1 << 20
"""Original bytes between two checkpoints, unless the caller says otherwise.

A checkpoint costs the index some kilobytes for text and next to nothing for what does not compress.
"""

_LEAST_SPAN: Final = 32 << 10
_INTERNAL_MANIFEST: Final = "__manifest__.jsonl"

# Members are hashed some at a time; larger ones as they come.
_HELD_BYTES: Final = 4 << 20
_HELD_COUNT: Final = 1024


class _Watched:
    """Stored bytes on their way: counted and hashed."""

    def __init__(self, source: ByteSource, progress: Progress) -> None:
        self._source = source
        self._tell = progress_callback(progress)
        self.hasher = Blake3()

    def read(self, size: int) -> bytes:
        piece = self._source.take_some(size)
        self.hasher.update(piece)
        self._tell(self._source.position)
        return piece


def build_index(
    stream: SourceLike,
    compression: ReadableCompression | None,
    *,
    key: str | None = None,
    span: int = DEFAULT_SPAN,
    progress: Progress = None,
) -> ArchiveIndex:
    """Read an archive once and make the index that its members are read by.

    All checksums of the archive are checked on the way. Of links and devices the number is
    noted, and the first of them (``ArchiveIndex.left_out``), of sparse files their number alone
    (``ArchiveIndex.sparse``); of several files with one path the last counts, as for ``tar``.

    Args:
        stream: The stored archive: a binary file object (read from where it stands, and left
            open), a path or an iterable of buffers. Its own errors pass through.
        compression: How it is compressed, where its first bytes do not say.
        key: Key of the archive, for errors.
        span: Original bytes between two places from which decoding can begin, about. A read of one
            member decodes up to that much more than the member; a checkpoint inside of a gzip
            member costs at most 32 KiB of the index.
        progress: Called with the number of stored bytes read so far, or a tqdm bar.

    Returns:
        The index, with digests of all members, not bound to an ETag yet.

    Raises:
        ShardReadError: The archive is damaged or cut short, as for ``iter_archive``.
        ValueError: The span is below 32 KiB.
    """
    if span < _LEAST_SPAN:
        raise ValueError(f"a span of {span} bytes is below {_LEAST_SPAN}")
    opened = open_source(stream)
    opened.seekable = False
    try:
        watched = _Watched(opened, progress)
        source = ByteSource(watched)
        compression = sniff_compression(source.peek(SNIFFED_BYTES), otherwise=compression)
        points = find_entry_points(source, compression, span)
        tar = TarStream(points.pieces(), source, compression, key=key)
        holey: dict[str, int] = {}
        left_out = LeftOutMembers()
        members = list(_digested(_noted(iter_members(tar), left_out), holey))
    finally:
        opened.close()
    first = members[0].path if members else None
    members, sparse = _last_of_each(members, holey)
    return ArchiveIndex(
        compression=compression,
        stored_size=source.position,
        original_size=tar.position,
        chunks=points.table() or ChunkTable((), ()),
        members=members,
        blake3=watched.hasher.digest(),
        internal_manifest_path=first if first == _INTERNAL_MANIFEST else None,
        sparse=sparse,
        left_out=left_out,
    )


def _noted(
    found: Iterator[tuple[TarMember, MemberBody]], left_out: LeftOutMembers
) -> Iterator[tuple[TarMember, MemberBody]]:
    for member, body in found:
        if is_left_out(member):
            left_out.add(member)
        yield member, body


def _last_of_each(members: list[Member], holey: dict[str, int]) -> tuple[list[Member], int]:
    """Leave out what a later sparse file replaces; tell how many of these nothing replaces."""
    if not holey:
        return members, 0
    last = {member.path: member.offset for member in members}
    kept = [member for member in members if holey.get(member.path, -1) < last[member.path]]
    return kept, sum(last.get(path, -1) < offset for path, offset in holey.items())


def _digested(
    found: Iterator[tuple[TarMember, MemberBody]], holey: dict[str, int]
) -> Iterator[Member]:
    """Note the files among the members, with their digests; of sparse ones where they lie."""
    held: list[tuple[TarMember, bytes]] = []
    held_bytes = 0
    for member, body in found:
        if member.sparse is not None:
            holey[member.path] = member.offset
        if member.kind != "file":
            continue
        if member.size >= _HELD_BYTES:
            yield from _digest(held)
            held, held_bytes = [], 0
            yield _digest_large(member, body)
            continue
        held.append((member, body.read()))
        held_bytes += member.size
        if held_bytes >= _HELD_BYTES or len(held) >= _HELD_COUNT:
            yield from _digest(held)
            held, held_bytes = [], 0
    yield from _digest(held)


def _digest(held: list[tuple[TarMember, bytes]]) -> Iterator[Member]:
    data = [each for _, each in held]
    digests = zip(crc32c_many(data), many("blake3", data), strict=True)
    for (member, _), (checksum, digest) in zip(held, digests, strict=True):
        yield Member(member.path, member.offset, member.size, checksum, digest)


def _digest_large(member: TarMember, body: MemberBody) -> Member:
    hasher = Blake3()
    checksum = 0
    for piece in body.iter_chunks():
        hasher.update(piece)
        checksum = crc32c(piece, checksum)
    return Member(member.path, member.offset, member.size, checksum, hasher.digest())
