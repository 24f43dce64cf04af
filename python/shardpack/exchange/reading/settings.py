"""The settings that all parts of an iteration share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from shardpack.errors import (
    AccessDeniedError,
    IntegrityError,
    ObjectNotFoundError,
    ShardReadError,
    UnsafePathError,
)

if TYPE_CHECKING:
    from shardpack.exchange.keys import Space
    from shardpack.exchange.reading.left_out_log import LeftOutLog

__all__ = ["SKIPPED", "OnError", "Reading"]

OnError = Literal["raise", "skip"]
# What is wrong with one object or archive alone. A store that cannot be reached, or a manifest
# that cannot be read, ends the iteration in any case.
SKIPPED = (
    AccessDeniedError,
    IntegrityError,
    ObjectNotFoundError,
    ShardReadError,
    UnsafePathError,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """How an iteration reads.

    Attributes:
        space: The store and the prefix of its keys.
        verify: Compare with digests; sizes are compared in any case.
        on_error: ``"raise"``, or ``"skip"`` to leave out what cannot be read.
        left_out: Told of members of shards that are no files.
    """

    space: Space
    verify: bool = True
    on_error: OnError = "raise"
    left_out: LeftOutLog | None = None

    def may_skip(self, error: BaseException) -> bool:
        """Tell whether an error is that of one object, and such are left out.

        Args:
            error: The error.
        """
        return self.on_error == "skip" and isinstance(error, SKIPPED)
