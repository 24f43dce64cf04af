"""Pack, ship, prove and repair data on object storage, at native speed.

Example:
    >>> import shardpack
    >>> made = shardpack.encode_object(b"hello " * 1000)
    >>> shardpack.decode_object(made["body"], made["metadata"]) == b"hello " * 1000
    True
"""

# The types of all this stand in `__init__.pyi`.
from __future__ import annotations

from shardpack._native import __version__, gpu_available, thread_count

# Where the names live. A page is imported when one of its names, or itself, is first asked for:
# whoever hashes a file need not wait for the codecs, and the command starts at once.
_PAGES = {
    "archive": (),
    "checksum": ("crc32c", "crc32c_base64", "crc32c_combine", "crc32c_many"),
    "codec": (
        "MAX_ORIGINAL_SIZE",
        "BinaryArray",
        "Codec",
        "Compressor",
        "CpuGzip",
        "CpuZstd",
        "CpuZstdDict",
        "Decompressor",
        "Passthrough",
        "dict_id",
        "make_codec",
        "pick_codec",
        "train_dict",
    ),
    "codec_io": ("StreamReader", "StreamWriter"),
    "cpu": ("CpuFeatures", "cpu_features"),
    "errors": (
        "AccessDeniedError",
        "BackendUnavailable",
        "BulkError",
        "ComputationFailed",
        "ConcurrencyUnsupportedError",
        "DictionaryError",
        "EncryptedObjectError",
        "IntegrityError",
        "InvalidInput",
        "InvalidManifestError",
        "ManifestNotFoundError",
        "MissingPlaceholderError",
        "ObjectNotFoundError",
        "PreconditionFailedError",
        "ProofFormatError",
        "S3ExchangeError",
        "S4BackendError",
        "S4CodecMismatchError",
        "S4CrcMismatchError",
        "S4Error",
        "S4FrameError",
        "S4IndexError",
        "S4IoError",
        "S4ManifestSizeExceedsLimitError",
        "S4ManifestSizeMismatchError",
        "S4SizeMismatchError",
        "S4UnregisteredCodecError",
        "ShardReadError",
        "ShardpackError",
        "StorageError",
        "StorageUnavailableError",
        "UnsafePathError",
        "UnsupportedCodecError",
    ),
    "exchange": ("ExchangeStore", "S3ExchangeStore"),
    "files": (
        "FileReport",
        "compress_file",
        "decompress_file",
        "inspect_file",
        "iter_range",
        "read_range",
        "verify_file",
    ),
    "frame": (
        "FRAME_HEADER_BYTES",
        "FRAME_MAGIC",
        "PADDING_MAGIC",
        "SIDECAR_SUFFIX",
        "FrameHeader",
        "Index",
        "IndexEntry",
        "IndexSse",
        "RangePlan",
        "bind_index",
        "build_index",
        "decode_frames",
        "decode_index",
        "encode_frames",
        "encode_index",
        "frame_iter",
        "index_is_trusted",
        "pad_part",
        "parse_frame_header",
        "pick_chunk_size",
        "plan_range",
        "read_frame",
        "write_frame",
    ),
    "frame_io": ("FrameReader", "FrameWriter"),
    "hash": (),
    "nmt": (),
    "object": (
        "S4Object",
        "VerifyReport",
        "decode_object",
        "decode_range",
        "encode_object",
        "encode_s4_object",
        "verify_object",
    ),
    "parity": (),
    "rs": (),
    "storage": ("open_store",),
    "stream": ("open",),
}
_HOME = {name: page for page, names in _PAGES.items() for name in names}

__all__ = [  # noqa: PLE0604 - the pages without names of their own are what is offered of them
    "__version__",
    "gpu_available",
    "thread_count",
    *_HOME,
    *(page for page, names in _PAGES.items() if not names),
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _PAGES:
        return import_module(f"shardpack.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"shardpack.{_HOME[name]}"), name)
    # From now on Python finds it without asking here.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_PAGES})
