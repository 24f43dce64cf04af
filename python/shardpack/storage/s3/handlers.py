"""Whether a client is botocore's own, or somebody has laid hands on it who must be heard."""

from __future__ import annotations

import os
from types import FunctionType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shardpack.storage.s3.client import Argument, Client

__all__ = ["Handlers"]

_OPERATIONS = ("GetObject", "HeadObject", "PutObject", "UploadPart")
_METHODS = frozenset({"_make_api_call", "get_object", "head_object", "put_object", "upload_part"})
_EVENTS = (
    "provide-client-params",
    "before-parameter-build",
    "before-call",
    "request-created",
    "choose-signer",
    "before-sign",
    "before-send",
    "response-received",
    "needs-retry",
    "after-call",
)
_OWN_MODULES = frozenset({"boto3", "botocore", "s3transfer"})


class Handlers:
    """Who takes part in the requests of a client: only botocore itself, or others.

    Others are handlers of events, and whatever stands in place of the client's methods: tests do
    that so that nothing reaches the network, and tracers so that they see each call. botocore has
    no public list of its handlers. Where its private one is not found, others are assumed.

    Args:
        client: The client.
    """

    def __init__(self, client: Client) -> None:
        emitter = client.meta.events
        self._emitter = getattr(emitter, "_emitter", emitter)
        self._kind = type(client)
        self._own = getattr(client, "__dict__", {})
        # What was looked at last and what came out, together: botocore replaces its cache of
        # handlers with each change, and a patch replaces the method.
        self._seen: tuple[object, object, bool] = (None, None, False)

    def are_plain(self) -> bool:
        """Tell whether nobody else takes part."""
        cache = getattr(self._emitter, "_lookup_cache", None)
        call = getattr(self._kind, "_make_api_call", None)
        known_cache, known_call, plain = self._seen
        if cache is not known_cache or call is not known_call or cache is None:
            plain = cache is not None and _is_own(call) and self._are_own()
            self._seen = (cache, call, plain)
        return plain and _METHODS.isdisjoint(self._own)

    def _are_own(self) -> bool:
        search = getattr(getattr(self._emitter, "_handlers", None), "prefix_search", None)
        if search is None:
            return False
        for operation in _OPERATIONS:
            for event in _EVENTS:
                for handler in search(f"{event}.s3.{operation}"):
                    module = str(getattr(handler, "__module__", ""))
                    package = module.partition(".")[0]
                    if package not in _OWN_MODULES or module == "botocore.stub":
                        return False
        return True


def _is_own(call: Argument) -> bool:
    """Tell whether the function that all calls go through is the one that botocore wrote."""
    from botocore.session import Session

    if not isinstance(call, FunctionType):
        return False
    # A wrapper may have the name and module of what it wraps; its code is its own.
    folder = os.path.dirname(Session.__init__.__code__.co_filename)
    return call.__code__.co_filename.startswith(os.path.join(folder, ""))
