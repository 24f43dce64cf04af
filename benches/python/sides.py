"""Contenders that are processes of their own, and the tables of what they did in turn.

A client of a server cannot be timed beside others in one process: their threads, their memory and
their processor time would mix, and some need another Python. So each contender is a worker that
measures itself. They take turns (A B C A B C), ratios are of the same round, and each row has the
processor time beside the time on the clock: the server and the client share the machine.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from harness import MIB, machine

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["OURS", "Amount", "Goal", "Side", "Table", "Turn", "take_turns"]

#: The name of the contender that the goals are about.
OURS: Final = "shardpack"


@dataclass(frozen=True, slots=True)
class Turn:
    """One piece of work, done once.

    Attributes:
        wall_s: Seconds on the clock.
        cpu_s: Seconds of the processor, all threads of the contender together.
        given: What the work returned.
    """

    wall_s: float
    cpu_s: float
    given: Any


@dataclass(frozen=True, slots=True)
class Goal:
    """The least ratio peer / ours of one measure."""

    measure: Literal["wall", "CPU"]
    ratio: float


@dataclass(frozen=True, slots=True)
class Amount:
    """How much a turn does, and of what.

    Attributes:
        count: How many.
        unit: Of what.
    """

    count: float
    unit: str


class Side:
    """A contender at work.

    Args:
        name: As printed.
        command: The worker and its arguments.
        environment: Its whole environment; this process's when ``None``.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    @classmethod
    @contextmanager
    def running(
        cls, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> Iterator[Side]:
        """Run a contender as long as the block lasts; arguments as for the class."""
        side = cls(name, command, environment)
        try:
            yield side
        finally:
            side.close()

    def do(self, work: str, **arguments: Any) -> Turn:  # noqa: ANN401 - whatever JSON can hold
        """Have a piece of work done.

        Args:
            work: Its name.
            **arguments: For it.

        Raises:
            RuntimeError: The worker has ended; it told why on its standard error.
        """
        return Turn(**self._ask(work, arguments))

    def memory(self) -> tuple[float, float]:
        """Tell the resident memory now, and the most so far, in MiB."""
        told = self._ask("memory", {})
        return told["resident"] / MIB, told["peak"] / MIB

    def _ask(self, work: str, arguments: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([work, arguments]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name} ended while it did {work} {arguments}")
        told: dict[str, Any] = json.loads(answer)
        return told

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def take_turns(
    calls: Mapping[str, Callable[[], Turn]], rounds: int, *, warm_up: bool = True
) -> dict[str, list[Turn]]:
    """Have contenders do their work in turn.

    Args:
        calls: What does it once, by contender.
        rounds: How often each is measured.
        warm_up: Let each do it once before.

    Returns:
        What each took, round by round.
    """
    turns: dict[str, list[Turn]] = {name: [] for name in calls}
    for number in range(-warm_up, rounds):
        for name, call in calls.items():
            turn = call()
            if number >= 0:
                turns[name].append(turn)
    return turns


@dataclass(frozen=True, slots=True)
class _Row:
    """Ours against one peer."""

    case: str
    data: str
    peer: str
    amount: Amount
    goal: Goal | None
    turns: dict[str, list[Turn]]

    def ratios(self, measure: str) -> list[float]:
        mine, theirs = (
            [turn.wall_s if measure == "wall" else turn.cpu_s for turn in self.turns[name]]
            for name in (OURS, self.peer)
        )
        return [their / max(own, 1e-9) for own, their in zip(mine, theirs, strict=True)]

    @property
    def missed(self) -> bool:
        if self.goal is None:
            return False
        return statistics.median(self.ratios(self.goal.measure)) < self.goal.ratio

    def _speed(self, name: str) -> str:
        wall = statistics.median(turn.wall_s for turn in self.turns[name])
        cpu = statistics.median(turn.cpu_s for turn in self.turns[name])
        count, unit = self.amount.count, self.amount.unit
        if count == 1:
            return f"{wall * 1e3:,.4g} ms, {cpu * 1e3:,.4g} ms CPU"
        each = f"{cpu / count * 1e3:.3g} ms CPU each"
        if unit == "MB":
            each = f"{cpu / count * (1 << 30) / 1e6:.3g} s CPU a GiB"
        return f"{count / wall:,.0f} {unit}/s, {each}"

    def markdown(self) -> str:
        cells = [self.case, self.data, self._speed(OURS), f"{self.peer}: {self._speed(self.peer)}"]
        for measure in ("wall", "CPU"):
            ratios = self.ratios(measure)
            spread = f"({min(ratios):.2f}-{max(ratios):.2f})"
            cells.append(f"**{statistics.median(ratios):.2f}** {spread}")
        goal = "" if self.goal is None else f"{self.goal.measure} >= {self.goal.ratio:g}"
        cells.append(f"{goal}, missed" if self.missed else goal)
        return "| " + " | ".join(cells) + " |"


@dataclass(frozen=True, slots=True)
class _Figure:
    """A number that may have an upper limit."""

    case: str
    data: str
    who: str
    value: float
    limit: float | None
    unit: str

    @property
    def missed(self) -> bool:
        return self.limit is not None and self.value > self.limit

    def markdown(self) -> str:
        limit = "" if self.limit is None else f"<= {self.limit:,.6g}"
        cells = [self.case, self.data, self.who, f"{self.value:,.6g} {self.unit}"]
        cells.append(f"{limit}, missed" if self.missed else limit)
        return "| " + " | ".join(cells) + " |"


class Table:
    """Collects what came out; ``finish`` prints it.

    Args:
        title: Heading, and name of the JSON file.
        arguments: What ``parse_arguments`` returned.
    """

    def __init__(self, title: str, arguments: argparse.Namespace) -> None:
        self._title = title
        self._arguments = arguments
        self._rows: list[_Row] = []
        self._figures: list[_Figure] = []

    def compare(
        self,
        case: str,
        data: str,
        amount: Amount,
        turns: dict[str, list[Turn]],
        goals: Mapping[str, Goal] | None = None,
    ) -> None:
        """Add a row for each peer.

        Args:
            case: What was done.
            data: What to.
            amount: How much of it one turn does.
            turns: What each took.
            goals: Goals against single peers, by name; against ``"best"``, the fastest of all.
        """
        goals = dict(goals or {})
        peers = [name for name in turns if name != OURS]
        best = goals.pop("best", None)
        if best is not None:

            def typical(name: str) -> float:
                walls = best.measure == "wall"
                return statistics.median(one.wall_s if walls else one.cpu_s for one in turns[name])

            goals[min(peers, key=typical)] = best
        for peer in peers:
            row = _Row(case, data, peer, amount, goals.get(peer), turns)
            self._rows.append(row)
            print(row.markdown(), file=sys.stderr, flush=True)

    def figure(  # the columns of a row
        self,
        case: str,
        data: str,
        who: str,
        value: float,
        *,
        unit: str,
        limit: float | None = None,
    ) -> None:
        """Add a number; arguments as they are printed, ``limit`` is what it may be at most."""
        figure = _Figure(case, data, who, value, limit, unit)
        self._figures.append(figure)
        print(figure.markdown(), file=sys.stderr, flush=True)

    def finish(self) -> None:
        """Print the tables and write the JSON file."""
        print(f"\n### {self._title}\n\n{machine()}, {self._arguments.rounds} rounds\n")
        if self._rows:
            print("| case | data | shardpack | peer | wall ratio (spread) | CPU ratio | goal |")
            print("|---|---|--:|--:|--:|--:|--:|")
            print("\n".join(row.markdown() for row in self._rows))
        if self._figures:
            print("\n| case | data | who | measured | limit |\n|---|---|---|--:|--:|")
            print("\n".join(figure.markdown() for figure in self._figures))
        missed = [row.missed for row in self._rows if row.goal is not None]
        missed += [figure.missed for figure in self._figures if figure.limit is not None]
        print(f"\n{missed.count(False)} of {len(missed)} goals are reached")
        if self._arguments.json:
            folder = Path(self._arguments.json)
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{self._title.replace(' ', '_')}.json"
            content = {
                "machine": machine(),
                "rows": [asdict(row) for row in self._rows],
                "figures": [asdict(figure) for figure in self._figures],
            }
            path.write_text(json.dumps(content, indent=1) + "\n")
            print(f"samples: {path}", file=sys.stderr)
