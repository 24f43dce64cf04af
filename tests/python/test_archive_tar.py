"""Tar headers out and in, and the paths that may stand in them."""

from __future__ import annotations

import io
import tarfile
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardpack.archive.member_path import check_member_path
from shardpack.archive.tar import (
    TarMember,
    build_header,
    encode_path,
    padding_of,
    parse_header,
    parse_pax,
    read_header,
    trailer_of,
)
from shardpack.errors import ShardReadError, UnsafePathError

if TYPE_CHECKING:
    from collections.abc import Callable

PATHS = [
    "a",
    "n" * 100,
    "n" * 101,
    "d" * 80 + "/" + "n" * 80,
    "d" * 155 + "/" + "n" * 100,
    "d" * 156 + "/" + "n" * 100,
    "d" * 10 + "/" + "n" * 101,
    "x/" * 120 + "n",
    "ü" * 60,
    "日本/" * 40 + "語",
    "l" * 5000,
]
SIZES = [0, 1, 511, 512, 8**11 - 1, 8**11, 2**40, 2**63 - 1]


def reading(data: bytes) -> Callable[[int], bytes]:
    stream = io.BytesIO(data)

    def read(size: int) -> bytes:
        piece = stream.read(size)
        assert len(piece) == size, "more is asked for than there is"
        return piece

    return read


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", PATHS, ids=len)
def test_headers_are_read_back_by_us_and_by_tarfile(path: str, size: int) -> None:
    header = build_header(encode_path(path), size)
    assert len(header) % 512 == 0
    expected = TarMember(path, size, "file", "", len(header))
    assert read_header(reading(header)) == expected
    info = next(iter(tarfile.TarFile(fileobj=io.BytesIO(header + bytes(1024)))))
    assert (info.name, info.size, info.mode, info.mtime) == (path, size, 0o644, 0)
    assert info.isreg()


@pytest.mark.parametrize("path", ["a", "d" * 80 + "/" + "n" * 80])
def test_short_paths_take_one_block(path: str) -> None:
    assert len(build_header(path.encode(), 5)) == 512


@pytest.mark.parametrize("size", [-1, 2**63])
def test_sizes_that_no_header_holds_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="cannot have"):
        build_header(b"a", size)


@given(st.integers(0, 10**6).map(lambda blocks: blocks * 512))
def test_the_trailer_ends_a_record(size: int) -> None:
    trailer = trailer_of(size)
    assert not any(trailer)
    assert 1024 <= len(trailer) < 1024 + 10240
    assert (size + len(trailer)) % 10240 == 0
    assert padding_of(size) == 0


Form = Literal[0, 1, 2]
FORMATS: list[Form] = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("path", ["a/b.txt", "n" * 99, "d/" * 40 + "n" * 60, "ü/ß"])
def test_headers_of_tarfile_are_read(path: str, form: Form) -> None:
    info = tarfile.TarInfo(path)
    info.size = 12345
    info.mtime = 1_700_000_000
    block = info.tobuf(form)
    member = read_header(reading(block))
    assert member == TarMember(path, 12345, "file", "", len(block))
    assert member.is_file


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_links_and_sizes_of_tarfile_are_read(form: Form) -> None:
    info = tarfile.TarInfo("deep/" * 60 + "name")
    info.size = 2**35
    member = read_header(reading(info.tobuf(form)))
    assert member is not None
    assert (member.path, member.size) == (info.name, info.size)
    info.type = tarfile.SYMTYPE
    info.linkname = "target/" * 60
    info.size = 0
    member = read_header(reading(info.tobuf(form)))
    assert member is not None
    assert (member.kind, member.link_path, member.is_file) == ("symlink", info.linkname, False)


@pytest.mark.parametrize(
    ("flag", "kind"),
    [
        (tarfile.LNKTYPE, "hardlink"),
        (tarfile.SYMTYPE, "symlink"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.DIRTYPE, "directory"),
        (tarfile.FIFOTYPE, "fifo"),
        (tarfile.CONTTYPE, "file"),
        (tarfile.AREGTYPE, "file"),
        (b"S", "sparse"),
        (b"Z", "other"),
    ],
)
def test_kinds_are_told_apart(flag: bytes, kind: str) -> None:
    info = tarfile.TarInfo("name")
    info.type = flag
    info.size = 700
    header = parse_header(info.tobuf(tarfile.GNU_FORMAT)[-512:])
    assert header is not None
    assert header.kind == kind
    # Only data that is there is stepped over.
    assert header.size == (700 if kind in ("file", "sparse", "other") else 0)


