"""Tar headers, written one way and read in all the ways that tar programs write them.

Written: USTAR headers with owner 0, mode 0644 and time 0, so that the same members always give the
same bytes; a GNU long name where the path fits neither field; base-256 sizes from 8 GiB on.

Read: USTAR, old V7, GNU long names and links (``L``, ``K``), PAX records (``x``, ``g``), base-256
sizes and the maps of sparse members (``sparse.py``). The checksum of every header is verified.
Nothing is allocated that a header claims beyond one mebibyte, and a chain of headers that describe
the next header is cut off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from zlib import adler32

from shardpack.archive.sparse import PAX_SPARSE, BadSparseMapError, read_gnu_map, read_pax_map
from shardpack.archive.tar_numbers import MOST_SIZE, read_number, read_octal
from shardpack.errors import ShardReadError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shardpack.archive.sparse import SparseMap

__all__ = [
    "BLOCK_BYTES",
    "RECORD_BYTES",
    "TarHeader",
    "TarMember",
    "build_header",
    "encode_path",
    "padding_of",
    "parse_header",
    "read_header",
    "trailer_of",
]

BLOCK_BYTES = 512
RECORD_BYTES = 20 * BLOCK_BYTES

_ZERO_BLOCK = bytes(BLOCK_BYTES)

_NAME_BYTES = 100
_PREFIX_BYTES = 155
# The largest size that eleven octal digits hold.
_MOST_OCTAL = 8**11 - 1

# What one header may say about the next, and how many such headers may follow one another.
_MOST_EXTENSION_BYTES = 1 << 20
_MOST_EXTENSIONS = 16
_MOST_PAX_DIGITS = 19

_HEEDED = ("path", "linkpath", "size")
# PAX 0.0 says these once for each extent; together they are what 0.1 says in one record.
_SPARSE_EXTENT = ("GNU.sparse.offset", "GNU.sparse.numbytes")
_SPARSE_MAP = "GNU.sparse.map"

_BASE_256 = 0x80

_KINDS = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "device",
    b"4": "device",
    b"5": "directory",
    b"6": "fifo",
    b"D": "directory",
    b"S": "sparse",
    b"L": "long-name",
    b"K": "long-link",
    b"x": "pax",
    b"X": "pax",
    b"g": "pax-global",
}
_COMMON_KINDS = {ord("0"): "file", 0: "file", ord("x"): "pax"}
_WITH_DATA = frozenset(("file", "sparse", "long-name", "long-link", "pax", "pax-global", "other"))
# A folder of an incremental backup of GNU tar, whose data list what was in it.
_DUMPED_FOLDER = b"D"
_EXTENSIONS = frozenset(("long-name", "long-link", "pax", "pax-global"))


class TarHeader(NamedTuple):
    """What one header block says by itself.

    Attributes:
        path: The name, its prefix in front; bytes that are no UTF-8 as surrogate escapes.
        size: Bytes of data behind the header, 0 for links, directories and devices.
        kind: ``"file"``, ``"hardlink"``, ``"symlink"``, ``"device"``, ``"directory"``, ``"fifo"``,
            ``"sparse"`` or ``"other"``; or ``"long-name"``, ``"long-link"``, ``"pax"`` or
            ``"pax-global"``, whose data describe what follows.
        link_path: Where a link points to, empty otherwise.
    """

    path: str
    size: int
    kind: str
    link_path: str


class TarMember(NamedTuple):
    """A member as its headers describe it.

    Attributes:
        path: Its path as the archive has it.
        size: Bytes of data, those of the holes of a sparse member among them.
        kind: As in ``TarHeader``, without those that describe what follows.
        link_path: Where a link points to, empty otherwise.
        offset: Where its data begin in the tar stream.
        sparse: Where the stored bytes of a sparse member belong, ``None`` for all others.
    """

    path: str
    size: int
    kind: str
    link_path: str
    offset: int
    sparse: SparseMap | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a file with bytes of its own; zeros fill the holes of a sparse one."""
        return self.kind == "file" or self.sparse is not None

    @property
    def stored_size(self) -> int:
        """Bytes of data that the tar stream holds, which is less for a sparse member."""
        return self.size if self.sparse is None else self.sparse.stored_size


# --- writing --------------------------------------------------------------------------------


def _byte_sum(data: bytes) -> int:
    """Add up at most 256 bytes.

    Adler-32 holds one more than the sum in its lower half, modulo 65521, which 256 bytes cannot
    reach; `sum` takes six times as long.
    """
    return (adler32(data) & 0xFFFF) - 1


