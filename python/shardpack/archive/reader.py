"""Read any tar archive once, from front to end, without holding it.

Nothing ends silently: an archive without its two end blocks is cut short, and what compresses it is
read and checked to its very end. Headers that describe the next member are bounded (``tar.py``: one
mebibyte each, 16 in a row), so that no archive fills the memory.
"""

from __future__ import annotations

from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

from shardpack.archive.decoding import SNIFFED_BYTES, TarStream, decode, sniff_compression
from shardpack.archive.holes import filled
from shardpack.archive.tar import BLOCK_BYTES, TarMember, read_header
from shardpack.body import Body
from shardpack.errors import ShardReadError
from shardpack.frame_io.source import open_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shardpack.archive.compression import ReadableCompression
    from shardpack.archive.decoding import Ahead
    from shardpack.frame_io.source import SourceLike

__all__ = ["MemberBody", "TarMember", "iter_archive", "iter_members", "sniff_compression"]

_TAIL_PIECE = 128 * BLOCK_BYTES
_ZERO_BLOCK = bytes(BLOCK_BYTES)


class MemberBody(Body):
    """The bytes of a member, read from the front, while the iteration stands at it.

    Reads are exact: less than was asked for comes only at the end of the member.

    Attributes:
        size: Length of the member in bytes.
    """

    def __init__(self, stream: TarStream, size: int) -> None:
        super().__init__()
        self._stream: TarStream | None = stream
        self._left = size
        self.size = size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes.

        Args:
            size: How many; all that is left when negative or ``None``.

        Returns:
            That many bytes, fewer only at the end.

        Raises:
            ShardReadError: The archive ends before, or is damaged.
            ValueError: The body was closed, or the iteration has moved on.
        """
        stream = self._require_stream()
        left = self._left
        count = left if size is None or not 0 <= size < left else size
        data = stream.take(count)
        self._left = left - count
        return data

    def _next_into(self, target: memoryview) -> int:
        stream = self._require_stream()
        piece = stream.take_some(min(target.nbytes, self._left)) if self._left else b""
        target[: len(piece)] = piece
        self._left -= len(piece)
        return len(piece)

    def _require_stream(self) -> TarStream:
        if self._stream is None:
            raise ValueError("the archive was read on; read a member before asking for the next")
        if self.closed:
            raise ValueError("I/O operation on a closed body")
        return self._stream

    def _leave(self) -> int:
        """End the use of the stream; answer how many bytes were not read."""
        self._stream = None
        return self._left


def iter_archive(
    stream: SourceLike,
    compression: ReadableCompression | None,
    *,
    key: str | None = None,
    ahead: Ahead | None = None,
) -> Iterator[tuple[TarMember, MemberBody]]:
    """Give all members of an archive in its order, with their bytes, in one pass.

    Memory is bounded by some mebibytes, whatever the archive. What is not read of a body is stepped
    over. Sparse members are given with zeros in their holes; links, devices and unsafe paths as
    they are: see ``TarMember.is_file`` and ``check_member_path``.

    Args:
        stream: The stored archive: a binary file object (read from where it stands, and left
            open), a path or an iterable of buffers. Its own errors pass through.
        compression: How it is compressed, where its first bytes do not say.
        key: Key of the archive, for errors.
        ahead: Takes pieces, stored or decoded ones, and gives the same, perhaps read ahead by
            other threads. It is closed at the end, before the stream is.

    Yields:
        A member, and its body, which can be read until the next one is asked for.

    Raises:
        ShardReadError: The archive is damaged, cut short (also where it has no end blocks), or
            goes on behind its end blocks with another archive. Its offset counts stored bytes; for
            compressed archives it is the end of what was read, and the message names the place in
            the tar stream.
    """
    # Threads end first: they read the source.
    threads = nullcontext() if ahead is None else closing(ahead)
    with closing(open_source(stream)) as source, threads:
        # Going back could mean another request.
        source.seekable = False
        compression = sniff_compression(source.peek(SNIFFED_BYTES), otherwise=compression)
        pieces = decode(source, compression, ahead=ahead)
        if ahead is not None:
            pieces = ahead(pieces)
        yield from iter_members(TarStream(pieces, source, compression, key=key))


def iter_members(tar: TarStream) -> Iterator[tuple[TarMember, MemberBody]]:
    """Give all members of a tar stream, as ``iter_archive`` does."""
    pax_global: dict[str, str] = {}
    take = tar.take
    while True:
        try:
            member = read_header(take, position=tar.position, pax_global=pax_global)
        except ShardReadError as error:
            if error is tar.failed:
                raise
            tar.member = error.member
            raise tar.failure(str(error.args[0]), cause=error) from error
        if member is None:
            break
        tar.member = member.path
        sparse = member.sparse
        body = MemberBody(tar if sparse is None else filled(tar, sparse), member.size)
        try:
            yield member, body
        finally:
            left = body._leave()  # noqa: SLF001 - the two are one
        if sparse is not None:
            left = member.offset + sparse.stored_size - tar.position
        tar.skip(left + -member.stored_size % BLOCK_BYTES)
        tar.member = None
    _read_end(tar)


def _read_end(tar: TarStream) -> None:
    """Read what follows the first block of zeros, up to the true end."""
    if tar.take(BLOCK_BYTES) != _ZERO_BLOCK:
        raise tar.failure("one block of zeros instead of the two that end an archive")
    checked = False
    while data := tar.take_at_most(_TAIL_PIECE):
        rest = data.lstrip(b"\0")
        if not rest or checked:
            continue
        # Writers may fill up the last record with whatever their buffer held; that is nothing. A
        # header is: somebody joined two archives, and tar programs would not see the second.
        checked = True
        start = (len(data) - len(rest)) // BLOCK_BYTES * BLOCK_BYTES
        if sniff_compression(data[start : start + BLOCK_BYTES], otherwise="xz") is None:
            raise tar.failure("another archive follows behind the end of this one")
