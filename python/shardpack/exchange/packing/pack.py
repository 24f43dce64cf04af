"""A folder, or a stream of items, into shards and a manifest, in one call that can be repeated."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from shardpack._native import thread_count
from shardpack.archive.member_path import check_member_path
from shardpack.errors import ManifestNotFoundError, S3ExchangeError
from shardpack.exchange.checks import require_whole_number
from shardpack.exchange.keys import MANIFEST_SUFFIX, is_manifest_key, normalize_key
from shardpack.exchange.manifest.append import append as append_entries
from shardpack.exchange.manifest.append import require_conditions
from shardpack.exchange.manifest.reading import iter_entries
from shardpack.exchange.manifest.rewrite import overwrite
from shardpack.exchange.packing.folder_scan import FolderScan, LeftOut
from shardpack.exchange.packing.growth import Growth, Named, full_key, read_named
from shardpack.exchange.packing.jobs import Workplace, abort_abandoned
from shardpack.exchange.packing.plan import ShardOptions
from shardpack.exchange.packing.run import PackRun
from shardpack.exchange.packing.source import Limits, Planner
from shardpack.exchange.report import Report

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from shardpack.archive.compression import ReadableCompression
    from shardpack.exchange.keys import Space
    from shardpack.exchange.manifest.append import AppendMode
    from shardpack.exchange.packing.jobs import Finished
    from shardpack.exchange.types import ShardItem
    from shardpack.progress import Progress

__all__ = ["PackReport", "pack"]

_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class PackReport(Report):
    """What a pack did; all counts include what was there already.

    Attributes:
        manifest_key: Key of the manifest.
        items: Files or items.
        shards: Shard archives.
        loose: Objects of their own, for what was too large for a shard.
        bytes_in: Bytes of the items.
        bytes_out: Bytes of archives and objects that were sent.
        skipped: Archives and objects that an earlier run had sent.
        unchanged: Files of a folder that the manifest names as they are, in whichever shard.
        replaced: Files of which it names another version, too. The last one is what ``extract``
            writes; an iteration gives both, until the manifest is written with
            ``mode="overwrite"``.
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
    unchanged: int = 0
    replaced: int = 0


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

    A folder that is packed into a manifest again is compared with what that names below the
    prefix: files that it has with the same path, size and BLAKE3 hash are left out, whichever
    shards they are in and with whatever options these were made, and the others go into shards of
    their own. So a folder that grows costs what is new of it. For that the folder is looked through
    twice, and where shards are not those of the plan, their indexes are read (the archives, where
    none is sure to be theirs), files of equal size are hashed, and memory holds some hundred bytes
    for each member. What cannot be read, or is not what the manifest says, counts as not there.
    Older versions of files that changed, and files that are gone from the folder, stay in
    the manifest until it is written with ``mode="overwrite"``. Items of a stream are not compared:
    other shards of them are added.

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
        resume: Do not send shards of this plan that an earlier run has sent completely.
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
        S3ExchangeError: Something that was there when the run began was removed from the store or
            the manifest meanwhile; another run makes up for it.
        ConcurrencyUnsupportedError: The store cannot change the manifest in this way; nothing was
            sent.
        OSError: The folder cannot be read.
        ValueError: Options or items are no good.
        TypeError: A number is none, or an item is no dict.

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
    limits = Limits(max_entries, max_bytes, loose_above)
    options = ShardOptions(compression, level, chunk_size, internal_manifest_path)
    if append == "conditional" and mode == "append_parts":
        # Found out before everything is sent, not after.
        require_conditions(space, manifest_key)
    cores = thread_count() if threads is None else threads
    concurrency = max(2, min(4, cores)) if concurrency is None else concurrency
    concurrency = require_whole_number("concurrency", concurrency, least=1)
    planner = Planner(limits, internal_manifest_path, concurrency)
    workplace = Workplace(
        space=space,
        prefix=prefix,
        options=options,
        look_first=_is_anything_there(space, prefix),
        resume=resume,
        # Each archive may use all of them: often there is but one at a time.
        threads=threads,
    )
    run = PackRun(workplace, concurrency, progress, planner.failures)
    left_out: list[LeftOut] = []
    growth: Growth | None = None
    if isinstance(source, str | os.PathLike):

        def look() -> FolderScan:
            return FolderScan(
                os.fsdecode(source),
                include=include or (),
                exclude=exclude or (),
                follow_symlinks=follow_symlinks,
            )

        scan = look()
        left_out = scan.left_out
        jobs = planner.of_files(scan)
        named = Named() if mode == "overwrite" else read_named(space, manifest_key, workplace)
        if named.positions or named.members:
            first = Planner(limits, internal_manifest_path, concurrency).of_files(look())
            cutter = Planner(limits, internal_manifest_path, concurrency)
            # All that is wrong is told at once, and ends the run.
            cutter.failures = planner.failures
            growth = Growth(workplace, named, {workplace.full_key_of(job) for job in first}, cutter)
            jobs = growth.jobs(jobs, run.pass_over)
    else:
        jobs = planner.of_items(source)
    aborted = abort_abandoned(space, prefix, abandoned_after_s)
    finished = run.finish(jobs)
    added = _publish(workplace, manifest_key, finished, mode, append, is_new=growth is None)
    if growth is not None:
        _require_named(space, manifest_key, growth.relied_on)
    return PackReport(
        manifest_key=manifest_key,
        items=sum(done.items for done in finished) + (growth.items if growth else 0),
        shards=sum(done.entry["kind"] == "shard" for done in finished),
        loose=sum(done.entry["kind"] == "file" for done in finished),
        bytes_in=sum(done.bytes_in for done in finished) + (growth.bytes if growth else 0),
        bytes_out=sum(done.bytes_out for done in finished),
        skipped=sum(done.was_there for done in finished),
        unchanged=growth.unchanged if growth else 0,
        replaced=growth.replaced if growth else 0,
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
    *,
    is_new: bool,
) -> int:
    reused = [done for done in finished if done.was_there]
    workplace.require_present(reused)
    entries = [done.entry for done in finished]
    if mode == "overwrite":
        overwrite(workplace.space, manifest_key, entries, mode=append)
    else:
        if workplace.look_first:
            # Named already: what is there, and what had to be sent again.
            full = workplace.space.full
            wanted = {full(done.key): done.items for done in finished}
            known = _known_keys(workplace, manifest_key, wanted)
            entries = [done.entry for done in finished if full(done.key) not in known]
        if entries or (is_new and not finished):
            append_entries(workplace.space, manifest_key, entries, mode=append)
    # Nothing referred to them until now: `gc` may have taken them at the last moment.
    workplace.require_present(reused)
    return len(entries)


