"""Sparse members: what tar leaves out of an archive comes back as zeros, and lies are refused."""

from __future__ import annotations

import gzip
import io
import json
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands import good, run
from foreign_archives import gnu_tar, read_by_tarfile
from inputs import REPOSITORY, run_python
from reading import fresh_space
from shardpack.archive import ArchiveIndex, MemberReader, build_index, iter_archive
from shardpack.archive.sparse import MOST_EXTENTS, MOST_REAL_BYTES
from shardpack.archive.tar import build_header
from shardpack.errors import ObjectNotFoundError, ShardReadError
from shardpack.exchange.reading.pipeline import iter_objects
from shardpack.exchange.shard.source import ArchiveSource
from shardpack.exchange.upkeep.verify import verify

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shardpack.exchange.keys import Space
    from shardpack.exchange.types import FileEntry

MIB = 1 << 20
KEY = "some/key.tar"
END = bytes(1024)
FORMS = {
    "gnu": ["--format=gnu"],
    "posix 0.0": ["--format=posix", "--sparse-version=0.0"],
    "posix 0.1": ["--format=posix", "--sparse-version=0.1"],
    "posix 1.0": ["--format=posix", "--sparse-version=1.0"],
}


# --- archives of GNU tar ------------------------------------------------------------------------


def holey(path: Path, extents: Sequence[tuple[int, bytes]], size: int) -> None:
    with path.open("wb") as file:
        for offset, data in extents:
            file.seek(offset)
            file.write(data)
        file.truncate(size)


@pytest.fixture(scope="module", params=FORMS)
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An archive with sparse members between others, small, fragmented and all hole."""
    folder = tmp_path_factory.mktemp("sparse")
    (folder / "a.txt").write_bytes(b"plain\n" * 100)
    holey(folder / "b-ends-in-data", [(0, b"start"), (5 * MIB, b"end")], 5 * MIB + 3)
    holey(folder / "c-ends-in-hole", [(MIB, b"x" * 5000)], 3 * MIB + 17)
    holey(folder / "d-only-hole", [], 2 * MIB)
    pieces = [(at * 65536, bytes((at % 251 + 1,)) * 4096) for at in range(1, 120, 2)]
    holey(folder / ("e" * 120), pieces, 8 * MIB)
    (folder / "f.txt").write_bytes(b"the last")
    made = gnu_tar(folder, "--sparse", *FORMS[request.param])
    if len(made) > 2 * MIB:
        pytest.skip("the file system has no holes")
    return made


def told_by_tarfile(stored: bytes) -> dict[str, bytes]:
    """What Python's tarfile reads, which takes a stand-in of GNU tar for a name that is long."""
    found = read_by_tarfile(stored)
    return {"e" * 120 if "GNUSparseFile" in path else path: found[path] for path in found}


def files(stored: bytes, key: str | None = None) -> dict[str, bytes]:
    return {
        member.path: body.read()
        for member, body in iter_archive(io.BytesIO(stored), None, key=key)
        if member.is_file
    }


def test_sparse_members_are_read_as_tarfile_reads_them(stored: bytes) -> None:
    expected = told_by_tarfile(stored)
    assert len(expected) == 6
    assert files(stored) == expected
    assert files(gzip.compress(stored)) == expected


def test_members_around_sparse_ones_need_nothing_of_them(stored: bytes) -> None:
    expected = told_by_tarfile(stored)
    found = {}
    for member, body in iter_archive(io.BytesIO(stored), None):
        assert member.size == len(expected[member.path])
        assert (member.kind == "sparse") == (not member.path.endswith(".txt"))
        if member.kind == "file":
            found[member.path] = body.read()
        else:
            # Some bytes, some of which are zeros of a hole; the iteration steps over the rest.
            assert body.read(9000) == expected[member.path][:9000]
    assert found == {path: data for path, data in expected.items() if path.endswith(".txt")}


