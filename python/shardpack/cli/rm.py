"""``shardpack rm``."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING

from shardpack.cli import arguments
from shardpack.cli.console import Console, printable
from shardpack.cli.sizes import counted
from shardpack.cli.store_options import URL_HELP, add_store, manifest_key, open_at, raw_prefix

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from shardpack.exchange import ExchangeStore

__all__ = ["add_parser"]

_BATCH = 1000
_MOST_NAMED = 20

_EXAMPLES = f"""\
  shardpack rm s3://bucket/data/old.bin
  shardpack rm -r --dry-run s3://bucket/data/old        tell what would go
  shardpack rm --prefix s3://bucket/data/2023-          every key that begins so
  shardpack rm --manifest s3://bucket/data              the manifest.jsonl there, its parts, shards
                                                        and objects

With -r a URL is a folder, as everywhere: data/old/ goes, data/old2/ stays. With --manifest nothing
is removed where a manifest that is referred to is missing or cannot be read, unless -f is given.

{URL_HELP}"""


def add_parser(verbs: arguments.Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(
        verbs, "rm", "Remove objects, folders, or a manifest with all that it names.", _EXAMPLES
    )
    parser.add_argument("urls", nargs="+", metavar="URL", help="what to remove")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "-r", "--recursive", action="store_true", help="the key, and all below it as a folder"
    )
    kinds.add_argument("--prefix", action="store_true", help="every key that begins so")
    kinds.add_argument(
        "--manifest", action="store_true", help="also what the manifest names, and its parts"
    )
    parser.add_argument(
        "--all", action="store_true", help="with -r: a URL without a key, the whole store"
    )
    parser.add_argument(
        "-f",
        "--force",
        action="store_true",
        help="with --manifest: although manifests that it refers to are missing",
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
    from shardpack.exchange.upkeep.delete import delete_manifest

    store, key = open_at(options, url)
    gone: list[str] = []
    report = delete_manifest(
        store.space,
        manifest_key(store, key),
        dry_run=options.dry_run,
        force=options.force,
        tell=lambda name: _say(options, console, name, gone),
    )
    errors = report["errors"]
    for failed in islice(errors, _MOST_NAMED):
        console.error(failed, errors[failed])
    counts = [
        report["deleted_object_count"],
        report["deleted_archive_count"],
        report["deleted_manifest_count"],
    ]
    if errors and not any(counts):
        others = len(errors) - _MOST_NAMED
        more = f"; {counted(others, 'more error')}" if others > 0 else ""
        console.error(url, f"nothing was removed{more}; -f removes what can be found all the same")
    elif not options.json:
        told = zip(counts, ("object", "shard", "manifest"), strict=True)
        text = ", ".join(counted(number, name) for number, name in told)
        console.note(url, f"{text} " + ("would be removed" if options.dry_run else "removed"))
    return {"url": url, "dry_run": options.dry_run, "removed": gone, **report}


def _remove_objects(options: argparse.Namespace, console: Console, url: str) -> dict[str, object]:
    store, key = open_at(options, url)
    gone: list[str] = []
    keys = _keys(options, store, key)
    while batch := list(islice(keys, _BATCH)):
        failures = {} if options.dry_run else store.objects.delete_many(batch)
        for failed, error in failures.items():
            console.error(failed, error)
        for name in batch:
            if name not in failures:
                _say(options, console, store.space.relative(name), gone)
    return {"url": url, "dry_run": options.dry_run, "removed": gone}


def _keys(options: argparse.Namespace, store: ExchangeStore, key: str) -> Iterator[str]:
    """Give the full keys that are to go."""
    is_many = options.recursive or options.prefix
    if not is_many:
        # Of a single key it is worth knowing that it was not there.
        full = raw_prefix(store, key)
        yield store.objects.head(full).key
        yield from _sidecars(store, full)
        return
    if not key and not options.all:
        raise ValueError("this names the whole store; name a folder, or say --all")
    found = False
    for full in _below(options, store, key):
        found = True
        yield full
    if not found and key:
        hint = "" if options.prefix else "; --prefix takes every key that begins so"
        raise ValueError(f"there is nothing of this name{hint}")


def _below(options: argparse.Namespace, store: ExchangeStore, key: str) -> Iterator[str]:
    prefix = raw_prefix(store, key)
    if options.recursive and prefix and not prefix.endswith("/"):
        # An object may have the very name of a folder.
        if store.objects.exists(prefix):
            yield prefix
            yield from _sidecars(store, prefix)
        prefix += "/"
    for info in store.objects.list(prefix):
        yield info.key


def _sidecars(store: ExchangeStore, full: str) -> list[str]:
    """Give the indexes beside an archive: without it they have no use."""
    from shardpack.exchange.upkeep.delete import SIDECAR_SUFFIXES

    if not store.is_shard(full):
        return []
    return [full + suffix for suffix in SIDECAR_SUFFIXES if store.objects.exists(full + suffix)]


def _say(options: argparse.Namespace, console: Console, name: str, gone: list[str]) -> None:
    if options.json:
        gone.append(name)
    elif not options.quiet:
        console.say(f"{'would be removed' if options.dry_run else 'removed'}: {printable(name)}")
