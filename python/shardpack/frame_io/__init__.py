"""S4F2 frames through file objects and iterables, of any size in bounded memory."""

from __future__ import annotations

from shardpack.frame_io.reader import FrameReader
from shardpack.frame_io.writer import FrameWriter

__all__ = ["FrameReader", "FrameWriter"]
