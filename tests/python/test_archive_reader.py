"""Archives of any writer in one pass: all members, or an error; never less, never much memory."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreign_archives import SMALL, compress, folder_of, gnu_tar, large, python_tar, read_by_tarfile
from inputs import make, pieces, run_python
from shardpack import CpuGzip
from shardpack.archive.compression import READABLE_COMPRESSIONS
from shardpack.archive.reader import iter_archive, sniff_compression
from shardpack.errors import ShardReadError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shardpack.archive.compression import ReadableCompression

WAYS: dict[str, ReadableCompression | None] = {
    "plain": None,
    "gzip -1": "gzip",
    "gzip -9": "gzip",
    "gzip stored": "gzip",
    "gzip members": "gzip",
    "pgzip": "gzip",
    "tarfile w:bz2": "bzip2",
    "bzip2 streams": "bzip2",
    "tarfile w:xz": "xz",
    "xz streams": "xz",
    "zstd": "zstd",
    "zstd frames": "zstd",
    "s4": "s4",
    "s4 plain": "s4",
}


def files(
    stored: bytes, compression: ReadableCompression | None = None, key: str | None = None
) -> dict[str, bytes]:
    """All files of an archive, read in one pass."""
    return {
        member.path: body.read()
        for member, body in iter_archive(io.BytesIO(stored), compression, key=key)
        if member.is_file
    }


def failure(stored: bytes, compression: ReadableCompression | None = None) -> ShardReadError:
    with pytest.raises(ShardReadError) as caught:
        files(stored, compression, "some/key.tar")
    assert caught.value.key == "some/key.tar"
    return caught.value


def header(name: bytes, size: bytes = b"00000000000\0", flag: bytes = b"0") -> bytes:
    """A tar header with the right checksum and whatever else is asked for."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:124] = b"0000644\x000000000\x000000000\x00"
    block[124:136] = size
    block[136:148] = b"00000000000\0"
    block[148:156] = b" " * 8
    block[156:157] = flag
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


END = bytes(1024)


# --- what is read -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_every_compression_gives_all_members_in_order(way: str) -> None:
    members = SMALL | large(40)
    stored = compress(python_tar(members), way)
    found = files(stored, WAYS[way])
    assert list(found.items()) == list(members.items())


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_formats_of_python_are_read(form: int) -> None:
    members = SMALL
    if form == tarfile.USTAR_FORMAT:
        members = {path: data for path, data in SMALL.items() if len(path) < 200}
    assert files(python_tar(members, form)) == members


@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_the_formats_of_gnu_tar_are_read(form: str, tmp_path: Path) -> None:
    members = SMALL
    if form in ("v7", "ustar"):
        members = {path: data for path, data in SMALL.items() if len(path) < 60}
    stored = gnu_tar(folder_of(members, tmp_path), f"--format={form}")
    assert files(stored) == members == read_by_tarfile(stored)


@pytest.mark.parametrize("way", ["plain", "gzip -1", "s4", "tarfile w:bz2", "xz streams"])
@pytest.mark.parametrize("sizes", [[1], [511, 1, 7_000], [1 << 20]], ids=str)
def test_it_does_not_matter_how_the_stream_arrives(way: str, sizes: list[int]) -> None:
    stored = compress(python_tar(SMALL), way)
    found = {
        member.path: b"".join(body.iter_chunks(999))
        for member, body in iter_archive(pieces(stored, sizes), WAYS[way])
    }
    assert found == SMALL


@pytest.mark.parametrize("way", WAYS)
def test_the_first_bytes_say_how_it_is_compressed_whatever_the_caller_thinks(way: str) -> None:
    stored = compress(python_tar(SMALL), way)
    assert sniff_compression(stored[:512], otherwise="xz") == WAYS[way]
    for claimed in READABLE_COMPRESSIONS:
        assert files(stored, claimed) == SMALL


def test_a_first_member_named_like_a_magic_number_is_a_plain_tar() -> None:
    for name in ("BZh91AY&SY", "\x1f\x08", "(5/x"):
        tar = python_tar({name: b"data"})
        assert sniff_compression(tar) is None
        assert files(tar, "gzip") == {name: b"data"}


