"""Packed files opened like plain ones, and codecs as file objects."""

from __future__ import annotations

import gzip
import io
import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shardpack
from inputs import MIB, make, pieces
from shardpack import (
    CpuGzip,
    CpuZstd,
    CpuZstdDict,
    Passthrough,
    S4IoError,
    StreamReader,
    StreamWriter,
)

if TYPE_CHECKING:
    from pathlib import Path

zstandard = pytest.importorskip("zstandard", reason="the independent reader of .zst files")

DATA = make("lines", 300_000) + make("noise", 100_000)
# Lines, then noise.
PART = DATA[297_000:303_000]
DICTIONARY = make("events", 4000)
CODECS = [CpuZstd(), CpuZstd(content_size=True), CpuGzip(), CpuZstdDict(DICTIONARY), Passthrough()]
SUFFIXES = [".s4", ".zst", ".gz"]


def written(path: Path, data: bytes = DATA, **options: Any) -> bytes:
    with shardpack.open(path, "wb", **options) as file:
        assert file.write(data) == len(data)
    return path.read_bytes()


# --- open ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, len(DATA)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_was_written_is_read(tmp_path: Path, suffix: str, size: int) -> None:
    path = tmp_path / f"data{suffix}"
    written(path, DATA[:size], chunk_size=50_000)
    with shardpack.open(path) as file:
        assert file.read() == DATA[:size]
        assert file.read() == b""


def test_other_programs_read_what_was_written(tmp_path: Path) -> None:
    assert gzip.decompress(written(tmp_path / "a.gz", chunk_size=50_000)) == DATA
    packed = written(tmp_path / "a.zst", chunk_size=50_000)
    with zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as reader:
        assert reader.read() == DATA
    assert shardpack.decode_frames(written(tmp_path / "a.s4", chunk_size=50_000)) == DATA


