"""``shardpack get``."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from shardpack.cli import arguments
from shardpack.cli.console import Console, printable
from shardpack.cli.inputs import STANDARD, usage_error
from shardpack.cli.sizes import counted, format_size
from shardpack.cli.store_options import (
    ROOT_HINT,
    URL_HELP,
    add_store,
    dataset_key,
    open_at,
    raw_prefix,
    split_member,
)
from shardpack.errors import BulkError, ObjectNotFoundError, StorageError
from shardpack.progress import progress_callback

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from shardpack.exchange import ExchangeStore
    from shardpack.exchange.download.extract import ExtractReport

__all__ = ["add_parser"]

_MOST_NAMED = 3
_PREFIX = "this is a prefix, not an object; -x unpacks a dataset"

_EXAMPLES = f"""\
  shardpack get s3://bucket/data/big.bin                      into this folder
  shardpack get s3://bucket/data/big.bin copy.bin
  shardpack get s3://bucket/shards/a.tar.gz#2024/cat.jpg      one member, without the archive
  shardpack get -x s3://bucket/photos/manifest.jsonl photos   everything it names, unpacked
  shardpack get -x s3://bucket/photos photos                  the same
  shardpack get -x s3://bucket/shards/a.tar.gz photos         all members

Nothing is written outside of PATH. Of entries with one path, as there are where a file changed and
its folder was packed again, the last one is written. What is damaged or missing is named, and all
else is written; after a thousand of them it ends. Links, devices and pipes, which archives of
other programs may hold, are left out and named; that is no failure, the exit code stays 0.

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
    if problem := _problem(options.target):
        return usage_error(problem)
    console = Console(options)

    def work(_number: int) -> None:
        store, key = open_at(options, options.url)
        action = _extract if options.extract else _fetch
        fact, text = action(options, console, store, key)
        if options.json:
            print(json.dumps(fact))
        else:
            console.summary(options.url, text)

    return console.each([options.url], work)


def _extract(
    options: argparse.Namespace, console: Console, store: ExchangeStore, key: str
) -> tuple[dict[str, object], str]:
    """Unpack a dataset; gives the facts for JSON, and for people."""
    from shardpack.exchange.download.extract import extract

    key = dataset_key(store, key)
    try:
        with console.growing_progress(lambda: _sizes(store, key)) as bar:
            report = extract(
                store.space, key, options.target, overwrite=options.force, progress=bar
            )
    except BulkError as error:
        if isinstance(error.__cause__, ObjectNotFoundError):
            console.note(options.url, ROOT_HINT)
        raise
    if report.left_out_count and not options.json:
        console.note(options.url, _left_out(report))
    fact = {
        "files": report.files,
        "bytes": report.bytes,
        "target": options.target,
        "left_out": [found._asdict() for found in report.left_out],
        "left_out_count": report.left_out_count,
        "replaced": report.replaced,
    }
    return fact, f"{counted(report.files, 'file')}, {format_size(report.bytes)}"


def _fetch(
    options: argparse.Namespace, console: Console, store: ExchangeStore, key: str
) -> tuple[dict[str, object], str]:
    """Fetch an object or a member; gives the facts for JSON, and for people."""
    if not key or key.endswith("/"):
        raise ValueError(_PREFIX)
    path = _target(key, options.target)
    if not options.force and os.path.lexists(path):
        raise FileExistsError(17, "File exists", path)
    try:
        _download(store, key, path, console)
    except ObjectNotFoundError as error:
        if _is_folder(store, key):
            raise ValueError(_PREFIX) from error
        raise
    size = os.path.getsize(path)
    return {"files": 1, "bytes": size, "target": path}, f"{format_size(size)} to {path}"


def _problem(target: str) -> str | None:
    from shardpack.storage.paths import is_meant_as_url

    if target == STANDARD:
        return "get writes no -; `shardpack cat URL` writes to standard output"
    if is_meant_as_url(target):
        return f"get writes to local files, not to {target}; ./{target} would be one"
    return None


def _download(store: ExchangeStore, key: str, path: str, console: Console) -> None:
    total = store.get_object_metadata(key)["ContentLength"] if console.shows_progress else None
    with console.progress(total) as bar:
        store.download_object(key, path, progress=progress_callback(bar))


def _is_folder(store: ExchangeStore, key: str) -> bool:
    try:
        return any(True for _ in store.objects.list(raw_prefix(store, f"{key}/")))
    except StorageError:
        # Not everybody may list; that the object is not there is known all the same.
        return False


def _left_out(report: ExtractReport) -> str:
    named = report.left_out[:_MOST_NAMED]
    told = [f"{printable(each.path)} ({each.kind})" for each in named]
    others = report.left_out_count - len(named)
    rest = f" and {counted(others, 'other')}" if others else ""
    return f"left out {', '.join(told)}{rest}"


def _sizes(store: ExchangeStore, key: str) -> Iterator[int]:
    from shardpack.exchange.shard.source import shard_entry_of

    entries = store.list_manifest_files(key if store.is_manifest(key) else [shard_entry_of(key)])
    return (entry.get("size_bytes") or 0 for entry in entries if entry["kind"] != "manifest_ref")


def _target(key: str, target: str) -> str:
    if not os.path.isdir(target) and not target.endswith("/"):
        return target
    archive, member = split_member(key)
    return os.path.join(target, os.path.basename(member or archive))
