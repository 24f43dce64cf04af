"""``shardpack ls``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from shardpack.cli import arguments
from shardpack.cli.console import Console, printable
from shardpack.cli.sizes import counted, format_size
from shardpack.cli.store_options import URL_HELP, add_store, open_at, raw_prefix, split_member

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from shardpack.exchange import ExchangeStore
    from shardpack.storage import ObjectInfo

__all__ = ["add_parser"]

_EXAMPLES = f"""\
  shardpack ls s3://bucket/data/                one level, as ls and aws s3 ls show it
  shardpack ls -r -l s3://bucket/data/          everything below, with sizes and dates
  shardpack ls s3://bucket/data/manifest.jsonl  what the manifest names
  shardpack ls s3://bucket/shards/a.tar.gz#     the members of a shard archive
  shardpack ls --json file:///data | jq .key

{URL_HELP}"""


def add_parser(verbs: arguments.Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(
        verbs,
        "ls",
        "List objects, the entries of a manifest, or the members of an archive.",
        _EXAMPLES,
    )
    parser.add_argument("urls", nargs="+", metavar="URL", help="prefix, object, manifest, archive#")
    parser.add_argument("-r", "--recursive", action="store_true", help="all levels below")
    parser.add_argument("-l", "--long", action="store_true", help="sizes and dates too")
    parser.add_argument("-s", "--summary", action="store_true", help="a last line with the totals")
    arguments.add_json(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="report failures only")
    add_store(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """List what the command line names; gives the exit code."""
    console = Console(options)

    def show(number: int) -> None:
        count = total = 0
        store, key = open_at(options, options.urls[number])
        for fact in _facts(store, key, recursive=options.recursive):
            count += 1
            total += fact.get("size") or 0
            if options.json:
                console.say(json.dumps(fact))
            elif not options.quiet:
                console.say(_line(fact, long=options.long))
        if options.summary and not options.json:
            console.say(f"{counted(count, 'object')}, {format_size(total)}")
        # A folder, and an archive, may be empty.
        if not count and key and not key.endswith("/") and split_member(key)[1] != "":
            console.error(options.urls[number], "there is nothing under this name")

    return console.each(options.urls, show)


def _facts(store: ExchangeStore, key: str, *, recursive: bool) -> Iterator[dict[str, Any]]:
    """Give what one URL lists, a JSON object each."""
    archive, member = split_member(key)
    if member is not None:
        from shardpack.exchange.shard.source import shard_entry_of

        for entry in store.list_manifest_files([shard_entry_of(archive)]):
            fact: dict[str, Any] = {**entry}
            if fact["member_path"].startswith(member):
                yield {"key": fact["key"], "size": fact.get("size_bytes"), **_digests(fact)}
    elif store.is_manifest(key):
        for entry in store.iter_manifest_entries(key):
            yield {**entry, "size": entry.get("size_bytes")}
    elif recursive:
        for info in store.objects.list(raw_prefix(store, key)):
            yield _fact(store, info)
    else:
        yield from _level(store, raw_prefix(store, key))


def _level(store: ExchangeStore, prefix: str) -> Iterator[dict[str, Any]]:
    for item in store.objects.list_level(prefix):
        if isinstance(item, str):
            # A name without its slash means what is inside, as `ls` has it.
            if item == f"{prefix}/":
                yield from _level(store, item)
            else:
                yield {"prefix": store.space.relative(item)}
        else:
            yield _fact(store, item)


def _fact(store: ExchangeStore, info: ObjectInfo) -> dict[str, Any]:
    modified = info.last_modified.isoformat() if info.last_modified else None
    return {
        "key": store.space.relative(info.key),
        "size": info.size,
        "etag": info.etag,
        "last_modified": modified,
    }


def _digests(fact: dict[str, Any]) -> dict[str, Any]:
    return {name: fact[name] for name in ("crc32c", "blake3") if fact.get(name)}


def _line(fact: dict[str, Any], *, long: bool) -> str:
    name = printable(fact.get("prefix") or fact.get("key") or fact.get("archive_key") or "")
    if not long:
        return name
    date = (fact.get("last_modified") or "")[:19].replace("T", " ")
    size = "" if fact.get("size") is None else format_size(fact["size"])
    return f"{date:19}  {size:>10}  {name}"
