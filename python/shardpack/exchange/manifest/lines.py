"""Lines of a manifest: entries as JSON, one a line, written as ``s3exchange`` writes them.

A line is compact JSON in ASCII. Most entries are flat dicts of text and small numbers, for which
``orjson`` gives the same bytes as ``json`` in a tenth of the time; every other entry (floats that
the two print differently, NaN, large integers, text beyond ASCII) goes through ``json``. Reading
works the same way round: what ``orjson`` refuses, or would round, is read by ``json``.
"""

from __future__ import annotations

import enum
import io
import json
import uuid
from itertools import chain, compress, islice, repeat
from operator import is_, itemgetter
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import orjson

from shardpack.errors import InvalidManifestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from shardpack.exchange.types import ManifestEntry

__all__ = [
    "CONTENT_TYPE",
    "MOST_LINE_BYTES",
    "Block",
    "ReadableStream",
    "check_entry",
    "iter_blocks",
    "iter_lines",
    "iter_text",
    "parse_line",
    "serialize_blocks",
    "serialize_entry",
]

CONTENT_TYPE: Final = "application/x-ndjson"
#: A longer line is refused before it fills the memory.
MOST_LINE_BYTES: Final = 16 << 20

#: What is asked of a stream at once.
_READ: Final = 64 << 10
#: What is parsed at once: so little that the entries are still in the cache of the processor when
#: they are given, and that the garbage collector does not go through them.
_PIECE: Final = 32 << 10
#: What is written at once.
_BLOCK: Final = 64 << 10
_BETWEEN: Final = b',"",'
_FIRST_BATCH: Final = 16
_BATCH: Final = 256
_MOST_FAST_DEPTH: Final = 16
#: Makes all digits one, and all that stands before integers, so that one search finds long ones.
_DIGITS: Final = bytes.maketrans(b"0123456789,[- \t\r\n", b"0" * 10 + b":" * 7)
#: Below 19 digits an integer fits 64 bits; beyond, orjson may read it as a float.
_LONG_INTEGER: Final = b":" + b"0" * 19
#: The field that an entry of each kind must have.
_NAME_FIELDS: Final = {"file": "key", "shard": "archive_key", "manifest_ref": "key"}
_KIND: Final = itemgetter("kind")
_PLAIN: Final = frozenset({str, int, bool, type(None)})
_LOOKED_INTO: Final = frozenset({dict, list, tuple})
#: Between these repr writes no exponent.
_LEAST: Final = 1e-4
_MOST: Final = 1e16
_OPTIONS: Final = (
    orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
)


class ReadableStream(Protocol):
    """Something to read bytes from."""

    def read(self, size: int, /) -> bytes:
        """Read at most ``size`` bytes; none at the end."""


class Block:
    """Neighbouring entries of a manifest.

    Attributes:
        entries: The entries.
        refs: Indexes of those entries that are references.
    """

    __slots__ = ("_lines", "_text", "entries", "refs")

    def __init__(
        self,
        entries: list[ManifestEntry],
        refs: list[int],
        *,
        lines: list[bytes] | None = None,
        text: bytes = b"",
    ) -> None:
        self.entries = entries
        self.refs = refs
        self._lines = lines
        self._text = text

    @property
    def lines(self) -> list[bytes]:
        """The line of each entry as it stands in the manifest, without the line feed."""
        if self._lines is None:
            if self._text:
                self._lines = self._text.split(b"\n")
            else:
                self._lines = [serialize_entry(entry) for entry in self.entries]
        return self._lines

    def part(self, start: int, end: int) -> Block:
        """Give some of the entries, none of which is a reference.

        Args:
            start: Index of the first.
            end: Index behind the last.
        """
        if self._lines is None and not self._text:
            return Block(self.entries[start:end], [])
        return Block(self.entries[start:end], [], lines=self.lines[start:end])


