"""moto's server with writes that are one step.

``python atomic_moto.py [--switch-interval SECONDS] -H HOST -p PORT``

moto 5.2 compares ``If-Match`` with the object that is there, and puts the new one in its place some
forty lines later, in threads that share no lock. Where the system takes the processor away from it
in between, two writers replace one version, and both are told that they did. Its ETag of an object
comes from a file whose position all threads move.
"""

from __future__ import annotations

import functools
import sys
import threading
from typing import TYPE_CHECKING, Any

from moto.s3.models import FakeKey
from moto.s3.responses import S3Response
from moto.server import main

if TYPE_CHECKING:
    from collections.abc import Callable

__all__: list[str] = []

#: What changes objects. Requests have arrived whole before it is called, so that a client that
#: stops in the middle of one holds up nobody.
_CHANGES = ("_key_response_put", "_key_response_post", "_key_response_delete")


def _one_at_a_time(method: Callable[..., Any], lock: threading.RLock) -> Callable[..., Any]:
    @functools.wraps(method)
    def locked(*arguments: Any, **named: Any) -> Any:
        with lock:
            return method(*arguments, **named)

    return locked


def _etag(key: Any) -> str:
    # The lock of its value.
    with key.lock:
        etag: str = _unlocked_etag(key)
        return etag


_key_class: Any = FakeKey
_unlocked_etag = _key_class.etag.fget

if __name__ == "__main__":
    if sys.argv[1] == "--switch-interval":
        sys.setswitchinterval(float(sys.argv[2]))
        del sys.argv[1:3]
    changing = threading.RLock()
    for name in _CHANGES:
        setattr(S3Response, name, _one_at_a_time(getattr(S3Response, name), changing))
    _key_class.etag = property(_etag)
    main()
