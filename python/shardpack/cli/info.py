"""``shardpack info``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from shardpack.cli import arguments
from shardpack.cli.console import EXPECTED_ERRORS, Console, describe, printable, table
from shardpack.cli.inputs import find_inputs
from shardpack.cli.sizes import format_ratio, format_size
from shardpack.container import container_of_name
from shardpack.files import inspect_file

if TYPE_CHECKING:
    import argparse

    from shardpack.files import FileReport

__all__ = ["add_parser"]

_EXAMPLES = """\
  shardpack info data.csv.s4
  shardpack info -r packed
  shardpack info --json data.csv.s4 | jq '.[0].ratio'

Only headers are read. The sidecar is trusted if it is bound to a file of this size and agrees with
every frame header; otherwise ranges are found by the headers. A question mark stands for what the
headers do not tell.
"""

_HEADING = ("FILE", "KIND", "CODEC", "FRAMES", "ORIGINAL", "STORED", "RATIO", "SIDECAR")
_LEFT = frozenset({0, 1, 2, 7})


def add_parser(verbs: arguments.Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(verbs, "info", "Tell what packed files hold.", _EXAMPLES)
    arguments.add_files(parser, standard_input=False)
    arguments.add_json(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="report failures only")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Inspect the files of the command line; gives the exit code."""
    console = Console(options)
    inputs = find_inputs(options, console, wanted=lambda name: container_of_name(name) is not None)
    facts: list[dict[str, object]] = []
    rows: list[tuple[str, ...]] = [_HEADING]
    for item in inputs:
        try:
            report = inspect_file(item.path)
        except EXPECTED_ERRORS as error:
            console.error(item.path, error)
            facts.append({"source": item.path, "error": describe(error, item.path)})
        else:
            facts.append(report.to_dict())
            rows.append(_row(report))
    if options.json:
        print(json.dumps(facts, indent=2))
    elif len(rows) > 1:
        print(table(rows, left=_LEFT))
    return console.status


def _row(report: FileReport) -> tuple[str, ...]:
    return (
        printable(report.source or "-"),
        report.container,
        ", ".join(report.codecs) or "-",
        "?" if report.frames is None else str(report.frames),
        format_size(report.original_size),
        format_size(report.stored_size),
        format_ratio(report.ratio),
        report.sidecar,
    )
