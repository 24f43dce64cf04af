"""Many small and some large objects: ``S3Store`` beside plain boto3 and obstore, on local servers.

A server shares the machine with its clients, so what counts for small objects, and for sending, is
the processor time of the client. Sending is measured on versitygw too, where it is installed: it
checks the CRC32C of a body, ``rclone serve s3`` nothing but its MD5, which costs the client more.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness import MIB, parse_arguments
from sides import OURS, Amount, Goal, Side, Table, take_turns

sys.path.append(str(Path(__file__).parents[2] / "tests" / "python"))

from servers import (
    S3Server,
    find_versitygw,
    running_rclone,
    running_versitygw,
    scratch_folder,
)

if TYPE_CHECKING:
    import argparse

_WORKER: Final = str(Path(__file__).with_name("storage_worker.py"))
_THREADS: Final = 16
_SMALL: Final = 2_000
_SMALL_SIZE: Final = 64 << 10
_LARGE: Final = 4
_LARGE_SIZE: Final = 256 * MIB
_LARGE_ROUNDS: Final = 3
#: Memory over what is asked for, in MiB.
_SPARE: Final = 64
#: Seconds of the processor that sending a GiB may take.
_PUT_S: Final = 1.6

_PEERS: Final = ("boto3", *(("obstore",) if find_spec("obstore") else ()))
_LARGE_PEERS: Final = ("boto3", "boto3-tuned", *_PEERS[1:])


class _Bench:
    """The server, its bucket and the folder of the files that are sent.

    Args:
        table: Where the results go.
        server: The server.
        folder: For files.
        arguments: Of the command line.
    """

    def __init__(
        self, table: Table, server: S3Server, folder: Path, arguments: argparse.Namespace
    ) -> None:
        quick = arguments.quick
        self.table = table
        self.rounds = arguments.rounds
        self.large_rounds = min(_LARGE_ROUNDS, arguments.rounds)
        self.small = 100 if quick else _SMALL
        self.large = 2 if quick else _LARGE
        self.large_size = 70 * MIB if quick else _LARGE_SIZE
        self._server = server
        self._bucket = server.fresh_bucket()
        self._environment = os.environ | server.environment()
        self.source = folder / "large"
        self.target = folder / "received"
        block = random.Random(1).randbytes(16 * MIB)
        with self.source.open("wb") as file:
            for number in range(0, self.large_size, len(block)):
                file.write((number.to_bytes(8) + block[8:])[: self.large_size - number])

    def side(self, name: str) -> Side:
        """Start a client."""
        command = [sys.executable, _WORKER, name, self._server.endpoint_url, self._bucket]
        return Side(name, [*command, str(_THREADS)], self._environment)

    def small_objects(self) -> None:
        """Objects of 64 KiB, by threads."""
        work = {"count": self.small, "size": _SMALL_SIZE}
        data = f"{self.small} x 64 KiB, {_THREADS} threads, {self._server.name}"
        amount = Amount(self.small, "op")
        with ExitStack() as stack:
            sides = [self._entered(stack, name) for name in (OURS, *_PEERS)]
            for name, goals in (
                ("put", {"boto3": Goal("CPU", 3)}),
                ("get", {"boto3": Goal("CPU", 3), "obstore": Goal("wall", 0.6)}),
            ):
                turns = take_turns(
                    {
                        side.name: lambda side=side, name=name: side.do(  # type: ignore[misc]
                            f"{name}_small", prefix=f"small/{side.name}", **work
                        )
                        for side in sides
                    },
                    self.rounds,
                )
                self.table.compare(name.upper(), data, amount, turns, goals)
            digests = {side.do("digest", key=f"small/{OURS}/7").given for side in sides}
            assert digests == {hashlib.sha256(random.Random(0).randbytes(_SMALL_SIZE)).hexdigest()}
        for name in (OURS, *_PEERS):
            for verb in ("put", "get"):
                self._peak(
                    verb.upper(), data, name, f"{verb}_small", {"prefix": f"small/{name}", **work}
                )

    def large_objects(self, *, gets: bool = True) -> None:
        """Objects of 256 MiB, one after the other, each as its client likes it."""
        data = f"{self.large} x {self.large_size // MIB} MiB, {self._server.name}"
        amount = Amount(self.large * self.large_size / 1e6, "MB")
        many: dict[str, Any] = {"count": self.large, "size": self.large_size}
        into_file = {**many, "path": str(self.target)}
        from_file: dict[str, Any] = {"count": self.large, "path": str(self.source)}
        with self.source.open("rb") as file:
            expected = hashlib.file_digest(file, "sha256").hexdigest()
        with ExitStack() as stack:
            sides = [self._entered(stack, name) for name in (OURS, *_LARGE_PEERS)]
            cases: list[tuple[str, str, dict[str, Any], dict[str, Goal]]] = [
                ("PUT from files", "upload_large", from_file, {}),
                ("GET to memory", "get_large", many, {"best": Goal("wall", 1)}),
                ("GET to files", "download_large", into_file, {"best": Goal("wall", 1)}),
            ]
            for case, work, options, goals in cases if gets else cases[:1]:
                turns = take_turns(
                    {
                        side.name: lambda side=side, work=work, options=options: side.do(  # type: ignore[misc]
                            work, prefix=f"large/{side.name}", **options
                        )
                        for side in sides
                    },
                    self.large_rounds,
                    warm_up=work == "upload_large",
                )
                self.table.compare(case, data, amount, turns, goals)
                if work == "upload_large":
                    self._cpu_of_put(data, {name: turns[name] for name in turns})
            for side in sides:
                key = f"large/{side.name}/{self.large - 1}"
                assert side.do("digest", key=key).given == expected, side.name
                path = str(self.target)
                found = side.do("digest_of_download", key=key, path=path).given
                assert found == expected, side.name
        for name in (OURS, *_LARGE_PEERS) if gets else ():
            prefix = {"prefix": f"large/{name}"}
            whole = self.large_size / MIB
            once = {**many, "count": 1}
            limits = (whole + _SPARE, None, None) if name == OURS else (None, None, None)
            for (case, work, options), limit in zip(
                (
                    ("GET to memory", "get_large", once),
                    ("GET to files", "download_large", {**into_file, "count": 1}),
                    ("PUT from files", "upload_large", {**from_file, "count": 1}),
                ),
                limits,
                strict=True,
            ):
                self._peak(case, "one of them", name, work, options | prefix, limit)

    def _cpu_of_put(self, data: str, turns: dict[str, Any]) -> None:
        gib = self.large * self.large_size / (1 << 30)
        for name, taken in turns.items():
            cpu = sorted(turn.cpu_s for turn in taken)[len(taken) // 2] / gib
            limit = _PUT_S if name == OURS else None
            self.table.figure(
                "PUT from files: client CPU", data, name, cpu, unit="s/GiB", limit=limit
            )

    def _entered(self, stack: ExitStack, name: str) -> Side:
        side = self.side(name)
        stack.callback(side.close)
        return side

    def _peak(
        self,
        case: str,
        data: str,
        name: str,
        work: str,
        options: dict[str, Any],
        limit: float | None = None,
    ) -> None:
        """Note the memory of a fresh process that does nothing else, over what it begins with."""
        side = self.side(name)
        before, _ = side.memory()
        side.do(work, **options)
        _, peak = side.memory()
        side.close()
        told = f"{data}; {before:.0f} MiB before"
        self.table.figure(
            f"{case}: memory", told, name, peak - before, unit="MiB more", limit=limit
        )


def main(arguments: argparse.Namespace) -> None:
    """Run all parts."""
    table = Table("bulk files", arguments)
    with running_rclone() as server, scratch_folder() as folder:
        bench = _Bench(table, server, folder, arguments)
        bench.small_objects()
        bench.large_objects()
    if find_versitygw():
        with running_versitygw() as server, scratch_folder() as folder:
            bench = _Bench(table, server, folder, arguments)
            bench.small_objects()
            bench.large_objects(gets=False)
    table.finish()


if __name__ == "__main__":
    main(parse_arguments(__doc__))
