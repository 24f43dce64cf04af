"""Objects as files of a folder."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from shardpack.atomic import AtomicFile
from shardpack.errors import (
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageError,
)
from shardpack.storage.base import ObjectInfo, Upload
from shardpack.storage.file_body import FileBody, read_exactly
from shardpack.storage.file_copy import copy_bytes
from shardpack.storage.file_errors import check_condition, file_errors, no_conditions
from shardpack.storage.file_folders import folder_locks_work, remove_empty_folders, sync_folder
from shardpack.storage.file_listing import (
    holds_objects,
    is_below,
    is_plain_folder,
    iter_temporaries,
    scan_level,
    status_of,
    walk,
)
from shardpack.storage.file_metadata import (
    Record,
    etag_of,
    info_of,
    is_hidden,
    read_record,
    temporary_stem,
    time_of,
)
from shardpack.storage.file_writing import (
    FileWriter,
    PendingObject,
    begin_object,
    complete_object,
    fill_object,
    remove_object,
)
from shardpack.storage.paths import check_key, check_metadata, check_prefix
from shardpack.storage.transfer import check_range, resolve_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from shardpack.storage.base import PutSource
    from shardpack.storage.body import ObjectBody

__all__ = ["FileStore"]

_CONCURRENCY = 8
# How often an object may be replaced between its opening and the look at its metadata.
_TRIES = 100
# Folders that `delete_many` remembers before it brings them to the disk.
_MOST_FOLDERS = 1000


class FileStore:
    """A store in a folder: the key ``a/b`` is the file ``a/b`` below it.

    An object appears whole and on the disk, or not at all, whenever its writer is killed.
    Conditional writes hold between threads and processes of one machine by locks on folders; they
    need a file system that has these (NFS has not: ``conditional_writes`` tells). The ETag is made
    of inode, time and size, so a file that is changed by other programs becomes another version.
    Content type and user metadata are in a hidden file beside the object and belong to one version:
    a copy made by other programs has none.

    Files that the store did not write are objects too. Symbolic links to files below the root are
    read, those to folders and those that lead out of the root are not listed, and reading or
    writing through them raises. A key and another key below it (``f`` and ``f/g``) cannot both
    exist here, and neither can keys with empty parts.

    Args:
        root: The folder; made with the first object.
        sync: Bring each object to the disk before its call returns. Without it a call returns
            sooner, and a power failure may undo the last ones.

    Attributes:
        root: As above, absolute.
        sync: As above.

    Example:
        >>> import tempfile
        >>> from shardpack.storage import FileStore
        >>> store = FileStore(tempfile.mkdtemp())
        >>> store.put("a/b", b"bytes").size
        5
        >>> [info.key for info in store.list("a/")]
        ['a/b']
    """

    def __init__(self, root: str | os.PathLike[str], *, sync: bool = True) -> None:
        self.root = os.path.realpath(root)
        self.sync = sync

    def __repr__(self) -> str:
        return f"FileStore({self.root!r})"

    @property
    def url(self) -> str:
        """``file:///path``."""
        return f"file://{self.root}"

    @property
    def conditional_writes(self) -> bool:
        """Whether the file system locks folders."""
        with file_errors(self.root):
            return folder_locks_work(self.root)

    @property
    def concurrency(self) -> int:
        """How many calls at once make sense by default."""
        return _CONCURRENCY

    def get(
        self,
        key: str,
        *,
        start: int | None = None,
        end: int | None = None,
        if_match: str | None = None,
        version_id: str | None = None,
    ) -> ObjectBody:
        """Open an object; see ``ObjectStore.get``."""
        check_range(start, end)
        descriptor, info = self._open_described(key, version_id)
        try:
            check_read_condition(info, if_match)
            span = resolve_range(start, end, info.size)
            return FileBody(descriptor, span, info)
        except BaseException:
            os.close(descriptor)
            raise

    def read(
        self,
        key: str,
        *,
        start: int | None = None,
        end: int | None = None,
        if_match: str | None = None,
    ) -> bytes:
        """Read an object at once; see ``ObjectStore.read``."""
        check_range(start, end)
        descriptor, status = self._open(key)
        try:
            check_read_condition(info_of(key, status), if_match)
            span = resolve_range(start, end, status.st_size)
            with file_errors(key):
                return read_exactly(descriptor, span, key)
        finally:
            os.close(descriptor)

    def read_ranges(
        self, key: str, ranges: Sequence[tuple[int, int]], *, if_match: str | None = None
    ) -> list[bytes]:
        """Read many ranges of one object with one open; see ``ObjectStore.read_ranges``."""
        for start, end in ranges:
            if start < 0:
                raise ValueError(f"invalid range {start}..{end}")
            check_range(start, end)
        descriptor, status = self._open(key)
        try:
            check_read_condition(info_of(key, status), if_match)
            spans = [resolve_range(start, end, status.st_size) for start, end in ranges]
            found = [b""] * len(spans)
            with file_errors(key):
                for i in sorted(range(len(spans)), key=spans.__getitem__):
                    found[i] = read_exactly(descriptor, spans[i], key)
            return found
        finally:
            os.close(descriptor)

    def download(
        self,
        key: str,
        path: str | os.PathLike[str],
        *,
        progress: Callable[[int], object] | None = None,
    ) -> ObjectInfo:
        """Copy an object to a file; see ``ObjectStore.download``."""
        descriptor, info = self._open_described(key)
        try:
            os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
            with AtomicFile(path, overwrite=True) as target:
                size = copy_bytes(descriptor, target.file.fileno(), progress)
                if size != info.size:
                    raise StorageError(f"{key} changed while it was read", key=key)
                target.publish()
        finally:
            os.close(descriptor)
        return info

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo:
        """Tell what is known about an object; see ``ObjectStore.head``."""
        descriptor, info = self._open_described(key, version_id)
        os.close(descriptor)
        return info

    def exists(self, key: str) -> bool:
        """Tell whether there is an object."""
        try:
            descriptor, _ = self._open(key)
        except ObjectNotFoundError:
            return False
        os.close(descriptor)
        return True

    def put(
        self,
        key: str,
        data: PutSource,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        if_match: str | None = None,
        if_absent: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> ObjectInfo:
        """Write an object; see ``ObjectStore.put``."""
        path = self._path(key)
        record = Record(content_type, check_metadata(metadata))
        if if_absent or if_match is not None:
            self._check_early(key, path, if_match, if_absent=if_absent)
        with self._begin(key, path) as pending:
            fill_object(pending, data, progress)
            return complete_object(pending, record, if_match=if_match, if_absent=if_absent)

    def writer(
        self,
        key: str,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        part_size: int | None = None,  # noqa: ARG002 - there are no parts
    ) -> FileWriter:
        """Begin an object of unknown length; see ``ObjectStore.writer``."""
        record = Record(content_type, check_metadata(metadata))
        return FileWriter(self._begin(key, self._path(key)), record)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """List objects, one folder in memory at a time; see ``ObjectStore.list``."""
        check_prefix(prefix)
        with file_errors(prefix):
            for key, status in walk(self.root, prefix, start_after):
                yield info_of(key, status)

    def list_level(self, prefix: str = "") -> Iterator[ObjectInfo | str]:
        """List one level; see ``ObjectStore.list_level``."""
        check_prefix(prefix)
        if "//" in prefix:
            return
        above, _, name_prefix = prefix.rpartition("/")
        above = above + "/" if above else ""
        folder = os.path.join(self.root, above).rstrip("/") or "/"
        if not is_plain_folder(folder):
            return
        with file_errors(prefix):
            for name in scan_level(self.root, folder, name_prefix):
                path = os.path.join(folder, name)
                if name.endswith("/"):
                    if holds_objects(self.root, path):
                        yield above + name
                    continue
                status = status_of(path)
                if status is not None:
                    yield info_of(above + name, status)

    def delete(self, key: str) -> None:
        """Remove an object, and the folders that are empty then."""
        self._delete(key, sync=self.sync)

    def delete_many(self, keys: Iterable[str]) -> dict[str, StorageError]:
        """Remove many objects; see ``ObjectStore.delete_many``."""
        failed: dict[str, StorageError] = {}
        # Each folder is brought to the disk once in a while, not with every object.
        touched: set[str] = set()
        for key in keys:
            try:
                touched.add(self._delete(key, sync=False))
            except StorageError as error:
                failed[key] = error
            if len(touched) >= _MOST_FOLDERS:
                self._sync_folders(touched)
        self._sync_folders(touched)
        return failed

    def _delete(self, key: str, *, sync: bool) -> str:
        path = self._path(key)
        folder = os.path.dirname(path)
        with file_errors(key):
            if not is_plain_folder(folder):
                raise StorageError(f"{key} leads through a symbolic link", key=key)
            remove_object(self.root, path, sync=sync)
        return folder

    def _sync_folders(self, folders: set[str]) -> None:
        if self.sync:
            for folder in folders:
                with file_errors(folder):
                    sync_folder(folder)
        folders.clear()

    def copy(
        self,
        source: str,
        target: str,
        *,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Copy an object, sharing its blocks where the file system can."""
        path = self._path(target)
        new = None if metadata is None else check_metadata(metadata)
        descriptor, info = self._open_described(source)
        try:
            check_read_condition(info, if_match)
            record = Record(info.content_type, info.metadata if new is None else new)
            with self._begin(target, path) as pending:
                with file_errors(target):
                    size = copy_bytes(descriptor, pending.file.fileno())
                if size != info.size:
                    raise StorageError(f"{source} changed while it was copied", key=source)
                return complete_object(pending, record)
        finally:
            os.close(descriptor)

    def iter_uploads(self, prefix: str = "") -> Iterator[Upload]:
        """List the files that killed writers left behind, and those of writers at work.

        Where files may be nameless until they are complete there are hardly ever any. The key of a
        long name is cut short.
        """
        check_prefix(prefix)
        with file_errors(prefix):
            for key, path, status in iter_temporaries(self.root, prefix):
                yield Upload(key, path, time_of(status))

    def abort_upload(self, upload: Upload) -> None:
        """Remove a file that a killed writer left behind; its writer fails if it still lives."""
        path = os.path.join(self.root, check_prefix(upload.upload_id))
        if temporary_stem(os.path.basename(path)) is None:
            raise ValueError(f"not an upload of this store: {upload.upload_id!r}")
        with file_errors(upload.key):
            if not is_plain_folder(os.path.dirname(path)):
                raise StorageError(f"{upload.key} leads through a symbolic link", key=upload.key)
            try:
                os.unlink(path)
            except FileNotFoundError:
                return
            remove_empty_folders(self.root, os.path.dirname(path))

    def _path(self, key: str) -> str:
        check_key(key)
        for part in key.split("/"):
            if not part:
                raise StorageError(f"a file store has no key with an empty part: {key!r}", key=key)
            if is_hidden(part):
                raise StorageError(f"{key!r} has a part that file stores use themselves", key=key)
        return os.path.join(self.root, key)

    def _open(self, key: str) -> tuple[int, os.stat_result]:
        """Open the file of an object, which must be one."""
        path = self._path(key)
        with file_errors(key, reading=True):
            # Opening a pipe would otherwise wait for its other end.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            self._check_object(key, path, descriptor, status)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor, status

    def _check_object(self, key: str, path: str, descriptor: int, status: os.stat_result) -> None:
        """Refuse what was opened unless it is a file of this store."""
        if not stat.S_ISREG(status.st_mode):
            raise ObjectNotFoundError(key)
        try:
            if os.readlink(f"/proc/self/fd/{descriptor}") == path:
                return
        except OSError:
            # No /proc here: look at the path itself.
            pass
        folder = os.path.dirname(path)
        if os.path.realpath(folder) != folder:
            raise StorageError(f"{key} leads through a symbolic link", key=key)
        if os.path.islink(path) and not is_below(self.root, os.path.realpath(path)):
            raise StorageError(f"{key} is a symbolic link out of the store", key=key)

    def _open_described(self, key: str, version_id: str | None = None) -> tuple[int, ObjectInfo]:
        """Open an object and find the metadata of the very version that was opened."""
        if version_id is not None:
            raise ObjectNotFoundError(key)
        path = self._path(key)
        for _ in range(_TRIES):
            descriptor, status = self._open(key)
            try:
                with file_errors(key):
                    record = read_record(path, etag_of(status))
                    latest = status_of(path) if record is None else status
            except BaseException:
                os.close(descriptor)
                raise
            # Without a record it may have been replaced, and its record with it, just now.
            if latest is None or os.path.samestat(latest, status):
                return descriptor, info_of(key, status, record)
            os.close(descriptor)
        raise StorageError(f"{key} is replaced faster than it can be read", key=key)

    def _begin(self, key: str, path: str) -> PendingObject:
        with file_errors(key):
            return begin_object(self.root, path, key, sync=self.sync)

    def _check_early(self, key: str, path: str, if_match: str | None, *, if_absent: bool) -> None:
        """Refuse before anything is written; what counts is looked at again under the lock."""
        if not self.conditional_writes:
            raise no_conditions(self.root)
        status = status_of(path)
        found = None if status is None else etag_of(status)
        check_condition(key, found, if_match, if_absent=if_absent)


def check_read_condition(info: ObjectInfo, if_match: str | None) -> None:
    """Raise if an object is another version than the one that is asked for.

    Args:
        info: What is there.
        if_match: ETag that is asked for, if any.
    """
    if if_match is not None and info.etag != if_match:
        raise PreconditionFailedError(
            f"{info.key} is version {info.etag}, not {if_match}",
            key=info.key,
            code="PreconditionFailed",
            status=412,
        )
