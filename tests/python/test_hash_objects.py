"""Hasher objects: the shape of hashlib, pieces, copies, seeking, threads, forks."""

from __future__ import annotations

import copy
import hashlib
import hmac
import inspect
import io
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hash_vectors
from inputs import KIB, MIB, make, pieces, run_python
from shardpack import InvalidInput, crc32c, hash
from test_fork import COMMON, POOL

if TYPE_CHECKING:
    from pathlib import Path

KINDS: list[type[hash.Hasher]] = [
    hash.Blake3,
    hash.Sha256,
    hash.Keccak256,
    hash.Sha3_256,
    hash.Crc32c,
]
SIZES = {
    "blake3": (32, 64),
    "sha256": (32, 64),
    "keccak256": (32, 136),
    "sha3_256": (32, 136),
    "crc32c": (4, 1),
}


def one_shot(name: str, data: bytes) -> bytes:
    if name == "crc32c":
        return crc32c(data).to_bytes(4, "big")
    digest: bytes = getattr(hash, name)(data)
    return digest


def kinds() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


# As the type checker knows hashlib, `update` returns nothing.
FOR_HMAC: list[Any] = [hash.Sha256, hash.Sha3_256]


@kinds()
def test_the_shape_is_that_of_hashlib(kind: type[hash.Hasher]) -> None:
    hasher = kind()
    assert SIZES[hasher.name] == (hasher.digest_size, hasher.block_size)
    assert SIZES[kind.name] == (kind.digest_size, kind.block_size)
    assert hasher.update(b"a") is hasher
    assert hasher.update(b"b").update(b"").update(b"c") is hasher
    assert hasher.digest() == one_shot(kind.name, b"abc")
    assert hasher.digest() == hasher.digest()
    assert hasher.hexdigest() == hasher.digest().hex()
    assert len(hasher.digest()) == hasher.digest_size
    assert isinstance(hasher, hash.Hasher)
    assert isinstance(hash.new(kind.name), kind)


def test_sizes_and_names_are_those_of_hashlib() -> None:
    for ours, peer in ((hash.Sha256(), hashlib.sha256()), (hash.Sha3_256(), hashlib.sha3_256())):
        assert (ours.name, ours.digest_size, ours.block_size) == (
            peer.name,
            peer.digest_size,
            peer.block_size,
        )


@kinds()
def test_the_first_piece_may_come_with_the_constructor(kind: type[hash.Hasher]) -> None:
    made: Any = kind
    data = make("noise", 5000)
    assert made(data).digest() == made().update(data).digest() == one_shot(kind.name, data)
    assert hash.new(kind.name, data).digest() == one_shot(kind.name, data)
    assert made(bytearray(b"abc")).digest() == one_shot(kind.name, b"abc")
    with pytest.raises(TypeError, match="encode the text first"):
        made("text")
    with pytest.raises(TypeError):
        made(None, None)


def test_nobody_makes_a_hasher_of_no_algorithm() -> None:
    with pytest.raises(TypeError):
        hash.Hasher()


@pytest.mark.parametrize("vector", hash_vectors.BLAKE3_EXTRA["incremental"])
def test_recorded_pieces_of_blake3(vector: dict[str, Any]) -> None:
    data = hash_vectors.pattern(vector["input_len"])
    hasher = hash.Blake3()
    for piece in pieces(data, vector["update_sizes"]):
        hasher.update(piece)
    assert hasher.hexdigest() == vector["hash"]


@kinds()
@given(data=st.binary(max_size=2000), sizes=st.lists(st.integers(0, 300), min_size=1, max_size=8))
def test_any_cut_gives_the_same_digest(
    kind: type[hash.Hasher], data: bytes, sizes: list[int]
) -> None:
    hasher = kind()
    for piece in pieces(data, sizes):
        hasher.update(piece)
    assert hasher.digest() == one_shot(kind.name, data)


