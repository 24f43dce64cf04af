"""A proxy in front of an S3 server that counts what passes and breaks it on request.

It understands as much HTTP/1.1 as S3 clients and servers speak: requests one after the other on a
connection, bodies with a length, in chunks or up to the end, and ``100 Continue``. It runs on a
thread of the test and listens on a port of its own, so that other processes can use it too.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

__all__ = ["Fault", "FaultProxy", "Seen"]

_LIMIT = 1 << 20
_HEAD_END = b"\r\n\r\n"
_PIECE = 256 << 10


@dataclass
class Fault:
    """What happens to some requests; the first fault of the list that fits one is applied to it.

    Attributes:
        method: Only requests of this method.
        path: Only requests whose target (path and query) has a match of this pattern.
        header: Only requests with this header.
        skip: Let this many fitting requests pass first.
        times: Apply it to this many requests; ``None`` for all.
        delay_s: Wait before the request is forwarded.
        answer: Answer with this status and do not forward the request.
        code: The S3 error code of that answer.
        headers: More headers of that answer, such as ``"Retry-After: 1"``.
        cut_after: Close the connection after this many bytes of the response body.
        reset: Let it end with a reset instead of an orderly close.
        stall_after: Keep silent after this many bytes of the response body.
        flip_at: Invert the lowest bit of this byte of the response body.
        flip_request_at: Invert the lowest bit of this byte of the request body.
        lose_answer: Forward the request, wait for its answer, and close without passing it on.
        lose_request_after: Close after this many bytes of the request body were forwarded.
        applied: How many requests it was applied to.
    """

    method: str | None = None
    path: str = ""
    header: str | None = None
    skip: int = 0
    times: int | None = 1
    delay_s: float = 0.0
    answer: int | None = None
    code: str | None = None
    headers: tuple[str, ...] = ()
    cut_after: int | None = None
    reset: bool = False
    stall_after: int | None = None
    flip_at: int | None = None
    flip_request_at: int | None = None
    lose_answer: bool = False
    lose_request_after: int | None = None
    applied: int = 0

    def takes(self, seen: Seen) -> bool:
        """Tell whether it applies to a request, and count that it does."""
        if self.times is not None and self.applied >= self.times:
            return False
        if self.method is not None and self.method != seen.method:
            return False
        if self.header is not None and self.header.lower() not in seen.headers:
            return False
        if not re.search(self.path, seen.target):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.applied += 1
        return True


@dataclass
class Seen:
    """A request that passed.

    Attributes:
        method: Its method.
        target: Its path and query, as sent.
        headers: Its headers, names in lower case.
        connection: Number of the connection that it came on, from 1.
        status: The status of its answer; ``None`` if there was none.
        bytes_up: Bytes of its body that were forwarded.
        bytes_down: Bytes of the answer's body that the client was sent.
    """

    method: str
    target: str
    headers: dict[str, str]
    connection: int
    status: int | None = None
    bytes_up: int = 0
    bytes_down: int = 0

    @property
    def range(self) -> str | None:
        """The Range header."""
        return self.headers.get("range")


@dataclass
class _Head:
    first: str
    headers: dict[str, str]
    raw: bytes

    @property
    def length(self) -> int | None:
        """Length of the body; ``None`` if it is in chunks or lasts to the end."""
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return None
        value = self.headers.get("content-length")
        return None if value is None else int(value)

    @property
    def chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "").lower()


class _EndConnectionError(Exception):
    """The connection is to end now; ``reset`` says how."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


