"""Parity for files: nothing is made worse, whatever lies where the parity should be."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from groups import DATA, RECORDS, encoded, flip, shards_of, state
from inputs import make, run_python
from shardpack import ComputationFailed, InvalidInput, S4IoError, hash, parity

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with 10+4 shards of 12,346 bytes in blocks of 4 KiB."""
    return encoded(tmp_path)


# --- writing ------------------------------------------------------------------------------


def test_parity_that_is_there_is_not_replaced_unasked(path: Path, tmp_path: Path) -> None:
    before = state(tmp_path)
    with pytest.raises(FileExistsError) as caught:
        parity.encode_file(path, 5, 2)
    assert caught.value.filename == str(shards_of(path))
    assert state(tmp_path) == before
    report = parity.encode_file(path, 5, 2, overwrite=True)
    assert (report.data_shards, report.parity_shards) == (5, 2)
    assert sorted(os.listdir(shards_of(path)))[-2:] == ["p-005.rs", "p-006.rs"]
    assert len(os.listdir(shards_of(path))) == 6
    assert parity.verify_file(path).intact


def test_a_folder_without_a_record_counts_for_nothing(path: Path) -> None:
    for name in RECORDS:
        (shards_of(path) / name).unlink()
    with pytest.raises(FileNotFoundError):
        parity.verify_file(path)
    with pytest.raises(FileNotFoundError):
        parity.repair_file(path)
    assert parity.encode_file(path).intact
    assert parity.verify_file(path).intact


def test_parity_is_as_private_as_its_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(DATA)
    path.chmod(0o600)
    parity.encode_file(path)
    (shards_of(path) / "p-011.rs").unlink()
    (shards_of(path) / "group.b3").unlink()
    flip(path, 5)
    parity.repair_file(path)
    for one in (path, *shards_of(path).iterdir()):
        assert stat.S_IMODE(one.stat().st_mode) == 0o600, one


