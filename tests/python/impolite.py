"""A server that says what it was told to say, whatever it is asked."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from shardpack.storage.retry import RetryPolicy
from shardpack.storage.s3 import S3Store

if TYPE_CHECKING:
    from typing import Any

    from servers import S3Server

__all__ = ["CLOSE", "WHOLE", "Impolite", "answer", "store_at"]

# Among the answers: the connection ends here.
CLOSE = b"close"
# Headers of an answer that is right for the body `b"right"`.
WHOLE = ("Content-Length: 5", "Content-Range: bytes 0-4/5", 'ETag: "e"')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Impolite:
    """A server that answers each request of a connection with the next of its answers.

    Without any left it ends each connection at once.

    Attributes:
        url: Where it listens.
        asked: How many requests came.
        lines: Their first lines.
    """

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.lines: list[str] = []
        self.connection: socket.socket | None = None
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    @property
    def asked(self) -> int:
        return len(self.lines)

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connection = connection
            with connection:
                while self.answers and self.has_request(connection):
                    connection.sendall(self.answers.pop(0))
                    if self.answers and self.answers[0] == CLOSE:
                        self.answers.pop(0)
                        break

    def has_request(self, connection: socket.socket) -> bool:
        got = b""
        while b"\r\n\r\n" not in got:
            piece = connection.recv(65_536)
            if not piece:
                return False
            got += piece
        head, _, body = got.partition(b"\r\n\r\n")
        told = _LENGTH.search(head + b"\r\n")
        left = (0 if told is None else int(told[1])) - len(body)
        if left and b"100-continue" in head.lower():
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while left > 0:
            left -= len(connection.recv(65_536))
        self.lines.append(head.partition(b"\r\n")[0].decode())
        return True

    def end(self) -> None:
        self.answers.clear()
        # Wakes the thread up, which waits in `accept`.
        self.listener.shutdown(socket.SHUT_RDWR)
        if self.connection is not None:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        self.listener.close()


def answer(body: bytes, *headers: str, status: str = "206 Partial Content") -> bytes:
    """Write an answer."""
    lines = [f"HTTP/1.1 {status}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def store_at(
    server: S3Server,
    impolite: Impolite,
    attempts: int = 2,
    *,
    fast_path: bool = True,
    **config: Any,
) -> S3Store:
    """Make a store of such a server, with the credentials of a real one."""
    client = server.client(impolite.url, **{"read_timeout": 2} | config)
    policy = RetryPolicy(attempts=attempts, first_wait_s=0)
    return S3Store(client, "bucket", fast_path=fast_path, retry=policy)
