"""Uploads in parts: sent in parallel, completed as one, removed when anything fails."""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from shardpack.batch import as_bytes_view
from shardpack.errors import StorageError, StorageUnavailableError
from shardpack.storage.base import ObjectInfo
from shardpack.storage.s3.answer import info_of, quoted, version_of
from shardpack.storage.s3.buffers import Buffers
from shardpack.storage.s3.digests import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future
    from types import TracebackType

    from typing_extensions import Buffer

    from shardpack.storage.s3.requests import Requests

__all__ = ["Condition", "MultipartUpload", "S3Writer", "part_size_for", "parts_at_once"]

MOST_PARTS = 10_000
# Parts held in memory by one upload, all together.
_MOST_HELD = 128 << 20
# Of a stream, beside the part that is being filled: several are often written at a time.
_MOST_HELD_BY_STREAM = 64 << 20
# Of parts that go with their MD5, so that several are in memory to be hashed side by side.
_HASHED_PART = 16 << 20
# Streams do not know their length: parts grow so that 10,000 of them hold the largest object.
_PARTS_OF_ONE_SIZE = 1_500


def part_size_for(size: int, part_size: int) -> int:
    """Choose parts for an object of a known size: at most 10,000 of them.

    Args:
        size: Bytes of the object.
        part_size: Bytes of a part unless that makes too many.
    """
    return max(part_size, -(-size // MOST_PARTS))


def parts_at_once(part_size: int, concurrency: int, most_held: int = _MOST_HELD) -> int:
    """Say how many parts may be in memory, so that many small or few large ones are.

    Args:
        part_size: Bytes of a part.
        concurrency: Most requests at once.
        most_held: Most bytes of parts in memory.
    """
    return max(1, min(concurrency, most_held // part_size))


class Condition:
    """What must hold for a write to happen.

    Args:
        if_match: ETag that the object must have.
        if_absent: There must be no object.
    """

    __slots__ = ("if_absent", "if_match")

    def __init__(self, if_match: str | None = None, *, if_absent: bool = False) -> None:
        if if_match is not None and if_absent:
            raise ValueError("if_match= and if_absent= exclude each other")
        self.if_match = if_match
        self.if_absent = if_absent

    def __bool__(self) -> bool:
        return self.if_absent or self.if_match is not None


class MultipartUpload:
    """One upload in parts.

    Args:
        requests: How requests are sent.
        key: Key of the object.
        upload_id: The server's name for it.
        use_crc32c: Its parts were announced to come with their CRC32C.

    Attributes:
        use_crc32c: As given. Otherwise parts go with their MD5, which is best computed of several
            parts together.
    """

    def __init__(
        self, requests: Requests, key: str, upload_id: str, *, use_crc32c: bool = False
    ) -> None:
        self._requests = requests
        self._key = key
        self._upload_id = upload_id
        self.use_crc32c = use_crc32c
        # What the end of the upload tells about each.
        self._parts: dict[int, Mapping[str, str]] = {}
        self._size = 0
        self._lock = threading.Lock()

    @classmethod
    def begin(
        cls,
        requests: Requests,
        key: str,
        content_type: str | None,
        metadata: Mapping[str, str] | None,
        *,
        of_copies: bool = False,
    ) -> Self:
        """Begin an upload.

        Args:
            requests: How requests are sent.
            key: Key of the object.
            content_type: Media type.
            metadata: User metadata.
            of_copies: The server will take the parts from another object.
        """
        use_crc32c = not of_copies and requests.crc32c_for_parts(key)
        answer = requests.call(
            "begin upload",
            key,
            "create_multipart_upload",
            ContentType=content_type,
            Metadata=dict(metadata) if metadata else None,
            ChecksumAlgorithm="CRC32C" if use_crc32c else None,
        )
        return cls(requests, key, answer["UploadId"], use_crc32c=use_crc32c)

    def part_size(self, wished: int) -> int:
        """Choose parts for an object of a known size.

        Args:
            wished: Bytes of a part; for MD5 they are fewer, so that more fit in memory.
        """
        return wished if self.use_crc32c else min(wished, _HASHED_PART)

    def digests(self, parts: Sequence[memoryview]) -> list[Digest]:
        """Give what the server is to check parts by; any thread may ask.

        Args:
            parts: Their bytes.
        """
        return Digest.of_each(parts, use_crc32c=self.use_crc32c)

    def send(self, number: int, data: memoryview, digest: Digest) -> None:
        """Send a part; any thread may.

        Args:
            number: Its place, counted from 1.
            data: Its bytes.
            digest: What ``digests`` gave for it.
        """
        part = self._requests.put_part(self._key, self._upload_id, number, data, digest)
        with self._lock:
            self._parts[number] = part
            self._size += data.nbytes

    def copy(self, number: int, source: str, start: int, end: int, etag: str | None) -> None:
        """Let the server take a part from another object.

        Args:
            number: Its place, counted from 1.
            source: Key of the other object.
            start: First byte there.
            end: First byte after the part.
            etag: ETag that the other object must have.
        """
        answer = self._requests.call(
            "copy part",
            self._key,
            "upload_part_copy",
            UploadId=self._upload_id,
            PartNumber=number,
            CopySource={"Bucket": self._requests.bucket, "Key": source},
            CopySourceRange=f"bytes={start}-{end - 1}",
            CopySourceIfMatch=quoted(etag),
        )
        with self._lock:
            self._parts[number] = {"ETag": answer["CopyPartResult"]["ETag"]}
            self._size += end - start

    def complete(self, condition: Condition) -> ObjectInfo:
        """Give the object its key.

        Args:
            condition: What must hold.
        """
        parts = [{"PartNumber": number, **self._parts[number]} for number in sorted(self._parts)]
        broke = False

        def send() -> Mapping[str, object]:
            nonlocal broke
            try:
                answer: Mapping[str, object] = self._requests.plain.call(
                    "complete upload",
                    self._key,
                    "complete_multipart_upload",
                    UploadId=self._upload_id,
                    MultipartUpload={"Parts": parts},
                    IfMatch=quoted(condition.if_match),
                    IfNoneMatch="*" if condition.if_absent else None,
                )
            except StorageUnavailableError as error:
                broke = True
                error.ambiguous = bool(condition) and self._requests.may_have_happened(error)
                raise
            return answer

        try:
            answer = self._requests.retry.run("complete upload", self._key, send)
        except StorageError as error:
            if not (broke and error.code == "NoSuchUpload"):
                raise
            # The request before this one took effect, and its answer was lost.
            info = self._requests.head(self._key)
            if info.size != self._size:
                raise
            return info
        told = str(answer.get("ETag", "")).strip('"')
        return ObjectInfo(
            key=self._key,
            size=self._size,
            etag=told or None,
            version_id=version_of(answer.get("VersionId")),
        )

    def abort(self) -> None:
        """Remove the parts; an upload that is gone already is no error."""
        try:
            self._requests.call(
                "abort upload", self._key, "abort_multipart_upload", UploadId=self._upload_id
            )
        except StorageError as error:
            if error.status != 404:  # noqa: PLR2004 - not found
                raise

    def abort_after(self, error: BaseException) -> None:
        """Remove the parts because of a failure, which matters more than a failure to do so.

        Args:
            error: The failure; it gets a note when the parts stay.
        """
        try:
            self.abort()
        except StorageError as second:
            error.add_note(f"the parts of the upload of {self._key!r} stay: {second}")


class S3Writer:
    """An object of unknown length being written: parts are sent while the next is filled.

    Up to one part it becomes a single PUT when it is closed.

    Args:
        requests: How requests are sent.
        key: Key of the object.
        part_size: Bytes of a part.
        concurrency: Most parts sent at once; they hold 64 MiB together, or one part.
        content_type: Media type.
        metadata: User metadata.
        condition: What must hold when it is closed.
        progress: Called with the number of bytes sent so far.
    """

    def __init__(
        self,
        requests: Requests,
        key: str,
        *,
        part_size: int,
        concurrency: int,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        condition: Condition | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        self._requests = requests
        self._key = key
        self._part_size = part_size
        self._at_once = parts_at_once(part_size, concurrency, _MOST_HELD_BY_STREAM)
        self._about = (content_type, metadata)
        self._condition = condition or Condition()
        self._progress = progress
        self._buffers = Buffers()
        self._buffer: memoryview | None = None
        self._filled = 0
        self._number = 0
        self._sent = 0
        self._upload: MultipartUpload | None = None
        self._threads: ThreadPoolExecutor | None = None
        # Parts that wait for others to be hashed with, by number, and those on their way.
        self._group: list[tuple[int, memoryview]] = []
        self._running: deque[tuple[memoryview, Future[None]]] = deque()
        self._closed = False

    def write(self, data: Buffer, /) -> int:
        """Take all bytes.

        Args:
            data: Any C-contiguous buffer; it may be changed afterwards.

        Returns:
            Their number.
        """
        if self._closed:
            raise ValueError(f"the writer of {self._key!r} is closed")
        self._check_process()
        view = as_bytes_view(data)
        taken = 0
        while taken < view.nbytes:
            buffer = self._buffer
            # A full buffer is sent when more comes, so that one part alone needs no upload.
            if buffer is not None and self._filled == buffer.nbytes:
                self._send_buffer()
                buffer = None
            if buffer is None:
                buffer = self._buffer = self._next_buffer()
            piece = view[taken : taken + buffer.nbytes - self._filled]
            buffer[self._filled : self._filled + piece.nbytes] = piece
            self._filled += piece.nbytes
            taken += piece.nbytes
        return taken

    def close(self) -> ObjectInfo:
        """Send what is left and give the object its key.

        Returns:
            What the store said about it.
        """
        if self._closed:
            raise ValueError(f"the writer of {self._key!r} is closed")
        self._check_process()
        try:
            info = self._finish()
        except BaseException as error:
            self._stop(error)
            raise
        self._closed = True
        self._end_threads()
        return info

    def abort(self) -> None:
        """Throw away what was sent. After ``close`` this does nothing."""
        if self._closed:
            return
        self._closed = True
        if not self._is_ours():
            return
        self._end_threads()
        if self._upload is not None:
            self._upload.abort()

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
        if self._closed:
            return
        if error is None:
            self.close()
        else:
            self._stop(error)

    def _is_ours(self) -> bool:
        """Tell whether this is the process that began; to a child of it the upload is not its."""
        return self._requests.pid == os.getpid()

    def _check_process(self) -> None:
        if not self._is_ours():
            raise StorageError(
                f"the writer of {self._key!r} was opened in another process", key=self._key
            )

    def _size_now(self) -> int:
        return self._part_size << (self._number // _PARTS_OF_ONE_SIZE)

    def _room(self) -> int:
        """How many parts may be held beside the one that is being filled."""
        # Parts grow, and the memory for them does not.
        return max(1, self._at_once * self._part_size // self._size_now())

    def _next_buffer(self) -> memoryview:
        try:
            while self._running and len(self._running) + len(self._group) > self._room():
                self._wait_for_one()
        except BaseException as error:
            self._stop(error)
            raise
        return self._buffers.take(self._size_now())

    def _send_buffer(self) -> None:
        try:
            if self._upload is None:
                self._upload = MultipartUpload.begin(self._requests, self._key, *self._about)
                self._threads = ThreadPoolExecutor(
                    self._at_once, thread_name_prefix="shardpack-upload"
                )
            self._number += 1
            self._group.append((self._number, self._take_filled()))
            if self._upload.use_crc32c or len(self._group) >= self._room():
                self._send_group()
        except BaseException as error:
            self._stop(error)
            raise

    def _send_group(self) -> None:
        """Send parts that are hashed together."""
        group, self._group = self._group, []
        upload, threads = self._upload, self._threads
        assert upload is not None  # noqa: S101 - it has parts
        assert threads is not None  # noqa: S101 - made with the upload
        # It begins before those that wait for it.
        digests = threads.submit(upload.digests, [part for _, part in group])

        def send(place: int) -> None:
            number, part = group[place]
            upload.send(number, part, digests.result()[place])

        for place, (_, part) in enumerate(group):
            self._running.append((part, threads.submit(send, place)))

    def _take_filled(self) -> memoryview:
        part = memoryview(b"") if self._buffer is None else self._buffer[: self._filled]
        self._buffer = None
        self._filled = 0
        return part

    def _wait_for_one(self) -> None:
        part, task = self._running.popleft()
        task.result()
        self._buffers.give(part)
        self._sent += part.nbytes
        if self._progress is not None:
            self._progress(self._sent)

    def _finish(self) -> ObjectInfo:
        if self._upload is None:
            content_type, metadata = self._about
            data = self._take_filled()
            headers = self._requests.put(
                self._key,
                data,
                content_type=content_type,
                metadata=metadata,
                if_match=self._condition.if_match,
                if_absent=self._condition.if_absent,
            )
            if self._progress is not None:
                self._progress(data.nbytes)
            return info_of_put(self._key, headers, data.nbytes)
        if self._filled:
            self._send_buffer()
        if self._group:
            self._send_group()
        while self._running:
            self._wait_for_one()
        return self._upload.complete(self._condition)

    def _stop(self, error: BaseException) -> None:
        if self._closed:
            return
        self._closed = True
        if not self._is_ours():
            return
        self._end_threads()
        if self._upload is not None:
            self._upload.abort_after(error)

    def _end_threads(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
        self._running.clear()
        self._group.clear()
        self._buffer = None
        self._buffers = Buffers()


def info_of_put(key: str, headers: Mapping[str, str], size: int) -> ObjectInfo:
    """Read what the answer to a PUT says about the new object.

    Args:
        key: Its key.
        headers: Names in lower case.
        size: Its length in bytes.
    """
    info = info_of(key, headers, size)
    # The answer's own type and date are about the answer.
    return ObjectInfo(key=key, size=size, etag=info.etag, version_id=info.version_id)
