"""``shardpack gc``."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING

from shardpack.cli import arguments
from shardpack.cli.console import Console, describe, printable
from shardpack.cli.sizes import counted, format_size
from shardpack.cli.store_options import URL_HELP, add_store, open_at
from shardpack.errors import InvalidManifestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardpack.exchange.upkeep.gc import Garbage, GarbageReport

__all__ = ["add_parser"]

_UNIT = " objects"
_MOST_NAMED = 20
_NO_MANIFEST = "nothing was removed; if that is data, let a manifest name it as a file"

_EXAMPLES = f"""\
  shardpack gc --dry-run s3://bucket/data/     name what nothing refers to
  shardpack gc s3://bucket/data/               remove it
  shardpack gc --older-than 0 file:///data     also what was written just now

Garbage is what interrupted runs leave: parts and shards that no manifest below the URL names,
indexes without their archive, unfinished uploads. Only names that shardpack gives are looked at.

Nothing goes that was written within the last --older-than hours by the clock of the server, as
another run may be about to publish it; nor what a manifest may have named until then, as a reader
may have begun before a compaction. What stays for that is counted. With 0 nothing stays: use it
where nobody writes or reads.

A .jsonl file that is no manifest (lines of data, text) is passed over. A damaged manifest, in
which a line is an entry or begins like one, ends the command before anything is removed. Where
nobody can tell (an empty file, an object cut off), all in that file's folder and below it stays,
with a warning; a file that a manifest names is data, unless another manifest refers to it as one.

{URL_HELP}"""


def add_parser(verbs: arguments.Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(
        verbs, "gc", "Remove parts, shards and uploads that nothing refers to.", _EXAMPLES
    )
    parser.add_argument("url", metavar="URL", help="prefix with its manifests")
    parser.add_argument("-n", "--dry-run", action="store_true", help="name it, remove nothing")
    parser.add_argument(
        "--older-than",
        type=_hours,
        default=24.0,
        metavar="HOURS",
        help="leave what is younger, or was perhaps in use since (default: 24)",
    )
    arguments.add_json(parser)
    arguments.add_quiet(parser)
    add_store(parser)
    parser.set_defaults(run=run)


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 <= hours < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hours")
    return hours


def run(options: argparse.Namespace) -> int:
    """Collect the garbage below the URL; gives the exit code."""
    console = Console(options)

    def guarded(_number: int) -> None:
        try:
            collect()
        except InvalidManifestError as error:
            console.error(options.url, f"{describe(error)}; {_NO_MANIFEST}")

    def collect() -> None:
        from shardpack.exchange.upkeep import gc as garbage

        store, prefix = open_at(options, options.url, folder=True)
        with console.progress(None, unit=_UNIT) as bar:
            report = garbage.survey(
                store.space, prefix, older_than_s=options.older_than * 3600, progress=bar
            )
        gone = report.garbage
        if not options.dry_run:
            with console.progress(None, unit=_UNIT) as bar:
                swept = garbage.sweep(store.space, gone, progress=bar)
            gone = swept.removed
            for key, error in swept.failures.items():
                console.error(key, error)
        _warn(options, console, report)
        if options.json:
            kept = asdict(report)
            del kept["garbage"]
            removed = [asdict(item) for item in gone]
            facts = {"url": options.url, "dry_run": options.dry_run, "removed": removed, **kept}
            print(json.dumps(facts, indent=2, default=str))
        else:
            _tell(options, console, report, gone)

    return console.each([options.url], guarded)


def _warn(options: argparse.Namespace, console: Console, report: GarbageReport) -> None:
    for key in islice(report.undecided, _MOST_NAMED):
        console.note(
            key, "warning: perhaps a damaged manifest; what its folder holds was left alone"
        )
    if len(report.undecided) > _MOST_NAMED:
        others = len(report.undecided) - _MOST_NAMED
        console.note(options.url, f"warning: the same holds for {counted(others, 'other')}")


def _tell(
    options: argparse.Namespace, console: Console, report: GarbageReport, gone: Sequence[Garbage]
) -> None:
    for item in gone:
        if not options.quiet:
            console.say(f"{item.kind:7}  {format_size(item.size):>10}  {printable(item.key)}")
    if report.foreign:
        told = f"{counted(len(report.foreign), 'file')} called like a manifest and none"
        console.note(options.url, f"{told}, passed over; first {printable(report.foreign[0])}")
    if report.withheld:
        console.note(options.url, f"{_sum(report.withheld)} kept beside what may be a manifest")
    if report.young:
        hours = f"{options.older_than:g} hours"
        console.note(
            options.url, f"{_sum(report.young)} kept: written or perhaps in use within {hours}"
        )
    console.note(
        options.url, f"{_sum(gone)} " + ("would be removed" if options.dry_run else "removed")
    )


def _sum(found: Sequence[Garbage]) -> str:
    return f"{counted(len(found), 'object')}, {format_size(sum(item.size for item in found))}"
