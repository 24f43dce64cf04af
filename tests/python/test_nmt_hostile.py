"""Namespaced Merkle trees against an enemy: no lie verifies, nothing raises, nothing costs much."""

from __future__ import annotations

import base64
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inputs import run_python
from oracles import nmt_oracle as oracle
from shardpack import ProofFormatError, nmt

WIDTHS = (1, 8, 29, 255)
PLACES = (1, 3, 3, 3, 7, 7, 9)
FUNCTIONS = ("verify", "verify_range", "verify_namespace")
FLAG_AT = 8


def name(place: int, width: int) -> bytes:
    """A namespace; 255 is the greatest of that width."""
    return b"\xff" * width if place == 255 else bytes(width - 1) + bytes([place])


@lru_cache(maxsize=64)
def twin_of(params: oracle.Params, places: tuple[int, ...] = PLACES) -> oracle.Tree:
    namespaces = [name(place, params.ns_size) for place in places]
    return oracle.Tree(params, namespaces, [b"leaf %d" % at for at in range(len(places))])


def tree_of(twin: oracle.Tree) -> nmt.Tree:
    params = twin.params
    tree = nmt.Tree(
        hash=params.hash, ns_size=params.ns_size, ignore_max_namespace=params.ignore_max
    )
    tree.extend(twin.namespaces, twin.leaves)
    assert tree.root() == twin.root()
    return tree


class Query(NamedTuple):
    """A question to a verifier."""

    function: str
    proof: bytes
    asked: Any
    namespace: bytes
    root: bytes
    pins: dict[str, Any]

    def answer(self) -> bool:
        """What the verifier says, which is what the oracle says."""
        arguments = (self.proof, self.asked, self.namespace, self.root)
        found: bool = getattr(nmt, self.function)(*arguments, **self.pins)
        due: bool = getattr(oracle, self.function)(*arguments, **self.pins)
        assert found is due, self
        return found


def ask(function: str, proof: bytes | oracle.Proof, asked: Any, ns: bytes, root: bytes) -> Query:
    data = oracle.encode(proof) if isinstance(proof, oracle.Proof) else proof
    return Query(function, data, asked, ns, root, {})


def honest(twin: oracle.Tree) -> list[Query]:
    """A question of each sort, to which the answer is yes."""
    root = twin.root()
    called = partial(name, width=twin.params.ns_size)
    threes = called(3)
    every = twin.prove_namespace(threes)
    return [
        ask("verify", twin.prove_range(6, 7), twin.leaves[6], called(9), root),
        ask("verify", twin.prove_namespace(threes, leaf_nodes=True), b"leaf 2", threes, root),
        ask("verify_range", twin.prove_range(1, 3), twin.leaves[1:3], threes, root),
        ask("verify_range", every, twin.leaves[1:4], threes, root),
        ask("verify_namespace", every, twin.leaves[1:4], threes, root),
        ask("verify_namespace", twin.prove_namespace(called(5)), [], called(5), root),
        ask("verify_namespace", twin.prove_namespace(called(200)), [], called(200), root),
        ask("verify_namespace", twin.prove_namespace(called(0)), [], called(0), root),
    ]