def test_what_is_rebuilt_from_nothing_is_as_private_as_its_parity(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(DATA)
    path.chmod(0o600)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    folder = shards_of(path)
    parity.encode_file(path, 1, 2)
    path.unlink()
    (folder / "p-001.rs").unlink()
    assert set(parity.repair_file(path).repaired) == {"secret", "p-001.rs"}
    for made in (path, folder / "p-001.rs"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o600
        assert made.stat().st_mtime == 1_000_000_000


def test_a_folder_in_the_place_of_a_shard_is_named(path: Path, tmp_path: Path) -> None:
    shard = shards_of(path) / "p-011.rs"
    shard.unlink()
    shard.mkdir()
    flip(path, 5)
    before = state(tmp_path)
    for act in (parity.verify_file, parity.repair_file):
        with pytest.raises(IsADirectoryError) as caught:
            act(path)
        assert caught.value.filename == str(shard)
    assert state(tmp_path) == before


def test_a_link_to_the_file_stays_a_link(path: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real = path.rename(tmp_path / "there" / "real.bin")
    path.symlink_to(real)
    flip(real, 5)
    report = parity.repair_file(path)
    assert path.is_symlink()
    assert real.read_bytes() == DATA
    assert report.backup == f"{real}.1"


def test_links_in_the_folder_are_not_written_through(path: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    for name in ("p-011.rs", "checks.bin", "group.b3"):
        link = shards_of(path) / name
        kept = link.read_bytes()
        link.unlink()
        link.symlink_to(mine)
        with pytest.raises(InvalidInput, match=f"{name} is a symbolic link"):
            parity.repair_file(path)
        with pytest.raises(InvalidInput, match=f"{name} is a symbolic link"):
            parity.encode_file(path, overwrite=True)
        assert mine.read_bytes() == b"mine"
        if not (shards_of(path) / "group.json").exists():
            pytest.fail("the record is gone")
        link.unlink()
        link.write_bytes(kept)
        assert parity.verify_file(path).intact


def test_a_pipe_in_the_folder_does_not_hang(path: Path) -> None:
    for name in ("p-011.rs", "checks.bin", *RECORDS):
        (shards_of(path) / name).unlink()
        os.mkfifo(shards_of(path) / name)
    with pytest.raises((InvalidInput, OSError)):
        parity.verify_file(path)


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        ((0, 4), {}, "0 data and 4 parity"),
        ((10, 0), {}, "10 data and 0 parity"),
        ((250, 7), {}, "at most 256"),
        ((-1, 4), {}, "-1 data"),
        ((), {"block": 0}, "at least one is needed"),
        ((), {"block": -4096}, "at least one is needed"),
    ],
)
def test_counts_that_make_no_code_are_refused(
    tmp_path: Path, arguments: tuple[int, int], options: dict[str, Any], text: str
) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    with pytest.raises(InvalidInput, match=text):
        parity.encode_file(path, *arguments, **options)
    assert os.listdir(tmp_path) == ["data.bin"]


def test_what_is_no_file_with_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(InvalidInput, match="empty"):
        parity.encode_file(tmp_path / "empty")
    with pytest.raises(InvalidInput, match="no regular file"):
        parity.encode_file("/dev/null")
    with pytest.raises(IsADirectoryError):
        parity.encode_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        parity.encode_file(tmp_path / "missing")
    assert os.listdir(tmp_path) == ["empty"]


def test_blocks_that_no_memory_holds_and_blocks_too_many_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InvalidInput, match="too large for 14 shards"):
        parity.encode_file(path, block=1 << 32)
    with pytest.raises(InvalidInput, match=r"too small .* at least 104858"):
        parity.encode_file(path, block=4096)
    assert os.listdir(tmp_path) == ["sparse"]


def test_a_file_that_changes_while_it_is_read_gets_no_parity(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)

    def change(_done: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    with pytest.raises(S4IoError, match="changed while it was read"):
        parity.encode_file(path, progress=change)
    assert os.listdir(tmp_path) == ["data.bin"]


# --- records of an enemy ------------------------------------------------------------------


def forge(path: Path, change: Any) -> None:
    folder = shards_of(path)
    record = json.loads((folder / "group.json").read_text())
    change(record)
    text = json.dumps(record).encode()
    for name in RECORDS[:2]:
        (folder / name).write_bytes(text)
    (folder / "group.b3").write_text(f"{hash.blake3(text).hex()}  group.json\n")


FORGERIES: dict[str, Any] = {
    "another format": lambda r: r.update(format="shardpack-parity/2"),
    "another code": lambda r: r.update(code="rs-gf8-11d-cauchy"),
    "no code": lambda r: r.pop("code"),
    "k of another": lambda r: r.update(k=9),
    "k as text": lambda r: r.update(k="10"),
    "k as truth": lambda r: r.update(k=True),
    "m of millions": lambda r: r.update(m=10**9),
    "m below zero": lambda r: r.update(m=-4),
    "a block of nothing": lambda r: r.update(block=0),
    "a fraction of a block": lambda r: r.update(block=4096.5),
    "a huge shard": lambda r: r.update(shard_len=1 << 61),
    "a huge file": lambda r: [d.update(size_bytes=1 << 60) for d in r["data"]],
    "a number with a thousand digits": lambda r: r.update(shard_len=10**1000),
    "a size below zero": lambda r: r["data"][3].update(size_bytes=-1),
    "another offset": lambda r: r["data"][3].update(offset=0),
    "no offset": lambda r: r["data"][3].pop("offset"),
    "another index": lambda r: r["parity"][1].update(index=12),
    "a truth for an index": lambda r: r["data"][1].update(index=True),
    "a way out": lambda r: [d.update(key="../mine") for d in r["data"]],
    "an absolute way out": lambda r: [d.update(key="/etc/passwd") for d in r["data"]],
    "the folder above": lambda r: [d.update(key="..") for d in r["data"]],
    "no name": lambda r: [d.update(key="") for d in r["data"]],
    "a name with a zero": lambda r: [d.update(key="a\0b") for d in r["data"]],
    "a number for a name": lambda r: [d.update(key=7) for d in r["data"]],
    "two files": lambda r: r["data"][3].update(key="other.bin"),
    "parity elsewhere": lambda r: r["parity"][0].update(key="../mine"),
    "checks elsewhere": lambda r: r["checks"].update(key="/dev/zero"),
    "checks of nothing": lambda r: r.update(checks=None),
    "a short digest": lambda r: r["parity"][0].update(b3="00"),
    "a digest of no digits": lambda r: r["parity"][0].update(b3="zz" * 32),
    "a digest with spaces": lambda r: r["parity"][0].update(b3=" " * 64),
    "a digest of a number": lambda r: r["checks"].update(b3=5),
    "data as an object": lambda r: r.update(data={}),
    "no data": lambda r: r.update(data=[], k=0),
    "no parity": lambda r: r.update(parity=[], m=0),
    "data of numbers": lambda r: r.update(data=[1, 2]),
    "too many shards": lambda r: r.update(data=r["data"] * 30, k=300),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_record_that_makes_no_sense_is_refused(name: str, path: Path, tmp_path: Path) -> None:
    forge(path, FORGERIES[name])
    before = state(tmp_path)
    for call in (parity.verify_file, parity.repair_file):
        with pytest.raises(InvalidInput) as caught:
            call(path)
        text = str(caught.value)
        assert "\n" not in text
        assert len(text) < 250
    with pytest.raises(InvalidInput):
        parity.repair_file(shards_of(path))
    assert state(tmp_path) == before


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{", b"[" * 100_000, b"\xff\xfe", b"null", b"{}" + b" " * (2 << 20), b"1e999"],
    ids=["empty", "list", "cut", "deep", "bytes", "null", "long", "number"],
)
def test_a_record_that_is_no_json_object_is_refused(path: Path, text: bytes) -> None:
    for name in RECORDS:
        (shards_of(path) / name).write_bytes(text)
    with pytest.raises(InvalidInput):
        parity.verify_file(path)


def test_a_record_does_not_choose_the_file_beside_its_folder(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.bin"
    other.write_bytes(b"not in this group")
    renamed = path.rename(tmp_path / "renamed.bin")
    shards_of(path).rename(shards_of(renamed))
    flip(renamed, 5)
    report = parity.repair_file(shards_of(renamed))
    assert report.repaired
    assert renamed.read_bytes() == DATA
    assert other.read_bytes() == b"not in this group"


def test_rot_is_told_from_what_was_written(path: Path) -> None:
    stamp = path.stat().st_mtime_ns
    flip(path, 5)
    assert parity.verify_file(path).modified
    os.utime(path, ns=(stamp, stamp))
    rotten = parity.verify_file(path)
    assert not rotten.intact
    assert not rotten.modified
    assert not parity.repair_file(path, backup=False).modified
    assert parity.verify_file(path).intact


def test_a_forged_digest_mends_nothing(path: Path, tmp_path: Path) -> None:
    forge(path, lambda record: record["data"][2].update(b3="00" * 32))
    flip(path, 12_346 * 2)
    before = state(tmp_path)
    with pytest.raises(ComputationFailed, match="shard 2 cannot be rebuilt"):
        parity.repair_file(path)
    assert state(tmp_path) == before


def test_a_claim_of_size_without_shards_writes_nothing(tmp_path: Path) -> None:
    path = encoded(tmp_path, make("noise", 2000), 2, 2)

    def grow(record: dict[str, Any]) -> None:
        size = 1 << 40
        record.update(shard_len=size, block=1 << 26)
        for index, shard in enumerate(record["data"]):
            shard.update(size_bytes=size, offset=index * size)
        for shard in record["parity"]:
            shard.update(size_bytes=size)

    forge(path, grow)
    before = state(tmp_path)
    path.unlink()
    with pytest.raises(ComputationFailed, match="column 0"):
        parity.repair_file(path)
    before.pop("data.bin")
    assert state(tmp_path) == before


def test_two_records_that_nothing_tells_apart_are_refused(path: Path, tmp_path: Path) -> None:
    folder = shards_of(path)
    record = json.loads((folder / "group.json").read_text())
    digest = record["data"][0]["b3"]
    record["data"][0]["b3"] = hashlib.sha256(digest.encode()).hexdigest()
    (folder / "group.json").write_text(json.dumps(record))
    (folder / "group.b3").unlink()
    before = state(tmp_path)
    with pytest.raises(InvalidInput, match="differ"):
        parity.repair_file(path)
    assert state(tmp_path) == before
    (folder / "group.json").unlink()
    assert parity.repair_file(path).repaired == ("group.json", "group.b3")
    assert parity.verify_file(path).intact


def test_a_record_alone_is_believed_where_the_shards_agree(path: Path, tmp_path: Path) -> None:
    folder = shards_of(path)
    record = json.loads((folder / "group.json").read_text())
    record["data"][0]["b3"] = "11" * 32
    (folder / "group.json").write_text(json.dumps(record))
    (folder / "group.copy.json").unlink()
    (folder / "group.b3").unlink()
    before = state(tmp_path)
    assert [damage.shard for damage in parity.verify_file(path).damage] == [0]
    with pytest.raises(ComputationFailed, match="shard 0"):
        parity.repair_file(path)
    assert state(tmp_path) == before


# --- memory -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_large_file_takes_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "large"
    block = make("noise", 1 << 20)
    with path.open("wb") as file:
        for _ in range(400):
            file.write(block)
    calls = [
        f"parity.encode_file({str(path)!r})",
        f"assert parity.verify_file({str(path)!r}).intact",
        f"os.truncate({str(path)!r}, 300 << 20); parity.repair_file({str(path)!r}, backup=False)",
    ]
    for call in calls:
        code = f"""
import os
from shardpack import parity
{call}
print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])
"""
        assert int(run_python(code)) < 200 << 10, call
    assert path.stat().st_size == 400 << 20
