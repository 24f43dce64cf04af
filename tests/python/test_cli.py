"""The command, run as people run it: files, folders, pipes, ranges, reports."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import shardpack
from commands import (
    COMMAND,
    bad,
    good,
    names,
    run,
)
from inputs import MIB, make, python_environment

if TYPE_CHECKING:
    from pathlib import Path

DATA = make("lines", 300_000) + make("noise", 100_000)
VERBS = ["compress", "decompress", "cat", "info", "verify", "hash", "train-dict", "bench"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.bin").write_bytes(DATA)
    return tmp_path


# --- the main job -------------------------------------------------------------------------


def test_compress_and_decompress_bring_the_file_back(folder: Path) -> None:
    good("compress", "data.bin", "--chunk-size", "64K", cwd=folder)
    assert names(folder) == ["data.bin", "data.bin.s4", "data.bin.s4.s4index"]
    (folder / "data.bin").unlink()
    good("decompress", "data.bin.s4", cwd=folder)
    assert (folder / "data.bin").read_bytes() == DATA


@pytest.mark.parametrize("container", ["s4", "zst", "gz"])
def test_pipes_carry_every_container(container: str) -> None:
    packed = good("compress", "--container", container, stdin=DATA)
    assert len(packed) < len(DATA)
    assert good("decompress", stdin=packed) == DATA
    assert good("cat", "-", stdin=packed) == DATA
    if container == "gz":
        assert gzip.decompress(packed) == DATA


def test_standard_streams_can_be_named_and_redirected(folder: Path) -> None:
    packed = good("compress", "-c", "data.bin", cwd=folder)
    assert packed == good("compress", "data.bin", "-o", "-", cwd=folder)
    good("compress", "-", "-o", "x.s4", stdin=DATA, cwd=folder)
    assert (folder / "x.s4").read_bytes() == packed
    assert good("decompress", "-c", "x.s4", cwd=folder) == DATA
    with (folder / "x.s4").open("rb") as file:
        done = subprocess.run(
            [*COMMAND, "cat", "--range=-5:", "-"],
            stdin=file,
            capture_output=True,
            env=python_environment(),
            check=True,
        )
    assert done.stdout == DATA[-5:]


def test_the_suffix_of_the_output_chooses_the_container(folder: Path) -> None:
    good("compress", "data.bin", "-o", "x.gz", cwd=folder)
    assert gzip.decompress((folder / "x.gz").read_bytes()) == DATA
    good("compress", "-", "-o", "y.zst", stdin=DATA, cwd=folder)
    assert (folder / "y.zst").read_bytes().startswith(b"\x28\xb5\x2f\xfd")


def test_folders_are_packed_and_unpacked_as_trees(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "a.txt").write_bytes(DATA)
    (tree / "deep" / "er" / "b.txt").write_bytes(b"b")
    (tree / "empty").write_bytes(b"")
    (tree / "link").symlink_to("a.txt")
    (tree / "done.gz").write_bytes(gzip.compress(b"done"))
    good("compress", "-r", "tree", "-o", "packed", cwd=tmp_path)
    assert names(tmp_path / "packed") == [
        "tree/a.txt.s4",
        "tree/deep/er/b.txt.s4",
        "tree/done.gz.s4",
        "tree/empty.s4",
    ]
    good("verify", "-q", "-r", "packed", cwd=tmp_path)
    good("decompress", "-r", "packed", "-o", "back", cwd=tmp_path)
    assert (tmp_path / "back" / "packed" / "tree" / "a.txt").read_bytes() == DATA
    assert names(tmp_path / "back") == [
        "packed/tree/a.txt",
        "packed/tree/deep/er/b.txt",
        "packed/tree/done.gz",
        "packed/tree/empty",
    ]
    # In place, and again: what is packed is not packed once more.
    good("compress", "-q", "-r", "tree", cwd=tmp_path)
    again = bad("compress", "-r", "tree", cwd=tmp_path)
    assert again.count("exists already") == 3
    assert not [name for name in names(tree) if ".s4.s4" in name.replace(".s4.s4index", "")]


def test_a_folder_needs_r_and_the_others_go_on(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "z.txt").write_bytes(b"z")
    text = bad("compress", "missing", "sub", "data.bin", "z.txt", cwd=folder)
    assert "shardpack: missing: no such file or directory\n" in text
    assert "shardpack: sub: is a folder; use -r" in text
    assert {"data.bin.s4", "z.txt.s4"} <= set(names(folder))


def test_many_small_files_are_done_side_by_side_and_reported_in_order(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(150):
        (tree / f"{number:03}").write_bytes(make("lines", 10 * number, str(number)))
    (tree / "100").write_bytes(make("lines", 2 * MIB))
    for taken in ("140", "020", "099"):
        (tree / f"{taken}.s4").write_bytes(b"precious")
    text = bad("compress", "--rm", "-r", "tree", cwd=tmp_path)
    assert re.findall(r"tree/(\d+): ", text) == ["020", "099", "140"]
    left = [name for name in names(tree) if not name.endswith((".s4", ".s4index"))]
    assert left == ["020", "099", "140"]
    assert (tree / "099.s4").read_bytes() == b"precious"
    assert good("cat", "tree/100.s4", "tree/101.s4", cwd=tmp_path) == make("lines", 2 * MIB) + make(
        "lines", 1010, "101"
    )


def test_every_failure_is_one_line_that_names_the_file(folder: Path) -> None:
    (folder / "cut.s4").write_bytes(b"S4F2 and no more")
    (folder / "odd\nname.s4").write_bytes(b"S4F2 and no more")
    text = bad("decompress", "cut.s4", "odd\nname.s4", "missing.s4", "data.bin", cwd=folder)
    lines = text.splitlines()
    assert len(lines) == 4
    assert all(re.match(r"shardpack: \S+: [^\n]+[^.]$", line) for line in lines), lines
    assert r"odd\nname.s4" in lines[2] or r"odd\nname.s4" in lines[1]
    assert "-o" in lines[3]
    assert names(folder) == sorted(["cut.s4", "odd\nname.s4", "data.bin"])


def test_sources_stay_unless_rm_and_then_go_with_their_sidecar(folder: Path) -> None:
    good("compress", "-k", "data.bin", "--chunk-size", "64K", cwd=folder)
    assert (folder / "data.bin").exists()
    good("compress", "--rm", "-f", "data.bin", "--chunk-size", "64K", cwd=folder)
    assert names(folder) == ["data.bin.s4", "data.bin.s4.s4index"]
    good("decompress", "--rm", "data.bin.s4", cwd=folder)
    assert names(folder) == ["data.bin"]
    assert (folder / "data.bin").read_bytes() == DATA


def test_rm_removes_nothing_that_failed_or_went_to_a_device(folder: Path) -> None:
    good("compress", "data.bin", cwd=folder)
    body = bytearray((folder / "data.bin.s4").read_bytes())
    body[100] ^= 0xFF
    (folder / "data.bin.s4").write_bytes(body)
    bad("decompress", "--rm", "data.bin.s4", "-o", "back", cwd=folder)
    bad("compress", "--rm", "data.bin", cwd=folder)
    good("compress", "--rm", "data.bin", "-o", "/dev/null", cwd=folder)
    assert "--rm" in bad("compress", "--rm", "-c", "data.bin", cwd=folder, code=2)
    assert names(folder) == ["data.bin", "data.bin.s4"]
    assert (folder / "data.bin").read_bytes() == DATA


def test_existing_files_stay_unless_forced(folder: Path) -> None:
    (folder / "data.bin.s4").write_bytes(b"precious")
    assert "-f" in bad("compress", "data.bin", cwd=folder)
    assert (folder / "data.bin.s4").read_bytes() == b"precious"
    good("compress", "-f", "data.bin", cwd=folder)
    assert good("cat", "data.bin.s4", cwd=folder) == DATA


def test_two_sources_never_share_a_destination(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "same").write_bytes(name.encode())
    text = bad("compress", "-f", "a/same", "b/same", "-o", "out/", cwd=folder)
    assert "b/same" in text
    assert good("cat", "out/same.s4", cwd=folder) == b"a"
    bad("compress", "a/same", "b/same", "-o", "one.s4", cwd=folder, code=2)
    assert not (folder / "one.s4").exists()


def test_packed_files_are_skipped_with_a_note(folder: Path) -> None:
    good("compress", "data.bin", cwd=folder)
    done = run("compress", "data.bin.s4", cwd=folder)
    assert done.returncode == 0
    assert b"skipped" in done.stderr
    assert run("compress", "-q", "data.bin.s4", cwd=folder).stderr == b""
    good("compress", "data.bin.s4", "-o", "twice", cwd=folder)
    assert names(folder) == ["data.bin", "data.bin.s4", "twice"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (":", slice(None)),
        ("10:20", slice(10, 20)),
        (":1K", slice(1024)),
        ("64K:65k", slice(65536, 66560)),
        ("-20:", slice(-20, None)),
        ("-1K:-1000", slice(-1024, -1000)),
        ("399999:500M", slice(399_999, None)),
        ("20:10", slice(20, 10)),
        ("1G:", slice(1 << 30, None)),
    ],
)
@pytest.mark.parametrize("container", ["s4", "gz"])
def test_ranges_are_python_slices(folder: Path, text: str, part: slice, container: str) -> None:
    good("compress", "data.bin", "--container", container, "--chunk-size", "64K", cwd=folder)
    path = f"data.bin.{container}"
    assert good("cat", "--range", text, path, cwd=folder) == DATA[part]
    assert good("cat", f"--range={text}", path, path, cwd=folder) == DATA[part] * 2


@pytest.mark.parametrize("text", ["5", "a:b", "1:2:3", "1.5:", "--:", ":5X", ""])
def test_ranges_that_make_no_sense_are_a_usage_error(folder: Path, text: str) -> None:
    good("compress", "data.bin", cwd=folder)
    assert "range" in bad("cat", f"--range={text}", "data.bin.s4", cwd=folder, code=2)


def test_a_range_reads_only_the_frames_around_it(folder: Path) -> None:
    (folder / "large").write_bytes(make("noise", MIB) * 32)
    good("compress", "large", "--codec", "cpu-zstd", "--chunk-size", "1M", cwd=folder)
    code = """