@dataclass
class FaultProxy:
    """A proxy; used as a context manager it runs until the block ends.

    Attributes:
        upstream: URL of the server.
        faults: What is to go wrong. May be changed at any time.
        latency_s: Wait this long before each request is forwarded.
        requests: What passed, in the order in which it came.
        connections: Connections so far.
        bytes_up: All bytes to the server, heads included.
        bytes_down: All bytes to the client, heads included.
    """

    upstream: str
    faults: list[Fault] = field(default_factory=list)
    latency_s: float = 0.0
    requests: list[Seen] = field(default_factory=list)
    connections: int = 0
    bytes_up: int = 0
    bytes_down: int = 0

    def __post_init__(self) -> None:
        parts = urlsplit(self.upstream)
        assert parts.hostname is not None
        assert parts.port is not None
        self._address = (parts.hostname, parts.port)
        self._started = threading.Event()
        self._ended: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def forget(self) -> None:
        """Begin to count anew, and drop all faults."""
        self.faults.clear()
        self.requests.clear()
        self.connections = self.bytes_up = self.bytes_down = 0

    def count(self, method: str | None = None, path: str = "") -> int:
        """Count the requests of a method whose target has a match of a pattern."""
        return len(self.seen(method, path))

    def seen(self, method: str | None = None, path: str = "") -> list[Seen]:
        """Give the requests of a method whose target has a match of a pattern."""
        return [
            one
            for one in self.requests
            if (method is None or one.method == method) and re.search(path, one.target)
        ]

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10), "the proxy did not start"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._loop is not None
        assert self._ended is not None
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the proxy did not end"

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = listener.getsockname()[1]
        server = await asyncio.start_server(self._accept, sock=listener, limit=_LIMIT)
        self._started.set()
        await self._ended.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Without it an answer waits for the client's acknowledgement of its head.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections += 1
        connection = _Connection(self, reader, writer, self.connections)
        # Cancelled when the proxy ends; streams would report that as an error.
        with suppress(asyncio.CancelledError):
            await connection.run()

    def fault_for(self, seen: Seen) -> Fault | None:
        """Find the fault that applies to a request."""
        return next((fault for fault in self.faults if fault.takes(seen)), None)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the server."""
        return self._address


class _Connection:
    """One connection of a client, with one to the server."""

    def __init__(
        self,
        proxy: FaultProxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
    ) -> None:
        self.proxy = proxy
        self.reader = reader
        self.writer = writer
        self.number = number
        self.server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self) -> None:
        reset = False
        try:
            while await self._exchange():
                pass
        except _EndConnectionError as end:
            reset = end.reset
        except (ConnectionError, asyncio.IncompleteReadError):
            # One side has gone; the other learns it from the close below.
            pass
        finally:
            self._hang_up()
            await _close(self.writer, reset=reset)

    async def _exchange(self) -> bool:
        """Pass on one request and its answer; answer whether another one may follow."""
        head = await _read_head(self.reader)
        if head is None:
            return False
        method, target, _ = head.first.split(" ", 2)
        seen = Seen(method, target, head.headers, self.number)
        self.proxy.requests.append(seen)
        fault = self.proxy.fault_for(seen) or Fault()
        if self.proxy.latency_s or fault.delay_s:
            await asyncio.sleep(self.proxy.latency_s + fault.delay_s)
        if fault.answer is not None:
            return await self._answer_itself(head, seen, fault)
        if self.server is None:
            self.server = await asyncio.open_connection(*self.proxy.address, limit=_LIMIT)
        server_reader, server_writer = self.server
        self._send_up(server_writer, head.raw)
        sending: asyncio.Task[None] | None = None
        if head.length or head.chunked:
            sending = asyncio.create_task(self._send_body(head, seen, fault, server_writer))
        else:
            await server_writer.drain()
        try:
            return await self._pass_answer(seen, fault, server_reader, sending)
        finally:
            if sending is not None:
                sending.cancel()
                with suppress(asyncio.CancelledError, ConnectionError, _EndConnectionError):
                    await sending

    async def _send_body(
        self, head: _Head, seen: Seen, fault: Fault, writer: asyncio.StreamWriter
    ) -> None:
        async for piece, is_body in _body(self.reader, head):
            data = piece
            if is_body:
                data = _flipped(piece, fault.flip_request_at, seen.bytes_up)
                stop = fault.lose_request_after
                if stop is not None and seen.bytes_up + len(data) > stop:
                    data = data[: stop - seen.bytes_up]
                    self._send_up(writer, data)
                    await writer.drain()
                    seen.bytes_up = stop
                    self._hang_up()
                    await _close(self.writer, reset=fault.reset)
                    raise _EndConnectionError(reset=fault.reset)
                seen.bytes_up += len(data)
            self._send_up(writer, data)
            await writer.drain()

    async def _pass_answer(
        self,
        seen: Seen,
        fault: Fault,
        reader: asyncio.StreamReader,
        sending: asyncio.Task[None] | None,
    ) -> bool:
        while True:
            head = await _read_head(reader)
            if head is None:
                raise _EndConnectionError(reset=fault.reset)
            status = int(head.first.split(" ", 2)[1])
            if status >= 200 or status == 101:
                break
            self._send_down(head.raw)
        if fault.lose_answer:
            async for _ in _body(reader, head, no_body=_is_bodyless(seen, status)):
                pass
            raise _EndConnectionError(reset=fault.reset)
        seen.status = status
        self._send_down(head.raw)
        if _is_bodyless(seen, status):
            await self.writer.drain()
        else:
            await self._pass_body(seen, fault, reader, head)
        to_end = not _is_bodyless(seen, status) and head.length is None and not head.chunked
        closing = "close" in head.headers.get("connection", "").lower()
        old = head.first.startswith("HTTP/1.0")
        unsent = sending is not None and not sending.done()
        if unsent and sending is not None:
            # The last bytes may be on their way still; an early answer leaves more than that.
            await asyncio.wait([sending], timeout=0.05)
            unsent = not sending.done()
        return not (to_end or closing or old or unsent)

    async def _pass_body(
        self, seen: Seen, fault: Fault, reader: asyncio.StreamReader, head: _Head
    ) -> None:
        stop = fault.cut_after if fault.cut_after is not None else fault.stall_after
        async for piece, is_body in _body(reader, head):
            data = piece
            if is_body:
                data = _flipped(piece, fault.flip_at, seen.bytes_down)
                if stop is not None and seen.bytes_down + len(data) > stop:
                    data = data[: stop - seen.bytes_down]
                    self._send_down(data)
                    seen.bytes_down = stop
                    await self.writer.drain()
                    if fault.stall_after is not None:
                        # Until the client has had enough.
                        await self.reader.read()
                    raise _EndConnectionError(reset=fault.reset)
                seen.bytes_down += len(data)
            self._send_down(data)
            await self.writer.drain()

    async def _answer_itself(self, head: _Head, seen: Seen, fault: Fault) -> bool:
        expects = "100-continue" in head.headers.get("expect", "").lower()
        if not expects:
            async for _ in _body(self.reader, head, no_body=not (head.length or head.chunked)):
                pass
        seen.status = fault.answer
        code = fault.code or "InternalError"
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
            f"<Message>made by the test</Message><RequestId>0</RequestId></Error>"
        ).encode()
        lines = [
            f"HTTP/1.1 {fault.answer} {code}",
            "Content-Type: application/xml",
            f"Content-Length: {len(text)}",
            f"Connection: {'close' if expects else 'keep-alive'}",
            *fault.headers,
        ]
        self._send_down("\r\n".join(lines).encode() + _HEAD_END)
        if seen.method != "HEAD":
            seen.bytes_down = len(text)
            self._send_down(text)
        await self.writer.drain()
        return not expects

    def _send_up(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        self.proxy.bytes_up += len(data)
        writer.write(data)

    def _send_down(self, data: bytes) -> None:
        self.proxy.bytes_down += len(data)
        self.writer.write(data)

    def _hang_up(self) -> None:
        if self.server is not None:
            self.server[1].close()
            self.server = None


def _is_bodyless(seen: Seen, status: int) -> bool:
    return seen.method == "HEAD" or status in {204, 304}


def _flipped(piece: bytes, at: int | None, offset: int) -> bytes:
    if at is None or not offset <= at < offset + len(piece):
        return piece
    changed = bytearray(piece)
    changed[at - offset] ^= 1
    return bytes(changed)


async def _read_head(reader: asyncio.StreamReader) -> _Head | None:
    try:
        raw = await reader.readuntil(_HEAD_END)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *lines = raw[: -len(_HEAD_END)].decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return _Head(first, headers, raw)


async def _body(
    reader: asyncio.StreamReader, head: _Head, *, no_body: bool = False
) -> AsyncIterator[tuple[bytes, bool]]:
    """Give the pieces of a body; those that are the frame of a chunk come with False."""
    if no_body:
        return
    if head.chunked:
        async for item in _chunks(reader):
            yield item
    elif head.length is not None:
        async for piece in _exactly(reader, head.length):
            yield piece, True
    else:
        while piece := await reader.read(_PIECE):
            yield piece, True


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bool]]:
    size = 1
    while size:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        yield line, False
        async for piece in _exactly(reader, size):
            yield piece, True
        if size:
            yield await reader.readexactly(2), False
    # Trailers, up to an empty line.
    while line != b"\r\n":
        line = await reader.readuntil(b"\r\n")
        yield line, False


async def _exactly(reader: asyncio.StreamReader, size: int) -> AsyncIterator[bytes]:
    while size:
        piece = await reader.read(min(size, _PIECE))
        if not piece:
            raise asyncio.IncompleteReadError(b"", size)
        size -= len(piece)
        yield piece


async def _close(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if reset:
        # A linger time of zero makes the kernel send a reset.
        connection: socket.socket = writer.get_extra_info("socket")
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()
    with suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()
