"""Objects and members written to files: what the files are called, and how they come."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from shardpack.archive.member_path import check_member_path
from shardpack.atomic import AtomicFile
from shardpack.batch import write_all
from shardpack.errors import UnsafePathError
from shardpack.exchange.keys import normalize_key, split_virtual_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shardpack.storage.body import ObjectBody

__all__ = ["by_archive", "save_body", "target_names"]

_PIECE = 1 << 20


def target_names(keys: Iterable[str], *, keep_folders: bool) -> dict[str, str]:
    """Say what the files of keys are called, below the folder that they go to.

    Args:
        keys: Plain and virtual keys; one that comes twice is one file.
        keep_folders: Keep the folders of keys; members lie in a folder with the name of their
            archive. Otherwise a file has the last part of its key or member path as its name.

    Returns:
        The relative path of each key.

    Raises:
        ValueError: Two keys would have one file, or one's file is another's folder.
        UnsafePathError: A name would lead out of the folder.
    """
    names: dict[str, str] = {}
    owners: dict[str, str] = {}
    for key in keys:
        if key in names:
            continue
        name = _name_of(key, keep_folders=keep_folders)
        other = owners.setdefault(name, key)
        if other != key:
            hint = "" if keep_folders else "; keep_folders=True tells them apart"
            raise ValueError(f"{other!r} and {key!r} would both be written to {name!r}{hint}")
        names[key] = name
    if keep_folders:
        for name, key in owners.items():
            for folder in PurePosixPath(name).parents:
                if str(folder) in owners:
                    taken = owners[str(folder)]
                    raise ValueError(f"{taken!r} would be a file where {key!r} needs a folder")
    return names


def _name_of(key: str, *, keep_folders: bool) -> str:
    parts = split_virtual_key(key)
    if keep_folders:
        return check_member_path("/".join(map(normalize_key, parts or (key,))))
    name = (parts[1] if parts else normalize_key(key)).rsplit("/", 1)[-1]
    if name in {"", ".", ".."} or "\0" in name:
        error = UnsafePathError(f"no file can be named after {key!r}")
        error.path = key
        raise error
    return name


def save_body(
    body: ObjectBody,
    path: str | os.PathLike[str],
    *,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Write what is left of a body to a file, which appears whole or not at all.

    Args:
        body: The body; it is closed.
        path: The file; its folder is made, an existing file is replaced.
        progress: Called with the number of bytes done so far.
    """
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    buffer = memoryview(bytearray(_PIECE))
    done = 0
    with body, AtomicFile(path, overwrite=True) as target:
        while count := body.readinto(buffer):
            write_all(target.file, buffer[:count])
            done += count
            if progress is not None:
                progress(done)
        target.publish()


def by_archive(keys: Iterable[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Sort keys into plain ones, and virtual ones by their archive.

    Args:
        keys: The keys.

    Returns:
        The plain keys; and the virtual ones of each archive, in the order given, each once.
    """
    plain: list[str] = []
    archives: dict[str, list[str]] = {}
    for key in dict.fromkeys(keys):
        parts = split_virtual_key(key)
        if parts is None:
            plain.append(key)
        else:
            archives.setdefault(parts[0], []).append(key)
    return plain, archives
