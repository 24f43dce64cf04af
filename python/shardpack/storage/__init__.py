"""Where bytes live: one set of calls over S3, local files and memory."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any

from shardpack.storage.base import ObjectInfo, ObjectStore, ObjectWriter, Upload
from shardpack.storage.body import BytesBody, ObjectBody
from shardpack.storage.memory import MemoryStore
from shardpack.storage.paths import StoreUrl, check_key, parse_url
from shardpack.storage.retry import RetryPolicy

if TYPE_CHECKING:
    from shardpack.storage.file import FileStore
    from shardpack.storage.s3 import S3Store

__all__ = [
    "BytesBody",
    "FileStore",
    "MemoryStore",
    "ObjectBody",
    "ObjectInfo",
    "ObjectStore",
    "ObjectWriter",
    "RetryPolicy",
    "S3Store",
    "StoreUrl",
    "Upload",
    "check_key",
    "open_store",
    "parse_url",
]


def __getattr__(name: str) -> object:
    if name == "S3Store":
        from shardpack.storage.s3 import S3Store

        return S3Store
    if name == "FileStore":
        from shardpack.storage.file import FileStore

        return FileStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def open_store(
    url: str | os.PathLike[str],
    *,
    client: Any = None,  # noqa: ANN401 - boto3 has no types
    endpoint_url: str | None = None,
    profile: str | None = None,
    region: str | None = None,
    **options: Any,  # noqa: ANN401 - those of the store
) -> tuple[ObjectStore, str]:
    """Open the store that a URL names.

    Args:
        url: As ``parse_url`` takes it. A local path is the store itself when it is a folder, or
            when there is nothing yet; with the name of a file in it when it is a file.
        client: A boto3 client for S3, instead of the three arguments that follow.
        endpoint_url: Where the S3 server is.
        profile: Profile of the AWS configuration files.
        region: Region of the bucket.
        **options: Keyword arguments of ``S3Store`` or ``FileStore``; ``root=`` says where a file
            store begins, the path must be inside of it.

    Returns:
        The store, and what of the URL is a key or prefix in it; ``""`` for the whole store.

    Raises:
        ValueError: The URL is malformed, its protocol is unknown, or options contradict each other.
        TypeError: There is no such option.

    Example:
        >>> from shardpack.storage import open_store
        >>> store, key = open_store("mem://example/folder/object")
        >>> store.url, key
        ('mem://example', 'folder/object')
    """
    target = parse_url(url)
    _require_known(target.scheme, options)
    if target.scheme == "s3":
        return _open_s3(target.bucket, client, endpoint_url, profile, region, options), target.key
    if client is not None:
        raise ValueError(f"a client is for S3, {target} is not")
    if target.scheme == "mem":
        return MemoryStore(target.bucket, **options), target.key
    from shardpack.storage.file import FileStore

    root, key = _root_and_key(target.key, options.pop("root", None))
    return FileStore(root, **options), key


def _require_known(scheme: str, options: dict[str, Any]) -> None:
    """Refuse options that a store does not have, in the words of the caller."""
    known: set[str] = set()
    if scheme == "s3":
        from shardpack.storage.s3 import S3Store

        known = set(inspect.signature(S3Store).parameters) - {"client", "bucket"}
    elif scheme == "file":
        known = {"root", "sync"}
    for name in options:
        if name not in known:
            raise TypeError(f"unknown option {name!r} for {scheme}:// URLs")


def _open_s3(
    bucket: str,
    client: Any,  # noqa: ANN401 - boto3 has no types
    endpoint_url: str | None,
    profile: str | None,
    region: str | None,
    options: dict[str, Any],
) -> S3Store:
    from shardpack.storage.s3 import S3Store

    if client is None:
        return S3Store.open(
            bucket, endpoint_url=endpoint_url, profile=profile, region=region, **options
        )
    if endpoint_url is not None or profile is not None or region is not None:
        raise ValueError("a client has an endpoint, profile and region of its own")
    return S3Store(client, bucket, **options)


def _root_and_key(path: str, root: str | os.PathLike[str] | None) -> tuple[str, str]:
    if root is not None:
        top = os.path.abspath(root)
        if path.rstrip("/") == top:
            return top, ""
        within = top.rstrip("/") + "/"
        if not path.startswith(within):
            raise ValueError(f"{path} is not below the root {top}")
        return top, path[len(within) :]
    if os.path.isfile(path):
        return os.path.dirname(path), os.path.basename(path)
    return (path.rstrip("/") or "/"), ""