@settings(max_examples=30, deadline=None)
@given(
    extents=st.lists(
        st.tuples(st.integers(0, 30), st.binary(min_size=1, max_size=700)), max_size=6
    ),
    tail=st.integers(0, 200_000),
    reads=st.lists(st.integers(0, 150_000), max_size=5),
)
@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0", "gnu"])
def test_any_map_is_filled_as_tarfile_fills_it(
    version: str, extents: list[tuple[int, bytes]], tail: int, reads: list[int]
) -> None:
    at = 0
    placed = []
    for gap, data in extents:
        placed.append((at + gap * 1000, data))
        at += gap * 1000 + len(data)
    made = sparse_archive(version, placed, at + tail)
    expected = read_by_tarfile(made)
    assert files(made) == expected
    for member, body in iter_archive(io.BytesIO(made), None):
        position = 0
        for size in reads:
            piece = expected[member.path][position : position + size]
            assert body.read(size) == piece
            position += len(piece)


def test_a_map_of_many_extents_is_read() -> None:
    placed = [(at * 10, b"ab") for at in range(5000)]
    for version in ("0.1", "1.0", "gnu"):
        made = sparse_archive(version, placed, 50_000)
        assert files(made) == read_by_tarfile(made)


def test_a_cut_archive_is_told_inside_of_a_sparse_member(stored: bytes) -> None:
    whole = [member for member, _ in iter_archive(io.BytesIO(stored), None)]
    fragmented = next(member for member in whole if member.path.startswith("ee"))
    with pytest.raises(ShardReadError) as caught:
        files(stored[: fragmented.offset + 5000], KEY)
    assert (caught.value.key, caught.value.member) == (KEY, fragmented.path)


# --- the index ----------------------------------------------------------------------------------


def test_the_index_has_the_other_members_and_counts_the_sparse_ones(stored: bytes) -> None:
    expected = told_by_tarfile(stored)
    for data in (stored, gzip.compress(stored)):
        index = ArchiveIndex.from_bytes(build_index(io.BytesIO(data), None).to_bytes())
        assert set(index.members) == {"a.txt", "f.txt"}
        assert index.sparse == 4
        fetch = io.BytesIO(data).getbuffer()
        reader = MemberReader(index, lambda start, end, fetch=fetch: fetch[start:end], key=KEY)  # type: ignore[misc]
        assert reader.read("a.txt") == expected["a.txt"]
        with pytest.raises(ShardReadError, match="sparse") as caught:
            reader.read("d-only-hole")
        assert (caught.value.key, caught.value.member) == (KEY, "d-only-hole")
        with pytest.raises(ShardReadError, match="sparse"):
            next(reader.iter_members())


def test_an_index_of_an_archive_without_sparse_members_says_nothing_of_them() -> None:
    plain = build_index(io.BytesIO(build_header(b"a", 0) + END), None)
    assert plain.sparse == 0
    assert ArchiveIndex.from_bytes(plain.to_bytes()).sparse == 0
    assert b"sparse" not in plain._decoded()


@pytest.mark.parametrize("order", ["sparse last", "plain last"])
def test_of_several_members_with_one_path_the_last_counts(order: str) -> None:
    plain = build_header(b"holes", 5) + b"plain".ljust(512, b"\0")
    holes = sparse_archive("gnu", [(4000, b"data")], 9000)[: -len(END)]
    parts = [plain, holes] if order == "sparse last" else [holes, plain]
    index = build_index(io.BytesIO(b"".join(parts) + END), None)
    assert ("holes" in index.members, index.sparse) == (
        (False, 1) if order == "sparse last" else (True, 0)
    )


def put(stored: bytes, *, index: bool) -> Space:
    space, _ = fresh_space()
    space.objects.put("a.tar", stored)
    if index:
        ArchiveSource(space, "a.tar").build_index()
    return space


