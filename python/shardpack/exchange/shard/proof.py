"""Proof that a member lies where an index says, without the ETag that the index was made for.

A copy of an archive has another ETag in its new place, and so has another archive of the same
size. What tells them apart is what is read: the header in front of the member must name it, chunks
must have their checksums, and the bytes their BLAKE3 hash. Then they are what this very archive has
under that path, wherever its other members lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardpack.archive.index import Member
from shardpack.archive.tar import BLOCK_BYTES, build_header, encode_path, parse_header
from shardpack.errors import IntegrityError, ShardReadError
from shardpack.exchange.shard.member_runs import check_members, plan_runs, read_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from shardpack.archive.index import ArchiveIndex

__all__ = ["read_with_header"]


def read_with_header(
    index: ArchiveIndex, member: Member, fetch: Callable[[int, int], Buffer], *, key: str
) -> bytes:
    """Read a member that has a BLAKE3 hash, and what proves that it is there.

    Args:
        index: The index, which may be that of another archive.
        member: The member.
        fetch: Gives a range of the stored archive, all of it.
        key: Key of the archive, for errors.

    Raises:
        IntegrityError: There is no such member in that place, or it has other bytes. So it is too
            where the header does not name the member by itself, as those of long names by other
            programs, so that nothing is proven.
        ShardReadError: A chunk is another one, or bytes are missing.
    """
    header = build_header(encode_path(member.path), member.size)
    start = max(0, member.offset - len(header))
    front = member.offset - start
    around = Member(member.path, start, front + member.size)
    (run,) = plan_runs(index, [around], limits=iter([around.size]))
    (view,) = read_run(index, run, fetch, key=key)
    if not _names(bytes(view[:front]), header, member):
        raise IntegrityError(
            f"no header of member {member.path!r} in front of its place",
            key=key,
            member=member.path,
            algorithm="header",
        )
    check_members([member], [view[front:]], key=key)
    return bytes(view[front:])


def _names(found: bytes, own: bytes, member: Member) -> bool:
    """Tell whether a header is that of the member, by this package or any other."""
    if found == own:
        return True
    try:
        header = parse_header(found[-BLOCK_BYTES:])
    except ShardReadError:
        return False
    return header is not None and header[:3] == (member.path, member.size, "file")
