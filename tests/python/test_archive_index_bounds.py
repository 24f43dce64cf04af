"""What a hostile index may cost: some times its text, never a multiple that its lines choose."""

from __future__ import annotations

import pytest

from inputs import run_python
from shardpack import CpuZstd
from shardpack.archive import ArchiveIndex
from shardpack.archive.chunks import ChunkTable
from shardpack.archive.index_head import MOST_CHUNKS, MOST_MEMBERS
from shardpack.errors import ShardReadError

MIB = 1 << 20
TEXT_BYTES = 16 * MIB
# Decoding takes twice the text, and 600,000 short members some 300 bytes each.
MOST_BYTES = 280 * MIB

HEAD = """
import json
from shardpack import CpuZstd
from shardpack.archive import ArchiveIndex
from shardpack.errors import ShardReadError

def head(**told):
    fields = dict(
        format="shardpack-index/1", compression="zstd", stored_size=1 << 40,
        original_size=1 << 40, chunks=0, members=0, etag=None, blake3=None,
        internal_manifest_path=None,
    )
    return json.dumps({**fields, **told}, separators=(",", ":")).encode() + b"\\n"

def column(number, count):
    return b"[" + (number + b",") * (count - 1) + number + b"]"

def table(stored=b"[]", original=b"[]", crc32c=b"null"):
    return b'{"stored":' + stored + b',"original":' + original + b',"crc32c":' + crc32c + b"}\\n"
"""

TRY = """
stored = CpuZstd(1).compress(text)[0]
del text
outcome = "read"
try:
    index = ArchiveIndex.from_bytes(stored, key="k")
    index.member("not there")
    len(index.members)
except ShardReadError as error:
    outcome = "refused"
with open("/proc/self/status") as status:
    peak = next(line for line in status if line.startswith("VmHWM")).split()[1]
print(outcome, peak)
"""

# Each makes a text of `size` bytes, about.
SHAPES = {
    "chunks of one byte": """
count = size // 4
text = head(chunks=count, stored_size=count, original_size=count)
text += table(column(b"1", count), column(b"1", count))
""",
    "chunks of larger numbers": """
count = size // 8
text = head(chunks=count, stored_size=257 * count, original_size=257 * count)
text += table(column(b"257", count), column(b"257", count))
""",
    "chunks that are lists": "text = head() + table(column(b'[]', size // 3))",
    "chunks without a stored byte": """
count = size // 4
text = head(chunks=count, stored_size=5, original_size=5)
text += table(column(b"1", count), column(b"1", count))
""",
    "a field of the table that nobody knows": """
text = head() + table()[:-2] + b',"more":' + column(b"[]", size // 3) + b"}\\n"
""",
    "a member with endless fields": """
text = head(members=1) + table() + b'["a",0,0,null,null,' + column(b"[]", size // 3)[1:] + b"\\n"
""",
    "short members": """
count = size // 27
text = head(members=count) + table()
text += b"".join(b'["%x",0,0,null,null]\\n' % at for at in range(1 << 20, (1 << 20) + count))
""",
    "more members than it says": """
count = size // 27
text = head(members=5) + table()
text += b"".join(b'["%x",0,0,null,null]\\n' % at for at in range(1 << 20, (1 << 20) + count))
""",
    "one member over and over": """
text = head(members=size // 21) + table() + b'["a",0,0,null,null]\\n' * (size // 21)
""",
}


@pytest.mark.parametrize("name", SHAPES)
def test_no_index_takes_much_more_than_its_text(name: str) -> None:
    outcome, peak = run_python(
        f"{HEAD}\nsize = {TEXT_BYTES}\n{SHAPES[name]}\n{TRY}", timeout_s=300
    ).split()
    assert int(peak) * 1024 < MOST_BYTES
    readable = {
        "short members",
        "chunks of one byte",
        "chunks of larger numbers",
        "one member over and over",
    }
    # Which of them are no index at all.
    assert outcome == ("read" if name in readable else "refused")


