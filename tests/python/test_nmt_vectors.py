"""Namespaced Merkle trees: every recorded tree and proof, and random ones beside the oracle."""

from __future__ import annotations

import copy
import json
import pickle
from array import array
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inputs import VECTORS, load_json
from oracles import nmt_oracle as oracle
from shardpack import InvalidInput, nmt

Row = dict[str, Any]

TREES = sorted(
    path.stem
    for path in (VECTORS / "nmt").glob("*.json")
    if path.stem.count("-") and path.is_file()
)


def cases() -> list[Row]:
    return [case for name in TREES for case in load_json(f"nmt/{name}.json")["cases"]]


def name_of(case: Row) -> str:
    return str(case["name"])


def unhex(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def options_of(case: Row) -> Row:
    return {key: case[key] for key in ("hash", "ns_size", "ignore_max_namespace")}


def leaves_of(case: Row) -> tuple[list[bytes], list[bytes]]:
    namespaces = unhex([leaf[0] for leaf in case["leaves"]])
    return namespaces, unhex([leaf[1] for leaf in case["leaves"]])


def oracle_of(case: Row) -> oracle.Tree:
    params = oracle.Params(case["hash"], case["ns_size"], case["ignore_max_namespace"])
    return oracle.Tree(params, *leaves_of(case))


def tree_of(case: Row) -> nmt.Tree:
    made = nmt.Tree(**options_of(case))
    made.extend(*leaves_of(case))
    return made


# --- the recorded vectors -----------------------------------------------------------------


def test_all_recorded_trees_are_found() -> None:
    assert len(TREES) == 8
    assert len(cases()) > 100


@pytest.mark.parametrize("case", cases(), ids=name_of)
def test_recorded_roots_come_out_of_every_way_to_make_one(case: Row) -> None:
    namespaces, leaves = leaves_of(case)
    options, due = options_of(case), bytes.fromhex(case["root"])
    assert len(leaves) == case["count"]
    assert oracle_of(case).root() == due
    offsets = array("Q", [0])
    for leaf in leaves:
        offsets.append(offsets[-1] + len(leaf))
    data, names = b"".join(leaves), b"".join(namespaces)
    for sort in (False, True):
        wishes = {**options, "sort": sort, "allow_empty": True}
        assert nmt.root(leaves, namespaces, **wishes) == due
        assert nmt.root_packed(data, offsets, names, **wishes) == due
    if leaves:
        assert nmt.root(pa.array(leaves), pa.array(namespaces), **options) == due
        # Namespaces backwards; a stable sort keeps the leaves of each in order.
        mixed = sorted(range(len(leaves)), key=namespaces.__getitem__, reverse=True)
        found = nmt.root(
            [leaves[at] for at in mixed], [namespaces[at] for at in mixed], sort=True, **options
        )
        assert found == due
    pushed = nmt.Tree(**options)
    assert [*map(pushed.push, namespaces, leaves)] == [*range(len(leaves))]
    assert pushed.root() == tree_of(case).root() == due
    assert nmt.parse_root(due, case["ns_size"])[2] == due[-32:]
    if not leaves:
        assert nmt.empty_root(case["ns_size"], case["hash"]) == due


@pytest.mark.parametrize("case", cases(), ids=name_of)
def test_recorded_proofs_of_leaves_come_out_and_verify(case: Row) -> None:
    tree, root = tree_of(case), bytes.fromhex(case["root"])
    namespaces, leaves = leaves_of(case)
    for row in case["inclusion"]:
        at = row["index"]
        proof = tree.prove(at)
        check_encodings(proof, row, case)
        ns, leaf = namespaces[at], leaves[at]
        pins: Row = {"hash": case["hash"], "size": len(leaves)}
        assert (proof.kind, proof.start, proof.end) == ("inclusion", row["start"], row["end"])
        for given_proof in (proof, proof.to_bytes(), memoryview(bytearray(bytes(proof)))):
            assert nmt.verify(given_proof, leaf, ns, root, **pins) is True
            assert nmt.verify(given_proof, leaf + b"\0", ns, root, **pins) is False
        assert nmt.verify_range(proof, [leaf], ns, root, **pins) is True
        assert nmt.verify_namespace(proof, [leaf], ns, root, **pins) is False
    for row in case["ranges"]:
        start, end = row["start"], row["end"]
        proof = tree.prove_range(start, end)
        check_encodings(proof, row, case)
        part, ns = leaves[start:end], namespaces[start]
        assert nmt.verify_range(proof, part, ns, root, size=len(leaves)) is True
        assert nmt.verify_range(proof, part[1:], ns, root, size=len(leaves)) is False


@pytest.mark.parametrize("case", cases(), ids=name_of)
def test_recorded_proofs_of_namespaces_come_out_and_verify(case: Row) -> None:
    tree, root, twin = tree_of(case), bytes.fromhex(case["root"]), oracle_of(case)
    for row in case["namespaces"]:
        ns = bytes.fromhex(row["namespace"])
        proof = tree.prove_namespace(ns)
        assert (proof.kind, proof.start, proof.end) == (row["kind"], row["start"], row["end"])
        check_encodings(proof, row, case)
        inside = twin.inside(ns)
        assert tree.leaf_range(ns) == twin.leaf_range(ns)
        proofs: list[nmt.Proof | bytes] = [proof, proof.to_bytes()]
        if "nmtp_with_leaf_nodes" in row:
            carrying = tree.prove_namespace(ns, leaf_nodes=True)
            assert carrying.to_bytes().hex() == row["nmtp_with_leaf_nodes"]
            assert list(carrying.leaf_nodes) == twin.leaf_nodes[proof.start : proof.end]
            proofs.append(carrying)
            for leaf in inside:
                assert nmt.verify(carrying, leaf, ns, root) is row["verify_namespace"]
        for each in proofs:
            found = nmt.verify_namespace(each, inside, ns, root, size=len(twin) or None)
            assert found is row["verify_namespace"]
            assert nmt.verify_namespace(each, [*inside, b"?"], ns, root) is False
            assert not inside or nmt.verify_namespace(each, inside[1:], ns, root) is False


def check_encodings(proof: nmt.Proof, row: Row, case: Row) -> None:
    """The encodings that a row has are what the proof writes, and are read as the proof."""
    assert proof.to_bytes().hex() == row["nmtp"]
    assert nmt.Proof.from_bytes(bytes.fromhex(row["nmtp"])) == proof
    if "nodes" in row:
        assert [node.hex() for node in proof.nodes] == row["nodes"]
    kind = "namespace" if proof.kind == "namespace" else "inclusion"
    foreign: Row = {"kind": kind, "ns_size": case["ns_size"], "hash": case["hash"]}
    if "protobuf" in row:
        message = bytes.fromhex(row["protobuf"])
        assert proof.to_celestia_protobuf() == message
        assert nmt.Proof.from_celestia_protobuf(message, **foreign) == proof
    if "json" in row:
        assert proof.to_celestia_json() == row["json"]
        assert nmt.Proof.from_celestia_json(row["json"], **foreign) == proof


def queries() -> list[Row]:
    found: list[Row] = load_json("nmt/verify.json")["queries"]
    return found


@pytest.mark.parametrize("query", queries(), ids=[query["why"] for query in queries()])
def test_recorded_queries_get_their_answers(query: Row) -> None:
    proof, ns, root = unhex([query[key] for key in ("proof", "namespace", "root")])
    asked: Any = unhex(query["leaves"]) if "leaves" in query else bytes.fromhex(query["leaf"])
    pins = {key: query[key] for key in ("hash", "size") if key in query}
    ask: Any = getattr(nmt, query["fn"])
    assert ask(proof, asked, ns, root, **pins) is query["expect"]
    assert ask(bytearray(proof), asked, memoryview(ns), root, **pins) is query["expect"]
    assert getattr(oracle, query["fn"])(proof, asked, ns, root, **pins) is query["expect"]


@pytest.mark.parametrize("row", load_json("nmt/errors.json")["root"], ids=lambda row: row["why"])
def test_recorded_mistakes_are_refused(row: Row) -> None:
    leaves, namespaces = unhex(row["leaves"]), unhex(row["namespaces"])
    assert row["error"] == "InvalidInput"
    with pytest.raises(InvalidInput) as caught:
        nmt.root(leaves, namespaces)
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value, ValueError)
    if leaves:
        tree = nmt.Tree()
        with pytest.raises(InvalidInput):
            tree.extend(namespaces, leaves)
        assert (len(tree), tree.root()) == (0, nmt.empty_root())


