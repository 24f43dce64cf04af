"""``shardpack hash``."""

from __future__ import annotations

import argparse
import io
import json
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from shardpack.cli import arguments
from shardpack.cli.console import Console, describe, printable
from shardpack.cli.digest_check import check_lists
from shardpack.cli.digest_lines import DEFAULT, algorithm_of_name, format_line
from shardpack.cli.digests import DigestTask, iter_digests
from shardpack.cli.inputs import find_inputs, total_size, usage_error
from shardpack.hash import ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["add_parser"]

_EXAMPLES = """\
  shardpack hash data.csv                  the BLAKE3 digest, as b3sum prints it
  shardpack hash -a sha256 *.csv > SUMS    as sha256sum does
  shardpack hash -a sha256 --check SUMS    compare; what sha256sum wrote is read too
  shardpack hash -r --tag folder > SUMS    lines that name their algorithm
  shardpack hash --check --quiet SUMS      only the files that differ

With --check, FILEs are lists of digests. A line says by its tag or by the length of its digest what
algorithm it is of; where both leave that open it is the one of -a, or else blake3. The exit code is
1 if a file differs or cannot be read, or if a list has no line that can be understood.
"""


def add_parser(verbs: arguments.Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(verbs, "hash", "Print or check digests of files.", _EXAMPLES)
    arguments.add_files(parser, standard_input=True)
    parser.add_argument(
        "-a",
        "--algorithm",
        type=_algorithm,
        metavar="NAME",
        help=f"{', '.join(ALGORITHMS)} (default: {DEFAULT})",
    )
    parser.add_argument("--tag", action="store_true", help="print lines that name the algorithm")
    parser.add_argument(
        "-c", "--check", action="store_true", help="read digests from the FILEs and check them"
    )
    checking = parser.add_argument_group("options that go with --check")
    checking.add_argument(
        "--ignore-missing", action="store_true", help="pass over files that do not exist"
    )
    checking.add_argument("--status", action="store_true", help="only the exit code tells")
    checking.add_argument(
        "--strict", action="store_true", help="fail if a line cannot be understood"
    )
    checking.add_argument("-w", "--warn", action="store_true", help="report each such line")
    arguments.add_json(parser)
    arguments.add_threads(parser)
    arguments.add_quiet(parser)
    parser.set_defaults(run=run)


def _algorithm(text: str) -> str:
    name = algorithm_of_name(text)
    if name is None:
        known = ", ".join(ALGORITHMS)
        raise argparse.ArgumentTypeError(f"{text!r} is no algorithm; there are {known}")
    return name


def run(options: argparse.Namespace) -> int:
    """Print or check the digests of the files of the command line; gives the exit code."""
    without_meaning = (
        ("recursive", "tag") if options.check else ("ignore_missing", "status", "strict", "warn")
    )
    for option in without_meaning:
        if getattr(options, option):
            name = option.replace("_", "-")
            place = "with" if options.check else "without"
            return usage_error(f"--{name} means nothing {place} --check")
    console = Console(options)
    with _names_of_any_bytes():
        facts = check_lists(options, console) if options.check else _print(options, console)
        if options.json:
            print(json.dumps(facts, indent=2))
    return console.status


def _print(options: argparse.Namespace, console: Console) -> list[dict[str, object]]:
    algorithm = options.algorithm or DEFAULT
    inputs = find_inputs(options, console, wanted=lambda _name: True)
    # A terminal would obey what a name may contain; a file keeps it.
    shown = printable if sys.stdout.isatty() else str
    facts: list[dict[str, object]] = []
    tasks = (DigestTask(item.path, algorithm, item.size) for item in inputs)
    with (
        console.progress(total_size(inputs)) as bar,
        closing(iter_digests(tasks, threads=options.threads, bar=bar)) as digests,
    ):
        for task, digest in digests:
            fact: dict[str, object] = {"source": task.name, "algorithm": algorithm}
            if isinstance(digest, BaseException):
                console.error(task.name, digest)
                fact["error"] = describe(digest, task.name)
            else:
                fact["digest"] = digest.hex()
                if not options.json:
                    line = format_line(task.name, digest, algorithm, tag=options.tag)
                    console.say(shown(line))
            if options.json:
                facts.append(fact)
    return facts


@contextmanager
def _names_of_any_bytes() -> Iterator[None]:
    """Write names to standard output as the bytes that they are, or nobody finds the files."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    encoding, errors = stream.encoding, stream.errors
    stream.reconfigure(encoding=sys.getfilesystemencoding(), errors="surrogateescape")
    try:
        yield
    finally:
        stream.reconfigure(encoding=encoding, errors=errors)
