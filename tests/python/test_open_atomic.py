"""What `open` writes appears whole or not at all, with its sidecar."""

from __future__ import annotations

import io
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

import shardpack
from inputs import make
from packing import names

if TYPE_CHECKING:
    from pathlib import Path

DATA = make("lines", 200_000)


@pytest.fixture(params=["old.s4", "old.zst", "old.gz"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A packed file that must survive."""
    path: Path = tmp_path / request.param
    with shardpack.open(path, "wb", chunk_size=50_000) as file:
        file.write(b"old" + DATA)
    return path


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "options",
    [
        {"codec": "zip"},
        {"level": 1 << 40},
        {"chunk_size": 0},
        {"threads": 0},
        {"container": "zip"},
        {"mode": "wt", "encoding": "no-such-encoding"},
        {"mode": "wt", "newline": "x"},
    ],
    ids=str,
)
def test_a_refused_call_leaves_the_file_as_it_was(old: Path, options: dict[str, Any]) -> None:
    before = state(old.parent)
    open_any: Any = shardpack.open
    with pytest.raises((ValueError, LookupError, OverflowError)):
        open_any(old, **{"mode": "wb", **options})
    assert state(old.parent) == before


@pytest.mark.parametrize("mode", ["wb", "wt"])
def test_a_block_that_fails_leaves_the_file_as_it_was(old: Path, mode: str) -> None:
    before = state(old.parent)
    open_any: Any = shardpack.open
    lines: Any = DATA.decode() if mode == "wt" else DATA

    def write_half() -> None:
        with open_any(old, mode, chunk_size=1000) as file:
            file.write(lines)
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert state(old.parent) == before


@pytest.mark.parametrize("mode", ["wb", "wt", "xb"])
def test_an_abandoned_file_is_dropped(tmp_path: Path, mode: str) -> None:
    open_any: Any = shardpack.open
    file = open_any(tmp_path / "new.s4", mode)
    file.write("half" if mode == "wt" else b"half")
    file.abandon()
    file.close()
    assert names(tmp_path) == []


def test_nothing_is_seen_before_the_file_is_closed(old: Path) -> None:
    before = state(old.parent)
    with shardpack.open(old, "wb", chunk_size=1000) as file:
        file.write(DATA)
        file.flush()
        assert state(old.parent) == before
    with shardpack.open(old) as file:
        assert file.read() == DATA


def test_several_frames_get_the_sidecar_that_compress_file_writes(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA)
    shardpack.compress_file(tmp_path / "data", chunk_size=50_000)
    with shardpack.open(tmp_path / "other.s4", "wb", chunk_size=50_000) as file:
        file.write(DATA)
    made = state(tmp_path)
    assert made["other.s4"] == made["data.s4"]
    assert made["other.s4.s4index"] == made["data.s4.s4index"]
    assert shardpack.inspect_file(tmp_path / "other.s4").sidecar == "trusted"


def test_one_frame_removes_the_sidecar_of_the_old_file(tmp_path: Path) -> None:
    for chunk_size in (50_000, 1 << 20):
        with shardpack.open(tmp_path / "data.s4", "wb", chunk_size=chunk_size) as file:
            file.write(DATA)
    assert names(tmp_path) == ["data.s4"]


def test_a_new_file_does_not_take_the_place_of_another_for_its_sidecar(tmp_path: Path) -> None:
    (tmp_path / "new.s4.s4index").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        shardpack.open(tmp_path / "new.s4", "xb")
    assert state(tmp_path) == {"new.s4.s4index": b"mine"}


def test_permission_bits_stay_and_a_new_sidecar_takes_them(tmp_path: Path) -> None:
    path = tmp_path / "secret.s4"
    path.write_bytes(b"")
    path.chmod(0o600)
    with shardpack.open(path, "wb", chunk_size=50_000) as file:
        file.write(DATA)
    for name in ("secret.s4", "secret.s4.s4index"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_device_is_written_in_place() -> None:
    with shardpack.open(os.devnull, "wb", codec="cpu-zstd") as file:
        file.write(DATA)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_file_that_cannot_seek_from_its_end_is_read() -> None:
    with shardpack.open("/proc/self/statm") as file:
        assert len(file.read().split()) == 7


def test_more_frames_than_a_sidecar_lists_are_refused_at_once(tmp_path: Path) -> None:
    source = tmp_path / "data"
    with source.open("wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(ValueError, match="chunk_size"):
        shardpack.compress_file(source, codec="passthrough", chunk_size=1)
    assert names(tmp_path) == ["data"]
    sink = io.BytesIO()
    writer = shardpack.FrameWriter(sink, "passthrough", chunk_size=1)
    with pytest.raises(ValueError, match="chunk_size"):
        writer.write(bytes((16 << 20) + 1))
    assert sink.getvalue() == b""
