"""Files on a disk: packed, unpacked, read in part, inspected and proved."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import stat
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shardpack
from inputs import make
from packing import CHUNK, CONTAINERS, DATA, packed, sidecar_of
from shardpack import (
    FileReport,
    compress_file,
    decompress_file,
    inspect_file,
    read_range,
    verify_file,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    return path


# --- there and back -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, CHUNK, len(DATA)])
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_file_comes_back_with_its_attributes(tmp_path: Path, container: Any, size: int) -> None:
    source = tmp_path / "data.bin"
    source.write_bytes(DATA[:size])
    source.chmod(0o640)
    os.utime(source, ns=(1_500_000_000_123_456_789, 1_600_000_000_987_654_321))
    path = packed(source, container=container)
    assert path.name == f"data.bin.{container}"
    report = decompress_file(path, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == DATA[:size] == source.read_bytes()
    assert report.original_size == size
    assert report.stored_size == path.stat().st_size
    assert report.crc32c == shardpack.crc32c(DATA[:size])
    for made in (path, tmp_path / "back"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o640
        assert made.stat().st_mtime_ns == 1_600_000_000_987_654_321


def test_an_s4_file_is_frames_and_a_bound_sidecar(source: Path) -> None:
    report = compress_file(source, chunk_size=CHUNK)
    body = (source.parent / "data.bin.s4").read_bytes()
    expected, sizes, crc = shardpack.encode_frames(shardpack.CpuZstd(), DATA, CHUNK)
    assert body == expected
    due = shardpack.bind_index(shardpack.build_index(body), len(body))
    assert sidecar_of(source.parent / "data.bin.s4").read_bytes() == due
    assert report == FileReport(
        source=str(source),
        destination=str(source) + ".s4",
        container="s4",
        codecs=("cpu-zstd",),
        frames=len(sizes),
        original_size=len(DATA),
        stored_size=len(body),
        crc32c=crc,
        sidecar="trusted",
    )


def test_chunks_are_of_4_mib_unless_told(tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.write_bytes(DATA * 15)
    compress_file(source)
    assert (tmp_path / "data.s4").read_bytes() == shardpack.encode_object(DATA * 15)["body"]


def test_the_standard_tool_reads_gz(source: Path) -> None:
    path = packed(source, container="gz")
    assert gzip.decompress(path.read_bytes()) == DATA
    done = subprocess.run(["gzip", "-dc", path], capture_output=True, check=True)
    assert done.stdout == DATA


def test_one_frame_has_no_sidecar_and_removes_that_of_a_larger_file(source: Path) -> None:
    path = packed(source)
    assert sidecar_of(path).exists()
    source.write_bytes(DATA[:100])
    packed(source, overwrite=True)
    assert not sidecar_of(path).exists()
    assert read_range(path) == DATA[:100]


def test_what_does_not_compress_is_stored_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "noise"
    source.write_bytes(make("noise", 100_000))
    report = compress_file(source, chunk_size=CHUNK)
    assert report.codecs == ("passthrough",)
    assert report.stored_size == 100_000 + 28 * 4
    assert verify_file(tmp_path / "noise.s4").original_size == 100_000


def test_file_objects_are_taken_on_both_sides() -> None:
    body, back = io.BytesIO(), io.BytesIO()
    report = compress_file(io.BytesIO(DATA), body, container="gz")
    assert (report.source, report.destination) == (None, None)
    body.seek(0)
    decompress_file(body, back)
    assert back.getvalue() == DATA


def test_the_destination_chooses_the_container(source: Path) -> None:
    for container in CONTAINERS:
        assert compress_file(source, source.parent / f"x.{container}").container == container
    assert compress_file(source, source.parent / "x.bin").container == "s4"
    assert compress_file(source, source.parent / "y.gz", container="zst").container == "zst"


def test_a_dictionary_is_needed_again(source: Path) -> None:
    dictionary = make("lines", 5000)
    path = packed(source, dictionary=dictionary)
    assert inspect_file(path).codecs == ("cpu-zstd-dict",)
    for read in (decompress_file, verify_file, read_range):
        options: dict[str, Any] = {"overwrite": True} if read is decompress_file else {}
        with pytest.raises(shardpack.DictionaryError, match="--dictionary"):
            read(path, **options)
        read(path, dictionary=dictionary, **options)
    assert read_range(path, 5, 10, dictionary=dictionary) == DATA[5:10]


@pytest.mark.parametrize("name", ["data", "data.txt", "data.s4.s4index", ".s4"])
def test_a_name_without_our_suffix_needs_a_destination(source: Path, name: str) -> None:
    path = packed(source).rename(source.parent / name)
    with pytest.raises(ValueError, match="-o"):
        decompress_file(path)
    assert decompress_file(path, source.parent / "back").original_size == len(DATA)


@pytest.mark.parametrize(
    ("name", "original"),
    [("a.tgz", "a.tar"), ("a.tar.gz", "a.tar"), ("a.zstd", "a"), ("a.GZ", "a")],
)
def test_known_suffixes_are_taken_away(tmp_path: Path, name: str, original: str) -> None:
    content = gzip.compress(DATA) if "g" in name.lower() else shardpack.CpuZstd().compress(DATA)[0]
    (tmp_path / name).write_bytes(content)
    assert decompress_file(tmp_path / name).destination == str(tmp_path / original)


def test_progress_is_told_as_a_total_or_to_a_bar(source: Path) -> None:
    class Bar:
        done = 0

        def update(self, n: int, /) -> None:
            self.done += n

    totals: list[int] = []
    bar = Bar()
    packed(source, progress=totals.append, threads=1)
    assert totals == sorted(set(totals))
    assert totals[-1] == len(DATA)
    path = packed(source, progress=bar, overwrite=True)
    assert bar.done == len(DATA)
    verify_file(path, progress=totals.append)
    assert totals[-1] == path.stat().st_size
    with pytest.raises(TypeError, match="progress"):
        packed(source, progress=5, overwrite=True)


def test_reports_are_values(source: Path) -> None:
    report = inspect_file(packed(source))
    assert pickle.loads(pickle.dumps(report)) == report
    assert eval(repr(report), {"FileReport": FileReport}) == report
    facts = json.loads(json.dumps(report.to_dict()))
    assert facts["ratio"] == pytest.approx(len(DATA) / report.stored_size)
    assert facts["codecs"] == ["cpu-zstd"]
    with pytest.raises(AttributeError):
        report.frames = 5  # type: ignore[misc]


# --- ranges -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The data packed in every way, and plain."""
    folder = tmp_path_factory.mktemp("layouts")
    plain = folder / "data"
    plain.write_bytes(DATA)
    paths = [plain, *(packed(plain, container=container) for container in CONTAINERS)]
    bare = folder / "bare.s4"
    bare.write_bytes((folder / "data.s4").read_bytes())
    damaged = folder / "damaged.s4"
    damaged.write_bytes(bare.read_bytes())
    sidecar_of(damaged).write_bytes(b"S4IX is not this")
    return [*paths, bare, damaged]


