"""Sidecars: recorded outcomes, building, binding, trust and range plans."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shardpack
from inputs import S4_VECTORS, load_json, make
from oracles import s4_oracle
from oracles.s4_oracle import Entry, Index
from shardpack import (
    CpuZstd,
    bind_index,
    build_index,
    decode_index,
    encode_frames,
    encode_index,
    index_is_trusted,
    plan_range,
)
from test_frame import unhex

INDEX_VECTORS = load_json("s4/parser_vectors.json")["indexes"]
RULES = load_json("s4/rule_vectors.json")
U64 = (1 << 64) - 1
BINDINGS: dict[str, tuple[int, str | None]] = {
    'bind_index(size=77,etag="tag")': (77, "tag"),
    "bind_index(size=0)": (0, None),
}


@pytest.mark.parametrize("vector", INDEX_VECTORS, ids=lambda vector: vector["name"])
@pytest.mark.parametrize("call", ["decode_index", *BINDINGS])
def test_recorded_outcomes(vector: dict[str, Any], call: str) -> None:
    data, due = bytes.fromhex(vector["bytes_hex"]), vector[call]
    arguments = BINDINGS.get(call)
    if "error" in due:
        with pytest.raises(shardpack.S4IndexError) as caught:
            decode_index(data) if arguments is None else bind_index(data, *arguments)
        assert type(caught.value).__name__ == due["error"]["class"]
        return
    made = decode_index(data) if arguments is None else bind_index(data, *arguments)
    assert made == unhex(due["ok"])


def test_keys_come_in_order() -> None:
    index = decode_index((S4_VECTORS / "s4_multi.s4index").read_bytes())
    assert list(index) == [
        "total_padded_size",
        "total_original_size",
        "source_etag",
        "source_compressed_size",
        "entries",
        "sse",
    ]
    assert list(index["entries"][0]) == [
        "original_offset",
        "original_size",
        "compressed_offset",
        "compressed_size",
    ]


@pytest.mark.parametrize("vector", INDEX_VECTORS, ids=lambda vector: vector["name"])
def test_a_decoded_index_encodes_again(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["bytes_hex"])
    if "error" in vector["decode_index"]:
        return
    index = decode_index(data)
    again = encode_index(index)
    assert decode_index(again) == index
    oracle = s4_oracle.decode_index(data)
    assert again == s4_oracle.encode_index(oracle)


@pytest.mark.parametrize(
    "change",
    [
        {"entries": None},
        {"entries": [1]},
        {"entries": [{"original_offset": 0}]},
        {"total_padded_size": "1"},
        {"total_padded_size": -1},
        {"source_etag": 5},
        {"sse": {"enc_chunk_size": 1}},
    ],
    ids=str,
)
def test_a_mapping_that_is_no_index_is_refused(change: dict[str, Any]) -> None:
    index = {**decode_index((S4_VECTORS / "s4_multi.s4index").read_bytes()), **change}
    with pytest.raises((TypeError, ValueError, KeyError, OverflowError)):
        encode_index(index)


def test_an_index_that_readers_would_refuse_is_not_written() -> None:
    entry = {
        "original_offset": 5,
        "original_size": 5,
        "compressed_offset": 0,
        "compressed_size": 33,
    }
    index: dict[str, Any] = {
        "total_padded_size": 66,
        "total_original_size": 10,
        "source_etag": None,
        "source_compressed_size": None,
        "entries": [entry, entry],
        "sse": None,
    }
    with pytest.raises(ValueError, match=r"entr|overlap|order"):
        encode_index(index)


@given(st.binary(max_size=3000), st.integers(1, 500))
def test_an_index_is_built_from_the_body(data: bytes, chunk: int) -> None:
    body, sizes, _crc = encode_frames(CpuZstd(1), data, chunk)
    raw = build_index(body)
    assert raw == s4_oracle.encode_index(s4_oracle.build_index(body))
    index = decode_index(raw)
    assert (index["source_etag"], index["source_compressed_size"]) == (None, None)
    assert [(e["original_size"], e["compressed_size"]) for e in index["entries"]] == sizes
    assert index["total_original_size"] == len(data)


def test_a_body_that_is_no_frames_has_no_index() -> None:
    for body in (b"no frames in here, but many bytes", b"S4P1", b"x"):
        with pytest.raises(shardpack.S4FrameError):
            build_index(body)


def test_the_sidecar_of_the_gateway_is_built_again() -> None:
    body = (S4_VECTORS / "s4_multi.body").read_bytes()
    sidecar = (S4_VECTORS / "s4_multi.s4index").read_bytes()
    bound = decode_index(sidecar)
    size = bound["source_compressed_size"]
    assert bind_index(build_index(body), size or 0, bound["source_etag"]) == sidecar


def test_binding_replaces_and_removes() -> None:
    unbound = build_index(encode_frames(CpuZstd(), make("lines", 1000), 100)[0])
    bound = bind_index(unbound, 500, "abc")
    assert decode_index(bound)["source_etag"] == "abc"
    assert bind_index(sidecar=bound, source_compressed_size=0, source_etag=None) == unbound
    assert bind_index(bound, 0, "") == unbound
    assert decode_index(bind_index(bound, 7, '"zoë-2"'))["source_etag"] == '"zoë-2"'


def test_binding_checks_its_arguments() -> None:
    unbound = build_index(b"")
    for size in (-1, 1 << 64):
        with pytest.raises(OverflowError):
            bind_index(unbound, size)
    for etag in (5, b"abc"):
        with pytest.raises(TypeError):
            bind_index(unbound, 5, etag)  # type: ignore[arg-type]
    with pytest.raises(UnicodeEncodeError):
        bind_index(unbound, 5, "\ud800")


@pytest.mark.parametrize("bound_size", [None, 100])
@pytest.mark.parametrize("bound_etag", [None, "abc", '"abc"', "abc-2"])
@pytest.mark.parametrize("size", [None, 100, 101])
@pytest.mark.parametrize("etag", [None, "abc", '"abc"', 'W/"abc"', "abd", ""])
def test_trust_needs_a_binding_that_agrees(
    bound_size: int | None, bound_etag: str | None, size: int | None, etag: str | None
) -> None:
    sidecar = bind_index(build_index(b""), bound_size or 0, bound_etag)
    expected = s4_oracle.sidecar_is_trusted(s4_oracle.decode_index(sidecar), size, etag)
    assert index_is_trusted(sidecar, size, etag) is expected


def test_a_version_1_sidecar_is_never_trusted() -> None:
    raw = bytes.fromhex(INDEX_VECTORS[0]["bytes_hex"])
    assert raw[4] == 1
    assert not index_is_trusted(raw)
    with pytest.raises(shardpack.S4IndexError):
        index_is_trusted(raw[:31])


@pytest.mark.parametrize(
    "vector",
    RULES["lookups"],
    ids=lambda vector: f"{vector['index']} {vector['start']}:{vector['end']}",
)
def test_recorded_lookups(vector: dict[str, Any]) -> None:
    sidecar = bytes.fromhex(RULES["indexes"][vector["index"]])
    if decode_index(sidecar)["sse"] is not None:
        with pytest.raises(shardpack.EncryptedObjectError):
            plan_range(sidecar, vector["start"], vector["end"])
        return
    plan = plan_range(sidecar, vector["start"], vector["end"])
    expected = vector["plan"]
    assert (None if plan is None else list(plan.values())) == expected
    if plan is not None:
        assert list(plan) == list(s4_oracle.Plan._fields)


spans = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 3), st.integers(28, 40)),
    max_size=12,
)


@given(spans, st.integers(0, 130), st.integers(0, 130))
def test_plans_equal_a_slow_search(
    rows: list[tuple[int, int, int, int]], start: int, end: int
) -> None:
    entries: list[Entry] = []
    original = stored = 0
    for gap, size, stored_gap, stored_size in rows:
        entries.append(Entry(original + gap, size, stored + stored_gap, stored_size))
        original, stored = entries[-1].original_end, entries[-1].compressed_end
    index = Index(stored, entries)
    plan = plan_range(s4_oracle.encode_index(index), start, end)
    expected = s4_oracle.lookup_range(index, start, end)
    assert plan == (None if expected is None else expected._asdict())


def test_plans_at_the_end_of_64_bits() -> None:
    index = Index(0, [Entry(0, 10, 0, 38), Entry(10, U64 - 10, 38, U64 - 38)])
    plan = plan_range(s4_oracle.encode_index(index), 9, U64)
    assert plan is not None
    assert (plan["byte_end"], plan["slice_end"]) == (U64, U64)


def test_a_range_outside_64_bits_is_refused() -> None:
    sidecar = build_index(b"")
    for start, end in ((-1, 5), (0, -1), (0, 1 << 64)):
        with pytest.raises((OverflowError, ValueError)):
            plan_range(sidecar, start, end)
    with pytest.raises(TypeError):
        plan_range(sidecar, 0.0, 5)  # type: ignore[arg-type]
