"""What is to be packed, cut into jobs as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shardpack.archive.member_path import check_member_path
from shardpack.errors import BulkError, UnsafePathError
from shardpack.exchange.checks import require_whole_number
from shardpack.exchange.packing.jobs import Job
from shardpack.exchange.shard.items import PreparedItem, prepare_item, require_distinct
from shardpack.exchange.shard.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shardpack.exchange.packing.folder_scan import FolderScan
    from shardpack.exchange.types import ShardItem

__all__ = ["Limits", "Planner", "failed"]

# Bytes of streamed items that wait in memory, over all shards that are in work.
_HELD_BYTES: Final = 64 << 20
# A run that finds more than this wrong stops at once.
_MOST_FAILURES: Final = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """How large shards are.

    Attributes:
        max_entries: Most members.
        max_bytes: Most bytes of members.
        loose_above: Items above this size go into none.

    Raises:
        ValueError: A limit is below 1; ``loose_above`` may be 0.
        TypeError: A limit is no number.
    """

    max_entries: int
    max_bytes: int
    loose_above: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("max_entries", 1), ("max_bytes", 1), ("loose_above", 0)):
            value = getattr(self, name)
            if value is not None or name != "loose_above":
                object.__setattr__(self, name, require_whole_number(name, value, least=least))


class Planner:
    """Cuts a source into shards and loose objects, one job at a time.

    Args:
        limits: How large shards are.
        internal_manifest_path: Path that no member may have.
        concurrency: Jobs that are in work at a time.

    Attributes:
        failures: What cannot be packed, by path.
    """

    def __init__(self, limits: Limits, internal_manifest_path: str, concurrency: int) -> None:
        self.failures: dict[str, str] = {}
        self._limits = limits
        self._internal_manifest_path = internal_manifest_path
        # Those in work, one that waits for them, and the one being planned.
        self._spool_bytes = _HELD_BYTES // (concurrency + 2)
        self._spool = Spool(self._spool_bytes)
        self._held: list[PreparedItem] = []
        self._held_bytes = 0

    def of_files(self, scan: FolderScan) -> Iterator[Job]:
        """Plan for the files of a folder.

        Args:
            scan: The folder.

        Raises:
            BulkError: Too much is wrong with it.
            OSError: It cannot be read.
        """
        return self._jobs(self._files(scan))

    def of_items(self, items: Iterable[ShardItem]) -> Iterator[Job]:
        """Plan for a stream of items.

        Args:
            items: The items.

        Raises:
            BulkError: Too much is wrong with them.
            TypeError: A source is nothing that has bytes.
        """
        return self._jobs(self._prepared(items))

    def _files(self, scan: FolderScan) -> Iterator[PreparedItem]:
        for file in scan:
            try:
                check_member_path(file.member_path)
            except UnsafePathError as error:
                failed(self.failures, file.member_path, error)
                continue
            path = file.member_path
            yield PreparedItem(path, file.path, file.size, file.mtime_ns, id=path)

    def _prepared(self, items: Iterable[ShardItem]) -> Iterator[PreparedItem]:
        # Whoever hands in a list holds its bytes; those of a generator are gone at its next step.
        hold = isinstance(items, Sequence)
        for item in items:
            try:
                prepared = prepare_item(item, self._spool, hold=hold)
            except (OSError, ValueError) as error:
                failed(self.failures, str(item.get("member_path")), error)
                continue
            yield prepared

    def _jobs(self, items: Iterator[PreparedItem]) -> Iterator[Job]:
        for item in items:
            yield from self.take(item)
        yield from self.rest()

    def take(self, item: PreparedItem) -> Iterator[Job]:
        """Take one more item.

        Args:
            item: The item.

        Yields:
            What is full now.

        Raises:
            BulkError: Too much is wrong with the items.
        """
        limits = self._limits
        if limits.loose_above is not None and item.size > limits.loose_above:
            # What was kept of it is freed with it, not with the shard that is being filled.
            self._spool = Spool(self._spool.memory_left)
            yield Job([item], is_loose=True)
            return
        held = self._held
        if held and (
            len(held) >= limits.max_entries or self._held_bytes + item.size > limits.max_bytes
        ):
            yield from self.rest()
        self._held.append(item)
        self._held_bytes += item.size

    def rest(self) -> Iterator[Job]:
        """Give the last shard.

        Yields:
            What was taken since the last one.

        Raises:
            BulkError: Too much is wrong with the items.
        """
        held, self._held, self._held_bytes = self._held, [], 0
        if held:
            yield from self._shard(held)

    def _shard(self, items: list[PreparedItem]) -> Iterator[Job]:
        self._spool = Spool(self._spool_bytes)
        try:
            require_distinct(items, self._internal_manifest_path)
        except (UnsafePathError, ValueError) as error:
            failed(self.failures, str(getattr(error, "path", None) or error), error)
            return
        yield Job(items)


def failed(failures: dict[str, str], path: str, error: Exception) -> None:
    """Take down that a file or item cannot be packed.

    Args:
        failures: What is wrong so far, by path.
        path: Its path.
        error: Why.

    Raises:
        BulkError: Too much is wrong.
    """
    failures[path] = str(error)
    if len(failures) >= _MOST_FAILURES:
        raise BulkError(
            f"stopped after {len(failures)} failures, first {next(iter(failures))}: "
            f"{next(iter(failures.values()))}",
            failures,
        ) from error
