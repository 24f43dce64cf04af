"""All that a manifest or an archive names, as files in a folder."""

from __future__ import annotations

import errno
import os
import unicodedata
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shardpack.archive.member_path import check_member_path
from shardpack.errors import BulkError, ObjectNotFoundError, UnsafePathError
from shardpack.exchange.download.safe_folder import SafeFolder
from shardpack.exchange.keys import is_shard_key, split_virtual_key
from shardpack.exchange.manifest.reading import iter_entries
from shardpack.exchange.reading.pipeline import iter_objects
from shardpack.exchange.shard.listing import list_entries
from shardpack.exchange.shard.source import shard_entry_of
from shardpack.progress import progress_callback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from shardpack.exchange.keys import Space
    from shardpack.exchange.types import ManifestEntry, ManifestRef
    from shardpack.progress import Progress

__all__ = ["ExtractReport", "extract"]

_PIECE: Final = 1 << 20
_OF_THIS_FILE: Final = frozenset(
    (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.EINVAL)
)
_MOST_FAILURES: Final = 1000


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """What was written.

    Attributes:
        files: Number of files.
        bytes: Bytes in them.
        collisions: Paths that differ from an earlier one in case or in the way that accents are
            written, and nothing else. They were written, this disk tells them apart; others do
            not.
    """

    files: int
    bytes: int
    collisions: tuple[str, ...]


def extract(
    space: Space,
    source: str,
    folder: str | os.PathLike[str],
    *,
    members: Iterable[str] | None = None,
    overwrite: bool = False,
    concurrency: int | None = None,
    progress: Progress = None,
) -> ExtractReport:
    """Write the files of a manifest or an archive into a folder, each whole or not at all.

    A file is called after its member path; an object of its own after ``meta["path"]``, where
    ``pack`` notes it, or after its key. No file is written outside of the folder, whatever the
    paths say and whatever links lie in the folder. Archives are read once, ahead of the writing,
    and every file is compared with its digests first. Files are not forced to the disk one by one.
    Links and devices, which archives of other programs may hold, are left out.

    Args:
        space: The store.
        source: Key of the manifest or the archive.
        folder: The folder; it is made where it is missing.
        members: Write only these paths.
        overwrite: Replace existing files.
        concurrency: Requests at once.
        progress: Called with the number of bytes written so far, or an object with tqdm's
            ``update``.

    Returns:
        What was written.

    Raises:
        BulkError: Some files could not be written: their paths lead out of the folder or through a
            link, something is there already, or one path is needed as file and as folder. All
            others were; ``failures`` names them.
        ObjectNotFoundError: There is no such archive or object, or none of ``members``.
        IntegrityError: Something is not what was recorded.
        StorageError: The store refused.
        OSError: The disk is full, or the like.

    Example:
        >>> import os, tempfile
        >>> from shardpack.exchange.download.extract import extract
        >>> from shardpack.exchange.keys import Space
        >>> from shardpack.exchange.shard.writing import put_archive
        >>> from shardpack.storage.memory import MemoryStore
        >>> space = Space(MemoryStore("extract"))
        >>> _ = put_archive(space, "a.tar", [{"member_path": "b/c.txt", "source": b"hello"}])
        >>> folder = tempfile.mkdtemp()
        >>> extract(space, "a.tar", folder).files, os.listdir(os.path.join(folder, "b"))
        (1, ['c.txt'])
    """
    wanted = None if members is None else set(members)
    chosen: ManifestRef = source
    if wanted is not None:
        chosen = _Chosen(space, source, wanted)
    objects = iter_objects(space, chosen, concurrency=concurrency)
    with SafeFolder(os.fsdecode(folder)) as target, closing(objects):
        writing = _Writing(target, overwrite=overwrite, on_done=progress_callback(progress))
        for body, entry in objects:
            with body:
                writing.take(_path_of(entry), body.iter_chunks(_PIECE))
    if isinstance(chosen, _Chosen) and wanted is not None and chosen.missing:
        raise ObjectNotFoundError(f"{source}#{min(chosen.missing)}")
    return writing.finish()


class _Chosen:
    """The entries with certain paths; they can be iterated again."""

    def __init__(self, space: Space, source: str, wanted: set[str]) -> None:
        self._space = space
        self._source = source
        self._wanted = wanted
        self.missing = set(wanted)

    def __iter__(self) -> Iterator[ManifestEntry]:
        entries: Iterable[ManifestEntry] = [shard_entry_of(self._source)]
        if not is_shard_key(self._source):
            entries = iter_entries(self._space, self._source)
        for entry in list_entries(self._space, entries):
            path = _path_of(entry)
            if path in self._wanted:
                self.missing.discard(path)
                yield entry


def _path_of(entry: Mapping[str, Any]) -> str:
    path = entry.get("member_path")
    if path:
        return str(path)
    meta = entry.get("meta")
    if isinstance(meta, dict) and isinstance(meta.get("path"), str):
        return str(meta["path"])
    parts = split_virtual_key(entry["key"])
    return parts[1] if parts is not None and is_shard_key(parts[0]) else str(entry["key"])


class _Writing:
    """Files being written, and what is wrong with some of them."""

    def __init__(
        self, target: SafeFolder, *, overwrite: bool, on_done: Callable[[int], object]
    ) -> None:
        self._target = target
        self._overwrite = overwrite
        self._on_done = on_done
        # Hashes and not the paths themselves: there may be very many.
        self._written: set[int] = set()
        self._folded: set[int] = set()
        self._files = 0
        self._bytes = 0
        self._collisions: list[str] = []
        self._failures: dict[str, str] = {}
        self._first: Exception | None = None

    def take(self, path: str, pieces: Iterator[bytes]) -> None:
        try:
            check_member_path(path)
            overwrite = self._may_replace(path) and self._overwrite
            self._bytes += self._target.write(path, pieces, overwrite=overwrite)
        except UnsafePathError as error:
            self._failed(path, error)
            return
        except OSError as error:
            # What comes from the store has no number; a full disk fails all that follows, too.
            if error.errno not in _OF_THIS_FILE:
                raise
            self._failed(path, error)
            return
        self._files += 1
        self._on_done(self._bytes)

    def finish(self) -> ExtractReport:
        if self._failures:
            path, reason = next(iter(self._failures.items()))
            raise BulkError(
                f"{len(self._failures)} of {self._files + len(self._failures)} files were not"
                f" written, first {path}: {reason}",
                self._failures,
            ) from self._first
        return ExtractReport(self._files, self._bytes, tuple(self._collisions))

    def _may_replace(self, path: str) -> bool:
        """Keep a file from taking the place of another one of this very run."""
        # As the folder sees it.
        path = "/".join(part for part in path.split("/") if part not in ("", "."))
        folded = hash(unicodedata.normalize("NFC", path).casefold())
        written = hash(path)
        is_first = folded not in self._folded
        is_same = written in self._written
        self._folded.add(folded)
        self._written.add(written)
        if is_first:
            return True
        if is_same:
            return False
        self._collisions.append(path)
        # A disk that ignores case has the earlier one under its own name.
        return self._target.has_exactly(path)

    def _failed(self, path: str, error: Exception) -> None:
        self._first = self._first or error
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self._failures[path] = reason
        if len(self._failures) >= _MOST_FAILURES:
            self.finish()
