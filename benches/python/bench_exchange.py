"""The exchange store beside ``s3exchange`` 0.1.1 and plain boto3.

All clients talk to the same server and read the same objects, which our store made. Requests and
bytes are counted by a proxy, in runs of their own; times are taken without it, except where it
adds the latency of a network.
"""

from __future__ import annotations

import os
import random
import sys
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from corpus import corpus
from harness import MIB, parse_arguments
from s3exchange_peer import peer_python
from sides import OURS, Amount, Goal, Side, Table, Turn, take_turns

sys.path.append(str(Path(__file__).parents[2] / "tests" / "python"))

from fault_proxy import FaultProxy
from servers import S3Server, find_versitygw, running_moto, running_versitygw, scratch_folder

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

_WORKER: Final = str(Path(__file__).with_name("exchange_worker.py"))
_PEER: Final = "s3exchange"
_MEMBERS: Final = 10_000
_MEMBER_SIZE: Final = 20 << 10
_LOOSE: Final = 100
_LATENCY_S: Final = 0.03
_PARTS: Final = 1_000
_WARM: Final = 20
_LONG_ROUNDS: Final = 3
_PREFETCH: Final = 64
_SPARE: Final = 64


class _Bench:
    """The servers, the objects and the clients.

    Args:
        table: Where the results go.
        server: The server.
        proxy: A proxy before it.
        folder: For files.
        arguments: Of the command line.
    """

    def __init__(
        self,
        table: Table,
        server: S3Server,
        proxy: FaultProxy,
        folder: Path,
        arguments: argparse.Namespace,
    ) -> None:
        quick = arguments.quick
        self.table = table
        self.rounds = arguments.rounds
        self.long_rounds = min(_LONG_ROUNDS, arguments.rounds)
        self.members = 500 if quick else _MEMBERS
        self.parts = 70 if quick else _PARTS
        self.server = server
        self.proxy = proxy
        self.folder = folder
        self._bucket = server.fresh_bucket()
        self._environment = os.environ | server.environment()
        self._pythons = {OURS: sys.executable, "boto3": sys.executable, _PEER: str(peer_python())}
        self._numbers = count(1)

    def side(self, name: str, *, through_proxy: bool = False) -> Side:
        """Start a client."""
        endpoint = self.proxy.url if through_proxy else self.server.endpoint_url
        append = "conditional" if self.server.conditional_writes else "single-writer"
        command = [self._pythons[name], _WORKER, name, endpoint, self._bucket, append]
        return Side(name, command, self._environment)

    def sides(self, stack: ExitStack, *names: str, through_proxy: bool = False) -> list[Side]:
        """Start clients that end with a block."""
        started = [self.side(name, through_proxy=through_proxy) for name in names]
        for side in started:
            stack.callback(side.close)
        return started

    def number(self) -> int:
        """Give a number that was never used before."""
        return next(self._numbers)

    def files(self, kind: str, number: int) -> Path:
        """Make a folder of files of 20 KiB: random bytes, or JSON lines."""
        size = _MEMBER_SIZE
        folder = self.folder / f"{kind}-{number}"
        if folder.exists():
            return folder
        folder.mkdir()
        rng = random.Random(number)
        text = corpus("jsonl", 16 * MIB) if kind == "jsonl" else b""
        for i in range(number):
            if kind == "jsonl":
                start = rng.randrange(len(text) - size)
                data = text[start : start + size]
            else:
                data = rng.randbytes(size)
            (folder / f"{i:06d}.bin").write_bytes(data)
        return folder

    def counted(
        self, case: str, data: str, name: str, limits: dict[str, float], *works: tuple[str, Any]
    ) -> None:
        """Note requests, bytes and memory of a fresh process; the last piece of work counts."""
        side = self.side(name, through_proxy=True)
        *before, (work, options) = works
        for first, arguments in before:
            side.do(first, **arguments)
        base, _ = side.memory()
        self.proxy.forget()
        side.do(work, **options)
        requests, down, up = self.proxy.count(), self.proxy.bytes_down, self.proxy.bytes_up
        _, peak = side.memory()
        side.close()
        for what, value, unit in (
            ("requests", requests, ""),
            ("received", down / 1e3, "kB"),
            ("sent", up / 1e3, "kB"),
            ("memory", peak - base, "MiB more"),
        ):
            limit = limits.get(what)
            self.table.figure(f"{case}: {what}", data, name, value, unit=unit, limit=limit)


