"""Dictionaries: training, identity, and what happens with the wrong one."""

from __future__ import annotations

import hashlib

import pytest

import shardpack
from inputs import S4_VECTORS, make, run_python
from shardpack import CpuZstd, CpuZstdDict, dict_id, train_dict

RAW = (S4_VECTORS / "dict_raw_open.bin").read_bytes()


def samples(count: int = 400) -> list[bytes]:
    return [
        b'{"ts":%d,"svc":"cart","ev":"order_created","id":"ord_%08d","shop":"%s"}'
        % (
            1_780_000_000 + number * 17,
            number * 7919,
            hashlib.md5(b"%d" % number).hexdigest().encode(),
        )
        for number in range(count)
    ]


def test_the_id_is_the_head_of_sha_256() -> None:
    assert dict_id(RAW) == "2146108d12676334"
    assert dict_id(b"") == hashlib.sha256(b"").hexdigest()[:16]
    assert CpuZstdDict(RAW).dict_id == dict_id(RAW)


def test_a_trained_dictionary_makes_records_smaller() -> None:
    trained = train_dict(samples(), 8192)
    assert trained[:4] == b"\x37\xa4\x30\xec"
    assert len(trained) <= 8192
    record = samples(500)[-1]
    with_dictionary = CpuZstdDict(trained).compress(record)
    assert len(with_dictionary[0]) < len(CpuZstd().compress(record)[0])
    assert CpuZstdDict(trained).decompress(*with_dictionary) == record


def test_a_trained_dictionary_is_named_in_the_frame() -> None:
    trained = train_dict(samples(), 8192)
    payload = CpuZstdDict(trained).compress(samples()[0])[0]
    assert payload[4] & 3 == 3
    assert payload[6:10] == trained[4:8]


def test_training_takes_any_buffers_and_gives_the_same_each_time() -> None:
    once = train_dict(samples(), 4096)
    assert train_dict([bytearray(sample) for sample in samples()], size=4096) == once


@pytest.mark.parametrize("few", [[], [b""], [b"a"], [b"", b"", b""]])
def test_too_few_samples_are_refused(few: list[bytes]) -> None:
    with pytest.raises((ValueError, RuntimeError)) as caught:
        train_dict(few, 4096)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong", ["text", b"bytes are no list of samples", [b"a", "text"], None, 5]
)
def test_samples_of_another_type_are_refused(wrong: object) -> None:
    with pytest.raises(TypeError):
        train_dict(wrong, 4096)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [-1, 0, 1, 255])
def test_a_dictionary_is_never_larger_than_asked_for(size: int) -> None:
    with pytest.raises((ValueError, RuntimeError, OverflowError)):
        train_dict(samples(), size)


@pytest.mark.parametrize("size", [1 << 34, 1 << 40, 1 << 62, (1 << 64) - 1])
def test_an_absurd_size_is_no_allocation(size: int) -> None:
    # In a process of its own: a failed allocation would end it without an exception.
    code = """
from shardpack import train_dict
records = [b'{"number":%d,"name":"record"}' % (number * 17) for number in range(400)]
try:
    print(len(train_dict(records, SIZE)) < 100_000)
except (ValueError, RuntimeError, OverflowError, MemoryError):
    print(True)
"""
    assert run_python(code.replace("SIZE", str(size))) == "True"


def test_an_empty_dictionary_is_refused() -> None:
    with pytest.raises(shardpack.S4BackendError):
        CpuZstdDict(b"")


def test_a_damaged_dictionary_is_noticed_at_the_first_use() -> None:
    codec = CpuZstdDict(b"\x37\xa4\x30\xec" + bytes(range(100)))
    with pytest.raises(shardpack.S4IoError):
        codec.compress(b"hello")
    with pytest.raises(shardpack.S4IoError):
        codec.decompress(CpuZstdDict(RAW).compress(b"hello")[0], 5, shardpack.crc32c(b"hello"))


def test_the_wrong_dictionary_is_an_error_not_wrong_bytes() -> None:
    record = samples()[0]
    trained, other = train_dict(samples(), 8192), train_dict(samples(300), 4096)
    payload, size, crc = CpuZstdDict(trained).compress(record)
    for codec in (CpuZstdDict(other), CpuZstd()):
        with pytest.raises(shardpack.S4IoError):
            codec.decompress(payload, size, crc)
    payload, size, crc = CpuZstdDict(RAW).compress(make("events", 180))
    with pytest.raises((shardpack.S4IoError, shardpack.S4Error)):
        CpuZstdDict(RAW[::-1]).decompress(payload, size, crc)


def test_a_dictionary_codec_reads_plain_frames() -> None:
    made = CpuZstd().compress(b"hello")
    assert CpuZstdDict(RAW).decompress(*made) == b"hello"


@pytest.mark.parametrize("level", [1, 3, 19])
def test_a_dictionary_of_four_bytes_works(level: int) -> None:
    codec = CpuZstdDict(b"\x01\x02\x03\x04", level)
    data = make("lines", 5000)
    assert codec.decompress(*codec.compress(data)) == data
