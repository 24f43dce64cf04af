"""Every exception that shardpack raises, in one tree.

``ShardpackError`` is the root: ``except ShardpackError`` catches whatever this package reports.
Each class has a built-in as second parent, the one that callers of the older packages already
catch: ``S4Error`` is a ``ValueError``, ``S4IoError`` an ``OSError``, refusals are
``NotImplementedError``. The names that start with ``S4`` are those of ``s4-codec``;
``InvalidInput``, ``ComputationFailed`` and ``BackendUnavailable`` those of ``animica_native``,
where all of them are ``RuntimeError``.

All of them pickle, so that they cross process borders in bulk jobs. Facts about a failure are
attributes (``expected``, ``actual``, ...), ``None`` where they do not apply; they survive pickling.
"""

from __future__ import annotations

__all__ = [
    "BackendUnavailable",
    "ComputationFailed",
    "DictionaryError",
    "EncryptedObjectError",
    "InvalidInput",
    "ProofFormatError",
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
    "ShardpackError",
    "UnsupportedCodecError",
]


class ShardpackError(Exception):
    """Root of all errors of this package."""


class S4Error(ShardpackError, ValueError):
    """A payload, frame, sidecar or object that is not what it claims to be."""


class S4CrcMismatchError(S4Error):
    """The decoded bytes have another CRC32C than the one recorded for them.

    Attributes:
        expected: The recorded CRC32C, an unsigned 32-bit number.
        actual: The CRC32C of the bytes that were decoded.
    """

    expected: int | None = None
    actual: int | None = None


class S4SizeMismatchError(S4Error):
    """A payload decoded to fewer bytes than recorded for it.

    Attributes:
        expected: The recorded length in bytes.
        actual: The length in bytes that came out.
    """

    expected: int | None = None
    actual: int | None = None


class S4CodecMismatchError(S4Error):
    """A payload was made by another codec than the one asked to read it."""


class S4UnregisteredCodecError(S4Error):
    """A frame names a codec that this reader was not given."""


class S4ManifestSizeExceedsLimitError(S4Error):
    """A claimed original size is above the limit; nothing was decoded.

    Attributes:
        requested: The claimed size in bytes.
        limit: The limit in bytes; raise it with ``max_original_size=``.
    """

    requested: int | None = None
    limit: int | None = None


class S4ManifestSizeMismatchError(S4Error):
    """The metadata of an object states another size than its body has.

    Attributes:
        expected: The size in bytes that the metadata states.
        actual: The size in bytes that was found.
    """

    expected: int | None = None
    actual: int | None = None


class S4FrameError(S4Error):
    """Bytes that should be an S4F2 frame or S4P1 padding are not."""


class S4IndexError(S4Error):
    """Bytes that should be an S4IX sidecar are not."""


class DictionaryError(S4Error):
    """A payload needs a dictionary that was not given, or that is not the one it names.

    Attributes:
        dict_id: The 16 hexadecimal digits of the dictionary that is needed.
    """

    dict_id: str | None = None


class S4BackendError(ShardpackError, RuntimeError):
    """A codec cannot be set up, or a GPU payload (FCG1) is damaged."""


class S4IoError(ShardpackError, OSError):
    """A decoder failed: damaged or cut input, or more output than claimed (a bomb)."""


class UnsupportedCodecError(ShardpackError, NotImplementedError):
    """A codec that cannot be read or written here; the text says what can be done.

    Attributes:
        codec: The name of the codec.
    """

    codec: str | None = None


class EncryptedObjectError(ShardpackError, NotImplementedError):
    """The object is wrapped in an S4E1 to S4E6 envelope; only its gateway holds the key."""


class InvalidInput(ShardpackError, RuntimeError, ValueError):  # noqa: N818 - a documented name
    """Leaves, namespaces, shards or counts that make no tree and no code; the text says which."""


class ComputationFailed(ShardpackError, RuntimeError):  # noqa: N818 - a documented name
    """What was asked for cannot be computed, such as a shard when too many others are lost."""


class BackendUnavailable(ShardpackError, RuntimeError):  # noqa: N818 - a documented name
    """Something that this machine or this build does not have."""


class ProofFormatError(ShardpackError, RuntimeError, ValueError):
    """Bytes that should be a proof are not. ``nmt.verify`` and its kin answer False instead."""
