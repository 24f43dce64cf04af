"""A relay of bytes between clients and a server that it does not understand, such as TLS."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["TcpRelay"]


class TcpRelay:
    """Passes bytes on, counts connections, and breaks some.

    Args:
        port: Port of the server, on this machine.

    Attributes:
        port: Where it listens itself.
        connections: How many there were.
        cut_after: End a connection after the server has sent this many bytes on it; once.
        reset: Let it end with a reset instead of an orderly close.
        cuts: How often that was done.
    """

    def __init__(self, port: int) -> None:
        self._upstream = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.cut_after: int | None = None
        self.reset = False
        self.cuts = 0
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Closing alone does not wake a thread that waits for clients.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        with self._lock:
            left, self._open = self._open, []
        for side in left:
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                outer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(outer,), daemon=True).start()

    def _serve(self, outer: socket.socket) -> None:
        with outer, socket.create_connection(self._upstream) as inner:
            with self._lock:
                self._open += [outer, inner]
            up = threading.Thread(target=self._pass_up, args=(outer, inner), daemon=True)
            up.start()
            self._pass_down(inner, outer)
            up.join()

    def _pass_up(self, outer: socket.socket, inner: socket.socket) -> None:
        with suppress(OSError):
            while piece := outer.recv(65_536):
                inner.sendall(piece)
            inner.shutdown(socket.SHUT_WR)

    def _pass_down(self, inner: socket.socket, outer: socket.socket) -> None:
        passed = 0
        with suppress(OSError):
            while piece := inner.recv(65_536):
                with self._lock:
                    limit = self.cut_after
                    cut = limit is not None and passed + len(piece) > limit
                    if cut:
                        self.cut_after = None
                        self.cuts += 1
                if cut and limit is not None:
                    outer.sendall(piece[: max(0, limit - passed)])
                    if self.reset:
                        # A linger time of zero makes the kernel send a reset.
                        linger = struct.pack("ii", 1, 0)
                        outer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        outer.shutdown(socket.SHUT_RD)
                        outer.close()
                    break
                outer.sendall(piece)
                passed += len(piece)
        for side in (inner, outer):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
