"""Time contenders side by side and print what came out as Markdown.

The machine may be shared, so no absolute time is a result: contenders run in turn (A B C A B C)
within one process, and what counts is the ratio within a round. Its median and its spread over
the rounds are reported, with the processor time beside the wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import shardpack
from corpus import CORPORA

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Sized

__all__ = [
    "MIB",
    "Case",
    "Contender",
    "Report",
    "chunked",
    "compressing",
    "decoding",
    "machine",
    "parse_arguments",
    "peak_rss",
]

MIB: Final = 1 << 20
#: A peer counts as the best only where it compresses about as well.
_RATIO_GUARD: Final = 0.98
#: Shorter calls are repeated within a round until it lasts this long, in seconds.
_ROUND_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the work of a case. ``compressing`` and ``decoding`` make checked ones.

    Args:
        name: As printed.
        call: Does the work once and returns the result.
        ours: Whether it is shardpack's.
        stored_size: Bytes that came out, where the case compresses.
    """

    name: str
    call: Callable[[], object]
    ours: bool = False
    stored_size: int | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One piece of work.

    Args:
        name: What is done.
        data: What it is done to.
        amount: How much of ``unit`` one call handles.
        goal: The ratio ours / best peer to reach, or None where there is none.
        goals_by_peer: Goals against one contender each, by its name; without ``goal`` they are
            the only rows.
        unit: What ``amount`` counts.
        original_size: Bytes that go in, where the case compresses.
        threads: How many ours may use.
    """

    name: str
    data: str
    amount: float
    goal: float | None = None
    goals_by_peer: dict[str, float] = field(default_factory=dict)
    unit: str = "MB"
    original_size: int | None = None
    threads: int = 1


@dataclass(slots=True)
class _Samples:
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def take(self, call: Callable[[], object], repeats: int) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(repeats):
            call()
        self.wall_s.append((time.perf_counter() - wall) / repeats)
        self.cpu_s.append((time.process_time() - cpu) / repeats)


@dataclass(frozen=True, slots=True)
class _Row:
    """One contender of ours against the best peer."""

    case: Case
    ours: Contender
    peer: Contender
    goal: float | None
    samples: dict[str, _Samples]

    def speed(self, contender: Contender) -> float:
        return self.case.amount / statistics.median(self.samples[contender.name].wall_s)

    @property
    def ratios(self) -> list[float]:
        mine, theirs = self.samples[self.ours.name], self.samples[self.peer.name]
        return [peer / own for own, peer in zip(mine.wall_s, theirs.wall_s, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def missed(self) -> bool:
        return self.goal is not None and self.ratio < self.goal

    def compression(self, contender: Contender) -> float:
        return (self.case.original_size or 0) / (contender.stored_size or 1)

    def markdown(self) -> str:
        mine, theirs = self.samples[self.ours.name], self.samples[self.peer.name]
        cpu_ratio = statistics.median(theirs.cpu_s) / max(statistics.median(mine.cpu_s), 1e-9)
        spread = f"{min(self.ratios):.2f}-{max(self.ratios):.2f}"
        compression = ""
        if self.case.original_size:
            compression = f"{self.compression(self.ours):.2f} / {self.compression(self.peer):.2f}"
        goal = "" if self.goal is None else f"{self.goal:g}"
        return (
            f"| {self.case.name} | {self.case.data} | {self.case.threads} "
            f"| {self.ours.name}: {self.speed(self.ours):.0f} {self.case.unit}/s "
            f"| {self.peer.name}: {self.speed(self.peer):.0f} "
            f"| **{self.ratio:.2f}** ({spread}) | {cpu_ratio:.2f} | {goal} | {compression} |"
        )

    def json(self) -> dict[str, object]:
        return {
            **asdict(self.case),
            "ours": self.ours.name,
            "peer": self.peer.name,
            "goal": self.goal,
            "ratio": self.ratio,
            "ratio_min": min(self.ratios),
            "ratio_max": max(self.ratios),
            "stored_size": self.ours.stored_size,
            "peer_stored_size": self.peer.stored_size,
            "samples": {name: asdict(samples) for name, samples in self.samples.items()},
        }


@dataclass(frozen=True, slots=True)
class _Note:
    """A number with an upper limit, such as a peak of memory."""

    name: str
    data: str
    value: float
    limit: float | None
    unit: str

    def markdown(self) -> str:
        limit = "" if self.limit is None else f"{self.limit:.0f}"
        return f"| {self.name} | {self.data} | {self.value:.3g} {self.unit} | {limit} |"


class Report:
    """Collects rows; ``finish`` prints them.

    Args:
        title: Heading of the table and name of the JSON file.
        arguments: What ``parse_arguments`` returned.
    """

    def __init__(self, title: str, arguments: argparse.Namespace) -> None:
        self._title = title
        self._arguments = arguments
        self._rows: list[_Row] = []
        self._notes: list[_Note] = []

    def compare(self, case: Case, contenders: Sequence[Contender]) -> None:
        """Measure a case: one row for each contender of ours, against the best peer.

        Args:
            case: The work.
            contenders: All ways to do it; their results were checked by the caller.
        """
        print(f"{case.name}, {case.data} ...", file=sys.stderr, flush=True)
        samples = _measure(contenders, self._arguments.rounds)
        by_name = {contender.name: contender for contender in contenders}
        for ours in contenders:
            if not ours.ours:
                continue
            peers = [peer for peer in contenders if not peer.ours and _as_small(peer, ours)]
            if peers and (case.goal is not None or not case.goals_by_peer):
                best = min(peers, key=lambda peer: statistics.median(samples[peer.name].wall_s))
                self._rows.append(_Row(case, ours, best, case.goal, samples))
            for name, goal in case.goals_by_peer.items():
                if name != ours.name:
                    self._rows.append(_Row(case, ours, by_name[name], goal, samples))

    def note(
        self, name: str, data: str, value: float, limit: float | None = None, unit: str = "MiB"
    ) -> None:
        """Add a number that has an upper limit, such as a peak of memory."""
        print(f"{name}, {data}: {value:.3g} {unit}", file=sys.stderr, flush=True)
        self._notes.append(_Note(name, data, value, limit, unit))

    def finish(self) -> None:
        """Print the tables and write the JSON file."""
        print(f"\n### {self._title}\n\n{machine()}, {self._arguments.rounds} rounds\n")
        if self._rows:
            print("| case | data | threads | shardpack | best peer ", end="")
            print("| ratio (spread) | CPU ratio | goal | compression |")
            print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
            print("\n".join(row.markdown() for row in self._rows))
            with_goal = [row for row in self._rows if row.goal is not None]
            reached = sum(not row.missed for row in with_goal)
            print(f"\n{reached} of {len(with_goal)} rows are at or above their goal")
        if self._notes:
            print("\n| case | data | measured | limit |\n|---|---|--:|--:|")
            print("\n".join(note.markdown() for note in self._notes))
        if self._arguments.json:
            folder = Path(self._arguments.json)
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{self._title.replace(' ', '_')}.json"
            content = {
                "machine": machine(),
                "rows": [row.json() for row in self._rows],
                "notes": [asdict(note) for note in self._notes],
            }
            path.write_text(json.dumps(content, indent=1) + "\n")
            print(f"samples: {path}", file=sys.stderr)


def _measure(contenders: Sequence[Contender], rounds: int) -> dict[str, _Samples]:
    samples = {contender.name: _Samples() for contender in contenders}
    if len(samples) != len(contenders):
        message = f"two contenders of one name: {[contender.name for contender in contenders]}"
        raise ValueError(message)
    repeats = {}
    for contender in contenders:
        warm = _Samples()
        warm.take(contender.call, 1)
        repeats[contender.name] = max(1, round(_ROUND_S / max(warm.wall_s[0], 1e-7)))
    for _ in range(rounds):
        for contender in contenders:
            samples[contender.name].take(contender.call, repeats[contender.name])
    return samples


def _as_small(peer: Contender, ours: Contender) -> bool:
    if peer.stored_size is None or ours.stored_size is None:
        return True
    return peer.stored_size * _RATIO_GUARD <= ours.stored_size


def machine() -> str:
    """Describe this machine and its Python in a line."""
    model = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, Python {platform.python_version()}"


def _check(name: str, result: object, expected: object) -> None:
    if result != expected:
        message = f"{name} returned a wrong result"
        raise RuntimeError(message)


def compressing(
    name: str,
    call: Callable[[], Sized],
    decode: Callable[[Any], object],
    original: object,
    *,
    ours: bool = False,
) -> Contender:
    """Make a contender that compresses, and check that what it makes can be read.

    Args:
        name: As printed.
        call: Returns the compressed bytes.
        decode: Another program's reader of that format.
        original: What it must give back.
        ours: Whether it is shardpack's.

    Raises:
        RuntimeError: If it gives back anything else.
    """
    stored = call()
    _check(name, decode(stored), original)
    return Contender(name, call, ours=ours, stored_size=len(stored))


def decoding(
    name: str, call: Callable[[], object], original: object, *, ours: bool = False
) -> Contender:
    """Make a contender that decodes, and check that it does.

    Args:
        name: As printed.
        call: Returns the decoded bytes.
        original: What they must be.
        ours: Whether it is shardpack's.

    Raises:
        RuntimeError: If they are not.
    """
    _check(name, call(), original)
    return Contender(name, call, ours=ours)


def chunked(data: bytes, size: int) -> list[memoryview]:
    """Cut data into views of ``size`` bytes, the last one shorter."""
    view = memoryview(data)
    return [view[start : start + size] for start in range(0, len(view), size)]


def peak_rss(code: str, *arguments: str) -> int:
    """Run Python code in a fresh interpreter and say how much memory it held at most.

    The kernel's figure for a finished child also counts the parent it was forked from, so the
    child reads its own high-water mark.

    Args:
        code: What to run; ``sys.argv[1:]`` are the arguments.
        *arguments: Handed over to it.

    Returns:
        The peak of its resident memory in bytes.
    """
    status = "open('/proc/self/status').read().partition('VmHWM:')[2].split()[0]"
    finished = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint({status})", *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return int(finished.stdout.split()[-1]) * 1024


def parse_arguments(description: str) -> argparse.Namespace:
    """Read the command line that all benches share.

    Args:
        description: For ``--help``.

    Returns:
        ``size`` in bytes, ``rounds``, ``threads``, ``corpora``, ``quick`` and ``json``.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small data: does the bench work?")
    parser.add_argument("--size", type=int, metavar="MIB", help="MiB of each corpus, 64 by default")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds after the warm-up")
    parser.add_argument("--threads", type=int, default=shardpack.thread_count())
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=CORPORA)
    parser.add_argument("--json", metavar="FOLDER", help="write all samples there")
    arguments = parser.parse_args()
    arguments.size = (arguments.size or (4 if arguments.quick else 64)) * MIB
    return arguments
