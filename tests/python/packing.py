"""Packed files to test with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import shardpack
from inputs import make
from shardpack import (
    compress_file,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CHUNK", "CONTAINERS", "DATA", "names", "packed", "sidecar_of"]

DATA = make("lines", 200_000) + make("noise", 100_000)
CHUNK = 30_000
CONTAINERS = ["s4", "zst", "gz"]


def packed(source: Path, **options: Any) -> Path:
    report = compress_file(source, **{"chunk_size": CHUNK, **options})
    assert report.destination is not None
    return source.parent / os.path.basename(report.destination)


def sidecar_of(path: Path) -> Path:
    return path.with_name(path.name + shardpack.SIDECAR_SUFFIX)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
