"""Namespaced Merkle trees: the calls as they are documented."""

from __future__ import annotations

import copy
import pickle
from array import array
from typing import Any

import pytest

from inputs import load_json
from shardpack import InvalidInput, ProofFormatError, nmt

NAMESPACES = [bytes([0] * 7 + [value]) for value in (1, 3, 3, 3, 5, 9)]
LEAVES = [b"leaf %d" % index for index in range(6)]
FILES = ["sha256-ns8", "sha256-ns29", "blake3-ns8", "keccak256-ns8"]


def tree() -> nmt.Tree:
    made = nmt.Tree(hash="sha256", ns_size=8, ignore_max_namespace=False)
    made.extend(NAMESPACES, LEAVES)
    return made


def unhex(values: list[str]) -> list[bytes]:
    return [bytes.fromhex(value) for value in values]


def test_documented_calls_work_as_written() -> None:
    root = nmt.root(LEAVES, NAMESPACES)
    assert root == nmt.root(leaves=LEAVES, namespaces=NAMESPACES, hash="sha256", ns_size=8)
    offsets = array("Q", range(0, 37, 6))
    packed = nmt.root_packed(b"".join(LEAVES), offsets, b"".join(NAMESPACES))
    assert packed == root
    grown = nmt.Tree()
    assert [grown.push(*leaf) for leaf in zip(NAMESPACES, LEAVES, strict=True)] == [*range(6)]
    assert (grown.root(), len(grown)) == (root, 6)
    assert grown.leaf_range(NAMESPACES[1]) == (1, 4)
    proof = grown.prove(2).to_bytes()
    assert nmt.verify(proof, LEAVES[2], NAMESPACES[2], root) is True
    assert nmt.verify(proof, b"other", NAMESPACES[2], root) is False
    assert nmt.verify(proof, LEAVES[2], NAMESPACES[2], root, hash="sha256", size=6) is True
    part = grown.prove_range(1, 3)
    assert nmt.verify_range(part, LEAVES[1:3], NAMESPACES[1], root) is True
    every = grown.prove_namespace(NAMESPACES[1], leaf_nodes=True)
    assert nmt.verify_namespace(every, LEAVES[1:4], NAMESPACES[1], root) is True
    assert nmt.verify_namespace(every, LEAVES[1:3], NAMESPACES[1], root) is False
    assert nmt.verify(every, LEAVES[3], NAMESPACES[1], root) is True
    none = grown.prove_namespace(bytes(7) + b"\4")
    assert nmt.verify_namespace(none, [], bytes(7) + b"\4", root) is True
    assert nmt.parse_root(root) == (NAMESPACES[0], NAMESPACES[-1], root[16:])
    assert nmt.root([], [], allow_empty=True) == nmt.Tree().root() == nmt.empty_root()


@pytest.mark.parametrize("name", FILES)
def test_recorded_roots_and_proofs_come_out(name: str) -> None:
    for case in load_json(f"nmt/{name}.json")["cases"]:
        options: dict[str, Any] = {
            key: case[key] for key in ("hash", "ns_size", "ignore_max_namespace")
        }
        namespaces = unhex([leaf[0] for leaf in case["leaves"]])
        leaves = unhex([leaf[1] for leaf in case["leaves"]])
        due = bytes.fromhex(case["root"])
        assert nmt.root(leaves, namespaces, allow_empty=True, **options) == due
        made = nmt.Tree(**options)
        made.extend(namespaces, leaves)
        for row in case["namespaces"]:
            namespace = bytes.fromhex(row["namespace"])
            proof = made.prove_namespace(namespace)
            assert proof.to_bytes().hex() == row["nmtp"]
            inside = leaves[slice(*made.leaf_range(namespace))]
            found = nmt.verify_namespace(proof, inside, namespace, due, size=len(made))
            assert found is row["verify_namespace"]


def test_recorded_queries_get_their_answers() -> None:
    for query in load_json("nmt/verify.json")["queries"]:
        verify: Any = getattr(nmt, query["fn"])
        leaves: Any = unhex(query["leaves"]) if "leaves" in query else bytes.fromhex(query["leaf"])
        proof, namespace, root = unhex([query[key] for key in ("proof", "namespace", "root")])
        pins = {key: query[key] for key in ("hash", "size") if key in query}
        assert verify(proof, leaves, namespace, root, **pins) is query["expect"], query["why"]


def test_recorded_mistakes_are_refused() -> None:
    for row in load_json("nmt/errors.json")["root"]:
        with pytest.raises(InvalidInput) as caught:
            nmt.root(unhex(row["leaves"]), unhex(row["namespaces"]))
        assert isinstance(caught.value, RuntimeError)


