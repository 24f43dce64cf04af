"""Keys made from templates whose variables are partly fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shardpack.exchange.calls.base import StoreBase

__all__ = ["ScopedStore"]


class ScopedStore:
    """A store with values for the placeholders of key templates, as ``store.scope`` gives it.

    Args:
        store: The store.
        vars: Values by name; they stand above the store's ``default_vars``.

    Example:
        >>> from shardpack.exchange import ExchangeStore
        >>> runs = ExchangeStore.open("mem://scopes/data").scope(run=7, prefix="runs/7")
        >>> runs.key("{run}/{split}.bin", split="train")
        'data/7/train.bin'
        >>> runs.manifest_key("samples")
        'data/runs/7/samples/manifest.jsonl'
    """

    def __init__(self, store: StoreBase, vars: Mapping[str, Any]) -> None:  # noqa: A002
        self._store = store
        self._vars = dict(vars)

    def key(self, template: str, **vars: Any) -> str:  # noqa: A002, ANN401 - a documented name
        """Make a key of a template.

        Args:
            template: Text with ``{placeholders}``.
            **vars: More values; they stand above those of the scope.

        Returns:
            The full key, with the base prefix of the store.

        Raises:
            MissingPlaceholderError: A placeholder has no value.
        """
        return self._store._resolve_key(template, {**self._vars, **vars})  # noqa: SLF001

    def manifest_key(self, name: str) -> str:
        """Give the usual key of a manifest, ``{prefix}/NAME/manifest.jsonl``.

        Args:
            name: Name of the manifest; it may hold placeholders too.

        Raises:
            MissingPlaceholderError: The scope has no variable ``prefix``.
        """
        return self.key(f"{{prefix}}/{name}/manifest.jsonl")

    def shard_prefix(self, name: str) -> str:
        """Give the usual prefix of the shards of a manifest, ``{prefix}/NAME/shards``.

        Args:
            name: Name of the manifest; it may hold placeholders too.

        Raises:
            MissingPlaceholderError: The scope has no variable ``prefix``.
        """
        return self.key(f"{{prefix}}/{name}/shards")

    def __repr__(self) -> str:
        return f"{self._store!r}.scope({', '.join(f'{k}={v!r}' for k, v in self._vars.items())})"
