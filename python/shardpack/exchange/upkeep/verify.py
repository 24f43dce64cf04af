"""A manifest and all that it names, checked; every finding is told, not the first alone."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from shardpack.errors import (
    IntegrityError,
    InvalidManifestError,
    ManifestNotFoundError,
    ObjectNotFoundError,
    ShardReadError,
    StorageError,
    UnsafePathError,
)
from shardpack.exchange.keys import is_manifest_key, is_shard_key, split_virtual_key
from shardpack.exchange.manifest.reading import LISTED, iter_entries
from shardpack.exchange.packing.plan import is_our_shard
from shardpack.exchange.report import Report
from shardpack.exchange.shard.access import same_version
from shardpack.exchange.shard.source import ArchiveSource
from shardpack.exchange.sources import Digests
from shardpack.exchange.upkeep.likeness import likeness
from shardpack.exchange.upkeep.names import is_root_key
from shardpack.exchange.upkeep.verify_shard import Finding, ShardCheck, text_or_none
from shardpack.progress import progress_callback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Future

    from shardpack.exchange.keys import Space
    from shardpack.exchange.types import FileEntry, ManifestEntry, ManifestRefEntry
    from shardpack.progress import Progress

__all__ = ["DatasetReport", "Finding", "verify"]

_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class DatasetReport(Report):
    """What a check of manifests, archives and objects found.

    Attributes:
        findings: What is wrong, in no particular order.
        manifests: Manifests that were read.
        shards: Archives that were checked.
        members: Members of archives that were read.
        objects: Objects of their own that were checked.
        bytes: Stored bytes that were read.
        full: All bytes were read.
        seconds: How long it took.
    """

    findings: tuple[Finding, ...]
    manifests: int
    shards: int
    members: int
    objects: int
    bytes: int
    full: bool
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """Give the fields, and ``ok``, as values that JSON can hold."""
        return {"ok": self.ok, **Report.to_dict(self)}


def verify(
    space: Space,
    target: str,
    *,
    full: bool = True,
    concurrency: int | None = None,
    progress: Progress = None,
) -> DatasetReport:
    """Check a manifest, an archive, or all manifests below a prefix, and all that they name.

    Each archive is downloaded once, and checked in that pass: its size, ETag and BLAKE3 against the
    manifest, each chunk by itself against the index, each member against the index and against
    the manifest inside, and those against each other. Of members that an entry names one by one,
    just these are read. Below a prefix, files that are called like a manifest and hold lines or
    text of another kind are passed over. Where there is no manifest below a prefix, all archives
    there are checked by themselves; that the manifest of shards is missing is a finding.

    Args:
        space: The store.
        target: Key of a manifest or an archive, or a prefix.
        full: Read all bytes; otherwise compare what the store and the indexes say.
        concurrency: Archives and objects at a time.
        progress: Called with the number of stored bytes read so far, or an object with tqdm's
            ``update``.

    Returns:
        What was found; ``ok`` is True where nothing is wrong.

    Raises:
        ManifestNotFoundError: There is no such manifest.
        ObjectNotFoundError: There is no such archive, or nothing to check below the prefix.
        StorageError: The store cannot be listed or reached.
    """
    return _Check(space, full=full, concurrency=concurrency, progress=progress).run(target)


class _Check:
    def __init__(
        self, space: Space, *, full: bool, concurrency: int | None, progress: Progress
    ) -> None:
        self._space = space
        self._full = full
        self._concurrency = concurrency or min(8, space.objects.concurrency)
        self._on_done = progress_callback(progress)
        self._lock = threading.Lock()
        self._findings: list[Finding] = []
        self._bytes = 0
        self._manifests = 0
        self._shards = 0
        self._members = 0
        self._objects = 0
        # Lines of data may have the extension of manifests: then a manifest names them as a file.
        self._listed: set[str] = set()
        self._data: set[str] = set()
        self._suspects: dict[str, Finding] = {}

    def run(self, target: str) -> DatasetReport:
        started = time.monotonic()
        jobs = self._jobs(target)
        pending: deque[Future[None]] = deque()
        with ThreadPoolExecutor(self._concurrency, "shardpack-verify") as pool:
            try:
                for job in jobs:
                    pending.append(pool.submit(job))
                    while len(pending) > 2 * self._concurrency:
                        pending.popleft().result()
                while pending:
                    pending.popleft().result()
            except BaseException:
                for future in pending:
                    future.cancel()
                raise
        self._findings += self._suspected()
        return DatasetReport(
            findings=tuple(self._findings),
            manifests=self._manifests,
            shards=self._shards,
            members=self._members,
            objects=self._objects,
            bytes=self._bytes,
            full=self._full,
            seconds=time.monotonic() - started,
        )

    def _suspected(self) -> list[Finding]:
        data: set[str] = set()
        for key in self._data:
            # A key that leads elsewhere names nothing here; the check of its entry reports it.
            with suppress(UnsafePathError):
                data.add(self._space.full(key))
        return [
            finding
            for full, finding in self._suspects.items()
            if full not in data and self._may_be_manifest(full, finding)
        ]

    def _may_be_manifest(self, full: str, finding: Finding) -> bool:
        """Tell what may be a damaged manifest from lines and text of others."""
        if finding.problem != "manifest":
            return True
        return likeness(self._space.objects, full) != "foreign"

    # --- what there is to do ----------------------------------------------------------------

    def _jobs(self, target: str) -> Iterator[Callable[[], None]]:
        if is_manifest_key(target):
            if not self._space.objects.exists(self._space.full(target)):
                raise ManifestNotFoundError(target)
            return self._of_manifests([target])
        if is_shard_key(target):
            if not self._space.objects.exists(self._space.full(target)):
                raise ObjectNotFoundError(target)
            return iter([partial(self._shard, target, {})])
        roots, archives = self._below(target)
        if not roots and not archives:
            raise ObjectNotFoundError(target)
        if roots:
            self._listed.update(map(self._space.full, roots))
            return self._of_manifests(roots)
        if any(map(is_our_shard, archives)):
            # What ``pack`` has sent without coming to its end, or what has lost its manifest.
            self._found(Finding(target, "missing", "no manifest was found here"))
        return (partial(self._shard, key, {}) for key in archives)

    def _below(self, prefix: str) -> tuple[list[str], list[str]]:
        roots: list[str] = []
        archives: list[str] = []
        folder = self._space.full_prefix(f"{prefix}/" if prefix.strip("/") else "")
        for info in self._space.objects.list(folder):
            # No exchange gives such keys, and none can ask for them.
            if not self._space.holds(info.key):
                continue
            if is_root_key(info.key):
                roots.append(self._space.relative(info.key))
            elif is_shard_key(info.key):
                archives.append(self._space.relative(info.key))
        return roots, archives

    def _of_manifests(self, roots: list[str]) -> Iterator[Callable[[], None]]:
        """Give what hangs on manifests; each manifest is read once, however often it is named."""
        seen: set[str] = set()
        for root in roots:
            stack: list[tuple[str, Iterator[ManifestEntry]]] = []
            self._enter(root, stack, seen)
            while stack:
                job = self._next_job(stack, seen)
                if job is not None:
                    yield job

    def _enter(
        self, key: str, stack: list[tuple[str, Iterator[ManifestEntry]]], seen: set[str]
    ) -> None:
        full = self._space.full(key)
        if any(self._space.full(above) == full for above, _ in stack):
            self._found(Finding(key, "manifest", "the manifest refers to itself"))
        elif full not in seen:
            seen.add(full)
            stack.append((key, iter_entries(self._space, key, resolve_refs=False)))

    def _next_job(
        self, stack: list[tuple[str, Iterator[ManifestEntry]]], seen: set[str]
    ) -> Callable[[], None] | None:
        key, entries = stack[-1]
        try:
            entry = next(entries, None)
        except (InvalidManifestError, ManifestNotFoundError) as error:
            missing = isinstance(error, ManifestNotFoundError)
            if isinstance(error, ManifestNotFoundError) and len(stack) > 1:
                error.referred_by = stack[-2][0]
            finding = Finding(key, "missing" if missing else "manifest", str(error))
            full = self._space.full(key)
            if len(stack) == 1 and full in self._listed:
                self._suspects[full] = finding
            else:
                self._found(finding)
            stack.pop()
            return None
        if entry is None:
            self._manifests += 1
            stack.pop()
            return None
        if entry["kind"] == "manifest_ref":
            try:
                for child in reversed(self._children(entry)):
                    self._enter(child, stack, seen)
            except UnsafePathError as error:
                self._found(Finding(key, "unsafe", str(error)))
            return None
        if entry["kind"] == "shard":
            return partial(self._shard, entry["archive_key"], entry)
        if self._listed and is_manifest_key(entry["key"]):
            self._data.add(entry["key"])
        return partial(self._file, entry)

    def _children(self, ref: ManifestRefEntry) -> list[str]:
        if ref.get("layout") != LISTED:
            return [ref["key"]]
        folder = self._space.full_prefix(ref["key"].rstrip("/") + "/")
        keys = [info.key for info in self._space.objects.list(folder)]
        return [self._space.relative(key) for key in keys if is_manifest_key(key)]

    # --- what the threads do ----------------------------------------------------------------

    def _shard(self, key: str, entry: Mapping[str, Any]) -> None:
        try:
            check = ShardCheck(self._space, key, entry, self._count)
        except UnsafePathError as error:
            self._found(Finding(key, "unsafe", str(error)))
            return
        try:
            check.run(full=self._full)
        except StorageError as error:
            check.findings.append(Finding(key, "unreadable", str(error)))
        with self._lock:
            self._findings += check.findings
            self._shards += 1
            self._members += check.members

    def _file(self, entry: FileEntry) -> None:
        key = entry["key"]
        try:
            parts = split_virtual_key(key)
            if parts is not None and ("member_path" in entry or is_shard_key(parts[0])):
                self._member(entry, *parts)
            else:
                self._object(entry)
        except ObjectNotFoundError:
            self._found(Finding(key, "missing", "there is no such object"))
        except IntegrityError as error:
            self._found(Finding(key, error.algorithm or "damaged", str(error), error.member))
        except ShardReadError as error:
            self._found(Finding(key, "damaged", str(error), error.member))
        except UnsafePathError as error:
            self._found(Finding(key, "unsafe", str(error)))
        except StorageError as error:
            self._found(Finding(key, "unreadable", str(error)))

    def _member(self, entry: FileEntry, archive_key: str, member_path: str) -> None:
        source = ArchiveSource(self._space, archive_key)
        index = None if self._full else source.validated_index()
        if index is not None:
            member = index.member(member_path)
            if member is None:
                raise ObjectNotFoundError(entry["key"])
            self._compare(entry, member.size, None, None)
            return
        digests = Digests()
        with source.open(member_path) as body:
            for piece in body.iter_chunks(_PIECE):
                digests.update(memoryview(piece))
                self._count(len(piece))
        with self._lock:
            self._members += 1
        self._compare(entry, digests.size, digests, None)

    def _object(self, entry: FileEntry) -> None:
        full = self._space.full(entry["key"])
        digests = None
        if self._full:
            digests = Digests()
            with self._space.objects.get(full) as body:
                info = body.info
                for piece in body.iter_chunks(_PIECE):
                    digests.update(memoryview(piece))
                    self._count(len(piece))
        else:
            info = self._space.objects.head(full)
        with self._lock:
            self._objects += 1
        size = info.size if digests is None else digests.size
        self._compare(entry, size, digests, info.etag)

    def _compare(
        self, entry: FileEntry, size: int, digests: Digests | None, etag: str | None
    ) -> None:
        key = entry["key"]
        pairs: list[tuple[str, object, object]] = [("size", entry.get("size_bytes"), size)]
        if digests is not None:
            pairs.append(("crc32c", entry.get("crc32c"), digests.crc32c))
            pairs.append(("blake3", entry.get("blake3"), digests.blake3))
        for problem, told, found in pairs:
            if told is not None and told != found:
                self._found(Finding(key, problem, f"{found}, the manifest says {told}"))
        # Where the digest was compared it decides: a copy in another place has another tag.
        decided = digests is not None and entry.get("blake3") is not None
        told_etag = text_or_none(entry.get("etag"))
        if not decided and not same_version(told_etag, etag):
            self._found(Finding(key, "etag", f"{etag}, the manifest says {told_etag}"))

    def _found(self, finding: Finding) -> None:
        with self._lock:
            self._findings.append(finding)

    def _count(self, count: int) -> None:
        with self._lock:
            self._bytes += count
            self._on_done(self._bytes)
