"""The URLs that name stores and objects, and what a key may look like."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shardpack.errors import UnsafePathError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "StoreUrl",
    "check_key",
    "check_metadata",
    "check_prefix",
    "is_meant_as_url",
    "parse_url",
]

_SUPPORTED = "s3://bucket/key, file:///absolute/path, mem://name/key and local paths"
# A single letter is no protocol, and neither is a name that is not followed by a slash: `a:b` and
# `./s3:/x` are paths. `s3:/bucket` is taken for what it was meant to be, and refused.
_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
# What a slip makes of a URL: `s3//bucket`, `s3:bucket`. It must not become a local folder.
_SLIP = re.compile(
    r"(s3|file|mem|s3[an]|gs|gcs|az|abfss?|hdfs|https?|ftp)(?::|//)/*", re.IGNORECASE
)
_BUCKET = re.compile(r"[\w.~-]+", re.ASCII)
_METADATA_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A URL in its parts; ``str`` puts them together again.

    Attributes:
        scheme: ``"s3"``, ``"file"`` or ``"mem"``.
        bucket: The bucket, or the name of the space in memory; empty for files.
        key: What follows; for files the absolute path.
    """

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        if self.scheme == "file":
            return f"file://{self.key}"
        return f"{self.scheme}://{self.bucket}" + (f"/{self.key}" if self.key else "")


def parse_url(url: str | os.PathLike[str]) -> StoreUrl:
    """Take a URL apart.

    Nothing is decoded: percent signs, question marks and hashes are part of the key.

    Args:
        url: ``s3://bucket/key``, ``file:///absolute/path``, ``mem://name/key``, or a local path,
            which is made absolute; a path object is always a local path. So is what begins with
            ``./``: a name such as ``s3:x`` is taken for a misspelt URL, and refused.

    Returns:
        Its parts.

    Raises:
        ValueError: The protocol is unknown or misspelt, or the bucket or the path is missing.

    Example:
        >>> from shardpack.storage import parse_url
        >>> parse_url("s3://bucket/a%20key")
        StoreUrl(scheme='s3', bucket='bucket', key='a%20key')
    """
    if not isinstance(url, str):
        return _local(os.fspath(url), url)
    slip = _SLIP.match(url)
    found = _PROTOCOL.match(url) or slip
    if found is None:
        return _local(os.path.expanduser(url), url)
    protocol = found[1].lower()
    if protocol not in {"s3", "file", "mem"}:
        raise ValueError(f"unsupported protocol {found[1]!r} in {url!r}: there are {_SUPPORTED}")
    start = len(found[1]) + len("://")
    if slip and url[len(found[1]) : start] != "://":
        if "@" in url:
            # Not shown: what stands before it may be a secret.
            raise ValueError(f"malformed URL: there are {_SUPPORTED}")
        meant = f"{protocol}://{'/' * (protocol == 'file')}{url[slip.end() :]}"
        raise ValueError(f"malformed URL {url!r}: did you mean {meant}, or the local path ./{url}?")
    rest = url[start - 1 :]
    host, slash, path = rest[1:].partition("/")
    if protocol == "file":
        if host not in {"", "localhost"} or not slash:
            raise ValueError(f"a file URL needs an absolute path, as in file:///path, got {url!r}")
        return _local(f"/{path}", url)
    if "@" in host:
        # Not shown: what stands before it may be a secret.
        raise ValueError(f"a {protocol} URL holds no credentials")
    if not _BUCKET.fullmatch(host) and (host or protocol == "s3"):
        raise ValueError(f"invalid bucket name {host!r} in {url!r}")
    return StoreUrl(protocol, host, path)


def is_meant_as_url(name: str) -> bool:
    """Tell whether a name is a URL, well-formed or not, and no key or local path.

    Args:
        name: The name.
    """
    return (_PROTOCOL.match(name) or _SLIP.match(name)) is not None


def _local(path: str, given: object) -> StoreUrl:
    if not path or "\0" in path:
        raise ValueError(f"not a path: {given!r}")
    # The slash at the end says that a folder is meant; `abspath` drops it.
    folder = path.endswith("/") and path.strip("/") != ""
    # Two slashes at the front would survive, and make the text of the URL ambiguous.
    return StoreUrl("file", "", "/" + os.path.abspath(path).lstrip("/") + "/" * folder)


def check_key(key: str) -> str:
    """Refuse a key that could mean different objects to different programs.

    Args:
        key: The key of one object.

    Returns:
        The key.

    Raises:
        UnsafePathError: It is empty, begins with a slash, has a NUL or a ``.`` or ``..`` part, or
            cannot be encoded in UTF-8.
        TypeError: It is no text.
    """
    if not key:
        raise _unsafe("empty key", key)
    return check_prefix(key)


def check_prefix(prefix: str) -> str:
    """Check a key that may be empty or end within a part, as prefixes of listings do.

    Args:
        prefix: The prefix.

    Returns:
        The prefix.

    Raises:
        UnsafePathError: As ``check_key`` does.
        TypeError: It is no text.
    """
    if not isinstance(prefix, str):
        raise TypeError(f"a key is text, not {type(prefix).__name__}")
    if prefix.startswith("/"):
        raise _unsafe("key begins with a slash", prefix)
    if "\0" in prefix:
        raise _unsafe("key has a NUL character", prefix)
    if "." in prefix:
        parts = prefix.split("/")
        if ".." in parts or "." in parts:
            raise _unsafe("key has a part that names a folder above or itself", prefix)
    try:
        prefix.encode()
    except UnicodeEncodeError as error:
        raise _unsafe("key is not valid Unicode", prefix) from error
    return prefix


def check_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Bring user metadata into the form in which every store keeps it.

    Args:
        metadata: Names and values.

    Returns:
        A copy with the names in lower case.

    Raises:
        ValueError: A name is no HTTP token, two names differ in case alone, or a value has
            characters outside of printable ASCII or spaces at its ends, which servers drop.
        TypeError: A name or value is no text.
    """
    checked: dict[str, str] = {}
    name: Any
    value: Any
    for name, value in (metadata or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"metadata names and values are text, got {name!r}: {value!r}")
        lower = name.lower()
        if not _METADATA_NAME.fullmatch(lower):
            raise ValueError(f"invalid metadata name {name!r}")
        if not (value.isascii() and value.isprintable()) or value != value.strip():
            raise ValueError(f"metadata value of {name!r} is not plain ASCII: {value!r}")
        if lower in checked:
            raise ValueError(f"metadata name {lower!r} is given twice")
        checked[lower] = value
    return checked


def _unsafe(problem: str, key: str) -> UnsafePathError:
    error = UnsafePathError(f"{problem}: {key!r}")
    error.path = key
    return error
