"""Whole S4 objects in memory: body, sidecar and the metadata that say how to read the body.

``encode_s4_object`` is the call of ``s4-codec``, with its results; ``encode_object`` writes every
codec that a client may write and chooses one by the gateway's rule when asked to (``"auto"``).

Example:
    >>> from shardpack import encode_object, decode_object
    >>> made = encode_object(b"hello " * 1000)
    >>> made["metadata"]["s4-codec"]
    'cpu-zstd'
    >>> decode_object(made["body"], made["metadata"]) == b"hello " * 1000
    True
"""

from __future__ import annotations

from typing import Literal, TypedDict

from shardpack._native import (
    decode_object,
    decode_range,
    encode_object,
    encode_s4_object,
    verify_object,
)

__all__ = [
    "S4Object",
    "VerifyReport",
    "decode_object",
    "decode_range",
    "encode_object",
    "encode_s4_object",
    "verify_object",
]


class S4Object(TypedDict):
    """What to store: the body under the key, the metadata with it, the sidecar beside it."""

    body: bytes
    sidecar: bytes | None
    metadata: dict[str, str]


class VerifyReport(TypedDict):
    """What a full check of an object found; sizes are bytes."""

    layout: Literal["frames", "payload", "plain"]
    codec: str | None
    frames: int
    original_size: int
    stored_size: int
    crc32c: int
    checked: bool
    sidecar: Literal["absent", "unbound", "trusted", "stale"]
