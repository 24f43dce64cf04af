"""Namespaced Merkle trees once more: recursive, one hash at a time, with the hashes of others.

Trees and proofs are those of celestiaorg/nmt for any width of namespaces; the bytes of a proof are
NMTP version 1. Verifiers decode what they get and answer with False whatever is wrong with it.
"""

from __future__ import annotations

import base64
import bisect
import hashlib
import json
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "HASHES",
    "KINDS",
    "MAX_INDEX",
    "Params",
    "Proof",
    "Tree",
    "decode",
    "encode",
    "to_json",
    "to_protobuf",
    "verify",
    "verify_namespace",
    "verify_range",
]

peer_blake3 = pytest.importorskip("blake3", reason="the package blake3 hashes for the oracle")
peer_keccak = pytest.importorskip("Crypto.Hash.keccak", reason="pycryptodome has Keccak-256")


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _blake3(data: bytes) -> bytes:
    return bytes(peer_blake3.blake3(data).digest())


def _keccak256(data: bytes) -> bytes:
    return bytes(peer_keccak.new(digest_bits=256, data=data).digest())


HASHES: dict[str, Callable[[bytes], bytes]] = {
    "sha256": _sha256,
    "blake3": _blake3,
    "keccak256": _keccak256,
}
KINDS = ("inclusion", "namespace", "absence", "empty")

MAX_NODES = 128
MAX_LEAF_NODES = 1 << 20
MAX_INDEX = 1 << 62
MAX_PROOF_BYTES = 64 << 20
HEADER = struct.Struct(">4sBBBBBBHIQQ")


class UnsoundError(Exception):
    """A proof that is none, or leads nowhere."""


def _unsound(why: str) -> NoReturn:
    raise UnsoundError(why)


def split_point(count: int) -> int:
    """The largest power of two below ``count``, which is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)


@dataclass(frozen=True)
class Params:
    """What a tree is made with."""

    hash: str = "sha256"
    ns_size: int = 8
    ignore_max: bool = False

    @property
    def node_size(self) -> int:
        return 2 * self.ns_size + 32

    @property
    def max_ns(self) -> bytes:
        return b"\xff" * self.ns_size

    @property
    def empty_root(self) -> bytes:
        return bytes(2 * self.ns_size) + HASHES[self.hash](b"")

    def low(self, node: bytes) -> bytes:
        return node[: self.ns_size]

    def high(self, node: bytes) -> bytes:
        return node[self.ns_size : 2 * self.ns_size]

    def ignores(self, ns: bytes) -> bool:
        return self.ignore_max and ns == self.max_ns

    def leaf(self, ns: bytes, data: bytes) -> bytes:
        return ns + ns + HASHES[self.hash](b"\0" + ns + data)

    def is_node(self, node: bytes) -> bool:
        return len(node) == self.node_size and self.low(node) <= self.high(node)

    def inner(self, left: bytes, right: bytes) -> bytes:
        if not (self.is_node(left) and self.is_node(right)):
            _unsound("malformed node")
        if self.low(right) < self.high(left):
            _unsound("siblings out of order")
        high = self.high(left if self.ignores(self.low(right)) else right)
        return self.low(left) + high + HASHES[self.hash](b"\1" + left + right)


@dataclass(frozen=True)
class Proof:
    """Kind, range and nodes."""

    kind: str
    start: int
    end: int
    nodes: tuple[bytes, ...]
    leaf_nodes: tuple[bytes, ...]
    params: Params


class Tree:
    """All leaves at once, in the order of their namespaces."""

    def __init__(
        self, params: Params, namespaces: Sequence[bytes], leaves: Sequence[bytes]
    ) -> None:
        assert list(namespaces) == sorted(namespaces)
        self.params = params
        self.namespaces = list(namespaces)
        self.leaves = list(leaves)
        pairs = zip(namespaces, leaves, strict=True)
        self.leaf_nodes = [params.leaf(ns, data) for ns, data in pairs]
        self.subtree = lru_cache(maxsize=None)(self._subtree)

    def __len__(self) -> int:
        return len(self.leaves)

    def _subtree(self, start: int, end: int) -> bytes:
        if end - start == 1:
            return self.leaf_nodes[start]
        middle = start + split_point(end - start)
        return self.params.inner(self.subtree(start, middle), self.subtree(middle, end))

    def root(self) -> bytes:
        return self.subtree(0, len(self)) if self.leaves else self.params.empty_root

    def leaf_range(self, ns: bytes) -> tuple[int, int]:
        return bisect.bisect_left(self.namespaces, ns), bisect.bisect_right(self.namespaces, ns)

    def inside(self, ns: bytes) -> list[bytes]:
        return self.leaves[slice(*self.leaf_range(ns))]

    def _outside(self, start: int, end: int) -> tuple[bytes, ...]:
        found: list[bytes] = []

        def walk(low: int, high: int) -> None:
            if high <= start or low >= end:
                found.append(self.subtree(low, high))
            elif high - low > 1:
                middle = low + split_point(high - low)
                walk(low, middle)
                walk(middle, high)

        walk(0, len(self))
        return tuple(found)

    def _proof(self, kind: str, start: int, end: int, *, leaf_nodes: bool) -> Proof:
        carried = tuple(self.leaf_nodes[start:end]) if leaf_nodes else ()
        return Proof(kind, start, end, self._outside(start, end), carried, self.params)

    def prove_range(self, start: int, end: int, *, leaf_nodes: bool = False) -> Proof:
        assert self.namespaces[start] == self.namespaces[end - 1]
        return self._proof("inclusion", start, end, leaf_nodes=leaf_nodes)

    def prove_namespace(self, ns: bytes, *, leaf_nodes: bool = False) -> Proof:
        root = self.root()
        if not self.leaves or not self.params.low(root) <= ns <= self.params.high(root):
            return Proof("empty", 0, 0, (), (), self.params)
        start, end = self.leaf_range(ns)
        if start == end:
            return self._proof("absence", start, start + 1, leaf_nodes=True)
        return self._proof("namespace", start, end, leaf_nodes=leaf_nodes)


# --- encodings ----------------------------------------------------------------------------


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def to_protobuf(proof: Proof) -> bytes:
    """Celestia's message; zero values are left out."""
    message = b"\x08" + _varint(proof.start) if proof.start else b""
    if proof.end:
        message += b"\x10" + _varint(proof.end)
    for node in proof.nodes:
        message += b"\x1a" + _varint(len(node)) + node
    if proof.kind == "absence":
        message += b"\x22" + _varint(len(proof.leaf_nodes[0])) + proof.leaf_nodes[0]
    return message + (b"\x28\x01" if proof.params.ignore_max else b"")


