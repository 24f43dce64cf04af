"""What a root manifest becomes when references are added to it, and whether they are in it.

A root that grows by one line with each append would be rewritten whole each time: 1,000 appends
would send 500 times the last root. So references fold: 64 of them move into a manifest of their
own, to which one line of the next level refers, and 64 of those into the next. A root then holds
at most 63 lines of each level, and appending the millionth part costs as much as the thousandth.
The order of the lines stays, none is written anew: those that move, move byte for byte.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import orjson

from shardpack.exchange.manifest.parts import level_key, part_key, put_new, ref_line
from shardpack.exchange.manifest.stream import read_root

if TYPE_CHECKING:
    from shardpack.exchange.keys import Space
    from shardpack.exchange.manifest.stream import Root

__all__ = ["FOLD", "MOST_FLAT_BYTES", "RootPlanner", "Verdict", "lines_of", "ref_of"]

#: How many references of one level make one of the next.
FOLD: Final = 64
#: A root with more than this beside its references is moved into a part.
MOST_FLAT_BYTES: Final = 256 << 10


def ref_of(line: bytes) -> tuple[str, int] | None:
    """Read a line as a plain reference.

    Args:
        line: The line.

    Returns:
        The key and the level; ``None`` for all other lines, damaged ones too.
    """
    if b"manifest_ref" not in line:
        return None
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(entry, dict) or entry.get("kind") != "manifest_ref" or "layout" in entry:
        return None
    key, level = entry.get("key"), entry.get("level", 0)
    if not isinstance(key, str) or not isinstance(level, int) or level < 0:
        return None
    return key, level


def lines_of(root: bytes) -> list[bytes]:
    """Split a root into its lines; a root of blanks alone has none.

    Args:
        root: Its bytes.
    """
    if not root or root.isspace():
        return []
    lines = root.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


class RootPlanner:
    """Says what a root becomes, again for each try; what it wrote for one try serves the next.

    Args:
        space: Where the manifest lies.
        key: Its key.
        conditional: Whether the store honours conditions.
    """

    def __init__(self, space: Space, key: str, *, conditional: bool) -> None:
        self._space = space
        self._key = key
        self._conditional = conditional
        self._nodes: dict[tuple[int, bytes], str] = {}
        self._copies: dict[str, str] = {}

    def appended(self, root: Root, refs: list[bytes]) -> bytes:
        """Give the root with references at its end.

        Args:
            root: The root as it is.
            refs: The lines to add.

        Returns:
            The bytes to write. Whatever they refer to has been written.

        Raises:
            PreconditionFailedError: The root was replaced meanwhile.
        """
        lines = lines_of(root.data)
        flat = _trailing_refs_from(lines)
        if sum(map(len, lines[:flat])) > MOST_FLAT_BYTES:
            lines = [self._moved(root.etag)]
        else:
            self._fold(lines)
        return b"\n".join([*lines, *refs]) + b"\n"

    def _moved(self, etag: str | None) -> bytes:
        if etag is None or etag not in self._copies:
            target = part_key(self._key)
            self._space.objects.copy(
                self._space.full(self._key),
                self._space.full(target),
                if_match=etag if self._conditional else None,
            )
            if etag is None:
                return ref_line(target)
            self._copies[etag] = target
        return ref_line(self._copies[etag])

    def _fold(self, lines: list[bytes]) -> None:
        level = 0
        while True:
            start = len(lines)
            while start and _level_of(lines[start - 1]) == level:
                start -= 1
            if len(lines) - start < FOLD:
                return
            level += 1
            lines[start:] = [ref_line(self._node(lines[start:], level), level)]

    def _node(self, lines: list[bytes], level: int) -> str:
        data = b"\n".join(lines) + b"\n"
        name = (level, hashlib.sha256(data).digest())
        if name not in self._nodes:
            self._nodes[name] = put_new(
                self._space,
                lambda: level_key(self._key, level),
                data,
                exclusive=self._conditional,
            )
        return self._nodes[name]


def _level_of(line: bytes) -> int | None:
    ref = ref_of(line)
    return None if ref is None else ref[1]


def _trailing_refs_from(lines: list[bytes]) -> int:
    start = len(lines)
    while start and ref_of(lines[start - 1]) is not None:
        start -= 1
    return start


class Verdict:
    """Whether a write whose answer got lost took effect, from what the root is now.

    Args:
        space: Where the manifest lies.
        base: The root to which references were added.
        wanted: Keys of those references.

    Attributes:
        applied: They are in the root, or were folded since.
        known: Whether that can be told; not where the root was overwritten or compacted since.
    """

    def __init__(self, space: Space, base: bytes, wanted: list[str], now: bytes) -> None:
        self._space = space
        base_lines = lines_of(base)
        self._base_refs = {ref[0] for ref in map(ref_of, base_lines) if ref is not None}
        looked_for = self._base_refs | set(wanted)
        found = self._found(now, looked_for)
        self.applied = set(wanted) <= found
        # A compaction leaves entries where references were, and no trace of which.
        now_lines = lines_of(now)
        unchanged = now_lines[: len(base_lines)] == base_lines and None not in map(
            ref_of, now_lines[len(base_lines) :]
        )
        kept = bool(self._base_refs) and self._base_refs <= found
        self.known = self.applied or unchanged or kept

    def _found(self, root: bytes, looked_for: set[str]) -> set[str]:
        found: set[str] = set()
        waiting = [root]
        opened: set[str] = set()
        while waiting:
            for line in lines_of(waiting.pop()):
                ref = ref_of(line)
                if ref is None:
                    continue
                key, level = ref
                found.add(key)
                # What the root had before cannot hold what was added to it.
                if level and key not in self._base_refs and key not in opened:
                    opened.add(key)
                    waiting.append(read_root(self._space, key).data)
        return found & looked_for
