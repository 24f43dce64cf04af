"""Sizes and ranges as people write them."""

from __future__ import annotations

import argparse
import re

__all__ = ["byte_range", "counted", "format_ratio", "format_size", "size"]

_UNITS = "KMGT"
_SIZE = re.compile(r"([0-9]+)(?:([KMGT])(?:i?B)?|B)?", re.IGNORECASE)
_KIBI = 1024


def size(text: str) -> int:
    """Read a number of bytes: ``4096``, ``64K``, ``4M``, ``1GiB``; the units are binary."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 4096, 64K, 4M or 1G")
    power = " KMGT".index((found[2] or " ").upper())
    count: int = int(found[1]) * _KIBI**power
    return count


def byte_range(text: str) -> tuple[int | None, int | None]:
    """Read a half-open range like a Python slice: ``10:20``, ``1M:2M``, ``:64K``, ``-1K:``."""
    start, colon, end = text.partition(":")
    if not colon or ":" in end:
        raise argparse.ArgumentTypeError(f"{text!r} is no range; write START:END, :END or -COUNT:")
    return _bound(start), _bound(end)


def _bound(text: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    return -size(text[1:]) if text.startswith("-") else size(text)


def format_size(count: int | None) -> str:
    """Write a number of bytes for people."""
    if count is None:
        return "?"
    if count < _KIBI:
        return f"{count} B"
    amount = float(count)
    for unit in _UNITS:
        amount /= _KIBI
        if amount < _KIBI or unit == _UNITS[-1]:
            break
    return f"{amount:.1f} {unit}iB"


def counted(count: int, what: str) -> str:
    """Write how many there are: ``1 shard``, ``2 shards``, ``2 entries``."""
    many = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{count} {what if count == 1 else many}"


def format_ratio(ratio: float | None) -> str:
    """Write a compression ratio."""
    return "?" if ratio is None else f"{ratio:.2f}"
