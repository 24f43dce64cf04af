"""All that hangs on a manifest: its entries, and the manifests themselves, each once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shardpack.errors import ManifestNotFoundError, S3ExchangeError, UnsafePathError
from shardpack.exchange.keys import is_manifest_key
from shardpack.exchange.manifest.reading import LISTED, iter_entries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shardpack.exchange.keys import Space
    from shardpack.exchange.types import ManifestEntry, ManifestRef, ManifestRefEntry

__all__ = ["MetManifest", "walk_manifest"]


class MetManifest(NamedTuple):
    """A manifest that a walk has come to the end of.

    Attributes:
        key: Its key.
        depth: How many references lead to it from the root.
    """

    key: str
    depth: int


def walk_manifest(
    space: Space,
    manifest: ManifestRef,
    *,
    errors: dict[str, str],
    missing: dict[str, str] | None = None,
    unsafe: dict[str, str] | None = None,
) -> Iterator[ManifestEntry | MetManifest]:
    """Give the entries of a manifest and of all that it refers to, each manifest once.

    A manifest that is referred to and not there is passed over.

    Args:
        space: Where it lies.
        manifest: Its key, or entries.
        errors: Takes the key of each manifest that cannot be read, with the reason.
        missing: Takes the key of each manifest that is not there, likewise.
        unsafe: Takes references that lead out of the store; ``errors`` does without it.

    Returns:
        An iterator over entries, and over each manifest after all that hangs on it, so
        that the root comes last.

    Raises:
        ManifestNotFoundError: The manifest itself is not there, when the iterator is asked first.
    """
    walk = _Walk(
        space,
        errors,
        {} if missing is None else missing,
        errors if unsafe is None else unsafe,
    )
    if isinstance(manifest, str):
        walk.enter(manifest)
    else:
        walk.stack.append((None, 0, iter(manifest)))
    return walk.run()


class _Walk:
    """Where a walk stands: the manifests that it is in, from the root down."""

    def __init__(
        self,
        space: Space,
        errors: dict[str, str],
        missing: dict[str, str],
        unsafe: dict[str, str],
    ) -> None:
        self._space = space
        self._errors = errors
        self._missing = missing
        self._unsafe = unsafe
        self._seen: set[str] = set()
        self.stack: list[tuple[str | None, int, Iterator[ManifestEntry]]] = []

    def enter(self, key: str, depth: int = 0) -> None:
        """Go on with a manifest, unless it was met before."""
        full = self._space.full(key)
        if full not in self._seen:
            self._seen.add(full)
            entries = iter_entries(self._space, key, resolve_refs=False)
            self.stack.append((key, depth, entries))

    def run(self) -> Iterator[ManifestEntry | MetManifest]:
        while self.stack:
            key, depth, entries = self.stack[-1]
            try:
                entry = next(entries, None)
            except ManifestNotFoundError as error:
                if len(self.stack) == 1:
                    raise
                self.stack.pop()
                error.referred_by = error.referred_by or self.stack[-1][0]
                self._missing[key or ""] = str(error)
                continue
            except S3ExchangeError as error:
                self._errors[key or ""] = str(error)
                self.stack.pop()
                continue
            if entry is None:
                self.stack.pop()
                if key is not None:
                    yield MetManifest(key, depth)
            elif entry["kind"] == "manifest_ref":
                try:
                    # The last one entered is read first.
                    for child in reversed(list(_children(self._space, entry))):
                        self.enter(child, depth + 1)
                except UnsafePathError as error:
                    self._unsafe[entry["key"]] = str(error)
            else:
                yield entry


def _children(space: Space, ref: ManifestRefEntry) -> Iterable[str]:
    if ref.get("layout") != LISTED:
        return [ref["key"]]
    prefix = space.full_prefix(ref["key"].rstrip("/") + "/")
    return (info.key for info in space.objects.list(prefix) if is_manifest_key(info.key))
