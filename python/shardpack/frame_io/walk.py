"""Step through a body frame by frame, without decoding anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shardpack.batch import lazy_buffer
from shardpack.errors import DictionaryError, S4FrameError, S4ManifestSizeExceedsLimitError
from shardpack.frame import FRAME_HEADER_BYTES, PADDING_MAGIC, parse_frame_header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shardpack.frame_io.source import ByteSource
    from shardpack.frame_io.table import FrameTable

__all__ = ["READ_BATCH_BYTES", "Frame", "FrameWalker"]

_MAGIC_BYTES = 4
_PADDING_HEADER_BYTES = 12

# A batch exists as it is stored and decoded, and the caller may hold nothing of the one before.
READ_BATCH_BYTES = 64 << 20


class Frame(NamedTuple):
    """A frame header with its place in the body; sizes and offsets are bytes."""

    offset: int
    codec: str
    original_size: int
    payload_size: int
    raw_header: bytes

    @property
    def stored_size(self) -> int:
        """Header and payload."""
        return FRAME_HEADER_BYTES + self.payload_size


class FrameWalker:
    """The position in a body, between two frames.

    Attributes:
        original_position: Original bytes before the next frame.
        frame_number: Frames before the next frame.
        codec_counts: Frames passed so far, by codec name, in the order of their appearance.
    """

    def __init__(
        self, source: ByteSource, *, max_original_size: int, dictionary_given: bool
    ) -> None:
        self._source = source
        self._max_original_size = max_original_size
        self._dictionary_given = dictionary_given
        self._next: Frame | None = None
        self._buffer = memoryview(b"")
        self.original_position = 0
        self.frame_number = 0
        self.codec_counts: dict[str, int] = {}

    def go_to(self, number: int, stored_offset: int, original_offset: int) -> None:
        """Continue at another frame of a source that can seek."""
        self._next = None
        self.frame_number = number
        self._source.seek(stored_offset)
        self.original_position = original_offset

    def lose_place(self) -> None:
        """Make the position one that no read wants, so that ``go_to`` comes first."""
        self.original_position = -1

    def scan(self) -> Iterator[tuple[int, int, int]]:
        """Give stored offset, stored size and original size of every frame, from the first on.

        Reads 28 bytes of each frame and steps over its payload. The place is lost with it.
        """
        self.go_to(0, 0, 0)
        self.lose_place()
        for frame in self.headers():
            yield frame.offset, frame.stored_size, frame.original_size

    def headers(self) -> Iterator[Frame]:
        """Give every frame from here on, stepping over the payloads."""
        while (frame := self._peek()) is not None:
            self._source.skip(frame.payload_size)
            self._pass(frame)
            yield frame

    def take_batch(
        self, limit: int, *, stop: int | None, table: FrameTable | None
    ) -> tuple[memoryview, int]:
        """Read the next frames whole: at least one, more while they stay within a limit.

        Args:
            limit: Most bytes, original or stored, of a batch of several frames.
            stop: Take no frame that starts at or after this original offset.
            table: What the frames are compared with if it came from a sidecar.

        Returns:
            The frames as they are stored, without padding, empty at the end of the body, in a
            buffer that the next call uses again; and the number of original bytes they claim.

        Raises:
            S4FrameError: The input is cut short or no frame.
            S4ManifestSizeExceedsLimitError: A frame claims more original bytes than allowed.
            DictionaryError: A frame needs a dictionary and none was given.
            S4IndexError: The frames are not those of the table.
        """
        filled = original = 0
        while not filled or (
            max(filled, original) < limit and (stop is None or self.original_position < stop)
        ):
            frame = self._peek()
            if frame is None:
                break
            larger = max(original + frame.original_size, filled + frame.stored_size)
            if filled and larger > limit:
                break
            self._check(frame, table)
            filled = self._read_frame(frame, filled)
            self._pass(frame)
            original += frame.original_size
            self.original_position += frame.original_size
        return self._buffer[:filled], original

    def _read_frame(self, frame: Frame, filled: int) -> int:
        """Append a frame to the batch; gives the length of the batch."""
        end = filled + frame.stored_size
        # What is reserved costs nothing until real bytes fill it, but only so much is reserved
        # on the word of a header; a larger frame makes room as it arrives.
        self._reserve(min(end, max(READ_BATCH_BYTES, filled + FRAME_HEADER_BYTES)), filled)
        start = filled + FRAME_HEADER_BYTES
        self._buffer[filled:start] = frame.raw_header
        while start < end:
            if start == self._buffer.nbytes:
                self._reserve(2 * start, start)
            stop = min(end, self._buffer.nbytes)
            self._source.fill(self._buffer[start:stop], frame.payload_size)
            start = stop
        return end

    def _reserve(self, size: int, filled: int) -> None:
        if size > self._buffer.nbytes:
            larger = lazy_buffer(max(size, min(2 * self._buffer.nbytes, READ_BATCH_BYTES)))
            larger[:filled] = self._buffer[:filled]
            self._buffer = larger

    def _pass(self, frame: Frame) -> None:
        self._next = None
        self.frame_number += 1
        self.codec_counts[frame.codec] = self.codec_counts.get(frame.codec, 0) + 1

    def _check(self, frame: Frame, table: FrameTable | None) -> None:
        if frame.original_size > self._max_original_size:
            error = S4ManifestSizeExceedsLimitError(
                f"frame at byte {frame.offset} claims {frame.original_size} bytes"
                f" but limit is {self._max_original_size}"
            )
            error.requested = frame.original_size
            error.limit = self._max_original_size
            raise error
        if frame.codec == "cpu-zstd-dict" and not self._dictionary_given:
            raise DictionaryError(
                f"frame at byte {frame.offset} was compressed with a dictionary: give it"
                " (dictionary= or dicts=, on the command line --dictionary FILE)"
            )
        if table is not None:
            table.check(self.frame_number, frame.offset, frame.stored_size, frame.original_size)

    def _peek(self) -> Frame | None:
        """Read the next header, stepping over padding; ``None`` at the end of the body."""
        while self._next is None:
            offset = self._source.position
            head = self._source.take(_MAGIC_BYTES)
            if not head:
                return None
            if head == PADDING_MAGIC:
                length = self._source.take(_PADDING_HEADER_BYTES - _MAGIC_BYTES)
                if len(length) < _PADDING_HEADER_BYTES - _MAGIC_BYTES:
                    raise S4FrameError(f"frame error: padding at byte {offset} is cut short")
                self._source.skip(int.from_bytes(length, "little"))
                continue
            head += self._source.take(FRAME_HEADER_BYTES - _MAGIC_BYTES)
            header = parse_frame_header(head)
            self._next = Frame(
                offset, header["codec"], header["original_size"], header["compressed_size"], head
            )
        return self._next
