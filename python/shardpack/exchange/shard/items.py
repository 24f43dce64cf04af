"""The members of a shard to be: checked, measured, and readable when their turn comes."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from shardpack.archive.member_path import check_member_path
from shardpack.batch import as_bytes_view
from shardpack.errors import S4IoError, UnsafePathError
from shardpack.exchange.manifest.lines import serialize_blocks
from shardpack.exchange.shard.spool import Spooled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typing_extensions import Buffer

    from shardpack.exchange.shard.spool import Spool
    from shardpack.exchange.types import FileEntry, ShardItem

__all__ = [
    "FileReader",
    "ItemFailure",
    "PreparedItem",
    "internal_manifest",
    "open_source",
    "prepare_item",
    "require_distinct",
]

# Members up to this size are read at once, which costs one call; larger ones piece by piece.
WHOLE_READ_BYTES = 4 << 20
_READ_PIECE = 1 << 20


class ItemFailure(Exception):  # noqa: N818 - it carries the error, and never leaves this package
    """The bytes of a member could not be had.

    Args:
        member_path: Its path.
        error: Why.
    """

    def __init__(self, member_path: str, error: Exception) -> None:
        super().__init__(member_path, error)
        self.member_path = member_path
        self.error = error


class PreparedItem(NamedTuple):
    """A member of a shard to be.

    Attributes:
        member_path: Its path in the archive, checked.
        source: Its bytes, the path of its file, or where they were kept.
        size: Its length in bytes.
        mtime_ns: When its file was last written; ``None`` of bytes.
        id: The caller's name for it.
        meta: Whatever the caller keeps with it.
        content_type: Its media type.
    """

    member_path: str
    source: Buffer | str | Spooled
    size: int
    mtime_ns: int | None = None
    id: str | None = None
    meta: dict[str, Any] | None = None
    content_type: str | None = None


def prepare_item(item: ShardItem, spool: Spool, *, hold: bool) -> PreparedItem:
    """Check an item and find out its size.

    Args:
        item: The item. Its source is bytes, a path, a binary file object or an iterable of
            buffers.
        spool: Where bytes are kept that cannot stay where they are.
        hold: The caller holds the buffers until the shard is written; otherwise they are kept.

    Returns:
        The item; nothing of it is read again but files.

    Raises:
        UnsafePathError: Its member path leads out of its folder, or its file is none.
        OSError: Its file cannot be looked up.
        ValueError: It has no member path, or another size than it says.
        TypeError: It is no dict, or its source is none of the above.
    """
    if not isinstance(item, Mapping):
        raise TypeError(f"a shard item is a dict with member_path and source, got {item!r:.80}")
    if "member_path" not in item or "source" not in item:
        missing = "member_path" if "member_path" not in item else "source"
        raise ValueError(f"shard item without {missing}: {_told(item)}")
    member_path = check_member_path(item["member_path"])
    found, size, mtime_ns = _measure(item["source"], member_path, spool, hold=hold)
    declared = item.get("size_bytes")
    if declared is not None and declared != size:
        raise ValueError(f"member {member_path!r} has {size} bytes, its item says {declared}")
    return PreparedItem(
        member_path,
        found,
        size,
        mtime_ns,
        item.get("id"),
        item.get("meta"),
        item.get("content_type"),
    )


def _told(item: ShardItem) -> str:
    return repr({name: value for name, value in item.items() if name != "source"})


def _measure(
    source: Any,  # noqa: ANN401 - whatever callers have
    member_path: str,
    spool: Spool,
    *,
    hold: bool,
) -> tuple[Buffer | str | Spooled, int, int | None]:
    if isinstance(source, str | os.PathLike):
        path = os.fsdecode(os.fspath(source))
        return path, *regular_file(path)
    if isinstance(source, bytes | bytearray | memoryview):
        if hold:
            return source, as_bytes_view(source).nbytes, None
        kept = spool.keep(source)
    elif hasattr(source, "read"):
        kept = spool.keep_stream(iter(lambda: source.read(_READ_PIECE), b""))
    else:
        kept = _keep_other(source, member_path, spool)
    return kept, kept.size, None


def _keep_other(source: Any, member_path: str, spool: Spool) -> Spooled:  # noqa: ANN401
    try:
        view = memoryview(source)
    except TypeError:
        if not hasattr(source, "__iter__"):
            raise TypeError(
                f"member {member_path!r}: the source must be bytes, a path, a file object or an"
                f" iterable of buffers, got {type(source).__name__}"
            ) from None
        return spool.keep_stream(source)
    return spool.keep(view)


def regular_file(path: str) -> tuple[int, int]:
    """Look up the size and modification time of a file; symbolic links are followed.

    Args:
        path: The file.

    Raises:
        UnsafePathError: It is a folder, a device, a pipe or a socket.
        OSError: It cannot be looked up.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        error = UnsafePathError(f"not a regular file: {path!r}")
        error.path = path
        raise error
    return found.st_size, found.st_mtime_ns


