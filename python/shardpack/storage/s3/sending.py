"""Writing objects from whatever holds their bytes, and copying them on the server."""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from shardpack.batch import as_bytes_view
from shardpack.errors import PreconditionFailedError, StorageError
from shardpack.storage.base import ObjectInfo
from shardpack.storage.s3.answer import quoted, version_of
from shardpack.storage.s3.buffers import Buffers
from shardpack.storage.s3.multipart import (
    Condition,
    MultipartUpload,
    S3Writer,
    info_of_put,
    part_size_for,
    parts_at_once,
)
from shardpack.storage.sources import is_buffer, iter_pieces, source_path
from shardpack.storage.transfer import Span, parallel_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from shardpack.storage.base import PutSource
    from shardpack.storage.s3.digests import Digest
    from shardpack.storage.s3.requests import Requests

__all__ = ["Options", "check_version", "copy", "put"]

# Larger objects cannot be copied by one request.
_MOST_COPIED = 5 << 30
_COPY_PART = 512 << 20


@dataclass(frozen=True, slots=True)
class Options:
    """How an object is written; see ``ObjectStore.put``."""

    content_type: str | None
    metadata: Mapping[str, str] | None
    condition: Condition
    progress: Callable[[int], object] | None
    part_size: int
    concurrency: int


def put(requests: Requests, key: str, data: PutSource, options: Options) -> ObjectInfo:
    """Write an object; arguments as in ``ObjectStore.put``."""
    path = source_path(data)
    if path is not None:
        with open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_size:
                return _put_file(requests, key, file.fileno(), status.st_size, options)
            # A pipe, a device or a file of `/proc`: only reading it tells how long it is.
            return _put_pieces(requests, key, iter_pieces(file), options)
    if is_buffer(data):
        view = as_bytes_view(data)
        return _put_known(requests, key, view.nbytes, lambda start, end: view[start:end], options)
    return _put_pieces(requests, key, iter_pieces(data), options)


def _put_pieces(
    requests: Requests, key: str, pieces: Iterable[memoryview], options: Options
) -> ObjectInfo:
    writer = S3Writer(
        requests,
        key,
        part_size=options.part_size,
        concurrency=options.concurrency,
        content_type=options.content_type,
        metadata=options.metadata,
        condition=options.condition,
        progress=options.progress,
    )
    with writer:
        for piece in pieces:
            writer.write(piece)
        return writer.close()


def _put_file(
    requests: Requests, key: str, descriptor: int, size: int, options: Options
) -> ObjectInfo:
    buffers = Buffers()

    def read(start: int, end: int) -> memoryview:
        view = buffers.take(end - start)
        done = 0
        while done < view.nbytes:
            count = os.preadv(descriptor, [view[done:]], start + done)
            if not count:
                raise StorageError(
                    f"the file for {key!r} became shorter while it was sent: {start + done} bytes"
                    f" of {size}",
                    key=key,
                )
            done += count
        return view

    return _put_known(requests, key, size, read, options, on_sent=buffers.give)


def _put_known(
    requests: Requests,
    key: str,
    size: int,
    read: Callable[[int, int], memoryview],
    options: Options,
    *,
    on_sent: Callable[[memoryview], object] | None = None,
) -> ObjectInfo:
    """Write an object of a known size.

    ``read`` gives the bytes from one place to another, ``on_sent`` is told when they were sent.
    """
    if size <= options.part_size:
        headers = requests.put(
            key,
            read(0, size),
            content_type=options.content_type,
            metadata=options.metadata,
            if_match=options.condition.if_match,
            if_absent=options.condition.if_absent,
        )
        if options.progress is not None:
            options.progress(size)
        return info_of_put(key, headers, size)
    return _put_parts(requests, key, size, read, options, on_sent)


