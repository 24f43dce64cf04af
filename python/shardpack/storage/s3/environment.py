"""What decides, outside of the program's arguments, where a new client goes and who it is."""

from __future__ import annotations

import hashlib
import os
import sys

__all__ = ["fingerprint"]

_PREFIXES = ("AWS_", "BOTO_")
_NAMES = frozenset({"HOME", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE"})
# Each file, by the variable that names another and its usual place.
_FILES = (
    ("AWS_CONFIG_FILE", "~/.aws/config"),
    ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
    ("BOTO_CONFIG", "~/.boto"),
)


def fingerprint() -> bytes:
    """Give a digest of the environment: with another one a client would be another.

    It covers the variables and files that botocore reads, and holds no secret itself.
    """
    facts: list[object] = []
    facts += sorted(
        pair
        for pair in os.environ.items()
        if pair[0].upper().startswith(_PREFIXES) or pair[0].upper() in _NAMES
    )
    for name, usual in _FILES:
        path = os.path.expanduser(os.environ.get(name) or usual)
        try:
            status = os.stat(path)
        except OSError:
            facts.append((path, None))
        else:
            facts.append((path, status.st_ino, status.st_mtime_ns, status.st_size))
    # Handlers that all later clients have, such as those of libraries that stand in for AWS.
    handlers = sys.modules.get("botocore.handlers")
    facts.append(len(getattr(handlers, "BUILTIN_HANDLERS", ())))
    return hashlib.blake2b(repr(facts).encode("utf-8", "surrogateescape"), digest_size=16).digest()
