"""``shardpack parity``: the folder of its verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardpack.cli import arguments, parity_encode, parity_repair, parity_verify

if TYPE_CHECKING:
    from shardpack.cli.arguments import Verbs

__all__ = ["add_parser"]

_EXAMPLES = """\
  shardpack parity encode backup.tar       10 parts of it get 4 parity shards: +40 % of space
  shardpack parity verify backup.tar       is every byte still what it was?
  shardpack parity repair backup.tar       rebuild what is not

how much can be lost:
  backup.tar is taken as k parts of equal length, untouched; backup.tar.parity holds m more of that
  length. All of them are cut into blocks, and in each column - the i-th blocks of all - any m may
  be damaged: flipped bits, bad sectors, a part that was cut off, a parity file that is gone. With
  m >= k even all of backup.tar may be. Bytes that were inserted or removed shift what follows and
  damage all of that.

    backup.tar         |  0  |  1  |  2  | ... |  9  |     k = 10 parts
    backup.tar.parity  | 10  | 11  | 12  | 13  |           m = 4 parity shards
                         ^ a column: the same block of all 14, any 10 give back the others
"""


def add_parser(verbs: Verbs) -> None:
    """Describe the verb."""
    parser = arguments.new_parser(
        verbs, "parity", "Make files survive damage: write parity, check, repair.", _EXAMPLES
    )
    inner = parser.add_subparsers(metavar="COMMAND", required=True)
    for verb in (parity_encode, parity_verify, parity_repair):
        verb.add_parser(inner)
