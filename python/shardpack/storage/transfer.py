"""Which ranges to ask for, and how to ask for many things at once.

The planning is pure: it knows numbers, no stores. The rest runs calls on threads that live as long
as one call of this module: memory is bounded, the first failure ends the whole, and nothing is
left running when the caller goes on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

__all__ = [
    "GAP_BYTES",
    "PART_BYTES",
    "Span",
    "assemble",
    "check_range",
    "parallel_map",
    "plan_ranges",
    "resolve_range",
    "split",
]

# Bytes between two ranges that cost less to read than a request of their own: a request takes some
# milliseconds, in which a connection of 100 MB/s carries a few hundred kilobytes.
GAP_BYTES = 256 << 10
# The longest request: enough to make its fixed cost vanish, short enough that several run at once.
PART_BYTES = 8 << 20

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Span(NamedTuple):
    """Bytes of an object, the end exclusive."""

    start: int
    end: int


def resolve_range(start: int | None, end: int | None, size: int) -> Span:
    """Say which bytes a range means in an object of a known size.

    Args:
        start: First byte, the front when ``None``; a negative one counts from the end.
        end: First byte after the range, the end of the object when ``None``.
        size: Bytes of the object.

    Returns:
        A range within the object; an empty one where nothing of it is there.

    Raises:
        ValueError: ``start`` is negative and there is an ``end``, ``end`` is negative, or the end
            comes before the start.
    """
    check_range(start, end)
    if start is None:
        start = 0
    if start < 0:
        return Span(max(0, size + start), size)
    stop = size if end is None else min(end, size)
    return Span(min(start, size), max(stop, min(start, size)))


def check_range(start: int | None, end: int | None) -> None:
    """Refuse a range that means nothing, before its object is looked at.

    Args:
        start: As for ``resolve_range``.
        end: As for ``resolve_range``.

    Raises:
        ValueError: As ``resolve_range`` does.
    """
    if end is not None:
        if start is not None and start < 0:
            raise ValueError(f"a range from the end has no end of its own: {start}..{end}")
        if end < (start or 0):
            raise ValueError(f"a range ends before it begins: {start or 0}..{end}")


def split(start: int, end: int, part_size: int = PART_BYTES) -> list[Span]:
    """Cut a range into parts.

    Args:
        start: First byte.
        end: First byte after it.
        part_size: Most bytes of a part, at least 1.

    Returns:
        The parts in order, as equal as whole bytes allow; none for an empty range.
    """
    if end <= start:
        return []
    count = -(-(end - start) // part_size)
    borders = [start + (end - start) * i // count for i in range(count + 1)]
    return [Span(*pair) for pair in pairwise(borders)]


def plan_ranges(
    ranges: Sequence[tuple[int, int]], *, gap: int = GAP_BYTES, longest: int = PART_BYTES
) -> list[Span]:
    """Say what to read so that all ranges are covered, in few requests.

    Ranges that are at most ``gap`` bytes apart share a request until it would grow beyond
    ``longest``; what is longer by itself is cut into parts.

    Args:
        ranges: ``(start, end)`` of each, in any order; they may overlap.
        gap: Most bytes to read in vain between two ranges.
        longest: Most bytes of a request.

    Returns:
        Requests in ascending order; no byte is in two of them.

    Raises:
        ValueError: A range is negative or ends before it begins.
    """
    for start, end in ranges:
        if start < 0 or end < start:
            raise ValueError(f"invalid range {start}..{end}")
    merged: list[Span] = []
    for start, end in sorted(pair for pair in ranges if pair[0] < pair[1]):
        if merged:
            last = merged[-1]
            # What overlaps must be joined, whatever its length, or bytes would be read twice.
            near = start <= last.end + gap and max(end, last.end) - last.start <= longest
            if start < last.end or near:
                merged[-1] = Span(last.start, max(end, last.end))
                continue
        merged.append(Span(start, end))
    return [part for span in merged for part in split(span.start, span.end, longest)]


def assemble(
    ranges: Sequence[tuple[int, int]], spans: Sequence[Span], pieces: Sequence[bytes]
) -> list[bytes]:
    """Give each range its bytes.

    Args:
        ranges: What was asked for.
        spans: What ``plan_ranges`` made of it.
        pieces: What came for each of ``spans``; shorter at the end of the object.

    Returns:
        The bytes of each range, in the order of ``ranges``.
    """
    starts = [span.start for span in spans]
    found: list[bytes] = []
    for start, end in ranges:
        if start == end:
            found.append(b"")
            continue
        first = bisect_right(starts, start) - 1
        if end <= spans[first].end:
            base = starts[first]
            whole = pieces[first]
            exact = start == base and end >= base + len(whole)
            found.append(whole if exact else whole[start - base : end - base])
            continue
        parts: list[memoryview] = []
        for i in range(first, len(spans)):
            base = starts[i]
            if base >= end:
                break
            parts.append(memoryview(pieces[i])[max(start - base, 0) : end - base])
        found.append(b"".join(parts))
    return found


def parallel_map(
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    *,
    workers: int,
    ahead: int | None = None,
    stop: threading.Event | None = None,
) -> Iterator[_Result]:
    """Call a function for many items at once, and give the results in the order of the items.

    The first failure is raised as soon as it happens, also when an earlier item is still being
    worked on. Items that have not begun are dropped, those that have are waited for: when the
    iterator ends, however it ends, nothing of it runs any more. Closing the iterator, or Ctrl-C,
    ends it in the same way.

    Args:
        function: What to call; it runs on other threads, except where one worker is enough.
        items: The items; the next is taken only when there is room for its result.
        workers: Calls at once.
        ahead: Most results and running calls that are held, at least ``workers``.
        stop: Set at a failure, for long calls that look at it.

    Yields:
        The results.
    """
    if workers <= 1:
        for item in items:
            yield function(item)
        return
    room = max(workers, workers * 2 if ahead is None else ahead)
    waiting: deque[Future[_Result]] = deque()
    finished: SimpleQueue[Future[_Result]] = SimpleQueue()
    executor = ThreadPoolExecutor(workers, thread_name_prefix="shardpack-transfer")
    try:
        source = iter(items)
        exhausted = False
        while True:
            while not exhausted and len(waiting) < room:
                try:
                    item = next(source)
                except StopIteration:
                    exhausted = True
                    break
                future = executor.submit(function, item)
                future.add_done_callback(finished.put)
                waiting.append(future)
                _raise_failure(finished)
            if not waiting:
                return
            while not waiting[0].done():
                finished.get().result()
            _raise_failure(finished)
            yield waiting.popleft().result()
    finally:
        if stop is not None:
            stop.set()
        executor.shutdown(wait=True, cancel_futures=True)


def _raise_failure(finished: SimpleQueue[Future[_Result]]) -> None:
    while not finished.empty():
        finished.get().result()