def check_entry(entry: object, line_number: int | None = None, *, key: str | None = None) -> None:
    """Refuse what is no entry of a manifest.

    Args:
        entry: What stands on the line.
        line_number: The line, counted from 1.
        key: Key of the manifest.

    Raises:
        InvalidManifestError: It is no dict, has no known ``kind``, or lacks the key of that kind.
    """
    if not isinstance(entry, dict):
        told = type(entry).__name__
        raise InvalidManifestError(f"an entry is an object, not {told}", line_number, key=key)
    if "kind" not in entry:
        raise InvalidManifestError("entry has no 'kind'", line_number, key=key)
    kind = entry["kind"]
    if not isinstance(kind, str) or kind not in _NAME_FIELDS:
        raise InvalidManifestError(f"unknown kind {kind!r:.80}", line_number, key=key)
    field = _NAME_FIELDS[kind]
    if field not in entry:
        raise InvalidManifestError(f"{kind} entry has no {field!r}", line_number, key=key)
    if not isinstance(entry[field], str):
        raise InvalidManifestError(
            f"{field!r} of a {kind} entry is text, got {entry[field]!r:.80}", line_number, key=key
        )


def _find_refs(entries: Sequence[Any]) -> list[int] | None:
    """Find the references, with hardly a look at each entry; nothing where one may be none."""
    try:
        for entry in entries:
            if entry["kind"] != "file" or type(entry["key"]) is not str:
                break
        else:
            return []
        kinds = list(map(_KIND, entries))
        # The quickest way to ask whether all are text.
        "".join([entry[_NAME_FIELDS[kind]] for entry, kind in zip(entries, kinds, strict=True)])
    except (KeyError, TypeError):
        return None
    return [at for at, kind in enumerate(kinds) if kind == "manifest_ref"]


# ------------------------------------------------------------------------------------ reading


def parse_line(
    line: str | bytes, line_number: int | None = None, *, key: str | None = None
) -> ManifestEntry:
    """Read one line.

    Args:
        line: The line; text, or UTF-8.
        line_number: Its number, counted from 1, for errors.
        key: Key of the manifest, for errors.

    Returns:
        The entry, with all its fields.

    Raises:
        InvalidManifestError: The line is blank, no JSON, or no entry.
    """
    if not line or line.isspace():
        raise InvalidManifestError("empty line", line_number, key=key)
    stored = line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line
    entry = _load(stored, line_number, key, long_integer=_has_long_integer(stored))
    check_entry(entry, line_number, key=key)
    return cast("ManifestEntry", entry)


def iter_lines(
    stream: ReadableStream, *, key: str | None = None, most_line_bytes: int = MOST_LINE_BYTES
) -> Iterator[ManifestEntry]:
    """Read the entries of one manifest; references are given, not followed.

    Args:
        stream: Where to read it from.
        key: Key of the manifest, for errors.
        most_line_bytes: Refuse longer lines.

    Raises:
        InvalidManifestError: A line is no entry, or too long; the text tells its number.
    """
    for block in iter_blocks(stream, key=key, most_line_bytes=most_line_bytes):
        yield from block.entries


def iter_blocks(
    stream: ReadableStream, *, key: str | None = None, most_line_bytes: int = MOST_LINE_BYTES
) -> Iterator[Block]:
    """Read the entries of one manifest by blocks of some dozen kilobytes.

    Args:
        stream: Where to read it from.
        key: Key of the manifest, for errors.
        most_line_bytes: Refuse longer lines.

    Raises:
        InvalidManifestError: A line is no entry, or too long. Entries before it are given first.
    """
    number = 1
    for text in _iter_texts(stream, most_line_bytes):
        if text is None:
            raise _too_long(number, key, most_line_bytes)
        block = _parse_quickly(text) if len(text) <= most_line_bytes else None
        if block is not None:
            number += len(block.entries)
            yield block
        else:
            yield from _parse_slowly(text, number, key, most_line_bytes)
            number += text.count(b"\n") + 1
        # The memory of these entries serves the next ones while it is still in the cache.
        del block


def iter_text(
    stream: ReadableStream, *, key: str | None = None, most_line_bytes: int = MOST_LINE_BYTES
) -> Iterator[str]:
    """Give the lines of a manifest as they are, blank ones too.

    Args:
        stream: Where to read it from, UTF-8.
        key: Key of the manifest, for errors.
        most_line_bytes: Refuse longer lines.

    Raises:
        InvalidManifestError: A line is too long, or no UTF-8.
    """
    number = 1
    for text in _iter_texts(stream, most_line_bytes):
        if text is None:
            raise _too_long(number, key, most_line_bytes)
        for line in text.split(b"\n"):
            if len(line) > most_line_bytes:
                raise _too_long(number, key, most_line_bytes)
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InvalidManifestError(_reason(error), number, key=key) from error
            number += 1


