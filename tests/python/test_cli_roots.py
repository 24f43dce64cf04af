"""Datasets that a store below a base prefix has written, from the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from commands import bad, good, run
from inputs import make
from servers import moto_server
from shardpack.exchange import ExchangeStore

if TYPE_CHECKING:
    from pathlib import Path

    from servers import S3Server

__all__ = ["moto_server"]


class Place:
    """A dataset ``photos`` of a store at ``base``.

    Attributes:
        above: URL of the place that the base lies in.
        base: URL of the base prefix.
        url: URL of the dataset.
        environment: What the command needs to get there.
    """

    def __init__(self, above: str, folder: Path, environment: dict[str, str | None]) -> None:
        self.above = above
        self.base = f"{above}/bp"
        self.url = f"{self.base}/photos"
        self.environment = environment
        self.folder = folder

    def good(self, *arguments: object) -> bytes:
        return good(*arguments, "--root", self.base, environment=self.environment)

    def bad(self, *arguments: object) -> str:
        return bad(*arguments, environment=self.environment)

    def keys(self) -> list[str]:
        done = run("ls", "-r", "--json", f"{self.above}/", environment=self.environment)
        return [json.loads(line)["key"] for line in done.stdout.splitlines()]


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    folder = tmp_path / "photos"
    (folder / "2024").mkdir(parents=True)
    for number in range(3):
        (folder / "2024" / str(number)).write_bytes(make("lines", 1000, str(number)))
    environment: dict[str, str | None] = {}
    above = f"file://{tmp_path}/store"
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("moto_server")
        environment = dict(server.environment())
        above = f"s3://{server.fresh_bucket()}"
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
    (tmp_path / "store" / "bp").mkdir(parents=True)
    made = Place(above, folder, environment)
    with ExchangeStore.open(made.base) as store:
        store.pack(folder, "photos")
        store.put_object("photos/more/x", b"x")
    return made


def test_every_verb_reads_it_below_its_root(place: Place, tmp_path: Path) -> None:
    assert b"ok" in place.good("verify", f"{place.url}/manifest.jsonl")
    assert b"ok" in place.good("verify", f"{place.base}/")
    place.good("get", "-q", "-x", f"{place.url}/", tmp_path / "out")
    assert (tmp_path / "out" / "2024" / "1").read_bytes() == make("lines", 1000, "1")
    archive = json.loads(place.good("manifest", "show", "--json", f"{place.url}/manifest.jsonl"))[
        "archive_key"
    ]
    # Keys are as the manifest has them: below the root.
    assert archive.startswith("photos/shards/")
    listed = [
        json.loads(row)["key"]
        for row in place.good("ls", "-r", "--json", place.base).split(b"\n")
        if row
    ]
    assert archive in listed
    assert place.good("cat", f"{place.base}/{archive}#2024/2") == make("lines", 1000, "2")
    assert b"more/" in place.good("ls", f"{place.url}/")
    place.good("index", "-q", f"{place.base}/{archive}")
    place.good("manifest", "compact", "-q", f"{place.url}/manifest.jsonl")
    removed = json.loads(place.good("gc", "--json", "--older-than", "0", f"{place.url}/"))
    assert removed["removed"]
    report = json.loads(place.good("pack", "--json", place.folder, place.url))
    assert (report["manifest_key"], report["added_entries"]) == ("photos/manifest.jsonl", 0)
    place.good("rm", "-q", f"{place.url}/more/x")
    place.good("rm", "-q", "--manifest", f"{place.url}/manifest.jsonl")
    assert place.keys() == []


def test_without_the_root_it_is_named_and_nothing_is_removed(place: Place, tmp_path: Path) -> None:
    url = f"{place.url}/manifest.jsonl"
    options = ("--root", place.above)
    before = place.keys()
    assert len(before) > 3
    text = place.bad("rm", "--manifest", *options, url)
    assert "--root" in text
    assert "nothing was removed" in text
    assert place.keys() == before
    assert "--root" in place.bad("get", "-x", *options, url, tmp_path / "out")
    assert "--root" in place.bad("ls", *options, url)
    assert "--root" in place.bad("gc", "--older-than", "0", *options, place.url)
    done = run("verify", *options, url, environment=place.environment)
    assert done.returncode == 1
    assert b"--root" in done.stdout + done.stderr
    assert place.keys() == before


def test_a_url_that_is_not_below_the_root_is_refused(place: Place) -> None:
    for verb, root, url in [
        (("ls",), f"{place.base}/photos", f"{place.base}/photos2/manifest.jsonl"),
        (("verify",), place.base, place.above),
        (("rm", "-r"), "s3://another-bucket/bp", place.url),
        (("get", "-x"), "file:///elsewhere", place.url),
        (("gc",), "mem://bp", place.url),
    ]:
        done = run(*verb, "--root", root, url, environment=place.environment)
        assert done.returncode == 1
        assert b"is not below" in done.stdout + done.stderr


def test_a_folder_with_the_name_of_its_root_is_told_apart(place: Place) -> None:
    if place.base.startswith("file"):
        pytest.skip("a local root is a folder, not a prefix")
    with ExchangeStore.open(place.base) as store:
        store.pack(place.folder, "bp/bp")
    report = place.good("verify", f"{place.base}/bp/manifest.jsonl")
    assert b"1 shard" in report
    before = place.keys()
    place.good("rm", "-q", "-r", f"{place.base}/bp/")
    left = place.keys()
    assert 0 < len(left) < len(before)
    assert b"ok" in place.good("verify", f"{place.url}/manifest.jsonl")


def test_the_root_itself_is_emptied_only_when_that_is_said(
    place: Place,
) -> None:
    assert "whole store" in place.bad("rm", "-r", "--root", place.base, place.base)
    place.good("rm", "-q", "-r", "--all", place.base)
    assert place.keys() == []
