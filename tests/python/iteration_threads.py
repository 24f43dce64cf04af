"""The threads of iterations that read ahead: which run, and that none is left."""

from __future__ import annotations

import gc
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "shardpack-prefetch"


def threads() -> list[threading.Thread]:
    """Those that run. One whose start was cut short may be listed, but never ran."""
    return [each for each in threading.enumerate() if each.name == NAME and each.is_alive()]


def wait_for(condition: Callable[[], bool], *, timeout_s: float = 20) -> None:
    """Wait for something that happens soon, also on a busy machine."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def wait_until_none_runs() -> None:
    """Wait for the threads of iterations that were dropped, which nobody waits for."""
    if threads():
        gc.collect()
        wait_for(lambda: not threads())
