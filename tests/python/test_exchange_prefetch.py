"""Tasks that run ahead of their consumer: order, budget, errors, and no thread left behind."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inputs import run_python
from iteration_threads import threads, wait_for
from shardpack.exchange.reading.prefetch import IterationClosedError, Prefetcher, Task, map_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shardpack.exchange.reading.prefetch import Lane


def counted(numbers: range, *, cost: int = 0, pieces: int = 1) -> Iterator[Task[tuple[int, int]]]:
    def run(number: int, lane: Lane[tuple[int, int]]) -> None:
        for piece in range(pieces):
            lane.put((number, piece), cost)

    for number in numbers:
        yield Task(lambda lane, number=number: run(number, lane), cost)  # type: ignore[misc]


@settings(deadline=None)
@given(
    count=st.integers(0, 40),
    pieces=st.integers(0, 3),
    concurrency=st.integers(1, 8),
    lookahead=st.integers(1, 9),
    budget=st.integers(1, 30),
    cost=st.integers(0, 50),
    ordered=st.booleans(),
)
def test_every_value_comes_once_whatever_the_settings(
    *,
    count: int,
    pieces: int,
    concurrency: int,
    lookahead: int,
    budget: int,
    cost: int,
    ordered: bool,
) -> None:
    values = list(
        Prefetcher(
            counted(range(count), cost=cost, pieces=pieces),
            concurrency=concurrency,
            budget=budget,
            lookahead=lookahead,
            ordered=ordered,
        )
    )
    expected = [(number, piece) for number in range(count) for piece in range(pieces)]
    assert (values if ordered else sorted(values)) == expected


def test_tasks_run_at_the_same_time() -> None:
    meeting = threading.Barrier(8)
    assert list(map_ahead(lambda _: meeting.wait(20), range(8), concurrency=8, ordered=False))


def test_order_is_kept_when_later_tasks_finish_first() -> None:
    later = threading.Event()

    def work(number: int) -> int:
        if number:
            later.set()
        else:
            assert later.wait(20)
        return number

    assert list(map_ahead(work, range(5), concurrency=2)) == [0, 1, 2, 3, 4]


def test_values_come_as_they_are_done_when_order_does_not_matter() -> None:
    released = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert released.wait(20)
        return number

    with map_ahead(work, range(3), concurrency=3, ordered=False) as values:
        assert sorted([next(values), next(values)]) == [1, 2]
        released.set()
        assert list(values) == [0]


def test_budget_bounds_what_waits_for_a_slow_consumer() -> None:
    lock = threading.Lock()
    alive = most = 0

    def run(lane: Lane[None]) -> None:
        nonlocal alive, most
        with lock:
            alive += 10
            most = max(most, alive)
        lane.put(None, 10)

    with Prefetcher(
        (Task(run, 10) for _ in range(200)), concurrency=8, budget=45, lookahead=100
    ) as values:
        for _ in values:
            time.sleep(0.001)
            with lock:
                alive -= 10
    # Four of ten fit; a fifth may start when the consumer waits for it.
    assert most <= 50


def test_a_value_larger_than_the_budget_still_comes() -> None:
    assert len(list(Prefetcher(counted(range(3), cost=1000), concurrency=2, budget=1))) == 3


def test_a_task_may_ask_for_more_room_while_it_runs() -> None:
    def run(lane: Lane[int]) -> None:
        for size in (5, 50, 500):
            lane.reserve(size)
            lane.give_back(size - 1)
            lane.put(size, 1)

    values = Prefetcher((Task(run, 3) for _ in range(20)), concurrency=8, budget=60)
    assert list(values) == [5, 50, 500] * 20


def test_giving_back_more_than_was_reserved_is_refused() -> None:
    with pytest.raises(ValueError, match="6 bytes to give back, 5 reserved"):
        list(Prefetcher(iter([Task[int](lambda lane: lane.give_back(6), 5)]), concurrency=1))


@pytest.mark.parametrize("ordered", [True, False])
def test_an_error_comes_in_its_place_and_ends_the_iteration(*, ordered: bool) -> None:
    def work(number: int) -> int:
        if number == 3:
            raise KeyError(number)
        return number

    values = map_ahead(work, range(100), concurrency=1 if not ordered else 4, ordered=ordered)
    assert [next(values) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="3"):
        next(values)
    assert list(values) == []


def test_an_error_of_the_source_comes_after_the_values_before_it() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the list broke off")

    values = map_ahead(lambda number: number, numbers(), concurrency=4)
    assert [next(values), next(values)] == [1, 2]
    with pytest.raises(OSError, match="broke off"):
        next(values)
    assert list(values) == []


def test_values_of_a_task_before_its_error_are_given() -> None:
    def run(lane: Lane[int]) -> None:
        lane.put(1)
        raise ValueError("after the first")

    values = Prefetcher(iter([Task(run)]), concurrency=1)
    assert next(values) == 1
    with pytest.raises(ValueError, match="after the first"):
        next(values)


def test_the_source_is_read_no_further_than_needed() -> None:
    drawn: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(10_000):
            drawn.append(number)
            yield number

    with map_ahead(lambda number: number, numbers(), concurrency=2, lookahead=5) as values:
        assert next(values) == 0
        time.sleep(0.05)
        assert len(drawn) <= 8


def test_close_stops_tasks_and_closes_the_source() -> None:
    ended: list[str] = []

    def tasks() -> Iterator[Task[int]]:
        try:
            while True:
                yield Task(run, 1)
        finally:
            ended.append("source")

    def run(lane: Lane[int]) -> None:
        try:
            while True:
                lane.put(1, 1)
        except IterationClosedError:
            ended.append("task")
            raise

    values = Prefetcher(tasks(), concurrency=3, budget=5)
    assert next(values) == 1
    values.close()
    assert not threads()
    assert ended.count("source") == 1
    assert "task" in ended
    with pytest.raises(StopIteration):
        next(values)


def test_close_interrupts_a_task_that_waits_elsewhere() -> None:
    stopped, waiting = threading.Event(), threading.Event()

    def run(lane: Lane[int]) -> None:
        lane.put(1)
        lane.on_close(stopped.set)
        waiting.set()
        assert stopped.wait(20)
        lane.check()

    values = Prefetcher(iter([Task(run)]), concurrency=1)
    assert next(values) == 1
    assert waiting.wait(20)
    values.close()
    assert stopped.is_set()
    assert not threads()


def test_an_iteration_that_is_dropped_ends_its_threads() -> None:
    values = map_ahead(lambda number: number, iter(int, 1), concurrency=4)
    next(values)
    assert threads()
    del values
    gc.collect()
    wait_for(lambda: not threads())


def test_an_iteration_that_nobody_began_has_no_threads() -> None:
    values = map_ahead(lambda number: number, range(5), concurrency=4)
    assert not threads()
    values.close()


def test_one_iteration_can_feed_another() -> None:
    first = map_ahead(lambda number: number + 1, range(100), concurrency=3)
    second = map_ahead(lambda number: number * 2, first, concurrency=3)
    assert list(second) == [2 * (number + 1) for number in range(100)]


def test_closing_closes_the_iteration_that_feeds_it() -> None:
    stuck = threading.Event()

    def slow(number: int) -> int:
        if number > 1:
            stuck.set()
            time.sleep(0.05)
        return number

    first = map_ahead(slow, iter(lambda: 7, 0), concurrency=2)
    with Prefetcher(
        (Task[int](lambda lane, n=n: lane.put(n)) for n in first),  # type: ignore[misc]
        concurrency=2,
        on_close=first.cancel,
    ) as values:
        next(values)
        assert stuck.wait(20)
    wait_for(lambda: not threads())


def test_an_interrupt_ends_the_iteration() -> None:
    begun = threading.Event()

    def work(_: int) -> int:
        begun.set()
        time.sleep(0.3)
        return 1

    def interrupt() -> None:
        assert begun.wait(20)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    helper = threading.Thread(target=interrupt)
    try:
        values = map_ahead(work, range(10), concurrency=2)
        helper.start()
        with pytest.raises(KeyboardInterrupt):
            for _ in values:
                pass
    finally:
        helper.join()
        signal.signal(signal.SIGINT, before)
    assert not threads()


def test_a_forked_child_is_told_to_begin_its_own_iteration() -> None:
    code = """
import os
from shardpack.exchange.reading.prefetch import map_ahead
values = map_ahead(lambda n: n, range(1000), concurrency=4)
assert next(values) == 0
child = os.fork()
if not child:
    try:
        next(values)
    except RuntimeError as error:
        assert "begin another one after a fork" in str(error)
        values.close()
        assert list(map_ahead(lambda n: n, range(9), concurrency=4)) == list(range(9))
        del values
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert list(values) == list(range(1, 1000))
print("both went on")
"""
    assert run_python(code) == "both went on"


def test_the_interpreter_exits_while_an_iteration_is_open() -> None:
    code = """
from shardpack import CpuZstd
from shardpack.exchange.reading.prefetch import map_ahead
data = bytes(1 << 20)
values = map_ahead(lambda _: CpuZstd().compress(data), iter(int, 1), concurrency=4)
next(values)
print("done")
"""
    assert run_python(code) == "done"


@pytest.mark.parametrize("name", ["concurrency", "budget", "lookahead"])
def test_settings_below_one_are_refused(name: str) -> None:
    settings_of_it = {"concurrency": 1, "budget": 1, "lookahead": 1, name: 0}
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        Prefetcher(iter(()), **settings_of_it)  # type: ignore[arg-type]
