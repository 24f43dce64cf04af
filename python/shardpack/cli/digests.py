"""Digests of many files: side by side, given in order."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from shardpack._native import thread_count
from shardpack.cli.console import EXPECTED_ERRORS
from shardpack.cli.inputs import STANDARD, standard_input
from shardpack.hash import file, new

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from concurrent.futures import Executor, Future

    from shardpack.cli.digest_lines import DigestLine

__all__ = ["DigestTask", "iter_digests"]

# One file of these keeps all cores busy; one of the others keeps one.
_PARALLEL = frozenset({"blake3", "crc32c"})
_SMALL_BYTES = 1 << 20
_AHEAD_PER_THREAD = 8
_PIECE_BYTES = 4 << 20


class DigestTask(NamedTuple):
    """One digest to make.

    Attributes:
        name: The file, ``-`` for standard input.
        algorithm: Which digest.
        size: Length of the file in bytes, 0 if unknown.
        line: What the digest should be, if that is known.
        error: Why there will be none.
    """

    name: str
    algorithm: str
    size: int = 0
    line: DigestLine | None = None
    error: BaseException | None = None

    @property
    def leaves_cores_idle(self) -> bool:
        """Whether others should be done beside it. What is no regular file may take for ever."""
        return self.size > 0 and (self.algorithm not in _PARALLEL or self.size <= _SMALL_BYTES)


class _StoppedError(Exception):
    """Nobody waits for the digest any more."""


def iter_digests(
    tasks: Iterable[DigestTask],
    *,
    threads: int | None,
    bar: Any,  # noqa: ANN401 - a tqdm bar
) -> Generator[tuple[DigestTask, bytes | BaseException], None, None]:
    """Make digests.

    Args:
        tasks: What to do; taken a bounded number ahead.
        threads: Threads to work with; by default see ``thread_count``.
        bar: Where to report progress, or ``None``.

    Yields:
        Every task in its turn, with the digest or what went wrong.
    """
    from concurrent.futures import ThreadPoolExecutor

    workers = thread_count() if threads is None else threads
    meter = _Meter(bar)
    waiting: deque[tuple[DigestTask, Future[bytes | BaseException]]] = deque()
    executor: Executor | None = None

    def finished(left: int) -> Iterator[tuple[DigestTask, bytes | BaseException]]:
        while len(waiting) > left:
            task, future = waiting.popleft()
            yield task, future.result()

    try:
        for task in tasks:
            if workers > 1 and task.error is None and task.leaves_cores_idle:
                executor = executor or ThreadPoolExecutor(workers)
                waiting.append((task, executor.submit(_digest, task, threads, meter)))
                yield from finished(_AHEAD_PER_THREAD * workers)
            else:
                yield from finished(0)
                yield task, _digest(task, threads, meter)
        yield from finished(0)
    finally:
        meter.stop()
        if executor is not None:
            executor.shutdown(cancel_futures=True)


class _Meter:
    """Progress of all files together, and a way to stop them."""

    def __init__(self, bar: Any) -> None:  # noqa: ANN401 - a tqdm bar
        self._bar = bar
        self._lock = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def of_one_file(self) -> Callable[[int], None]:
        before = 0

        def report(done: int) -> None:
            nonlocal before
            if self._stopped:
                raise _StoppedError
            if self._bar is not None:
                with self._lock:
                    self._bar.update(done - before)
            before = done

        return report


def _digest(task: DigestTask, threads: int | None, meter: _Meter) -> bytes | BaseException:
    if task.error is not None:
        return task.error
    try:
        if task.name == STANDARD:
            return _digest_standard_input(task.algorithm, meter.of_one_file())
        return file(task.name, task.algorithm, progress=meter.of_one_file(), threads=threads)
    except EXPECTED_ERRORS as error:
        return error


def _digest_standard_input(algorithm: str, on_done: Callable[[int], None]) -> bytes:
    hasher = new(algorithm)
    piece = memoryview(bytearray(_PIECE_BYTES))
    done = 0
    with standard_input() as stream:
        # `readinto` of a raw stream: gives what is there, and a pipe never fills a whole piece.
        while count := stream.readinto(piece):  # type: ignore[attr-defined]
            hasher.update(piece[:count])
            done += count
            on_done(done)
    if count is None:
        raise BlockingIOError("standard input is in non-blocking mode and has no bytes yet")
    return hasher.digest()