def _put_parts(
    requests: Requests,
    key: str,
    size: int,
    read: Callable[[int, int], memoryview],
    options: Options,
    on_sent: Callable[[memoryview], object] | None,
) -> ObjectInfo:
    upload = MultipartUpload.begin(requests, key, options.content_type, options.metadata)
    part_size = part_size_for(size, upload.part_size(options.part_size))
    at_once = parts_at_once(part_size, options.concurrency)
    # One group is sent while the next is read and hashed.
    together = 1 if upload.use_crc32c else max(1, at_once // 2)
    stop = threading.Event()
    progress = options.progress
    sent = 0
    lock = threading.Lock()

    def send(item: tuple[int, memoryview, Digest]) -> None:
        nonlocal sent
        number, part, digest = item
        if stop.is_set():
            return
        upload.send(number, part, digest)
        size = part.nbytes
        if on_sent is not None:
            on_sent(part)
        if progress is not None:
            with lock:
                sent += size
                progress(sent)

    def send_group(starts: range) -> None:
        parts = [read(start, min(start + part_size, size)) for start in starts]
        first = starts[0] // part_size + 1
        items = zip(count(first), parts, upload.digests(parts), strict=False)
        for _ in parallel_map(send, items, workers=len(parts)):
            pass

    try:
        starts = range(0, size, part_size)
        groups = [starts[at : at + together] for at in range(0, len(starts), together)]
        workers = min(at_once // together, len(groups))
        for _ in parallel_map(send_group, groups, workers=workers, stop=stop):
            pass
        return upload.complete(options.condition)
    except BaseException as error:
        upload.abort_after(error)
        raise


def check_version(info: ObjectInfo, if_match: str | None) -> None:
    """Refuse another version than the one with an ETag.

    Args:
        info: What the store said.
        if_match: The ETag.
    """
    if if_match is not None and info.etag is not None and info.etag != if_match:
        raise PreconditionFailedError(
            f"{info.key!r} has the ETag {info.etag!r}, not {if_match!r}",
            key=info.key,
            status=412,
        )


def copy(
    requests: Requests,
    source: str,
    target: str,
    *,
    if_match: str | None,
    metadata: Mapping[str, str] | None,
    concurrency: int,
) -> ObjectInfo:
    """Copy an object on the server; arguments as in ``ObjectStore.copy``."""
    info = requests.head(source)
    check_version(info, if_match)
    if info.size > _MOST_COPIED:
        return _copy_parts(requests, info, target, metadata, concurrency)
    renewed = metadata is not None
    answer = requests.call(
        "copy",
        target,
        "copy_object",
        CopySource={"Bucket": requests.bucket, "Key": source},
        CopySourceIfMatch=quoted(if_match),
        MetadataDirective="REPLACE" if renewed else None,
        Metadata=None if metadata is None else dict(metadata),
        ContentType=info.content_type if renewed else None,
        ContentEncoding=info.content_encoding if renewed else None,
    )
    etag = answer.get("CopyObjectResult", {}).get("ETag", "").strip('"')
    return ObjectInfo(
        key=target,
        size=info.size,
        etag=etag or None,
        version_id=version_of(answer.get("VersionId")),
    )


def _copy_parts(
    requests: Requests,
    info: ObjectInfo,
    target: str,
    metadata: Mapping[str, str] | None,
    concurrency: int,
) -> ObjectInfo:
    part_size = part_size_for(info.size, _COPY_PART)
    kept = info.metadata if metadata is None else metadata
    upload = MultipartUpload.begin(requests, target, info.content_type, kept, of_copies=True)

    def send(place: tuple[int, Span]) -> None:
        number, span = place
        upload.copy(number, info.key, span.start, span.end, info.etag)

    try:
        starts = range(0, info.size, part_size)
        spans = [Span(start, min(start + part_size, info.size)) for start in starts]
        for _ in parallel_map(send, enumerate(spans, 1), workers=min(concurrency, len(spans))):
            pass
        return upload.complete(Condition())
    except BaseException as error:
        upload.abort_after(error)
        raise