def test_published_roots_nodes_and_json_come_out() -> None:
    published = load_json("nmt/published.json")["cases"]
    assert len(published) == 2
    for case in published:
        tree = tree_of(case)
        assert tree.root().hex() == case["root"]
        assert tree.root().hex().startswith(case.get("root_prefix_published", ""))
        due = case.get("namespace_01")
        if due is None:
            continue
        proof = tree.prove_namespace(b"\1")
        assert (proof.start, proof.end) == (due["start"], due["end"])
        assert [node.hex() for node in proof.nodes] == due["nodes_published"]
        assert proof.to_celestia_json() == due["json_published"]
        assert nmt.verify_namespace(proof, [b"leaf_2"], b"\1", tree.root()) is True
        assert nmt.verify_namespace(proof, [b"leaf_1"], b"\1", tree.root()) is False


# --- random trees beside the oracle -------------------------------------------------------


def name(place: int, width: int) -> bytes:
    """A namespace; 15 is the greatest of that width."""
    if place == 15:
        return b"\xff" * width
    # Some differ in their first byte, others in their last.
    return (
        bytes([place >> 2]) + bytes(width - 1) if place % 2 else bytes(width - 1) + bytes([place])
    )


@st.composite
def trees(draw: st.DrawFn) -> oracle.Tree:
    width = draw(st.integers(1, 32))
    params = oracle.Params(draw(st.sampled_from(sorted(oracle.HASHES))), width, draw(st.booleans()))
    leaf = st.tuples(
        st.sampled_from((0, 2, 4, 5, 6, 9, 13, 14, 15)).map(lambda place: name(place, width)),
        st.binary(max_size=70),
    )
    leaves = sorted(draw(st.lists(leaf, max_size=21)), key=lambda leaf: leaf[0])
    return oracle.Tree(params, [ns for ns, _ in leaves], [data for _, data in leaves])


