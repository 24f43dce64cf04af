"""Run tasks in threads ahead of their consumer, within a budget of bytes.

An iteration owns its threads: they start when the first value is asked for, as many as there is
work for, and end with it, whichever way it ends: at the last value, at an error, when it is closed,
when it is collected as garbage, and when the interpreter exits. A task that fails fails the
iteration at the place where its values would have come, not before.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Self

__all__ = ["IterationClosedError", "Lane", "Prefetcher", "Task", "map_ahead"]

T = TypeVar("T")
S = TypeVar("S")

# A waiting thread looks up this often: whoever closes an iteration from inside the garbage
# collector cannot take the lock that it would need to wake the others.
_LOOK_UP_S = 1.0
# How long closing waits for requests that are under way; after that they end on their own.
_JOIN_S = 10.0


class IterationClosedError(Exception):
    """Raised inside a task whose values nobody waits for any more."""


@dataclass(slots=True)
class Task(Generic[T]):
    """Work that gives any number of values.

    Attributes:
        run: Called in a thread with the lane that takes the values.
        cost: Bytes that it needs from its start on; it is not started before they are free.
    """

    run: Callable[[Lane[T]], None]
    cost: int = 0


class _Slot(Generic[T]):
    """What a task has given and not yet been asked for."""

    __slots__ = ("credit", "error", "finished", "interrupt", "values")

    def __init__(self) -> None:
        self.values: deque[tuple[T, int]] = deque()
        self.credit = 0
        self.error: BaseException | None = None
        self.finished = False
        self.interrupt: Callable[[], object] | None = None

    @property
    def is_ready(self) -> bool:
        return bool(self.values) or self.error is not None

    @property
    def is_spent(self) -> bool:
        return self.finished and not self.is_ready


class Lane(Generic[T]):
    """Where a running task leaves its values. Only the thread of the task may use it."""

    __slots__ = ("_engine", "_slot")

    def __init__(self, engine: _Engine[T], slot: _Slot[T]) -> None:
        self._engine = engine
        self._slot = slot

    @property
    def closed(self) -> bool:
        """Whether the iteration is over, so that what is left of the task is in vain."""
        return self._engine.closed

    def check(self) -> None:
        """Stop here if the iteration is over.

        Raises:
            IterationClosedError: It is.
        """
        if self._engine.closed:
            raise IterationClosedError

    def reserve(self, size: int) -> None:
        """Wait until the budget has room for more bytes, or the consumer for this very task.

        Args:
            size: Bytes, on top of what the task has reserved so far.

        Raises:
            IterationClosedError: The iteration is over.
        """
        self._engine.reserve(self._slot, size)

    def give_back(self, size: int) -> None:
        """Return bytes that were reserved and are not needed.

        Args:
            size: Bytes.

        Raises:
            ValueError: More than are left of what was reserved.
        """
        self._engine.give_back(self._slot, size)

    def put(self, value: T, cost: int = 0) -> None:
        """Leave a value for the consumer.

        Args:
            value: The value.
            cost: Bytes that it holds, taken from what was reserved; more is reserved where that
                is not enough. They are free again when the consumer asks for the next value.

        Raises:
            IterationClosedError: The iteration is over.
        """
        if cost > self._slot.credit:
            self.reserve(cost - self._slot.credit)
        self._engine.put(self._slot, value, cost)

    def on_close(self, call: Callable[[], object] | None) -> None:
        """Name what interrupts the task when the iteration is closed, such as closing a stream.

        Args:
            call: Called from another thread; ``None`` takes it back.
        """
        self._slot.interrupt = call
        if call is not None and self._engine.closed:
            call()


class _Engine(Generic[T]):
    """What the threads of an iteration share.

    It does not know the iterator, which can therefore be collected while they run.
    """

    def __init__(
        self,
        tasks: Iterator[Task[T]],
        *,
        concurrency: int,
        budget: int,
        lookahead: int,
        ordered: bool,
        on_close: Callable[[], object] | None,
    ) -> None:
        self.closed = False
        self._told = False
        self._process = os.getpid()
        self._tasks = tasks
        self._concurrency = concurrency
        self._budget = budget
        self._lookahead = lookahead
        self._ordered = ordered
        self._on_close = on_close
        # Tasks are taken one after another, so that their order is that of the slots.
        self._feed = threading.Lock()
        # Entered by itself, not through the condition, whose `__enter__` is Python code: an
        # interrupt that strikes in there leaves the lock taken, and every thread waiting for it.
        self._lock = threading.RLock()
        # What the threads wait for: room, the end. The consumer has a bell of its own.
        self._changed = threading.Condition(self._lock)
        self._bell = threading.Lock()
        self._bell.acquire()
        self._asleep = False
        self._slots: deque[_Slot[T]] = deque()
        self._held = 0
        self._delivered = 0
        # The consumer has found nothing, and will until a task gives something.
        self._waiting = False
        self._exhausted = False
        self._workers: set[threading.Thread] = set()
        # Workers that wait to take a task.
        self._idle = 0
        # Those that have left the workers may still be on their way out.
        self._threads: list[threading.Thread] = []

    # --- the consumer -----------------------------------------------------------------------

    def next(self) -> T:
        if self._process != os.getpid():
            raise RuntimeError(
                f"the iteration belongs to process {self._process}; begin another one after a fork"
            )
        try:
            found = self._next_found()
        except BaseException:
            self._unlock()
            self.close()
            raise
        if not isinstance(found, BaseException):
            return found[0]
        self.close()
        try:
            raise found
        finally:
            # The traceback would keep the error alive in a circle.
            del found

    def _next_found(self) -> tuple[T, int] | BaseException:
        """Wait for the next value and its cost, or for the error in its place."""
        while True:
            with self._lock:
                self._waiting = self._asleep = False
                self._release_delivered()
                slot = self._ready_slot()
                if slot is not None:
                    return self._taken_from(slot)
                if self.closed or (self._exhausted and not self._slots):
                    raise StopIteration
                if not self._workers:
                    self._add_worker()
                # It may have been rung after the last sleep had ended by itself.
                self._bell.acquire(blocking=False)
                self._waiting = self._asleep = True
                self._changed.notify_all()
            self._bell.acquire(timeout=_LOOK_UP_S)

    def _taken_from(self, slot: _Slot[T]) -> tuple[T, int] | BaseException:
        if not slot.values:
            assert slot.error is not None  # noqa: S101 - a ready slot has a value or an error
            return slot.error
        found = slot.values.popleft()
        self._delivered = found[1]
        return found

    def _ring(self) -> None:
        """Wake the consumer; the caller holds the lock."""
        if self._asleep:
            self._asleep = False
            self._bell.release()

    def _unlock(self) -> None:
        """Give back what an interrupt left taken between the lock and the block that it guards."""
        while self._lock._is_owned():  # type: ignore[attr-defined] # noqa: SLF001 - there is no other way to ask
            self._lock.release()

    def _release_delivered(self) -> None:
        if self._delivered:
            self._held -= self._delivered
            self._delivered = 0
            self._changed.notify_all()

    def _ready_slot(self) -> _Slot[T] | None:
        """The slot whose value or error comes next; slots that are empty for good are removed."""
        while self._slots and self._slots[0].is_spent:
            self._slots.popleft()
            self._changed.notify_all()
        if not self._slots:
            return None
        if self._ordered:
            head = self._slots[0]
            return head if head.is_ready else None
        for slot in self._slots:
            if slot.is_ready:
                return slot
        return None

    # --- the threads ------------------------------------------------------------------------

    def _add_worker(self) -> None:
        if self.closed or len(self._workers) >= self._concurrency:
            return
        thread = threading.Thread(target=self._work, name="shardpack-prefetch", daemon=True)
        # Noted first: an interrupt while it starts must not leave it running unknown.
        self._workers.add(thread)
        self._threads.append(thread)
        try:
            thread.start()
        except RuntimeError:
            # The system gives no more threads: those that run do the work.
            self._threads.remove(thread)
            self._workers.discard(thread)
            if not self._workers:
                raise

    def _work(self) -> None:
        try:
            while (taken := self._take()) is not None:
                self._run(*taken)
                # The next wait must not keep what the last task held.
                del taken
        finally:
            with self._lock:
                self._workers.discard(threading.current_thread())
                last = not self._workers
                self._ring()
            if last and (self.closed or self._exhausted):
                self._close_tasks()

    def _close_tasks(self) -> None:
        with self._lock:
            tasks, self._tasks = self._tasks, iter(())
        close = getattr(tasks, "close", None)
        if close is not None:
            close()

    def _take(self) -> tuple[_Slot[T], Task[T]] | None:
        with self._lock:
            self._idle += 1
        with self._feed:
            with self._lock:
                self._idle -= 1
                while len(self._slots) >= self._lookahead and not self.closed:
                    self._changed.wait(_LOOK_UP_S)
                if self.closed or self._exhausted:
                    return None
            slot = _Slot[T]()
            try:
                task = next(self._tasks)
            except StopIteration:
                with self._lock:
                    self._exhausted = True
                    self._ring()
                return None
            except BaseException as error:  # noqa: BLE001 - it is raised where the consumer is
                self._fail(slot, error)
                return None
            with self._lock:
                self._slots.append(slot)
                if not self._idle:
                    # Where the budget is the limit, a few threads do, and each has memory of its
                    # own that the allocator keeps for it.
                    self._add_worker()
            try:
                self.reserve(slot, task.cost)
            except IterationClosedError:
                return None
            return slot, task

    def _fail(self, slot: _Slot[T], error: BaseException) -> None:
        """End the tasks with an error in the place of the next one."""
        with self._lock:
            slot.error = error
            slot.finished = True
            self._slots.append(slot)
            self._exhausted = True
            self._ring()

    def _run(self, slot: _Slot[T], task: Task[T]) -> None:
        error: BaseException | None = None
        try:
            task.run(Lane(self, slot))
        except IterationClosedError:
            pass
        except BaseException as failure:  # noqa: BLE001 - it is raised where the consumer is
            # What a task meets because its stream was closed under it is no failure.
            error = None if self.closed else failure
        with self._lock:
            slot.interrupt = None
            slot.error = error
            slot.finished = True
            self._held -= slot.credit
            slot.credit = 0
            if not self._ordered and slot.is_spent and slot in self._slots:
                self._slots.remove(slot)
            self._changed.notify_all()
            self._ring()

    # --- the budget -------------------------------------------------------------------------

    def reserve(self, slot: _Slot[T], size: int) -> None:
        with self._lock:
            while not self.closed and not self._has_room(slot, size):
                self._changed.wait(_LOOK_UP_S)
            if self.closed:
                raise IterationClosedError
            self._held += size
            slot.credit += size

    def _has_room(self, slot: _Slot[T], size: int) -> bool:
        if self._held + size <= self._budget:
            return True
        # Whoever the consumer waits for goes on, or nothing would ever move again.
        return (
            self._waiting
            and bool(self._slots)
            and slot is self._slots[0]
            and self._ready_slot() is None
        )

    def give_back(self, slot: _Slot[T], size: int) -> None:
        with self._lock:
            if size > slot.credit:
                raise ValueError(f"{size} bytes to give back, {slot.credit} reserved")
            slot.credit -= size
            self._held -= size
            self._changed.notify_all()

    def put(self, slot: _Slot[T], value: T, cost: int) -> None:
        with self._lock:
            if self.closed:
                raise IterationClosedError
            slot.credit -= cost
            slot.values.append((value, cost))
            if not self._ordered or slot is self._slots[0]:
                self._ring()

    # --- the end ----------------------------------------------------------------------------

    def cancel(self) -> None:
        """Tell everybody that it is over. Safe inside the garbage collector: it waits for none."""
        if self._told or self._process != os.getpid():
            return
        self.closed = True
        if self._lock.acquire(blocking=False):
            try:
                self._changed.notify_all()
                self._ring()
            finally:
                self._lock.release()
        for slot in list(self._slots):
            interrupt = slot.interrupt
            if interrupt is not None:
                interrupt()
        if self._on_close is not None:
            self._on_close()
        # Not before: what an interrupt cut short here is done again by the next call.
        self._told = True

    def close(self) -> None:
        """Cancel, and wait for the threads."""
        if self._process != os.getpid():
            return
        try:
            self.cancel()
            self._join()
        except BaseException:
            self._unlock()
            raise

    def _join(self) -> None:
        deadline = time.monotonic() + _JOIN_S
        with self._lock:
            # One whose start was interrupted may never begin, and finds it closed if it does.
            self._workers = {thread for thread in self._workers if thread.ident is not None}
            threads = [thread for thread in self._threads if thread.is_alive()]
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            self._slots.clear()
            idle = not self._workers
        if idle:
            self._close_tasks()


class Prefetcher(Generic[T]):
    """An iterator over the values of tasks that run ahead of it in threads.

    Args:
        tasks: The tasks; drawn when there is a thread and room for them, in one thread at a time,
            and closed at the end if they can be closed.
        concurrency: Most threads.
        budget: Bytes that running tasks and values that wait may hold together. One value may
            exceed it where the consumer waits for nothing else.
        lookahead: Most tasks that are begun and whose values are not all consumed.
        ordered: Give the values in the order of the tasks; otherwise as they come.
        on_close: Called when the iteration ends early, from whatever thread ends it; it must not
            wait.

    Raises:
        ValueError: A number below 1.
    """

    def __init__(
        self,
        tasks: Iterable[Task[T]],
        *,
        concurrency: int,
        budget: int = 1 << 62,
        lookahead: int | None = None,
        ordered: bool = True,
        on_close: Callable[[], object] | None = None,
    ) -> None:
        lookahead = 4 * concurrency if lookahead is None else lookahead
        for name, number in (
            ("concurrency", concurrency),
            ("budget", budget),
            ("lookahead", lookahead),
        ):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        self._engine = _Engine(
            iter(tasks),
            concurrency=concurrency,
            budget=budget,
            lookahead=lookahead,
            ordered=ordered,
            on_close=on_close,
        )
        _ENGINES.add(self._engine)
        weakref.finalize(self, self._engine.cancel).atexit = False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return self._engine.next()

    def cancel(self) -> None:
        """End the iteration without waiting for its threads; they end soon."""
        self._engine.cancel()

    def close(self) -> None:
        """End the iteration and its threads."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def map_ahead(
    function: Callable[[S], T],
    items: Iterable[S],
    *,
    concurrency: int,
    lookahead: int | None = None,
    ordered: bool = True,
) -> Prefetcher[T]:
    """Apply a function to items in threads, ahead of the consumer.

    Args:
        function: The function.
        items: Its arguments, drawn when there is a thread for them.
        concurrency: Most threads.
        lookahead: Most results that wait or are being made; four for each thread when ``None``.
        ordered: Give the results in the order of the items; otherwise as they come.

    Returns:
        The results; close it to end early.
    """

    def task(item: S) -> Task[T]:
        return Task(lambda lane: lane.put(function(item)))

    return Prefetcher(
        _drawn(task, items), concurrency=concurrency, lookahead=lookahead, ordered=ordered
    )


def _drawn(task: Callable[[S], Task[T]], items: Iterable[S]) -> Iterator[Task[T]]:
    iterator = iter(items)
    try:
        for item in iterator:
            yield task(item)
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


_ENGINES: weakref.WeakSet[_Engine[Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    # A thread inside native code must not be alive when the interpreter is taken apart.
    for engine in list(_ENGINES):
        engine.close()