_OWNER = b"0000644\x000000000\x000000000\x00"
_TIME = b"00000000000\0"
_USTAR = b"ustar\x0000"
_GNU = b"ustar  \0"
_DEVICE = b"0000000\x000000000\x00"
_LINK_AND_MAGIC = bytes(_NAME_BYTES) + _USTAR + bytes(64) + _DEVICE
_END = bytes(BLOCK_BYTES - 345)
_PLAIN_TAIL = b"0" + _LINK_AND_MAGIC + _END
# Of a plain header without its name and size; the checksum field counts as eight spaces.
_PLAIN_SUM = sum(_OWNER) + sum(_TIME) + 8 * ord(" ") + sum(_PLAIN_TAIL)


def encode_path(path: str) -> bytes:
    """Give the bytes that a header holds for a path; the opposite of what reading does."""
    return path.encode("utf-8", "surrogateescape")


def build_header(path: bytes, size: int) -> bytes:
    """Make the header of a plain file.

    Args:
        path: The path, as from ``encode_path``.
        size: Bytes of data that follow.

    Returns:
        One block, or with a GNU long name in front three and more.

    Raises:
        ValueError: The size is negative or above 2^63 - 1.
    """
    if len(path) <= _NAME_BYTES and 0 <= size <= _MOST_OCTAL:
        octal = b"%011o\0" % size
        checksum = _PLAIN_SUM + _byte_sum(path) + _byte_sum(octal)
        name = path.ljust(_NAME_BYTES, b"\0")
        return b"".join((name, _OWNER, octal, _TIME, b"%06o\0 " % checksum, _PLAIN_TAIL))
    return _build_unusual(path, size)


def _build_unusual(path: bytes, size: int) -> bytes:
    if not 0 <= size <= MOST_SIZE:
        raise ValueError(f"a member cannot have {size} bytes")
    if len(path) <= _NAME_BYTES:
        return _block(path, size)
    split = _split(path)
    if split is not None:
        prefix, name = split
        return _block(name, size, prefix=prefix)
    data = path + b"\0"
    long_name = _block(b"././@LongLink", len(data), flag=b"L", magic=_GNU)
    padded = data + bytes(padding_of(len(data)))
    return long_name + padded + _block(path[:_NAME_BYTES], size, magic=_GNU)


def _split(path: bytes) -> tuple[bytes, bytes] | None:
    """Cut a path at a slash so that its end fits into the name and the rest into the prefix."""
    at = path.find(b"/", max(1, len(path) - _NAME_BYTES - 1))
    if at < 0 or at > _PREFIX_BYTES or at == len(path) - 1:
        return None
    return path[:at], path[at + 1 :]


def _block(
    name: bytes, size: int, *, prefix: bytes = b"", flag: bytes = b"0", magic: bytes = _USTAR
) -> bytes:
    if size <= _MOST_OCTAL:
        length = b"%011o\0" % size
    else:
        length = bytes((_BASE_256,)) + size.to_bytes(11, "big")
    front = name.ljust(_NAME_BYTES, b"\0") + _OWNER + length + _TIME
    back = flag + bytes(_NAME_BYTES) + magic + bytes(64) + _DEVICE + prefix
    back = back.ljust(BLOCK_BYTES - len(front) - 8, b"\0")
    checksum = sum(front) + sum(back) + 8 * ord(" ")
    return front + b"%06o\0 " % checksum + back


def padding_of(size: int) -> int:
    """Tell how many zeros fill up the last block of ``size`` bytes of data."""
    return -size % BLOCK_BYTES


def trailer_of(size: int) -> bytes:
    """Give the zeros behind the last member: two blocks, and the rest of a record of 10,240.

    Args:
        size: Bytes of the tar stream so far, whole blocks.
    """
    return bytes(2 * BLOCK_BYTES + -(size + 2 * BLOCK_BYTES) % RECORD_BYTES)


# --- reading --------------------------------------------------------------------------------


def parse_header(block: bytes, *, key: str | None = None, offset: int = 0) -> TarHeader | None:
    """Read one header block.

    Args:
        block: Exactly 512 bytes.
        key: Key of the archive, for errors.
        offset: Where the block lies, for errors.

    Returns:
        The header, or ``None`` for a block of zeros, which ends the archive.

    Raises:
        ShardReadError: The block is no tar header: its checksum or a number in it is wrong.
    """
    try:
        # The common cases in few steps: a plain file whose name fits, and what PAX says of it.
        kind = _COMMON_KINDS.get(block[156])
        written = int(block[148:154], 8)
        octal = block[124:135]
        total = _byte_sum(block[:256]) + _byte_sum(block[256:]) - _byte_sum(block[148:156])
        if (
            written == total + 256
            and kind is not None
            and octal.isdigit()
            and block[135] in b"\0 "
            and not block[345]
            and len(block) == BLOCK_BYTES
        ):
            path = block[: block.index(b"\0", 0, 101)].decode()
            if path and path[-1] != "/":
                return TarHeader(path, int(octal, 8), kind, "")
    except (ValueError, IndexError):
        # Not the common case; the slow way says what it is, or what is wrong with it.
        pass
    return _parse_any(block, key, offset)


