"""Parity for files: whatever rots within the budget comes back to the byte."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groups import DATA, RECORDS, encoded, flip, shards_of, state
from inputs import make
from oracles import rs_oracle as oracle
from shardpack import ComputationFailed, hash, parity


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with 10+4 shards of 12,346 bytes in blocks of 4 KiB."""
    return encoded(tmp_path)


# --- the format ---------------------------------------------------------------------------


def test_the_folder_is_what_the_format_says(path: Path) -> None:
    folder = shards_of(path)
    names = [f"p-{index:03d}.rs" for index in range(10, 14)]
    assert sorted(os.listdir(folder)) == sorted([*names, "checks.bin", *RECORDS])
    assert path.read_bytes() == DATA

    length = -(-len(DATA) // 10)
    data = oracle.split(DATA, 10)
    shards = [(folder / name).read_bytes() for name in names]
    assert shards == oracle.encode(data, 4)

    record = json.loads((folder / "group.json").read_text())
    kept = [DATA[at : at + length] for at in range(0, len(DATA), length)]
    blocks = -(-length // 4096)
    checks = b"".join(
        hash.blake3(shard[at * 4096 : (at + 1) * 4096])
        for shard in [*kept, *shards]
        for at in range(blocks)
    )
    assert (folder / "checks.bin").read_bytes() == checks
    assert record == {
        "format": "shardpack-parity/1",
        "code": "rs-gf8-11d-vandermonde",
        "k": 10,
        "m": 4,
        "shard_len": length,
        "block": 4096,
        "data": [
            {
                "index": index,
                "key": "data.bin",
                "size_bytes": len(shard),
                "b3": hash.blake3(shard).hex(),
                "offset": index * length,
            }
            for index, shard in enumerate(kept)
        ],
        "parity": [
            {"index": index, "key": name, "size_bytes": length, "b3": hash.blake3(shard).hex()}
            for index, (name, shard) in enumerate(zip(names, shards, strict=True), 10)
        ],
        "checks": {"key": "checks.bin", "b3": hash.blake3(checks).hex()},
    }
    text = (folder / "group.json").read_bytes()
    assert (folder / "group.copy.json").read_bytes() == text
    line = f"{hash.blake3(text).hex()}  group.json\n"
    assert (folder / "group.b3").read_text() == line


@pytest.mark.parametrize(
    ("size", "k", "m", "block"),
    [
        (1, 1, 1, None),
        (1, 10, 4, None),
        (5, 4, 2, 1),
        (12, 10, 4, 1),
        (4096, 1, 3, 4096),
        (10_000, 7, 3, 100),
        (10_000, 7, 3, 1 << 20),
        (100_000, 100, 156, 512),
    ],
)
def test_any_shape_is_encoded_and_comes_back(
    tmp_path: Path, size: int, k: int, m: int, block: int | None
) -> None:
    data = make("noise", size)
    path = encoded(tmp_path, data, k, m, block=block)
    before = state(tmp_path)
    length = -(-size // k)
    assert (shards_of(path) / f"p-{k:03d}.rs").read_bytes() == oracle.encode(
        oracle.split(data, k), m
    )[0]
    assert parity.verify_file(path).intact
    # The first m shards of data are lost, as far as there are so many.
    content = bytearray(data)
    for index in range(min(m, k)):
        at = index * length
        for place in range(at, min(at + length, size)):
            content[place] ^= 0xFF
    path.write_bytes(content)
    report = parity.repair_file(path, backup=False)
    assert report.repaired == ("data.bin",)
    assert report.worst == len({damage.shard for damage in report.damage}) > 0
    assert state(tmp_path) == before


def test_many_columns_at_a_time_are_many_rows_of_memory(tmp_path: Path) -> None:
    # More blocks than are worked on at a time.
    path = encoded(tmp_path, make("noise", 40_000), 2, 1, block=1)
    flip(path, 0, 16_383, 16_384, 39_999)
    report = parity.repair_file(path)
    assert [damage.ranges for damage in report.damage] == [
        ((0, 1), (16_383, 16_385)),
        ((39_999, 40_000),),
    ]
    assert path.read_bytes() == make("noise", 40_000)


def test_threads_do_not_change_the_bytes(tmp_path: Path) -> None:
    path = encoded(tmp_path, DATA, threads=1)
    before = state(tmp_path)
    parity.encode_file(path, threads=3, overwrite=True)
    assert state(tmp_path) == before


def test_progress_counts_every_byte(path: Path) -> None:
    seen: list[int] = []
    parity.encode_file(path, overwrite=True, progress=seen.append)
    assert seen[-1] == len(DATA)
    seen.clear()
    parity.verify_file(path, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == len(DATA) + 4 * 12_346


# --- damage -------------------------------------------------------------------------------


def test_verify_names_what_is_damaged_and_writes_nothing(path: Path, tmp_path: Path) -> None:
    flip(path, 12_346 * 3 + 5000, len(DATA) - 1)
    flip(shards_of(path) / "p-011.rs", 0)
    (shards_of(path) / "p-013.rs").unlink()
    before = state(tmp_path)
    report = parity.verify_file(path)
    assert [(d.shard, d.key, d.bad_blocks, d.missing) for d in report.damage] == [
        (3, "data.bin", 1, False),
        (9, "data.bin", 1, False),
        (11, "p-011.rs", 1, False),
        (13, "p-013.rs", 4, True),
    ]
    start = 12_346 * 3
    assert report.damage[0].ranges == ((start + 4096, start + 8192),)
    assert report.damage[1].ranges == ((12_346 * 9 + 12_288, len(DATA)),)
    assert report.damage[3].ranges == ((0, 12_346),)
    assert (report.intact, report.repairable, report.worst) == (False, True, 2)
    assert state(tmp_path) == before


def damage_flip(path: Path) -> None:
    flip(path, 1, 50_000, 90_000)


def damage_cut(path: Path) -> None:
    os.truncate(path, 100_000)


def damage_extend(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def damage_shorten_and_extend(path: Path) -> None:
    path.write_bytes(DATA[:100_000] + b"x" * 30_000)


def damage_parity(path: Path) -> None:
    flip(shards_of(path) / "p-010.rs", 0, 12_345)
    os.truncate(shards_of(path) / "p-011.rs", 100)
    (shards_of(path) / "p-012.rs").write_bytes(b"")
    (shards_of(path) / "p-013.rs").unlink()


def damage_extend_parity(path: Path) -> None:
    with (shards_of(path) / "p-012.rs").open("ab") as file:
        file.write(b"more")


def damage_checks(path: Path) -> None:
    flip(shards_of(path) / "checks.bin", 0, 700)


def damage_lose_checks(path: Path) -> None:
    (shards_of(path) / "checks.bin").unlink()
    flip(path, 0, 40_000)
    flip(shards_of(path) / "p-010.rs", 5)


def damage_cut_checks(path: Path) -> None:
    os.truncate(shards_of(path) / "checks.bin", 333)
    flip(path, 100_000)


def damage_checks_and_data(path: Path) -> None:
    # Six shards, more than four: found by what is left of the checks, two in each column.
    flip(shards_of(path) / "checks.bin", 0)
    flip(path, *(12_346 * index + 4096 * (index % 3) for index in range(6)))


def damage_record(path: Path) -> None:
    flip(shards_of(path) / "group.json", 500)


def damage_lose_record(path: Path) -> None:
    (shards_of(path) / "group.json").unlink()
    flip(path, 3)


def damage_lose_copy_and_sum(path: Path) -> None:
    (shards_of(path) / "group.copy.json").unlink()
    (shards_of(path) / "group.b3").unlink()
    flip(path, 3)


def damage_sum(path: Path) -> None:
    flip(shards_of(path) / "group.b3", 3)


def damage_empty(path: Path) -> None:
    for name in ("group.json", "checks.bin", "p-012.rs"):
        (shards_of(path) / name).write_bytes(b"")


DAMAGES = {
    name.removeprefix("damage_"): value
    for name, value in list(globals().items())
    if name.startswith("damage_")
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_mended_to_the_byte(name: str, path: Path, tmp_path: Path) -> None:
    before = state(tmp_path)
    DAMAGES[name](path)
    damaged = path.read_bytes()
    found = parity.verify_file(path)
    assert not found.intact
    assert found.repairable
    report = parity.repair_file(path)
    assert report.repaired
    assert report._replace(repaired=(), backup=None) == found
    assert (report.backup is None) == (damaged == DATA)
    if report.backup is not None:
        assert Path(report.backup).read_bytes() == damaged
        Path(report.backup).unlink()
    assert state(tmp_path) == before
    again = parity.repair_file(path)
    assert again.intact
    assert again.repaired == ()


def test_a_lost_file_comes_back_from_parity_alone(tmp_path: Path) -> None:
    path = encoded(tmp_path, DATA, 3, 3)
    before = state(tmp_path)
    path.unlink()
    assert parity.verify_file(path).damage[0].missing
    report = parity.repair_file(path)
    assert (report.repaired, report.backup) == (("data.bin",), None)
    assert state(tmp_path) == before


def test_the_folder_of_the_parity_names_the_file(tmp_path: Path) -> None:
    path = encoded(tmp_path, DATA, 2, 2)
    path.unlink()
    assert parity.repair_file(shards_of(path)).path == str(path)
    assert path.read_bytes() == DATA
    assert parity.verify_file(f"{shards_of(path)}/").intact


def test_the_folder_may_be_anywhere_and_the_file_be_renamed(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    folder = tmp_path / "elsewhere"
    assert parity.encode_file(path, output=folder).folder == str(folder)
    other = path.rename(tmp_path / "other.bin")
    flip(other, 17)
    report = parity.repair_file(other, folder=folder)
    assert report.backup == f"{other}.1"
    assert other.read_bytes() == DATA


def test_too_much_damage_changes_nothing_and_names_the_column(path: Path, tmp_path: Path) -> None:
    # Five shards in the second column; the first column could be mended.
    flip(path, 7, *(12_346 * index + 5000 for index in (0, 2, 4, 6, 8)))
    before = state(tmp_path)
    report = parity.verify_file(path)
    assert (report.repairable, report.worst) == (False, 5)
    with pytest.raises(
        ComputationFailed,
        match=r"column 1 \(bytes 4096 to 8192 of every shard\): shards 0, 2, 4, 6, 8 are damaged",
    ):
        parity.repair_file(path)
    assert state(tmp_path) == before


def test_more_shards_than_parity_may_be_damaged_in_different_columns(
    path: Path, tmp_path: Path
) -> None:
    before = state(tmp_path)
    places = [12_346 * shard + 4096 * (shard % 3) for shard in range(10)]
    flip(path, *places)
    flip(shards_of(path) / "p-010.rs", 12_345)
    report = parity.repair_file(path, backup=False)
    assert len(report.damage) == 11
    assert report.worst == 4
    assert state(tmp_path) == before


def test_a_file_that_was_changed_on_purpose_is_kept_as_backup(path: Path) -> None:
    flip(path, 9)
    changed = path.read_bytes()
    Path(f"{path}.1").write_bytes(b"mine")
    report = parity.repair_file(path)
    assert report.backup == f"{path}.2"
    assert Path(f"{path}.1").read_bytes() == b"mine"
    assert Path(f"{path}.2").read_bytes() == changed
    assert path.read_bytes() == DATA


def test_an_output_leaves_the_file_alone(path: Path, tmp_path: Path) -> None:
    flip(path, 9)
    changed = path.read_bytes()
    out = tmp_path / "good.bin"
    report = parity.repair_file(path, output=out)
    assert (report.repaired, report.backup) == (("good.bin",), None)
    assert (out.read_bytes(), path.read_bytes()) == (DATA, changed)
    with pytest.raises(FileExistsError):
        parity.repair_file(path, output=out)
    flip(out, 3)
    parity.repair_file(path, output=out, overwrite=True)
    assert out.read_bytes() == DATA


def test_an_output_leaves_the_parity_alone_which_may_be_on_a_disk_that_is_read_only(
    path: Path, tmp_path: Path
) -> None:
    folder = shards_of(path)
    flip(path, 9)
    flip(folder / "p-011.rs", 9, 9000)
    for name in ("p-012.rs", "checks.bin", "group.json"):
        (folder / name).unlink()
    before = state(tmp_path)
    out = tmp_path / "good.bin"
    report = parity.repair_file(path, output=out)
    assert report.repaired == ("good.bin",)
    assert state(tmp_path) == {**before, "good.bin": DATA}
    assert len(parity.repair_file(path).repaired) == 5
    assert parity.verify_file(path).intact


def test_a_sector_that_cannot_be_read_counts_as_damaged(path: Path) -> None:
    # Reading the memory of this process at address 0 is an input/output error.
    broken = shards_of(path) / "p-012.rs"
    broken.unlink()
    broken.symlink_to("/proc/self/mem")
    with broken.open("rb", buffering=0) as file, pytest.raises(OSError, match="put") as caught:
        file.read(1)
    assert caught.value.errno == errno.EIO
    report = parity.verify_file(path)
    assert [(damage.shard, damage.bad_blocks) for damage in report.damage] == [(12, 4)]


@given(
    st.integers(1, 40_000),
    st.integers(1, 8),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
def test_rot_anywhere_within_the_budget_is_mended_to_the_byte(
    tmp_path_factory: pytest.TempPathFactory, size: int, k: int, m: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("rot")
    rng = random.Random(seed)
    length = -(-size // k)
    block = rng.randrange(max(1, length // 20), length + 2)
    path = encoded(folder, rng.randbytes(size), k, m, block=block)
    before = state(folder)
    # In every column up to m blocks rot, of data and parity alike.
    files = {name: bytearray(content) for name, content in before.items()}
    for start in range(0, length, block):
        for shard in rng.sample(range(k + m), rng.randint(0, m)):
            name = "data.bin" if shard < k else f"data.bin.parity/p-{shard:03d}.rs"
            offset = min(shard * length, size) if shard < k else 0
            end = min(offset + start + block, offset + length, len(files[name]))
            for _ in range(rng.randint(1, 3)):
                if end > offset + start:
                    files[name][rng.randrange(offset + start, end)] ^= rng.randrange(1, 256)
    # And so do the checks, one of the three records, or neither.
    name = rng.choice([*RECORDS, "checks.bin", None]) or "data.bin"
    if name != "data.bin":
        content = files[f"data.bin.parity/{name}"]
        content[rng.randrange(len(content))] ^= rng.randrange(1, 256)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    try:
        parity.repair_file(path, backup=False)
        assert state(folder) == before
        assert parity.verify_file(path).intact
    finally:
        shutil.rmtree(folder)
