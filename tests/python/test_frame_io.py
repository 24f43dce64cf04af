"""Frames through file objects and iterables: any size, any slicing, any position."""

from __future__ import annotations

import io
import os
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shardpack
from frames import BODY, BOUND, CHUNK, DATA, UNBOUND, WRITER, FullDisk, RecordingFile, body_of, pack
from inputs import make, pieces
from shardpack import (
    FRAME_HEADER_BYTES,
    CpuGzip,
    CpuZstd,
    CpuZstdDict,
    FrameReader,
    FrameWriter,
    Passthrough,
    S4IndexError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# --- writing ------------------------------------------------------------------------------


@given(
    size=st.integers(0, 30_000),
    chunk_size=st.integers(1, 9_000),
    cuts=st.lists(st.integers(1, 12_000), min_size=1, max_size=6),
    threads=st.sampled_from([None, 1, 2, 7]),
)
def test_bytes_do_not_depend_on_calls_or_threads(
    size: int, chunk_size: int, cuts: list[int], threads: int | None
) -> None:
    data = make("lines", 30_000)[:size]
    expected, sizes, crc = shardpack.encode_frames(CpuZstd(), data, chunk_size)
    body = io.BytesIO()
    with FrameWriter(body, "cpu-zstd", chunk_size=chunk_size, threads=threads) as writer:
        for piece in pieces(data, cuts):
            assert writer.write(piece) == len(piece)
    assert body.getvalue() == expected
    assert writer.frames == sizes
    assert (writer.original_size, writer.stored_size, writer.crc32c) == (size, len(expected), crc)
    assert writer.frame_count == -(-size // chunk_size)


@pytest.mark.parametrize(
    "codec", [CpuZstd(5), CpuZstdDict(DATA[:4000]), Passthrough()], ids=lambda c: c.name
)
def test_sidecar_and_metadata_are_those_of_the_whole_object(codec: Any) -> None:
    writer = pack(codec=codec)
    assert writer.sidecar == shardpack.build_index(body_of(writer))
    assert body_of(writer) == shardpack.encode_frames(codec, DATA, CHUNK)[0]
    due = shardpack.encode_object(DATA, codec, chunk_size=CHUNK)["metadata"]
    if codec.name == "passthrough":
        # Written as frames here, so that ranges and checksums work as for the others.
        due = {**due, "s4-compressed-size": str(len(body_of(writer))), "s4-framed": "true"}
    assert writer.metadata == due
    assert list(writer.metadata) == list(due)
    assert (
        shardpack.decode_object(body_of(writer), writer.metadata, dicts=dictionaries(codec)) == DATA
    )


def dictionaries(codec: Any) -> dict[str, bytes] | None:
    return {codec.dict_id: codec.dict_bytes} if isinstance(codec, CpuZstdDict) else None


@pytest.mark.parametrize("size", [0, 1, CHUNK])
def test_there_is_no_sidecar_for_less_than_two_frames(size: int) -> None:
    writer = pack(DATA[:size])
    assert writer.sidecar is None
    assert writer.frame_count == (size > 0)


def test_nothing_written_is_an_empty_body_with_metadata() -> None:
    writer = pack(b"", "auto")
    assert body_of(writer) == b""
    assert writer.metadata == shardpack.encode_object(b"")["metadata"]


@pytest.mark.parametrize("chunk_size", [100, 4096, 70_000])
@pytest.mark.parametrize(("generator", "codec"), [("lines", "cpu-zstd"), ("noise", "passthrough")])
def test_auto_judges_the_first_4096_bytes_whatever_the_chunk_size(
    generator: str, codec: str, chunk_size: int
) -> None:
    other = "noise" if generator == "lines" else "lines"
    data = make(generator, 4096) + make(other, 50_000)
    body = io.BytesIO()
    with FrameWriter(body, chunk_size=chunk_size, threads=1) as writer:
        for piece in pieces(data, [999]):
            writer.write(piece)
    assert writer.codec == codec
    assert {header["codec"] for header, _ in shardpack.frame_iter(body.getvalue())} == {codec}


def test_auto_takes_a_level_along() -> None:
    body = io.BytesIO()
    with FrameWriter(body, "auto", level=19, chunk_size=CHUNK) as writer:
        writer.write(make("lines", 50_000))
    assert body.getvalue() == shardpack.encode_frames(CpuZstd(19), make("lines", 50_000), CHUNK)[0]


SOURCES: dict[str, Callable[[bytes], Any]] = {
    "file": io.BytesIO,
    "buffered": lambda data: io.BufferedReader(io.BytesIO(data), 100),
    "iterable": lambda data: pieces(data, [1, 50_000, 0]),
    "list": lambda data: [bytearray(data[:5]), memoryview(data)[5:]],
}


@pytest.mark.parametrize("kind", SOURCES)
def test_copy_from_takes_files_and_iterables(kind: str) -> None:
    body = io.BytesIO()
    with FrameWriter(body, "cpu-zstd", chunk_size=CHUNK) as writer:
        assert writer.copy_from(SOURCES[kind](DATA)) == len(DATA)
    assert body.getvalue() == BODY


@pytest.mark.parametrize("wrong", ["text", 5, None, memoryview(b"abcdef")[::2]])
def test_what_is_no_contiguous_buffer_is_refused_and_nothing_is_written(wrong: Any) -> None:
    body = io.BytesIO()
    with FrameWriter(body, "cpu-zstd") as writer, pytest.raises(TypeError):
        writer.write(wrong)
    assert body.getvalue() == b""


@pytest.mark.parametrize(
    "options",
    [
        {"chunk_size": 0},
        {"chunk_size": -1},
        {"threads": 0},
        {"codec": "zstd"},
        {"codec": "cpu-zstd-dict"},
        {"codec": CpuZstd(), "level": 5},
        {"codec": "passthrough", "level": 5},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^[a-z].*[^.]$|^CpuZstd"):
        FrameWriter(io.BytesIO(), **options)


def test_sidecar_and_metadata_have_to_wait_for_the_end() -> None:
    writer = FrameWriter(io.BytesIO(), "cpu-zstd")
    for name in ("sidecar", "metadata"):
        with pytest.raises(ValueError, match="closed"):
            getattr(writer, name)
    writer.close()
    writer.close()
    assert writer.metadata["s4-original-size"] == "0"
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"x")


def test_the_file_stays_open_unless_it_belongs_to_the_writer() -> None:
    first, second = io.BytesIO(), io.BytesIO()
    FrameWriter(first).close()
    FrameWriter(second, close_fileobj=True).close()
    assert (first.closed, second.closed) == (False, True)


def test_a_failed_write_is_not_completed_by_close() -> None:
    disk = FullDisk(5_000)
    writer = FrameWriter(disk, Passthrough(), chunk_size=1_000, threads=1)
    with pytest.raises(OSError, match="No space"):
        writer.copy_from(pieces(DATA, [1_500]))
    with pytest.raises(ValueError, match="incomplete"):
        writer.write(b"more")
    disk.space = 1 << 20
    writer.close()
    assert len(disk.taken) == 5_000
    with pytest.raises(ValueError, match="abandoned"):
        _ = writer.sidecar


def test_an_exception_in_the_block_leaves_the_rest_unwritten() -> None:
    body = io.BytesIO()

    def fail_after_writing() -> None:
        with FrameWriter(body, "cpu-zstd") as writer:
            writer.write(DATA)
            raise KeyError("user code")

    with pytest.raises(KeyError):
        fail_after_writing()
    assert body.getvalue() == b""


# --- reading ------------------------------------------------------------------------------


@given(cuts=st.lists(st.integers(0, 20_000), min_size=1, max_size=5))
def test_an_iterable_in_any_pieces_gives_the_data(cuts: list[int]) -> None:
    reader = FrameReader(pieces(BODY, cuts))
    assert not reader.seekable()
    assert b"".join(reader) == DATA


def test_a_path_a_file_and_bytes_give_the_data(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(BODY)
    for source in (path, str(path), io.BytesIO(BODY), BODY, bytearray(BODY)):
        with FrameReader(source) as reader:
            assert reader.read() == DATA
            assert reader.read() == b""
    with path.open("rb") as file:
        FrameReader(file).close()
        assert not file.closed


@pytest.mark.parametrize("wrong", [5, None, 1.5])
def test_what_is_no_source_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError, match="path"):
        FrameReader(wrong)


def test_a_text_file_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        FrameReader(io.StringIO("S4F2")).read()


@given(
    sidecar=st.sampled_from([None, BOUND, UNBOUND]),
    steps=st.lists(
        st.tuples(
            st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END]),
            st.integers(-len(DATA) - 10, len(DATA) + 10),
            st.integers(-1, 20_000),
        ),
        max_size=12,
    ),
)
def test_seeking_and_reading_equal_those_of_the_plain_bytes(
    sidecar: bytes | None, steps: list[tuple[int, int, int]]
) -> None:
    reader, plain = FrameReader(io.BytesIO(BODY), sidecar=sidecar), io.BytesIO(DATA)
    buffered = io.BufferedReader(FrameReader(io.BytesIO(BODY), sidecar=sidecar), 1_000)
    for whence, offset, count in steps:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: plain.tell(), os.SEEK_END: len(DATA)}[whence]
        if start + offset < 0:
            with pytest.raises(ValueError, match="negative"):
                reader.seek(offset, whence)
            continue
        assert reader.seek(offset, whence) == buffered.seek(offset, whence) == start + offset
        plain.seek(start + offset)
        due = plain.read(count)
        assert reader.read(count) == buffered.read(count) == due
        assert reader.tell() == buffered.tell() == plain.tell()