import os, sys
from shardpack.cli import main
main(["cat", "--range", "20M:20971530", "large.s4"])
sys.stdout.flush()
with open("/proc/self/io") as file:
    print(dict(line.split(": ") for line in file.read().splitlines())["rchar"], file=sys.stderr)
"""
    reads = []
    for program in (code, code.replace("large.s4", "small.s4")):
        if "small" in program:
            (folder / "small").write_bytes(make("noise", 10))
            good("compress", "small", cwd=folder)
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=folder,
            env=python_environment(),
            capture_output=True,
            check=True,
        )
        reads.append(int(done.stderr))
    # One frame of 1 MiB, its sidecar, and what any run reads to start.
    assert reads[0] - reads[1] < MIB + 16_384


def test_levels_codecs_and_threads_do_what_they_say(folder: Path) -> None:
    (folder / "data.bin").write_bytes(make("lines", 2 * MIB))

    def size(*options: object) -> int:
        return len(good("compress", "-c", *options, "data.bin", cwd=folder))

    assert size("--level", 19) < size("--level", 1) < size("--codec", "passthrough")
    assert size("--container", "gz", "-l", 9) < size("--container", "gz", "-l", 1)
    assert len({good("compress", "-c", "-T", n, "data.bin", cwd=folder) for n in (1, 2, 5)}) == 1
    facts = json.loads(
        run("compress", "--codec", "cpu-gzip", "data.bin", cwd=folder).stdout
        or good("info", "--json", "data.bin.s4", cwd=folder)
    )
    assert facts[0]["codecs"] == ["cpu-gzip"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--level", "0"],
        ["--level", "23"],
        ["--level", "x"],
        ["--container", "gz", "--level", "10"],
        ["--container", "gz", "--codec", "cpu-zstd"],
        ["--codec", "passthrough", "--level", "3"],
        ["--container", "zip"],
        ["--threads", "0"],
        ["--chunk-size", "0"],
        ["--chunk-size", "-5"],
        ["--keep", "--rm"],
        ["--dictionary", "missing"],
        ["--no-such-option"],
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense_are_a_usage_error(folder: Path, arguments: list[str]) -> None:
    bad("compress", "data.bin", *arguments, cwd=folder, code=2)
    assert names(folder) == ["data.bin"]


# --- looking and proving ------------------------------------------------------------------


def test_info_is_a_table_or_json(folder: Path) -> None:
    good("compress", "data.bin", "--chunk-size", "64K", cwd=folder)
    lines = good("info", "data.bin.s4", cwd=folder).decode().splitlines()
    assert lines[0].split()[:3] == ["FILE", "KIND", "CODEC"]
    assert lines[1].split()[:4] == ["data.bin.s4", "s4", "cpu-zstd", "7"]
    assert lines[1].endswith("trusted")
    facts = json.loads(good("info", "--json", "data.bin.s4", cwd=folder))
    assert facts[0]["original_size"] == len(DATA)
    done = run("info", "--json", "data.bin", "data.bin.s4", cwd=folder)
    assert done.returncode == 1
    assert "not a packed file" in json.loads(done.stdout)[0]["error"]


def test_verify_fails_when_one_file_does_and_checks_the_others(folder: Path) -> None:
    for name in ("a", "b", "c"):
        (folder / name).write_bytes(DATA)
    good("compress", "a", "b", "c", cwd=folder)
    body = bytearray((folder / "b.s4").read_bytes())
    body[-1000] ^= 1
    (folder / "b.s4").write_bytes(body)
    done = run("verify", "a.s4", "b.s4", "c.s4", cwd=folder)
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 1
    assert [line.split(",")[0] for line in lines] == ["a.s4: ok", "b.s4: FAILED", "c.s4: ok"]
    assert f"crc32c {shardpack.crc32c(DATA):#010x}" in lines[0]
    quiet = run("verify", "-q", "-r", ".", cwd=folder)
    assert (quiet.returncode, quiet.stdout.count(b"\n")) == (1, 1)
    facts = json.loads(run("verify", "--json", "a.s4", "b.s4", cwd=folder).stdout)
    assert [fact["verified"] for fact in facts] == [True, False]
    assert "crc32c" in facts[1]["error"]


def test_a_dictionary_is_trained_and_used(folder: Path) -> None:
    (folder / "events.jsonl").write_bytes(make("events", 400_000))
    text = good(
        "train-dict", "--split-lines", "events.jsonl", "-o", "d", "--size", "8K", cwd=folder
    )
    dictionary = (folder / "d").read_bytes()
    assert len(dictionary) <= 8192
    assert shardpack.dict_id(dictionary) in text.decode()
    (folder / "one").write_bytes(make("events", 300, "later"))
    good("compress", "-D", "d", "one", cwd=folder)
    plain = len(good("compress", "-c", "one", cwd=folder))
    assert (folder / "one.s4").stat().st_size < plain
    for verb in (["verify"], ["cat"], ["decompress", "-f"]):
        assert "--dictionary" in (
            bad(*verb, "one.s4", cwd=folder)
            if verb != ["verify"]
            else run(*verb, "one.s4", cwd=folder).stdout.decode()
        )
        good(*verb, "-D", "d", "one.s4", cwd=folder)
    assert "exists already" in bad("train-dict", "events.jsonl", "-o", "d", cwd=folder)
    bad("train-dict", "one", "-o", "new", cwd=folder)
    bad("train-dict", "events.jsonl", "missing", "-o", "new", "--split-lines", cwd=folder)
    assert not (folder / "new").exists()


def test_bench_measures_all_codecs_and_draws_them(folder: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot is drawn with it")
    common = ["bench", "data.bin", "--max-bytes", "20K"]
    facts = json.loads(good(*common, "--json", "--plot", "out.png", cwd=folder))
    levels = {(fact["codec"], fact["level"]) for fact in facts}
    assert levels == (
        {("cpu-zstd", level) for level in range(1, 23)}
        | {("cpu-gzip", level) for level in range(10)}
        | {("passthrough", None)}
    )
    assert all(fact["compress_mb_s"] > 0 and fact["decompress_mb_s"] > 0 for fact in facts)
    assert (folder / "out.png").read_bytes().startswith(b"\x89PNG")
    lines = good(*common, "--codec", "cpu-gzip", cwd=folder).decode().splitlines()
    assert len(lines) == 12
    assert len({len(line) for line in lines[1:]}) == 1, "the columns are aligned"


def test_a_plot_without_matplotlib_says_what_to_install(folder: Path) -> None:
    (folder / "matplotlib.py").write_text("raise ImportError('not here')")
    text = bad(
        "bench", "data.bin", "--max-bytes", "1K", "--codec", "passthrough", "--plot", "o.png",
        cwd=folder,
    )  # fmt: skip
    assert "shardpack[plot]" in text


# --- help ---------------------------------------------------------------------------------


def test_help_teaches_with_examples_and_names_the_exit_codes() -> None:
    text = good("--help").decode()
    assert all(verb in text for verb in VERBS)
    assert all(code in text for code in ("0 ", "1 ", "2 ", "130", "141"))
    for verb in VERBS:
        assert "examples:\n" in good(verb, "--help").decode()
    assert good("--version").decode() == f"shardpack {shardpack.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["explode"], ["info"], ["train-dict", "x"]])
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str]) -> None:
    assert "usage" in bad(*arguments, code=2)
