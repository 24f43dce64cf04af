"""Arguments of public calls that are refused before anything is done, in one readable line."""

from __future__ import annotations

import operator

__all__ = ["require_whole_number"]


def require_whole_number(name: str, value: object, *, least: int | None = None) -> int:
    """Refuse what is no whole number.

    Args:
        name: What the number is called.
        value: An ``int``, or what stands for one, such as a NumPy integer.
        least: The least that it may be.

    Returns:
        The number.

    Raises:
        TypeError: It is no number, has a fraction, or is a ``bool``.
        ValueError: It is too small.
    """
    try:
        # A bool counts as an int in Python, and is always a slip where a number is meant.
        if isinstance(value, bool):
            raise TypeError  # noqa: TRY301 - told below, like the others
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an int, got {value!r}") from None
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number
