"""What the command will not do: overwrite, remove, or call nothing a success."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from commands import bad, good, names, run
from inputs import make

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.bin").write_bytes(make("lines", 300_000))
    return tmp_path


@pytest.mark.parametrize("verb", ["verify", "decompress"])
def test_a_folder_without_packed_files_is_a_failure(folder: Path, verb: str) -> None:
    assert bad(verb, "-r", ".", cwd=folder) == "shardpack: no packed files found in .\n"
    good("compress", "data.bin", cwd=folder)
    good(verb, "-r", ".", *(["-f"] if verb == "decompress" else []), cwd=folder)


def test_a_file_in_the_place_of_the_sidecar_is_left_alone(folder: Path) -> None:
    (folder / "data.bin.s4.s4index").write_text("my own notes")
    text = bad("compress", "data.bin", "--chunk-size", "64K", cwd=folder)
    assert "data.bin.s4.s4index exists already" in text
    assert names(folder) == ["data.bin", "data.bin.s4.s4index"]
    assert (folder / "data.bin.s4.s4index").read_text() == "my own notes"


@pytest.mark.parametrize("verb", ["compress", "decompress"])
def test_a_symbolic_link_is_not_removed(folder: Path, verb: str) -> None:
    good("compress", "data.bin", "-o", "packed.s4", cwd=folder)
    link, target = {
        "compress": ("link.bin", "data.bin"),
        "decompress": ("link.s4", "packed.s4"),
    }[verb]
    (folder / link).symlink_to(target)
    text = bad(verb, "--rm", link, cwd=folder)
    assert text == f"shardpack: {link}: not removed: it is a symbolic link\n"
    assert (folder / link).is_symlink()
    assert (folder / target).exists()


def test_info_of_a_pipe_says_what_it_needs(folder: Path) -> None:
    packed = good("compress", "-c", "data.bin", cwd=folder)
    assert "info needs a seekable file" in bad("info", "/dev/stdin", stdin=packed)


def test_a_picture_is_not_overwritten_unless_forced(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = folder / "out.png"
    picture.write_bytes(b"mine")
    common = ("bench", "data.bin", "--codec", "passthrough", "--plot", "out.png")
    done = run(*common, cwd=folder)
    assert done.returncode == 1
    assert done.stdout == b""
    assert b"out.png exists already" in done.stderr
    assert picture.read_bytes() == b"mine"
    good(*common, "-f", cwd=folder)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert names(folder) == ["data.bin", "out.png"]
