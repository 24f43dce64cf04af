"""BLAKE3, SHA-256, Keccak-256 and SHA3-256 of buffers, batches and files.

========== =========================================== ====== =====
name       what it is                                  digest block
========== =========================================== ====== =====
blake3     tree hash: all cores, keys, any length          32    64
sha256     FIPS 180-4                                      32    64
keccak256  as Ethereum has it, not the same as SHA3        32   136
sha3_256   FIPS 202                                        32   136
crc32c     a checksum, no hash; four bytes, big-endian      4     1
========== =========================================== ====== =====

Digests never depend on the number of threads or on the CPU. Any C-contiguous buffer is taken as it
lies, a ``memoryview`` of an ``mmap`` too. If another thread writes to the buffer meanwhile, the
digest may be that of neither its old nor its new content; nothing worse happens.

Example:
    >>> from shardpack import hash
    >>> hash.sha256(b"abc").hex()[:16]
    'ba7816bf8f01cfea'
    >>> hash.blake3(b"abc", length=4).hex()
    '6437b3ac'
    >>> hash.Keccak256(b"a").update(b"bc").digest() == hash.keccak256(b"abc")
    True
    >>> [digest.hex() for digest in hash.many("crc32c", [b"123456789", b""])]
    ['e3069283', '00000000']
    >>> import hmac
    >>> hmac.new(b"key", b"message", hash.Sha256).hexdigest()[:16]
    '6e9ef29b75fffc5b'
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from shardpack._native import (
    Blake3,
    Crc32c,
    Hasher,
    Keccak256,
    Sha3_256,
    Sha256,
    blake3,
    hash_file,
    keccak256,
    sha3_256,
    sha256,
)
from shardpack._native import hash_many as many
from shardpack._native import hash_many_packed as many_packed
from shardpack.errors import InvalidInput, S4IoError
from shardpack.progress import progress_callback

if TYPE_CHECKING:
    import io
    from collections.abc import Callable

    from typing_extensions import Buffer

    from shardpack.progress import Progress

__all__ = [
    "ALGORITHMS",
    "Blake3",
    "Crc32c",
    "Hasher",
    "Keccak256",
    "Sha3_256",
    "Sha256",
    "blake3",
    "file",
    "keccak256",
    "many",
    "many_packed",
    "new",
    "sha3_256",
    "sha256",
]

_CLASSES: dict[str, type[Blake3 | Sha256 | Keccak256 | Sha3_256 | Crc32c]] = {
    kind.name: kind for kind in (Blake3, Sha256, Keccak256, Sha3_256, Crc32c)
}

ALGORITHMS = tuple(_CLASSES)
"""The names that ``new``, ``many`` and ``file`` take."""

_READ_PIECE = 1 << 20


def new(name: str, data: Buffer = b"") -> Hasher:
    """Make a hasher by the name of its algorithm, as ``hashlib.new`` does.

    Args:
        name: A name in ``ALGORITHMS``.
        data: The first piece of the message.

    Returns:
        A hasher with ``update``, ``digest``, ``hexdigest`` and ``copy``.

    Raises:
        InvalidInput: There is no such algorithm.
    """
    kind = _CLASSES.get(name)
    if kind is None:
        raise InvalidInput(f'unknown algorithm "{name}"; there are {", ".join(ALGORITHMS)}')
    return kind(data)


def file(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    algorithm: str = "blake3",
    *,
    progress: Progress = None,
    threads: int | None = None,
) -> bytes:
    """Compute the digest of a file, with BLAKE3 and CRC32C on all cores.

    Anything that can be opened and read to an end is a file here, pipes included. For bytes that
    are at hand as a file object there is ``hashlib.file_digest(fileobj, hash.Sha256)``.

    Args:
        path: The file.
        algorithm: A name in ``ALGORITHMS``.
        progress: Called with the number of bytes done so far, or an object with tqdm's ``update``.
        threads: Threads to use; by default see ``thread_count``.

    Returns:
        The digest.

    Raises:
        OSError: The file cannot be read.
        S4IoError: The file changed while it was read.
        InvalidInput: There is no such algorithm.
    """
    hasher = new(algorithm)
    on_done = None if progress is None else progress_callback(progress)
    with open(os.fspath(path), "rb", buffering=0) as opened:
        before = os.fstat(opened.fileno())
        # The files of /proc have a length of 0 and are read like pipes.
        if not stat.S_ISREG(before.st_mode) or not before.st_size:
            return _digest_stream(opened, hasher, on_done)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        digest = hash_file(
            opened.fileno(), before.st_size, algorithm, on_done=on_done, threads=threads
        )
        after = os.fstat(opened.fileno())
    if digest is None or after.st_size != before.st_size:
        raise S4IoError(
            f"io: the source changed while it was read: it had {before.st_size} bytes,"
            f" now it has {after.st_size}"
        )
    if after.st_mtime_ns != before.st_mtime_ns:
        raise S4IoError("io: the source was modified while it was read")
    return digest


def _digest_stream(
    opened: io.FileIO, hasher: Hasher, on_done: Callable[[int], object] | None
) -> bytes:
    piece = memoryview(bytearray(_READ_PIECE))
    done = 0
    while count := opened.readinto(piece):
        hasher.update(piece[:count])
        done += count
        if on_done is not None:
            on_done(done)
    if count is None:
        raise BlockingIOError("the source is in non-blocking mode and has no bytes yet")
    return hasher.digest()
