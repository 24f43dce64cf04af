"""One shard archive, checked from its stored bytes to its last member, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from shardpack.archive.chunks import decode_run
from shardpack.archive.decoding import TarStream
from shardpack.archive.index import INDEX_SUFFIX, MAX_INDEX_SIZE, ArchiveIndex
from shardpack.archive.member_path import check_member_path
from shardpack.archive.reader import iter_archive, iter_members
from shardpack.checksum import crc32c
from shardpack.errors import (
    IntegrityError,
    InvalidManifestError,
    ObjectNotFoundError,
    ShardReadError,
    UnsafePathError,
)
from shardpack.exchange.keys import is_shard_key
from shardpack.exchange.manifest.lines import iter_lines
from shardpack.exchange.shard.access import same_version
from shardpack.frame_io.source import open_source
from shardpack.hash import Blake3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from shardpack.archive.index import Member
    from shardpack.archive.reader import MemberBody, TarMember
    from shardpack.exchange.keys import Space
    from shardpack.frame_io.source import ByteSource
    from shardpack.storage.base import ObjectInfo
    from shardpack.storage.body import ObjectBody

__all__ = ["Finding", "ShardCheck", "text_or_none"]

_PIECE: Final = 1 << 20
_RUN_BYTES: Final = 4 << 20


class Finding(NamedTuple):
    """Something that is not as it should be.

    Attributes:
        key: Key of the object, archive or manifest.
        problem: ``"missing"``, ``"size"``, ``"etag"``, ``"crc32c"``, ``"blake3"``, ``"damaged"``,
            ``"index"`` (missing, damaged, or of another archive), ``"member"`` (missing, twice, or
            not where the index says), ``"count"``, ``"unsafe"`` (a path or link that leaves its
            folder), ``"manifest"`` (unreadable, or in a circle) or ``"unreadable"`` (the store
            refused).
        message: One line about it.
        member: Path of the member, where it is about one.
    """

    key: str
    problem: str
    message: str
    member: str | None = None


class ShardCheck:
    """Checks one archive.

    Args:
        space: Where it lies.
        archive_key: Its key.
        entry: What a manifest says of it.
        on_bytes: Called with the number of stored bytes of each piece that was read.

    Attributes:
        findings: What is wrong.
        members: Members that were read, the internal manifest not counted.
        stored_bytes: Bytes of the archive that were read.
    """

    def __init__(
        self,
        space: Space,
        archive_key: str,
        entry: Mapping[str, Any],
        on_bytes: Callable[[int], object],
    ) -> None:
        self.findings: list[Finding] = []
        self.members = 0
        self.stored_bytes = 0
        self._space = space
        self._key = archive_key
        self._full = space.full(archive_key)
        self._entry = entry
        self._on_bytes = on_bytes
        self._hasher = Blake3()
        self._index: ArchiveIndex | None = None
        self._named: dict[str, int | None] | None = None
        # Whether the index has another tag than the archive, and whether that is taken.
        self._is_copied = False
        self._takes_copies = True

    def run(self, *, full: bool) -> None:
        """Check the archive.

        Args:
            full: Read all of it; otherwise what the store and the index say is compared.
        """
        try:
            if full:
                self._read_whole()
                if self._is_copied and self.findings:
                    # It has another tag, and is that of another archive after all.
                    self._begin_again()
                    self._read_whole()
            else:
                self._compare_facts(self._space.objects.head(self._full))
        except ObjectNotFoundError:
            self._found("missing", "there is no such archive")

    def _read_whole(self) -> None:
        with self._space.objects.get(self._full) as body:
            decided = bool(self._entry.get("blake3"))
            self._compare_facts(body.info, decided=decided, is_read=True)
            self._read(body)

    def _begin_again(self) -> None:
        """Forget all that was found, the index too."""
        self.findings.clear()
        self.members = 0
        self._hasher = Blake3()
        self._index = None
        self._named = None
        self._is_copied = False
        self._takes_copies = False

    # --- facts ------------------------------------------------------------------------------

    def _found(self, problem: str, message: str, member: str | None = None) -> None:
        self.findings.append(Finding(self._key, problem, message, member))

    def _compare_facts(
        self, info: ObjectInfo, *, decided: bool = False, is_read: bool = False
    ) -> None:
        size = self._entry.get("size_bytes")
        if size is not None and size != info.size:
            self._found("size", f"{info.size} bytes, the manifest says {size}")
        meta = self._entry.get("meta")
        etag = text_or_none(meta.get("etag")) if isinstance(meta, dict) else None
        # Where the digest decides: a copy in another place has another tag.
        if not decided and not same_version(etag, info.etag):
            self._found("etag", f"etag {info.etag}, the manifest says {etag}")
        self._load_index(info, is_read=is_read)

    def _may_be_copied(self, index: ArchiveIndex) -> bool:
        """Tell whether an index with another tag may be that of the archive: its digest decides."""
        digest = None if index.blake3 is None else index.blake3.hex()
        return digest is not None and self._entry.get("blake3") in (None, digest)

    def _load_index(self, info: ObjectInfo, *, is_read: bool) -> None:
        named = self._entry.get("index_key")
        try:
            key = self._space.full(str(named)) if named else self._full + INDEX_SUFFIX
            with self._space.objects.get(key) as body:
                if body.info.size > MAX_INDEX_SIZE:
                    self._found("index", f"the index has {body.info.size} bytes")
                    return
                data = body.read()
            index = ArchiveIndex.from_bytes(data, key=key)
            # Read to the end, so that each of its lines is checked.
            members = index.members
        except ObjectNotFoundError:
            # Older writers make none; an entry that names one promises it.
            if named:
                self._found("index", "there is no index")
            return
        except (ShardReadError, UnsafePathError) as error:
            self._found("index", str(error))
            return
        is_same = same_version(index.etag, info.etag)
        if index.stored_size != info.size or not (
            is_same or (is_read and self._takes_copies and self._may_be_copied(index))
        ):
            self._found("index", "the index is that of another archive")
            return
        self._index = index
        self._is_copied = not is_same
        told = self._entry.get("count")
        inside = self._manifest_path in members
        if told is not None and told != len(members) - inside:
            self._found("count", f"the index has {len(members) - inside} members, not {told}")

    @property
    def _manifest_path(self) -> str:
        told = self._entry.get("internal_manifest_path")
        if not told and self._index is not None:
            told = self._index.internal_manifest_path
        return str(told or "__manifest__.jsonl")

    # --- bytes ------------------------------------------------------------------------------

    def _read(self, body: ObjectBody) -> None:
        counted = _Counted(body, self._count)
        seen: set[str] = set()
        try:
            for member, data in self._members(counted):
                self._check_member(member, data, seen)
            over = counted.drain()
        except (ShardReadError, IntegrityError) as error:
            self._found("damaged", str(error), getattr(error, "member", None))
            self._find_damaged_chunks()
            return
        if over and self._index is not None:
            self._found("damaged", f"{over} bytes behind the last chunk of the index")
        self._compare_whole(seen)

    def _count(self, piece: memoryview) -> None:
        self.stored_bytes += piece.nbytes
        self._hasher.update(piece)
        self._on_bytes(piece.nbytes)

    def _members(self, counted: _Counted) -> Iterator[tuple[TarMember, MemberBody]]:
        index = self._index
        if index is None or not len(index.chunks) or index.chunks.bits is not None:
            return iter_archive(counted, self._compression(), key=self._key)
        source = open_source(counted)
        stream = TarStream(self._chunks(source, index), source, index.compression, key=self._key)
        return iter_members(stream)

    def _compression(self) -> Any:  # noqa: ANN401 - a literal that the reader checks
        from shardpack.archive.compression import READABLE_COMPRESSIONS, compression_of_key

        told = self._entry.get("compression")
        return told if told in READABLE_COMPRESSIONS else compression_of_key(self._full)

    def _chunks(self, source: ByteSource, index: ArchiveIndex) -> Iterator[bytes]:
        """Decode each chunk by itself, as a reader of one member does."""
        table = index.chunks
        first = 0
        while first < len(table):
            last = first + 1
            start = table.stored_starts[first]
            while last < len(table) and table.stored_starts[last + 1] - start <= _RUN_BYTES:
                last += 1
            rows = range(first, last)
            size = table.stored_starts[last] - start
            stored = source.take(size)
            yield from decode_run(index.compression, table, rows, stored, key=self._key)
            first = last

    def _check_member(self, member: TarMember, data: MemberBody, seen: set[str]) -> None:
        path = member.path
        if not member.is_file:
            if member.kind in ("symlink", "hardlink", "device", "fifo"):
                self._found("unsafe", f"a {member.kind}, which is never extracted", path)
            return
        try:
            check_member_path(path)
        except UnsafePathError as error:
            self._found("unsafe", str(error), path)
        if path in seen:
            self._found("member", "the path is there twice", path)
        seen.add(path)
        if path == self._manifest_path:
            self._read_named(member, data)
            return
        self.members += 1
        hasher, checksum, size = Blake3(), 0, 0
        while size < member.size and (piece := data.read(_PIECE)):
            hasher.update(piece)
            checksum = crc32c(piece, checksum)
            size += len(piece)
        if self._index is not None:
            self._compare_member(member, self._index.member(path), checksum, hasher.digest())
        if self._named is not None and path in self._named:
            told = self._named[path]
            if told is not None and told != size:
                self._found("size", f"{size} bytes, the internal manifest says {told}", path)

    def _compare_member(
        self, found: TarMember, told: Member | None, checksum: int, digest: bytes
    ) -> None:
        path = found.path
        if told is None and found.sparse is not None and self._index is not None:
            if not self._index.sparse:
                self._found("member", "the index does not count it among sparse ones", path)
            return
        if told is None:
            self._found("member", "the index does not have it", path)
            return
        if (told.offset, told.size) != (found.offset, found.size):
            self._found(
                "member",
                f"{found.size} bytes at {found.offset}, the index says {told.size} at"
                f" {told.offset}",
                path,
            )
        if told.crc32c is not None and told.crc32c != checksum:
            self._found("crc32c", f"{checksum:08x}, the index says {told.crc32c:08x}", path)
        if told.blake3 is not None and told.blake3 != digest:
            self._found("blake3", f"{digest.hex()}, the index says {told.blake3.hex()}", path)

    def _read_named(self, member: TarMember, data: MemberBody) -> None:
        """Read the internal manifest: which members there should be, and how long."""
        named: dict[str, int | None] = {}
        try:
            for entry in iter_lines(data, key=f"{self._key}#{member.path}"):
                path = entry.get("member_path") or str(entry.get("key")).partition("#")[2]
                if entry["kind"] != "file" or not path:
                    self._found("manifest", f"no member entry: {entry!r:.200}", member.path)
                elif path in named:
                    self._found("member", "the internal manifest has it twice", str(path))
                else:
                    named[str(path)] = entry.get("size_bytes")
        except InvalidManifestError as error:
            self._found("manifest", str(error), member.path)
            return
        self._named = named

    def _compare_whole(self, seen: set[str]) -> None:
        inside = seen - {self._manifest_path}
        if self._named is not None:
            for path in self._named.keys() - inside:
                self._found("member", "the internal manifest names it, the archive has none", path)
            for path in inside - self._named.keys():
                self._found("member", "the internal manifest does not name it", path)
        elif self._manifest_path not in seen and is_shard_key(self._key) and self._entry:
            self._found("manifest", "there is no internal manifest", self._manifest_path)
        if self._index is not None:
            for path in self._index.members.keys() - seen:
                self._found("member", "the index has it, the archive does not", path)
        told = self._entry.get("count")
        if told is not None and told != self.members:
            self._found("count", f"{self.members} members, the manifest says {told}")
        digest = self._hasher.hexdigest()
        expected = self._entry.get("blake3")
        if expected is None and self._index is not None and self._index.blake3 is not None:
            expected = self._index.blake3.hex()
        if expected is not None and expected != digest:
            self._found("blake3", f"{digest}, {expected} was recorded")

    def _find_damaged_chunks(self) -> None:
        """Go on behind damage: each chunk stands for itself."""
        index = self._index
        if index is None or index.chunks.bits is not None:
            return
        table = index.chunks
        ends = list(index.members.values())
        for row in range(len(table)):
            rows = range(row, row + 1)
            start, end = table.stored_range(rows)
            try:
                stored = self._space.objects.read(self._full, start=start, end=end)
                decode_run(index.compression, table, rows, stored, key=self._key)
            except ShardReadError as error:
                chunk = table[row]
                low, high = chunk.original_offset, chunk.original_offset + chunk.original_size
                hit = [
                    each for each in ends if each.offset < high and each.offset + each.size > low
                ]
                for member in hit:
                    self._found("damaged", str(error.args[0]), member.path)


def text_or_none(value: object) -> str | None:
    """Give a field of an entry that is text; others write what they like.

    Args:
        value: The field.
    """
    return value if isinstance(value, str) else None


class _Counted:
    """A stream that shows all that is read of it."""

    def __init__(self, body: ObjectBody, show: Callable[[memoryview], object]) -> None:
        self._body = body
        self._show = show

    def read(self, size: int = -1, /) -> bytes:
        piece = self._body.read(size)
        self._show(memoryview(piece))
        return piece

    def drain(self) -> int:
        over = 0
        while piece := self.read(_PIECE):
            over += len(piece)
        return over
