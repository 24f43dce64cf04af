"""``python -m shardpack`` is the ``shardpack`` command."""

from __future__ import annotations

import sys

from shardpack.cli import main

if __name__ == "__main__":
    sys.exit(main())
