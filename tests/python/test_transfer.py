"""Plans of ranges against a naive oracle, and calls that run at once."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inputs import make, python_environment
from shardpack.storage.transfer import (
    assemble,
    parallel_map,
    plan_ranges,
    resolve_range,
    split,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 500
DATA = make("noise", SIZE)
ENDS = st.integers(0, SIZE + 50)
RANGE_LISTS = st.lists(st.tuples(ENDS, ENDS).map(lambda pair: (min(pair), max(pair))), max_size=12)


@given(RANGE_LISTS, st.integers(0, 60), st.integers(1, 200))
def test_plans_cover_what_was_asked_for(
    ranges: list[tuple[int, int]], gap: int, longest: int
) -> None:
    spans = plan_ranges(ranges, gap=gap, longest=longest)
    pieces = [DATA[span.start : span.end] for span in spans]
    assert assemble(ranges, spans, pieces) == [DATA[start:end] for start, end in ranges]
    assert all(0 < span.end - span.start <= longest for span in spans)
    assert all(a.end <= b.start for a, b in itertools.pairwise(spans))
    asked = {i for start, end in ranges for i in range(start, end)}
    read = {i for span in spans for i in range(span.start, span.end)}
    assert asked <= read
    # What is read in vain lies in gaps that are short enough.
    for i in read - asked:
        before = max(j for j in asked if j < i)
        after = min(j for j in asked if j > i)
        assert after - before - 1 <= gap


@given(RANGE_LISTS)
def test_without_gaps_nothing_is_read_in_vain(ranges: list[tuple[int, int]]) -> None:
    spans = plan_ranges(ranges, gap=0, longest=10_000)
    asked = {i for start, end in ranges for i in range(start, end)}
    assert sum(span.end - span.start for span in spans) == len(asked)


def test_neighbours_share_a_request_up_to_its_limit() -> None:
    ranges = [(i * 10, i * 10 + 5) for i in range(10)]
    assert plan_ranges(ranges, gap=5, longest=1000) == [(0, 95)]
    assert plan_ranges(ranges, gap=4, longest=1000) == ranges
    assert plan_ranges(ranges, gap=5, longest=50) == [(0, 45), (50, 95)]
    assert plan_ranges([], gap=5) == []
    assert plan_ranges([(3, 3)], gap=5) == []
    for bad in [(-1, 5), (5, 4)]:
        with pytest.raises(ValueError, match="invalid range"):
            plan_ranges([bad])


@given(ENDS, ENDS, st.integers(1, 100))
def test_parts_are_nearly_equal(start: int, end: int, part_size: int) -> None:
    parts = split(start, end, part_size)
    assert [i for part in parts for i in range(*part)] == list(range(start, end))
    sizes = {part.end - part.start for part in parts}
    assert not sizes or max(sizes) - min(sizes) <= 1
    assert len(parts) == max(0, -(-(end - start) // part_size))


@given(
    st.none() | st.integers(-SIZE - 50, SIZE + 50),
    st.none() | st.integers(-5, SIZE + 50),
    st.sampled_from([0, 1, SIZE]),
)
def test_ranges_are_resolved_as_slices_are(start: int | None, end: int | None, size: int) -> None:
    wrong = end is not None and (end < (start or 0) or (start is not None and start < 0))
    if wrong:
        with pytest.raises(ValueError, match="range"):
            resolve_range(start, end, size)
        return
    found = resolve_range(start, end, size)
    assert 0 <= found.start <= found.end <= size
    assert DATA[:size][found.start : found.end] == DATA[:size][start:end]


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_results_come_in_order(workers: int) -> None:
    def work(number: int) -> int:
        time.sleep(0.001 * (number % 3))
        return number * 2

    found = list(parallel_map(work, range(50), workers=workers))
    assert found == [number * 2 for number in range(50)]
    assert list(parallel_map(work, [], workers=workers)) == []


def test_memory_is_bounded_by_what_is_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = parallel_map(lambda number: number, items(), workers=2, ahead=5)
    for number in range(20):
        assert next(results) == number
        assert len(taken) <= number + 1 + 5
    results.close()  # type: ignore[attr-defined]


def test_the_first_failure_ends_the_whole_at_once() -> None:
    began: list[int] = []
    stop = threading.Event()

    def work(number: int) -> int:
        began.append(number)
        if number == 0:
            # Works until told to stop; a failure further on must not wait for it.
            assert stop.wait(20)
        if number == 3:
            raise LookupError("number 3")
        return number

    started = time.monotonic()
    with pytest.raises(LookupError, match="number 3"):
        list(parallel_map(work, range(1000), workers=2, ahead=100, stop=stop))
    assert time.monotonic() - started < 15
    assert len(began) < 110
    assert stop.is_set()


def test_a_source_that_fails_ends_the_whole() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("the source")

    with pytest.raises(LookupError, match="the source"):
        list(parallel_map(lambda number: number, items(), workers=3))


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    results = parallel_map(lambda number: number, range(100), workers=4)
    next(results)
    assert threading.active_count() > before
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


INTERRUPTED = """
import signal, threading, time
from shardpack.storage.transfer import parallel_map
# A test run in the background ignores it, and so would its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
stop = threading.Event()
print("started", flush=True)
try:
    list(parallel_map(lambda number: stop.wait(50), range(1000), workers=3, stop=stop))
except KeyboardInterrupt:
    print("interrupted", threading.active_count(), flush=True)
"""


def test_ctrl_c_ends_it() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        text=True,
        env=python_environment(),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGINT)
    told, _ = process.communicate(timeout=30)
    assert told == "interrupted 1\n"
