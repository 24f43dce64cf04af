"""What manifests refer to, each of them read once, and what could not be read as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shardpack.errors import InvalidManifestError, ManifestNotFoundError, UnsafePathError
from shardpack.exchange.keys import is_manifest_key
from shardpack.exchange.manifest.lines import iter_lines
from shardpack.exchange.manifest.reading import LISTED, iter_entries
from shardpack.exchange.upkeep.likeness import likeness
from shardpack.exchange.upkeep.names import folder_of
from shardpack.storage.transfer import parallel_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from shardpack.exchange.keys import Space
    from shardpack.exchange.types import (
        FileEntry,
        ManifestEntry,
        ManifestRefEntry,
        ShardEntry,
    )
    from shardpack.exchange.upkeep.likeness import Likeness
    from shardpack.storage.base import ObjectInfo

__all__ = ["References"]


class _Contents(NamedTuple):
    """What one manifest refers to, by full keys.

    Attributes:
        names: Of what may be garbage.
        children: Manifests.
        data: Files that are called like a manifest.
    """

    names: set[str]
    children: list[str]
    data: set[str]


class _Unreadable(NamedTuple):
    """What is no manifest, or not any more.

    Attributes:
        error: Why.
        likeness: What it seems to be.
    """

    error: InvalidManifestError | None
    likeness: Likeness


class References:
    """What manifests refer to, each of them read once.

    Args:
        space: Where they lie.
        names: Full keys of what matters.
        tell: Called for each manifest that was read.

    Attributes:
        referred: Those of the names that are referred to, directly or through other manifests.
    """

    def __init__(self, space: Space, names: set[str], tell: Callable[[], object]) -> None:
        self.referred: set[str] = set()
        self._space = space
        self._names = names
        self._tell = tell
        # What each manifest refers to: other manifests, and folders in which it names something.
        self._children: dict[str, list[str]] = {}
        self._folders: dict[str, set[str]] = {}
        # Roots are told by their extension, which lines of data may have, too.
        self._data: set[str] = set()
        self._manifests: set[str] = set()
        self._unreadable: dict[str, _Unreadable] = {}

    def read(self, roots: Iterable[ObjectInfo]) -> None:
        """Read manifests, and those that they refer to.

        Args:
            roots: What is known of them.

        Raises:
            InvalidManifestError: One that they refer to cannot be read.
            ManifestNotFoundError: One that they refer to is not there.
        """
        first = {root.key: root for root in roots}
        waiting = list(first)
        while waiting:
            batch = [key for key in dict.fromkeys(waiting) if key not in self._children]
            self._children.update((key, []) for key in batch)
            waiting = []
            results = parallel_map(
                lambda key: self._contents(key, first.get(key)),
                batch,
                workers=self._space.objects.concurrency,
            )
            for key, contents in zip(batch, results, strict=True):
                self._tell()
                if isinstance(contents, _Unreadable):
                    self._unreadable[key] = contents
                    continue
                self.referred |= contents.names
                self._data |= contents.data
                self._manifests.update(contents.children)
                self._children[key] = contents.children
                self._folders[key] = {folder_of(name) for name in contents.names}
                waiting += contents.children

    def unreadable(self) -> dict[str, Likeness]:
        """Tell what was passed over, by full key: what seems to be no manifest.

        Raises:
            InvalidManifestError: Something seems to be a damaged one, or is referred to as one. A
                manifest may name it as a file alone: then it is data, whatever stands in it.
        """
        found: dict[str, Likeness] = {}
        for key, (error, seems) in self._unreadable.items():
            if key in self._data and key not in self._manifests:
                continue
            if error is not None and (seems == "manifest" or key in self._manifests):
                raise error
            found[key] = seems
        return found

    def parts_of(self, root: str) -> Iterator[tuple[str, set[str]]]:
        """Give a manifest and its parts, and the folders that each of them names something in.

        Args:
            root: Its full key.
        """
        seen = {root}
        waiting = [root]
        while waiting:
            key = waiting.pop()
            yield key, self._folders.get(key, set())
            for child in self._children.get(key, ()):
                # Other manifests that it refers to were there before, and live on their own.
                if child in self._names and child not in seen:
                    seen.add(child)
                    waiting.append(child)

    def _contents(self, full_key: str, root: ObjectInfo | None) -> _Contents | _Unreadable:
        contents = _Contents(set(), [], set())
        count = 0
        try:
            for entry in self._entries(full_key):
                count += 1
                self._note(entry, contents)
        except ManifestNotFoundError as error:
            referring = (key for key, found in self._children.items() if full_key in found)
            error.referred_by = next(referring, None)
            raise
        except InvalidManifestError as error:
            if root is None:
                raise
            # Of data that others may have put there by the terabyte the first line is read.
            seems = "manifest" if count else likeness(self._space.objects, full_key)
            return _Unreadable(error, seems)
        if root is not None and not root.size and not count:
            return _Unreadable(None, "undecided")
        return contents

    def _entries(self, full_key: str) -> Iterator[ManifestEntry]:
        if self._space.holds(full_key):
            yield from iter_entries(self._space, self._space.relative(full_key), resolve_refs=False)
            return
        with self._space.objects.get(full_key) as body:
            yield from iter_lines(body, key=full_key)

    def _note(self, entry: ManifestEntry, contents: _Contents) -> None:
        if entry["kind"] == "manifest_ref":
            self._note_ref(entry, contents)
            return
        for name in _names_of(entry):
            try:
                full = self._space.full(name)
            except UnsafePathError:
                # A key that leads elsewhere names nothing here.
                continue
            if full in self._names:
                contents.names.add(full)
            elif entry["kind"] == "file" and name == entry["key"] and is_manifest_key(full):
                contents.data.add(full)

    def _note_ref(self, ref: ManifestRefEntry, contents: _Contents) -> None:
        if ref.get("layout") != LISTED:
            full = self._space.full(ref["key"])
            if full in self._names:
                contents.names.add(full)
            contents.children.append(full)
            return
        folder = self._space.full_prefix(ref["key"].rstrip("/") + "/")
        parts = [info.key for info in self._space.objects.list(folder)]
        contents.names.update(part for part in parts if part in self._names)
        contents.children.extend(part for part in parts if is_manifest_key(part))


def _names_of(entry: FileEntry | ShardEntry) -> set[str]:
    """Give the keys that an entry may mean: a ``#`` begins a member, and may stand in any key."""
    archive: object = entry.get("archive_key")
    names = {archive} if isinstance(archive, str) else set()
    if entry["kind"] == "file":
        parts = entry["key"].split("#")
        names.update("#".join(parts[:count]) for count in range(1, len(parts) + 1))
    return names