def _iter_texts(stream: ReadableStream, most_line_bytes: int) -> Iterator[bytes | None]:
    """Give whole lines, without the last line feed; nothing in place of a line that is too long."""
    unfinished: list[bytes] = []
    held = 0
    while piece := stream.read(_READ):
        start = 0
        while True:
            end = piece.rfind(b"\n", start, start + _PIECE)
            if end < 0:
                end = piece.find(b"\n", start + _PIECE)
                if end < 0:
                    break
            text = piece[start:end]
            if unfinished:
                text = b"".join((*unfinished, text))
                unfinished, held = [], 0
            yield text
            start = end + 1
        if start < len(piece):
            unfinished.append(piece[start:] if start else piece)
            held += len(piece) - start
            if held > most_line_bytes:
                yield None
                return
    if unfinished:
        yield b"".join(unfinished)


def _parse_slowly(
    text: bytes, number: int, key: str | None, most_line_bytes: int
) -> Iterator[Block]:
    """Parse whole lines one by one; a bad one raises after the entries before it were given."""
    entries: list[ManifestEntry] = []
    kept: list[bytes] = []
    failure: InvalidManifestError | None = None
    try:
        for line_number, line in enumerate(text.split(b"\n"), number):
            if not line or line.isspace():
                continue
            if len(line) > most_line_bytes:
                raise _too_long(line_number, key, most_line_bytes)
            entries.append(parse_line(line, line_number, key=key))
            kept.append(line)
    except InvalidManifestError as error:
        failure = error
    if entries:
        refs = [at for at, entry in enumerate(entries) if entry["kind"] == "manifest_ref"]
        yield Block(entries, refs, lines=kept)
    if failure is not None:
        raise failure


def _parse_quickly(text: bytes) -> Block | None:
    """Parse lines without a look at each; nothing where one of them needs a closer look."""
    if _has_long_integer(text):
        return None
    try:
        entries = _load_quickly(text)
    except orjson.JSONDecodeError:
        return None
    if entries is None:
        return None
    refs = _find_refs(entries)
    return None if refs is None else Block(entries, refs, text=text)


def _load_quickly(text: bytes) -> list[Any] | None:
    r"""Parse lines, each of them one value of JSON; nothing where one may be more or less.

    One array is parsed faster than its elements. An empty string takes the place of each line feed:
    an element between two others, and a mistake wherever a value reached over the end of its line,
    in an object and in a string. In an array it would not be one; lines with arrays go one by one.
    """
    if b"[" in text:
        return list(map(orjson.loads, text.split(b"\n")))
    joined = b"[%b]" % text.replace(b"\n", _BETWEEN)
    count = (len(joined) - 2 - len(text)) // (len(_BETWEEN) - 1) + 1
    values: list[Any] = orjson.loads(joined)
    # No line is without a value, so this many mean one for each.
    return values[::2] if len(values) == 2 * count - 1 else None


def _has_long_integer(text: bytes) -> bool:
    """Tell whether there is an integer that orjson might round; digits of text do not count.

    One that stands alone does not either, it is no entry.
    """
    # A copy in a bytearray is translated in two thirds of the time that bytes are, and searched
    # from the right in two thirds of the time again.
    return bytearray(text).translate(_DIGITS).rfind(_LONG_INTEGER) >= 0


def _load(line: bytes, number: int | None, key: str | None, *, long_integer: bool) -> object:
    if not long_integer:
        try:
            return orjson.loads(line)
        except orjson.JSONDecodeError:
            pass  # It may be NaN, a lone surrogate or the like, which json reads.
    try:
        return json.loads(line.decode("utf-8", "strict"))
    except RecursionError as error:
        raise InvalidManifestError("JSON nested too deep", number, key=key) from error
    except ValueError as error:
        told = _reason(error)
        raise InvalidManifestError(f"invalid JSON: {told}", number, key=key) from error


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start + 1}"
    return str(error).partition(";")[0]


def _too_long(number: int, key: str | None, most: int) -> InvalidManifestError:
    return InvalidManifestError(f"line of more than {most} bytes", number, key=key)


# ------------------------------------------------------------------------------------ writing


