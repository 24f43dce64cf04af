"""Print the shell command that stands in README.md under the comment ``<!-- command: NAME -->``.

So that what is tested is what the reader is told to type.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def main() -> None:
    """Print the content of the fenced block that follows the comment.

    Raises:
        SystemExit: If README.md has not exactly one such block.
    """
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    name = re.escape(sys.argv[1])
    blocks = re.findall(rf"<!-- command: {name} -->\n+```sh\n(.*?)```", readme, re.DOTALL)
    if len(blocks) != 1:
        message = f"README.md has {len(blocks)} blocks for the command {sys.argv[1]}, not 1"
        raise SystemExit(message)
    print(blocks[0].strip())


if __name__ == "__main__":
    main()
