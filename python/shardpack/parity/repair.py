"""Making a file and its parity what they were."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from shardpack.atomic import AtomicFile
from shardpack.errors import ComputationFailed, S4IoError
from shardpack.hash import Blake3
from shardpack.parity.group import CHECKS_NAME
from shardpack.parity.locate import locate
from shardpack.parity.media import Rows, ShardFiles, copy_range, place_of, read_into, write_at
from shardpack.parity.record import COPY_NAME, RECORD_NAME, SUM_NAME, publish_record
from shardpack.parity.scan import Checks, block_digests, scan, shard_digest
from shardpack.parity.verify import report_of
from shardpack.progress import progress_callback
from shardpack.rs import reconstruct_into

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardpack.parity.group import Group
    from shardpack.parity.locate import Located
    from shardpack.parity.report import ParityReport
    from shardpack.parity.scan import Scan
    from shardpack.progress import Progress

__all__ = ["repair_file"]


def repair_file(
    path: str | os.PathLike[str],
    *,
    folder: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    backup: bool = True,
    progress: Progress = None,
    threads: int | None = None,
) -> ParityReport:
    """Rebuild what is damaged of a file and its parity, or change nothing.

    Damaged, lost and unreadable blocks are rebuilt column by column, from any k blocks of the
    column that are as they were. New files are complete, on the disk and checked against the
    digests of whole shards before they replace old ones, each in one step; a run that is killed
    or fails leaves every file as it was, or as it is to be. What a file was made into after its
    parity was made counts as damage: keep the backup until you know.

    Args:
        path: The file, which may be missing, or the folder with its parity.
        folder: The folder with its parity; ``path`` with the suffix ``.parity`` when ``None``.
        output: Write the repaired file there, and nothing else: ``path`` and its parity, which
            may be on a disk that is read-only, stay as they are.
        overwrite: Replace ``output`` if it exists.
        backup: Keep the damaged file beside the repaired one, as ``FILE.1`` (or ``.2``, ...).
        progress: Called with the number of bytes looked at so far, or an object with tqdm's
            ``update``.
        threads: Threads to work with; all cores when ``None``.

    Returns:
        What was found before, the names of what was replaced, and where the damaged file is now.

    Raises:
        ComputationFailed: In some column more blocks are damaged than there are parity shards; the
            text names it. Nothing was written.
        FileNotFoundError: There is no parity.
        FileExistsError: ``output`` exists and ``overwrite`` is not set.
        InvalidInput: The record of the parity makes no sense.
        OSError: A file cannot be read or written.

    Example:
        >>> import os, tempfile
        >>> from shardpack import parity
        >>> path = os.path.join(tempfile.mkdtemp(), "notes.txt")
        >>> with open(path, "w") as file:
        ...     _ = file.write("hello " * 10_000)
        >>> _ = parity.encode_file(path)
        >>> os.truncate(path, 50_000)
        >>> report = parity.repair_file(path)
        >>> report.repaired, os.path.getsize(path), os.path.basename(report.backup)
        (('notes.txt',), 60000, 'notes.txt.1')
    """
    located = locate(path, folder)
    group = located.record.group
    with ExitStack() as stack:
        files = stack.enter_context(ShardFiles(group, located.path, located.folder))
        checks = stack.enter_context(Checks(group, located.folder))
        found = scan(
            files,
            checks,
            progress_callback(progress),
            threads,
            confirmed=located.record.confirmed,
        )
        report = report_of(located, found, checks)
        _require_repairable(found)
        if output is None:
            for name in (*located.record.damaged, *(() if checks.trusted else (CHECKS_NAME,))):
                place_of(located.folder, name)
        targets = _open_targets(stack, located, found, (output, overwrite))
        repairing = _Repairing(files, found, targets, threads)
        repairing.copy_what_is_good()
        repairing.rebuild_what_is_not()
        repairing.check()
        saved = _publish(located, targets, backup=backup and output is None)
    repaired = [os.path.basename(target.path) for target in targets.values()]
    if output is not None:
        return report._replace(repaired=tuple(repaired))
    if not checks.trusted:
        _rebuild_checks(located, targets, threads)
        repaired.append(CHECKS_NAME)
    publish_record(
        located.folder,
        located.record.text,
        located.record.damaged,
        attributes_of=_attributes(located),
    )
    repaired.extend(located.record.damaged)
    return report._replace(repaired=tuple(repaired), backup=saved)


def _require_repairable(found: Scan) -> None:
    group = found.group
    for first, _, lost in found.runs():
        if len(lost) > group.parity_shards:
            start = first * group.block
            end = min(start + group.block, group.shard_len)
            shards = ", ".join(map(str, lost))
            raise ComputationFailed(
                f"column {first} (bytes {start} to {end} of every shard): shards {shards} are"
                f" damaged, at most {group.parity_shards} can be rebuilt"
            )


def _open_targets(
    stack: ExitStack,
    located: Located,
    found: Scan,
    output: tuple[str | os.PathLike[str] | None, bool],
) -> dict[int, AtomicFile]:
    """Open the files to write, by their first shard: the file itself, parity files."""
    group = found.group
    wrong = found.bad.keys() | found.oversized
    where, overwrite = output
    targets = {}
    if where is not None or not wrong.isdisjoint(range(group.data_shards)):
        targets[0] = AtomicFile(
            located.path if where is None else where,
            overwrite=overwrite or where is None,
            attributes_of=_attributes(located),
        )
        stack.enter_context(targets[0])
        os.ftruncate(targets[0].file.fileno(), group.size)
    for index in range(group.data_shards, group.total):
        if index in wrong and where is None:
            path = place_of(located.folder, group.file_name(index))
            targets[index] = AtomicFile(
                path, overwrite=True, attributes_of=_attributes(located, path)
            )
            stack.enter_context(targets[index])
            os.ftruncate(targets[index].file.fileno(), group.shard_len)
    return targets


def _attributes(located: Located, *paths: str) -> os.stat_result | None:
    """Find out who may read what is made: as it was for the first of these that is still there.

    What is rebuilt from nothing must not be open to more people than it was. The files of parity
    got the attributes of the file when they were made.
    """
    names = (RECORD_NAME, COPY_NAME, SUM_NAME, CHECKS_NAME)
    parity = (os.path.join(located.folder, name) for name in names)
    for path in (*paths, located.path, *parity):
        with suppress(OSError):
            return os.stat(path)
    return None


class _Repairing:
    """New files, from what is good of the old ones."""

    def __init__(
        self,
        files: ShardFiles,
        found: Scan,
        targets: dict[int, AtomicFile],
        threads: int | None,
    ) -> None:
        self._files = files
        self._found = found
        self._group: Group = found.group
        self._threads = threads
        self._targets = {
            index: targets[0 if index < self._group.data_shards else index].file.fileno()
            for index in self._indexes(targets)
        }

    def _indexes(self, targets: Iterable[int]) -> Iterable[int]:
        """Give the shards that are written: all of the file, or one."""
        for first in targets:
            yield from range(self._group.data_shards) if first == 0 else (first,)

    def copy_what_is_good(self) -> None:
        """Copy the blocks that are as they were."""
        group = self._group
        for index, target in self._targets.items():
            source = self._files.descriptor(index)
            if source is None:
                continue
            at, length = 0, group.length(index)
            offset = group.offset(index)
            for start, end in [*self._bad_ranges(index), (length, length)]:
                if start > at:
                    copy_range(source, target, offset + at, offset + start)
                at = end

    def _bad_ranges(self, index: int) -> Iterable[tuple[int, int]]:
        offset = self._group.offset(index)
        for damage in self._found.damage():
            if damage.shard == index:
                return [(start - offset, end - offset) for start, end in damage.ranges]
        return ()

    def rebuild_what_is_not(self) -> None:
        """Rebuild the blocks that are not."""
        group = self._group
        most = max((len(lost) for *_, lost in self._found.runs()), default=0)
        if not most:
            return
        rows = Rows(group, group.data_shards + most)
        for first, last, lost in self._found.runs():
            end = min(last * group.block, group.shard_len)
            for start in range(first * group.block, end, rows.width):
                self._rebuild(rows, start, min(rows.width, end - start), lost)

    def _rebuild(self, rows: Rows, start: int, width: int, lost: tuple[int, ...]) -> None:
        group = self._group
        wanted = [index for index in lost if index in self._targets]
        if not wanted:
            return
        left = [index for index in range(group.total) if index not in lost]
        shards: list[memoryview | None] = [None] * group.total
        for number, index in enumerate(left[: group.data_shards]):
            row = rows.row(number, width)
            if self._files.read(index, start, row) != group.stored(index, start, start + width):
                raise S4IoError(f"io: shard {index} cannot be read any more")
            shards[index] = row
        rebuilt = [rows.row(group.data_shards + number, width) for number in range(len(wanted))]
        reconstruct_into(shards, group.data_shards, wanted, rebuilt, threads=self._threads)
        for index, row in zip(wanted, rebuilt, strict=True):
            stored = group.stored(index, start, start + width)
            write_at(self._targets[index], row[:stored], group.offset(index) + start)

    def check(self) -> None:
        """Compare the new files with the digests of the record.

        Raises:
            ComputationFailed: They are not what there was.
        """
        rows = Rows(self._group, 1)
        for index, target in self._targets.items():
            offset = self._group.offset(index)

            def read(start: int, view: memoryview, at: int = offset, file: int = target) -> int:
                return read_into(file, view, at + start)

            if shard_digest(self._group, index, read, rows) != self._group.digests[index]:
                raise ComputationFailed(
                    f"shard {index} cannot be rebuilt: what the others give has another digest"
                )


def _publish(located: Located, targets: dict[int, AtomicFile], *, backup: bool) -> str | None:
    """Replace the old files by the new ones; gives the name that the damaged file has now."""
    for target in targets.values():
        target.prepare()
    saved = None
    if backup and 0 in targets and os.path.lexists(located.path):
        # A link stays a link: what it leads to is what is replaced.
        is_link = os.path.islink(located.path)
        saved = _keep(targets[0].path if is_link else located.path)
    for target in targets.values():
        target.publish()
    return saved


def _keep(path: str) -> str:
    """Give a file a second name: ``FILE.1``, or the first that is free."""
    number = 1
    while True:
        name = f"{path}.{number}"
        try:
            os.link(path, name)
        except FileExistsError:
            number += 1
            continue
        except OSError:
            # No hard links here: the file goes away for the moment until the new one is there.
            if os.path.lexists(name):
                number += 1
                continue
            os.rename(path, name)
        return name


def _rebuild_checks(located: Located, targets: dict[int, AtomicFile], threads: int | None) -> None:
    group = located.record.group
    rows = Rows(group, 1)
    path = targets[0].path if 0 in targets else located.path
    hasher = Blake3()
    with (
        ShardFiles(group, path, located.folder) as files,
        AtomicFile(
            place_of(located.folder, CHECKS_NAME),
            overwrite=True,
            attributes_of=_attributes(located, path),
        ) as target,
    ):
        at = 0
        for index in range(group.total):
            for start in range(0, group.shard_len, rows.width):
                row = rows.row(0, min(rows.width, group.shard_len - start))
                files.read(index, start, row)
                digests = memoryview(block_digests(group, index, start, row, threads))
                hasher.update(digests)
                write_at(target.file.fileno(), digests, at)
                at += digests.nbytes
        if hasher.digest() != group.checks_digest:
            raise ComputationFailed(f"{CHECKS_NAME} cannot be rebuilt: a shard has changed again")
        target.publish()
