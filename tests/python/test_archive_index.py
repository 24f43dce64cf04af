"""The index of a shard archive: its bytes, its look-ups, and what is refused."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives import COMPRESSIONS, GOLDEN, Compression, build, member_lists
from shardpack import CpuZstd
from shardpack.archive import (
    ArchiveIndex,
    Member,
    compression_of_key,
    index_key,
    suffix_of,
)
from shardpack.archive.chunks import ChunkTable
from shardpack.archive.compression import READABLE_COMPRESSIONS, is_archive_key
from shardpack.errors import ShardReadError

if TYPE_CHECKING:
    from collections.abc import Callable


def packed(text: bytes) -> bytes:
    return CpuZstd(1, content_size=True, checksum=True).compress(text)[0]


def unpacked(index: ArchiveIndex) -> bytes:
    return CpuZstd().decompress_all(index.to_bytes())


@given(member_lists, st.sampled_from(COMPRESSIONS))
def test_indexes_are_read_back(members: list[tuple[str, bytes]], compression: Compression) -> None:
    index = build(members, compression).index
    stored = index.to_bytes()
    for read in (ArchiveIndex.from_bytes(stored), pickle.loads(pickle.dumps(index))):
        assert read == index
        assert read.to_bytes() == stored
        assert hash(read) == hash(index)
        assert len(read) == len(members)
        for path, _ in members:
            assert read.member(path) == index.member(path) is not None
            assert read.member(path + "x") == index.member(path + "x")
        assert dict(read.members) == dict(index.members)
        assert list(read.members) == [path for path, _ in members]
        assert read.chunks[:] == index.chunks[:]


def test_the_text_is_what_the_module_says() -> None:
    index = build([("a b", b"hello"), ("ü", b"")], "zstd").index
    lines = unpacked(index.bind(index.stored_size, '"tag"')).split(b"\n")
    assert orjson.loads(lines[0]) == {
        "format": "shardpack-index/1",
        "compression": "zstd",
        "stored_size": index.stored_size,
        "original_size": 10240,
        "chunks": 3,
        "members": 2,
        "etag": "tag",
        "blake3": index.blake3.hex() if index.blake3 else None,
        "internal_manifest_path": "__manifest__.jsonl",
    }
    table = orjson.loads(lines[1])
    assert table["original"] == [4096, 4096, 2048]
    assert sum(table["stored"]) == index.stored_size
    digest = "ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f"
    assert lines[2] == f'["a b",512,5,"9a71bb4c","{digest}"]'.encode()
    assert lines[3].startswith('["ü",1536,0,"00000000","'.encode())
    assert lines[4:] == [b""]


@pytest.mark.parametrize(
    "path", ['quote"', "back\\slash", "tab\t", "\x7f", '",5,5', "日本", "\u2028"]
)
def test_any_path_is_found(path: str) -> None:
    members = [Member("before", 0, 1), Member(path, 1, 2), Member(path + "1", 3, 4)]
    index = ArchiveIndex.from_bytes(plain(members).to_bytes())
    assert index.member(path) == members[1]
    assert [*index.members.values()] == members


def test_paths_that_are_no_utf8_are_found() -> None:
    members = [Member("ü\udcff", 0, 1), Member("ü", 1, 2)]
    index = ArchiveIndex.from_bytes(plain(members).to_bytes())
    assert index.member("ü\udcff") == members[0]
    assert [*index.members.values()] == members


def plain(members: list[Member], **options: Any) -> ArchiveIndex:
    given: dict[str, Any] = {
        "compression": None,
        "stored_size": 100,
        "original_size": 100,
        "chunks": ChunkTable([], []),
        "members": members,
    }
    return ArchiveIndex(**{**given, **options})


def test_the_last_of_several_members_of_one_name_counts() -> None:
    members = [Member("a", 0, 1), Member("b", 1, 1), Member("a", 2, 1)]
    index = plain(members)
    assert len(index) == 2
    assert index.member("a") == members[2]
    assert [*index.members.values()] == members[1:]
    # Also where the file itself has both.
    lines = unpacked(index).split(b"\n")
    doubled = [lines[0].replace(b'"members":2', b'"members":3'), lines[1]]
    text = b"\n".join([*doubled, b'["a",0,1,null,null]', *lines[2:]])
    read = ArchiveIndex.from_bytes(packed(text))
    assert read.member("a") == members[2]
    assert [*read.members.values()] == members[1:]


def test_many_look_ups_agree_with_few() -> None:
    built = build([(f"m{number}", b"x" * number) for number in range(50)])
    index = ArchiveIndex.from_bytes(built.index.to_bytes())
    for _ in range(2):
        for number in range(50):
            member = index.member(f"m{number}")
            assert member is not None
            assert member.size == number
            assert f"m{number}" in index
        assert "m" not in index
        assert 5 not in index


def test_an_index_is_bound_to_one_version_of_the_archive() -> None:
    index = build(GOLDEN).index
    assert index.etag is None
    assert index.bind(index.stored_size, 'W/"abc-2"').etag == "abc-2"
    assert ArchiveIndex.from_bytes(index.to_bytes()).etag == "abc-2"
    with pytest.raises(ValueError, match="the index is of one with"):
        index.bind(index.stored_size + 1, "abc")


def test_fields_that_are_not_known_are_ignored() -> None:
    text = unpacked(build(GOLDEN, "gzip").index).replace(b"{", b'{"new":[1],', 1)
    assert ArchiveIndex.from_bytes(packed(text)).member("last") is not None


def test_ranges_are_mapped_to_whole_chunks() -> None:
    index = build([("a", bytes(20_000))], "zstd").index
    chunks = index.chunks
    assert [*index.chunks_for(0, 1)] == [0]
    assert [*index.chunks_for(4095, 4097)] == [0, 1]
    assert [*index.chunks_for(4096, 4096)] == []
    assert [*index.chunks_for(4096, 8192)] == [1]
    assert index.stored_range(4096, 8192) == (chunks[1].stored_offset, chunks[2].stored_offset)
    assert index.stored_range(0, index.original_size) == (0, index.stored_size)
    assert index.stored_range(5, 5) == (0, 0)
    assert build([("a", bytes(20_000))]).index.stored_range(5, 6) == (5, 6)


def test_checkpoints_are_read_back() -> None:
    table = ChunkTable(
        [10, 20, 70], [40, 60, 5], [1, 2, 3], bits=[0, 3, 0], windows=[b"", b"\n[", b"z"]
    )
    index = plain([Member("a", 0, 5)], compression="gzip", original_size=105, chunks=table)
    read = ArchiveIndex.from_bytes(index.to_bytes())
    assert read == index
    bits, windows = read.chunks.bits, read.chunks.windows
    assert bits is not None
    assert windows is not None
    assert (list(bits), list(windows)) == ([0, 3, 0], [b"", b"\n[", b"z"])
    assert [*read.members] == ["a"]
    # A chunk may end in the byte in which the next one begins.
    assert read.chunks.stored_range(range(1)) == (0, 11)
    assert read.chunks.stored_range(range(1, 2)) == (10, 30)


# --- damage ---------------------------------------------------------------------------------

SMALL = build([("a", b"hello"), ("b/c", b"x" * 600)], "gzip").index


def test_every_flipped_byte_is_noticed_or_means_nothing() -> None:
    stored = SMALL.to_bytes()
    noticed = 0
    for place in range(len(stored)):
        for bit in (1, 16, 128):
            damaged = bytearray(stored)
            damaged[place] ^= bit
            try:
                read = ArchiveIndex.from_bytes(damaged, key="k")
                members = dict(read.members)
            except ShardReadError as error:
                noticed += 1
                assert error.key == "k"  # noqa: PT017 - or nothing has changed
            else:
                assert (read, members) == (SMALL, dict(SMALL.members))
    assert noticed > len(stored) * 2


def test_every_cut_is_noticed() -> None:
    stored = SMALL.to_bytes()
    for size in range(len(stored)):
        with pytest.raises(ShardReadError):
            ArchiveIndex.from_bytes(stored[:size])


def test_what_an_index_decodes_to_is_bounded() -> None:
    bomb = packed(bytes(50_000_000))
    assert len(bomb) < 10_000
    for limit in (1000, 49_999_999):
        with pytest.raises(ShardReadError, match="damaged archive index"):
            ArchiveIndex.from_bytes(bomb, max_size=limit)
    claim = bytearray(packed(b"x" * 1000))
    claim[4:6] = b"\xff\xff"
    with pytest.raises(ShardReadError):
        ArchiveIndex.from_bytes(claim)
    # An endless first line is not searched for its end, nor parsed.
    with pytest.raises(ShardReadError):
        ArchiveIndex.from_bytes(packed(b"[" * 1_000_000 + b"\n"))


def header(**changes: Any) -> Callable[[list[bytes]], list[bytes]]:
    def change(lines: list[bytes]) -> list[bytes]:
        return [orjson.dumps({**orjson.loads(lines[0]), **changes}), *lines[1:]]

    return change


def table(**changes: Any) -> Callable[[list[bytes]], list[bytes]]:
    def change(lines: list[bytes]) -> list[bytes]:
        return [lines[0], orjson.dumps({**orjson.loads(lines[1]), **changes}), *lines[2:]]

    return change


def line(text: bytes) -> Callable[[list[bytes]], list[bytes]]:
    return lambda lines: [*lines[:2], text, *lines[3:]]


TABLE = orjson.loads(unpacked(SMALL).split(b"\n")[1])
STORED, ORIGINAL = TABLE["stored"], TABLE["original"]
D8, D64 = b'"' + b"0" * 8 + b'"', b'"' + b"0" * 64 + b'"'

HOSTILE: list[Callable[[list[bytes]], list[bytes]]] = [
    header(format="shardpack-index/2"),
    header(format="tar"),
    header(format=5),
    header(compression="lz4"),
    header(compression=[]),
    header(compression=None),
    header(stored_size=-1),
    header(stored_size=True),
    header(stored_size=1.5),
    header(stored_size=2**63),
    header(stored_size="5"),
    header(original_size=10241),
    header(chunks=2),
    header(members=3),
    header(members=-1),
    header(etag=5),
    header(blake3="zz" * 32),
    header(blake3="00"),
    header(internal_manifest_path=[]),
    lambda lines: [b"[]", *lines[1:]],
    lambda lines: [b"x" * 100_000, *lines[1:]],
    lambda lines: [lines[0], b"5", *lines[2:]],
    lambda lines: [lines[0], b"", *lines[1:]],
    lambda lines: lines[:1],
    lambda lines: lines[:2],
    lambda lines: lines[:-1],
    lambda lines: [*lines[:-1], b"", b""],
    lambda lines: [*lines, b"rest"],
    table(stored=STORED[:-1]),
    table(stored=[*STORED, 5]),
    table(stored=[0, STORED[0] + STORED[1], *STORED[2:]]),
    table(stored=[-5, STORED[0] + STORED[1] + 5, *STORED[2:]]),
    table(stored=[True, STORED[0] + STORED[1] - 1, *STORED[2:]]),
    table(stored=[2**63, *STORED[1:]]),
    table(stored={}),
    table(stored=None),
    table(original=[*ORIGINAL[:-1], ORIGINAL[-1] + 1]),
    table(original=["5", *ORIGINAL[1:]]),
    table(crc32c=[1]),
    table(crc32c=[2**32] * len(STORED)),
    table(crc32c=[-1] * len(STORED)),
    table(crc32c="all"),
    table(bits=[0] * len(STORED)),
    table(windows=[0] * len(STORED)),
    table(bits=[8] * len(STORED), windows=[0] * len(STORED)),
    table(bits=[0] * len(STORED), windows=[1 << 40] * len(STORED)),
    table(bits=[0] * len(STORED), windows=[40_000] * len(STORED)),
    table(bits=[0] * len(STORED), windows=[1] * len(STORED)),
    line(b""),
    line(b"{}"),
    line(b"5"),
    line(b"[]"),
    line(b'["a"]'),
    line(b'["a",512,5,null,null,5]'),
    line(b'["a",512,5,null,null],["d",1,1,null,null]'),
    line(b"[5,512,5,null,null]"),
    line(b'["a","512",5,null,null]'),
    line(b'["a",512.0,5,null,null]'),
    line(b'["a",true,5,null,null]'),
    line(b'["a",-1,5,null,null]'),
    line(b'["a",512,-5,null,null]'),
    line(b'["a",10236,5,null,null]'),
    line(b'["a",18446744073709551615,5,null,null]'),
    line(b'["a",512,5,5,null]'),
    line(b'["a",512,5,"",null]'),
    line(b'["a",512,5,"0000000g",null]'),
    line(b'["a",512,5,"00 00 00",null]'),
    line(b'["a",512,5,"00000000","00"]'),
    line(b'["a",512,5,"00000000",[]]'),
    line(b'["a",512,5,null,null'),
    line(b'["a",' + b"[" * 100_000),
    line(b'["\xff",512,5,null,null]'),
]


@pytest.mark.parametrize("change", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_indexes_are_refused(change: Callable[[list[bytes]], list[bytes]]) -> None:
    text = b"\n".join(change(unpacked(SMALL).split(b"\n")))
    with pytest.raises(ShardReadError) as caught:
        _ = ArchiveIndex.from_bytes(packed(text), key="k").members
    assert caught.value.key == "k"
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_an_index_or_refused(data: bytes, wrapped: bool) -> None:
    with pytest.raises(ShardReadError):
        ArchiveIndex.from_bytes(packed(data) if wrapped else data)


def test_a_damaged_line_is_noticed_when_it_is_looked_up() -> None:
    lines = unpacked(SMALL).split(b"\n")
    lines[2] = b'["a",512,99999999,null,null]'
    index = ArchiveIndex.from_bytes(packed(b"\n".join(lines)))
    assert index.member("b/c") is not None
    with pytest.raises(ShardReadError, match="outside of"):
        index.member("a")


# --- keys -----------------------------------------------------------------------------------


def test_keys_tell_the_compression() -> None:
    for compression in READABLE_COMPRESSIONS:
        key = f"some/name{suffix_of(compression)}"
        assert compression_of_key(key) == compression
        assert is_archive_key(key)
    assert compression_of_key("a.tgz") == "gzip"
    assert compression_of_key("a.tzst") == "zstd"
    assert compression_of_key("a.txt") is None
    assert not is_archive_key("a.gz")
    assert index_key("a.tar") == "a.tar.shardindex"
    with pytest.raises(ValueError, match="unknown compression"):
        suffix_of("lz4")  # type: ignore[arg-type]
