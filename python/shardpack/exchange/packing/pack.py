"""A folder, or a stream of items, into shards and a manifest, in one call that can be repeated."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from shardpack._native import thread_count
from shardpack.archive.member_path import check_member_path
from shardpack.errors import ManifestNotFoundError
from shardpack.exchange.keys import MANIFEST_SUFFIX, is_manifest_key, normalize_key
from shardpack.exchange.manifest.append import append as append_entries
from shardpack.exchange.manifest.append import require_conditions
from shardpack.exchange.manifest.reading import iter_entries
from shardpack.exchange.manifest.rewrite import overwrite
from shardpack.exchange.packing.folder_scan import FolderScan, LeftOut
from shardpack.exchange.packing.jobs import Workplace, abort_abandoned
from shardpack.exchange.packing.plan import ShardOptions
from shardpack.exchange.packing.run import PackRun
from shardpack.exchange.packing.source import Limits, Planner

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shardpack.archive.compression import ReadableCompression
    from shardpack.exchange.keys import Space
    from shardpack.exchange.manifest.append import AppendMode
    from shardpack.exchange.packing.jobs import Finished
    from shardpack.exchange.types import ShardItem
    from shardpack.progress import Progress

__all__ = ["PackReport", "pack"]

_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class PackReport:
    """What a pack did; all counts include what was there already.

    Attributes:
        manifest_key: Key of the manifest.
        items: Files or items.
        shards: Shard archives.
        loose: Objects of their own, for what was too large for a shard.
        bytes_in: Bytes of the items.
        bytes_out: Bytes of archives and objects that were sent.
        skipped: Archives and objects that an earlier run had sent.
        added_entries: Entries that the manifest got; fewer than ``shards + loose`` where it had
            some already.
        left_out: What was met in the folder and is no file, or a link that was not followed.
        aborted_uploads: Unfinished uploads of earlier runs that were removed.
        seconds: How long it took.
    """

    manifest_key: str
    items: int
    shards: int
    loose: int
    bytes_in: int
    bytes_out: int
    skipped: int
    added_entries: int
    left_out: tuple[LeftOut, ...]
    aborted_uploads: int
    seconds: float


def pack(  # noqa: PLR0913 - every way to pack is a keyword
    space: Space,
    source: str | os.PathLike[str] | Iterable[ShardItem],
    prefix: str,
    *,
    manifest_key: str | None = None,
    max_entries: int = 10_000,
    max_bytes: int = 256 << 20,
    compression: ReadableCompression | None = "gzip",
    level: int | None = None,
    chunk_size: int | None = None,
    internal_manifest_path: str = "__manifest__.jsonl",
    mode: Literal["append_parts", "overwrite"] = "append_parts",
    append: AppendMode = "conditional",
    loose_above: int | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    follow_symlinks: bool = False,
    resume: bool = True,
    abandoned_after_s: float = _DAY_S,
    concurrency: int | None = None,
    threads: int | None = None,
    progress: Progress = None,
) -> PackReport:
    """Pack a folder, or a stream of items, into shards, and name them in a manifest.

    Shards are called after their plan: the paths, sizes and modification times of files (the
    digests, where bytes are handed in), identifiers, and the options. So another run never
    overwrites them, and the same run over again finds what is complete and sends only the rest;
    the manifest then gets only what it lacks. It is written once, at the end: until then nothing
    refers to the new shards, and ``gc`` removes those of a run that never comes back.

    Files are taken in the order of their paths, items in that of the stream, and so are the
    entries of the manifest. A stream is never held as a whole: bytes of it wait in memory up to
    64 MiB, then in temporary files, at most for the shards that are in work.

    Args:
        space: Where it goes.
        source: A folder, or items as for ``put_archive``.
        prefix: Prefix of shards (``PREFIX/shards/``) and loose objects (``PREFIX/objects/``).
        manifest_key: Key of the manifest, which ends in ``.jsonl``; ``PREFIX/manifest.jsonl`` when
            ``None``.
        max_entries: Most members of a shard.
        max_bytes: Most bytes of members of a shard; a larger member has one for itself.
        compression: As for ``put_archive``. The default is read by every tool and by older
            readers; ``"zstd"`` takes about half the time for text.
        level: Compression level; when ``None`` the codec's default, and gzip then only stores
            what will not shrink.
        chunk_size: Original bytes of a chunk.
        internal_manifest_path: Path of the first member of each shard.
        mode: ``"append_parts"`` adds to the manifest, ``"overwrite"`` replaces it.
        append: How the manifest is changed where others may change it too: ``"conditional"``,
            ``"listed"`` or ``"single-writer"``.
        loose_above: Items above this size become objects of their own.
        include: Globs; only files that match one are packed. ``*`` stays within one part of a
            path, ``**`` does not, a glob without slash is held against the name of the file.
        exclude: Globs of files and folders that are left out.
        follow_symlinks: Follow links to files and folders. They are left out otherwise, and
            reported.
        resume: Do not send what an earlier run has sent completely.
        abandoned_after_s: Unfinished uploads of shards under the prefix are removed when they are
            older than this, in seconds.
        concurrency: Shards at a time.
        threads: Threads that compress; all cores when ``None``.
        progress: Called with the number of bytes of items done so far, or an object with tqdm's
            ``update``.

    Returns:
        What was done.

    Raises:
        BulkError: Files changed while they were packed, could not be read, or have paths that
            lead out of a folder; its ``failures`` names all of them. All other shards were
            sent, the manifest was not touched.
        StorageError: The store refused.
        ConcurrencyUnsupportedError: The store cannot change the manifest in this way; nothing was
            sent.
        OSError: The folder cannot be read.
        ValueError: Options or items are no good.

    Example:
        >>> from shardpack.exchange.keys import Space
        >>> from shardpack.exchange.packing.pack import pack
        >>> from shardpack.storage.memory import MemoryStore
        >>> items = [{"member_path": f"{i}.txt", "source": b"text"} for i in range(5)]
        >>> report = pack(Space(MemoryStore("pack")), items, "numbers", max_entries=2)
        >>> report.manifest_key, report.items, report.shards
        ('numbers/manifest.jsonl', 5, 3)
    """
    if mode not in ("append_parts", "overwrite"):
        raise ValueError(f"mode must be append_parts or overwrite, got {mode!r}")
    started = time.monotonic()
    prefix = normalize_key(prefix)
    manifest_key = manifest_key or normalize_key(f"{prefix}/manifest.jsonl")
    space.full(manifest_key)
    if not is_manifest_key(manifest_key):
        # By this readers know what it is, and `gc` what it must not remove.
        raise ValueError(f"a manifest key must end in {MANIFEST_SUFFIX}, got {manifest_key!r}")
    check_member_path(internal_manifest_path)
    if append == "conditional" and mode == "append_parts":
        # Found out before everything is sent, not after.
        require_conditions(space)
    cores = thread_count() if threads is None else threads
    concurrency = max(2, min(4, cores)) if concurrency is None else concurrency
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, got {concurrency}")
    planner = Planner(
        Limits(max_entries, max_bytes, loose_above), internal_manifest_path, concurrency
    )
    if isinstance(source, str | os.PathLike):
        scan = FolderScan(
            os.fsdecode(source),
            include=include or (),
            exclude=exclude or (),
            follow_symlinks=follow_symlinks,
        )
        left_out = scan.left_out
        jobs = planner.of_files(scan)
    else:
        left_out = []
        jobs = planner.of_items(source)
    workplace = Workplace(
        space=space,
        prefix=prefix,
        options=ShardOptions(compression, level, chunk_size, internal_manifest_path),
        look_first=_is_anything_there(space, prefix),
        resume=resume,
        # Each archive may use all of them: often there is but one at a time.
        threads=threads,
    )
    aborted = abort_abandoned(space, prefix, abandoned_after_s)
    finished = PackRun(workplace, concurrency, progress, planner.failures).finish(jobs)
    added = _publish(workplace, manifest_key, finished, mode, append)
    return PackReport(
        manifest_key=manifest_key,
        items=sum(done.items for done in finished),
        shards=sum(done.entry["kind"] == "shard" for done in finished),
        loose=sum(done.entry["kind"] == "file" for done in finished),
        bytes_in=sum(done.bytes_in for done in finished),
        bytes_out=sum(done.bytes_out for done in finished),
        skipped=sum(done.was_there for done in finished),
        added_entries=added,
        left_out=tuple(sorted(left_out)),
        aborted_uploads=aborted,
        seconds=time.monotonic() - started,
    )


def _is_anything_there(space: Space, prefix: str) -> bool:
    """Tell whether an earlier run wrote here; if not, nothing needs to be looked for."""
    return any(True for _ in space.objects.list(space.full_prefix(f"{prefix}/")))


def _publish(
    workplace: Workplace,
    manifest_key: str,
    finished: Sequence[Finished],
    mode: str,
    append: AppendMode,
) -> int:
    reused = [done for done in finished if done.was_there]
    workplace.require_present(reused)
    entries = [done.entry for done in finished]
    if mode == "overwrite":
        overwrite(workplace.space, manifest_key, entries, mode=append)
    else:
        if workplace.look_first:
            # Named already: what is there, and what had to be sent again.
            known = _known_keys(workplace.space, manifest_key, {done.key for done in finished})
            entries = [done.entry for done in finished if done.key not in known]
        if entries or not finished:
            append_entries(workplace.space, manifest_key, entries, mode=append)
    # Nothing referred to them until now: `gc` may have taken them at the last moment.
    workplace.require_present(reused)
    return len(entries)


def _known_keys(space: Space, manifest_key: str, wanted: set[str]) -> set[str]:
    """Find which archives and objects a manifest names already, so that none is named twice."""
    known: set[str] = set()
    try:
        for entry in iter_entries(space, manifest_key):
            key = entry["archive_key"] if entry["kind"] == "shard" else entry["key"]
            if key in wanted:
                known.add(key)
    except ManifestNotFoundError:
        # The last run was interrupted before its last step.
        return set()
    return known
