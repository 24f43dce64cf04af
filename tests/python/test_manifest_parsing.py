"""Lines are parsed many at a time; what comes out is what each of them means by itself."""

from __future__ import annotations

import gc
import io
import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shardpack.errors import InvalidManifestError
from shardpack.exchange.keys import Space
from shardpack.exchange.manifest.lines import iter_blocks, iter_lines, serialize_blocks
from shardpack.exchange.manifest.reading import iter_entries
from shardpack.storage import MemoryStore

FILE = b'{"kind":"file","key":"a"}'
NAMES = {"file": "key", "shard": "archive_key", "manifest_ref": "key"}

numbers = st.from_regex(r"\A-?[0-9]{17,21}(\.[0-9])?(e-?[0-9]{1,2})?\Z")
fields = st.sampled_from(
    [
        b'"n":%s',
        b'"n": %s',
        b'"n":\t%s',
        b'"n":[%s]',
        b'"n":[1,%s]',
        b'"n":{"m":%s}',
        b'"n":"%s"',
        b'"n":"a: %s"',
    ]
)
good = st.sampled_from(
    [
        FILE,
        FILE + b"\r",
        b" " + FILE + b"\t",
        b'{"kind":"shard","archive_key":"s.tar","key":5}',
        b'{"kind":"manifest_ref","key":"r","kind":"manifest_ref"}',
        b'{"kind":"other","kind":"file","key":"twice"}',
        b'{"kind":"file","key":"\\ud800"}',
        b'{"kind":"file","key":"\\u0000"}',
        b'{"kind":"file","key":"\\","}',
        '{"kind":"file","key":"\u00e9\u2028\U0001f600"}'.encode(),
        b'{"kind":"file","key":"a","x":[{},[],""]}',
        b'{"kind":"file","key":"a","x":NaN}',
        b'{"kind":"file","key":"],[","x":{"y":{"z":-Infinity}}}',
    ]
) | st.builds(
    lambda field, number: b'{"kind":"file","key":"a",%s}' % (field % number.encode()),
    fields,
    numbers,
)
blank = st.sampled_from([b"", b"\r", b" ", b"\t\r", b"\x0b", b"\x0c"])
#: What is nothing by itself, and something between its neighbours, in an array or out of it.
bad = st.sampled_from(
    [
        b"1,2",
        b"1",
        b"null",
        b'""',
        b'"kind"',
        b"[]",
        b"{}",
        b"{}]  [{}",
        b"]",
        b"[",
        b",",
        b'","',
        b'"",""',
        b"],[",
        FILE + b"," + FILE,
        FILE + b',"",' + FILE,
        FILE + b"]",
        FILE + b"][" + FILE,
        FILE + FILE,
        b"," + FILE,
        FILE + b",",
        FILE[:-1],
        FILE[:-3],
        FILE[:-3] + b"\\",
        b'"}',
        b'b"}',
        b'"m":1}',
        b'{"kind":"file","key":"a","m":',
        b'{"kind":"file","key":"a","m":[',
        b'{"kind":"file","key":"a","m":{"',
        b"\xef\xbb\xbf" + FILE,
        FILE + b"\x00",
        b"\x00",
        b'{"kind":"file","key":"\x00"}',
        b'{"kind":"file","key":"\xed\xa0\x80"}',
        b'{"kind":"file","key":"\xff"}',
        b'{"kind":"file","key":"\r"}',
        b'{"kind":"file","key":1}',
        b'{"kind":"file","archive_key":"a"}',
        b'{"kind":["file"],"key":"a"}',
        b'{"kind":"file","kind":"other","key":"a"}',
        b'{"kind":"file","key":"a","x":01}',
        b'{"kind":"file","key":"a",}',
        b"//" + FILE,
    ]
)
manifests = st.lists(good | blank | bad, max_size=12) | st.lists(good | blank, max_size=40)


def meaning(stored: bytes) -> tuple[list[dict[str, Any]], int | None]:
    """Give the entries before the first line that is none, and the number of that line."""
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(stored.split(b"\n"), 1):
        if not line or line.isspace():
            continue
        try:
            entry = json.loads(line.decode())
        except ValueError:
            return entries, number
        kind = entry.get("kind") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or not isinstance(entry.get(NAMES.get(kind, "")), str):
            return entries, number
        entries.append(entry)
    return entries, None


class Pieces:
    """A stream that gives a few bytes at a time."""

    def __init__(self, stored: bytes, length: int) -> None:
        self._stored = io.BytesIO(stored)
        self._length = length

    def read(self, size: int, /) -> bytes:
        return self._stored.read(min(size, self._length))


