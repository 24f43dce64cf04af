"""Making the parity of a file."""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from shardpack._native import thread_count
from shardpack.atomic import AtomicFile
from shardpack.errors import InvalidInput, S4IoError
from shardpack.hash import Blake3
from shardpack.parity.group import (
    CHECKS_NAME,
    DIGEST_BYTES,
    Group,
    check_block,
    default_block,
    parity_name,
)
from shardpack.parity.locate import FOLDER_SUFFIX
from shardpack.parity.media import Rows, place_of, read_into, write_at
from shardpack.parity.record import COPY_NAME, RECORD_NAME, SUM_NAME, publish_record
from shardpack.parity.report import ParityReport
from shardpack.parity.scan import block_digests
from shardpack.progress import progress_callback
from shardpack.rs import MAX_SHARDS, encode_into

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from shardpack.progress import Progress

__all__ = ["encode_file"]

# Below this many bytes threads cost more than they give.
_WORTH_THREADS = 4 << 20
_PARITY_FILE = re.compile(r"p-[0-9]{3}\.rs")


def encode_file(
    path: str | os.PathLike[str],
    data_shards: int = 10,
    parity_shards: int = 4,
    *,
    block: int | None = None,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress = None,
    threads: int | None = None,
) -> ParityReport:
    """Make parity for a file, which stays as it is.

    The file is taken as ``data_shards`` parts of equal length, and ``parity_shards`` more of that
    length are written to a folder beside it. In every column of blocks as many blocks may be lost
    later as there are parity shards, of the file or of the parity. Memory stays bounded whatever
    the size of the file. The folder counts once it has a ``group.json``, which is written last.

    Args:
        path: The file, at least one byte.
        data_shards: Parts to take the file as, k.
        parity_shards: Shards to write, m; k + m is at most 256.
        block: Bytes that have a digest of their own, and are lost and rebuilt as a whole; by the
            size of the file when ``None``, from 4 KiB to 4 MiB.
        output: The folder to write; the path with the suffix ``.parity`` when ``None``.
        overwrite: Replace parity that is there.
        progress: Called with the number of bytes done so far, or an object with tqdm's ``update``.
        threads: Threads to work with; all cores when ``None``.

    Returns:
        What was made.

    Raises:
        FileExistsError: There is parity already and ``overwrite`` is not set.
        InvalidInput: The counts make no code, the file is empty or no regular file, or the block
            would take too much memory.
        S4IoError: The file changed while it was read.
        OSError: A file cannot be read or written.

    Example:
        >>> import os, tempfile
        >>> from shardpack import parity
        >>> path = os.path.join(tempfile.mkdtemp(), "notes.txt")
        >>> with open(path, "w") as file:
        ...     _ = file.write("hello " * 10_000)
        >>> report = parity.encode_file(path, 10, 2)
        >>> report.shard_len, sorted(os.listdir(report.folder))[-2:]
        (6000, ['p-010.rs', 'p-011.rs'])
    """
    source_path = os.fspath(path)
    folder = source_path + FOLDER_SUFFIX if output is None else os.fspath(output)
    on_done = progress_callback(progress)
    with ExitStack() as stack:
        source = stack.enter_context(open(source_path, "rb", buffering=0))
        before = os.fstat(source.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise InvalidInput("this is no regular file")
        group = _plan(source_path, before.st_size, (data_shards, parity_shards), block)
        _require_free(folder, overwrite=overwrite)
        if _make_folder(folder):
            stack.callback(_remove_empty, folder)
        for name in (RECORD_NAME, COPY_NAME, SUM_NAME):
            place_of(folder, name)
        targets = [
            stack.enter_context(
                AtomicFile(place_of(folder, file), overwrite=True, attributes_of=before)
            )
            for file in (CHECKS_NAME, *map(parity_name, range(group.data_shards, group.total)))
        ]
        encoding = _Encoding(source.fileno(), group, targets)
        digests, checks_digest = encoding.run(on_done, threads)
        _require_unchanged(source.fileno(), before)
        group = group._replace(digests=digests, checks_digest=checks_digest)
        _publish(folder, group, targets)
    return ParityReport(
        path=source_path,
        folder=folder,
        size_bytes=group.size,
        data_shards=group.data_shards,
        parity_shards=group.parity_shards,
        shard_len=group.shard_len,
        block=group.block,
    )


def _plan(path: str, size: int, code: tuple[int, int], block: int | None) -> Group:
    data_shards, parity_shards = code
    if data_shards < 1 or parity_shards < 1 or data_shards + parity_shards > MAX_SHARDS:
        raise InvalidInput(
            f"{data_shards} data and {parity_shards} parity shards: at least one of each,"
            f" and at most {MAX_SHARDS} together"
        )
    if not size:
        raise InvalidInput("an empty file needs no parity")
    group = Group(
        name=os.path.basename(os.path.abspath(path)),
        size=size,
        data_shards=data_shards,
        parity_shards=parity_shards,
        block=0,
        digests=(),
        checks_digest=b"",
    )
    if block is None:
        block = default_block(group.shard_len)
    check_block(block, group.shard_len, group.total)
    return group._replace(block=block)


def _require_free(folder: str, *, overwrite: bool) -> None:
    taken = any(os.path.lexists(os.path.join(folder, name)) for name in (RECORD_NAME, COPY_NAME))
    if taken and not overwrite:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), folder)