def test_an_old_name_with_a_slash_at_its_end_is_a_directory() -> None:
    info = tarfile.TarInfo("name/")
    info.type = tarfile.AREGTYPE
    member = read_header(reading(info.tobuf(tarfile.USTAR_FORMAT)))
    assert member is not None
    assert member.kind == "directory"


def test_names_that_are_no_utf8_survive() -> None:
    header = build_header(b"caf\xe9", 3)
    member = read_header(reading(header))
    assert member is not None
    assert encode_path(member.path) == b"caf\xe9"


def test_a_zero_block_is_no_header() -> None:
    assert parse_header(bytes(512)) is None
    assert read_header(reading(bytes(512))) is None


HEADER = build_header(b"some/name.txt", 1234)


@pytest.mark.parametrize("place", range(512))
def test_any_flipped_byte_of_a_header_is_noticed(place: int) -> None:
    for bit in (1, 0x80):
        block = bytearray(HEADER)
        block[place] ^= bit
        try:
            found = parse_header(bytes(block), key="k", offset=7)
        except ShardReadError as error:
            assert (error.key, error.offset) == ("k", 7)  # noqa: PT017 - or the header is the same
        else:
            # The blank at the end of the checksum says nothing.
            assert found == parse_header(HEADER)
            assert 148 <= place < 156


@pytest.mark.parametrize("size", [0, 1, 511, 513])
def test_a_header_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ShardReadError, match=f"{size} of 512 bytes"):
        parse_header((HEADER * 2)[:size])


def with_checksum(block: bytes) -> bytes:
    total = sum(block[:148]) + sum(block[156:]) + 8 * 32
    return block[:148] + b"%06o\0 " % total + block[156:]


@pytest.mark.parametrize(
    "size",
    [
        b"-0000000001\0",
        b"+0000000001\0",
        b"0o000000017\0",
        b"0_000000017\0",
        b"00000000089\0",
        b"\xff" * 12,
        b"\x80" + b"\xff" * 11,
        b"xxxxxxxxxxx\0",
    ],
)
def test_hostile_sizes_are_refused(size: bytes) -> None:
    with pytest.raises(ShardReadError, match="bad size"):
        parse_header(with_checksum(HEADER[:124] + size + HEADER[136:]))


def test_a_checksum_of_signed_bytes_is_accepted() -> None:
    block = build_header("ü".encode(), 3)
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:])
    block = block[:148] + b"%06o\0 " % (signed + 8 * 32) + block[156:]
    assert parse_header(block) == ("ü", 3, "file", "")


def extension(flag: bytes, data: bytes, size: int | None = None) -> bytes:
    length = len(data) if size is None else size
    block = with_checksum(
        HEADER[:124] + b"%011o\0" % length + HEADER[136:156] + flag + HEADER[157:]
    )
    return block + data + bytes(padding_of(len(data)))


def pax(**records: str) -> bytes:
    data = b""
    for name, value in records.items():
        rest = f" {name}={value}\n".encode()
        size = len(rest) + 1
        while len(str(size)) + len(rest) != size:
            size += 1
        data += str(size).encode() + rest
    return data


def test_extension_headers_are_applied() -> None:
    stream = (
        extension(b"g", pax(comment="all", size="5"))
        + extension(b"L", b"long name\0")
        + extension(b"x", pax(path="pax name", mtime="1.5"))
        + HEADER
    )
    globals_: dict[str, str] = {}
    member = read_header(reading(stream), pax_global=globals_)
    assert member == TarMember("pax name", 5, "file", "", len(stream))
    # What is said of all members is kept as long as the archive is read, so no more than needed.
    assert globals_ == {"size": "5"}
    member = read_header(reading(HEADER), pax_global=globals_)
    assert member is not None
    assert member.size == 5


