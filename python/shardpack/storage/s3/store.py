"""Objects in a bucket of S3, or of a server that speaks its protocol."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from shardpack.errors import ConcurrencyUnsupportedError, ObjectNotFoundError, StorageError
from shardpack.storage.body import BytesBody
from shardpack.storage.paths import check_key, check_metadata
from shardpack.storage.retry import RetryPolicy
from shardpack.storage.s3 import conditions, listing, reading, removing, sending
from shardpack.storage.s3.answer import check_headers
from shardpack.storage.s3.body import RangeReader, S3Body
from shardpack.storage.s3.client import ClientSettings, ClientSource
from shardpack.storage.s3.multipart import Condition, MultipartUpload, S3Writer
from shardpack.storage.s3.requests import Requests
from shardpack.storage.transfer import check_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from typing import Self

    from shardpack.storage.base import ObjectInfo, PutSource, Upload
    from shardpack.storage.body import ObjectBody
    from shardpack.storage.s3.client import Argument, Client

__all__ = ["S3Store"]

PART_SIZE = 32 << 20
_LEAST_PART = 5 << 20


class S3Store:
    """A bucket.

    Simple GET, PUT and HEAD requests are signed here, with the client's credentials, and sent over
    connections that stay open: a tenth of what they cost through boto3. Everything unusual, and
    whatever these requests are answered with that is not plain, goes through the client.

    What is checked: the length and range of every body; on reading, that all parts are of one
    version (ETag); on writing, each body is sent with its MD5 (``Content-MD5``), which most servers
    check before they accept it, and where the ETag is the MD5 of what arrived it is compared.
    Bodies above 1 MiB and parts go with their CRC32C instead, which costs far less, where the
    server really checks it: AWS does, of others the first such upload of a process finds out, with
    scratch objects in ``.shardpack-probe/`` beside the key that is written, which are removed. The
    same is done before the first write with a condition. To AWS with checksums switched on all
    bodies go with their CRC32C. Neither is a defence against forgers: use HTTPS. Where the
    client validates responses
    (``response_checksum_validation="when_supported"``), objects that are read as a whole, by one
    request, are compared with the CRC32C or CRC32 that the server keeps of them. Servers that do
    none of this exist: keep a digest of what must be right.

    The store pickles its settings without credentials. In another process it makes its own client
    from the profile, or as boto3's default session does. Event handlers that were registered on the
    client do not travel with it. After a fork a client that was handed in is made anew with the
    same configuration and credentials, and the same event handlers; a handler that calls the first
    client itself would share its connections with the parent.

    Args:
        client: A boto3 S3 client, or ``ClientSettings`` to make one from when it is needed.
        bucket: Name of the bucket.
        fast_path: Whether simple requests may go past boto3.
        concurrency: Requests at once of one call that has many to send.
        part_size: Bytes of a part of large objects, at least 5 MiB; up to one part is sent by one
            request. Parts that go with their MD5 have at most 16 MiB, unless they are those of a
            stream: MD5 is computed of several at once, and so many are held in memory.
        retry: How often requests are repeated; retries of the client itself come on top.

    Example:
        >>> from shardpack.storage.s3 import S3Store
        >>> store = S3Store.open("data", endpoint_url="http://127.0.0.1:9000")
        >>> store.url
        's3://data'
    """

    def __init__(
        self,
        client: Client,
        bucket: str,
        *,
        fast_path: bool = True,
        concurrency: int = 16,
        part_size: int = PART_SIZE,
        retry: RetryPolicy | None = None,
    ) -> None:
        if not bucket:
            raise ValueError("bucket must not be empty")
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, got {concurrency}")
        if part_size < _LEAST_PART:
            raise ValueError(f"part_size must be at least {_LEAST_PART}, got {part_size}")
        self.bucket = bucket
        self._source = ClientSource(client)
        self._fast_path = fast_path
        self._concurrency = concurrency
        self._part_size = part_size
        self._retry = retry or RetryPolicy()
        self._of_process: dict[int, Requests] = {}

    @classmethod
    def open(
        cls,
        bucket: str,
        *,
        endpoint_url: str | None = None,
        profile: str | None = None,
        region: str | None = None,
        concurrency: int = 16,
        **options: Argument,
    ) -> Self:
        """Give a store that makes its own client when it first needs one.

        Args:
            bucket: Name of the bucket.
            endpoint_url: Where the server is; AWS when ``None``.
            profile: Profile of the AWS configuration files.
            region: Region; the profile's when ``None``.
            concurrency: Requests at once.
            **options: As for the class.
        """
        settings = ClientSettings(
            endpoint_url=endpoint_url, profile=profile, region=region, connections=concurrency
        )
        return cls(settings, bucket, concurrency=concurrency, **options)

    def __repr__(self) -> str:
        return f"S3Store({self.bucket!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_of_process": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @property
    def url(self) -> str:
        """Where it is, without the endpoint."""
        return f"s3://{self.bucket}"

    @property
    def client(self) -> Client:
        """The boto3 client of this process."""
        return self._source.client()

    @property
    def concurrency(self) -> int:
        """How many requests at once make sense by default."""
        return self._concurrency

    @property
    def conditional_writes(self) -> bool:
        """Whether the server honours conditions on writes: tried out once, with a scratch key."""
        return conditions.honours_conditions(self._requests)

    def try_conditions_at(self, key: str) -> bool:
        """Tell the same, and where it is not known yet, try it out in the folder of a key.

        Args:
            key: The key that is about to be written: elsewhere these credentials may have no
                rights.
        """
        return conditions.honours_conditions(self._requests, key)

    @property
    def _requests(self) -> Requests:
        process = os.getpid()
        requests = self._of_process.get(process)
        if requests is None:
            made = Requests(
                self._source.client(), self.bucket, self._retry, fast_path=self._fast_path
            )
            # Threads that come here at once share those of the first, with all that they find out.
            requests = self._of_process.setdefault(process, made)
            for other in self._of_process.keys() - {process}:
                self._of_process.pop(other, None)
        return requests

    def get(
        self,
        key: str,
        *,
        start: int | None = None,
        end: int | None = None,
        if_match: str | None = None,
        version_id: str | None = None,
    ) -> ObjectBody:
        """Open an object, or a range of it, as a stream; see ``ObjectStore.get``."""
        check_key(key)
        check_range(start, end)
        requests = self._requests
        if end is not None and end == (start or 0):
            info = requests.head(key, version_id=version_id)
            sending.check_version(info, if_match)
            return BytesBody(b"", info)
        return S3Body(
            RangeReader(requests, key, start, end, if_match=if_match, version_id=version_id)
        )

    def read(
        self,
        key: str,
        *,
        start: int | None = None,
        end: int | None = None,
        if_match: str | None = None,
    ) -> bytes:
        """Read an object, or a range of it, at once; see ``ObjectStore.read``."""
        check_key(key)
        check_range(start, end)
        if end is not None and end == (start or 0):
            sending.check_version(self._requests.head(key), if_match)
            return b""
        return reading.read(
            self._requests,
            key,
            start,
            end,
            if_match,
            part_size=self._part_size,
            workers=self._concurrency,
        )

    def read_ranges(
        self,
        key: str,
        ranges: Sequence[tuple[int, int]],
        *,
        if_match: str | None = None,
    ) -> list[bytes]:
        """Read many ranges of one object; see ``ObjectStore.read_ranges``."""
        check_key(key)
        return reading.read_ranges(
            self._requests,
            key,
            ranges,
            if_match,
            part_size=self._part_size,
            workers=self._concurrency,
        )

    def download(
        self,
        key: str,
        path: str | os.PathLike[str],
        *,
        progress: Callable[[int], object] | None = None,
    ) -> ObjectInfo:
        """Write an object to a file; see ``ObjectStore.download``."""
        check_key(key)
        return reading.download(
            self._requests,
            key,
            path,
            progress,
            part_size=self._part_size,
            workers=self._concurrency,
        )

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo:
        """Tell what is known about an object; see ``ObjectStore.head``."""
        check_key(key)
        return self._requests.head(key, version_id=version_id)

    def exists(self, key: str) -> bool:
        """Tell whether there is an object; see ``ObjectStore.exists``."""
        check_key(key)
        try:
            self._requests.head(key)
        except ObjectNotFoundError:
            return False
        return True

    def put(
        self,
        key: str,
        data: PutSource,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        if_match: str | None = None,
        if_absent: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> ObjectInfo:
        """Write an object; see ``ObjectStore.put``."""
        check_key(key)
        check_headers(content_type, metadata)
        condition = Condition(if_match, if_absent=if_absent)
        if condition and not self.try_conditions_at(key):
            raise ConcurrencyUnsupportedError(
                f"the server of {self.url} ignores If-Match and If-None-Match: two writers of"
                f" {key!r} would lose each other's changes"
            )
        return sending.put(
            self._requests,
            key,
            data,
            sending.Options(
                content_type=content_type,
                metadata=None if metadata is None else check_metadata(metadata),
                condition=condition,
                progress=progress,
                part_size=self._part_size,
                concurrency=self._concurrency,
            ),
        )

    def writer(
        self,
        key: str,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        part_size: int | None = None,
    ) -> S3Writer:
        """Begin an object of unknown length; see ``ObjectStore.writer``."""
        check_key(key)
        check_headers(content_type, metadata)
        wished = self._part_size if part_size is None else max(part_size, _LEAST_PART)
        return S3Writer(
            self._requests,
            key,
            part_size=min(wished, self._part_size),
            concurrency=self._concurrency,
            content_type=content_type,
            metadata=None if metadata is None else check_metadata(metadata),
        )

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """List objects; see ``ObjectStore.list``."""
        return listing.list_objects(self._requests, prefix, start_after)

    def list_level(self, prefix: str = "") -> Iterator[ObjectInfo | str]:
        """List one level; see ``ObjectStore.list_level``."""
        return listing.list_level(self._requests, prefix)

    def delete(self, key: str) -> None:
        """Remove an object; see ``ObjectStore.delete``."""
        check_key(key)
        removing.delete(self._requests, key)

    def delete_many(self, keys: Iterable[str]) -> dict[str, StorageError]:
        """Remove many objects; see ``ObjectStore.delete_many``."""
        return removing.delete_many(self._requests, keys)

    def copy(
        self,
        source: str,
        target: str,
        *,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Copy an object inside the bucket; see ``ObjectStore.copy``."""
        check_key(source)
        check_key(target)
        check_headers(None, metadata)
        return sending.copy(
            self._requests,
            source,
            target,
            if_match=if_match,
            metadata=None if metadata is None else check_metadata(metadata),
            concurrency=self._concurrency,
        )

    def iter_uploads(self, prefix: str = "") -> Iterator[Upload]:
        """List unfinished uploads; see ``ObjectStore.iter_uploads``."""
        return listing.iter_uploads(self._requests, prefix)

    def server_time(self) -> datetime | None:
        """Ask what time it is for the server, by whose clock objects are dated."""
        return listing.server_time(self._requests)

    def abort_upload(self, upload: Upload) -> None:
        """Remove an unfinished upload; see ``ObjectStore.abort_upload``."""
        MultipartUpload(self._requests, upload.key, upload.upload_id).abort()
