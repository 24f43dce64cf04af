"""Options of the verbs that work on stores, and what their URLs mean."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from shardpack.exchange import ExchangeStore
    from shardpack.exchange.manifest.append import AppendMode
    from shardpack.storage import StoreUrl

__all__ = [
    "MANIFEST_NAME",
    "NO_DATASET",
    "ROOT_HINT",
    "URL_HELP",
    "add_append",
    "add_store",
    "dataset_key",
    "is_url",
    "key_in",
    "manifest_key",
    "open_at",
    "raw_prefix",
    "split_member",
]

#: What ``pack`` calls a manifest.
MANIFEST_NAME = "manifest.jsonl"

#: What is said of a name that a whole dataset is wanted of.
NO_DATASET = f"this is no manifest, no archive, and no folder with a {MANIFEST_NAME}"

#: What is said where all that a manifest names is missing.
ROOT_HINT = (
    "keys in a manifest are relative to where its writer opened the store; --root says where"
)

URL_HELP = """\
A URL is s3://bucket/key, file:///path/key or a path. ARCHIVE#MEMBER names one file in a shard
archive. Credentials, region and endpoint come from where the AWS CLI takes them (AWS_PROFILE,
AWS_ENDPOINT_URL, ~/.aws/config), unless the options say otherwise.

Keys in a manifest are relative to where its writer opened the store: the bucket or local folder,
or a base prefix in it, as with ExchangeStore.open("s3://bucket/base"). Such a dataset is read with
--root s3://bucket/base.
"""


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add ``--root``, and ``--endpoint-url`` and others as the AWS CLI has them."""
    parser.add_argument(
        "--root",
        metavar="URL",
        help="where the store begins to which keys in manifests are relative; the other URLs lie "
        "below (default: the bucket, or the local folder that is named)",
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

    A local store begins at the folder that is named, or at that of the file, and another one at
    the bucket, unless ``--root`` says otherwise.

    Args:
        options: The command line, with the options of ``add_store``.
        url: The URL, or a local path.
        folder: A local path that does not exist is a folder to be made.

    Returns:
        The store, and the key of what the URL names.

    Raises:
        ValueError: No store has such URLs, or it is not below ``--root``.
    """
    from shardpack.exchange import ExchangeStore
    from shardpack.storage import open_store, parse_url

    place = parse_url(url)
    root = None if options.root is None else parse_url(options.root)
    if root is not None and not _is_below(place, root):
        raise ValueError(f"this is not below --root {options.root}")
    append: AppendMode = getattr(options, "append", "conditional")
    if place.scheme == "file":
        top = None if root is None else root.key.rstrip("/") or "/"
        if top is None and not folder:
            top = _root_of(place.key)
        objects, key = open_store(url, **({} if top is None else {"root": top}))
        return ExchangeStore(objects, append=append), key
    client = {name: getattr(options, name) for name in ("endpoint_url", "profile", "region")}
    objects, key = open_store(url, **(client if place.scheme == "s3" else {}))
    base = "" if root is None else root.key
    store = ExchangeStore(objects, base_prefix=base, append=append)
    return store, _relative(store, key)


def _is_below(place: StoreUrl, root: StoreUrl) -> bool:
    if (place.scheme, place.bucket) != (root.scheme, root.bucket):
        return False
    top = root.key.rstrip("/")
    return place.key.rstrip("/") == top or place.key.startswith(f"{top}/") or not top


def _relative(store: ExchangeStore, key: str) -> str:
    """Give a key below the base prefix as the store has it."""
    base = store.space.base_prefix
    if not base:
        return key
    if key == base:
        return ""
    short = key.removeprefix(f"{base}/")
    # Where a folder below the base has its very name, only the full key is clear.
    return key if short == base or short.startswith(f"{base}/") else short


def raw_prefix(store: ExchangeStore, key: str) -> str:
    """Give the prefix under which the objects of a store lie, to list them.

    Args:
        store: The store.
        key: A key or prefix in it. Without a base prefix it stays as it is: others may have keys
            that a manifest cannot hold, such as one with two slashes.
    """
    return store.space.full_prefix(key) if store.space.base_prefix else key


def key_in(store: ExchangeStore, name: str) -> str:
    """Give the key that an option names, as it is or as a URL of the same store.

    Args:
        store: The store.
        name: The key, or the URL.

    Raises:
        ValueError: It is the URL of another store, or none at all.
    """
    from shardpack.storage.paths import is_meant_as_url, parse_url

    if not is_meant_as_url(name):
        return name
    url, place = parse_url(name), store.objects.url
    # Local stores are where their links lead.
    whole = f"file://{os.path.realpath(url.key)}" if url.scheme == "file" else str(url)
    start = place if place.endswith("/") else f"{place}/"
    if not whole.startswith(start) or whole == start:
        raise ValueError(f"{name} is no key in {place}: both must be in one store")
    key, base = whole[len(start) :], store.space.base_prefix
    if base and not key.startswith(f"{base}/"):
        raise ValueError(f"{name} is not below --root {start}{base}")
    return _relative(store, key)


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
        raise ValueError(NO_DATASET)
    return inside


def manifest_key(store: ExchangeStore, key: str) -> str:
    """Give the key of a manifest; of a folder, that of the manifest in it.

    Args:
        store: The store.
        key: What the command line names.

    Raises:
        ValueError: It is neither.
    """
    if store.is_manifest(key):
        return key
    if store.is_shard(key):
        raise ValueError("this is an archive, not a manifest")
    inside = f"{key.rstrip('/')}/{MANIFEST_NAME}".lstrip("/")
    if not store.exists(inside):
        raise ValueError(f"this is no manifest, and no folder with a {MANIFEST_NAME}")
    return inside


def split_member(key: str) -> tuple[str, str | None]:
    """Take ``archive#member`` apart; a key whose ``#`` follows no archive stays whole."""
    from shardpack.exchange.keys import is_shard_key

    archive, mark, member = key.partition("#")
    return (archive, member) if mark and is_shard_key(archive) else (key, None)
