"""All that a manifest or an archive names, as files in a folder."""

from __future__ import annotations

import errno
import os
import unicodedata
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shardpack.archive.member_path import check_member_path
from shardpack.errors import BulkError, ObjectNotFoundError, ShardReadError
from shardpack.exchange.download.safe_folder import SafeFolder
from shardpack.exchange.keys import is_shard_key, split_virtual_key
from shardpack.exchange.manifest.reading import iter_entries
from shardpack.exchange.reading.left_out_log import LeftOut, LeftOutLog
from shardpack.exchange.reading.pipeline import Failure, iter_objects
from shardpack.exchange.reading.settings import SKIPPED
from shardpack.exchange.report import Report
from shardpack.exchange.shard.listing import internal_entries, list_entries
from shardpack.exchange.shard.source import ArchiveSource
from shardpack.progress import progress_callback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from shardpack.exchange.keys import Space
    from shardpack.exchange.types import ManifestEntry, ManifestRef
    from shardpack.progress import Progress

__all__ = ["ExtractReport", "LeftOut", "extract"]

_PIECE: Final = 1 << 20
_OF_THIS_FILE: Final = frozenset(
    (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.EINVAL)
)
_MOST_FAILURES: Final = 1000


@dataclass(frozen=True, slots=True)
class ExtractReport(Report):
    """What was written.

    Attributes:
        files: Number of files.
        bytes: Bytes that were written, those of earlier versions too.
        collisions: Paths that differ from an earlier one in case or in the way that accents are
            written, and nothing else. They were written, this disk tells them apart; others do
            not.
        left_out: Links, devices and pipes in archives of other programs, sorted: the first
            thousand that were met, and of an archive with an index as many as that names.
        left_out_count: How many there are in all.
        replaced: Files of earlier entries that a later one with the same path replaced.
    """

    files: int
    bytes: int
    collisions: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    left_out_count: int = 0
    replaced: int = 0


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
    paths say and whatever links lie in the folder. Of entries with one path, as a folder has them
    that was packed again after a file changed, the last one wins. Archives are read once, ahead of
    the writing, and every file is compared with its digests first. Files are not forced to the
    disk one by one. Links, devices and pipes, which archives of other programs may hold, are left
    out and reported; of folders only those are made in which a file lies.

    Args:
        space: The store.
        source: Key of the manifest or the archive.
        folder: The folder; it is made where it is missing.
        members: Write only these paths. What else is in the archives is not reported then.
        overwrite: Replace existing files.
        concurrency: Requests at once.
        progress: Called with the number of bytes written so far, or an object with tqdm's
            ``update``.

    Returns:
        What was written.

    Raises:
        BulkError: Some files could not be written: they are damaged or missing in the store, their
            paths lead out of the folder or through a link, something is there already, or one path
            is needed as file and as folder. All others were; ``failures`` names them, or the
            archive where it cannot be read any further. After a thousand of them it ends.
        ObjectNotFoundError: None of ``members`` has such a path.
        ManifestNotFoundError: There is no such manifest, or none that it refers to.
        StorageUnavailableError: The store failed however often it was asked.
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
    left_out = LeftOutLog()
    objects = iter_objects(
        space, chosen, concurrency=concurrency, on_error="skip", left_out=left_out
    )
    with SafeFolder(os.fsdecode(folder)) as target, closing(objects):
        writing = _Writing(target, overwrite=overwrite, on_done=progress_callback(progress))
        objects.failures = _Unread(writing)
        for body, entry in objects:
            with body:
                writing.take(_path_of(entry), body.iter_chunks(_PIECE))
    if isinstance(chosen, _Chosen) and wanted is not None and chosen.missing:
        raise ObjectNotFoundError(f"{source}#{min(chosen.missing)}")
    if wanted is not None:
        writing.raise_missing()
    return writing.finish(left_out)