BOUNDS = st.none() | st.integers(-len(DATA) - 5, len(DATA) + 5)


@given(start=BOUNDS, end=BOUNDS)
def test_ranges_equal_slices_in_every_container(
    layouts: list[Path], start: int | None, end: int | None
) -> None:
    for path in layouts:
        assert read_range(path, start, end) == DATA[start:end], path.name


def test_a_range_of_a_pipe_reads_forward_only(source: Path) -> None:
    body = packed(source).read_bytes()
    for bounds in ((None, None), (5, 10), (100_000, None), (250_000, 900_000), (10, 5)):
        outlet, inlet = os.pipe()

        def feed(inlet: int = inlet) -> None:
            with os.fdopen(inlet, "wb") as file:
                file.write(body)

        feeder = threading.Thread(target=feed)
        feeder.start()
        with os.fdopen(outlet, "rb") as pipe:
            read = b"".join(shardpack.iter_range(pipe, *bounds))
            while pipe.read(1 << 16):
                pass
        feeder.join()
        assert read == DATA[slice(*bounds)]
    outlet, inlet = os.pipe()
    os.write(inlet, body[:1000])
    os.close(inlet)
    with os.fdopen(outlet, "rb") as pipe, pytest.raises(ValueError, match="pipe"):
        list(shardpack.iter_range(pipe, -5, None))


# --- what the headers tell ----------------------------------------------------------------


def test_the_state_of_a_sidecar_is_told(source: Path) -> None:
    path = packed(source)
    sidecar = sidecar_of(path)
    good = sidecar.read_bytes()
    size = path.stat().st_size
    index = shardpack.decode_index(good)
    index["entries"].pop()
    states = {
        "trusted": good,
        "unbound": shardpack.bind_index(good, 0),
        "stale": shardpack.bind_index(good, size + 1),
        "damaged": good[:-1],
    }
    for state, content in states.items():
        sidecar.write_bytes(content)
        assert inspect_file(path).sidecar == state
    # Bound to the right size, and yet of another body.
    sidecar.write_bytes(shardpack.encode_index(index))
    assert inspect_file(path).sidecar == "stale"
    sidecar.unlink()
    report = inspect_file(path)
    assert report.sidecar == "absent"
    assert (report.frames, report.original_size) == (10, len(DATA))


def test_frames_and_members_of_other_containers_are_counted(source: Path) -> None:
    for container in ("zst", "gz"):
        report = inspect_file(packed(source, container=container))
        assert (report.frames, report.original_size) == (10, len(DATA))
        assert verify_file(report.source or "").frames == 10
    # What one stream does not tell is left open.
    alien = source.parent / "alien.gz"
    alien.write_bytes(gzip.compress(DATA))
    report = inspect_file(alien)
    assert (report.frames, report.original_size, report.ratio) == (None, None, None)
    assert verify_file(alien).original_size == len(DATA)


