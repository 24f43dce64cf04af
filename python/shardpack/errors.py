"""Every exception that shardpack raises, in one tree.

``ShardpackError`` is the root: ``except ShardpackError`` catches whatever this package reports.
Each class has a built-in as second parent, the one that callers of the older packages already
catch: ``S4Error`` is a ``ValueError``, ``S4IoError`` an ``OSError``, refusals are
``NotImplementedError``. The names that start with ``S4`` are those of ``s4-codec``;
``InvalidInput``, ``ComputationFailed`` and ``BackendUnavailable`` those of ``animica_native``,
where all of them are ``RuntimeError``; ``S3ExchangeError``, ``ObjectNotFoundError`` and their kin
those of ``s3exchange``.

All of them pickle, so that they cross process borders in bulk jobs. Facts about a failure are
attributes (``expected``, ``actual``, ...), ``None`` where they do not apply; they survive pickling.
"""

from __future__ import annotations

__all__ = [
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


class S3ExchangeError(ShardpackError):
    """Whatever goes wrong between this package and a store: objects, manifests, shard archives."""


class StorageError(S3ExchangeError, OSError):
    """A store refused a request, or the request came to nothing.

    Args:
        message: What went wrong, one line.
        key: Key of the object, where there is one.
        code: The server's own error code, such as ``"NoSuchBucket"``.
        status: The HTTP status, ``None`` where there is none.

    Attributes:
        key: As above.
        code: As above.
        status: As above.
        ambiguous: The request may have taken effect all the same: the connection broke after it
            was sent. A conditional write must look before it tries again.
    """

    ambiguous: bool = False

    def __init__(
        self,
        message: str,
        *,
        key: str | None = None,
        code: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.key = key
        self.code = code
        self.status = status

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ObjectNotFoundError(StorageError, FileNotFoundError):
    """There is no object under this key, or no member of this name in the archive.

    Args:
        key: The key.

    Attributes:
        key: The key, or the virtual key.
    """

    def __init__(self, key: str) -> None:
        super().__init__(key, key=key, status=404)

    def __str__(self) -> str:
        return f"object not found: {self.key}"


class ManifestNotFoundError(StorageError, FileNotFoundError):
    """There is no manifest under this key.

    Args:
        key: The key.

    Attributes:
        key: The key.
        referred_by: Key of a manifest that refers to it, where that is how it was asked for.
    """

    referred_by: str | None = None

    def __init__(self, key: str) -> None:
        super().__init__(key, key=key, status=404)

    def __str__(self) -> str:
        text = f"manifest not found: {self.key}"
        if self.referred_by is None:
            return text
        # Nearly always the store was opened elsewhere than when the manifest was written.
        return (
            f"{text}, to which {self.referred_by} refers; keys in a manifest are relative to the "
            "base prefix of the store (base_prefix=, --root for the command)"
        )


class PreconditionFailedError(StorageError):
    """The object is not what ``if_match=`` or ``if_absent=`` asks for; nothing was written."""


class AccessDeniedError(StorageError, PermissionError):
    """The store does not let these credentials do this."""


class StorageUnavailableError(StorageError, ConnectionError):
    """The store could not be reached, or kept failing, however often the request was repeated.

    Attributes:
        retry_after_s: Seconds that the server asks to wait, ``None`` where it does not say.
    """

    retry_after_s: float | None = None


class ConcurrencyUnsupportedError(S3ExchangeError, NotImplementedError):
    """The store ignores conditional writes, so that several writers would lose each other's."""


class IntegrityError(S3ExchangeError, ValueError):
    """Bytes arrived that are not those that were recorded.

    Args:
        message: What differs, one line.
        key: Key of the object.
        member: Path of the member, where it is one of an archive.
        algorithm: ``"size"``, ``"crc32c"``, ``"blake3"`` or ``"etag"``.
        expected: The recorded value; digests in hexadecimal.
        actual: The value that was found.

    Attributes:
        key: As above, like the others.
    """

    def __init__(
        self,
        message: str,
        *,
        key: str | None = None,
        member: str | None = None,
        algorithm: str | None = None,
        expected: str | int | None = None,
        actual: str | int | None = None,
    ) -> None:
        super().__init__(message)
        self.key = key
        self.member = member
        self.algorithm = algorithm
        self.expected = expected
        self.actual = actual


class InvalidManifestError(S3ExchangeError, ValueError):
    """A manifest has a line that is no entry, or refers to itself.

    Args:
        message: What is wrong.
        line_number: The line, counted from 1.
        key: Key of the manifest.

    Attributes:
        line_number: As above.
        key: As above.
    """

    def __init__(
        self, message: str, line_number: int | None = None, *, key: str | None = None
    ) -> None:
        super().__init__(message)
        self.line_number = line_number
        self.key = key

    def __str__(self) -> str:
        where = "" if self.line_number is None else f"Line {self.line_number}: "
        return f"{where}{self.args[0]}" + ("" if self.key is None else f" (in {self.key})")


class ShardReadError(S3ExchangeError, ValueError):
    """A shard archive is damaged, cut short, or no archive.

    Args:
        message: What is wrong.
        key: Key of the archive.
        member: Path of the member that was being read, where it is known.
        offset: Where the trouble begins, in bytes of the stored archive, where it is known.

    Attributes:
        key: As above.
        member: As above.
        offset: As above.
    """

    def __init__(
        self,
        message: str = "",
        key: str | None = None,
        member: str | None = None,
        offset: int | None = None,
    ) -> None:
        super().__init__(message)
        self.key = key
        self.member = member
        self.offset = offset

    def __str__(self) -> str:
        facts = {"key": self.key, "member": self.member, "offset": self.offset}
        told = ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
        return str(self.args[0]) + (f" ({told})" if told else "")


class UnsafePathError(S3ExchangeError, ValueError):
    """A member path or key that would leave its folder: absolute, with ``..``, a link, a device.

    Attributes:
        path: The path.
    """

    path: str | None = None


class BulkError(S3ExchangeError):
    """Some of many files could not be packed or extracted; the others were.

    Args:
        message: How many, and the first of them.
        failures: What is wrong, by path.

    Attributes:
        failures: As above.
    """

    def __init__(self, message: str, failures: dict[str, str] | None = None) -> None:
        super().__init__(message, failures)
        self.failures = failures or {}

    def __str__(self) -> str:
        return str(self.args[0])


class MissingPlaceholderError(S3ExchangeError, ValueError):
    """A key template names a variable that has no value.

    Args:
        placeholder: The variable.
        template: The template.

    Attributes:
        placeholder: As above.
        template: As above.
    """

    def __init__(self, placeholder: str, template: str) -> None:
        super().__init__(placeholder, template)
        self.placeholder = placeholder
        self.template = template

    def __str__(self) -> str:
        return f"no value for {{{self.placeholder}}} in template {self.template!r}"
