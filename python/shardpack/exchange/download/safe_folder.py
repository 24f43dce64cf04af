"""A folder that files are written into, and never out of."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from shardpack.archive.member_path import check_member_path, unsafe_path
from shardpack.batch import write_all

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Buffer

__all__ = ["SafeFolder"]

_NO_LINKS = frozenset({errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS, errno.EMLINK})
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME_BYTES = 128
# With longer ones no program can name the file.
_PATH_BYTES = 4096
# Most of them lie side by side, so that few folders need to be opened again.
_MOST_OPEN = 32


class SafeFolder:
    """Writes files below a folder.

    Each folder on the way is opened by its name in the one before, and never through a symbolic
    link: whatever lies in the folder, or is put there meanwhile, no file is written elsewhere.

    Args:
        path: The folder; it is made where it is missing. It may itself be reached by links.

    Raises:
        OSError: It cannot be made, or is none.
    """

    def __init__(self, path: str) -> None:
        try:
            os.makedirs(path, exist_ok=True)
        except FileExistsError as error:
            # So it is told to whoever could replace a file that is there.
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from error
        self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open: dict[tuple[str, ...], int] = {}
        # Random once, and counted: a name that is taken all the same is refused by the disk.
        self._token = os.urandom(6).hex()
        self._count = 0

    def write(self, path: str, pieces: Iterable[Buffer], *, overwrite: bool) -> int:
        """Write a file, which appears whole or not at all.

        Args:
            path: Its path below the folder, parts separated by ``/``.
            pieces: Its bytes.
            overwrite: Replace a file or link of this name.

        Returns:
            How many bytes it has.

        Raises:
            UnsafePathError: The path leads out of the folder, or through a symbolic link.
            FileExistsError: There is something of this name.
            OSError: It cannot be written.
        """
        *folders, name = _parts(path)
        parent = self._folder(tuple(folders), path)
        self._count += 1
        stem = os.fsencode(name)[:_NAME_BYTES].decode("utf-8", "ignore")
        temporary = f".{stem}.{self._token}{self._count:x}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        size = 0
        descriptor = os.open(temporary, flags, 0o666, dir_fd=parent)
        try:
            with open(descriptor, "wb", buffering=0) as file:
                for piece in pieces:
                    write_all(file, piece)
                    size += memoryview(piece).nbytes
            if overwrite:
                os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
            else:
                _name_new(temporary, name, parent)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=parent)
            raise
        return size

    def has_exactly(self, path: str) -> bool:
        """Tell whether there is a file of exactly this name, on disks that ignore case too.

        Args:
            path: Its path below the folder.
        """
        *folders, name = _parts(path)
        return name in os.listdir(self._folder(tuple(folders), path))

    def close(self) -> None:
        """Release the folders."""
        for descriptor in (*self._open.values(), self._root):
            os.close(descriptor)
        self._open.clear()
        self._root = -1

    def __enter__(self) -> Self:
        """Give the folder."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the folders."""
        self.close()

    def _folder(self, parts: tuple[str, ...], path: str) -> int:
        if not parts:
            return self._root
        known = self._open.get(parts)
        if known is not None:
            return known
        depth = len(parts) - 1
        while depth and parts[:depth] not in self._open:
            depth -= 1
        parent = self._open[parts[:depth]] if depth else self._root
        for end in range(depth + 1, len(parts) + 1):
            parent = self._step(parent, parts[:end], path)
        return parent

    def _step(self, parent: int, parts: tuple[str, ...], path: str) -> int:
        """Open a folder in one that is open."""
        try:
            descriptor = self._enter(parent, parts[-1])
        except OSError as error:
            if error.errno == errno.ELOOP or _is_link(parts[-1], parent):
                raise unsafe_path(path, f"a link lies in the way, {parts[-1]!r}") from error
            raise
        if len(self._open) >= _MOST_OPEN:
            for other in list(self._open)[: _MOST_OPEN // 2]:
                os.close(self._open.pop(other))
        self._open[parts] = descriptor
        return descriptor

    def _enter(self, parent: int, name: str) -> int:
        try:
            return os.open(name, _FOLDER_FLAGS, dir_fd=parent)
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=parent)
            return os.open(name, _FOLDER_FLAGS, dir_fd=parent)


def _parts(path: str) -> list[str]:
    check_member_path(path)
    if len(path.encode()) >= _PATH_BYTES:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or path.rsplit("/", 1)[-1] in ("", "."):
        raise unsafe_path(path, "member path names no file")
    return parts


def _is_link(name: str, parent: int) -> bool:
    try:
        os.readlink(name, dir_fd=parent)
    except OSError:
        return False
    return True


def _name_new(temporary: str, name: str, parent: int) -> None:
    try:
        os.link(temporary, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # FAT and some network file systems have no hard links: the check leaves a short gap.
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=parent, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
        os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    else:
        os.unlink(temporary, dir_fd=parent)
