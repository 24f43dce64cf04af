"""Where the record of a group is kept: twice, beside a digest, so that it survives rot itself.

``group.json`` is the record, ``group.copy.json`` its copy, and ``group.b3`` their BLAKE3 in the
form of ``b3sum``. Any one of the three may be lost or damaged.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import NamedTuple

from shardpack.atomic import AtomicFile
from shardpack.errors import InvalidInput
from shardpack.hash import blake3
from shardpack.parity.group import Group
from shardpack.parity.media import open_for_reading, place_of

__all__ = ["COPY_NAME", "RECORD_NAME", "SUM_NAME", "Record", "publish_record", "read_record"]

RECORD_NAME = "group.json"
COPY_NAME = "group.copy.json"
SUM_NAME = "group.b3"

# 256 shards with names of 255 bytes, all of them escaped, take half of this.
_MAX_RECORD_BYTES = 1 << 20
_HEX_DIGITS = 64


class Record(NamedTuple):
    """What was found.

    Attributes:
        group: The group.
        text: The bytes of the record.
        damaged: Names of the files, of the three, that are lost or say something else.
        confirmed: Whether at least two of them agree. Otherwise the only one that makes sense is
            believed where every shard agrees with it.
    """

    group: Group
    text: bytes
    damaged: tuple[str, ...]
    confirmed: bool


def publish_record(
    folder: str,
    text: bytes,
    names: tuple[str, ...] | None = None,
    *,
    attributes_of: os.stat_result | None = None,
) -> None:
    """Write the record, ``group.json`` last: with it the group is complete.

    Args:
        folder: Where to.
        text: The bytes of the record.
        names: Which of the three files to write; all when ``None``.
        attributes_of: Take permission bits and the like from this.
    """
    contents = {COPY_NAME: text, SUM_NAME: _sum_line(text), RECORD_NAME: text}
    for name, content in contents.items():
        if names is None or name in names:
            path = place_of(folder, name)
            with AtomicFile(path, overwrite=True, attributes_of=attributes_of) as target:
                target.file.write(content)
                target.publish()


def read_record(folder: str) -> Record:
    """Read the record, or what is left of it.

    Args:
        folder: Where it is.

    Returns:
        The record that its digest or its copy confirms; else the only one that makes sense.

    Raises:
        FileNotFoundError: There is no record.
        InvalidInput: What there is makes no sense, or there are two and nothing tells them apart.
    """
    texts = {name: _read(folder, name) for name in (RECORD_NAME, COPY_NAME)}
    digest = _read(folder, SUM_NAME)[:_HEX_DIGITS]
    confirmed = [text for text in texts.values() if blake3(text).hex().encode() == digest]
    record, copy = texts.values()
    if record == copy:
        confirmed.append(record)
    problem: InvalidInput | None = None
    readable = []
    for text in dict.fromkeys([*confirmed, record, copy]):
        try:
            readable.append((Group.from_json(text), text))
        except InvalidInput as error:
            problem = problem or error
    if not readable:
        if not record and not copy:
            # As nobody could open it, if that is why.
            os.close(os.open(os.path.join(folder, RECORD_NAME), os.O_RDONLY | os.O_NONBLOCK))
        raise problem or InvalidInput("there is no record")
    group, text = readable[0]
    if text not in confirmed and len(readable) > 1:
        raise InvalidInput(
            f"{RECORD_NAME} and {COPY_NAME} differ and {SUM_NAME} confirms neither:"
            " remove the one that is wrong"
        )
    due = {RECORD_NAME: text, COPY_NAME: text, SUM_NAME: _sum_line(text)}
    damaged = tuple(name for name in due if _read(folder, name) != due[name])
    return Record(group, text, damaged, confirmed=text in confirmed)


def _sum_line(text: bytes) -> bytes:
    return f"{blake3(text).hex()}  {RECORD_NAME}\n".encode()


def _read(folder: str, name: str) -> bytes:
    with suppress(OSError):
        descriptor = open_for_reading(os.path.join(folder, name))
        if descriptor is None:
            return b""
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                text = os.read(descriptor, _MAX_RECORD_BYTES + 1)
                return text if len(text) <= _MAX_RECORD_BYTES else b""
        finally:
            os.close(descriptor)
    return b""
