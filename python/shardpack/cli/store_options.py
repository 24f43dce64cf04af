"""Options of the verbs that work on stores, and what their URLs mean."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from shardpack.exchange import ExchangeStore

__all__ = [
    "MANIFEST_NAME",
    "URL_HELP",
    "add_append",
    "add_store",
    "dataset_key",
    "is_url",
    "open_at",
    "split_member",
]

#: What ``pack`` calls a manifest.
MANIFEST_NAME = "manifest.jsonl"

URL_HELP = """\
A URL is s3://bucket/key, file:///path/key or a path. ARCHIVE#MEMBER names one file in a shard
archive. Credentials, region and endpoint come from where the AWS CLI takes them (AWS_PROFILE,
AWS_ENDPOINT_URL, ~/.aws/config), unless the options say otherwise.
"""


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add ``--endpoint-url``, ``--profile`` and ``--region``, as the AWS CLI has them."""
    parser.add_argument(
        "--root", metavar="FOLDER", help="where a local store begins (default: at the folder named)"
    )
    group = parser.add_argument_group("options for S3")
    group.add_argument("--endpoint-url", metavar="URL", help="address of the server")
    group.add_argument("--profile", metavar="NAME", help="profile in ~/.aws/config")
    group.add_argument("--region", metavar="NAME", help="region of the bucket")


def add_append(parser: argparse.ArgumentParser) -> None:
    """Add ``--append``."""
    parser.add_argument(
        "--append",
        choices=("conditional", "listed", "single-writer"),
        default="conditional",
        help="how the manifest grows: by conditional writes (default); by parts that readers list, "
        "which needs none; or by plain writes, for a single writer",
    )


def is_url(name: str) -> bool:
    """Tell a URL, or the name of an archive member, from the name of a local file."""
    if "://" in name:
        return True
    return "#" in name and not os.path.lexists(name) and split_member(name)[1] is not None


def open_at(
    options: argparse.Namespace, url: str, *, folder: bool = False
) -> tuple[ExchangeStore, str]:
    """Open the store that a URL lies in.

    A local store begins at the folder that is named, or at that of the file, unless ``--root``
    says otherwise.

    Args:
        options: The command line, with the options of ``add_store``.
        url: The URL, or a local path.
        folder: A local path that does not exist is a folder to be made.

    Returns:
        The store, and the key of what the URL names.

    Raises:
        ValueError: No store has such URLs.
    """
    from shardpack.exchange import ExchangeStore
    from shardpack.storage import open_store, parse_url

    place = parse_url(url)
    if place.scheme != "s3":
        root = options.root
        if place.scheme == "file" and root is None and not folder:
            root = _root_of(place.key)
        objects, key = open_store(url, **({} if root is None else {"root": root}))
    else:
        objects, key = open_store(
            url,
            endpoint_url=options.endpoint_url,
            profile=options.profile,
            region=options.region,
        )
    return ExchangeStore(objects, append=getattr(options, "append", "conditional")), key


def _root_of(path: str) -> str:
    """Find the folder that a local store begins at."""
    if os.path.isdir(path):
        return path
    archive = path.partition("#")[0]
    return os.path.dirname(archive if os.path.isfile(archive) else path.rstrip("/"))


def dataset_key(store: ExchangeStore, key: str) -> str:
    """Give the key of a manifest or archive; of a folder, that of the manifest in it.

    Args:
        store: The store.
        key: What the command line names.

    Raises:
        ValueError: It is none of them.
    """
    if store.is_manifest(key) or store.is_shard(key):
        return key
    inside = f"{key.rstrip('/')}/{MANIFEST_NAME}".lstrip("/")
    if not store.exists(inside):
        raise ValueError(f"this is no manifest, no archive, and no folder with a {MANIFEST_NAME}")
    return inside


def split_member(key: str) -> tuple[str, str | None]:
    """Take ``archive#member`` apart; a key whose ``#`` follows no archive stays whole."""
    from shardpack.exchange.keys import is_shard_key

    archive, mark, member = key.partition("#")
    return (archive, member) if mark and is_shard_key(archive) else (key, None)
