"""Every byte argument takes any contiguous buffer, and gives it back afterwards."""

from __future__ import annotations

import mmap
from array import array
from typing import TYPE_CHECKING, Any

import pytest

import shardpack
from inputs import make
from shardpack import Codec, CpuGzip, CpuZstd, CpuZstdDict, Passthrough

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

numpy = pytest.importorskip("numpy", reason="numpy arrays are among the buffers")
pyarrow = pytest.importorskip("pyarrow", reason="pyarrow buffers are among the buffers")

DATA = make("lines", 8000)
DICTIONARY = make("events", 4000)
CODECS: list[Codec] = [CpuZstd(), CpuGzip(), CpuZstdDict(DICTIONARY), Passthrough()]


class Bytes(bytes):
    """A subclass of bytes."""


def mapped(data: bytes) -> mmap.mmap:
    view = mmap.mmap(-1, len(data))
    view.write(data)
    return view


BUFFERS: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "subclass of bytes": Bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "read-only memoryview": lambda data: memoryview(bytearray(data)).toreadonly(),
    "slice of memoryview": lambda data: memoryview(b"ab" + data + b"c")[2:-1],
    "two-dimensional memoryview": lambda data: memoryview(data).cast("B", (len(data) // 100, 100)),
    "mmap": mapped,
    "array of bytes": lambda data: array("B", data),
    "array of signed bytes": lambda data: array("b", data),
    "array of doubles": lambda data: array("d", data),
    "numpy bytes": lambda data: numpy.frombuffer(data, "u1"),
    "numpy numbers": lambda data: numpy.frombuffer(data, "<i4"),
    "numpy matrix": lambda data: numpy.frombuffer(data, "<f8").reshape(-1, 10),
    "numpy read-only": lambda data: numpy.frombuffer(bytes(data), "u1"),
    "pyarrow buffer": pyarrow.py_buffer,
}
REFUSED: dict[str, Any] = {
    "str": "text",
    "None": None,
    "int": 5,
    "list of int": [1, 2, 3],
    "strided memoryview": memoryview(b"abcdefgh")[::2],
    "reversed memoryview": memoryview(b"abcdefgh")[::-1],
    "strided numpy": numpy.arange(100)[::3],
    "transposed numpy": numpy.arange(100).reshape(10, 10).T,
}


@pytest.mark.parametrize("kind", BUFFERS)
@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_codecs_read_any_buffer(codec: Codec, kind: str) -> None:
    made = BUFFERS[kind](DATA)
    payload, size, crc = codec.compress(made)
    assert (payload, size, crc) == codec.compress(DATA)
    assert codec.decompress(bytearray(payload), size, crc) == DATA


@pytest.mark.parametrize("kind", BUFFERS)
def test_functions_read_any_buffer(kind: str) -> None:
    made = BUFFERS[kind](DATA)
    assert shardpack.crc32c(made) == shardpack.crc32c(DATA)
    assert shardpack.dict_id(made) == shardpack.dict_id(DATA)
    assert shardpack.pick_codec(made) == shardpack.pick_codec(DATA)
    assert shardpack.encode_s4_object(made) == shardpack.encode_s4_object(DATA)
    assert shardpack.encode_object(made, "cpu-gzip") == shardpack.encode_object(DATA, "cpu-gzip")
    assert shardpack.write_frame(CpuZstd(), made) == shardpack.write_frame(CpuZstd(), DATA)
    assert CpuZstd().compress_many([made]) == CpuZstd().compress_many([DATA])
    assert CpuZstdDict(made).dict_bytes == DATA
    compressor = CpuZstd().compressor()
    assert compressor.compress(made) + compressor.flush() == CpuZstd().compress(DATA)[0]


@pytest.mark.parametrize("kind", [name for name in BUFFERS if name != "two-dimensional memoryview"])
def test_parsers_read_any_buffer(kind: str) -> None:
    made = shardpack.encode_object(make("lines", 5000), "cpu-zstd", chunk_size=1000)
    body, sidecar = made["body"], made["sidecar"]
    assert sidecar is not None
    # Arrays of wide items take whole items only, so the body is padded by a padding frame.
    body += b"S4P1" + (12).to_bytes(8, "little") + bytes(12)
    body += b"S4P1" + ((-len(body) - 12) % 80).to_bytes(8, "little") + bytes((-len(body) - 12) % 80)
    buffer = BUFFERS[kind](body)
    assert shardpack.frame_iter(buffer) == shardpack.frame_iter(body)
    assert shardpack.decode_frames(buffer) == make("lines", 5000)
    assert shardpack.build_index(buffer) == shardpack.build_index(body)
    assert shardpack.decode_index(bytearray(sidecar)) == shardpack.decode_index(sidecar)
    assert shardpack.decode_object(buffer, None, bytearray(sidecar)) == make("lines", 5000)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_contiguous_buffer_is_a_type_error(kind: str) -> None:
    value = REFUSED[kind]
    for call in (
        shardpack.crc32c,
        shardpack.read_frame,
        shardpack.frame_iter,
        shardpack.decode_index,
        shardpack.decode_frames,
        shardpack.encode_s4_object,
        shardpack.encode_object,
        shardpack.decode_object,
        shardpack.dict_id,
        shardpack.pick_codec,
        CpuZstdDict,
        CpuZstd().compress,
        CpuGzip().compress,
        CpuZstd().decompress_all,
        CpuZstd().compressor().compress,
        CpuZstd().decompressor().decompress,
        lambda data: CpuZstd().decompress(data, 1, 0),
        CpuZstd().decompress_many,
    ):
        with pytest.raises(TypeError) as caught:
            call(value)
        assert "\n" not in str(caught.value)


def test_text_gets_a_hint() -> None:
    with pytest.raises(TypeError, match=r"encode|bytes"):
        CpuZstd().compress("text")  # type: ignore[arg-type]


def test_buffers_are_released() -> None:
    buffer = bytearray(DATA)
    payload = bytearray(CpuZstd().compress(buffer)[0])
    buffer.extend(b"a resize fails while somebody holds the buffer")
    CpuZstd().decompress(payload, len(DATA), shardpack.crc32c(DATA))
    with pytest.raises(shardpack.S4CrcMismatchError):
        CpuZstd().decompress(payload, len(DATA), 0)
    payload.extend(b"!")
    with pytest.raises(shardpack.S4FrameError):
        shardpack.read_frame(payload)
    payload.extend(b"!")


def test_results_do_not_alias_the_input() -> None:
    buffer = bytearray(shardpack.write_frame(Passthrough(), b"hello"))
    _header, payload, rest = shardpack.read_frame(buffer + b"rest")
    plain = shardpack.decode_frames(buffer)
    buffer[:] = bytes(len(buffer))
    assert (payload, rest, plain) == (b"hello", b"rest", b"hello")


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_into_a_buffer_of_the_caller(codec: Codec) -> None:
    target = bytearray(codec.compress_bound(len(DATA)))
    written, size, crc = codec.compress_into(DATA, target)
    assert (bytes(target[:written]), size, crc) == codec.compress(DATA)
    plain = numpy.zeros(len(DATA) + 7, "u1")
    assert codec.decompress_into(target[:written], memoryview(plain)[: len(DATA)], crc) == len(DATA)
    assert plain[: len(DATA)].tobytes() == DATA
    assert not plain[len(DATA) :].any()
    target.extend(b"!")


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_into_a_buffer_that_is_too_small(codec: Codec) -> None:
    with pytest.raises(ValueError, match="too small"):
        codec.compress_into(DATA, bytearray(3))
    payload = codec.compress(DATA)[0]
    target = bytearray(len(DATA) + 100)
    with pytest.raises((ValueError, shardpack.S4IoError)):
        codec.decompress_into(payload, memoryview(target)[: len(DATA) - 1])
    assert not any(target[len(DATA) - 1 :])


def test_into_checks_the_checksum_when_given_one() -> None:
    payload, size, crc = CpuZstd().compress(DATA)
    assert CpuZstd().decompress_into(payload, bytearray(size)) == size
    with pytest.raises(shardpack.S4CrcMismatchError):
        CpuZstd().decompress_into(payload, bytearray(size), crc ^ 1)


@pytest.mark.parametrize("target", [bytes(9000), memoryview(bytes(9000)), "text", None, 9])
def test_into_what_cannot_be_written_is_a_type_error(target: Any) -> None:
    with pytest.raises(TypeError):
        CpuZstd().compress_into(DATA, target)
    with pytest.raises(TypeError):
        CpuZstd().decompress_into(CpuZstd().compress(DATA)[0], target)


def test_into_a_strided_buffer_is_a_type_error() -> None:
    target = memoryview(bytearray(40_000))[::2]
    with pytest.raises(TypeError):
        CpuZstd().compress_into(DATA, target)
    with pytest.raises(TypeError):
        CpuZstd().decompress_into(CpuZstd().compress(DATA)[0], target)


def test_files_are_read_through_a_map(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        assert CpuGzip().compress(view) == CpuGzip().compress(DATA)
