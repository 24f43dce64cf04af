"""The calls of a store for single objects and members: get, head, put, download."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shardpack.errors import ObjectNotFoundError
from shardpack.exchange.bodies import ArchiveMemberBody, ObjectStream, section_of_member
from shardpack.exchange.calls.base import StoreBase
from shardpack.exchange.download.objects import by_archive, save_body, target_names
from shardpack.exchange.keys import split_virtual_key
from shardpack.exchange.reading.by_key import members_of
from shardpack.exchange.shard.member_bytes import member_info
from shardpack.exchange.shard.source import ArchiveSource
from shardpack.exchange.sources import Digests, hashed
from shardpack.storage.transfer import parallel_map

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping

    from shardpack.exchange.reading.by_key import Missing
    from shardpack.exchange.types import FileEntry
    from shardpack.storage.base import ObjectInfo, PutSource

__all__ = ["ObjectCalls"]


class ObjectCalls(StoreBase):
    """The calls for single objects, and for members of archives under their virtual keys."""

    def get_object(
        self,
        key: str,
        *,
        version_id: str | None = None,
        resolve_virtual_keys: bool = True,
        start: int | None = None,
        end: int | None = None,
    ) -> ObjectStream | ArchiveMemberBody:
        """Open an object, or a member of an archive, as a stream.

        A member costs the index of its archive, unless that is known already, and the chunks that
        hold it. Where no archive lies under the part before the ``#``, the key is taken as it is.

        Args:
            key: A key, or ``archive_key#member_path``.
            version_id: Version of an object in a versioned bucket.
            resolve_virtual_keys: Look into archives; otherwise ``#`` is a letter like others.
            start: First byte that is wanted; a negative one counts from the end.
            end: First byte that is not wanted.

        Returns:
            The body, with the calls of botocore's; close it, or read it to its end.

        Raises:
            ObjectNotFoundError: There is no such object or member; it names ``key``.
            IntegrityError: The member is not what the index of its archive recorded.
            ShardReadError: The archive is damaged.
            ValueError: A version is asked for of a member, or the range means nothing.
        """
        if resolve_virtual_keys and (parts := split_virtual_key(key)):
            if version_id is not None:
                raise ValueError(f"members have no versions: {key}, {version_id}")
            body = self._open_member(key, *parts)
            if body is not None:
                whole = start is None and end is None
                return body if whole else section_of_member(body, start, end)
        full = self.space.full(key)
        try:
            opened = self.objects.get(full, start=start, end=end, version_id=version_id)
        except ObjectNotFoundError as error:
            raise ObjectNotFoundError(key) from error
        return ObjectStream(opened)

    def get_object_metadata(self, key: str, *, version_id: str | None = None) -> dict[str, Any]:
        """Tell what is known about an object or member, in the form of boto3's ``head_object``.

        Args:
            key: A key, or ``archive_key#member_path``.
            version_id: Version of an object in a versioned bucket.

        Returns:
            ``ContentLength``, ``Metadata`` and, where they are known, ``ETag`` (in quotes),
            ``LastModified``, ``ContentType``, ``ContentEncoding`` and ``VersionId``. The metadata
            of a member holds its digests, ``crc32c`` and ``blake3``. ``ResponseMetadata`` says
            the same as ``HTTPHeaders``, with the ``HTTPStatusCode`` 200: other headers of the
            answer are not kept, and files and members are not asked for by HTTP at all.

        Raises:
            ObjectNotFoundError: There is no such object or member.
        """
        if version_id is None and (parts := split_virtual_key(key)):
            found = self._find_member(key, *parts)
            if found is not None:
                return _as_head(found)
        try:
            return _as_head(self.objects.head(self.space.full(key), version_id=version_id))
        except ObjectNotFoundError as error:
            raise ObjectNotFoundError(key) from error

    def head_object(self, key: str, *, version_id: str | None = None) -> dict[str, Any]:
        """Do what ``get_object_metadata`` does, under the name that S3 has for it.

        Args:
            key: A key, or ``archive_key#member_path``.
            version_id: Version of an object in a versioned bucket.
        """
        return self.get_object_metadata(key, version_id=version_id)

    def exists(self, key: str) -> bool:
        """Tell whether there is an object or member; whatever is no clear answer raises.

        Args:
            key: A key, or ``archive_key#member_path``.
        """
        try:
            self.get_object_metadata(key)
        except ObjectNotFoundError:
            return False
        return True

    def put_object(
        self,
        key: str,
        data: PutSource,
        *,
        id: str | None = None,  # noqa: A002 - a documented name
        meta: dict[str, Any] | None = None,
        content_type: str | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> FileEntry:
        """Store an object; one request, more for large ones in parallel parts.

        Args:
            key: The key.
            data: Bytes, the path of a file (a ``str`` too), a binary file object or an iterable
                of buffers.
            id: The caller's name for it; made from the key where it is missing.
            meta: Kept in the entry alone, not with the object.
            content_type: Media type.
            progress: Called with the number of bytes sent so far.

        Returns:
            The entry for a manifest, with CRC32C and BLAKE3 of what was read from ``data``.
        """
        digests = Digests()
        source = hashed(data, digests)
        written = self.objects.put(
            self.space.full(key), source, content_type=content_type, progress=progress
        )
        return {
            "kind": "file",
            "key": key,
            "id": self.infer_id(key) if id is None else id,
            "meta": meta,
            "content_type": content_type,
            "size_bytes": digests.size,
            "etag": written.etag,
            "crc32c": digests.crc32c,
            "blake3": digests.blake3,
        }

    def download_object(
        self,
        key: str,
        local_path: str | os.PathLike[str],
        *,
        progress: Callable[[int], object] | None = None,
    ) -> Path:
        """Write an object or member to a file, which appears whole or not at all.

        Args:
            key: A key, or ``archive_key#member_path``.
            local_path: The file; its folder is made, an existing file is replaced.
            progress: Called with the number of bytes done so far.

        Returns:
            The path.

        Raises:
            ObjectNotFoundError: There is no such object or member; nothing is written.
        """
        path = Path(local_path)
        parts = split_virtual_key(key)
        body = self._open_member(key, *parts) if parts else None
        if body is not None:
            save_body(body, path, progress=progress)
            return path
        try:
            self.objects.download(self.space.full(key), path, progress=progress)
        except ObjectNotFoundError as error:
            raise ObjectNotFoundError(key) from error
        return path

    def download_objects(
        self,
        keys: Iterable[str],
        local_dir: str | os.PathLike[str],
        *,
        keep_folders: bool = False,
        missing: Missing = "raise",
        concurrency: int | None = None,
    ) -> dict[str, Path]:
        """Write objects and members to files in a folder, several at a time.

        Each file appears whole or not at all. An archive is read once for all its members.

        Args:
            keys: Keys, plain or virtual.
            local_dir: The folder; it is made.
            keep_folders: Keep the folders of keys and of paths in archives; otherwise a file is
                named by the last part of its key or path.
            missing: Whether a key that is not there raises, or is left out of the result.
            concurrency: How many at once; by default what suits the store.

        Returns:
            The path of each key.

        Raises:
            ObjectNotFoundError: A key is not there; what was written before stays.
            ValueError: Two keys would become one file. Nothing is written.
            UnsafePathError: A key would leave the folder. Nothing is written.
        """
        if missing not in {"raise", "skip"}:
            raise ValueError(f"missing must be 'raise' or 'skip', got {missing!r}")
        base = Path(local_dir)
        names = {
            key: base / name for key, name in target_names(keys, keep_folders=keep_folders).items()
        }
        base.mkdir(parents=True, exist_ok=True)
        plain, archives = by_archive(names)

        def save(job: str | tuple[str, list[str]]) -> list[str]:
            if isinstance(job, str):
                return [job] if self._save_plain(job, names[job], missing) else []
            archive_key, members = job
            return self._save_archive({key: names[key] for key in members}, archive_key, missing)

        jobs: list[str | tuple[str, list[str]]] = [*plain, *archives.items()]
        workers = concurrency or self.concurrency
        done = {key for saved in parallel_map(save, jobs, workers=workers) for key in saved}
        return {key: path for key, path in names.items() if key in done}

    def _open_member(
        self, key: str, archive_key: str, member_path: str
    ) -> ArchiveMemberBody | None:
        """Open a member; ``None`` where there is no such archive, and the key is a plain one."""
        try:
            return ArchiveSource(self.space, archive_key).open(member_path)
        except ObjectNotFoundError as error:
            if error.key == archive_key:
                return None
            raise ObjectNotFoundError(key) from error

    def _find_member(self, key: str, archive_key: str, member_path: str) -> ObjectInfo | None:
        """Tell what the index knows of a member; an archive without one is read up to it."""
        source = ArchiveSource(self.space, archive_key)
        try:
            index = source.validated_index()
            if index is None:
                with source.open(member_path) as body:
                    return body.info
        except ObjectNotFoundError as error:
            if error.key == archive_key:
                return None
            raise ObjectNotFoundError(key) from error
        member = index.member(member_path)
        if member is None:
            raise ObjectNotFoundError(key)
        return member_info(key, member.size, crc32c=member.crc32c, blake3=member.blake3)

    def _save_archive(
        self, names: Mapping[str, Path], archive_key: str, missing: Missing
    ) -> list[str]:
        """Write members of one archive to files; gives the keys of those that were there."""
        done: list[str] = []
        paths = {key.removeprefix(f"{archive_key}#"): key for key in names}
        try:
            for path, body in members_of(ArchiveSource(self.space, archive_key), paths):
                save_body(body, names[paths[path]])
                done.append(paths[path])
        except ObjectNotFoundError as error:
            if error.key != archive_key:
                raise
            return [key for key in names if self._save_plain(key, names[key], missing)]
        for key in names:
            if missing == "raise" and key not in done:
                raise ObjectNotFoundError(key)
        return done

    def _save_plain(self, key: str, path: Path, missing: Missing) -> bool:
        try:
            self.objects.download(self.space.full(key), path)
        except ObjectNotFoundError as error:
            if missing == "raise":
                raise ObjectNotFoundError(key) from error
            return False
        return True


def _as_head(info: ObjectInfo) -> dict[str, Any]:
    head = {
        "ContentLength": info.size,
        "ETag": None if info.etag is None else f'"{info.etag}"',
        "LastModified": info.last_modified,
        "ContentType": info.content_type,
        "ContentEncoding": info.content_encoding,
        "VersionId": info.version_id,
        "Metadata": dict(info.metadata),
        "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": _as_headers(info)},
    }
    return {name: value for name, value in head.items() if value is not None}


def _as_headers(info: ObjectInfo) -> dict[str, str]:
    from email.utils import format_datetime

    headers = {
        "content-length": str(info.size),
        "etag": None if info.etag is None else f'"{info.etag}"',
        "content-type": info.content_type,
        "content-encoding": info.content_encoding,
        "x-amz-version-id": info.version_id,
        **{f"x-amz-meta-{name}": value for name, value in info.metadata.items()},
    }
    if info.last_modified is not None:
        written = info.last_modified.astimezone(UTC)
        headers["last-modified"] = format_datetime(written, usegmt=True)
    return {name: value for name, value in headers.items() if value is not None}
