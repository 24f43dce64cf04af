"""Walking the folders of a file store in the order of keys, one folder in memory at a time."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from shardpack.errors import StorageError
from shardpack.storage.file_metadata import is_hidden, temporary_stem

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["holds_objects", "is_below", "iter_temporaries", "scan_level", "walk"]


def is_below(root: str, path: str) -> bool:
    """Tell whether a path is inside of a folder; both are free of symbolic links."""
    return path.startswith(root.rstrip("/") + "/")


def scan_level(root: str, folder: str, name_prefix: str = "") -> list[str]:
    """Give the names of a folder in the order of keys; those of folders end with a slash.

    Files of the store itself and what is neither file nor folder are left out, and so are symbolic
    links to folders and links that lead out of the root.

    Args:
        root: Folder of the store.
        folder: The folder.
        name_prefix: Only names that begin with this.

    Raises:
        StorageError: A name is not UTF-8, so that no key can say it.
    """
    names: list[str] = []
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return names
    with entries:
        for entry in entries:
            name = entry.name
            if not name.startswith(name_prefix) or is_hidden(name):
                continue
            if entry.is_dir(follow_symlinks=False):
                names.append(name + "/")
            elif entry.is_file(follow_symlinks=False) or _is_inner_link(root, entry):
                names.append(name)
    # Code points sort as the bytes of UTF-8 do; a folder sorts as its keys, slash included.
    names.sort()
    for name in names:
        if not name.isascii():
            _check_encodable(name, folder)
    return names


def walk(
    root: str, prefix: str = "", start_after: str | None = None
) -> Iterator[tuple[str, os.stat_result]]:
    """Give the keys below a root in order, each with the facts of its file.

    Args:
        root: Folder of the store, free of symbolic links.
        prefix: Only keys that begin with this.
        start_after: Only keys after this one.

    Yields:
        Keys and facts; what vanishes meanwhile is left out.
    """
    if "//" in prefix:
        # No key has an empty part, though a path may.
        return
    base, _, name_prefix = prefix.rpartition("/")
    if base:
        base += "/"
    folder = os.path.join(root, base) if base else root
    if not is_plain_folder(folder):
        return
    # Names still to do, the next one last, for each folder on the way down.
    stack = [(base, scan_level(root, folder, name_prefix)[::-1])]
    while stack:
        above, names = stack[-1]
        if not names:
            stack.pop()
            continue
        key = above + names.pop()
        path = os.path.join(root, key)
        if key.endswith("/"):
            skip = start_after is not None and key < start_after
            if not skip or (start_after is not None and start_after.startswith(key)):
                stack.append((key, scan_level(root, path)[::-1]))
        elif start_after is None or key > start_after:
            status = status_of(path)
            if status is not None:
                yield key, status


def is_plain_folder(folder: str) -> bool:
    """Tell whether no symbolic link leads to a folder; what is not there is none."""
    return os.path.realpath(folder) == (folder.rstrip("/") or "/")


def status_of(path: str) -> os.stat_result | None:
    """Give the facts of a file, ``None`` where there is no file any more."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def holds_objects(root: str, folder: str) -> bool:
    """Tell whether there is any object below a folder, without looking at all of them."""
    folders = [folder]
    while folders:
        here = folders.pop()
        try:
            entries = os.scandir(here)
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False) or _is_inner_link(root, entry):
                    return True
    return False


def iter_temporaries(root: str, prefix: str = "") -> Iterator[tuple[str, str, os.stat_result]]:
    """Find what killed writers left behind.

    Args:
        root: Folder of the store.
        prefix: Only for keys that begin with this.

    Yields:
        The key that it was to become (cut short if it is long), the path below the root, and the
        facts of the file.
    """
    folders = [""]
    while folders:
        above = folders.pop()
        try:
            entries = os.scandir(os.path.join(root, above))
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                path = above + entry.name
                if entry.is_dir(follow_symlinks=False):
                    if path.startswith(prefix) or prefix.startswith(path + "/"):
                        folders.append(path + "/")
                    continue
                stem = temporary_stem(entry.name)
                if stem is None or not (above + stem).startswith(prefix):
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield above + stem, path, status


def _is_inner_link(root: str, entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a link to a file below the root."""
    if not entry.is_symlink():
        return False
    target = os.path.realpath(entry.path)
    return is_below(root, target) and status_of(target) is not None


def _check_encodable(name: str, folder: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise StorageError(f"a file name in {folder} is not UTF-8: {name!r}") from error
