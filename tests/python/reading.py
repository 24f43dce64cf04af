"""Shards and objects to read, in stores of every kind, for the tests of the reading side."""

from __future__ import annotations

import hashlib
import io
import itertools
import tarfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fault_proxy import FaultProxy
from shardpack.exchange.keys import Space
from shardpack.exchange.shard.writing import put_archive
from shardpack.storage import MemoryStore
from shardpack.storage.base import ObjectInfo
from shardpack.storage.body import BytesBody
from shardpack.storage.retry import RetryPolicy
from shardpack.storage.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from servers import S3Server
    from shardpack.exchange.types import ShardEntry

__all__ = [
    "CountingStore",
    "foreign_archive",
    "fresh_space",
    "members",
    "noise",
    "proxied_space",
    "put_shard",
]

_numbers = itertools.count(1)
# Faults come at once in tests, and so do the repetitions.
_RETRY = RetryPolicy(attempts=4, first_wait_s=0.01, longest_wait_s=0.05, deadline_s=20)


def noise(name: str, size: int) -> bytes:
    """Bytes that do not compress, different for each name."""
    return hashlib.shake_128(name.encode()).digest(size)


def members(count: int, size: int = 2000, label: str = "m") -> dict[str, bytes]:
    return {f"{label}/{i:05d}.bin": noise(f"{label}{i}", size + i % 7) for i in range(count)}


@dataclass
class CountingStore(MemoryStore):
    """A store in memory that notes what is read from it."""

    name: str = ""
    reads: list[tuple[str, int | None, int | None]] = field(default_factory=list)
    bytes_read: int = 0
    heads: int = 0
    # Bytes that are turned over on their way: key, offset, how many times.
    flips: list[tuple[str, int, int]] = field(default_factory=list)
    with_etags: bool = True

    def forget(self) -> None:
        self.reads.clear()
        self.bytes_read = 0
        self.heads = 0

    @property
    def requests(self) -> int:
        return len(self.reads) + self.heads

    def get(
        self,
        key: str,
        *,
        start: int | None = None,
        end: int | None = None,
        if_match: str | None = None,
        version_id: str | None = None,
    ) -> Any:
        known = if_match if self.with_etags else None
        found = super().get(key, start=start, end=end, if_match=known, version_id=version_id)
        data = bytearray(found.read())
        self.reads.append((key, start, end))
        self.bytes_read += len(data)
        for at, (flipped, offset, times) in enumerate(self.flips):
            place = offset - (start or 0)
            if flipped == key and times and 0 <= place < len(data):
                data[place] ^= 1
                self.flips[at] = (flipped, offset, times - 1)
        return BytesBody(bytes(data), self._known(found.info))

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo:
        self.heads += 1
        return self._known(super().head(key, version_id=version_id))

    def _known(self, info: ObjectInfo) -> ObjectInfo:
        return info if self.with_etags else ObjectInfo(key=info.key, size=info.size)


def fresh_space(base_prefix: str = "") -> tuple[Space, CountingStore]:
    store = CountingStore(f"reading-{next(_numbers)}")
    return Space(store, base_prefix), store


@contextmanager
def proxied_space(server: S3Server, **options: Any) -> Iterator[tuple[Space, FaultProxy]]:
    """A bucket of its own behind a proxy that counts and breaks."""
    with FaultProxy(server.endpoint_url) as proxy:
        client = server.client(proxy.url)
        try:
            bucket = server.fresh_bucket(client)
            yield Space(S3Store(client, bucket, retry=_RETRY, **options)), proxy
        finally:
            client.close()


def put_shard(
    space: Space,
    key: str,
    files: Mapping[str, bytes],
    compression: Any = "gzip",
    *,
    index: bool = True,
    chunk_size: int = 64 << 10,
) -> ShardEntry:
    """A shard as this package writes it, with or without its index."""
    items: list[Any] = [
        {"member_path": path, "source": data, "id": f"id-{path}", "meta": {"length": len(data)}}
        for path, data in files.items()
    ]
    entry = put_archive(space, key, items, compression=compression, chunk_size=chunk_size)
    if not index:
        space.objects.delete(space.full(entry["index_key"]))
        del entry["index_key"]
    return entry


def foreign_archive(files: Mapping[str, bytes], mode: str = "w") -> bytes:
    """An archive by another program: no manifest inside."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("a-link")
        link.type = tarfile.SYMTYPE
        link.linkname = "/etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()