@kinds()
@pytest.mark.parametrize("sizes", [[2047, 2048, 1], [MIB, 3], [5 * MIB + 1], [70_001, 4 * MIB]])
def test_long_pieces_give_the_same_digest(kind: type[hash.Hasher], sizes: list[int]) -> None:
    data = make("noise", 11 * MIB + 17)
    hasher = kind()
    for piece in pieces(data, sizes):
        hasher.update(piece)
    assert hasher.digest() == one_shot(kind.name, data)


@kinds()
def test_a_copy_goes_on_alone(kind: type[hash.Hasher]) -> None:
    first = kind().update(b"common ")
    second = first.copy()
    assert type(second) is kind
    first.update(b"one")
    second.update(b"two")
    assert first.digest() == one_shot(kind.name, b"common one")
    assert second.digest() == one_shot(kind.name, b"common two")


def test_a_copy_keeps_key_and_context() -> None:
    key, context = hash_vectors.KEY, hash_vectors.CONTEXT
    keyed = hash.Blake3(b"a", key=key).copy().update(b"b")
    assert keyed.digest() == hash.blake3(b"ab", key=key)
    derived = hash.Blake3(b"a", context=context).copy().update(b"b")
    assert derived.digest(100) == hash.blake3(b"ab", context=context, length=100)


# --- output of BLAKE3 ---------------------------------------------------------------------


@given(st.integers(0, 5000), st.integers(0, 700), st.binary(max_size=100))
def test_seeking_cuts_out_of_the_output(seek: int, length: int, data: bytes) -> None:
    hasher = hash.Blake3(data)
    whole = hash.blake3(data, length=6000)
    assert hasher.digest(length, seek=seek) == whole[seek : seek + length]
    assert hasher.hexdigest(length, seek=seek) == whole[seek : seek + length].hex()


def test_the_output_ends_at_2_to_the_64() -> None:
    hasher = hash.Blake3(b"data")
    end = (1 << 64) - 1
    last = hasher.digest(100, seek=end - 100)
    assert hasher.digest(1, seek=end - 1) == last[-1:]
    assert hasher.digest(0, seek=end) == b""
    with pytest.raises(InvalidInput, match="beyond the end of the output"):
        hasher.digest(2, seek=end - 1)
    for seek in (-1, 1 << 64, 1 << 100):
        with pytest.raises(InvalidInput, match=f"seek must be from 0 to 2\\^64 - 1, got {seek}"):
            hasher.digest(seek=seek)
    with pytest.raises(InvalidInput, match="length must not be negative, got -1"):
        hasher.digest(-1)
    with pytest.raises(InvalidInput, match="length must not be negative, got -5"):
        hasher.hexdigest(-5)


def test_only_blake3_has_output_of_any_length() -> None:
    hasher: Any = hash.Sha256()
    with pytest.raises(TypeError):
        hasher.digest(64)
    made: Any = hash.Sha256
    with pytest.raises(TypeError):
        made(b"", key=bytes(32))


# --- in the hands of the standard library -------------------------------------------------


@pytest.mark.parametrize("key", [b"", b"key", bytes(64), bytes(65), make("noise", 300)])
def test_hmac_takes_the_classes(key: bytes) -> None:
    message = make("lines", 3000)
    for kind, name in zip(FOR_HMAC, ("sha256", "sha3_256"), strict=True):
        made = hmac.new(key, message, kind)
        assert made.hexdigest() == hmac.new(key, message, name).hexdigest()
        assert made.name == f"hmac-{name}"
        assert made.copy().digest() == made.digest()
        assert hmac.digest(key, message, kind) == hmac.digest(key, message, name)


def test_hmac_of_the_others_is_the_definition() -> None:
    kinds: list[Any] = [hash.Keccak256, hash.Blake3]
    for kind in kinds:
        key = b"a key".ljust(kind.block_size, b"\0")
        inner = kind(bytes(byte ^ 0x36 for byte in key) + b"message").digest()
        outer = kind(bytes(byte ^ 0x5C for byte in key) + inner).digest()
        assert hmac.new(b"a key", b"message", kind).digest() == outer