def serialize_entry(entry: ManifestEntry) -> bytes:
    """Write one entry as a line, without the line feed.

    Args:
        entry: The entry.

    Returns:
        Compact JSON in ASCII.

    Raises:
        TypeError: A value has no form in JSON.
        InvalidManifestError: It is nested too deep.
    """
    return _dump(entry)[:-1]


def serialize_blocks(
    entries: Iterable[ManifestEntry], *, first_number: int = 1
) -> Iterator[tuple[bytes, int]]:
    """Write entries as lines, some hundred at a time.

    Args:
        entries: The entries; they are taken as they come, never all held.
        first_number: Number of the first entry, for errors.

    Yields:
        Lines, each with its line feed, and how many they are.

    Raises:
        InvalidManifestError: Something is no entry; ``line_number`` tells which, counted from 1.
        TypeError: A value has no form in JSON.
    """
    source = iter(entries)
    count = _FIRST_BATCH
    while batch := list(islice(source, count)):
        are_dicts = {*map(type, batch)} == {dict}
        if not are_dicts or _find_refs(batch) is None:
            for position, entry in enumerate(batch, first_number):
                check_entry(entry, position)
        block = _dump_dicts(batch) if are_dicts else None
        if block is None:
            block = b"".join(map(_dump, batch))
        yield block, len(batch)
        first_number += len(batch)
        # Entries may be small or huge; what is held of them stays about the same.
        count = max(1, min(_BATCH, _BLOCK * len(batch) // len(block)))


def _dump_dicts(batch: list[ManifestEntry]) -> bytes | None:
    """Write entries with orjson; nothing where json would write one of them in another way."""
    if not _print_alike(dict, batch):
        return None
    written = io.BytesIO()
    try:
        written.writelines(map(orjson.dumps, batch, repeat(None), repeat(_OPTIONS)))
    except orjson.JSONEncodeError:
        return None  # A large integer, a lone surrogate, a name that is no text: json writes them.
    block = written.getvalue()
    if _is_plain_ascii(block):
        return block
    return b"".join(
        line if _is_plain_ascii(line) else _dump_exactly(entry)
        for line, entry in zip(block.splitlines(keepends=True), batch, strict=True)
    )


def _dump(entry: ManifestEntry) -> bytes:
    if type(entry) is dict and _print_alike(dict, [entry]):
        try:
            line = orjson.dumps(entry, None, _OPTIONS)
        except orjson.JSONEncodeError:
            pass  # As above.
        else:
            if _is_plain_ascii(line):
                return line
    return _dump_exactly(entry)


def _print_alike(kind: type, values: Sequence[Any], depth: int = _MOST_FAST_DEPTH) -> bool:
    """Tell whether orjson and json print these values the same way, text beyond ASCII apart.

    Args:
        kind: The type of all of them.
        values: The values; one at least.
        depth: How far to look into them.
    """
    if kind is float:
        # Both print the shortest digits; the exponents look different, NaN is null.
        return all(value == 0 or _LEAST <= abs(value) < _MOST for value in values)
    if kind not in _LOOKED_INTO or not depth:
        return False
    inner = list(chain.from_iterable(map(dict.values, values) if kind is dict else values))
    types = list(map(type, inner))
    # Values that hold as many as the first one does have columns; others are one column together.
    width = len(values[0])
    if width * len(values) != len(inner):
        width = 1
    # Mostly all are alike, which is told in half the time.
    uniform = types == types[:width] * (len(types) // (width or 1))
    for at in range(width):
        if uniform and types[at] in _PLAIN:
            continue
        for found in {*types[at::width]} - _PLAIN:
            those = inner[at::width]
            if not uniform:
                those = list(compress(those, map(is_, types[at::width], repeat(found))))
            if not _print_alike(found, those, depth - 1):
                return False
    return True


def _is_plain_ascii(line: bytes) -> bool:
    # json escapes DEL too.
    return line.isascii() and b"\x7f" not in line


def _dump_exactly(entry: object) -> bytes:
    try:
        return _encode(entry).encode("ascii") + b"\n"
    except RecursionError as error:
        raise InvalidManifestError("entry nested too deep") from error


def _plain_value(value: object) -> object:
    """Give what orjson makes of it, so that no entry depends on which of the two wrote it."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_encode: Callable[[object], str] = json.JSONEncoder(
    separators=(",", ":"), default=_plain_value
).encode
