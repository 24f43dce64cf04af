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
    from shardpack.archive.decoding import Ahead
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
    """The archive is not the one that its index was made for.

    Args:
        archive_key: Key of the archive.
        found: What the store says of it, where it may be a copy: it has the same length.

    Attributes:
        found: As above.
    """

    def __init__(self, archive_key: str, found: ObjectInfo | None = None) -> None:
        super().__init__(archive_key)
        self.found = found


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
        index_error: Why there was an index that could not be read when it was last looked for;
            another reader may have been able to.
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
        self.index_error: ShardReadError | None = None

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

    def validated_index(self, *, verify: bool = True) -> ArchiveIndex | None:
        """Give the index if it is that of the archive as it is now, at the cost of one request.

        One that leaves sparse members out is not given: whoever asks goes through all of them. For
        an archive with another ETag than that of the index, see ``knows_all``.

        Args:
            verify: Whether all that is read will be compared with its digests.

        Raises:
            ObjectNotFoundError: There is no such archive.
            IntegrityError: The archive is not the one of the entry.
        """

        def compare(index: ArchiveIndex) -> ArchiveIndex | None:
            self.check_current(index)
            return index if self.knows_all(index, verify=verify) else None

        return self.by_index(compare, otherwise=lambda: None)

    def knows_all(self, index: ArchiveIndex, *, verify: bool) -> bool:
        """Tell whether an index may stand for all of the archive, in lists and in iterations.

        One of an archive with another ETag may, where the entry has the BLAKE3 hash that the index
        has: then it tells what the archive should be, and digests show what it is.

        Args:
            index: The index, which fits the archive as far as ``check_index`` tells.
            verify: Whether all that is read will be compared with its digests.
        """
        if index.doubtful:
            # Without checksums of chunks nothing proves a part of a large member.
            has_checksums = index.chunks.checksums is not None
            return verify and has_checksums and self.is_vouched(index) and not index.sparse
        return not index.sparse

    def is_vouched(self, index: ArchiveIndex) -> bool:
        """Tell whether the entry says that the archive is the one that an index was made for.

        Args:
            index: The index.
        """
        return index.blake3 is not None and self._entry.get("blake3") == index.blake3.hex()

    def by_index(self, call: Callable[[ArchiveIndex], R], *, otherwise: Callable[[], R]) -> R:
        """Do something by the index; if that does not fit or what it reads is damaged, once more.

        Where the archive has the length that the index knows and another ETag, both may have been
        copied together: then it is done with an index that is ``doubtful``, and otherwise if
        anything differs.

        Args:
            call: What to do; raises ``StaleIndexError`` where the index does not fit the archive,
                or is doubtful and nothing that is read would prove it.
            otherwise: What to do where no index fits.
        """
        index = self.index()
        if index is None:
            return otherwise()
        was_cached = self._is_cached
        try:
            return call(index)
        except StaleIndexError as error:
            self._forget()
            if not was_cached:
                return self._by_doubtful(index, error.found, call, otherwise)
        except (IntegrityError, ShardReadError):
            # Bytes that were changed on their way come right the second time.
            self._forget()
        index = self.index()
        if index is None:
            return otherwise()
        try:
            return call(index)
        except StaleIndexError as error:
            self._forget()
            return self._by_doubtful(index, error.found, call, otherwise)

    def _by_doubtful(
        self,
        index: ArchiveIndex,
        found: ObjectInfo | None,
        call: Callable[[ArchiveIndex], R],
        otherwise: Callable[[], R],
    ) -> R:
        if found is None or found.etag is None:
            return otherwise()
        doubtful = index.doubted(found.etag)
        try:
            result = call(doubtful)
        except StaleIndexError:
            return otherwise()
        except (IntegrityError, ShardReadError):
            if self.is_vouched(index):
                # The archive is not what its entry says; reading it in another way changes nothing.
                raise
            return otherwise()
        self._index = doubtful
        self._is_cached = False
        if self._caches:
            CACHE.put(self._url, self._index_key, doubtful)
        return result

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
        # First: what an index claims may be more than there is, or than memory holds.
        with self.open_range(index, start, end) as body:
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

    def open_range(self, index: ArchiveIndex, start: int, end: int) -> ObjectBody:
        """Ask for a range, as ``fetch`` does, to be read from the front.

        Args:
            index: The index.
            start: First byte.
            end: First byte after the range.

        Returns:
            Its bytes, fewer where the archive ends before.

        Raises:
            StaleIndexError: The archive is another one.
            ObjectNotFoundError: There is no such archive.
        """
        try:
            body = self._get_range(index, start, end)
        except PreconditionFailedError as error:
            info = None if index.etag is None else self.head()
            if info is None or info.etag is not None:
                is_copy = info is not None and info.size == index.stored_size
                raise StaleIndexError(self.archive_key, info if is_copy else None) from error
            # The store told a tag once, or another one did, and it shows none. The size and the
            # digests of the index tell whether it fits.
            index.etag = None
            body = self._get_range(index, start, end)
        try:
            self.check_index(index, body.info)
        except BaseException:
            body.close()
            raise
        return body

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
        if info.size != index.stored_size:
            raise StaleIndexError(self.archive_key)
        if not same_version(index.etag, info.etag):
            raise StaleIndexError(self.archive_key, info)
        digest = None if index.blake3 is None else index.blake3.hex()
        recorded = self._entry.get("blake3")
        if digest is None or recorded is None:
            self._check_etag(info)
        elif digest != recorded:
            raise self._mismatch("blake3", recorded, digest)

    def check_current(self, index: ArchiveIndex) -> None:
        """Compare the archive as it is now with its entry and its index.

        Args:
            index: The index.

        Raises:
            ObjectNotFoundError: There is no such archive.
            IntegrityError: As ``check_index``.
            StaleIndexError: As ``check_index``.
        """
        info = self.head()
        self.check_index(index, info)
        if index.etag and info.etag and index.etag != info.etag:
            # Tags of two forms: whether they are of one version, only the store can tell.
            self.open_range(index, 0, 1).close()

    def head(self) -> ObjectInfo:
        """Tell what the store knows about the archive.

        Raises:
            ObjectNotFoundError: There is no such archive.
        """
        try:
            return self._objects.head(self.full_key)
        except ObjectNotFoundError as error:
            raise ObjectNotFoundError(self.archive_key) from error

    def stream(
        self, *, ahead: Ahead | None = None
    ) -> Generator[tuple[TarMember, MemberBody], None, None]:
        """Give all members in one pass; close the iterator to end it early.

        Args:
            ahead: As in ``iter_archive``.

        Yields:
            Each member with its body, which can be read until the next one is asked for.

        Raises:
            ObjectNotFoundError: There is no such archive.
            IntegrityError: It is not the one of the entry.
            ShardReadError: It is damaged or cut short.
        """
        with self._get() as body:
            stored = self._verified(body)
            yield from iter_archive(stored, self.compression, key=self.archive_key, ahead=ahead)

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
        self._is_cached = False
        self._index = index if index.seekable else None
        if index.seekable:
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
        self.index_error = None
        try:
            try:
                index = self._get_index()
            except ShardReadError:
                # Bytes that were changed on their way come right the second time.
                index = self._get_index()
        except ObjectNotFoundError:
            return None
        except ShardReadError as error:
            # The archive itself may be sound, and reading it as a stream will tell.
            _log.warning("%s; the archive is read as a stream", error)
            self.index_error = error
            return None
        if not index.seekable:
            return None
        if self._caches:
            CACHE.put(self._url, self._index_key, index)
        return index

    def _get_index(self) -> ArchiveIndex:
        with self._objects.get(self._index_key) as body:
            if body.info.size > MAX_INDEX_SIZE:
                raise ShardReadError(f"an index of {body.info.size} bytes", key=self._index_key)
            return ArchiveIndex.from_bytes(body.read(), key=self._index_key)

    def _forget(self) -> None:
        CACHE.drop(self._url, self._index_key)
        self._index = "unknown"

    @property
    def _url(self) -> str:
        return self._objects.url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r}, {self.archive_key!r})"
