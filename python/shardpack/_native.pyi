"""Types of the compiled core. Private: import these names from ``shardpack``."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, Self, final, overload

from typing_extensions import Buffer, disjoint_base

from shardpack.frame import FrameHeader, Index, RangePlan
from shardpack.object import S4Object, VerifyReport

class _ArrowArray(Protocol):
    def __arrow_c_array__(
        self, requested_schema: object | None = None
    ) -> tuple[object, object]: ...

class _ArrowStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

__all__ = [
    "FRAME_HEADER_BYTES",
    "FRAME_MAGIC",
    "MAX_ORIGINAL_SIZE",
    "PADDING_MAGIC",
    "SIDECAR_SUFFIX",
    "BinaryArray",
    "Codec",
    "Compressor",
    "CpuGzip",
    "CpuZstd",
    "CpuZstdDict",
    "Decompressor",
    "Passthrough",
    "__version__",
    "bind_index",
    "build_index",
    "crc32c",
    "crc32c_combine",
    "decode_frames",
    "decode_index",
    "decode_object",
    "decode_range",
    "dict_id",
    "encode_frames",
    "encode_index",
    "encode_object",
    "encode_s4_object",
    "frame_iter",
    "gpu_available",
    "index_is_trusted",
    "pad_part",
    "parse_frame_header",
    "pick_chunk_size",
    "pick_codec",
    "plan_range",
    "read_frame",
    "thread_count",
    "train_dict",
    "verify_object",
    "write_frame",
]
__version__: str

# --- checksum -------------------------------------------------------------------------------

def crc32c(data: Buffer, init: int = 0) -> int: ...
def crc32c_combine(a: int, b: int, len_b: int) -> int: ...

# --- codec ----------------------------------------------------------------------------------

MAX_ORIGINAL_SIZE: int

@disjoint_base
class Codec:
    @property
    def name(self) -> str: ...
    def compress(self, data: Buffer) -> tuple[bytes, int, int]: ...
    def decompress(
        self,
        data: Buffer,
        original_size: int,
        crc32c: int,
        *,
        max_original_size: int = ...,
    ) -> bytes: ...
    def compress_bound(self, size: int) -> int: ...
    def compress_into(self, data: Buffer, dst: Buffer) -> tuple[int, int, int]: ...
    def decompress_into(self, data: Buffer, dst: Buffer, crc32c: int | None = None) -> int: ...
    def decompress_all(
        self,
        data: Buffer,
        *,
        original_size: int | None = None,
        max_original_size: int = ...,
        threads: int | None = None,
    ) -> bytes: ...
    @overload
    def compress_many(
        self, records: _ArrowArray | _ArrowStream, *, threads: int | None = None
    ) -> BinaryArray: ...
    @overload
    def compress_many(
        self, records: Sequence[Buffer | None], *, threads: int | None = None
    ) -> list[bytes | None]: ...
    @overload
    def decompress_many(
        self,
        records: _ArrowArray | _ArrowStream,
        *,
        max_original_size: int = ...,
        threads: int | None = None,
    ) -> BinaryArray: ...
    @overload
    def decompress_many(
        self,
        records: Sequence[Buffer | None],
        *,
        max_original_size: int = ...,
        threads: int | None = None,
    ) -> list[bytes | None]: ...
    def compressor(self) -> Compressor: ...
    def decompressor(self) -> Decompressor: ...

@final
class CpuZstd(Codec):
    def __new__(
        cls, level: int = 3, *, content_size: bool = False, checksum: bool = False
    ) -> Self: ...
    def __getnewargs_ex__(self) -> tuple[tuple[int], dict[str, bool]]: ...
    @property
    def level(self) -> int: ...
    @property
    def content_size(self) -> bool: ...
    @property
    def checksum(self) -> bool: ...

@final
class CpuGzip(Codec):
    def __new__(cls, level: int = 6) -> Self: ...
    @property
    def level(self) -> int: ...
    def compress_members(
        self, data: Buffer, *, member_size: int = ..., threads: int | None = None
    ) -> bytes: ...

@final
class CpuZstdDict(Codec):
    def __new__(
        cls,
        dict_bytes: Buffer,
        level: int = 3,
        *,
        content_size: bool = False,
        checksum: bool = False,
    ) -> Self: ...
    def __getnewargs_ex__(self) -> tuple[tuple[bytes, int], dict[str, bool]]: ...
    @property
    def level(self) -> int: ...
    @property
    def content_size(self) -> bool: ...
    @property
    def checksum(self) -> bool: ...
    @property
    def dict_bytes(self) -> bytes: ...
    @property
    def dict_id(self) -> str: ...

@final
class Passthrough(Codec):
    def __new__(cls) -> Self: ...

@final
class Compressor:
    def compress(self, data: Buffer) -> bytes: ...
    def flush(self) -> bytes: ...

@final
class Decompressor:
    def decompress(self, data: Buffer = b"", max_length: int = -1) -> bytes: ...
    def flush(self) -> None: ...
    @property
    def needs_input(self) -> bool: ...

@final
class BinaryArray:
    def __new__(cls, values: Sequence[Buffer | None], /) -> Self: ...
    def __getnewargs__(self) -> tuple[list[bytes | None]]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> bytes | None: ...
    def __iter__(self) -> Iterator[bytes | None]: ...
    @property
    def nbytes(self) -> int: ...
    def __arrow_c_array__(
        self, requested_schema: object | None = None
    ) -> tuple[object, object]: ...
    def to_pyarrow(self) -> Any: ...

def train_dict(samples: Iterable[Buffer], size: int = 112640) -> bytes: ...
def dict_id(dict: Buffer) -> str: ...
def pick_codec(
    sample: Buffer, total_size: int | None = None
) -> Literal["cpu-zstd", "passthrough"]: ...

# --- frame ----------------------------------------------------------------------------------

FRAME_MAGIC: bytes
PADDING_MAGIC: bytes
FRAME_HEADER_BYTES: int
SIDECAR_SUFFIX: str

def read_frame(data: Buffer) -> tuple[FrameHeader, bytes, bytes]: ...
def frame_iter(data: Buffer) -> list[tuple[FrameHeader, bytes]]: ...
def parse_frame_header(data: Buffer) -> FrameHeader: ...
def write_frame(codec: Codec, data: Buffer) -> bytes: ...
def encode_frames(
    codec: Codec, data: Buffer, chunk_size: int, *, threads: int | None = None
) -> tuple[bytes, list[tuple[int, int]], int]: ...
def decode_frames(
    data: Buffer,
    *,
    dicts: Mapping[str, Buffer] | None = None,
    dict_id: str | None = None,
    max_original_size: int = ...,
    threads: int | None = None,
) -> bytes: ...
def pad_part(framed: Buffer, original_size: int, *, uniform: bool = False) -> bytes: ...
def pick_chunk_size(content_length: int) -> int: ...
def decode_index(data: Buffer) -> Index: ...
def encode_index(index: Mapping[str, object]) -> bytes: ...
def build_index(body: Buffer) -> bytes: ...
def bind_index(
    sidecar: Buffer, source_compressed_size: int, source_etag: str | None = None
) -> bytes: ...
def index_is_trusted(sidecar: Buffer, size: int | None = None, etag: str | None = None) -> bool: ...
def plan_range(index: Buffer, start: int, end: int) -> RangePlan | None: ...

# --- object ---------------------------------------------------------------------------------

def encode_s4_object(data: Buffer, codec: str = "cpu-zstd", level: int = 3) -> S4Object: ...
def encode_object(
    data: Buffer,
    codec: str | Codec = "auto",
    level: int | None = None,
    chunk_size: int | None = None,
    *,
    threads: int | None = None,
) -> S4Object: ...
def decode_object(
    body: Buffer,
    metadata: Mapping[str, str] | None = None,
    sidecar: Buffer | None = None,
    dicts: Mapping[str, Buffer] | None = None,
    *,
    max_original_size: int = ...,
    threads: int | None = None,
) -> bytes: ...
def decode_range(
    body: Buffer,
    start: int,
    end: int,
    metadata: Mapping[str, str] | None = None,
    sidecar: Buffer | None = None,
    dicts: Mapping[str, Buffer] | None = None,
    *,
    max_original_size: int = ...,
    threads: int | None = None,
) -> bytes: ...
def verify_object(
    body: Buffer,
    metadata: Mapping[str, str] | None = None,
    sidecar: Buffer | None = None,
    dicts: Mapping[str, Buffer] | None = None,
    *,
    etag: str | None = None,
    max_original_size: int = ...,
    threads: int | None = None,
) -> VerifyReport: ...

# --- pool -----------------------------------------------------------------------------------

def thread_count() -> int: ...
def gpu_available() -> bool: ...