@given(lines=manifests, ends=st.booleans(), length=st.sampled_from([1, 7, 40, 1000]))
@example(lines=[FILE, b"1,2", FILE], ends=True, length=1000)
@example(lines=[FILE, b"{}]  [{}", FILE], ends=True, length=1000)
@example(lines=[FILE, FILE + b"," + FILE, FILE[:-3], b'"}'], ends=False, length=1000)
@example(lines=[b"\xef\xbb\xbf" + FILE, FILE], ends=True, length=1000)
def test_many_lines_mean_what_each_of_them_means(
    lines: list[bytes], *, ends: bool, length: int
) -> None:
    stored = b"\n".join(lines) + b"\n" * ends
    expected, number = meaning(stored)
    found: list[Any] = []
    failure: InvalidManifestError | None = None
    try:
        found.extend(iter_lines(Pieces(stored, length), key="m.jsonl"))
    except InvalidManifestError as error:
        failure = error
    # As text: NaN is itself, and integers are told from floats.
    assert list(map(repr, found)) == list(map(repr, expected))
    assert (failure and failure.line_number) == number


@given(manifests)
def test_blocks_have_the_line_of_each_entry(lines: list[bytes]) -> None:
    stored = b"\n".join(lines)
    try:
        for block in iter_blocks(io.BytesIO(stored)):
            assert len(block.lines) == len(block.entries)
            for line, entry in zip(block.lines, block.entries, strict=True):
                assert repr(json.loads(line)) == repr(entry)
            assert block.refs == [
                at for at, entry in enumerate(block.entries) if entry["kind"] == "manifest_ref"
            ]
    except InvalidManifestError:
        assert meaning(stored)[1] is not None


@pytest.mark.parametrize("number", [1, 2, 700, 1234, 2000, 19_999, 20_000])
@pytest.mark.parametrize("bad_line", [b"1,2", FILE + b"," + FILE, FILE[:-3]])
def test_a_bad_line_has_its_number_far_into_a_manifest(number: int, bad_line: bytes) -> None:
    lines = [b"" if at % 1000 == 500 else FILE for at in range(20_000)]
    lines[number - 1] = bad_line
    blank_before = sum(not line for line in lines[: number - 1])
    found: list[Any] = []
    with pytest.raises(InvalidManifestError) as caught:
        found.extend(iter_lines(io.BytesIO(b"\n".join(lines))))
    assert caught.value.line_number == number
    assert len(found) == number - 1 - blank_before


# What a column of like entries holds, where json and orjson print some of it differently.
columns = st.sampled_from(
    [
        st.none(),
        st.booleans(),
        st.integers(0, 1 << 20),
        st.integers(2**63 - 2, 2**64 + 2),
        st.text(max_size=3),
        st.sampled_from(["a", "\x7f", "\u00e9", "},{", "null"]),
        st.floats(0.5, 2),
        st.sampled_from([0.0, -0.0, 1e16, 9.9e15, 1e-4, 9e-5, math.nan, math.inf, 0.5]),
        st.lists(st.sampled_from([1, "a", 1e17]), max_size=3),
        st.tuples(st.integers(0, 9), st.floats(1, 2)),
        st.fixed_dictionaries({"a": st.floats(0, 1), "b": st.text(max_size=2)}),
        st.fixed_dictionaries({"a": st.fixed_dictionaries({"b": st.sampled_from([1.0, 1e22])})}),
        st.dictionaries(st.sampled_from("ab"), st.integers(0, 9)),
    ]
)
#: Entries of one shape, of a few, and of many.
tables = st.lists(columns, min_size=1, max_size=4).flatmap(
    lambda drawn: st.lists(st.tuples(*drawn), min_size=1, max_size=40)
)


@given(rows=tables, uneven=st.booleans())
def test_entries_of_one_shape_are_written_as_json_writes_each(
    rows: list[tuple[Any, ...]], *, uneven: bool
) -> None:
    many: list[Any] = [
        {"kind": "file", "key": "a", **{f"c{at}": value for at, value in enumerate(row)}}
        for row in rows
    ]
    if uneven:
        many.insert(len(many) // 2, {"kind": "shard", "archive_key": "s.tar"})
    expected = b"".join(
        json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n" for entry in many
    )
    assert b"".join(block for block, _ in serialize_blocks(many)) == expected


def test_entries_that_were_given_are_let_go_of_before_more_are_read() -> None:
    line = b'{"kind":"file","key":"a","let-go":{"of":[]}}\n'
    made = 100_000
    held: list[int] = []

    class Watched(MemoryStore):
        def get(self, key: str, **options: Any) -> Any:
            body = super().get(key, **options)
            read = body.read

            def watching(size: int | None = -1) -> bytes:
                gc.collect(0)
                held.append(
                    sum(type(thing) is dict and "let-go" in thing for thing in gc.get_objects())
                )
                return read(size)

            body.read = watching  # type: ignore[method-assign]
            return body

    store = Watched("watched")
    store.put("m.jsonl", line * made)
    found = iter_entries(Space(store), "m.jsonl")
    assert sum(1 for _ in found) == made
    assert len(held) > 10
    # The one that the consumer has in hand.
    assert max(held) <= 1
