"""Files with parity, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inputs import make
from shardpack import parity

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DATA", "RECORDS", "encoded", "flip", "shards_of", "state"]

DATA = make("noise", 123_457)
RECORDS = ("group.json", "group.copy.json", "group.b3")


def state(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def encoded(folder: Path, data: bytes = DATA, *args: Any, **options: Any) -> Path:
    path = folder / "data.bin"
    path.write_bytes(data)
    report = parity.encode_file(path, *args, **options)
    assert report.intact
    return path


def shards_of(path: Path) -> Path:
    return path.with_name(path.name + ".parity")


def flip(path: Path, *places: int) -> None:
    content = bytearray(path.read_bytes())
    for place in places:
        content[place] ^= 0x55
    path.write_bytes(content)
