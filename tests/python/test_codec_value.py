"""Codecs as values: repr, equality, hash, pickle, copies, immutability, threads."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

import shardpack
from inputs import make
from shardpack import Codec, CpuGzip, CpuZstd, CpuZstdDict, Passthrough

DICTIONARY = make("events", 4000)
CODECS: list[Codec] = [
    CpuZstd(),
    CpuZstd(12),
    CpuZstd(1, content_size=True),
    CpuGzip(),
    CpuGzip(0),
    CpuZstdDict(DICTIONARY),
    CpuZstdDict(DICTIONARY, 9, content_size=True),
    CpuZstdDict(b"\0\xff'\"\\\n", 3),
    Passthrough(),
]
PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


def twin_of(codec: Codec, way: str | int) -> Codec:
    if isinstance(way, int):
        twin: Codec = pickle.loads(pickle.dumps(codec, way))
        return twin
    return copy.copy(codec) if way == "copy" else copy.deepcopy(codec)


@pytest.mark.parametrize("codec", CODECS, ids=repr)
@pytest.mark.parametrize("way", ["copy", "deepcopy", *PROTOCOLS])
def test_copies_are_equal_and_compress_alike(codec: Codec, way: str | int) -> None:
    twin = twin_of(codec, way)
    assert type(twin) is type(codec)
    assert twin == codec
    assert hash(twin) == hash(codec)
    assert repr(twin) == repr(codec)
    data = make("lines", 1000)
    assert twin.compress(data) == codec.compress(data)


def test_reprs_tell_the_level() -> None:
    assert repr(CpuZstd()) == "CpuZstd(level=3)"
    assert repr(CpuZstd(99)) == "CpuZstd(level=22)"
    assert repr(CpuGzip(9)) == "CpuGzip(level=9)"
    assert repr(CpuZstd(5, content_size=True)) == "CpuZstd(level=5, content_size=True)"
    assert repr(Passthrough()) == "Passthrough()"
    assert "level=7" in repr(CpuZstdDict(DICTIONARY, 7))
    assert "\n" not in repr(CpuZstdDict(DICTIONARY, 7))


# A dictionary is too long to be quoted; its codec shows what s4-codec shows.
@pytest.mark.parametrize("codec", [*CODECS[:5], CODECS[-1]], ids=repr)
def test_reprs_read_back(codec: Codec) -> None:
    assert eval(repr(codec), vars(shardpack)) == codec


def test_equality_is_of_values() -> None:
    for number, codec in enumerate(CODECS):
        for other_number, other in enumerate(CODECS):
            assert (codec == other) is (number == other_number)
    assert CpuZstd(22) == CpuZstd(30)
    others: list[object] = [CpuGzip(3), 3, None, "CpuZstd(level=3)"]
    assert all(CpuZstd() != other for other in others)
    assert CpuZstdDict(DICTIONARY) == CpuZstdDict(bytearray(DICTIONARY))
    assert CpuZstdDict(DICTIONARY) != CpuZstdDict(DICTIONARY + b"!")
    assert len({CpuZstd(3), CpuZstd(3), CpuZstd(4), CpuGzip(3)}) == 3


def test_attributes_tell_the_parameters() -> None:
    codec = CpuZstdDict(bytearray(DICTIONARY), 9)
    assert (codec.level, codec.content_size) == (9, False)
    assert codec.dict_bytes == DICTIONARY
    assert codec.dict_id == shardpack.dict_id(DICTIONARY)
    assert CpuZstd(2, content_size=True).content_size is True
    assert CpuGzip(2).level == 2


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_codecs_are_immutable(codec: Codec) -> None:
    with pytest.raises(AttributeError):
        codec.level = 4  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        codec.surprise = 4  # type: ignore[attr-defined]


def test_a_dictionary_codec_keeps_its_own_bytes() -> None:
    source = bytearray(DICTIONARY)
    codec = CpuZstdDict(source)
    before = codec.compress(make("events", 180))
    source[:] = bytes(len(source))
    source.extend(b"the buffer is released")
    assert codec.compress(make("events", 180)) == before
    assert codec.dict_bytes == DICTIONARY


def test_the_base_class_is_for_isinstance_only() -> None:
    assert all(isinstance(codec, Codec) for codec in CODECS)
    with pytest.raises(TypeError):
        Codec()


@pytest.mark.parametrize("kind", [CpuZstd, CpuGzip, CpuZstdDict, Passthrough])
def test_codecs_cannot_be_subclassed(kind: type) -> None:
    with pytest.raises(TypeError):
        type("Mine", (kind,), {})


def test_options_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        CpuZstd(3, True)  # type: ignore[call-arg]  # noqa: FBT003
    with pytest.raises(TypeError):
        CpuZstdDict(DICTIONARY, 3, True)  # type: ignore[call-arg]  # noqa: FBT003
    assert CpuZstd(level=4) == CpuZstd(4)
    assert CpuGzip(level=4) == CpuGzip(4)
    assert CpuZstdDict(dict_bytes=DICTIONARY, level=4) == CpuZstdDict(DICTIONARY, 4)


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_one_codec_serves_many_threads(codec: Codec) -> None:
    # At level 22 every call sets up tables of 700 MiB.
    count = 4 if "level=22" in repr(codec) else 40
    inputs = [make("lines", 500 + 371 * number) for number in range(count)]
    alone = [codec.compress(data) for data in inputs]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(codec.compress, inputs))
        plain = list(threads.map(lambda made: codec.decompress(*made), together))
    assert together == alone
    assert plain == inputs
