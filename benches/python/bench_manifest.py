"""Manifests: write, iterate and compact beside ``s3exchange``; and what appending costs.

Both sides talk to the same server, each from a process of its own: the peer needs another Python.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness import MIB, Case, Contender, Report, parse_arguments
from s3exchange_peer import peer_python

sys.path.append(str(Path(__file__).parents[2] / "tests" / "python"))

from servers import S3Server, find_versitygw, running_moto, running_versitygw
from shardpack.exchange.keys import Space
from shardpack.exchange.manifest.manifest import append, iter_entries
from shardpack.storage import FileStore, MemoryStore

if TYPE_CHECKING:
    import argparse

_ENTRIES: Final = 200_000
_GOAL: Final = 4.0
_WORKER: Final = str(Path(__file__).with_name("manifest_worker.py"))
_numbers = count(1)


class Worker:
    """One side at work.

    Args:
        side: ``"ours"`` or ``"theirs"``.
        python: Its interpreter.
        server: The server.
        bucket: The bucket to work in.
        entries: How many entries it makes.
    """

    def __init__(self, side: str, python: str, server: S3Server, bucket: str, entries: int) -> None:
        self.side = side
        self._process = subprocess.Popen(
            [python, _WORKER, side, server.endpoint_url, bucket, str(entries)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | server.environment(),
        )

    def do(self, work: str, expected: int | None = None) -> int:
        """Have a piece of work done, and its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(work + "\n")
        self._process.stdin.flush()
        answer = int(self._process.stdout.readline())
        assert expected is None or answer == expected, (self.side, work, answer)
        return answer

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def _compare(report: Report, server: S3Server, entries: int, rounds: int) -> None:
    pythons = {"ours": sys.executable, "theirs": str(peer_python())}
    workers = {
        side: Worker(side, python, server, server.fresh_bucket(), entries)
        for side, python in pythons.items()
    }

    def contenders(work: str, answer: int) -> list[Contender]:
        return [
            Contender("shardpack", partial(workers["ours"].do, work, answer), ours=True),
            Contender("s3exchange", partial(workers["theirs"].do, work, answer)),
        ]

    data = f"{entries} entries, {server.name}"
    works = (
        ("write", "write m.jsonl", 0),
        ("iterate", "iterate m.jsonl", entries),
        ("compact", "compact m.jsonl", entries),
    )
    for name, work, answer in works:
        case = Case(name, data, entries / 1000, goal=_GOAL, unit="k entries")
        report.compare(case, contenders(work, answer))
    report.compare(
        Case("append one entry", f"as many as it takes, {server.name}", 1, unit="appends"),
        contenders("append a.jsonl", 0),
    )
    for name, work, _ in works:
        _processor(report, workers, name, work, rounds)
    for worker in workers.values():
        worker.close()
    _memory(report, pythons, server, entries)


def _processor(
    report: Report, workers: dict[str, Worker], name: str, work: str, rounds: int
) -> None:
    """Note what the work takes of the processor in either process, the server left out."""
    taken: dict[str, list[int]] = {side: [] for side in workers}
    for _ in range(rounds):
        for side, worker in workers.items():
            before = worker.do("processor")
            worker.do(work)
            taken[side].append(worker.do("processor") - before)
    ratios = [theirs / ours for ours, theirs in zip(taken["ours"], taken["theirs"], strict=True)]
    for side, times in taken.items():
        report.note(f"processor: {name}", side, statistics.median(times) / 1e3, unit="ms")
    told = f"s3exchange / shardpack, {min(ratios):.2f} to {max(ratios):.2f}"
    report.note(f"processor: {name}", told, statistics.median(ratios), unit="times")


