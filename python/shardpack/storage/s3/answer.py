"""What a server says about an object: the headers of an answer, read with care."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from shardpack.errors import PreconditionFailedError, StorageError, StorageUnavailableError
from shardpack.storage.base import ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = [
    "Answer",
    "check_headers",
    "date_of",
    "info_of",
    "quoted",
    "range_header",
    "refuse_other_version",
    "version_of",
]

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_TOKEN = re.compile(r"[A-Za-z0-9._-]+")
_META = "x-amz-meta-"


def range_header(start: int | None, end: int | None) -> str | None:
    """Write a ``Range`` header; ``None`` for the whole object.

    Args:
        start: First byte; a negative one counts from the end.
        end: First byte after the range, above ``start``.
    """
    if start is not None and start < 0:
        return f"bytes={start}"
    if end is not None:
        return f"bytes={start or 0}-{end - 1}"
    return f"bytes={start}-" if start else None


def info_of(key: str, headers: Mapping[str, str], size: int) -> ObjectInfo:
    """Read what headers say about an object.

    Args:
        key: Its key.
        headers: Names in lower case.
        size: Its whole length in bytes.
    """
    return ObjectInfo(
        key=key,
        size=size,
        etag=_etag(headers),
        last_modified=date_of(headers.get("last-modified")),
        content_type=headers.get("content-type"),
        content_encoding=headers.get("content-encoding") or None,
        metadata={
            name[len(_META) :]: value for name, value in headers.items() if name.startswith(_META)
        },
        version_id=version_of(headers.get("x-amz-version-id")),
    )


def check_headers(content_type: str | None, metadata: Mapping[str, str] | None) -> None:
    """Refuse what cannot be sent as a header.

    Args:
        content_type: Media type.
        metadata: User metadata.

    Raises:
        ValueError: A name or value holds something else than printable ASCII.
    """
    if content_type is not None and not _is_plain(content_type):
        raise ValueError(f"content_type is no header: {content_type!r}")
    for name, value in (metadata or {}).items():
        if not _TOKEN.fullmatch(name) or not _is_plain(value):
            raise ValueError(f"metadata is no header: {name!r}: {value!r}")


def _is_plain(value: str) -> bool:
    return value.isascii() and value.isprintable()


def quoted(etag: str | None) -> str | None:
    """Write an ETag as conditions hold it.

    Args:
        etag: The ETag, without quotes.
    """
    if etag is None:
        return None
    if not _is_plain(etag):
        raise ValueError(f"if_match is no header: {etag!r}")
    return f'"{etag}"'


def version_of(told: object) -> str | None:
    """Read a version; ``None`` where the bucket keeps none, whatever the server calls that.

    Args:
        told: What the answer holds.
    """
    return None if told is None or told == "null" else str(told)


def _etag(headers: Mapping[str, str]) -> str | None:
    return headers.get("etag", "").removeprefix("W/").strip('"') or None


def date_of(text: str | None) -> datetime | None:
    """Read a date as HTTP writes it; ``None`` where there is none.

    Args:
        text: The header.
    """
    if text is None:
        return None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        # A date that cannot be read is no reason to refuse the bytes.
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def refuse_other_version(key: str, etag: str | None, if_match: str | None) -> None:
    """Refuse another version of an object than the one that is asked for.

    Args:
        key: Its key.
        etag: Its ETag. Some servers have one in answers to PUT alone: without it nothing can be
            compared here, and their word is taken.
        if_match: The ETag that is asked for, if any.
    """
    if if_match is not None and etag is not None and etag != if_match:
        raise PreconditionFailedError(
            f"{key!r} has the ETag {etag!r}, not {if_match!r}", key=key, status=412
        )


class Answer:
    """The answer to a GET whose body is still on the wire.

    A subclass reads the body (``_receive``) and gives the connection back (``close``).

    Args:
        key: Key of the object.
        headers: Names in lower case.
        wanted: The range that was asked for, as in ``range_header``; ``(None, None)`` for all.
        partial: The status says that it is a part of the object.

    Attributes:
        start: Where in the object the body begins.
        left: Bytes of the body not read yet.
        total: Length of the whole object.

    Raises:
        StorageError: The answer does not say how long it is.
        StorageUnavailableError: The answer is not about the range that was asked for.
    """

    def __init__(
        self,
        key: str,
        headers: Mapping[str, str],
        wanted: tuple[int | None, int | None],
        *,
        partial: bool,
    ) -> None:
        self.key = key
        self.headers = headers
        length = headers.get("content-length")
        if length is None or not (length.isascii() and length.isdigit()):
            raise StorageError(f"the answer for {key!r} has no length", key=key)
        self.left = int(length)
        self.start = 0
        self.total = self.left
        told = headers.get("content-range")
        if told is None:
            if partial:
                raise StorageUnavailableError(
                    f"the answer for {key!r} is a part and does not say which", key=key
                )
            return
        match = _CONTENT_RANGE.fullmatch(told)
        if match is None or match[3] == "*" or int(match[2]) - int(match[1]) + 1 != self.left:
            raise StorageUnavailableError(
                f"the answer for {key!r} has {self.left} bytes and the range {told!r}", key=key
            )
        self.start = int(match[1])
        self.total = int(match[3])
        self._check_range(wanted)

    def _check_range(self, wanted: tuple[int | None, int | None]) -> None:
        start, end = wanted
        first = start or 0
        if first < 0:
            first = max(0, self.total + first)
        after = self.total if end is None else min(end, self.total)
        if (first, after) != (self.start, self.start + self.left):
            raise StorageUnavailableError(
                f"asked for bytes {first} to {after} of {self.key!r}, "
                f"got {self.start} to {self.start + self.left}",
                key=self.key,
            )

    @property
    def etag(self) -> str | None:
        """The ETag, without quotes."""
        return _etag(self.headers)

    def info(self) -> ObjectInfo:
        """Say what the headers say."""
        return info_of(self.key, self.headers, self.total)

    def check_version(self, if_match: str | None) -> None:
        """Refuse another version, also where the server ignores the condition.

        Args:
            if_match: The ETag that is asked for.
        """
        refuse_other_version(self.key, self.etag, if_match)

    def readinto(self, target: memoryview) -> int:
        """Fill a buffer as far as the body goes.

        Args:
            target: A writable buffer of bytes.

        Returns:
            Bytes put into it: all of it, or all that was left.

        Raises:
            StorageUnavailableError: The body ended before its end.
        """
        wanted = min(target.nbytes, self.left)
        filled = 0
        while filled < wanted:
            count = self._receive(target[filled:wanted])
            if not count:
                raise StorageUnavailableError(
                    f"the body of {self.key!r} ended {self.left} bytes early", key=self.key
                )
            filled += count
            self.left -= count
        return filled

    def _receive(self, target: memoryview) -> int:
        """Receive at least one byte; 0 when the connection has ended."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the connection back, or end it when bytes are left."""
