"""Arrow arrays made and read with ctypes alone: a consumer and a producer without pyarrow."""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CapsuleArray", "read_capsules"]


class ArrowSchema(ctypes.Structure):
    """The C struct of the Arrow C data interface."""


class ArrowArray(ctypes.Structure):
    """The C struct of the Arrow C data interface."""


RELEASE_SCHEMA = ctypes.CFUNCTYPE(None, ctypes.POINTER(ArrowSchema))
RELEASE_ARRAY = ctypes.CFUNCTYPE(None, ctypes.POINTER(ArrowArray))

ArrowSchema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_char_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.c_void_p),
    ("dictionary", ctypes.c_void_p),
    ("release", RELEASE_SCHEMA),
    ("private_data", ctypes.c_void_p),
]
ArrowArray._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.c_void_p),
    ("dictionary", ctypes.c_void_p),
    ("release", RELEASE_ARRAY),
    ("private_data", ctypes.c_void_p),
]

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = ctypes.c_void_p
_capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


class CapsuleArray:
    """A binary array that offers ``__arrow_c_array__`` and nothing else.

    Attributes:
        released: How often the consumer released the array.
    """

    def __init__(self, values: Sequence[bytes | None], format: bytes = b"z") -> None:  # noqa: A002
        self.released = 0
        self._format = format
        offsets, data, valid = [0], bytearray(), 0
        for number, value in enumerate(values):
            data += value or b""
            offsets.append(len(data))
            valid |= (value is not None) << number
        code = "q" if format == b"Z" else "i"
        self._length = len(values)
        self._nulls = sum(value is None for value in values)
        self._buffers = [
            ctypes.create_string_buffer(valid.to_bytes(len(values) // 8 + 1, "little")),
            ctypes.create_string_buffer(struct.pack(f"<{len(offsets)}{code}", *offsets)),
            ctypes.create_string_buffer(bytes(data), max(1, len(data))),
        ]
        self._pointers = (ctypes.c_void_p * 3)(
            *(ctypes.addressof(buffer) for buffer in self._buffers)
        )
        self._callbacks = RELEASE_SCHEMA(self._release_schema), RELEASE_ARRAY(self._release_array)
        self._structs: list[Any] = []

    def _release_schema(self, schema: Any) -> None:
        schema.contents.release = RELEASE_SCHEMA()

    def _release_array(self, array: Any) -> None:
        array.contents.release = RELEASE_ARRAY()
        self.released += 1

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        schema = ArrowSchema(format=self._format, name=b"", flags=2, release=self._callbacks[0])
        array = ArrowArray(
            length=self._length,
            null_count=self._nulls,
            n_buffers=3,
            buffers=self._pointers,
            release=self._callbacks[1],
        )
        # The structs move to the consumer, but their memory stays ours: no destructor.
        self._structs += [schema, array]
        return (
            _new_capsule(ctypes.addressof(schema), b"arrow_schema", None),
            _new_capsule(ctypes.addressof(array), b"arrow_array", None),
        )


def _bytes_at(address: int, size: int) -> bytes:
    return ctypes.string_at(address, size) if size else b""


def read_capsules(source: Any) -> tuple[str, list[bytes | None]]:
    """Read any binary array by the letter of the C data interface.

    Args:
        source: An object with ``__arrow_c_array__``.

    Returns:
        Its format (``z`` or ``Z``) and its values.
    """
    schema_capsule, array_capsule = source.__arrow_c_array__()
    schema = ArrowSchema.from_address(_capsule_pointer(schema_capsule, b"arrow_schema"))
    array = ArrowArray.from_address(_capsule_pointer(array_capsule, b"arrow_array"))
    code = {b"z": "i", b"Z": "q"}[schema.format]
    length, first = array.length, array.offset
    validity, offsets_at, data_at = (array.buffers[number] for number in range(3))
    width = struct.calcsize(code)
    raw = _bytes_at(offsets_at, (first + length + 1) * width)
    offsets = struct.unpack(f"<{first + length + 1}{code}", raw)
    bits = _bytes_at(validity, (first + length + 7) // 8) if validity else None
    values: list[bytes | None] = []
    for number in range(first, first + length):
        present = bits is None or bits[number // 8] >> number % 8 & 1
        size = offsets[number + 1] - offsets[number]
        values.append(_bytes_at(data_at + offsets[number], size) if present else None)
    assert array.null_count in {-1, values.count(None)}
    return schema.format.decode(), values
