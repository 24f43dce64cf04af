"""What is called like a manifest and is none: data is passed over, a damaged manifest is not."""

from __future__ import annotations

import bz2
import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from exchange_runs import items, keys, killed_before_the_manifest
from servers import moto_server, rclone_server, versitygw_server
from shardpack.errors import InvalidManifestError, ObjectNotFoundError, StorageError
from shardpack.exchange.keys import Space
from shardpack.exchange.manifest.append import append
from shardpack.exchange.manifest.reading import iter_entries
from shardpack.exchange.manifest.rewrite import overwrite
from shardpack.exchange.packing.pack import pack
from shardpack.exchange.upkeep.gc import collect, find_garbage, survey
from shardpack.exchange.upkeep.likeness import HEAD_BYTES, likeness, likeness_of_text
from shardpack.exchange.upkeep.verify import verify
from shardpack.storage.memory import MemoryStore
from store_places import make_place, s3_clients

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["moto_server", "rclone_server", "s3_clients", "versitygw_server"]

HUGE = HEAD_BYTES + (200 << 10)
PART = "set/manifests/part-20260101-000000-0123abcd.jsonl"
REF = b'{"kind":"manifest_ref","key":"%b"}\n' % PART.encode()
FILES = b"".join(b'{"kind":"file","key":"data/%d"}\n' % n for n in range(50))
BROKEN = b'{"kind":"file","key":"data/x","size_by\n'

