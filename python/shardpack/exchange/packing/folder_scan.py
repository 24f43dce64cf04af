"""The files of a folder, in one fixed order."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["FolderScan", "FoundFile", "LeftOut", "glob_matcher"]


class LeftOut(NamedTuple):
    """Something in a folder that was not packed.

    Attributes:
        path: Its path below the folder.
        reason: ``"symlink"``, ``"special"`` (a device, pipe or socket) or ``"loop"`` (a link to a
            folder that it lies in).
    """

    path: str
    reason: Literal["symlink", "special", "loop"]


class FoundFile(NamedTuple):
    """A regular file.

    Attributes:
        member_path: Its path below the folder, with ``/``.
        path: Its path.
        size: Its length in bytes.
        mtime_ns: When it was last written.
    """

    member_path: str
    path: str
    size: int
    mtime_ns: int


@dataclass(slots=True)
class _Level:
    prefix: str
    folders: frozenset[tuple[int, int]]


class FolderScan:
    """Walks a folder; iterate over it for the files.

    The order is that of the bytes of the whole paths, whatever the file system's is. One folder
    is held at a time, with those that it lies in.

    Args:
        folder: The folder; a link to one is followed.
        include: Globs; a file must match one of them. All files when empty.
        exclude: Globs; a file or folder that matches one is left out.
        follow_symlinks: Follow symbolic links to files and folders.

    Attributes:
        left_out: What was met and is no file, complete when the iteration is.

    Raises:
        OSError: The folder cannot be read.
    """

    def __init__(
        self,
        folder: str,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        follow_symlinks: bool = False,
    ) -> None:
        self.folder = folder
        self.left_out: list[LeftOut] = []
        self._included = glob_matcher(include) if include else None
        self._excluded = glob_matcher(exclude)
        self._follow = follow_symlinks
        found = os.stat(folder)
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(20, "Not a directory", folder)
        self._root = (found.st_dev, found.st_ino)

    def __iter__(self) -> Iterator[FoundFile]:
        """Walk the folder."""
        return self._walk(self.folder, _Level("", frozenset([self._root])))

    def _walk(self, folder: str, level: _Level) -> Iterator[FoundFile]:
        for name, entry, found in self._sorted(folder, level.prefix):
            path = level.prefix + entry.name
            if name.endswith("/"):
                identity = (found.st_dev, found.st_ino)
                if identity in level.folders:
                    self.left_out.append(LeftOut(path, "loop"))
                    continue
                yield from self._walk(entry.path, _Level(f"{path}/", level.folders | {identity}))
            elif self._included is None or self._included(path):
                yield FoundFile(path, entry.path, found.st_size, found.st_mtime_ns)

    def _sorted(
        self, folder: str, prefix: str
    ) -> list[tuple[str, os.DirEntry[str], os.stat_result]]:
        rows = []
        with os.scandir(folder) as entries:
            for entry in entries:
                path = prefix + entry.name
                if self._excluded(path):
                    continue
                found = self._look_at(entry, path)
                if found is not None:
                    # With the slash a folder stands where its files do: "a-b" before "a/b".
                    name = entry.name + ("/" if stat.S_ISDIR(found.st_mode) else "")
                    rows.append((name, entry, found))
        rows.sort(key=lambda row: os.fsencode(row[0]))
        return rows

    def _look_at(self, entry: os.DirEntry[str], path: str) -> os.stat_result | None:
        if entry.is_symlink() and not self._follow:
            self.left_out.append(LeftOut(path, "symlink"))
            return None
        try:
            found = entry.stat()
        except OSError:
            if not entry.is_symlink():
                raise
            # A link to nothing, or to itself.
            self.left_out.append(LeftOut(path, "symlink"))
            return None
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            if self._included is None or self._included(path):
                self.left_out.append(LeftOut(path, "special"))
            return None
        return found


def glob_matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Make a test for paths of globs.

    ``*`` and ``?`` stay within one part of a path, ``**`` crosses parts, ``[a-z]`` is a set. A
    pattern without a slash is held against the last part of the path.

    Args:
        patterns: The globs.

    Returns:
        Whether a path matches one of them.
    """
    expressions = [re.compile(_expression(pattern), re.DOTALL) for pattern in patterns]

    def matches(path: str) -> bool:
        return any(expression.fullmatch(path) for expression in expressions)

    return matches


_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)
_MEANING = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _expression(pattern: str) -> str:
    anywhere = "/" not in pattern
    parts = ["(?:.*/)?"] if anywhere else []
    for token in _TOKEN.findall(pattern.strip("/")):
        if token in _MEANING:
            parts.append(_MEANING[token])
        elif len(token) > 1:
            negated = token[1] == "!"
            inside = token[1 + negated : -1].replace("\\", "\\\\").replace("[", "\\[")
            parts.append(f"(?!/)[{'^' if negated else ''}{inside.replace('^', chr(92) + '^')}]")
        else:
            parts.append(re.escape(token))
    return "".join(parts)
