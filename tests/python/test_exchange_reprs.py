"""What is printed of the objects of a store says what they are about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exchange_stores import fresh_memory
from shardpack.exchange import ArchiveMemberBody

if TYPE_CHECKING:
    from pathlib import Path

KEY = "set/manifest.jsonl"
ITEMS: list[Any] = [{"member_path": "m/1", "source": b"abc"}]


def test_a_body_shows_its_key_and_length() -> None:
    store = fresh_memory()
    store.put_object("a/b.bin", b"12345")
    store.put_shard_archive("s.tar", ITEMS)
    with store.get_object("a/b.bin") as body:
        assert repr(body) == "<ObjectStream of 'a/b.bin', 5 bytes>"
    assert repr(body) == "<ObjectStream of 'a/b.bin', 5 bytes, closed>"
    with store.get_object("s.tar#m/1") as member:
        told = repr(member)
    assert told.endswith(" of 's.tar#m/1', 3 bytes>")
    with store.objects.get("a/b.bin") as opened:
        assert repr(opened) == "<BytesBody of 'a/b.bin', 5 bytes>"


def test_bodies_of_which_little_is_known_show_that(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    with (tmp_path / "x").open("rb") as file:
        assert repr(ArchiveMemberBody(file)) == "<ArchiveMemberBody of unknown length>"
    # As a debugger sees it, before it is set up.
    assert repr(ArchiveMemberBody.__new__(ArchiveMemberBody)) == "<ArchiveMemberBody>"


def test_an_iterator_shows_what_it_iterates_over_and_where_it_stands() -> None:
    store = fresh_memory()
    entries = [store.put_object(f"{i}", b"x") for i in range(3)]
    store.write_manifest(KEY, entries)
    with store.iter_objects(KEY, shuffle=7, rank=0, world_size=2) as found:
        assert repr(found) == f"<ObjectIterator over '{KEY}', shuffle 7, rank 0 of 2, 0 given>"
        next(found)
        assert repr(found).endswith(", 1 given>")
    with store.iter_objects(entries) as found:
        next(found)
        assert repr(found) == "<ObjectIterator over entries, 1 given>"


def test_an_iterator_over_entries_shows_its_manifest() -> None:
    store = fresh_memory()
    entries = [store.put_object(f"{i}", b"x") for i in range(3)]
    store.write_manifest(KEY, entries)
    found = store.iter_manifest_entries(KEY)
    assert repr(found) == f"<EntryIterator over '{KEY}'>"
    assert list(found) == entries
    found = store.iter_manifest_entries(entries, limit=2)
    assert repr(found) == "<EntryIterator over entries>"
    assert list(found) == entries[:2]


def test_a_writer_shows_its_manifest_and_what_it_holds() -> None:
    store = fresh_memory()
    with store.open_manifest_writer(KEY, mode="overwrite") as writer:
        writer.add_file("a")
        assert repr(writer) == f"<ManifestWriter of '{KEY}', mode overwrite, 1 entry held>"
        writer.add_file("b")
        assert repr(writer) == f"<ManifestWriter of '{KEY}', mode overwrite, 2 entries held>"
    assert repr(writer) == f"<ManifestWriter of '{KEY}', mode overwrite, closed>"
