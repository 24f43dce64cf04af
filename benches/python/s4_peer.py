"""Finds ``s4_codec`` 1.5.1, the peer of the object benches.

Its only wheel asks for glibc 2.39, newer than many machines have, for two symbols that it can do
without. So it is unpacked into a cache, and that demand is marked as weak in the copy.
"""

from __future__ import annotations

import importlib
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Final

__all__ = ["import_s4_codec"]

_VERSION: Final = "1.5.1"
#: Set this to a folder with an unpacked copy that runs here to leave the network out of it.
_VARIABLE: Final = "SHARDPACK_BENCH_S4_CODEC"
_GLIBC: Final = b"GLIBC_2.39"
#: VER_FLG_WEAK of the dynamic loader: a version that may be missing.
_WEAK: Final = 2


def _elf_hash(name: bytes) -> int:
    """The hash by which an ELF file names a symbol version."""
    value = 0
    for byte in name:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high
    return value


def _weaken(library: Path) -> None:
    """Mark the demand for the new C library as one that may stay unmet.

    Args:
        library: The extension module, changed in place.

    Raises:
        ImportError: If the demand is not there just once.
    """
    content = library.read_bytes()
    demand = struct.pack("<IH", _elf_hash(_GLIBC), 0)
    if content.count(demand) != 1:
        message = f"{library} does not look like the module of s4-codec {_VERSION}"
        raise ImportError(message)
    weak = struct.pack("<IH", _elf_hash(_GLIBC), _WEAK)
    library.write_bytes(content.replace(demand, weak))


def _unpacked() -> Path:
    given = os.environ.get(_VARIABLE)
    if given:
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "shardpack-bench" / f"s4_codec-{_VERSION}"
    complete = folder / "complete"
    if not complete.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(folder)]
        platform = ["--only-binary", ":all:", "--platform", "manylinux_2_39_x86_64"]
        subprocess.run([*pip, *platform, f"s4-codec=={_VERSION}"], check=True)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            wheel.extractall(folder)
        _weaken(folder / "s4_codec" / "s4_codec.abi3.so")
        complete.touch()
    return folder


def import_s4_codec() -> Any:  # noqa: ANN401 - the package has no types
    """Import ``s4_codec``, from PyPI the first time.

    Returns:
        The module.

    Raises:
        ImportError: If the folder holds no copy that runs here, or another version.
    """
    sys.path.append(str(_unpacked()))
    module = importlib.import_module("s4_codec")
    if module.__version__ != _VERSION:
        message = f"s4_codec {_VERSION} is the peer, found {module.__version__}"
        raise ImportError(message)
    return module


if __name__ == "__main__":
    import_s4_codec()
    sys.stdout.write(f"{_unpacked()}\n")
