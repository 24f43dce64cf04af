"""Arguments that are no good are refused at once, in one line that names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from shardpack.exchange import ExchangeStore
from shardpack.storage import open_store
from shardpack.storage.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator


class Index:
    """What NumPy's integers are to Python: no int, and as good as one."""

    def __index__(self) -> int:
        return 1


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Iterator[ExchangeStore]:
    objects = MemoryStore(request.node.name.replace("/", "."))
    yield ExchangeStore(objects)
    for info in list(objects.list()):
        objects.delete(info.key)


ITEMS: list[Any] = [{"member_path": f"{n}", "source": b"text"} for n in range(5)]


@pytest.mark.parametrize("value", ["256M", 1.5, True, b"1"])
@pytest.mark.parametrize(
    "name", ["max_entries", "max_bytes", "loose_above", "concurrency", "chunk_size", "level"]
)
def test_numbers_of_pack_are_whole_numbers(store: ExchangeStore, name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be an int, got ") as caught:
        store.pack(ITEMS, "p", **{name: value})
    assert repr(value) in str(caught.value)
    assert list(store.objects.list()) == []


@pytest.mark.parametrize("value", ["0", 1.5, True])
@pytest.mark.parametrize(
    "name", ["rank", "world_size", "limit", "concurrency", "prefetch_bytes", "shuffle"]
)
def test_numbers_of_an_iteration_are_whole_numbers(
    store: ExchangeStore, name: str, value: Any
) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be an int, got ") as caught:
        store.iter_objects([], **{name: value})
    assert repr(value) in str(caught.value)


def test_a_number_of_another_library_will_do(store: ExchangeStore) -> None:
    one: Any = Index()
    store.pack(ITEMS, "p", max_entries=one, concurrency=one)
    with store.iter_objects("p/manifest.jsonl", shuffle=one, rank=one, world_size=5) as objects:
        assert len(list(objects)) == 1
        assert objects.state_dict()["shuffle"] == 1


def test_several_readers_must_say_which_one_they_are(store: ExchangeStore) -> None:
    store.pack(ITEMS, "p", max_entries=1)
    with pytest.raises(ValueError, match=r"^world_size is 2: rank is needed, from 0 to 1$"):
        store.iter_objects("p/manifest.jsonl", world_size=2)
    counts = []
    for rank in range(2):
        with store.iter_objects("p/manifest.jsonl", rank=rank, world_size=2) as objects:
            counts.append(len(list(objects)))
    assert sum(counts) == 5
    with store.iter_objects("p/manifest.jsonl", world_size=1) as objects:
        assert len(list(objects)) == 5


@pytest.mark.parametrize("item", ["d1", ("path", b"bytes"), None, b"x"])
def test_an_item_that_is_no_dict_is_refused(store: ExchangeStore, item: Any) -> None:
    for call in (
        lambda: store.pack([item], "p"),
        lambda: store.put_shard_archive("a.tar.gz", [item]),
    ):
        with pytest.raises(TypeError, match=r"^a shard item is a dict .*, got "):
            call()
    assert list(store.objects.list()) == []


def test_an_option_that_no_store_has_is_named() -> None:
    for url in ("mem://x", "file:///tmp", "s3://bucket"):
        with pytest.raises(TypeError, match=r"^unknown option 'regon' for .*:// URLs$"):
            open_store(url, regon="eu")
