"""Whole objects and many ranges at once, by requests in parallel."""

from __future__ import annotations

import io
import os
import threading
from typing import TYPE_CHECKING

from shardpack.atomic import AtomicFile
from shardpack.errors import PreconditionFailedError
from shardpack.storage.s3.body import RangeReader
from shardpack.storage.transfer import Span, assemble, parallel_map, plan_ranges, split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shardpack.storage.base import ObjectInfo
    from shardpack.storage.s3.requests import Requests

__all__ = ["download", "read", "read_ranges"]

# A request costs as much as this many bytes on a good network.
_GAP = 1 << 20
_PIECE = 1 << 20


def read(
    requests: Requests,
    key: str,
    start: int | None,
    end: int | None,
    if_match: str | None,
    *,
    part_size: int,
    workers: int,
) -> bytes:
    """Read a range, a long one by several requests; arguments as in ``ObjectStore.read``."""
    if start is not None and start < -part_size:
        info = requests.head(key)
        start = max(0, info.size + start)
        if_match = if_match or info.etag
    if start is not None and start < 0:
        return _rest(RangeReader(requests, key, start, None, if_match=if_match))
    if not start and end is None and requests.validates:
        # Servers tell the checksum of the whole with the whole only.
        reader = RangeReader(requests, key, if_match=if_match)
        if reader.total <= part_size:
            return _rest(reader)
        reader.shorten(part_size)
        with reader_closing(reader):
            return _read_parts(requests, key, reader, 0, reader.total, part_size, workers)
    first = start or 0
    stop = first + part_size
    if end is not None:
        stop = min(stop, end)
    reader = RangeReader(requests, key, first, stop, if_match=if_match)
    after = reader.total if end is None else min(end, reader.total)
    if reader.end >= after:
        return _rest(reader)
    with reader_closing(reader):
        return _read_parts(requests, key, reader, first, after, part_size, workers)


def _rest(reader: RangeReader) -> bytes:
    with reader_closing(reader):
        return reader.read_rest()


class reader_closing:  # noqa: N801 - used like `contextlib.closing`, at a fifth of its cost
    """Close a reader at the end of a block."""

    __slots__ = ("_reader",)

    def __init__(self, reader: RangeReader) -> None:
        self._reader = reader

    def __enter__(self) -> None:
        pass

    def __exit__(self, *about: object) -> None:
        self._reader.close()


def _read_parts(
    requests: Requests,
    key: str,
    reader: RangeReader,
    first: int,
    after: int,
    part_size: int,
    workers: int,
) -> bytes:
    # Filled in place, as in `RangeReader.read`.
    store = io.BytesIO(bytes(after - first))
    spans = [Span(first, reader.end), *split(reader.end, after, part_size)]
    with store.getbuffer() as view:

        def fill(span: Span) -> None:
            target = view[span.start - first : span.end - first]
            if span.start == first:
                reader.readinto(target)
                return
            part = _same_version(requests, key, span, reader)
            with reader_closing(part):
                part.readinto(target)

        for _ in parallel_map(fill, spans, workers=min(workers, len(spans))):
            pass
    return store.getvalue()


def _same_version(requests: Requests, key: str, span: Span, reader: RangeReader) -> RangeReader:
    part = RangeReader(requests, key, span.start, span.end, if_match=reader.etag)
    if part.total != reader.total or part.etag != reader.etag or part.end != span.end:
        part.close()
        raise _replaced(key)
    return part


def _replaced(key: str) -> PreconditionFailedError:
    return PreconditionFailedError(f"{key!r} was replaced while it was read", key=key, status=412)


def read_ranges(
    requests: Requests,
    key: str,
    ranges: Sequence[tuple[int, int]],
    if_match: str | None,
    *,
    part_size: int,
    workers: int,
) -> list[bytes]:
    """Read many ranges; arguments as in ``ObjectStore.read_ranges``."""
    spans = plan_ranges(ranges, gap=_GAP, longest=part_size)
    versions: set[tuple[str | None, int]] = set()

    def fetch(span: Span) -> bytes:
        reader = RangeReader(requests, key, span.start, span.end, if_match=if_match)
        versions.add((reader.etag, reader.total))
        return _rest(reader)

    pieces = list(parallel_map(fetch, spans, workers=min(workers, len(spans))))
    if len(versions) > 1:
        raise _replaced(key)
    return assemble(ranges, spans, pieces)


def download(
    requests: Requests,
    key: str,
    path: str | os.PathLike[str],
    progress: Callable[[int], object] | None,
    *,
    part_size: int,
    workers: int,
) -> ObjectInfo:
    """Write an object to a file; arguments as in ``ObjectStore.download``."""
    reader = RangeReader(requests, key, 0, part_size)
    with reader_closing(reader):
        info = reader.info()
        folder = os.path.dirname(os.path.abspath(path))
        os.makedirs(folder, exist_ok=True)
        with AtomicFile(path, overwrite=True) as target:
            sink = _Sink(target.file.fileno(), progress)
            spans = [Span(0, reader.end), *split(reader.end, reader.total, part_size)]

            def fetch(span: Span) -> None:
                if span.start == 0:
                    sink.take(reader)
                    return
                part = _same_version(requests, key, span, reader)
                with reader_closing(part):
                    sink.take(part)

            for _ in parallel_map(fetch, spans, workers=min(workers, len(spans))):
                pass
            target.publish()
    return info


class _Sink:
    """A file that several threads write to, each at its place."""

    def __init__(self, descriptor: int, progress: Callable[[int], object] | None) -> None:
        self._descriptor = descriptor
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()

    def take(self, reader: RangeReader) -> None:
        """Write all that a reader gives."""
        buffer = memoryview(bytearray(min(_PIECE, reader.end - reader.position)))
        while reader.position < reader.end:
            place = reader.position
            piece = buffer[: reader.readinto(buffer)]
            while piece:
                count = os.pwrite(self._descriptor, piece, place)
                place += count
                piece = piece[count:]
                self._count(count)

    def _count(self, count: int) -> None:
        if self._progress is None:
            return
        with self._lock:
            self._done += count
            self._progress(self._done)
