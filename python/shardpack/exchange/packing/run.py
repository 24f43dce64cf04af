"""Several jobs of a pack at a time, their results in the order of the jobs."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from shardpack.errors import BulkError
from shardpack.exchange.packing.source import failed
from shardpack.exchange.shard.items import ItemFailure
from shardpack.progress import progress_callback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from shardpack.exchange.packing.jobs import Finished, Job, Workplace
    from shardpack.progress import Progress

__all__ = ["PackRun"]


class _Stopped(Exception):  # noqa: N818 - no error, and never leaves this file
    """The run has failed elsewhere."""


class PackRun:
    """One run: its threads, its progress and what went wrong.

    Args:
        workplace: Where and how the jobs are done.
        concurrency: Jobs at a time.
        progress: Told of the bytes of all jobs together.
        failures: What cannot be packed, by path; files that cannot be read are added.
    """

    def __init__(
        self,
        workplace: Workplace,
        concurrency: int,
        progress: Progress,
        failures: dict[str, str],
    ) -> None:
        self._workplace = workplace
        self._concurrency = concurrency
        self._on_done = progress_callback(progress)
        self._failures = failures
        self._first_error: Exception | None = None
        self._lock = threading.Lock()
        self._total_done = 0
        self._stop = threading.Event()

    def finish(self, jobs: Iterator[Job]) -> list[Finished]:
        """Do all jobs.

        Args:
            jobs: The jobs; not many more are taken than are in work.

        Returns:
            What became of them, in their order.

        Raises:
            BulkError: Something cannot be packed; all other jobs are done.
            StorageError: The store refused; the other jobs were broken off.
        """
        finished: list[Finished] = []
        pending: deque[Future[Finished]] = deque()
        with ThreadPoolExecutor(self._concurrency, "shardpack-pack") as pool:
            try:
                for job in jobs:
                    pending.append(pool.submit(self._do, job))
                    del job
                    # One more than there are threads, so that none waits for the plan.
                    while len(pending) > self._concurrency:
                        self._take(pending.popleft(), finished)
                while pending:
                    self._take(pending.popleft(), finished)
            except BaseException:
                # Before the pool waits for its threads: they stop at the next member.
                self._stop.set()
                for future in pending:
                    future.cancel()
                raise
        if self._failures:
            path, reason = next(iter(self._failures.items()))
            raise BulkError(
                f"{len(self._failures)} of the files cannot be packed, first {path}: {reason}",
                self._failures,
            ) from self._first_error
        return finished

    def pass_over(self, size: int) -> None:
        """Count bytes of items for which nothing needs to be done.

        Args:
            size: How many more.
        """
        with self._lock:
            self._total_done += size
            self._on_done(self._total_done)

    def _take(self, future: Future[Finished], finished: list[Finished]) -> None:
        try:
            finished.append(future.result())
        except ItemFailure as failure:
            self._first_error = self._first_error or failure.error
            failed(self._failures, failure.member_path, failure.error)

    def _do(self, job: Job) -> Finished:
        counted = 0

        def on_done(done: int) -> None:
            nonlocal counted
            if self._stop.is_set():
                raise _Stopped
            with self._lock:
                self._total_done += done - counted
                counted = done
                self._on_done(self._total_done)

        return self._workplace.run(job, on_done)
