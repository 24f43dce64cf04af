"""Members of an archive that lies in a store, by its index where there is one."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from shardpack.archive.compression import compression_of_key
from shardpack.archive.foreign import build_index
from shardpack.archive.random_access import MemberReader
from shardpack.errors import IntegrityError, ObjectNotFoundError, ShardReadError
from shardpack.exchange.bodies import ArchiveMemberBody
from shardpack.exchange.shard.access import StaleIndexError, StoredArchive
from shardpack.exchange.shard.member_bytes import MemberBytes, member_info
from shardpack.exchange.shard.member_runs import check_members, plan_runs, read_run
from shardpack.exchange.shard.proof import read_with_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from shardpack.archive.index import ArchiveIndex, Member
    from shardpack.archive.reader import MemberBody, TarMember
    from shardpack.exchange.shard.member_runs import MemberRun
    from shardpack.exchange.types import ShardEntry
    from shardpack.progress import Progress

__all__ = ["LARGE_BYTES", "ArchiveSource", "shard_entry_of"]

# Members up to this size are read whole; larger ones are streams.
LARGE_BYTES: Final = 8 << 20


class ArchiveSource(StoredArchive):
    """An archive in a store, whose members are read one by one.

    With an index beside it (``<archive>.shardindex``), a member costs one range of the archive, and
    the index once for a process. The index is used for the version of the archive that it was made
    for: each read asks for that ETag and compares the size. An archive that was replaced has its
    index read again, once, and is read as a stream after that.

    An archive that was copied together with its index has another ETag. Then its size must be the
    one that the index knows, and each read asks for the ETag that is there now. With an entry that
    has the BLAKE3 hash of the index all works as before: all that is read is compared with digests,
    and what differs is refused. Without one, a member of up to 8 MiB is read by its range if its
    header stands in front of it and its chunks and bytes have the digests of the index; where they
    have not, where there is no such member, where it is larger or its name needs more than one
    header of another program, and for lists, the archive is read as a stream.

    Without an index, each call is one pass over the archive, which ends at the member that it looks
    for: of several members with one path the first is found, while an index knows the last, as
    ``tar`` does. Memory is bounded by some mebibytes and by small members in either case. An index
    leaves sparse members out: these, and all members of an archive that has some, are read by a
    pass too, while the others of them are still read by range where they are asked for by path.

    Args:
        space: The store and the prefix of its keys.
        archive_key: Key of the archive.
        entry: What a manifest says of it: an archive of another size or version is refused, and
            the index is looked for where it says.
        caches: Keep the index for others in this process.
    """

    def read(self, member_path: str) -> bytes:
        """Read a member, whatever its size, and compare it with its digests.

        Args:
            member_path: Its path.

        Raises:
            ObjectNotFoundError: There is no such archive (``key`` is its key) or no such member
                (``key`` is the virtual key).
            IntegrityError: The member is not what was recorded.
            ShardReadError: The archive is damaged.
        """
        with self.open(member_path) as body:
            return body.read()

    def open(self, member_path: str) -> ArchiveMemberBody:
        """Open a member. With an index it can seek; up to 8 MiB it is in memory, and checked.

        Args:
            member_path: Its path.

        Raises:
            ObjectNotFoundError: As ``read``, like the others.
        """
        return self.by_index(
            lambda index: self._open_indexed(index, member_path),
            otherwise=lambda: self._open_streamed(member_path),
        )

    def read_many(self, member_paths: Iterable[str]) -> Iterator[tuple[str, ArchiveMemberBody]]:
        """Open members in the order given; neighbours in the archive share a request.

        Args:
            member_paths: Their paths.

        Yields:
            Each path with its body.

        Raises:
            ObjectNotFoundError: As ``read``, like the others; after the members before it.
        """
        paths = list(member_paths)
        index = self.validated_index()
        if index is None:
            for path in paths:
                yield path, self.open(path)
        else:
            yield from self.read_indexed(index, paths)

    def read_indexed(
        self, index: ArchiveIndex, paths: Sequence[str]
    ) -> Iterator[tuple[str, ArchiveMemberBody]]:
        """Do what ``read_many`` does, by an index that fits.

        Args:
            index: The index, see ``validated_index``.
            paths: Paths of the members.

        Yields:
            Each path with its body.
        """
        known = [index.member(path) for path in paths]
        found = [member for member in known if member is not None and member.size <= LARGE_BYTES]
        runs = plan_runs(index, found, limits=iter(lambda: LARGE_BYTES, 0))
        ready: deque[bytes] = deque()
        for path, member in zip(paths, known, strict=True):
            if member is None or member.size > LARGE_BYTES:
                yield path, self.open(path)
                continue
            if not ready:
                # Runs have the members in the order in which they are asked for.
                ready.extend(self.read_run(index, next(runs)))
            yield path, MemberBytes(ready.popleft(), self._member_entry(member))

    def iter_members(self) -> Iterator[tuple[str, ArchiveMemberBody]]:
        """Give all regular members, the internal manifest too, in the order of the archive.

        Each body can be read until the next one is asked for.

        Yields:
            The path of each, with its body.

        Raises:
            ObjectNotFoundError: There is no such archive.
            ShardReadError: The archive is damaged or cut short.
        """
        index = self.validated_index()
        if index is not None:
            yield from self.read_indexed(index, list(index.members))
            return
        for member, data in self.stream():
            if member.is_file:
                yield member.path, self._streamed_body(member, data)

    def build_index(self, *, write: bool = True, progress: Progress = None) -> ArchiveIndex:
        """Read the archive once and make the index that lets its members be read by range.

        Args:
            write: Store the index beside the archive.
            progress: Told the number of bytes of the archive done so far, see
                ``shardpack.progress``.

        Returns:
            The index. Where it is not seekable (``ArchiveIndex.seekable``), members are still read
            by passes over the archive.

        Raises:
            ObjectNotFoundError: There is no such archive.
            ShardReadError: It is damaged.
        """
        with self._get() as body:
            built = build_index(body, self.compression, key=self.archive_key, progress=progress)
            index = built.bind(body.info.size, body.info.etag)
        self.keep_index(index, write=write)
        return index

    def read_run(self, index: ArchiveIndex, run: MemberRun, *, verify: bool = True) -> list[bytes]:
        """Read the members of a run and compare them with their digests.

        Bytes that arrive damaged are read once more: most of them are changed on their way.

        Args:
            index: The index that the run was planned by.
            run: The run.
            verify: Compare with the digests of the index.

        Raises:
            IntegrityError: A member differs, or the archive is not that of the index any more.
            ShardReadError: The archive is damaged.
        """
        try:
            try:
                return self._read_run(index, run, verify=verify)
            except (IntegrityError, ShardReadError) as error:
                if isinstance(error, IntegrityError) and error.algorithm in {"size", "etag"}:
                    raise
                return self._read_run(index, run, verify=verify)
        except StaleIndexError as error:
            raise self.replaced(index) from error

    def read_first(self, index: ArchiveIndex, run: MemberRun) -> bytes:
        """Read a run of one member as the first thing of the archive, see ``by_index``.

        Args:
            index: The index that the run was planned by.
            run: The run.

        Raises:
            StaleIndexError: The archive is not that of the index.
            IntegrityError: As ``read_run``.
            ShardReadError: As ``read_run``.
        """
        return self._read_run(index, run)[0]

    def open_large(self, index: ArchiveIndex, member: Member) -> ArchiveMemberBody:
        """Open a member as a stream that reads ahead, and can seek.

        Args:
            index: The index.
            member: The member.

        Raises:
            IntegrityError: The archive is not that of the index any more.
            ObjectNotFoundError: There is no such archive.
        """

        def fetch(start: int, end: int) -> memoryview:
            try:
                return self.fetch(index, start, end)
            except StaleIndexError as error:
                raise self.replaced(index) from error

        reader = MemberReader(index, fetch, key=self.archive_key)
        info = member_info(
            self.virtual_key(member.path), member.size, crc32c=member.crc32c, blake3=member.blake3
        )
        return ArchiveMemberBody(reader.open(member.path), info=info)

    def _read_run(self, index: ArchiveIndex, run: MemberRun, *, verify: bool = True) -> list[bytes]:
        views = read_run(
            index, run, lambda start, end: self.fetch(index, start, end), key=self.archive_key
        )
        if verify:
            check_members(run.members, views, key=self.archive_key)
        return [bytes(view) for view in views]

    def _open_indexed(self, index: ArchiveIndex, member_path: str) -> ArchiveMemberBody:
        member = index.member(member_path)
        if index.doubtful and not self.knows_all(index, verify=True):
            return self._open_doubtful(index, member)
        if member is None or not member.size or member.size > LARGE_BYTES:
            # Nothing of the archive is read here, so it must be asked for its version.
            self.check_current(index)
        if member is None:
            if index.sparse:
                return self._open_streamed(member_path)
            raise ObjectNotFoundError(self.virtual_key(member_path))
        if member.size > LARGE_BYTES:
            return self.open_large(index, member)
        (run,) = plan_runs(index, [member], limits=iter(lambda: LARGE_BYTES, 0))
        return MemberBytes(self.read_first(index, run), self._member_entry(member))

    def _open_doubtful(self, index: ArchiveIndex, member: Member | None) -> ArchiveMemberBody:
        """Open a member of what may be another archive than that of the index."""
        if member is None or member.blake3 is None or member.size > LARGE_BYTES:
            # Nothing that is read could prove that there is none, and only the last byte of a
            # large one that it is the right one.
            raise StaleIndexError(self.archive_key)
        fetch = partial(self.fetch, index)
        data = read_with_header(index, member, fetch, key=self.archive_key)
        return MemberBytes(data, self._member_entry(member))

    def _open_streamed(self, member_path: str) -> ArchiveMemberBody:
        with ExitStack() as stack:
            members = stack.enter_context(closing(self.stream()))
            for member, data in members:
                if member.path == member_path and member.is_file:
                    if member.size <= LARGE_BYTES:
                        return self._streamed_body(member, data)
                    body = self._streamed_body(member, data)
                    return ArchiveMemberBody(body, stack.pop_all(), info=body.info)
        raise ObjectNotFoundError(self.virtual_key(member_path))

    def _streamed_body(self, member: TarMember, data: MemberBody) -> ArchiveMemberBody:
        key = self.virtual_key(member.path)
        if member.size <= LARGE_BYTES:
            return MemberBytes(data.read(), {"key": key})
        return ArchiveMemberBody(data, info=member_info(key, member.size))

    def _member_entry(self, member: Member) -> dict[str, Any]:
        return {
            "key": self.virtual_key(member.path),
            "crc32c": None if member.crc32c is None else f"{member.crc32c:08x}",
            "blake3": None if member.blake3 is None else member.blake3.hex(),
        }


def shard_entry_of(archive_key: str) -> ShardEntry:
    """Make the entry of an archive of which nothing but its key is known.

    Args:
        archive_key: The key.
    """
    return {
        "kind": "shard",
        "archive_key": archive_key,
        "format": "tar",
        "compression": compression_of_key(archive_key),
    }
