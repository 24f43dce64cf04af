"""What all calls of an exchange store share: where it is, and how its keys are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from shardpack.exchange.keys import (
    Space,
    infer_id_from_key,
    is_manifest_key,
    is_shard_key,
    resolve_template,
)
from shardpack.exchange.scope import ScopedStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shardpack.exchange.manifest.append import AppendMode
    from shardpack.storage.base import ObjectStore

__all__ = ["StoreBase"]

_APPEND_MODES: Final = ("conditional", "listed", "single-writer")


class StoreBase:
    """Where a store lies and how its keys are made; the verbs stand in its subclasses.

    Attributes:
        space: The object store and the prefix under which all keys lie.
        default_vars: Values for the placeholders of key templates.
        infer_id: Makes an identifier of a key that comes without one.
        append: How manifests are appended to: ``"conditional"``, ``"listed"`` or
            ``"single-writer"``.
    """

    def __init__(
        self,
        object_store: ObjectStore,
        *,
        base_prefix: str = "",
        default_vars: Mapping[str, Any] | None = None,
        infer_id: Callable[[str], str] | None = None,
        append: AppendMode = "conditional",
        concurrency: int | None = None,
    ) -> None:
        if append not in _APPEND_MODES:
            raise ValueError(f"append must be one of {', '.join(_APPEND_MODES)}, got {append!r}")
        if concurrency is not None and concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, got {concurrency}")
        self.space = Space(object_store, base_prefix)
        self.default_vars: dict[str, Any] = dict(default_vars or {})
        self.infer_id: Callable[[str], str] = infer_id or infer_id_from_key
        self.append: AppendMode = append
        self._concurrency = concurrency

    @property
    def objects(self) -> ObjectStore:
        """The object store below, for what has no call here."""
        return self.space.objects

    @property
    def base_prefix(self) -> str:
        """The prefix under which all keys lie; ``""`` for the whole store."""
        return self.space.base_prefix

    @property
    def url(self) -> str:
        """Where the store is, without credentials; ``ExchangeStore.open`` takes it."""
        url = self.space.objects.url
        return f"{url.rstrip('/')}/{self.base_prefix}" if self.base_prefix else url

    @property
    def concurrency(self) -> int:
        """How many requests run at once."""
        return self._concurrency or self.space.objects.concurrency

    def scope(self, **vars: Any) -> ScopedStore:  # noqa: A002, ANN401 - a documented name
        """Fix values for key templates.

        Args:
            **vars: Values by name.
        """
        return ScopedStore(self, vars)

    def is_manifest(self, key: str) -> bool:
        """Tell whether a key is that of a manifest, by its extension.

        Args:
            key: The key.
        """
        return is_manifest_key(key)

    def is_shard(self, key: str) -> bool:
        """Tell whether a key is that of a shard archive, by its extension.

        Args:
            key: The key.
        """
        return is_shard_key(key)

    def close(self) -> None:
        """Do nothing: connections belong to the process and close when they are idle."""

    def _resolve_key(
        self,
        template: str,
        vars: Mapping[str, Any] | None = None,  # noqa: A002 - a documented name
    ) -> str:
        return self.space.full(resolve_template(template, vars or {}, self.default_vars))

    def __repr__(self) -> str:
        prefix = f", base_prefix={self.base_prefix!r}" if self.base_prefix else ""
        return f"{type(self).__name__}({self.space.objects.url!r}{prefix})"
