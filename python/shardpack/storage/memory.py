"""Objects in the memory of this process: for tests, scratch data and small pipelines."""

from __future__ import annotations

import itertools
import os
import threading
from bisect import bisect_left
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from shardpack.atomic import AtomicFile
from shardpack.batch import as_bytes_view, write_all
from shardpack.errors import ObjectNotFoundError, PreconditionFailedError, StorageError
from shardpack.storage.base import ObjectInfo
from shardpack.storage.body import BytesBody
from shardpack.storage.paths import check_key, check_metadata, check_prefix
from shardpack.storage.sources import is_buffer, iter_pieces
from shardpack.storage.transfer import check_range, resolve_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Buffer

    from shardpack.storage.base import PutSource, Upload
    from shardpack.storage.body import ObjectBody

__all__ = ["MemoryStore"]


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    info: ObjectInfo


class _Space:
    """The objects of one name; every store of that name shares it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.objects: dict[str, _Object] = {}
        self._keys: list[str] | None = []

    def set(self, key: str, stored: _Object) -> None:
        if key not in self.objects:
            self._keys = None
        self.objects[key] = stored

    def remove(self, key: str) -> None:
        if self.objects.pop(key, None) is not None:
            self._keys = None

    def keys(self) -> list[str]:
        """Give the keys in order; code points sort as their UTF-8 bytes do."""
        if self._keys is None:
            self._keys = sorted(self.objects)
        return self._keys


_spaces: dict[str, _Space] = {}
_spaces_lock = threading.Lock()
# A counter and not a digest: an object that got its old bytes back is another version all the same.
_versions = itertools.count(1)


def _space(name: str) -> _Space:
    with _spaces_lock:
        return _spaces.setdefault(name, _Space())


def _renew_locks() -> None:
    # Another thread may have held one when this process was forked off.
    global _spaces_lock  # noqa: PLW0603 - it belongs to the process
    _spaces_lock = threading.Lock()
    for space in _spaces.values():
        space.lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_locks)


class MemoryStore:
    """A store in memory.

    All stores of one name in a process share their objects, whichever thread made them. A pickle
    carries the name alone: another process, a forked one too, has objects of its own.

    Args:
        name: Which space of objects.

    Attributes:
        name: As above.

    Example:
        >>> from shardpack.storage import MemoryStore
        >>> store = MemoryStore("example")
        >>> store.put("a/b", b"bytes").size
        5
        >>> store.read("a/b", start=2)
        b'tes'
    """

    def __init__(self, name: str = "") -> None:
        if "/" in name:
            raise ValueError(f"a name of a space in memory has no slash, got {name!r}")
        self.name = name

    def __repr__(self) -> str:
        return f"MemoryStore({self.name!r})"

    @property
    def url(self) -> str:
        """``mem://name``."""
        return f"mem://{self.name}"

    @property
    def conditional_writes(self) -> bool:
        """True."""
        return True

    @property
    def concurrency(self) -> int:
        """One: nothing is waited for."""
        return 1

    def get(
        self,
        key: str,
        *,
        start: int | None = None,
        end: int | None = None,
        if_match: str | None = None,
        version_id: str | None = None,
    ) -> ObjectBody:
        """Open an object; see ``ObjectStore.get``."""
        check_range(start, end)
        stored = self._find(key, if_match, version_id)
        span = resolve_range(start, end, len(stored.data))
        return BytesBody(as_bytes_view(stored.data)[span.start : span.end], stored.info)

    def read(
        self,
        key: str,
        *,
        start: int | None = None,
        end: int | None = None,
        if_match: str | None = None,
    ) -> bytes:
        """Read an object at once; see ``ObjectStore.read``."""
        check_range(start, end)
        stored = self._find(key, if_match)
        span = resolve_range(start, end, len(stored.data))
        return stored.data[span.start : span.end]

    def read_ranges(
        self, key: str, ranges: Sequence[tuple[int, int]], *, if_match: str | None = None
    ) -> list[bytes]:
        """Read many ranges of one object; see ``ObjectStore.read_ranges``."""
        data = self._find(key, if_match).data
        return [data[slice(*resolve_range(*_forward(pair), len(data)))] for pair in ranges]

    def download(
        self,
        key: str,
        path: str | os.PathLike[str],
        *,
        progress: Callable[[int], object] | None = None,
    ) -> ObjectInfo:
        """Write an object to a file; see ``ObjectStore.download``."""
        stored = self._find(key)
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        done = 0
        with AtomicFile(path, overwrite=True) as target:
            for piece in iter_pieces(stored.data):
                write_all(target.file, piece)
                done += piece.nbytes
                if progress is not None:
                    progress(done)
            target.publish()
        return stored.info

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo:
        """Tell what is known about an object; see ``ObjectStore.head``."""
        return self._find(key, None, version_id).info

    def exists(self, key: str) -> bool:
        """Tell whether there is an object."""
        return check_key(key) in self._space.objects

    def put(
        self,
        key: str,
        data: PutSource,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        if_match: str | None = None,
        if_absent: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> ObjectInfo:
        """Write an object; see ``ObjectStore.put``."""
        check_key(key)
        checked = check_metadata(metadata)
        whole = bytes(data) if is_buffer(data) else b"".join(bytes(p) for p in iter_pieces(data))
        info = self._publish(key, whole, content_type, checked, if_match, if_absent=if_absent)
        if progress is not None:
            progress(info.size)
        return info

    def writer(
        self,
        key: str,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        part_size: int | None = None,  # noqa: ARG002 - there are no parts
    ) -> _MemoryWriter:
        """Begin an object of unknown length; see ``ObjectStore.writer``."""
        return _MemoryWriter(self, check_key(key), content_type, check_metadata(metadata))

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """List objects as they were when the listing began; see ``ObjectStore.list``."""
        space = self._space
        check_prefix(prefix)
        with space.lock:
            keys = space.keys()
        for i in range(bisect_left(keys, prefix), len(keys)):
            key = keys[i]
            if not key.startswith(prefix):
                return
            stored = space.objects.get(key)
            if stored is not None and (start_after is None or key > start_after):
                yield _listed(stored.info)

    def list_level(self, prefix: str = "") -> Iterator[ObjectInfo | str]:
        """List one level; see ``ObjectStore.list_level``."""
        space = self._space
        check_prefix(prefix)
        with space.lock:
            keys = space.keys()
        i = bisect_left(keys, prefix)
        while i < len(keys) and keys[i].startswith(prefix):
            slash = keys[i].find("/", len(prefix))
            if slash >= 0:
                folder = keys[i][: slash + 1]
                yield folder
                # "0" comes right after the slash.
                i = bisect_left(keys, folder[:-1] + "0", i)
                continue
            stored = space.objects.get(keys[i])
            if stored is not None:
                yield _listed(stored.info)
            i += 1

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        check_key(key)
        space = self._space
        with space.lock:
            space.remove(key)

    def delete_many(self, keys: Iterable[str]) -> dict[str, StorageError]:
        """Remove many objects; see ``ObjectStore.delete_many``."""
        for key in keys:
            self.delete(key)
        return {}

    def copy(
        self,
        source: str,
        target: str,
        *,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Copy an object; see ``ObjectStore.copy``."""
        check_key(target)
        stored = self._find(source, if_match)
        names = stored.info.metadata if metadata is None else check_metadata(metadata)
        return self._publish(target, stored.data, stored.info.content_type, dict(names))

    def iter_uploads(self, prefix: str = "") -> Iterator[Upload]:
        """List unfinished uploads: none, what is not complete dies with its writer."""
        check_prefix(prefix)
        return iter(())

    def abort_upload(self, upload: Upload) -> None:
        """Do nothing: there are none."""

    @property
    def _space(self) -> _Space:
        return _space(self.name)

    def _find(
        self, key: str, if_match: str | None = None, version_id: str | None = None
    ) -> _Object:
        stored = self._space.objects.get(check_key(key))
        if stored is None or version_id is not None:
            raise ObjectNotFoundError(key)
        if if_match is not None and stored.info.etag != if_match:
            raise _precondition(key, if_match, stored.info.etag)
        return stored

    def _publish(
        self,
        key: str,
        data: bytes,
        content_type: str | None,
        metadata: dict[str, str],
        if_match: str | None = None,
        *,
        if_absent: bool = False,
    ) -> ObjectInfo:
        space = self._space
        with space.lock:
            before = space.objects.get(key)
            if if_absent and before is not None:
                raise _precondition(key, "none", before.info.etag)
            if if_match is not None and before is None:
                raise ObjectNotFoundError(key)
            if if_match is not None and before is not None and before.info.etag != if_match:
                raise _precondition(key, if_match, before.info.etag)
            info = ObjectInfo(
                key=key,
                size=len(data),
                # Shorter than an MD5, which it must not be taken for.
                etag=f"{next(_versions):x}",
                last_modified=datetime.now(UTC),
                content_type=content_type,
                metadata=metadata,
            )
            space.set(key, _Object(data, info))
        return info


class _MemoryWriter:
    """An object being written; see ``ObjectWriter``."""

    def __init__(
        self,
        store: MemoryStore,
        key: str,
        content_type: str | None,
        metadata: dict[str, str],
    ) -> None:
        self._store = store
        self._key = key
        self._facts = (content_type, metadata)
        self._data = bytearray()
        self._closed = False

    def write(self, data: Buffer, /) -> int:
        """Take all bytes."""
        self._check_open()
        view = as_bytes_view(data)
        self._data += view
        return view.nbytes

    def close(self) -> ObjectInfo:
        """Give the object its key."""
        self._check_open()
        data = bytes(self._data)
        self.abort()
        return self._store._publish(self._key, data, *self._facts)  # noqa: SLF001 - one page

    def abort(self) -> None:
        """Throw away what was written. After ``close`` this does nothing."""
        self._closed = True
        self._data = bytearray()

    def __enter__(self) -> Self:
        """Give the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; abort after an error."""
        if kind is not None:
            self.abort()
        elif not self._closed:
            self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"the writer of {self._key!r} is closed")


def _forward(pair: tuple[int, int]) -> tuple[int, int]:
    if pair[0] < 0:
        raise ValueError(f"invalid range {pair[0]}..{pair[1]}")
    check_range(*pair)
    return pair


def _listed(info: ObjectInfo) -> ObjectInfo:
    """Leave out what listings do not tell on other stores either."""
    return replace(info, content_type=None, metadata={})


def _precondition(key: str, wanted: str, found: str | None) -> PreconditionFailedError:
    return PreconditionFailedError(
        f"{key} is version {found}, not {wanted}", key=key, code="PreconditionFailed", status=412
    )
