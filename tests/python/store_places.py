"""Every kind of store, empty, for tests that all of them must pass."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from servers import SERVERS, S3Server
from shardpack.storage import FileStore, MemoryStore, RetryPolicy, S3Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from shardpack.storage import ObjectStore

__all__ = ["PLACES", "Place", "make_place"]

PLACES = ["memory", "file", *SERVERS]
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Place:
    """A store and what may be asked of it.

    Attributes:
        name: ``"memory"``, ``"file"``, or that of the S3 server.
        store: The store, empty at first.
        conditional_writes: It honours conditions on writes.
        tags: Its objects have ETags; without them ``if_match`` on reads is not looked at.
        copies_replace: Metadata given to a copy replaces that of the source.
        folder_keys: A key and another one below it may exist side by side.
        shared: Other processes see the same objects.
        server: The S3 server.
        many: How many objects a test may make without taking long.
    """

    name: str
    store: ObjectStore
    conditional_writes: bool = True
    tags: bool = True
    copies_replace: bool = True
    folder_keys: bool = True
    shared: bool = True
    server: S3Server | None = None
    many: int = 2300

    @property
    def folder(self) -> Path | None:
        """The folder that the objects are in, below their keys."""
        if isinstance(self.store, FileStore):
            return Path(self.store.root)
        if self.server is None or self.server.folder is None:
            return None
        return self.server.folder / self.store.url.removeprefix("s3://")

    @property
    def is_s3(self) -> bool:
        return self.server is not None


@pytest.fixture(scope="session")
def s3_clients() -> Iterator[dict[str, Any]]:
    """One client for each server: making one takes longer than most tests."""
    clients: dict[str, Any] = {}
    yield clients
    for client in clients.values():
        client.close()


def make_place(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Make an empty store of a kind."""
    if name == "memory":
        store = MemoryStore(f"place-{next(_numbers)}")
        return Place(name, store, shared=False)
    if name == "file":
        return Place(name, FileStore(tmp_path / "store"), folder_keys=False)
    server: S3Server = request.getfixturevalue(f"{name}_server")
    clients: dict[str, Any] = request.getfixturevalue("s3_clients")
    if name not in clients:
        clients[name] = server.client()
    bucket = server.fresh_bucket(clients[name])
    return Place(
        name,
        S3Store(
            clients[name],
            bucket,
            concurrency=8,
            part_size=5 << 20,
            # What these servers fail at they fail at forever.
            retry=RetryPolicy(attempts=3, first_wait_s=0.05),
        ),
        conditional_writes=server.conditional_writes,
        tags=server.tags,
        copies_replace=server.copies_replace,
        folder_keys=server.folder_keys,
        server=server,
        many=1060,
    )


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Each kind of store that exists here, one after the other."""
    return make_place(request.param, request, tmp_path)
