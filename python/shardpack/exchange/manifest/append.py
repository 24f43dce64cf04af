"""Appending to a manifest: entries into new parts, then one change of the root that loses nothing.

Three ways, for three kinds of stores:

* ``"conditional"``: the root is replaced only if it is still the one that was read, and read again
  otherwise. Any number of writers, on stores with conditional writes.
* ``"listed"``: the root holds one line that says where parts lie, and readers list them. Any
  number of writers on any store. Appends of different machines are ordered by their clocks, and
  the manifest cannot be read by ``s3exchange``.
* ``"single-writer"``: the root is read and written without a condition. The caller vouches that
  nobody else writes.
"""

from __future__ import annotations

import hashlib
import random
import time
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, Literal

import orjson

from shardpack.errors import (
    ConcurrencyUnsupportedError,
    PreconditionFailedError,
    StorageError,
    StorageUnavailableError,
)
from shardpack.exchange.manifest.lines import CONTENT_TYPE, serialize_blocks, serialize_entry
from shardpack.exchange.manifest.parts import (
    PART_MAX_BYTES,
    PART_MAX_ENTRIES,
    listed_part_key,
    listed_prefix,
    ref_line,
    write_parts,
)
from shardpack.exchange.manifest.reading import LISTED
from shardpack.exchange.manifest.root import RootPlanner, Verdict, lines_of
from shardpack.exchange.manifest.stream import read_root

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardpack.exchange.keys import Space
    from shardpack.exchange.manifest.stream import Root
    from shardpack.exchange.types import ManifestEntry

__all__ = [
    "AppendMode",
    "Patience",
    "Publication",
    "append",
    "listed_line_of",
    "publish",
    "remove_unreferenced",
    "require_conditions",
]

AppendMode = Literal["conditional", "listed", "single-writer"]

_MODES: Final = ("conditional", "listed", "single-writer")
_MOST_TRIES: Final = 1000
_DEADLINE_S: Final = 180.0
_FIRST_WAIT_S: Final = 0.01
_LONGEST_WAIT_S: Final = 1.0
#: So few entries go into one listed part, without one beside it.
_FEW: Final = 1000


def append(
    space: Space,
    key: str,
    entries: Iterable[ManifestEntry],
    *,
    mode: AppendMode = "conditional",
    part_max_entries: int = PART_MAX_ENTRIES,
    part_max_bytes: int = PART_MAX_BYTES,
) -> list[str]:
    """Add entries at the end of a manifest; one that is not there begins.

    All of the entries appear, in one moment, or none. When the call returns they are there,
    whatever other writers do.

    Args:
        space: Where the manifest lies.
        key: Its key.
        entries: The entries; they are taken as they come.
        mode: ``"conditional"``, ``"listed"`` or ``"single-writer"``, see the module.
        part_max_entries: Most entries of one part.
        part_max_bytes: A part with so many bytes is closed.

    Returns:
        The keys of the parts that were written.

    Raises:
        ConcurrencyUnsupportedError: The store ignores conditions, and the mode needs them.
        InvalidManifestError: Something is no entry; nothing was added.
        PreconditionFailedError: Others changed the root each time before it could be written.
        StorageUnavailableError: The store failed; with ``ambiguous``, after a write whose effect
            cannot be told.
    """
    if mode == "conditional":
        require_conditions(space, key)
    if mode == "listed":
        source = iter(entries)
        few = list(islice(source, _FEW))
        if len(few) < _FEW:
            data = b"".join(block for block, _ in serialize_blocks(few))
            return Publication(space, key, [], mode=mode).run_listed(data)
        entries = chain(few, source)
    parts: list[str] = []
    try:
        write_parts(
            space,
            key,
            entries,
            max_entries=part_max_entries,
            max_bytes=part_max_bytes,
            exclusive=mode == "conditional",
            written=parts,
        )
    except BaseException as error:
        remove_unreferenced(space, parts, error)
        raise
    publish(space, key, parts, mode=mode)
    return parts


def remove_unreferenced(space: Space, keys: Iterable[str], error: BaseException) -> None:
    """Remove what was written before something failed.

    Args:
        space: Where it lies.
        keys: The keys.
        error: The failure; it is told what could not be removed.
    """
    try:
        failures: Iterable[str] = space.objects.delete_many([space.full(key) for key in keys])
    except Exception as second:  # noqa: BLE001 - the first failure is the one to tell
        failures = [str(second)]
    for failure in islice(failures, 3):
        error.add_note(f"not removed: {failure}")


def require_conditions(space: Space, key: str) -> None:
    """Refuse a store that ignores conditional writes.

    Args:
        space: The store.
        key: The key that is about to be written.

    Raises:
        ConcurrencyUnsupportedError: It does.
        StorageError: It cannot be found out.
    """
    if not space.honours_conditions(key):
        raise ConcurrencyUnsupportedError(
            f"{space.objects.url} ignores conditional writes, writers would lose each other's "
            "entries: use append='listed', or append='single-writer' if nobody else writes"
        )


def publish(space: Space, key: str, parts: list[str], *, mode: AppendMode = "conditional") -> None:
    """Make parts that were written visible at the end of a manifest, all in one moment.

    Args:
        space: Where the manifest lies.
        key: Its key.
        parts: Their keys; without any, a manifest that is not there begins empty.
        mode: As for ``append``.

    Raises:
        StorageError: As ``append`` does.
    """
    Publication(space, key, parts, mode=mode).run()


