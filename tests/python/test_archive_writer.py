"""Shard archives as they are written: readable everywhere, the same bytes every time."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives import COMPRESSIONS, GOLDEN, Compression, build, member_lists, tar_members
from inputs import MIB, VECTORS, make, run_python
from shardpack import CpuGzip, crc32c, hash, verify_object
from shardpack.archive import ArchiveIndex, ArchiveWriter, Member, suffix_of
from shardpack.errors import IntegrityError, S4IoError, UnsafePathError
from shardpack.frame import bind_index, decode_index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ARCHIVE_VECTORS = VECTORS / "archive"
TEXT = make("lines", 50_000)


@given(
    member_lists,
    st.sampled_from(COMPRESSIONS),
    st.sampled_from([512, 1000, 4096, 65536]),
    st.sampled_from([1, 2, 4]),
)
def test_what_goes_in_comes_out(
    members: list[tuple[str, bytes]], compression: Compression, chunk_size: int, threads: int
) -> None:
    built = build(members, compression, chunk_size=chunk_size, threads=threads)
    assert tar_members(built.tar) == dict(members)
    index = built.index
    assert list(index.members) == [path for path, _ in members]
    for path, data in members:
        member = index.member(path)
        assert member is not None
        assert built.tar[member.offset : member.offset + member.size] == data
        assert (member.crc32c, member.blake3) == (crc32c(data), hash.blake3(data))
    assert (index.stored_size, index.original_size) == (len(built.stored), len(built.tar))
    assert (built.writer.digest, index.blake3) == (hash.blake3(built.stored),) * 2
    assert built.writer.crc32c == crc32c(built.stored)
    assert built.writer.original_crc32c == crc32c(built.tar)


@given(member_lists, st.sampled_from([512, 4096]))
def test_chunks_cover_everything_and_are_cut_by_lengths_alone(
    members: list[tuple[str, bytes]], chunk_size: int
) -> None:
    chunks = build(members, "zstd", chunk_size=chunk_size).index.chunks
    other = [(path, b"x" * len(data)) for path, data in members]
    assert (
        build(other, "gzip", chunk_size=chunk_size).index.chunks.original_starts
        == chunks.original_starts
    )
    assert all(1 <= chunk.original_size <= chunk_size for chunk in chunks)
    assert all(chunk.original_size * 2 >= chunk_size for chunk in chunks[:-1])


def test_members_that_fit_a_chunk_are_cut_only_where_a_chunk_would_stay_small() -> None:
    members = [(f"{i:03}", bytes(700 * (i % 5))) for i in range(200)]
    index = build(members, "zstd", chunk_size=16384).index
    crossing = [m for m in index.members.values() if len(index.chunks_for(m[1], m[1] + m[2])) > 1]
    assert not crossing


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_bytes_do_not_depend_on_threads_or_on_how_sources_come(compression: Compression) -> None:
    members = [*GOLDEN, ("large", make("events", 300_000))]
    first = build(members, compression, threads=1)
    for threads in (None, 2, 4):
        again = build(members, compression, threads=threads)
        assert again.stored == first.stored
        assert again.index.to_bytes() == first.index.to_bytes()
    sink = io.BytesIO()
    writer = ArchiveWriter(
        sink,
        compression=compression,
        chunk_size=4096,
        internal_manifest_path="__manifest__.jsonl",
    )
    for number, (path, data) in enumerate(members):
        sources: list[Any] = [
            io.BytesIO(data),
            (data[at : at + 777] for at in range(0, len(data), 777)),
            bytearray(data),
            memoryview(data),
        ]
        writer.add(path, sources[number % 4], size=len(data) if number % 3 else None)
    assert writer.close() == first.index
    assert sink.getvalue() == first.stored


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_archives_are_those_of_the_vectors(compression: Compression) -> None:
    built = build(GOLDEN, compression)
    path = ARCHIVE_VECTORS / f"golden{suffix_of(compression)}"
    recorded = json.loads((ARCHIVE_VECTORS / "golden.json").read_text())[path.name]
    assert hashlib.sha256(built.stored).hexdigest() == recorded["archive_sha256"]
    assert hashlib.sha256(built.index.to_bytes()).hexdigest() == recorded["index_sha256"]
    assert path.read_bytes() == built.stored
    stored_index = path.with_name(path.name + ".shardindex").read_bytes()
    assert ArchiveIndex.from_bytes(stored_index) == built.index


# --- other readers --------------------------------------------------------------------------


def listing(archive: Path, *options: str) -> list[str]:
    done = subprocess.run(
        ["tar", *options, "-tf", str(archive)],
        capture_output=True,
        check=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert not done.stderr
    return [line.encode().decode("unicode_escape") for line in done.stdout.decode().splitlines()]


@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")
@pytest.mark.parametrize(
    ("compression", "option"), [(None, ""), ("gzip", "-z"), ("zstd", "--zstd")]
)
def test_tar_reads_archives(tmp_path: Path, compression: Compression, option: str) -> None:
    if compression == "zstd" and shutil.which("zstd") is None:
        pytest.skip("zstd is not installed")
    members = [(path, data) for path, data in GOLDEN if path.isascii()]
    path = tmp_path / "a.tar"
    path.write_bytes(build(members, compression).stored)
    options = [option] if option else []
    assert listing(path, *options) == [name for name, _ in members]
    subprocess.run(["tar", *options, "-xf", path, "-C", tmp_path], check=True)
    assert [(tmp_path / name).read_bytes() for name, _ in members] == [data for _, data in members]


@pytest.mark.parametrize(("program", "compression"), [("gunzip", "gzip"), ("zstd", "zstd")])
def test_the_usual_programs_decompress_archives(program: str, compression: Compression) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    built = build(GOLDEN, compression)
    done = subprocess.run([program, "-dc"], input=built.stored, capture_output=True, check=True)
    assert done.stdout == build(GOLDEN).stored


def test_tarfile_reads_gzip_archives_as_they_are() -> None:
    stored = build(GOLDEN, "gzip").stored
    with tarfile.open(fileobj=io.BytesIO(stored)) as archive:
        assert [info.name for info in archive] == [path for path, _ in GOLDEN]


def test_gzip_members_state_their_length_so_that_all_readers_may_go_parallel() -> None:
    built = build(GOLDEN, "gzip")
    for chunk in built.index.chunks:
        head = built.stored[chunk.stored_offset : chunk.stored_offset + 20]
        assert head[12:16] == b"IG\x04\x00"
        assert int.from_bytes(head[16:20], "little") == chunk.stored_size
    assert CpuGzip().decompress_all(built.stored) == built.tar


def test_s4_archives_come_with_what_a_gateway_needs() -> None:
    built = build(GOLDEN, "s4")
    assert built.writer.s4_metadata == {
        "s4-codec": "cpu-zstd",
        "s4-original-size": str(len(built.tar)),
        "s4-compressed-size": str(len(built.stored)),
        "s4-crc32c": str(crc32c(built.tar)),
        "s4-framed": "true",
    }
    sidecar = built.writer.s4_sidecar
    assert sidecar is not None
    bound = bind_index(sidecar, len(built.stored), "tag")
    report = verify_object(built.stored, built.writer.s4_metadata, bound, etag="tag")
    assert (report["frames"], report["checked"]) == (len(built.index.chunks), True)
    assert report["sidecar"] == "trusted"
    entries = decode_index(sidecar)["entries"]
    starts = built.index.chunks.stored_starts[:-1].tolist()
    assert [entry["compressed_offset"] for entry in entries] == starts
    # Chunks of noise are frames that hold them as they are.
    assert built.stored.count(b"S4F2\0\0\0\0") > 0


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_an_archive_of_nothing_is_an_archive(compression: Compression) -> None:
    built = build([], compression, chunk_size=1 << 20)
    assert built.tar == bytes(10240)
    assert not built.index.members
    assert len(built.index.chunks) == 1
    assert built.writer.s4_sidecar is None


# --- sources --------------------------------------------------------------------------------


def writer(sink: io.BytesIO | None = None) -> ArchiveWriter:
    return ArchiveWriter(sink or io.BytesIO(), chunk_size=4096, threads=1)


def test_files_are_members_and_links_to_them_are_followed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    (tmp_path / "link").symlink_to("file")
    sink = io.BytesIO()
    archive = writer(sink)
    archive.add("a", path)
    archive.add("b", str(tmp_path / "link"), size=len(TEXT))
    archive.close()
    assert tar_members(sink.getvalue()) == {"a": TEXT, "b": TEXT}


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "socket"])
def test_only_regular_files_are_taken(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    listener = socket.socket(socket.AF_UNIX)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        listener.bind(str(path))
    archive = writer()
    # A socket cannot even be opened.
    with listener, pytest.raises(OSError if kind == "socket" else UnsafePathError):
        archive.add("a", path)
    # Nothing was written, so that the archive is as good as before.
    archive.add("b", b"")
    assert list(archive.close().members) == ["b"]


class Shrinking(io.RawIOBase):
    """Cuts or extends the file below when the first bytes are written."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__()
        self.path = path
        self.size = size

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        os.truncate(self.path, self.size)
        return len(data)


