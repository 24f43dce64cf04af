"""One pass over an archive by several threads: one receives, one decodes, one takes it apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from shardpack.exchange.reading.prefetch import Prefetcher, Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shardpack.exchange.reading.prefetch import Lane

__all__ = ["AHEAD_BYTES", "ReadAhead"]

# Pieces that wait between two threads; most have one mebibyte.
_WAITING_BYTES: Final = 3 << 20

AHEAD_BYTES: Final = 2 * _WAITING_BYTES
"""What waits between all threads of a pass."""


class ReadAhead:
    """Threads that read pieces ahead, see ``iter_archive``, until they are told to end.

    Args:
        lane: Of the task that they work for; closing it interrupts them.
    """

    def __init__(self, lane: Lane[Any]) -> None:
        self._lane = lane
        self._stages: list[Prefetcher[bytes]] = []

    def __call__(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Read pieces ahead.

        Args:
            pieces: The pieces.

        Returns:
            The same pieces; what reading them raises is raised in its place.

        Raises:
            IterationClosedError: The iteration is over, raised in the place of the next piece.
        """

        def run(lane: Lane[bytes]) -> None:
            for piece in pieces:
                lane.put(piece, len(piece))

        stage = Prefetcher([Task(run)], concurrency=1, budget=_WAITING_BYTES)
        self._stages.append(stage)
        self._lane.on_close(self._cancel)
        return self._given(stage)

    def _given(self, stage: Prefetcher[bytes]) -> Iterator[bytes]:
        yield from stage
        # A stage that was interrupted ends like one that has given all.
        self._lane.check()

    def close(self) -> None:
        """End the threads."""
        self._lane.on_close(None)
        # All of them before any is waited for: each waits for the one before it.
        self._cancel()
        for stage in self._stages:
            stage.close()

    def _cancel(self) -> None:
        for stage in self._stages:
            stage.cancel()
