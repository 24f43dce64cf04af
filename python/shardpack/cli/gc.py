"""``shardpack gc``."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict

from shardpack.cli import arguments
from shardpack.cli.console import Console, printable
from shardpack.cli.sizes import counted, format_size
from shardpack.cli.store_options import URL_HELP, add_store, open_at

__all__ = ["add_parser"]

_EXAMPLES = f"""\
  shardpack gc --dry-run s3://bucket/data/     name what nothing refers to
  shardpack gc s3://bucket/data/               remove it
  shardpack gc --older-than 0 file:///data     also what was written just now

Garbage is what interrupted runs leave: parts and shards that no manifest below the URL names,
indexes without their archive, unfinished uploads. Only names that shardpack gives are looked at,
and nothing younger than --older-than hours: another run may be about to publish it.

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
        help="leave what is younger (default: 24)",
    )
    arguments.add_json(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="report failures only")
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

    def collect(_number: int) -> None:
        from shardpack.exchange.upkeep import gc as garbage

        store, prefix = open_at(options, options.url, folder=True)
        found = garbage.find_garbage(store.space, prefix, older_than_s=options.older_than * 3600)
        gone = tuple(found)
        if not options.dry_run:
            swept = garbage.sweep(store.space, found)
            gone = swept.removed
            for key, error in swept.failures.items():
                console.error(key, error)
        if options.json:
            print(json.dumps([asdict(item) for item in gone], indent=2, default=str))
            return
        for item in gone:
            if not options.quiet:
                console.say(f"{item.kind:7}  {format_size(item.size):>10}  {printable(item.key)}")
        total = format_size(sum(item.size for item in gone))
        console.note(
            options.url,
            f"{counted(len(gone), 'object')}, {total} "
            + ("would be removed" if options.dry_run else "removed"),
        )

    return console.each([options.url], collect)