@pytest.mark.parametrize("size", [10, 49_999, 50_001, 500_000])
def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    archive = ArchiveWriter(Shrinking(path, size), chunk_size=512, threads=1)
    with pytest.raises(S4IoError, match=r"file' changed while it was read: it had 50000 bytes"):
        archive.add("a", path)
    with pytest.raises(ValueError, match="incomplete: member 'a'"):
        archive.add("b", b"")
    with pytest.raises(ValueError, match="incomplete"):
        archive.close()


class OnlyReads:
    """A file object without `readinto`, which gives little at a time."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, 1000))


@pytest.mark.parametrize("size", [None, 50_000])
def test_file_objects_need_only_read(size: int | None) -> None:
    sink = io.BytesIO()
    archive = writer(sink)
    archive.add("a", OnlyReads(TEXT), size=size)
    archive.close()
    assert tar_members(sink.getvalue()) == {"a": TEXT}


@pytest.mark.parametrize("size", [0, 49_999, 50_001])
@pytest.mark.parametrize("kind", ["bytes", "buffer", "path", "file", "iterable"])
def test_a_source_of_another_size_than_said_is_refused(
    tmp_path: Path, kind: str, size: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    source: Any = {
        "bytes": TEXT,
        "buffer": bytearray(TEXT),
        "path": path,
        "file": io.BytesIO(TEXT),
        "iterable": iter([TEXT]),
    }[kind]
    archive = writer()
    with pytest.raises(IntegrityError) as caught:
        archive.add("a", source, size=size)
    assert (caught.value.member, caught.value.algorithm) == ("a", "size")
    assert caught.value.expected == size


@pytest.mark.parametrize("source", [None, 5, object()])
def test_other_sources_are_refused(source: Any) -> None:
    with pytest.raises(TypeError, match="source of member 'a'"):
        writer().add("a", source)


def test_text_pieces_are_refused() -> None:
    with pytest.raises(TypeError):
        writer().add("a", iter(["text"]))


def test_a_source_that_fails_leaves_an_archive_that_says_so() -> None:
    def failing() -> Iterator[bytes]:
        yield TEXT
        raise OSError("the disk is gone")

    archive = writer()
    with pytest.raises(OSError, match="the disk is gone"):
        archive.add("a", failing(), size=100_000)
    with pytest.raises(ValueError, match="the archive is incomplete: member 'a'"):
        archive.close()
    # Of unknown length, it is read before anything is written.
    archive = writer()
    with pytest.raises(OSError, match="the disk is gone"):
        archive.add("a", failing())
    archive.close()


def test_a_sink_that_fails_leaves_an_archive_that_says_so() -> None:
    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, _data: Any, /) -> int:
            raise OSError("no space left")

    archive = ArchiveWriter(Full(), chunk_size=512, threads=1)
    with pytest.raises(OSError, match="no space left"):
        archive.add("a", TEXT)
    with pytest.raises(ValueError, match="incomplete"):
        archive.close()
    archive = ArchiveWriter(Full())
    archive.add("a", b"small")
    with pytest.raises(OSError, match="no space left"):
        archive.close()
    with pytest.raises(ValueError, match="the end of the archive"):
        archive.close()


def test_a_sink_that_takes_some_bytes_at_a_time_gets_all() -> None:
    class Slow(io.RawIOBase):
        def __init__(self) -> None:
            super().__init__()
            self.taken = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any, /) -> int:
            self.taken += bytes(data[:1000])
            return min(len(data), 1000)

    sink = Slow()
    archive = ArchiveWriter(sink, chunk_size=4096, compression="gzip")
    archive.add("a", TEXT)
    archive.close()
    assert sink.taken == build([("a", TEXT)], "gzip").stored


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/etc/passwd", "../a", "a/../../b", "", "a/", "C:\\a"])
def test_unsafe_paths_are_refused(path: str) -> None:
    archive = writer()
    with pytest.raises(UnsafePathError):
        archive.add(path, b"")
    archive.add("a", b"")
    archive.close()


def test_a_second_member_of_one_name_is_refused() -> None:
    archive = writer()
    archive.add("a", b"1")
    with pytest.raises(ValueError, match="there is a member 'a' already"):
        archive.add("a", b"2")
    assert archive.close().member("a") == Member("a", 512, 1, crc32c(b"1"), hash.blake3(b"1"))


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "bzip2"},
        {"compression": "lz4"},
        {"compression": None, "level": 3},
        {"chunk_size": 511},
        {"chunk_size": (1 << 30) + 1},
        {"threads": 0},
    ],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own text
        ArchiveWriter(io.BytesIO(), **options)


def test_a_closed_archive_takes_nothing_and_closes_again() -> None:
    archive = writer()
    with pytest.raises(ValueError, match="when the archive is closed"):
        _ = ArchiveWriter(io.BytesIO(), compression="s4").s4_metadata
    index = archive.close()
    assert archive.close() is index
    with pytest.raises(ValueError, match="is closed"):
        archive.add("a", b"")
    assert (archive.s4_metadata, archive.s4_sidecar) == (None, None)


def test_a_block_left_by_an_exception_writes_no_end() -> None:
    sink = io.BytesIO()
    archive = writer(sink)
    archive.add("a", TEXT)
    with pytest.raises(UnsafePathError), archive:
        archive.add("../b", TEXT)
    with pytest.raises(ValueError, match="left by an exception"):
        archive.close()
    assert not sink.getvalue().endswith(bytes(1024))


@pytest.mark.slow
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_memory_does_not_grow_with_the_archive(compression: Compression) -> None:
    code = f"""
