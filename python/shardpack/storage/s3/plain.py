"""Single requests through boto3: slow, but whatever the client is set up to do is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shardpack.errors import StorageError, StorageUnavailableError
from shardpack.storage.base import ObjectInfo
from shardpack.storage.body import BytesBody
from shardpack.storage.s3.answer import Answer, info_of, quoted, range_header
from shardpack.storage.s3.errors import translate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shardpack.storage.s3.client import Argument, Client
    from shardpack.storage.s3.digests import Digest

__all__ = ["PlainRequests"]

_PARTIAL = 206


class _PlainAnswer(Answer):
    """A body that botocore receives."""

    def __init__(
        self, key: str, response: dict[str, Any], wanted: tuple[int | None, int | None]
    ) -> None:
        self._body = response["Body"]
        # Bodies of older botocores can only be read by way of new bytes.
        self._has_readinto = hasattr(self._body, "readinto")
        try:
            about = response["ResponseMetadata"]
            partial = about.get("HTTPStatusCode") == _PARTIAL
            super().__init__(key, about["HTTPHeaders"], wanted, partial=partial)
        except BaseException:
            self._body.close()
            raise

    def _receive(self, target: memoryview) -> int:
        try:
            if self._has_readinto:
                return int(self._body.readinto(target))
            piece = self._body.read(target.nbytes)
        except Exception as error:
            # Whatever botocore, urllib3 or the socket raises here, the connection is what broke.
            raise StorageUnavailableError(
                f"the body of {self.key!r} broke {self.left} bytes before its end:"
                f" {type(error).__name__}",
                key=self.key,
            ) from error
        target[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._body.close()


class PlainRequests:
    """Requests to one bucket, each sent once.

    Args:
        client: A boto3 client.
        bucket: The bucket.
    """

    def __init__(self, client: Client, bucket: str) -> None:
        self.client = client
        self.bucket = bucket

    def call(
        self, operation: str, key: str | None, method: str, /, **arguments: Argument
    ) -> dict[str, Any]:
        """Call a method of the client with the bucket.

        Args:
            operation: What is done, for messages.
            key: Key of the object; ``None`` for calls about the bucket, which then get no ``Key``.
            method: Name of the method.
            **arguments: Its arguments; those that are ``None`` are left out.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        if key is not None:
            given["Key"] = key
        try:
            function: Callable[..., dict[str, Any]] = getattr(self.client, method)
            return function(Bucket=self.bucket, **given)
        except Exception as error:
            raise translate(error, operation, self.bucket, key) from error

    def get(
        self,
        key: str,
        start: int | None,
        end: int | None,
        if_match: str | None,
        version_id: str | None,
    ) -> Answer:
        """Send a GET, arguments as in ``ObjectStore.get``."""
        response = self.call(
            "get",
            key,
            "get_object",
            Range=range_header(start, end),
            IfMatch=quoted(if_match),
            VersionId=version_id,
        )
        return _PlainAnswer(key, response, (start, end))

    def head(self, key: str, version_id: str | None) -> ObjectInfo:
        """Send a HEAD."""
        response = self.call("head", key, "head_object", VersionId=version_id)
        headers = response["ResponseMetadata"]["HTTPHeaders"]
        size = int(response.get("ContentLength", -1))
        if size < 0:
            raise StorageError(f"the answer for {key!r} has no length", key=key)
        return info_of(key, headers, size)

    def put(
        self,
        key: str,
        data: memoryview,
        digest: Digest,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        if_match: str | None = None,
        if_absent: bool = False,
    ) -> Mapping[str, str]:
        """Send a PUT of bytes; gives the headers of the answer, names in lower case."""
        response = self.call(
            "put",
            key,
            "put_object",
            Body=_file_of(key, data),
            ContentType=content_type,
            Metadata=dict(metadata) if metadata else None,
            IfMatch=quoted(if_match),
            IfNoneMatch="*" if if_absent else None,
            **digest.arguments(),
        )
        return _headers(response)

    def put_part(
        self, key: str, upload_id: str, number: int, data: memoryview, digest: Digest
    ) -> Mapping[str, str]:
        """Send one part of an upload; gives the headers of the answer."""
        response = self.call(
            "upload part",
            key,
            "upload_part",
            UploadId=upload_id,
            PartNumber=number,
            Body=_file_of(key, data),
            **digest.arguments(),
        )
        return _headers(response)


def _headers(response: dict[str, Any]) -> Mapping[str, str]:
    headers: Mapping[str, str] = response["ResponseMetadata"]["HTTPHeaders"]
    return headers


def _file_of(key: str, data: memoryview) -> BytesBody:
    # botocore takes no memoryview, and a copy of a part would double what is held.
    return BytesBody(data, ObjectInfo(key, data.nbytes))
