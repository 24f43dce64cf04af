"""``shardpack rm``."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING

from shardpack.cli import arguments
from shardpack.cli.console import Console, printable
from shardpack.cli.sizes import counted
from shardpack.cli.store_options import URL_HELP, add_store, open_at

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from shardpack.exchange import ExchangeStore

__all__ = ["add_parser"]

_BATCH = 1000

_EXAMPLES = f"""\
  shardpack rm s3://bucket/data/old.bin
  shardpack rm -r --dry-run s3://bucket/data/old/       tell what would go
  shardpack rm --manifest s3://bucket/data/manifest.jsonl
                                                        the manifest, its parts, shards and objects

{URL_HELP}"""


def add_parser(verbs: arguments.Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(
        verbs, "rm", "Remove objects, prefixes, or a manifest with all that it names.", _EXAMPLES
    )
    parser.add_argument("urls", nargs="+", metavar="URL", help="what to remove")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("-r", "--recursive", action="store_true", help="every key that begins so")
    kinds.add_argument(
        "--manifest", action="store_true", help="also what the manifest names, and its parts"
    )
    parser.add_argument(
        "--all", action="store_true", help="with -r: a URL without a key, the whole store"
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="name it, remove nothing")
    arguments.add_json(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="report failures only")
    add_store(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Remove what the command line names; gives the exit code."""
    console = Console(options)
    facts: list[dict[str, object]] = []

    def remove(number: int) -> None:
        action = _remove_manifest if options.manifest else _remove_objects
        facts.append(action(options, console, options.urls[number]))

    status = console.each(options.urls, remove)
    if options.json:
        print(json.dumps(facts, indent=2))
    return status


def _remove_manifest(options: argparse.Namespace, console: Console, url: str) -> dict[str, object]:
    store, key = open_at(options, url)
    report = store.delete_manifest(key, dry_run=options.dry_run)
    for failed, text in report["errors"].items():
        console.error(failed, text)
    if not options.json:
        console.note(
            url,
            f"{counted(report['deleted_object_count'], 'object')}, "
            f"{counted(report['deleted_archive_count'], 'archive')}, "
            f"{counted(report['deleted_manifest_count'], 'manifest')} "
            + ("would be removed" if options.dry_run else "removed"),
        )
    return {"url": url, "dry_run": options.dry_run, **report}


def _remove_objects(options: argparse.Namespace, console: Console, url: str) -> dict[str, object]:
    store, key = open_at(options, url)
    keys: Iterator[str]
    if options.recursive:
        if not key and not options.all:
            raise ValueError("this names the whole store; name a prefix, or say --all")
        keys = (info.key for info in store.objects.list(key))
    else:
        # Of a single key it is worth knowing that it was not there.
        keys = iter([store.objects.head(key).key, *_sidecars(store, key)])
    gone: list[str] = []
    while batch := list(islice(keys, _BATCH)):
        failures = {} if options.dry_run else store.objects.delete_many(batch)
        for failed, error in failures.items():
            console.error(failed, error)
        for name in batch:
            if name in failures:
                continue
            if options.json:
                gone.append(name)
            elif not options.quiet:
                console.say(f"{_verb(options)} {printable(name)}")
    return {"url": url, "dry_run": options.dry_run, "removed": gone}


def _sidecars(store: ExchangeStore, key: str) -> list[str]:
    """Give the indexes beside an archive: without it they have no use."""
    from shardpack.exchange.upkeep.delete import SIDECAR_SUFFIXES

    if not store.is_shard(key):
        return []
    return [key + suffix for suffix in SIDECAR_SUFFIXES if store.objects.exists(key + suffix)]


def _verb(options: argparse.Namespace) -> str:
    return "would be removed:" if options.dry_run else "removed:"
