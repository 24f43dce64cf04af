"""What the CPU can do, and what of it is in use.

Kernels are chosen at run time. ``SHARDPACK_CPU`` caps the choice, to compare or to rule something
out: ``scalar``, ``ssse3``, ``avx2``, ``gfni``, ``avx512``, or ``neon`` on Arm. A level that the CPU
does not have, or that does not exist, is refused at import with ``BackendUnavailable``.

Example:
    >>> from shardpack import cpu_features
    >>> found = cpu_features()
    >>> found["level"] in found["levels"]
    True
"""

from __future__ import annotations

from typing import TypedDict

from shardpack._native import cpu_features

__all__ = ["CpuFeatures", "cpu_features"]


class CpuFeatures(TypedDict):
    """The answer of ``cpu_features``.

    Attributes:
        level: The level in use.
        levels: The levels that this CPU has, the lowest first.
        features: Names of CPU features, and whether kernels may use them.
        kernels: What is computed, and the name of the kernel that does it.
    """

    level: str
    levels: list[str]
    features: dict[str, bool]
    kernels: dict[str, str]