def require_distinct(items: Iterable[PreparedItem], internal_manifest_path: str) -> None:
    """Refuse members that would hide each other.

    Args:
        items: The members.
        internal_manifest_path: The path that is taken already.

    Raises:
        UnsafePathError: A member is named like the internal manifest.
        ValueError: Two members have one path.
    """
    seen: set[str] = set()
    for item in items:
        if item.member_path == internal_manifest_path:
            error = UnsafePathError(
                f"member {item.member_path!r} is named like the internal manifest"
            )
            error.path = item.member_path
            raise error
        if item.member_path in seen:
            raise ValueError(f"member {item.member_path!r} is there twice")
        seen.add(item.member_path)


def open_source(item: PreparedItem) -> Buffer | FileReader:
    """Give the bytes of an item: at once where they are few, as a file object otherwise.

    Args:
        item: The item.

    Raises:
        ItemFailure: Its file is not what it was, or cannot be read.
    """
    source = item.source
    try:
        if not isinstance(source, Spooled | str):
            if as_bytes_view(source).nbytes != item.size:
                raise S4IoError(f"io: member {item.member_path!r} changed its length meanwhile")
            return source
        if item.size > WHOLE_READ_BYTES:
            return FileReader(item)
        return source.read() if isinstance(source, Spooled) else _read_file(item, source)
    except OSError as error:
        raise ItemFailure(item.member_path, error) from error


def _read_file(item: PreparedItem, path: str) -> bytes:
    descriptor = _open_unchanged(item, path)
    try:
        # One byte more than there should be: a file that grew shows without another call.
        data = os.read(descriptor, item.size + 1)
        while len(data) < item.size:
            more = os.read(descriptor, item.size + 1 - len(data))
            if not more:
                break
            data += more
        _require_unchanged(item, path, descriptor)
    finally:
        os.close(descriptor)
    if len(data) != item.size:
        raise _changed(path)
    return data


def _open_unchanged(item: PreparedItem, path: str) -> int:
    try:
        # A pipe that took the place of the file must not hang the run.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise S4IoError(f"io: the source is gone: {path!r}") from error
    try:
        _require_unchanged(item, path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_unchanged(item: PreparedItem, path: str, descriptor: int) -> None:
    found = os.fstat(descriptor)
    known = (item.size, item.mtime_ns)
    if (found.st_size, found.st_mtime_ns) != known or not stat.S_ISREG(found.st_mode):
        raise _changed(path)


def _changed(path: str) -> S4IoError:
    return S4IoError(f"io: the source changed while it was packed: {path!r}")


class FileReader(io.RawIOBase):
    """A large item as a binary file object.

    Args:
        item: The item: a file, or bytes that were kept.
    """

    def __init__(self, item: PreparedItem) -> None:
        super().__init__()
        self._item = item
        self._position = 0
        self._descriptor = -1
        if isinstance(item.source, str):
            self._descriptor = _open_unchanged(item, item.source)

    def readable(self) -> bool:
        """Answer True: this is what the object is for."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill a buffer; fewer bytes only at the end.

        Args:
            buffer: Any writable C-contiguous buffer.

        Raises:
            ItemFailure: The file is not what it was, or cannot be read.
        """
        target = as_bytes_view(buffer)[: max(0, self._item.size - self._position)]
        source = self._item.source
        try:
            if isinstance(source, Spooled):
                target[:] = source.read(self._position, target.nbytes)
            elif target.nbytes:
                self._fill(target)
        except OSError as error:
            raise ItemFailure(self._item.member_path, error) from error
        self._position += target.nbytes
        return target.nbytes

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            super().close()
            if getattr(self, "_descriptor", -1) >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _fill(self, target: memoryview) -> None:
        path = str(self._item.source)
        end = self._position + target.nbytes
        filled = 0
        while filled < target.nbytes:
            count = os.preadv(self._descriptor, [target[filled:]], self._position + filled)
            if not count:
                raise _changed(path)
            filled += count
        if end == self._item.size:
            _require_unchanged(self._item, path, self._descriptor)


def internal_manifest(items: Iterable[PreparedItem], archive_key: str) -> bytes:
    """Make the manifest that is the first member of a shard: one line for each other member.

    Args:
        items: The members.
        archive_key: Key of the archive.

    Raises:
        TypeError: Something in the ``meta`` of an item has no form in JSON.
    """
    lines = serialize_blocks(_internal_entries(items, archive_key))
    return b"".join(block for block, _ in lines)


def _internal_entries(items: Iterable[PreparedItem], archive_key: str) -> Iterator[FileEntry]:
    for item in items:
        entry: FileEntry = {
            "kind": "file",
            "key": f"{archive_key}#{item.member_path}",
            "member_path": item.member_path,
            "id": item.id,
            "meta": item.meta,
            "size_bytes": item.size,
        }
        if item.content_type is not None:
            entry["content_type"] = item.content_type
        yield entry
