"""Whether a client is botocore's own, or somebody has laid hands on it who must be heard."""

from __future__ import annotations

import os
import warnings
from types import FunctionType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shardpack.storage.s3.client import Argument, Client

__all__ = ["Handlers", "carry_over"]

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
                    if not _is_of_botocore(handler):
                        return False
        return True


class _Registered(NamedTuple):
    """A handler in its place.

    Attributes:
        event: Name of the event, or the beginning of several.
        section: 0 for those that come first, 1, and 2 for those that come last.
        handler: The handler.
    """

    event: str
    section: int
    handler: Argument

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells whether another client has it too."""
        handler = self.handler
        if not _is_of_botocore(handler):
            return (self.event, self.section, id(handler))
        # Each client has methods of objects of its own.
        name = getattr(handler, "__qualname__", type(handler).__qualname__)
        return (self.event, self.section, handler.__module__, name)


def carry_over(inherited: Client, made: Client) -> None:
    """Let a client that was made after a fork hear whoever listened to the one before.

    That is: handlers that are not botocore's own, and those functions of botocore that somebody
    switched on or off, such as ``disable_signing``. It may be done again.

    Args:
        inherited: The client of the parent process.
        made: The one that takes its place.
    """
    replaced = sorted(_METHODS.intersection(getattr(inherited, "__dict__", {})))
    if replaced:
        warnings.warn(
            f"after a fork the S3 client is another one, without what replaces its"
            f" {', '.join(replaced)}: make client and store in the child",
            RuntimeWarning,
            stacklevel=2,
        )
    try:
        _carry_over(inherited.meta.events, made.meta.events)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # There is no public list of handlers, and this is not the private one that is known.
        warnings.warn(
            f"after a fork the S3 client is another one, and event handlers of the first cannot be"
            f" found ({error}): make client and store in the child",
            RuntimeWarning,
            stacklevel=2,
        )


def _carry_over(inherited: Argument, made: Argument) -> None:
    # Names of events are those that the emitter behind any aliases has.
    source: Argument = getattr(inherited, "_emitter", inherited)
    target: Argument = getattr(made, "_emitter", made)
    before, after = list(_registered(source)), list(_registered(target))
    there = {one.identity for one in after}
    named = dict(source._unique_id_handlers)  # noqa: SLF001
    add = (target.register_first, target.register, target.register_last)
    for one in before:
        if one.identity not in there and _matters(one):
            add[one.section](one.event, one.handler, **_take_name(one.handler, named))
    kept = {one.identity for one in before}
    for one in after:
        if one.identity not in kept and _is_switched_on_for_all(one):
            target.unregister(one.event, one.handler)


def _take_name(handler: Argument, named: dict[str, dict[str, Argument]]) -> dict[str, Argument]:
    """Give the name by which a handler can be taken away, as arguments; each is given once."""
    for name, item in named.items():
        if item["handler"] is handler:
            del named[name]
            return {"unique_id": name, "unique_id_uses_count": "count" in item}
    return {}


def _registered(emitter: Argument) -> Iterator[_Registered]:
    nodes: list[tuple[tuple[str, ...], Argument]] = [((), emitter._handlers._root)]  # noqa: SLF001
    while nodes:
        path, node = nodes.pop()
        for section, handlers in enumerate(node["values"] or ()):
            for handler in handlers:
                yield _Registered(".".join(path), section, handler)
        nodes += [((*path, part), child) for part, child in node["children"].items()]


def _matters(one: _Registered) -> bool:
    """Tell whether a handler that the new client lacks was somebody's wish."""
    if not _is_of_botocore(one.handler):
        return True
    # The rest is about how clients are made.
    return isinstance(one.handler, FunctionType) and one.event.partition(".")[0] in _EVENTS


def _is_switched_on_for_all(one: _Registered) -> bool:
    from botocore.handlers import BUILTIN_HANDLERS

    return any(one.handler is builtin[1] for builtin in BUILTIN_HANDLERS)


def _is_of_botocore(handler: Argument) -> bool:
    module = str(getattr(handler, "__module__", ""))
    return module.partition(".")[0] in _OWN_MODULES and module != "botocore.stub"


def _is_own(call: Argument) -> bool:
    """Tell whether the function that all calls go through is the one that botocore wrote."""
    from botocore.session import Session

    if not isinstance(call, FunctionType):
        return False
    # A wrapper may have the name and module of what it wraps; its code is its own.
    folder = os.path.dirname(Session.__init__.__code__.co_filename)
    return call.__code__.co_filename.startswith(os.path.join(folder, ""))
