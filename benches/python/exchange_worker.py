"""Does the work of ``bench_exchange`` with one client, in a process of its own.

``python exchange_worker.py shardpack|s3exchange|boto3 ENDPOINT BUCKET APPEND``; the credentials are
those of the environment, ``APPEND`` is how our store appends to manifests.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from worker_loop import serve

if TYPE_CHECKING:
    from collections.abc import Callable

_THREADS: Final = 16
_MOST_ENTRIES: Final = 10_000
_MOST_BYTES: Final = 256 << 20


def _client(endpoint: str) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=_THREADS,
        ),
    )


class _Exchange:
    """What both exchange stores do in the same words."""

    def __init__(self, store: Any) -> None:  # noqa: ANN401 - one of two classes
        self.store = store
        self._appended = 0

    def member(self, key: str) -> int:
        """Read a member of an archive."""
        return len(self.store.get_object(key).read())

    def members(self, keys: list[str]) -> int:
        """Read members one after the other."""
        return sum(map(self.member, keys))

    def iterate(self, manifest: str) -> list[int]:
        """Read everything that a manifest names."""
        count = total = 0
        for body, _ in self.store.iter_objects(manifest):
            count += 1
            total += len(body.read())
        return [count, total]

    def append(self, key: str) -> None:
        """Append one entry to a manifest."""
        self._appended += 1
        entry = {"kind": "file", "key": f"data/{self._appended}.bin", "size_bytes": 1}
        self.store.write_manifest(key, [entry], mode="append_parts")

    def append_many(self, key: str, count: int) -> None:
        """Append entries to a manifest, one by one."""
        for _ in range(count):
            self.append(key)


class _Shardpack(_Exchange):
    def __init__(self, endpoint: str, bucket: str, append: str) -> None:
        from shardpack.exchange import S3ExchangeStore

        super().__init__(S3ExchangeStore(_client(endpoint), bucket, append=append))  # type: ignore[arg-type]

    def pack(self, folder: str, prefix: str) -> int:
        """Pack a folder; gives the bytes of the archives."""
        report = self.store.pack(
            folder, prefix, max_entries=_MOST_ENTRIES, max_bytes=_MOST_BYTES, compression="gzip"
        )
        return int(report.bytes_out)

    def put_shard(self, folder: str, archive_key: str, manifest_key: str) -> list[int]:
        """Make an archive and a manifest that names it; tells sizes and a place of a member."""
        from shardpack.archive import INDEX_SUFFIX, ArchiveIndex

        compression = "gzip" if archive_key.endswith(".gz") else None
        items = [{"source": path, "member_path": path.name} for path in _files(folder)]
        shard = self.store.put_shard_archive(archive_key, items, compression=compression)
        self.store.write_manifest(manifest_key, [shard.entry])
        stored = self.store.objects.read(archive_key + INDEX_SUFFIX)
        index = ArchiveIndex.from_bytes(stored)
        member = index.member(str(items[len(items) // 2]["member_path"]))
        assert member is not None
        chunk = max(chunk.stored_size for chunk in index.chunks)
        sizes = [index.stored_size, len(stored), chunk]
        return [*sizes, member.offset, member.offset + member.size]


class _S3Exchange(_Exchange):
    def __init__(self, endpoint: str, bucket: str, append: str) -> None:
        del append
        from s3exchange import S3ExchangeStore

        super().__init__(S3ExchangeStore(_client(endpoint), bucket))

    def pack(self, folder: str, prefix: str) -> int:
        """Pack a folder; gives the bytes of the archives."""
        from s3exchange.types import ShardSizePolicy

        writer = self.store.open_manifest_writer(
            f"{prefix}/manifest.jsonl",
            shard_size=ShardSizePolicy(max_entries=_MOST_ENTRIES, max_bytes=_MOST_BYTES),
            shard_prefix=f"{prefix}/shards",
            shard_compression="gzip",
        )
        with writer:
            for path in _files(folder):
                # It makes its archive in a file only where it is told the sizes.
                item = {"source": path, "member_path": path.name, "size_bytes": _size(path)}
                writer.add_shard_item(item)
        found = self.store.iter_manifest_entries(f"{prefix}/manifest.jsonl")
        return sum(
            self.store.get_object_metadata(entry["archive_key"])["ContentLength"] for entry in found
        )

    def put_shard(self, folder: str, archive_key: str, manifest_key: str) -> None:
        """Make an archive of a folder and a manifest that names it."""
        items = [
            {"source": path, "member_path": path.name, "size_bytes": _size(path)}
            for path in _files(folder)
        ]
        shard = self.store.put_shard_archive(archive_key, items, compression="gzip")
        self.store.write_manifest(manifest_key, [shard.entry])


class _Boto3:
    """Ranges and whole objects as one would read them by hand."""

    def __init__(self, endpoint: str, bucket: str, append: str) -> None:
        del append
        self._client = _client(endpoint)
        self._bucket = bucket

    def get_range(self, key: str, start: int, end: int) -> int:
        """Read a part of an object, whose place is known."""
        wanted = f"bytes={start}-{end - 1}"
        answer = self._client.get_object(Bucket=self._bucket, Key=key, Range=wanted)
        return len(answer["Body"].read())

    def member(self, key: str) -> int:
        """Read an object."""
        return len(self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read())

    def get_all(self, keys: list[str]) -> list[int]:
        """Read objects by threads."""
        with ThreadPoolExecutor(_THREADS) as pool:
            sizes = list(pool.map(self.member, keys))
        return [len(sizes), sum(sizes)]


_CLIENTS: Final[dict[str, Callable[[str, str, str], object]]] = {
    "shardpack": _Shardpack,
    "s3exchange": _S3Exchange,
    "boto3": _Boto3,
}


def _files(folder: str) -> list[Path]:
    return sorted(Path(folder).iterdir())


def _size(path: Path) -> int:
    return os.path.getsize(path)


def main() -> None:
    """Answer the lines of the input."""
    side, endpoint, bucket, append = sys.argv[1:]
    client = _CLIENTS[side](endpoint, bucket, append)
    names = [name for name in dir(client) if not name.startswith("_") and name != "store"]
    serve({name: getattr(client, name) for name in names})


if __name__ == "__main__":
    main()
