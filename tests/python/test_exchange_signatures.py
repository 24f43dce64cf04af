"""The calls of a store say themselves what they take: names, types, defaults and what they mean."""

from __future__ import annotations

import inspect
import pydoc
import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pytest

from exchange_stores import fresh_memory
from shardpack import exchange
from shardpack.exchange import ExchangeStore, S3ExchangeStore
from shardpack.exchange.manifest.writer import ManifestWriter
from shardpack.exchange.packing.pack import pack
from shardpack.exchange.reading.pipeline import iter_objects
from shardpack.exchange.upkeep import delete
from shardpack.exchange.upkeep.gc import collect, find_garbage, survey
from shardpack.exchange.upkeep.verify import verify
from shardpack.storage.file import FileStore
from shardpack.storage.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# What the functions behind the calls take, and the calls do not: the place, which the store knows,
# and what other parts of the package tell each other.
_OWN = {"space", "store", "left_out"}
# What the store has a value of its own for, unless the call says otherwise.
_OF_STORE = {"append", "concurrency"}

BEHIND: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
    (ExchangeStore.pack, pack),
    (ExchangeStore.iter_objects, iter_objects),
    (ExchangeStore.get_objects, iter_objects),
    (ExchangeStore.verify, verify),
    (ExchangeStore.find_garbage, find_garbage),
    (ExchangeStore.survey_garbage, survey),
    (ExchangeStore.collect_garbage, collect),
    (ExchangeStore.delete_prefix, delete.delete_prefix),
    (ExchangeStore.open_manifest_writer, ManifestWriter),
]
CLASSES = [value for name in exchange.__all__ if inspect.isclass(value := getattr(exchange, name))]
CALLS = {
    f"{kind.__name__}.{name}": getattr(kind, name)
    for kind in (ExchangeStore, S3ExchangeStore)
    for name in dir(kind)
    if not name.startswith("_") and inspect.isroutine(getattr(kind, name))
}


def parameters(call: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    found = inspect.signature(call).parameters
    return {name: value for name, value in found.items() if name not in {"self", *_OWN}}


@pytest.mark.parametrize(("call", "behind"), BEHIND, ids=[call.__qualname__ for call, _ in BEHIND])
def test_a_call_takes_what_the_function_behind_it_takes(
    call: Callable[..., Any], behind: Callable[..., Any]
) -> None:
    ours, theirs = parameters(call), parameters(behind)
    assert list(ours) == list(theirs)
    for name, told in ours.items():
        wanted = theirs[name]
        assert told.kind is wanted.kind, name
        if name in _OF_STORE:
            assert told.default is None, name
            assert str(told.annotation).removesuffix(" | None") in str(wanted.annotation), name
        else:
            assert (told.default, told.annotation) == (wanted.default, wanted.annotation), name


def test_a_store_of_a_bucket_takes_what_the_object_store_below_takes() -> None:
    ours, theirs = parameters(S3ExchangeStore), parameters(S3Store)
    for name in set(theirs) - {"client", "bucket", *_OF_STORE}:
        assert ours[name] == theirs[name]


def test_a_url_is_opened_with_the_options_of_the_object_stores() -> None:
    ours = set(parameters(ExchangeStore.open))
    for below in (S3Store, S3Store.open, FileStore):
        named = {
            name
            for name, value in parameters(below).items()
            if value.kind is inspect.Parameter.KEYWORD_ONLY
        }
        assert named <= ours
    assert {"root", "client"} <= ours


@pytest.mark.parametrize("name", CALLS)
def test_a_call_names_and_explains_all_that_it_takes(name: str) -> None:
    call = CALLS[name]
    text = inspect.getdoc(call)
    assert text
    for parameter in parameters(call).values():
        assert parameter.annotation is not inspect.Parameter.empty
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            # The values for templates are whatever the caller calls them.
            assert parameter.name == "vars"
            continue
        assert re.search(rf"^    {parameter.name}: ", text, re.MULTILINE), parameter.name


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_help_sends_nobody_to_modules_that_are_not_public(kind: type) -> None:
    texts = [kind.__doc__ or "", *(pydoc.getdoc(value) for _, value in inspect.getmembers(kind))]
    for text in texts:
        told = re.findall(r"shardpack\.(?:exchange|archive|storage)\.\w+", _without_examples(text))
        assert set(told) <= {"shardpack.storage.S3Store"}, told


def _without_examples(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if ">>>" not in line and "..." not in line)


def test_a_store_hands_on_what_its_calls_are_given(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.bin"):
        (tmp_path / name).write_bytes(name.encode())
    store = fresh_memory("base")
    report = store.pack(
        tmp_path,
        "set",
        manifest_key="set/other.jsonl",
        max_entries=1,
        compression=None,
        include=["*.txt"],
        mode="overwrite",
        append="single-writer",
    )
    assert (report.manifest_key, report.shards) == ("set/other.jsonl", 2)
    names = [key for key in store.list_keys("set/shards/") if key.endswith(".tar")]
    assert len(names) == 2
    assert len(list(store.iter_objects("set/other.jsonl", rank=1, world_size=2))) == 1
    first = store.get_objects("set/other.jsonl", limit=1, prefetch_bytes=1, ordered=False)
    assert len(list(first)) == 1
    assert store.verify("set/other.jsonl", full=False).full is False


def test_connections_suit_the_requests_at_once_however_a_url_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("s3://bucket", "S3://bucket"):
        store = ExchangeStore.open(url, region="eu-central-1", concurrency=3)
        assert (store.concurrency, store.objects.concurrency) == (3, 3)
    monkeypatch.chdir(tmp_path)
    here = ExchangeStore.open(PurePath("s3:x"), concurrency=3)
    assert here.url == f"file://{tmp_path}/s3:x"


def test_options_of_other_kinds_of_stores_are_refused(tmp_path: Path) -> None:
    files = ExchangeStore.open(f"file://{tmp_path}/a/b", root=tmp_path, sync=False)
    assert (files.base_prefix, files.url) == ("a/b", f"file://{tmp_path}/a/b")
    assert ExchangeStore.open(tmp_path, concurrency=2).url == f"file://{tmp_path}"
    with pytest.raises(TypeError, match="part_size"):
        ExchangeStore.open(f"file://{tmp_path}", part_size=8 << 20)
    with pytest.raises(TypeError, match="regon"):
        ExchangeStore.open("s3://bucket", regon="eu-central-1")  # type: ignore[call-arg]
