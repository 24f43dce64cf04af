"""What is in shard archives, read from their tables of contents alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from shardpack.errors import InvalidManifestError, ObjectNotFoundError, ShardReadError
from shardpack.exchange.manifest.lines import MOST_LINE_BYTES
from shardpack.exchange.shard.member_entries import parse_member_line
from shardpack.exchange.shard.source import ArchiveSource
from shardpack.storage.transfer import parallel_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shardpack.archive.index import ArchiveIndex
    from shardpack.exchange.bodies import ArchiveMemberBody
    from shardpack.exchange.keys import Space
    from shardpack.exchange.types import FileEntry, ManifestEntry, ShardEntry

__all__ = ["internal_entries", "list_entries", "member_entries"]

_PIECE: Final = 1 << 20
_BATCH: Final = 1000
# Each holds the entries of one archive.
_MOST_ARCHIVES_AHEAD: Final = 8


def member_entries(space: Space, entry: ShardEntry) -> Iterator[FileEntry]:
    """Give the entries of the members of an archive, from the manifest inside.

    With an index that costs the index and one range; otherwise the archive is read up to its
    internal manifest, which is its first member.

    Args:
        space: Where it lies.
        entry: What a manifest says of the archive.

    Yields:
        The entry of each member, with the size and digests that the index knows.

    Raises:
        ObjectNotFoundError: There is no such archive.
        IntegrityError: It is not the one of the entry.
        ShardReadError: It has no manifest inside, or one that is broken, or is damaged.
    """
    archive_key = entry["archive_key"]
    source = ArchiveSource(space, archive_key, entry=entry)
    count = 0
    for found in internal_entries(source):
        count += 1
        yield found
    told = entry.get("count")
    if told is not None and told != count:
        raise ShardReadError(
            f"the internal manifest names {count} members, the entry {told}", key=archive_key
        )


def internal_entries(source: ArchiveSource) -> Iterator[FileEntry]:
    """Give the entries of the manifest inside of an archive.

    Args:
        source: The archive.

    Yields:
        Its entries; see ``member_entries`` for the errors.
    """
    # Asking for the index first, because it may say how the manifest inside is called.
    source.index()
    path = source.internal_manifest_path
    try:
        body = source.open(path)
    except ObjectNotFoundError as error:
        if error.key == source.archive_key:
            raise
        raise ShardReadError(
            "internal manifest not found", key=source.archive_key, member=path
        ) from error
    index = source.index()
    with body:
        for number, line in enumerate(_lines(body, source.archive_key, path), 1):
            if line and not line.isspace():
                yield _enriched(_parse(line, number, source.archive_key, path), source, index)


def _lines(body: ArchiveMemberBody, archive_key: str, path: str) -> Iterator[bytes]:
    rest = b""
    while piece := body.read(_PIECE):
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        yield from lines
        if len(rest) > MOST_LINE_BYTES:
            raise ShardReadError("endless line in manifest", key=archive_key, member=path)
    if rest:
        yield rest


def _parse(line: bytes, number: int, archive_key: str, path: str) -> FileEntry:
    try:
        entry = parse_member_line(line, archive_key, number)
    except InvalidManifestError as error:
        raise ShardReadError(
            f"broken internal manifest: {error}", key=archive_key, member=path
        ) from error
    if entry["kind"] != "file":
        raise ShardReadError(
            f"the internal manifest has an entry of kind {entry['kind']!r:.80} on line {number}",
            key=archive_key,
            member=path,
        )
    return entry


def _enriched(entry: FileEntry, source: ArchiveSource, index: ArchiveIndex | None) -> FileEntry:
    path = entry.get("member_path")
    if path is None:
        path = entry["key"].partition("#")[2]
    fields: dict[str, Any] = {
        **entry,
        "archive_key": source.archive_key,
        "member_path": path,
        "key": source.virtual_key(path),
    }
    member = None if index is None else index.member(path)
    if member is not None:
        if fields.get("size_bytes") is None:
            fields["size_bytes"] = member.size
        if member.crc32c is not None:
            fields["crc32c"] = f"{member.crc32c:08x}"
        if member.blake3 is not None:
            fields["blake3"] = member.blake3.hex()
    return cast("FileEntry", fields)


def list_entries(
    space: Space,
    entries: Iterable[ManifestEntry],
    *,
    include_shards: bool = True,
    concurrency: int = 1,
) -> Iterator[ManifestEntry]:
    """Put the entries of members in place of those of shards.

    Args:
        space: Where the archives lie.
        entries: Entries, in the order in which they are given.
        include_shards: Otherwise the entries of shards are given as they are.
        concurrency: How many archives are looked into at once.

    Returns:
        An iterator over the entries.

    Raises:
        ShardReadError: An archive cannot be read; see ``member_entries`` for the others.
    """
    if not include_shards:
        return iter(entries)

    def expand(batch: list[ManifestEntry]) -> list[ManifestEntry]:
        first = batch[0]
        return list(member_entries(space, first)) if first["kind"] == "shard" else batch

    workers = max(1, min(concurrency, _MOST_ARCHIVES_AHEAD))
    return _joined(parallel_map(expand, _batches(entries), workers=workers))


def _joined(batches: Iterator[list[ManifestEntry]]) -> Iterator[ManifestEntry]:
    for batch in batches:
        yield from batch


def _batches(entries: Iterable[ManifestEntry]) -> Iterator[list[ManifestEntry]]:
    """Cut entries into batches of files, and of one shard each."""
    batch: list[ManifestEntry] = []
    for entry in entries:
        is_shard = entry["kind"] == "shard"
        if batch and (is_shard or len(batch) == _BATCH):
            yield batch
            batch = []
        if is_shard:
            yield [entry]
        else:
            batch.append(entry)
    if batch:
        yield batch
