"""What time it is for a store: objects are dated by its clock, not by that of whoever asks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from shardpack.storage.base import ObjectStore

__all__ = ["Clock", "time_of"]


@runtime_checkable
class Clock(Protocol):
    """A store whose clock is another than that of this machine."""

    def server_time(self) -> datetime | None:
        """Ask what time it is, with a time zone; ``None`` where the server does not say."""


def time_of(objects: ObjectStore) -> datetime:
    """Tell what time it is for a store, to compare with ``last_modified`` of its objects.

    Args:
        objects: The store. One without a clock of its own has that of this machine.

    Raises:
        StorageError: The store cannot be asked.
    """
    told = objects.server_time() if isinstance(objects, Clock) else None
    return datetime.now(UTC) if told is None else told