def test_a_million_members_are_looked_up_and_listed() -> None:
    script = """
count = 10**6
lines = b"".join(
    b'["folder/subfolder/%08d.jpg",%d,100,"deadbeef","%064x"]\\n' % (at, at * 1000, at)
    for at in range(count)
)
text = head(members=count) + table() + lines
del lines
index = ArchiveIndex.from_bytes(CpuZstd(1).compress(text)[0])
del text
assert index.member("folder/subfolder/00999999.jpg").offset == 999_999_000
assert index.member("folder/subfolder/01000000.jpg") is None
assert len(index.members) == count
"""
    run_python(HEAD + script, timeout_s=300)


def head_of(**told: object) -> bytes:
    text = f"told = {told!r}\nimport sys\nsys.stdout.write((head(**told) + table()).decode())"
    return run_python(HEAD + text).encode() + b"\n"


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"members": MOST_MEMBERS + 1}, "more than"),
        ({"members": 1 << 20, "original_size": 1 << 28}, "members in a tar of"),
    ],
)
def test_counts_that_no_archive_has_are_refused(told: dict[str, object], message: str) -> None:
    with pytest.raises(ShardReadError, match=message):
        ArchiveIndex.from_bytes(CpuZstd().compress(head_of(**told))[0])


def test_more_chunks_than_are_believed_are_refused_before_they_are_parsed() -> None:
    column = b"[" + b"1," * MOST_CHUNKS + b"1]"
    first, _, _ = head_of(chunks=MOST_CHUNKS + 1).partition(b"\n")
    text = first + b'\n{"stored":' + column + b',"original":[],"crc32c":null}\n'
    with pytest.raises(ShardReadError, match=f"more than {MOST_CHUNKS}"):
        ArchiveIndex.from_bytes(CpuZstd().compress(text)[0])


@pytest.mark.parametrize(
    "columns",
    [
        b'{"stored":[1,],"original":[1],"crc32c":null}',
        b'{"stored":[,1],"original":[1],"crc32c":null}',
        b'{"stored":[01],"original":[1],"crc32c":null}',
        b'{"stored":[1 ],"original":[1],"crc32c":null}',
        b'{"stored":[1],"original":[1],"crc32c":null',
        b'{"stored":[1],"original":[1],"crc32c":[}',
        b'{"stored":[1],"original":[1],"crc32c":null}}',
        b'{"stored":[1],"original":[1]{"crc32c":null}',
        b',"stored":[1],"original":[1],"crc32c":null}',
        b'{"stored":[18446744073709551616],"original":[1],"crc32c":null}',
        b"{}",
        b"",
    ],
)
def test_tables_that_are_no_columns_are_refused(columns: bytes) -> None:
    first, _, _ = head_of(chunks=1, stored_size=1, original_size=1).partition(b"\n")
    good = b'{"stored":[1],"original":[1],"crc32c":null}'
    text = first + b"\n" + good + b"\n"
    assert len(ArchiveIndex.from_bytes(CpuZstd().compress(text)[0]).chunks) == 1
    with pytest.raises(ShardReadError):
        ArchiveIndex.from_bytes(CpuZstd().compress(text.replace(good, columns))[0])


def test_windows_that_are_longer_than_the_index_are_refused() -> None:
    told = {"compression": "gzip", "chunks": 1, "stored_size": 1, "original_size": 1}
    first, _, _ = head_of(**told).partition(b"\n")
    for size in (1, 32768):
        line = b'{"stored":[1],"original":[1],"crc32c":null,"bits":[0],"windows":[%d]}\n' % size
        with pytest.raises(ShardReadError, match="cut short"):
            ArchiveIndex.from_bytes(CpuZstd().compress(first + b"\n" + line)[0])


def test_a_table_of_more_bytes_than_any_archive_is_refused() -> None:
    with pytest.raises(ValueError, match="more bytes"):
        ChunkTable([2**63 - 1] * 3, [1, 1, 1])


def test_long_columns_are_read_piece_by_piece() -> None:
    sizes = [at % 1000 + 1 for at in range(100_000)]
    index = ArchiveIndex(
        compression="zstd",
        stored_size=sum(sizes),
        original_size=sum(sizes),
        chunks=ChunkTable(sizes, sizes, sizes),
        members=(),
    )
    read = ArchiveIndex.from_bytes(index.to_bytes())
    assert read == index
    assert read.chunks.stored_starts == index.chunks.stored_starts
    assert [chunk.crc32c for chunk in read.chunks[:5]] == [1, 2, 3, 4, 5]
    assert list(read.chunks.checksums or ()) == sizes
