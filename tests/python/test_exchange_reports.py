"""Reports of a store as values that JSON can hold, with names that say what they are."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

import shardpack
from exchange_stores import fresh_memory
from shardpack import exchange
from shardpack.exchange.download.extract import extract

if TYPE_CHECKING:
    from pathlib import Path

    from shardpack.exchange import ExchangeStore

REPORTS = ["DatasetReport", "Failure", "Garbage", "GarbageReport", "PackReport"]


def through_json(report: Any) -> Any:
    """The dict, which must be what JSON makes of it."""
    told = report.to_dict()
    again = json.loads(json.dumps(told))
    assert again == told
    fields = {field.name for field in dataclasses.fields(report)}
    assert fields <= set(told)
    return again


@pytest.fixture
def packed(tmp_path: Path) -> ExchangeStore:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"a")
    (folder / "link").symlink_to("a.txt")
    store = fresh_memory()
    report = through_json(store.pack(folder, "set"))
    assert (report["manifest_key"], report["items"]) == ("set/manifest.jsonl", 1)
    assert report["left_out"] == [{"path": "link", "reason": "symlink"}]
    return store


def test_reports_are_public_and_document_their_dict() -> None:
    for name in REPORTS:
        kind = getattr(exchange, name)
        assert name in exchange.__all__
        assert kind.to_dict.__doc__
    # One name, one class.
    assert not hasattr(exchange, "VerifyReport")
    assert shardpack.VerifyReport.__module__ == "shardpack.object"


def test_a_check_is_told_with_its_findings_by_name(packed: ExchangeStore) -> None:
    report = packed.verify("set/manifest.jsonl")
    assert isinstance(report, exchange.DatasetReport)
    assert through_json(report)["ok"] is True
    (archive,) = [key for key in packed.list_keys("set/shards/") if packed.is_shard(key)]
    packed.delete_key(archive)
    told = through_json(packed.verify("set/manifest.jsonl"))
    assert told["ok"] is False
    finding = told["findings"][0]
    assert (finding["key"], finding["problem"], finding["member"]) == (archive, "missing", None)
    assert finding["message"]


def test_garbage_is_told_with_times_as_text(packed: ExchangeStore) -> None:
    packed.delete_key("set/manifest.jsonl")
    for part in list(packed.list_keys("set/manifests/")):
        packed.delete_key(part)
    report = packed.survey_garbage("set", older_than_s=0)
    told = through_json(report)
    assert [item["kind"] for item in told["garbage"]] == [item.kind for item in report.garbage]
    first = report.garbage[0]
    assert first.last_modified is not None
    assert through_json(first)["last_modified"] == first.last_modified.isoformat()
    assert told["garbage"][0] == first.to_dict()


def test_what_an_iteration_left_out_is_told_with_its_reason(packed: ExchangeStore) -> None:
    missing: Any = {"kind": "file", "key": "gone", "id": "gone"}
    found = packed.iter_objects([missing], on_error="skip")
    assert list(found) == []
    (failure,) = found.failures
    told = through_json(failure)
    assert told["error"] == {"type": "ObjectNotFoundError", "message": str(failure.error)}
    assert (told["key"], told["member"], told["entry"]) == ("gone", None, missing)


def test_an_extraction_is_told_too(packed: ExchangeStore, tmp_path: Path) -> None:
    report = extract(packed.space, "set/manifest.jsonl", tmp_path / "out")
    assert through_json(report)["files"] == 1
