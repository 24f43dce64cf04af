"""Nothing is lost and nothing half-written, whatever happens to a file or its disk."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import shardpack
from inputs import make, run_python
from packing import CONTAINERS, DATA, names, packed, sidecar_of
from shardpack import (
    compress_file,
    decompress_file,
    read_range,
)
from shardpack.atomic import AtomicFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    return path


@pytest.fixture(params=["nameless", "named"])
def atomic_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to write: file systems without O_TMPFILE take the second."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    kind: str = request.param
    return kind


def test_a_file_that_is_not_published_leaves_nothing(tmp_path: Path, atomic_kind: str) -> None:
    with AtomicFile(tmp_path / "new") as target:
        target.file.write(b"half")
        assert len(names(tmp_path)) == (atomic_kind == "named")
        assert not (tmp_path / "new").exists()
    assert names(tmp_path) == []


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.usefixtures("atomic_kind")
def test_a_published_file_is_there_alone(tmp_path: Path, overwrite: bool) -> None:
    if overwrite:
        (tmp_path / "new").write_bytes(b"old")
    with AtomicFile(tmp_path / "new", overwrite=overwrite) as target:
        target.file.write(b"whole")
        target.publish()
    assert names(tmp_path) == ["new"]
    assert (tmp_path / "new").read_bytes() == b"whole"


@pytest.mark.usefixtures("atomic_kind")
def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with AtomicFile(tmp_path / "new") as target:
        target.file.write(b"ours")
        (tmp_path / "new").write_bytes(b"theirs")
        with pytest.raises(FileExistsError) as caught:
            target.publish()
    assert caught.value.filename == str(tmp_path / "new")
    assert names(tmp_path) == ["new"]
    assert (tmp_path / "new").read_bytes() == b"theirs"


@pytest.mark.usefixtures("atomic_kind")
def test_the_longest_name_works(tmp_path: Path) -> None:
    for name in ("x" * 255, "ü" * 127):
        with AtomicFile(tmp_path / name) as target:
            target.publish()
        assert (tmp_path / name).exists()


def test_without_attributes_to_take_over_the_umask_decides(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        with AtomicFile(tmp_path / "new") as target:
            target.publish()
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_a_link_is_followed_and_stays_a_link(source: Path) -> None:
    target = source.parent / "folder" / "real.s4"
    target.parent.mkdir()
    target.write_bytes(b"old")
    link = source.parent / "link.s4"
    link.symlink_to(target)
    with pytest.raises(FileExistsError):
        compress_file(source, link)
    compress_file(source, link, overwrite=True)
    assert link.is_symlink()
    assert read_range(target) == DATA


@pytest.mark.parametrize("call", [compress_file, decompress_file])
def test_an_existing_destination_is_left_alone_unless_told(source: Path, call: Any) -> None:
    given_source = source if call is compress_file else packed(source)
    destination = source.parent / "taken"
    destination.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        call(given_source, destination)
    assert destination.read_bytes() == b"precious"
    call(given_source, destination, overwrite=True)
    assert destination.read_bytes() != b"precious"


@pytest.mark.parametrize("call", [compress_file, decompress_file])
def test_source_and_destination_cannot_be_one_file(source: Path, call: Any) -> None:
    path = source if call is compress_file else packed(source)
    before = path.read_bytes()
    hard_link = source.parent / "again"
    hard_link.hardlink_to(path)
    for destination in (path, hard_link):
        with pytest.raises(ValueError, match="same file"):
            call(path, destination, overwrite=True)
    assert path.read_bytes() == before


def test_a_device_is_written_to_and_not_replaced(source: Path) -> None:
    before = os.stat("/dev/null")
    compress_file(source, "/dev/null")
    decompress_file(packed(source), "/dev/null", overwrite=True)
    assert os.stat("/dev/null").st_rdev == before.st_rdev
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_folder_is_neither_source_nor_destination(source: Path) -> None:
    with pytest.raises(IsADirectoryError):
        compress_file(source.parent)
    with pytest.raises(IsADirectoryError):
        compress_file(source, source.parent, overwrite=True)
    with pytest.raises(FileNotFoundError):
        compress_file(source, source.parent / "missing" / "x.s4")


CHANGES = {
    "grows": lambda path: path.open("ab").write(b"more"),
    "shrinks": lambda path: os.truncate(path, 1000),
    "is rewritten": lambda path: path.write_bytes(bytes(len(DATA))),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("change", CHANGES)
def test_a_source_that_changes_while_it_is_read_is_refused(source: Path, change: str) -> None:
    os.utime(source, (1e9, 1e9))
    changed: list[bool] = []

    def meddle(_done: int) -> None:
        if not changed:
            changed.append(True)
            CHANGES[change](source)  # type: ignore[no-untyped-call]

    with pytest.raises(shardpack.S4IoError, match="while it was read"):
        compress_file(source, chunk_size=1000, threads=1, progress=meddle)
    assert names(source.parent) == ["data.bin"]


def test_an_exception_from_the_progress_callback_leaves_nothing(source: Path) -> None:
    def fail(_done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress_file(source, chunk_size=1000, threads=1, progress=fail)
    assert names(source.parent) == ["data.bin"]
    path = packed(source)
    before = names(source.parent)
    with pytest.raises(KeyboardInterrupt):
        decompress_file(path, source.parent / "back", progress=fail)
    assert names(source.parent) == before


@pytest.mark.parametrize("damage", ["cut", "flipped"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_damaged_file_leaves_no_output(source: Path, container: Any, damage: str) -> None:
    path = packed(source, container=container)
    body = bytearray(path.read_bytes())
    if damage == "cut":
        del body[-10:]
    else:
        body[len(body) // 2] ^= 0x55
    path.write_bytes(body)
    with pytest.raises(shardpack.ShardpackError):
        decompress_file(path, source.parent / "back")
    assert not (source.parent / "back").exists()


def test_at_no_moment_does_a_sidecar_lie_beside_a_body_that_it_does_not_describe(
    source: Path,
) -> None:
    # Two bodies of one length, so that the binding alone cannot tell them apart.
    path = packed(source, codec="passthrough", chunk_size=30_000)
    code = f"""
