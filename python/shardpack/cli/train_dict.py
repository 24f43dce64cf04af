"""``shardpack train-dict``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardpack.atomic import AtomicFile
from shardpack.batch import write_all
from shardpack.cli import arguments
from shardpack.cli.console import EXPECTED_ERRORS, Console, printable
from shardpack.cli.inputs import STANDARD, find_inputs, standard_output, usage_error
from shardpack.cli.sizes import size
from shardpack.codec import dict_id, train_dict

if TYPE_CHECKING:
    import argparse

__all__ = ["add_parser"]

_EXAMPLES = """\
  shardpack train-dict events/*.json -o dict.bin
  shardpack train-dict --split-lines events.jsonl -o dict.bin
  shardpack compress -D dict.bin new-event.json

A dictionary pays for many small, similar records that are compressed one by one. Give some hundred
of them, together about a hundred times the size of the dictionary. Whoever decompresses needs the
same dictionary.
"""

_DEFAULT_SIZE = 112640


def add_parser(verbs: arguments.Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(
        verbs, "train-dict", "Make a zstd dictionary from samples.", _EXAMPLES
    )
    arguments.add_files(parser, standard_input=False)
    parser.add_argument("-o", "--output", metavar="PATH", required=True, help="dictionary to write")
    parser.add_argument(
        "--size",
        type=size,
        metavar="SIZE",
        default=_DEFAULT_SIZE,
        help=f"largest size of the dictionary (default {_DEFAULT_SIZE})",
    )
    parser.add_argument(
        "--split-lines", action="store_true", help="take every line of the files for a sample"
    )
    parser.add_argument("-f", "--force", action="store_true", help="replace an existing file")
    parser.add_argument("-q", "--quiet", action="store_true", help="report failures only")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train on the files of the command line; gives the exit code."""
    console = Console(options)
    samples: list[bytes] = []
    for item in find_inputs(options, console, wanted=lambda _name: True):
        if item.is_standard:
            return usage_error("train-dict reads files, not standard input")
        try:
            with open(item.path, "rb") as file:
                content = file.read()
        except OSError as error:
            console.error(item.path, error)
            continue
        samples += content.splitlines(keepends=True) if options.split_lines else [content]
    if console.failed:
        # A dictionary from half the samples would look like one from all of them.
        return console.status
    try:
        if options.output == STANDARD:
            write_all(standard_output(), train_dict(samples, options.size))
            return console.status
        with AtomicFile(options.output, overwrite=options.force) as target:
            dictionary = train_dict(samples, options.size)
            write_all(target.file, dictionary)
            target.publish()
    except BrokenPipeError:
        raise
    except EXPECTED_ERRORS as error:
        console.error(options.output, error)
        return console.status
    if not options.quiet:
        facts = f"{len(dictionary)} bytes, id {dict_id(dictionary)}, {len(samples)} samples"
        print(f"{printable(options.output)}: {facts}")
    return console.status