def foreign() -> dict[str, bytes]:
    """Packed data with members that can be measured, and others, in every order."""
    zstd = shardpack.CpuZstd(content_size=True)
    gz = shardpack.CpuGzip()
    sized = b"".join(zstd.compress(DATA[at : at + CHUNK])[0] for at in range(0, len(DATA), CHUNK))
    unsized = shardpack.CpuZstd().compress(DATA)[0]
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    members = gz.compress_members(DATA, member_size=CHUNK)
    wrong = bytearray(gz.compress_members(DATA, member_size=len(DATA)))
    wrong[16:20] = (40).to_bytes(4, "little")
    return {
        "sized.zst": sized * 2,
        "unsized.zst": unsized * 2,
        "mixed.zst": sized + unsized,
        "mixed the other way.zst": unsized + sized,
        "skippable.zst": skippable + sized + skippable + unsized[:0] + sized + skippable,
        "members.gz": members * 2,
        "mixed.gz": members + gzip.compress(DATA),
        "mixed the other way.gz": gzip.compress(DATA) + members,
        "wrong length.gz": bytes(wrong) * 2,
    }


@pytest.mark.parametrize("name", foreign())
def test_members_are_shared_out_or_read_in_order(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(foreign()[name])
    decompress_file(path, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == DATA * 2
    assert verify_file(path).original_size == 2 * len(DATA)
    for cut in (1, 5, 100, 1000):
        path.write_bytes(foreign()[name][:-cut])
        if name == "skippable.zst" and cut > 100:
            continue
        with pytest.raises(shardpack.S4IoError):
            verify_file(path)


def test_a_member_cannot_claim_its_way_past_the_limit_of_a_batch(tmp_path: Path) -> None:
    bomb = shardpack.CpuZstd().compress(bytes(100 << 20))[0]
    # One segment, content size 1 instead of none: the batch would hold what it does not announce.
    lying = bomb[:4] + b"\x20\x01" + bomb[6:]
    (tmp_path / "lying.zst").write_bytes(lying)
    with pytest.raises(shardpack.S4IoError):
        verify_file(tmp_path / "lying.zst")


def test_inspecting_decodes_nothing(source: Path) -> None:
    path = packed(source)
    body = bytearray(path.read_bytes())
    body[40] ^= 0xFF
    path.write_bytes(body)
    assert inspect_file(path).original_size == len(DATA)
    with pytest.raises(shardpack.ShardpackError):
        verify_file(path)


@pytest.mark.parametrize("call", [inspect_file, verify_file, decompress_file])
def test_what_is_not_packed_is_refused(tmp_path: Path, call: Any) -> None:
    path = tmp_path / "plain.txt"
    for content in (b"", b"S4", DATA):
        path.write_bytes(content)
        options = {"destination": tmp_path / "out"} if call is decompress_file else {}
        with pytest.raises(shardpack.S4Error, match="not a packed file"):
            call(path, **options)
        assert not (tmp_path / "out").exists()
    path.write_bytes(b"S4E6" + bytes(50))
    with pytest.raises(shardpack.EncryptedObjectError):
        call(path, **({"destination": tmp_path / "out"} if call is decompress_file else {}))


# --- proof --------------------------------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_whole_file_is_verified(source: Path, container: Any) -> None:
    report = verify_file(packed(source, container=container))
    assert report.verified
    assert report.crc32c == shardpack.crc32c(DATA)
    assert report.original_size == len(DATA)


def test_any_damaged_byte_of_the_body_is_found(tmp_path: Path) -> None:
    source = tmp_path / "small"
    source.write_bytes(make("lines", 400))
    path = packed(source, chunk_size=150)
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        try:
            report = verify_file(path)
        except shardpack.ShardpackError:
            continue
        # A bit that means nothing to a zstd decoder may differ; the data may not.
        assert report.crc32c == shardpack.crc32c(source.read_bytes())
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(shardpack.ShardpackError):
            verify_file(path)
    path.write_bytes(good + b"\0")
    with pytest.raises(shardpack.ShardpackError):
        verify_file(path)


def test_any_damaged_byte_of_a_sidecar_is_found(source: Path) -> None:
    path = packed(source)
    sidecar = sidecar_of(path)
    good = sidecar.read_bytes()
    # The header repeats the total size, which readers are told to ignore, and the padded size.
    ignored = range(16, 32)
    for at in range(len(good)):
        sidecar.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        if at in ignored:
            continue
        with pytest.raises(shardpack.S4IndexError):
            verify_file(path)


def test_a_sidecar_without_the_last_frames_is_found(source: Path) -> None:
    path = packed(source)
    index = shardpack.decode_index(sidecar_of(path).read_bytes())
    index["entries"].pop()
    sidecar_of(path).write_bytes(shardpack.encode_index(index))
    with pytest.raises(shardpack.S4IndexError, match="frame"):
        verify_file(path)
