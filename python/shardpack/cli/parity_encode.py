"""``shardpack parity encode``."""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING

from shardpack.cli import arguments
from shardpack.cli.console import Console, describe, printable
from shardpack.cli.inputs import STANDARD, Outputs, find_inputs, total_size, usage_error
from shardpack.cli.sizes import format_size, size
from shardpack.parity import encode_file
from shardpack.parity.locate import FOLDER_SUFFIX
from shardpack.rs import MAX_SHARDS

if TYPE_CHECKING:
    from shardpack.cli.arguments import Verbs

__all__ = ["add_parser"]

_DATA_SHARDS = 10
_PARITY_SHARDS = 4

_EXAMPLES = """\
  shardpack parity encode data.csv               data.csv.parity: any 4 of 14 may be lost
  shardpack parity encode -k 20 -m 2 *.tar       +10 % of space for each, against bad sectors
  shardpack parity encode -k 1 -m 1 keys.txt     a copy that finds and mends its own rot
  shardpack parity encode -o /mnt/b/ data.csv    the parity on another disk
  shardpack parity encode -f data.csv            data.csv has changed: make new parity

A file is as safe as its parity is fresh: what is changed later counts as damage.
"""


def add_parser(verbs: Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(verbs, "encode", "Write parity for files.", _EXAMPLES)
    arguments.add_files(parser, standard_input=False, recursive=False)
    parser.add_argument(
        "-k",
        "--data-shards",
        type=_count,
        default=_DATA_SHARDS,
        metavar="K",
        help=f"parts to take each file as (default: {_DATA_SHARDS})",
    )
    parser.add_argument(
        "-m",
        "--parity-shards",
        type=_count,
        default=_PARITY_SHARDS,
        metavar="M",
        help=f"parity shards to write (default: {_PARITY_SHARDS});"
        f" K and M are {MAX_SHARDS} at most together",
    )
    parser.add_argument(
        "--block",
        type=size,
        metavar="SIZE",
        help="what is found to be damaged as a whole (default: by the size of the file)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        help=f"folder to write, or to write FILE{FOLDER_SUFFIX} in (default: beside each file)",
    )
    parser.add_argument("-f", "--force", action="store_true", help="replace existing parity")
    arguments.add_json(parser)
    arguments.add_threads(parser)
    arguments.add_quiet(parser)
    parser.set_defaults(run=run, stdout=False)


def run(options: argparse.Namespace) -> int:
    """Write parity for the files of the command line; gives the exit code."""
    if options.data_shards + options.parity_shards > MAX_SHARDS:
        return usage_error(f"-k and -m are {MAX_SHARDS} at most together")
    if options.block == 0:
        return usage_error("--block must be positive")
    if STANDARD in options.files:
        return usage_error("parity is for files, not for standard input")
    if options.output == STANDARD:
        return usage_error("-o names a folder; parity does not go to standard output")
    console = Console(options)
    for name in filter(os.path.isdir, options.files):
        console.error(name, "is a folder; parity is for files")
    options.files = [name for name in options.files if not os.path.isdir(name)]
    inputs = find_inputs(options, console, wanted=lambda _name: True)
    try:
        outputs = Outputs(options, inputs)
    except ValueError as error:
        return usage_error(str(error))
    facts: list[dict[str, object]] = []
    with console.progress(total_size(inputs)) as bar:

        def encode(number: int) -> None:
            item = inputs[number]
            try:
                report = encode_file(
                    item.path,
                    options.data_shards,
                    options.parity_shards,
                    block=options.block,
                    output=outputs.path_for(item, lambda name: name + FOLDER_SUFFIX),
                    overwrite=options.force,
                    progress=bar,
                    threads=options.threads,
                )
            except Exception as error:
                facts.append({"path": item.path, "error": describe(error, item.path)})
                raise
            facts.append(report.to_dict())
            console.summary(
                item.path,
                f"{report.data_shards}+{report.parity_shards} shards of"
                f" {format_size(report.shard_len)}, {printable(report.folder)}",
            )

        status = console.each([item.path for item in inputs], encode)
    if options.json:
        print(json.dumps(facts, indent=2))
    return status


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) < MAX_SHARDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {MAX_SHARDS - 1}")
    return int(text)