def test_a_buffered_reader_gives_lines() -> None:
    assert list(io.BufferedReader(FrameReader(io.BytesIO(BODY)))) == list(io.BytesIO(DATA))


@given(
    sidecar=st.sampled_from([None, BOUND]),
    start=st.none() | st.integers(-len(DATA) - 5, len(DATA) + 5),
    end=st.none() | st.integers(-len(DATA) - 5, len(DATA) + 5),
)
def test_ranges_equal_slices(sidecar: bytes | None, start: int | None, end: int | None) -> None:
    reader = FrameReader(io.BytesIO(BODY), sidecar=sidecar)
    assert reader.read_range(start, end) == DATA[start:end]
    assert b"".join(reader.iter_range(start, end)) == DATA[start:end]


def covering(start: int, end: int) -> tuple[int, int]:
    """Stored bytes of the frames that hold a range."""
    plan = shardpack.plan_range(BOUND, start, end)
    assert plan is not None
    return plan["byte_start"], plan["byte_end"]


@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (CHUNK - 1, CHUNK + 1), (50_000, 51_024), (99_999, 100_000)]
)
def test_a_range_reads_the_covering_frames_and_nothing_else(start: int, end: int) -> None:
    with_sidecar, without = RecordingFile(BODY), RecordingFile(BODY)
    first, last = covering(start, end)

    assert FrameReader(with_sidecar, sidecar=BOUND).read_range(start, end) == DATA[start:end]
    assert with_sidecar.count == last - first
    assert min(span[0] for span in with_sidecar.spans) == first
    assert max(span[1] for span in with_sidecar.spans) == last

    assert FrameReader(without).read_range(start, end) == DATA[start:end]
    assert without.count == last - first + FRAME_HEADER_BYTES * WRITER.frame_count