import resource
from shardpack.archive import ArchiveWriter

class Sink:
    def write(self, data):
        return len(data)

piece = b"".join(b"%08d some line of text\\n" % i for i in range(50_000))[:{MIB}]
def pieces(count):
    for _ in range(count):
        yield piece
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
writer = ArchiveWriter(Sink(), compression={compression!r}, threads=2)
writer.add("warm", pieces(8), size=8 * {MIB})
before = peak()
writer.add("large", pieces(150), size=150 * {MIB})
for number in range(50):
    writer.add(f"file {{number}}", piece)
writer.close()
print(peak() - before)
"""
    assert int(run_python(code)) < 16 << 10, "KiB more for 200 MiB"


def test_decoders_agree_on_the_stream() -> None:
    assert len({build(GOLDEN, compression).tar for compression in COMPRESSIONS}) == 1


def test_gzip_stores_what_will_not_shrink_unless_a_level_is_given() -> None:
    noise = [(f"{n}", make("noise", 20_000, str(n))) for n in range(60)]
    text = [("text", make("lines", 1_000_000))]
    sizes = {}
    for level in (None, 6):
        built = build([*noise, *text], "gzip", level=level, chunk_size=200_000)
        assert tar_members(gzip.decompress(built.stored)) == dict([*noise, *text])
        sizes[level] = len(built.stored)
    # The headers between the members are all that shrinks there; the text shrinks either way.
    assert sizes[6] < sizes[None] < sizes[6] * 1.05