def test_a_path_and_a_file_object_that_cannot_seek_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(python_tar(SMALL))
    assert {member.path for member, _ in iter_archive(path, None)} == set(SMALL)
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as sink:
        sink.write(python_tar({"one": b"1"}))
    with os.fdopen(read_end, "rb") as source:
        assert [body.read() for _, body in iter_archive(source, None)] == [b"1"]
        assert not source.closed


def test_links_directories_and_devices_are_told_apart_from_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 600)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "other").hardlink_to(tmp_path / "file")
    (tmp_path / "sub").mkdir()
    os.mkfifo(tmp_path / "pipe")
    found = {}
    for member, body in iter_archive(io.BytesIO(gnu_tar(tmp_path)), None):
        found[member.path] = (member.kind, member.is_file, member.link_path, len(body.read()))
    assert found == {
        "file": ("file", True, "", 600),
        "link": ("symlink", False, "file", 0),
        "other": ("hardlink", False, "file", 0),
        "sub/": ("directory", False, "", 0),
        "pipe": ("fifo", False, "", 0),
    }


# --- bodies -------------------------------------------------------------------------------------


def test_what_is_not_read_of_a_body_is_stepped_over() -> None:
    members = large(30)
    found = {}
    for number, (member, body) in enumerate(iter_archive(io.BytesIO(python_tar(members)), None)):
        found[member.path] = body.read(number % 3 * 7_777)
    assert found == {
        path: data[: number % 3 * 7_777] for number, (path, data) in enumerate(members.items())
    }


def test_a_body_reads_like_a_file() -> None:
    data = b"one\ntwo\n\nthree"
    tar = python_tar({"lines": data, "more": data, "again": data, "closed": data})
    archive = iter_archive(io.BytesIO(tar), None)
    body = next(archive)[1]
    assert body.size == len(data)
    assert list(body.iter_lines()) == [b"one", b"two", b"", b"three"]
    assert body.read() == body.read(5) == b""
    body = next(archive)[1]
    target = bytearray(6)
    assert (body.readinto(target), bytes(target)) == (6, data[:6])
    assert list(body.iter_lines(2, 2, keepends=True)) == [b"o\n", b"\n"]
    body = next(archive)[1]
    assert io.BufferedReader(body).read(9) == data[:9]
    with next(archive)[1] as body:
        pass
    with pytest.raises(ValueError, match="closed"):
        body.read()
    assert next(archive, None) is None


def test_a_body_cannot_be_read_once_the_iteration_has_moved_on() -> None:
    archive = iter_archive(io.BytesIO(python_tar({"a": b"1" * 900, "b": b"2"})), None)
    first = next(archive)[1]
    first.read(10)
    second = next(archive)[1]
    with pytest.raises(ValueError, match="the archive was read on"):
        first.read(1)
    assert second.read() == b"2"
    archive.close()  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="the archive was read on"):
        second.read()


# --- damage -------------------------------------------------------------------------------------


def test_a_tar_that_is_cut_anywhere_is_refused() -> None:
    tar = python_tar({"a": b"1" * 700, "b": b"", "c/" * 80 + "d": b"3" * 512})
    end = tar.rindex(b"3") + 1 + 1024
    assert len(files(tar[:end])) == 3
    for size in [*range(0, end, 101), *range(0, end, 512), end - 512, end - 1]:
        error = failure(tar[:size])
        assert error.offset is not None
        assert error.offset <= size


