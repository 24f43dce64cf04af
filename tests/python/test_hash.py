"""One-shot hashes: recorded digests, the peers, arguments, threads, buffers and Ctrl-C."""

from __future__ import annotations

import hashlib
import mmap
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hash_vectors
import shardpack
from inputs import KIB, MIB, make, run_python
from shardpack import InvalidInput, hash
from test_buffers import BUFFERS, REFUSED
from test_fork import COMMON, POOL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

peer_blake3 = pytest.importorskip("blake3", reason="the reference binding of BLAKE3")
peer_keccak = pytest.importorskip("Crypto.Hash.keccak", reason="pycryptodome has Keccak-256")

KEY = hash_vectors.KEY
CASES = list(hash_vectors.cases())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_recorded_digests(case: hash_vectors.Case) -> None:
    assert case.call() == case.due


def test_the_vectors_are_all_there() -> None:
    assert hash_vectors.check() > 300


def keccak(data: bytes) -> bytes:
    found: bytes = peer_keccak.new(digest_bits=256, data=data).digest()
    return found


@given(st.binary(max_size=3000))
def test_equal_to_the_peers(data: bytes) -> None:
    assert hash.sha256(data) == hashlib.sha256(data).digest()
    assert hash.sha3_256(data) == hashlib.sha3_256(data).digest()
    assert hash.keccak256(data) == keccak(data)
    assert hash.blake3(data) == peer_blake3.blake3(data).digest()


@given(st.binary(max_size=3000), st.binary(min_size=32, max_size=32), st.text(max_size=50))
def test_keys_and_contexts_as_the_peer_has_them(data: bytes, key: bytes, context: str) -> None:
    keyed = peer_blake3.blake3(data, key=key)
    assert hash.blake3(data, key=key, length=77) == keyed.digest(length=77)
    derived = peer_blake3.blake3(data, derive_key_context=context)
    assert hash.blake3(data, context=context, length=77) == derived.digest(length=77)


@pytest.mark.parametrize("size", [64 * KIB, MIB - 1, MIB, MIB + 1, 5 * MIB + 12_345, 9 * MIB])
def test_long_data_as_the_peers_have_it(size: int) -> None:
    data = make("noise", 9 * MIB)[:size]
    assert hash.blake3(data) == peer_blake3.blake3(data).digest()
    assert hash.blake3(data, key=KEY) == peer_blake3.blake3(data, key=KEY).digest()
    assert hash.sha256(data) == hashlib.sha256(data).digest()
    assert hash.sha3_256(data) == hashlib.sha3_256(data).digest()
    assert hash.keccak256(data) == keccak(data)


@pytest.mark.parametrize("threads", [1, 2, 3, 4, None])
@pytest.mark.parametrize("size", [10, 3 * MIB + 1, 12 * MIB, 17 * MIB + 1023])
def test_threads_do_not_change_digests(size: int, threads: int | None) -> None:
    data = make("noise", 18 * MIB)[:size]
    assert hash.blake3(data, threads=threads) == peer_blake3.blake3(data).digest()
    assert hash.Blake3().update(data, threads=threads).digest() == hash.blake3(data, threads=1)
    pieces = [data[at : at + 70_000] for at in range(0, size, 70_000)]
    for name in hash.ALGORITHMS:
        assert hash.many(name, pieces, threads=threads) == hash.many(name, pieces, threads=1)


# --- output of any length -----------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 64, 65, 1000, MIB + 1, 3 * MIB + 70])
def test_output_of_any_length_begins_with_the_shorter_one(length: int) -> None:
    found = hash.blake3(b"seed", length=length, threads=3)
    assert len(found) == length
    assert found == peer_blake3.blake3(b"seed").digest(length=length)


def test_output_of_many_megabytes_is_the_same_on_any_number_of_threads() -> None:
    outputs = [hash.blake3(b"seed", length=9 * MIB, threads=count) for count in (1, 2, 4)]
    assert outputs[0] == outputs[1] == outputs[2]
    assert outputs[0][-100:] == hash.Blake3(b"seed").digest(100, seek=9 * MIB - 100)


@pytest.mark.parametrize("length", [1 << 62, (1 << 63) - 1])
def test_output_that_no_memory_holds_is_refused(length: int) -> None:
    with pytest.raises((MemoryError, OverflowError)):
        hash.blake3(b"", length=length)


@pytest.mark.parametrize("length", [-1, -(1 << 63)])
def test_a_negative_length_is_refused(length: int) -> None:
    with pytest.raises(InvalidInput, match=f"length must not be negative, got {length}"):
        hash.blake3(b"", length=length)


# --- keys and contexts --------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(InvalidInput, match=f"key must have 32 bytes, got {size}"):
        hash.blake3(b"data", key=bytes(size))
    with pytest.raises(InvalidInput, match=f"key must have 32 bytes, got {size}"):
        hash.Blake3(key=bytes(size))


def test_key_and_context_exclude_each_other() -> None:
    with pytest.raises(InvalidInput, match="key and context exclude each other"):
        hash.blake3(b"data", key=KEY, context="context")
    with pytest.raises(InvalidInput, match="key and context exclude each other"):
        hash.Blake3(b"data", key=KEY, context="context")


