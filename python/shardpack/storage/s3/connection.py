"""HTTP/1.1 over connections that stay open: as much of it as object storage needs, and no more.

Written out by hand because the general libraries spend longer on one small request than the server
does. Bodies are received into the memory where they shall end up.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Connection", "ConnectionPool", "NotConnectedError", "ProtocolError", "Response"]

_HEAD_BYTES = 16 << 10
_LONGEST_HEAD = 64 << 10
_LONGEST_TEXT = 1 << 20
# A connection that lay idle for longer is looked at before it is used.
_TRUSTED_IDLE_S = 1.0
_BODILESS = frozenset({204, 304})
_FIRST_FINAL_STATUS = 200
# Answers such as `100 Continue` before the real one.
_MOST_INTERIM = 100


class NotConnectedError(ConnectionError):
    """No connection could be made: nothing was sent."""


class ProtocolError(ConnectionError):
    """What came is no HTTP/1.1, or ended too early."""


def _refuse_contradictions(lines: list[str]) -> None:
    """Refuse two lengths or ranges: what reads them differently would see another body."""
    names = [line.partition(":")[0].lower() for line in lines]
    for name in ("content-length", "content-range", "transfer-encoding"):
        if names.count(name) > 1:
            raise ProtocolError(f"the answer has more than one {name}")


class Response:
    """The head of an answer; its body is received through the connection.

    Attributes:
        status: The status.
        headers: Names in lower case.
        length: Bytes of the body, ``None`` where only its end tells.
        reusable: Whether another request may follow on the connection once the body is read.
    """

    __slots__ = ("chunked", "headers", "length", "reusable", "status")

    def __init__(self, head: str, method: str) -> None:
        lines = head.split("\r\n")
        first = lines[0]
        status = first[9:12]
        if not first.startswith("HTTP/1.") or not (status.isascii() and status.isdigit()):
            raise ProtocolError("the server does not speak HTTP/1.1")
        self.status = int(status)
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                raise ProtocolError("a header of the answer has no name")
            headers[name.lower()] = value.strip()
        if "\r\n " in head or "\r\n\t" in head or "" in headers:
            raise ProtocolError("a header of the answer has no name")
        if len(headers) < len(lines) - 1:
            _refuse_contradictions(lines[1:])
        self.headers: Mapping[str, str] = headers
        self.reusable = (
            first.startswith("HTTP/1.1") and headers.get("connection", "").lower() != "close"
        )
        self.chunked = False
        self._measure(method)

    def _measure(self, method: str) -> None:
        told = self.headers.get("content-length")
        self.length: int | None
        if method == "HEAD" or self.status in _BODILESS:
            self.length = 0
        elif "transfer-encoding" in self.headers:
            self.chunked = True
            self.length = None
        elif told is None:
            self.length = None
            self.reusable = False
        elif told.isascii() and told.isdigit():
            self.length = int(told)
        else:
            raise ProtocolError("the answer has a length that is no number")


class Connection:
    """One connection to a server.

    Args:
        host: Name or address.
        port: Port.
        tls: How to check the server; ``None`` for plain HTTP.
        connect_timeout_s: Seconds to wait for the connection; ``None`` for any time.
        read_timeout_s: Seconds to wait for bytes; ``None`` for any time.

    Raises:
        NotConnectedError: There is no connection.
    """

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        connect_timeout_s: float | None,
        read_timeout_s: float | None,
    ) -> None:
        self.answered = 0
        self.idle_since = 0.0
        self._buffer = bytearray(_HEAD_BYTES)
        self._view = memoryview(self._buffer)
        # What lies in the buffer beyond the head of the last answer.
        self._begin = self._end = 0
        self._flags = 0
        try:
            plain = socket.create_connection((host, port), connect_timeout_s)
        except OSError as error:
            raise NotConnectedError(f"no connection to {host}:{port}: {error}") from error
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if tls is not None:
                self._socket: socket.socket = tls.wrap_socket(plain, server_hostname=host)
                self._socket.settimeout(read_timeout_s)
            else:
                self._socket = plain
                self._let_the_kernel_wait(read_timeout_s)
        except BaseException as error:
            plain.close()
            if isinstance(error, ssl.SSLCertVerificationError):
                raise
            if isinstance(error, OSError):
                raise NotConnectedError(f"no connection to {host}:{port}: {error}") from error
            raise

    def _let_the_kernel_wait(self, seconds: float | None) -> None:
        """Set a timeout that costs no `poll` before each call, as Python's own does."""
        self._socket.settimeout(None)
        if seconds is not None:
            whole = int(seconds)
            value = _timeval(whole, int((seconds - whole) * 1e6))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
        self._flags = socket.MSG_WAITALL

    def is_stale(self) -> bool:
        """Tell whether the server has closed the connection, or sent what nobody asked for."""
        if self._begin != self._end:
            return True
        if isinstance(self._socket, ssl.SSLSocket):
            # Whatever lies there, the end or a note about the session: a new one is surely good.
            arrived = select.poll()
            arrived.register(self._socket, select.POLLIN)
            return bool(self._socket.pending() or arrived.poll(0))
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        # Either the end, or bytes out of turn.
        return True

    def send(self, head: bytes, body: memoryview | None) -> None:
        """Send a request.

        Args:
            head: Its first line and headers, with the empty line.
            body: Its body.
        """
        try:
            if body is None or not body.nbytes:
                self._socket.sendall(head)
            elif self._flags:
                sent = self._socket.sendmsg((head, body))
                if sent < len(head):
                    self._socket.sendall(head[sent:])
                    sent = len(head)
                if sent - len(head) < body.nbytes:
                    self._socket.sendall(body[sent - len(head) :])
            else:
                self._socket.sendall(head)
                self._socket.sendall(body)
        except BlockingIOError as error:
            raise TimeoutError("the server takes no bytes") from error

    def receive_head(self, method: str) -> Response:
        """Receive the head of an answer.

        Args:
            method: Method of the request: answers to HEAD have no body.
        """
        for _ in range(_MOST_INTERIM):
            response = Response(self._head_text(), method)
            if response.status >= _FIRST_FINAL_STATUS:
                return response
        raise ProtocolError("the server goes on saying that it will answer")

    def _head_text(self) -> str:
        buffer = self._buffer
        if self._begin:
            left = self._end - self._begin
            buffer[:left] = buffer[self._begin : self._end]
            self._begin, self._end = 0, left
        searched = 0
        while True:
            stop = buffer.find(b"\r\n\r\n", searched, self._end)
            if stop >= 0:
                self._begin = stop + 4
                self.answered += 1
                return buffer[:stop].decode("latin-1")
            searched = max(0, self._end - 3)
            if self._end == len(buffer):
                if len(buffer) >= _LONGEST_HEAD:
                    raise ProtocolError("the head of the answer has no end")
                self._view.release()
                buffer.extend(bytes(len(buffer)))
                self._view = memoryview(buffer)
            count = self._receive(self._view[self._end :], 0)
            if not count:
                raise ProtocolError("the server ended the connection without an answer")
            self._end += count

    @property
    def has_bytes(self) -> bool:
        """Whether part of an answer has arrived."""
        return self._end > self._begin

    def receive_into(self, target: memoryview) -> int:
        """Receive bytes of a body.

        Args:
            target: Where they go.

        Returns:
            Their number; 0 when the connection has ended.
        """
        left = self._end - self._begin
        if left:
            count = min(left, target.nbytes)
            target[:count] = self._view[self._begin : self._begin + count]
            self._begin += count
            if self._begin == self._end:
                self._begin = self._end = 0
            return count
        return self._receive(target, self._flags)

    def _receive(self, target: memoryview, flags: int) -> int:
        try:
            return self._socket.recv_into(target, 0, flags)
        except BlockingIOError as error:
            raise TimeoutError("the server sends no bytes") from error

    def receive_text(self, response: Response) -> bytes:
        """Receive a short body as a whole, such as the reason of a refusal.

        Args:
            response: The head of the answer.

        Raises:
            ProtocolError: It is longer than 1 MiB, or ends early.
        """
        if response.length == 0:
            return b""
        if response.chunked:
            return self._receive_chunks()
        if response.length is None:
            return self._receive_until_end()
        return self._exactly(response.length)

    def _exactly(self, count: int) -> bytes:
        if count > _LONGEST_TEXT:
            raise ProtocolError("the answer is too long")
        body = bytearray(count)
        view = memoryview(body)
        done = 0
        while done < count:
            got = self.receive_into(view[done:])
            if not got:
                raise ProtocolError("the answer ended early")
            done += got
        return bytes(body)

    def _receive_until_end(self) -> bytes:
        body = bytearray()
        piece = memoryview(bytearray(4096))
        while count := self._some_into(piece):
            body += piece[:count]
            if len(body) > _LONGEST_TEXT:
                raise ProtocolError("the answer is too long")
        return bytes(body)

    def _some_into(self, target: memoryview) -> int:
        if self._begin != self._end:
            return self.receive_into(target)
        return self._receive(target, 0)

    def _receive_chunks(self) -> bytes:
        body = bytearray()
        while True:
            size = self._line().split(b";")[0].strip()
            if not size or not all(digit in b"0123456789abcdefABCDEF" for digit in size):
                raise ProtocolError("a chunk of the answer has no size")
            count = int(size, 16)
            if not count:
                break
            if len(body) + count > _LONGEST_TEXT:
                raise ProtocolError("the answer is too long")
            body += self._exactly(count)
            if self._line():
                raise ProtocolError("a chunk of the answer has no end")
        while self._line():
            pass
        return bytes(body)

    def _line(self) -> bytes:
        line = bytearray()
        while not line.endswith(b"\r\n"):
            line += self._exactly(1)
            if len(line) > _HEAD_BYTES:
                raise ProtocolError("a line of the answer has no end")
        return bytes(line[:-2])

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def __del__(self) -> None:
        # A store has no end of its own: its idle connections go when it goes.
        connected = getattr(self, "_socket", None)
        if connected is not None:
            connected.close()


