r"""Namespaced Merkle trees: one root for the data of many owners, and short proofs for each.

Leaves lie in the order of their namespaces. Every node carries the least and the greatest
namespace below it, so a proof can show not only that a leaf is there, but that some leaves are
*all* there are in a namespace::

                     [a d  digest]              root: 2 * ns_size + 32 bytes
                    /             \
          [a a  digest]         [b d  digest]
            /       \             /       \
        [a a ..] [a a ..]     [b b ..] [d d ..]    leaf: H(0x00, namespace, data)
          "x"      "y"          "z"      "w"       inner: H(0x01, left node, right node)

    all of a    "x", "y" and the node [b d]: nothing of a can be on the right
    none of c   the leaf of d, and the nodes left of it: nothing between b and d

The trees are Celestia's, bit for bit, for ``hash="sha256"``; ``"blake3"`` is the fast one,
``"keccak256"`` Ethereum's. Parameters of a tree: the hash, ``ns_size`` (bytes of a namespace, 8
unless told otherwise, 29 on Celestia) and ``ignore_max_namespace`` (True on Celestia: the namespace
of all ``0xff`` marks parity data there, and nothing can be proved complete or absent about it; the
root does not tell the flag, so pin ``ignore_max_namespace=`` where somebody may ask for that one).

A verifier answers True or False, False for anything that is not sound, whatever bytes it is given.
Two things it cannot know: whether the root is the right one, so take it from a source you trust,
and whether its builder put every leaf into the right namespace. ``size=``, the number of leaves,
makes the indices of a proof binding; keep it with the root.

Example:
    >>> from shardpack import nmt
    >>> namespaces = [b"invoices", b"invoices", b"payments", b"receipts"]
    >>> leaves = [b"no. 1", b"no. 2", b"no. 3", b"no. 4"]
    >>> root = nmt.root(leaves, namespaces)
    >>> tree = nmt.Tree()
    >>> tree.extend(namespaces, leaves)
    >>> tree.root() == root
    True
    >>> proof = tree.prove(2).to_bytes()
    >>> nmt.verify(proof, b"no. 3", b"payments", root)
    True
    >>> every = tree.prove_namespace(b"invoices")
    >>> nmt.verify_namespace(every, [b"no. 1", b"no. 2"], b"invoices", root, size=4)
    True
    >>> nmt.verify_namespace(every, [b"no. 1"], b"invoices", root, size=4)
    False
    >>> none = tree.prove_namespace(b"messages")
    >>> none.kind, nmt.verify_namespace(none, [], b"messages", root)
    ('absence', True)
"""

from __future__ import annotations

from shardpack._native import Proof, Tree
from shardpack._native import nmt_empty_root as empty_root
from shardpack._native import nmt_parse_root as parse_root
from shardpack._native import nmt_root as root
from shardpack._native import nmt_root_packed as root_packed
from shardpack._native import nmt_verify as verify
from shardpack._native import nmt_verify_namespace as verify_namespace
from shardpack._native import nmt_verify_range as verify_range

__all__ = [
    "HASHES",
    "Proof",
    "Tree",
    "empty_root",
    "parse_root",
    "root",
    "root_packed",
    "verify",
    "verify_namespace",
    "verify_range",
]

HASHES = ("sha256", "blake3", "keccak256")
"""The hashes that trees are made with."""
