"""The calls of a store for whole data sets: pack them, check them, clear away what is left over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from shardpack.exchange.calls.base import StoreBase

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from shardpack.archive.compression import ReadableCompression
    from shardpack.errors import StorageError
    from shardpack.exchange.manifest.append import AppendMode
    from shardpack.exchange.packing.pack import PackReport
    from shardpack.exchange.types import ShardItem
    from shardpack.exchange.upkeep.gc import Garbage, GarbageReport
    from shardpack.exchange.upkeep.verify import DatasetReport
    from shardpack.progress import Progress

__all__ = ["UpkeepCalls"]


class UpkeepCalls(StoreBase):
    """The calls for whole data sets. What they need is imported when they are called."""

    def pack(  # noqa: PLR0913 - the documented options
        self,
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
        append: AppendMode | None = None,
        loose_above: int | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        follow_symlinks: bool = False,
        resume: bool = True,
        abandoned_after_s: float = 86_400.0,
        concurrency: int | None = None,
        threads: int | None = None,
        progress: Progress = None,
    ) -> PackReport:
        """Pack a folder, or a stream of items, into shards, and name them in a manifest.

        The manifest is written once, at the end: until then nothing refers to the new shards. The
        same call over again, after it was interrupted, sends only what is missing. A folder that
        is packed into a manifest again adds what is new: files that the manifest names with the
        same path, size and content are left out. Older versions of files that changed, and files
        that are gone from the folder, stay in it until it is written with ``mode="overwrite"``.
        Items of a stream are not compared in this way.

        Args:
            source: A folder, or items as for ``put_shard_archive``.
            prefix: Prefix of shards (``PREFIX/shards/``) and loose objects (``PREFIX/objects/``).
            manifest_key: Key of the manifest, which ends in ``.jsonl``; ``PREFIX/manifest.jsonl``
                when ``None``.
            max_entries: Most members of a shard.
            max_bytes: Most bytes of members of a shard; a larger member has one for itself.
            compression: ``None``, ``"gzip"``, ``"zstd"`` or ``"s4"``; ``"bzip2"`` and ``"xz"``
                too, whose archives have no index. ``"zstd"`` takes about half the time for text.
            level: Level of the compression; the default of its codec when ``None``.
            chunk_size: Original bytes of each piece of a shard that can be read alone.
            internal_manifest_path: Path of the manifest inside each shard.
            mode: ``"append_parts"`` adds to the manifest, ``"overwrite"`` replaces it.
            append: How the manifest is changed where others may change it too: ``"conditional"``,
                ``"listed"`` or ``"single-writer"``; that of the store when ``None``.
            loose_above: Items of more bytes become objects of their own.
            include: Globs; only files that match one are packed. ``*`` stays within one part of a
                path, ``**`` does not, a glob without slash is held against the name of the file.
            exclude: Globs of files and folders that are left out.
            follow_symlinks: Follow links to files and folders. They are left out otherwise, and
                reported.
            resume: Do not send shards of this plan that an earlier run has sent completely.
            abandoned_after_s: Unfinished uploads of shards under the prefix are removed when they
                are older than this, in seconds.
            concurrency: Shards at a time; that of the store when ``None``, if it was given one.
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
            S3ExchangeError: Something that was there when the run began was removed from the store
                or the manifest meanwhile; another run makes up for it.
            ConcurrencyUnsupportedError: The store cannot change the manifest in this way; nothing
                was sent.
            OSError: The folder cannot be read.
            ValueError: Options or items are no good.
            TypeError: A number is none, or an item is no dict.
        """
        from shardpack.exchange.packing.pack import pack

        return pack(
            self.space,
            source,
            prefix,
            manifest_key=manifest_key,
            max_entries=max_entries,
            max_bytes=max_bytes,
            compression=compression,
            level=level,
            chunk_size=chunk_size,
            internal_manifest_path=internal_manifest_path,
            mode=mode,
            append=self.append if append is None else append,
            loose_above=loose_above,
            include=include,
            exclude=exclude,
            follow_symlinks=follow_symlinks,
            resume=resume,
            abandoned_after_s=abandoned_after_s,
            concurrency=self._concurrency if concurrency is None else concurrency,
            threads=threads,
            progress=progress,
        )

    def verify(
        self,
        target: str,
        *,
        full: bool = True,
        concurrency: int | None = None,
        progress: Progress = None,
    ) -> DatasetReport:
        """Check a manifest, an archive, or all manifests below a prefix, and all that they name.

        Unless ``full`` is False each archive is read, once, and compared with the manifest, with
        its index and with the manifest inside, down to the digest of each member.

        Args:
            target: Key of a manifest or an archive, or a prefix.
            full: Read all bytes; otherwise compare what the store and the indexes say.
            concurrency: Archives and objects at a time; that of the store when ``None``, if it was
                given one.
            progress: Called with the number of stored bytes read so far, or an object with tqdm's
                ``update``.

        Returns:
            What was found; ``ok`` is True where nothing is wrong.

        Raises:
            ManifestNotFoundError: There is no such manifest.
            ObjectNotFoundError: There is no such archive, or nothing to check below the prefix.
            StorageError: The store cannot be listed or reached.
        """
        from shardpack.exchange.upkeep.verify import verify

        return verify(
            self.space,
            target,
            full=full,
            concurrency=self._concurrency if concurrency is None else concurrency,
            progress=progress,
        )

    def find_garbage(self, prefix: str, *, older_than_s: float = 86_400.0) -> list[Garbage]:
        """Find parts, shards and uploads that no manifest refers to.

        Args:
            prefix: The folder to look in. Manifests below it and right in the folders above it are
                read, others are not: choose it so that these are all that refer to what lies there.
            older_than_s: Leave what is younger, or may have been in use since, in seconds by the
                clock of the store; 0 leaves nothing. Choose it above the time that a run takes from
                its first shard to its manifest, and above that of the longest reader.

        Returns:
            The garbage.

        Raises:
            ValueError: ``older_than_s`` is negative, or no number.
            InvalidManifestError: A manifest is damaged; nothing is garbage then.
            ManifestNotFoundError: A manifest refers to one that is not there; likewise.
            StorageError: The store refused.
        """
        return list(self.survey_garbage(prefix, older_than_s=older_than_s).garbage)

    def survey_garbage(
        self, prefix: str, *, older_than_s: float = 86_400.0, progress: Progress = None
    ) -> GarbageReport:
        """Find what ``find_garbage`` finds, and what stays although nothing refers to it, and why.

        Args:
            prefix: As for ``find_garbage``.
            older_than_s: Likewise.
            progress: Called with the number of objects and manifests looked at so far, or an
                object with tqdm's ``update``.

        Returns:
            What may go, what stays, and files that are called like a manifest and are none.
        """
        from shardpack.exchange.upkeep.gc import survey

        return survey(self.space, prefix, older_than_s=older_than_s, progress=progress)

    def collect_garbage(
        self, found: Iterable[Garbage], *, dry_run: bool = True
    ) -> dict[str, StorageError]:
        """Remove what ``find_garbage`` found; what is referred to by now stays.

        Args:
            found: The garbage.
            dry_run: Remove nothing.

        Returns:
            What could not be removed, by key.
        """
        from shardpack.exchange.upkeep.gc import collect

        return collect(self.space, found, dry_run=dry_run)
