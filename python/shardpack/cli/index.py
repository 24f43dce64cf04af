"""``shardpack index``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from shardpack.cli import arguments
from shardpack.cli.console import Console
from shardpack.cli.sizes import counted
from shardpack.cli.store_options import URL_HELP, add_store, open_at

if TYPE_CHECKING:
    import argparse

__all__ = ["add_parser"]

_EXAMPLES = f"""\
  shardpack index s3://bucket/shards/old.tar.gz
  shardpack index data/*.tar.zst

Archives of other programs get the index that shardpack pack writes beside its own: one pass over
the archive now, and each member costs one small request from then on. A tar.gz is given points to
start from; tar.bz2 and tar.xz have none, and stay readable from the front only.

{URL_HELP}"""


def add_parser(verbs: arguments.Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(
        verbs, "index", "Make tar archives of other programs readable by member.", _EXAMPLES
    )
    parser.add_argument("urls", nargs="+", metavar="URL", help="archives")
    arguments.add_json(parser)
    arguments.add_quiet(parser)
    add_store(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Index the archives; gives the exit code."""
    console = Console(options)
    facts: list[dict[str, object]] = []

    def work(number: int) -> None:
        from shardpack.exchange.shard.source import ArchiveSource
        from shardpack.progress import progress_callback

        url = options.urls[number]
        store, key = open_at(options, url)
        with console.progress(store.objects.head(store.space.full(key)).size) as bar:
            index = ArchiveSource(store.space, key).build_index(progress=progress_callback(bar))
        members, chunks = len(index.members), len(index.chunks)
        facts.append({"url": url, "members": members, "chunks": chunks, "sparse": index.sparse})
        if not options.json:
            note = f"{counted(members, 'member')}, {counted(chunks, 'chunk')}"
            if index.sparse:
                note += f", {counted(index.sparse, 'sparse member')} left to passes"
            console.note(url, note)

    status = console.each(options.urls, work)
    if options.json:
        print(json.dumps(facts, indent=2))
    return status
