"""Finds an interpreter that runs ``s3exchange`` 0.1.1, the peer of the exchange store.

It needs Python 3.12 or later, which the tests themselves need not have. So it gets an environment
of its own in a cache, and is run as another process.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["VARIABLE", "existing_python", "peer_python"]

_VERSION: Final = "0.1.1"
_OLDEST: Final = (3, 12)
#: Set this to an interpreter that has the package to leave the network out of it.
VARIABLE: Final = "SHARDPACK_BENCH_S3EXCHANGE"


def _folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "shardpack-bench" / f"s3exchange-{_VERSION}"


def _candidates() -> Iterator[str]:
    yield sys.executable
    for minor in range(_OLDEST[1], _OLDEST[1] + 4):
        name = f"python3.{minor}"
        if found := shutil.which(name):
            yield found
        yield from glob.glob(str(Path.home() / f".pyenv/versions/3.{minor}.*/bin/python3"))
        yield from glob.glob(f"/opt/{name}*/bin/{name}")


def _is_new_enough(python: str) -> bool:
    # A shim on PATH may exist without the interpreter behind it, a Debian one without `venv`.
    code = f"import ensurepip, sys; sys.exit(sys.version_info < {_OLDEST})"
    done = subprocess.run([python, "-c", code], capture_output=True, check=False)
    return done.returncode == 0


def existing_python() -> Path | None:
    """Find an interpreter that was set up before, without the network.

    Returns:
        Its path; ``None`` where there is none yet.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given)
    folder = _folder()
    return folder / "bin" / "python" if (folder / "complete").exists() else None


def peer_python() -> Path:
    """Find an interpreter with the peer, or set one up from PyPI the first time.

    Returns:
        Its path.

    Raises:
        FileNotFoundError: There is no Python of 3.12 or later here.
    """
    if found := existing_python():
        return found
    base = next(filter(_is_new_enough, _candidates()), None)
    if base is None:
        raise FileNotFoundError(f"s3exchange {_VERSION} needs Python 3.12 or later, none was found")
    folder = _folder()
    subprocess.run([base, "-m", "venv", "--clear", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [str(python), "-m", "pip", "install", "-q", f"s3exchange=={_VERSION}"], check=True
    )
    (folder / "complete").touch()
    return python


if __name__ == "__main__":
    sys.stdout.write(f"{peer_python()}\n")
