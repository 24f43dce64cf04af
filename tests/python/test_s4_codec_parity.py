"""Side by side with s4-codec: the same names, parameters, values and exception classes."""

from __future__ import annotations

import inspect
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shardpack
from inputs import make

if TYPE_CHECKING:
    from collections.abc import Callable

# The public surface of s4-codec 1.5, so that this runs where s4-codec cannot be installed.
PARAMETERS = {
    "CpuZstd": ["level=3"],
    "CpuGzip": ["level=6"],
    "CpuZstdDict": ["dict_bytes", "level=3"],
    "CpuZstd.compress": ["data"],
    "CpuGzip.compress": ["data"],
    "CpuZstdDict.compress": ["data"],
    "CpuZstd.decompress": ["data", "original_size", "crc32c"],
    "CpuGzip.decompress": ["data", "original_size", "crc32c"],
    "CpuZstdDict.decompress": ["data", "original_size", "crc32c"],
    "gpu_available": [],
    "read_frame": ["data"],
    "frame_iter": ["data"],
    "decode_index": ["data"],
    "bind_index": ["sidecar", "source_compressed_size", "source_etag=None"],
    "encode_s4_object": ["data", "codec='cpu-zstd'", "level=3"],
    "pick_chunk_size": ["content_length"],
    "crc32c": ["data"],
}
CONSTANTS = {
    "FRAME_MAGIC": b"S4F2",
    "PADDING_MAGIC": b"S4P1",
    "FRAME_HEADER_BYTES": 28,
    "SIDECAR_SUFFIX": ".s4index",
}
EXCEPTIONS = {
    "S4Error": ValueError,
    "S4CrcMismatchError": ValueError,
    "S4SizeMismatchError": ValueError,
    "S4CodecMismatchError": ValueError,
    "S4UnregisteredCodecError": ValueError,
    "S4ManifestSizeExceedsLimitError": ValueError,
    "S4ManifestSizeMismatchError": ValueError,
    "S4FrameError": ValueError,
    "S4IndexError": ValueError,
    "S4BackendError": RuntimeError,
    "S4IoError": OSError,
}


def parameters(name: str) -> list[inspect.Parameter]:
    value: Any = shardpack
    for part in name.split("."):
        value = getattr(value, part)
    return [p for p in inspect.signature(value).parameters.values() if p.name != "self"]


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_have_the_names_and_defaults_of_s4_codec(name: str) -> None:
    ours = parameters(name)
    theirs = PARAMETERS[name]
    for number, text in enumerate(theirs):
        own = ours[number]
        assert own.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        default = "" if own.default is inspect.Parameter.empty else f"={own.default!r}"
        assert own.name + default == text
    # What we add must be optional.
    assert all(own.default is not inspect.Parameter.empty for own in ours[len(theirs) :])


def test_constants_are_those_of_s4_codec() -> None:
    for name, value in CONSTANTS.items():
        assert getattr(shardpack, name) == value
        assert type(getattr(shardpack, name)) is type(value)


def test_exceptions_are_caught_as_with_s4_codec() -> None:
    for name, parent in EXCEPTIONS.items():
        kind = getattr(shardpack, name)
        assert issubclass(kind, parent)
        assert issubclass(kind, shardpack.S4Error) is (parent is ValueError)


def test_everything_can_be_given_by_keyword() -> None:
    payload, size, crc = shardpack.CpuZstd(level=3).compress(data=b"hello")
    plain = shardpack.CpuZstd().decompress(data=payload, original_size=size, crc32c=crc)
    assert plain == b"hello"
    assert shardpack.crc32c(data=b"hello") == crc
    frame = shardpack.encode_s4_object(data=b"hello", codec="cpu-zstd", level=3)["body"]
    assert shardpack.frame_iter(data=frame)[0][1] == shardpack.read_frame(data=frame)[1]


def both(name: str, call: Callable[[Any], Any], *arguments: object) -> None:
    """Run a call on both modules; values must be equal, or exceptions of one name.

    Args:
        name: What is said when they differ.
        call: Takes a module; gives a value, or with `arguments` the function to call on them.
        arguments: What that function takes.
    """
    s4_codec = pytest.importorskip("s4_codec", reason=f"{name}: the other module is not installed")
    results = []
    for module in (s4_codec, shardpack):
        try:
            value = call(module)
            results.append(value(*arguments) if arguments else value)
        except Exception as error:  # noqa: BLE001 - any class is compared
            results.append(error)
    theirs, ours = results
    if isinstance(theirs, Exception):
        # By name, and a class of ours may be a special case of theirs.
        assert type(theirs).__name__ in {kind.__name__ for kind in type(ours).__mro__}, name
    else:
        assert theirs == ours, name


