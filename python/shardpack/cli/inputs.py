"""Which files a command works on, and where their results go."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from shardpack.cli.console import EXIT_USAGE, describe, printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from shardpack.cli.console import Console

__all__ = [
    "STANDARD",
    "Input",
    "Outputs",
    "find_inputs",
    "read_dictionary",
    "report_nothing_packed",
    "standard_input",
    "standard_output",
    "total_size",
    "usage_error",
]

STANDARD = "-"
_SMALL_BYTES = 1 << 20


class Input(NamedTuple):
    """One file to work on.

    Attributes:
        path: The path, ``-`` for standard input.
        relative: Where its result belongs in an output folder.
        size: Length in bytes, 0 if unknown.
    """

    path: str
    relative: str
    size: int

    @property
    def is_standard(self) -> bool:
        """Whether it is standard input."""
        return self.path == STANDARD

    @property
    def is_small(self) -> bool:
        """Whether it is a file of at most one frame, so that others can be done beside it."""
        return 0 < self.size <= _SMALL_BYTES


def usage_error(message: str) -> int:
    """Report a command line that makes no sense; gives the exit code."""
    print(f"shardpack: {message}", file=sys.stderr)
    return EXIT_USAGE


def find_inputs(
    options: argparse.Namespace,
    console: Console,
    *,
    wanted: Callable[[str], bool],
    is_url: Callable[[str], bool] = lambda _name: False,
) -> list[Input]:
    """List the files that the command line names.

    Args:
        options: The command line, with ``files`` and ``recursive``.
        console: Where missing files and unexpected folders are reported.
        wanted: Which names to take from folders; files named themselves are always taken.
        is_url: Which names are not those of local files; they are taken as they are.

    Returns:
        The files; in folders sorted by name.
    """
    found: list[Input] = []
    for name in options.files:
        if name == STANDARD or is_url(name):
            found.append(Input(name, name, 0))
        elif not os.path.isdir(name):
            try:
                size = os.stat(name).st_size
            except OSError as error:
                console.error(name, error)
                continue
            found.append(Input(name, os.path.basename(name), size))
        elif options.recursive:
            # Listed to the end before anything is written, so that no result becomes an input.
            found.extend(_walk(name, console, wanted))
        else:
            console.error(name, "is a folder; use -r for all files in it")
    return found


def report_nothing_packed(
    options: argparse.Namespace, console: Console, inputs: list[Input]
) -> None:
    """Fail where only folders were named and they hold nothing to work on."""
    if not inputs and not console.failed:
        folders = ", ".join(printable(name) for name in options.files)
        console.fail(f"no packed files found in {folders}")


def _walk(folder: str, console: Console, wanted: Callable[[str], bool]) -> Iterator[Input]:
    top = os.path.basename(os.path.normpath(folder))
    top = "" if top in (os.curdir, os.pardir) else top

    def report(error: OSError) -> None:
        console.error(_name(error, folder), error)

    for parent, folders, names in os.walk(folder, onerror=report):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)
            # Links are left alone: they may lead out of the folder, or to a file twice.
            if wanted(name) and not os.path.islink(path) and os.path.isfile(path):
                relative = os.path.join(top, os.path.relpath(path, folder))
                yield Input(path, relative, os.path.getsize(path))


def _name(error: OSError, folder: str) -> str:
    return os.fsdecode(error.filename) if error.filename is not None else folder


class Outputs:
    """Where results go, by ``-o`` and ``-c``.

    Args:
        options: The command line, with ``output``, ``stdout``, ``force`` and ``files``.
        inputs: The files.

    Raises:
        ValueError: Several results would go to one file.
    """

    def __init__(self, options: argparse.Namespace, inputs: list[Input]) -> None:
        output: str | None = options.output
        self._inputs = inputs
        # Which file each result is made from; of several the first that was named.
        self._owners: dict[str, Input] | None = None
        self._lock = threading.Lock()
        self._folder: str | None = None
        self._file: str | None = None
        self.to_standard = options.stdout or output == STANDARD
        if self.to_standard or output is None:
            return
        folder_named = any(os.path.isdir(name) for name in options.files)
        if os.path.isdir(output) or output.endswith(os.sep) or folder_named:
            self._folder = output
        elif len(inputs) > 1:
            raise ValueError(f"-o {printable(output)} is no folder, and there are several files")
        else:
            self._file = output

    @property
    def to_file(self) -> bool:
        """Whether one file was named for the one result."""
        return self._file is not None

    def path_for(self, item: Input, rename: Callable[[str], str]) -> str | None:
        """Choose the path of a result.

        Args:
            item: The file it is made from.
            rename: Turns the name of the file into the name of the result.

        Returns:
            The path, ``None`` for standard output.

        Raises:
            ValueError: Another result of this run has that path, or there is no name for it.
            OSError: A folder cannot be made.
        """
        path = self._path(item, rename)
        if path is None:
            return None
        with self._lock:
            if self._owners is None:
                self._owners = self._find_owners(rename)
        if self._owners.get(os.path.realpath(path), item) is not item:
            raise ValueError(f"{printable(path)} is written from another file in this run")
        if self._folder is not None:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def _path(self, item: Input, rename: Callable[[str], str]) -> str | None:
        if self.to_standard:
            return None
        if self._file is not None:
            return self._file
        if self._folder is not None:
            if item.is_standard:
                raise ValueError("standard input has no name for a file in a folder: use -o FILE")
            return os.path.join(self._folder, rename(item.relative))
        return None if item.is_standard else rename(item.path)

    def _find_owners(self, rename: Callable[[str], str]) -> dict[str, Input]:
        owners: dict[str, Input] = {}
        for item in self._inputs:
            # What has no result is reported when its turn comes.
            with suppress(ValueError):
                path = self._path(item, rename)
                if path is not None:
                    owners.setdefault(os.path.realpath(path), item)
        return owners


def read_dictionary(options: argparse.Namespace) -> bytes | None:
    """Read the file of ``--dictionary``.

    Raises:
        ValueError: It cannot be read.
    """
    path: str | None = options.dictionary
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ValueError(f"{printable(path)}: {describe(error, path)}") from None


def total_size(inputs: list[Input]) -> int:
    """Sum up the sizes, for a progress bar."""
    return sum(item.size for item in inputs)


def standard_input() -> BinaryIO:
    """Give standard input, unbuffered: pieces go on as soon as they are there."""
    return open(0, "rb", buffering=0, closefd=False)


def standard_output() -> BinaryIO:
    """Give standard output, unbuffered: pieces are large, and errors belong to the write."""
    return open(1, "wb", buffering=0, closefd=False)
