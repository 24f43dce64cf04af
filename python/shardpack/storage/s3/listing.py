"""Listings, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shardpack.errors import StorageError
from shardpack.storage.base import ObjectInfo, Upload
from shardpack.storage.s3.answer import date_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from shardpack.storage.s3.requests import Requests

__all__ = ["iter_uploads", "list_level", "list_objects", "server_time"]


def list_objects(requests: Requests, prefix: str, start_after: str | None) -> Iterator[ObjectInfo]:
    """List objects; arguments as in ``ObjectStore.list``."""
    for page in _pages(requests, Prefix=prefix, StartAfter=start_after):
        for item in page.get("Contents", ()):
            yield _info(item)


def list_level(requests: Requests, prefix: str) -> Iterator[ObjectInfo | str]:
    """List one level; arguments as in ``ObjectStore.list_level``."""
    for page in _pages(requests, Prefix=prefix, Delimiter="/"):
        found: list[tuple[bytes, ObjectInfo | str]] = [
            (item["Key"].encode("utf-8", "surrogatepass"), _info(item))
            for item in page.get("Contents", ())
        ]
        found += [
            (item["Prefix"].encode("utf-8", "surrogatepass"), item["Prefix"])
            for item in page.get("CommonPrefixes", ())
        ]
        found.sort(key=lambda pair: pair[0])
        for _, item in found:
            yield item


def _pages(requests: Requests, **arguments: str | None) -> Iterator[dict[str, Any]]:
    # botocore asks for keys in URL encoding and decodes them: any key survives the XML.
    token: str | None = None
    while True:
        page = requests.call("list", None, "list_objects_v2", ContinuationToken=token, **arguments)
        yield page
        before, token = token, page.get("NextContinuationToken")
        if not page.get("IsTruncated"):
            return
        if token is None or token == before:
            raise _no_way_on(requests)
        arguments["StartAfter"] = None


def _info(item: dict[str, Any]) -> ObjectInfo:
    return ObjectInfo(
        key=item["Key"],
        size=item["Size"],
        etag=item.get("ETag", "").strip('"') or None,
        last_modified=item.get("LastModified"),
    )


def iter_uploads(requests: Requests, prefix: str) -> Iterator[Upload]:
    """List unfinished uploads; arguments as in ``ObjectStore.iter_uploads``."""
    key_marker: str | None = None
    upload_marker: str | None = None
    while True:
        try:
            page = requests.call(
                "list uploads",
                None,
                "list_multipart_uploads",
                Prefix=prefix or None,
                KeyMarker=key_marker,
                UploadIdMarker=upload_marker,
            )
        except StorageError as error:
            # What rclone answers for a bucket in which no upload was ever begun.
            if error.code == "NoSuchUpload":
                return
            raise
        for item in page.get("Uploads", ()):
            # Some servers do not look at the prefix.
            if item["Key"].startswith(prefix):
                yield Upload(item["Key"], item["UploadId"], item.get("Initiated"))
        before = (key_marker, upload_marker)
        key_marker = page.get("NextKeyMarker") or None
        upload_marker = page.get("NextUploadIdMarker") or None
        if not page.get("IsTruncated"):
            return
        if key_marker is None or (key_marker, upload_marker) == before:
            raise _no_way_on(requests)


def server_time(requests: Requests) -> datetime | None:
    """Ask what time it is for the server, which costs the listing of one key."""
    page = requests.call("list", None, "list_objects_v2", MaxKeys=1)
    return date_of(page["ResponseMetadata"]["HTTPHeaders"].get("date"))


def _no_way_on(requests: Requests) -> StorageError:
    return StorageError(
        f"the list of s3://{requests.bucket} goes on, and the server does not say where",
        code="NoContinuation",
    )
