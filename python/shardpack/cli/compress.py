"""``shardpack compress``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from shardpack.cli import arguments
from shardpack.cli.console import Console, printable
from shardpack.cli.inputs import (
    STANDARD,
    Outputs,
    find_inputs,
    read_dictionary,
    standard_input,
    standard_output,
    total_size,
    usage_error,
)
from shardpack.cli.removal import SourceFile
from shardpack.cli.sizes import format_ratio, format_size, size
from shardpack.container import CONTAINERS, container_of_name, is_sidecar_name, suffix_of
from shardpack.files import compress_file

if TYPE_CHECKING:
    import argparse

    from shardpack.cli.inputs import Input

__all__ = ["add_parser"]

_CODECS = ("auto", "cpu-zstd", "cpu-gzip", "passthrough")
_ZSTD_LEVELS = range(1, 23)
_GZIP_LEVELS = range(10)

_EXAMPLES = """\
  shardpack compress data.csv                  data.csv.s4, with a sidecar if it is large
  shardpack compress -r logs -o packed         every file under logs, below packed/logs
  shardpack compress --level 19 --rm old.log   remove old.log when old.log.s4 is on the disk
  shardpack compress --container zst data.csv  data.csv.zst, for the zstd tool and others
  tar c src | shardpack compress -o src.tar.s4
"""


def add_parser(verbs: arguments.Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(
        verbs, "compress", "Compress files; the originals stay.", _EXAMPLES
    )
    arguments.add_files(parser, standard_input=True)
    arguments.add_output(parser)
    parser.add_argument(
        "--codec",
        choices=_CODECS,
        default="auto",
        help="auto samples each file and leaves alone what is compressed already (default)",
    )
    parser.add_argument(
        "-l", "--level", type=int, metavar="N", help="1 to 22 for zstd (3), 0 to 9 for gzip (6)"
    )
    parser.add_argument(
        "--container",
        choices=CONTAINERS,
        help="kind of file to write: s4 frames (default), or what zstd or gunzip read",
    )
    parser.add_argument(
        "--chunk-size",
        type=size,
        metavar="SIZE",
        help="original bytes that are compressed, and can be read, on their own",
    )
    arguments.add_dictionary(parser)
    arguments.add_threads(parser)
    arguments.add_removal(parser)
    arguments.add_quiet(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compress the files of the command line; gives the exit code."""
    if problem := _problem(options):
        return usage_error(problem)
    console = Console(options)
    inputs = _find(options, console)
    try:
        dictionary = read_dictionary(options)
        outputs = Outputs(options, inputs)
    except ValueError as error:
        return usage_error(str(error))
    standard = outputs.to_standard or (
        options.output is None and any(item.is_standard for item in inputs)
    )
    if standard and sys.stdout.isatty() and not options.force:
        return usage_error("packed bytes are not for a terminal: use -o FILE, or -f to insist")
    container = options.container
    if container is None and outputs.to_file:
        container = container_of_name(options.output)
    suffix = suffix_of(container or "s4")

    with console.progress(total_size(inputs)) as bar:

        def compress(number: int) -> None:
            item = inputs[number]
            explicit = standard or options.output is not None
            if not explicit and not item.is_standard and not _is_original(item.path):
                ending = os.path.splitext(item.path)[1]
                console.note(item.path, f"skipped, it ends in {ending} already")
                return
            source = SourceFile(item, remove=options.rm)
            destination = outputs.path_for(item, lambda name: name + suffix)
            report = compress_file(
                standard_input() if item.is_standard else item.path,
                standard_output() if destination is None else destination,
                codec=options.codec,
                level=options.level,
                container=container or "s4",
                chunk_size=options.chunk_size,
                threads=options.threads,
                dictionary=dictionary,
                overwrite=options.force,
                progress=bar,
            )
            source.finish(destination)
            where = printable(destination or "standard output")
            sizes = f"{format_size(report.original_size)} -> {format_size(report.stored_size)}"
            console.summary(item.path, f"{sizes} (ratio {format_ratio(report.ratio)}), {where}")

        def is_small(number: int) -> bool:
            # Results that share standard output stay in order.
            return inputs[number].is_small and not standard

        return console.each([item.path for item in inputs], compress, is_small=is_small)


def _find(options: argparse.Namespace, console: Console) -> list[Input]:
    left_alone = 0

    def wanted(name: str) -> bool:
        # A folder that is packed to another place arrives there whole.
        nonlocal left_alone
        if options.output is not None or _is_original(name):
            return True
        left_alone += container_of_name(name) is not None
        return False

    inputs = find_inputs(options, console, wanted=wanted)
    if left_alone:
        files = "1 file" if left_alone == 1 else f"{left_alone} files"
        folders = ", ".join(name for name in options.files if os.path.isdir(name))
        console.note(folders, f"{files} left alone, for the suffix .s4, .zst or .gz")
    return inputs


def _is_original(name: str) -> bool:
    return container_of_name(name) is None and not is_sidecar_name(name)


def _problem(options: argparse.Namespace) -> str | None:
    gzip = options.codec == "cpu-gzip" or options.container == "gz"
    levels = _GZIP_LEVELS if gzip else _ZSTD_LEVELS
    allowed = {"zst": ("auto", "cpu-zstd"), "gz": ("auto", "cpu-gzip")}
    level = options.level
    problems = {
        "--codec passthrough has no levels": level is not None and options.codec == "passthrough",
        f"--level must be {levels[0]} to {levels[-1]}, got {level}": (
            level is not None and level not in levels
        ),
        "--dictionary is for zstd only": (
            options.dictionary is not None and (gzip or options.codec == "passthrough")
        ),
        "--chunk-size must be positive": options.chunk_size == 0,
        f"a .{options.container} file cannot hold {options.codec}": (
            options.codec not in allowed.get(options.container, _CODECS)
        ),
        "--rm and standard output do not go together": (
            options.rm and (options.stdout or options.output == STANDARD)
        ),
    }
    return next((problem for problem, found in problems.items() if found), None)
