"""``shardpack cat``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardpack.batch import write_all
from shardpack.cli import arguments
from shardpack.cli.console import Console
from shardpack.cli.inputs import (
    find_inputs,
    read_dictionary,
    standard_input,
    standard_output,
    usage_error,
)
from shardpack.cli.sizes import byte_range
from shardpack.cli.store_options import URL_HELP, add_store, is_url, open_at
from shardpack.files import iter_range

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

__all__ = ["add_parser"]

_PIECE = 1 << 20

_EXAMPLES = f"""\
  shardpack cat data.csv.s4 | head
  shardpack cat --range 1M:2M data.csv.s4  one MiB, decoding only the frames around it
  shardpack cat --range -1K: log.s4        the last KiB
  shardpack cat --range :64K a.s4 b.s4     the first 64 KiB of each
  shardpack cat s3://bucket/shards/a.tar.gz#cat.jpg > cat.jpg

START and END count original bytes like a Python slice: START is the first byte, END the first one
not wanted; negative ones count from the end; K, M, G and T are powers of 1024. Objects of a store
are written as they are stored.

{URL_HELP}"""


def add_parser(verbs: arguments.Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(
        verbs, "cat", "Write original bytes, or a part of them, to standard output.", _EXAMPLES
    )
    arguments.add_files(parser, standard_input=True, recursive=False)
    parser.add_argument(
        "--range",
        type=byte_range,
        metavar="START:END",
        default=(None, None),
        help="only these bytes; reads no more of an .s4 file than it must",
    )
    parser.add_argument(
        "-f", "--force", action="store_true", help="write files that are not packed as they are"
    )
    arguments.add_dictionary(parser)
    arguments.add_threads(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="report failures only")
    add_store(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the files of the command line; gives the exit code."""
    console = Console(options)
    try:
        dictionary = read_dictionary(options)
    except ValueError as error:
        return usage_error(str(error))
    inputs = find_inputs(options, console, wanted=lambda _name: False, is_url=is_url)
    sink = standard_output()

    def write(number: int) -> None:
        item = inputs[number]
        if is_url(item.path):
            pieces = _iter_object(options, item.path)
        else:
            pieces = iter_range(
                standard_input() if item.is_standard else item.path,
                *options.range,
                dictionary=dictionary,
                threads=options.threads,
                plain=options.force,
            )
        # Not a `for` loop: its variable would keep a batch alive while the next is decoded.
        while piece := next(pieces, b""):
            write_all(sink, piece)
            del piece

    return console.each([item.path for item in inputs], write)


def _iter_object(options: argparse.Namespace, url: str) -> Iterator[bytes]:
    """Give the bytes of an object or member, or the range of them that is asked for."""
    store, key = open_at(options, url)
    start, end = options.range
    if (start or 0) < 0 or (end or 0) < 0:
        size = store.get_object_metadata(key)["ContentLength"]
        start, end, _ = slice(start, end).indices(size)
        if start >= end:
            return
    with store.get_object(key, start=start, end=end) as body:
        while piece := body.read(_PIECE):
            yield piece
