"""How an object gets into a folder: whole, on the disk, and only if its condition holds.

What the condition is about is looked at under the lock of the folder (see ``file_folders``), which
is held until the object has its name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from shardpack.atomic import AtomicFile
from shardpack.batch import as_bytes_view, write_all
from shardpack.errors import StorageError
from shardpack.storage.file_copy import copy_bytes
from shardpack.storage.file_errors import check_condition, file_errors, no_conditions
from shardpack.storage.file_folders import (
    is_at,
    lock_folder,
    lstat_of,
    make_folders,
    remove_empty_folders,
    remove_empty_tree,
)
from shardpack.storage.file_metadata import (
    Record,
    etag_of,
    info_of,
    read_record,
    remove_records,
    write_records,
)
from shardpack.storage.sources import iter_pieces, source_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from typing_extensions import Buffer

    from shardpack.storage.base import ObjectInfo, PutSource

__all__ = [
    "FileWriter",
    "PendingObject",
    "begin_object",
    "complete_object",
    "fill_object",
    "remove_object",
]

# How often a folder may vanish between its making and its use before that is no accident.
_TRIES = 1000
_TRIES_WITHOUT_PERMISSION = 20
# What a writer gathers before it asks the kernel.
_WRITE_BYTES = 256 << 10


class PendingObject(AtomicFile):
    """An object that is being written and has no name yet; made by ``begin_object``."""

    def __init__(self, path: str, key: str, *, sync: bool) -> None:
        self.key = key
        self._sync = sync
        self._pid = os.getpid()
        super().__init__(path, overwrite=True)

    def close(self) -> None:
        """Remove what was not published; in a child process it is the parent's and stays."""
        if self._pid != os.getpid():
            self._temporary = None
        super().close()

    def check_process(self) -> None:
        """Refuse what only the process that began the object may do."""
        if self._pid != os.getpid():
            raise StorageError(
                f"the writer of {self.key!r} was opened in another process", key=self.key
            )

    def complete(
        self, record: Record, *, if_match: str | None = None, if_absent: bool = False
    ) -> os.stat_result:
        """Give the object its name, if the condition holds.

        Args:
            record: Content type and user metadata.
            if_match: ETag of the version that may be replaced.
            if_absent: Nothing may be replaced.

        Returns:
            The facts of the new file.

        Raises:
            PreconditionFailedError: The condition does not hold.
            ObjectNotFoundError: There is nothing with the ETag of ``if_match``.
            ConcurrencyUnsupportedError: The file system has no locks, which conditions need.
        """
        descriptor = self.file.fileno()
        # Inode numbers are used again at once, and kernels stamp files with the time of the last
        # tick; the real time makes sure that no two versions have one ETag.
        now = time.time_ns()
        os.utime(descriptor, ns=(now, now))
        self._ready = not self._sync
        self.prepare()
        status = os.fstat(descriptor)
        conditional = if_absent or if_match is not None
        with self._locked_folder(required=conditional):
            before = _object_status(self.path)
            found = None if before is None else etag_of(before)
            check_condition(self.key, found, if_match, if_absent=if_absent)
            old = Record() if found is None else read_record(self.path, found) or Record()
            new = etag_of(status)
            if record:
                write_records(self.path, {found or "": old, new: record}, sync=self._sync)
            if before is None and self._temporary is None:
                self._name_new()
            else:
                self._name_it()
            self._temporary = None
            if not record:
                remove_records(self.path)
        if self._sync:
            self.sync_folder()
        return status

    def _name_new(self) -> None:
        try:
            self._link_nameless(os.path.basename(self.path))
        except FileExistsError:
            # Only without a lock.
            self._name_it()

    @contextmanager
    def _locked_folder(self, *, required: bool) -> Iterator[None]:
        for _ in range(_TRIES):
            if self._folder_fd < 0 and not self._reopen_folder():
                continue
            if not lock_folder(self._folder_fd):
                if required:
                    raise no_conditions(self._folder)
                yield
                return
            try:
                if is_at(self._folder_fd, self._folder):
                    yield
                    return
            finally:
                fcntl.flock(self._folder_fd, fcntl.LOCK_UN)
            # Somebody removed the last object of the folder, and the folder with it. A file
            # without a name can get one in the folder's successor.
            os.close(self._folder_fd)
            self._folder_fd = -1
        raise StorageError(f"{self.key}: its folder keeps vanishing", key=self.key)

    def _reopen_folder(self) -> bool:
        make_folders(self._folder, self.key, sync=self._sync)
        try:
            self._folder_fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return False
        return True


