"""``shardpack decompress``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardpack.cli import arguments
from shardpack.cli.console import Console, printable
from shardpack.cli.inputs import (
    Outputs,
    find_inputs,
    read_dictionary,
    report_nothing_packed,
    standard_input,
    standard_output,
    total_size,
    usage_error,
)
from shardpack.cli.removal import SourceFile
from shardpack.cli.sizes import format_size
from shardpack.container import container_of_name, is_sidecar_name, strip_suffix
from shardpack.files import decompress_file
from shardpack.frame import SIDECAR_SUFFIX

if TYPE_CHECKING:
    import argparse

__all__ = ["add_parser"]

_EXAMPLES = """\
  shardpack decompress data.csv.s4             data.csv; data.csv.s4 stays
  shardpack decompress data.csv.gz logs.zst    whatever the kind, told by the first bytes
  shardpack decompress -r packed -o restored   every packed file under packed
  shardpack decompress -D dict.bin events.s4   packed with a dictionary
  shardpack decompress -c src.tar.s4 | tar x
"""


def add_parser(verbs: arguments.Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(
        verbs, "decompress", "Decompress files; the packed ones stay.", _EXAMPLES
    )
    arguments.add_files(parser, standard_input=True)
    arguments.add_output(parser)
    arguments.add_dictionary(parser)
    arguments.add_threads(parser)
    arguments.add_removal(parser)
    arguments.add_quiet(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Decompress the files of the command line; gives the exit code."""
    if options.rm and (options.stdout or options.output == "-"):
        return usage_error("--rm and standard output do not go together")
    console = Console(options)
    inputs = find_inputs(options, console, wanted=lambda name: container_of_name(name) is not None)
    report_nothing_packed(options, console, inputs)
    try:
        dictionary = read_dictionary(options)
        outputs = Outputs(options, inputs)
    except ValueError as error:
        return usage_error(str(error))

    with console.progress(total_size(inputs)) as bar:

        def decompress(number: int) -> None:
            item = inputs[number]
            source = SourceFile(item, remove=options.rm, companions=(item.path + SIDECAR_SUFFIX,))
            destination = outputs.path_for(item, _original_name)
            report = decompress_file(
                standard_input() if item.is_standard else item.path,
                standard_output() if destination is None else destination,
                threads=options.threads,
                dictionary=dictionary,
                overwrite=options.force,
                progress=bar,
            )
            source.finish(destination)
            console.summary(
                item.path,
                f"{format_size(report.stored_size)} -> {format_size(report.original_size)},"
                f" {printable(destination or 'standard output')}",
            )

        def is_small(number: int) -> bool:
            # Results that share standard output stay in order.
            return inputs[number].is_small and not outputs.to_standard

        return console.each([item.path for item in inputs], decompress, is_small=is_small)


def _original_name(name: str) -> str:
    original = strip_suffix(name)
    if original is not None:
        return original
    if is_sidecar_name(name):
        raise ValueError(f"this is the sidecar of another file ({SIDECAR_SUFFIX}), not packed data")
    raise ValueError("no suffix .s4, .zst or .gz to take away: say where to write with -o FILE")
