"""Comparing files with lists of their digests."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from shardpack.cli.console import describe, paint, printable
from shardpack.cli.digest_lines import DEFAULT, parse_line, read_lines
from shardpack.cli.digests import DigestTask, iter_digests
from shardpack.cli.inputs import STANDARD

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from shardpack.cli.console import Console
    from shardpack.cli.digest_lines import DigestLine

__all__ = ["check_lists"]


def check_lists(options: argparse.Namespace, console: Console) -> list[dict[str, object]]:
    """Compare the files that lists name with the digests that they give.

    Args:
        options: The command line; its files are the lists.
        console: Where results are reported.

    Returns:
        What was found, file by file, if JSON is wanted.
    """
    facts: list[dict[str, object]] = []
    for name in options.files:
        try:
            with _open_list(name) as file:
                _List(name, options, console, facts).check(file)
        except BrokenPipeError:
            raise
        except OSError as error:
            console.error(name, error)
    return facts


def _open_list(name: str) -> BinaryIO:
    if name == STANDARD:
        return open(0, "rb", closefd=False)
    return open(name, "rb")


@dataclass
class _Counts:
    """Lines of a list, by what became of them."""

    understood: int = 0
    malformed: int = 0
    same: int = 0
    different: int = 0
    unreadable: int = 0
    guessed_same: int = 0
    guessed_different: int = 0


class _List:
    """One list during its check."""

    def __init__(
        self,
        name: str,
        options: argparse.Namespace,
        console: Console,
        facts: list[dict[str, object]],
    ) -> None:
        self._name = name
        self._options = options
        self._console = console
        self._facts = facts
        self._counts = _Counts()

    def check(self, file: BinaryIO) -> None:
        """Compare all files that it names, and report what came of it."""
        with (
            self._console.progress(None) as bar,
            closing(
                iter_digests(self._tasks(file), threads=self._options.threads, bar=bar)
            ) as digests,
        ):
            for task, digest in digests:
                self._report(task, digest)
        self._sum_up()

    def _tasks(self, file: BinaryIO) -> Iterator[DigestTask]:
        for number, text in enumerate(read_lines(file), 1):
            if text is not None and (not text or text.startswith(b"#")):
                continue
            line = None if text is None else parse_line(text)
            # Who names an algorithm does not want another one, which may be weaker.
            wanted = self._options.algorithm
            if line is None or (wanted and not _may_be(line, wanted)):
                self._counts.malformed += 1
                if self._options.warn:
                    self._warn(f"line {number} is improperly formatted")
                continue
            self._counts.understood += 1
            task = self._task(line, line.algorithm or wanted or DEFAULT)
            if not (self._options.ignore_missing and isinstance(task.error, FileNotFoundError)):
                yield task

    def _task(self, line: DigestLine, algorithm: str) -> DigestTask:
        error: Exception | None = None
        size = 0
        if line.name != STANDARD:
            try:
                found = os.stat(line.name)
            except OSError as missing:
                error = missing
            else:
                size = found.st_size
                if stat.S_ISDIR(found.st_mode):
                    error = ValueError("is a folder")
                elif not stat.S_ISREG(found.st_mode):
                    # A pipe or device that a list of unknown origin names might never end.
                    error = ValueError("is no regular file")
        elif self._name == STANDARD:
            error = ValueError("standard input is the list itself")
        return DigestTask(line.name, algorithm, size, line, error)

    def _report(self, task: DigestTask, digest: bytes | BaseException) -> None:
        line = task.line
        if line is None:
            return
        fact: dict[str, object] = {
            "source": task.name,
            "algorithm": task.algorithm,
            "expected": line.digest.hex(),
        }
        if isinstance(digest, BaseException):
            self._counts.unreadable += 1
            self._console.error(task.name, digest)
            fact |= {"verified": False, "error": describe(digest, task.name)}
            self._say(task.name, "FAILED open or read", "red")
        else:
            same = digest == line.digest
            fact |= {"digest": digest.hex(), "verified": same}
            self._count(line, same=same)
            if not same:
                self._console.failed = True
                self._say(task.name, "FAILED", "red")
            elif not self._options.quiet:
                self._say(task.name, "OK", "green")
        if self._options.json:
            self._facts.append(fact)

    def _count(self, line: DigestLine, *, same: bool) -> None:
        guessed = line.algorithm is None and self._options.algorithm is None
        self._counts.same += same
        self._counts.different += not same
        self._counts.guessed_same += guessed and same
        self._counts.guessed_different += guessed and not same

    def _say(self, name: str, text: str, colour: str) -> None:
        if not self._options.status and not self._options.json:
            self._console.say(f"{printable(name)}: {paint(text, colour, sys.stdout)}")

    def _warn(self, text: str) -> None:
        if self._options.status:
            return
        if self._options.quiet:
            print(f"shardpack: {printable(self._name)}: {text}", file=sys.stderr)
        else:
            self._console.note(self._name, text)

    def _sum_up(self) -> None:
        counts, console = self._counts, self._console
        if not counts.understood:
            console.error(self._name, "no properly formatted checksum lines found")
            return
        if counts.malformed:
            console.failed |= self._options.strict
            self._warn(_plural(counts.malformed, "line is", "lines are") + " improperly formatted")
        if counts.unreadable:
            files = _plural(counts.unreadable, "listed file", "listed files")
            self._warn(f"{files} could not be read")
        if counts.different:
            checksums = _plural(counts.different, "computed checksum", "computed checksums")
            self._warn(f"{checksums} did NOT match")
        if counts.guessed_different and not counts.guessed_same:
            self._warn(f"lines that leave the algorithm open were taken for {DEFAULT}: see -a")
        if self._options.ignore_missing and not (counts.same or counts.different):
            console.error(self._name, "no file was verified")


def _may_be(line: DigestLine, algorithm: str) -> bool:
    if line.algorithm is None:
        # A digest of 32 bytes: a line with one of 4 is of the only algorithm that makes it.
        return algorithm != "crc32c"
    return line.algorithm == algorithm


def _plural(count: int, one: str, more: str) -> str:
    return f"WARNING: {count} {one if count == 1 else more}"
