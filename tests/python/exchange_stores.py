"""Exchange stores of every kind, for tests that must pass on all of them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import S3Server
    from shardpack.exchange import ExchangeStore

__all__ = ["BASE", "KINDS", "fresh_memory", "make_store"]

BASE = "base/prefix"
KINDS = ["mem", "file", "rclone", "moto"]
_numbers = itertools.count(1)


def fresh_memory(base_prefix: str = "", **options: Any) -> ExchangeStore:
    """A store in memory that nothing else uses."""
    from shardpack.exchange import ExchangeStore

    return ExchangeStore.open(f"mem://exchange-{next(_numbers)}/{base_prefix}", **options)


def make_store(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Give a store of a kind, below a prefix, and take it away again.

    Args:
        kind: One of `KINDS`.
        request: Where the servers come from.
        tmp_path: Where files go.
    """
    from shardpack.exchange import ExchangeStore, S3ExchangeStore

    if kind == "mem":
        yield fresh_memory(BASE)
    elif kind == "file":
        yield ExchangeStore.open(f"file://{tmp_path}/root", base_prefix=BASE)
    else:
        server: S3Server = request.getfixturevalue(f"{kind}_server")
        client = server.client()
        # rclone ignores conditions, which the store must be told that it may live with.
        append: Any = "conditional" if server.conditional_writes else "single-writer"
        with S3ExchangeStore(
            client, server.fresh_bucket(client), base_prefix=BASE, append=append
        ) as store:
            yield store
        client.close()


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ExchangeStore]:
    """A store of each kind."""
    yield from make_store(request.param, request, tmp_path)