def _make_folder(folder: str) -> bool:
    try:
        os.mkdir(folder)
    except FileExistsError:
        if not os.path.isdir(folder):
            raise
        return False
    return True


def _remove_empty(folder: str) -> None:
    with suppress(OSError):
        os.rmdir(folder)


class _Encoding:
    """Reading, encoding and hashing, the same columns of all shards at a time."""

    def __init__(self, source: int, group: Group, targets: list[AtomicFile]) -> None:
        self._source = source
        self._group = group
        self._checks, *self._parity = (target.file.fileno() for target in targets)
        self._rows = Rows(group, group.total)
        self._hashers = [Blake3() for _ in range(group.total)]

    def run(
        self, on_done: Callable[[int], object], threads: int | None
    ) -> tuple[tuple[bytes, ...], bytes]:
        """Write parity and checks; gives the digests of the shards and of the checks."""
        group = self._group
        with _side_by_side(group, threads) as each:
            for start in range(0, group.shard_len, self._rows.width):
                width = min(self._rows.width, group.shard_len - start)
                rows = [self._rows.row(index, width) for index in range(group.total)]
                data, parity = rows[: group.data_shards], rows[group.data_shards :]
                each(partial(self._read, start), enumerate(data))
                encode_into(data, parity, threads=threads)
                each(partial(self._finish, start), enumerate(rows))
                on_done(sum(self._stored(index, start + width) for index in range(len(data))))
        return tuple(hasher.digest() for hasher in self._hashers), _digest_of(self._checks)

    def _stored(self, index: int, end: int) -> int:
        return self._group.stored(index, 0, end)

    def _read(self, start: int, shard: tuple[int, memoryview]) -> None:
        index, row = shard
        stored = self._group.stored(index, start, start + row.nbytes)
        if read_into(self._source, row[:stored], self._group.offset(index) + start) != stored:
            raise S4IoError("io: the source became shorter while it was read")
        row[stored:] = bytes(row.nbytes - stored)

    def _finish(self, start: int, shard: tuple[int, memoryview]) -> None:
        index, row = shard
        group = self._group
        if index >= group.data_shards:
            write_at(self._parity[index - group.data_shards], row, start)
        # One thread: the other shards have theirs.
        digests = block_digests(group, index, start, row, 1)
        at = index * group.block_count + start // group.block
        write_at(self._checks, memoryview(digests), at * DIGEST_BYTES)
        self._hashers[index].update(row[: group.stored(index, start, start + row.nbytes)])


@contextmanager
def _side_by_side(
    group: Group, threads: int | None
) -> Iterator[Callable[[Callable[[Any], None], Iterable[Any]], None]]:
    """Give a function that calls another one for every shard, on several threads if that pays."""
    workers = thread_count() if threads is None else max(1, threads)
    with ExitStack() as stack:
        run: Callable[..., Iterable[None]] = map
        if workers > 1 and group.size >= _WORTH_THREADS:
            from concurrent.futures import ThreadPoolExecutor

            run = stack.enter_context(ThreadPoolExecutor(min(workers, group.total))).map

        def each(function: Callable[[Any], None], shards: Iterable[Any]) -> None:
            for _ in run(function, shards):
                pass

        yield each


def _digest_of(descriptor: int) -> bytes:
    hasher = Blake3()
    at = 0
    while piece := os.pread(descriptor, 1 << 20, at):
        hasher.update(piece)
        at += len(piece)
    return hasher.digest()


def _require_unchanged(descriptor: int, before: os.stat_result) -> None:
    now = os.fstat(descriptor)
    if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise S4IoError("io: the source changed while it was read")


def _publish(folder: str, group: Group, targets: list[AtomicFile]) -> None:
    # What is on the disk first, so that little can go wrong between the first name and the last.
    for target in targets:
        target.prepare()
    # Without its record a group is not there: better than one that is half of another.
    for name in (RECORD_NAME, COPY_NAME, SUM_NAME):
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name))
    targets[0].sync_folder()
    for target in targets:
        target.publish()
    current = {parity_name(index) for index in range(group.data_shards, group.total)}
    for name in os.listdir(folder):
        if _PARITY_FILE.fullmatch(name) and name not in current:
            os.unlink(os.path.join(folder, name))
    publish_record(folder, group.to_json(), attributes_of=targets[0].attributes)
