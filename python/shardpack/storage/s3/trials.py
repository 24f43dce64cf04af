"""Whether a server compares what arrives with its CRC32C: tried out, an echo is never trusted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from shardpack.errors import StorageError, StorageUnavailableError
from shardpack.storage.s3.digests import Digest
from shardpack.storage.s3.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shardpack.storage.s3.requests import Requests

__all__ = ["checks_parts", "checks_puts"]

_BODY: Final = memoryview(b"as sent")
_OTHER_BODY: Final = memoryview(b"damaged")
_BAD_REQUEST: Final = 400
_SERVER_ERROR: Final = 500
# Of the answers with that status that are worth another try, those about the checksum.
_MISMATCH: Final = frozenset({"BadDigest", "XAmzContentChecksumMismatch"})
# By process, endpoint, bucket and kind of upload, as in conditions.py.
_KNOWN: dict[tuple[int, str, str, str], bool] = {}


def checks_puts(requests: Requests, beside: str = "") -> bool:
    """Tell whether the server refuses a PUT with a wrong CRC32C, and takes one with the right one.

    The first question sends a scratch object both ways and removes it. A server that cannot be
    asked is not counted on; where that may pass, the next call asks again.

    Args:
        requests: How requests are sent.
        beside: The key that is about to be written; the scratch object lies in the same folder.
    """
    return _known(requests, "put", beside, _try_puts)


def checks_parts(requests: Requests, beside: str = "") -> bool:
    """Tell the same of the parts of an upload: there are servers that check only the one or other.

    Args:
        requests: How requests are sent.
        beside: As for ``checks_puts``.
    """
    return _known(requests, "parts", beside, _try_parts)


def _known(
    requests: Requests, kind: str, beside: str, attempt: Callable[[Requests, str], bool]
) -> bool:
    if requests.on_aws:
        return True
    place = (os.getpid(), requests.endpoint_url, requests.bucket, kind)
    known = _KNOWN.get(place)
    if known is not None:
        return known
    with requests.trial_lock:
        known = _KNOWN.get(place)
        if known is None:
            try:
                known = attempt(requests, beside)
            except StorageUnavailableError:
                return False
            except StorageError:
                # MD5 asks for no rights but those that the upload itself needs.
                known = False
            _KNOWN[place] = known
    return known


def _try_puts(requests: Requests, beside: str) -> bool:
    scratch = Scratch(requests, beside)

    def send(digest: Digest) -> None:
        try:
            headers = requests.put_once(scratch.key, _BODY, digest)
        except StorageUnavailableError as error:
            # After a clear refusal there is nothing to remove.
            if error.status is None or error.status >= _SERVER_ERROR:
                scratch.perhaps_written()
            raise
        scratch.written(headers)

    try:
        return _is_checked(send)
    finally:
        scratch.remove()


def _try_parts(requests: Requests, beside: str) -> bool:
    key = Scratch(requests, beside).key
    begun: Mapping[str, str] = requests.plain.call(
        "begin upload", key, "create_multipart_upload", ChecksumAlgorithm="CRC32C"
    )
    upload_id = begun["UploadId"]
    try:
        return _is_checked(lambda digest: requests.put_part_once(key, upload_id, 1, _BODY, digest))
    finally:
        requests.call("abort upload", key, "abort_multipart_upload", UploadId=upload_id)


def _is_checked(send: Callable[[Digest], object]) -> bool:
    """Tell whether bytes are refused with the CRC32C of others and taken with their own."""
    return _is_refused(send, _OTHER_BODY) and not _is_refused(send, _BODY)


def _is_refused(send: Callable[[Digest], object], digested: memoryview) -> bool:
    try:
        send(Digest(digested, use_crc32c=True))
    except StorageError as error:
        clear = error.code in _MISMATCH or not isinstance(error, StorageUnavailableError)
        if error.status == _BAD_REQUEST and clear:
            return True
        raise
    return False
