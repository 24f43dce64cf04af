"""Reed-Solomon: the recorded vectors, the oracle, and every kind of memory that shards are in."""

from __future__ import annotations

import copy
import hashlib
import mmap
import pickle
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inputs import MIB, drbg, load_json, make, run_python
from oracles import rs_oracle as oracle
from shardpack import ComputationFailed, InvalidInput, hash, rs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = load_json(f"rs/{name}.json")["cases"]
    return found


def unhex(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def name_of(case: dict[str, Any]) -> str:
    return "-".join(str(case[key]) for key in ("k", "m", "shard_len", "size") if key in case)


# --- the recorded vectors -----------------------------------------------------------------


@pytest.mark.parametrize("case", cases("encode"), ids=name_of)
def test_parity_is_the_recorded_one(case: dict[str, Any]) -> None:
    data, due = unhex(case["data"]), unhex(case["parity"])
    assert rs.encode(data, case["m"]) == due
    assert rs.encode(data_shards=data, parity_shards=case["m"]) == due
    assert oracle.encode(data, case["m"]) == due
    assert rs.verify([*data, *due], case["k"])


@pytest.mark.parametrize("case", [*cases("lengths"), *cases("large")], ids=name_of)
def test_parity_of_any_length_is_the_recorded_one(case: dict[str, Any]) -> None:
    data = [
        drbg(case["data_labels"].replace("<i>", str(index)), case["shard_len"])
        for index in range(case["k"])
    ]
    parity = rs.encode(data, case["m"])
    assert [hashlib.sha256(shard).hexdigest() for shard in parity] == case["parity_sha256"]
    assert hashlib.sha256(b"".join(parity)).hexdigest() == case["all_parity_sha256"]
    encoder = rs.Encoder(case["k"], case["m"], case["shard_len"])
    for index, shard in enumerate(data):
        encoder.add(index, shard)
    assert encoder.parity() == parity


@pytest.mark.parametrize("case", cases("reconstruct"), ids=name_of)
def test_recorded_losses_come_back_or_are_too_many(case: dict[str, Any]) -> None:
    shards, k = unhex(case["shards"]), case["k"]
    for lost in case["recoverable_losses"]:
        left = [None if index in lost else shard for index, shard in enumerate(shards)]
        assert rs.reconstruct(left, k) == shards
        assert rs.reconstruct(left, data_shards=k, only_data=True) == shards[:k]
    for lost in case["unrecoverable_losses"]:
        left = [None if index in lost else shard for index, shard in enumerate(shards)]
        with pytest.raises(ComputationFailed, match=f"at least {k} are needed"):
            rs.reconstruct(left, k)


@pytest.mark.parametrize("case", cases("update"), ids=name_of)
def test_updates_are_the_recorded_ones(case: dict[str, Any]) -> None:
    before, after = unhex(case["parity_before"]), unhex(case["parity_after"])
    old, new = bytes.fromhex(case["old"]), bytes.fromhex(case["new"])
    assert rs.update(before, case["k"], case["index"], old, new) == after
    data = unhex(case["data"])
    assert data[case["index"]] == old
    assert rs.encode(data, case["m"]) == before


@pytest.mark.parametrize("case", cases("layout"), ids=name_of)
def test_layouts_are_the_recorded_ones(case: dict[str, Any]) -> None:
    k, m, size = case["k"], case["m"], case["size"]
    data = bytes.fromhex(case["data"])
    contiguous = unhex(case["contiguous"]["shards"])
    assert rs.split(data, k) == contiguous[:k]
    assert rs.encode(rs.split(data, k), m) == contiguous[k:]
    assert rs.join(contiguous, size) == rs.join(contiguous[:k], size) == data
    striped = unhex(case["striped"]["shards"])
    assert rs.encode_striped(data, k, m, case["block"]) == striped
    left: list[bytes | None] = [*striped]
    for lost in (0, -1)[:m]:
        left[lost] = None
    assert rs.decode_striped(left, k, case["block"], size) == data


@pytest.mark.parametrize("case", cases("corrupt"), ids=name_of)
def test_recorded_corruption_is_located_and_repaired(case: dict[str, Any]) -> None:
    shards, k, wrong = unhex(case["shards"]), case["k"], case["corrupt"]
    assert not rs.verify(shards, k)
    assert rs.locate(shards, k, max_errors=len(wrong)) == wrong
    left = [None if index in wrong else shard for index, shard in enumerate(shards)]
    whole = rs.reconstruct(left, k)
    assert hashlib.sha256(b"".join(whole)).hexdigest() == case["repaired_sha256"]
    digests = hash.many("blake3", whole)
    assert rs.repair(shards, k, digests) == (whole, wrong)


# --- the oracle ---------------------------------------------------------------------------


@st.composite
def codes(draw: st.DrawFn) -> tuple[list[bytes], int]:
    """Data shards, and a number of parity shards."""
    k = draw(st.integers(1, 12) | st.integers(13, 60))
    m = draw(st.integers(1, 6) | st.integers(7, 30))
    length = draw(st.integers(1, 40) | st.integers(41, 400))
    content = drbg(f"{k}/{m}/{draw(st.integers(0, 99))}", k * length)
    return [content[at : at + length] for at in range(0, k * length, length)], m


@given(codes(), st.data())
def test_any_loss_within_the_budget_comes_back_as_the_oracle_says(
    code: tuple[list[bytes], int], draws: st.DataObject
) -> None:
    data, m = code
    k = len(data)
    parity = rs.encode(data, m)
    assert parity == oracle.encode(data, m)
    shards = [*data, *parity]
    lost = draws.draw(st.sets(st.integers(0, k + m - 1), max_size=m))
    left = [None if index in lost else shard for index, shard in enumerate(shards)]
    assert rs.reconstruct(left, k) == shards == oracle.reconstruct(left, k)
    places = [bytearray(len(data[0])) for _ in lost]
    rs.reconstruct_into(left, k, sorted(lost), places)
    assert places == [shards[index] for index in sorted(lost)]


@given(codes(), st.data())
def test_updates_give_the_parity_of_the_new_data(
    code: tuple[list[bytes], int], draws: st.DataObject
) -> None:
    data, m = code
    index = draws.draw(st.integers(0, len(data) - 1))
    new = draws.draw(st.binary(min_size=len(data[0]), max_size=len(data[0])))
    parity = rs.encode(data, m)
    updated = rs.update(parity, len(data), index, data[index], new)
    assert updated == oracle.update(parity, len(data), index, data[index], new)
    assert updated == rs.encode([*data[:index], new, *data[index + 1 :]], m)
    assert [shard.index for shard in updated] == [shard.index for shard in parity]


@given(st.binary(min_size=1, max_size=500), st.integers(1, 9), st.integers(1, 4), st.data())
def test_layouts_are_those_of_the_oracle(data: bytes, k: int, m: int, draws: st.DataObject) -> None:
    block = draws.draw(st.integers(1, 70) | st.just(1 << 40))
    assert rs.split(data, k) == oracle.split(data, k)
    assert rs.join(rs.split(data, k), len(data)) == data
    shards = rs.encode_striped(data, k, m, block)
    assert shards == oracle.encode_striped(data, k, m, block)
    lost = draws.draw(st.sets(st.integers(0, k + m - 1), max_size=m))
    left = [None if index in lost else shard for index, shard in enumerate(shards)]
    assert rs.decode_striped(left, k, block, len(data)) == data
    assert oracle.decode_striped(left, k, block, len(data)) == data


@given(st.integers(1, 5), st.integers(1, 5), st.data())
def test_wrong_shards_are_located_as_the_oracle_does(k: int, m: int, draws: st.DataObject) -> None:
    data = [drbg(f"locate/{index}", 6) for index in range(k)]
    shards: list[bytes | None] = [*data, *oracle.encode(data, m)]
    for index in draws.draw(st.sets(st.integers(0, k + m - 1), max_size=3)):
        shards[index] = draws.draw(st.none() | st.binary(min_size=6, max_size=6))
    for most in (0, 1, 2):
        if sum(shard is not None for shard in shards) >= k:
            assert rs.locate(shards, k, most) == oracle.locate(shards, k, most)


@given(codes(), st.data())
def test_pieces_may_come_in_any_order(code: tuple[list[bytes], int], draws: st.DataObject) -> None:
    data, m = code
    length = len(data[0])
    cut = draws.draw(st.integers(0, length))
    pieces = [
        (index, shard[start:end], start)
        for index, shard in enumerate(data)
        for start, end in ((0, cut), (cut, length))
    ]
    encoder = rs.Encoder(len(data), m, length)
    for index, piece, offset in draws.draw(st.permutations(pieces)):
        assert encoder.add(index, piece, offset) is encoder
    assert encoder.parity() == rs.encode(data, m)


# --- documented behaviour -----------------------------------------------------------------


def test_the_documented_calls_work_verbatim() -> None:
    data_shards = [b"some", b"data", b"here"]
    parity = rs.encode(data_shards=data_shards, parity_shards=2)
    shards_with_none = [b"some", None, b"here", None, parity[1]]
    assert rs.reconstruct(shards_with_none) == [*data_shards, *parity]
    assert isinstance(parity, list)
    assert all(isinstance(shard, bytes) for shard in parity)


def test_survivors_are_returned_as_they_are_and_parity_is_tagged_again() -> None:
    data: list[Any] = [b"abcd", bytearray(b"efgh"), memoryview(b"ijkl")]
    parity = rs.encode(data, 3)
    left: list[Any] = [data[0], data[1], None, None, parity[1], None]
    whole: list[Any] = rs.reconstruct(left)
    assert whole[0] is data[0]
    assert whole[1] is data[1]
    assert whole[4] is parity[1]
    assert type(whole[2]) is bytes
    for index in (3, 5):
        assert type(whole[index]) is rs.ParityShard
        assert (whole[index].index, whole[index].parity_shards) == (index, 3)
    # The rebuilt parity tells the code again.
    assert rs.reconstruct([None, None, None, *whole[3:]]) == whole


def test_nothing_lost_is_nothing_to_do() -> None:
    shards = [b"ab", b"cd", b"xx"]
    assert rs.reconstruct(shards) == shards
    assert rs.reconstruct(shards, 2) == shards
    assert rs.reconstruct(shards, 2, only_data=True) == shards[:2]


def test_plain_bytes_need_to_be_told_the_code() -> None:
    data = [b"ab", b"cd"]
    left = [None, *data[1:], *map(bytes, rs.encode(data, 1))]
    with pytest.raises(InvalidInput, match="pass data_shards="):
        rs.reconstruct(left)
    assert rs.reconstruct(left, data_shards=2)[0] == b"ab"


def test_all_parity_lost_needs_the_number_too() -> None:
    data = [b"ab", b"cd"]
    with pytest.raises(InvalidInput, match="pass data_shards="):
        rs.reconstruct([*data, None, None])
    whole = rs.reconstruct([*data, None, None], 2)
    assert whole[2:] == rs.encode(data, 2)


def test_parity_is_joined_to_nothing() -> None:
    data = rs.split(b"hello world", 3)
    shards = [*data, *rs.encode(data, 2)]
    assert rs.join(shards, 11) == b"hello world"


# --- parity shards ------------------------------------------------------------------------


def parity_shard() -> rs.ParityShard:
    return rs.encode([b"abcdefgh" * 10, b"ijklmnop" * 10], 2)[1]


def test_a_parity_shard_is_bytes_in_every_respect() -> None:
    shard = parity_shard()
    plain = bytes(shard)
    assert type(plain) is bytes
    assert shard == plain
    assert plain == shard
    assert hash_of(shard) == hash_of(plain)
    assert {shard, plain} == {plain}
    assert plain in {shard: 1}
    assert memoryview(shard) == plain
    assert shard[3:9] == plain[3:9]
    assert shard + b"" == plain
    assert b"".join([shard, shard]) == plain * 2
    assert shard.hex() == plain.hex()
    assert shard.find(plain[5:7]) == plain.find(plain[5:7])
    assert len(shard) == 80
    assert np.frombuffer(shard, np.uint8).tobytes() == plain


def hash_of(value: object) -> int:
    return value.__hash__()


def test_a_parity_shard_ends_with_a_zero_for_c_programs() -> None:
    import ctypes

    shard = rs.encode([b"\1" * 33], 1)[0]
    assert ctypes.string_at(shard) == b"\1" * 33


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_keep_the_tag(protocol: int) -> None:
    shard = parity_shard()
    twins = [pickle.loads(pickle.dumps(shard, protocol)), copy.copy(shard), copy.deepcopy(shard)]
    for twin in twins:
        assert type(twin) is rs.ParityShard
        assert twin == shard
        assert (twin.data_shards, twin.parity_shards, twin.index) == (2, 2, 3)
        assert hash_of(twin) == hash_of(shard)


def test_a_parity_shard_shows_its_place_and_not_its_bytes() -> None:
    assert repr(parity_shard()) == "<ParityShard 3 of 2+2, 80 bytes>"


def test_a_tag_can_be_given_back_to_bytes_from_storage() -> None:
    shard = parity_shard()
    twin = rs.ParityShard(bytearray(shard), data_shards=2, parity_shards=2, index=3)
    assert twin == shard
    assert rs.reconstruct([None, b"ijklmnop" * 10, None, twin])[0] == b"abcdefgh" * 10
    with pytest.raises(AttributeError):
        twin.index = 2  # type: ignore[misc]


# --- memory -------------------------------------------------------------------------------

SHARDS = [make("noise", 1000, str(index)) for index in range(5)]


def mapped(data: bytes, path: Path) -> mmap.mmap:
    path.write_bytes(data)
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)


