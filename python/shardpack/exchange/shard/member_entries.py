"""The entries of the members of a shard: what its internal manifest says of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from shardpack.errors import InvalidManifestError, ShardReadError
from shardpack.exchange.manifest.lines import parse_line

if TYPE_CHECKING:
    from shardpack.exchange.types import FileEntry

__all__ = ["MOST_MANIFEST_BYTES", "MemberEntries", "check_manifest_size"]

# It is held while its archive is read; one of a million members has some 250 MiB.
MOST_MANIFEST_BYTES: Final = 1 << 30


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


class MemberEntries:
    """Entries by the paths of members. Lines are parsed when their member is asked for.

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
        self._lines = [line for line in (text or b"").split(b"\n") if line and not line.isspace()]
        self._next = 0
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
        if self._next < len(self._lines):
            return self._path_of(self._parse(self._lines[self._next]))
        return None

    def _find(self, member_path: str) -> dict[str, Any] | None:
        if self._by_path is None:
            if self._next == len(self._lines):
                return None
            entry = self._parse(self._lines[self._next])
            if self._path_of(entry) == member_path:
                self._next += 1
                return entry
            self._by_path = {
                self._path_of(self._parse(line)): line for line in self._lines[self._next :]
            }
        line = self._by_path.pop(member_path, None)
        return None if line is None else self._parse(line)

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            entry = cast("dict[str, Any]", parse_line(_with_key(line), key=self._path))
        except InvalidManifestError as error:
            raise self._bad(str(error)) from error
        if entry["kind"] != "file":
            raise self._bad(f"an entry of kind {entry['kind']!r}")
        return entry

    @staticmethod
    def _path_of(entry: dict[str, Any]) -> str:
        path = entry.get("member_path")
        return str(path) if path else str(entry["key"]).partition("#")[2] or str(entry["key"])

    def _bad(self, message: str) -> ShardReadError:
        return ShardReadError(
            f"damaged internal manifest: {message}", key=self._archive_key, member=self._path
        )


def _with_key(line: bytes) -> bytes:
    """Let a line without a key pass: some were written so, and the path of the member stands in."""
    if b'"key"' in line or not line.lstrip().startswith(b"{"):
        return line
    return b'{"key":"",' + line.lstrip()[1:]
