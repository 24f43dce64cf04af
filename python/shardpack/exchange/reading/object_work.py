"""Reading whole objects: small ones into memory, large ones as streams, both checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from shardpack.errors import IntegrityError, ObjectNotFoundError, S3ExchangeError
from shardpack.exchange.bodies import ObjectStream, VerifiedBody
from shardpack.exchange.reading.delivery import Deferred, Delivery, Failure, check_bytes, mismatch
from shardpack.exchange.reading.prefetch import Task
from shardpack.exchange.reading.sampling import as_file_entry
from shardpack.exchange.shard.access import same_version
from shardpack.exchange.shard.source import LARGE_BYTES
from shardpack.storage.body import BytesBody

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shardpack.exchange.reading.delivery import Item, Place
    from shardpack.exchange.reading.prefetch import Lane
    from shardpack.exchange.reading.settings import Reading
    from shardpack.exchange.types import ManifestEntry
    from shardpack.storage.base import ObjectInfo
    from shardpack.storage.body import ObjectBody

__all__ = ["object_task"]

# What is set aside for an object of unknown size until the store has said it.
_UNKNOWN_BYTES: Final = 1 << 20


def object_task(reading: Reading, entry: ManifestEntry, place: Place) -> Task[Delivery]:
    """Make the task that reads one object.

    Args:
        reading: The settings of the iteration.
        entry: Its entry; that of a shard stands for its archive.
        place: Where it stands.
    """
    described = as_file_entry(entry)
    size = described.get("size_bytes")
    if isinstance(size, int) and size > LARGE_BYTES:
        later = Deferred(lambda: _open_stream(reading, described), entry, described["key"])
        return Task(lambda lane: lane.put(Delivery(place, [later])))

    def run(lane: Lane[Delivery]) -> None:
        item: Item
        try:
            item = _read(reading, entry, described, lane)
        except S3ExchangeError as error:
            if not reading.may_skip(error):
                raise
            item = Failure(described["key"], None, entry, error)
        lane.put(Delivery(place, [item]), reserved_for(item))

    return Task(run, size if isinstance(size, int) and size > 0 else _UNKNOWN_BYTES)


def reserved_for(item: Item) -> int:
    """Tell how many bytes an item holds in memory.

    Args:
        item: The item.
    """
    if isinstance(item, tuple) and isinstance(item[0], ObjectStream):
        return item[0].info.size if item[0].info.size <= LARGE_BYTES else 0
    return 0


def _read(
    reading: Reading, entry: ManifestEntry, described: Mapping[str, Any], lane: Lane[Delivery]
) -> Item:
    try:
        return _read_once(reading, entry, described, lane)
    except IntegrityError as error:
        if error.algorithm in {"size", "etag"}:
            raise
        # Bytes that were changed on their way come right the second time.
        return _read_once(reading, entry, described, lane)


def _read_once(
    reading: Reading, entry: ManifestEntry, described: Mapping[str, Any], lane: Lane[Delivery]
) -> Item:
    body = _get(reading, described)
    info = body.info
    if info.size > LARGE_BYTES:
        return _as_stream(reading, body, described), entry
    with body:
        known = described.get("size_bytes")
        reserved = known if isinstance(known, int) and known > 0 else _UNKNOWN_BYTES
        if info.size > reserved:
            lane.reserve(info.size - reserved)
        data = body.read()
    if len(data) != info.size:
        raise mismatch("size", info.size, len(data), key=described["key"])
    check_bytes(data, described, key=described["key"], verify=reading.verify)
    return ObjectStream(BytesBody(data, info)), entry


def _open_stream(reading: Reading, described: Mapping[str, Any]) -> ObjectStream:
    return _as_stream(reading, _get(reading, described), described)


def _as_stream(reading: Reading, body: ObjectBody, described: Mapping[str, Any]) -> ObjectStream:
    facts = dict(described)
    if not reading.verify:
        facts = {"size_bytes": facts.get("size_bytes")}
    return ObjectStream(VerifiedBody(body, facts, key=described["key"]))


def _get(reading: Reading, described: Mapping[str, Any]) -> ObjectBody:
    key = described["key"]
    try:
        body = reading.space.objects.get(reading.space.full(key))
    except ObjectNotFoundError as error:
        raise ObjectNotFoundError(key) from error
    try:
        _check_info(reading, body.info, described)
    except IntegrityError:
        body.close()
        raise
    return body


def _check_info(reading: Reading, info: ObjectInfo, described: Mapping[str, Any]) -> None:
    key = described["key"]
    size = described.get("size_bytes")
    if size is not None and size != info.size:
        raise mismatch("size", size, info.size, key=key)
    # Where there is a digest it decides: the same bytes may have been stored again.
    has_digest = described.get("blake3") or described.get("crc32c")
    etag = str(described.get("etag") or "")
    if not (reading.verify and has_digest) and not same_version(etag, info.etag):
        raise mismatch("etag", etag, info.etag, key=key)
