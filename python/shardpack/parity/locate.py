"""Finding the parity of a file, and the file of a parity."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from shardpack.parity.record import read_record

if TYPE_CHECKING:
    from shardpack.parity.record import Record

__all__ = ["FOLDER_SUFFIX", "Located", "locate"]

FOLDER_SUFFIX = ".parity"


class Located(NamedTuple):
    """A file with parity.

    Attributes:
        path: The file, which may be missing.
        folder: Where its parity is.
        record: What the parity says about it.
    """

    path: str
    folder: str
    record: Record


def locate(path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> Located:
    """Find file, parity and record.

    Args:
        path: The file, or the folder with its parity.
        folder: The folder with its parity; ``path`` with the suffix ``.parity`` when ``None``.

    Returns:
        Both paths, and the record.

    Raises:
        FileNotFoundError: There is no record.
        InvalidInput: What there is makes no sense.
    """
    name = os.fspath(path)
    if folder is not None:
        where = os.fspath(folder)
        return Located(name, where, read_record(where))
    if not os.path.isdir(name):
        where = name + FOLDER_SUFFIX
        return Located(name, where, read_record(where))
    where = name.rstrip(os.sep) or name
    record = read_record(where)
    stem = where.removesuffix(FOLDER_SUFFIX)
    # The folder's own name decides: a file may have been renamed with it, and a record from
    # elsewhere must not choose what is written beside it.
    if stem != where and os.path.basename(stem):
        return Located(stem, where, record)
    beside = (
        os.path.dirname(os.path.abspath(where))
        if where in {".", ".."}
        else (os.path.dirname(where))
    )
    return Located(os.path.join(beside, record.group.name), where, record)