def _members(bench: _Bench) -> None:
    """One member of a large archive, with nothing known and with its index known."""
    packed, plain, listed = "shards/packed.tar.gz", "shards/plain.tar", "sets/packed.jsonl"
    folder = bench.files("random", bench.members)
    with ExitStack() as stack:
        ours, boto3 = bench.sides(stack, OURS, "boto3")
        *sizes, _, _ = ours.do(
            "put_shard", folder=str(folder), archive_key=packed, manifest_key=listed
        ).given
        *_, start, end = ours.do(
            "put_shard", folder=str(folder), archive_key=plain, manifest_key="sets/plain.jsonl"
        ).given
        stored, index, chunk = sizes
        data = f"{stored / 1e6:.0f} MB, {bench.members} members, tar.gz"
        # The client is made and connected: what is cold is all that concerns archives.
        rng = random.Random(3)

        def path() -> str:
            return f"{rng.randrange(bench.members):06d}.bin"

        def cold(name: str) -> Turn:
            side = bench.side(name)
            side.do("member", key=listed)
            turn = side.do("member", key=f"{packed}#{path()}")
            side.close()
            assert turn.given == _MEMBER_SIZE
            return turn

        def ranged() -> Turn:
            turn = boto3.do("get_range", key=plain, start=start, end=end)
            assert turn.given == _MEMBER_SIZE
            return turn

        calls: dict[str, Callable[[], Turn]] = {
            OURS: lambda: cold(OURS),
            _PEER: lambda: cold(_PEER),
            "boto3": ranged,
        }
        turns = take_turns(calls, bench.rounds)
        turns["boto3, place known, plain tar"] = turns.pop("boto3")
        goals = {_PEER: Goal("wall", 50)}
        bench.table.compare("one member, cold", data, Amount(1, "op"), turns, goals)

        keys = [f"{packed}#{path()}" for _ in range(_WARM)]

        def ranged_again() -> Turn:
            taken = [ranged() for _ in keys]
            return Turn(sum(one.wall_s for one in taken), sum(one.cpu_s for one in taken), None)

        calls = {
            OURS: lambda: ours.do("members", keys=keys),
            "boto3": ranged_again,
        }
        turns = take_turns(calls, bench.rounds)
        turns["boto3, place known, plain tar"] = turns.pop("boto3")
        bench.table.compare("members, index known", data, Amount(_WARM, "op"), turns)
    allowed = (_MEMBER_SIZE + 2 * chunk + index) / 1e3
    # Answers have heads, which the limit leaves out.
    heads = 4
    limits = {"requests": 4.0, "received": allowed + heads}
    warmed = ("member", {"key": listed})
    once = ("member", {"key": f"{packed}#{path()}"})
    for name in (OURS, _PEER):
        mine = limits if name == OURS else {}
        bench.counted("one member, cold", data, name, mine, warmed, once)
        again = ("member", {"key": f"{packed}#{path()}"})
        bench.counted("one more member, warm", data, name, {}, warmed, once, again)


def _foreign(bench: _Bench) -> None:
    """A member, and all members, of an archive that the peer wrote, which has no index."""
    foreign = "shards/foreign.tar.gz"
    folder = bench.files("random", bench.members)
    key = f"{foreign}#{bench.members // 2:06d}.bin"
    with ExitStack() as stack:
        ours, theirs, boto3 = bench.sides(stack, OURS, _PEER, "boto3")
        listed = "sets/foreign.jsonl"
        theirs.do("put_shard", folder=str(folder), archive_key=foreign, manifest_key=listed)
        turns = take_turns(
            {
                side.name: lambda side=side: side.do("member", key=key)  # type: ignore[misc]
                for side in (ours, theirs)
            },
            bench.long_rounds,
        )
        data = f"{bench.members} members of random, tar.gz of {_PEER}, no index"
        bench.table.compare("the middle member", data, Amount(1, "op"), turns)
        turns = _take_turns_iterating(bench, listed, [ours, theirs], boto3, foreign)
    amount = Amount(bench.members, "members")
    bench.table.compare("iterate a shard", data, amount, turns, {_PEER: Goal("wall", 5)})
    bench.counted("iterate a shard", data, OURS, {}, ("iterate", {"manifest": listed}))


def _iterate(bench: _Bench) -> None:
    """All members of an archive."""
    for kind in ("random", "jsonl"):
        archive, listed = f"shards/all-{kind}.tar.gz", f"sets/all-{kind}.jsonl"
        with ExitStack() as stack:
            *sides, boto3 = bench.sides(stack, OURS, _PEER, "boto3")
            folder = str(bench.files(kind, bench.members))
            stored, *_ = (
                sides[0].do("put_shard", folder=folder, archive_key=archive, manifest_key=listed)
            ).given
            turns = _take_turns_iterating(bench, listed, sides, boto3, archive)
        data = f"{stored / 1e6:.0f} MB, {bench.members} members of {kind}, tar.gz"
        amount = Amount(bench.members, "members")
        bench.table.compare("iterate a shard", data, amount, turns, {_PEER: Goal("wall", 5)})
        for name in (OURS, _PEER):
            limits = {"memory": float(_PREFETCH + _SPARE)} if name == OURS else {}
            bench.counted("iterate a shard", data, name, limits, ("iterate", {"manifest": listed}))


def _take_turns_iterating(
    bench: _Bench, listed: str, sides: list[Side], boto3: Side, archive: str
) -> dict[str, list[Turn]]:
    """Iterate over a manifest of one archive, and get the archive alone, which is the floor."""
    calls: dict[str, Callable[[], Turn]] = {
        side.name: lambda side=side: side.do("iterate", manifest=listed)  # type: ignore[misc]
        for side in sides
    }
    calls["boto3, the download alone"] = lambda: boto3.do("member", key=archive)
    turns = take_turns(calls, bench.rounds)
    expected = [bench.members, bench.members * _MEMBER_SIZE]
    for side in sides:
        assert all(turn.given == expected for turn in turns[side.name])
    return turns