class _Chosen:
    """The entries with certain paths; they can be iterated again."""

    def __init__(self, space: Space, source: str, wanted: set[str]) -> None:
        self._space = space
        self._source = source
        self._wanted = wanted
        self.missing = set(wanted)

    def __iter__(self) -> Iterator[ManifestEntry]:
        if is_shard_key(self._source):
            entries = self._of_archive()
        else:
            entries = list_entries(self._space, iter_entries(self._space, self._source))
        for entry in entries:
            path = _path_of(entry)
            if path in self._wanted:
                self.missing.discard(path)
                yield entry

    def _of_archive(self) -> Iterator[ManifestEntry]:
        source = ArchiveSource(self._space, self._source)
        index = source.validated_index()
        if index is not None:
            for path in index.members:
                if path in self._wanted:
                    yield _entry_of(source, path)
            return
        try:
            yield from internal_entries(source)
        except ShardReadError as error:
            if not isinstance(error.__cause__, ObjectNotFoundError):
                raise
            # An archive of another program: what it lacks shows when it is read.
            for path in sorted(self._wanted):
                yield _entry_of(source, path)


def _entry_of(source: ArchiveSource, path: str) -> ManifestEntry:
    key = source.virtual_key(path)
    return {"kind": "file", "key": key, "archive_key": source.archive_key, "member_path": path}


def _path_of(entry: Mapping[str, Any], archive_key: str | None = None) -> str:
    if archive_key is not None and entry["kind"] == "shard":
        return archive_key
    path = entry.get("member_path")
    if path:
        return str(path)
    meta = entry.get("meta")
    if isinstance(meta, dict) and isinstance(meta.get("path"), str):
        return str(meta["path"])
    parts = split_virtual_key(entry["key"])
    return parts[1] if parts is not None and is_shard_key(parts[0]) else str(entry["key"])


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


class _Unread(list[Failure]):
    """What an iteration could not read, told where it is noted: there may be very much of it."""

    def __init__(self, writing: _Writing) -> None:
        super().__init__()
        self._writing = writing

    def append(self, failure: Failure) -> None:
        self._writing.failed(failure.member or _path_of(failure.entry, failure.key), failure.error)


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
        self._replaced = 0
        self._collisions: list[str] = []
        self._failures: dict[str, Exception] = {}

    def take(self, path: str, pieces: Iterator[bytes]) -> None:
        """Write a file, or note why it cannot be written.

        Args:
            path: Its path.
            pieces: Its bytes, which are checked before they end.
        """
        try:
            check_member_path(path)
            # As the folder sees it.
            name = "/".join(part for part in path.split("/") if part not in ("", "."))
            is_again = hash(name) in self._written
            overwrite = is_again or (self._may_replace(name) and self._overwrite)
            self._bytes += self._target.write(path, pieces, overwrite=overwrite)
        except SKIPPED as error:
            self.failed(path, error)
            return
        except OSError as error:
            # What comes from the store has no number; a full disk fails all that follows, too.
            if error.errno not in _OF_THIS_FILE:
                raise
            self.failed(path, error)
            return
        self._written.add(hash(name))
        # An earlier version that could not be read is not needed any more.
        self._failures.pop(path, None)
        self._files += not is_again
        self._replaced += is_again
        self._on_done(self._bytes)

    def finish(self, left_out: LeftOutLog) -> ExtractReport:
        self._raise_failures()
        return ExtractReport(
            self._files,
            self._bytes,
            tuple(self._collisions),
            left_out.named,
            left_out.count,
            self._replaced,
        )

    def raise_missing(self) -> None:
        """Tell of what was asked for by its name and is not there.

        Raises:
            ObjectNotFoundError: There is such.
        """
        for error in self._failures.values():
            if isinstance(error, ObjectNotFoundError):
                raise error

    def _raise_failures(self) -> None:
        if self._failures:
            path, first = next(iter(self._failures.items()))
            reasons = {name: _reason(error) for name, error in self._failures.items()}
            raise BulkError(
                f"{len(reasons)} could not be written, {self._files} were; first {path}: "
                f"{reasons[path]}",
                reasons,
            ) from first

    def _may_replace(self, path: str) -> bool:
        """Keep a file from taking the place of another one of this very run."""
        folded = hash(unicodedata.normalize("NFC", path).casefold())
        if folded not in self._folded:
            self._folded.add(folded)
            return True
        if path in self._failures:
            # It is met again, and was not written.
            return True
        self._collisions.append(path)
        # A disk that ignores case has the earlier one under its own name.
        return self._target.has_exactly(path)

    def failed(self, path: str, error: Exception) -> None:
        """Note what cannot be written; after too many of them it ends.

        Args:
            path: Its path.
            error: Why.
        """
        self._failures.pop(path, None)
        self._failures[path] = error
        if len(self._failures) >= _MOST_FAILURES:
            self._raise_failures()