FOREIGN = {
    "events": b'{"event": 1}\n{"event": 2}\n',
    "no line feed": b'{"event": 1}',
    "cut events": b'{"event": 1}\n{"event": 2}\n{"eve',
    "own kinds": b'{"kind": "click", "key": "x"}\n{"kind": "file.opened", "key": "y"}\n',
    "kinds inside": b'{"event": {"kind": "file"}}\n',
    "odd kinds": b'{"kind": ["file"]}\n{"kind": null}\n{"kind": {"file": 1}}\n',
    "values": b"1\n[1, 2]\nnull\n",
    "strings": b'"file"\n"shard"\n',
    "text": b"to whom it may concern\n",
    "latin": "déjà vu\n".encode("latin-1"),
    "table": b"kind,key\nfile,a\nshard,b\n",
    "huge line": b'{"text": "' + b"x" * HUGE + b'"}\n',
    "huge text": b"x" * HUGE,
    "many lines": b'{"event": 1}\n' * (HUGE // 13),
    "pretty": b'{\n  "event": 1\n}\n',
    "deep": b"[" * 100_000 + b"\n" + b'{"event": 1}\n',
}
DAMAGED = {
    "cut in its only line": REF[: len(REF) // 2],
    "cut in its mark": REF[:11],
    "cut behind its mark": b'{"kind":"shard"',
    "cut in the middle": FILES[: len(FILES) // 2],
    "cut in another order": b'{"key":"a","kind":"file","id":"',
    "first line broken": BROKEN + FILES,
    "line in the middle broken": FILES + BROKEN + FILES,
    "last line broken": FILES + BROKEN,
    "two lines joined": REF.strip() * 2 + b"\n",
    "line without its key": FILES + b'{"kind":"file"}\n',
    "something in front": b"<<<<<<< mine\n" + REF + b"=======\n",
    "byte order mark": b"\xef\xbb\xbf" + REF,
    "first line of megabytes broken": b"{" + b"x" * HUGE + b"\n" + FILES,
    "huge line cut": b'{"kind":"file","key":"a","meta":"' + b"x" * HUGE,
    "zeros in the middle": FILES + bytes(4096) + FILES,
    "spaces": b' { "kind" : "manifest_ref" , "key" : "man',
}
UNDECIDED = {
    "empty": b"",
    "zeros": bytes(4096),
    "compressed": gzip.compress(REF),
    "zstd": b"\x28\xb5\x2f\xfd" + b"\x01" * 40,
    "two bytes a letter": REF.decode().encode("utf-16"),
    "bzip2": bz2.compress(REF),
    "encrypted": bytes(17 + n * 7 % 239 for n in range(120)),
    "cut in its first bytes": REF[:4],
    "cut object": b'{"key":"manifests/part-2026',
    "array": b"[%b]\n" % REF.strip(),
    "entries on several lines": json.dumps(json.loads(REF), indent=1).encode(),
    "no key": b'{"kind": "file", "path": "x"}\n' * 9,
    "misspelt": b'{"kind":"manifest_ref","kye":"%b"}\n' % PART.encode(),
    "quoted": b'put {"kind":"file","key":"a"} into it\n',
    "mark far behind": b'{"text": "' + b"x" * HUGE + b'", "kind": "file"}',
}


@pytest.fixture
def space(request: pytest.FixtureRequest) -> Iterator[Space]:
    objects = MemoryStore(f"doubt-{request.node.name.replace('/', '.')}")
    yield Space(objects)
    for info in list(objects.list()):
        objects.delete(info.key)


def garbage(space: Space, prefix: str = "") -> set[str]:
    return {item.key for item in find_garbage(space, prefix, older_than_s=0)}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("where", ["events.jsonl", "bad/events.jsonl", "good/events.jsonl"])
def test_lines_and_text_of_others_neither_stop_nor_keep_nor_go(
    space: Space, name: str, where: str
) -> None:
    pack(space, items(), "good", max_entries=2)
    left = killed_before_the_manifest(space, "bad")
    space.objects.put(where, FOREIGN[name])
    kept = keys(space) - left
    report = survey(space, "", older_than_s=0)
    assert {item.key for item in report.garbage} == left
    assert (report.foreign, report.undecided, report.withheld) == ((where,), (), ())
    assert collect(space, report.garbage, dry_run=False) == {}
    assert keys(space) == kept
    assert space.objects.read(where) == FOREIGN[name]
    assert verify(space, "good/manifest.jsonl", full=False).findings == ()


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_manifest_stops_everything_wherever_it_lies(space: Space, name: str) -> None:
    killed_before_the_manifest(space, "bad")
    found = find_garbage(space, "", older_than_s=0)
    assert found
    space.objects.put("elsewhere/all.jsonl", DAMAGED[name])
    before = keys(space)
    with pytest.raises(InvalidManifestError, match=r"elsewhere/all\.jsonl"):
        survey(space, "", older_than_s=0)
    with pytest.raises(InvalidManifestError, match=r"elsewhere/all\.jsonl"):
        collect(space, found, dry_run=False)
    assert keys(space) == before


@pytest.mark.parametrize("name", UNDECIDED)
def test_where_nobody_can_tell_all_below_that_folder_stays_and_is_told(
    space: Space, name: str
) -> None:
    near = killed_before_the_manifest(space, "set") | killed_before_the_manifest(space, "set/in")
    far = killed_before_the_manifest(space, "other")
    assert garbage(space) == near | far
    space.objects.put("set/all.jsonl", UNDECIDED[name])
    kept = keys(space) - far
    report = survey(space, "", older_than_s=0)
    assert (report.foreign, report.undecided) == ((), ("set/all.jsonl",))
    assert {item.key for item in report.withheld} == near
    assert {item.key for item in report.garbage} == far
    assert garbage(space, "set") == set()
    assert garbage(space, "set/in") == set()
    assert collect(space, report.garbage, dry_run=False) == {}
    assert keys(space) == kept


def test_what_cannot_be_decided_at_the_top_keeps_everything(space: Space) -> None:
    left = killed_before_the_manifest(space, "bad")
    space.objects.put("empty.jsonl", b"")
    report = survey(space, "", older_than_s=0)
    assert report.garbage == ()
    assert {item.key for item in report.withheld} == left


@pytest.mark.parametrize("text", [b"\n", b" \n\n"])
def test_a_manifest_of_blank_lines_is_one_without_entries(space: Space, text: bytes) -> None:
    left = killed_before_the_manifest(space, "bad")
    space.objects.put("bad/manifest.jsonl", text)
    report = survey(space, "", older_than_s=0)
    assert {item.key for item in report.garbage} == left
    assert (report.foreign, report.undecided) == ((), ())


@pytest.mark.parametrize("data", [*DAMAGED.values(), *UNDECIDED.values(), *FOREIGN.values()])
def test_what_a_manifest_names_is_data_whatever_it_holds(space: Space, data: bytes) -> None:
    left = killed_before_the_manifest(space, "bad")
    space.objects.put("bad/events.jsonl", data)
    overwrite(space, "manifest.jsonl", [{"kind": "file", "key": "bad/events.jsonl"}])
    report = survey(space, "", older_than_s=0)
    assert {item.key for item in report.garbage} == left
    assert (report.foreign, report.undecided, report.withheld) == ((), (), ())


@pytest.mark.parametrize("data", [FOREIGN["events"], UNDECIDED["misspelt"]])
def test_what_a_manifest_refers_to_as_a_manifest_must_be_one(space: Space, data: bytes) -> None:
    killed_before_the_manifest(space, "bad")
    space.objects.put("other.jsonl", data)
    for root in ("a.jsonl", "z.jsonl"):
        overwrite(space, root, [{"kind": "manifest_ref", "key": "other.jsonl"}])
        with pytest.raises(InvalidManifestError, match=r"other\.jsonl"):
            garbage(space)
        space.objects.delete(root)


def test_the_parts_of_a_manifest_cut_in_the_middle_survive(space: Space) -> None:
    for n in range(9):
        append(space, "m.jsonl", [{"kind": "file", "key": f"k{n}"}])
    root = space.objects.read("m.jsonl")
    before = keys(space)
    cuts = 0
    for end in range(1, len(root)):
        space.objects.put("m.jsonl", root[:end])
        try:
            found = find_garbage(space, "", older_than_s=0)
        except InvalidManifestError:
            cuts += 1
            continue
        # Only a cut between two lines cannot be seen, and one in the first bytes keeps all.
        if end >= 7:
            assert root[:end].endswith(b"}") or root[:end].endswith(b"}\n")
        else:
            assert found == []
    assert cuts > len(root) * 0.9
    assert keys(space) == before


@pytest.mark.parametrize("name", ["all", "index.json"])
def test_a_manifest_of_another_name_with_a_broken_first_line_stops_everything(
    space: Space, name: str
) -> None:
    pack(space, items(), "p", max_entries=2)
    entries = list(iter_entries(space, "p/manifest.jsonl"))
    text = b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)
    space.objects.delete("p/manifest.jsonl")
    space.objects.put(f"p/{name}", b"{oops\n" + text)
    with pytest.raises(InvalidManifestError, match=f"p/{name}"):
        garbage(space)


def test_documents_of_others_beside_garbage_are_no_manifests(space: Space) -> None:
    left = killed_before_the_manifest(space, "p")
    document = {"kind": "Pod", "text": "x" * HUGE}
    space.objects.put("p/pod.json", json.dumps(document).encode())
    space.objects.put("p/many.json", FOREIGN["many lines"])
    space.objects.put("p/zeros", UNDECIDED["zeros"])
    assert garbage(space) == left


def test_an_entry_whose_key_leads_elsewhere_names_nothing_here(space: Space) -> None:
    left = killed_before_the_manifest(space, "bad")
    lines = [{"kind": "file", "key": "../up"}, {"kind": "shard", "archive_key": "a/../../b.tar"}]
    space.objects.put("m.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    assert garbage(space) == left


@pytest.mark.parametrize("kind", ["file", "rclone", "moto", "versitygw"])
def test_servers_and_folders_tell_the_same(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    space = Space(make_place(kind, request, tmp_path).store)
    pack(space, items(), "good", max_entries=2, append="single-writer")
    left = killed_before_the_manifest(space, "bad", append="single-writer")
    for number, data in enumerate(FOREIGN.values()):
        space.objects.put(f"data/{number}.jsonl", data)
    space.objects.put("undecided/empty.jsonl", b"")
    report = survey(space, "", older_than_s=0)
    assert {item.key for item in report.garbage} == left
    assert len(report.foreign) == len(FOREIGN)
    assert report.undecided == ("undecided/empty.jsonl",)
    for name in ("cut in its only line", "last line broken", "huge line cut"):
        space.objects.put("data/0.jsonl", DAMAGED[name])
        with pytest.raises(InvalidManifestError):
            survey(space, "", older_than_s=0)


def test_little_of_large_data_is_read(space: Space) -> None:
    class Counting(MemoryStore):
        def get(self, key: str, **options: Any) -> Any:
            body = super().get(key, **options)
            asked.append((options.get("start") or 0, options.get("end")))
            return body

    assert isinstance(space.objects, MemoryStore)
    asked: list[tuple[int, int | None]] = []
    store = Counting(space.objects.name)
    store.put("x.jsonl", FOREIGN["many lines"] * 40)
    assert likeness(store, "x.jsonl") == "foreign"
    assert asked == [(0, HEAD_BYTES)]


def test_what_goes_away_while_it_is_looked_at_is_nobodys_manifest(space: Space) -> None:
    assert likeness(space.objects, "gone.jsonl") == "foreign"


def test_what_the_store_refuses_is_not_taken_for_data(space: Space) -> None:
    class Refusing(MemoryStore):
        def get(self, key: str, **options: Any) -> Any:
            if options.get("end") is not None:
                raise StorageError("not now", key=key)
            return super().get(key, **options)

    assert isinstance(space.objects, MemoryStore)
    space.objects.put("x.jsonl", FOREIGN["events"])
    with pytest.raises(StorageError, match="not now") as caught:
        garbage(Space(Refusing(space.objects.name)))
    assert not isinstance(caught.value, ObjectNotFoundError)


def test_bytes_are_told_apart_by_themselves() -> None:
    for wanted, samples in (("foreign", FOREIGN), ("manifest", DAMAGED), ("undecided", UNDECIDED)):
        for name, data in samples.items():
            if len(data) <= HEAD_BYTES:
                assert (name, likeness_of_text(data)) == (name, wanted)


def test_a_manifest_of_another_name_may_name_data_that_looks_like_a_manifest(space: Space) -> None:
    left = killed_before_the_manifest(space, "p")
    for number, data in enumerate((DAMAGED["last line broken"], UNDECIDED["empty"])):
        space.objects.put(f"p/{number}.jsonl", data)
    entries: list[Any] = [{"kind": "file", "key": f"p/{number}.jsonl"} for number in range(2)]
    overwrite(space, "p/all", entries)
    assert garbage(space) == left


def test_verify_passes_over_data_and_tells_of_damage(space: Space) -> None:
    pack(space, items(), "p", max_entries=2)
    for number, data in enumerate(FOREIGN.values()):
        space.objects.put(f"p/data/{number}.jsonl", data)
    assert verify(space, "p").findings == ()
    space.objects.put("p/all.jsonl", DAMAGED["cut in its only line"])
    space.objects.put("p/zeros.jsonl", UNDECIDED["zeros"])
    found = verify(space, "p").findings
    assert {(each.key, each.problem) for each in found} == {
        ("p/all.jsonl", "manifest"),
        ("p/zeros.jsonl", "manifest"),
    }


def test_verify_passes_over_keys_that_no_exchange_gives(space: Space) -> None:
    pack(space, items(), "p", max_entries=2)
    for key in ("p//m.jsonl", "p//x.tar"):
        space.objects.put(key, b"anything")
    assert verify(space, "").findings == ()


def test_a_damaged_manifest_that_is_referred_to_is_no_data_whoever_names_it(space: Space) -> None:
    killed_before_the_manifest(space, "bad")
    space.objects.put("other.jsonl", DAMAGED["last line broken"])
    overwrite(space, "a.jsonl", [{"kind": "manifest_ref", "key": "other.jsonl"}])
    overwrite(space, "z.jsonl", [{"kind": "file", "key": "other.jsonl"}])
    with pytest.raises(InvalidManifestError, match=r"other\.jsonl"):
        garbage(space)
