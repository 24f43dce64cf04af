"""``shardpack get``."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from shardpack.cli import arguments
from shardpack.cli.console import Console
from shardpack.cli.sizes import counted, format_size
from shardpack.cli.store_options import URL_HELP, add_store, dataset_key, open_at, split_member
from shardpack.progress import progress_callback

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from shardpack.exchange import ExchangeStore

__all__ = ["add_parser"]

_EXAMPLES = f"""\
  shardpack get s3://bucket/data/big.bin                      into this folder
  shardpack get s3://bucket/data/big.bin copy.bin
  shardpack get s3://bucket/shards/a.tar.gz#2024/cat.jpg      one member, without the archive
  shardpack get -x s3://bucket/photos/manifest.jsonl photos   everything it names, unpacked
  shardpack get -x s3://bucket/photos photos                  the same
  shardpack get -x s3://bucket/shards/a.tar.gz photos         all members

Nothing is written outside of PATH. Links in archives of other programs are left out.

{URL_HELP}"""


def add_parser(verbs: arguments.Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(
        verbs, "get", "Fetch an object, a member, or all that a manifest names.", _EXAMPLES
    )
    parser.add_argument("url", metavar="URL", help="object, archive#member, archive or manifest")
    parser.add_argument(
        "target", nargs="?", default=".", metavar="PATH", help="file or folder (default: here)"
    )
    parser.add_argument(
        "-x", "--extract", action="store_true", help="unpack an archive, or all of a manifest"
    )
    parser.add_argument("-f", "--force", action="store_true", help="replace existing files")
    arguments.add_json(parser)
    arguments.add_quiet(parser)
    add_store(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Fetch what the command line names; gives the exit code."""
    console = Console(options)

    def work(_number: int) -> None:
        store, key = open_at(options, options.url)
        if options.extract:
            from shardpack.exchange.download.extract import extract

            key = dataset_key(store, key)
            with console.growing_progress(lambda: _sizes(store, key)) as bar:
                report = extract(
                    store.space, key, options.target, overwrite=options.force, progress=bar
                )
            fact = {"files": report.files, "bytes": report.bytes, "target": options.target}
            text = f"{counted(report.files, 'file')}, {format_size(report.bytes)}"
        else:
            if not key or key.endswith("/"):
                raise ValueError("this is a prefix, not an object; -x unpacks a dataset")
            path = _target(key, options.target)
            if not options.force and os.path.lexists(path):
                raise FileExistsError(17, "File exists", path)
            total = (
                store.get_object_metadata(key)["ContentLength"] if console.shows_progress else None
            )
            with console.progress(total) as bar:
                store.download_object(key, path, progress=progress_callback(bar))
            size = os.path.getsize(path)
            fact = {"files": 1, "bytes": size, "target": path}
            text = f"{format_size(size)} to {path}"
        if options.json:
            print(json.dumps(fact))
        else:
            console.summary(options.url, text)

    return console.each([options.url], work)


def _sizes(store: ExchangeStore, key: str) -> Iterator[int]:
    from shardpack.exchange.shard.source import shard_entry_of

    entries = store.list_manifest_files(key if store.is_manifest(key) else [shard_entry_of(key)])
    return (entry.get("size_bytes") or 0 for entry in entries if entry["kind"] != "manifest_ref")


def _target(key: str, target: str) -> str:
    if not os.path.isdir(target) and not target.endswith("/"):
        return target
    archive, member = split_member(key)
    return os.path.join(target, os.path.basename(member or archive))
