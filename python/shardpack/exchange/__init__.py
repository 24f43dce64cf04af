"""Manifests, shard archives and keys: datasets on object storage.

Example:
    >>> from shardpack.exchange import ExchangeStore
    >>> store = ExchangeStore.open("mem://tour")
    >>> shard = store.put_shard_archive(
    ...     "shards/0.tar.gz", [{"member_path": "a.txt", "source": b"hello"}]
    ... )
    >>> store.write_manifest("manifest.jsonl", [shard.entry])
    >>> store.get_object("shards/0.tar.gz#a.txt").read()
    b'hello'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shardpack.errors import (
        InvalidManifestError,
        ManifestNotFoundError,
        MissingPlaceholderError,
        ObjectNotFoundError,
        S3ExchangeError,
        ShardReadError,
    )
    from shardpack.exchange.bodies import ArchiveMemberBody
    from shardpack.exchange.keys import infer_id_from_key, normalize_key, resolve_template
    from shardpack.exchange.manifest.manifest import Manifest
    from shardpack.exchange.manifest.writer import ManifestWriter
    from shardpack.exchange.packing.pack import PackReport
    from shardpack.exchange.reading.delivery import Failure
    from shardpack.exchange.reading.pipeline import ObjectIterator
    from shardpack.exchange.scope import ScopedStore
    from shardpack.exchange.settings import S3Settings
    from shardpack.exchange.shard.shard import Shard
    from shardpack.exchange.store import ExchangeStore, S3ExchangeStore
    from shardpack.exchange.types import (
        CompactReport,
        DeleteReport,
        FileEntry,
        ManifestEntry,
        ManifestRef,
        ManifestRefEntry,
        ManifestWriterConfig,
        ShardEntry,
        ShardItem,
        ShardSizePolicy,
        StreamingBodyLike,
    )
    from shardpack.exchange.upkeep.gc import Garbage, GarbageReport
    from shardpack.exchange.upkeep.verify import DatasetReport, Finding

__all__ = [
    "ArchiveMemberBody",
    "CompactReport",
    "DatasetReport",
    "DeleteReport",
    "ExchangeStore",
    "Failure",
    "FileEntry",
    "Finding",
    "Garbage",
    "GarbageReport",
    "InvalidManifestError",
    "Manifest",
    "ManifestEntry",
    "ManifestNotFoundError",
    "ManifestRef",
    "ManifestRefEntry",
    "ManifestWriter",
    "ManifestWriterConfig",
    "MissingPlaceholderError",
    "ObjectIterator",
    "ObjectNotFoundError",
    "PackReport",
    "S3ExchangeError",
    "S3ExchangeStore",
    "S3Settings",
    "ScopedStore",
    "Shard",
    "ShardEntry",
    "ShardItem",
    "ShardReadError",
    "ShardSizePolicy",
    "StreamingBodyLike",
    "infer_id_from_key",
    "normalize_key",
    "resolve_template",
]

# Where the names live. Each is imported when it is first asked for: a program that only needs the
# keys does not wait for the stores.
_HOMES = {
    "shardpack.errors": (
        "InvalidManifestError",
        "ManifestNotFoundError",
        "MissingPlaceholderError",
        "ObjectNotFoundError",
        "S3ExchangeError",
        "ShardReadError",
    ),
    "shardpack.exchange.bodies": ("ArchiveMemberBody",),
    "shardpack.exchange.keys": ("infer_id_from_key", "normalize_key", "resolve_template"),
    "shardpack.exchange.manifest.manifest": ("Manifest",),
    "shardpack.exchange.manifest.writer": ("ManifestWriter",),
    "shardpack.exchange.packing.pack": ("PackReport",),
    "shardpack.exchange.reading.delivery": ("Failure",),
    "shardpack.exchange.reading.pipeline": ("ObjectIterator",),
    "shardpack.exchange.scope": ("ScopedStore",),
    "shardpack.exchange.settings": ("S3Settings",),
    "shardpack.exchange.shard.shard": ("Shard",),
    "shardpack.exchange.store": ("ExchangeStore", "S3ExchangeStore"),
    "shardpack.exchange.types": (
        "CompactReport",
        "DeleteReport",
        "FileEntry",
        "ManifestEntry",
        "ManifestRef",
        "ManifestRefEntry",
        "ManifestWriterConfig",
        "ShardEntry",
        "ShardItem",
        "ShardSizePolicy",
        "StreamingBodyLike",
    ),
    "shardpack.exchange.upkeep.gc": ("Garbage", "GarbageReport"),
    "shardpack.exchange.upkeep.verify": ("DatasetReport", "Finding"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    # From now on Python finds it without asking here.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