@pytest.mark.parametrize(
    "kind",
    [
        bytes,
        bytearray,
        memoryview,
        lambda data: memoryview(b"x" + data)[1:],
        lambda data: np.frombuffer(data, np.uint8),
        lambda data: np.frombuffer(data, np.int16),
    ],
)
def test_shards_may_be_any_buffer(kind: Callable[[bytes], Any]) -> None:
    shards = [kind(shard) for shard in SHARDS]
    parity = rs.encode(shards, 3)
    assert parity == rs.encode(SHARDS, 3)
    assert rs.verify([*shards, *parity])
    assert rs.verify((*shards, *parity), 5)
    assert rs.reconstruct([None, *shards[1:], *parity])[0] == SHARDS[0]
    assert rs.encode((shard for shard in shards), 3) == parity


def test_shards_may_be_mapped_files(tmp_path: Path) -> None:
    shards = [mapped(shard, tmp_path / str(index)) for index, shard in enumerate(SHARDS)]
    outputs = [mapped(bytes(1000), tmp_path / f"p{index}") for index in range(3)]
    rs.encode_into(shards, outputs)
    assert [output[:] for output in outputs] == rs.encode(SHARDS, 3)
    for one in (*shards, *outputs):
        one.close()


@pytest.mark.parametrize(
    "matrix",
    [
        np.stack([np.frombuffer(shard, np.uint8) for shard in SHARDS]),
        memoryview(b"".join(SHARDS)).cast("B", (5, 1000)),
        np.frombuffer(b"".join(shard + b"gap" for shard in SHARDS), np.uint8).reshape(5, -1)[
            :, :1000
        ],
        np.stack([np.frombuffer(shard, np.uint8) for shard in reversed(SHARDS)])[::-1],
        np.stack([np.frombuffer(shard, np.int8) for shard in SHARDS]),
    ],
    ids=["numpy", "memoryview", "gaps", "backwards", "signed"],
)
def test_rows_of_a_matrix_are_shards(matrix: Any) -> None:
    parity = rs.encode(matrix, 2)
    assert parity == rs.encode(SHARDS, 2)
    out = np.zeros((2, 1000), np.uint8)
    rs.encode_into(matrix, out)
    assert out.tobytes() == b"".join(parity)
    assert rs.join(matrix, 4999) == b"".join(SHARDS)[:4999]
    whole = np.concatenate([np.frombuffer(b"".join(SHARDS), np.uint8).reshape(5, 1000), out])
    assert rs.verify(whole, 5)
    assert rs.locate(whole, 5) == []
    digests = hash.many("sha256", [*SHARDS, *parity])
    packed = np.frombuffer(b"".join(digests), np.uint8).reshape(7, 32)
    whole[3, 17] ^= 1
    assert not rs.verify(whole, 5)
    assert rs.locate(whole, 5) == [3]
    rows, wrong = rs.repair(whole, 5, packed, "sha256")
    assert wrong == [3]
    assert bytes(rows[3]) == SHARDS[3]