def _parse_any(block: bytes, key: str | None, offset: int) -> TarHeader | None:
    if len(block) != BLOCK_BYTES:
        raise ShardReadError(
            f"the archive ends inside of a tar header: {len(block)} of {BLOCK_BYTES} bytes",
            key=key,
            offset=offset,
        )
    if block == _ZERO_BLOCK:
        return None
    total = _byte_sum(block[:256]) + _byte_sum(block[256:]) - _byte_sum(block[148:156])
    total += 8 * ord(" ")
    written = read_octal(block[148:156])
    if written != total and (written is None or written != _signed_sum(block, total)):
        raise ShardReadError(
            f"no tar header: the checksum is {block[148:156]!r} instead of {total:06o}",
            key=key,
            offset=offset,
        )
    size = read_number(block[124:136])
    if size is None:
        raise ShardReadError(
            f"tar header with a bad size {block[124:136]!r}", key=key, offset=offset
        )
    name = _text(block[:100])
    # Writers differ in the version that follows the magic.
    if block[257:263] == _USTAR[:6] and block[345]:
        name = f"{_text(block[345:500])}/{name}"
    kind = _KINDS.get(block[156:157], "other")
    if kind not in _WITH_DATA and block[156:157] != _DUMPED_FOLDER:
        size = 0
    link_path = _text(block[157:257]) if kind in ("hardlink", "symlink") else ""
    return TarHeader(name, size, kind, link_path)


def _signed_sum(block: bytes, total: int) -> int:
    """Tell the checksum as some old programs made it, who added up signed bytes."""
    return total - 256 * sum(byte > 127 for byte in block[:148] + block[156:])  # noqa: PLR2004


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def read_header(
    read: Callable[[int], bytes],
    *,
    position: int = 0,
    pax_global: dict[str, str] | None = None,
    key: str | None = None,
) -> TarMember | None:
    """Read all headers of the next member.

    Args:
        read: Gives exactly as many bytes of the tar stream as it is asked for, at most one
            mebibyte and some; it raises at the end of the stream.
        position: Where the stream stands.
        pax_global: What global PAX headers said so far; it is kept up to date.
        key: Key of the archive, for errors.

    Returns:
        The member, ``read`` standing at its data; ``None`` at a block of zeros.

    Raises:
        ShardReadError: The headers are damaged, or describe each other without end.
    """
    start = position
    block = read(BLOCK_BYTES)
    header = parse_header(block, key=key, offset=start)
    position += BLOCK_BYTES
    if header is None:
        return None
    if header.kind not in _EXTENSIONS:
        if not pax_global and header.path[-1:] != "/" and header.kind != "sparse":
            return TarMember(*header, position)
        member = _described(header, {}, pax_global or {}, position, key)
        return _mapped(member, block, {}, read, key)
    said: dict[str, str] = {}
    for _ in range(_MOST_EXTENSIONS):
        data = _extension(read, header, key, position)
        position += len(data) + padding_of(len(data))
        if header.kind == "long-name":
            said["GNU.path"] = _text(data)
        elif header.kind == "long-link":
            said["GNU.linkpath"] = _text(data)
        else:
            scope = said if header.kind == "pax" else {} if pax_global is None else pax_global
            is_own = header.kind == "pax"
            scope.update(_heeded(parse_pax(data, key=key, offset=start), key, is_own=is_own))
        block = read(BLOCK_BYTES)
        follower = parse_header(block, key=key, offset=position)
        position += BLOCK_BYTES
        if follower is None:
            _require_nothing_said(said, key, start)
            return None
        header = follower
        if header.kind not in _EXTENSIONS:
            member = _described(header, said, pax_global or {}, position, key)
            return _mapped(member, block, said, read, key)
    raise ShardReadError(
        f"more than {_MOST_EXTENSIONS} tar headers that describe the next one",
        key=key,
        offset=start,
    )


def _heeded(records: Mapping[str, str], key: str | None, *, is_own: bool) -> dict[str, str]:
    """Leave out what is not looked at, so that what is said of all members stays small."""
    heeded = {name: records[name] for name in _HEEDED if name in records}
    for name in records:
        if name.startswith(PAX_SPARSE):
            if not is_own:
                raise ShardReadError(f"a global PAX header with {name!r:.80}", key=key)
            heeded[name] = records[name]
    return heeded


