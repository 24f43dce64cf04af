"""An interrupt may strike wherever the consumer can be; its threads end all the same."""

from __future__ import annotations

import contextlib
import dis
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import pytest

from iteration_threads import wait_until_none_runs
from shardpack.exchange.reading import delivery, prefetch
from shardpack.exchange.reading.delivery import PipedBody
from shardpack.exchange.reading.prefetch import map_ahead
from shardpack.storage.base import ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from shardpack.exchange.reading.prefetch import Prefetcher

CODE = {prefetch.__file__, delivery.__file__}
# After these the interpreter looks whether a signal has come.
LOOKING = ("CALL", "RESUME", "JUMP_BACKWARD")


def is_ours(frame: FrameType | None) -> bool:
    """Tell the code that is tried here, and the condition variables that it uses.

    How a thread is started is the standard library's own affair.
    """
    if frame is None:
        return False
    if frame.f_code.co_filename in CODE:
        return True
    return frame.f_code.co_qualname.startswith("Condition.") and is_ours(frame.f_back)


class InterruptAt:
    """Raises KeyboardInterrupt in this thread at one of the places where a signal may do so.

    Attributes:
        struck: Whether the code ran that far.
    """

    def __init__(self, number: int) -> None:
        self.struck = False
        self._left = number
        # By identity: the frames themselves would keep alive what they hold.
        self._before: dict[int, str] = {}

    def __enter__(self) -> Self:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if not is_ours(frame):
            return None
        frame.f_trace_opcodes = True
        if event == "return":
            self._before.pop(id(frame), None)
        elif event == "opcode":
            before = self._before.get(id(frame), "")
            self._before[id(frame)] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if before.startswith(LOOKING) and not self.struck:
                self._left -= 1
                if self._left < 0:
                    self.struck = True
                    raise KeyboardInterrupt
        return self._trace


def interrupted(call: Callable[[], None], number: int) -> bool:
    """Interrupt a call at one of its places; tells whether it has so many.

    In a thread of its own: an exception of a trace function, unlike a signal, may come while the
    interpreter leaves a handler, and the thread then takes that one to be still at work.
    """

    def run() -> bool:
        with contextlib.suppress(KeyboardInterrupt), InterruptAt(number) as interrupt:
            call()
        return interrupt.struck

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


@pytest.mark.parametrize("ordered", [True, False])
def test_an_interrupt_at_any_instruction_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch, *, ordered: bool
) -> None:
    monkeypatch.setattr(prefetch, "_JOIN_S", 3.0)
    number = 0
    while True:
        values = map_ahead(abs, range(3), concurrency=2, lookahead=1, ordered=ordered)

        def consume(values: Prefetcher[int] = values) -> None:
            for _ in values:
                pass
            values.close()

        struck = interrupted(consume, number)
        values.close()
        wait_until_none_runs()
        if not struck:
            break
        number += 1
    assert number > 100


def test_an_interrupt_while_a_large_member_is_handed_over_holds_nobody_up() -> None:
    pieces = [bytes([number]) * 3 for number in range(6)]
    number = 0
    errors = 0
    while True:
        body = PipedBody(ObjectInfo("a.tar#m", 18))
        feeder = threading.Thread(target=feed, args=(body, pieces))
        feeder.start()

        def read(body: PipedBody = body) -> None:
            assert b"".join(body.iter_chunks(2)) == b"".join(pieces)

        struck = interrupted(read, number)
        # The call that was interrupted took its bytes with it; none after them are left out.
        rest = b""
        try:
            while piece := body.read(2):
                rest += piece
        except ValueError as error:
            errors += str(error) == "reading was interrupted; open the member again"
        else:
            assert b"".join(pieces).endswith(rest)
        feeder.join(20)
        assert not feeder.is_alive()
        if not struck:
            break
        number += 1
    assert number > 20
    assert errors


def feed(body: PipedBody, pieces: list[bytes]) -> None:
    if all(body.feed(piece, lambda: False) for piece in pieces):
        body.finish()
