"""Whether a server honours conditional writes: tried out, a 200 is never trusted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from shardpack.errors import (
    AccessDeniedError,
    PreconditionFailedError,
    StorageError,
    StorageUnavailableError,
)
from shardpack.storage.s3.scratch import Scratch

if TYPE_CHECKING:
    from shardpack.storage.s3.requests import Requests

__all__ = ["honours_conditions"]

# By process, endpoint and bucket: an answer of another process may be about another server.
_KNOWN: dict[tuple[int, str, str], bool] = {}
_NOT_IMPLEMENTED = 501


def honours_conditions(requests: Requests, beside: str = "") -> bool:
    """Tell whether a bucket's server honours ``If-Match`` and ``If-None-Match`` on writes.

    The first question writes a scratch object under ``.shardpack-probe/`` and removes it, with its
    versions where the bucket keeps them. Nothing is concluded from an answer about anything else,
    such as credentials that have expired.

    Args:
        requests: How requests are sent.
        beside: The key that is about to be written; the scratch object lies in the same folder.

    Raises:
        StorageError: It cannot be found out.
    """
    place = (os.getpid(), requests.endpoint_url, requests.bucket)
    known = _KNOWN.get(place)
    if known is None:
        try:
            known = _probe_until_clear(requests, beside)
        except AccessDeniedError as error:
            if not requests.on_aws or error.code != "AccessDenied":
                raise
            # These credentials may not write there; what AWS does is known.
            return True
        _KNOWN[place] = known
    return known


def _probe_until_clear(requests: Requests, beside: str) -> bool:
    attempts = requests.retry.begin("probe", None)
    while True:
        try:
            return _probe(requests, beside)
        except StorageUnavailableError as error:
            if not error.ambiguous:
                raise
            # Harmless here: the next try has a key of its own.
            attempts.wait(error)


def _probe(requests: Requests, beside: str) -> bool:
    scratch = Scratch(requests, beside)
    try:
        honoured = _try_out(requests, scratch)
    except BaseException as error:
        try:
            scratch.remove()
        except StorageError as second:
            # The first failure is the one to tell: mostly both have the same reason.
            error.add_note(f"not removed: {second}")
        raise
    scratch.remove()
    return honoured


def _try_out(requests: Requests, scratch: Scratch) -> bool:
    first, second = memoryview(b"first"), memoryview(b"second")
    if not _accepted(requests, scratch, first, if_absent=True):
        return False
    if _accepted(requests, scratch, second, if_absent=True):
        return False
    return not _accepted(requests, scratch, second, if_match="0" * 32)


def _accepted(
    requests: Requests,
    scratch: Scratch,
    data: memoryview,
    *,
    if_match: str | None = None,
    if_absent: bool = False,
) -> bool:
    try:
        headers = requests.put(scratch.key, data, if_match=if_match, if_absent=if_absent)
    except PreconditionFailedError:
        return False
    except BaseException as error:
        if isinstance(error, StorageError) and _is_not_implemented(error):
            return False
        if not isinstance(error, StorageUnavailableError) or error.ambiguous:
            scratch.perhaps_written()
        raise
    scratch.written(headers)
    return True


def _is_not_implemented(error: StorageError) -> bool:
    # Status 400 alone tells nothing: so are expired tokens and bad bucket names answered, too.
    return error.status == _NOT_IMPLEMENTED or error.code == "NotImplemented"
