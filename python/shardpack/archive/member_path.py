"""Which member paths are safe: those that stay in the folder that they are extracted to."""

from __future__ import annotations

import re

from shardpack.errors import UnsafePathError

__all__ = ["check_member_path", "unsafe_path"]

# What nearly all paths are: letters and digits in front, nothing that needs a closer look. The
# full check would cost as much as the rest of adding a small member.
_PLAIN = re.compile(r"[A-Za-z0-9_\-][^\0\\:]*")

_DRIVE = re.compile(r"[A-Za-z]:")
_SEPARATOR = re.compile(r"[/\\]")

# Far above what file systems take, far below what would make a header expensive to read.
_MOST_BYTES = 64 << 10

_LONGEST_SHOWN = 200


def check_member_path(path: str) -> str:
    """Refuse a path that could name something outside of the folder it is extracted to.

    Args:
        path: Path of a member, parts separated by ``/``.

    Returns:
        The same path.

    Raises:
        UnsafePathError: The path is empty, absolute, begins with a drive letter or a backslash,
            ends with a slash, has a ``..`` part or a NUL, cannot be written as UTF-8, or is longer
            than 64 KiB.
    """
    if (
        path.isascii()
        and _PLAIN.fullmatch(path)
        and ".." not in path
        and path[-1] != "/"
        and len(path) <= _MOST_BYTES
    ):
        return path
    reason = _reason_against(path)
    if reason is not None:
        raise unsafe_path(path, f"member path {reason}")
    return path


def unsafe_path(path: str, message: str) -> UnsafePathError:
    """Make the error that names an unsafe path.

    Args:
        path: The path.
        message: What is wrong with it.
    """
    error = UnsafePathError(f"{message}: {path[:_LONGEST_SHOWN]!r}")
    error.path = path
    return error


def _reason_against(path: str) -> str | None:
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "cannot be written as utf-8"
    reasons = {
        "is empty": not path,
        "is absolute": path[:1] in ("/", "\\"),
        "begins with a drive letter": _DRIVE.match(path),
        "ends with a slash": path[-1:] == "/",
        "has a NUL": "\0" in path,
        "climbs out with a '..' part": ".." in _SEPARATOR.split(path),
        f"has {size} bytes, more than {_MOST_BYTES}": size > _MOST_BYTES,
    }
    return next((reason for reason, applies in reasons.items() if applies), None)