def test_seek_and_read_pay_for_one_frame() -> None:
    file = RecordingFile(BODY)
    reader = FrameReader(file, sidecar=BOUND)
    reader.seek(50_000)
    assert reader.read(10) == DATA[50_000:50_010]
    first, last = covering(50_000, 50_010)
    assert file.count == last - first


def test_sequential_reads_read_every_byte_once() -> None:
    file = RecordingFile(BODY)
    assert b"".join(FrameReader(file)) == DATA
    assert sorted(file.spans) == file.spans
    assert file.count == len(BODY)


def test_a_source_need_not_start_at_its_beginning() -> None:
    file = io.BytesIO(b"prefix" + BODY)
    file.seek(6)
    reader = FrameReader(file, sidecar=BOUND)
    assert reader.read_range(-10, None) == DATA[-10:]


STALE = shardpack.bind_index(UNBOUND, len(BODY) + 1)


@pytest.mark.parametrize("sidecar", [UNBOUND, STALE], ids=["unbound", "stale"])
def test_a_sidecar_that_is_not_trusted_is_not_used(sidecar: bytes) -> None:
    file = RecordingFile(BODY)
    assert FrameReader(file, sidecar=sidecar).read_range(50_000, 50_010) == DATA[50_000:50_010]
    first, last = covering(50_000, 50_010)
    assert file.count == last - first + FRAME_HEADER_BYTES * WRITER.frame_count


def test_a_damaged_sidecar_is_refused() -> None:
    with pytest.raises(S4IndexError):
        FrameReader(io.BytesIO(BODY), sidecar=BOUND[:-1])


@pytest.mark.parametrize("field", ["original_size", "compressed_offset", "compressed_size"])
def test_a_trusted_sidecar_that_is_wrong_never_gives_wrong_bytes(field: str) -> None:
    index = shardpack.decode_index(BOUND)
    entry = index["entries"][7]
    if field == "original_size":
        index["entries"][6]["original_size"] += 1
        entry["original_offset"] += 1
        entry["original_size"] -= 1
    elif field == "compressed_offset":
        entry["compressed_offset"] += 1
        entry["compressed_size"] -= 1
    else:
        entry["compressed_size"] -= 1
    wrong = shardpack.bind_index(shardpack.encode_index(index), len(BODY))
    reader = FrameReader(io.BytesIO(BODY), sidecar=wrong)
    with pytest.raises(shardpack.S4Error):
        reader.read_range(7 * CHUNK + 5, 7 * CHUNK + 10)


def test_padding_and_mixed_codecs_are_read() -> None:
    parts = [(CpuZstd(), DATA[:100]), (CpuGzip(), DATA[100:5000]), (Passthrough(), DATA[5000:])]
    framed = [shardpack.write_frame(codec, data) for codec, data in parts]
    pad = b"S4P1" + struct.pack("<Q", 300) + bytes(300)
    body = pad + framed[0] + pad + pad + framed[1] + framed[2] + pad
    sidecar = shardpack.bind_index(shardpack.build_index(body), len(body))
    assert b"".join(FrameReader(pieces(body, [11]))) == DATA
    for reader in (FrameReader(body), FrameReader(body, sidecar=sidecar)):
        assert reader.read_range(90, 6000) == DATA[90:6000]
        assert reader.frame_count == 3
        assert reader.read_range(None, None) == DATA


def test_frames_without_bytes_end_nothing() -> None:
    empty = shardpack.write_frame(CpuZstd(), b"")
    body = empty * 3 + BODY + empty + BODY + empty
    assert b"".join(FrameReader(pieces(body, [100]))) == DATA * 2
    assert FrameReader(body).read() == DATA * 2
    assert FrameReader(body).read_range(len(DATA) - 3, len(DATA) + 3) == DATA[-3:] + DATA[:3]
    assert FrameReader(empty * 5).read() == b""
