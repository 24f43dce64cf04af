"""Scratch objects: written to find out what a server does, and removed without a trace."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from shardpack.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shardpack.storage.s3.requests import Requests

__all__ = ["Scratch"]

_FOLDER: Final = ".shardpack-probe/"
# What S3 calls the one version of a key that is kept while a bucket does not keep versions.
_NULL_VERSION: Final = "null"


class Scratch:
    """An object under a key that was never used before.

    A bucket that keeps versions would keep those of this one too, and add a marker that it was
    deleted: so each is removed by its version. Where the answer to a PUT got lost, the server is
    asked which there are.

    Args:
        requests: How requests are sent.
        beside: A key that is about to be written: whoever may do that may write in its folder too,
            and perhaps nowhere else.

    Attributes:
        key: Its key.
    """

    def __init__(self, requests: Requests, beside: str = "") -> None:
        folder = beside[: beside.rfind("/") + 1]
        self.key = folder + _FOLDER + os.urandom(12).hex()
        self._requests = requests
        self._versions: set[str | None] = set()
        self._is_unknown = False

    def written(self, headers: Mapping[str, str]) -> None:
        """Note that a PUT was accepted.

        Args:
            headers: Those of the answer, names in lower case.
        """
        self._versions.add(headers.get("x-amz-version-id"))

    def perhaps_written(self) -> None:
        """Note that nobody knows whether a PUT was accepted."""
        self._is_unknown = True

    def remove(self) -> None:
        """Remove what was written.

        Raises:
            StorageError: It cannot be removed.
        """
        versions = self._versions
        if self._is_unknown:
            versions = versions | self._found()
        for version in sorted(versions, key=str):
            self._remove(version)

    def _remove(self, version: str | None) -> None:
        try:
            told = self._delete(version)
        except StorageError:
            if version != _NULL_VERSION:
                raise
            # There are servers that say so and keep no versions at all.
            told = self._delete(None)
        if told.get("DeleteMarker") and version is None and told.get("VersionId") == _NULL_VERSION:
            # Where versions are suspended it has taken the place of the object. Any other marker
            # hides a version, which would come back.
            self._delete(_NULL_VERSION)

    def _delete(self, version: str | None) -> Mapping[str, Any]:
        told: Mapping[str, Any] = self._requests.call(
            "delete", self.key, "delete_object", VersionId=version
        )
        return told

    def _found(self) -> set[str | None]:
        try:
            page = self._requests.call(
                "list versions", None, "list_object_versions", Prefix=self.key
            )
        except StorageError:
            # Not every server can, and not everybody may.
            return {None}
        rows = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        return {row["VersionId"] for row in rows if row["Key"] == self.key}
