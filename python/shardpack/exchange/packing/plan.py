"""Which members go into which shard, and under which name; nothing is read or sent here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from shardpack.archive.compression import COMPRESSIONS, READABLE_COMPRESSIONS, suffix_of
from shardpack.batch import as_bytes_view
from shardpack.exchange.checks import require_whole_number
from shardpack.exchange.manifest.lines import serialize_entry
from shardpack.exchange.shard.spool import Spooled
from shardpack.hash import Blake3, blake3

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardpack.archive.compression import Compression, ReadableCompression
    from shardpack.exchange.shard.items import PreparedItem
    from shardpack.exchange.types import FileEntry

__all__ = [
    "LEVELS",
    "LOOSE_FOLDER",
    "SHARD_FOLDER",
    "ShardOptions",
    "is_our_loose",
    "is_our_shard",
    "loose_name",
    "shard_name",
]

SHARD_FOLDER: Final = "shards"
LOOSE_FOLDER: Final = "objects"
LEVELS: Final[dict[ReadableCompression | None, range]] = {
    None: range(0),
    "gzip": range(10),
    "zstd": range(1, 23),
    "s4": range(1, 23),
    "bzip2": range(1, 10),
    "xz": range(10),
}
"""The levels of each compression."""
# Goes into every name: shards of another layout get other names.
_PLAN_VERSION = 1
_NAME_DIGITS = 16
# Others number their shards, too: a name counts as ours only with digits that nobody chooses.
_OUR_SHARD = re.compile(
    r"(?:.*/)?shard-(?:[0-9a-f]{16}|[0-9]{6}-[0-9a-f]{8,})\.tar(?:\.(?:gz|bz2|xz|zst|s4))?"
)
_OUR_LOOSE = re.compile(rf"(?:.*/)?{LOOSE_FOLDER}/loose-[0-9a-f]{{16}}/.+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ShardOptions:
    """How the archive of a shard is written.

    Attributes:
        compression: ``None``, ``"gzip"``, ``"zstd"``, ``"s4"``, ``"bzip2"`` or ``"xz"``.
        level: Its level; the codec's default when ``None``.
        chunk_size: Original bytes of a chunk; the writer's default when ``None``.
        internal_manifest_path: Path of the first member.

    Raises:
        ValueError: There is no such compression, or it has no such level.
        TypeError: A number is none.
    """

    compression: ReadableCompression | None = "gzip"
    level: int | None = None
    chunk_size: int | None = None
    internal_manifest_path: str = "__manifest__.jsonl"

    def __post_init__(self) -> None:
        if self.compression not in READABLE_COMPRESSIONS:
            known = ", ".join(map(str, READABLE_COMPRESSIONS))
            raise ValueError(f"unknown compression {self.compression!r}; there are {known}")
        for name in ("level", "chunk_size"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, require_whole_number(name, value))
        levels = LEVELS[self.compression]
        if self.level is not None and self.level not in levels:
            if not levels:
                raise ValueError("an archive without compression takes no level")
            raise ValueError(
                f"level of {self.compression} must be {levels[0]} to {levels[-1]}, got {self.level}"
            )

    @property
    def chunked_compression(self) -> Compression | None:
        """The compression of single chunks; ``None`` where the archive is one stream."""
        if self.compression in COMPRESSIONS:
            return self.compression
        return None

    @property
    def has_index(self) -> bool:
        """Whether members can be read alone."""
        return self.compression == self.chunked_compression

    @property
    def suffix(self) -> str:
        """The extension of archives, such as ``.tar.gz``."""
        return suffix_of(self.compression)


def shard_name(items: Iterable[PreparedItem], options: ShardOptions, again: int = 0) -> str:
    """Name a shard by what goes into it, so that the same plan has the same name again.

    The name depends on the paths, sizes, modification times (the digests, where the bytes are at
    hand), identifiers and options, and on their order.

    Args:
        items: The members.
        options: How the archive is written.
        again: Not 0 where a manifest names a shard of this plan already, and other versions of its
            files behind it: another name lets them be named once more.
    """
    made_with = (
        _PLAN_VERSION,
        options.compression,
        options.level,
        options.chunk_size,
        options.internal_manifest_path,
    )
    hasher = Blake3(_line({"options": made_with}))
    for item in items:
        hasher.update(_identity(item))
    if again:
        hasher.update(_line({"again": again}))
    return f"shard-{hasher.hexdigest()[:_NAME_DIGITS]}{options.suffix}"


def loose_name(item: PreparedItem, again: int = 0) -> str:
    """Name an object that is too large for a shard: a digest as folder, then its own path.

    Args:
        item: The item.
        again: As for a shard.
    """
    hashed = _identity(item) + (_line({"again": again}) if again else b"")
    return f"loose-{blake3(hashed).hex()[:_NAME_DIGITS]}/{item.member_path}"


def _identity(item: PreparedItem) -> bytes:
    content: int | str | None = item.mtime_ns
    if isinstance(item.source, Spooled):
        content = item.source.blake3
    elif content is None and not isinstance(item.source, str):
        content = blake3(as_bytes_view(item.source)).hex()
    return _line(
        {
            "path": item.member_path,
            "size": item.size,
            "content": content,
            "id": item.id,
            "meta": item.meta,
            "type": item.content_type,
        }
    )


def _line(value: dict[str, Any]) -> bytes:
    return serialize_entry(cast("FileEntry", value)) + b"\n"


def is_our_shard(key: str) -> bool:
    """Tell by its key whether an archive was named by this package.

    Args:
        key: The key.
    """
    return _OUR_SHARD.fullmatch(key) is not None


def is_our_loose(key: str) -> bool:
    """Tell by its key whether an object is one that was too large for a shard.

    Args:
        key: The key.
    """
    return _OUR_LOOSE.fullmatch(key) is not None
