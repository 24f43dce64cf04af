"""Namespaced Merkle trees: roots and proofs, beside the same tree written on hashlib."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from harness import Case, Contender, Report, parse_arguments
from shardpack import cpu_features, nmt

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_LEAF_SIZES: Final = (32, 512)
_LEAVES: Final = 65_536
_PROOF_LEAVES: Final = 1_000_000
_WIDTH: Final = 8
#: Goals against hashlib, by algorithm.
_HASHLIB_GOAL: Final = 8.0
#: Goal against one SHA-256 of as many blocks as the tree has.
_FLOOR_GOAL: Final = 1.4


def _hashlib_root(leaves: Sequence[bytes], namespaces: Sequence[bytes]) -> bytes:
    """Compute what ``nmt.root`` does, level by level, as fast as plain Python gets."""
    sha256 = hashlib.sha256
    level = [
        namespace + namespace + sha256(b"\0" + namespace + leaf).digest()
        for leaf, namespace in zip(leaves, namespaces, strict=True)
    ]
    while len(level) > 1:
        above = [
            left[:_WIDTH] + right[_WIDTH : 2 * _WIDTH] + sha256(b"\1" + left + right).digest()
            for left, right in zip(level[::2], level[1::2], strict=False)
        ]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


class _Leaves:
    """Leaves of one size, as a list and packed.

    Args:
        size: Bytes of each.
        count: How many.
    """

    def __init__(self, size: int, count: int) -> None:
        self.data = np.random.default_rng(size).bytes(size * count)
        # NumPy's types know the buffer protocol from Python 3.12 on.
        self.offsets: Any = np.arange(0, size * count + 1, size, dtype=np.uint64)
        numbers = np.arange(count) // 16
        self.namespaces = numbers.astype(">u8").tobytes()
        self.leaf_list = [self.data[at : at + size] for at in range(0, size * count, size)]
        self.namespace_list = [
            self.namespaces[at : at + _WIDTH] for at in range(0, _WIDTH * count, _WIDTH)
        ]
        self.label = f"{count:,} x {_WIDTH}+{size} B"
        self.count = count
        # Padded blocks of SHA-256: leaves, then inner nodes of two 48-byte children.
        leaf_blocks = (1 + _WIDTH + size + 9 + 63) // 64
        self.blocks = count * leaf_blocks + (count - 1) * 2

    def packed(self, algorithm: str, threads: int) -> partial[bytes]:
        return partial(
            nmt.root_packed,
            self.data,
            self.offsets,
            self.namespaces,
            hash=algorithm,
            threads=threads,
        )

    def case(
        self, name: str, goal: float | None, *, peers: dict[str, float] | None = None, threads: int
    ) -> Case:
        return Case(
            name,
            self.label,
            self.count / 1e3,
            goal,
            goals_by_peer=peers or {},
            unit="k leaves",
            threads=threads,
        )


def _roots(report: Report, leaves: _Leaves) -> None:
    by_hand = partial(_hashlib_root, leaves.leaf_list, leaves.namespace_list)
    packed = leaves.packed("sha256", 1)
    listed = partial(nmt.root, leaves.leaf_list, leaves.namespace_list, threads=1)
    if not by_hand() == packed() == listed():
        message = "the trees differ"
        raise RuntimeError(message)
    one_stream = bytes(leaves.blocks * 64)
    report.compare(
        leaves.case(
            "nmt root, sha256",
            None,
            peers={"tree on hashlib": _HASHLIB_GOAL, "one sha256 of as many blocks": _FLOOR_GOAL},
            threads=1,
        ),
        [
            Contender("root_packed", packed, ours=True),
            Contender("root of lists", listed, ours=True),
            Contender("tree on hashlib", by_hand),
            Contender("one sha256 of as many blocks", lambda: hashlib.sha256(one_stream).digest()),
        ],
    )
    for algorithm in ("blake3", "keccak256"):
        report.compare(
            leaves.case(f"nmt root, {algorithm}", None, threads=1),
            [
                Contender(f"root_packed, {algorithm}", leaves.packed(algorithm, 1), ours=True),
                Contender("root_packed, sha256", packed),
            ],
        )


def _scaling(report: Report, leaves: _Leaves, threads: int) -> None:
    for algorithm in ("sha256", "blake3"):
        report.compare(
            leaves.case(
                f"nmt root, {algorithm}, {threads} threads against 1",
                0.8 * threads,
                threads=threads,
            ),
            [
                Contender(f"{threads} threads", leaves.packed(algorithm, threads), ours=True),
                Contender("1 thread", leaves.packed(algorithm, 1)),
            ],
        )


def _proofs(report: Report, count: int) -> None:
    leaves = _Leaves(32, count)
    tree = nmt.Tree()
    tree.extend(leaves.namespace_list, leaves.leaf_list)
    index, root = count // 3, tree.root()
    proof = tree.prove(index).to_bytes()
    leaf, namespace = leaves.leaf_list[index], leaves.namespace_list[index]
    if not nmt.verify(proof, leaf, namespace, root, size=count):
        message = "a proof does not verify"
        raise RuntimeError(message)
    junk = bytes(len(proof))
    for name, data, limit in (
        ("verify an inclusion proof", proof, 5.0),
        ("refuse junk", junk, 1.0),
    ):
        report.note(
            f"nmt {name}",
            leaves.label,
            _microseconds(partial(nmt.verify, data, leaf, namespace, root)),
            limit,
            unit="us",
        )


def _microseconds(call: partial[bool]) -> float:
    import timeit

    repeats = 20_000
    return min(timeit.repeat(call, number=repeats, repeat=5)) / repeats * 1e6


def _run(arguments: argparse.Namespace) -> None:
    report = Report(f"nmt at level {cpu_features()['level']}", arguments)
    for size in _LEAF_SIZES:
        leaves = _Leaves(size, _LEAVES // (16 if arguments.quick else 1))
        _roots(report, leaves)
        if arguments.threads > 1:
            _scaling(report, leaves, arguments.threads)
    _proofs(report, _PROOF_LEAVES // (100 if arguments.quick else 1))
    report.finish()


if __name__ == "__main__":
    _run(parse_arguments("namespaced Merkle trees against the same on hashlib"))
