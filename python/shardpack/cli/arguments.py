"""Options that several verbs share."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, Protocol

from shardpack.cli.inputs import STANDARD

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Verbs",
    "add_dictionary",
    "add_files",
    "add_json",
    "add_output",
    "add_quiet",
    "add_removal",
    "add_threads",
    "count_of",
    "new_parser",
]


class Verbs(Protocol):
    """What ``argparse`` gives to hang verbs on."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - as argparse has it
        """Add a verb."""


def new_parser(verbs: Verbs, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    """Add a verb whose help ends with examples."""
    return verbs.add_parser(
        name,
        help=summary[0].lower() + summary[1:].rstrip("."),
        description=summary,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


class _Files(argparse.Action):
    """Files of the command line; standard input if there are none and something is piped in."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,  # noqa: ANN401 - as argparse has it
        option_string: str | None = None,
    ) -> None:
        del option_string
        if not values:
            if sys.stdin.isatty():
                parser.error("name a file, or pipe something in")
            values = [STANDARD]
        setattr(namespace, self.dest, values)


def add_files(
    parser: argparse.ArgumentParser, *, standard_input: bool, recursive: bool = True
) -> None:
    """Add FILES, and ``-r``."""
    if standard_input:
        parser.add_argument(
            "files", nargs="*", metavar="FILE", action=_Files, help="files; - is standard input"
        )
    else:
        parser.add_argument("files", nargs="+", metavar="FILE", help="files")
    if recursive:
        parser.add_argument(
            "-r",
            "--recursive",
            action="store_true",
            help="take folders too, with all files in them; symbolic links are left alone",
        )
    else:
        parser.set_defaults(recursive=False)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add ``-o``, ``-c`` and ``-f``."""
    parser.add_argument(
        "-o", "--output", metavar="PATH", help="file or folder to write to; - is standard output"
    )
    parser.add_argument("-c", "--stdout", action="store_true", help="write to standard output")
    parser.add_argument(
        "-f",
        "--force",
        action="store_true",
        help="replace existing files, and write packed bytes to a terminal",
    )


def add_removal(parser: argparse.ArgumentParser) -> None:
    """Add ``--rm`` and the ``--keep`` that scripts for other tools pass."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "-k", "--keep", action="store_true", help="keep the source files (this is the default)"
    )
    choice.add_argument(
        "--rm", action="store_true", help="remove each source file when its result is on the disk"
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add ``--threads``."""
    parser.add_argument(
        "-T",
        "--threads",
        type=count_of("threads"),
        metavar="N",
        help="threads to work with (default: all)",
    )


def add_dictionary(parser: argparse.ArgumentParser) -> None:
    """Add ``--dictionary``."""
    parser.add_argument(
        "-D", "--dictionary", metavar="FILE", help="zstd dictionary, as train-dict writes it"
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add ``--quiet`` and ``--no-progress``."""
    parser.add_argument("-q", "--quiet", action="store_true", help="report failures only")
    parser.add_argument("--no-progress", action="store_true", help="show no progress bar")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def count_of(what: str) -> Callable[[str], int]:
    """Make a reader of numbers from 1 on.

    Args:
        what: What is counted, for the message.
    """

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise argparse.ArgumentTypeError(f"{text!r} is no number of {what}")
        return int(text)

    return read
