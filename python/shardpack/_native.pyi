"""Types of the compiled core. Private: import these names from ``shardpack``."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, Self, TypeAlias, final, overload

from typing_extensions import Buffer, disjoint_base

from shardpack.cpu import CpuFeatures
from shardpack.frame import FrameHeader, Index, RangePlan
from shardpack.object import S4Object, VerifyReport
from shardpack.rs import ParityShard

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
    "Blake3",
    "Codec",
    "Compressor",
    "CpuGzip",
    "CpuZstd",
    "CpuZstdDict",
    "Crc32c",
    "Decompressor",
    "Encoder",
    "GzipIndexer",
    "Hasher",
    "Keccak256",
    "Passthrough",
    "Proof",
    "Sha3_256",
    "Sha256",
    "Tree",
    "__version__",
    "bind_index",
    "blake3",
    "build_index",
    "cpu_features",
    "crc32c",
    "crc32c_combine",
    "crc32c_many",
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
    "gzip_resume",
    "hash_file",
    "hash_many",
    "hash_many_packed",
    "index_is_trusted",
    "keccak256",
    "md5_many",
    "nmt_empty_root",
    "nmt_parse_root",
    "nmt_root",
    "nmt_root_packed",
    "nmt_verify",
    "nmt_verify_namespace",
    "nmt_verify_range",
    "pad_part",
    "parse_frame_header",
    "pick_chunk_size",
    "pick_codec",
    "plan_range",
    "read_frame",
    "rs_decode_striped",
    "rs_encode",
    "rs_encode_into",
    "rs_encode_striped",
    "rs_join",
    "rs_locate",
    "rs_rebuild",
    "rs_rebuild_into",
    "rs_repair",
    "rs_split",
    "rs_update",
    "rs_verify",
    "sha3_256",
    "sha256",
    "thread_count",
    "train_dict",
    "verify_object",
    "write_frame",
]
__version__: str

# --- checksum -------------------------------------------------------------------------------

def crc32c(data: Buffer, init: int = 0) -> int: ...
def crc32c_combine(a: int, b: int, len_b: int) -> int: ...
@overload
def crc32c_many(buffers: Iterable[Buffer], *, threads: int | None = None) -> list[int]: ...
@overload
def crc32c_many(
    buffers: _ArrowArray | _ArrowStream | Iterable[Buffer | None], *, threads: int | None = None
) -> list[int | None]: ...

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
class GzipIndexer:
    def __new__(cls, *, span: int = ...) -> Self: ...
    def decompress(self, data: Buffer = b"", max_length: int = -1) -> bytes: ...
    def finish(self) -> int: ...
    @property
    def needs_input(self) -> bool: ...
    def take_points(self) -> list[tuple[int, int, int, bytes, int]]: ...

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

def gzip_resume(window: Buffer, bits: int, data: Buffer, size: int) -> bytes: ...
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

# --- rs -------------------------------------------------------------------------------------

_Shards: TypeAlias = Iterable[Buffer | None] | Buffer

def rs_encode(
    data_shards: _Shards, parity_shards: int, *, threads: int | None = None
) -> list[ParityShard]: ...
def rs_encode_into(
    data_shards: _Shards, outputs: Iterable[Buffer] | Buffer, *, threads: int | None = None
) -> None: ...
def rs_rebuild(
    shards: _Shards, data_shards: int, wanted: Sequence[int], *, threads: int | None = None
) -> list[bytes]: ...
def rs_rebuild_into(
    shards: _Shards,
    data_shards: int,
    wanted: Sequence[int],
    outputs: Iterable[Buffer] | Buffer,
    *,
    threads: int | None = None,
) -> None: ...
def rs_verify(shards: _Shards, data_shards: int, *, threads: int | None = None) -> bool: ...
def rs_update(
    parity: _Shards,
    data_shards: int,
    index: int,
    old: Buffer,
    new: Buffer,
    *,
    threads: int | None = None,
) -> list[ParityShard]: ...
def rs_repair(
    shards: _Shards,
    data_shards: int,
    digests: Iterable[Buffer] | Buffer,
    hash: str,
    *,
    threads: int | None = None,
) -> list[tuple[int, bytes]]: ...
def rs_locate(
    shards: _Shards, data_shards: int, max_errors: int, *, threads: int | None = None
) -> list[int] | None: ...
def rs_split(data: Buffer, data_shards: int) -> list[bytes]: ...
def rs_join(shards: _Shards, size: int) -> bytes: ...
def rs_encode_striped(
    data: Buffer,
    data_shards: int,
    parity_shards: int,
    block: int,
    *,
    threads: int | None = None,
) -> list[bytes]: ...
def rs_decode_striped(
    shards: _Shards, data_shards: int, block: int, size: int, *, threads: int | None = None
) -> bytes: ...

@final
class Encoder:
    def __new__(cls, data_shards: int, parity_shards: int, shard_len: int) -> Self: ...
    def add(self, index: int, piece: Buffer, offset: int = 0) -> Self: ...
    def parity(self) -> list[ParityShard]: ...
    @property
    def data_shards(self) -> int: ...
    @property
    def parity_shards(self) -> int: ...
    @property
    def shard_len(self) -> int: ...

# --- hash -----------------------------------------------------------------------------------

def blake3(
    data: Buffer,
    *,
    key: Buffer | None = None,
    context: str | None = None,
    length: int = 32,
    threads: int | None = None,
) -> bytes: ...
def sha256(data: Buffer) -> bytes: ...
def keccak256(data: Buffer) -> bytes: ...
def sha3_256(data: Buffer) -> bytes: ...
def md5_many(buffers: Sequence[Buffer]) -> list[bytes]: ...
@overload
def hash_many(
    algorithm: str, buffers: _ArrowArray | _ArrowStream, *, threads: int | None = None
) -> BinaryArray: ...
@overload
def hash_many(
    algorithm: str, buffers: Iterable[Buffer], *, threads: int | None = None
) -> list[bytes]: ...
@overload
def hash_many(
    algorithm: str, buffers: Iterable[Buffer | None], *, threads: int | None = None
) -> list[bytes | None]: ...
def hash_many_packed(
    algorithm: str,
    buffers: _ArrowArray | _ArrowStream | Iterable[Buffer],
    *,
    threads: int | None = None,
) -> bytes: ...
def hash_file(
    fd: int,
    size: int,
    algorithm: str,
    *,
    on_done: Callable[[int], object] | None = None,
    threads: int | None = None,
) -> bytes | None: ...

@disjoint_base
class Hasher:
    name: ClassVar[str]
    digest_size: ClassVar[int]
    block_size: ClassVar[int]
    def update(self, data: Buffer, /) -> Self: ...
    def digest(self) -> bytes: ...
    def hexdigest(self) -> str: ...
    def copy(self) -> Self: ...

@final
class Blake3(Hasher):
    def __new__(
        cls, data: Buffer = b"", /, *, key: Buffer | None = None, context: str | None = None
    ) -> Self: ...
    def update(self, data: Buffer, /, *, threads: int | None = None) -> Self: ...
    def digest(self, length: int = 32, *, seek: int = 0) -> bytes: ...
    def hexdigest(self, length: int = 32, *, seek: int = 0) -> str: ...

@final
class Sha256(Hasher):
    def __new__(cls, data: Buffer = b"", /) -> Self: ...

@final
class Keccak256(Hasher):
    def __new__(cls, data: Buffer = b"", /) -> Self: ...

@final
class Sha3_256(Hasher):  # noqa: N801 - as hashlib writes it
    def __new__(cls, data: Buffer = b"", /) -> Self: ...

@final
class Crc32c(Hasher):
    def __new__(cls, data: Buffer = b"", /) -> Self: ...

# --- nmt ------------------------------------------------------------------------------------

_Values: TypeAlias = _ArrowArray | _ArrowStream | Iterable[Buffer]
_Hash: TypeAlias = Literal["sha256", "blake3", "keccak256"]

def nmt_root(
    leaves: _Values,
    namespaces: _Values,
    *,
    hash: str = "sha256",
    ns_size: int = 8,
    ignore_max_namespace: bool = False,
    sort: bool = False,
    allow_empty: bool = False,
    threads: int | None = None,
) -> bytes: ...
def nmt_root_packed(
    data: Buffer,
    offsets: Buffer,
    namespaces: Buffer,
    *,
    hash: str = "sha256",
    ns_size: int = 8,
    ignore_max_namespace: bool = False,
    sort: bool = False,
    allow_empty: bool = False,
    threads: int | None = None,
) -> bytes: ...
def nmt_empty_root(ns_size: int = 8, hash: str = "sha256") -> bytes: ...
def nmt_parse_root(root: Buffer, ns_size: int = 8) -> tuple[bytes, bytes, bytes]: ...
def nmt_verify(
    proof: Proof | Buffer,
    leaf: Buffer,
    namespace: Buffer,
    root: Buffer,
    *,
    hash: str | None = None,
    size: int | None = None,
    ignore_max_namespace: bool | None = None,
) -> bool: ...
def nmt_verify_range(
    proof: Proof | Buffer,
    leaves: _Values,
    namespace: Buffer,
    root: Buffer,
    *,
    hash: str | None = None,
    size: int | None = None,
    ignore_max_namespace: bool | None = None,
) -> bool: ...
def nmt_verify_namespace(
    proof: Proof | Buffer,
    leaves: _Values,
    namespace: Buffer,
    root: Buffer,
    *,
    hash: str | None = None,
    size: int | None = None,
    ignore_max_namespace: bool | None = None,
) -> bool: ...

@final
class Proof:
    def __new__(cls, data: Buffer, /) -> Self: ...
    def __getnewargs__(self) -> tuple[bytes]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __bytes__(self) -> bytes: ...
    @staticmethod
    def from_bytes(data: Buffer, /) -> Proof: ...
    def to_bytes(self) -> bytes: ...
    @property
    def kind(self) -> Literal["inclusion", "namespace", "absence", "empty"]: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def nodes(self) -> tuple[bytes, ...]: ...
    @property
    def leaf_nodes(self) -> tuple[bytes, ...]: ...
    @property
    def hash(self) -> _Hash: ...
    @property
    def ns_size(self) -> int: ...
    @property
    def ignore_max_namespace(self) -> bool: ...
    @staticmethod
    def from_celestia_json(
        data: str | Buffer,
        *,
        kind: str,
        ns_size: int = 29,
        ignore_max: bool | None = None,
        hash: str = "sha256",
    ) -> Proof: ...
    def to_celestia_json(self) -> str: ...
    @staticmethod
    def from_celestia_protobuf(
        data: Buffer,
        *,
        kind: str,
        ns_size: int = 29,
        ignore_max: bool | None = None,
        hash: str = "sha256",
    ) -> Proof: ...
    def to_celestia_protobuf(self) -> bytes: ...

@final
class Tree:
    def __new__(
        cls, *, hash: str = "sha256", ns_size: int = 8, ignore_max_namespace: bool = False
    ) -> Self: ...
    def push(self, namespace: Buffer, data: Buffer) -> int: ...
    def extend(
        self, namespaces: _Values, leaves: _Values, *, threads: int | None = None
    ) -> None: ...
    def __len__(self) -> int: ...
    def root(self) -> bytes: ...
    def leaf_range(self, namespace: Buffer) -> tuple[int, int]: ...
    def prove(self, index: int) -> Proof: ...
    def prove_range(self, start: int, end: int, leaf_nodes: bool = False) -> Proof: ...
    def prove_namespace(self, namespace: Buffer, leaf_nodes: bool = False) -> Proof: ...
    @property
    def hash(self) -> _Hash: ...
    @property
    def ns_size(self) -> int: ...
    @property
    def ignore_max_namespace(self) -> bool: ...

# --- cpu ------------------------------------------------------------------------------------

def cpu_features() -> CpuFeatures: ...

# --- pool -----------------------------------------------------------------------------------

def thread_count() -> int: ...
def gpu_available() -> bool: ...