@pytest.fixture(params=WIDTHS, ids=lambda width: f"width {width}")
def width(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.mark.parametrize("hash", nmt.HASHES)
@pytest.mark.parametrize("ignore_max", [False, True])
def test_lies_do_not_verify_at_any_width(width: int, hash: str, ignore_max: bool) -> None:
    twin = twin_of(oracle.Params(hash, width, ignore_max))
    root, leaves, params = twin.root(), twin.leaves, twin.params
    one, three, five, six, seven = (name(place, width) for place in (1, 3, 5, 6, 7))
    for query in honest(twin):
        for pins in ({}, {"size": 7}, {"hash": hash}, {"size": 7, "hash": hash}):
            assert query._replace(pins=pins).answer() is True
        for pins in ({"size": 3}, {"size": 0}, {"size": 1 << 63}):
            # An empty proof says nothing of the size.
            assert query._replace(pins=pins).answer() is (query.proof[5] == 4), (query, pins)
        assert query._replace(pins={"hash": "md5"}).answer() is False
        turned = root[width : 2 * width] + root[:width] + root[-32:]
        for wrong in (root[:-1], root + b"\0", root[-32:], b"", turned):
            assert query._replace(root=wrong).answer() is False
        for wrong in (query.namespace[1:], query.namespace + b"\0", b""):
            assert query._replace(namespace=wrong).answer() is False
        if query.asked == []:
            assert query._replace(asked=[leaves[0]]).answer() is False
    absence = twin.prove_namespace(five)
    assert absence.kind == "absence"
    middle = twin.prove_range(2, 3)
    whole = twin.prove_range(1, 4)
    every = twin.prove_namespace(three, leaf_nodes=True)
    inner = (twin.subtree(0, 2), twin.subtree(2, 4))
    preimage = b"".join(inner)
    lies = {
        # A part, or another statement, is no whole namespace.
        "a withheld leaf": (replace(middle, kind="namespace"), [leaves[2]], three),
        "a range": (whole, leaves[1:4], three),
        "no leaves": (replace(whole, kind="namespace"), [], three),
        "turned": (replace(whole, kind="namespace"), leaves[3:0:-1], three),
        "one more": (replace(whole, kind="namespace"), [*leaves[1:4], leaves[3]], three),
        # Absence next to the leaf, beyond the next one, of what is there.
        "absence, left": (replace(absence, start=3, end=4), [], five),
        "absence, skipping": (
            replace(twin.prove_range(6, 7), kind="absence", leaf_nodes=(twin.leaf_nodes[6],)),
            [],
            six,
        ),
        "absence of its leaf": (absence, [], seven),
        "absence of what is left": (absence, [], three),
        "absence without nodes": (replace(absence, nodes=()), [], five),
        "absence, nodes cut": (replace(absence, nodes=absence.nodes[:-1]), [], five),
        # Emptiness inside of the root's labels, with anything carried.
        "emptiness of a gap": (replace(absence, kind="empty", start=0, end=0), [], five),
        "emptiness of a leaf": (oracle.Proof("empty", 0, 0, (), (), params), [], three),
        # Leaf nodes that are others, or inner nodes.
        "other leaf nodes": (replace(every, leaf_nodes=every.leaf_nodes[::-1]), leaves[1:4], three),
        "few leaf nodes": (replace(every, leaf_nodes=every.leaf_nodes[:2]), leaves[1:4], three),
        "inner for leaf": (oracle.Proof("inclusion", 0, 1, (), (), params), [preimage], one),
    }
    for why, (proof, asked, ns) in lies.items():
        query = ask("verify_namespace", proof, asked, ns, root)
        assert query.answer() is False, why
        is_range = why in ("a withheld leaf", "a range")
        assert query._replace(function="verify_range").answer() is is_range, why
        for leaf in asked or [b""]:
            assert query._replace(function="verify", asked=leaf).answer() is False, why
    # A leaf that the proof does not carry; an empty leaf; no leaf on its own in a range.
    for leaf in (b"leaf 0", b"", b"leaf 1 "):
        assert ask("verify", every, leaf, three, root).answer() is False
    assert ask("verify", whole, b"leaf 1", three, root).answer() is False
    # Leaf nodes are all in the namespace, even if the leaf asked for is.
    mixed = replace(whole, start=0, end=2, nodes=(inner[1], *twin.prove_range(3, 4).nodes[2:]))
    mixed = replace(mixed, leaf_nodes=tuple(twin.leaf_nodes[:2]))
    assert ask("verify", mixed, leaves[1], three, root).answer() is False


def test_an_index_is_proved_by_the_size_only(width: int) -> None:
    twin = twin_of(oracle.Params("sha256", width), (1, 3, 5))
    proof = twin.prove_range(2, 3)
    moved = replace(proof, start=1, end=2)
    query = ask("verify", moved, twin.leaves[2], twin.namespaces[2], twin.root())
    assert query.answer() is True
    assert query._replace(pins={"size": 3}).answer() is False
    fixed = query._replace(proof=oracle.encode(proof), pins={"size": 3})
    assert fixed.answer() is True


@pytest.mark.parametrize("hash", nmt.HASHES)
def test_nothing_is_proved_of_a_greatest_namespace_that_does_not_count(
    width: int, hash: str
) -> None:
    top = name(255, width)
    for places in ((1, 2, 255, 255), (255, 255, 255), (1, 2)):
        twin = twin_of(oracle.Params(hash, width, ignore_max=True), places)
        tree, root = tree_of(twin), twin.root()
        assert ask(
            "verify_namespace", bytes(tree.prove_namespace(top)), [], top, root
        ).answer() is (False)
        start, end = twin.leaf_range(top)
        for at in range(start, end):
            assert ask("verify", bytes(tree.prove(at)), twin.leaves[at], top, root).answer()
        if start == end:
            continue
        carrying = replace(twin.prove_range(start, end, leaf_nodes=True), kind="namespace")
        for flag in (True, False):
            proof = replace(carrying, params=replace(twin.params, ignore_max=flag))
            inside = twin.leaves[start:end]
            query = ask("verify_namespace", proof, inside, top, root)
            # Where all leaves are of the greatest namespace the flag makes no difference to nodes.
            assert query.answer() is (not flag and start == 0)
            member = query._replace(function="verify", asked=inside[0])
            assert member.answer() is (not flag and start == 0)


def test_an_empty_tree_has_nothing_in_it(width: int) -> None:
    for hash in nmt.HASHES:
        params = oracle.Params(hash, width)
        root = nmt.empty_root(width, hash)
        proof = oracle.encode(oracle.Proof("empty", 0, 0, (), (), params))
        assert bytes(nmt.Tree(hash=hash, ns_size=width).prove_namespace(bytes(width))) == proof
        for place in (0, 1, 255):
            query = ask("verify_namespace", proof, [], name(place, width), root)
            assert query.answer() is True
            assert query._replace(asked=[b""]).answer() is False
            assert query._replace(function="verify_range").answer() is False
            assert query._replace(function="verify", asked=b"").answer() is False
        # The labels of an empty root, and another digest.
        other = bytes(2 * width + 32)
        assert ask("verify_namespace", proof, [], bytes(width), other).answer() is False


@pytest.mark.parametrize("ignore_max", [False, True])
def test_no_damage_goes_unseen(width: int, ignore_max: bool) -> None:
    twin = twin_of(oracle.Params("sha256", width, ignore_max))
    other = twin_of(oracle.Params("sha256", width, ignore_max), (1, 3, 3, 5, 7, 7, 9)).root()
    stride = 1 if width < 255 else 41
    for query in honest(twin):
        whole = query.proof
        damaged = [whole[:size] for size in (*range(0, len(whole), stride), len(whole) - 1)]
        damaged += [whole + extra for extra in (b"\0", whole, bytes(2 * width + 32), whole[32:])]
        damaged = [proof for proof in damaged if proof != whole]
        for at in {*range(32), *range(0, len(whole), stride)}:
            for bit in (1 << at % 8,) if at >= 32 else (1, 2, 4, 8, 16, 32, 64, 128):
                # Without leaves of the greatest namespace the flag changes nothing.
                if (at, bit) != (FLAG_AT, 1):
                    damaged.append(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        for proof in damaged:
            pinned = query._replace(proof=proof, pins={"size": 7, "hash": "sha256"})
            assert pinned.answer() is False
            pinned._replace(pins={}).answer()
        flagged = whole[:FLAG_AT] + bytes([not ignore_max]) + whole[FLAG_AT + 1 :]
        assert query._replace(proof=flagged).answer() is True
        # Of another tree only what its labels say still holds.
        assert query._replace(root=other).answer() is (whole[5] == 4)


@given(st.data())
def test_damaged_and_foreign_proofs_get_the_answers_of_the_oracle(data: st.DataObject) -> None:
    width = data.draw(st.sampled_from((1, 2, 8, 32)))
    params = oracle.Params(data.draw(st.sampled_from(nmt.HASHES)), width, data.draw(st.booleans()))
    places = st.lists(st.sampled_from((1, 3, 4, 6, 255)), max_size=17).map(sorted).map(tuple)
    twins = [
        twin_of(params, data.draw(places)),
        twin_of(replace(params, ignore_max=not params.ignore_max), data.draw(places)),
    ]
    proofs = []
    for twin in twins:
        proofs += [twin.prove_range(at, at + 1) for at in range(len(twin))]
        for place in (0, 1, 2, 3, 4, 5, 6, 255):
            ns = name(place, width)
            proofs += [twin.prove_namespace(ns), twin.prove_namespace(ns, leaf_nodes=True)]
    pool = sorted({node for proof in proofs for node in (*proof.nodes, *proof.leaf_nodes)})
    asks: list[Query] = []
    for _ in range(40):
        twin = data.draw(st.sampled_from(twins))
        proof = data.draw(st.sampled_from(proofs))
        proof = replace(
            proof,
            kind=data.draw(st.sampled_from((proof.kind, *oracle.KINDS))),
            start=max(0, proof.start + data.draw(st.sampled_from((0, 0, 0, 1, -1)))),
            end=max(0, proof.end + data.draw(st.sampled_from((0, 0, 0, 1, -1)))),
        )
        nodes = list(proof.nodes)
        for change in data.draw(st.lists(st.sampled_from(("cut", "add", "swap")), max_size=2)):
            at = data.draw(st.integers(0, len(nodes)))
            if change == "cut":
                del nodes[at : at + 1]
            elif pool:
                nodes[at : at + (change == "swap")] = [data.draw(st.sampled_from(pool))]
        encoded = oracle.encode(replace(proof, nodes=tuple(nodes)))
        ns = name(data.draw(st.sampled_from((1, 2, 3, 5, 6, 255))), width)
        inside = twin.inside(ns)
        asked = data.draw(st.sampled_from((inside, inside[1:], inside[:1], [*inside, b""])))
        size = data.draw(st.sampled_from((None, len(twin), len(twin) + 1)))
        pins = {} if size is None else {"size": size}
        asks += [
            Query("verify_range", encoded, asked, ns, twin.root(), pins),
            Query("verify_namespace", encoded, asked, ns, twin.root(), pins),
            Query("verify", encoded, [*asked, b""][0], ns, twin.root(), pins),
        ]
    for query in asks:
        query.answer()


@st.composite
def almost_proofs(draw: st.DrawFn) -> tuple[bytes, int]:
    """Bytes with a header of fields that are sound each, and what follows; the width."""
    width = draw(st.sampled_from((1, 8, 29, 255)))
    index = st.one_of(
        st.integers(0, 9),
        st.sampled_from([(1 << 62) - 1, 1 << 62, (1 << 62) + 1, (1 << 63) - 1, (1 << 64) - 1]),
        st.integers(0, (1 << 64) - 1),
    )
    start = draw(index)
    end = draw(st.one_of(st.just(min(start + draw(st.integers(0, 3)), (1 << 64) - 1)), index))
    nodes = draw(st.one_of(st.just(start.bit_count()), st.integers(0, 130)))
    leaf_nodes = draw(st.sampled_from((0, 0, 1, 2, 3)))
    node = draw(st.sampled_from((bytes(width * 2 + 32), name(3, width) * 2 + bytes(32))))
    header = oracle.HEADER.pack(
        b"NMTP",
        1,
        draw(st.integers(0, 5)),
        draw(st.integers(0, 4)),
        width,
        draw(st.integers(0, 2)),
        0,
        draw(st.sampled_from((nodes, nodes, 65_535))),
        draw(st.sampled_from((leaf_nodes, leaf_nodes, 1 << 20, (1 << 32) - 1))),
        start,
        end,
    )
    return header + node * (nodes + leaf_nodes), width


@given(st.one_of(almost_proofs(), st.tuples(st.binary(max_size=300), st.sampled_from(WIDTHS))))
def test_any_bytes_are_answered_with_no(given_bytes: tuple[bytes, int]) -> None:
    data, width = given_bytes
    root, ns = name(2, width) + name(7, width) + b"\7" * 32, name(3, width)
    for pins in ({}, {"size": 5}, {"size": (1 << 64) - 1}, {"hash": "sha256"}):
        for function in FUNCTIONS:
            asked = b"x" if function == "verify" else [b"x"]
            assert Query(function, data, asked, ns, root, pins).answer() is False
        assert Query("verify_range", data, [b"x"] * 3, ns, root, pins).answer() is False
        assert Query("verify_namespace", data, [], ns, root, pins).answer() is False
    try:
        assert bytes(nmt.Proof.from_bytes(data)) == data
        oracle.decode(data)
    except ProofFormatError:
        with pytest.raises(oracle.UnsoundError):
            oracle.decode(data)


@given(st.binary(max_size=400), st.sampled_from(WIDTHS))
def test_any_bytes_are_a_message_or_refused(data: bytes, width: int) -> None:
    for read in (nmt.Proof.from_celestia_protobuf, nmt.Proof.from_celestia_json):
        for given_bytes in (data, b'{"nodes":["' + base64.b64encode(data) + b'"],"end":1}'):
            try:
                proof = read(given_bytes, kind="inclusion", ns_size=width)
            except ProofFormatError:
                continue
            assert nmt.Proof.from_bytes(bytes(proof)) == proof


NODE = b"\x04\x04" + bytes(32)
NODE64 = base64.b64encode(NODE).decode()
FIELD = b"\x1a\x22" + NODE


def test_protobuf_has_numbers_that_are_indices_and_nodes_that_fit() -> None:
    read = partial(nmt.Proof.from_celestia_protobuf, kind="inclusion", ns_size=1)
    due = read(b"\x08\x01\x10\x02" + FIELD)
    assert (due.start, due.end, due.nodes) == (1, 2, (NODE,))
    for same in (
        b"\x10\x02" + FIELD + b"\x08\x01",
        b"\x08\x81\x80\x00\x10\x02" + FIELD,
        b"\x08\x07\x08\x01\x10\x02\x28\x01\x28\x00" + FIELD + b"\x22\x00",
        b"\x08\x01\x10\x02" + FIELD + b"\x30\x07\x3a\x01x\x41" + bytes(8) + b"\x4d" + bytes(4),
    ):
        assert read(same) == due
    huge = b"\xff" * 9
    for wrong in (
        b"\x08" + huge + b"\x01\x10\x02" + FIELD,
        b"\x10" + huge + b"\x01",
        b"\x10" + huge + b"\x02",
        b"\x10" + b"\x80" * 10 + b"\x01",
        b"\x10" + b"\x80" * 64,
        b"\x10\x80\x80\x80\x80\x80\x80\x80\x80\x40\x08\x01",
        b"\x08\x01\x10\x02\x1a" + huge + b"\x01",
        b"\x08\x01\x10\x02\x1a\x21" + NODE[:-1],
        b"\x08\x01\x10\x02" + b"\x1a\x22\x05\x04" + bytes(32),
        b"\x08\x01\x10\x02" + FIELD * 129,
        b"\x10\x01\x22\x03abc",
        b"\x12\x01\x01",
        b"\x00\x01",
        b"\x10\x01" + b"\x33" * 100_000,
        b"\x10\x01\x33\x3c",
        b"\x10\x01\x34",
        b"\x10\x01\x36",
    ):
        with pytest.raises(ProofFormatError):
            read(wrong)


def test_json_has_one_member_of_each_and_base64_one_spelling() -> None:
    read = partial(nmt.Proof.from_celestia_json, kind="inclusion", ns_size=1)
    plain = json.dumps({"start": 1, "end": 2, "nodes": [NODE64]})
    assert (read(plain).start, read(plain).nodes) == (1, (NODE,))
    assert NODE64.endswith("A==")
    for text in (
        plain.replace('"end"', '"start"'),
        plain[:-1] + ',"nodes":[]}',
        plain[:-1] + ',"leaf_hash":null,"leaf_hash":null}',
        plain.replace("A==", "B=="),
        plain.replace("A==", "A="),
        plain.replace("A==", "A"),
        plain.replace("A==", "A==="),
        plain.replace("A==", "A==AAAA"),
        plain.replace(NODE64, NODE64[:4] + "\\n" + NODE64[4:]),
        plain.replace(NODE64, NODE64.replace("BAQ", "-_Q")),
        plain.replace(NODE64, ""),
        plain.replace("2", "-2"),
        plain.replace("2", "2.0"),
        plain.replace("2", "2e0"),
        plain.replace("2", "02"),
        plain.replace("2", "+2"),
        plain.replace("2", str((1 << 62) + 1)),
        plain.replace("2", str((1 << 64) + 2)),
        plain.replace("2", "9" * 100_000),
        plain.replace("2", "NaN"),
        plain.replace(f'["{NODE64}"]', json.dumps([NODE64] * 129)),
        plain[:-1] + ',"x":' + '{"a":[' * 50_000 + "]}" * 50_000 + "}",
        plain[:-1] + ",}",
        plain + plain,
        "[" + plain + "]",
        "\ufeff" + plain,
    ):
        with pytest.raises(ProofFormatError):
            read(text)


def test_indices_far_out_have_the_answers_of_the_oracle() -> None:
    params = oracle.Params("sha256", 1)
    node = params.leaf(b"\4", b"x")
    for start in ((1 << 62) - 2, (1 << 61) - 1, 1 << 61, 0x1555_5555_5555_5555, 1 << 40, 3, 0):
        for count in (1, 2, 3):
            if start + count > oracle.MAX_INDEX:
                continue
            left = start.bit_count()
            for nodes in {left, left + 1, min(left + 64, 128)}:
                made = oracle.Proof("inclusion", start, start + count, (node,) * nodes, (), params)
                leaves = tuple(params.leaf(b"\4", leaf) for leaf in [b"x"] * count)
                root = oracle._fold(made, leaves)
                query = ask("verify_range", made, [b"x"] * count, b"\4", root)
                assert query.answer() is True
                assert query._replace(root=node).answer() is (root == node)
                for size in (start + count, oracle.MAX_INDEX, (1 << 64) - 1):
                    query._replace(pins={"size": size}).answer()


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux does")
def test_claims_allocate_nothing() -> None:
    run_python(
        """
import resource
from shardpack import ProofFormatError, nmt

def claim(nodes, leaf_nodes, end):
    return (b"NMTP\\1\\1\\1\\xff\\0\\0" + nodes.to_bytes(2, "big") + leaf_nodes.to_bytes(4, "big")
            + bytes(8) + end.to_bytes(8, "big"))

claims = [claim(128, 1 << 20, 1 << 20), claim(65_535, (1 << 32) - 1, 1 << 62), claim(0, 0, 1 << 62)]
root, ns = bytes(542), bytes(255)
ask = lambda data: (
    nmt.verify(data, b"", ns, root),
    nmt.verify_range(data, [b""], ns, root, size=1 << 62),
    nmt.verify_namespace(data, [b""], ns, root),
)
assert not any(ask(claims[0]))
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (32 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for data in claims:
    assert not any(ask(data)) and not any(ask(data + bytes(542)))
for field in (b"\\x1a", b"\\x22"):
    message = b"\\x10\\x01" + field + b"\\xff\\xff\\xff\\xff\\x07"
    try:
        nmt.Proof.from_celestia_protobuf(message, kind="inclusion")
    except ProofFormatError:
        continue
    raise AssertionError(message)
"""
    )


def test_large_proofs_with_other_nodes_get_the_answers_of_the_oracle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Enough to hash for a pool: the range is cut into blocks, and the nodes with it.
    monkeypatch.setenv("SHARDPACK_NUM_THREADS", "3")
    twin = twin_of(oracle.Params("sha256", 1), (1,) * 1365 + (3,) * 4091 + (5,) * 900)
    proof, inside, answers = twin.prove_namespace(b"\3"), twin.inside(b"\3"), []
    for at in range(len(proof.nodes)):
        kept, rest = proof.nodes[:at], proof.nodes[at:]
        for nodes in (kept, kept + rest[1:], kept + rest[:1] + rest, (*kept, *rest[::-1])):
            changed = replace(proof, nodes=nodes)
            roots = [twin.root()]
            with suppress(oracle.UnsoundError):
                roots.append(oracle._fold(changed, twin.leaf_nodes[1365 : 1365 + 4091]))
            asked = [ask("verify_range", changed, inside, b"\3", root) for root in roots]
            answers += [query.answer() for query in asked]
    assert set(answers) == {False, True}


# --- threads ------------------------------------------------------------------------------


def test_threads_that_share_a_tree_see_it_between_two_calls() -> None:
    leaf, ns, batch = b"leaf" * 20, b"\1" * 8, 64
    grown, roots = nmt.Tree(), {nmt.empty_root()}
    for _ in range(60):
        grown.extend([ns] * batch, [leaf] * batch)
        roots.add(grown.root())
    tree, done, seen = nmt.Tree(), threading.Event(), []

    def write() -> None:
        for _ in range(20):
            tree.extend([ns] * batch, [leaf] * batch)

    def read() -> None:
        while not done.is_set():
            seen.append(tree.root())
            size = len(tree)
            if size:
                proof = tree.prove_namespace(ns, leaf_nodes=True)
                assert proof.end % batch == 0
                assert proof.end >= size

    with ThreadPoolExecutor(5) as threads:
        readers = [threads.submit(read) for _ in range(2)]
        writers = [threads.submit(write) for _ in range(3)]
        for writer in writers:
            writer.result()
        done.set()
        for reader in readers:
            reader.result()
    assert (tree.root(), len(tree)) == (grown.root(), 60 * batch)
    assert set(seen) <= roots


@pytest.mark.slow
def test_threads_that_extend_a_tree_on_the_pool_take_turns() -> None:
    # Batches that are worth a pool, more of them than it has threads: none waits for itself.
    count = 40_000
    namespaces, leaves = [b"\1" * 8] * count, [b"leaf" * 16] * count
    tree = nmt.Tree()
    with ThreadPoolExecutor(6) as threads:
        jobs = [
            threads.submit(partial(tree.extend, threads=4), namespaces, leaves) for _ in range(16)
        ]
        pushes = [threads.submit(tree.push, namespaces[0], leaves[0]) for _ in range(80)]
        for job in jobs:
            job.result()
        assert len({push.result() for push in pushes}) == 80
    due = 16 * count + 80
    root = nmt.root([leaves[0]] * due, [namespaces[0]] * due)
    assert (len(tree), tree.root()) == (due, root)


@pytest.mark.skipif(sys.platform != "linux", reason="forks with threads, as Linux can")
def test_a_tree_works_on_after_a_fork() -> None:
    found = run_python(
        """
import os, warnings
from shardpack import nmt

# From 3.12 on Python warns of any fork in a process with threads.
warnings.filterwarnings("ignore", category=DeprecationWarning)
namespaces, leaves = [b"\\1" * 8] * 30_000, [b"leaf" * 16] * 30_000
tree = nmt.Tree()
tree.extend(namespaces, leaves, threads=2)
child = os.fork()
tree.extend(namespaces, leaves, threads=2)
due = nmt.root(leaves * 2, namespaces * 2, threads=2)
proof = tree.prove(31_000)
is_right = tree.root() == due and nmt.verify(proof, leaves[0], namespaces[0], due, size=60_000)
if child == 0:
    os._exit(0 if is_right else 1)
print(is_right, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    )
    assert found == "True 0"


def test_answers_are_the_same_on_many_threads() -> None:
    twin = twin_of(oracle.Params("blake3", 29))
    queries = [*honest(twin), *(query._replace(root=bytes(90)) for query in honest(twin))]
    due = [query.answer() for query in queries]
    assert sorted(set(due)) == [False, True]
    with ThreadPoolExecutor(8) as threads:
        for found in threads.map(lambda _: [query.answer() for query in queries], range(16)):
            assert found == due
