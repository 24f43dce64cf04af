"""Parts of a manifest: their names, and how entries are written into them."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from shardpack.errors import PreconditionFailedError, StorageUnavailableError
from shardpack.exchange.keys import normalize_key
from shardpack.exchange.manifest.lines import CONTENT_TYPE, serialize_blocks, serialize_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from shardpack.exchange.keys import Space
    from shardpack.exchange.types import ManifestEntry
    from shardpack.storage.base import ObjectWriter

__all__ = [
    "PART_MAX_BYTES",
    "PART_MAX_ENTRIES",
    "Spool",
    "level_key",
    "listed_part_key",
    "listed_prefix",
    "part_key",
    "put_new",
    "ref_line",
    "write_part",
    "write_parts",
]

PART_MAX_ENTRIES: Final = 50_000
PART_MAX_BYTES: Final = 50 << 20

#: What is held before an upload in parts begins, and the size of these parts: entries take longer
#: to write than to send, so that little is left to send when the last one is written.
_MOST_HELD: Final = 8 << 20
_TRIES: Final = 5


def part_key(root_key: str) -> str:
    """Make the key of a new part: ``<folder>/manifests/part-<UTC>-<8 hex digits>.jsonl``.

    Args:
        root_key: Key of the manifest.
    """
    return f"{_folder(root_key)}part-{_now()}-{os.urandom(4).hex()}.jsonl"


def level_key(root_key: str, level: int) -> str:
    """Make the key of a manifest that holds references which stood in the root.

    Args:
        root_key: Key of the manifest.
        level: How often they have been folded.
    """
    return f"{_folder(root_key)}level{level}-{_now()}-{os.urandom(4).hex()}.jsonl"


def listed_prefix(root_key: str, generation: str = "") -> str:
    """Make the prefix of the parts that readers find by listing.

    Args:
        root_key: Key of the manifest.
        generation: Sets apart the parts of a manifest that was overwritten.
    """
    name = normalize_key(root_key).rpartition("/")[2]
    return f"{_folder(root_key)}{name}.parts{generation and '-'}{generation}/"


def listed_part_key(prefix: str) -> str:
    """Make the key of a new part below a prefix; one writer's parts sort as they were made.

    Args:
        prefix: The prefix.
    """
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    return f"{prefix}part-{now}-{os.urandom(4).hex()}.jsonl"


def _folder(root_key: str) -> str:
    parent, slash, _ = normalize_key(root_key).rpartition("/")
    return f"{parent}{slash}manifests/"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S")


def ref_line(key: str, level: int = 0) -> bytes:
    """Write the line that refers to a manifest, without the line feed.

    Args:
        key: Its key.
        level: How often its lines have been folded; 0 for a part.
    """
    if level:
        return serialize_entry({"kind": "manifest_ref", "key": key, "level": level})
    return serialize_entry({"kind": "manifest_ref", "key": key})


def put_new(space: Space, make_key: Callable[[], str], data: bytes, *, exclusive: bool) -> str:
    """Write an object under a key that nothing has.

    Args:
        space: Where to write.
        make_key: Makes a key; asked again where the first one was taken.
        data: The bytes.
        exclusive: Have the store check that the key is free.

    Returns:
        The key.
    """
    for _ in range(_TRIES - 1):
        key = make_key()
        try:
            space.objects.put(space.full(key), data, content_type=CONTENT_TYPE, if_absent=exclusive)
        except PreconditionFailedError:
            continue
        except StorageUnavailableError as error:
            # It may be there or not. Nothing refers to it yet, so another one does no harm.
            if not (exclusive and error.ambiguous):
                raise
            continue
        return key
    key = make_key()
    space.objects.put(space.full(key), data, content_type=CONTENT_TYPE, if_absent=exclusive)
    return key


class Spool:
    """Lines on their way to an object: held while they are few, sent as they come when many.

    Args:
        space: Where to write.
        key: Key of the object.

    Attributes:
        key: As above.
        size: Bytes taken so far.
    """

    def __init__(self, space: Space, key: str) -> None:
        self.key = key
        self._space = space
        self._held: list[bytes] = []
        self._writer: ObjectWriter | None = None
        self.size = 0

    @property
    def is_small(self) -> bool:
        """Whether nothing has been sent yet."""
        return self._writer is None

    def held(self) -> bytes:
        """Give what has been written, while it is small."""
        return b"".join(self._held)

    def write(self, block: bytes) -> None:
        """Take lines."""
        self.size += len(block)
        if self._writer is not None:
            self._writer.write(block)
            return
        self._held.append(block)
        if self.size > _MOST_HELD:
            self._writer = self._space.objects.writer(
                self._space.full(self.key), content_type=CONTENT_TYPE, part_size=_MOST_HELD
            )
            self._writer.write(self.held())
            self._held.clear()

    def close(self) -> None:
        """Let the object appear."""
        if self._writer is None:
            self._space.objects.put(
                self._space.full(self.key), self.held(), content_type=CONTENT_TYPE
            )
        else:
            self._writer.close()

    def abort(self) -> None:
        """Remove what was sent."""
        if self._writer is not None:
            self._writer.abort()


def write_parts(
    space: Space,
    root_key: str,
    entries: Iterable[ManifestEntry],
    *,
    max_entries: int = PART_MAX_ENTRIES,
    max_bytes: int = PART_MAX_BYTES,
    exclusive: bool = False,
    written: list[str] | None = None,
) -> list[str]:
    """Write entries into parts to which nothing refers yet.

    Args:
        space: Where to write.
        root_key: Key of the manifest.
        entries: The entries; they are taken as they come.
        max_entries: Most entries of a part.
        max_bytes: A part with so many bytes is closed.
        exclusive: Have the store check that the names of small parts are free.
        written: Takes the keys of parts as they are finished, for who cleans up after an error.

    Returns:
        The keys of the parts; none without entries.
    """
    keys = [] if written is None else written
    source = iter(entries)
    number = 1
    while True:
        blocks = serialize_blocks(islice(source, max_entries), first_number=number)
        first = next(blocks, None)
        if first is None:
            return keys
        spool = Spool(space, part_key(root_key))
        try:
            number += _fill(spool, chain([first], blocks), max_bytes)
            keys.append(_finish(space, root_key, spool, exclusive=exclusive))
        except BaseException:
            spool.abort()
            raise


def write_part(
    space: Space, root_key: str, blocks: Iterable[bytes], *, exclusive: bool = False
) -> str:
    """Write lines into one part to which nothing refers yet.

    Args:
        space: Where to write.
        root_key: Key of the manifest.
        blocks: Whole lines, each with its line feed.
        exclusive: Have the store check that the name of a small part is free.

    Returns:
        Key of the part.
    """
    spool = Spool(space, part_key(root_key))
    try:
        for block in blocks:
            spool.write(block)
        return _finish(space, root_key, spool, exclusive=exclusive)
    except BaseException:
        spool.abort()
        raise


def _fill(spool: Spool, blocks: Iterator[tuple[bytes, int]], max_bytes: int) -> int:
    count = 0
    for block, lines in blocks:
        spool.write(block)
        count += lines
        if spool.size >= max_bytes:
            break
    return count


def _finish(space: Space, root_key: str, spool: Spool, *, exclusive: bool) -> str:
    if spool.is_small:
        data = spool.held()
        return put_new(space, lambda: part_key(root_key), data, exclusive=exclusive)
    spool.close()
    return spool.key
