"""Members read by the index: no more than needed is fetched, and nothing wrong is given."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives import (
    COMPRESSIONS,
    GOLDEN,
    Built,
    Compression,
    Fetches,
    build,
    member_lists,
    reader_of,
)
from inputs import VECTORS, make
from shardpack import hash
from shardpack.archive import ArchiveIndex, ArchiveWriter, Member, MemberReader, suffix_of
from shardpack.errors import IntegrityError, ObjectNotFoundError, ShardReadError

if TYPE_CHECKING:
    from collections.abc import Callable

LARGE = make("events", 300_000)
MEMBERS = [*GOLDEN, ("large", LARGE), ("behind", make("lines", 10_000))]


@given(member_lists, st.sampled_from(COMPRESSIONS), st.sampled_from([512, 4096, 65536]))
def test_every_way_of_reading_gives_what_was_written(
    members: list[tuple[str, bytes]], compression: Compression, chunk_size: int
) -> None:
    reader, _ = reader_of(build(members, compression, chunk_size=chunk_size))
    for path, data in members:
        assert reader.read(path) == data
        assert reader.open(path).read() == data
    assert [*reader.read_many(path for path, _ in reversed(members))] == members
    assert [(member.path, body.read()) for member, body in reader.iter_members()] == members


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_stored_vectors_are_read(compression: Compression) -> None:
    path = VECTORS / "archive" / f"golden{suffix_of(compression)}"
    index = ArchiveIndex.from_bytes(path.with_name(path.name + ".shardindex").read_bytes())
    reader = MemberReader(index, Fetches(path.read_bytes()))
    assert [*reader.read_many(index.members)] == GOLDEN


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_member_costs_one_fetch_of_the_chunks_that_hold_it(compression: Compression) -> None:
    built = build(MEMBERS, compression)
    for path, data in MEMBERS:
        reader, fetches = reader_of(built)
        assert reader.read(path) == data
        member = reader.find(path)
        if not data:
            assert not fetches.ranges
            continue
        start, end = member.offset, member.offset + member.size
        if compression is None:
            assert fetches.ranges == [(start, end)]
            continue
        rows = built.index.chunks_for(start, end)
        assert len(rows) <= -(-len(data) // 4096) + 1
        assert fetches.ranges == [built.index.stored_range(start, end)]
        assert fetches.total == sum(built.index.chunks[row].stored_size for row in rows)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_neighbours_share_a_fetch_and_each_chunk_is_fetched_once(compression: Compression) -> None:
    gap = ("gap", make("noise", 3 << 20))
    built = build([*MEMBERS, gap, ("far", b"away")], compression)
    reader, fetches = reader_of(built)
    wanted = [path for path, _ in MEMBERS[::2]] + ["far"]
    found = dict(reader.read_many(wanted + wanted))
    assert found == {path: data for path, data in [*MEMBERS, ("far", b"away")] if path in wanted}
    assert len(fetches.ranges) == 2
    reader, fetches = reader_of(built)
    everything = [*MEMBERS, gap, ("far", b"away")]
    assert [(member.path, body.read()) for member, body in reader.iter_members()] == everything
    assert fetches.total <= len(built.stored)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_iteration_fetches_and_holds_a_part_at_a_time(compression: Compression) -> None:
    noise = make("noise", 1 << 20)
    members = [(f"{number:02}", noise[number:] + bytes(number)) for number in range(40)]
    members.insert(20, ("huge", noise * 17))
    built = build(members, compression, chunk_size=512 << 10)
    reader, fetches = reader_of(built)
    found = []
    for member, body in reader.iter_members():
        data = body.read()
        found.append((member.path, hash.blake3(data)))
    assert found == [(path, hash.blake3(data)) for path, data in members]
    small = [end - start for start, end in fetches.ranges if end - start < 17 << 20]
    assert max(small) <= 18 << 20
    assert len(small) >= 2
    # The ends of the large member may lie in chunks of its neighbours.
    assert fetches.total <= len(built.stored) + (2 << 20)


# --- streams --------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", COMPRESSIONS)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("seek"), st.integers(0, 310_000)),
            st.tuples(st.just("read"), st.integers(0, 100_000)),
            st.tuples(st.just("readinto"), st.integers(1, 30_000)),
            st.tuples(st.just("end"), st.integers(-300_000, 100)),
        ),
        max_size=12,
    )
)
def test_an_open_member_is_like_a_file(
    compression: Compression, steps: list[tuple[str, int]]
) -> None:
    reader, _ = reader_of(STREAMS[compression])
    body, model = reader.open("large"), io.BytesIO(LARGE)
    for step, number in steps:
        if step == "read":
            assert body.read(number) == model.read(number)
        elif step == "readinto":
            target, expected = bytearray(number), bytearray(number)
            assert body.readinto(target) == model.readinto(expected)
            assert target == expected
        else:
            whence = io.SEEK_SET if step == "seek" else io.SEEK_END
            assert body.seek(number, whence) == model.seek(number, whence)
        assert body.tell() == model.tell()
    assert body.read() == model.read()


STREAMS = {compression: build(MEMBERS, compression) for compression in COMPRESSIONS}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_small_reads_of_a_member_fetch_its_chunks_once(compression: Compression) -> None:
    reader, fetches = reader_of(STREAMS[compression])
    with reader.open("large") as body:
        assert not fetches.ranges
        pieces = []
        while piece := body.read(1000):
            pieces.append(piece)
    assert b"".join(pieces) == LARGE
    member = reader.find("large")
    start, end = reader.index.stored_range(member.offset, member.offset + member.size)
    assert end - start <= fetches.total <= end - start + 2 * 4096
    assert len(fetches.ranges) < 10
    with pytest.raises(ValueError, match="closed"):
        body.read(1)
    with pytest.raises(ValueError, match="closed"):
        body.read()


def test_a_place_in_a_member_costs_one_chunk() -> None:
    reader, fetches = reader_of(STREAMS["zstd"])
    body = reader.open("large")
    body.seek(200_000)
    assert body.read(100) == LARGE[200_000:200_100]
    assert len(fetches.ranges) == 1
    at = reader.find("large").offset + 200_000
    assert fetches.ranges == [reader.index.stored_range(at, at + 100)]
    assert body.seekable()
    assert body.readable()
    assert [*body.iter_lines(limit=2)] == LARGE[200_100:].split(b"\n")[:2]


# --- damage ---------------------------------------------------------------------------------

DAMAGED = [("a", make("lines", 700)), ("b", b""), ("c", make("noise", 900)), ("d", b"end")]


def every_way(reader: MemberReader) -> list[Callable[[], Any]]:
    def streamed() -> dict[str, bytes]:
        found = {}
        for path, _ in DAMAGED:
            body = reader.open(path)
            found[path] = body.read(100) + body.read(5000)
        return found

    return [
        lambda: {path: reader.read(path) for path, _ in DAMAGED},
        lambda: dict(reader.read_many(path for path, _ in DAMAGED)),
        lambda: {member.path: body.read() for member, body in reader.iter_members()},
        streamed,
    ]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_flipped_bytes_of_archives_are_noticed_or_mean_nothing(compression: Compression) -> None:
    built = build(DAMAGED, compression, chunk_size=1024)
    start = 0
    # The zeros behind the last member of a plain archive belong to no member.
    for place in range(start, min(len(built.stored), 4096)):
        damaged = bytearray(built.stored)
        damaged[place] ^= 1 << place % 8
        reader = MemberReader(built.index, Fetches(bytes(damaged)), key="k")
        for way in every_way(reader):
            try:
                found = way()
            except (ShardReadError, IntegrityError) as error:
                assert error.key == "k"  # noqa: PT017 - or nothing has changed
            else:
                assert found == dict(DAMAGED)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_cut_archives_are_noticed(compression: Compression) -> None:
    built = build(DAMAGED, compression, chunk_size=1024)
    last = built.index.member("d")
    assert last is not None
    end = built.index.stored_range(last.offset, last.offset + last.size)[1]
    for size in range(0, end, 7):
        reader = MemberReader(built.index, Fetches(built.stored[:size]), key="k")
        for way in every_way(reader):
            with pytest.raises(ShardReadError) as caught:
                way()
            assert caught.value.key == "k"
            assert caught.value.offset is not None


@pytest.mark.parametrize("compression", ["gzip", "zstd", "s4"])
def test_a_damaged_chunk_is_named(compression: Compression) -> None:
    built = STREAMS[compression]
    member = built.index.member("large")
    assert member is not None
    rows = built.index.chunks_for(member.offset, member.offset + member.size)
    chunk = built.index.chunks[rows[3]]
    damaged = bytearray(built.stored)
    for place in range(40, 60):
        damaged[chunk.stored_offset + place] ^= 0xFF
    reader = MemberReader(built.index, Fetches(bytes(damaged)), key="shards/a.tar")
    with pytest.raises(ShardReadError, match="damaged chunk") as caught:
        reader.read("large")
    assert (caught.value.key, caught.value.member) == ("shards/a.tar", "large")
    assert caught.value.offset == chunk.stored_offset
    body = reader.open("large")
    assert body.read(4096) == LARGE[:4096]
    body.seek(chunk.original_offset - member.offset)
    with pytest.raises(ShardReadError, match="damaged chunk"):
        body.read(1)


def with_member(built: Built, **changes: Any) -> ArchiveIndex:
    members = [
        member._replace(**changes) if member.path == "large" else member
        for member in built.index.members.values()
    ]
    return ArchiveIndex(
        compression=built.compression,
        stored_size=built.index.stored_size,
        original_size=built.index.original_size,
        chunks=built.index.chunks,
        members=members,
    )


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [("crc32c", {"crc32c": 5, "blake3": None}), ("blake3", {"crc32c": None, "blake3": bytes(32)})],
)
def test_digests_that_differ_are_named(
    compression: Compression, algorithm: str, changes: dict[str, Any]
) -> None:
    built = STREAMS[compression]
    index = with_member(built, **changes)
    reader = MemberReader(index, Fetches(built.stored), key="k")

    def by_pieces() -> None:
        body = reader.open("large")
        while body.read(5000):
            pass

    ways: list[Callable[[], object]] = [
        lambda: reader.read("large"),
        lambda: reader.open("large").read(),
        lambda: dict(reader.read_many(["large"])),
        lambda: [*reader.iter_members()],
        by_pieces,
    ]
    expected = "00000005" if algorithm == "crc32c" else "00" * 32
    for way in ways:
        with pytest.raises(IntegrityError, match="'large'") as caught:
            way()
        error = caught.value
        assert (error.key, error.member, error.algorithm) == ("k", "large", algorithm)
        assert error.expected == expected
        assert error.actual != expected
        assert str(error.expected) in str(error)
        assert str(error.actual) in str(error)
    # A part of a member is checked by its chunks alone.
    body = reader.open("large")
    body.seek(50_000)
    assert body.read(10) == LARGE[50_000:50_010]


def test_a_wrong_table_is_noticed_where_the_format_checks_nothing() -> None:
    built = build([("a", make("noise", 20_000))])
    damaged = bytearray(built.stored)
    damaged[10_000] ^= 1
    reader = MemberReader(built.index, Fetches(bytes(damaged)), key="k")
    with pytest.raises(IntegrityError):
        reader.read("a")
    body = reader.open("a")
    body.seek(9000)
    with pytest.raises(ShardReadError, match="crc32c of a chunk"):
        body.read(10)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_an_index_of_another_archive_gives_no_wrong_bytes(compression: Compression) -> None:
    one = build([("a", make("lines", 9000)), ("b", make("events", 9000))], compression)
    other = build([("a", make("lines", 9000, "z")), ("b", make("events", 9000, "z"))], compression)
    reader = MemberReader(one.index, Fetches(other.stored + bytes(len(one.stored))), key="k")
    for path in ("a", "b"):
        with pytest.raises((ShardReadError, IntegrityError)):
            reader.read(path)


def test_members_that_are_not_there_are_named() -> None:
    reader, fetches = reader_of(STREAMS["gzip"], key="s/a.tar.gz")
    for call in (reader.read, reader.open, lambda path: [*reader.read_many(["large", path])]):
        with pytest.raises(ObjectNotFoundError) as caught:
            call("none")
        assert caught.value.key == "s/a.tar.gz#none"
    assert not fetches.ranges
    with pytest.raises(ObjectNotFoundError, match="not found: none"):
        reader_of(STREAMS["gzip"], key=None)[0].read("none")


def test_what_fetching_raises_comes_through() -> None:
    def fetch(_start: int, _end: int) -> bytes:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        MemberReader(STREAMS["gzip"].index, fetch).read("large")


def test_any_buffer_may_be_fetched() -> None:
    for compression, built in STREAMS.items():
        view = memoryview(bytearray(built.stored))

        def fetch(start: int, end: int, view: memoryview = view) -> memoryview:
            return view[start:end]

        data = MemberReader(built.index, fetch).read("large")
        assert (type(data), data) == (bytes, LARGE), compression


def test_bombs_are_stopped_at_what_the_index_says() -> None:
    """A chunk that decodes to far more than its row says is not decoded to its end."""
    bomb = io.BytesIO()
    with ArchiveWriter(bomb, compression="zstd", chunk_size=1 << 26) as writer:
        writer.add("a", bytes(1 << 26))
    stored = bomb.getvalue()
    small = build([("a", b"x" * 100)], "zstd", chunk_size=10240).index
    first = writer.close().chunks[0].stored_size
    index = ArchiveIndex(
        compression="zstd",
        stored_size=first,
        original_size=10240,
        chunks=type(small.chunks)([first], [10240], None),
        members=[Member("a", 512, 100)],
    )
    with pytest.raises(ShardReadError):
        MemberReader(index, Fetches(stored)).read("a")