def _require_nothing_said(said: Mapping[str, str], key: str | None, offset: int) -> None:
    if said:
        raise ShardReadError(
            "the archive ends behind a header that describes the next member",
            key=key,
            offset=offset,
        )


def _extension(
    read: Callable[[int], bytes], header: TarHeader, key: str | None, offset: int
) -> bytes:
    if header.size > _MOST_EXTENSION_BYTES:
        raise ShardReadError(
            f"tar header of kind {header.kind} with {header.size} bytes,"
            f" more than {_MOST_EXTENSION_BYTES}",
            key=key,
            offset=offset,
        )
    return read(header.size + padding_of(header.size))[: header.size]


def _described(
    header: TarHeader,
    said: Mapping[str, str],
    pax_global: Mapping[str, str],
    position: int,
    key: str | None,
) -> TarMember:
    """Apply what earlier headers said; PAX wins over GNU, the member's own over the global ones."""
    # A value without bytes takes back what was said before.
    pax = {name: value for name, value in {**pax_global, **said}.items() if value}
    path = pax.get("path", pax.get("GNU.path", header.path))
    link_path = header.link_path
    if header.kind in ("hardlink", "symlink"):
        link_path = pax.get("linkpath", pax.get("GNU.linkpath", link_path))
    size = header.size
    kind = header.kind
    if "size" in pax and kind in _WITH_DATA:
        digits = pax["size"]
        if not (digits.isascii() and digits.isdigit()) or len(digits) > len(str(MOST_SIZE)):
            raise ShardReadError(f"PAX record with a bad size {digits[:40]!r}", key=key)
        size = int(digits)
    if kind == "file" and any(name.startswith(PAX_SPARSE) for name in pax):
        kind = "sparse"
        path = pax.get("GNU.sparse.name", path)
    if kind == "file" and path.endswith("/"):
        # V7 had no flag for directories. A name that was cut off may end in a slash too, so that
        # only the whole path tells.
        kind, size = "directory", 0
    return TarMember(path, size, kind, link_path, position)


def _mapped(
    member: TarMember,
    block: bytes,
    said: Mapping[str, str],
    read: Callable[[int], bytes],
    key: str | None,
) -> TarMember:
    """Read the map of a sparse member, which lies in its header, in front of its data or both."""
    if member.kind != "sparse":
        return member
    records = {name: value for name, value in said.items() if name.startswith(PAX_SPARSE)}
    try:
        if records and block[156:157] == b"S":
            raise BadSparseMapError("one of PAX and one of GNU tar")  # noqa: TRY301 - as all others
        if records:
            sparse, taken = read_pax_map(records, member.size, read)
        else:
            sparse, taken = read_gnu_map(block, member.size, read)
    except BadSparseMapError as error:
        raise ShardReadError(
            f"the map of sparse member {member.path!r} is wrong: {error}",
            key=key,
            member=member.path,
            offset=member.offset,
        ) from error
    return member._replace(size=sparse.size, offset=member.offset + taken, sparse=sparse)


def parse_pax(data: bytes, *, key: str | None = None, offset: int | None = None) -> dict[str, str]:
    """Read the records of a PAX header.

    Args:
        data: The data behind the header: ``LENGTH NAME=VALUE`` lines, lengths counting themselves.
        key: Key of the archive, for errors.
        offset: Where the header lies, for errors.

    Returns:
        The last value of each name. The extents of sparse members of PAX 0.0, whose names repeat,
        are joined as PAX 0.1 has them, under ``GNU.sparse.map``.

    Raises:
        ShardReadError: A record is not as long as it says.
    """
    records = {}
    extents: list[str] = []
    position = 0
    while position < len(data) and data[position]:
        space = data.find(b" ", position, position + _MOST_PAX_DIGITS + 1)
        digits = data[position : max(space, position)]
        end = position + int(digits) if digits.isdigit() else 0
        name, equals, value = data[space + 1 : end - 1].partition(b"=")
        whole = position < space < end <= len(data) and data[end - 1 : end] == b"\n"
        if not (whole and name and equals):
            raise ShardReadError(
                f"bad PAX record {data[position : position + 40]!r}", key=key, offset=offset
            )
        decoded = name.decode("utf-8", "surrogateescape")
        records[decoded] = value.decode("utf-8", "surrogateescape")
        if decoded in _SPARSE_EXTENT:
            if decoded != _SPARSE_EXTENT[len(extents) % 2]:
                raise ShardReadError("PAX records of extents in disorder", key=key, offset=offset)
            extents.append(records.pop(decoded))
        position = end
    if extents:
        records[_SPARSE_MAP] = ",".join(extents)
    return records