def test_what_other_programs_wrote_is_read(tmp_path: Path) -> None:
    packed = {
        "gzip.bin": gzip.compress(DATA[:1000]) + gzip.compress(DATA[1000:]),
        "zstd.bin": zstandard.compress(DATA[:1000]) + zstandard.compress(DATA[1000:]),
        "skippable.bin": b"\x5a\x2a\x4d\x18\x02\x00\x00\x00ab" + zstandard.compress(DATA),
    }
    for name, content in packed.items():
        (tmp_path / name).write_bytes(content)
        with shardpack.open(tmp_path / name) as file:
            assert file.read() == DATA, name


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_text_goes_through_with_its_encoding_and_line_ends(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"text{suffix}"
    with shardpack.open(path, "wt", encoding="utf-16", newline="\r\n") as file:
        file.write("grün\nblau\n")
    with shardpack.open(path, "rt", encoding="utf-16") as file:
        assert list(file) == ["grün\n", "blau\n"]
    with shardpack.open(path) as binary:
        assert binary.read().decode("utf-16") == "grün\r\nblau\r\n"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_threads_change_nothing(tmp_path: Path, suffix: str) -> None:
    bodies = {
        written(tmp_path / f"{threads}{suffix}", chunk_size=10_000, threads=threads)
        for threads in (1, 2, 5, None)
    }
    assert len(bodies) == 1


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, len(DATA) + 10), st.integers(0, 50_000)), min_size=1, max_size=6
    )
)
def test_seeking_equals_that_of_the_plain_bytes(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, steps: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("seek") / f"data{suffix}"
    written(path, chunk_size=30_000)
    with shardpack.open(path) as file:
        for position, count in steps:
            # A stream that has no frames to go by stops at its end.
            assert file.seek(position) in {position, len(DATA)}
            assert file.read(count) == DATA[position : position + count]
        assert file.seek(-5, os.SEEK_END) == len(DATA) - 5
        assert file.read() == DATA[-5:]


def test_plain_files_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "plain.txt"
    for content in (b"", b"S", DATA):
        path.write_bytes(content)
        with shardpack.open(path) as file:
            assert file.read() == content
        assert shardpack.open(io.BytesIO(content)).read() == content


def test_passthrough_gives_packed_bytes_as_they_lie(tmp_path: Path) -> None:
    packed = written(tmp_path / "data.s4")
    with shardpack.open(tmp_path / "data.s4", codec="passthrough") as file:
        assert file.read() == packed
    assert shardpack.open(io.BytesIO(packed), codec="passthrough").read() == packed


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_damaged_file_is_not_taken_for_a_plain_one(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    packed = written(path)
    path.write_bytes(b"\x00" + packed[1:])
    with shardpack.open(path) as file, pytest.raises(shardpack.ShardpackError):
        file.read()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("cut", [1, 5, 1000])
def test_a_cut_file_raises_instead_of_ending_early(tmp_path: Path, suffix: str, cut: int) -> None:
    path = tmp_path / f"data{suffix}"
    packed = written(path)
    path.write_bytes(packed[:-cut])
    with shardpack.open(path) as file, pytest.raises(shardpack.ShardpackError):
        file.read()
    with shardpack.open(path) as file:
        for _ in range(2):
            # Not b"" the second time either: that would look like the end.
            with pytest.raises(shardpack.ShardpackError):
                list(iter(partial(file.read, 100_000), b""))


@pytest.mark.parametrize("number", range(1, 7))
def test_an_encrypted_file_is_refused(tmp_path: Path, number: int) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"S4E%d" % number + bytes(100))
    with pytest.raises(shardpack.EncryptedObjectError, match="gateway"):
        shardpack.open(path)


def test_a_new_file_only_with_x(tmp_path: Path) -> None:
    path = tmp_path / "data.s4"
    with shardpack.open(path, "xb") as file:
        file.write(b"first")
    with pytest.raises(FileExistsError):
        shardpack.open(path, "xb")
    with shardpack.open(path) as file:
        assert file.read() == b"first"


def test_rewriting_a_body_removes_the_sidecar_of_the_old_one(tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.write_bytes(DATA)
    shardpack.compress_file(source, chunk_size=50_000)
    sidecar = tmp_path / "data.s4.s4index"
    assert sidecar.exists()
    written(tmp_path / "data.s4")
    assert not sidecar.exists()


def test_the_codec_chooses_the_container_where_the_name_does_not(tmp_path: Path) -> None:
    for codec, head in [
        ("cpu-gzip", b"\x1f\x8b"),
        (CpuZstd(), b"\x28\xb5\x2f\xfd"),
        ("passthrough", b"S4F2"),
        ("auto", b"S4F2"),
    ]:
        assert written(tmp_path / "data", codec=codec).startswith(head)
    assert written(tmp_path / "data.gz", container="s4").startswith(b"S4F2")


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("data", "wb", {}),
        ("data.txt", "wb", {}),
        ("data.s4", "ab", {}),
        ("data.s4", "r+b", {}),
        ("data.s4", "", {}),
        ("data.s4", "wb", {"encoding": "utf-8"}),
        ("data.s4", "wb", {"container": "zip"}),
        ("data.zst", "wb", {"codec": "cpu-gzip"}),
        ("data.gz", "wb", {"codec": CpuZstd()}),
        ("data.gz", "wb", {"dictionary": b"x"}),
        ("data.zst", "wb", {"codec": "passthrough"}),
    ],
)
def test_calls_that_make_no_sense_are_refused(
    tmp_path: Path, name: str, mode: str, options: dict[str, Any]
) -> None:
    open_any: Any = shardpack.open
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        open_any(tmp_path / name, mode, **options)


def test_a_dictionary_is_needed_on_both_sides(tmp_path: Path) -> None:
    for suffix in (".s4", ".zst"):
        path = tmp_path / f"data{suffix}"
        written(path, dictionary=DICTIONARY)
        with shardpack.open(path, dictionary=DICTIONARY) as file:
            assert file.read() == DATA
        with shardpack.open(path, codec=CpuZstdDict(DICTIONARY)) as file:
            assert file.read() == DATA


