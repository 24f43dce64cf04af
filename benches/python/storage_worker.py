"""Does the work of ``bench_storage`` with one client, in a process of its own.

``python storage_worker.py shardpack|boto3|boto3-tuned|obstore ENDPOINT BUCKET``; the credentials
are those of the environment.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Protocol

from worker_loop import serve

if TYPE_CHECKING:
    from collections.abc import Callable

_MIB: Final = 1 << 20
_LARGE_PART: Final = 32 * _MIB


class Client(Protocol):
    """What all of them can do."""

    def put(self, key: str, data: bytes) -> None:
        """Write an object from memory."""

    def get(self, key: str) -> Any:  # noqa: ANN401 - some buffer
        """Read an object into memory."""

    def upload(self, key: str, path: str) -> None:
        """Write an object from a file."""

    def download(self, key: str, path: str) -> None:
        """Write an object to a file."""


class _Shardpack:
    def __init__(self, endpoint: str, bucket: str, threads: int) -> None:
        from shardpack.storage import S3Store

        self._store = S3Store(_boto3_client(endpoint, threads), bucket, concurrency=threads)
        self.get = self._store.read

    def put(self, key: str, data: bytes) -> None:
        self._store.put(key, data)

    def upload(self, key: str, path: str) -> None:
        self._store.put(key, path)

    def download(self, key: str, path: str) -> None:
        self._store.download(key, path)


class _Boto3:
    """As its documentation shows it, with checksums only where they are required."""

    def __init__(self, endpoint: str, bucket: str, threads: int) -> None:
        self._client = _boto3_client(endpoint, threads)
        self._bucket = bucket
        self._transfer: Any = None

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        body: bytes = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        return body

    def upload(self, key: str, path: str) -> None:
        self._client.upload_file(path, self._bucket, key, Config=self._transfer)

    def download(self, key: str, path: str) -> None:
        self._client.download_file(self._bucket, key, path, Config=self._transfer)


class _TunedBoto3(_Boto3):
    """With the settings that were found to be its best for large objects, read in parallel."""

    def __init__(self, endpoint: str, bucket: str, threads: int) -> None:
        from boto3.s3.transfer import TransferConfig

        super().__init__(endpoint, bucket, threads)
        self._pool = ThreadPoolExecutor(4)
        self._transfer = TransferConfig(
            multipart_chunksize=_LARGE_PART,
            multipart_threshold=_LARGE_PART,
            max_concurrency=threads,
            io_chunksize=_MIB,
        )

    def get(self, key: str) -> bytearray:  # type: ignore[override] # a buffer filled in place
        size = self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"]
        whole = bytearray(size)

        def fill(start: int) -> None:
            end = min(start + _LARGE_PART, size)
            wanted = f"bytes={start}-{end - 1}"
            body = self._client.get_object(Bucket=self._bucket, Key=key, Range=wanted)["Body"]
            with memoryview(whole)[start:end] as part:
                done = 0
                while done < len(part):
                    done += body.readinto(part[done:])

        for _ in self._pool.map(fill, range(0, size, _LARGE_PART)):
            pass
        return whole


class _Obstore:
    def __init__(self, endpoint: str, bucket: str, threads: int) -> None:
        del threads
        import obstore
        from obstore.store import S3Store

        self._obstore = obstore
        self._store: Any = S3Store(
            bucket,
            endpoint=endpoint,
            region=os.environ["AWS_DEFAULT_REGION"],
            access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
            secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )

    def put(self, key: str, data: bytes) -> None:
        self._obstore.put(self._store, key, data)

    def get(self, key: str) -> Any:  # noqa: ANN401 - its own buffer
        return self._obstore.get(self._store, key).bytes()

    def upload(self, key: str, path: str) -> None:
        from pathlib import Path

        self._obstore.put(self._store, key, Path(path))

    def download(self, key: str, path: str) -> None:
        with open(path, "wb", buffering=0) as file:
            file.writelines(self._obstore.get(self._store, key))


_CLIENTS: Final[dict[str, Callable[[str, str, int], Client]]] = {
    "shardpack": _Shardpack,
    "boto3": _Boto3,
    "boto3-tuned": _TunedBoto3,
    "obstore": _Obstore,
}


def _boto3_client(endpoint: str, threads: int) -> Any:  # noqa: ANN401 - made at run time
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=threads,
        ),
    )


class _Works:
    """The pieces of work, by name.

    Args:
        client: What does them.
        threads: At once, where objects are small.
    """

    def __init__(self, client: Client, threads: int) -> None:
        self._client = client
        self._threads = threads

    def _in_pool(self, function: Callable[[int], object], count: int) -> None:
        with ThreadPoolExecutor(self._threads) as pool:
            for _ in pool.map(function, range(count)):
                pass

    def put_small(self, prefix: str, count: int, size: int) -> None:
        """Write the same bytes under many keys."""
        data = random.Random(0).randbytes(size)
        self._in_pool(lambda number: self._client.put(f"{prefix}/{number}", data), count)

    def get_small(self, prefix: str, count: int, size: int) -> None:
        """Read them."""

        def get(number: int) -> None:
            found = len(self._client.get(f"{prefix}/{number}"))
            assert found == size, found

        self._in_pool(get, count)

    def get_large(self, prefix: str, count: int, size: int) -> None:
        """Read objects one after the other."""
        for number in range(count):
            found = len(self._client.get(f"{prefix}/{number}"))
            assert found == size, found

    def download_large(self, prefix: str, count: int, size: int, path: str) -> None:
        """Write objects to a file, one after the other."""
        for number in range(count):
            self._client.download(f"{prefix}/{number}", path)
            assert os.path.getsize(path) == size
            os.unlink(path)

    def upload_large(self, prefix: str, count: int, path: str) -> None:
        """Write the same file under several keys, one after the other."""
        for number in range(count):
            self._client.upload(f"{prefix}/{number}", path)

    def digest(self, key: str) -> str:
        """Give the SHA-256 of an object that is read to memory."""
        return hashlib.sha256(self._client.get(key)).hexdigest()

    def digest_of_download(self, key: str, path: str) -> str:
        """Give the SHA-256 of an object that is written to a file."""
        self._client.download(key, path)
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        os.unlink(path)
        return found


def main() -> None:
    """Answer the lines of the input."""
    side, endpoint, bucket, told = sys.argv[1:]
    works = _Works(_CLIENTS[side](endpoint, bucket, int(told)), int(told))
    names = [name for name in dir(works) if not name.startswith("_")]
    serve({name: getattr(works, name) for name in names})


if __name__ == "__main__":
    main()