def test_sparse_files_of_pax_are_told() -> None:
    records = {
        "GNU.sparse.size": "9000",
        "GNU.sparse.map": "1,1000,8000,234",
        "GNU.sparse.name": "x",
    }
    member = read_header(reading(extension(b"x", pax(**records)) + HEADER))
    assert member is not None
    assert (member.kind, member.path, member.is_file) == ("sparse", "x", True)
    assert (member.size, member.stored_size) == (9000, 1234)


@pytest.mark.parametrize(
    "stream",
    [
        extension(b"L", b"x", 2**32),
        extension(b"x", b"x", (1 << 20) + 1),
        extension(b"L", b"name\0") * 17 + HEADER,
        extension(b"L", b"name\0") + bytes(512),
        extension(b"x", b"5 a=b\n") + HEADER,
        extension(b"x", b"7 a=b\n") + HEADER,
        extension(b"x", b"0 a=b\n") + HEADER,
        extension(b"x", b"-6 a=b\n") + HEADER,
        extension(b"x", b"6 ab=\n\n") + HEADER,
        extension(b"x", b"99999999999999999999999 a=b\n") + HEADER,
        extension(b"x", b"6 =bb\n") + HEADER,
        extension(b"x", pax(size="-1")) + HEADER,
        extension(b"x", pax(size="1e3")) + HEADER,
        extension(b"x", pax(size="9" * 5000)) + HEADER,
    ],
)
def test_hostile_extension_headers_are_refused(stream: bytes) -> None:
    with pytest.raises(ShardReadError):
        read_header(reading(stream), key="k")


@given(st.binary(max_size=600))
def test_any_bytes_are_pax_records_or_refused(data: bytes) -> None:
    with suppress(ShardReadError):
        parse_pax(data)


@given(st.binary(min_size=512, max_size=512))
def test_any_block_is_a_header_or_refused(block: bytes) -> None:
    for candidate in (block, with_checksum(block)):
        with suppress(ShardReadError):
            parse_header(candidate)


# --- paths ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["a", "a/b", ".hidden", "a.b/c..d", "..a", "a/..b", "-", "ü", "a b", "./a", "a//b", "ab:c"],
    ids=lambda path: path[:10],
)
def test_safe_paths_pass(path: str) -> None:
    assert check_member_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/a", "\\a", "\\\\host\\a", "C:", "c:/a", "C:\\a", "a:b", "..", "../a", "a/.."),
        *("a/../b", "a\\..\\b", "a\\..", "a/", "a/b/", "a\0b", "\0", "a\udc80", "ü" * 32769),
    ],
    ids=lambda path: repr(path[:10]),
)
def test_unsafe_paths_are_refused(path: str) -> None:
    with pytest.raises(UnsafePathError) as caught:
        check_member_path(path)
    assert caught.value.path == path
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@given(st.text(max_size=12, alphabet="a.:/\\\0é"))
def test_the_quick_check_never_lets_through_what_the_full_one_refuses(path: str) -> None:
    parts = path.replace("\\", "/").split("/")
    unsafe = (
        not path
        or path[0] in "/\\"
        or path[-1] == "/"
        or ".." in parts
        or "\0" in path
        or (len(path) > 1 and path[0].isascii() and path[0].isalpha() and path[1] == ":")
    )
    if unsafe:
        with pytest.raises(UnsafePathError):
            check_member_path(path)
    else:
        assert check_member_path(path) == path


def test_a_ustar_prefix_counts_whatever_the_version_says() -> None:
    path = "p" * 80 + "/" + "n" * 80
    block = bytearray(build_header(path.encode(), 3))
    # Some writers leave the two digits of the version empty; GNU tar does not look at them.
    block[263:265] = b"\0\0"
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    found = read_header(reading(bytes(block)))
    assert found is not None
    assert found.path == path


def test_an_empty_pax_value_takes_back_what_was_said() -> None:
    info = tarfile.TarInfo("a")
    info.size = 3
    plain = info.tobuf(tarfile.USTAR_FORMAT)
    data = b"8 path=\n8 size=\n"
    pax = tarfile.TarInfo("x")
    pax.type, pax.size = tarfile.XHDTYPE, len(data)
    stream = pax.tobuf(tarfile.USTAR_FORMAT) + data.ljust(512, b"\0") + plain
    assert read_header(reading(stream)) == TarMember("a", 3, "file", "", 1536)