@pytest.mark.parametrize("way", [way for way in WAYS if way != "plain"])
def test_a_compressed_archive_that_is_cut_anywhere_is_refused(way: str) -> None:
    stored = compress(python_tar({"a": make("noise", 900), "b": make("lines", 80_000)}), way)
    for size in [*range(0, len(stored), len(stored) // 40 + 1), len(stored) - 1]:
        # Padding ends no S4 frame, and a bzip2 stream is known by more than its first bytes.
        failure(stored[:size], WAYS[way])


def test_the_error_names_the_member_and_the_place() -> None:
    tar = python_tar({"first": b"1" * 600, "second": make("noise", 3_000_000)})
    error = failure(tar[:50_000])
    assert (error.member, error.offset) == ("second", 50_000)
    stored = bytearray(gzip.compress(tar))
    stored[2_500_000] ^= 255
    error = failure(bytes(stored))
    assert error.member == "second"
    assert "gzip" in str(error)
    assert "of the tar stream" in str(error)


def test_a_wrong_checksum_behind_the_last_member_is_found() -> None:
    stored = bytearray(gzip.compress(python_tar(SMALL)))
    stored[-7] ^= 1
    assert "gzip" in str(failure(bytes(stored)))


def test_one_block_of_zeros_does_not_end_an_archive() -> None:
    start = header(b"empty")
    assert files(start + END) == {"empty": b""}
    failure(start + END[:512])
    failure(start + END[:512] + start + END)


def test_a_second_archive_behind_the_first_is_refused_and_rubbish_in_the_last_record_is_not() -> (
    None
):
    tar = python_tar({"a": b"1"})
    assert "another archive" in str(failure(tar + tar))
    assert files(header(b"empty") + END + b"rubbish of an old buffer" * 9) == {"empty": b""}
    assert files(tar + bytes(100_000)) == {"a": b"1"}


def test_bytes_that_are_no_archive_are_refused() -> None:
    for stored in (b"", b"x", b"x" * 5_000, bytes(500), gzip.compress(b"text")):
        failure(stored)
    assert files(END) == {}


def test_errors_of_the_stream_pass_through() -> None:
    class Broken:
        def __init__(self, data: bytes) -> None:
            self.rest = io.BytesIO(data)

        def read(self, size: int = -1) -> bytes:
            data = self.rest.read(size)
            if not data:
                raise ConnectionResetError("gone")
            return data

    for way in ("plain", "gzip -1", "s4", "tarfile w:bz2"):
        stored = compress(python_tar(large(20)), way)
        with pytest.raises(ConnectionResetError, match="gone"):
            list(iter_archive(Broken(stored[: len(stored) // 2]), WAYS[way]))


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4),
    st.sampled_from(["plain", "gzip -9", "zstd frames", "s4"]),
)
def test_damage_gives_an_error_or_members_and_nothing_else(
    changes: list[tuple[int, int]], way: str
) -> None:
    stored = bytearray(compress(python_tar({"a": b"1" * 300, "b" * 120: b"2" * 600}), way))
    for place, value in changes:
        stored[place % len(stored)] = value
    with suppress(ShardReadError):
        files(bytes(stored), WAYS[way], "key")


# --- hostile archives ---------------------------------------------------------------------------

LONG = b"././@LongLink"
HOSTILE: dict[str, bytes] = {
    "negative size": header(b"x", b"\xff" * 12) + END,
    "signed size": header(b"x", b"-0000000001\0") + END,
    "huge size": header(b"x", b"\x80" + b"\x7f" * 11) + END,
    "size in words": header(b"x", b"many bytes\0\0") + END,
    "a size that is not there": header(b"x", b"77777777777\0") + END,
    "wrong checksum": header(b"x").replace(b"x", b"y") + END,
    "huge long name": header(LONG, b"00100000000\0", b"L") + bytes(1 << 24) + header(b"x") + END,
    "endless long names": (header(LONG, b"00000000005\0", b"L") + b"name\0" + bytes(507)) * 500,
    "endless pax headers": (header(b"p", b"00000000011\0", b"x") + b"9 path=a\n" + bytes(503))
    * 500,
    "huge pax header": header(b"p", b"00100000000\0", b"x") + bytes(1 << 24),
    "pax record too long": header(b"p", b"00000000013\0", b"x")
    + b"99 path=a\n\0".ljust(512, b"\0")
    + header(b"x")
    + END,
    "pax size below zero": header(b"p", b"00000000013\0", b"x")
    + b"11 size=-5\n".ljust(512, b"\0")
    + header(b"x")
    + END,
    "long name at the end": header(LONG, b"00000000005\0", b"L") + b"name\0" + bytes(507) + END,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_refused(name: str) -> None:
    failure(HOSTILE[name])
    failure(gzip.compress(HOSTILE[name]), "gzip")


MEMORY = """
import gzip, io, resource, sys, zlib
from shardpack.archive.reader import iter_archive

size = 1 << 28
sys.path.insert(0, {tests!r})
from test_archive_reader import END, header

def stream():
    packer = zlib.compressobj(1, wbits=31)
    yield packer.compress(header(b"zeros", b"%011o\\0" % size))
    for _ in range(size >> 20):
        yield packer.compress(bytes(1 << 20))
    yield packer.compress(END) + packer.flush()

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
total = 0
for member, body in iter_archive(stream(), "gzip"):
    total += sum(map(len, body.iter_chunks()))
for member, body in iter_archive([b"".join(stream())], "gzip"):
    pass
assert total == size, total
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_a_large_member_takes_some_megabytes_of_memory() -> None:
    grown_kib = int(run_python(MEMORY.format(tests=os.path.dirname(__file__)), timeout_s=120))
    assert grown_kib < 40 << 10


def test_the_name_of_a_member_is_not_judged_here() -> None:
    paths = ("../evil", "/abs", "ok/../../z", "C:\\x")
    assert tuple(files(python_tar(dict.fromkeys(paths, b"")))) == paths


READERS: list[Callable[[bytes], dict[str, bytes]]] = [files, read_by_tarfile]


def test_base_256_sizes_and_odd_paths_are_read_as_tarfile_reads_them() -> None:
    odd = (
        header(b"caf\xe9 \xff", b"\x80" + (3).to_bytes(11, "big")) + b"abc".ljust(512, b"\0") + END
    )
    for reader in READERS:
        assert reader(odd) == {"caf\udce9 \udcff": b"abc"}


# --- gzip members that state their length -------------------------------------------------------


def bgzf(data: bytes, size: int = 60_000) -> bytes:
    """Members as bgzip writes them, with an empty one at the end."""
    stored = b""
    for at in [*range(0, len(data), size), len(data)]:
        packed = zlib.compressobj(6, wbits=-15)
        part = data[at : at + size]
        body = packed.compress(part) + packed.flush()
        stored += b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0"
        stored += (len(body) + 25).to_bytes(2, "little") + body
        stored += zlib.crc32(part).to_bytes(4, "little") + len(part).to_bytes(4, "little")
    return stored


def test_members_that_state_their_length_are_mixed_with_others() -> None:
    members = large(60)
    tar = python_tar(members)
    sized = CpuGzip().compress_members(tar[:400_000], member_size=70_000)
    plain = gzip.compress(tar[400_000:600_000])
    for stored in (
        bgzf(tar),
        bgzf(tar) + bytes(5_000),
        sized + plain + bgzf(tar[600_000:]),
        plain_first(tar),
        CpuGzip().compress_members(tar, member_size=len(tar)),
    ):
        assert files(stored) == members
        failure(stored + b"\0x")


def plain_first(tar: bytes) -> bytes:
    return gzip.compress(tar[:100]) + CpuGzip().compress_members(tar[100:], member_size=70_000)


def test_members_that_lie_about_their_length_are_refused_or_read_all_the_same() -> None:
    members = {"a": make("lines", 30_000)}
    stored = CpuGzip().compress_members(python_tar(members))
    for place, change in ((16, 200), (17, 1), (17, 128), (19, 255)):
        lying = bytearray(stored)
        lying[place] ^= change
        # Readers that do not know the field never see the lie.
        with suppress(ShardReadError):
            assert files(bytes(lying)) == members
        failure(bytes(lying) + stored)
    for place in (-8, -4, -1):
        lying = bytearray(stored)
        lying[place] ^= 9
        failure(bytes(lying))


def test_the_lists_of_incremental_backups_are_stepped_over(tmp_path: Path) -> None:
    folder = folder_of({"a": b"1", "sub/b": b"22"}, tmp_path / "files")
    options = ("--format=gnu", f"--listed-incremental={tmp_path / 'list'}")
    stored = gnu_tar(folder, *options)
    found = {
        member.path: body.read()
        for member, body in iter_archive(io.BytesIO(stored), None)
        if member.is_file
    }
    assert found == {"a": b"1", "sub/b": b"22"}