def to_json(proof: Proof) -> str:
    """What Go prints of Celestia's proof."""
    members: dict[str, object] = {}
    if proof.start:
        members["start"] = proof.start
    if proof.end:
        members["end"] = proof.end
    if proof.nodes:
        members["nodes"] = [base64.b64encode(node).decode() for node in proof.nodes]
    if proof.kind == "absence":
        members["leaf_hash"] = base64.b64encode(proof.leaf_nodes[0]).decode()
    if proof.params.ignore_max:
        members["is_max_namespace_ignored"] = True
    return json.dumps(members, separators=(",", ":"))


def encode(proof: Proof) -> bytes:
    """The bytes of a proof, of whatever shape: hostile ones are made with it too."""
    params = proof.params
    header = HEADER.pack(
        b"NMTP",
        1,
        KINDS.index(proof.kind) + 1,
        list(HASHES).index(params.hash) + 1,
        params.ns_size,
        params.ignore_max,
        0,
        len(proof.nodes),
        len(proof.leaf_nodes),
        proof.start,
        proof.end,
    )
    return header + b"".join(proof.nodes) + b"".join(proof.leaf_nodes)


def decode(data: bytes) -> Proof:
    """A proof of sound shape from its bytes.

    Raises:
        UnsoundError: There is none.
    """
    if not HEADER.size <= len(data) <= MAX_PROOF_BYTES:
        _unsound("length")
    magic, version, kind, hash_id, ns_size, flags, zero, *counts = HEADER.unpack_from(data)
    nodes, leaf_nodes, start, end = counts
    if (magic, version, zero) != (b"NMTP", 1, 0) or flags > 1 or ns_size == 0:
        _unsound("header")
    if not 1 <= kind <= len(KINDS) or not 1 <= hash_id <= len(HASHES):
        _unsound("kind or hash")
    params = Params(list(HASHES)[hash_id - 1], ns_size, bool(flags))
    if len(data) != HEADER.size + params.node_size * (nodes + leaf_nodes):
        _unsound("length does not match the counts")
    starts = range(HEADER.size, len(data), params.node_size)
    every = tuple(data[at : at + params.node_size] for at in starts)
    proof = Proof(KINDS[kind - 1], start, end, every[:nodes], every[nodes:], params)
    _check_shape(proof)
    return proof


def _check_shape(proof: Proof) -> None:
    nodes, leaf_nodes = len(proof.nodes), len(proof.leaf_nodes)
    if nodes > MAX_NODES or leaf_nodes > MAX_LEAF_NODES:
        _unsound("too many nodes")
    if not all(map(proof.params.is_node, proof.nodes + proof.leaf_nodes)):
        _unsound("malformed node")
    if proof.kind == "empty":
        if proof.start or proof.end or nodes or leaf_nodes:
            _unsound("an empty proof carries nothing")
        return
    if not proof.start < proof.end <= MAX_INDEX:
        _unsound("range")
    if proof.kind == "absence":
        if proof.end != proof.start + 1 or leaf_nodes != 1:
            _unsound("an absence carries one leaf node")
    elif leaf_nodes not in (0, proof.end - proof.start):
        _unsound("leaf nodes do not cover the range")
    left = proof.start.bit_count()
    if not left <= nodes <= left + 64:
        _unsound("node count does not fit the range")