def test_rows_of_one_matrix_hold_data_and_parity() -> None:
    matrix = np.zeros((7, 1000), np.uint8)
    matrix[:5] = np.frombuffer(b"".join(SHARDS), np.uint8).reshape(5, 1000)
    rs.encode_into(matrix[:5], matrix[5:])
    assert matrix[5:].tobytes() == b"".join(rs.encode(SHARDS, 2))
    rows: list[Any] = [None, *matrix[1:4], None, *matrix[5:]]
    rs.reconstruct_into(rows, 5, (0, 4), matrix[[0, 4]].copy())
    places = np.zeros((2, 1000), np.uint8)
    rs.reconstruct_into(rows, 5, (4, 0), places)
    assert places.tobytes() == SHARDS[4] + SHARDS[0]


def test_the_rows_of_a_view_come_back_when_nothing_is_lost() -> None:
    view: Any = memoryview(b"".join(SHARDS)).cast("B", (5, 1000))
    assert rs.reconstruct(view, 4) == SHARDS
    assert [bytes(row) for row in rs.reconstruct(np.asarray(view), 4)] == SHARDS


# --- digests ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", hash.ALGORITHMS)
def test_rotten_shards_are_found_by_their_digests(name: str) -> None:
    parity = rs.encode(SHARDS, 3)
    whole = [*SHARDS, *parity]
    digests = hash.many(name, whole)
    damaged: list[bytes | None] = [*whole]
    damaged[1] = SHARDS[1][:-1] + bytes([SHARDS[1][-1] ^ 1])
    damaged[4] = SHARDS[4][:500]
    damaged[6] = None
    found, wrong = rs.repair(damaged, 5, digests, name)
    assert (found, wrong) == (whole, [1, 4, 6])
    assert rs.repair(whole, None, digests, hash=name) == (whole, [])
    assert found[0] is whole[0]


