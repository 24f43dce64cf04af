"""Rules that every part of the native surface keeps: empty input, the GIL, exceptions."""

from __future__ import annotations

import inspect
import pickle
import threading
import time
from array import array
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pytest

import shardpack
from inputs import MIB, make
from shardpack import (
    CpuGzip,
    CpuZstd,
    CpuZstdDict,
    Passthrough,
    _native,
    crc32c,
    errors,
    hash,
    nmt,
    rs,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DICTIONARY = make("events", 4000)
EMPTY_INDEX = bytes.fromhex("53344958" + "02000000" + "00" * 36)
CODECS = [CpuZstd(), CpuGzip(), CpuZstdDict(DICTIONARY), Passthrough()]

# For each function: the call on nothing, and what comes back or is raised.
EMPTY: dict[str, tuple[Callable[[], Any], Any]] = {
    "crc32c": (lambda: crc32c(b""), 0),
    "crc32c_combine": (lambda: shardpack.crc32c_combine(0, 0, 0), 0),
    "crc32c_many": (lambda: shardpack.crc32c_many([]), []),
    "blake3": (lambda: hash.blake3(b"").hex()[:8], "af1349b9"),
    "sha256": (lambda: hash.sha256(b"").hex()[:8], "e3b0c442"),
    "keccak256": (lambda: hash.keccak256(b"").hex()[:8], "c5d24601"),
    "sha3_256": (lambda: hash.sha3_256(b"").hex()[:8], "a7ffc6f8"),
    "hash_many": (lambda: hash.many("sha256", []), []),
    "hash_many_packed": (lambda: hash.many_packed("sha256", []), b""),
    "md5_many": (lambda: _native.md5_many([]), []),
    "hash_file": (lambda: _native.hash_file(-1, 0, "sha256"), OSError),
    "rs_encode": (lambda: rs.encode([], 1), shardpack.InvalidInput),
    "rs_encode_into": (lambda: rs.encode_into([], []), shardpack.InvalidInput),
    "rs_rebuild": (lambda: rs.reconstruct([]), shardpack.InvalidInput),
    "rs_rebuild_into": (lambda: rs.reconstruct_into([], 0, [], []), shardpack.InvalidInput),
    "rs_verify": (lambda: rs.verify([], 0), shardpack.InvalidInput),
    "rs_update": (lambda: rs.update([], 0, 0, b"", b""), shardpack.InvalidInput),
    "rs_repair": (lambda: rs.repair([], 0, []), shardpack.InvalidInput),
    "rs_locate": (lambda: rs.locate([], 0), shardpack.InvalidInput),
    "rs_split": (lambda: rs.split(b"", 1), shardpack.InvalidInput),
    "rs_join": (lambda: rs.join([], 0), b""),
    "rs_encode_striped": (lambda: rs.encode_striped(b"", 1, 1, 1), shardpack.InvalidInput),
    "rs_decode_striped": (lambda: rs.decode_striped([b"", b""], 1, 1, 0), b""),
    "nmt_root": (lambda: nmt.root([], []), shardpack.InvalidInput),
    "nmt_root_packed": (
        lambda: nmt.root_packed(b"", array("Q", [0]), b""),
        shardpack.InvalidInput,
    ),
    "nmt_empty_root": (lambda: len(nmt.empty_root()), 48),
    "nmt_parse_root": (lambda: nmt.parse_root(b""), shardpack.InvalidInput),
    "nmt_verify": (lambda: nmt.verify(b"", b"", b"", b""), False),
    "nmt_verify_range": (lambda: nmt.verify_range(b"", [], b"", b""), False),
    "nmt_verify_namespace": (lambda: nmt.verify_namespace(b"", [], b"", b""), False),
    "cpu_features": (lambda: shardpack.cpu_features()["level"] != "", True),
    "train_dict": (lambda: shardpack.train_dict([]), (ValueError, RuntimeError)),
    "dict_id": (lambda: shardpack.dict_id(b""), "e3b0c44298fc1c14"),
    "pick_codec": (lambda: shardpack.pick_codec(b""), "cpu-zstd"),
    "gzip_resume": (lambda: _native.gzip_resume(b"", 0, b"", 0), b""),
    "read_frame": (lambda: shardpack.read_frame(b""), shardpack.S4FrameError),
    "frame_iter": (lambda: shardpack.frame_iter(b""), []),
    "parse_frame_header": (lambda: shardpack.parse_frame_header(b""), shardpack.S4FrameError),
    "write_frame": (lambda: len(shardpack.write_frame(Passthrough(), b"")), 28),
    "encode_frames": (lambda: shardpack.encode_frames(CpuZstd(), b"", 1), (b"", [], 0)),
    "decode_frames": (lambda: shardpack.decode_frames(b""), b""),
    "pad_part": (lambda: shardpack.pad_part(b"", 0), b""),
    "pick_chunk_size": (lambda: shardpack.pick_chunk_size(0), MIB),
    "decode_index": (lambda: shardpack.decode_index(b""), shardpack.S4IndexError),
    "encode_index": (lambda: shardpack.encode_index({}), (KeyError, ValueError, TypeError)),
    "build_index": (lambda: shardpack.build_index(b""), EMPTY_INDEX),
    "bind_index": (lambda: shardpack.bind_index(b"", 0), shardpack.S4IndexError),
    "index_is_trusted": (lambda: shardpack.index_is_trusted(b""), shardpack.S4IndexError),
    "plan_range": (lambda: shardpack.plan_range(EMPTY_INDEX, 0, 0), None),
    "encode_s4_object": (lambda: shardpack.encode_s4_object(b"")["body"], b""),
    "encode_object": (lambda: shardpack.encode_object(b"")["body"], b""),
    "decode_object": (lambda: shardpack.decode_object(b""), b""),
    "decode_range": (lambda: shardpack.decode_range(b"", 0, 0), b""),
    "verify_object": (lambda: shardpack.verify_object(b"")["layout"], "plain"),
    "thread_count": (lambda: shardpack.thread_count() > 0, True),
    "gpu_available": (lambda: shardpack.gpu_available() in {True, False}, True),
}


def test_every_native_function_is_in_the_table() -> None:
    functions = {
        name
        for name in dir(_native)
        if not name.startswith("_") and callable(getattr(_native, name))
    }
    classes = {name for name in functions if isinstance(getattr(_native, name), type)}
    assert classes == {
        "BinaryArray",
        "Blake3",
        "Codec",
        "Compressor",
        "CpuGzip",
        "CpuZstd",
        "CpuZstdDict",
        "Crc32c",
        "Decompressor",
        "Encoder",
        "GzipIndexer",
        "Hasher",
        "Keccak256",
        "Passthrough",
        "Proof",
        "Sha256",
        "Sha3_256",
        "Tree",
    }
    assert functions - classes == set(EMPTY)


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_as_input(name: str) -> None:
    call, due = EMPTY[name]
    kinds = due if isinstance(due, tuple) else (due,)
    if all(isinstance(kind, type) for kind in kinds):
        with pytest.raises(kinds):
            call()
    else:
        assert call() == due


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_nothing_as_input_of_codecs(codec: Any) -> None:
    payload, size, crc = codec.compress(b"")
    assert (size, crc) == (0, 0)
    assert codec.decompress(payload, 0, 0) == b""
    assert codec.decompress_all(payload) == b""
    assert codec.decompress_into(payload, bytearray(), 0) == 0
    assert codec.compress_many([]) == codec.decompress_many([]) == []
    if not isinstance(codec, Passthrough):
        with pytest.raises(shardpack.S4IoError):
            codec.decompress(b"", 0, 0)
    target = bytearray(codec.compress_bound(0))
    assert codec.compress_into(b"", target)[1:] == (0, 0)


def test_every_public_name_can_be_imported() -> None:
    assert sorted(set(shardpack.__all__)) == sorted(shardpack.__all__)
    for name in shardpack.__all__:
        assert getattr(shardpack, name) is not None


def test_native_classes_live_in_the_package() -> None:
    for name, value in vars(_native).items():
        if isinstance(value, type):
            assert value.__module__.split(".")[0] == "shardpack", name
            assert value.__doc__, name


def test_native_functions_are_documented_and_have_signatures() -> None:
    for name in EMPTY:
        function = getattr(_native, name)
        assert function.__doc__, name
        assert inspect.signature(function) is not None


# --- the GIL ------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def material() -> dict[str, Any]:
    data = make("lines", 6 * MIB) * 4
    made = shardpack.encode_object(data, CpuZstd(1), chunk_size=len(data))
    records = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    return {
        "data": data,
        "huge": make("noise", 8 * MIB) * 48,
        "zstd": CpuZstd(1).compress(data * 4),
        "gzip": CpuGzip(1).compress(data * 2),
        "object": made,
        "records": records,
        "checked": records * 16,
        "stored": CpuZstd(1).compress_many(records * 4),
    }


LONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "crc32c": lambda m: crc32c(m["huge"]),
    "crc32c many": lambda m: shardpack.crc32c_many(m["checked"]),
    "blake3": lambda m: hash.blake3(m["huge"]),
    "blake3 output": lambda m: hash.blake3(m["data"], length=len(m["huge"])),
    "sha256": lambda m: hash.sha256(m["huge"]),
    "keccak256": lambda m: hash.keccak256(m["data"]),
    "hash many": lambda m: hash.many("sha3_256", m["records"] * 4),
    "hasher": lambda m: hash.Sha256().update(m["huge"]),
    "rs encode": lambda m: rs.encode([m["huge"]] * 4, 2),
    "rs verify": lambda m: rs.verify([m["huge"]] * 4, 1),
    "rs repair": lambda m: rs.repair([m["huge"]] * 4, 1, [hash.sha256(m["huge"])] * 4, "sha256"),
    "rs locate": lambda m: rs.locate([m["huge"]] * 4, 2, 2),
    "rs encoder": lambda m: rs.Encoder(2, 4, len(m["huge"])).add(0, m["huge"]),
    "nmt root": lambda m: nmt.root(m["checked"], [bytes(8)] * len(m["checked"])),
    "nmt tree": lambda m: nmt.Tree().extend([bytes(8)] * len(m["checked"]), m["checked"]),
    "zstd compress": lambda m: CpuZstd(6).compress(m["data"]),
    "zstd decompress": lambda m: CpuZstd().decompress(*m["zstd"]),
    "gzip compress": lambda m: CpuGzip(6).compress(m["data"]),
    "gzip decompress": lambda m: CpuGzip().decompress(*m["gzip"]),
    "gzip members": lambda m: CpuGzip(6).compress_members(m["data"]),
    "decompress all": lambda m: CpuZstd().decompress_all(m["zstd"][0]),
    "compress many": lambda m: CpuZstd(3).compress_many(m["records"]),
    "decompress many": lambda m: CpuZstd().decompress_many(m["stored"]),
    "compressor": lambda m: CpuZstd(6).compressor().compress(m["data"]),
    "decompressor": lambda m: CpuZstd().decompressor().decompress(m["zstd"][0]),
    "gzip indexer": lambda m: _native.GzipIndexer().decompress(m["gzip"][0]),
    "gzip resume": lambda m: _native.gzip_resume(b"", 0, *m["gzip"][:2]),
    "write frame": lambda m: shardpack.write_frame(CpuZstd(6), m["data"]),
    "encode frames": lambda m: shardpack.encode_frames(CpuZstd(6), m["data"], MIB),
    "encode s4 object": lambda m: shardpack.encode_s4_object(m["data"], level=6),
    "encode object": lambda m: shardpack.encode_object(m["data"], level=6),
    "decode object": lambda m: shardpack.decode_object(
        m["object"]["body"], m["object"]["metadata"]
    ),
    "verify object": lambda m: shardpack.verify_object(
        m["object"]["body"], m["object"]["metadata"]
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_other_threads_run_during_a_long_call(name: str) -> None:
    inputs = material()
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        start = time.perf_counter()
        LONG[name](inputs)
        end = time.perf_counter()
    finally:
        done.set()
        thread.join()
    margin = (end - start) / 8
    inside = [tick for tick in ticks if start + margin < tick < end - margin]
    assert inside, f"no other thread ran during {1000 * (end - start):.0f} ms"


def tree() -> Callable[[], object]:
    shared, namespaces, leaves = nmt.Tree(), [bytes(8)] * 40_000, [bytes(64)] * 40_000
    return lambda: shared.extend(namespaces, leaves, threads=3)


def encoder() -> Callable[[], object]:
    count, shard = iter(range(200)), bytes(MIB)
    shared = rs.Encoder(200, 16, MIB)
    return lambda: shared.add(next(count), shard)


def compressor() -> Callable[[], object]:
    shared, data = CpuZstd(1).compressor(), make("noise", 100_000)
    return lambda: [shared.compress(piece) for piece in (data, b"x", data, b"x", b"x")]


@pytest.mark.slow
@pytest.mark.parametrize("make_call", [tree, encoder, compressor])
def test_threads_that_share_an_object_never_wait_for_ever(
    make_call: Callable[[], Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARDPACK_NUM_THREADS", "3")
    call = make_call()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(12):
                call()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# --- exceptions ---------------------------------------------------------------------------

TREE: dict[str, tuple[type, ...]] = {
    "ShardpackError": (Exception,),
    "S4Error": (errors.ShardpackError, ValueError),
    "S4CrcMismatchError": (errors.S4Error,),
    "S4SizeMismatchError": (errors.S4Error,),
    "S4CodecMismatchError": (errors.S4Error,),
    "S4UnregisteredCodecError": (errors.S4Error,),
    "S4ManifestSizeExceedsLimitError": (errors.S4Error,),
    "S4ManifestSizeMismatchError": (errors.S4Error,),
    "S4FrameError": (errors.S4Error,),
    "S4IndexError": (errors.S4Error,),
    "DictionaryError": (errors.S4Error,),
    "S4BackendError": (errors.ShardpackError, RuntimeError),
    "S4IoError": (errors.ShardpackError, OSError),
    "UnsupportedCodecError": (errors.ShardpackError, NotImplementedError),
    "EncryptedObjectError": (errors.ShardpackError, NotImplementedError),
    "S3ExchangeError": (errors.ShardpackError,),
    "StorageError": (errors.S3ExchangeError, OSError),
    "ObjectNotFoundError": (errors.StorageError, FileNotFoundError),
    "ManifestNotFoundError": (errors.StorageError, FileNotFoundError),
    "PreconditionFailedError": (errors.StorageError,),
    "AccessDeniedError": (errors.StorageError, PermissionError),
    "StorageUnavailableError": (errors.StorageError, ConnectionError),
    "ConcurrencyUnsupportedError": (errors.S3ExchangeError, NotImplementedError),
    "IntegrityError": (errors.S3ExchangeError, ValueError),
    "InvalidManifestError": (errors.S3ExchangeError, ValueError),
    "ShardReadError": (errors.S3ExchangeError, ValueError),
    "UnsafePathError": (errors.S3ExchangeError, ValueError),
    "MissingPlaceholderError": (errors.S3ExchangeError, ValueError),
    "BulkError": (errors.S3ExchangeError,),
}
# What the others are made of is one text.
ARGUMENTS = {"MissingPlaceholderError": ("name", "{name}/data")}
# Attributes that must survive; each class has some of them.
FACTS = (
    "actual",
    "algorithm",
    "ambiguous",
    "code",
    "expected",
    "key",
    "limit",
    "line_number",
    "member",
    "offset",
    "path",
    "placeholder",
    "requested",
    "status",
    "template",
)


def test_the_tree_is_the_specified_one() -> None:
    found = {
        name: value.__bases__
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert {name: found[name] for name in TREE} == TREE
    assert set(errors.__all__) == set(found)
    for name, kind in ((name, getattr(errors, name)) for name in found):
        assert issubclass(kind, errors.ShardpackError)
        assert kind.__doc__, name
        assert getattr(shardpack, name) is kind


@pytest.mark.parametrize("name", errors.__all__)
def test_exceptions_pickle_with_their_facts(name: str) -> None:
    error = getattr(errors, name)(*ARGUMENTS.get(name, ("what went wrong",)))
    facts = [fact for fact in FACTS if hasattr(error, fact)]
    for number, fact in enumerate(facts):
        setattr(error, fact, number)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        twin = pickle.loads(pickle.dumps(error, protocol))
        assert type(twin) is type(error)
        assert (twin.args, str(twin)) == (error.args, str(error))
        assert [getattr(twin, fact) for fact in facts] == list(range(len(facts)))


def raised() -> list[errors.ShardpackError]:
    payload, size, crc = CpuZstd().compress(b"hello")
    frame = shardpack.write_frame(CpuZstdDict(DICTIONARY), b"hello")
    unreadable = b"S4F2\3" + frame[5:]
    caught: list[errors.ShardpackError] = []
    for call in (
        lambda: CpuZstd().decompress(payload, size, crc ^ 1),
        lambda: CpuZstd().decompress(payload, size + 1, crc),
        lambda: CpuZstd().decompress(payload, size - 1, crc),
        lambda: CpuZstd().decompress(payload, 6 << 30, crc),
        lambda: CpuZstdDict(b""),
        lambda: shardpack.read_frame(b""),
        lambda: shardpack.decode_index(b""),
        lambda: shardpack.decode_object(b"S4E1"),
        lambda: shardpack.decode_frames(unreadable),
        lambda: shardpack.decode_frames(frame),
        lambda: shardpack.encode_s4_object(b"", "lz4"),
        lambda: CpuZstd().decompress_many([payload, b"garbage"]),
    ):
        with pytest.raises(errors.ShardpackError) as info:
            call()
        caught.append(info.value)
    return caught


def test_raised_exceptions_pickle_and_are_one_line() -> None:
    for error in raised():
        twin = pickle.loads(pickle.dumps(error))
        assert type(twin) is type(error)
        assert (twin.args, str(twin), vars(twin)) == (error.args, str(error), vars(error))
        text = str(error)
        assert text == error.args[0]
        assert text[0].islower() or text[0] in "\"'0123456789"
        assert "\n" not in text
        assert not text.endswith(".")


def test_io_errors_have_no_errno() -> None:
    with pytest.raises(OSError, match="io: ") as caught:
        CpuZstd().decompress(b"garbage", 5, 0)
    assert caught.value.errno is None
    assert len(caught.value.args) == 1


def test_message_prefixes_are_those_of_s4_codec() -> None:
    texts = [str(error) for error in raised()]
    starts = (
        "crc32c mismatch: expected 0x",
        "size mismatch: expected 6, got 5",
        "io: ",
        "manifest claims 6442450944 bytes but limit is 5368709120",
        "backend: ",
        "frame error: ",
        "index error: ",
    )
    for text, start in zip(texts, starts, strict=False):
        assert text.startswith(start)


@pytest.mark.parametrize(
    ("size", "options"),
    [(2**62, {"uniform": True}), (2**64 - 1, {}), (2**64 - 1, {"uniform": True})],
)
def test_padding_that_no_memory_holds_is_refused(size: int, options: dict[str, Any]) -> None:
    with pytest.raises(shardpack.S4Error):
        shardpack.pad_part(b"x", size, **options)


def test_a_level_below_zero_is_no_level_of_gzip() -> None:
    with pytest.raises(OverflowError):
        shardpack.encode_object(b"data", "cpu-gzip", level=-1)


def test_arrays_of_bytes_pickle() -> None:
    values = [b"one", None, b"", make("noise", 1000)]
    twin = pickle.loads(pickle.dumps(shardpack.BinaryArray(values)))
    assert type(twin) is shardpack.BinaryArray
    assert list(twin) == values


def test_a_dictionary_is_trained_from_any_iterable() -> None:
    samples = [b'{"number": %d, "kind": "click"}' % number for number in range(2000)]
    assert shardpack.train_dict((sample for sample in samples), 4096) == shardpack.train_dict(
        samples, 4096
    )
