"""Removing: objects with what lies beside them, prefixes, and all that a manifest names."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Final

from shardpack.errors import ManifestNotFoundError, ObjectNotFoundError, UnsafePathError
from shardpack.exchange.keys import is_shard_key, split_virtual_key
from shardpack.exchange.manifest.walk import MetManifest, walk_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from shardpack.errors import StorageError
    from shardpack.exchange.keys import Space
    from shardpack.exchange.types import DeleteReport, ManifestEntry, ManifestRef

__all__ = [
    "SIDECAR_SUFFIXES",
    "delete_archive",
    "delete_key",
    "delete_manifest",
    "delete_prefix",
]

#: What may lie beside an archive: the index of its members, and that of its frames.
SIDECAR_SUFFIXES: Final = (".shardindex", ".s4index")
_BATCH: Final = 1000


def delete_key(space: Space, key: str) -> None:
    """Remove an object, and the indexes beside it where it is an archive.

    Args:
        space: Where it lies.
        key: Its key; one that is not there is no error.

    Raises:
        ValueError: It is the key of a member, which cannot be removed from its archive.
        StorageError: The store refused.
    """
    full = space.full(key)
    parts = split_virtual_key(key)
    if parts and is_shard_key(parts[0]) and not space.objects.exists(full):
        raise ValueError(f"a member cannot be removed from its archive: {key}")
    if is_shard_key(full):
        delete_archive(space, key)
    else:
        space.objects.delete(full)


def delete_archive(space: Space, key: str) -> None:
    """Remove an archive and the indexes beside it, whatever its key ends in.

    Args:
        space: Where it lies.
        key: Its key; one that is not there is no error.

    Raises:
        StorageError: The store refused.
    """
    failures = space.objects.delete_many(_with_sidecars(space.full(key)))
    if failures:
        raise next(iter(failures.values()))


def delete_prefix(
    space: Space,
    prefix: str,
    *,
    regex: str | None = None,
    batch_size: int = _BATCH,
    everything: bool = False,
    dry_run: bool = False,
) -> int:
    """Remove all objects whose keys begin with a prefix.

    Args:
        space: Where they lie; nothing outside of its base prefix is touched.
        prefix: The beginning of their keys.
        regex: Only keys in which this is found.
        batch_size: Most keys of one request, at most 1000.
        everything: Allow an empty prefix in a space without base prefix.
        dry_run: Remove nothing, count only.

    Returns:
        The number of objects that are gone.

    Raises:
        ValueError: This would empty the whole store, and ``everything`` is not set.
        StorageError: Some could not be removed; raised when all others are gone.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    full_prefix = space.full_prefix(prefix)
    if not full_prefix and not everything:
        raise ValueError("an empty prefix would empty the whole store; say everything=True")
    pattern = None if regex is None else re.compile(regex)
    shown_full = bool(space.base_prefix) and prefix.startswith(space.base_prefix + "/")

    def matching() -> Iterator[str]:
        for info in space.objects.list(full_prefix):
            told = info.key if shown_full else space.relative(info.key)
            if pattern is None or pattern.search(told):
                yield info.key

    if dry_run:
        return sum(1 for _ in matching())
    gone = 0
    failures: dict[str, StorageError] = {}
    keys = matching()
    while batch := list(islice(keys, min(batch_size, _BATCH))):
        failed = space.objects.delete_many(batch)
        gone += len(batch) - len(failed)
        failures.update(failed)
    if failures:
        raise _refused(failures, gone)
    return gone


def _refused(failures: dict[str, StorageError], gone: int) -> StorageError:
    key, first = next(iter(failures.items()))
    kind = type(first)
    message = (
        f"{len(failures)} of {len(failures) + gone} objects were not removed, first {key}: {first}"
    )
    if issubclass(kind, ObjectNotFoundError | ManifestNotFoundError):
        return first
    error = kind(message, key=key, code=first.code, status=first.status)
    error.__cause__ = first
    return error


def delete_manifest(
    space: Space,
    manifest: ManifestRef,
    *,
    delete_manifests: bool = True,
    dedupe: bool = True,
    dry_run: bool = False,
    force: bool = False,
    tell: Callable[[str], object] | None = None,
) -> DeleteReport:
    """Remove all that a manifest names, the manifests it refers to, and at last the manifest.

    All manifests are read first: where one that is referred to is missing or cannot be read,
    nothing is removed, and the errors name it. Where something could not be removed, the manifests
    stay, so that the call can be repeated. A member of an archive cannot be removed alone:
    archives that entries name only by their members stay, and stand among the errors.

    Args:
        space: Where it lies.
        manifest: Its key, or its entries.
        delete_manifests: Remove the manifests too.
        dedupe: Remove, and count, each key once however often it is named.
        dry_run: Remove nothing, count only.
        force: Remove what can be found in spite of manifests that are missing, as after a removal
            that was interrupted, or cannot be read; in the second case all manifests stay.
        tell: Called with the key of each object, archive and manifest that went, or would go.

    Returns:
        How many went, and what did not, with the reason, by key.

    Raises:
        ManifestNotFoundError: There is no such manifest.
    """
    if not isinstance(manifest, str) and iter(manifest) is manifest:
        # They are needed twice.
        manifest = list(manifest)
    unread = {} if force else _unread(space, manifest)
    if unread:
        return {
            "deleted_object_count": 0,
            "deleted_archive_count": 0,
            "deleted_manifest_count": 0,
            "errors": unread,
        }
    return _Removal(space, dedupe=dedupe, dry_run=dry_run, tell=tell).run(
        manifest, delete_manifests=delete_manifests
    )