def _loose(bench: _Bench) -> None:
    """Objects behind the latency of a network."""
    manifest = "sets/loose.jsonl"
    client = bench.server.client()
    bucket = bench._bucket  # noqa: SLF001 - one bench, one file
    rng = random.Random(5)
    keys = [f"loose/{i:04d}.bin" for i in range(_LOOSE)]
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=rng.randbytes(_MEMBER_SIZE))
    lines = [f'{{"kind":"file","key":"{key}","size_bytes":{_MEMBER_SIZE}}}\n' for key in keys]
    client.put_object(Bucket=bucket, Key=manifest, Body="".join(lines).encode())
    client.close()
    with ExitStack() as stack:
        *stores, boto3 = bench.sides(stack, OURS, _PEER, "boto3", through_proxy=True)
        bench.proxy.latency_s = _LATENCY_S
        calls: dict[str, Callable[[], Turn]] = {
            side.name: lambda side=side: side.do("iterate", manifest=manifest)  # type: ignore[misc]
            for side in stores
        }
        calls["boto3, 16 threads, keys known"] = lambda: boto3.do("get_all", keys=keys)
        turns = take_turns(calls, bench.rounds)
        bench.proxy.latency_s = 0.0
    expected = [_LOOSE, _LOOSE * _MEMBER_SIZE]
    assert all(turn.given == expected for taken in turns.values() for turn in taken)
    data = f"{_LOOSE} objects of 20 KiB, {_LATENCY_S * 1e3:.0f} ms a request"
    bench.table.compare("iterate loose objects", data, Amount(1, "op"), turns)
    walls = sorted(turn.wall_s for turn in turns[OURS])
    bench.table.figure(
        "iterate loose objects", data, OURS, walls[len(walls) // 2], unit="s", limit=0.6
    )


def _pack(bench: _Bench) -> None:
    """Files into shards."""
    for kind in ("random", "jsonl"):
        folder = bench.files(kind, bench.members)
        data = f"{bench.members} files of 20 KiB, {kind}, gzip"
        with ExitStack() as stack:
            turns = take_turns(
                {
                    side.name: lambda side=side, folder=folder: side.do(  # type: ignore[misc]
                        "pack", folder=str(folder), prefix=f"packed/{bench.number()}"
                    )
                    for side in bench.sides(stack, OURS, _PEER)
                },
                bench.long_rounds,
                warm_up=False,
            )
        amount = Amount(bench.members, "files")
        bench.table.compare("pack", data, amount, turns, {_PEER: Goal("wall", 4)})
        for name, taken in turns.items():
            stored = taken[0].given / 1e6
            bench.table.figure("pack: stored", data, name, stored, unit="MB")
        for name in (OURS, _PEER):
            # The peer holds no more than its zlib, it packs into a file first.
            larger = (4 * bench.members,) if name == OURS else ()
            for part in (bench.members // 4, bench.members, *larger):
                some = bench.files(kind, part)
                side = bench.side(name)
                base, _ = side.memory()
                side.do("pack", folder=str(some), prefix=f"packed/{bench.number()}")
                _, peak = side.memory()
                side.close()
                told = f"{part} files of 20 KiB, {kind}, gzip"
                bench.table.figure("pack: memory", told, name, peak - base, unit="MiB more")


def _append(bench: _Bench) -> None:
    """One entry to a manifest that has many parts already."""
    keys = {name: f"appended/{name}/manifest.jsonl" for name in (OURS, _PEER)}
    data = f"manifest of {bench.parts} parts, {bench.server.name}"
    with ExitStack() as stack:
        sides = bench.sides(stack, OURS, _PEER)
        for side in sides:
            side.do("append_many", key=keys[side.name], count=bench.parts)
        turns = take_turns(
            {
                side.name: lambda side=side: side.do("append", key=keys[side.name])  # type: ignore[misc]
                for side in sides
            },
            max(bench.rounds, 9),
        )
    bench.table.compare("append one entry", data, Amount(1, "op"), turns)
    for name, key in keys.items():
        before = ("append", {"key": key})
        bench.counted("append one entry", data, name, {}, before, ("append", {"key": key}))


def main(arguments: argparse.Namespace) -> None:
    """Run all parts."""
    table = Table("exchange", arguments)
    running = running_versitygw if find_versitygw() else running_moto
    with (
        running() as server,
        FaultProxy(server.endpoint_url) as proxy,
        scratch_folder() as folder,
    ):
        bench = _Bench(table, server, proxy, folder, arguments)
        _members(bench)
        _iterate(bench)
        _foreign(bench)
        _loose(bench)
        _pack(bench)
        _append(bench)
    table.finish()


if __name__ == "__main__":
    main(parse_arguments(__doc__))
