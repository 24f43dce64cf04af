"""The recorded digests, as calls to be made and what they must give."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from inputs import drbg, load_json
from shardpack import hash as shardpack_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CONTEXT", "KEY", "Case", "cases", "check", "pattern"]

BLAKE3 = load_json("hash/blake3.json")
BLAKE3_EXTRA = load_json("hash/blake3_extra.json")
KECCAK = load_json("hash/keccak256.json")
SHA256 = load_json("hash/sha256.json")
CRC32C = load_json("hash/crc32c.json")

KEY = BLAKE3["key_ascii"].encode()
CONTEXT: str = BLAKE3["context"]
_PATTERN = bytes(range(251))


def pattern(size: int) -> bytes:
    """The input of the BLAKE3 vectors: byte i is i % 251."""
    return (_PATTERN * (size // 251 + 1))[:size]


class Case(NamedTuple):
    """A call and what it must give."""

    name: str
    call: Callable[[], bytes]
    due: bytes


def cases() -> Iterator[Case]:
    """Every vector."""
    yield from _blake3()
    for name, vectors in (("sha256", SHA256["fips"]), ("keccak256", KECCAK["known"])):
        for vector in vectors:
            text = vector.get("ascii", vector.get("repeat", "") * vector.get("times", 0))
            yield from _short(name, text.encode(), vector[name])
    for name, vectors in (
        ("sha256", SHA256["generated"]),
        ("keccak256", KECCAK["generated"]),
        ("sha3_256", KECCAK["generated"]),
    ):
        for vector in vectors:
            yield from _short(name, drbg(vector["label"], vector["len"]), vector[name])
    for vector in CRC32C["generated"]:
        data, due = drbg(vector["label"], vector["len"]), vector["crc32c"]
        yield Case(
            f"crc32c {len(data)}",
            partial(shardpack_hash.many_packed, "crc32c", [data, data]),
            bytes.fromhex(due + due),
        )


def _short(name: str, data: bytes, digits: str) -> Iterator[Case]:
    due = bytes.fromhex(digits)
    yield Case(f"{name} {len(data)}", partial(getattr(shardpack_hash, name), data), due)
    yield Case(
        f"{name} {len(data)} in a batch",
        partial(shardpack_hash.many_packed, name, [data] * 33),
        due * 33,
    )


def _blake3() -> Iterator[Case]:
    for vector in (*BLAKE3["cases"], *BLAKE3_EXTRA["cases"]):
        size = vector["input_len"]
        data = pattern(size)
        for kind, options in (
            ("hash", {}),
            ("keyed_hash", {"key": KEY}),
            ("derive_key", {"context": CONTEXT}),
        ):
            due = bytes.fromhex(vector[kind])
            call = partial(shardpack_hash.blake3, data, length=len(due), **options)
            yield Case(f"blake3 {kind} {size}", call, due)
        yield Case(
            f"blake3 {size} in a batch",
            partial(shardpack_hash.many_packed, "blake3", [data] * 3),
            bytes.fromhex(vector["hash"])[:32] * 3,
        )
    for vector in BLAKE3_EXTRA["xof"]:
        hasher = shardpack_hash.Blake3(pattern(vector["input_len"]))
        yield Case(
            f"blake3 output of {vector['input_len']} from {vector['offset']}",
            partial(hasher.digest, vector["length"], seek=vector["offset"]),
            bytes.fromhex(vector["output"]),
        )


def check() -> int:
    """Make every call.

    Returns:
        The number of calls.

    Raises:
        AssertionError: One of them gave something else.
    """
    count = 0
    for case in cases():
        found = case.call()
        assert found == case.due, f"{case.name}: {found.hex()} is not {case.due.hex()}"
        count += 1
    return count
