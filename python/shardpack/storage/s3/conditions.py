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

if TYPE_CHECKING:
    from shardpack.storage.s3.requests import Requests

__all__ = ["honours_conditions", "scratch_key"]

_SCRATCH = ".shardpack-probe/"
# By process, endpoint and bucket: an answer of another process may be about another server.
_KNOWN: dict[tuple[int, str, str], bool] = {}
_NOT_IMPLEMENTED = frozenset({400, 405, 501})


def scratch_key() -> str:
    """Give a key for an object that is written to try something out, never the same twice."""
    return _SCRATCH + os.urandom(12).hex()


def honours_conditions(requests: Requests) -> bool:
    """Tell whether a bucket's server honours ``If-Match`` and ``If-None-Match`` on writes.

    The first question writes a scratch object under ``.shardpack-probe/`` and removes it.

    Args:
        requests: How requests are sent.
    """
    place = (os.getpid(), requests.endpoint_url, requests.bucket)
    known = _KNOWN.get(place)
    if known is None:
        try:
            known = _probe_until_clear(requests)
        except AccessDeniedError:
            if not requests.on_aws:
                raise
            # These credentials may not write there; what AWS does is known.
            known = True
        _KNOWN[place] = known
    return known


def _probe_until_clear(requests: Requests) -> bool:
    attempts = requests.retry.begin("probe", None)
    while True:
        try:
            return _probe(requests)
        except StorageUnavailableError as error:
            if not error.ambiguous:
                raise
            # Harmless here: the next try has a key of its own.
            attempts.wait(error)


def _probe(requests: Requests) -> bool:
    key = scratch_key()
    try:
        honoured = _try_out(requests, key)
    except StorageError as error:
        if not isinstance(error, StorageUnavailableError) or error.ambiguous:
            try:
                requests.call("delete", key, "delete_object")
            except StorageError as second:
                # The first failure is the one to tell: mostly both have the same reason.
                error.add_note(f"not removed: {second}")
        raise
    requests.call("delete", key, "delete_object")
    return honoured


def _try_out(requests: Requests, key: str) -> bool:
    first, second = memoryview(b"first"), memoryview(b"second")
    if not _accepted(requests, key, first, if_absent=True):
        return False
    if _accepted(requests, key, second, if_absent=True):
        return False
    return not _accepted(requests, key, second, if_match="0" * 32)


def _accepted(
    requests: Requests,
    key: str,
    data: memoryview,
    *,
    if_match: str | None = None,
    if_absent: bool = False,
) -> bool:
    try:
        requests.put(key, data, if_match=if_match, if_absent=if_absent)
    except PreconditionFailedError:
        return False
    except StorageError as error:
        if error.status in _NOT_IMPLEMENTED:
            return False
        raise
    return True