def test_file_digest_takes_the_classes(tmp_path: Path) -> None:
    data = make("noise", MIB + 7)
    (tmp_path / "data").write_bytes(data)
    kinds: dict[str, Any] = {kind.name: kind for kind in KINDS}
    for name, kind in kinds.items():
        with (tmp_path / "data").open("rb") as file:
            made = hashlib.file_digest(file, kind)
        assert type(made) is kind
        assert made.digest() == one_shot(name, data)
        made = hashlib.file_digest(io.BytesIO(data), kind)
        assert made.digest() == one_shot(name, data)


# --- threads, processes, pickles ----------------------------------------------------------


@kinds()
def test_threads_share_a_hasher(kind: type[hash.Hasher]) -> None:
    # Whatever the order, the message is a run of one letter.
    hasher = kind()
    sizes = [1, 100, 2047, 2048, 5000, 200 * KIB, 3 * MIB, 7]
    seen: list[bytes] = []

    def feed() -> None:
        for size in sizes * 3:
            hasher.update(b"a" * size)
            seen.append(hasher.digest())
            seen.append(hasher.copy().update(b"b").digest())

    threads = [threading.Thread(target=feed) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == len(threads) * len(sizes) * 3 * 2
    assert hasher.digest() == one_shot(kind.name, b"a" * (sum(sizes) * 3 * len(threads)))


def test_threads_share_a_hasher_whose_pieces_are_shared_by_threads() -> None:
    # A worker of the pool that waited for a hasher might hold that very hasher itself.
    hasher = hash.Blake3()
    piece = b"a" * (2 * MIB)

    def feed() -> None:
        for _ in range(12):
            hasher.update(piece, threads=3)

    threads = [threading.Thread(target=feed) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hasher.digest() == hash.blake3(piece * 96)


def test_an_interrupted_piece_is_not_taken_in() -> None:
    code = """
import os, signal, threading
from shardpack import hash
data = bytes(2 << 30)
for kind in (hash.Keccak256, hash.Sha256):
    hasher = kind(b"before")
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        hasher.update(data)
        timer.join()
        print("not interrupted")
    except KeyboardInterrupt:
        timer.join()
        print(hasher.update(b" after").digest() == kind(b"before after").digest())
"""
    assert run_python(code).split("\n") == ["True", "True"]


def test_hashers_survive_a_fork() -> None:
    code = (
        COMMON
        + """
from shardpack import hash
def due(kind):
    return kind(b"head" + DATA * 4).digest()
for kind in (hash.Blake3, hash.Sha256):
    hasher = kind(b"head")
    hasher.update(DATA)
    def child():
        hasher.update(DATA * 3)
        assert hasher.digest() == due(kind)
    finished(in_fork(child))
    child()
print("fine")
"""
    )
    assert run_python(code, POOL) == "fine"


@kinds()
def test_hashers_refuse_to_pickle_and_classes_do_not(kind: type[hash.Hasher]) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match=f"cannot pickle '.*{kind.__name__}' object"):
            pickle.dumps(kind(), protocol)
    with pytest.raises(TypeError, match="cannot pickle"):
        copy.deepcopy(kind())
    assert pickle.loads(pickle.dumps(kind)) is kind


@kinds()
def test_classes_are_documented_frozen_and_final(kind: type[hash.Hasher]) -> None:
    assert repr(kind()).startswith(f"<{kind.name} hasher at 0x")
    assert kind.__module__ == "shardpack.hash"
    assert kind.__doc__
    assert "data=b''" in str(inspect.signature(kind))
    hasher: Any = kind()
    with pytest.raises(AttributeError):
        hasher.name = "other"
    with pytest.raises(TypeError):
        type("Sub", (kind,), {})
    for method in ("update", "digest", "hexdigest", "copy"):
        assert getattr(kind, method).__doc__, method
