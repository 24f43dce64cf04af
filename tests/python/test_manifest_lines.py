from __future__ import annotations

import datetime as dt
import enum
import io
import json
import math
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inputs import VECTORS
from shardpack.errors import InvalidManifestError
from shardpack.exchange.manifest.lines import (
    iter_blocks,
    iter_lines,
    iter_text,
    parse_line,
    serialize_blocks,
    serialize_entry,
)

if TYPE_CHECKING:
    from shardpack.exchange.types import ManifestEntry

GOLDEN = (VECTORS / "exchange" / "lines.jsonl").read_bytes().splitlines()
FILE = b'{"kind":"file","key":"a"}'

text = st.text(st.characters(), max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | text
    | st.text(st.characters(categories=["Cs", "Cc", "L"]), max_size=4)
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.floats(1e-6, 1e-3)
    | st.floats(1e15, 1e17)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
entries = st.fixed_dictionaries(
    {"kind": st.sampled_from(["file", "manifest_ref"]), "key": text},
    optional={"id": scalars, "meta": values, "size_bytes": st.integers(), "other": values},
)


def oracle(entry: object) -> bytes:
    return json.dumps(entry, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def same(left: Any, right: Any) -> bool:
    """Compare values with their types; NaN is itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return math.isnan(left) == math.isnan(right) and (
            math.isnan(left)
            or (left == right and math.copysign(1, left) == math.copysign(1, right))
        )
    return bool(left == right)


@pytest.mark.parametrize("line", GOLDEN)
def test_lines_that_s3exchange_wrote_come_out_the_same(line: bytes) -> None:
    assert serialize_entry(parse_line(line)) == line
    assert b"".join(block for block, _ in serialize_blocks([parse_line(line)])) == line + b"\n"


@given(entries)
def test_entries_are_written_as_json_writes_them(entry: Any) -> None:
    assert serialize_entry(entry) == oracle(entry)


@given(st.lists(entries, max_size=40))
def test_many_entries_are_written_and_read_as_json_does(many: list[Any]) -> None:
    stored = b"".join(block for block, _ in serialize_blocks(many))
    assert stored == b"".join(oracle(entry) + b"\n" for entry in many)
    assert sum(count for _, count in serialize_blocks(many)) == len(many)
    read = list(iter_lines(io.BytesIO(stored)))
    assert same(read, [json.loads(line) for line in stored.splitlines()])


@given(entries, st.sampled_from([" ", "\t", "  "]))
def test_other_writers_lines_are_read_as_json_reads_them(entry: Any, space: str) -> None:
    line = json.dumps(entry, indent=None, separators=(f",{space}", f":{space}"))
    assert same(parse_line(line), json.loads(line))


@pytest.mark.parametrize(
    "number",
    [
        "1e999",
        "-1e999",
        "1e-999",
        "-0",
        "-0.0",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "1" * 300,
        "0." + "1" * 400,
        "NaN",
        "-Infinity",
    ],
)
def test_numbers_are_those_that_json_reads(number: str) -> None:
    line = f'{{"kind":"file","key":"a","meta":{{"n":{number}}}}}'
    expected = json.loads(line)
    assert same(parse_line(line), expected)
    assert same(
        list(iter_lines(io.BytesIO(FILE + b"\n" + line.encode()))), [json.loads(FILE), expected]
    )


def test_what_is_no_dict_of_plain_values_is_written_as_json_writes_it() -> None:
    class Text(str):
        __slots__ = ()

    class Level(enum.IntEnum):
        HIGH = 3

    entry: Any = {"kind": "file", "key": Text("a"), "meta": {1: (1, 2), None: Level.HIGH}}
    assert serialize_entry(entry) == b'{"kind":"file","key":"a","meta":{"1":[1,2],"null":3}}'


def test_identifiers_and_enumerations_are_written_whatever_stands_beside_them() -> None:
    class Colour(enum.Enum):
        RED = "red"

    name = uuid.UUID(int=1)
    for odd in (1, math.nan, "\u00e9"):
        entry: Any = {"kind": "file", "key": "a", "meta": {"u": name, "c": Colour.RED, "o": odd}}
        written = serialize_entry(entry)
        assert f'"u":"{name}","c":"red"'.encode() in written


@pytest.mark.parametrize("value", [object(), b"x", {1}, dt.datetime(2026, 1, 1)])  # noqa: DTZ001
def test_what_has_no_form_in_json_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        serialize_entry({"kind": "file", "key": "a", "meta": {"v": value}})


def test_entries_nested_too_deep_are_refused_both_ways() -> None:
    nested: Any = []
    for _ in range(sys.getrecursionlimit() * 100):
        nested = [nested]
    with pytest.raises(InvalidManifestError, match="deep"):
        serialize_entry({"kind": "file", "key": "a", "meta": nested})
    line = b'{"kind":"file","key":"a","meta":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    with pytest.raises(InvalidManifestError, match=r"Line 2: .*deep") as caught:
        list(iter_lines(io.BytesIO(FILE + b"\n" + line), key="m.jsonl"))
    assert (caught.value.line_number, caught.value.key) == (2, "m.jsonl")
    while nested:
        nested = nested[0]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{bad", "invalid JSON"),
        (b'{"kind":"file","key":"a"}{"kind":"file","key":"b"}', "invalid JSON"),
        (b'{"kind":"file","key":"a"},{"kind":"file","key":"b"}', "invalid JSON"),
        (b'{"kind":"file","key":"cut', "invalid JSON"),
        (b'{"kind":"file","key":"\xff"}', "not UTF-8"),
        (b"\xef\xbb\xbf" + FILE, "invalid JSON"),
        (b'{"kind":"file","key":"a","n":' + b"1" * 5000 + b"}", "invalid JSON"),
        (b"1", "an entry is an object, not int"),
        (b"null", "not NoneType"),
        (b'["kind"]', "not list"),
        (b'"kind"', "not str"),
        (b"{}", "no 'kind'"),
        (b'{"kind":"other","key":"a"}', "unknown kind 'other'"),
        (b'{"kind":["file"],"key":"a"}', "unknown kind"),
        (b'{"kind":null,"key":"a"}', "unknown kind None"),
        (b'{"kind":"file"}', "file entry has no 'key'"),
        (b'{"kind":"shard","key":"a"}', "shard entry has no 'archive_key'"),
        (b'{"kind":"manifest_ref"}', "manifest_ref entry has no 'key'"),
        (b'{"kind":"file","key":5}', "is text, got 5"),
        (b'{"kind":"shard","archive_key":null}', "is text, got None"),
    ],
)
def test_a_line_that_is_no_entry_is_named_after_those_before_it(line: bytes, reason: str) -> None:
    stored = FILE + b"\n\n\r\n" + FILE + b"\r\n" + line + b"\n" + FILE + b"\n"
    given: list[ManifestEntry] = []
    with pytest.raises(InvalidManifestError, match=reason) as caught:
        given.extend(iter_lines(io.BytesIO(stored), key="k.jsonl"))
    assert caught.value.line_number == 5
    assert caught.value.key == "k.jsonl"
    assert str(caught.value).startswith("Line 5: ")
    assert len(given) == 2
    with pytest.raises(InvalidManifestError, match=reason):
        parse_line(line, 5)


@pytest.mark.parametrize("line", ["", b"", "  \r", b"\t\n"])
def test_a_blank_line_is_no_entry(line: str | bytes) -> None:
    with pytest.raises(InvalidManifestError, match="Line 3: empty line"):
        parse_line(line, 3)


@pytest.mark.parametrize("stored", [b"", b"\n", b"\r\n \n\n"])
def test_blank_lines_alone_are_an_empty_manifest(stored: bytes) -> None:
    assert list(iter_lines(io.BytesIO(stored))) == []


@pytest.mark.parametrize(
    "cut",
    [
        [b'{"kind":"file","key":"a","m":[{}', b'{"kind":"x"}]}'],
        [b'{"kind":"file","key":"a"', b'"m":1}'],
        [b'{"kind":"file","key":"a', b'b"}'],
        [b'{"kind":"file","key":"a\\', b'b"}'],
        [b'{"kind":"file","key":"a","m":', b'"n":1}'],
        [b'{"kind":"file","key":"a","m":{"x":{}', b'"y":{}}}'],
    ],
)
def test_two_entries_on_one_line_do_not_make_up_for_one_on_two(cut: list[bytes]) -> None:
    two = FILE + b"," + FILE
    for lines in ([FILE, *cut, two, FILE], [FILE, two, *cut, FILE]):
        with pytest.raises(InvalidManifestError, match="Line 2"):
            list(iter_lines(io.BytesIO(b"\n".join(lines) + b"\n")))


def test_unknown_fields_and_their_order_are_kept() -> None:
    line = b'{"z":1,"kind":"file","x-more":{"b":1,"a":2},"key":"a"}'
    assert serialize_entry(parse_line(line)) == line


class Drip:
    """A stream that gives what it likes, and counts what it gave."""

    def __init__(self, pieces: Any) -> None:
        self.pieces = iter(pieces)
        self.given = 0

    def read(self, size: int, /) -> bytes:
        piece: bytes = next(self.pieces, b"")
        self.given += len(piece)
        assert len(piece) <= size
        return piece


@pytest.mark.parametrize("length", [1, 2, 7, 25, 26, 27, 60_000])
def test_lines_may_be_cut_anywhere_on_their_way(length: int) -> None:
    stored = b"".join(b'{"kind":"file","key":"%d"}\n' % number for number in range(3000))
    pieces = [stored[start : start + length] for start in range(0, len(stored), length)]
    read = list(iter_lines(Drip(pieces)))
    keys = [entry["key"] for entry in read if entry["kind"] == "file"]
    assert keys == [str(n) for n in range(3000)]


def test_an_endless_line_ends_before_it_fills_the_memory() -> None:
    endless = Drip(b"x" * 65_536 for _ in iter(int, 1))
    with pytest.raises(InvalidManifestError, match="more than 16777216 bytes") as caught:
        list(iter_lines(endless))
    assert caught.value.line_number == 1
    assert endless.given < 18 << 20


def test_a_line_longer_than_allowed_is_refused_wherever_it_ends() -> None:
    long_line = b'{"kind":"file","key":"%s"}' % (b"x" * 1000)
    stored = FILE + b"\n" + long_line + b"\n" + FILE
    assert len(list(iter_lines(io.BytesIO(stored), most_line_bytes=len(long_line)))) == 3
    with pytest.raises(InvalidManifestError, match="Line 2: line of more than"):
        list(iter_lines(io.BytesIO(stored), most_line_bytes=len(long_line) - 1))


def test_blocks_keep_the_bytes_of_their_lines() -> None:
    lines = [b'{"kind": "file", "key": "a"}\r', b'{"kind":"manifest_ref","key":"r"}', FILE]
    (block,) = iter_blocks(io.BytesIO(b"\n" + b"\n\n".join(lines) + b"\n"))
    assert block.lines == lines
    assert block.refs == [1]
    assert [entry["kind"] for entry in block.entries] == ["file", "manifest_ref", "file"]


def test_lines_as_text_are_all_given_blank_ones_too() -> None:
    stored = b"\n" + FILE + b"\r\n\n" + FILE
    assert list(iter_text(io.BytesIO(stored))) == ["", FILE.decode() + "\r", "", FILE.decode()]
    with pytest.raises(InvalidManifestError, match="Line 2: not UTF-8"):
        list(iter_text(io.BytesIO(b"a\n\xff\n")))


def test_what_readers_would_refuse_is_not_written() -> None:
    many: list[Any] = [{"kind": "file", "key": "a"}] * 40 + [{"kind": "file"}]
    with pytest.raises(InvalidManifestError, match="Line 41: file entry has no 'key'"):
        list(serialize_blocks(many))


def test_large_entries_are_not_gathered() -> None:
    made = 0

    def many() -> Any:
        nonlocal made
        for _ in range(300):
            made += 1
            yield {"kind": "file", "key": "k" * 100_000}

    blocks = serialize_blocks(many())
    next(blocks)
    for _ in range(3):
        before = made
        next(blocks)
        assert made - before <= 2
