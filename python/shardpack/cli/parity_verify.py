"""``shardpack parity verify``."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from shardpack.cli import arguments
from shardpack.cli.console import EXPECTED_ERRORS, Console, describe, paint, printable
from shardpack.cli.inputs import usage_error
from shardpack.cli.sizes import format_size
from shardpack.parity import verify_file
from shardpack.parity.locate import locate

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from shardpack.cli.arguments import Verbs
    from shardpack.parity import ParityReport, ShardDamage

__all__ = ["add_folder", "add_parser", "damage_lines", "damage_text", "stored_size"]

_EXAMPLES = """\
  shardpack parity verify data.csv           compare data.csv and its parity with what they were
  shardpack parity verify -q /backup/*.tar   name only the damaged ones
  shardpack parity verify data.csv.parity    the same as data.csv, which may be gone
  shardpack parity verify --json data.csv    every damaged range of bytes

Every byte is read, nothing is written. The exit code is 1 if anything is damaged.
"""


def add_parser(verbs: Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(
        verbs, "verify", "Tell what is damaged, of files and of their parity.", _EXAMPLES
    )
    arguments.add_files(parser, standard_input=False, recursive=False)
    add_folder(parser)
    arguments.add_json(parser)
    arguments.add_threads(parser)
    arguments.add_quiet(parser)
    parser.set_defaults(run=run)


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Add ``--folder``."""
    parser.add_argument(
        "--folder", metavar="PATH", help="where the parity is (default: FILE.parity)"
    )


def run(options: argparse.Namespace) -> int:
    """Verify the files of the command line; gives the exit code."""
    if options.folder is not None and len(options.files) > 1:
        return usage_error("--folder is for one file")
    console = Console(options)
    facts: list[dict[str, object]] = []
    with console.progress(stored_size(options.files, options.folder)) as bar:
        for name in options.files:
            try:
                report = verify_file(
                    name, folder=options.folder, progress=bar, threads=options.threads
                )
            except EXPECTED_ERRORS as error:
                console.failed = True
                text = describe(error, name)
                facts.append({"path": name, "intact": False, "error": text})
                lines = [f"{printable(name)}: {paint('FAILED', 'red', sys.stdout)}, {text}"]
            else:
                console.failed |= not report.intact
                facts.append(report.to_dict())
                lines = [] if report.intact and options.quiet else _lines(report)
            for line in lines if not options.json else ():
                console.say(line)
    if options.json:
        print(json.dumps(facts, indent=2))
    return console.status


def stored_size(files: Sequence[str], folder: str | None) -> int:
    """Sum up what will be read, for a progress bar."""
    total = 0
    for name in files:
        try:
            group = locate(name, folder).record.group
        except EXPECTED_ERRORS:
            continue
        total += group.size + group.parity_shards * group.shard_len
    return total


def _lines(report: ParityReport) -> list[str]:
    name = printable(report.path)
    code = f"{report.data_shards}+{report.parity_shards} shards"
    if report.intact:
        good = paint("ok", "green", sys.stdout)
        return [f"{name}: {good}, {code} of {format_size(report.shard_len)}"]
    damaged = paint("DAMAGED", "red", sys.stdout)
    if report.repairable:
        advice = "repairable"
    else:
        advice = f"{report.worst} in one column, at most {report.parity_shards} can be rebuilt"
    return [f"{name}: {damaged}, {damage_text(report)}, {advice}", *damage_lines(report)]


def damage_text(report: ParityReport) -> str:
    """Say in a few words what is damaged."""
    blocks = sum(damage.bad_blocks for damage in report.damage)
    if not blocks:
        return "no shard but what is beside them"
    return f"{_counted(blocks, 'block')} of {_counted(len(report.damage), 'shard')}"


def damage_lines(report: ParityReport) -> list[str]:
    """Say line by line what is damaged."""
    folder = os.path.basename(report.folder)
    lines = [f"  {_place(damage, report, folder)}" for damage in report.damage]
    lines.extend(f"  {printable(problem)}" for problem in report.problems)
    if report.modified:
        lines.append("  written to since its parity was made; if that was meant, encode again")
    return lines


def _place(damage: ShardDamage, report: ParityReport, folder: str) -> str:
    is_data = damage.shard < report.data_shards
    # The record has the name that the file had, which may be called something else now.
    where = os.path.basename(report.path) if is_data else os.path.join(folder, damage.key)
    text = f"{printable(where)}, shard {damage.shard}: "
    if damage.missing:
        return text + "missing"
    start, end = damage.ranges[0]
    text += (
        f"{damage.bad_blocks} of {_counted(damage.block_count, 'block')}, bytes {start} to {end}"
    )
    more = len(damage.ranges) - 1
    return text + (f" and {_counted(more, 'range')} more" if more else "")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
