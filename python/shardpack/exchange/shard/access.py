"""An archive in a store and the index beside it, each compared with the other at every read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

from shardpack.archive.compression import READABLE_COMPRESSIONS, compression_of_key
from shardpack.archive.index import MAX_INDEX_SIZE, ArchiveIndex, index_key
from shardpack.archive.reader import iter_archive
from shardpack.batch import lazy_buffer
from shardpack.errors import (
    IntegrityError,
    ObjectNotFoundError,
    PreconditionFailedError,
    ShardReadError,
    StorageError,
)
from shardpack.exchange.bodies import VerifiedBody
from shardpack.exchange.shard.index_cache import CACHE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from shardpack.archive.compression import ReadableCompression
    from shardpack.archive.reader import MemberBody, TarMember
    from shardpack.exchange.keys import Space
    from shardpack.storage.base import ObjectInfo
    from shardpack.storage.body import ObjectBody

__all__ = ["StaleIndexError", "StoredArchive", "same_version"]

_OUT_OF_RANGE: Final = 416
_INDEX_TYPE: Final = "application/zstd"
_MD5_DIGITS: Final = 32
# From so many bytes on, a buffer of its own goes back to the system when it is done with.
_MAPPED_BYTES: Final = 1 << 20

_log = logging.getLogger("shardpack.exchange")
R = TypeVar("R")


class StaleIndexError(Exception):
    """The archive is not the one that its index was made for."""


def same_version(expected: str | None, actual: str | None) -> bool:
    """Tell whether two ETags may belong to one version of an object.

    Args:
        expected: One, with or without quotes; ``None`` and ``""`` are unknown.
        actual: The other.

    Returns:
        False only where both are known, are of one form and differ: some servers give the tag of
        an upload in parts for the upload, and that of the whole bytes for the object; and stores
        in files and in memory have forms of their own, which say nothing about a copy on S3.
    """
    first, second = (expected or "").strip('"'), (actual or "").strip('"')
    if not first or not second or _form(first) != _form(second):
        return True
    return first == second


def _form(tag: str) -> tuple[int, bool]:
    parts = tag.split("-")
    return len(parts), len(parts[0]) >= _MD5_DIGITS


class StoredArchive:
    """What is read of an archive: ranges by its index, or all of it as a stream.

    Args:
        space: The store and the prefix of its keys.
        archive_key: Key of the archive.
        entry: What a manifest says of it: an archive of another size or version is refused, and
            the index is looked for where it says.
        caches: Keep the index for others in this process. An iteration does not: it will not come
            back.

    Attributes:
        archive_key: As above.
        full_key: Its key in the store.
    """

    def __init__(
        self,
        space: Space,
        archive_key: str,
        *,
        entry: Mapping[str, Any] | None = None,
        caches: bool = True,
    ) -> None:
        self._caches = caches
        self.archive_key = archive_key
        self.full_key = space.full(archive_key)
        self._objects = space.objects
        self._entry: Mapping[str, Any] = entry or {}
        named = self._entry.get("index_key")
        self._index_key = (
            space.full(named) if named and isinstance(named, str) else index_key(self.full_key)
        )
        # Unknown yet, None where there is no index.
        self._index: ArchiveIndex | Literal["unknown"] | None = "unknown"
        self._is_cached = False

    @property
    def compression(self) -> ReadableCompression | None:
        """How the archive is compressed, by its entry or its key; its first bytes may know more."""
        if "compression" in self._entry:
            told = self._entry["compression"]
            if told in READABLE_COMPRESSIONS:
                return cast("ReadableCompression | None", told)
        return compression_of_key(self.full_key)

    @property
    def internal_manifest_path(self) -> str:
        """Path of the member that describes the others."""
        told = self._entry.get("internal_manifest_path")
        if not told and isinstance(self._index, ArchiveIndex):
            told = self._index.internal_manifest_path
        return str(told or "__manifest__.jsonl")

    def virtual_key(self, member_path: str) -> str:
        """Give the key of a member.

        Args:
            member_path: Its path.
        """
        return f"{self.archive_key}#{member_path}"

    def index(self) -> ArchiveIndex | None:
        """Give the index; ``None`` where there is none. It may be that of an older archive."""
        if self._index == "unknown":
            self._index = CACHE.get(self._url, self._index_key)
            self._is_cached = self._index is not None
            if self._index is None:
                self._index = self._load_index()
        return self._index

    def validated_index(self) -> ArchiveIndex | None:
        """Give the index if it is that of the archive as it is now, at the cost of one request.

        Raises:
            ObjectNotFoundError: There is no such archive.
            IntegrityError: The archive is not the one of the entry.
        """

        def compare(index: ArchiveIndex) -> ArchiveIndex | None:
            self.check_index(index, self.head())
            return index

        return self.by_index(compare, otherwise=lambda: None)

    def by_index(self, call: Callable[[ArchiveIndex], R], *, otherwise: Callable[[], R]) -> R:
        """Do something by the index; if that does not fit or what it reads is damaged, once more.

        Args:
            call: What to do; raises ``StaleIndexError`` where the index does not fit the archive.
            otherwise: What to do where no index fits.
        """
        index = self.index()
        if index is None:
            return otherwise()
        was_cached = self._is_cached
        try:
            return call(index)
        except StaleIndexError:
            self._forget()
            if not was_cached:
                return otherwise()
        except (IntegrityError, ShardReadError):
            # Bytes that were changed on their way come right the second time.
            self._forget()
        index = self.index()
        if index is None:
            return otherwise()
        try:
            return call(index)
        except StaleIndexError:
            self._forget()
            return otherwise()

    def fetch(self, index: ArchiveIndex, start: int, end: int) -> memoryview:
        """Read a range of the stored archive, of the version that an index was made for.

        Args:
            index: The index.
            start: First byte.
            end: First byte after the range.

        Raises:
            StaleIndexError: The archive is another one.
            ObjectNotFoundError: There is no such archive.
            ShardReadError: It ends before.
        """
        try:
            body = self._get_range(index, start, end)
        except PreconditionFailedError as error:
            if index.etag is None or self.head().etag is not None:
                raise StaleIndexError(self.archive_key) from error
            # The store told a tag once, or another one did, and it shows none. The size and the
            # digests of the index tell whether it fits.
            index.etag = None
            body = self._get_range(index, start, end)
        with body:
            # First: what an index claims may be more than there is, or than memory holds.
            self.check_index(index, body.info)
            size = end - start
            if size < _MAPPED_BYTES:
                data = memoryview(bytearray(size))
            else:
                data = lazy_buffer(size, large_pages=True)
            count = body.readinto(data)
        if count != end - start:
            raise ShardReadError(
                f"{count} bytes arrived instead of {end - start}",
                key=self.archive_key,
                offset=start,
            )
        return data

    def _get_range(self, index: ArchiveIndex, start: int, end: int) -> ObjectBody:
        try:
            return self._objects.get(self.full_key, start=start, end=end, if_match=index.etag)
        except ObjectNotFoundError as error:
            raise ObjectNotFoundError(self.archive_key) from error
        except StorageError as error:
            if error.status == _OUT_OF_RANGE:
                raise StaleIndexError(self.archive_key) from error
            raise

    def check_index(self, index: ArchiveIndex, info: ObjectInfo) -> None:
        """Compare the archive as the store has it with its entry and its index.

        Args:
            index: The index.
            info: What the store said.

        Raises:
            IntegrityError: The archive is not the one of the entry.
            StaleIndexError: It is not the one of the index.
        """
        self._check_size(info)
        if info.size != index.stored_size or not same_version(index.etag, info.etag):
            raise StaleIndexError(self.archive_key)
        digest = None if index.blake3 is None else index.blake3.hex()
        recorded = self._entry.get("blake3")
        if digest is None or recorded is None:
            self._check_etag(info)
        elif digest != recorded:
            raise self._mismatch("blake3", recorded, digest)

    def head(self) -> ObjectInfo:
        """Tell what the store knows about the archive.

        Raises:
            ObjectNotFoundError: There is no such archive.
        """
        try:
            return self._objects.head(self.full_key)
        except ObjectNotFoundError as error:
            raise ObjectNotFoundError(self.archive_key) from error

    def stream(self) -> Generator[tuple[TarMember, MemberBody], None, None]:
        """Give all members in one pass; close the iterator to end it early.

        Yields:
            Each member with its body, which can be read until the next one is asked for.

        Raises:
            ObjectNotFoundError: There is no such archive.
            IntegrityError: It is not the one of the entry.
            ShardReadError: It is damaged or cut short.
        """
        with self._get() as body:
            yield from iter_archive(self._verified(body), self.compression, key=self.archive_key)

    def replaced(self, index: ArchiveIndex) -> IntegrityError:
        """Make the error of an archive that changed after reading it was begun.

        Args:
            index: The index that it was begun with.
        """
        return IntegrityError(
            f"{self.archive_key} was replaced while it was read",
            key=self.archive_key,
            algorithm="etag",
            expected=index.etag,
        )

    def keep_index(self, index: ArchiveIndex, *, write: bool) -> None:
        """Use an index from now on.

        Args:
            index: The index.
            write: Store it beside the archive too.
        """
        if write:
            self._objects.put(self._index_key, index.to_bytes(), content_type=_INDEX_TYPE)
        self._index = index
        self._is_cached = False
        CACHE.put(self._url, self._index_key, index)

    def _get(self) -> ObjectBody:
        try:
            body = self._objects.get(self.full_key)
        except ObjectNotFoundError as error:
            raise ObjectNotFoundError(self.archive_key) from error
        try:
            self._check_size(body.info)
            if self._entry.get("blake3") is None:
                self._check_etag(body.info)
        except IntegrityError:
            body.close()
            raise
        return body

    def _verified(self, body: ObjectBody) -> ObjectBody:
        """Compare the archive with the digest of its entry, unless its ETag says it is the same.

        A copy in another place has another ETag; what it holds is what counts.
        """
        recorded = self._entry.get("blake3")
        if recorded is None or (body.info.etag and self._recorded_etag == body.info.etag):
            return body
        facts = {"size_bytes": body.info.size, "blake3": recorded}
        return VerifiedBody(body, facts, key=self.archive_key)

    def _check_size(self, info: ObjectInfo) -> None:
        size = self._entry.get("size_bytes")
        if size is not None and size != info.size:
            raise self._mismatch("size", size, info.size)

    def _check_etag(self, info: ObjectInfo) -> None:
        if not same_version(self._recorded_etag, info.etag):
            raise self._mismatch("etag", self._recorded_etag, info.etag)

    @property
    def _recorded_etag(self) -> str | None:
        meta = self._entry.get("meta")
        etag = meta.get("etag") if isinstance(meta, dict) else None
        return etag if isinstance(etag, str) else None

    def _mismatch(self, algorithm: str, expected: Any, actual: Any) -> IntegrityError:  # noqa: ANN401
        return IntegrityError(
            f"{algorithm} of {self.archive_key} is {actual}, {expected} was recorded",
            key=self.archive_key,
            algorithm=algorithm,
            expected=expected,
            actual=actual,
        )

    def _load_index(self) -> ArchiveIndex | None:
        self._is_cached = False
        try:
            index = ArchiveIndex.from_bytes(self._index_bytes(), key=self._index_key)
        except ObjectNotFoundError:
            return None
        except ShardReadError as error:
            # The archive itself may be sound, and reading it as a stream will tell.
            _log.warning("%s; the archive is read as a stream", error)
            return None
        if not index.seekable:
            return None
        if self._caches:
            CACHE.put(self._url, self._index_key, index)
        return index

    def _index_bytes(self) -> bytes:
        with self._objects.get(self._index_key) as body:
            if body.info.size > MAX_INDEX_SIZE:
                raise ShardReadError(f"an index of {body.info.size} bytes", key=self._index_key)
            return body.read()

    def _forget(self) -> None:
        CACHE.drop(self._url, self._index_key)
        self._index = "unknown"

    @property
    def _url(self) -> str:
        return self._objects.url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r}, {self.archive_key!r})"
