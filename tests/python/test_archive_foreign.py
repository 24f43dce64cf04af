"""Archives of other writers: one pass makes them seekable, and every member reads as tarfile's."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreign_archives import SMALL, compress, folder_of, gnu_tar, large, python_tar, read_by_tarfile
from inputs import KIB, MIB, make, pieces
from shardpack import CpuZstd
from shardpack.archive import ArchiveIndex, ArchiveWriter, MemberReader
from shardpack.archive.foreign import build_index
from shardpack.archive.reader import iter_archive
from shardpack.checksum import crc32c
from shardpack.errors import IntegrityError, ShardReadError
from shardpack.hash import blake3

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPAN = 256 * KIB
# Ways of compressing that leave places to enter at, and the longest chunk that they make of a tar.
SEEKABLE = {
    "plain": 0,
    "gzip -1": 2 * SPAN,
    "gzip -9": 2 * SPAN,
    "tarfile w:gz": 2 * SPAN,
    "gzip stored": 2 * SPAN,
    "gzip members": 200_000,
    "pgzip": 300_000,
    "zstd frames": 300_000,
    "s4": 300_000,
    "s4 plain": 300_000,
}
FROM_THE_FRONT = ("tarfile w:bz2", "bzip2 streams", "tarfile w:xz", "xz streams")


class Store:
    """Stored bytes, and a count of those that were fetched."""

    def __init__(self, stored: bytes) -> None:
        self.stored = stored
        self.fetched: list[tuple[int, int]] = []

    def __call__(self, start: int, end: int) -> bytes:
        assert 0 <= start < end <= len(self.stored)
        self.fetched.append((start, end))
        return self.stored[start:end]


def indexed(stored: bytes, span: int = SPAN) -> ArchiveIndex:
    """The index of an archive, after a trip through its bytes."""
    index = build_index(io.BytesIO(stored), None, key="key", span=span)
    assert index.stored_size == len(stored)
    assert index.blake3 == blake3(stored)
    again = ArchiveIndex.from_bytes(index.to_bytes())
    assert again == index
    assert list(again.members.items()) == list(index.members.items())
    return again


@pytest.mark.parametrize("way", SEEKABLE)
def test_every_member_reads_by_range_as_tarfile_reads_it(way: str) -> None:
    members = SMALL | large()
    tar = python_tar(members)
    store = Store(compress(tar, way))
    index = indexed(store.stored)
    assert index.seekable
    assert index.original_size == len(tar)
    reader = MemberReader(index, store)
    for path, data in read_by_tarfile(tar).items():
        store.fetched.clear()
        assert reader.read(path) == data == members[path]
        member = index.members[path]
        assert (member.crc32c, member.blake3) == (crc32c(data), blake3(data))
        # One request, of the member and at most a chunk on either side.
        assert len(store.fetched) == (1 if data else 0)
        for start, end in store.fetched:
            assert end - start <= len(data) + 2 * SEEKABLE[way] + 64 * KIB
    assert dict(reader.read_many(members)) == members
    assert {member.path: body.read() for member, body in reader.iter_members()} == members


@pytest.mark.parametrize("way", SEEKABLE)
def test_an_open_member_seeks(way: str) -> None:
    data = make("lines", 3 * MIB)
    store = Store(compress(python_tar({"before": b"1" * 999, "lines": data}), way))
    with MemberReader(indexed(store.stored), store).open("lines") as body:
        for offset in (2 * MIB + 77, 0, MIB - 5, 3 * MIB - 10, 5):
            body.seek(offset)
            assert body.read(5_000) == data[offset : offset + 5_000]
        body.seek(0)
        assert b"".join(body.iter_chunks(123_456)) == data


@pytest.mark.parametrize("form", ["gnu", "posix"])
@pytest.mark.parametrize("level", ["gzip -1", "gzip -9"])
def test_the_tar_command_with_gzip_is_read_by_range(level: str, form: str, tmp_path: Path) -> None:
    members = SMALL | large(60)
    tar = gnu_tar(folder_of(members, tmp_path), f"--format={form}")
    store = Store(compress(tar, level))
    reader = MemberReader(indexed(store.stored), store)
    assert {path: reader.read(path) for path in members} == members == read_by_tarfile(tar)


@pytest.mark.parametrize("way", FROM_THE_FRONT)
def test_what_cannot_be_entered_is_indexed_and_read_from_the_front(way: str) -> None:
    stored = compress(python_tar(SMALL), way)
    index = indexed(stored)
    assert not index.seekable
    assert {path: member.size for path, member in index.members.items()} == {
        path: len(data) for path, data in SMALL.items()
    }
    with pytest.raises(ShardReadError, match="can only be read from its front"):
        MemberReader(index, Store(stored), key="key")


def test_a_single_zstd_frame_is_one_chunk_unless_it_is_long() -> None:
    tar = python_tar(large(30))
    store = Store(compress(tar, "zstd"))
    index = indexed(store.stored)
    assert len(index.chunks) == 1
    assert (
        MemberReader(index, store).read("part-0/item-00003.bin")
        == large(30)["part-0/item-00003.bin"]
    )
    long = python_tar({"zeros": bytes(65 * MIB)})
    assert not indexed(CpuZstd().compress(long)[0]).seekable
    # What can be entered stays so, however little is stored.
    assert indexed(compress(long, "zstd frames")).seekable


def test_skippable_frames_and_frames_without_sizes_are_stepped_over() -> None:
    members = large(60)
    tar = python_tar(members)
    stored = b""
    for number, at in enumerate(range(0, len(tar), 100_000)):
        stored += (0x184D2A50 + number % 16).to_bytes(4, "little") + b"\x05\0\0\0extra"
        packer = CpuZstd(checksum=number % 2 == 0).compressor()
        stored += packer.compress(tar[at : at + 60_000]) + packer.compress(
            tar[at + 60_000 : at + 100_000]
        )
        stored += packer.flush()
    stored += b"\x5f\x2a\x4d\x18\0\0\0\0"
    store = Store(stored)
    index = indexed(stored)
    assert len(index.chunks) > 10
    assert {body.path: data for body, data in _read_all(index, store)} == members


def _read_all(index: ArchiveIndex, store: Store) -> list[tuple[tarfile.TarInfo, bytes]]:
    reader = MemberReader(index, store)
    found = []
    for path in index.members:
        info = tarfile.TarInfo(path)
        found.append((info, reader.read(path)))
    return found


@pytest.mark.parametrize("compression", [None, "gzip", "zstd", "s4"])
def test_an_archive_of_our_own_gets_its_index_back(compression: str | None) -> None:
    sink = io.BytesIO()
    with ArchiveWriter(sink, compression=compression, chunk_size=64 * KIB) as writer:  # type: ignore[arg-type]
        writer.add("__manifest__.jsonl", b"{}\n")
        for path, data in large(60).items():
            writer.add(path, data)
    written = writer.close()
    index = indexed(sink.getvalue(), span=16 * 64 * KIB)
    assert index.internal_manifest_path == "__manifest__.jsonl"
    assert list(index.members.values()) == list(written.members.values())
    assert index.original_size == written.original_size
    store = Store(sink.getvalue())
    reader = MemberReader(index, store)
    assert all(reader.read(path) == data for path, data in large(60).items())


@given(
    kinds=st.lists(st.sampled_from(["noise", "lines", "zeros", "events"]), min_size=1, max_size=6),
    size=st.integers(0, 300_000),
    way=st.sampled_from(sorted(SEEKABLE)),
    span=st.sampled_from([32 * KIB, 100_000, MIB]),
    piece=st.sampled_from([1_000, 70_000, 1 << 20]),
)
def test_any_members_in_any_pieces_give_an_index_that_reads_them(
    kinds: list[str], size: int, way: str, span: int, piece: int
) -> None:
    members = {f"{number}": make(kind, size, kind) for number, kind in enumerate(kinds)}
    store = Store(compress(python_tar(members), way))
    index = build_index(pieces(store.stored, [piece]), None, span=span)
    assert index == indexed(store.stored, span)
    reader = MemberReader(index, store)
    assert {path: reader.read(path) for path in members} == members


def test_checkpoints_thin_out_in_very_long_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardpack.archive.entry_points._MOST_WINDOW_BYTES", 300_000)
    members = large(200)
    store = Store(compress(python_tar(members), "gzip -9"))
    index = indexed(store.stored, span=32 * KIB)
    assert index.chunks.windows is not None
    assert 100_000 < sum(map(len, index.chunks.windows)) <= 300_000 + 32 * KIB
    sizes = [chunk.original_size for chunk in index.chunks]
    assert max(sizes) < 16 * min(sizes[:-1])
    reader = MemberReader(index, store)
    assert dict(reader.read_many(members)) == members


def test_the_windows_of_incompressible_archives_cost_next_to_nothing() -> None:
    members = {str(number): make("noise", 100_000, str(number)) for number in range(40)}
    stored = compress(python_tar(members), "gzip -9")
    index = build_index(io.BytesIO(stored), None, span=SPAN)
    assert index.chunks.windows is not None
    windows = len(index.chunks.windows)
    assert windows >= 8
    assert len(index.to_bytes()) < 400 * windows + 100 * len(members)


def test_links_are_left_out_and_the_last_of_equal_paths_counts(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"first")
    (tmp_path / "link").symlink_to("file")
    tar = gnu_tar(tmp_path)
    assert list(indexed(tar).members) == ["file"]
    stored = io.BytesIO()
    with tarfile.open(fileobj=stored, mode="w") as archive:
        for data in (b"first", b"second one"):
            info = tarfile.TarInfo("file")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    store = Store(stored.getvalue())
    assert MemberReader(indexed(store.stored), store).read("file") == b"second one"


def test_progress_is_told_and_the_stream_stays_open() -> None:
    stored = compress(python_tar(large(40)), "gzip -1")
    seen: list[int] = []
    stream = io.BytesIO(stored)
    build_index(stream, None, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == len(stored)
    assert not stream.closed
    with pytest.raises(ValueError, match="below 32768"):
        build_index(stream, None, span=1_000)


@pytest.mark.parametrize("way", [*SEEKABLE, *FROM_THE_FRONT])
def test_damaged_and_cut_archives_get_no_index(way: str) -> None:
    stored = compress(python_tar({"a": make("noise", 5_000), "b": make("lines", 9_000)}), way)
    tail = 9_000 if way in ("plain", "s4 plain") else 0
    for size in (0, 1, len(stored) // 2, len(stored) - tail - 1):
        with pytest.raises(ShardReadError) as caught:
            build_index(io.BytesIO(stored[:size]), None, key="key")
        assert caught.value.key == "key"


@pytest.mark.parametrize("way", ["gzip -9", "pgzip", "zstd frames", "s4"])
def test_bytes_that_change_after_the_index_was_made_are_never_given(way: str) -> None:
    members = large(60)
    stored = bytearray(compress(python_tar(members), way))
    index = indexed(bytes(stored))
    for place in range(500, len(stored), len(stored) // 9):
        stored[place] ^= 0x10
    store = Store(bytes(stored))
    reader = MemberReader(index, store, key="key")
    failed = 0
    for path, data in members.items():
        try:
            assert reader.read(path) == data
        except (ShardReadError, IntegrityError) as error:
            failed += 1
            assert error.key == "key"  # noqa: PT017 - most members are sound
    assert failed


READERS: dict[str, Callable[[bytes], int]] = {
    "reader": lambda stored: sum(1 for _ in iter_archive(io.BytesIO(stored), None)),
    "index": lambda stored: len(build_index(io.BytesIO(stored), None)),
}


@pytest.mark.parametrize("reader", READERS)
def test_an_archive_without_members_is_read(reader: str) -> None:
    for way in ("plain", "gzip -1", "zstd", "s4", "tarfile w:xz"):
        assert READERS[reader](compress(python_tar({}), way)) == 0
