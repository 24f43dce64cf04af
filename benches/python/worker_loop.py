"""The inner half of a contender that is a process of its own; ``sides`` is the outer one.

Each line of input is a piece of work as JSON, each is answered by a line of JSON: what it gave and
what it took, measured here, where no pipe and no other process is in the figures. The peers that
need another Python run this too, so it imports nothing but the standard library.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["serve"]


def serve(works: Mapping[str, Callable[..., Any]]) -> None:
    """Answer the lines of the input until it ends.

    Args:
        works: What can be asked for, by name; arguments and answers are what JSON can hold.
    """
    # Whatever the work prints must not get between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        name, arguments = json.loads(line)
        if name == "memory":
            answer: dict[str, Any] = _memory()
        else:
            work = works[name]
            cpu, wall = time.process_time(), time.perf_counter()
            given = work(**arguments)
            answer = {
                "wall_s": time.perf_counter() - wall,
                "cpu_s": time.process_time() - cpu,
                "given": given,
            }
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _memory() -> dict[str, int]:
    """Tell the resident memory of this process now, and at most so far, in bytes."""
    with open("/proc/self/status", encoding="ascii") as file:
        lines = dict(line.split(":", 1) for line in file)
    return {
        "resident": int(lines["VmRSS"].split()[0]) * 1024,
        "peak": int(lines["VmHWM"].split()[0]) * 1024,
    }
