"""Runs of `pack` that left something behind, for tests of what is done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shardpack.exchange.packing.pack import pack

if TYPE_CHECKING:
    from shardpack.exchange.keys import Space

__all__ = ["items", "keys", "killed_before_the_manifest"]


def items(count: int = 6, word: str = "x") -> list[Any]:
    return [{"member_path": f"{n}", "source": f"{word} {n}".encode()} for n in range(count)]


def keys(space: Space) -> set[str]:
    return {info.key for info in space.objects.list()}


def killed_before_the_manifest(space: Space, prefix: str, **options: Any) -> set[str]:
    """A pack that never wrote its manifest; gives what it left."""
    before = keys(space)
    source = items(word=prefix)
    if options.get("loose_above"):
        source.append({"member_path": "large", "source": bytes(100)})
    pack(space, source, prefix, max_entries=2, **options)
    for key in keys(space) - before:
        if key.endswith(".jsonl"):
            space.objects.delete(key)
    return keys(space) - before
