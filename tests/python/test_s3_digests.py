"""Which digest goes with an upload: CRC32C where the server was seen to check it, else MD5."""

from __future__ import annotations

import base64
import hashlib
import random
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from fault_proxy import Fault, FaultProxy
from inputs import MIB, make
from shardpack.errors import AccessDeniedError, IntegrityError, StorageError
from shardpack.storage.retry import RetryPolicy
from shardpack.storage.s3 import S3Store
from shardpack.storage.s3.requests import Requests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fault_proxy import Seen
    from servers import S3Server

PART = 5 * MIB
LARGE = make("noise", 2 * MIB)
HUGE = make("noise", 2 * PART + 12_345)
MANY_PARTS = random.Random(5).randbytes(4 * PART + 4_321)
QUICK = RetryPolicy(attempts=4, first_wait_s=0.001, longest_wait_s=0.01)
SCRATCH = "/.shardpack-probe/"
CRC32C = "x-amz-checksum-crc32c"


class Place(NamedTuple):
    """A server and a store that reaches it through a proxy."""

    server: S3Server
    proxy: FaultProxy
    store: S3Store

    def sent(self, key: str) -> list[Seen]:
        """Give the uploads of a key."""
        return self.proxy.seen("PUT", f"/{key}")

    def trials(self) -> list[Seen]:
        """Give the uploads of scratch objects."""
        return self.proxy.seen("PUT", SCRATCH)

    def digests(self, key: str) -> set[str]:
        """Tell which digests went with the uploads of a key."""
        return {
            name
            for seen in self.sent(key)
            for name in (CRC32C, "content-md5")
            if name in seen.headers
        }

    def assert_clean(self, *keys: str) -> None:
        """Assert that the bucket holds nothing but some keys."""
        assert [info.key for info in self.store.list()] == list(keys)
        assert list(self.store.iter_uploads()) == []


def _place(server: S3Server, *, fast_path: bool) -> Iterator[Place]:
    with FaultProxy(server.endpoint_url) as proxy:
        client = server.client(proxy.url)
        bucket = server.fresh_bucket(client)
        store = S3Store(client, bucket, part_size=PART, fast_path=fast_path, retry=QUICK)
        proxy.forget()
        yield Place(server, proxy, store)
        client.close()


@pytest.fixture(params=[True, False], ids=["fast", "plain"])
def checking(request: pytest.FixtureRequest, versitygw_server: S3Server) -> Iterator[Place]:
    """A server that checks CRC32C."""
    yield from _place(versitygw_server, fast_path=request.param)