import os, sys, shardpack
path, source, sidecar = {str(path)!r}, {str(source)!r}, {str(sidecar_of(path))!r}
def check(event, arguments):
    # Every change of a name, and every sync, is a moment at which the process may die.
    if event in ("os.rename", "os.link", "os.remove") and os.path.exists(sidecar):
        state = shardpack.inspect_file(path).sidecar
        assert state == "trusted", (event, arguments, state)
open(source, "wb").write(bytes(reversed(open(source, "rb").read())))
sys.addaudithook(check)
shardpack.compress_file(source, codec="passthrough", chunk_size=60_000, overwrite=True)
padding = 28 * 5
shardpack.verify_file(path)
print("verified")
"""
    assert run_python(code) == "verified"


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "none", folder],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_nothing_half_written(source: Path, tiny_disk: Path) -> None:
    noise = source.parent / "noise"
    noise.write_bytes(make("noise", 300_000))
    with pytest.raises(OSError, match="No space left"):
        compress_file(noise, tiny_disk / "noise.s4")
    assert names(tiny_disk) == []
    path = packed(source)
    (tiny_disk / "back").write_bytes(b"old")
    with pytest.raises(OSError, match="No space left"):
        decompress_file(path, tiny_disk / "back", overwrite=True)
    assert names(tiny_disk) == ["back"]
    assert (tiny_disk / "back").read_bytes() == b"old"
    # With the rubbish gone there is room again: nothing nameless holds the space.
    (tiny_disk / "fits").write_bytes(bytes(100_000))


@pytest.mark.slow
def test_a_large_file_takes_bounded_memory(tmp_path: Path) -> None:
    source = tmp_path / "large"
    block = make("noise", 1 << 20)
    with source.open("wb") as file:
        for _ in range(640):
            file.write(block)
    calls = {
        "s4": f"shardpack.compress_file({str(source)!r}, codec='cpu-zstd')",
        "gz": f"shardpack.compress_file({str(source)!r}, container='gz', level=0)",
        "verify": f"shardpack.verify_file({str(source) + '.s4'!r})",
        "unpack": f"shardpack.decompress_file({str(source) + '.s4'!r}, '/dev/null')",
    }
    for name, call in calls.items():
        # Not `ru_maxrss`: a child starts with that of its parent.
        code = f"""
import shardpack
{call}
print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])
"""
        assert int(run_python(code)) < 200 << 10, name
