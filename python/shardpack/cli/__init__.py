"""The ``shardpack`` command."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from shardpack._native import __version__
from shardpack.cli.console import (
    EXIT_BROKEN_PIPE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    describe,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

__all__ = ["main"]

_EPILOG = """\
exit codes:
  0    everything went well
  1    some file failed; the others were done
  2    the command line makes no sense
  130  interrupted (Ctrl-C); no half-written file is left
  141  the reader of the output went away

environment:
  SHARDPACK_NUM_THREADS  threads to work with, unless --threads says otherwise
  NO_COLOR               no colours, also on a terminal

examples:
  shardpack compress data.csv              write data.csv.s4, keep data.csv
  shardpack cat --range 1M:2M data.csv.s4  a part of it, without decoding the rest
  shardpack pack photos s3://bucket/photos a folder as shards, with a manifest
  shardpack COMMAND --help                 all options, with examples
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The command line without the program name; that of the process when ``None``.

    Returns:
        The exit code.
    """
    _open_closed_streams()
    # Programs that call this from another thread keep their own way to end.
    in_charge = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, _terminate) if in_charge else None
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        print("shardpack: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _give_up_standard_output()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        # Files are dealt with one by one; what is left is the text that goes to standard output.
        _give_up_standard_output()
        print(f"shardpack: standard output: {describe(error)}", file=sys.stderr)
        return EXIT_FAILED
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def _open_closed_streams() -> None:
    """Occupy closed standard streams, or the files of this run would take their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # Read-only for output and write-only for input, so that using them is an error.
            mode = os.O_RDONLY if name == "stdout" else os.O_WRONLY
            os.open(os.devnull, mode)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))


def _give_up_standard_output() -> None:
    # The interpreter would flush it once more at the end, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    # Most of the time until the command begins is spent here, where an interrupt is dealt with.
    import argparse

    from shardpack.cli import (
        bench,
        cat,
        compress,
        decompress,
        gc,
        get,
        hash,
        index,
        info,
        ls,
        manifest,
        pack,
        parity,
        rm,
        train_dict,
        verify,
    )

    file_verbs = (compress, decompress, cat, info, verify, hash, parity, train_dict, bench)
    store_verbs = (pack, ls, get, manifest, index, gc, rm)
    parser = argparse.ArgumentParser(
        prog="shardpack",
        description="Compress, hash, protect and pack files; read any part of them back alone.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"shardpack {__version__}")
    verbs = parser.add_subparsers(metavar="COMMAND", required=True)
    for verb in (*file_verbs, *store_verbs):
        verb.add_parser(verbs)
    options = parser.parse_args(_join_ranges(arguments))
    status: int = options.run(options)
    sys.stdout.flush()
    return status


def _join_ranges(arguments: list[str]) -> list[str]:
    """Write ``--range -10:`` as ``--range=-10:``; argparse takes the former for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--range" and argument.startswith("-") and ":" in argument:
            joined[-1] = f"--range={argument}"
        else:
            joined.append(argument)
    return joined


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    # An exception instead of a sudden end, so that temporary files are removed.
    sys.exit(EXIT_TERMINATED)
