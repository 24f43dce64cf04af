"""``shardpack manifest``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from shardpack.cli import arguments
from shardpack.cli.console import Console, printable
from shardpack.cli.sizes import counted, format_size
from shardpack.cli.store_options import (
    URL_HELP,
    add_append,
    add_store,
    key_in,
    manifest_key,
    open_at,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from shardpack.exchange.types import ManifestEntry

__all__ = ["add_parser"]

_EXAMPLES = f"""\
  shardpack manifest show s3://bucket/data/manifest.jsonl
  shardpack manifest compact s3://bucket/data/manifest.jsonl
  shardpack manifest append s3://bucket/data/manifest.jsonl new.jsonl

{URL_HELP}"""


def add_parser(verbs: arguments.Verbs) -> None:
    """Describe the verb and its own verbs."""
    parser = arguments.new_parser(
        verbs, "manifest", "Show, compact or add to the manifest of a dataset.", _EXAMPLES
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_show(actions)
    _add_compact(actions)
    _add_append(actions)


def _add_show(actions: arguments.Verbs) -> None:
    parser = arguments.new_parser(
        actions,
        "show",
        "Print the entries of a manifest, with those of its parts.",
        """\
  shardpack manifest show --tree s3://bucket/data/manifest.jsonl    only what it refers to
  shardpack manifest show --json URL | jq -r .key                   one JSON object a line
""",
    )
    parser.add_argument("url", metavar="URL", help="the manifest, or the folder it lies in")
    parser.add_argument(
        "--limit", type=arguments.count_of("entries"), metavar="N", help="only the first N entries"
    )
    parser.add_argument("--tree", action="store_true", help="references as they are")
    parser.add_argument("--members", action="store_true", help="the members of shards too")
    _add_common(parser, _show)


def _add_compact(actions: arguments.Verbs) -> None:
    parser = arguments.new_parser(
        actions,
        "compact",
        "Write all entries of a manifest and its parts into one.",
        """\
  shardpack manifest compact s3://bucket/data/manifest.jsonl
  shardpack manifest compact s3://bucket/data/manifest.jsonl --to data/flat.jsonl

The old parts stay until `shardpack gc` removes them: somebody may be reading them.
""",
    )
    parser.add_argument("url", metavar="URL", help="the manifest, or the folder it lies in")
    parser.add_argument(
        "--to",
        metavar="KEY",
        help="key of the new one in the bucket, or below the local folder; or a URL of the same "
        "(default: in its place)",
    )
    parser.add_argument(
        "--members", action="store_true", help="list the members in place of their shards"
    )
    add_append(parser)
    _add_common(parser, _compact)


def _add_append(actions: arguments.Verbs) -> None:
    parser = arguments.new_parser(
        actions,
        "append",
        "Add entries to a manifest, whoever else is doing so.",
        """\
  shardpack manifest append s3://bucket/data/manifest.jsonl new.jsonl
  jq -c .entry events.json | shardpack manifest append s3://bucket/data/manifest.jsonl -
""",
    )
    parser.add_argument("url", metavar="URL", help="the manifest, which is made if it is not there")
    parser.add_argument(
        "file", metavar="FILE", help="JSON lines, one entry each; - is standard input"
    )
    add_append(parser)
    _add_common(parser, _append)


def _add_common(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    """Add what all actions have."""
    arguments.add_json(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="report failures only")
    add_store(parser)
    parser.set_defaults(run=run)


def _show(options: argparse.Namespace) -> int:
    console = Console(options)

    def work(_number: int) -> None:
        store, key = open_at(options, options.url)
        key = manifest_key(store, key)
        entries: Iterator[ManifestEntry]
        if options.members:
            entries = iter(store.list_manifest_files(key))
        else:
            entries = store.iter_manifest_entries(key, resolve_refs=not options.tree)
        for number, entry in enumerate(entries):
            if number == options.limit:
                break
            console.say(json.dumps(entry) if options.json else _line(entry))

    return console.each([options.url], work)


def _line(entry: ManifestEntry) -> str:
    if entry["kind"] == "shard":
        size, name = entry.get("size_bytes"), entry["archive_key"]
        detail = f"  {entry.get('count', '?')} members"
    else:
        size = entry.get("size_bytes") if entry["kind"] == "file" else None
        name, detail = entry["key"], ""
    shown = "" if size is None else format_size(size)
    return f"{entry['kind']:12}  {shown:>10}  {printable(name)}{detail}"


def _compact(options: argparse.Namespace) -> int:
    console = Console(options)

    def work(_number: int) -> None:
        store, key = open_at(options, options.url)
        key = manifest_key(store, key)
        target = key_in(store, options.to) if options.to else key
        report = store.compact_manifest(key, target, expand_shards=options.members)
        if options.json:
            print(json.dumps(report, indent=2))
        else:
            console.note(
                options.url,
                f"{counted(report['total_entries'], 'entry')}, "
                f"{counted(report['resolved_refs'], 'reference')} resolved; {target}",
            )

    return console.each([options.url], work)


def _append(options: argparse.Namespace) -> int:
    console = Console(options)

    def work(_number: int) -> None:
        from shardpack.exchange.manifest.lines import iter_lines

        store, key = open_at(options, options.url)
        key = manifest_key(store, key)
        if options.file == "-":
            entries = list(iter_lines(sys.stdin.buffer, key="standard input"))
        else:
            with open(options.file, "rb") as file:
                entries = list(iter_lines(file, key=options.file))
        store.write_manifest(key, entries, mode="append_parts")
        if options.json:
            print(json.dumps({"key": key, "appended": len(entries)}))
        else:
            console.note(options.url, f"{counted(len(entries), 'entry')} added")

    return console.each([options.url], work)
