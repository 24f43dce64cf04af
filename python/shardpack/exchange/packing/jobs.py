"""What the threads of a pack do: one shard, or one loose object, each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from shardpack.batch import as_bytes_view
from shardpack.errors import (
    AccessDeniedError,
    ObjectNotFoundError,
    S3ExchangeError,
    StorageError,
)
from shardpack.exchange.packing.plan import (
    LOOSE_FOLDER,
    SHARD_FOLDER,
    is_our_shard,
    loose_name,
    shard_name,
)
from shardpack.exchange.shard.items import FileReader, open_source
from shardpack.exchange.shard.writing import find_finished, write_shard
from shardpack.exchange.sources import Digests, hashed
from shardpack.storage.transfer import parallel_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from typing_extensions import Buffer

    from shardpack.exchange.keys import Space
    from shardpack.exchange.packing.plan import ShardOptions
    from shardpack.exchange.shard.items import PreparedItem
    from shardpack.exchange.types import FileEntry, ManifestEntry
    from shardpack.storage.base import ObjectInfo

__all__ = ["Finished", "Job", "Workplace", "abort_abandoned"]

_NOT_IMPLEMENTED: Final = 501


@dataclass(frozen=True, slots=True)
class Job:
    """What one thread does at a time.

    Attributes:
        items: The members of a shard; of a loose object the one item.
        is_loose: It becomes an object of its own.
        again: Goes into the name where the manifest has it already, see ``shard_name``.
    """

    items: Sequence[PreparedItem]
    is_loose: bool = False
    again: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a job.

    Attributes:
        entry: The entry for the manifest.
        items: Number of items.
        bytes_in: Their bytes.
        bytes_out: Bytes of archive or object that were sent.
        was_there: An earlier run had written it; nothing was sent.
    """

    entry: ManifestEntry
    items: int
    bytes_in: int
    bytes_out: int
    was_there: bool

    @property
    def key(self) -> str:
        """Key of the archive or object."""
        return self.entry["archive_key"] if self.entry["kind"] == "shard" else self.entry["key"]


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where and how the jobs of a run are done.

    Attributes:
        space: The store.
        prefix: Prefix of all that the run writes, normalised.
        options: How archives are written.
        look_first: Something may be there already.
        resume: What is there already need not be sent.
        threads: Threads that compress one archive.
    """

    space: Space
    prefix: str
    options: ShardOptions
    look_first: bool
    resume: bool
    threads: int | None

    def run(self, job: Job, on_done: Callable[[int], object]) -> Finished:
        """Do a job.

        Args:
            job: The job.
            on_done: Called with the number of bytes of items done so far.

        Raises:
            ItemFailure: An item could not be read; nothing of the job appears.
            StorageError: The store refused.
        """
        done = self._loose(job, on_done) if job.is_loose else self._shard(job, on_done)
        on_done(done.bytes_in)
        return done

    def _shard(self, job: Job, on_done: Callable[[int], object]) -> Finished:
        items = job.items
        key = self.key_of(job)
        size = sum(item.size for item in items)
        if self.resume and self.look_first:
            entry = find_finished(self.space, key, len(items), self.options)
            if entry is not None:
                return Finished(entry, len(items), size, 0, was_there=True)
        entry = write_shard(
            self.space,
            key,
            items,
            self.options,
            replace=self.look_first,
            threads=self.threads,
            on_done=on_done,
        )
        return Finished(entry, len(items), size, entry["size_bytes"], was_there=False)

    def _loose(self, job: Job, on_done: Callable[[int], object]) -> Finished:
        item = job.items[0]
        key = self.key_of(job)
        full = self.space.full(key)
        digests = Digests()
        info = self._already(full, item) if self.resume and self.look_first else None
        was_there = info is not None
        pieces = _pieces(item, on_done)
        if info is None:
            info = self.space.objects.put(
                full, hashed(pieces, digests), content_type=item.content_type
            )
        else:
            # Sent already; its digests are wanted all the same.
            for piece in pieces:
                digests.update(as_bytes_view(piece))
        entry = _loose_entry(key, item, info, digests)
        return Finished(entry, 1, item.size, 0 if was_there else info.size, was_there)

    def _already(self, full: str, item: PreparedItem) -> ObjectInfo | None:
        try:
            info = self.space.objects.head(full)
        except ObjectNotFoundError:
            return None
        return info if info.size == item.size else None

    def key_of(self, job: Job) -> str:
        """Give the key of the archive or object that a job makes.

        Args:
            job: The job.
        """
        if job.is_loose:
            return self.folder(LOOSE_FOLDER) + loose_name(job.items[0], job.again)
        return self.folder(SHARD_FOLDER) + shard_name(job.items, self.options, job.again)

    def full_key_of(self, job: Job) -> str:
        """Give the same key as the store has it.

        Args:
            job: The job.
        """
        return self.space.full(self.key_of(job))

    def folder(self, name: str) -> str:
        """Give the prefix of all shards, or of all loose objects, with a slash at its end.

        Args:
            name: ``SHARD_FOLDER`` or ``LOOSE_FOLDER``.
        """
        return f"{self.prefix}/{name}/" if self.prefix else f"{name}/"

    def require_present(self, reused: Sequence[Finished]) -> None:
        """Raise unless what an earlier run had written has not been removed meanwhile.

        Args:
            reused: What became of jobs for which nothing was sent.

        Raises:
            S3ExchangeError: Something is gone.
        """
        exists = parallel_map(
            lambda done: self.space.objects.exists(self.space.full(done.key)),
            reused,
            workers=self.space.objects.concurrency,
        )
        for done, is_there in zip(reused, exists, strict=True):
            if not is_there:
                raise S3ExchangeError(
                    f"{done.key} was there when the run began and is gone now; run it again"
                )


def _pieces(item: PreparedItem, on_done: Callable[[int], object]) -> Iterator[Buffer]:
    source = open_source(item)
    if not isinstance(source, FileReader):
        yield source
        return
    done = 0
    with source:
        while piece := source.read(4 << 20):
            yield piece
            done += len(piece)
            on_done(done)


def _loose_entry(key: str, item: PreparedItem, info: ObjectInfo, digests: Digests) -> FileEntry:
    return {
        "kind": "file",
        "key": key,
        "id": item.id,
        # Where the file belongs when all that the manifest names is extracted.
        "meta": {**(item.meta or {}), "path": item.member_path},
        "content_type": item.content_type,
        "size_bytes": item.size,
        "etag": info.etag,
        "crc32c": digests.crc32c,
        "blake3": digests.blake3,
    }


def abort_abandoned(space: Space, prefix: str, older_than_s: float) -> int:
    """Remove what interrupted runs have sent of shards that they did not finish.

    Only uploads under names that this package gives to shards are touched, and no young ones:
    another run may be at work on them.

    Args:
        space: The store.
        prefix: Prefix of the runs.
        older_than_s: Age in seconds.

    Returns:
        How many there were.
    """
    before = datetime.now(UTC) - timedelta(seconds=older_than_s)
    count = 0
    try:
        for upload in space.objects.iter_uploads(space.full_prefix(f"{prefix}/{SHARD_FOLDER}/")):
            old = upload.initiated is not None and upload.initiated <= before
            if old and is_our_shard(upload.key):
                space.objects.abort_upload(upload)
                count += 1
    except AccessDeniedError:
        # Whoever may write need not be allowed to tidy up; `gc` tells, and does it.
        return count
    except StorageError as error:
        if error.status != _NOT_IMPLEMENTED:
            raise
    return count
