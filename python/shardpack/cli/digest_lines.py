"""The lines in which ``sha256sum``, ``b3sum`` and BSD's tools write digests."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from shardpack.hash import ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["DEFAULT", "DigestLine", "algorithm_of_name", "format_line", "parse_line", "read_lines"]

DEFAULT = "blake3"
"""The algorithm where neither the caller nor the line names one."""

# A path has at most 4096 bytes; what is longer than this is no line of digests.
_LONGEST_LINE = 1 << 16
_SKIPPED_PIECE = 1 << 20

_TAGS = {
    "blake3": "BLAKE3",
    "sha256": "SHA256",
    "keccak256": "KECCAK-256",
    "sha3_256": "SHA3-256",
    "crc32c": "CRC32C",
}
_CRC32C_DIGITS = 8
_HASH_DIGITS = 64

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_UNESCAPED = {escaped.encode(): plain.encode() for plain, escaped in _ESCAPES.items()}

_ESCAPED = rb"[ \t]*(?P<escaped>\\?)"
_DIGEST = rb"(?P<digest>[0-9A-Fa-f]+)"
_PLAIN = re.compile(_ESCAPED + _DIGEST + rb" [ *](?P<name>.+)", re.DOTALL)
_TAGGED = re.compile(
    _ESCAPED + rb"(?P<tag>[A-Za-z0-9_-]+) ?\((?P<name>.+)\) ?= ?" + _DIGEST + rb"[ \t]*", re.DOTALL
)
_ESCAPE = re.compile(rb"\\(.?)", re.DOTALL)


class DigestLine(NamedTuple):
    """One line.

    Attributes:
        name: Name of the file, not escaped.
        digest: What its digest should be.
        algorithm: The algorithm; ``None`` if the line leaves it open.
    """

    name: str
    digest: bytes
    algorithm: str | None


def algorithm_of_name(name: str) -> str | None:
    """Find an algorithm by any way to write its name: ``SHA3-256``, ``sha3_256``, ``Sha3256``."""
    return _ALGORITHMS.get(_plain(name))


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


_ALGORITHMS = {_plain(name): name for name in ALGORITHMS}
# What OpenSSL 3 calls it.
_ALGORITHMS["sha2256"] = "sha256"


def format_line(name: str, digest: bytes, algorithm: str, *, tag: bool) -> str:
    r"""Write a line, without its end.

    A name with a backslash or a line break is escaped, and a backslash at the start of the line
    says so.

    Args:
        name: Name of the file.
        digest: Its digest.
        algorithm: The algorithm, for the tag.
        tag: Whether to write ``BLAKE3 (name) = digest`` instead of ``digest  name``.

    Returns:
        The line; bytes of the name that are no text are surrogates, as ``os.fsdecode`` has them.
    """
    escaped = "".join(_ESCAPES.get(letter, letter) for letter in name)
    mark = "\\" if escaped != name else ""
    if tag:
        return f"{mark}{_TAGS[algorithm]} ({escaped}) = {digest.hex()}"
    return f"{mark}{digest.hex()}  {escaped}"


def read_lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Read lines of bounded length.

    Args:
        file: A buffered file.

    Yields:
        Each line without its end, ``None`` for one that is too long to be meant.
    """
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = file.readline(_SKIPPED_PIECE)
            yield None
        else:
            yield line.removesuffix(b"\n").removesuffix(b"\r")


def parse_line(line: bytes) -> DigestLine | None:
    """Read a line in either form.

    Args:
        line: The line without its end.

    Returns:
        What it says; ``None`` if it is not well-formed.
    """
    found = _TAGGED.fullmatch(line) or _PLAIN.fullmatch(line)
    if found is None:
        return None
    name = _unescape(found["name"]) if found["escaped"] else found["name"]
    digits = len(found["digest"])
    tag = found.groupdict().get("tag")
    if tag is not None:
        algorithm = algorithm_of_name(tag.decode("ascii"))
        known = algorithm is not None
    else:
        algorithm = "crc32c" if digits == _CRC32C_DIGITS else None
        known = True
    due = _CRC32C_DIGITS if algorithm == "crc32c" else _HASH_DIGITS
    if not known or digits != due or name is None or b"\0" in name:
        return None
    return DigestLine(os.fsdecode(name), bytes.fromhex(found["digest"].decode("ascii")), algorithm)


def _unescape(name: bytes) -> bytes | None:
    if any(match[0] not in _UNESCAPED for match in _ESCAPE.finditer(name)):
        return None
    return _ESCAPE.sub(lambda match: _UNESCAPED[match[0]], name)
