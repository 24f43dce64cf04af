"""Sidecars on the disk: whose file it is, how large it may be, what reading it costs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import shardpack
from inputs import make, run_python
from packing import sidecar_of
from shardpack import Passthrough, compress_file, inspect_file, read_range
from shardpack.frame_io.table import MAX_SIDECAR_BYTES, FrameTable

if TYPE_CHECKING:
    from pathlib import Path

DATA = make("lines", 200_000)
FRAME_COUNT = 300_000
MOST_KIB = 60 << 10


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("chunk_size", [50_000, 1 << 20], ids=["sidecar", "one frame"])
def test_a_file_that_is_no_sidecar_is_neither_removed_nor_replaced(
    source: Path, chunk_size: int
) -> None:
    mine = source.parent / "data.s4.s4index"
    mine.write_bytes(b"my own notes")
    with pytest.raises(FileExistsError) as caught:
        compress_file(source, chunk_size=chunk_size)
    assert caught.value.filename == str(mine)
    assert mine.read_bytes() == b"my own notes"
    assert not (source.parent / "data.s4").exists()
    compress_file(source, chunk_size=chunk_size, overwrite=True)
    assert inspect_file(source.parent / "data.s4").sidecar in ("trusted", "absent")


@pytest.mark.parametrize("container", ["zst", "gz"])
def test_containers_without_a_sidecar_leave_its_place_alone(source: Path, container: str) -> None:
    mine = source.parent / f"data.{container}.s4index"
    mine.write_bytes(b"my own notes")
    for overwrite in (False, True):
        compress_file(
            source, source.parent / f"data.{container}", chunk_size=50_000, overwrite=overwrite
        )
        assert mine.read_bytes() == b"my own notes"


@pytest.mark.parametrize("chunk_size", [30_000, 1 << 20], ids=["sidecar", "one frame"])
def test_a_sidecar_without_a_body_is_replaced(source: Path, chunk_size: int) -> None:
    path = source.parent / "data.s4"
    compress_file(source, chunk_size=50_000)
    path.unlink()
    compress_file(source, chunk_size=chunk_size)
    wanted = "trusted" if chunk_size < len(DATA) else "absent"
    assert inspect_file(path).sidecar == wanted
    assert len(os.listdir(source.parent)) == (3 if wanted == "trusted" else 2)


def test_a_body_that_appears_meanwhile_keeps_its_sidecar(source: Path) -> None:
    path = source.parent / "data.s4"
    compress_file(source, path.with_name("theirs.s4"), chunk_size=50_000)

    def appear(_done: int) -> None:
        if not path.exists():
            os.link(path.with_name("theirs.s4"), path)
            os.link(path.with_name("theirs.s4.s4index"), sidecar_of(path))

    with pytest.raises(FileExistsError):
        compress_file(source, path, chunk_size=30_000, progress=appear)
    assert inspect_file(path).sidecar == "trusted"
    assert len(os.listdir(source.parent)) == 5


def test_a_sidecar_that_is_too_large_is_not_read(source: Path) -> None:
    path = source.parent / "data.s4"
    compress_file(source, chunk_size=50_000)
    with sidecar_of(path).open("r+b") as file:
        file.truncate(MAX_SIDECAR_BYTES + 1)
    assert inspect_file(path).sidecar == "absent"
    assert read_range(path, 100_000, 100_100) == DATA[100_000:100_100]


def test_headers_that_claim_more_than_a_number_holds_are_refused() -> None:
    with pytest.raises(shardpack.S4FrameError, match="original bytes"):
        FrameTable([(0, 28, (1 << 64) - 1), (28, 28, 1)], from_sidecar=False)


def test_many_frames_take_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "many.s4"
    small = tmp_path / "small.s4"
    for target, count in ((path, FRAME_COUNT), (small, 5)):
        body = shardpack.encode_frames(Passthrough(), bytes(count), 1)[0]
        target.write_bytes(body)
        sidecar = shardpack.bind_index(shardpack.build_index(body), len(body))
        sidecar_of(target).write_bytes(sidecar)
    code = f"""
import shardpack
def kib(name):
    return int(open("/proc/self/status").read().split(name + ":")[1].split()[0])
shardpack.read_range({str(small)!r}, 1, 3)
before = kib("VmRSS")
with shardpack.open({str(path)!r}) as file:
    file.seek({FRAME_COUNT} - 3)
    assert len(file.read()) == 3
    print(kib("VmRSS") - before, end=" ")
assert len(shardpack.read_range({str(path)!r}, 7, 9)) == 2
print(kib("VmHWM") - before)
"""
    held, peak = map(int, run_python(code).split())
    assert held < MOST_KIB
    assert peak < MOST_KIB
