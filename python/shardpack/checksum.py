"""CRC32C (Castagnoli), the checksum of S4 frames and of S3's ``x-amz-checksum-crc32c``.

Example:
    >>> from shardpack import crc32c, crc32c_base64, crc32c_combine, crc32c_many
    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    >>> crc32c(b"456789", crc32c(b"123")) == crc32c(b"123456789")
    True
    >>> crc32c_combine(crc32c(b"123"), crc32c(b"456789"), 6) == crc32c(b"123456789")
    True
    >>> crc32c_many([b"123456789", b""])
    [3808858755, 0]
    >>> crc32c_base64(b"123456789")
    '4waSgw=='

Instructions of the CPU do the work where it has them; ``cpu_features()["kernels"]["crc32c"]`` says
which. Long buffers, and many, are shared among threads.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import TYPE_CHECKING

from shardpack._native import crc32c, crc32c_combine, crc32c_many

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["crc32c", "crc32c_base64", "crc32c_combine", "crc32c_many"]


def crc32c_base64(data: Buffer) -> str:
    """Compute CRC32C in the form that S3 headers use.

    Args:
        data: Any C-contiguous buffer.

    Returns:
        The base64 text of the four big-endian bytes, always eight characters.
    """
    return b2a_base64(crc32c(data).to_bytes(4, "big"), newline=False).decode("ascii")