def _memory(report: Report, pythons: dict[str, str], server: S3Server, entries: int) -> None:
    """Note the peaks of a process that writes, and of one that reads and rewrites what it wrote."""
    for side, python in pythons.items():
        bucket = server.fresh_bucket()
        maker = Worker(side, python, server, bucket, entries)
        maker.do("head none")
        idle = maker.do("peak") / 1024
        maker.do("write m.jsonl")
        peak = maker.do("peak") / 1024 - idle
        report.note("memory: write", f"{side}, {entries} entries, over client and entries", peak)
        maker.close()
        reader = Worker(side, python, server, bucket, 0)
        reader.do("head none")
        idle = reader.do("peak") / 1024
        report.note("memory: client alone", side, idle)
        for work in ("iterate", "compact"):
            reader.do(f"{work} m.jsonl")
            peak = reader.do("peak") / 1024 - idle
            limit = 64.0 if side == "ours" else None
            report.note(f"memory: {work}", f"{side}, {entries} entries, over that", peak, limit)
        reader.close()


class Counting(MemoryStore):
    """A store in memory that counts what is sent to it."""

    def __init__(self) -> None:
        super().__init__(f"bench-{next(_numbers)}")
        self.sent = 0
        self.requests = 0

    def put(self, key: str, data: Any, **options: Any) -> Any:  # noqa: ANN401 - as below it
        """Count, and put."""
        self.sent += len(data)
        self.requests += 1
        return super().put(key, data, **options)

    def get(self, key: str, **options: Any) -> Any:  # noqa: ANN401 - as below it
        """Count, and get."""
        self.requests += 1
        return super().get(key, **options)


def _curve(report: Report, appends: int) -> None:
    """Note what is sent by appends of one entry each."""
    store = Counting()
    space = Space(store)
    flat = 0  # what a root that keeps one line for each part would have cost
    for number in range(1, appends + 1):
        before = store.sent, store.requests
        (part,) = append(space, "set/m.jsonl", [{"kind": "file", "key": f"data/{number}.bin"}])
        line = len(f'{{"kind":"manifest_ref","key":"{part}"}}\n')
        flat += number * line
        if number in {1, 10, 63, 64, 65, 100, 200, 400, 1000, 4000, appends}:
            told = f"{store.requests - before[1]} requests; flat roots {flat / MIB:.2f} MiB so far"
            report.note(f"append {number}: sent", told, store.sent - before[0], unit="bytes")
            report.note(f"{number} appends: sent", "together", store.sent / MIB)
    assert sum(1 for _ in iter_entries(space, "set/m.jsonl")) == appends


def _growth(report: Report, parts: int, of: int) -> None:
    """Note the times of one append and of the first and the last entry as a manifest grows."""
    with tempfile.TemporaryDirectory() as folder:
        space = Space(FileStore(folder))
        wide = [
            {
                "kind": "file",
                "key": f"data/{number:010d}.bin",
                "size_bytes": number,
                "etag": "0" * 32,
            }
            for number in range(of)
        ]
        for number in range(1, parts + 1):
            started = time.perf_counter()
            append(space, "m.jsonl", wide)  # type: ignore[arg-type]
            took = time.perf_counter() - started
            if number in {1, 10, 100, parts}:
                entries = f"{number * of} entries in {number} parts"
                root = space.objects.head("m.jsonl").size
                report.note("append", f"{entries}, root {root} bytes", took * 1e3, unit="ms")
                started = time.perf_counter()
                found = iter_entries(space, "m.jsonl")
                next(found)
                report.note(
                    "first entry", entries, (time.perf_counter() - started) * 1e3, unit="ms"
                )
                total = 1 + sum(1 for _ in found)
                assert total == number * of
                took = time.perf_counter() - started
                report.note("all entries", entries, total / took / 1e3, unit="k entries/s")
                report.note("memory of the process so far", entries, _resident())


def _resident() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main(arguments: argparse.Namespace) -> None:
    """Run all parts."""
    report = Report("manifest", arguments)
    _growth(report, 20 if arguments.quick else 1000, 1000)
    _curve(report, 200 if arguments.quick else 4097)
    running = running_versitygw if find_versitygw() else running_moto
    with running() as server:
        _compare(report, server, 2000 if arguments.quick else _ENTRIES, arguments.rounds)
    report.finish()


if __name__ == "__main__":
    main(parse_arguments(__doc__))
