"""Reed-Solomon: parity and lost shards, beside ISA-L and the Python packages.

``SHARDPACK_CPU=avx2`` and the like hold shardpack and ISA-L to the same instruction set.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import zfec
from pyeclib.ec_iface import ECDriver

from harness import Case, Contender, Report, parse_arguments
from isal_peer import Isal, load
from shardpack import cpu_features, rs

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

_CODES: Final = ((4, 2), (10, 4), (17, 3), (64, 32))
_KIB: Final = (4, 64, 1024)
#: Goals against ISA-L for one thread, by number of data shards.
_ENCODE_GOALS: Final = {"avx2": {4: 1.1, 10: 1.35, 17: 1.4, 64: 4.0}}
_WIDE_GOALS: Final = {4: 1.0, 10: 1.0, 17: 1.0, 64: 1.3}
_DECODE_GOALS: Final = {10: 1.3, 17: 2.0, 64: 2.0}
#: Goal against the best Python package.
_PACKAGE_GOAL: Final = 2.0
_SCALING_GOAL: Final = 0.9


class _Code:
    """Shards of one shape, with the coefficients of their parity.

    Args:
        data_shards: Shards of data, k.
        parity_shards: Shards of parity, m.
        kib: Length of each in KiB.
    """

    def __init__(self, data_shards: int, parity_shards: int, kib: int) -> None:
        self.k, self.m = data_shards, parity_shards
        rng = np.random.default_rng(data_shards * 1000 + kib)
        self.data = rng.integers(0, 256, (self.k, kib << 10), dtype=np.uint8)
        self.parity = np.zeros((self.m, kib << 10), dtype=np.uint8)
        rs.encode_into(self.data, self.parity)
        units = np.eye(self.k, dtype=np.uint8)
        rows = [np.frombuffer(row, np.uint8) for row in rs.encode(units, self.m)]
        self.rows = np.stack(rows)
        self.label = f"{self.k}+{self.m} x {kib} KiB"
        self.megabytes = self.data.nbytes / 1e6

    def case(self, name: str, *, goal: float | None, threads: int = 1) -> Case:
        return Case(name, self.label, self.megabytes, goal, threads=threads)


def _expect(name: str, result: Bytes, expected: Bytes) -> None:
    if not np.array_equal(result, expected):
        message = f"{name} returned a wrong result"
        raise RuntimeError(message)


def _encode(report: Report, code: _Code, isal: Isal | None) -> None:
    out = np.zeros_like(code.parity)
    contenders = [
        Contender("encode_into", partial(rs.encode_into, code.data, out, threads=1), ours=True)
    ]
    contenders[0].call()
    _expect("encode_into", out, code.parity)
    if isal is not None:
        theirs = np.zeros_like(code.parity)
        call = isal.coder(code.rows, list(code.data), list(theirs))
        call()
        _expect("ISA-L", theirs, code.parity)
        contenders.append(Contender("ISA-L", call))
        goals = _ENCODE_GOALS.get(cpu_features()["level"], _WIDE_GOALS)
        report.compare(code.case("rs encode into", goal=goals[code.k]), contenders)
    shards = [one.tobytes() for one in code.data]
    packages = {"zfec": _zfec(code, shards), "pyeclib": _pyeclib(code, shards)}
    report.compare(
        code.case("rs encode to new bytes", goal=_PACKAGE_GOAL),
        [
            Contender("encode", partial(rs.encode, shards, code.m, threads=1), ours=True),
            *(Contender(name, call) for name, call in packages.items()),
        ],
    )


def _zfec(code: _Code, shards: list[bytes]) -> Callable[[], object]:
    encoder = zfec.Encoder(code.k, code.k + code.m)
    wanted = tuple(range(code.k, code.k + code.m))
    return partial(encoder.encode, shards, wanted)


def _pyeclib(code: _Code, shards: list[bytes]) -> Callable[[], object]:
    # It cuts one buffer into shards itself, and copies them into its own fragments.
    driver = ECDriver(k=code.k, m=code.m, ec_type="isa_l_rs_vand_inv")
    return partial(driver.encode, b"".join(shards))


def _decode(report: Report, code: _Code, isal: Isal) -> None:
    lost = (1, code.k - 1)
    shards = [*code.data, *code.parity]
    # NumPy's types know the buffer protocol from Python 3.12 on.
    survivors: list[Any] = [None if index in lost else shard for index, shard in enumerate(shards)]
    out = np.zeros((2, code.data.shape[1]), dtype=np.uint8)
    ours = partial(rs.reconstruct_into, survivors, code.k, lost, out, threads=1)
    ours()
    _expect("reconstruct_into", out, code.data[list(lost)])
    theirs = np.zeros_like(out)
    used = [index for index, shard in enumerate(survivors) if shard is not None][: code.k]
    generator = np.concatenate([np.eye(code.k, dtype=np.uint8), code.rows])
    inputs = [shards[index] for index in used]

    def isal_decode() -> None:
        matrix = np.frombuffer(bytes(isal.inverse(generator[used])), np.uint8).reshape(
            code.k, code.k
        )
        isal.coder(matrix[list(lost)], inputs, list(theirs))()

    isal_decode()
    _expect("ISA-L", theirs, out)
    report.compare(
        code.case("rs rebuild 2 lost shards", goal=_DECODE_GOALS.get(code.k)),
        [
            Contender("reconstruct_into", ours, ours=True),
            Contender("ISA-L, with inversion", isal_decode),
        ],
    )


def _scaling(report: Report, code: _Code, threads: int) -> None:
    out = np.zeros_like(code.parity)
    report.compare(
        code.case(
            f"rs encode into, {threads} threads against 1",
            goal=_SCALING_GOAL * threads,
            threads=threads,
        ),
        [
            Contender(
                f"{threads} threads",
                partial(rs.encode_into, code.data, out, threads=threads),
                ours=True,
            ),
            Contender("1 thread", partial(rs.encode_into, code.data, out, threads=1)),
        ],
    )


def _run(arguments: argparse.Namespace) -> None:
    level = os.environ.get("SHARDPACK_CPU") or None
    isal = load(level)
    if isal is None:
        print("no ISA-L with these kernels was found: its rows are left out", file=sys.stderr)
    report = Report(f"rs at level {cpu_features()['level']}", arguments)
    sizes = _KIB[:1] if arguments.quick else _KIB
    for data_shards, parity_shards in _CODES:
        for kib in sizes:
            code = _Code(data_shards, parity_shards, kib)
            _encode(report, code, isal)
            if isal is not None:
                _decode(report, code, isal)
            if kib == sizes[-1] and arguments.threads > 1:
                _scaling(report, code, arguments.threads)
    report.finish()


if __name__ == "__main__":
    _run(parse_arguments("erasure coding against the other packages"))
