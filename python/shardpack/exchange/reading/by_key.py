"""Reading objects and members by a list of keys: overlapped, and each archive once."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from shardpack.errors import ObjectNotFoundError, ShardReadError
from shardpack.exchange.bodies import ObjectStream
from shardpack.exchange.download.objects import by_archive
from shardpack.exchange.shard.access import StaleIndexError
from shardpack.exchange.shard.listing import internal_entries
from shardpack.exchange.shard.source import ArchiveSource
from shardpack.storage.body import BytesBody
from shardpack.storage.transfer import parallel_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from shardpack.exchange.bodies import ArchiveMemberBody
    from shardpack.exchange.keys import Space
    from shardpack.exchange.types import FileEntry

__all__ = ["Missing", "iter_objects_from_keys", "members_of"]

Missing = Literal["skip", "raise"]
# Objects up to this size are fetched whole ahead of time; of larger ones the request is made.
_AHEAD_BYTES: Final = 1 << 20


def iter_objects_from_keys(
    space: Space,
    keys: Iterable[str],
    *,
    infer_id: Callable[[str], str],
    limit: int | None = None,
    missing: Missing = "skip",
    concurrency: int = 1,
) -> Iterator[tuple[ObjectStream | ArchiveMemberBody, FileEntry]]:
    """Give the objects of plain keys, in their order, then members in that of their archives.

    Args:
        space: Where they lie.
        keys: Plain and virtual keys. A virtual one whose archive is not there is a plain one; one
            that comes twice is given once.
        infer_id: Makes an identifier of a key.
        limit: Most objects.
        missing: Whether a key that is not there is left out, or raises.
        concurrency: How many requests run at once.

    Returns:
        An iterator over ``(body, entry)``.

    Raises:
        ObjectNotFoundError: A key is not there, and ``missing`` is ``"raise"``.
        ShardReadError: An archive is damaged.
    """
    if limit is not None and limit < 0:
        raise ValueError(f"limit must not be negative, got {limit}")
    if missing not in {"skip", "raise"}:
        raise ValueError(f"missing must be 'skip' or 'raise', got {missing!r}")
    reader = _KeyReader(space, infer_id, missing, concurrency)
    return islice(reader.run(keys), limit)


class _KeyReader:
    """One reading of a list of keys."""

    def __init__(
        self, space: Space, infer_id: Callable[[str], str], missing: Missing, concurrency: int
    ) -> None:
        self._space = space
        self._infer_id = infer_id
        self._missing = missing
        self._concurrency = concurrency

    def run(
        self, keys: Iterable[str]
    ) -> Iterator[tuple[ObjectStream | ArchiveMemberBody, FileEntry]]:
        plain, archives = by_archive(keys)
        yield from self._plain(plain)
        for archive_key, virtual_keys in archives.items():
            paths = [key.removeprefix(f"{archive_key}#") for key in virtual_keys]
            yield from self._members(archive_key, paths)

    def _plain(self, keys: Sequence[str]) -> Iterator[tuple[ObjectStream, FileEntry]]:
        waiting: set[ObjectStream] = set()

        def begin(key: str) -> tuple[ObjectStream, FileEntry] | None:
            found = self._begin(key)
            if found is not None:
                waiting.add(found[0])
            return found

        try:
            for found in parallel_map(begin, keys, workers=self._concurrency):
                if found is not None:
                    waiting.discard(found[0])
                    yield found
        finally:
            # Whoever stops early leaves requests behind that were made ahead.
            for body in waiting:
                body.close()

    def _begin(self, key: str) -> tuple[ObjectStream, FileEntry] | None:
        try:
            body = self._space.objects.get(self._space.full(key))
        except ObjectNotFoundError as error:
            if self._missing == "raise":
                raise ObjectNotFoundError(key) from error
            return None
        info = body.info
        if info.size <= _AHEAD_BYTES:
            with body:
                body = BytesBody(body.read(), info)
        return ObjectStream(body), {
            "kind": "file",
            "key": key,
            "id": self._infer_id(key),
            "size_bytes": info.size,
            "etag": info.etag,
            "content_type": info.content_type,
        }

    def _members(
        self, archive_key: str, paths: list[str]
    ) -> Iterator[tuple[ObjectStream | ArchiveMemberBody, FileEntry]]:
        source = ArchiveSource(self._space, archive_key)
        found: set[str] = set()
        try:
            known = self._known(source, paths)
            for path, body in members_of(source, paths):
                found.add(path)
                yield body, self._entry(source, path, body, known.get(path))
        except ObjectNotFoundError as error:
            # Once it was there it is no key of an object.
            if error.key != archive_key or found:
                raise
            yield from self._plain([source.virtual_key(path) for path in paths])
            return
        if self._missing == "raise":
            for path in paths:
                if path not in found:
                    raise ObjectNotFoundError(source.virtual_key(path))

    def _known(self, source: ArchiveSource, paths: Iterable[str]) -> dict[str, FileEntry]:
        wanted = set(paths)
        try:
            return {
                entry["member_path"]: entry
                for entry in internal_entries(source)
                if entry["member_path"] in wanted
            }
        except ShardReadError as error:
            # An archive of another program has no manifest inside, which is no damage.
            if isinstance(error.__cause__, ObjectNotFoundError):
                return {}
            raise

    def _entry(
        self, source: ArchiveSource, path: str, body: ArchiveMemberBody, known: FileEntry | None
    ) -> FileEntry:
        if known is not None:
            return known
        fields: dict[str, Any] = {
            "kind": "file",
            "key": source.virtual_key(path),
            "archive_key": source.archive_key,
            "member_path": path,
            "id": self._infer_id(path),
            "size_bytes": body.info.size,
        }
        return cast("FileEntry", fields)


def members_of(
    source: ArchiveSource, paths: Iterable[str]
) -> Iterator[tuple[str, ArchiveMemberBody]]:
    """Give members of an archive that is read once, however many they are.

    Args:
        source: The archive.
        paths: The members; those that are not there are left out.

    Yields:
        The path of each, with its body, in the order of the archive: so each chunk is read once.

    Raises:
        ObjectNotFoundError: There is no such archive.
        ShardReadError: The archive is damaged, or was replaced meanwhile.
    """
    index = source.validated_index()
    if index is not None:
        try:
            found = [member for path in set(paths) if (member := index.member(path)) is not None]
            found.sort(key=lambda member: member.offset)
            yield from source.read_indexed(index, [member.path for member in found])
        except StaleIndexError as error:
            raise ShardReadError(
                "the archive was replaced while it was read", key=source.archive_key
            ) from error
        return
    wanted = set(paths)
    with closing(source.iter_members()) as members:  # type: ignore[type-var]
        for path, body in members:
            if path in wanted:
                wanted.discard(path)
                yield path, body
                if not wanted:
                    return
