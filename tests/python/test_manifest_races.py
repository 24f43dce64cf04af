from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from servers import SERVERS
from shardpack.exchange.keys import Space
from shardpack.exchange.manifest.manifest import compact, iter_entries
from shardpack.storage import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from servers import S3Server

ROOT = "set/m.jsonl"
# Appends pairs of entries, and notes each append that returned.
WRITER = """
import os, sys
from shardpack.exchange.keys import Space
from shardpack.exchange.manifest.manifest import append
from shardpack.storage import open_store
url, endpoint, root, name, count, mode, journal = sys.argv[1:]
options = {"endpoint_url": endpoint} if endpoint else {}
space = Space(*open_store(url, **options))
with open(journal, "ab", buffering=0) as notes:
    for number in range(int(count)):
        pair = [{"kind": "file", "key": f"{name}-{number}-{half}"} for half in "ab"]
        append(space, root, pair, mode=mode)
        notes.write(b"%d\\n" % number)
"""


@dataclass(frozen=True)
class Scene:
    url: str
    endpoint: str
    environment: dict[str, str]
    space: Space

    def start(self, name: str, count: int, mode: str, journal: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                *(sys.executable, "-c", WRITER, self.url, self.endpoint),
                *(ROOT, name, str(count), mode, str(journal)),
            ],
            env=os.environ | self.environment,
        )

    def read(self) -> list[str]:
        found: Any = iter_entries(self.space, ROOT)
        return [entry["key"] for entry in found]


def make_scene(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Scene:
    if kind == "file":
        url = f"file://{tmp_path}/store"
        return Scene(url, "", {}, Space(*open_store(url)))
    server: S3Server = request.getfixturevalue(f"{kind}_server")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    url = f"s3://{server.fresh_bucket()}/prefix"
    store, prefix = open_store(url, endpoint_url=server.endpoint_url)
    return Scene(url, server.endpoint_url, server.environment(), Space(store, prefix))


def noted(journal: Path) -> int:
    """How many appends returned; a note that a kill cut in two counts."""
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def check(found: list[str], before: list[str]) -> None:
    """No half append, no entry twice, none gone, and each writer's in its order."""
    assert len(set(found)) == len(found)
    assert set(before) <= set(found)
    assert all(
        first[:-1] == second[:-1] for first, second in zip(found[::2], found[1::2], strict=True)
    )
    reached: dict[str, int] = {}
    for key in found[::2]:
        name, number, _ = key.split("-")
        assert int(number) == reached.get(name, -1) + 1, "a writer's entries out of order"
        reached[name] = int(number)


def kill(
    process: subprocess.Popen[bytes], journal: Path, source: random.Random, before: int
) -> None:
    """End a writer somewhere in its first appends, at whatever it does then."""
    target = source.randrange(1, before)
    while process.poll() is None and noted(journal) < target:
        time.sleep(0.001)
    time.sleep(source.uniform(0, 0.02))
    process.send_signal(signal.SIGKILL)


def race(
    scene: Scene, folder: Path, *, writers: int, count: int, mode: str, kills: int = 0
) -> None:
    journals = [folder / f"journal{number}" for number in range(writers)]
    processes = [
        scene.start(f"w{number}", count, mode, journal) for number, journal in enumerate(journals)
    ]
    killers = [
        threading.Thread(target=kill, args=(process, journal, random.Random(number), count // 2))
        for number, (process, journal) in enumerate(zip(processes[:kills], journals, strict=False))
    ]
    for killer in killers:
        killer.start()
    seen: list[str] = []
    reads = 0
    try:
        while any(process.poll() is None for process in processes):
            if any(noted(journal) for journal in journals):
                started = time.monotonic()
                found = scene.read()
                check(found, seen)
                seen = found
                reads += 1
                # Most of the machine is for the writers.
                time.sleep(2 * (time.monotonic() - started))
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for killer in killers:
            killer.join()
    assert [process.returncode for process in processes] == (
        [-signal.SIGKILL] * kills + [0] * (writers - kills)
    )
    found = scene.read()
    check(found, seen)
    kept = set(found)
    for number, journal in enumerate(journals):
        returned = noted(journal)
        assert returned == count or number < kills
        assert all(f"w{number}-{append}-a" in kept for append in range(returned))
    assert reads


CONDITIONAL = ["file", *(name for name in SERVERS if name != "rclone")]


def test_few_writers_lose_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene("file", request, tmp_path, monkeypatch)
    race(scene, tmp_path, writers=3, count=12, mode="conditional", kills=1)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", CONDITIONAL)
def test_eight_writers_lose_nothing_also_when_some_are_killed(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene(kind, request, tmp_path, monkeypatch)
    # Moto serves one request at a time; it stands in where there is nothing quicker.
    count = 20 if kind == "moto" and "versitygw" in SERVERS else 100
    race(scene, tmp_path, writers=8, count=count, mode="conditional", kills=3)
    assert len(scene.space.objects.read(scene.space.full(ROOT)).splitlines()) < 2 * 64


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["file", "rclone"])
def test_listed_parts_lose_nothing_where_the_store_has_no_conditions(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene(kind, request, tmp_path, monkeypatch)
    race(scene, tmp_path, writers=5, count=40, mode="listed", kills=3)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["file", CONDITIONAL[-1]])
def test_compacting_in_place_while_others_append_loses_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene(kind, request, tmp_path, monkeypatch)
    writers = [
        scene.start(f"w{number}", 40, "conditional", tmp_path / f"j{number}") for number in range(3)
    ]
    compactions = 0
    while any(writer.poll() is None for writer in writers):
        if scene.space.objects.exists(scene.space.full(ROOT)):
            try:
                compact(scene.space, ROOT, ROOT)
            except OSError as error:
                # The writers were quicker each time.
                assert type(error).__name__ == "PreconditionFailedError"  # noqa: PT017
            else:
                compactions += 1
        time.sleep(0.05)
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert compactions
    found = scene.read()
    check(found, [])
    assert len(found) == 3 * 40 * 2