def _unread(space: Space, manifest: ManifestRef) -> dict[str, str]:
    """Give the manifests that are referred to and cannot be read, with the reasons."""
    errors: dict[str, str] = {}
    missing: dict[str, str] = {}
    for _ in walk_manifest(space, manifest, errors=errors, missing=missing, unsafe={}):
        pass
    return {**errors, **missing}


class _Removal:
    """One removal of a manifest: what went so far, and what did not."""

    def __init__(
        self,
        space: Space,
        *,
        dedupe: bool,
        dry_run: bool,
        tell: Callable[[str], object] | None,
    ) -> None:
        self._space = space
        self._tell = tell or (lambda _: None)
        self._seen: set[str] | None = set() if dedupe else None
        self._dry_run = dry_run
        self._objects = 0
        self._archives: set[str] = set()
        self._errors: dict[str, str] = {}
        self._member_archives: dict[str, str] = {}
        self._batch: dict[str, tuple[str, bool]] = {}

    def run(self, manifest: ManifestRef, *, delete_manifests: bool) -> DeleteReport:
        manifests: dict[int, list[str]] = {}
        for found in walk_manifest(self._space, manifest, errors=self._errors):
            if isinstance(found, MetManifest):
                manifests.setdefault(found.depth, []).append(found.key)
            else:
                self._take(found)
        self._flush()
        gone = 0
        if delete_manifests and not self._errors:
            gone = self._remove_manifests(manifests)
        return {
            "deleted_object_count": self._objects,
            "deleted_archive_count": len(self._archives),
            "deleted_manifest_count": gone,
            "errors": {**self._members_only(), **self._errors},
        }

    def _take(self, entry: ManifestEntry) -> None:
        if entry["kind"] == "shard":
            self._add(entry["archive_key"], is_archive=True)
            return
        if entry["kind"] == "manifest_ref":
            return
        key = entry["key"]
        parts = split_virtual_key(key)
        told = entry.get("archive_key")
        archive_key = told if isinstance(told, str) else (parts[0] if parts else None)
        if archive_key and ("member_path" in entry or is_shard_key(archive_key)):
            full = self._full(archive_key)
            if full is not None:
                self._member_archives[full] = archive_key
        else:
            self._add(key, is_archive=False)

    def _full(self, key: str) -> str | None:
        try:
            return self._space.full(key)
        except UnsafePathError as error:
            self._errors[key] = str(error)
            return None

    def _add(self, key: str, *, is_archive: bool) -> None:
        full = self._full(key)
        if full is None:
            return
        if self._seen is not None:
            if full in self._seen:
                return
            self._seen.add(full)
        if full in self._batch:
            self._flush()
        self._batch[full] = (key, is_archive)
        if len(self._batch) >= _BATCH:
            self._flush()

    def _members_only(self) -> dict[str, str]:
        reason = "the manifest names members of this archive, not the archive"
        kept = (key for full, key in self._member_archives.items() if full not in self._archives)
        return dict.fromkeys(kept, reason)

    def _flush(self) -> None:
        batch, self._batch = self._batch, {}
        failures: dict[str, StorageError] = {}
        if batch and not self._dry_run:
            failures = self._space.objects.delete_many(_keys_of(batch))
        for full, (key, is_archive) in batch.items():
            names = _with_sidecars(full) if is_archive else (full,)
            failed = next((failures[name] for name in names if name in failures), None)
            if failed is not None:
                self._errors[key] = str(failed)
            elif is_archive:
                self._archives.add(full)
                self._tell(key)
            else:
                self._objects += 1
                self._tell(key)

    def _remove_manifests(self, manifests: dict[int, list[str]]) -> int:
        """Remove manifests, each after those that it refers to: what stays can be found again."""
        gone = 0
        for depth in sorted(manifests, reverse=True):
            fulls = {self._space.full(key): key for key in manifests[depth]}
            failures: dict[str, StorageError] = {}
            if not self._dry_run:
                failures = self._space.objects.delete_many(fulls)
            gone += len(fulls) - len(failures)
            for full, key in fulls.items():
                if full not in failures:
                    self._tell(key)
            if failures:
                self._errors.update({fulls[full]: str(error) for full, error in failures.items()})
                break
        return gone


def _keys_of(batch: dict[str, tuple[str, bool]]) -> Iterable[str]:
    for full, (_, is_archive) in batch.items():
        yield from _with_sidecars(full) if is_archive else (full,)


def _with_sidecars(full_key: str) -> tuple[str, ...]:
    return (full_key, *(full_key + suffix for suffix in SIDECAR_SUFFIXES))
