"""Whole objects: gateway recordings, every codec a client may write, refusals."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

import shardpack
from inputs import MIB, S4_VECTORS, generate, load_json, make
from shardpack import (
    CpuGzip,
    CpuZstd,
    CpuZstdDict,
    Passthrough,
    decode_object,
    dict_id,
    encode_object,
    encode_s4_object,
    frame_iter,
    pick_codec,
    verify_object,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = load_json("s4/cases.json")["objects"]
OBJECTS = load_json("s4/object_vectors.json")["vectors"]
RULES = load_json("s4/rule_vectors.json")
DICTIONARY = (S4_VECTORS / "dict_raw_open.bin").read_bytes()
DICTS = {dict_id(DICTIONARY): DICTIONARY}


def by_name(case: dict[str, Any]) -> str:
    return str(case["name"])


def stored(case: dict[str, Any]) -> tuple[bytes, dict[str, str], bytes | None]:
    body = (S4_VECTORS / case["body"]).read_bytes()
    body = gzip.decompress(body) if case["body"].endswith(".gz") else body
    metadata = json.loads((S4_VECTORS / case["meta"]).read_text())
    sidecar = (S4_VECTORS / case["sidecar"]).read_bytes() if case["sidecar"] else None
    return body, metadata, sidecar


GOOD = [case for case in CASES if "error" not in case]
BAD = [case for case in CASES if "error" in case]


@pytest.mark.parametrize("case", GOOD, ids=by_name)
def test_objects_of_the_gateway_are_read(case: dict[str, Any]) -> None:
    body, metadata, sidecar = stored(case)
    plain = decode_object(body, metadata, sidecar, DICTS)
    assert len(plain) == case["plain_size"]
    assert hashlib.sha256(plain).hexdigest() == case["plain_sha256"]
    assert decode_object(body, {**metadata, "s4-future": "?", "other": "x"}, dicts=DICTS) == plain


@pytest.mark.parametrize("case", [case for case in GOOD if case["reencode"]], ids=by_name)
def test_objects_of_the_gateway_are_written_again(case: dict[str, Any]) -> None:
    body, metadata, _sidecar = stored(case)
    made = encode_s4_object(decode_object(body, metadata), **case["reencode"])
    assert (made["body"], made["metadata"]) == (body, metadata)


@pytest.mark.parametrize("case", GOOD, ids=by_name)
def test_objects_of_the_gateway_verify(case: dict[str, Any]) -> None:
    body, metadata, sidecar = stored(case)
    report = verify_object(body, metadata, sidecar, DICTS)
    assert report["original_size"] == case["plain_size"]
    assert report["stored_size"] == len(body)
    assert report["sidecar"] in ({"absent"} if sidecar is None else {"unbound", "trusted"})


@pytest.mark.parametrize("case", BAD, ids=by_name)
def test_encrypted_objects_are_refused_with_advice(case: dict[str, Any]) -> None:
    body, metadata, _sidecar = stored(case)
    calls: list[Callable[[], object]] = [
        lambda: decode_object(body, metadata),
        lambda: decode_object(body),
        lambda: shardpack.decode_range(body, 0, 0),
        lambda: verify_object(body),
    ]
    for call in calls:
        with pytest.raises(NotImplementedError, match="gateway") as caught:
            call()
        assert type(caught.value) is shardpack.EncryptedObjectError


@pytest.mark.parametrize("number", range(1, 7))
def test_data_that_looks_encrypted_is_data_when_the_manifest_says_so(number: int) -> None:
    data = b"S4E%d and then some text" % number
    made = encode_s4_object(data, "passthrough")
    assert decode_object(made["body"], made["metadata"]) == data
    with pytest.raises(shardpack.EncryptedObjectError):
        decode_object(data)


def test_an_encryption_mark_refuses_whatever_the_body_is() -> None:
    made = encode_s4_object(b"hello")
    metadata = {**made["metadata"], "s4-encrypted": "aes-256-gcm"}
    for start, end in ((0, 0), (0, 5)):
        with pytest.raises(shardpack.EncryptedObjectError):
            shardpack.decode_range(made["body"], start, end, metadata)
    with pytest.raises(shardpack.EncryptedObjectError):
        decode_object(made["body"], metadata)


def test_an_encrypted_sidecar_refuses() -> None:
    sidecar = bytes.fromhex(RULES["indexes"]["sse bad count"])
    with pytest.raises(shardpack.EncryptedObjectError):
        decode_object(b"", None, sidecar)
    with pytest.raises(shardpack.EncryptedObjectError):
        shardpack.decode_range(b"", 0, 0, None, sidecar)


def vector_name(vector: dict[str, Any]) -> str:
    return f"{vector['codec']}-{vector['input']['gen']}-{vector['input']['size']}"


@pytest.mark.parametrize("vector", OBJECTS, ids=vector_name)
def test_written_objects_are_those_of_s4_codec(vector: dict[str, Any]) -> None:
    data = generate(vector["input"])
    made = encode_s4_object(data, vector["codec"], vector["level"])
    assert list(made) == ["body", "sidecar", "metadata"]
    assert list(made["metadata"].items()) == list(vector["metadata"].items())
    assert len(made["body"]) == vector["body_size"]
    assert hashlib.sha256(made["body"]).hexdigest() == vector["body_sha256"]
    sidecar = made["sidecar"]
    assert (sidecar and sidecar.hex()) == vector["sidecar_hex"]
    if sidecar is not None:
        size = len(made["body"])
        bound = shardpack.bind_index(sidecar, size, vector["bind_etag"])
        assert bound.hex() == vector["bound_sidecar_hex"]
        assert shardpack.bind_index(sidecar, size).hex() == vector["size_only_sidecar_hex"]
    assert decode_object(made["body"], made["metadata"], sidecar) == data
    made_here = encode_object(data, vector["codec"], vector["level"])
    if vector["codec"] == "cpu-zstd":
        assert made_here == made


@pytest.mark.parametrize(
    "codec",
    ["cpu-gzip", "cpu-zstd-dict", "nvcomp-zstd", "nvcomp-lz4", "dietgpu-ans", "CPU-ZSTD", ""],
)
def test_encode_s4_object_refuses_other_codecs(codec: str) -> None:
    with pytest.raises(NotImplementedError, match="gateway"):
        encode_s4_object(b"hello", codec)


def test_encode_s4_object_clamps_its_level() -> None:
    data = make("lines", 1000)
    assert encode_s4_object(data, level=99) == encode_s4_object(data, level=22)
    assert encode_s4_object(data=data, codec="cpu-zstd", level=-5) == encode_s4_object(
        data, level=1
    )
    with pytest.raises(OverflowError):
        encode_s4_object(data, level=1 << 31)


@pytest.mark.parametrize("name", RULES["samples"])
def test_the_codec_is_picked_as_the_gateway_does(name: str) -> None:
    sample = bytes.fromhex(RULES["samples"][name])
    picks = [p for p in RULES["picks"] if p["sample"] == name and not p["gpu"]]
    assert picks
    for pick in picks:
        assert pick_codec(sample, pick["total_size"]) == pick["codec"]
        made = encode_object(sample, "auto")
        assert made["metadata"]["s4-codec"] == pick["codec"]
        assert decode_object(made["body"], made["metadata"]) == sample


def test_only_the_first_4096_bytes_are_looked_at() -> None:
    text, noise = make("lines", 4096), make("noise", 100_000)
    assert pick_codec(text + noise) == "cpu-zstd"
    assert pick_codec(noise + text) == "passthrough"
    assert encode_object(text + noise)["metadata"]["s4-codec"] == "cpu-zstd"


@pytest.mark.parametrize("size", [0, 1, 5000, 300_000])
@pytest.mark.parametrize(
    "codec",
    ["auto", "cpu-zstd", "cpu-gzip", "passthrough", CpuZstd(9), CpuGzip(9), Passthrough()],
    ids=str,
)
def test_every_codec_comes_back(codec: Any, size: int) -> None:
    data = make("lines", size)
    made = encode_object(data, codec)
    metadata = made["metadata"]
    assert metadata["s4-original-size"] == str(size)
    assert metadata["s4-compressed-size"] == str(len(made["body"]))
    assert metadata["s4-crc32c"] == str(shardpack.crc32c(data))
    assert ("s4-framed" in metadata) is (metadata["s4-codec"] == "cpu-zstd")
    assert decode_object(made["body"], metadata, made["sidecar"]) == data
    assert verify_object(made["body"], metadata, made["sidecar"])["checked"]
    if metadata["s4-codec"] == "cpu-gzip":
        assert gzip.decompress(made["body"]) == data
    if metadata["s4-codec"] == "passthrough":
        assert made["body"] == data


def test_chunks_are_cut_as_asked() -> None:
    data = make("lines", 10_000)
    made = encode_object(data, "cpu-zstd", chunk_size=3000)
    assert [header["original_size"] for header, _ in frame_iter(made["body"])] == [3000] * 3 + [
        1000
    ]
    assert made["sidecar"] == shardpack.build_index(made["body"])
    assert decode_object(made["body"], made["metadata"], made["sidecar"]) == data
    for chunk in (0, -1):
        with pytest.raises((ValueError, OverflowError)):
            encode_object(data, "cpu-zstd", chunk_size=chunk)


@pytest.mark.parametrize(
    "codec", ["auto", "cpu-zstd", "cpu-gzip", CpuZstdDict(DICTIONARY)], ids=str
)
def test_objects_do_not_depend_on_the_thread_count(codec: Any) -> None:
    data = make("lines", 3 * MIB)
    alone = encode_object(data, codec, None, 200_000, threads=1)
    for threads in (2, 7):
        assert encode_object(data, codec, None, 200_000, threads=threads) == alone


def test_dictionary_objects_name_their_dictionary() -> None:
    data = make("events", 400)
    made = encode_object(data, CpuZstdDict(DICTIONARY))
    assert made["metadata"]["s4-codec"] == "cpu-zstd-dict"
    assert made["metadata"]["s4-dict-id"] == dict_id(DICTIONARY)
    assert made["metadata"]["s4-framed"] == "true"
    assert decode_object(made["body"], made["metadata"], dicts=DICTS) == data
    case = next(case for case in CASES if case["name"] == "s4_dict")
    body, metadata, _sidecar = stored(case)
    again = encode_object(decode_object(body, metadata, dicts=DICTS), CpuZstdDict(DICTIONARY))
    assert (again["body"], again["metadata"]) == (body, metadata)


def test_a_dictionary_that_does_not_help_is_not_used() -> None:
    made = encode_object(make("noise", 400), CpuZstdDict(DICTIONARY))
    assert made["metadata"]["s4-codec"] == "cpu-zstd"
    assert "s4-dict-id" not in made["metadata"]
    assert decode_object(made["body"], made["metadata"]) == make("noise", 400)


def test_dictionary_objects_need_their_dictionary() -> None:
    made = encode_object(make("events", 400), CpuZstdDict(DICTIONARY))
    own = dict_id(DICTIONARY)
    for dicts in (None, {}, {"0123456789abcdef": DICTIONARY}, {own: b"another dictionary"}):
        with pytest.raises(shardpack.DictionaryError, match=own) as caught:
            decode_object(made["body"], made["metadata"], dicts=dicts)
        assert caught.value.dict_id == own


@pytest.mark.parametrize(
    "bad", ["", "..", "2146108D12676334", "../../../../etc/x", "2146108d1267633"]
)
def test_a_malformed_dictionary_id_is_refused(bad: str) -> None:
    made = encode_object(make("events", 400), CpuZstdDict(DICTIONARY))
    with pytest.raises(shardpack.S4Error):
        decode_object(
            made["body"], {**made["metadata"], "s4-dict-id": bad}, dicts={bad: DICTIONARY}
        )


@pytest.mark.parametrize(
    "codec",
    ["cpu-zstd-dict", "nvcomp-zstd", "nvcomp-bitcomp", "nvcomp-gdeflate", "lz4", "CPU-GZIP"],
)
def test_codecs_that_a_client_cannot_write_are_refused_with_advice(codec: str) -> None:
    with pytest.raises(shardpack.UnsupportedCodecError, match="gateway") as caught:
        encode_object(b"hello", codec)
    assert codec in str(caught.value)


@pytest.mark.parametrize("codec", ["nvcomp-bitcomp", "nvcomp-gans", "dietgpu-ans"])
def test_codecs_that_cannot_be_read_are_refused_with_advice(codec: str) -> None:
    metadata = {
        "s4-codec": codec,
        "s4-original-size": "5",
        "s4-compressed-size": "5",
        "s4-crc32c": "0",
    }
    with pytest.raises(shardpack.UnsupportedCodecError) as caught:
        decode_object(b"hello", metadata)
    assert caught.value.codec == codec
    assert codec in str(caught.value)
    assert len(str(caught.value)) > len(codec) + 40


def test_frames_are_read_without_metadata() -> None:
    made = encode_s4_object(b"hello")
    padded = b"S4P1" + bytes(8) + made["body"]
    assert decode_object(made["body"]) == decode_object(padded, {}) == b"hello"
    lost = {name: text for name, text in made["metadata"].items() if name != "s4-framed"}
    assert decode_object(made["body"], lost) == b"hello"


def test_what_is_no_object_is_itself() -> None:
    for data in (b"", b"x", b"plain text", make("noise", 5000), CpuZstd().compress(b"hello")[0]):
        assert decode_object(data) == data
        assert decode_object(data, {}) == data
        assert decode_object(data, {"content-type": "text/plain"}) == data


def test_metadata_keys_may_carry_the_wire_form() -> None:
    made = encode_s4_object(b"hello", "passthrough")
    upper = {name.upper(): text for name, text in made["metadata"].items()}
    assert decode_object(made["body"], upper) == b"hello"


def test_multipart_objects_with_padding() -> None:
    parts = [make("lines", 5 * MIB + 3), make("noise", 5 * MIB), b"last"]
    codecs = [CpuZstd(1), Passthrough(), CpuGzip(1)]
    body = b"".join(
        shardpack.pad_part(shardpack.write_frame(codec, part), len(part))
        for codec, part in zip(codecs, parts, strict=True)
    )
    metadata = {"s4-codec": "cpu-zstd", "s4-multipart": "true"}
    sidecar = shardpack.build_index(body)
    whole = b"".join(parts)
    assert decode_object(body, metadata, sidecar) == whole
    metadata["s4-original-size"] = str(len(whole))
    assert decode_object(body, metadata) == whole
    at = 5 * MIB - 7
    assert shardpack.decode_range(body, at, at + 40, metadata, sidecar) == whole[at : at + 40]
    metadata["s4-original-size"] = str(len(whole) + 1)
    with pytest.raises(shardpack.S4ManifestSizeMismatchError):
        decode_object(body, metadata)


def test_verification_tells_what_the_object_is() -> None:
    data = make("lines", 10_000)
    made = encode_object(data, "cpu-zstd", chunk_size=3000)
    size = len(made["body"])
    assert verify_object(made["body"], made["metadata"], made["sidecar"]) == {
        "layout": "frames",
        "codec": "cpu-zstd",
        "frames": 4,
        "original_size": 10_000,
        "stored_size": size,
        "crc32c": shardpack.crc32c(data),
        "checked": True,
        "sidecar": "unbound",
    }
    bound = shardpack.bind_index(made["sidecar"] or b"", size, "abc")

    def check(sidecar: bytes | None, etag: str | None = None) -> str:
        return verify_object(made["body"], made["metadata"], sidecar, etag=etag)["sidecar"]

    assert check(None) == "absent"
    assert check(bound, etag='"abc"') == "trusted"
    assert check(bound, etag="other") == "stale"
    assert check(shardpack.bind_index(bound, size + 1)) == "stale"
    plain = verify_object(b"plain text")
    assert (plain["layout"], plain["checked"], plain["codec"]) == ("plain", False, None)


@pytest.mark.parametrize("codec", ["cpu-zstd", "cpu-gzip", "passthrough"])
def test_verification_raises_on_damage(codec: str) -> None:
    made = encode_object(make("lines", 10_000), codec)
    body = bytearray(made["body"])
    body[len(body) // 2] ^= 1
    with pytest.raises(shardpack.ShardpackError):
        verify_object(body, made["metadata"])
    with pytest.raises(shardpack.ShardpackError):
        verify_object(made["body"], {**made["metadata"], "s4-crc32c": "1"})
    with pytest.raises(shardpack.ShardpackError):
        verify_object(made["body"][:-1], made["metadata"])