def _timeval(seconds: int, microseconds: int) -> bytes:
    import struct

    return struct.pack("@ll", seconds, microseconds)


class ConnectionPool:
    """The idle connections of one process to one server, the last used first.

    Args:
        host: Name or address.
        port: Port.
        tls: How to check the server; ``None`` for plain HTTP.
        connect_timeout_s: Seconds to wait for a connection; ``None`` for any time.
        read_timeout_s: Seconds to wait for bytes; ``None`` for any time.
        most_idle: Most connections kept while nobody uses them.
    """

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        *,
        connect_timeout_s: float | None,
        read_timeout_s: float | None,
        most_idle: int,
    ) -> None:
        self._address: tuple[Any, ...] = (host, port, tls, connect_timeout_s, read_timeout_s)
        self._most_idle = most_idle
        # `append` and `pop` of a deque are atomic.
        self._idle: deque[Connection] = deque()

    def take(self, *, sure: bool = False) -> Connection:
        """Give a connection, an idle one where there is any.

        Args:
            sure: Look at it first, however short it lay idle: the request must not be repeated.
        """
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self.fresh()
            trusted = not sure and time.monotonic() - connection.idle_since < _TRUSTED_IDLE_S
            if trusted or not connection.is_stale():
                return connection
            connection.close()

    def fresh(self) -> Connection:
        """Make a connection."""
        return Connection(*self._address)

    def give(self, connection: Connection) -> None:
        """Take a connection back whose last answer was read to its end.

        Args:
            connection: The connection.
        """
        if len(self._idle) >= self._most_idle or connection.has_bytes:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)

    def close(self) -> None:
        """End the idle connections."""
        while self._idle:
            self._idle.pop().close()
