"""``shardpack pack``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from shardpack.cli import arguments
from shardpack.cli.console import Console, printable
from shardpack.cli.inputs import usage_error
from shardpack.cli.sizes import counted, format_size, size
from shardpack.cli.store_options import URL_HELP, add_append, add_store, key_in, open_at

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from shardpack.archive.compression import ReadableCompression
    from shardpack.exchange.packing.pack import PackReport

__all__ = ["add_parser"]

_EXAMPLES = f"""\
  shardpack pack photos s3://bucket/photos            shards, and photos/manifest.jsonl
  shardpack pack photos file:///data/photos -z zstd   the same in a local folder
  shardpack pack logs s3://bucket/logs --max-bytes 1G --include '*.jsonl'
  shardpack cat s3://bucket/photos/shards/shard-0f3a.tar.gz#2024/cat.jpg > cat.jpg

Files go into tar archives of bounded size that are cut into chunks, with an index beside each:
one file costs one small request later, and tar, gunzip and zstd still read the whole. Killed or
cut off, the same command goes on: finished shards are not sent again. Packing into the same URL
again sends what is new: files that the dataset has with the same path and content are left out.
Older versions of files that changed, and files that are gone, stay in it until --overwrite.

{URL_HELP}"""

_COMPRESSIONS = ("none", "gzip", "zstd", "s4", "bzip2", "xz")


def add_parser(verbs: arguments.Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(
        verbs, "pack", "Pack a folder into shard archives with a manifest.", _EXAMPLES
    )
    parser.add_argument("folder", metavar="FOLDER", help="what to pack, with all below it")
    parser.add_argument("url", metavar="URL", help="where shards and manifest go")
    parser.add_argument(
        "-z",
        "--compression",
        choices=_COMPRESSIONS,
        default="gzip",
        help="of the archives (default: gzip, which everybody reads)",
    )
    parser.add_argument(
        "-l",
        "--level",
        type=int,
        metavar="N",
        help="1 to 22 for zstd and s4 (3), 0 to 9 for gzip (6) and xz (6), 1 to 9 for bzip2 (9)",
    )
    parser.add_argument(
        "--max-entries",
        type=arguments.count_of("files"),
        default=10_000,
        metavar="N",
        help="most files of a shard (default: 10000)",
    )
    parser.add_argument(
        "--max-bytes",
        type=size,
        default=256 << 20,
        metavar="SIZE",
        help="most bytes of files in a shard (default: 256M)",
    )
    parser.add_argument(
        "--manifest",
        metavar="KEY",
        help="key of the manifest in the bucket, or below the local folder; or a URL of the same "
        "(default: manifest.jsonl below URL)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the manifest instead of adding to it"
    )
    parser.add_argument(
        "--include", action="append", metavar="GLOB", help="only files that match; repeatable"
    )
    parser.add_argument(
        "--exclude", action="append", metavar="GLOB", help="no files that match; repeatable"
    )
    parser.add_argument(
        "--restart", action="store_true", help="send shards again that are there already"
    )
    add_append(parser)
    arguments.add_threads(parser)
    arguments.add_json(parser)
    arguments.add_quiet(parser)
    add_store(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Pack the folder; gives the exit code."""
    if problem := _problem(options):
        return usage_error(problem)
    console = Console(options)
    compression = _compression(options)

    def work(_number: int) -> None:
        store, prefix = open_at(options, options.url, folder=True)
        manifest_key = None if options.manifest is None else key_in(store, options.manifest)
        if not any(True for _ in _sizes(options)):
            if options.include or options.exclude:
                console.error(options.folder, "no file matches what is asked for; nothing packed")
                return
            console.note(options.folder, "there are no files in it")
        with console.growing_progress(lambda: _sizes(options)) as bar:
            report = store.pack(
                options.folder,
                prefix,
                manifest_key=manifest_key,
                max_entries=options.max_entries,
                max_bytes=options.max_bytes,
                compression=compression,
                level=options.level,
                mode="overwrite" if options.overwrite else "append_parts",
                include=options.include,
                exclude=options.exclude,
                resume=not options.restart,
                threads=options.threads,
                progress=bar,
            )
        if options.json:
            left_out = [found._asdict() for found in report.left_out]
            print(json.dumps({**asdict(report), "left_out": left_out}, indent=2))
        else:
            if report.left_out:
                console.note(options.folder, _left_out(report))
            if report.replaced:
                console.note(options.url, _replaced(report))
            console.note(options.url, _sentence(report))

    # Files are named in messages anyway; what the store refuses is about the URL.
    return console.each([options.url], work)


def _compression(options: argparse.Namespace) -> ReadableCompression | None:
    return None if options.compression == "none" else options.compression


def _problem(options: argparse.Namespace) -> str | None:
    from shardpack.exchange.packing.plan import LEVELS

    if options.url.lower().startswith("mem://"):
        return f"{options.url} ends with this command: name a bucket or a folder"
    levels, level = LEVELS[_compression(options)], options.level
    if level is None or level in levels:
        return None
    if not levels:
        return "--compression none has no levels"
    return f"--level must be {levels[0]} to {levels[-1]}, got {level}"


def _sizes(options: argparse.Namespace) -> Iterator[int]:
    from shardpack.exchange.packing.folder_scan import FolderScan

    scan = FolderScan(options.folder, include=options.include or (), exclude=options.exclude or ())
    return (found.size for found in scan)


def _left_out(report: PackReport) -> str:
    count, first = len(report.left_out), report.left_out[0]
    kind = {"symlink": "symbolic link", "special": "special file", "loop": "loop"}[first.reason]
    others = f", and {counted(count - 1, 'other')}" if count > 1 else ""
    return f"left out {printable(first.path)}, a {kind}{others}"


def _replaced(report: PackReport) -> str:
    files = counted(report.replaced, "file")
    return f"{files} changed: the older versions stay in the dataset until --overwrite"


def _sentence(report: PackReport) -> str:
    same = f", {report.unchanged} unchanged" if report.unchanged else ""
    # Unchanged files need no shard of this plan: others may have them.
    there = f" ({report.skipped} there already)" if report.skipped else ""
    return (
        f"{counted(report.items, 'file')}, {format_size(report.bytes_in)}{same}; "
        f"{counted(report.shards, 'shard')}{there}, {format_size(report.bytes_out)} sent; "
        f"{report.manifest_key}"
    )
