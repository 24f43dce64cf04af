"""What stands under the extension of manifests and is none: somebody's data, or a damaged manifest.

The difference matters to whoever removes what no manifest refers to. A damaged manifest referred to
something, and nobody knows any more to what; lines of data, which have the same extension, referred
to nothing. What tells them apart is what both writers of manifests put into every line: an object
whose ``kind`` is ``file``, ``shard`` or ``manifest_ref``, with the key that such a line needs.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, Literal

from shardpack.errors import InvalidManifestError, ObjectNotFoundError
from shardpack.exchange.manifest.lines import parse_line

if TYPE_CHECKING:
    from shardpack.storage.base import ObjectStore

__all__ = ["HEAD_BYTES", "Likeness", "likeness", "likeness_of_text"]

Likeness = Literal["manifest", "foreign", "undecided"]

#: What is looked at: so much of the beginning, and of the end of what is longer. A manifest of
#: which a line is damaged has whole lines in one of them; data may be any size.
HEAD_BYTES: Final = 256 << 10
_TAIL_BYTES: Final = 64 << 10
_KINDS: Final = ("file", "shard", "manifest_ref")
_MARK: Final = re.compile(rb'"kind"\s*:\s*"(?:file|shard|manifest_ref)"')
_OPENING: Final = re.compile(rb'\{\s*"kind"\s*:\s*"(?:file|shard|manifest_ref)"')
_BEGINNINGS: Final = tuple(b'{"kind":"%b"' % kind.encode() for kind in _KINDS)
_LEAST_BEGINNING: Final = len(b'{"kind')
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# No text has these bytes: a manifest may have been compressed or encrypted by whoever copied it,
# or lost blocks. Of zstd few bytes may be none of them.
_NO_TEXT: Final = re.compile(rb"[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f]")
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


def likeness(objects: ObjectStore, full_key: str) -> Likeness:
    """Tell what an object is that cannot be read as a manifest.

    Args:
        objects: The store.
        full_key: Its key there.

    Returns:
        As ``likeness_of_text``; ``"foreign"`` for what is gone.

    Raises:
        StorageError: It cannot be read.
    """
    try:
        with objects.get(full_key, end=HEAD_BYTES) as body:
            head = body.read()
            size = body.info.size
        start = max(len(head), size - _TAIL_BYTES)
        tail = objects.read(full_key, start=start, end=size) if start < size else b""
    except ObjectNotFoundError:
        return "foreign"
    if start == len(head):
        return likeness_of_text(head + tail)
    return likeness_of_text(head, tail, is_whole=False)


def likeness_of_text(head: bytes, tail: bytes = b"", *, is_whole: bool = True) -> Likeness:
    """Tell what bytes are that cannot be read as a manifest.

    Args:
        head: Their beginning.
        tail: Their end, if there is more.
        is_whole: There is no more.

    Returns:
        ``"manifest"`` where one of the lines is an entry, or is broken and still begins like one:
        a manifest was damaged, or cut. ``"undecided"`` where there is nothing to tell it by: no
        bytes, bytes of no text, an object cut within its only line, objects of such a ``kind``
        that lack their key, or text that quotes one. ``"foreign"`` for all other text and
        lines of JSON.
    """
    signs = _Signs()
    *lines, last = head.removeprefix(_BYTE_ORDER_MARK).split(b"\n")
    for line in lines:
        signs.look_at(line)
    if is_whole:
        signs.look_at(last)
    else:
        signs.look_at_piece(last)
        first, *lines = tail.split(b"\n")
        signs.look_at_piece(first, is_beginning=False)
        for line in lines:
            signs.look_at(line)
    seems = signs.verdict(is_whole=is_whole)
    is_text = bool(head) and not head.startswith(_ZSTD) and _NO_TEXT.search(head) is None
    return seems if is_text or seems == "manifest" else "undecided"


class _Signs:
    """What speaks for a manifest, line by line."""

    def __init__(self) -> None:
        self._is_manifest = False
        self._is_doubtful = False
        self._lines = 0
        self._first = b""

    def look_at(self, line: bytes) -> None:
        """Take a whole line."""
        line = line.strip()
        if not line:
            return
        self._lines += 1
        if self._lines == 1:
            self._first = line
        # Of data there may be very many lines.
        if b"kind" not in line or self._is_manifest:
            return
        try:
            parse_line(line)
        except InvalidManifestError:
            self._look_closer(line)
        else:
            self._is_manifest = True

    def look_at_piece(self, piece: bytes, *, is_beginning: bool = True) -> None:
        """Take a piece of a line that goes on where it was not read."""
        self._lines += 1
        if is_beginning and _OPENING.match(piece.lstrip()):
            self._is_manifest = True
        elif _MARK.search(piece):
            self._is_doubtful = True

    def _look_closer(self, line: bytes) -> None:
        value = _json(line)
        if value is None:
            is_marked = _MARK.search(line) is not None
            if line.startswith(b"{"):
                self._is_manifest |= is_marked
            else:
                self._is_doubtful |= is_marked
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                self._is_doubtful |= item.get("kind") in _KINDS

    def verdict(self, *, is_whole: bool) -> Likeness:
        if self._is_manifest:
            return "manifest"
        only = self._first if is_whole and self._lines == 1 else b""
        if only.startswith(b"{") and _json(only) is None:
            text = b"".join(only.split())
            is_beginning = any(each.startswith(text) for each in _BEGINNINGS)
            return "manifest" if is_beginning and len(text) >= _LEAST_BEGINNING else "undecided"
        return "undecided" if self._is_doubtful else "foreign"


def _json(line: bytes) -> object:
    """Read a line; nothing where it is broken, or is the text ``null``."""
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value
