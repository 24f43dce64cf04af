"""What a person sees: errors, notes, progress, colours, tables; and the exit codes."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO

from shardpack.errors import BulkError, ShardpackError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = [
    "EXIT_BROKEN_PIPE",
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_OK",
    "EXIT_TERMINATED",
    "EXIT_USAGE",
    "EXPECTED_ERRORS",
    "Console",
    "describe",
    "table",
]

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
EXIT_TERMINATED = 143

# What a file can do wrong. Anything else is a fault of this program and deserves its traceback.
EXPECTED_ERRORS = (ShardpackError, OSError, ValueError, MemoryError)

_MOST_NAMED = 20
_SMALL_FILES_AT_ONCE = 8
_SMALL_FILES_AHEAD = 64

_COLOURS = {"red": "31", "green": "32", "yellow": "33"}


def describe(error: BaseException, name: str | None = None) -> str:
    """Say in one line what went wrong.

    Args:
        error: The error.
        name: Name of the file that the line is about anyway.

    Returns:
        The text, without the class and without a second mention of the file.
    """
    if isinstance(error, FileExistsError):
        return f"{_text(error.filename)} exists already; use -f to replace it"
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror.lower()
        other = _text(error.filename)
        return text if error.filename in (None, name) else f"{other}: {text}"
    if isinstance(error, BulkError) and isinstance(error.__cause__, FileExistsError):
        return f"{error}; use -f to replace files"
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


class Console:
    """The terminal, or what stands in for it, during one command."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.failed = False
        self._quiet = bool(options.quiet)
        wanted = not self._quiet and not getattr(options, "no_progress", False)
        self._show_progress = wanted and sys.stderr.isatty()
        self._bar: Any = None
        self._lock = threading.Lock()

    @property
    def status(self) -> int:
        """The exit code so far."""
        return EXIT_FAILED if self.failed else EXIT_OK

    @property
    def shows_progress(self) -> bool:
        """Whether somebody sees bars."""
        return self._show_progress

    def error(self, name: str, error: BaseException | str) -> None:
        """Report that a file failed."""
        self.failed = True
        if isinstance(error, BulkError) and len(error.failures) > 1:
            for path, reason in islice(error.failures.items(), _MOST_NAMED):
                self._tell(f"{paint('shardpack:', 'red', sys.stderr)} {printable(path)}: {reason}")
        text = error if isinstance(error, str) else describe(error, name)
        self._tell(f"{paint('shardpack:', 'red', sys.stderr)} {printable(name)}: {text}")

    def fail(self, text: str) -> None:
        """Report a failure that is not one file's."""
        self.failed = True
        self._tell(f"{paint('shardpack:', 'red', sys.stderr)} {text}")

    def note(self, name: str, text: str) -> None:
        """Report something that is no failure, unless told to be quiet."""
        if not self._quiet:
            self._tell(f"shardpack: {printable(name)}: {text}")

    def summary(self, name: str, text: str) -> None:
        """Report what was done to a person; scripts see the exit code."""
        if self._show_progress:
            self.note(name, text)

    def say(self, line: str) -> None:
        """Print a line of the result to standard output."""
        self._above_the_bar(line, sys.stdout)

    @contextmanager
    def progress(self, total: int | None, *, unit: str = "B") -> Iterator[Any]:
        """Show a bar on a terminal.

        Args:
            total: Bytes to be done, ``None`` if unknown.
            unit: What is counted, if not bytes.

        Yields:
            A bar with ``update``, or ``None`` where none is shown.
        """
        if not self._show_progress:
            yield None
            return
        from tqdm import tqdm

        with tqdm(
            total=total or None,
            unit=unit,
            unit_scale=True,
            unit_divisor=1024 if unit == "B" else 1000,
            dynamic_ncols=True,
            leave=False,
            file=sys.stderr,
        ) as bar:
            self._bar = bar
            try:
                yield bar
            finally:
                self._bar = None

    @contextmanager
    def growing_progress(self, sizes: Callable[[], Iterable[int]]) -> Iterator[Any]:
        """Show a bar on a terminal whose total is found out while the work has begun.

        Args:
            sizes: Gives the bytes of one thing after the other.

        Yields:
            As ``progress``.
        """
        with self.progress(None) as bar:
            if bar is None:
                yield None
                return
            done = threading.Event()
            thread = threading.Thread(target=_find_total, args=(bar, sizes, done), daemon=True)
            thread.start()
            try:
                yield bar
            finally:
                done.set()
                thread.join()

    def each(
        self,
        names: Sequence[str],
        action: Callable[[int], None],
        *,
        is_small: Callable[[int], bool] | None = None,
    ) -> int:
        """Do something for every file, whatever became of those before.

        Args:
            names: What the files are called in messages.
            action: Called with the number of each.
            is_small: Which files may be done side by side. A small file takes one core, and
                mostly waits for the disk to confirm it.

        Returns:
            The exit code.
        """
        if is_small is None or not any(map(is_small, range(1, len(names)))):
            for number, name in enumerate(names):
                self._guard(name, partial(action, number))
            return self.status
        from concurrent.futures import Future, ThreadPoolExecutor

        waiting: deque[tuple[int, Future[None]]] = deque()
        executor = ThreadPoolExecutor(_SMALL_FILES_AT_ONCE)

        def finish(left: int) -> None:
            while len(waiting) > left:
                number, future = waiting.popleft()
                self._guard(names[number], future.result)

        try:
            for number, name in enumerate(names):
                if is_small(number):
                    waiting.append((number, executor.submit(action, number)))
                    finish(_SMALL_FILES_AHEAD)
                else:
                    finish(0)
                    self._guard(name, partial(action, number))
            finish(0)
        finally:
            executor.shutdown(cancel_futures=True)
        return self.status

    def _guard(self, name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except BrokenPipeError:
            raise
        except EXPECTED_ERRORS as error:
            self.error(name, error)

    def _tell(self, line: str) -> None:
        self._above_the_bar(line, sys.stderr)

    def _above_the_bar(self, line: str, stream: TextIO) -> None:
        with self._lock:
            if self._bar is not None:
                self._bar.clear()
            print(line, file=stream, flush=True)
            if self._bar is not None:
                self._bar.refresh()


def _find_total(bar: Any, sizes: Callable[[], Iterable[int]], done: threading.Event) -> None:  # noqa: ANN401 - a bar of tqdm
    total = 0
    try:
        for size in sizes():
            if done.is_set():
                return
            total += size
    except EXPECTED_ERRORS:
        # The work itself meets the same, and tells it.
        return
    bar.total = total
    bar.refresh()


def paint(text: str, colour: str, stream: TextIO) -> str:
    """Colour a text if it goes to a terminal that wants colours."""
    plain = not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain else f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def printable(name: str) -> str:
    """Give a file name that can be printed on one line, whatever bytes it is made of."""
    safe = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in safe)


def table(rows: Sequence[Sequence[str]], *, left: frozenset[int] = frozenset({0})) -> str:
    """Align rows in columns.

    Args:
        rows: The cells, the heading first.
        left: Columns whose cells start at the left; the others end at the right.

    Returns:
        The lines.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _text(name: object) -> str:
    return printable(os.fsdecode(name)) if isinstance(name, str | bytes) else str(name)
