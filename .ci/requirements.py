"""Print the requirements of the extras named on the command line, from pyproject.toml."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def main() -> None:
    """Print one requirement a line, without repetitions."""
    pyproject = Path(__file__).parent.parent / "pyproject.toml"
    extras = tomllib.loads(pyproject.read_text())["project"]["optional-dependencies"]
    print("\n".join(sorted({line for extra in sys.argv[1:] for line in extras[extra]})))


if __name__ == "__main__":
    main()