def test_proofs_are_values() -> None:
    proof = tree().prove_namespace(NAMESPACES[1], leaf_nodes=True)
    again = nmt.Proof.from_bytes(bytes(proof))
    assert again == proof
    assert hash(again) == hash(proof)
    assert proof != tree().prove(0)
    assert pickle.loads(pickle.dumps(proof)) == copy.deepcopy(proof) == proof
    assert eval(repr(proof), {"Proof": nmt.Proof}) == proof
    assert (proof.kind, proof.start, proof.end) == ("namespace", 1, 4)
    assert (proof.hash, proof.ns_size, proof.ignore_max_namespace) == ("sha256", 8, False)
    assert (len(proof.nodes), len(proof.leaf_nodes), len(proof.nodes[0])) == (2, 3, 48)
    with pytest.raises(AttributeError):
        proof.start = 0  # type: ignore[misc]
    with pytest.raises(ProofFormatError):
        nmt.Proof.from_bytes(bytes(proof)[:-1])


def test_proofs_go_to_celestia_and_back() -> None:
    proof = tree().prove_namespace(NAMESPACES[1])
    for text in (proof.to_celestia_json(), proof.to_celestia_json().encode()):
        assert nmt.Proof.from_celestia_json(text, kind="namespace", ns_size=8) == proof
    message = proof.to_celestia_protobuf()
    assert nmt.Proof.from_celestia_protobuf(message, kind="namespace", ns_size=8) == proof
    forced = nmt.Proof.from_celestia_json(
        proof.to_celestia_json(), kind="inclusion", ns_size=8, ignore_max=True
    )
    assert (forced.kind, forced.ignore_max_namespace) == ("inclusion", True)
    for hostile in ("", "[", '{"end": -1}', "\ud800", b"\xff", "[" * 100_000):
        with pytest.raises(ProofFormatError):
            nmt.Proof.from_celestia_json(hostile, kind="namespace")
    with pytest.raises(ProofFormatError):
        nmt.Proof.from_celestia_protobuf(b"\x0a", kind="namespace")
    with pytest.raises(InvalidInput):
        nmt.Proof.from_celestia_json("{}", kind="absence")


def test_a_pinned_flag_cannot_be_cleared_by_a_proof() -> None:
    top, plain = b"\xff" * 8, nmt.Tree()
    hidden = nmt.Tree(ignore_max_namespace=True)
    for made in (plain, hidden):
        made.extend([bytes(8), top], [b"a", b"b"])
    empty = nmt.Tree().prove_namespace(top)
    for size in (None, 2):
        found = nmt.verify_namespace(
            empty, [], top, hidden.root(), size=size, ignore_max_namespace=True
        )
        assert found is False
    ours = hidden.prove(0)
    assert nmt.verify(ours, b"a", bytes(8), hidden.root(), ignore_max_namespace=True) is True
    assert nmt.verify(ours, b"a", bytes(8), hidden.root(), ignore_max_namespace=False) is False
    every = plain.prove_namespace(top)
    found = nmt.verify_namespace(every, [b"b"], top, plain.root(), ignore_max_namespace=False)
    assert found is True


def test_a_tree_refuses_to_pickle() -> None:
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(tree())


def test_wrong_types_are_type_errors_and_wrong_values_are_not_true() -> None:
    root = tree().root()
    proof = tree().prove(0).to_bytes()
    verify: Any = nmt.verify
    for place in range(4):
        arguments: list[Any] = [proof, LEAVES[0], NAMESPACES[0], root]
        for wrong in ("text", None, 3, [b"list"]):
            arguments[place] = wrong
            with pytest.raises(TypeError):
                verify(*arguments)
    with pytest.raises(TypeError):
        verify(proof, LEAVES[0], NAMESPACES[0], root, size=6.0)
    for pins in ({"size": -1}, {"size": 2**70}, {"size": 4}, {"hash": "md5"}, {"hash": "blake3"}):
        assert verify(proof, LEAVES[0], NAMESPACES[0], root, **pins) is False
    with pytest.raises(TypeError, match="leaf 1"):
        nmt.root([b"a", None], [bytes(8)] * 2)  # type: ignore[list-item]
    for offsets in (b"\0" * 16, array("d", [0, 1]), array("I", [0, 1]), [0, 1]):
        with pytest.raises(TypeError):
            nmt.root_packed(b"a", offsets, bytes(8))  # type: ignore[arg-type]
    for options in ({"hash": "md5"}, {"hash": "sha3_256"}, {"ns_size": 0}, {"ns_size": -1}):
        with pytest.raises(InvalidInput):
            nmt.root([b"a"], [bytes(8)], **options)
    for index in (-1, 6, 2**70):
        with pytest.raises(InvalidInput):
            tree().prove(index)


@pytest.mark.parametrize("leaves", [b"", bytearray(), "", {}], ids=repr)
def test_one_empty_value_does_not_pass_for_an_empty_list(leaves: Any) -> None:
    proof = tree().prove_namespace(bytes(7) + b"\x04")
    root = tree().root()
    assert nmt.verify_namespace(proof, [], bytes(7) + b"\x04", root)
    with pytest.raises(TypeError, match="sequence of buffers"):
        nmt.verify_namespace(proof, leaves, bytes(7) + b"\x04", root)
