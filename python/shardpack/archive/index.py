r"""The index of a shard archive: where its chunks and its members lie.

Stored beside the archive under ``<archive key>.shardindex``. What it is made of:

* The file MUST be zstd frames that decode to a text, followed by the windows of checkpoints, if
  any. Writers emit one frame with its content size and a checksum.
* The text MUST be lines of JSON in UTF-8, each ended by one ``\n``, without spaces between tokens,
  as ``orjson`` writes them. There MUST be no other bytes: no blank lines, no holes.
* Line 1, at most 64 KiB, MUST be an object with ``format`` (``"shardpack-index/1"``),
  ``compression`` (``null``, ``"gzip"``, ``"zstd"``, ``"s4"``, ``"bzip2"``, ``"xz"``),
  ``stored_size`` and ``original_size`` (bytes of the archive and of its tar stream), ``chunks`` and
  ``members`` (their numbers), ``etag``, ``blake3`` (of the stored archive, hexadecimal) and
  ``internal_manifest_path``, the last three ``null`` where unknown. It MUST have ``sparse``, the
  number of sparse files of the archive, if there are any: these have no lines, because their bytes
  lie in pieces, and whoever wants all files of the archive, or one that has no line, MUST go
  through it. It MAY have ``left_out``, an object with the ``count`` of members that are neither
  files nor folders, and the ``first`` of them as arrays of path and kind. It MAY have more fields;
  readers MUST ignore those that they do not know.
* Line 2 MUST be an object with ``stored`` and ``original``, the length of each chunk, and
  ``crc32c``, the CRC32C of each decoded chunk as a number, or ``null`` for all. Lengths MUST be
  positive, ``original`` at most 2^30, and add up to ``stored_size`` and ``original_size``. Readers
  MAY refuse more than 2^23 of them, and more than 2^21 members; writers SHOULD stay below. There
  MAY be no chunks: where ``compression`` is ``null`` an offset of the tar stream then is an offset
  of the archive, else members can only be read by going through the archive.
* Line 2 MAY have ``bits`` and ``windows`` where ``compression`` is ``"gzip"``: the chunks then
  begin at checkpoints, with so many bits of the first byte (0 to 7) belonging to the chunk before,
  and the decoder must have seen so many bytes (0 to 32768). Those bytes MUST follow the text.
* Each further line MUST be an array: the path of a member, the offset of its data in the tar
  stream, its size, and its CRC32C (8 hexadecimal digits) and BLAKE3 (64) or ``null``. The data MUST
  lie inside of ``original_size``. Lines MUST be in the order of the archive, and paths differ. A
  path that is no UTF-8 has ``\udc80`` to ``\udcff`` for its odd bytes, all of its non-ASCII
  characters being escaped then.
* Paths MAY be anything that the archive has; readers MUST look members up by them and nothing else.

A member is found in the text by the bytes that its line begins with, so that one read of one
member does not parse the lines of all others.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import orjson

from shardpack.archive.index_head import BLAKE3_DIGITS, FORMAT, IndexHead, table_fields, unhex
from shardpack.archive.left_out import LeftOutMembers
from shardpack.codec import CpuZstd
from shardpack.errors import ShardpackError, ShardReadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from typing_extensions import Buffer

    from shardpack.archive.chunks import ChunkTable
    from shardpack.archive.compression import ReadableCompression

__all__ = ["INDEX_SUFFIX", "MAX_INDEX_SIZE", "ArchiveIndex", "Member", "index_key"]

INDEX_SUFFIX = ".shardindex"
"""What the key of an index has behind the key of its archive."""

MAX_INDEX_SIZE = 256 << 20
"""Most decoded bytes of an index that is read, unless the caller says otherwise."""

# Most of an index is digests, of which higher levels make nothing smaller and decoding slower.
_LEVEL = 1

_CRC32C_DIGITS = 8
_MEMBER_FIELDS = 5

# Parsed together; and the longest line, of a path of one mebibyte with all of it escaped.
_LINES_BYTES = 1 << 20
_MOST_LINE_BYTES = (6 << 20) + 1024

# From so many searches of the whole text on, one pass that makes a dict of it is cheaper.
_SEARCHES = 8


class Member(NamedTuple):
    """One file of an archive.

    Attributes:
        path: Its path, as the archive has it.
        offset: Where its bytes begin in the tar stream.
        size: How many they are.
        crc32c: Their CRC32C, ``None`` where it is not known.
        blake3: Their BLAKE3 hash, ``None`` where it is not known.
    """

    path: str
    offset: int
    size: int
    crc32c: int | None = None
    blake3: bytes | None = None


def index_key(archive_key: str) -> str:
    """Give the key of the index of an archive."""
    return archive_key + INDEX_SUFFIX


class ArchiveIndex:
    """Where the chunks and members of one archive lie. It pickles.

    Args:
        compression: What the archive is compressed with.
        stored_size: Length of the stored archive in bytes.
        original_size: Length of its tar stream in bytes.
        chunks: Its chunks; none for a plain tar that was indexed as it lay.
        members: Its files, in the order of the archive. Of several with one path the last counts,
            as for ``tar``.
        etag: The store's tag of the archive that the index was made for, without quotes.
        blake3: BLAKE3 hash of the stored archive.
        internal_manifest_path: Path of the member that describes the others.
        sparse: How many more files the archive has, which are sparse: those are only read by going
            through it.
        left_out: Its members that are neither files nor folders.

    Attributes:
        compression: As above, like the others.
        doubtful: Whether ``etag`` is that of an archive which may be another one, see ``doubted``.
    """

    __slots__ = (
        "_lines",
        "_members",
        "_searches",
        "_text",
        "blake3",
        "chunks",
        "compression",
        "doubtful",
        "etag",
        "internal_manifest_path",
        "key",
        "left_out",
        "member_count",
        "original_size",
        "sparse",
        "stored_size",
    )

    def __init__(  # noqa: PLR0913 - the facts of an archive
        self,
        *,
        compression: ReadableCompression | None,
        stored_size: int,
        original_size: int,
        chunks: ChunkTable,
        members: Iterable[Member],
        etag: str | None = None,
        blake3: bytes | None = None,
        internal_manifest_path: str | None = None,
        sparse: int = 0,
        left_out: LeftOutMembers | None = None,
    ) -> None:
        by_path: dict[str, Member] = {}
        for member in members:
            # Out and in again, so that the last one also stands where it lies.
            by_path.pop(member.path, None)
            by_path[member.path] = member
        self.compression = compression
        self.stored_size = stored_size
        self.original_size = original_size
        self.chunks = chunks
        self.etag = etag
        self.blake3 = blake3
        self.internal_manifest_path = internal_manifest_path
        self.sparse = sparse
        self.doubtful = False
        self.left_out = left_out or LeftOutMembers()
        self.member_count = len(by_path)
        self.key: str | None = None
        self._members: dict[str, Member] | None = by_path
        # The text without its windows, and where the lines of the members begin in it.
        self._text: bytes | None = None
        self._lines = (0, 0)
        self._searches = 0

    @property
    def seekable(self) -> bool:
        """Whether members can be read without going through the archive from its front."""
        return self.compression is None or len(self.chunks) > 0

    @property
    def members(self) -> Mapping[str, Member]:
        """All members by their paths, in the order of the archive.

        Raises:
            ShardReadError: A line of the index is damaged.
        """
        if self._members is None:
            self._members = self._parse_members()
        return MappingProxyType(self._members)

    def member(self, path: str) -> Member | None:
        """Find one member.

        Args:
            path: Its path, as the archive has it.

        Returns:
            The member, ``None`` if there is none.

        Raises:
            ShardReadError: Its line in the index is damaged.
        """
        if self._members is None:
            self._searches += 1
            if self._searches <= _SEARCHES:
                return self._search(path)
            self._members = self._parse_members()
        return self._members.get(path)

    def __len__(self) -> int:
        return self.member_count

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self.member(path) is not None

    def __repr__(self) -> str:
        return (
            f"<ArchiveIndex of {self.member_count} members in {len(self.chunks)} chunks,"
            f" compression {self.compression}>"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArchiveIndex) and self._decoded() == other._decoded()

    def __hash__(self) -> int:
        return hash((self.stored_size, self.original_size, self.member_count, self.blake3))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._decoded(), self.key, self.doubtful)

    def chunks_for(self, start: int, end: int) -> range:
        """Tell which chunks hold a range of the tar stream; see ``ChunkTable.covering``."""
        return self.chunks.covering(start, end)

    def stored_range(self, start: int, end: int) -> tuple[int, int]:
        """Tell which bytes of the stored archive a range of the tar stream needs.

        Args:
            start: First byte in the tar stream.
            end: First byte after the range.

        Returns:
            First byte in the archive, and first byte after them: whole chunks, or just the range
            where nothing is compressed.
        """
        if self.compression is None:
            return start, end
        rows = self.chunks.covering(start, end)
        return self.chunks.stored_range(rows) if rows else (0, 0)

    def bind(self, stored_size: int, etag: str | None) -> Self:
        """Say which version of the archive in a store this index belongs to.

        Args:
            stored_size: Length of the archive there, in bytes.
            etag: The store's tag of it; quotes around it are removed.

        Returns:
            This index.

        Raises:
            ValueError: The archive has another length than the one indexed.
        """
        if stored_size != self.stored_size:
            raise ValueError(
                f"the archive has {stored_size} bytes, the index is of one with {self.stored_size}"
            )
        self.etag = None if etag is None else etag.removeprefix("W/").strip('"')
        return self

    def doubted(self, etag: str) -> ArchiveIndex:
        """Give the same index for an archive of the same length with another tag.

        That may be a copy, or another archive: whoever reads by this index must find out which.

        Args:
            etag: The store's tag of that archive.
        """
        made = object.__new__(ArchiveIndex)
        for name in self.__slots__:
            setattr(made, name, getattr(self, name))
        made.doubtful = True
        return made.bind(self.stored_size, etag)

    # --- bytes ------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Give the bytes to store: always the same for the same index."""
        codec = CpuZstd(_LEVEL, content_size=True, checksum=True)
        return codec.compress(self._decoded())[0]

    @classmethod
    def from_bytes(
        cls, data: Buffer, *, max_size: int = MAX_INDEX_SIZE, key: str | None = None
    ) -> Self:
        """Read stored bytes.

        Args:
            data: What ``to_bytes`` gave.
            max_size: Most bytes that they may decode to.
            key: Key of the index, for errors.

        Returns:
            The index.

        Raises:
            ShardReadError: The bytes are no index, are damaged, or decode to more than
                ``max_size`` bytes.
        """
        try:
            decoded = CpuZstd().decompress_all(data, max_original_size=max_size)
        except ShardpackError as error:
            raise ShardReadError(f"damaged archive index: {error}", key=key) from error
        return cls._from_decoded(decoded, key)

    @classmethod
    def _from_decoded(cls, decoded: bytes, key: str | None) -> Self:
        parsed = IndexHead(decoded, key)
        made = cls(
            compression=parsed.compression,
            stored_size=parsed.size("stored_size"),
            original_size=parsed.size("original_size"),
            chunks=parsed.chunks(),
            members=(),
            etag=parsed.text("etag"),
            blake3=parsed.digest(),
            internal_manifest_path=parsed.text("internal_manifest_path"),
            sparse=parsed.size("sparse", otherwise=0),
            left_out=parsed.left_out(),
        )
        made._take_text(decoded, parsed.member_lines(), parsed.member_count(), key)
        return made

    def _take_text(
        self, text: bytes, lines: tuple[int, int], member_count: int, key: str | None
    ) -> None:
        self.member_count = member_count
        self.key = key
        self._members = None
        self._text = text
        self._lines = lines

    def _decoded(self) -> bytes:
        windows = self.chunks.windows
        lines = [orjson.dumps(self._header()), orjson.dumps(table_fields(self.chunks))]
        if self._text is not None:
            start, end = self._lines
            rest = self._text[start:end]
        else:
            members = self.members.values()
            rest = b"".join([_line(member) for member in members])
        return b"".join([b"\n".join(lines), b"\n", rest, *(windows or ())])

    def _header(self) -> dict[str, Any]:
        header: dict[str, Any] = {
            "format": FORMAT,
            "compression": self.compression,
            "stored_size": self.stored_size,
            "original_size": self.original_size,
            "chunks": len(self.chunks),
            "members": self.member_count,
            "etag": self.etag,
            "blake3": None if self.blake3 is None else self.blake3.hex(),
            "internal_manifest_path": self.internal_manifest_path,
        }
        if self.sparse:
            header["sparse"] = self.sparse
        if self.left_out.count:
            header["left_out"] = self.left_out.to_fields()
        return header

    # --- members ----------------------------------------------------------------------------

    def _search(self, path: str) -> Member | None:
        """Find a member in the text by the bytes that its line begins with.

        No JSON string holds a line end, so that they are found at the start of a line only.
        """
        assert self._text is not None  # noqa: S101 - made from a text, or with its members
        start, end = self._lines
        wanted = b"\n[" + _json_text(path) + b","
        found = -1
        # The last of several counts; from the front because only that search is always linear.
        at = self._text.find(wanted, start - 1, end)
        while at >= 0:
            found = at
            at = self._text.find(wanted, at + len(wanted), end)
        if found < 0:
            return None
        line = self._text[found + 1 : self._text.index(b"\n", found + 1, end)]
        if len(line) > _MOST_LINE_BYTES:
            raise self._bad(f"a line of more than {_MOST_LINE_BYTES} bytes")
        return self._member_of(self._loads(line))

    def _parse_members(self) -> dict[str, Member]:
        assert self._text is not None  # noqa: S101 - made from a text, or with its members
        # Before they are parsed, which takes some times the memory of their lines.
        lines = self._text.count(b"\n", *self._lines)
        if lines != self.member_count:
            raise self._bad(f"{lines} members instead of {self.member_count}")
        members: dict[str, Member] = {}
        count = 0
        for fields in self._parsed_lines():
            member = self._member_of(fields)
            members.pop(member.path, None)
            members[member.path] = member
            count += 1
        if count != lines:
            raise self._bad(f"{count} members in {lines} lines")
        return members

    def _parsed_lines(self) -> Iterator[Any]:
        assert self._text is not None  # noqa: S101 - made from a text, or with its members
        start, end = self._lines
        while start < end:
            # Some lines at a time as one array: fewer calls, and memory stays bounded.
            stop = self._text.find(b"\n", min(start + _LINES_BYTES, end - 1), end) + 1
            if stop - start > _LINES_BYTES + _MOST_LINE_BYTES:
                raise self._bad(f"a line of more than {_MOST_LINE_BYTES} bytes")
            joined = self._text[start : stop - 1].replace(b"\n", b",")
            yield from self._loads(b"[" + joined + b"]")
            start = stop

    def _loads(self, text: bytes) -> Any:  # noqa: ANN401 - whatever the index holds
        try:
            try:
                return orjson.loads(text)
            except ValueError:
                # Paths that are no UTF-8 have lone surrogates, which orjson does not take.
                return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._bad(f"a line is no json: {error}") from error

    def _member_of(self, fields: Any) -> Member:  # noqa: ANN401 - whatever the index holds
        if type(fields) is not list or len(fields) != _MEMBER_FIELDS:
            raise self._bad("a line is no member")
        path, offset, size, crc, digest = fields
        if type(path) is not str or type(offset) is not int or type(size) is not int:
            raise self._bad("a member has no path, offset and size")
        if offset < 0 or size < 0 or offset + size > self.original_size:
            raise self._bad(
                f"member {path!r} lies at {offset} with {size} bytes, outside of"
                f" {self.original_size}"
            )
        try:
            return Member(
                path,
                offset,
                size,
                None if crc is None else int.from_bytes(unhex(crc, _CRC32C_DIGITS), "big"),
                None if digest is None else unhex(digest, BLAKE3_DIGITS),
            )
        except (TypeError, ValueError) as error:
            raise self._bad(f"member {path!r} has a bad digest") from error

    def _bad(self, message: str) -> ShardReadError:
        return ShardReadError(f"damaged archive index: {message}", key=self.key)


def _rebuild(decoded: bytes, key: str | None, doubtful: bool) -> ArchiveIndex:  # noqa: FBT001 - by position
    made = ArchiveIndex._from_decoded(decoded, key)  # noqa: SLF001 - the other half of pickling
    made.doubtful = doubtful
    return made


def _json_text(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError:
        return json.dumps(text).encode()


def _line(member: Member) -> bytes:
    crc = None if member.crc32c is None else f"{member.crc32c:08x}"
    digest = None if member.blake3 is None else member.blake3.hex()
    try:
        return orjson.dumps(
            (member.path, member.offset, member.size, crc, digest),
            option=orjson.OPT_APPEND_NEWLINE,
        )
    except orjson.JSONEncodeError:
        fields = (member.path, member.offset, member.size, crc, digest)
        return json.dumps(fields, separators=(",", ":")).encode() + b"\n"
