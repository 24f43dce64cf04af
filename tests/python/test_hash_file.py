"""Digests of files: lengths around the pieces, threads, progress, pipes, files that change."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from inputs import KIB, MIB, make, run_python
from shardpack import InvalidInput, S4IoError, crc32c, hash

if TYPE_CHECKING:
    from collections.abc import Callable

PIECE = 256 * KIB
STRETCH = 64 * MIB
DATA = make("noise", 5 * MIB + 3)
LENGTHS = [
    *(1, 100, 1024, 1025, PIECE - 1, PIECE, PIECE + 1, PIECE + 1024, PIECE + 1025),
    *(2 * PIECE + delta for delta in (-1, 0, 1)),
    *(count * PIECE + 7 for count in range(3, 19)),
    *(4 * PIECE, 8 * PIECE, 16 * PIECE, len(DATA)),
]


def due(name: str, data: bytes) -> bytes:
    if name == "crc32c":
        return crc32c(data).to_bytes(4, "big")
    digest: bytes = getattr(hash, name)(data)
    return digest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.mark.parametrize("threads", [1, 2, 3, 4, None])
def test_every_length_and_number_of_threads(path: Path, threads: int | None) -> None:
    for length in LENGTHS:
        path.write_bytes(DATA[:length])
        assert hash.file(path, threads=threads) == hash.blake3(DATA[:length]), length
        assert hash.file(path, "crc32c", threads=threads) == due("crc32c", DATA[:length]), length


@pytest.mark.parametrize("name", hash.ALGORITHMS)
def test_every_algorithm(path: Path, name: str) -> None:
    for length in (0, 1, PIECE, PIECE + 1, len(DATA)):
        path.write_bytes(DATA[:length])
        assert hash.file(path, name) == due(name, DATA[:length])


def test_blake3_is_the_default_and_paths_are_of_any_kind(path: Path) -> None:
    path.write_bytes(b"abc")
    kinds: list[Any] = [path, str(path), os.fsencode(path)]
    assert {hash.file(kind) for kind in kinds} == {hash.blake3(b"abc")}


@pytest.mark.parametrize("name", ["blake3", "crc32c"])
def test_a_file_of_several_stretches(path: Path, name: str) -> None:
    with path.open("wb") as file:
        file.write(DATA)
        file.truncate(2 * STRETCH + 12_345)
        file.seek(STRETCH - 5)
        file.write(b"across the border")
    data = path.read_bytes()
    done: list[int] = []
    assert hash.file(path, name, progress=done.append) == due(name, data)
    assert done == [STRETCH, 2 * STRETCH, len(data)]


class Bar:
    """What tqdm bars have."""

    def __init__(self) -> None:
        self.count = 0

    def update(self, n: int, /) -> None:
        self.count += n


@pytest.mark.parametrize("name", hash.ALGORITHMS)
def test_progress_ends_at_the_length(path: Path, name: str) -> None:
    path.write_bytes(DATA)
    done: list[int] = []
    bar = Bar()
    hash.file(path, name, progress=done.append)
    hash.file(path, name, progress=bar)
    assert done == sorted(done)
    assert done[-1] == bar.count == len(DATA)


def test_progress_that_raises_ends_the_call(path: Path) -> None:
    path.write_bytes(DATA)

    def fail(_done: int) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        hash.file(path, progress=fail)
    wrong: Any = 5
    with pytest.raises(TypeError, match="progress must be callable"):
        hash.file(path, progress=wrong)


# --- what is no regular file --------------------------------------------------------------


@pytest.mark.parametrize("name", hash.ALGORITHMS)
@pytest.mark.parametrize("size", [0, 10, 3 * MIB + 1])
def test_pipes_are_read_to_their_end(path: Path, name: str, size: int) -> None:
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(DATA[:size],))
    writer.start()
    done: list[int] = []
    try:
        assert hash.file(path, name, progress=done.append) == due(name, DATA[:size])
    finally:
        writer.join()
    assert (done[-1] if done else 0) == size


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="has no /proc")
def test_files_without_a_length_are_read_to_their_end() -> None:
    assert hash.file("/proc/version", "sha256") == hash.sha256(Path("/proc/version").read_bytes())
    assert hash.file(os.devnull) == hash.blake3(b"")


def test_what_cannot_be_read_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        hash.file(tmp_path / "missing")
    assert caught.value.filename == str(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        hash.file(tmp_path)
    wrong: Any
    for wrong in (5, None, 1.5):
        with pytest.raises(TypeError):
            hash.file(wrong)


def test_an_unknown_algorithm_is_refused_before_the_file_is_opened(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match='unknown algorithm "md5"'):
        hash.file(tmp_path / "missing", "md5")


def test_the_position_of_a_symbolic_link_and_its_target_agree(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    (tmp_path / "link").symlink_to("file")
    assert hash.file(tmp_path / "link") == hash.blake3(DATA)


# --- files that change --------------------------------------------------------------------


def at_first_report(change: Callable[[], object]) -> Callable[[int], None]:
    """A progress callback that changes the file once."""
    left = [change]

    def report(_done: int) -> None:
        if left:
            left.pop()()

    return report


@pytest.mark.parametrize("name", hash.ALGORITHMS)
@pytest.mark.parametrize("size", [0, 10, STRETCH, STRETCH + 1])
def test_a_file_that_is_cut_short_is_refused(path: Path, name: str, size: int) -> None:
    path.touch()
    os.truncate(path, STRETCH + 5 * MIB)
    cut = at_first_report(lambda: os.truncate(path, size))
    with pytest.raises(S4IoError, match=f"it had {STRETCH + 5 * MIB} bytes, now it has {size}"):
        hash.file(path, name, progress=cut)


def test_a_file_that_grows_or_is_written_to_is_refused(path: Path) -> None:
    path.write_bytes(DATA)
    grow = at_first_report(lambda: os.truncate(path, len(DATA) + 1))
    with pytest.raises(S4IoError, match="the source changed while it was read"):
        hash.file(path, progress=grow)
    os.utime(path, (1, 1))
    write = at_first_report(lambda: path.write_bytes(make("lines", len(DATA) + 1)))
    with pytest.raises(S4IoError, match="the source was modified while it was read"):
        hash.file(path, progress=write)
    assert hash.file(path) == hash.blake3(path.read_bytes())


def test_files_hashed_side_by_side(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    paths = [tmp_path / f"{number}" for number in range(24)]
    for number, one in enumerate(paths):
        one.write_bytes(DATA[number : number * 200_000])
    with ThreadPoolExecutor(6) as executor:
        found = list(executor.map(hash.file, paths))
    assert found == [hash.blake3(one.read_bytes()) for one in paths]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["blake3", "sha256", "crc32c"])
def test_a_signal_stops_the_reading(path: Path, name: str) -> None:
    path.touch()
    os.truncate(path, 1 << 40)
    code = f"""
import os, signal, threading, time
from shardpack import hash
sent = []
def press():
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)
threading.Timer(0.3, press).start()
try:
    hash.file({os.fspath(path)!r}, {name!r})
except KeyboardInterrupt:
    print(time.perf_counter() - sent[0] < 1)
print(hash.file({__file__!r}, "sha256").hex())
"""
    this = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    assert run_python(code).split() == ["True", this]