def begin_object(root: str, path: str, key: str, *, sync: bool) -> PendingObject:
    """Begin an object.

    Args:
        root: Folder of the store, without symbolic links.
        path: Path of the object in it.
        key: Its key, for errors.
        sync: Bring all that is written to the disk.

    Returns:
        The object to be; close it in any case.

    Raises:
        StorageError: A part of the path is an object itself, is a symbolic link, or holds objects.
    """
    folder = os.path.dirname(path)
    if os.path.realpath(folder) != folder or os.path.islink(path):
        raise StorageError(f"{key} leads through a symbolic link", key=key)
    for tried in range(_TRIES):
        make_folders(folder, key, sync=sync, top=root)
        try:
            return PendingObject(path, key, sync=sync)
        except FileNotFoundError:
            continue
        except PermissionError as error:
            # What ext4 says of a new file in a folder that was removed after it was opened.
            if error.errno != errno.EPERM or tried >= _TRIES_WITHOUT_PERMISSION:
                raise
        except IsADirectoryError as error:
            if remove_empty_tree(path):
                continue
            raise StorageError(f"{key} is the folder of other objects", key=key) from error
    raise StorageError(f"{key}: its folder keeps vanishing", key=key)


def complete_object(
    pending: PendingObject,
    record: Record,
    *,
    if_match: str | None = None,
    if_absent: bool = False,
) -> ObjectInfo:
    """Give an object its name; arguments and errors as for ``PendingObject.complete``."""
    with file_errors(pending.key):
        status = pending.complete(record, if_match=if_match, if_absent=if_absent)
    return info_of(pending.key, status, record)


def fill_object(
    pending: PendingObject, data: PutSource, progress: Callable[[int], object] | None
) -> None:
    """Write all bytes of a source to an object.

    Args:
        pending: The object.
        data: The source; what goes wrong with it is raised as it is.
        progress: Called with the number of bytes written so far.
    """
    path = source_path(data)
    if path is None:
        _write_pieces(pending, iter_pieces(data), progress)
        return
    with open(path, "rb", buffering=0) as source:
        if stat.S_ISREG(os.fstat(source.fileno()).st_mode):
            with file_errors(pending.key):
                copy_bytes(source.fileno(), pending.file.fileno(), progress)
        else:
            # Not opened again: what a pipe holds would be lost.
            _write_pieces(pending, iter_pieces(source), progress)


def _write_pieces(
    pending: PendingObject,
    pieces: Iterator[memoryview],
    progress: Callable[[int], object] | None,
) -> None:
    done = 0
    for piece in pieces:
        with file_errors(pending.key):
            write_all(pending.file, piece)
        done += piece.nbytes
        if progress is not None:
            progress(done)


class FileWriter:
    """An object being written as a stream; see ``ObjectWriter``.

    Args:
        pending: The object; the writer closes it.
        record: Its content type and user metadata.
    """

    def __init__(self, pending: PendingObject, record: Record) -> None:
        self._pending = pending
        self._record = record
        self._gathered = bytearray()
        self._closed = False

    def write(self, data: Buffer, /) -> int:
        """Take all bytes."""
        self._check_open()
        self._pending.check_process()
        view = as_bytes_view(data)
        if len(self._gathered) + view.nbytes > _WRITE_BYTES:
            self._flush()
        if view.nbytes >= _WRITE_BYTES:
            self._send(view)
        else:
            self._gathered += view
        return view.nbytes

    def close(self) -> ObjectInfo:
        """Give the object its key."""
        self._check_open()
        self._pending.check_process()
        try:
            self._flush()
            return complete_object(self._pending, self._record)
        finally:
            self.abort()

    def abort(self) -> None:
        """Throw away what was written. After ``close`` this does nothing."""
        self._closed = True
        self._gathered = bytearray()
        self._pending.close()

    def __enter__(self) -> Self:
        """Give the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; abort after an error."""
        if kind is not None:
            self.abort()
        elif not self._closed:
            self.close()

    def __del__(self) -> None:
        """Release the file of a writer that was forgotten; nothing appears."""
        if not self._closed:
            self.abort()

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, bytearray()
        self._send(gathered)

    def _send(self, data: Buffer) -> None:
        with file_errors(self._pending.key):
            write_all(self._pending.file, data)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"the writer of {self._pending.key!r} is closed")


def remove_object(root: str, path: str, *, sync: bool) -> None:
    """Remove an object, what is kept about it, and the folders that are empty then.

    Args:
        root: Folder of the store, which stays.
        path: Path of the object.
        sync: Bring it to the disk.
    """
    folder = os.path.dirname(path)
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        locked = lock_folder(descriptor)
        try:
            status = lstat_of(path)
            if status is not None and not stat.S_ISDIR(status.st_mode):
                with suppress(FileNotFoundError):
                    os.unlink(path)
            remove_records(path)
        finally:
            if locked:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    remove_empty_folders(root, folder)


def _object_status(path: str) -> os.stat_result | None:
    status = lstat_of(path)
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return status
