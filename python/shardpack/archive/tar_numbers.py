"""Numbers in tar headers: octal digits, or the bytes of a number that needs more of them."""

from __future__ import annotations

from typing import Final

__all__ = ["MOST_SIZE", "read_number", "read_octal"]

MOST_SIZE: Final = 2**63 - 1
"""The largest size or offset that is believed."""

_BASE_256: Final = 0x80
_NEGATIVE_BASE_256: Final = 0xFF


def read_octal(field: bytes) -> int | None:
    """Read octal digits, up to a zero byte and with spaces around them; none are 0.

    Args:
        field: The bytes of the field.

    Returns:
        The number, ``None`` where the field holds something else.
    """
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    # `int` alone would also take signs, underscores and prefixes.
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        return None
    return int(digits, 8)


def read_number(field: bytes) -> int | None:
    """Read a size or an offset: octal digits, or base 256 behind a byte that says so.

    Args:
        field: The bytes of the field.

    Returns:
        The number; ``None`` where it is negative, above 2^63 - 1, or none at all.
    """
    if field[0] == _BASE_256:
        size = int.from_bytes(field[1:], "big")
        return size if size <= MOST_SIZE else None
    if field[0] == _NEGATIVE_BASE_256:
        return None
    return read_octal(field)
