"""``shardpack parity repair``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from shardpack.cli import arguments
from shardpack.cli.console import EXPECTED_ERRORS, Console, describe, paint, printable
from shardpack.cli.inputs import STANDARD, Input, Outputs, usage_error
from shardpack.cli.parity_verify import add_folder, damage_lines, damage_text, stored_size
from shardpack.parity import repair_file
from shardpack.parity.locate import locate

if TYPE_CHECKING:
    from shardpack.cli.arguments import Verbs
    from shardpack.parity import ParityReport

__all__ = ["add_parser"]

_EXAMPLES = """\
  shardpack parity repair data.csv             the damaged file is data.csv.1 afterwards
  shardpack parity repair -o good.csv data.csv leave data.csv as it is
  shardpack parity repair data.csv.parity      data.csv itself may be gone
  shardpack parity repair --no-backup *.tar    do not keep the damaged files

What is rebuilt is compared with the digests from when the parity was made before it replaces
anything; where too much is damaged, nothing is written and the exit code is 1. A file that was
changed on purpose after its parity was made looks damaged: encode it again instead.
"""


def add_parser(verbs: Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(
        verbs, "repair", "Rebuild what is damaged, of files and of their parity.", _EXAMPLES
    )
    arguments.add_files(parser, standard_input=False, recursive=False)
    add_folder(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        help="file or folder to write repaired files to; nothing else is written",
    )
    parser.add_argument("-f", "--force", action="store_true", help="replace what -o names")
    parser.add_argument(
        "--no-backup",
        action="store_true",
        help="do not keep a damaged file, as FILE.1 or the next free number",
    )
    arguments.add_json(parser)
    arguments.add_threads(parser)
    arguments.add_quiet(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Repair the files of the command line; gives the exit code."""
    if options.folder is not None and len(options.files) > 1:
        return usage_error("--folder is for one file")
    console = Console(options)
    inputs = [_input(name, options.folder) for name in options.files]
    try:
        outputs = _outputs(options.output, inputs)
    except ValueError as error:
        return usage_error(str(error))
    facts: list[dict[str, object]] = []
    with console.progress(stored_size([item.path for item in inputs], options.folder)) as bar:
        for item in inputs:
            output: str | None = None
            try:
                output = None if outputs is None else outputs.path_for(item, lambda name: name)
                report = repair_file(
                    item.path,
                    folder=options.folder,
                    output=output,
                    overwrite=options.force,
                    backup=not options.no_backup,
                    progress=bar,
                    threads=options.threads,
                )
            except EXPECTED_ERRORS as error:
                console.failed = True
                text = describe(error, item.path)
                facts.append({"path": item.path, "repaired": [], "error": text})
                lines = [f"{printable(item.path)}: {paint('FAILED', 'red', sys.stdout)}, {text}"]
            else:
                facts.append(report.to_dict())
                lines = [] if options.quiet else _lines(report, output)
            for line in lines if not options.json else ():
                console.say(line)
    if options.json:
        print(json.dumps(facts, indent=2))
    return console.status


def _input(name: str, folder: str | None) -> Input:
    """Name the file and what it is called in an output folder."""
    relative = os.path.basename(name.rstrip(os.sep))
    if os.path.isdir(name):
        # The folder of its parity; what is wrong with it is told when its turn comes.
        with suppress(*EXPECTED_ERRORS):
            relative = locate(name, folder).record.group.name
    return Input(name, relative, 0)


def _outputs(output: str | None, inputs: list[Input]) -> Outputs | None:
    if output is None:
        return None
    if output == STANDARD:
        raise ValueError("-o names a file or folder; standard output is not for repaired files")
    # None of the files is a folder with files in it, though some may be the folder of a parity.
    return Outputs(argparse.Namespace(output=output, stdout=False, files=[]), inputs)


def _lines(report: ParityReport, output: str | None) -> list[str]:
    name = printable(report.path)
    written = "" if output is None else f"written to {printable(output)}"
    if report.intact:
        return [f"{name}: {paint('ok', 'green', sys.stdout)}, {written or 'nothing to repair'}"]
    repaired = paint("repaired", "green", sys.stdout)
    kept = "" if report.backup is None else f"the damaged file is {printable(report.backup)}"
    text = "; ".join(filter(None, (damage_text(report), written, kept)))
    return [f"{name}: {repaired}, {text}", *damage_lines(report)]
