"""Reed-Solomon: what makes no code is refused by name, and nothing is made up."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from inputs import load_json
from shardpack import ComputationFailed, InvalidInput, errors, hash, rs

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = load_json("rs/errors.json")
DATA = [b"abcd", b"efgh", b"ijkl"]
PARITY = rs.encode(DATA, 2)
WHOLE = [*DATA, *PARITY]


def why(case: dict[str, Any]) -> str:
    return str(case["why"])


def unhex(texts: list[str | None]) -> list[bytes | None]:
    return [None if text is None else bytes.fromhex(text) for text in texts]


@pytest.mark.parametrize("case", VECTORS["encode"], ids=why)
def test_recorded_refusals_to_encode(case: dict[str, Any]) -> None:
    data: Any = unhex(case["data_shards"])
    with pytest.raises(getattr(errors, case["error"])):
        rs.encode(data, case["parity_shards"])
    with pytest.raises(getattr(errors, case["error"])):
        rs.encode(iter(data), case["parity_shards"])
    if case["parity_shards"] >= 0:
        outputs = [bytearray(max(map(len, data), default=1)) for _ in range(case["parity_shards"])]
        with pytest.raises(getattr(errors, case["error"])):
            rs.encode_into(data, outputs)


@pytest.mark.parametrize("case", VECTORS["reconstruct"], ids=why)
def test_recorded_refusals_to_reconstruct(case: dict[str, Any]) -> None:
    shards = unhex(case["shards"])
    with pytest.raises(getattr(errors, case["error"])):
        rs.reconstruct(shards, case["data_shards"])
    with pytest.raises(getattr(errors, case["error"])):
        rs.reconstruct(shards, case["data_shards"], only_data=True)


def tagged(index: int, k: int = 3, m: int = 2) -> rs.ParityShard:
    return rs.ParityShard(b"wxyz", k, m, index)


lost: None = None
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "a short shard": (lambda: rs.encode([b"ab", b"abc"], 1), "shard 1 has 3 bytes"),
    "an empty shard": (lambda: rs.encode([b"", b""], 1), "shard 0 is empty"),
    "no shards at all": (lambda: rs.reconstruct([]), "no shards"),
    "a lost data shard": (lambda: rs.encode([b"ab", None], 1), "shard 1 is None"),  # type: ignore[list-item]
    "a lost shard to verify": (lambda: rs.verify([*DATA, lost, b"wxyz"], 3), "shard 3 is None"),  # type: ignore[list-item]
    "too many shards": (lambda: rs.verify([b"a"] * 257, 3), "more than 256 shards"),
    "an endless sequence": (lambda: rs.encode(iter(lambda: b"a", b""), 1), "more than 256"),
    "a matrix of too many rows": (
        lambda: rs.encode(np.zeros((300, 1), np.uint8), 1),
        "more than 256 shards",
    ),
    "k + m above 256": (lambda: rs.encode([b"a"] * 200, 57), "200 data and 57 parity"),
    "negative parity": (lambda: rs.encode(DATA, -1), "parity_shards must not be negative"),
    "huge parity": (lambda: rs.encode(DATA, 1 << 70), "parity_shards is out of range"),
    "a fraction of parity": (lambda: rs.encode(DATA, 1.0), "parity_shards must be an integer"),  # type: ignore[arg-type]
    "k as text": (lambda: rs.verify(list(map(bytes, WHOLE)), "3"), "must be an integer, not 'str'"),  # type: ignore[arg-type]
    "k of all shards": (lambda: rs.verify(DATA, 3), "leave no parity shard"),
    "k of nothing": (lambda: rs.verify(DATA, 0), "0 data shards"),
    "an unknown k": (lambda: rs.verify(DATA), "pass data_shards="),
    "a tag at another place": (
        lambda: rs.reconstruct([*DATA, tagged(4), lost]),
        "shard 3 is <ParityShard 4 of 3[+]2, 4 bytes>: it belongs to another place",
    ),
    "a tag among the data": (lambda: rs.reconstruct([tagged(3), lost, lost, lost, lost]), "place"),
    "a tag against k": (lambda: rs.reconstruct([*DATA, tagged(3), lost], 2), "2 data shards"),
    "tags against each other": (
        lambda: rs.reconstruct([*DATA, tagged(3), tagged(4, 2, 3)]),
        "does not go with 3 data shards",
    ),
    "a tag against the list": (
        lambda: rs.reconstruct([*DATA, tagged(3), lost, lost]),
        "in a list of 6",
    ),
    "a tag against verify": (lambda: rs.verify([*DATA, tagged(3)]), "in a list of 4"),
    "a tag against update": (
        lambda: rs.update([tagged(4), tagged(3)], 3, 0, DATA[0], DATA[1]),
        "belongs to another place",
    ),
    "a tag of no code": (lambda: rs.ParityShard(b"", 200, 57, 200), "make no code"),
    "a tag of no parity": (lambda: rs.ParityShard(b"", 3, 2, 2), "not one of parity"),
    "a tag beyond the code": (lambda: rs.ParityShard(b"", 3, 2, 5), "not one of parity"),
    "no such data shard": (lambda: rs.update(PARITY, 3, 3, b"abcd", b"abcd"), "shard 3"),
    "another length of old": (lambda: rs.update(PARITY, 3, 0, b"abc", b"abc"), "has 3"),
    "another length of new": (lambda: rs.update(PARITY, 3, 0, b"abcd", b"abc"), "has 3 bytes"),
    "no parity to update": (lambda: rs.update([], 3, 0, b"abcd", b"abcd"), "0 parity shards"),
    "nothing to split": (lambda: rs.split(b"", 3), "0 bytes"),
    "split in none": (lambda: rs.split(b"abc", 0), "0 data shards"),
    "split in text": (lambda: rs.split(b"abc", "2"), "must be an integer"),  # type: ignore[arg-type]
    "split in too many": (lambda: rs.split(b"abc", 257), "257 data shards"),
    "data shards that no product holds": (
        lambda: rs.reconstruct([b"abcd", lost, b"efgh"], 2**63 - 1),
        "leave no parity shard",
    ),
    "data shards that no product holds, in place": (
        lambda: rs.reconstruct_into([b"abcd", lost, b"efgh"], 2**63 - 1, [1], [bytearray(4)]),
        "leave no parity shard",
    ),
    "data shards as text": (
        lambda: rs.reconstruct([lost, b"efgh"], "1", only_data=True),  # type: ignore[arg-type]
        "data_shards must be an integer",
    ),
    "a wanted shard before the first": (
        lambda: rs.reconstruct_into([lost, *WHOLE[1:]], 3, [-1], [bytearray(4)]),
        "shard -1 is wanted",
    ),
    "join too much": (lambda: rs.join(DATA, 13), "12 bytes"),
    "join a lost one": (lambda: rs.join([b"abcd", None], 8), "shard 1 is None"),  # type: ignore[list-item]
    "join less than nothing": (lambda: rs.join(DATA, -1), "size must not be negative"),
    "stripe nothing": (lambda: rs.encode_striped(b"", 2, 1, 1), "0 bytes"),
    "blocks of nothing": (lambda: rs.encode_striped(b"abc", 2, 1, 0), "blocks of 0 bytes"),
    "a block as text": (lambda: rs.encode_striped(b"abc", 2, 1, "1"), "block must be an integer"),  # type: ignore[arg-type]
    "a size that is not theirs": (
        lambda: rs.decode_striped([b"ab", b"cd", b"ef"], 2, 2, 5),
        "shard 0 has 2 bytes, 5 bytes in blocks of 2 make 3",
    ),
    "a size that no memory holds": (
        lambda: rs.decode_striped([b"ab", b"cd", b"ef"], 2, 2, 1 << 60),
        "shard 0 has 2 bytes",
    ),
    "digests of a few": (lambda: rs.repair(WHOLE, 3, [bytes(32)] * 4), "4 digests for 5 shards"),
    "digests too short": (lambda: rs.repair(WHOLE, 3, [bytes(31)] * 5), "digest 0 is no blake3"),
    "no digest": (lambda: rs.repair(WHOLE, 3, [lost] * 5), "digest 0 is no blake3"),  # type: ignore[list-item]
    "an unknown hash": (lambda: rs.repair(WHOLE, 3, [b""] * 5, "md5"), "md5"),
    "too many errors": (lambda: rs.locate(WHOLE, 3, 3), "3"),
    "a wanted shard that is there": (
        lambda: rs.reconstruct_into(WHOLE, 3, [1], [bytearray(4)]),
        "shard 1 is not lost",
    ),
    "a wanted shard beyond": (
        lambda: rs.reconstruct_into([lost, *WHOLE[1:]], 3, [5], [bytearray(4)]),
        "shard 5 is wanted",
    ),
    "fewer outputs than wanted": (
        lambda: rs.reconstruct_into([lost, *WHOLE[1:]], 3, [0], []),
        "0 outputs for 1 wanted",
    ),
    "an output of another length": (
        lambda: rs.encode_into(DATA, [bytearray(4), bytearray(5)]),
        "shard 4 has 5 bytes",
    ),
    "no outputs": (lambda: rs.encode_into(DATA, []), "0 parity shards"),
    "a code of nothing": (lambda: rs.Encoder(0, 1, 4), "0 data shards"),
    "a code of shards of nothing": (lambda: rs.Encoder(1, 1, 0), "0 bytes"),
    "a piece of no shard": (lambda: rs.Encoder(2, 1, 4).add(2, b"a"), "shard 2"),
    "a piece that is too long": (lambda: rs.Encoder(2, 1, 4).add(0, b"abc", 2), "shard 0"),
    "a piece at a huge offset": (lambda: rs.Encoder(2, 1, 4).add(0, b"a", 2**63 - 1), "shard 0"),
    "a piece twice": (lambda: rs.Encoder(1, 1, 4).add(0, b"ab").add(0, b"b", 1), "offset 1"),
    "parity too early": (lambda: rs.Encoder(2, 1, 4).add(0, b"abcd").parity(), "shard 1 is incom"),
}


@pytest.mark.parametrize("name", BAD)
def test_input_that_makes_no_code_is_refused_by_name(name: str) -> None:
    call, text = BAD[name]
    with pytest.raises(InvalidInput, match=text) as caught:
        call()
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, RuntimeError)
    message = str(caught.value)
    assert "\n" not in message
    assert message[0].islower() or message[0].isdigit()
    assert type(pickle.loads(pickle.dumps(caught.value))) is InvalidInput


WRONG_TYPES: dict[str, tuple[Callable[[], object], str]] = {
    "one buffer": (lambda: rs.encode(b"abcd", 2), "a sequence of shards or an array of two"),
    "text": (lambda: rs.encode("ab", 1), "shard 0: .*'str'"),  # type: ignore[arg-type]
    "numbers": (lambda: rs.encode([1, 2], 1), "shard 0: .*'int'"),  # type: ignore[list-item]
    "a number": (lambda: rs.encode(3, 1), "iterable"),  # type: ignore[arg-type]
    "a strided shard": (
        lambda: rs.encode([b"ab", memoryview(b"abcd")[::2]], 1),
        "shard 1: .*contiguous",
    ),
    "strided rows": (
        lambda: rs.encode(np.zeros((2, 4), np.uint8)[:, ::2], 1),
        "rows of the array are not contiguous",
    ),
    "columns": (lambda: rs.encode(np.zeros((2, 4), np.uint8).T, 1), "not contiguous"),
    "wide items": (lambda: rs.encode(np.zeros((2, 4), np.uint32), 1), "items of 4 bytes"),
    "three dimensions": (lambda: rs.encode(np.zeros((2, 2, 2), np.uint8), 1), "two dimensions"),
    "a read-only output": (lambda: rs.encode_into(DATA, [b"abcd"]), "output 0: .*read-only"),
    "read-only rows": (
        lambda: rs.encode_into(DATA, memoryview(bytes(8)).cast("B", (2, 4))),
        "read-only",
    ),
    "an output of text": (lambda: rs.encode_into(DATA, ["abcd"]), "output 0: .*'str'"),  # type: ignore[list-item]
    "a piece of text": (lambda: rs.Encoder(1, 1, 4).add(0, "ab"), "'str'"),  # type: ignore[arg-type]
    "no digests": (lambda: rs.repair(WHOLE, 3, [1] * 5), "digest 0: .*'int'"),  # type: ignore[list-item]
}


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_what_is_no_shard_is_a_type_error(name: str) -> None:
    call, text = WRONG_TYPES[name]
    with pytest.raises(TypeError, match=text):
        call()


def test_too_many_losses_give_nothing() -> None:
    left = [DATA[0], None, None, None, PARITY[1]]
    places = [bytearray(b"----") for _ in range(3)]
    for call in (
        lambda: rs.reconstruct(left),
        lambda: rs.reconstruct(left, only_data=True),
        lambda: rs.reconstruct_into(left, None, [1, 2, 3], places),
        lambda: rs.decode_striped(left, 3, 4, 12),
        lambda: rs.repair(left, None, hash.many("blake3", WHOLE)),
    ):
        with pytest.raises(ComputationFailed, match="2 of 5 shards are left, at least 3"):
            call()
    assert places == [b"----"] * 3


def test_shards_with_other_digests_count_as_lost() -> None:
    digests = hash.many("blake3", WHOLE)
    with pytest.raises(ComputationFailed, match="2 of 5 shards are left"):
        rs.repair([b"abcx", b"efgx", b"ijkx", *PARITY], 3, digests)


# --- memory that is shared ----------------------------------------------------------------


def test_an_output_that_overlaps_another_is_refused() -> None:
    one = bytearray(8)
    view = memoryview(one)
    with pytest.raises(InvalidInput, match="output 1 and output 0 share memory"):
        rs.encode_into(DATA, [view[:4], view[3:7]])
    same = bytearray(4)
    with pytest.raises(InvalidInput, match="share memory"):
        rs.encode_into(DATA, [same, same])
    rs.encode_into(DATA, [view[:4], view[4:]])
    assert one == b"".join(PARITY)


@pytest.mark.parametrize("start", [0, 1, 3, 5, 7, 8])
def test_an_output_that_overlaps_a_shard_is_refused(start: int) -> None:
    memory = bytearray(b"abcdefghijkl")
    view = memoryview(memory)
    data = [view[:4], view[4:8]]
    output = view[start : start + 4]
    if start == 8:
        rs.encode_into(data, [output])
        assert bytes(output) == rs.encode(data, 1)[0]
        return
    with pytest.raises(InvalidInput, match="share memory"):
        rs.encode_into(data, [output])
    assert memory == b"abcdefghijkl"
    with pytest.raises(InvalidInput, match="share memory"):
        rs.reconstruct_into([*data, None], 2, [2], [output])


def test_an_output_inside_of_a_longer_shard_is_refused() -> None:
    memory = memoryview(bytearray(100))
    with pytest.raises(InvalidInput, match="share memory"):
        rs.encode_into([memory[:50], memory[:2], memory[50:]], [memory[20:22]])


def test_overlapping_rows_of_one_array_are_refused() -> None:
    memory = np.zeros(10, np.uint8)
    rows = np.lib.stride_tricks.as_strided(memory, (2, 6), (4, 1), writeable=True)
    with pytest.raises(InvalidInput, match="share memory"):
        rs.encode_into([b"abcdef"], rows)
    same = np.lib.stride_tricks.as_strided(memory, (2, 6), (0, 1), writeable=True)
    with pytest.raises(InvalidInput, match="share memory"):
        rs.encode_into([b"abcdef"], same)
    # Shards that are only read may overlap.
    assert rs.encode(rows, 1) == rs.encode([bytes(6), bytes(6)], 1)


def test_failed_pieces_change_nothing() -> None:
    encoder = rs.Encoder(2, 2, 4).add(0, b"abcd").add(1, b"ef")
    for index, piece, offset in ((1, b"xyz", 2), (1, b"xx", 1), (2, b"x", 0), (0, b"a", 3)):
        with pytest.raises(InvalidInput):
            encoder.add(index, piece, offset)
    assert encoder.add(1, b"gh", 2).parity() == rs.encode([b"abcd", b"efgh"], 2)


def test_an_encoder_says_what_it_is_and_does_not_pickle() -> None:
    encoder = rs.Encoder(10, 4, 1 << 20)
    assert repr(encoder) == "<Encoder of 10+4 shards of 1048576 bytes>"
    assert (encoder.data_shards, encoder.parity_shards, encoder.shard_len) == (10, 4, 1 << 20)
    with pytest.raises(TypeError, match="Encoder"):
        pickle.dumps(encoder)


def test_memory_that_there_is_not_is_an_error() -> None:
    with pytest.raises((ComputationFailed, InvalidInput, MemoryError)):
        rs.Encoder(1, 1, 1 << 62)
