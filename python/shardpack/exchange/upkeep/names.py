"""What may be garbage by its name, and what may be a manifest: a listing sorted by that."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

from shardpack.archive.index import INDEX_SUFFIX
from shardpack.exchange.keys import is_manifest_key, is_shard_key
from shardpack.exchange.packing.plan import is_our_loose, is_our_shard
from shardpack.frame import SIDECAR_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shardpack.exchange.keys import Space
    from shardpack.storage.base import ObjectInfo

__all__ = ["GarbageKind", "Listing", "folder_of", "homes_of", "is_root_key"]

GarbageKind = Literal["part", "level", "shard", "index", "object", "upload"]

_STAMP = r"\d{8}-\d{6}"
_PART = re.compile(
    rf"(?:.*/)?manifests/(?:part-{_STAMP}-[0-9a-f]{{8}}"
    rf"|[^/]+\.parts(?:-[^/]+)?/part-{_STAMP}-\d{{6}}-[0-9a-f]{{8}})\.jsonl"
)
_LEVEL = re.compile(rf"(?:.*/)?manifests/level\d+-{_STAMP}-[0-9a-f]{{8}}\.jsonl")
# What a manifest and its shards, parts and objects lie in, each in a folder of its own.
_HOME: Final = re.compile(r"((?:.*/)?)(?:manifests|shards|objects)/.*", re.DOTALL)


def is_root_key(key: str) -> bool:
    """Tell by its key whether something is a manifest that stands for itself.

    Args:
        key: The key.
    """
    is_part = _PART.fullmatch(key) or _LEVEL.fullmatch(key)
    return is_manifest_key(key) and not is_part and not is_our_loose(key)


def homes_of(key: str) -> set[str]:
    """Give the folders in which the manifest of a part, a shard or an object lies by custom.

    Args:
        key: The key.

    Returns:
        The folder, with a slash at its end unless it is ``""``; where no custom says, that of the
        key and the one above it.
    """
    found = _HOME.fullmatch(key)
    if found is not None:
        return {found[1]}
    folder = folder_of(key)
    return {folder, folder_of(folder.removesuffix("/"))}


def folder_of(key: str) -> str:
    """Give the folder of a key, with a slash at its end unless it is ``""``.

    Args:
        key: The key.
    """
    return key[: key.rfind("/") + 1]


def _is_index(key: str) -> bool:
    """Tell by its key whether something is the index of an archive."""
    if key.endswith(INDEX_SUFFIX):
        return folder_of(key) + INDEX_SUFFIX != key
    return is_our_shard(key.removesuffix(SIDECAR_SUFFIX))


class Listing:
    """What lies below a folder, as far as it matters to whoever looks for garbage.

    Args:
        space: The store.
        folder: The folder, as the store knows it.
        tell: Called for each object that was listed.

    Attributes:
        roots: What may be a manifest that stands for itself.
    """

    def __init__(self, space: Space, folder: str, tell: Callable[[], object]) -> None:
        self.roots: dict[str, ObjectInfo] = {}
        self._space = space
        self._parts: dict[str, tuple[ObjectInfo, GarbageKind]] = {}
        self._data: dict[str, tuple[ObjectInfo, GarbageKind]] = {}
        self._indexes: dict[str, ObjectInfo] = {}
        # Of all names, so that hardly ever one must be asked for by itself.
        self._archives: set[str] = set()
        for info in space.objects.list(folder):
            # Another key of the same form is another object: "a//b" is not "a/b".
            if space.holds(info.key):
                self._take(info)
            elif is_root_key(info.key):
                self.roots[info.key] = info
            tell()

    def _take(self, info: ObjectInfo) -> None:
        key = info.key
        if is_our_loose(key):
            self._data[key] = (info, "object")
        elif is_our_shard(key):
            self._data[key] = (info, "shard")
        elif _PART.fullmatch(key):
            self._parts[key] = (info, "part")
        elif _LEVEL.fullmatch(key):
            self._parts[key] = (info, "level")
        elif is_shard_key(key):
            self._archives.add(key)
        elif is_manifest_key(key):
            self.roots[key] = info
        elif _is_index(key):
            self._indexes[key] = info

    def names(self) -> set[str]:
        """Give the full keys that may be garbage, and are none if something refers to them."""
        return {*self._parts, *self._data, *self._indexes}

    def manifest(self, full_key: str) -> ObjectInfo | None:
        """Give what the listing says of a manifest, or of a part of one.

        Args:
            full_key: Its key.
        """
        found = self._parts.get(full_key)
        return self.roots.get(full_key) if found is None else found[0]

    def unreferred(self, referred: set[str]) -> Iterator[tuple[ObjectInfo, GarbageKind]]:
        """Give what nothing refers to.

        Args:
            referred: The full keys that something refers to.
        """
        for key, row in [*self._parts.items(), *self._data.items()]:
            if key not in referred:
                yield row

    def unused_indexes(self, referred: set[str]) -> Iterator[tuple[ObjectInfo, str]]:
        """Give the indexes whose archives nothing refers to, or are gone, and those archives.

        Args:
            referred: The full keys that something refers to.
        """
        for key, info in self._indexes.items():
            if key in referred:
                continue
            archive = key.removesuffix(INDEX_SUFFIX).removesuffix(SIDECAR_SUFFIX)
            if archive in self._data:
                is_unused = archive not in referred
            else:
                is_unused = archive not in self._archives and not self._space.objects.exists(
                    archive
                )
            if is_unused:
                yield info, archive
