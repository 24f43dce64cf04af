"""The entries of the members of a shard: what its internal manifest says of each."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

from shardpack.errors import InvalidManifestError, ShardReadError
from shardpack.exchange.manifest.lines import check_entry, iter_blocks, parse_line

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from shardpack.exchange.types import FileEntry, ManifestEntry

__all__ = ["MOST_MANIFEST_BYTES", "MemberEntries", "check_manifest_size", "parse_member_line"]

# It is held while its archive is read; one of a million members has some 250 MiB.
MOST_MANIFEST_BYTES: Final = 1 << 30

# What is parsed ahead of the members.
_PIECE_BYTES: Final = 32 << 10

_LINE: Final = re.compile(rb"\S[^\n]*")


def check_manifest_size(size: int, *, key: str, path: str) -> None:
    """Refuse an internal manifest that would fill the memory.

    Args:
        size: Its length in bytes.
        key: Key of the archive.
        path: Path of the manifest.

    Raises:
        ShardReadError: It is longer than a gibibyte.
    """
    if size > MOST_MANIFEST_BYTES:
        raise ShardReadError(f"internal manifest of {size} bytes", key=key, member=path)


class _Pieces:
    """A text as a stream, which gives little at a time: most of it waits long for its members."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0

    def read(self, size: int, /) -> bytes:
        piece = self._text[self._at : self._at + min(size, _PIECE_BYTES)]
        self._at += len(piece)
        # Line ends alone are no entries, and many at once.
        return piece if piece.strip(b"\n") else piece[:1]


class MemberEntries:
    """Entries by the paths of members. Lines are parsed some hundred ahead of their members.

    Members are mostly asked for in the order of the lines; then no table is made. Otherwise it has
    the text of each line, not what it says, which would take several times the memory.

    Args:
        archive_key: Key of the archive.
        text: The internal manifest; ``None`` where there is none.
        path: Path of the internal manifest, for errors.
    """

    def __init__(self, archive_key: str, text: bytes | None, path: str) -> None:
        self._archive_key = archive_key
        self._path = path
        self._has_manifest = text is not None
        self._text = text or b""
        self._entries = self._in_order()
        # The entry that comes next, and how many were taken before it.
        self._next: dict[str, Any] | None = None
        self._taken = 0
        self._failure: ShardReadError | None = None
        self._by_path: dict[str, bytes] | None = None

    def take(self, member_path: str, size: int) -> FileEntry:
        """Give the entry of a member, with its keys filled in. Each is given once.

        Args:
            member_path: Path of the member.
            size: Its length in bytes, for an entry that does not say.

        Raises:
            ShardReadError: The internal manifest has a line that is no entry of a member.
        """
        found = self._find(member_path)
        if found is None:
            return {
                "kind": "file",
                "key": f"{self._archive_key}#{member_path}",
                "archive_key": self._archive_key,
                "member_path": member_path,
                "size_bytes": size,
            }
        entry = cast("FileEntry", found)
        entry["archive_key"] = self._archive_key
        entry["member_path"] = member_path
        # A copied archive still names the first one inside.
        entry["key"] = f"{self._archive_key}#{member_path}"
        if entry.get("size_bytes") is None:
            entry["size_bytes"] = size
        return entry

    def missing(self) -> str | None:
        """Give the path of a member that the manifest names and nobody took."""
        if self._by_path is not None:
            return next(iter(self._by_path), None)
        entry = self._peek()
        return None if entry is None else self._path_of(entry)

    def _find(self, member_path: str) -> dict[str, Any] | None:
        if self._by_path is None:
            entry = self._peek()
            if entry is None:
                return None
            if self._path_of(entry) == member_path:
                self._next = None
                self._taken += 1
                return entry
            self._entries.close()
            self._by_path = {
                self._path_of(self._parse(line)): line for line in self._lines(self._taken)
            }
        line = self._by_path.pop(member_path, None)
        return None if line is None else self._parse(line)

    def _peek(self) -> dict[str, Any] | None:
        if self._failure is not None:
            raise self._failure
        if self._next is None:
            try:
                self._next = next(self._entries, None)
            except ShardReadError as error:
                # What comes after it cannot be told from the end by whoever asks again.
                self._failure = error
                raise
        return self._next

    def _in_order(self) -> Generator[dict[str, Any], None, None]:
        given = 0
        try:
            for block in iter_blocks(_Pieces(self._text)):
                for entry in block.entries:
                    if entry["kind"] != "file":
                        raise self._of_another_kind(entry)
                    given += 1
                    yield cast("dict[str, Any]", entry)
        except InvalidManifestError:
            # Old archives have lines that are read one by one.
            yield from map(self._parse, self._lines(given))

    def _lines(self, first: int) -> Iterator[bytes]:
        # One after another: the list of all of them takes more memory than the text.
        lines = (found.group() for found in _LINE.finditer(self._text))
        return islice(lines, first, None)

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            entry = cast("dict[str, Any]", parse_member_line(line, self._archive_key))
        except InvalidManifestError as error:
            raise self._bad(str(error)) from error
        if entry["kind"] != "file":
            raise self._of_another_kind(entry)
        return entry

    def _of_another_kind(self, entry: Mapping[str, Any]) -> ShardReadError:
        return self._bad(f"an entry of kind {entry['kind']!r}")

    @staticmethod
    def _path_of(entry: dict[str, Any]) -> str:
        path = entry.get("member_path")
        return str(path) if path else str(entry["key"]).partition("#")[2] or str(entry["key"])

    def _bad(self, message: str) -> ShardReadError:
        return ShardReadError(
            f"damaged internal manifest: {message}", key=self._archive_key, member=self._path
        )


def parse_member_line(
    line: bytes, archive_key: str, line_number: int | None = None
) -> ManifestEntry:
    """Read a line of the manifest inside of an archive.

    Args:
        line: The line.
        archive_key: Key of the archive.
        line_number: Its number, counted from 1, for errors.

    Raises:
        InvalidManifestError: The line is no entry.
    """
    try:
        return parse_line(line, line_number)
    except InvalidManifestError:
        # Old archives have lines without keys, which follow from the paths of the members.
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict) or "key" in entry or "member_path" not in entry:
            raise
        entry["key"] = f"{archive_key}#{entry['member_path']}"
        check_entry(entry, line_number)
        return cast("ManifestEntry", entry)