@pytest.mark.parametrize("index", [False, True])
def test_archives_in_a_store_give_all_their_members(stored: bytes, *, index: bool) -> None:
    expected = told_by_tarfile(stored)
    space = put(stored, index=index)
    source = ArchiveSource(space, "a.tar")
    for path, data in expected.items():
        assert source.read(path) == data
    assert {path: body.read() for path, body in source.iter_members()} == expected
    assert {path: body.read() for path, body in source.read_many(expected)} == expected
    with iter_objects(space, "a.tar") as objects:
        assert {entry["member_path"]: body.read() for body, entry in objects} == expected  # type: ignore[typeddict-item]
    entries: list[FileEntry] = [
        {"kind": "file", "key": f"a.tar#{path}"} for path in reversed(list(expected))
    ]
    with iter_objects(space, entries) as objects:
        found = [(entry["key"], body.read()) for body, entry in objects]  # type: ignore[typeddict-item]
    assert found == [(f"a.tar#{path}", expected[path]) for path in reversed(list(expected))]
    with pytest.raises(ObjectNotFoundError):
        source.read("not there")


def test_a_member_that_is_not_sparse_is_read_by_range(stored: bytes) -> None:
    space = put(stored, index=True)
    store = space.objects
    source = ArchiveSource(space, "a.tar")
    source.index()
    store.forget()  # type: ignore[attr-defined]
    assert source.read("f.txt") == b"the last"
    assert store.bytes_read == len(b"the last")  # type: ignore[attr-defined]


@pytest.mark.parametrize("index", [False, True])
def test_large_sparse_members_are_streams(*, index: bool) -> None:
    made = sparse_archive("1.0", [(0, b"start"), (20 * MIB, b"end")], 20 * MIB + 10)
    expected = b"start".ljust(20 * MIB, b"\0") + b"end".ljust(10, b"\0")
    space = put(made, index=index)
    with ArchiveSource(space, "a.tar").open("holes") as body:
        assert body.read() == expected
    with iter_objects(space, "a.tar") as objects:
        assert [body.read() == expected for body, _ in objects] == [True]


def test_the_command_tells_what_the_index_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(sparse_archive("gnu", [(4000, b"data")], 5000))
    (fact,) = json.loads(good("index", "--json", path))
    assert (fact["members"], fact["sparse"]) == (0, 1)
    assert b"1 sparse member" in run("index", path).stderr
    assert good("cat", f"{path}#holes") == b"data".rjust(4004, b"\0").ljust(5000, b"\0")


@pytest.mark.parametrize("index", [False, True])
def test_verify_finds_nothing_wrong_with_sparse_members(stored: bytes, *, index: bool) -> None:
    space = put(stored, index=index)
    assert [finding for finding in verify(space, "a.tar").findings if finding.member] == []


# --- lies ---------------------------------------------------------------------------------------


def header(size: int, *, flag: bytes = b"0", map_: bytes = b"", name: bytes = b"holes") -> bytes:
    block = bytearray(build_header(name, size))
    block[156:157] = flag
    if flag == b"S":
        block[257:265] = b"ustar  \0"
        block[345:386] = bytes(41)
        block[386:495] = map_
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def records(*pairs: tuple[str, object]) -> bytes:
    data = b""
    for name, value in pairs:
        rest = f" {name}={value}\n".encode()
        size = len(rest) + 1
        while len(str(size)) + len(rest) != size:
            size += 1
        data += str(size).encode() + rest
    return header(len(data), flag=b"x") + padded(data)


def octal(*numbers: int) -> bytes:
    return b"".join(
        b"%011o\0" % number if 0 <= number < 8**11 else b"\x80" + number.to_bytes(11, "big")
        for number in numbers
    )


def old_gnu(extents: Sequence[tuple[int, int]], size: int, data: bytes) -> bytes:
    numbers = [number for extent in extents for number in extent]
    first, rest = numbers[:8], numbers[8:]
    blocks = [rest[at : at + 42] for at in range(0, len(rest), 42)]
    map_ = octal(*first).ljust(96, b"\0") + bytes((bool(blocks),)) + octal(size)
    made = header(len(data), flag=b"S", map_=map_)
    for number, block in enumerate(blocks, 1):
        more = bytes((number < len(blocks),))
        made += (octal(*block).ljust(504, b"\0") + more).ljust(512, b"\0")
    return made + padded(data) + END