def _known_keys(workplace: Workplace, manifest_key: str, wanted: Mapping[str, int]) -> set[str]:
    """Find which archives and objects a manifest names already, so that none is named twice.

    Args:
        workplace: Where they are.
        manifest_key: Key of the manifest.
        wanted: Number of items of each, by full key.
    """
    space, internal = workplace.space, workplace.options.internal_manifest_path
    known: set[str] = set()
    # Of archives whose members have entries of their own.
    members = dict[str, set[str]]()
    try:
        for entry in iter_entries(space, manifest_key):
            key = entry["archive_key"] if entry["kind"] == "shard" else entry["key"]
            full = full_key(space, key)
            archive_key, _, path = full.partition("#")
            if full in wanted:
                known.add(full)
            elif archive_key in wanted and path != internal:
                members.setdefault(archive_key, set()).add(path)
    except ManifestNotFoundError:
        # The last run was interrupted before its last step.
        return set()
    return known | {key for key, paths in members.items() if len(paths) == wanted[key]}


def _require_named(space: Space, manifest_key: str, relied_on: set[str]) -> None:
    """Raise unless a manifest still names what has the files that were left out."""
    lost = set(relied_on)
    if not lost:
        return
    try:
        for entry in iter_entries(space, manifest_key):
            key = entry["archive_key"] if entry["kind"] == "shard" else entry["key"]
            full = full_key(space, key)
            # By its members, where it was compacted meanwhile.
            lost -= {full, full.partition("#")[0]}
    except ManifestNotFoundError:
        pass
    if lost:
        raise S3ExchangeError(
            f"{min(lost)} was in {manifest_key} when the run began and is not any more; "
            "run it again"
        )