@pytest.fixture(params=["rclone", "moto"])
def trusting(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A server that takes any CRC32C."""
    yield from _place(request.getfixturevalue(f"{request.param}_server"), fast_path=True)


@pytest.fixture
def moto(moto_server: S3Server) -> Iterator[Place]:
    yield from _place(moto_server, fast_path=True)


@pytest.fixture
def versitygw(versitygw_server: S3Server) -> Iterator[Place]:
    yield from _place(versitygw_server, fast_path=True)


def test_a_large_upload_damaged_on_its_way_is_refused_and_repeated(checking: Place) -> None:
    store = checking.store
    fault = Fault(method="PUT", path="/large", flip_request_at=MIB)
    checking.proxy.faults.append(fault)
    store.put("large", LARGE)
    assert fault.applied == 1
    assert [seen.status for seen in checking.sent("large")] == [400, 200]
    assert checking.digests("large") == {CRC32C}
    assert store.read("large") == LARGE
    checking.assert_clean("large")


def test_a_part_damaged_on_its_way_is_refused_and_repeated(checking: Place) -> None:
    store = checking.store
    fault = Fault(method="PUT", path="/huge.*partNumber=2", flip_request_at=MIB)
    checking.proxy.faults.append(fault)
    store.put("huge", HUGE)
    assert fault.applied == 1
    assert sorted(seen.status or 0 for seen in checking.sent("huge")) == [200, 200, 200, 400]
    assert checking.digests("huge") == {CRC32C}
    assert store.read("huge") == HUGE
    told = store.client.head_object(Bucket=store.bucket, Key="huge", ChecksumMode="ENABLED")
    assert told["ChecksumCRC32C"].endswith("-3")
    checking.assert_clean("huge")


@pytest.mark.parametrize("data", [LARGE, HUGE], ids=["one request", "parts"])
def test_an_upload_that_always_arrives_damaged_is_an_error(versitygw: Place, data: bytes) -> None:
    fault = Fault(method="PUT", path="/never", flip_request_at=MIB, times=None)
    versitygw.proxy.faults.append(fault)
    with pytest.raises(StorageError) as caught:
        versitygw.store.put("never", data)
    assert caught.value.code == "BadDigest"
    assert fault.applied >= QUICK.attempts
    versitygw.assert_clean()


def test_a_stream_in_parts_is_checked_by_the_server(checking: Place) -> None:
    store = checking.store
    fault = Fault(method="PUT", path="/stream.*partNumber=1", flip_request_at=MIB)
    checking.proxy.faults.append(fault)
    store.put("stream", (HUGE[at : at + 700_000] for at in range(0, len(HUGE), 700_000)))
    assert fault.applied == 1
    assert checking.digests("stream") == {CRC32C}
    assert store.read("stream") == HUGE
    checking.assert_clean("stream")


def test_a_server_that_takes_any_crc32c_is_sent_md5(trusting: Place) -> None:
    store = trusting.store
    store.put("large", LARGE)
    store.put("huge", HUGE)
    assert trusting.digests("large") == trusting.digests("huge") == {"content-md5"}
    assert store.read("large") == LARGE
    assert store.read("huge") == HUGE
    trusting.assert_clean("huge", "large")


@pytest.mark.parametrize("data", [LARGE, HUGE], ids=["one request", "parts"])
def test_damage_is_noticed_by_md5_where_crc32c_is_not_checked(trusting: Place, data: bytes) -> None:
    store = trusting.store
    last_part = "partNumber=3" if data is HUGE else ""
    fault = Fault(method="PUT", path=f"/data.*{last_part}", flip_request_at=1000)
    trusting.proxy.faults.append(fault)
    if trusting.server.name == "rclone":
        store.put("data", data)
        assert store.read("data") == data
    elif data is LARGE:
        with pytest.raises(IntegrityError):
            store.put("data", data)
    else:
        # The ETag of a part is worth something once another one was seen to be an MD5.
        one_by_one = S3Store(store.client, store.bucket, part_size=PART, concurrency=1)
        with pytest.raises(IntegrityError):
            one_by_one.put("data", data)
    assert fault.applied == 1


def test_threads_that_come_first_share_what_they_find_out(
    rclone_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_are_making = threading.Barrier(2)

    class SlowlyMade(Requests):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            both_are_making.wait(30)
            super().__init__(*arguments, **options)

    monkeypatch.setattr("shardpack.storage.s3.store.Requests", SlowlyMade)
    store = S3Store(rclone_server.client(), rclone_server.fresh_bucket())
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: store._requests, range(2))
    assert first is second


def test_servers_are_asked_once_for_each_kind_of_upload(s3_server: S3Server) -> None:
    for place in _place(s3_server, fast_path=True):
        store = place.store
        ready = threading.Barrier(8)

        def put(key: str, store: S3Store = store, ready: threading.Barrier = ready) -> None:
            ready.wait(30)
            store.put(key, LARGE)

        asked = 2 if s3_server.name == "versitygw" else 1
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(put, [f"k{n}" for n in range(8)]))
        assert len(place.trials()) == asked
        store.put("huge", HUGE)
        assert len(place.trials()) == 2 * asked
        again = S3Store(store.client, store.bucket, part_size=PART)
        again.put("huge", HUGE)
        again.put("large", LARGE)
        assert len(place.trials()) == 2 * asked
        assert {CRC32C in seen.headers for seen in place.trials()} == {True}
        place.assert_clean("huge", *(f"k{n}" for n in range(8)), "large")


def test_small_uploads_ask_nothing(versitygw: Place) -> None:
    for size in (0, 1, 70_000, MIB):
        versitygw.store.put("small", bytes(size))
    assert [seen.method for seen in versitygw.proxy.requests] == ["PUT"] * 4
    assert versitygw.digests("small") == {"content-md5"}


def test_a_trial_leaves_no_versions(moto: Place) -> None:
    store = moto.store
    store.client.put_bucket_versioning(
        Bucket=store.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    store.put("large", LARGE)
    store.put("huge", HUGE)
    assert moto.trials()
    told = store.client.list_object_versions(Bucket=store.bucket)
    assert [one["Key"] for one in told["Versions"]] == ["huge", "large"]
    assert "DeleteMarkers" not in told


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_a_trial_that_is_denied_means_md5(versitygw: Place, method: str) -> None:
    fault = Fault(method=method, path=SCRATCH, answer=403, code="AccessDenied", times=None)
    versitygw.proxy.faults.append(fault)
    for _ in range(2):
        versitygw.store.put("large", LARGE)
        versitygw.store.put("huge", HUGE)
    assert versitygw.digests("large") == ({CRC32C} if method == "POST" else {"content-md5"})
    assert versitygw.digests("huge") == ({CRC32C} if method == "none" else {"content-md5"})
    assert fault.applied <= 4
    assert versitygw.store.read("huge") == HUGE


def test_a_server_that_refuses_every_crc32c_is_sent_md5(versitygw: Place) -> None:
    fault = Fault(method="PUT", header=CRC32C, answer=400, code="InvalidRequest", times=None)
    versitygw.proxy.faults.append(fault)
    versitygw.store.put("large", LARGE)
    versitygw.store.put("huge", HUGE)
    assert fault.applied
    assert versitygw.digests("large") == versitygw.digests("huge") == {"content-md5"}
    versitygw.assert_clean("huge", "large")


@pytest.mark.parametrize("code", ["SlowDown", "RequestTimeout"])
def test_a_trial_that_failed_in_passing_is_made_again_by_the_next_upload(
    versitygw: Place, code: str
) -> None:
    status = 503 if code == "SlowDown" else 400
    fault = Fault(method="PUT", path=SCRATCH, answer=status, code=code)
    versitygw.proxy.faults.append(fault)
    versitygw.store.put("first", LARGE)
    assert versitygw.digests("first") == {"content-md5"}
    versitygw.store.put("second", LARGE)
    assert versitygw.digests("second") == {CRC32C}
    versitygw.assert_clean("first", "second")


@pytest.mark.parametrize("checksums", ["when_required", "when_supported"])
def test_of_aws_it_is_known_without_a_question(moto_server: S3Server, checksums: str) -> None:
    client: Any = moto_server.client(
        "https://s3.us-east-1.amazonaws.com", request_checksum_calculation=checksums
    )
    requests = Requests(client, "bucket", RetryPolicy(attempts=1), fast_path=False)
    assert requests.crc32c_for_put(len(LARGE))
    assert requests.crc32c_for_put(1) == (checksums == "when_supported")
    assert requests.crc32c_for_parts()
    client.close()


def test_many_parts_through_few_buffers_stay_apart(versitygw: Place) -> None:
    store = S3Store(versitygw.store.client, versitygw.store.bucket, part_size=PART, concurrency=2)
    data = make("noise", 9 * PART + 777)
    versitygw.proxy.faults += [
        Fault(method="PUT", path="partNumber=4", answer=503, code="SlowDown"),
        Fault(method="PUT", path="partNumber=6", lose_answer=True),
    ]
    with store.writer("stream") as writer:
        for at in range(0, len(data), 3 * MIB + 1):
            writer.write(data[at : at + 3 * MIB + 1])
    assert store.read("stream") == data


def assert_md5_of_parts(seen: list[Seen], data: bytes, part_size: int) -> None:
    """Assert that each part went with its own MD5, and none of them is missing."""
    told: dict[int, str] = {}
    for one in seen:
        found = re.search(r"partNumber=(\d+)", one.target)
        assert found
        told[int(found[1])] = one.headers["content-md5"]
    parts = [data[at : at + part_size] for at in range(0, len(data), part_size)]
    digests = [hashlib.md5(part, usedforsecurity=False).digest() for part in parts]
    assert told == {n: base64.b64encode(digest).decode() for n, digest in enumerate(digests, 1)}


@pytest.mark.parametrize("concurrency", [1, 4, 16])
def test_parts_that_are_hashed_together_go_each_with_its_own_md5(
    trusting: Place, tmp_path: Path, concurrency: int
) -> None:
    client, bucket = trusting.store.client, trusting.store.bucket
    store = S3Store(client, bucket, part_size=PART, concurrency=concurrency, retry=QUICK)
    path = tmp_path / "file"
    path.write_bytes(MANY_PARTS)
    steps: list[int] = []
    store.put("bytes", MANY_PARTS, progress=steps.append)
    assert steps == sorted(steps)
    assert steps[-1] == len(MANY_PARTS)
    store.put("file", path)
    store.put("pieces", (MANY_PARTS[at : at + MIB] for at in range(0, len(MANY_PARTS), MIB)))
    for key in ("bytes", "file", "pieces"):
        assert_md5_of_parts(trusting.sent(key), MANY_PARTS, PART)
        assert store.read(key) == MANY_PARTS
    trusting.assert_clean("bytes", "file", "pieces")


def test_parts_that_go_with_their_md5_are_so_small_that_several_are_in_memory(
    s3_server: S3Server,
) -> None:
    for place in _place(s3_server, fast_path=True):
        store = S3Store(place.store.client, place.store.bucket)
        data = bytes(40 * MIB)
        store.put("k", data)
        sizes = sorted(seen.bytes_up // MIB for seen in place.sent("k"))
        assert sizes == ([8, 32] if s3_server.name == "versitygw" else [8, 16, 16])
        place.assert_clean("k")


def test_a_part_that_is_refused_ends_the_others_of_its_group(trusting: Place) -> None:
    fault = Fault(method="PUT", path="partNumber=4", answer=403, code="AccessDenied", times=None)
    trusting.proxy.faults.append(fault)
    client, bucket = trusting.store.client, trusting.store.bucket
    store = S3Store(client, bucket, part_size=PART, concurrency=4, retry=QUICK)
    with pytest.raises(AccessDeniedError):
        store.put("known", MANY_PARTS)
    with pytest.raises(AccessDeniedError):
        store.put("stream", (MANY_PARTS[at : at + MIB] for at in range(0, len(MANY_PARTS), MIB)))
    trusting.assert_clean()


def test_a_stream_in_groups_holds_no_more_parts_than_it_sends_at_once(trusting: Place) -> None:
    client, bucket = trusting.store.client, trusting.store.bucket
    store = S3Store(client, bucket, part_size=PART, concurrency=3, retry=QUICK)
    trusting.proxy.faults += [
        Fault(method="PUT", path="partNumber=2", answer=503, code="SlowDown"),
        Fault(method="PUT", path="partNumber=4", lose_answer=True),
    ]
    held = 0
    with store.writer("stream") as writer:
        for at in range(0, len(MANY_PARTS), MIB - 1):
            writer.write(MANY_PARTS[at : at + MIB - 1])
            held = max(held, len(writer._running) + len(writer._group))
    # Those and the one that is being filled.
    assert held <= 3
    assert store.read("stream") == MANY_PARTS
    assert_md5_of_parts(trusting.sent("stream"), MANY_PARTS, PART)
    trusting.assert_clean("stream")
