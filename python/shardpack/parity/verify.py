"""Telling what is damaged, without writing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from shardpack.parity.group import CHECKS_NAME
from shardpack.parity.locate import locate
from shardpack.parity.media import ShardFiles
from shardpack.parity.record import COPY_NAME, RECORD_NAME
from shardpack.parity.report import ParityReport
from shardpack.parity.scan import Checks, scan
from shardpack.progress import progress_callback

if TYPE_CHECKING:
    from shardpack.parity.locate import Located
    from shardpack.parity.scan import Scan
    from shardpack.progress import Progress

__all__ = ["report_of", "verify_file"]


def verify_file(
    path: str | os.PathLike[str],
    *,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress = None,
    threads: int | None = None,
) -> ParityReport:
    """Compare every byte of a file and its parity with what they were.

    Sectors that the disk cannot read count as damaged. Nothing is written.

    Args:
        path: The file, which may be missing, or the folder with its parity.
        folder: The folder with its parity; ``path`` with the suffix ``.parity`` when ``None``.
        progress: Called with the number of bytes done so far, or an object with tqdm's ``update``.
        threads: Threads to work with; all cores when ``None``.

    Returns:
        What was found; ``report.intact`` if nothing is wrong, ``report.repairable`` if
        ``repair_file`` can make it so.

    Raises:
        FileNotFoundError: There is no parity.
        InvalidInput: Its record makes no sense.
        OSError: A file cannot be read, for another reason than a bad sector.

    Example:
        >>> import os, tempfile
        >>> from shardpack import parity
        >>> path = os.path.join(tempfile.mkdtemp(), "notes.txt")
        >>> with open(path, "w") as file:
        ...     _ = file.write("hello " * 10_000)
        >>> _ = parity.encode_file(path)
        >>> with open(path, "r+") as file:
        ...     _ = file.write("HELLO")
        >>> report = parity.verify_file(path)
        >>> report.intact, report.repairable, report.damage[0].ranges
        (False, True, ((0, 4096),))
    """
    located = locate(path, folder)
    group = located.record.group
    with (
        ShardFiles(group, located.path, located.folder) as files,
        Checks(group, located.folder) as checks,
    ):
        found = scan(
            files,
            checks,
            progress_callback(progress),
            threads,
            confirmed=located.record.confirmed,
        )
        return report_of(located, found, checks)


def report_of(located: Located, found: Scan, checks: Checks) -> ParityReport:
    """Put in words what was found."""
    group = found.group
    problems = [f"{name}: damaged or missing" for name in located.record.damaged]
    if not checks.trusted:
        problems.append(f"{CHECKS_NAME}: damaged or missing")
    names = {group.file_name(index) for index in found.oversized}
    problems.extend(f"{name}: goes on after its end" for name in sorted(names))
    return ParityReport(
        path=located.path,
        folder=located.folder,
        size_bytes=group.size,
        data_shards=group.data_shards,
        parity_shards=group.parity_shards,
        shard_len=group.shard_len,
        block=group.block,
        damage=found.damage(),
        problems=tuple(problems),
        modified=any(one.shard < group.data_shards for one in found.damage())
        and _modified(located),
        worst=max((len(lost) for *_, lost in found.runs()), default=0),
    )


def _modified(located: Located) -> bool:
    """Tell whether the file is younger than its record, which has the time stamp that it had."""
    try:
        then = min(
            os.stat(os.path.join(located.folder, name)).st_mtime_ns
            for name in (RECORD_NAME, COPY_NAME)
            if name not in located.record.damaged
        )
        return os.stat(located.path).st_mtime_ns > then
    except (OSError, ValueError):
        return False