def test_a_key_is_any_buffer_and_a_context_is_text() -> None:
    assert hash.blake3(b"data", key=bytearray(KEY)) == hash.blake3(b"data", key=KEY)
    wrong: Any = b"context"
    with pytest.raises(TypeError):
        hash.blake3(b"data", context=wrong)
    wrong = "k" * 32
    with pytest.raises(TypeError, match="encode the text first"):
        hash.blake3(b"data", key=wrong)


def test_an_empty_context_is_not_the_plain_hash() -> None:
    plain, derived = hash.blake3(b"data"), hash.blake3(b"data", context="")
    assert plain != derived
    assert derived == peer_blake3.blake3(b"data", derive_key_context="").digest()


def test_options_are_keywords() -> None:
    call: Any = hash.blake3
    with pytest.raises(TypeError):
        call(b"data", KEY)
    with pytest.raises(OverflowError):
        call(b"data", threads=-1)


# --- buffers ------------------------------------------------------------------------------

ONE_SHOT: dict[str, Callable[[Any], bytes]] = {
    "blake3": hash.blake3,
    "sha256": hash.sha256,
    "keccak256": hash.keccak256,
    "sha3_256": hash.sha3_256,
}


@pytest.mark.parametrize("kind", BUFFERS)
@pytest.mark.parametrize("name", ONE_SHOT)
def test_any_buffer_is_hashed_as_it_lies(name: str, kind: str) -> None:
    data = make("lines", 8000)
    assert ONE_SHOT[name](BUFFERS[kind](data)) == ONE_SHOT[name](data)
    assert hash.new(name).update(BUFFERS[kind](data)).digest() == ONE_SHOT[name](data)


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", ONE_SHOT)
def test_what_is_no_contiguous_buffer_is_a_type_error(name: str, kind: str) -> None:
    with pytest.raises(TypeError):
        ONE_SHOT[name](REFUSED[kind])
    with pytest.raises(TypeError):
        hash.new(name).update(REFUSED[kind])


def test_text_is_refused_with_advice() -> None:
    text: Any = "text"
    for call in ONE_SHOT.values():
        with pytest.raises(TypeError, match="not 'str'; encode the text first"):
            call(text)


def test_a_mapped_file_is_hashed_as_it_lies(tmp_path: Path) -> None:
    data = make("noise", 5 * MIB)
    path = tmp_path / "mapped"
    path.write_bytes(data)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for call in ONE_SHOT.values():
            with memoryview(mapped) as view:
                assert call(view) == call(data)


@pytest.mark.parametrize("name", ONE_SHOT)
def test_a_buffer_that_is_written_to_meanwhile_does_no_harm(name: str) -> None:
    data = bytearray(16 * MIB)
    done = threading.Event()

    def scribble() -> None:
        value = 0
        while not done.is_set():
            value = (value + 1) % 256
            for at in range(0, len(data), 64 * KIB):
                data[at] = value

    thread = threading.Thread(target=scribble)
    thread.start()
    try:
        digests = [ONE_SHOT[name](data), hash.new(name, data).digest()]
        digests += hash.many(name, [data] * 3)
    finally:
        done.set()
        thread.join()
    assert {len(digest) for digest in digests} == {32}
    assert ONE_SHOT[name](data) == ONE_SHOT[name](bytes(data))


def test_a_buffer_keeps_its_place_while_it_is_hashed() -> None:
    data = bytearray(24 * MIB)
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(hash.keccak256(data)))
    refused = False
    thread.start()
    while thread.is_alive():
        try:
            data.append(1)
            data.pop()
        except BufferError:
            refused = True
    thread.join()
    assert refused, "the call never held the buffer while another thread ran"
    assert found == [hash.keccak256(bytes(24 * MIB))]
    data.append(1)


# --- processes ----------------------------------------------------------------------------

HASHING = (
    COMMON
    + """
from shardpack import hash
LONG = DATA * 4
def hashing():
    assert hash.blake3(LONG, threads=3) == hash.blake3(LONG, threads=1)
    assert len(hash.many("sha256", RECORDS * 20)) == 40_000
    return hash.Blake3(LONG).digest()
"""
)


def test_forks_before_and_after_hashing_work() -> None:
    code = HASHING + (
        "finished(in_fork(hashing)); hashing(); finished(in_fork(hashing))\n"
        "def child():\n"
        "    hashing()\n"
        "    finished(in_fork(hashing))\n"
        "finished(in_fork(child)); print(hashing() == hashing())"
    )
    assert run_python(code, POOL) == "True"


def test_short_hashes_start_no_thread() -> None:
    code = HASHING + (
        "hash.blake3(DATA[:900_000]); hash.sha256(DATA[:2**21]); hash.Sha256(DATA[:2**21]);"
        "hash.many('blake3', RECORDS[:100]); print(native_threads())"
    )
    assert run_python(code, POOL) == "1"


def test_the_package_has_the_page() -> None:
    code = "import shardpack; print(shardpack.hash.sha256(b'abc').hex()[:8])"
    assert run_python(code) == "ba7816bf"
    assert shardpack.hash is hash