def test_a_wrong_digest_is_not_satisfied_by_any_shard() -> None:
    whole = [*SHARDS, *rs.encode(SHARDS, 2)]
    digests = hash.many("blake3", whole)
    digests[2] = bytes(32)
    with pytest.raises(ComputationFailed, match="shard 2 cannot be repaired"):
        rs.repair(whole, 5, digests)


# --- threads and processes ----------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_the_bytes(threads: int) -> None:
    data = [make("noise", 700_001, str(index)) for index in range(6)]
    due = rs.encode(data, 3, threads=1)
    parity = rs.encode(data, 3, threads=threads)
    assert parity == due
    assert rs.verify([*data, *parity], threads=threads)
    left = [None, None, *data[2:], None, *parity[1:]]
    assert rs.reconstruct(left, threads=threads) == [*data, *due]
    assert rs.update(due, 6, 0, data[0], data[0], threads=threads) == due
    striped = rs.encode_striped(b"".join(data), 6, 3, 1 << 16, threads=threads)
    whole = rs.decode_striped([None, *striped[1:]], 6, 1 << 16, 6 * 700_001, threads=threads)
    assert whole == b"".join(data)


def test_many_threads_may_share_everything() -> None:
    data = [make("noise", 50_000, str(index)) for index in range(6)]
    due = rs.encode(data, 3)
    encoder = rs.Encoder(6, 3, 50_000)
    failures: list[BaseException] = []

    def work(index: int) -> None:
        try:
            for at in range(0, 50_000, 10_000):
                encoder.add(index, data[index][at : at + 10_000], at)
            for _ in range(20):
                assert rs.encode(data, 3) == due
                assert rs.reconstruct([None, *data[1:], *due])[0] == data[0]
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert encoder.parity() == due


