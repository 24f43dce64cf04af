"""Signatures of requests to S3: AWS Signature Version 4 in headers."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EMPTY_PAYLOAD", "UNSIGNED_PAYLOAD", "Credentials", "Signer", "query_of", "quote_key"]

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
EMPTY_PAYLOAD = hashlib.sha256(b"").hexdigest()
_ALGORITHM = "AWS4-HMAC-SHA256"


class Credentials(NamedTuple):
    """What requests are signed with.

    Attributes:
        access_key: Name of the key.
        secret_key: The key.
        token: Token of a session, ``None`` for lasting keys.
    """

    access_key: str
    secret_key: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.access_key[:4]}...)"


def quote_key(key: str) -> str:
    """Write a key as part of the path of a URL, as it is signed and sent.

    Args:
        key: The key.
    """
    return quote(key, safe="/~")


def query_of(parameters: Mapping[str, str]) -> str:
    """Write the query of a URL in the order in which it is signed.

    Args:
        parameters: Names and values.
    """
    pairs = sorted(
        (quote(name, safe="~"), quote(value, safe="~")) for name, value in parameters.items()
    )
    return "&".join(f"{name}={value}" for name, value in pairs)


class Signer:
    """Signs requests for one region.

    Args:
        region: The region.
        service: The service, as signatures name it.
    """

    def __init__(self, region: str, service: str = "s3") -> None:
        self._scope_end = f"/{region}/{service}/aws4_request"
        self._region = region.encode()
        self._service = service.encode()
        # Both are replaced as a whole, so that threads see a matching pair.
        self._key: tuple[str, str, bytes] = ("", "", b"")
        self._time: tuple[int, str] = (-1, "")

    def sign(
        self,
        credentials: Credentials,
        method: str,
        path: str,
        query: str,
        headers: dict[str, str],
        payload: str,
        now: float | None = None,
    ) -> None:
        """Add the headers that prove who sends a request.

        Args:
            credentials: Whose request it is.
            method: The method.
            path: The path, quoted as it is sent.
            query: The query, sorted and quoted, without ``?``; may be empty.
            headers: Headers to sign, ``host`` among them, names in lower case. It gets
                ``x-amz-date``, ``x-amz-content-sha256``, ``x-amz-security-token`` and
                ``authorization``.
            payload: Hexadecimal SHA-256 of the body, or ``UNSIGNED-PAYLOAD``.
            now: Seconds since the epoch; the clock's when ``None``.
        """
        stamp = self._stamp(time.time() if now is None else now)
        date = stamp[:8]
        headers["x-amz-content-sha256"] = payload
        headers["x-amz-date"] = stamp
        if credentials.token is not None:
            headers["x-amz-security-token"] = credentials.token
        names = sorted(headers)
        signed = ";".join(names)
        lines = [f"{name}:{_trimmed(headers[name])}" for name in names]
        request = "\n".join((method, path, query, *lines, "", signed, payload))
        digest = hashlib.sha256(request.encode()).hexdigest()
        scope = date + self._scope_end
        text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}".encode()
        signature = hmac.digest(self._key_of(credentials.secret_key, date), text, "sha256").hex()
        headers["authorization"] = (
            f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={signed}, Signature={signature}"
        )

    def _stamp(self, now: float) -> str:
        second = int(now)
        known, stamp = self._time
        if known != second:
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
            self._time = (second, stamp)
        return stamp

    def _key_of(self, secret: str, date: str) -> bytes:
        known_secret, known_date, key = self._key
        if known_date != date or known_secret != secret:
            key = f"AWS4{secret}".encode()
            for part in (date.encode(), self._region, self._service, b"aws4_request"):
                key = hmac.digest(key, part, "sha256")
            self._key = (secret, date, key)
        return key


def _trimmed(value: str) -> str:
    """Reduce runs of blanks, which may change on the way, to one."""
    return " ".join(value.split()) if " " in value or "\t" in value else value
