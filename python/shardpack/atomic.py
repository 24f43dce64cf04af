"""Files that appear whole or not at all.

What is written goes to a file without a name in the destination's folder, or to one with a
temporary name where the file system has no nameless files. It gets its name only when it is
complete and on the disk. Killing the process at any moment leaves the destination as it was.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["AtomicFile", "is_special"]

_NO_NAMELESS_FILES = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})
_NO_LINKS = frozenset({errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS, errno.EMLINK, errno.ENOENT})
_NAME_BYTES = 128


def is_special(path: str) -> bool:
    """Tell whether a path is a device, pipe or socket, which must be written in place."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


class AtomicFile:
    """One file being written; ``publish`` gives it its name.

    Use it as a context manager: leaving the block without ``publish`` leaves nothing behind.

    Args:
        path: The destination. A symbolic link is followed, its target is what is replaced.
        overwrite: Replace an existing file; otherwise it is left alone, also when it appears
            while this one is being written.
        attributes_of: Take permission bits and modification time from this; the owner too when
            running as root.

    Raises:
        FileExistsError: The destination exists and ``overwrite`` is not set.
        OSError: The folder cannot be written to.

    Example:
        >>> import os, tempfile
        >>> from shardpack.atomic import AtomicFile
        >>> path = os.path.join(tempfile.mkdtemp(), "new.txt")
        >>> with AtomicFile(path) as target:
        ...     _ = target.file.write(b"all of it")
        ...     target.publish()
        >>> with open(path) as file:
        ...     file.read()
        'all of it'
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        attributes_of: os.stat_result | None = None,
    ) -> None:
        self.path = os.path.realpath(path)
        self.overwrite = overwrite
        self.attributes = attributes_of
        self._temporary: str | None = None
        self._ready = False
        if os.path.isdir(self.path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.path)
        if not overwrite and os.path.lexists(self.path):
            raise self._exists()
        self._folder = os.path.dirname(self.path)
        self._folder_fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # Private until the end, when it gets the permission bits of the source.
            mode = 0o666 if attributes_of is None else 0o600
            # Closed by `close`; its life is that of this object.
            self.file: BinaryIO = open(self._create(mode), "wb", buffering=0)  # noqa: SIM115
        except BaseException:
            os.close(self._folder_fd)
            raise

    def prepare(self) -> None:
        """Bring the bytes and attributes to the disk; the file still has no name."""
        if self._ready:
            return
        descriptor = self.file.fileno()
        if self.attributes is not None:
            if os.geteuid() == 0:
                with suppress(OSError):
                    os.fchown(descriptor, self.attributes.st_uid, self.attributes.st_gid)
            os.fchmod(descriptor, self.attributes.st_mode & 0o777)
            os.utime(descriptor, ns=(self.attributes.st_atime_ns, self.attributes.st_mtime_ns))
        os.fsync(descriptor)
        self._ready = True

    def publish(self) -> None:
        """Give the finished file its name, and bring the folder to the disk.

        Raises:
            FileExistsError: The destination has appeared meanwhile and may not be replaced.
            OSError: The disk refused.
        """
        self.prepare()
        try:
            self._name_it()
        except FileExistsError:
            raise self._exists() from None
        self._temporary = None
        self.sync_folder()

    def temporary_path(self) -> str:
        """Give the path of a hidden file in the same folder that does not exist."""
        return os.path.join(self._folder, self._temporary_name())

    def sync_folder(self) -> None:
        """Bring new and removed names in the folder to the disk."""
        os.fsync(self._folder_fd)

    def close(self) -> None:
        """Remove what was not published."""
        self.file.close()
        if self._folder_fd < 0:
            return
        if self._temporary is not None:
            with suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._folder_fd)
            self._temporary = None
        os.close(self._folder_fd)
        self._folder_fd = -1

    def __enter__(self) -> Self:
        """Give the file being written."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; nothing stays unless it was published."""
        self.close()

    def _exists(self) -> FileExistsError:
        return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.path)

    def _name_it(self) -> None:
        if self.overwrite:
            if self._temporary is None:
                temporary = self._temporary_name()
                self._link_nameless(temporary)
                self._temporary = temporary
            os.replace(self._temporary, self.path, src_dir_fd=self._folder_fd)
        elif self._temporary is None:
            self._link_nameless(os.path.basename(self.path))
        else:
            self._rename_without_replacing(self._temporary)

    def _create(self, mode: int) -> int:
        nameless: Any = getattr(os, "O_TMPFILE", None)
        if nameless is not None and os.path.isdir("/proc/self/fd"):
            try:
                return os.open(".", nameless | os.O_RDWR, mode, dir_fd=self._folder_fd)
            except OSError as error:
                if error.errno not in _NO_NAMELESS_FILES:
                    error.filename = self._folder
                    raise
        return self._create_named(mode)

    def _create_named(self, mode: int) -> int:
        name = self._temporary_name()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, mode, dir_fd=self._folder_fd)
        self._temporary = name
        return descriptor

    def _temporary_name(self) -> str:
        stem = os.fsencode(os.path.basename(self.path))[:_NAME_BYTES]
        return f".{stem.decode('utf-8', 'ignore')}.{os.urandom(6).hex()}.tmp"

    def _link_nameless(self, name: str) -> None:
        # `linkat` follows the link in /proc only when a folder descriptor is passed: without one
        # Python calls plain `link`, which links the symbolic link itself.
        os.link(
            f"/proc/self/fd/{self.file.fileno()}",
            name,
            src_dir_fd=self._folder_fd,
            dst_dir_fd=self._folder_fd,
            follow_symlinks=True,
        )

    def _rename_without_replacing(self, temporary: str) -> None:
        name = os.path.basename(self.path)
        folder = self._folder_fd
        try:
            os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # FAT and some network file systems have no hard links: the check leaves a short gap.
            if os.path.lexists(self.path):
                raise self._exists() from None
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            os.unlink(temporary, dir_fd=folder)
