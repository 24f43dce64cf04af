"""Writing manifests whole: overwrite, and compact."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final

from shardpack.errors import (
    ConcurrencyUnsupportedError,
    ManifestNotFoundError,
    PreconditionFailedError,
)
from shardpack.exchange.manifest.append import Patience, listed_line_of, require_conditions
from shardpack.exchange.manifest.lines import (
    CONTENT_TYPE,
    Block,
    serialize_blocks,
    serialize_entry,
)
from shardpack.exchange.manifest.parts import Spool, listed_prefix
from shardpack.exchange.manifest.reading import ManifestWalk
from shardpack.exchange.manifest.stream import read_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from shardpack.exchange.keys import Space
    from shardpack.exchange.manifest.append import AppendMode
    from shardpack.exchange.types import CompactReport, ManifestEntry, ManifestRef, ShardEntry

    Expand = Callable[[ShardEntry], Iterable[ManifestEntry]]

__all__ = ["compact", "overwrite", "overwrite_lines"]

_COMPACT_TRIES: Final = 5


def overwrite(
    space: Space,
    key: str,
    entries: Iterable[ManifestEntry],
    *,
    mode: AppendMode = "conditional",
) -> int:
    r"""Replace a manifest; readers see the old one or the new one.

    What the old one referred to stays where it is, until garbage is collected.

    Args:
        space: Where the manifest lies.
        key: Its key.
        entries: The entries; they are taken as they come, and may be read from the manifest that
            is replaced. Without any, the manifest is one empty line.
        mode: How others append to it.

    Returns:
        The number of entries.

    Raises:
        InvalidManifestError: Something is no entry; the old manifest stays.
    """
    count = 0

    def blocks() -> Iterator[bytes]:
        nonlocal count
        for block, lines in serialize_blocks(entries):
            count += lines
            yield block

    overwrite_lines(space, key, blocks(), mode=mode)
    return count


def overwrite_lines(
    space: Space, key: str, blocks: Iterable[bytes], *, mode: AppendMode = "conditional"
) -> None:
    """Replace a manifest by lines that are written already.

    Args:
        space: Where the manifest lies.
        key: Its key.
        blocks: Whole lines, each with its line feed.
        mode: How others append to it.
    """
    spool = Spool(space, space.full(key))
    try:
        for block in blocks:
            spool.write(block)
        if mode == "listed":
            spool.write(_new_listing(space, key))
        if not spool.size:
            spool.write(b"\n")
        spool.close()
    except BaseException:
        spool.abort()
        raise


def _new_listing(space: Space, key: str) -> bytes:
    """Give the line of a new prefix for parts, where the old one would bring old parts back."""
    if listed_line_of(read_root(space, key).data) is None:
        return b""
    prefix = listed_prefix(key, os.urandom(6).hex())
    line = serialize_entry({"kind": "manifest_ref", "key": prefix, "layout": "listed"})
    return line + b"\n"


def compact(
    space: Space,
    source: ManifestRef,
    dst_key: str,
    *,
    resolve_refs: bool = True,
    expand: Expand | None = None,
    dedupe: bool = False,
    mode: AppendMode = "conditional",
    concurrency: int | None = None,
) -> CompactReport:
    """Write the entries of a manifest, and of those it refers to, into one flat manifest.

    Lines are copied byte for byte. The source stays, unless it is the target: then it is replaced
    if it has not changed meanwhile, and read again otherwise.

    Args:
        space: Where both lie.
        source: Key of the manifest, or entries.
        dst_key: The new one.
        resolve_refs: Follow references; otherwise they are kept as they are.
        expand: Gives the entries that are to stand in place of a shard's; shards stay without it.
        dedupe: Leave out entries whose key has come before. Holds 16 bytes and some for each.
        mode: How others append to it.
        concurrency: How many manifests are fetched at once; the store's default when ``None``.

    Returns:
        What was done.

    Raises:
        ManifestNotFoundError: The manifest, or one it refers to, is not there.
        InvalidManifestError: A line is no entry; the target stays as it was.
        PreconditionFailedError: Source and target are one, which changed during each try.
        ConcurrencyUnsupportedError: They are one, others may append to it, and the store ignores
            conditions.
    """
    compaction = _Compaction(space, source, resolve_refs=resolve_refs, expand=expand, dedupe=dedupe)
    in_place = isinstance(source, str) and space.full(source) == space.full(dst_key)
    if not in_place or mode == "single-writer":
        spool = Spool(space, space.full(dst_key))
        try:
            for data in compaction.run(concurrency):
                spool.write(data)
            spool.close()
        except BaseException:
            spool.abort()
            raise
        return compaction.report
    if mode == "listed":
        raise ConcurrencyUnsupportedError(
            f"{dst_key} takes parts at any time: compact it into another manifest"
        )
    require_conditions(space, dst_key)
    patience = Patience("it was compacted", dst_key, tries=_COMPACT_TRIES)
    while True:
        try:
            found = space.objects.head(space.full(dst_key))
        except FileNotFoundError as error:
            raise ManifestNotFoundError(dst_key) from error
        try:
            space.objects.put(
                space.full(dst_key),
                compaction.run(concurrency),
                content_type=CONTENT_TYPE,
                if_match=found.etag,
            )
        except PreconditionFailedError as error:
            patience.wait(error)
        else:
            return compaction.report


class _Compaction:
    """One pass over a manifest that gives the bytes of the new one, and counts."""

    def __init__(
        self,
        space: Space,
        source: ManifestRef,
        *,
        resolve_refs: bool,
        expand: Expand | None,
        dedupe: bool,
    ) -> None:
        self._space = space
        self._source = source
        self._resolve_refs = resolve_refs
        self._expand = expand
        self._dedupe = dedupe
        self._seen: set[bytes] = set()
        self.report: CompactReport = _no_report()

    def run(self, concurrency: int | None) -> Iterator[bytes]:
        self._seen.clear()
        self.report = report = _no_report()
        walk = ManifestWalk(
            self._space,
            self._source,
            resolve_refs=self._resolve_refs,
            concurrency=concurrency,
        )
        for block in walk:
            report["resolved_refs"] = walk.resolved_refs
            yield from self._written(block)
        report["resolved_refs"] = walk.resolved_refs
        if not report["total_entries"]:
            yield b"\n"

    def _written(self, block: Block) -> Iterator[bytes]:
        lines = block.lines
        if self._expand is None and not self._dedupe:
            self.report["total_entries"] += len(lines)
            yield b"\n".join(lines) + b"\n"
            return
        kept: list[bytes] = []
        for entry, line in zip(block.entries, lines, strict=True):
            if self._expand is not None and entry["kind"] == "shard":
                if kept:
                    yield b"\n".join(kept) + b"\n"
                    kept = []
                yield from self._members(self._expand(entry))
            elif self._is_new(entry):
                kept.append(line)
                self.report["total_entries"] += 1
        if kept:
            yield b"\n".join(kept) + b"\n"

    def _members(self, members: Iterable[ManifestEntry]) -> Iterator[bytes]:
        for data, count in serialize_blocks(filter(self._is_new, members)):
            self.report["total_entries"] += count
            self.report["expanded_shards"] += count
            yield data

    def _is_new(self, entry: ManifestEntry) -> bool:
        if not self._dedupe:
            return True
        name = entry["archive_key"] if entry["kind"] == "shard" else entry["key"]
        digest = hashlib.blake2b(
            f"{entry['kind']}\0{name}".encode("utf-8", "surrogatepass"), digest_size=16
        ).digest()
        if digest in self._seen:
            self.report["removed_entries"] += 1
            return False
        self._seen.add(digest)
        return True


def _no_report() -> CompactReport:
    return {"total_entries": 0, "removed_entries": 0, "resolved_refs": 0, "expanded_shards": 0}
