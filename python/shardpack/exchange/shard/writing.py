"""One shard archive: built and sent as a stream, its index behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shardpack.archive.index import INDEX_SUFFIX
from shardpack.archive.member_path import check_member_path
from shardpack.archive.writer import DEFAULT_CHUNK_SIZE, ArchiveWriter
from shardpack.errors import ObjectNotFoundError
from shardpack.exchange.keys import normalize_key
from shardpack.exchange.packing.plan import ShardOptions
from shardpack.exchange.shard.items import (
    FileReader,
    ItemFailure,
    internal_manifest,
    open_source,
    prepare_item,
    require_distinct,
)
from shardpack.exchange.shard.spool import Spool
from shardpack.exchange.shard.target import ArchiveTarget, StreamCompressor
from shardpack.frame import SIDECAR_SUFFIX, bind_index
from shardpack.progress import progress_callback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shardpack.archive.compression import ReadableCompression
    from shardpack.archive.index import ArchiveIndex
    from shardpack.exchange.keys import Space
    from shardpack.exchange.shard.items import PreparedItem
    from shardpack.exchange.types import ShardEntry, ShardItem
    from shardpack.progress import Progress
    from shardpack.storage.base import ObjectInfo

__all__ = ["find_finished", "put_archive", "shard_entry", "write_shard"]

# Items of unknown length, and those of iterators, are held in memory up to this.
_SPOOL_BYTES: Final = 32 << 20
_INDEX_TYPE: Final = "application/zstd"
_S4_INDEX_TYPE: Final = "application/x-s4-index"


def put_archive(  # noqa: PLR0913 - every way to write is a keyword
    space: Space,
    archive_key: str,
    items: Iterable[ShardItem],
    *,
    format: str = "tar",  # noqa: A002 - a documented name
    compression: ReadableCompression | None = "gzip",
    level: int | None = None,
    chunk_size: int | None = None,
    internal_manifest_path: str = "__manifest__.jsonl",
    threads: int | None = None,
    progress: Progress = None,
) -> ShardEntry:
    """Write a shard archive, and the index that makes its members readable one by one.

    The archive is built and sent piece by piece: memory holds some chunks and parts of it, and of
    items that an iterator gives as bytes 32 MiB, the rest waits in a temporary file. It appears
    under its key whole or not at all. The same items under the same key give the same bytes.

    An index beside an older archive under this key goes before the new archive appears, and the
    new one comes behind it, so that no index ever describes another archive. Should that last
    step fail, the archive is there and is read without an index.

    Args:
        space: Where it goes.
        archive_key: Its key.
        items: Its members. A path as source is followed to a regular file.
        format: ``"tar"``.
        compression: ``None``, ``"gzip"``, ``"zstd"``, ``"s4"``, or ``"bzip2"`` and ``"xz"``, whose
            archives have no index: to read a member is to read what lies before it.
        level: Compression level; the codec's default when ``None``.
        chunk_size: Original bytes of a chunk.
        internal_manifest_path: Path of the first member, which tells what the others are.
        threads: Threads to compress with; all cores when ``None``.
        progress: Called with the number of bytes of members done so far, or an object with tqdm's
            ``update``.

    Returns:
        The entry to write into a manifest.

    Raises:
        UnsafePathError: A member path leads out of its folder, is that of the internal manifest,
            or a source is no regular file. Nothing was sent.
        ValueError: A member is there twice, or the options are no good. Nothing was sent.
        S4IoError: A file changed while it was read; nothing appears.
        OSError: A file cannot be read; nothing appears.
        StorageError: The store refused.

    Example:
        >>> from shardpack.exchange.keys import Space
        >>> from shardpack.exchange.shard.writing import put_archive
        >>> from shardpack.storage.memory import MemoryStore
        >>> space = Space(MemoryStore("put-archive"))
        >>> entry = put_archive(
        ...     space, "shards/a.tar.gz", [{"member_path": "a.txt", "source": b"hello"}]
        ... )
        >>> entry["count"], entry["index_key"]
        (1, 'shards/a.tar.gz.shardindex')
    """
    if format != "tar":
        raise ValueError(f"unknown archive format {format!r}; there is tar")
    options = ShardOptions(
        compression, level, chunk_size, check_member_path(internal_manifest_path)
    )
    key = normalize_key(archive_key)
    space.full(key)
    # Whoever hands in a list holds its bytes; those of a generator are gone at its next step.
    hold = isinstance(items, Sequence)
    with Spool(_SPOOL_BYTES) as spool:
        prepared = [prepare_item(item, spool, hold=hold) for item in items]
        require_distinct(prepared, internal_manifest_path)
        try:
            return write_shard(
                space,
                key,
                prepared,
                options,
                threads=threads,
                on_done=progress_callback(progress),
            )
        except ItemFailure as failure:
            raise failure.error from failure.error.__cause__


def write_shard(
    space: Space,
    archive_key: str,
    items: Sequence[PreparedItem],
    options: ShardOptions,
    *,
    replace: bool = True,
    threads: int | None = None,
    on_done: Callable[[int], object] = lambda _done: None,
) -> ShardEntry:
    """Write the archive of items that are checked already, and its index.

    Args:
        space: Where it goes.
        archive_key: Its key, normalised.
        items: Its members.
        options: How it is written.
        replace: An older archive with its indexes may be there.
        threads: Threads to compress with.
        on_done: Called with the number of bytes of members done so far.

    Returns:
        The entry to write into a manifest.

    Raises:
        ItemFailure: A member could not be read; nothing appears.
        StorageError: The store refused.
    """
    full = space.full(archive_key)
    first = internal_manifest(items, archive_key)
    with ArchiveTarget(space.objects, full, options, first, items) as target:
        built = _build(target, items, options, first, threads, on_done)
        if replace:
            _remove_sidecars(space, full)
        info = target.publish(built.s4_metadata)
    entry = shard_entry(archive_key, options, len(items), info, built.blake3)
    if built.index is not None:
        _write_index(space, full, built.index, entry)
    if built.sidecar is not None:
        space.objects.put(
            full + SIDECAR_SUFFIX,
            bind_index(built.sidecar, info.size, info.etag),
            content_type=_S4_INDEX_TYPE,
        )
    return entry


@dataclass(frozen=True, slots=True)
class _Built:
    index: ArchiveIndex | None
    blake3: str
    s4_metadata: dict[str, str] | None = None
    sidecar: bytes | None = None


def _build(
    target: ArchiveTarget,
    items: Sequence[PreparedItem],
    options: ShardOptions,
    first: bytes,
    threads: int | None,
    on_done: Callable[[int], object],
) -> _Built:
    stream = None
    if not options.has_index:
        stream = StreamCompressor(target, str(options.compression), options.level)
    writer = ArchiveWriter(
        target if stream is None else stream,
        compression=options.chunked_compression,
        level=None if stream is not None else options.level,
        chunk_size=options.chunk_size or DEFAULT_CHUNK_SIZE,
        threads=threads,
        internal_manifest_path=options.internal_manifest_path,
    )
    writer.add(options.internal_manifest_path, first)
    done = 0
    for item in items:
        _add(writer, item)
        done += item.size
        on_done(done)
    index = writer.close()
    if stream is not None:
        return _Built(None, stream.close())
    return _Built(index, writer.digest.hex(), writer.s4_metadata, writer.s4_sidecar)


def _add(writer: ArchiveWriter, item: PreparedItem) -> None:
    source = open_source(item)
    if isinstance(source, FileReader):
        with source:
            writer.add(item.member_path, source, size=item.size)
    else:
        writer.add(item.member_path, source, size=item.size)


def _remove_sidecars(space: Space, full: str) -> None:
    for suffix in (INDEX_SUFFIX, SIDECAR_SUFFIX):
        space.objects.delete(full + suffix)


def _write_index(space: Space, full: str, index: ArchiveIndex, entry: ShardEntry) -> None:
    bound = index.bind(entry["size_bytes"], (entry["meta"] or {}).get("etag"))
    space.objects.put(
        full + INDEX_SUFFIX,
        bound.to_bytes(),
        content_type=_INDEX_TYPE,
        metadata=_facts_of(entry),
    )


def shard_entry(
    archive_key: str, options: ShardOptions, count: int, info: ObjectInfo, blake3: str | None
) -> ShardEntry:
    """Make the entry of an archive.

    Args:
        archive_key: Its key.
        options: How it was written.
        count: Number of its members, without the internal manifest.
        info: What the store says of it.
        blake3: Digest of its stored bytes, 64 hexadecimal digits, where it is known.
    """
    entry: ShardEntry = {
        "kind": "shard",
        "archive_key": archive_key,
        "format": "tar",
        "compression": options.compression,
        "internal_manifest_path": options.internal_manifest_path,
        "count": count,
        "size_bytes": info.size,
        "meta": {"etag": info.etag},
    }
    if options.has_index:
        entry["index_key"] = archive_key + INDEX_SUFFIX
    if blake3 is not None:
        entry["blake3"] = blake3
    return entry


def _facts_of(entry: ShardEntry) -> dict[str, str]:
    """Say with the index what the archive is, for whoever finds both again."""
    facts = {
        "shard-size": str(entry["size_bytes"]),
        "shard-count": str(entry["count"]),
        "shard-blake3": entry.get("blake3", ""),
    }
    etag = (entry["meta"] or {}).get("etag")
    return facts if etag is None else {**facts, "shard-etag": etag}


def find_finished(
    space: Space, archive_key: str, count: int, options: ShardOptions
) -> ShardEntry | None:
    """Find an archive that an earlier run has written completely, with its index.

    Args:
        space: Where it would lie.
        archive_key: Its key, which follows from what is in it.
        count: Number of its members.
        options: How it is written.

    Returns:
        Its entry; ``None`` where the archive or its index is missing, or one is not the other's.

    Raises:
        StorageError: The store gave no clear answer.
    """
    full = space.full(archive_key)
    try:
        facts = space.objects.head(full + INDEX_SUFFIX).metadata if options.has_index else {}
        info = space.objects.head(full)
    except ObjectNotFoundError:
        return None
    entry = shard_entry(archive_key, options, count, info, facts.get("shard-blake3"))
    if not options.has_index:
        return entry
    if info.etag is None and "shard-etag" in facts:
        # The server told it once and shows it no more.
        entry["meta"] = {"etag": facts["shard-etag"]}
    return entry if dict(facts).items() >= _facts_of(entry).items() else None
