"""Archives that other programs make: GNU tar, gzip, zstd, Python's tarfile, pgzip."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pgzip
import pytest

from inputs import make
from shardpack import CpuZstd, FrameWriter, Passthrough

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["SMALL", "compress", "folder_of", "gnu_tar", "large", "python_tar", "read_by_tarfile"]

# Sizes around those of blocks, names that fit into no field.
SMALL: dict[str, bytes] = {
    "a.txt": b"hello\n",
    "empty": b"",
    "block": make("noise", 512),
    "short/of/a/block": make("lines", 511),
    "more/than/a/block": make("lines", 513),
    "d" * 90 + "/" + "n" * 90: b"prefix",
    "deep/" * 60 + "long-name": make("events", 70_000),
    "bücher/日本.bin": make("noise", 3_000, "b"),
    "last": make("lines", 20_000),
}


def large(count: int = 300, size: int = 20_000) -> dict[str, bytes]:
    """Members of several kinds of bytes, some megabytes in all."""
    kinds = ("noise", "lines", "events", "zeros", "u32col")
    return {
        f"part-{number // 50}/item-{number:05d}.bin": make(
            kinds[number % len(kinds)], size + number * 7, str(number)
        )
        for number in range(count)
    }


def python_tar(members: Mapping[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar by Python's tarfile."""
    stored = io.BytesIO()
    with tarfile.open(fileobj=stored, mode="w", format=form) as archive:
        for path, data in members.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stored.getvalue()


def folder_of(members: Mapping[str, bytes], folder: Path) -> Path:
    """The members as files below ``folder``."""
    for path, data in members.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


def gnu_tar(folder: Path, *options: str) -> bytes:
    """A tar of what is below a folder, by the ``tar`` command."""
    names = sorted(path.name for path in folder.iterdir())
    return run("tar", "-C", str(folder), "--sort=name", *options, "-cf", "-", *names)


def run(program: str, *arguments: str, data: bytes = b"") -> bytes:
    """Run a command of the system; the test is skipped where there is none."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([found, *arguments], input=data, capture_output=True, check=True)
    return done.stdout


def compress(tar: bytes, how: str) -> bytes:
    """Compress a tar in the way of some program."""
    ways: dict[str, Any] = {
        "plain": lambda: tar,
        "gzip -1": lambda: run("gzip", "-1", "-c", data=tar),
        "gzip -9": lambda: run("gzip", "-9", "-c", data=tar),
        "tarfile w:gz": lambda: gzip.compress(tar, 6),
        "gzip stored": lambda: gzip.compress(tar, 0),
        "gzip members": lambda: b"".join(
            gzip.compress(tar[at : at + 200_000]) for at in range(0, len(tar), 200_000)
        ),
        "pgzip": lambda: pgzip.compress(tar, blocksize=300_000, thread=2),
        "tarfile w:bz2": lambda: bz2.compress(tar),
        "bzip2 streams": lambda: bz2.compress(tar[:70_000]) + bz2.compress(tar[70_000:]),
        "tarfile w:xz": lambda: lzma.compress(tar, preset=1),
        "xz streams": lambda: (
            lzma.compress(tar[:70_000], preset=0) + bytes(8) + lzma.compress(tar[70_000:], preset=0)
        ),
        "zstd": lambda: run("zstd", "-c", "-q", data=tar),
        "zstd stream": lambda: run("zstd", "-c", "-q", "--no-check", data=tar),
        "zstd frames": lambda: b"".join(
            CpuZstd(content_size=True).compress(tar[at : at + 300_000])[0]
            for at in range(0, len(tar), 300_000)
        ),
        "s4": lambda: _frames(tar),
        "s4 plain": lambda: _frames(tar, passthrough=True),
    }
    stored: bytes = ways[how]()
    return stored


def _frames(tar: bytes, *, passthrough: bool = False) -> bytes:
    stored = io.BytesIO()
    codec = Passthrough() if passthrough else CpuZstd()
    with FrameWriter(stored, codec=codec, chunk_size=300_000) as writer:
        writer.write(tar)
    return stored.getvalue()


def read_by_tarfile(tar: bytes) -> dict[str, bytes]:
    """What Python's tarfile finds in a tar: its files."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        found = {}
        for info in archive:
            file = archive.extractfile(info) if info.isreg() else None
            if file is not None:
                found[info.name] = file.read()
        return found