def test_writing_to_a_shard_during_a_call_is_safe() -> None:
    shards = [bytearray(make("noise", MIB, str(index))) for index in range(4)]
    stop = threading.Event()

    def scribble() -> None:
        value = 0
        while not stop.is_set():
            value = (value + 1) % 256
            for shard in shards:
                shard[value * 4096] = value

    thread = threading.Thread(target=scribble)
    thread.start()
    try:
        for _ in range(20):
            parity = rs.encode(shards, 2)
            assert [len(shard) for shard in parity] == [MIB, MIB]
            rs.verify([*shards, *parity])
    finally:
        stop.set()
        thread.join()
    assert rs.verify([*shards, *rs.encode(shards, 2)])


def test_a_lent_shard_cannot_change_its_length() -> None:
    data = bytearray(b"abcd")
    view = memoryview(data)
    parity = rs.encode([view], 1)
    with pytest.raises(BufferError):
        data.append(1)
    view.release()
    data.append(1)
    assert parity == [b"abcd"]


def test_a_fork_after_use_works() -> None:
    code = """
import os, warnings
warnings.filterwarnings("ignore", category=DeprecationWarning)
from shardpack import rs
data = [bytes([index]) * 1_000_000 for index in range(8)]
parity = rs.encode(data, 4, threads=3)
child = os.fork()
if child == 0:
    status = 1
    try:
        assert rs.encode(data, 4, threads=3) == parity
        assert rs.reconstruct([None] * 4 + data[4:] + parity, threads=3)[:8] == data
        status = 0
    finally:
        os._exit(status)
assert os.waitpid(child, 0)[1] == 0
assert rs.reconstruct([None] * 4 + data[4:] + parity, threads=3)[:8] == data
print("fine")
"""
    assert run_python(code) == "fine"


def test_small_calls_start_no_thread() -> None:
    code = """
import os
from shardpack import rs
parity = rs.encode([bytes(4096)] * 10, 4)
rs.reconstruct([None] * 4 + [bytes(4096)] * 6 + parity)
print(len(os.listdir("/proc/self/task")))
"""
    assert run_python(code, {"SHARDPACK_NUM_THREADS": "3"}) == "1"
