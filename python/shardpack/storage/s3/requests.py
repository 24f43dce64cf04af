"""Single requests to one bucket, by the fast path where it may be used and by boto3 elsewhere."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

from shardpack.errors import (
    AccessDeniedError,
    IntegrityError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from shardpack.storage.s3 import trials
from shardpack.storage.s3.client import is_aws, transport_of
from shardpack.storage.s3.connection import NotConnectedError
from shardpack.storage.s3.digests import Digest
from shardpack.storage.s3.fast import FastRequests
from shardpack.storage.s3.plain import PlainRequests
from shardpack.storage.s3.tls import context_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shardpack.storage.base import ObjectInfo
    from shardpack.storage.retry import RetryPolicy
    from shardpack.storage.s3.answer import Answer
    from shardpack.storage.s3.client import Argument, Client

__all__ = ["Requests"]

# The server did not do it: it said so, or was never reached. After other failures of a request
# that was sent nobody knows.
_REFUSED = frozenset({429, 503})
# From here on MD5 costs more than finding out whether it can be spared.
_LARGE = 1 << 20


class Requests:
    """What one process needs to talk to one bucket.

    Args:
        client: The boto3 client of this process.
        bucket: The bucket.
        retry: How often requests are repeated.
        fast_path: Whether the fast path may be used.

    Attributes:
        pid: The process that this is for.
        plain: Requests through boto3.
        endpoint_url: Where the server is.
        validates: Whether bodies are compared with the checksums that the server keeps.
        on_aws: Whether the server is AWS.
        trial_lock: Held by the thread that tries out what the server checks.
    """

    def __init__(
        self,
        client: Client,
        bucket: str,
        retry: RetryPolicy,
        *,
        fast_path: bool,
    ) -> None:
        self.pid = os.getpid()
        self.bucket = bucket
        self.retry = retry
        self.plain = PlainRequests(client, bucket)
        self.fast = FastRequests.of(client, bucket) if fast_path else None
        self._bucket_seen = False
        self._etag_is_md5: bool | None = None
        self.endpoint_url: str = client.meta.endpoint_url
        verify = transport_of(client).verify
        if self.fast is None and self.endpoint_url.startswith("https:") and isinstance(verify, str):
            # A bundle that cannot be used: boto3 would tell of it as if the connection had broken.
            context_of(verify)
        self.on_aws = is_aws(self.endpoint_url)
        retries = getattr(client.meta.config, "retries", None) or {}
        self._client_repeats = retries.get("total_max_attempts") != 1
        checked = getattr(client.meta.config, "request_checksum_calculation", None)
        self.validates: bool = (
            getattr(client.meta.config, "response_checksum_validation", None) == "when_supported"
        )
        self.trial_lock = threading.Lock()
        self._always_crc32c = self.on_aws and checked == "when_supported"

    def call(self, operation: str, key: str | None, method: str, **arguments: Argument) -> Argument:
        """Call a method of the boto3 client, repeated as the policy says."""
        return self.retry.run(
            operation, key, lambda: self.plain.call(operation, key, method, **arguments)
        )

    def open(
        self,
        key: str,
        start: int | None,
        end: int | None,
        if_match: str | None,
        version_id: str | None,
    ) -> Answer:
        """Send one GET; its body is still to be read."""
        fast = self.fast
        answer = None
        if fast is not None and fast.usable():
            answer = fast.get(key, start, end, if_match, version_id, checksum=self.validates)
        if answer is None:
            answer = self.plain.get(key, start, end, if_match, version_id)
            self._went_around()
        self._bucket_seen = True
        return answer

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo:
        """Ask about an object, repeated as the policy says."""
        try:
            info = self.retry.run("head", key, lambda: self._head_once(key, version_id))
        except ObjectNotFoundError:
            self._check_bucket()
            raise
        self._bucket_seen = True
        return info

    def put(
        self,
        key: str,
        data: memoryview,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        if_match: str | None = None,
        if_absent: bool = False,
    ) -> Mapping[str, str]:
        """Write an object by one PUT, repeated as the policy says.

        Returns:
            The headers of the answer, names in lower case.
        """
        digest = Digest(data, use_crc32c=self.crc32c_for_put(data.nbytes, key))
        conditional = if_absent or if_match is not None

        def send() -> Mapping[str, str]:
            try:
                return self.put_once(
                    key,
                    data,
                    digest,
                    content_type=content_type,
                    metadata=metadata,
                    if_match=if_match,
                    if_absent=if_absent,
                )
            except StorageUnavailableError as error:
                error.ambiguous = conditional and self.may_have_happened(error)
                raise

        headers = self.retry.run("put", key, send)
        self._bucket_seen = True
        self._check_etag(key, digest, headers, data.nbytes)
        return headers

    def put_part(
        self, key: str, upload_id: str, number: int, data: memoryview, digest: Digest
    ) -> Mapping[str, str]:
        """Send one part of an upload, repeated as the policy says.

        Returns:
            What the end of the upload must tell about it.
        """
        headers = self.retry.run(
            "upload part",
            key,
            lambda: self.put_part_once(key, upload_id, number, data, digest),
        )
        if digest.equals(headers):
            self._etag_is_md5 = True
        elif self._etag_is_md5 and digest.differs(headers):
            raise _damaged(key, digest, headers)
        return {"ETag": headers.get("etag", ""), **digest.of_part()}

    def crc32c_for_put(self, size: int, key: str = "") -> bool:
        """Tell whether a PUT goes with its CRC32C and not with its MD5.

        Args:
            size: Bytes of the body.
            key: Key of the object, beside which it may be tried out.
        """
        return self._always_crc32c or (size > _LARGE and trials.checks_puts(self, key))

    def crc32c_for_parts(self, key: str = "") -> bool:
        """Tell whether the parts of an upload that begins go with their CRC32C.

        Args:
            key: Key of the object, beside which it may be tried out.
        """
        return trials.checks_parts(self, key)

    def may_have_happened(self, error: StorageError) -> bool:
        """Tell whether a request that failed may have taken effect all the same.

        Args:
            error: What the request raised.
        """
        if error.status is not None:
            return error.status not in _REFUSED
        cause = error.__cause__
        if isinstance(cause, NotConnectedError):
            return False
        # A client that repeats requests by itself tells of its last attempt alone.
        return self._client_repeats or not isinstance(cause, _never_sent())

    def _head_once(self, key: str, version_id: str | None) -> ObjectInfo:
        info = None
        if self.fast is not None and self.fast.usable():
            info = self.fast.head(key, version_id)
        if info is None:
            info = self.plain.head(key, version_id)
            self._went_around()
        return info

    def put_once(
        self, key: str, data: memoryview, digest: Digest, **options: Argument
    ) -> Mapping[str, str]:
        """Send one PUT, options as for ``put``; gives the headers of the answer."""
        headers = None
        if self.fast is not None and self.fast.usable():
            headers = self.fast.put(key, data, digest, **options)
        if headers is None:
            headers = self.plain.put(key, data, digest, **options)
            self._went_around()
        return headers

    def put_part_once(
        self, key: str, upload_id: str, number: int, data: memoryview, digest: Digest
    ) -> Mapping[str, str]:
        """Send one part of an upload; gives the headers of the answer."""
        headers = None
        if self.fast is not None and self.fast.usable():
            headers = self.fast.put_part(key, upload_id, number, data, digest)
        if headers is None:
            headers = self.plain.put_part(key, upload_id, number, data, digest)
            self._went_around()
        return headers

    def _went_around(self) -> None:
        """Note that boto3 could do what the fast path could not."""
        if self.fast is not None and self.fast.usable():
            self.fast.detours += 1

    def _check_bucket(self) -> None:
        """Tell a missing bucket from a missing key, which the answer to a HEAD does not."""
        if self._bucket_seen:
            return
        try:
            self.call("head", None, "head_bucket")
        except AccessDeniedError:
            # The key may be asked about, the bucket may not: it is there.
            pass
        except StorageError as error:
            if error.status == 404:  # noqa: PLR2004 - not found
                raise StorageError(
                    f"there is no bucket {self.bucket!r}", code="NoSuchBucket", status=404
                ) from error
            raise
        self._bucket_seen = True

    def _check_etag(self, key: str, digest: Digest, headers: Mapping[str, str], size: int) -> None:
        """Compare the ETag of what arrived with the digest of what was sent."""
        if not digest.differs(headers):
            self._etag_is_md5 = digest.equals(headers) or self._etag_is_md5
            return
        if self._etag_is_md5 is None:
            # Either this server's ETags are no MD5, or the first upload was damaged: look.
            answer = self.open(key, None, None, None, headers.get("x-amz-version-id"))
            try:
                stored = bytearray(answer.left)
                answer.readinto(memoryview(stored))
            finally:
                answer.close()
            found = Digest(memoryview(stored), use_crc32c=False)
            same = len(stored) == size and found.md5 == digest.md5
            if same:
                self._etag_is_md5 = False
        if self._etag_is_md5 is not False:
            raise _damaged(key, digest, headers)


def _damaged(key: str, digest: Digest, headers: Mapping[str, str]) -> IntegrityError:
    expected = (digest.md5 or b"").hex()
    actual = headers.get("etag", "").strip('"')
    return IntegrityError(
        f"{key!r} arrived damaged: sent the MD5 {expected}, the server has {actual}",
        key=key,
        algorithm="etag",
        expected=expected,
        actual=actual,
    )


def _never_sent() -> tuple[type[BaseException], ...]:
    from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError

    return (
        ConnectTimeoutError,
        EndpointConnectionError,
        ConnectionRefusedError,
        socket.gaierror,
    )