def lines(*numbers: object) -> bytes:
    return padded("".join(f"{number}\n" for number in numbers).encode())


def version_1(map_: bytes, size: object, data: bytes = b"") -> bytes:
    said = records(
        ("GNU.sparse.major", 1),
        ("GNU.sparse.minor", 0),
        ("GNU.sparse.name", "holes"),
        ("GNU.sparse.realsize", size),
    )
    return said + header(len(map_) + len(data)) + map_ + padded(data) + END


def version_01(map_: str, size: object, data: bytes = b"") -> bytes:
    said = records(("GNU.sparse.size", size), ("GNU.sparse.map", map_))
    return said + header(len(data)) + padded(data) + END


def sparse_archive(version: str, placed: Sequence[tuple[int, bytes]], size: int) -> bytes:
    """An archive of one sparse member, in the way of some version, as GNU tar ends its maps."""
    extents = [(offset, len(data)) for offset, data in placed] + [(size, 0)]
    data = b"".join(data for _, data in placed)
    numbers = [number for extent in extents for number in extent]
    if version == "gnu":
        return old_gnu(extents, size, data)
    if version == "1.0":
        return version_1(lines(len(extents), *numbers), size, data)
    if version == "0.1":
        return version_01(",".join(map(str, numbers)), size, data)
    pairs = list(
        zip(("GNU.sparse.offset", "GNU.sparse.numbytes") * len(extents), numbers, strict=True)
    )
    said = records(("GNU.sparse.size", size), ("GNU.sparse.numblocks", len(extents)), *pairs)
    return said + header(len(data)) + padded(data) + END


