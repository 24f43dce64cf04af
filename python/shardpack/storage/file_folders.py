"""Folders of a file store: their locks, how they are made, and how they go when they are empty.

Whoever gives a name to an object, takes it away or removes a folder holds the lock of the folder,
``flock`` on the folder itself: it needs no lock file, holds between threads and processes, and ends
with its holder, however that ends. A folder is removed only under its lock, so what was true when
the lock was got stays true until it is given back.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from shardpack.errors import StorageError

__all__ = [
    "folder_locks_work",
    "is_at",
    "lock_folder",
    "lstat_of",
    "make_folders",
    "remove_empty_folders",
    "remove_empty_tree",
    "sync_folder",
]

# NFS cannot lock what is not open for writing, and a folder never is.
_NO_LOCKS = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


def folder_locks_work(folder: str) -> bool:
    """Tell whether the file system of a folder has locks that other processes see."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def lock_folder(descriptor: int, *, wait: bool = True) -> bool:
    """Lock a folder; False where that cannot be had, or is not to be waited for."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def is_at(descriptor: int, path: str) -> bool:
    """Tell whether an open folder is still the one that stands under a path."""
    status = lstat_of(path)
    return status is not None and os.path.samestat(status, os.fstat(descriptor))


def make_folders(folder: str, key: str, *, sync: bool, top: str | None = None) -> None:
    """Make a folder and those above it.

    Args:
        folder: The folder.
        key: Key of the object that it is for.
        sync: Bring the new names to the disk.
        top: Where the store begins, for errors.

    Raises:
        StorageError: One of them exists and is no folder.
    """
    missing = []
    here = folder
    while True:
        status = lstat_of(here)
        if status is not None:
            if stat.S_ISDIR(status.st_mode):
                break
            name = os.path.relpath(here, top) if top is not None else here
            raise StorageError(f"{key} cannot be below {name}, which is an object", key=key)
        missing.append(here)
        here = os.path.dirname(here)
    for path in reversed(missing):
        try:
            os.mkdir(path)
        except FileExistsError:
            continue
        except FileNotFoundError:
            # Removed again by the one who removes empty folders: the caller begins anew.
            return
        if sync:
            sync_folder(os.path.dirname(path))


def sync_folder(folder: str) -> None:
    """Bring the names in a folder to the disk; a folder that is gone has none."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_empty_folders(root: str, folder: str) -> None:
    """Remove a folder and those above it, up to the root, as long as they are empty."""
    while folder.startswith(root.rstrip("/") + "/"):
        if not _remove_folder(folder):
            return
        folder = os.path.dirname(folder)


def _remove_folder(folder: str) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        # Gone, or not ours to remove: it is no object, and nobody misses or sees it.
        return False
    try:
        # Whoever holds the lock is about to put something there.
        if not lock_folder(descriptor, wait=False):
            return False
        try:
            if not is_at(descriptor, folder):
                return False
            os.rmdir(folder)
        except OSError:
            return False
        else:
            return True
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def remove_empty_tree(folder: str) -> bool:
    """Remove folders in which there is no file at all; answer whether all are gone."""
    for here, _, names in os.walk(folder, topdown=False):
        if names:
            return False
        if not _remove_folder(here):
            return not os.path.isdir(here)
    return True


def lstat_of(path: str) -> os.stat_result | None:
    """Give the facts of what a path names, links not followed; ``None`` where there is nothing."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