def test_file_objects_stay_open(tmp_path: Path) -> None:
    body = io.BytesIO()
    shardpack.open(body, "wb", codec="auto").close()
    assert not body.closed
    with (tmp_path / "data.s4").open("wb+") as file:
        with shardpack.open(file, "wb", container="s4") as packed:
            packed.write(DATA)
        file.seek(0)
        with shardpack.open(file) as packed:
            assert packed.read() == DATA
        assert not file.closed


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pipe_is_read_as_it_comes(tmp_path: Path, suffix: str) -> None:
    packed = written(tmp_path / f"data{suffix}", chunk_size=50_000)
    outlet, inlet = os.pipe()

    def feed() -> None:
        with os.fdopen(inlet, "wb") as file:
            file.write(packed)

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(outlet, "rb", buffering=0) as file, shardpack.open(file) as reader:
        assert not reader.seekable()
        assert reader.read() == DATA
    thread.join()


# --- codecs as file objects ---------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS, ids=repr)
@given(cuts=st.lists(st.integers(0, 4_000), min_size=1, max_size=4))
def test_a_codec_streams_both_ways(codec: Any, cuts: list[int]) -> None:
    packed = io.BytesIO()
    with StreamWriter(packed, codec) as writer:
        for piece in pieces(PART, cuts):
            assert writer.write(piece) == len(piece)
    assert codec.decompress_all(packed.getvalue()) == PART
    assert StreamReader(pieces(packed.getvalue(), cuts), codec).read() == PART
    reader = StreamReader(io.BytesIO(packed.getvalue()), codec)
    read = bytearray()
    while piece := reader.read(max(cuts) + 1):
        assert len(piece) <= max(cuts) + 1
        read += piece
    assert bytes(read) == PART


def test_a_bomb_comes_out_in_pieces_of_the_asked_size() -> None:
    packed = CpuZstd().compress(bytes(64 * MIB))[0]
    reader = StreamReader(io.BytesIO(packed), CpuZstd())
    assert reader.read(10) == bytes(10)
    assert len(reader.read(1000)) <= 1000
    assert reader.tell() <= 1010


def test_every_member_is_read_and_junk_after_the_last_refused() -> None:
    packed = gzip.compress(b"one") + gzip.compress(b"two")
    assert StreamReader(io.BytesIO(packed), CpuGzip()).read() == b"onetwo"
    with pytest.raises(S4IoError):
        StreamReader(io.BytesIO(packed + b"junk"), CpuGzip()).read()


def test_a_writer_that_failed_is_not_ended() -> None:
    class Full(io.RawIOBase):
        def write(self, data: Any, /) -> int:
            raise OSError(28, "No space left on device", data.nbytes)

    writer = StreamWriter(Full(), Passthrough())
    with pytest.raises(OSError, match="No space"):
        writer.write(b"abc")
    writer.close()
    assert writer.closed


def test_an_exception_in_the_block_leaves_the_stream_without_an_end() -> None:
    packed = io.BytesIO()

    def fail_after_writing() -> None:
        with StreamWriter(packed, CpuGzip()) as writer:
            writer.write(DATA)
            raise KeyError("user code")

    with pytest.raises(KeyError):
        fail_after_writing()
    with pytest.raises(S4IoError):
        CpuGzip().decompress_all(packed.getvalue())


def test_a_raw_file_that_takes_a_few_bytes_at_a_time_gets_all() -> None:
    class Slow(io.RawIOBase):
        def __init__(self) -> None:
            self.taken = bytearray()

        def write(self, data: Any, /) -> int:
            piece = bytes(data)[:7]
            self.taken += piece
            return len(piece)

    slow = Slow()
    with shardpack.open(slow, "wb", container="gz") as file:
        file.write(DATA[:5000])
    assert gzip.decompress(slow.taken) == DATA[:5000]
