"""What the answers of an S3 server mean, by error code and status, never by text."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from shardpack.errors import (
    AccessDeniedError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageError,
    StorageUnavailableError,
)
from shardpack.storage.s3.connection import NotConnectedError
from shardpack.storage.s3.tls import explain, refused_certificate

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["UNAVAILABLE_CODES", "error_of_answer", "kind_of", "retry_after", "translate"]

_NOT_FOUND = frozenset({"NoSuchKey", "NoSuchVersion", "NotFound"})
_DENIED = frozenset(
    {
        "AccessDenied",
        "AccountProblem",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
_PRECONDITION = frozenset({"ConditionalRequestConflict", "PreconditionFailed"})
UNAVAILABLE_CODES = frozenset(
    {
        # The body was damaged on its way to the server.
        "BadDigest",
        "IncompleteBody",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "InternalError",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
    }
)
_BY_CODE: dict[str, type[StorageError]] = {
    **dict.fromkeys(UNAVAILABLE_CODES, StorageUnavailableError),
    **dict.fromkeys(_DENIED, AccessDeniedError),
    **dict.fromkeys(_PRECONDITION, PreconditionFailedError),
}
_BY_STATUS: dict[int, type[StorageError]] = {
    401: AccessDeniedError,
    403: AccessDeniedError,
    412: PreconditionFailedError,
}
# Operations that may have conditions, by their names in messages.
_WRITES = frozenset({"complete upload", "put"})
_TOO_MANY_REQUESTS = 429
_REQUEST_TIMEOUT = 408
_SERVER_ERROR = 500
_NOT_IMPLEMENTED = 501
_LONGEST_ANSWER = 200


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read how long the server asks to wait, in seconds; ``None`` where it does not say.

    Args:
        headers: Headers of the answer, names in lower case.
    """
    value = headers.get("retry-after", "").strip()
    # The other form, a date, depends on clocks that need not agree.
    return float(value) if value.isascii() and value.isdigit() else None


def error_of_answer(
    operation: str,
    bucket: str,
    key: str | None,
    *,
    status: int,
    code: str | None = None,
    message: str = "",
    wait_s: float | None = None,
) -> StorageError:
    """Make the exception for an answer that is no success.

    Args:
        operation: What was asked for, such as ``"get"``.
        bucket: The bucket.
        key: Key of the object, where there is one.
        status: The HTTP status.
        code: The error code in the body; ``None`` where the answer has no body, as to HEAD.
        message: The server's words, for people.
        wait_s: What ``retry_after`` read.
    """
    if code is not None and (code.isdigit() or not code):
        # botocore puts the status where there is no code.
        code = None
    if code in _NOT_FOUND or (code is None and status == 404 and key is not None):  # noqa: PLR2004
        error: StorageError = ObjectNotFoundError(key or "")
        error.code = code
        return error
    where = f"s3://{bucket}" if key is None or code == "NoSuchBucket" else f"s3://{bucket}/{key}"
    reason = code or f"status {status}"
    if message:
        line = " ".join(message.split())[:_LONGEST_ANSWER]
        reason = f"{reason}: {line}"
    text = f"{operation} of {where} failed: {reason}"
    kind = _kind(status, code)
    error = kind(text, key=key, code=code, status=status)
    if isinstance(error, StorageUnavailableError):
        error.retry_after_s = wait_s
    return error


def _kind(status: int, code: str | None) -> type[StorageError]:
    by_code = _BY_CODE.get(code or "")
    if by_code is not None:
        return by_code
    if status in (_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS) or (
        status >= _SERVER_ERROR and status != _NOT_IMPLEMENTED
    ):
        return StorageUnavailableError
    return _BY_STATUS.get(status, StorageError)


def translate(error: Exception, operation: str, bucket: str, key: str | None) -> StorageError:
    """Make our exception of one that botocore, urllib3 or a socket raised.

    Raise the result ``from`` the original.

    Args:
        error: The original; one that is ours already is returned as it is.
        operation: What was asked for.
        bucket: The bucket.
        key: Key of the object, where there is one.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, StorageError):
        return error
    if isinstance(error, ClientError):
        answer = error.response
        about = answer.get("ResponseMetadata", {})
        told = answer.get("Error", {})
        failed = error_of_answer(
            operation,
            bucket,
            key,
            status=int(about.get("HTTPStatusCode", 0)),
            code=told.get("Code"),
            message=str(told.get("Message", "")),
            wait_s=retry_after(about.get("HTTPHeaders", {})),
        )
        repeated = about.get("RetryAttempts", 0) and operation in _WRITES
        if repeated and isinstance(failed, PreconditionFailedError):
            # The client sent it again by itself: what it met may be its own first copy.
            return StorageUnavailableError(
                f"{failed}, when the client repeated it", key=key, code=failed.code, status=412
            )
        return failed
    where = f"s3://{bucket}" if key is None else f"s3://{bucket}/{key}"
    refused = refused_certificate(error)
    if refused is not None:
        why = explain(refused, _server_of(error) or "the server")
        return StorageError(f"{operation} of {where} failed: {why}", key=key)
    if _is_connection_trouble(error):
        # Not the text of the original: it may hold a signed URL.
        return StorageUnavailableError(f"{operation} of {where} failed: {kind_of(error)}", key=key)
    why = str(error) if isinstance(error, BotoCoreError) else kind_of(error)
    return StorageError(f"{operation} of {where} failed: {why}", key=key)


def kind_of(error: Exception) -> str:
    """Name the kind of an error, and the server where there was no connection to it.

    Args:
        error: What botocore or a socket raised.
    """
    if isinstance(error, NotConnectedError):
        return str(error)
    server = _server_of(error)
    kind = type(error).__name__
    return kind if server is None else f"{kind}, {server}"


def _server_of(error: Exception) -> str | None:
    url = getattr(error, "kwargs", {}).get("endpoint_url")
    if not isinstance(url, str):
        return None
    parts = urlsplit(url)
    # Not more of it: the rest may be signed.
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname}{port}"


def _is_connection_trouble(error: Exception) -> bool:
    from botocore import exceptions
    from urllib3.exceptions import HTTPError

    if type(error) is exceptions.HTTPClientError:
        # botocore's wrapper for whatever it did not expect, mistakes in a header among them.
        error = getattr(error, "kwargs", {}).get("error", error)
    return isinstance(
        error,
        (
            exceptions.ConnectionError,
            exceptions.ConnectionClosedError,
            exceptions.ReadTimeoutError,
            exceptions.ResponseStreamingError,
            exceptions.IncompleteReadError,
            exceptions.FlexibleChecksumError,
            HTTPError,
            ConnectionError,
            TimeoutError,
            OSError,
        ),
    )
