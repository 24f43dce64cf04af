"""Members that are no files: links, devices and pipes, which readers of files leave out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

if TYPE_CHECKING:
    from shardpack.archive.tar import TarMember

__all__ = ["LeftOutMember", "LeftOutMembers", "is_left_out"]

# An index has its first line within 64 KiB.
_MOST_NAMED_BYTES: Final = 16 << 10
_MOST_PATH_BYTES: Final = 1 << 10


class LeftOutMember(NamedTuple):
    """A member that is no file.

    Attributes:
        path: Its path; bytes that are no UTF-8 are shown as question marks.
        kind: ``"symlink"``, ``"hardlink"``, ``"device"``, ``"fifo"`` or ``"other"``.
    """

    path: str
    kind: str


def is_left_out(member: TarMember) -> bool:
    """Tell whether something of the archive gets lost where files alone are read.

    Folders are no loss: they are made for what lies in them.

    Args:
        member: The member.
    """
    return not member.is_file and member.kind != "directory"


class LeftOutMembers:
    """How many members of an archive are no files, and the first of them, as many as fit.

    Attributes:
        count: All of them.
        first: Those that are named.
    """

    __slots__ = ("_room", "count", "first")

    def __init__(self, count: int = 0, first: tuple[LeftOutMember, ...] = ()) -> None:
        self.count = count
        self.first = first
        self._room = _MOST_NAMED_BYTES

    def add(self, member: TarMember) -> None:
        """Note a member.

        Args:
            member: One that is left out.
        """
        self.count += 1
        stored = member.path.encode("utf-8", "surrogateescape")
        if len(stored) > _MOST_PATH_BYTES:
            return
        named = LeftOutMember(stored.decode("utf-8", "replace"), member.kind)
        size = len(orjson.dumps([*named])) + 1
        if size <= self._room:
            self._room -= size
            self.first = (*self.first, named)

    def to_fields(self) -> dict[str, Any]:
        """Give what the header of an index says of them."""
        return {"count": self.count, "first": [list(each) for each in self.first]}

    @classmethod
    def from_fields(cls, fields: object) -> LeftOutMembers:
        """Read what ``to_fields`` gave.

        Args:
            fields: Whatever the header of an index has there; ``None`` for none.

        Raises:
            ValueError: It is something else.
        """
        if fields is None:
            return cls()
        if not isinstance(fields, dict):
            raise ValueError(f"no object: {fields!r:.80}")  # noqa: TRY004 - damage, not a mistake
        count, rows = fields.get("count"), fields.get("first")
        if type(count) is not int or type(rows) is not list or not len(rows) <= count < 1 << 63:
            raise ValueError(f"no count and names: {fields!r:.80}")
        for row in rows:
            if type(row) is not list or [*map(type, row)] != [str, str]:
                raise ValueError(f"no path and kind: {row!r:.80}")
        return cls(count, tuple(LeftOutMember(path, kind) for path, kind in rows))