def grown(twin: oracle.Tree, cut: int = 0) -> nmt.Tree:
    params = twin.params
    tree = nmt.Tree(
        hash=params.hash, ns_size=params.ns_size, ignore_max_namespace=params.ignore_max
    )
    tree.extend(twin.namespaces[:cut], twin.leaves[:cut])
    tree.extend(twin.namespaces[cut:], twin.leaves[cut:])
    return tree


@given(trees(), st.integers(0, 21))
def test_random_trees_have_the_roots_and_proofs_of_the_oracle(twin: oracle.Tree, cut: int) -> None:
    params, root, size = twin.params, twin.root(), len(twin)
    tree = grown(twin, cut)
    assert (tree.root(), len(tree)) == (root, size)
    options: Row = {
        "hash": params.hash,
        "ns_size": params.ns_size,
        "ignore_max_namespace": params.ignore_max,
        "allow_empty": True,
    }
    assert nmt.root(twin.leaves, twin.namespaces, **options) == root
    for start in range(size):
        for end in range(start + 1, size + 1):
            if twin.namespaces[start] != twin.namespaces[end - 1]:
                with pytest.raises(InvalidInput):
                    tree.prove_range(start, end)
                break
            for leaf_nodes in (False, True):
                proof = tree.prove_range(start, end, leaf_nodes)
                check_proof(proof, twin.prove_range(start, end, leaf_nodes=leaf_nodes))
                part, ns = twin.leaves[start:end], twin.namespaces[start]
                assert nmt.verify_range(proof, part, ns, root, size=size) is True
            assert end > start + 1 or nmt.verify(tree.prove(start), part[0], ns, root) is True
    for ns in {name(place, params.ns_size) for place in range(16)}:
        for leaf_nodes in (False, True):
            proof = tree.prove_namespace(ns, leaf_nodes)
            check_proof(proof, twin.prove_namespace(ns, leaf_nodes=leaf_nodes))
            found = nmt.verify_namespace(proof, twin.inside(ns), ns, root, size=size)
            assert found is not params.ignores(ns)


