"""The record of a parity group, ``group.json``: what there was, as it was made.

The format is ``shardpack-parity/1``, applied to one file: its data shards are consecutive parts of
that file, told apart by ``offset``. A record is untrusted: it is checked whole before anything is
done with it, and no name in it leads out of its folder.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from shardpack.errors import InvalidInput

__all__ = [
    "CHECKS_NAME",
    "DIGEST_BYTES",
    "MAX_BLOCKS",
    "MAX_COLUMN_BYTES",
    "Group",
    "check_block",
    "default_block",
    "parity_name",
]

CHECKS_NAME = "checks.bin"
DIGEST_BYTES = 32
# Bounds on what a record may ask for: bytes of one block of every shard, and blocks of a shard.
MAX_COLUMN_BYTES = 1 << 30
MAX_BLOCKS = 1 << 20

_FORMAT = "shardpack-parity/1"
_CODE = "rs-gf8-11d-vandermonde"
_MAX_SHARDS = 256
_MAX_SIZE = 1 << 62
_SMALLEST_BLOCK = 4 << 10
_LARGEST_BLOCK = 4 << 20
_BLOCKS_WANTED = 4096


def parity_name(index: int) -> str:
    """Name the file of a parity shard."""
    return f"p-{index:03d}.rs"


def default_block(shard_len: int) -> int:
    """Choose a block: small, so that little is lost with a bad sector, but not too many."""
    block = _SMALLEST_BLOCK
    while block < _LARGEST_BLOCK and block * _BLOCKS_WANTED < shard_len:
        block *= 2
    return block


def check_block(block: int, shard_len: int, shards: int) -> None:
    """Refuse blocks that take too much memory, or too many of them.

    Raises:
        InvalidInput: The text says what would do.
    """
    if block < 1:
        raise InvalidInput(f"a block of {block} bytes: at least one is needed")
    if min(block, shard_len) * shards > MAX_COLUMN_BYTES:
        raise InvalidInput(
            f"a block of {block} bytes is too large for {shards} shards,"
            f" at most {MAX_COLUMN_BYTES // shards} will do"
        )
    if -(-shard_len // block) > MAX_BLOCKS:
        raise InvalidInput(
            f"a block of {block} bytes is too small for shards of {shard_len} bytes,"
            f" at least {-(-shard_len // MAX_BLOCKS)} will do"
        )


class Group(NamedTuple):
    """One file, cut into data shards, and its parity shards.

    Attributes:
        name: Name of the file, without a folder.
        size: Its length in bytes.
        data_shards: Number of data shards, k: consecutive parts of the file.
        parity_shards: Number of parity shards, m: files of their own.
        block: Bytes of a block; each has a digest in ``checks.bin``.
        digests: BLAKE3 of every shard, data first.
        checks_digest: BLAKE3 of ``checks.bin``.
    """

    name: str
    size: int
    data_shards: int
    parity_shards: int
    block: int
    digests: tuple[bytes, ...]
    checks_digest: bytes

    @property
    def shard_len(self) -> int:
        """Bytes of every parity shard, and of the longest data shard."""
        return -(-self.size // self.data_shards)

    @property
    def total(self) -> int:
        """Number of shards."""
        return self.data_shards + self.parity_shards

    @property
    def block_count(self) -> int:
        """Number of blocks of every shard; the last ones of short shards may be empty."""
        return -(-self.shard_len // self.block)

    @property
    def checks_len(self) -> int:
        """Bytes of ``checks.bin``."""
        return self.total * self.block_count * DIGEST_BYTES

    def offset(self, index: int) -> int:
        """Tell where in its file a shard begins."""
        return min(index * self.shard_len, self.size) if index < self.data_shards else 0

    def length(self, index: int) -> int:
        """Tell how many bytes of a shard are stored; what the code takes beyond them is zeros."""
        if index < self.data_shards:
            return min(self.shard_len, self.size - self.offset(index))
        return self.shard_len

    def stored(self, index: int, start: int, end: int) -> int:
        """Tell how many of the bytes from ``start`` to ``end`` of a shard are stored."""
        return max(0, min(end, self.length(index)) - start)

    def file_name(self, index: int) -> str:
        """Name the file that a shard is in."""
        return self.name if index < self.data_shards else parity_name(index)

    def to_json(self) -> bytes:
        """Write the record."""
        data = [
            {**self._member(index), "offset": self.offset(index)}
            for index in range(self.data_shards)
        ]
        record = {
            "format": _FORMAT,
            "code": _CODE,
            "k": self.data_shards,
            "m": self.parity_shards,
            "shard_len": self.shard_len,
            "block": self.block,
            "data": data,
            "parity": [self._member(index) for index in range(self.data_shards, self.total)],
            "checks": {"key": CHECKS_NAME, "b3": self.checks_digest.hex()},
        }
        return json.dumps(record, indent=1).encode() + b"\n"

    def _member(self, index: int) -> dict[str, object]:
        return {
            "index": index,
            "key": self.file_name(index),
            "size_bytes": self.length(index),
            "b3": self.digests[index].hex(),
        }

    @classmethod
    def from_json(cls, text: bytes) -> Group:
        """Read a record and check everything in it.

        Args:
            text: The bytes of ``group.json``.

        Returns:
            The group.

        Raises:
            InvalidInput: It is no record of one file; the text names the field.
        """
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            raise InvalidInput("the record is no JSON") from None
        if not isinstance(record, dict):
            raise InvalidInput("the record is no JSON object")
        for field, due in (("format", _FORMAT), ("code", _CODE)):
            if record.get(field) != due:
                raise InvalidInput(f"{field} is {_shown(record.get(field))}, not {due!r}")
        data = _list(record, "data")
        parity = _list(record, "parity")
        shards = [*data, *parity]
        name = data[0].get("key") if data else None
        group = cls(
            name=_plain_name(name),
            size=sum(_number(shard, "size_bytes") for shard in data),
            data_shards=_number(record, "k"),
            parity_shards=_number(record, "m"),
            block=_number(record, "block"),
            digests=tuple(_digest(shard) for shard in shards),
            checks_digest=_digest(_object(record.get("checks"), "checks")),
        )
        group._check(record, shards)
        return group

    def _check(self, record: dict[str, Any], shards: list[dict[str, Any]]) -> None:
        if self.data_shards != len(record["data"]) or self.parity_shards != len(record["parity"]):
            raise InvalidInput(
                f"k={self.data_shards} and m={self.parity_shards} do not go with"
                f" {len(record['data'])} data and {len(record['parity'])} parity shards"
            )
        if not (self.data_shards and self.parity_shards and self.total <= _MAX_SHARDS):
            raise InvalidInput(f"{self.data_shards}+{self.parity_shards} shards make no code")
        if not 0 < self.size < _MAX_SIZE:
            raise InvalidInput(f"the data shards have {self.size} bytes together")
        check_block(self.block, self.shard_len, self.total)
        if _number(record, "shard_len") != self.shard_len:
            raise InvalidInput(
                f"shard_len is {record['shard_len']}, {self.size} bytes in"
                f" {self.data_shards} shards make {self.shard_len}"
            )
        if record["checks"].get("key") != CHECKS_NAME:
            raise InvalidInput(f"the key of checks is not {CHECKS_NAME!r}")
        for index, shard in enumerate(shards):
            due = self._member(index)
            if index < self.data_shards:
                due["offset"] = self.offset(index)
            for field, value in due.items():
                found = shard.get(field)
                if type(found) is not type(value) or found != value:
                    raise InvalidInput(
                        f"{field} of shard {index} is {_shown(found)}, not {value!r}"
                    )


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."  # noqa: PLR2004 - fits a line


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{what} is no JSON object")
    return value


def _list(record: dict[str, Any], field: str) -> list[dict[str, Any]]:
    value = record.get(field)
    if not isinstance(value, list) or len(value) > _MAX_SHARDS:
        raise InvalidInput(f"{field} is no list of at most {_MAX_SHARDS} shards")
    return [_object(shard, f"{field}[{index}]") for index, shard in enumerate(value)]


def _number(record: dict[str, Any], field: str) -> int:
    value = record.get(field)
    if type(value) is not int or not 0 <= value < _MAX_SIZE:
        raise InvalidInput(f"{field} is {_shown(value)}, not a number of bytes or shards")
    return value


def _digest(record: dict[str, Any]) -> bytes:
    value = record.get("b3")
    if isinstance(value, str) and len(value) == 2 * DIGEST_BYTES and value == value.lower():
        try:
            digest = bytes.fromhex(value)
        except ValueError:
            digest = b""
        if len(digest) == DIGEST_BYTES:
            return digest
    raise InvalidInput(f"b3 is {_shown(value)}, not 64 hexadecimal digits")


def _plain_name(name: object) -> str:
    if not isinstance(name, str) or name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise InvalidInput(f"key {_shown(name)} is no plain file name")
    return name
