"""ISA-L through ctypes: the fastest erasure coder that a Python user can get at, as a peer.

The wheel of pyeclib carries a recent one (with GFNI kernels); a system library is taken otherwise.
Its own matrices give other parity bytes, and one of them loses data, so it is given ours.
"""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

__all__ = ["LEVELS", "Isal", "load"]

#: What ``SHARDPACK_CPU`` calls the instruction sets of ISA-L's kernels.
LEVELS: Final = {
    "scalar": "base",
    "ssse3": "sse",
    "avx2": "avx2",
    "gfni": "avx2_gfni",
    "avx512": "avx512_gfni",
}
#: Bytes of the table that stands for one coefficient.
_TABLE_LEN: Final = 32


def load(level: str | None = None) -> Isal | None:
    """Open the library.

    Args:
        level: A key of ``LEVELS`` whose kernels are to be used; the best ones if None.

    Returns:
        The library, or None if there is none here, or none with these kernels.
    """
    for path in _candidates():
        try:
            return Isal(ctypes.CDLL(path), level)
        except (OSError, AttributeError):
            continue
    return None


def _candidates() -> list[str]:
    found = find_spec("pyeclib")
    bundled: list[str] = []
    if found is not None and found.origin is not None:
        folder = Path(found.origin).parent.parent / "pyeclib.libs"
        bundled = [str(path) for path in folder.glob("libisal*")]
    return [*bundled, "libisal.so.2"]


class Isal:
    """The calls that a bench needs.

    Args:
        library: The opened library.
        level: As for ``load``.
    """

    def __init__(self, library: ctypes.CDLL, level: str | None) -> None:
        suffix = f"_{LEVELS[level]}" if level else ""
        self._encode = getattr(library, f"ec_encode_data{suffix}")
        gfni = bool(level) and LEVELS[level or ""].endswith("gfni")
        base = "_base" if level else ""
        self._tables = getattr(library, "ec_init_tables_gfni" if gfni else f"ec_init_tables{base}")
        self._invert = library.gf_invert_matrix
        for call in (self._encode, self._tables, self._invert):
            call.restype = None

    def coder(self, rows: Bytes, inputs: Sequence[Bytes], outputs: Sequence[Bytes]) -> Coder:
        """Prepare ``outputs[j] = sum of rows[j][i] * inputs[i]`` over GF(2^8).

        Args:
            rows: Coefficients, one row for each output.
            inputs: Arrays of equal length.
            outputs: Arrays of that length, to be written.
        """
        return Coder(self._encode, self.tables(rows), inputs, outputs)

    def tables(self, rows: Bytes) -> ctypes.Array[ctypes.c_char]:
        """Expand coefficients to what the kernels read."""
        count, width = rows.shape
        tables = ctypes.create_string_buffer(_TABLE_LEN * count * width)
        self._tables(width, count, rows.tobytes(), tables)
        return tables

    def inverse(self, matrix: Bytes) -> ctypes.Array[ctypes.c_char]:
        """Invert a square matrix; it must have an inverse."""
        size = len(matrix)
        result = ctypes.create_string_buffer(size * size)
        self._invert(ctypes.create_string_buffer(matrix.tobytes()), result, size)
        return result


class Coder:
    """One prepared call, without work in Python but the call itself."""

    def __init__(
        self,
        encode: ctypes._NamedFuncPointer,
        tables: ctypes.Array[ctypes.c_char],
        inputs: Sequence[Bytes],
        outputs: Sequence[Bytes],
    ) -> None:
        self._encode, self._tables = encode, tables
        self._kept = (inputs, outputs)
        self._size = len(inputs[0])
        self._inputs = (ctypes.c_void_p * len(inputs))(*(one.ctypes.data for one in inputs))
        self._outputs = (ctypes.c_void_p * len(outputs))(*(one.ctypes.data for one in outputs))

    def __call__(self) -> None:
        """Write the outputs."""
        self._encode(
            self._size,
            len(self._inputs),
            len(self._outputs),
            self._tables,
            self._inputs,
            self._outputs,
        )