TEN = b"0123456789"
HOSTILE = {
    "gnu overlapping": old_gnu([(0, 6), (5, 4)], 100, TEN),
    "gnu backwards": old_gnu([(50, 5), (0, 5)], 100, TEN),
    "gnu beyond the end": old_gnu([(95, 10)], 100, TEN),
    "gnu less than stored": old_gnu([(0, 5)], 100, TEN),
    "gnu more than stored": old_gnu([(0, 50)], 100, TEN),
    "gnu negative": header(
        10, flag=b"S", map_=b"\xff" * 12 + octal(10) + bytes(72) + b"\0" + octal(100)
    )
    + padded(TEN)
    + END,
    "gnu huge": old_gnu([(0, 10)], MOST_REAL_BYTES + 1, TEN),
    "gnu as huge as it gets": old_gnu([(0, 10)], 2**63 - 1, TEN),
    "gnu no real size": header(10, flag=b"S", map_=octal(0, 10) + bytes(73) + b"no octal 123")
    + padded(TEN)
    + END,
    "0.1 overlapping": version_01("0,6,5,4", 100, TEN),
    "0.1 beyond the end": version_01("95,10", 100, TEN),
    "0.1 odd": version_01("0,10,20", 100, TEN),
    "0.1 negative": version_01("-5,10", 100, TEN),
    "0.1 no number": version_01("0,1_0", 100, TEN),
    "0.1 negative size": version_01("0,10", -100, TEN),
    "0.1 huge": version_01("0,10", MOST_REAL_BYTES + 1, TEN),
    "0.1 endless number": version_01("0,1" + "0" * 5000, 100, TEN),
    "1.0 overlapping": version_1(lines(2, 0, 6, 5, 4), 100, TEN),
    "1.0 beyond the end": version_1(lines(1, 95, 10), 100, TEN),
    "1.0 negative": version_1(lines(1, 0, -10), 100, TEN),
    "1.0 negative count": version_1(lines(-1), 100, TEN),
    "1.0 huge count": version_1(lines(MOST_EXTENTS + 1, 0, 10), 100, TEN),
    "1.0 count beyond the data": version_1(lines(5, 0, 10), 100, TEN),
    "1.0 a line without end": version_1(b"1" * 4096, 100, TEN),
    "1.0 no map": version_1(b"", 100),
    "1.0 huge": version_1(lines(1, 0, 10), MOST_REAL_BYTES + 1, TEN),
    "1.0 no real size": version_1(lines(1, 0, 10), "", TEN),
    "a version of the future": records(("GNU.sparse.major", 2), ("GNU.sparse.minor", 0))
    + header(10)
    + padded(TEN)
    + END,
    "both": records(("GNU.sparse.size", 100), ("GNU.sparse.map", "0,10"))
    + old_gnu([(0, 10)], 100, TEN),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("where", ["alone", "behind others", "gzip"])
def test_maps_that_lie_are_refused_by_name(name: str, where: str) -> None:
    made = HOSTILE[name]
    if where == "behind others":
        made = build_header(b"first", 5) + b"first".ljust(512, b"\0") + made
    with pytest.raises(ShardReadError) as caught:
        files(gzip.compress(made) if where == "gzip" else made, KEY)
    assert (caught.value.key, caught.value.member) == (KEY, "holes")
    assert "sparse" in str(caught.value)


def test_extents_in_disorder_are_refused() -> None:
    said = records(("GNU.sparse.size", 100), ("GNU.sparse.numbytes", 10), ("GNU.sparse.offset", 0))
    with pytest.raises(ShardReadError, match="extents in disorder"):
        files(said + header(10) + padded(TEN) + END, KEY)


def test_a_global_header_makes_no_member_sparse() -> None:
    block = bytearray(records(("GNU.sparse.size", 5)))
    block[156:157] = b"g"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    with pytest.raises(ShardReadError, match="GNU"):
        files(bytes(block) + header(5) + padded(b"12345") + END, KEY)


def test_a_chain_of_map_blocks_without_end_is_cut_off() -> None:
    map_ = octal(0, 10).ljust(96, b"\0") + b"\1" + octal(100)
    block = bytes(504) + b"\1" + bytes(7)
    served = 0

    def chain() -> object:
        nonlocal served
        yield header(10, flag=b"S", map_=map_)
        while True:
            yield block * 128
            served += 128

    with pytest.raises(ShardReadError, match="extents"):
        next(iter_archive(chain(), None, key=KEY))
    assert served <= MOST_EXTENTS // 21 + 4096


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from([*HOSTILE, "good gnu", "good 1.0", "good 0.1", "good 0.0"]),
    flips=st.lists(st.tuples(st.integers(0, 2559), st.integers(0, 255)), max_size=4),
)
def test_changed_maps_are_refused_or_give_what_they_announce(
    name: str, flips: list[tuple[int, int]]
) -> None:
    good, _, version = name.partition(" ")
    made = bytearray(
        sparse_archive(version, [(20, b"abc"), (700, b"d" * 600)], 2000)
        if good == "good"
        else HOSTILE[name]
    )
    for at, value in flips:
        made[at % len(made)] = value
    with suppress(ShardReadError):
        for member, body in iter_archive(io.BytesIO(bytes(made)), None):
            if member.is_file and member.size < MIB:
                data = body.read()
                assert len(data) == member.size
                assert member.sparse is None or len(data) - data.count(0) <= member.stored_size


MEMORY = """
import io, sys
sys.path.insert(0, {tests!r})
from shardpack.archive import build_index, iter_archive
from test_archive_sparse import sparse_archive

def peak():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])

made = sparse_archive("1.0", [(7 << 28, b"end")], 1 << 31)
before = peak()
for member, body in iter_archive(io.BytesIO(made), None):
    assert member.size == 1 << 31
    total = sum(len(piece) for piece in body.iter_chunks(1 << 20))
    assert total == 1 << 31
assert build_index(io.BytesIO(made), None).sparse == 1
print(peak() - before)
"""


def test_holes_take_no_memory() -> None:
    grown = run_python(MEMORY.format(tests=str(REPOSITORY / "tests" / "python")), timeout_s=300)
    assert int(grown) * 1024 < 64 * MIB