def check_proof(proof: nmt.Proof, due: oracle.Proof) -> None:
    """The proof is the oracle's, and a value, in every encoding."""
    assert bytes(proof) == oracle.encode(due)
    assert (proof.kind, proof.start, proof.end) == (due.kind, due.start, due.end)
    assert (proof.nodes, proof.leaf_nodes) == (due.nodes, due.leaf_nodes)
    assert (proof.hash, proof.ns_size) == (due.params.hash, due.params.ns_size)
    assert proof.ignore_max_namespace is due.params.ignore_max
    assert proof.to_celestia_protobuf() == oracle.to_protobuf(due)
    assert proof.to_celestia_json() == oracle.to_json(due)
    again = nmt.Proof.from_bytes(bytes(proof))
    twins = [again, copy.copy(proof), copy.deepcopy(proof), pickle.loads(pickle.dumps(proof))]
    twins.append(eval(repr(proof), {"Proof": nmt.Proof}))
    assert all(twin == proof and hash(twin) == hash(proof) for twin in twins)
    if due.leaf_nodes and due.kind != "absence":
        # Celestia's encodings have no place for the nodes of leaves.
        return
    options: Row = {
        "kind": "namespace" if due.kind == "namespace" else "inclusion",
        "ns_size": due.params.ns_size,
        "hash": due.params.hash,
    }
    message, text = proof.to_celestia_protobuf(), proof.to_celestia_json()
    assert nmt.Proof.from_celestia_protobuf(message, **options) == proof
    assert nmt.Proof.from_celestia_json(text, **options) == proof
    spaced = json.dumps(json.loads(text), indent=2).encode()
    assert nmt.Proof.from_celestia_json(spaced, **options) == proof


@given(
    st.lists(st.integers(0, 5).map(lambda place: bytes([place]) * 2), min_size=1, max_size=12),
    st.integers(0, 13),
    st.sampled_from([b"", b"\0", b"\0\0\0"]),
)
def test_the_first_wrong_namespace_is_named(
    namespaces: list[bytes], place: int, narrow: bytes
) -> None:
    if place < len(namespaces):
        namespaces[place] = narrow
    leaves = [b"leaf"] * len(namespaces)
    wrong = [
        at
        for at, ns in enumerate(namespaces)
        if len(ns) != 2 or (at > 0 and ns < namespaces[at - 1])
    ]
    tree = nmt.Tree(ns_size=2)
    tree.extend([b"\0\0"] * 3, [b"", b"a", b"b"])
    before = tree.root()
    if not wrong:
        assert nmt.root(leaves, namespaces, ns_size=2)
        return
    with pytest.raises(InvalidInput, match=rf"^leaf {wrong[0]}: "):
        nmt.root(leaves, namespaces, ns_size=2)
    with pytest.raises(InvalidInput, match=rf"^leaf {wrong[0] + 3}: "):
        tree.extend(namespaces, leaves)
    assert (len(tree), tree.root()) == (3, before)
    if all(len(ns) == 2 for ns in namespaces):
        offsets = array("Q", range(0, 4 * len(leaves) + 1, 4))
        with pytest.raises(InvalidInput, match=rf"^leaf {wrong[0]}: "):
            nmt.root_packed(b"".join(leaves), offsets, b"".join(namespaces), ns_size=2)
    else:
        with pytest.raises(InvalidInput, match=rf"^leaf {place}: .* got {len(narrow)}$"):
            nmt.root(leaves, namespaces, ns_size=2, sort=True)


@pytest.mark.parametrize("hash", nmt.HASHES)
def test_roots_of_many_leaves_do_not_depend_on_threads(hash: str) -> None:
    count = 9001
    namespaces = [(at // 7).to_bytes(8, "big") for at in range(count)]
    leaves = [at.to_bytes(2, "big") * (at % 97) for at in range(count)]
    due = oracle.Tree(oracle.Params(hash), namespaces, leaves).root()
    # The two halves swapped, between two namespaces.
    back, back_namespaces = leaves[4501:] + leaves[:4501], namespaces[4501:] + namespaces[:4501]
    for threads in (1, 2, 3, 5, None):
        assert nmt.root(leaves, namespaces, hash=hash, threads=threads) == due
        turned = nmt.root(back, back_namespaces, hash=hash, sort=True, threads=threads)
        assert turned == due
        tree = nmt.Tree(hash=hash)
        tree.extend(namespaces, leaves, threads=threads)
        assert tree.root() == due