class Patience:
    """Waits between tries, at random and longer each time, and gives up in the end.

    Args:
        what: What is tried, for the error.
        key: Key of the object.
        tries: How often at most.
    """

    def __init__(self, what: str, key: str, *, tries: int | None = None) -> None:
        self._what = what
        self._key = key
        self._most_tries = tries or _MOST_TRIES
        self._tries = 0
        self._deadline = time.monotonic() + _DEADLINE_S

    def wait(self, error: Exception) -> None:
        """Wait after a failed try.

        Args:
            error: Why it failed.

        Raises:
            PreconditionFailedError: There were enough tries.
        """
        self._tries += 1
        if self._tries >= self._most_tries or time.monotonic() > self._deadline:
            raise PreconditionFailedError(
                f"{self._key} changed {self._tries} times while {self._what}", key=self._key
            ) from error
        longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(self._tries, 10))
        time.sleep(random.uniform(0, longest))  # noqa: S311 - spreads writers, hides nothing


class Publication:
    """One change of a root, which may be run again after it failed, and still happens once.

    Args:
        space: Where the manifest lies.
        key: Its key.
        parts: Keys of the parts that are to be visible.
        mode: As for ``append``.
    """

    def __init__(self, space: Space, key: str, parts: list[str], *, mode: AppendMode) -> None:
        if mode not in _MODES:
            raise ValueError(f"append must be one of {', '.join(_MODES)}, got {mode!r}")
        self._space = space
        self._key = key
        self._parts = parts
        self._mode = mode
        self._planner = RootPlanner(space, key, conditional=mode == "conditional")
        # Roots on which a write failed: it may have taken effect, and only its answer got lost.
        self._doubtful: list[tuple[bytes, StorageError]] = []
        self._listed_key: str | None = None

    def run(self) -> None:
        """Make the change, unless an earlier run has made it.

        Raises:
            StorageError: As ``append`` does.
        """
        if self._mode == "listed":
            self.run_listed(b"".join(ref_line(part) + b"\n" for part in self._parts))
            return
        if self._mode == "conditional":
            require_conditions(self._space, self._key)
        patience = Patience("it was appended to", self._key)
        try:
            while not self._has_succeeded(patience):
                pass
        except StorageError as error:
            error.ambiguous = any(doubt.ambiguous for _, doubt in self._doubtful)
            raise

    def _has_succeeded(self, patience: Patience) -> bool:
        root = read_root(self._space, self._key)
        if self._has_happened(root.data):
            return True
        try:
            changed = self._changed(root)
            if changed is not None:
                self._put_root(root, changed)
        except PreconditionFailedError as error:
            patience.wait(error)
            return False
        except StorageUnavailableError as error:
            self._doubtful.append((root.data, error))
            if self._mode != "conditional" or not error.ambiguous:
                raise
            patience.wait(error)
            return False
        return True

    def _changed(self, root: Root) -> bytes | None:
        if self._parts:
            return self._planner.appended(root, [ref_line(part) for part in self._parts])
        return b"\n" if root.is_absent else None

    def _put_root(self, root: Root, changed: bytes) -> None:
        conditional = self._mode == "conditional"
        self._space.objects.put(
            self._space.full(self._key),
            changed,
            content_type=CONTENT_TYPE,
            if_match=root.etag if conditional else None,
            if_absent=conditional and root.is_absent,
        )

    def _has_happened(self, root: bytes) -> bool:
        for base, error in self._doubtful:
            verdict = Verdict(self._space, base, self._parts, root)
            if verdict.applied:
                return True
            if not verdict.known:
                raise error
        return False

    def run_listed(self, data: bytes) -> list[str]:
        """Write a part where readers list them, and the root that tells where that is.

        Args:
            data: The lines of the part.

        Returns:
            Key of the part; nothing without lines.
        """
        root = read_root(self._space, self._key)
        prefix = listed_line_of(root.data)
        line = b""
        if prefix is None:
            # All writers must come to the same prefix, and to none that a root had before.
            digest = hashlib.sha256(root.version.encode()).hexdigest()
            prefix = listed_prefix(self._key, "" if root.is_absent else digest[:12])
            line = serialize_entry({"kind": "manifest_ref", "key": prefix, "layout": "listed"})
        written = []
        if data:
            self._listed_key = self._listed_key or listed_part_key(prefix)
            self._space.objects.put(
                self._space.full(self._listed_key), data, content_type=CONTENT_TYPE
            )
            written = [self._listed_key]
        if line:
            changed = b"\n".join([*lines_of(root.data), line]) + b"\n"
            self._space.objects.put(self._space.full(self._key), changed, content_type=CONTENT_TYPE)
        return written


def listed_line_of(root: bytes) -> str | None:
    """Find the line of a root that says where its parts are listed.

    Args:
        root: The root.

    Returns:
        The prefix of the last such line.
    """
    for line in reversed(lines_of(root)):
        if b'"layout"' in line:
            try:
                entry = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue  # Not ours. Readers will say that it is damaged.
            if isinstance(entry, dict) and entry.get("layout") == LISTED:
                return str(entry.get("key"))
    return None
