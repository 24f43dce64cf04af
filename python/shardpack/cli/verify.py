"""``shardpack verify``."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from shardpack.cli import arguments
from shardpack.cli.console import EXPECTED_ERRORS, Console, describe, paint, printable
from shardpack.cli.inputs import (
    find_inputs,
    read_dictionary,
    report_nothing_packed,
    total_size,
    usage_error,
)
from shardpack.cli.sizes import format_size
from shardpack.cli.store_options import MANIFEST_NAME, URL_HELP, add_store, is_url
from shardpack.cli.verify_store import verify_url
from shardpack.container import container_of_name
from shardpack.files import verify_file

if TYPE_CHECKING:
    import argparse

    from shardpack.files import FileReport

__all__ = ["add_parser"]

_EXAMPLES = f"""\
  shardpack verify data.csv.s4
  shardpack verify -r /backup && echo all good
  shardpack verify -q -r /backup           name only the damaged ones
  shardpack verify --json data.csv.s4
  shardpack verify s3://bucket/photos/manifest.jsonl  all shards and objects that it names

Everything is decoded: every checksum and size is checked, and every entry of a sidecar against the
frame it stands for. Of a URL, and of a local folder with a manifest.jsonl, everything that the
manifests name is read, unless --quick is given: then sizes and tags are compared. Below a URL
without any manifest the archives are checked by themselves; for shards of pack it is a failure that
there is none. The exit code is 1 if anything fails.

{URL_HELP}"""


def add_parser(verbs: arguments.Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(
        verbs, "verify", "Check packed files, byte by byte, without writing.", _EXAMPLES
    )
    arguments.add_files(parser, standard_input=False)
    parser.add_argument(
        "--quick", action="store_true", help="of URLs: compare sizes and tags, read no bodies"
    )
    arguments.add_dictionary(parser)
    arguments.add_json(parser)
    arguments.add_threads(parser)
    arguments.add_quiet(parser)
    add_store(parser)
    parser.set_defaults(run=run)


def _is_in_store(options: argparse.Namespace, name: str) -> bool:
    """Tell what is checked as part of a dataset: URLs, and local manifests and their folders."""
    if is_url(name):
        return True
    if name.endswith(".jsonl"):
        return os.path.isfile(name)
    return not options.recursive and os.path.isfile(os.path.join(name, MANIFEST_NAME))


def run(options: argparse.Namespace) -> int:
    """Verify the files of the command line; gives the exit code."""
    console = Console(options)
    in_store = partial(_is_in_store, options)
    inputs = find_inputs(
        options, console, wanted=lambda name: container_of_name(name) is not None, is_url=in_store
    )
    report_nothing_packed(options, console, inputs)
    try:
        dictionary = read_dictionary(options)
    except ValueError as error:
        return usage_error(str(error))
    facts: list[dict[str, object]] = []
    with console.progress(total_size(inputs)) as bar:
        for item in inputs:
            if in_store(item.path):
                facts.append(verify_url(options, console, item.path, bar))
                continue
            try:
                report = verify_file(
                    item.path, threads=options.threads, dictionary=dictionary, progress=bar
                )
            except EXPECTED_ERRORS as error:
                console.failed = True
                text = describe(error, item.path)
                facts.append({"source": item.path, "verified": False, "error": text})
                line = f"{printable(item.path)}: {paint('FAILED', 'red', sys.stdout)}, {text}"
            else:
                facts.append(report.to_dict())
                line = "" if options.quiet else _line(report)
            if line and not options.json:
                console.say(line)
    if options.json:
        print(json.dumps(facts, indent=2))
    return console.status


def _line(report: FileReport) -> str:
    facts = [paint("ok", "green", sys.stdout), format_size(report.original_size)]
    if report.frames is not None:
        facts.append(f"{report.frames} frame{'' if report.frames == 1 else 's'}")
    facts.append(f"crc32c {report.crc32c or 0:#010x}")
    if report.sidecar != "absent":
        facts.append(f"sidecar {report.sidecar}")
    return f"{printable(report.source or '-')}: {', '.join(facts)}"
