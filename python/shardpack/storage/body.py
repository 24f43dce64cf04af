"""The body of a stored object as a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardpack.body import Body, MemoryBody

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from shardpack.storage.base import ObjectInfo

__all__ = ["BytesBody", "ObjectBody"]


class ObjectBody(Body):
    """The bytes of an object, or of a part of it, read from the front.

    A subclass says how the next bytes come (``_next_into``) and what is released at the end
    (``_release``). Reads are exact: less than was asked for comes only at the true end, and a
    source that ends too early raises.

    Attributes:
        info: What the store said about the object with the first response.
    """

    info: ObjectInfo

    def __repr__(self) -> str:
        # A debugger may look at a body that is not set up yet.
        info = getattr(self, "info", None)
        told = f"<{type(self).__name__}"
        if info is not None:
            count = f"{info.size} byte{'s' * (info.size != 1)}"
            length = count if info.size >= 0 else "unknown length"
            told += f" of {info.key!r}, {length}" if info.key else f" of {length}"
        return told + (", closed>" if self.closed else ">")


class BytesBody(MemoryBody, ObjectBody):
    """A body that is in memory already, and can therefore seek."""

    def __init__(self, data: Buffer, info: ObjectInfo) -> None:
        super().__init__(data)
        self.info = info
