"""What the command will not do: overwrite, remove, or call nothing a success."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import shardpack
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


@pytest.mark.parametrize("verb", [("decompress", "-f"), ("cat",), ("cat", "--range", "-3:")])
def test_a_file_cut_between_two_frames_is_noticed_by_its_sidecar(
    folder: Path, verb: tuple[str, ...]
) -> None:
    good("compress", "data.bin", "--chunk-size", "64K", cwd=folder)
    packed = folder / "data.bin.s4"
    entries = shardpack.decode_index((folder / "data.bin.s4.s4index").read_bytes())["entries"]
    packed.write_bytes(packed.read_bytes()[: entries[-1]["compressed_offset"]])
    assert "it was cut or replaced" in bad(*verb, "data.bin.s4", cwd=folder)
    with pytest.raises(shardpack.S4IndexError, match="cut or replaced"):
        shardpack.read_range(packed, -3)
    (folder / "data.bin.s4.s4index").unlink()
    good(*verb, "data.bin.s4", cwd=folder)


def test_a_folder_that_is_packed_elsewhere_arrives_whole(folder: Path) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "a.gz").write_bytes(b"by its name a gzip file")
    (folder / "in" / "b").write_bytes(b"b")
    good("compress", "-r", "in", "-o", "out", cwd=folder)
    assert names(folder / "out" / "in") == ["a.gz.s4", "b.s4"]
    good("decompress", "-r", "out/in", "-o", "back", cwd=folder)
    assert (folder / "back" / "in" / "a.gz").read_bytes() == b"by its name a gzip file"


def test_what_is_left_alone_in_a_folder_is_said(folder: Path) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "a.gz").write_bytes(b"a")
    done = run("compress", "-r", "in", cwd=folder)
    assert b"1 file left alone" in done.stderr


def test_cat_refuses_what_is_not_packed(folder: Path) -> None:
    damaged = b"X4F2" + good("compress", "-c", "data.bin", cwd=folder)[4:]
    assert "not a packed file" in bad("cat", stdin=damaged)
    assert good("cat", "-f", stdin=damaged) == damaged


def test_a_chunk_size_that_cannot_be_held_is_refused(folder: Path) -> None:
    assert "chunk_size must be at most" in bad(
        "compress", "--chunk-size", "100T", "data.bin", cwd=folder
    )


def test_a_path_of_bytes_is_a_path(folder: Path) -> None:
    good("compress", "data.bin", cwd=folder)
    path = bytes(folder / "data.bin.s4")
    assert shardpack.read_range(path, 0, 9) == (folder / "data.bin").read_bytes()[:9]  # type: ignore[arg-type]
