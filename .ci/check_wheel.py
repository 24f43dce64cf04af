"""Check a built wheel: its tag, its size, its version and what is in it.

Usage: check_wheel.py PLATFORM WHEEL, where PLATFORM is for example ``manylinux_2_28``.
"""

from __future__ import annotations

import platform
import sys
import tomllib
import zipfile
from pathlib import Path

#: A package that people install into small images.
SIZE_LIMIT = 10_000_000
NEEDED = ("__init__.py", "_native.abi3.so", "_native.pyi", "cli/__init__.py", "py.typed")


def main() -> None:
    """Check the wheel, then print one line about it."""
    wheel_platform, path = sys.argv[1], Path(sys.argv[2])
    cargo = tomllib.loads((Path(__file__).parent.parent / "Cargo.toml").read_text())
    version = cargo["package"]["version"]
    expected = f"shardpack-{version}-cp311-abi3-{wheel_platform}_{platform.machine()}.whl"
    assert path.name == expected, f"expected {expected}, got {path.name}"
    size = path.stat().st_size
    assert size < SIZE_LIMIT, f"{path.name} has {size} bytes, the limit is {SIZE_LIMIT}"
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        info = f"shardpack-{version}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
        library = archive.getinfo("shardpack/_native.abi3.so").file_size
    missing = {f"shardpack/{name}" for name in NEEDED} | {f"{info}/licenses/LICENSE"}
    missing -= names
    assert not missing, f"not in the wheel: {sorted(missing)}"
    strays = {name for name in names if not name.startswith(("shardpack/", f"{info}/"))}
    assert not strays, f"strays in the wheel: {sorted(strays)}"
    assert f"\nVersion: {version}\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    print(f"{path.name}: {size / 1e6:.2f} MB, library {library / 1e6:.2f} MB, {len(names)} files")


if __name__ == "__main__":
    main()
