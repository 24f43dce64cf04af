"""What a file system does not keep of an object: content type and user metadata, in a hidden file.

The hidden file of ``name`` is ``.name.shardmeta`` in the same folder: one JSON line for each
version of the object that it speaks of, bound by the ETag. A new version's line is written beside
that of the old one before the object is replaced; whichever is there in the end finds its own.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shardpack.atomic import AtomicFile
from shardpack.errors import StorageError
from shardpack.storage.base import ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Record",
    "etag_of",
    "info_of",
    "is_hidden",
    "read_record",
    "remove_records",
    "temporary_stem",
]

_SUFFIX = ".shardmeta"
_MOST_NAME_BYTES = 255
_HIDDEN = re.compile(r"\..+(\.shardmeta|\.[0-9a-f]{12}\.tmp)", re.DOTALL)
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{12}\.tmp", re.DOTALL)
_STEM_OF_METADATA = re.compile(r"\.(.+)\.shardmeta", re.DOTALL)


def etag_of(status: os.stat_result) -> str:
    """Give the tag of a version: another file, another time or another size is another version."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def is_hidden(name: str) -> bool:
    """Tell whether a file name belongs to the store itself and names no object."""
    return name.startswith(".") and _HIDDEN.fullmatch(name) is not None


def temporary_stem(name: str) -> str | None:
    """Give the object name that a temporary file was made for; ``None`` if it is none."""
    found = _TEMPORARY.fullmatch(name)
    if found is None:
        return None
    hidden = _STEM_OF_METADATA.fullmatch(found[1])
    return found[1] if hidden is None else hidden[1]


def metadata_name(name: str) -> str:
    """Give the name of the hidden file that belongs to an object's file."""
    whole = os.fsencode(f".{name}{_SUFFIX}")
    if len(whole) <= _MOST_NAME_BYTES:
        return os.fsdecode(whole)
    digest = hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()
    return os.fsdecode(whole[:128]).encode("utf-8", "ignore").decode() + f".{digest}{_SUFFIX}"


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of one version.

    Attributes:
        content_type: Media type.
        metadata: User metadata.
    """

    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.content_type is not None or bool(self.metadata)


def read_record(path: str, etag: str) -> Record | None:
    """Find the record of a version.

    Args:
        path: Path of the object's file.
        etag: The version.

    Returns:
        The record; ``None`` if there is none.

    Raises:
        StorageError: The hidden file is damaged.
        OSError: It cannot be read.
    """
    folder, name = os.path.split(path)
    return _read(os.path.join(folder, metadata_name(name))).get(etag)


def write_records(path: str, records: Mapping[str, Record], *, sync: bool) -> None:
    """Replace what is kept about an object; without records there is no hidden file.

    The caller holds the lock of the folder.

    Args:
        path: Path of the object's file.
        records: Record by ETag.
        sync: Bring it to the disk.
    """
    folder, name = os.path.split(path)
    hidden = os.path.join(folder, metadata_name(name))
    kept = {etag: record for etag, record in records.items() if record}
    if not kept:
        _unlink(hidden)
        return
    rows = [
        {"etag": etag, "content_type": record.content_type, "metadata": dict(record.metadata)}
        for etag, record in kept.items()
    ]
    text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    with _MetadataFile(hidden, overwrite=True) as target:
        target.file.write(text.encode())
        target.name_it(sync=sync)


def remove_records(path: str) -> None:
    """Remove what is kept about an object; the caller holds the lock of the folder."""
    folder, name = os.path.split(path)
    _unlink(os.path.join(folder, metadata_name(name)))


class _MetadataFile(AtomicFile):
    def name_it(self, *, sync: bool) -> None:
        """Give the file its name; the folder is brought to the disk with the object's own name."""
        self._ready = not sync
        self.prepare()
        self._name_it()
        self._temporary = None


def _read(hidden: str) -> dict[str, Record]:
    try:
        # Opening a pipe would otherwise wait for its other end.
        descriptor = os.open(hidden, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return {}
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            return {}
        raise
    with open(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StorageError(f"damaged metadata file {hidden}: not a file")
        lines = file.readall().splitlines()
    try:
        return dict(_record_of(json.loads(line)) for line in lines)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StorageError(f"damaged metadata file {hidden}") from error


def _record_of(row: Any) -> tuple[str, Record]:  # noqa: ANN401 - anything may stand there
    etag, content_type, metadata = row["etag"], row["content_type"], row["metadata"]
    if not isinstance(metadata, dict):
        raise TypeError("not a record")
    texts = [etag, *metadata.keys(), *metadata.values()]
    if content_type is not None:
        texts.append(content_type)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("not a record")
    return etag, Record(content_type, metadata)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def info_of(key: str, status: os.stat_result, record: Record | None = None) -> ObjectInfo:
    """Say what is known about an object.

    Args:
        key: Its key.
        status: The facts of its file.
        record: Its content type and user metadata, if they were asked for.
    """
    return ObjectInfo(
        key=key,
        size=status.st_size,
        etag=etag_of(status),
        last_modified=time_of(status),
        content_type=None if record is None else record.content_type,
        metadata={} if record is None else dict(record.metadata),
    )


def time_of(status: os.stat_result) -> datetime:
    """Give the time at which a file was written."""
    return datetime.fromtimestamp(status.st_mtime, UTC)
