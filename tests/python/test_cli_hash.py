"""``shardpack hash``: digests printed and checked, in the company of coreutils."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import COMMAND, TIMEOUT_S, bad, good, on_terminal, run, start
from inputs import MIB, make, python_environment, run_python
from shardpack import hash as hashes
from shardpack.cli.digest_lines import algorithm_of_name, format_line, parse_line

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

SHA256SUM = shutil.which("sha256sum")
needs_coreutils = pytest.mark.skipif(SHA256SUM is None, reason="there is no sha256sum")

FILES = {
    b"a.txt": b"alpha\n",
    b"b b": b"",
    b"line\nbreak": make("lines", 10_000),
    b"back\\slash": b"1",
    b"return\r": b"2",
    b"\\start": b"3",
    b" space ": b"4",
    b"\xff\xfe.bin": make("noise", 70_000),
    "ärger".encode(): b"5",
    b"big": make("cycle", 3 * MIB + 1),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        with open(os.path.join(bytes(tmp_path), name), "wb") as file:
            file.write(content)
    return tmp_path


def sha256sum(*arguments: str | bytes, cwd: Path, stdin: bytes = b"") -> tuple[int, bytes]:
    assert SHA256SUM is not None
    done = subprocess.run(
        [SHA256SUM, *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    return done.returncode, done.stdout


def shardpack(*arguments: str | bytes, cwd: Path) -> tuple[int, bytes, bytes]:
    """As `commands.run`, with arguments of any bytes."""
    done = subprocess.run(
        [*COMMAND, "hash", *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        env=python_environment(),
        capture_output=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    return done.returncode, done.stdout, done.stderr


def digest(algorithm: str, data: bytes) -> str:
    return hashes.new(algorithm, data).hexdigest()


# --- printing -----------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", hashes.ALGORITHMS)
def test_every_algorithm_prints_digest_and_name(folder: Path, algorithm: str) -> None:
    printed = good("hash", "-a", algorithm, "a.txt", "big", cwd=folder).decode()
    small, big = digest(algorithm, b"alpha\n"), digest(algorithm, FILES[b"big"])
    assert printed == f"{small}  a.txt\n{big}  big\n"


def test_the_digests_are_those_of_hashlib(folder: Path) -> None:
    for ours, theirs in (("sha256", "sha256"), ("sha3_256", "sha3_256")):
        for threads in ("1", "3"):
            printed = good("hash", "-a", ours, "--threads", threads, "big", cwd=folder)
            expected = hashlib.new(theirs, FILES[b"big"]).hexdigest()
            assert printed == f"{expected}  big\n".encode()


def test_blake3_is_the_default_and_names_may_be_written_in_any_way(folder: Path) -> None:
    assert good("hash", "a.txt", cwd=folder) == good("hash", "-a", "BLAKE3", "a.txt", cwd=folder)
    for name in ("SHA3-256", "sha3_256", "Sha3256"):
        assert good("hash", "-a", name, "a.txt", cwd=folder) == (
            f"{hashlib.sha3_256(FILES[b'a.txt']).hexdigest()}  a.txt\n".encode()
        )
    text = bad("hash", "-a", "md5", "a.txt", code=2, cwd=folder)
    assert "'md5' is no algorithm; there are blake3, sha256" in text


@needs_coreutils
@pytest.mark.parametrize("tag", [[], ["--tag"]], ids=["plain", "tag"])
def test_the_lines_are_those_of_sha256sum(folder: Path, tag: list[str]) -> None:
    names = sorted(FILES)
    code, ours, errors = shardpack("-a", "sha256", *tag, *names, cwd=folder)
    assert (code, errors) == (0, b"")
    theirs = [sha256sum(*tag, name, cwd=folder)[1] for name in names]
    for line, other, name in zip(ours.splitlines(keepends=True), theirs, names, strict=True):
        # Older versions leave a carriage return in a name as it is.
        if b"\r" not in name:
            assert line == other
    assert sha256sum("--check", cwd=folder, stdin=ours)[0] == 0


def test_standard_input_is_read_where_nothing_or_a_dash_is_named(folder: Path) -> None:
    expected = f"{digest('blake3', b'piped')}  -\n".encode()
    assert good("hash", stdin=b"piped") == expected
    assert good("hash", "-", stdin=b"piped") == expected
    both = good("hash", "a.txt", "-", "a.txt", stdin=b"piped", cwd=folder).decode()
    own = f"{digest('blake3', FILES[b'a.txt'])}  a.txt\n"
    assert both == own + expected.decode() + own
    code, shown = on_terminal("hash", cwd=folder)
    assert (code, "name a file" in shown) == (2, True)


def test_a_stream_of_any_length_takes_bounded_memory(tmp_path: Path) -> None:
    size = 600 * MIB
    with open(tmp_path / "zeros", "wb") as file:
        file.truncate(size)
    code = (
        "import sys\n"
        "from shardpack.cli import main\n"
        "assert main(['hash', '-a', 'crc32c', '-']) == 0\n"
        "status = open('/proc/self/status').read()\n"
        "print(status.partition('VmHWM:')[2].split()[0])\n"
    )
    with open(tmp_path / "zeros", "rb") as file:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdin=file,
            env=python_environment(),
            capture_output=True,
            check=True,
            timeout=TIMEOUT_S,
        )
    line, peak_kib = done.stdout.decode().splitlines()
    assert line.endswith("  -")
    assert int(peak_kib) < 200 << 10


def test_folders_are_walked_in_order_and_links_left_alone(tmp_path: Path) -> None:
    for name in ("in/b/2", "in/b/1", "in/a", "in/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "in" / "link").symlink_to("a")
    lines = good("hash", "-r", "in", cwd=tmp_path).decode().splitlines()
    assert [line.partition("  ")[2] for line in lines] == ["in/a", "in/c", "in/b/1", "in/b/2"]
    (tmp_path / "empty").mkdir()
    assert good("hash", "-r", "empty", cwd=tmp_path) == b""


@pytest.mark.parametrize("algorithm", ["blake3", "sha256"])
def test_many_files_side_by_side_keep_their_order(tmp_path: Path, algorithm: str) -> None:
    sizes = [(number * 7919) % 5000 * (300 if number % 40 == 7 else 1) for number in range(300)]
    data = make("noise", max(sizes))
    for number, size in enumerate(sizes):
        (tmp_path / f"{number:03}").write_bytes(data[:size])
    expected = "".join(
        f"{digest(algorithm, data[:size])}  ./{number:03}\n" for number, size in enumerate(sizes)
    )
    for threads in ("1", "4"):
        printed = good("hash", "-a", algorithm, "-T", threads, "-r", ".", cwd=tmp_path)
        assert printed.decode() == expected


def test_what_cannot_be_read_is_named_and_the_others_are_done(folder: Path) -> None:
    (folder / "sub").mkdir()
    done = run("hash", "missing", "a.txt", "sub", "a.txt/x", "b b", cwd=folder)
    assert done.returncode == 1
    names = [line.partition(b"  ")[2] for line in done.stdout.splitlines()]
    assert names == [b"a.txt", b"b b"]
    assert done.stderr.decode().splitlines() == [
        "shardpack: missing: no such file or directory",
        "shardpack: sub: is a folder; use -r for all files in it",
        "shardpack: a.txt/x: not a directory",
    ]


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="there is no /proc")
def test_a_file_that_fails_in_the_middle_is_named(folder: Path) -> None:
    done = run("hash", "a.txt", "/proc/self/mem", "b b", cwd=folder)
    assert (done.returncode, done.stdout.count(b"\n")) == (1, 2)
    assert done.stderr == b"shardpack: /proc/self/mem: input/output error\n"


def test_a_file_without_permission_is_named(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (folder / "a.txt").chmod(0)
    assert bad("hash", "a.txt", cwd=folder) == "shardpack: a.txt: permission denied\n"


def test_json_tells_digests_and_errors(folder: Path) -> None:
    done = run("hash", "--json", "-a", "crc32c", "a.txt", "/proc/self/mem", cwd=folder)
    assert done.returncode == 1
    good_row, bad_row = json.loads(done.stdout)
    assert good_row == {
        "source": "a.txt",
        "algorithm": "crc32c",
        "digest": digest("crc32c", FILES[b"a.txt"]),
    }
    assert bad_row["error"] == "input/output error"


def test_a_name_does_not_command_the_terminal(tmp_path: Path) -> None:
    name = b"\x1b[31mred"
    with open(os.path.join(bytes(tmp_path), name), "wb"):
        pass
    code, shown = on_terminal("hash", "--no-progress", "-r", ".", cwd=tmp_path)
    assert (code, "\x1b" in shown, r"\x1b[31mred" in shown) == (0, False, True)
    assert name in shardpack(name, cwd=tmp_path)[1]
    listing = tmp_path / "SUMS"
    listing.write_bytes(shardpack(name, cwd=tmp_path)[1])
    assert b"\x1b" not in good("hash", "-c", "SUMS", cwd=tmp_path)


def test_a_bar_is_shown_on_a_terminal_only(folder: Path) -> None:
    code, shown = on_terminal("hash", "big", cwd=folder)
    assert code == 0
    assert digest("blake3", FILES[b"big"]) in shown
    assert "\r" in shown.rstrip("\r\n")
    quiet = on_terminal("hash", "--quiet", "big", cwd=folder)[1]
    assert quiet == f"{digest('blake3', FILES[b'big'])}  big\r\n"


# --- checking -----------------------------------------------------------------------------


@pytest.fixture
def sums(folder: Path) -> Path:
    """A list of all files, in plain lines."""
    code, printed, _ = shardpack("-a", "sha256", *sorted(FILES), cwd=folder)
    assert code == 0
    path = folder / "SUMS"
    path.write_bytes(printed)
    return path


def test_what_was_printed_can_be_checked(folder: Path) -> None:
    for algorithm in hashes.ALGORITHMS:
        for tag in ([], ["--tag"]):
            printed = shardpack("-a", algorithm, *tag, *sorted(FILES), cwd=folder)[1]
            (folder / "SUMS").write_bytes(printed)
            named = [] if tag else ["-a", algorithm]
            shown = good("hash", "--check", *named, "SUMS", cwd=folder).splitlines()
            assert len(shown) == len(FILES)
            assert all(line.endswith(b": OK") for line in shown)


@needs_coreutils
@pytest.mark.parametrize("options", [[], ["--binary"], ["--tag"]], ids=["text", "binary", "tag"])
def test_what_sha256sum_wrote_can_be_checked(folder: Path, options: list[str]) -> None:
    for name in sorted(FILES):
        (folder / "SUMS").write_bytes(sha256sum(*options, name, cwd=folder)[1])
        good("hash", "-a", "sha256", "-c", "SUMS", cwd=folder)


@needs_coreutils
def test_verdicts_and_warnings_are_those_of_sha256sum(folder: Path, sums: Path) -> None:
    zeros = b"0" * 64
    sums.write_bytes(
        sums.read_bytes().replace(sums.read_bytes()[:64], zeros, 1)
        + b"# a comment\n\n"
        + zeros
        + b"  missing\njunk\n"
        + zeros
        + b"  a.txt\n"
    )
    for options in ([], ["--quiet"], ["--strict"], ["--status"], ["--ignore-missing"]):
        ours = run("hash", "-a", "sha256", "--check", *options, "SUMS", cwd=folder)
        theirs = subprocess.run(
            [str(SHA256SUM), "--check", *options, "SUMS"],
            cwd=folder,
            capture_output=True,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
        assert ours.returncode == theirs.returncode == 1
        verdicts = [
            [line.rpartition(b": ")[2] for line in done.stdout.split(b"\n")]
            for done in (ours, theirs)
        ]
        assert verdicts[0] == verdicts[1], options
        warnings = [
            sorted(line.partition(b"WARNING: ")[2] for line in done.stderr.splitlines())
            for done in (ours, theirs)
        ]
        assert warnings[0] == warnings[1], options


def test_a_changed_file_is_named_and_counted(folder: Path, sums: Path) -> None:
    (folder / "a.txt").write_bytes(b"changed")
    done = run("hash", "-a", "sha256", "--check", "--quiet", "SUMS", cwd=folder)
    assert (done.returncode, done.stdout) == (1, b"a.txt: FAILED\n")
    assert done.stderr == b"shardpack: SUMS: WARNING: 1 computed checksum did NOT match\n"
    done = run("hash", "-a", "sha256", "-c", "--status", sums, cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_missing_files_fail_unless_they_may_be_missing(folder: Path, sums: Path) -> None:
    (folder / "a.txt").unlink()
    done = run("hash", "-a", "sha256", "-c", "-q", "SUMS", cwd=folder)
    assert (done.returncode, done.stdout) == (1, b"a.txt: FAILED open or read\n")
    assert done.stderr.decode().splitlines() == [
        "shardpack: a.txt: no such file or directory",
        "shardpack: SUMS: WARNING: 1 listed file could not be read",
    ]
    good("hash", "-a", "sha256", "-c", "--ignore-missing", "SUMS", cwd=folder)
    sums.write_bytes(b"0" * 64 + b"  gone\n")
    text = bad("hash", "-c", "--ignore-missing", "SUMS", cwd=folder)
    assert text == "shardpack: SUMS: no file was verified\n"


def test_malformed_lines_count_only_where_that_is_wanted(folder: Path, sums: Path) -> None:
    sums.write_bytes(b"junk\n" + sums.read_bytes() + b"0123  a.txt\n")
    done = run("hash", "-a", "sha256", "-c", "-q", "SUMS", cwd=folder)
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == b"shardpack: SUMS: WARNING: 2 lines are improperly formatted\n"
    bad("hash", "-a", "sha256", "-c", "--strict", "SUMS", cwd=folder)
    text = run("hash", "-a", "sha256", "-c", "--warn", "SUMS", cwd=folder).stderr.decode()
    lines = [1, len(sums.read_bytes().splitlines())]
    for number, line in zip(lines, text.splitlines(), strict=False):
        assert line == f"shardpack: SUMS: line {number} is improperly formatted"


def test_the_algorithm_is_taken_from_the_line_where_it_says(folder: Path) -> None:
    (folder / "SUMS").write_bytes(
        b"".join(
            good("hash", "-a", algorithm, *tag, "a.txt", cwd=folder)
            for algorithm, tag in (
                ("sha256", ["--tag"]),
                ("keccak256", ["--tag"]),
                ("sha3_256", ["--tag"]),
                ("crc32c", ["--tag"]),
                ("crc32c", []),
                ("blake3", []),
            )
        )
    )
    assert good("hash", "-c", "SUMS", cwd=folder) == b"a.txt: OK\n" * 6
    rows = json.loads(good("hash", "-c", "--json", "SUMS", cwd=folder))
    assert [row["algorithm"] for row in rows] == [
        *("sha256", "keccak256", "sha3_256", "crc32c", "crc32c", "blake3")
    ]
    assert all(row["verified"] and row["digest"] == row["expected"] for row in rows)


def test_who_names_an_algorithm_gets_no_other(folder: Path) -> None:
    (folder / "SUMS").write_bytes(good("hash", "-a", "crc32c", "--tag", "a.txt", cwd=folder))
    text = bad("hash", "-a", "sha256", "-c", "SUMS", cwd=folder)
    assert text == "shardpack: SUMS: no properly formatted checksum lines found\n"


def test_a_digest_of_another_length_is_no_digest_of_the_algorithm(folder: Path) -> None:
    (folder / "SUMS").write_bytes(good("hash", "-a", "sha256", "a.txt", cwd=folder))
    text = bad("hash", "-a", "crc32c", "-c", "SUMS", cwd=folder)
    assert text == "shardpack: SUMS: no properly formatted checksum lines found\n"


def test_a_list_of_another_algorithm_is_suspected(folder: Path) -> None:
    (folder / "SUMS").write_bytes(good("hash", "-a", "sha256", "a.txt", cwd=folder))
    text = bad("hash", "-c", "SUMS", cwd=folder)
    assert "were taken for blake3: see -a" in text


def test_several_lists_and_standard_input_are_checked_in_turn(folder: Path) -> None:
    listing = good("hash", "a.txt", cwd=folder)
    (folder / "SUMS").write_bytes(listing)
    done = run("hash", "-c", "SUMS", "none", "-", stdin=listing, cwd=folder)
    assert (done.returncode, done.stdout) == (1, b"a.txt: OK\n" * 2)
    assert done.stderr == b"shardpack: none: no such file or directory\n"
    assert good("hash", "-c", stdin=listing, cwd=folder) == b"a.txt: OK\n"
    piped = good("hash", stdin=b"x")
    (folder / "SUMS").write_bytes(piped)
    assert good("hash", "-c", "SUMS", stdin=b"x", cwd=folder) == b"-: OK\n"
    assert "standard input is the list itself" in bad("hash", "-c", stdin=piped)


def test_options_of_the_other_mode_are_refused(folder: Path) -> None:
    for options in (["-c", "--tag"], ["-c", "-r"], ["--strict"], ["--ignore-missing"], ["-w"]):
        assert "means nothing with" in bad("hash", *options, "a.txt", code=2, cwd=folder)


# --- hostile lists ------------------------------------------------------------------------


def test_junk_is_no_list(tmp_path: Path) -> None:
    for junk in (b"", b"\0" * 1000, make("noise", 200_000), b"x" * 3_000_000, b"\n" * 1000):
        (tmp_path / "SUMS").write_bytes(junk)
        text = bad("hash", "-c", "SUMS", cwd=tmp_path)
        assert text == "shardpack: SUMS: no properly formatted checksum lines found\n"
    text = bad("hash", "-c", ".", cwd=tmp_path)
    assert text == "shardpack: .: is a directory\n"


def test_a_very_long_line_hides_nothing(folder: Path) -> None:
    listing = good("hash", "a.txt", cwd=folder)
    long = b"0" * 64 + b"  " + b"n" * 20_000_000 + b"\n"
    (folder / "SUMS").write_bytes(long + listing + long[:-1])
    done = run("hash", "-c", "SUMS", cwd=folder)
    assert (done.returncode, done.stdout) == (0, b"a.txt: OK\n")
    assert done.stderr == b"shardpack: SUMS: WARNING: 2 lines are improperly formatted\n"


def test_what_a_list_names_is_only_read_if_it_is_a_file(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "sub").mkdir()
    names = ["/dev/zero", "pipe", "sub", "a.txt/x", "n" * 5000, "a.txt\0"]
    zeros = "0" * 64
    (folder / "SUMS").write_text("".join(f"{zeros}  {name}\n" for name in names))
    done = run("hash", "-c", "SUMS", cwd=folder)
    assert (done.returncode, done.stdout.count(b"FAILED open or read")) == (1, 5)
    assert done.stderr.decode().splitlines() == [
        "shardpack: /dev/zero: is no regular file",
        "shardpack: pipe: is no regular file",
        "shardpack: sub: is a folder",
        "shardpack: a.txt/x: not a directory",
        f"shardpack: {'n' * 5000}: file name too long",
        "shardpack: SUMS: WARNING: 1 line is improperly formatted",
        "shardpack: SUMS: WARNING: 5 listed files could not be read",
    ]


def test_absolute_names_mean_what_they_say(folder: Path) -> None:
    listing = good("hash", folder / "a.txt", cwd=folder)
    assert good("hash", "-c", stdin=listing, cwd=folder.parent).endswith(b"a.txt: OK\n")


# --- accidents ----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [["-r", "."], ["-c", "SUMS"]], ids=["print", "check"])
def test_a_reader_that_went_away_ends_the_run(tmp_path: Path, options: list[str]) -> None:
    for number in range(50):
        (tmp_path / str(number)).write_bytes(b"x" * number)
    (tmp_path / "SUMS").write_bytes(good("hash", *map(str, range(50)), cwd=tmp_path))
    process = start("hash", *options, cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(TIMEOUT_S) == 141


def test_a_full_disk_is_an_error(folder: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "hash", "a.txt"],
            cwd=folder,
            stdout=full,
            stderr=subprocess.PIPE,
            env=python_environment(),
            check=False,
            timeout=TIMEOUT_S,
        )
    assert done.returncode == 1
    assert done.stderr == b"shardpack: standard output: no space left on device\n"


@pytest.mark.parametrize("names", [["huge"], ["huge", "other"]], ids=["alone", "beside"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_long_run_can_be_interrupted(tmp_path: Path, names: list[str], number: int) -> None:
    for name in names:
        with open(tmp_path / name, "wb") as file:
            file.truncate(200 << 30)
    process = start("hash", "-a", "sha256", "-T", "2", *names, cwd=tmp_path)
    time.sleep(1)
    assert process.poll() is None, "it was to be interrupted at work"
    process.send_signal(number)
    started = time.monotonic()
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert time.monotonic() - started < 5
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert b"Traceback" not in errors


def test_a_program_that_calls_the_command_keeps_its_streams() -> None:
    code = (
        "import sys, io\n"
        "from shardpack.cli import main\n"
        "sys.stdout.reconfigure(encoding='latin-1', errors='replace')\n"
        "assert main(['hash', '/dev/null']) == 0\n"
        "sys.stdout.flush()\n"
        "assert (sys.stdout.encoding, sys.stdout.errors) == ('latin-1', 'replace')\n"
        "sys.stdout = io.StringIO()\n"
    )
    assert run_python(code) == f"{digest('blake3', b'')}  /dev/null"


# --- lines --------------------------------------------------------------------------------


def any_names() -> st.SearchStrategy[str]:
    parts: Any = st.one_of(st.binary(min_size=1), st.sampled_from([b"\\", b"\n", b"\r", b") = "]))
    names = st.lists(parts, min_size=1, max_size=6).map(b"".join)
    return names.map(lambda name: os.fsdecode(name.replace(b"\0", b"0")))


@given(
    name=any_names(),
    algorithm=st.sampled_from(hashes.ALGORITHMS),
    data=st.binary(),
    tag=st.booleans(),
)
def test_a_line_gives_back_what_it_was_made_of(
    name: str, algorithm: str, data: bytes, *, tag: bool
) -> None:
    due = hashes.new(algorithm, data).digest()
    line = os.fsencode(format_line(name, due, algorithm, tag=tag))
    assert b"\n" not in line
    assert b"\r" not in line
    read = parse_line(line)
    known = algorithm if tag or algorithm == "crc32c" else None
    assert read == (name, due, known)


@given(st.binary(max_size=300))
def test_no_bytes_upset_the_parser(line: bytes) -> None:
    parse_line(line)
    parse_line(b"0" * 64 + b"  " + line)
    parse_line(b"\\SHA256 (" + line + b") = " + b"a" * 64)


DIGITS = b"a" * 64
MALFORMED = [
    DIGITS,
    DIGITS + b" name",
    DIGITS + b"  ",
    DIGITS + b"\t name",
    DIGITS[1:] + b"  name",
    DIGITS + b"a  name",
    DIGITS + b"  a\0b",
    b"  name",
    b"g" * 64 + b"  name",
    b"\\" + DIGITS + b"  a\\",
    b"\\" + DIGITS + b"  a\\x",
    b"SHA256 a = " + DIGITS,
    b"SHA256 () = " + DIGITS,
    b"SHA256 (a) = " + DIGITS[1:],
    b"SHA256 (a) = " + DIGITS[:8],
    b"CRC32C (a) = " + DIGITS,
    b"MD5 (a) = " + DIGITS,
]


@pytest.mark.parametrize("line", MALFORMED)
def test_a_malformed_line_is_none(line: bytes) -> None:
    assert parse_line(line) is None


def test_lines_of_other_tools_are_understood() -> None:
    digits, due = b"0aB1" * 16, bytes.fromhex("0ab1" * 16)
    for line, algorithm in (
        (digits + b"  name", None),
        (digits + b" *name", None),
        (b" \t" + digits + b"  name", None),
        (b"SHA256 (name) = " + digits, "sha256"),
        (b"SHA256(name)= " + digits, "sha256"),
        (b"SHA2-256(name)= " + digits, "sha256"),
        (b"SHA3-256 (name) = " + digits + b" ", "sha3_256"),
        (b"BLAKE3 (name) = " + digits, "blake3"),
        (b"KECCAK-256 (name) = " + digits, "keccak256"),
    ):
        assert parse_line(line) == ("name", due, algorithm)
    assert algorithm_of_name("SHA-512") is None
