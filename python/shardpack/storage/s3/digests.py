"""Digests that let a server refuse, or us notice, an upload that was damaged on its way."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from typing import TYPE_CHECKING

from shardpack._native import md5_many
from shardpack.checksum import crc32c
from shardpack.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    from typing_extensions import Buffer

__all__ = ["BodyCheck", "Digest"]

# Those of the checksums that S3 keeps which can be checked here at no cost worth naming.
_CHECKSUMS: dict[str, tuple[str, Callable[[Buffer, int], int]]] = {
    "x-amz-checksum-crc32c": ("crc32c", crc32c),
    "x-amz-checksum-crc32": ("crc32", zlib.crc32),
}
_CRC = re.compile(r"[A-Za-z0-9+/]{6}==")
_MD5 = re.compile(r"[0-9a-f]{32}")
_OTHER_ETAG = ("x-amz-server-side-encryption-customer-algorithm",)


class Digest:
    """The digest that goes with one body: CRC32C or MD5.

    Args:
        data: The body.
        use_crc32c: CRC32C, at a small part of the cost, for servers that check it; otherwise MD5,
            which nearly every server checks or answers with as ETag.
    """

    __slots__ = ("_encoded", "md5")

    def __init__(self, data: memoryview, *, use_crc32c: bool) -> None:
        if use_crc32c:
            self._set(crc32c(data).to_bytes(4, "big"), is_md5=False)
        else:
            self._set(hashlib.md5(data, usedforsecurity=False).digest(), is_md5=True)

    @classmethod
    def of_each(cls, bodies: Sequence[memoryview], *, use_crc32c: bool) -> list[Self]:
        """Give the digests of several bodies; the MD5 of several takes little longer than one.

        Args:
            bodies: The bodies.
            use_crc32c: As for the class.
        """
        if use_crc32c or len(bodies) == 1:
            return [cls(body, use_crc32c=use_crc32c) for body in bodies]
        digests = []
        for md5 in md5_many(bodies):
            digest = cls.__new__(cls)
            digest._set(md5, is_md5=True)  # noqa: SLF001 - of the same class
            digests.append(digest)
        return digests

    def _set(self, value: bytes, *, is_md5: bool) -> None:
        self.md5 = value if is_md5 else None
        self._encoded = base64.b64encode(value).decode("ascii")

    def arguments(self) -> dict[str, str]:
        """Give it as an argument of a boto3 call."""
        name = "ChecksumCRC32C" if self.md5 is None else "ContentMD5"
        return {name: self._encoded}

    def of_part(self) -> dict[str, str]:
        """Give what the end of an upload must tell about the part; nothing for MD5."""
        return self.arguments() if self.md5 is None else {}

    def header(self) -> tuple[str, str]:
        """Give it as a header: the name in lower case, and the value."""
        name = "x-amz-checksum-crc32c" if self.md5 is None else "content-md5"
        return name, self._encoded

    def equals(self, headers: Mapping[str, str]) -> bool:
        """Tell whether the ETag of an answer is this MD5.

        Args:
            headers: Headers of the answer, names in lower case.
        """
        return self.md5 is not None and headers.get("etag", "").strip('"') == self.md5.hex()

    def differs(self, headers: Mapping[str, str]) -> bool:
        """Tell whether the ETag of an answer looks like the MD5 of other bytes.

        Args:
            headers: Headers of the answer, names in lower case.
        """
        if self.md5 is None:
            return False
        encryption = headers.get("x-amz-server-side-encryption", "AES256")
        if encryption != "AES256" or any(name in headers for name in _OTHER_ETAG):
            # Such ETags have the form of an MD5 and are none.
            return False
        etag = headers.get("etag", "").strip('"')
        return _MD5.fullmatch(etag) is not None and etag != self.md5.hex()


class BodyCheck:
    """Compares a whole object, while it is read, with the checksum that the server keeps of it.

    Args:
        key: Key of the object.
        algorithm: Name of the checksum.
        function: Computes it, piece by piece.
        expected: What it must be.
    """

    def __init__(
        self, key: str, algorithm: str, function: Callable[[Buffer, int], int], expected: int
    ) -> None:
        self._key = key
        self._algorithm = algorithm
        self._function = function
        self._expected = expected
        self._value = 0

    @classmethod
    def of(cls, key: str, headers: Mapping[str, str]) -> BodyCheck | None:
        """Give the check that an answer makes possible; ``None`` without one.

        Args:
            key: Key of the object.
            headers: Headers of an answer to a GET of the whole object, names in lower case.
        """
        if headers.get("x-amz-checksum-type", "FULL_OBJECT") != "FULL_OBJECT":
            return None
        for name, (algorithm, function) in _CHECKSUMS.items():
            told = headers.get(name)
            # A dash and a number follow where it is one of the checksums of the parts.
            if told is not None and _CRC.fullmatch(told):
                expected = int.from_bytes(base64.b64decode(told), "big")
                return cls(key, algorithm, function, expected)
        return None

    def update(self, piece: Buffer) -> None:
        """Take the next bytes of the object.

        Args:
            piece: The bytes.
        """
        self._value = self._function(piece, self._value)

    def finish(self) -> None:
        """Compare, once all bytes were taken.

        Raises:
            IntegrityError: The bytes are not those that the server was given.
        """
        if self._value != self._expected:
            raise IntegrityError(
                f"{self._key!r} arrived damaged: {self._algorithm} {self._value:08x}, the server"
                f" has {self._expected:08x}",
                key=self._key,
                algorithm=self._algorithm,
                expected=f"{self._expected:08x}",
                actual=f"{self._value:08x}",
            )