# --- verifiers ----------------------------------------------------------------------------


def _node_count(start: int, end: int, size: int) -> int:
    """How many nodes a proof of a range has in a tree of ``size`` leaves."""

    def walk(low: int, high: int) -> int:
        if high <= start or low >= end:
            return 1
        if start <= low and high <= end:
            return 0
        middle = low + split_point(high - low)
        return walk(low, middle) + walk(middle, high)

    return walk(0, size)


def _fold(proof: Proof, leaf_nodes: Sequence[bytes]) -> bytes:
    """The root that a proof leads to: a walk over the smallest box that holds its range."""
    start, end = proof.start, proof.end
    if len(leaf_nodes) != end - start:
        _unsound("as many leaves as the range has")
    nodes, leaves = iter(proof.nodes), iter(leaf_nodes)

    def walk(low: int, high: int) -> bytes | None:
        if high <= start or low >= end:
            return next(nodes, None)
        if high - low == 1:
            return next(leaves)
        middle = low + split_point(high - low)
        left = walk(low, middle)
        if left is None:
            _unsound("a subtree on the left is missing")
        right = walk(middle, high)
        return left if right is None else proof.params.inner(left, right)

    root = walk(0, 1 << (end - 1).bit_length())
    assert root is not None
    for node in nodes:
        root = proof.params.inner(root, node)
    return root


def _is_complete(proof: Proof, ns: bytes) -> bool:
    params, left = proof.params, proof.start.bit_count()
    return (
        not params.ignores(ns)
        and all(params.high(node) < ns for node in proof.nodes[:left])
        and all(ns < params.low(node) for node in proof.nodes[left:])
    )


def _opened(proof: bytes, ns: bytes, root: bytes, hash: str | None, size: int | None) -> Proof:
    """The proof, if it can be about such a namespace, root and tree."""
    opened = decode(proof)
    params = opened.params
    if len(ns) != params.ns_size or hash not in (None, params.hash) or not params.is_node(root):
        _unsound("another tree")
    if size is not None and opened.kind != "empty":
        if opened.end > size:
            _unsound("range beyond the tree")
        if len(opened.nodes) != _node_count(opened.start, opened.end, size):
            _unsound("no proof of a tree of that size")
    return opened


def _leads(proof: Proof, ns: bytes, leaf_nodes: Sequence[bytes], root: bytes) -> bool:
    params = proof.params
    labels = {(params.low(node), params.high(node)) for node in leaf_nodes}
    return labels == {(ns, ns)} and _fold(proof, leaf_nodes) == root


def _holds(proof: Proof, leaves: Sequence[bytes], ns: bytes, root: bytes) -> bool:
    nodes = tuple(proof.params.leaf(ns, leaf) for leaf in leaves)
    return proof.leaf_nodes in ((), nodes) and _leads(proof, ns, nodes, root)


def verify(
    proof: bytes,
    leaf: bytes,
    ns: bytes,
    root: bytes,
    *,
    hash: str | None = None,
    size: int | None = None,
) -> bool:
    """Whether ``leaf`` is a leaf of ``ns`` below ``root``."""
    try:
        opened = _opened(proof, ns, root, hash, size)
        node = opened.params.leaf(ns, leaf)
        nodes = opened.leaf_nodes or (node,)
        if opened.kind not in ("inclusion", "namespace") or node not in nodes:
            return False
        if opened.kind == "namespace" and not _is_complete(opened, ns):
            return False
        return _leads(opened, ns, nodes, root)
    except UnsoundError:
        return False


def verify_range(
    proof: bytes,
    leaves: Sequence[bytes],
    ns: bytes,
    root: bytes,
    *,
    hash: str | None = None,
    size: int | None = None,
) -> bool:
    """Whether ``leaves`` are neighbours in ``ns`` below ``root``."""
    try:
        opened = _opened(proof, ns, root, hash, size)
        return opened.kind in ("inclusion", "namespace") and _holds(opened, leaves, ns, root)
    except UnsoundError:
        return False


def verify_namespace(
    proof: bytes,
    leaves: Sequence[bytes],
    ns: bytes,
    root: bytes,
    *,
    hash: str | None = None,
    size: int | None = None,
) -> bool:
    """Whether ``leaves`` are all leaves of ``ns`` below ``root``, in order."""
    try:
        opened = _opened(proof, ns, root, hash, size)
        params = opened.params
        if opened.kind == "inclusion" or not _is_complete(opened, ns):
            return False
        if opened.kind == "namespace":
            return _holds(opened, leaves, ns, root)
        if opened.kind == "absence":
            above = ns < params.low(opened.leaf_nodes[0])
            return not leaves and above and _fold(opened, opened.leaf_nodes) == root
    except UnsoundError:
        return False
    is_outside = not params.low(root) <= ns <= params.high(root)
    return not leaves and (is_outside or root == params.empty_root)