def test_the_surface_is_a_superset() -> None:
    s4_codec = pytest.importorskip("s4_codec", reason="the other module is not installed")
    names = {name for name in dir(s4_codec) if not name.startswith("_")} - {"s4_codec"}
    assert names == set(PARAMETERS) - {n for n in PARAMETERS if "." in n} | set(CONSTANTS) | set(
        EXCEPTIONS
    )
    assert names <= set(dir(shardpack))


texts = st.integers(0, 3000).map(lambda size: make("lines", 3000)[:size])
inputs = st.one_of(st.binary(max_size=2000), texts)


@given(inputs, st.integers(-3, 25))
def test_zstd_bytes_are_equal(data: bytes, level: int) -> None:
    both("compress", lambda m: m.CpuZstd(level).compress(data))
    both("encode", lambda m: m.encode_s4_object(data, "cpu-zstd", level))


@given(inputs, st.binary(max_size=300), st.integers(-3, 25))
def test_dictionary_bytes_are_equal(data: bytes, dictionary: bytes, level: int) -> None:
    both("compress", lambda m: m.CpuZstdDict(dictionary, level).compress(data))


@given(inputs, st.integers(0, 12))
def test_gzip_is_read_by_the_other(data: bytes, level: int) -> None:
    s4_codec = pytest.importorskip("s4_codec", reason="the other module is not installed")
    ours, theirs = shardpack.CpuGzip(level), s4_codec.CpuGzip(level)
    assert theirs.decompress(*ours.compress(data)) == data
    assert ours.decompress(*theirs.compress(data)) == data
    assert ours.compress(data)[0][:10] == theirs.compress(data)[0][:10]


claims = st.one_of(st.integers(-2, 3), st.sampled_from([5 << 30, (5 << 30) + 1 - 3000, 1 << 63]))


def damaged(payload: bytes, edits: list[tuple[int, int]], cut: int) -> bytes:
    raw = bytearray(payload)
    for at, value in edits:
        raw[at % len(raw)] ^= value
    return bytes(raw[: len(raw) - cut] if cut >= 0 else raw + bytes(-cut))


edits = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=2)


@given(inputs, edits, st.integers(-3, 3), claims, st.booleans(), st.sampled_from(["zstd", "gzip"]))
def test_claims_are_judged_alike(
    data: bytes,
    changes: list[tuple[int, int]],
    cut: int,
    claim: int,
    honest: bool,
    kind: str,
) -> None:
    codec: Any = shardpack.CpuZstd(1) if kind == "zstd" else shardpack.CpuGzip(1)
    payload, size, crc = codec.compress(data)
    # Only the frame of no data states its size; one that lies about it is refused here, as by any
    # one-shot decoder, while a streaming one reads it as nothing.
    bad = damaged(payload, changes if data else [], cut)
    expected = crc if honest else crc ^ 1

    def call(module: Any) -> Any:
        made = module.CpuZstd() if kind == "zstd" else module.CpuGzip()
        return made.decompress(bad, size + claim, expected)

    both(f"decompress {kind}", call)


@given(inputs, edits, st.integers(-40, 40))
def test_frames_are_parsed_alike(data: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    body = shardpack.encode_frames(shardpack.CpuZstd(1), data, 1000)[0]
    body += b"S4P1" + (7).to_bytes(8, "little") + bytes(7)
    bad = damaged(body, [(at % 60, value) for at, value in changes], cut)
    both("read_frame", lambda m: m.read_frame(bad))
    both("frame_iter", lambda m: list(m.frame_iter(bad)))


@given(edits, st.integers(-40, 40), st.integers(-1, 1 << 65), st.one_of(st.none(), st.text()))
def test_sidecars_are_parsed_alike(
    changes: list[tuple[int, int]], cut: int, size: int, etag: str | None
) -> None:
    body = shardpack.encode_frames(shardpack.CpuZstd(1), make("lines", 3000), 1000)[0]
    sidecar = shardpack.bind_index(shardpack.build_index(body), len(body), "etag")
    bad = damaged(sidecar, changes, cut)
    both("decode_index", lambda m: m.decode_index(bad))
    both("bind_index", lambda m: m.bind_index(bad, size, etag))


@given(st.binary(max_size=100))
def test_noise_is_parsed_alike(noise: bytes) -> None:
    for head in (b"", b"S4F2", b"S4P1", b"S4IX", b"S4IX\2\0\0\0"):
        data = head + noise
        for name in ("read_frame", "frame_iter", "decode_index"):
            both(name, attrgetter(name), data)


@given(st.integers(-1, 1 << 65))
def test_chunk_sizes_are_equal(size: int) -> None:
    both("pick_chunk_size", lambda m: m.pick_chunk_size(size))


@pytest.mark.parametrize("size", [0, 1, 100, (1 << 20) + 1, (4 << 20) + 1, 9 << 20])
def test_objects_are_equal(size: int) -> None:
    data = make("lines", size)
    for codec in ("cpu-zstd", "passthrough", "cpu-gzip", "lz4"):
        both("encode", attrgetter("encode_s4_object"), data, codec, 1)
