"""``shardpack gc``: what it says and to whom, what it keeps and why, and what stops it."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from commands import bad, good, on_terminal, run
from exchange_runs import items, keys, killed_before_the_manifest
from shardpack.exchange.keys import Space
from shardpack.exchange.packing.pack import pack
from shardpack.storage.file import FileStore

if TYPE_CHECKING:
    from pathlib import Path


class Place:
    """A local store with a dataset, and what a killed run left."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.url = f"file://{top}"
        self.space = Space(FileStore(top))
        pack(self.space, items(word="good"), "good", max_entries=2)
        self.left = killed_before_the_manifest(self.space, "bad")

    def age(self, hours: float) -> None:
        written = time.time() - 3600 * hours
        for key in self.left:
            os.utime(self.top / key, (written, written))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "store")


def facts(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(good("gc", "--json", *arguments))
    return found


def keys_of(rows: list[dict[str, Any]]) -> set[str]:
    return {row["key"] for row in rows}


def test_what_is_younger_than_a_day_is_kept_and_counted(place: Place) -> None:
    found = facts(place.url)
    assert (found["url"], found["dry_run"], found["removed"]) == (place.url, False, [])
    assert keys_of(found["young"]) == place.left
    done = run("gc", place.url)
    assert (done.returncode, done.stdout) == (0, b"")
    text = done.stderr.decode()
    assert f"{len(place.left)} objects" in text
    assert "kept: written or perhaps in use within 24 hours" in text
    assert " objects [" not in text
    assert "0 objects, 0 B removed" in text
    assert place.left < keys(place.space)


def test_the_age_is_given_in_hours_and_0_switches_it_off(place: Place) -> None:
    place.age(30)
    assert facts("-n", "--older-than", "31", place.url)["removed"] == []
    assert keys_of(facts("-n", place.url)["removed"]) == place.left
    place.age(0)
    assert facts("-n", "--older-than", "0.5", place.url)["removed"] == []
    assert keys_of(facts("--older-than", "0", place.url)["removed"]) == place.left
    assert not place.left & keys(place.space)
    for wrong in ("-1", "nan"):
        assert "hours" in bad("gc", f"--older-than={wrong}", place.url, code=2)


def test_lines_of_others_are_passed_over_and_told(place: Place) -> None:
    place.space.objects.put("bad/events.jsonl", b'{"event": 1}\n')
    place.space.objects.put("good/notes.jsonl", b"not JSON\n")
    done = run("gc", "-n", "--older-than", "0", place.url)
    assert done.returncode == 0
    assert "2 files called like a manifest and none" in done.stderr.decode()
    assert len(done.stdout.splitlines()) == len(place.left)
    found = facts("--older-than", "0", place.url)
    assert found["foreign"] == ["bad/events.jsonl", "good/notes.jsonl"]
    assert keys_of(found["removed"]) == place.left
    good("verify", "-q", "--quick", "--root", place.top, f"{place.url}/good/manifest.jsonl")


def test_what_cannot_be_decided_is_warned_of_and_left_alone(place: Place) -> None:
    place.space.objects.put("bad/manifest.jsonl", b"")
    for extra in ([], ["--json"]):
        done = run("gc", "--older-than", "0", *extra, place.url)
        assert done.returncode == 0
        assert "bad/manifest.jsonl: warning: " in done.stderr.decode()
    found = json.loads(done.stdout)
    assert (found["removed"], found["undecided"]) == ([], ["bad/manifest.jsonl"])
    assert keys_of(found["withheld"]) == place.left
    assert good("gc", "-q", "--older-than", "0", place.url) == b""
    assert place.left < keys(place.space)


def test_many_undecided_files_are_not_all_named(place: Place) -> None:
    for number in range(25):
        place.space.objects.put(f"x/{number:02}.jsonl", b"")
    text = run("gc", place.url).stderr.decode()
    assert text.count("x/") == 20
    assert "5 others" in text


def test_a_damaged_manifest_ends_it_with_an_error(place: Place) -> None:
    place.space.objects.put("other/manifest.jsonl", b'{"kind":"manifest_ref","key":"oth')
    before = keys(place.space)
    for options in ((), ("--json",)):
        text = bad("gc", "--older-than", "0", *options, place.url)
        assert "other/manifest.jsonl" in text
        assert "nothing was removed" in text
    assert keys(place.space) == before


def test_a_bar_is_shown_on_a_terminal_alone(place: Place, tmp_path: Path) -> None:
    command = ("gc", "-n", "--older-than", "0", place.url)
    code, shown = on_terminal(*command, cwd=tmp_path)
    assert code == 0
    assert " objects [" in shown
    code, shown = on_terminal(*command, "--no-progress", cwd=tmp_path)
    assert code == 0
    assert " objects [" not in shown
    code, shown = on_terminal("gc", "--older-than", "0", place.url, cwd=tmp_path)
    assert code == 0
    assert "removed" in shown
    assert not place.left & keys(place.space)


def test_help_says_what_stays_and_why() -> None:
    text = " ".join(good("gc", "--help").decode().split())
    for phrase in ("clock of the server", "damaged manifest", "is passed over", "default: 24"):
        assert phrase in text
