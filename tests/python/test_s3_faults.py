"""Broken connections, failing servers and refusals: repeated, resumed or told, never short data."""

from __future__ import annotations

import dataclasses
import pickle
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from fault_proxy import Fault, FaultProxy
from impolite import WHOLE, Impolite, answer, store_at
from inputs import MIB, make
from servers import free_port
from shardpack.errors import (
    AccessDeniedError,
    IntegrityError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageError,
    StorageUnavailableError,
)
from shardpack.storage.retry import RetryPolicy, is_transient
from shardpack.storage.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servers import S3Server

PART = 5 * MIB
QUICK = RetryPolicy(attempts=4, first_wait_s=0.001, longest_wait_s=0.01)
DATA = make("noise", 1_000_000)


@pytest.fixture(scope="module")
def proxy(rclone_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(rclone_server.endpoint_url) as running:
        yield running


@pytest.fixture(scope="module")
def client(rclone_server: S3Server, proxy: FaultProxy) -> Iterator[Any]:
    made = rclone_server.client(proxy.url, read_timeout=2, connect_timeout=2)
    yield made
    made.close()


@pytest.fixture(params=[True, False], ids=["fast", "plain"])
def store(
    request: pytest.FixtureRequest, rclone_server: S3Server, client: Any, proxy: FaultProxy
) -> S3Store:
    """A store behind the proxy that holds `DATA` under ``k``."""
    proxy.forget()
    bucket = rclone_server.fresh_bucket(client)
    store = S3Store(client, bucket, fast_path=request.param, part_size=PART, retry=QUICK)
    store.put("k", DATA)
    proxy.forget()
    return store


@pytest.fixture(scope="module")
def moto_proxy(moto_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(moto_server.endpoint_url) as running:
        yield running


@pytest.fixture(params=[True, False], ids=["fast", "plain"])
def tagged(
    request: pytest.FixtureRequest, moto_server: S3Server, moto_proxy: FaultProxy
) -> Iterator[S3Store]:
    """A store like the other on a server that has ETags and honours conditions."""
    moto_proxy.forget()
    client = moto_server.client(moto_proxy.url, read_timeout=10)
    bucket = moto_server.fresh_bucket(client)
    store = S3Store(client, bucket, fast_path=request.param, part_size=PART, retry=QUICK)
    store.put("k", DATA)
    moto_proxy.forget()
    yield store
    client.close()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(cut_after=500_000),
        Fault(cut_after=500_000, reset=True),
        Fault(cut_after=0),
        Fault(cut_after=999_999),
        Fault(cut_after=200_000, times=3),
    ],
    ids=["cut", "reset", "cut at once", "cut at the end", "cut again and again"],
)
def test_a_body_that_breaks_off_is_resumed_where_it_broke(
    store: S3Store, proxy: FaultProxy, fault: Fault
) -> None:
    resumes(store, proxy, dataclasses.replace(fault))


def test_a_body_that_stalls_is_resumed_where_it_stood(
    store: S3Store, rclone_server: S3Server, proxy: FaultProxy
) -> None:
    with closing(rclone_server.client(proxy.url, read_timeout=1)) as hasty:
        fast_path = store._requests.fast is not None
        store = S3Store(hasty, store.bucket, fast_path=fast_path, retry=QUICK)
        resumes(store, proxy, Fault(stall_after=500_000))


def resumes(store: S3Store, proxy: FaultProxy, fault: Fault) -> None:
    proxy.faults.append(fault)
    with store.get("k") as body:
        assert body.read() == DATA
    # Nothing comes twice, but for what a reset threw away on its way, or urllib3 at a timeout.
    again = 500_000 if fault.reset or fault.stall_after else 0
    received = sum(seen.bytes_down for seen in proxy.requests)
    assert len(DATA) <= received <= len(DATA) + again
    assert len(proxy.requests) == 1 + fault.applied
    if fault.cut_after:
        assert proxy.requests[1].range is not None


def test_a_small_piece_of_a_broken_body_is_not_short(store: S3Store, proxy: FaultProxy) -> None:
    proxy.faults.append(Fault(cut_after=10))
    with store.get("k", start=100) as body:
        assert body.read(20) == DATA[100:120]
        assert body.read() == DATA[120:]
    assert store.read("k", start=5, end=50) == DATA[5:50]


def test_one_read_of_a_large_object_survives_cuts_in_its_parts(
    store: S3Store, proxy: FaultProxy
) -> None:
    data = make("noise", 12 * MIB)
    store.put("big", data)
    proxy.forget()
    proxy.faults += [
        Fault(method="GET", cut_after=1000),
        Fault(method="GET", skip=1, cut_after=2 * MIB, reset=True),
        Fault(method="GET", answer=503, code="SlowDown"),
    ]
    assert store.read("big") == data
    assert [fault.applied for fault in proxy.faults] == [1, 1, 1]


def test_resuming_asks_for_the_same_version(tagged: S3Store, moto_proxy: FaultProxy) -> None:
    etag = tagged.head("k").etag
    moto_proxy.forget()
    moto_proxy.faults.append(Fault(method="GET", cut_after=300_000))
    assert tagged.get("k").read() == DATA
    assert [seen.headers.get("if-match") for seen in moto_proxy.requests] == [None, f'"{etag}"']


def test_an_object_that_is_replaced_midway_is_not_mixed(
    tagged: S3Store, moto_proxy: FaultProxy
) -> None:
    moto_proxy.faults.append(Fault(method="GET", cut_after=300_000))
    body = tagged.get("k")
    assert body.read(1000) == DATA[:1000]
    tagged.put("k", bytes(len(DATA)))
    with pytest.raises(PreconditionFailedError, match="replaced"):
        body.read()
    body.close()


def test_an_object_of_another_size_is_not_mixed_without_etags(
    store: S3Store, proxy: FaultProxy
) -> None:
    proxy.faults.append(Fault(method="GET", cut_after=300_000))
    body = store.get("k")
    assert body.read(1000) == DATA[:1000]
    store.put("k", bytes(len(DATA) + 5))
    with pytest.raises(PreconditionFailedError, match="replaced"):
        body.read()
    body.close()


def test_a_body_that_always_breaks_is_an_error_and_not_short(
    store: S3Store, proxy: FaultProxy
) -> None:
    proxy.faults.append(Fault(method="GET", cut_after=0, times=None))
    with pytest.raises(StorageUnavailableError) as caught:
        store.read("k")
    assert caught.value.key == "k"
    assert isinstance(caught.value.__cause__, StorageUnavailableError)
    assert len(proxy.requests) == QUICK.attempts


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, "InternalError"),
        (502, "BadGateway"),
        (503, "SlowDown"),
        (503, "ServiceUnavailable"),
        (429, "TooManyRequests"),
        (400, "RequestTimeout"),
    ],
)
def test_passing_failures_are_repeated(
    store: S3Store, proxy: FaultProxy, status: int, code: str
) -> None:
    def fail(times: int) -> None:
        proxy.forget()
        proxy.faults.append(Fault(answer=status, code=code, times=times))

    calls: list[Callable[[], object]] = [
        lambda: store.read("k"),
        lambda: store.get("k").close(),
        lambda: store.put("new", b"x"),
        lambda: list(store.list()),
        lambda: store.delete("new"),
    ]
    for call in calls:
        fail(2)
        call()
        assert len(proxy.requests) == 3
    fail(99)
    with pytest.raises(StorageUnavailableError) as caught:
        store.read("k")
    assert (caught.value.status, caught.value.code) == (status, code)
    assert len(proxy.requests) == QUICK.attempts


def test_a_server_that_asks_to_wait_is_waited_for(store: S3Store, proxy: FaultProxy) -> None:
    proxy.faults.append(Fault(answer=503, code="SlowDown", headers=("Retry-After: 1",)))
    began = time.monotonic()
    assert store.read("k") == DATA
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", AccessDeniedError),
        (404, "NoSuchKey", ObjectNotFoundError),
        (404, "NoSuchBucket", StorageError),
        (412, "PreconditionFailed", PreconditionFailedError),
        (409, "ConditionalRequestConflict", PreconditionFailedError),
    ],
)
def test_clear_refusals_are_told_after_one_request(
    store: S3Store, proxy: FaultProxy, status: int, code: str, kind: type[StorageError]
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.get("k"),
        lambda: store.read("k"),
        lambda: store.put("k", b"x"),
    ]
    for call in calls:
        proxy.forget()
        proxy.faults.append(Fault(answer=status, code=code, times=None))
        with pytest.raises(StorageError) as caught:
            call()
        assert type(caught.value) is kind
        assert (caught.value.status, caught.value.code) == (status, code)
        assert len(proxy.requests) == 1
    proxy.forget()


def test_wrong_credentials_are_told_at_once(rclone_server: S3Server, store: S3Store) -> None:
    import boto3

    wrong = boto3.session.Session().client(
        "s3",
        endpoint_url=rclone_server.endpoint_url,
        aws_access_key_id="nobody",
        aws_secret_access_key="secret of nobody",
        region_name="us-east-1",
    )
    denied = S3Store(wrong, store.bucket, fast_path=store._fast_path)
    for call in (denied.read, denied.head, denied.get):
        with pytest.raises(AccessDeniedError) as caught:
            call("k")
        assert "secret of nobody" not in str(caught.value)
    wrong.close()


def test_a_server_that_is_not_there_is_unavailable(rclone_server: S3Server) -> None:
    client = rclone_server.client(f"http://127.0.0.1:{free_port()}")
    for fast_path in (True, False):
        store = S3Store(client, "bucket", fast_path=fast_path, retry=QUICK)
        with pytest.raises(StorageUnavailableError, match="4 times") as caught:
            store.read("k")
        assert not caught.value.ambiguous
        assert caught.value.__cause__ is not None
        again = pickle.loads(pickle.dumps(caught.value))
        assert str(again) == str(caught.value)
        with pytest.raises(StorageUnavailableError) as unsent:
            store._requests.put("k", memoryview(b"x"), if_absent=True)
        assert not unsent.value.ambiguous
    client.close()


def test_a_put_whose_answer_is_lost_is_repeated(store: S3Store, proxy: FaultProxy) -> None:
    proxy.faults.append(Fault(method="PUT", lose_answer=True))
    store.put("new", b"x" * 100_000)
    assert proxy.count("PUT") == 2
    assert store.read("new") == b"x" * 100_000
    proxy.forget()
    proxy.faults.append(Fault(method="PUT", lose_request_after=50_000, reset=True))
    store.put("new", b"y" * 100_000)
    assert store.read("new") == b"y" * 100_000


@pytest.mark.parametrize("fault", [Fault(lose_answer=True), Fault(answer=500)])
def test_a_conditional_put_that_may_have_happened_is_not_repeated(
    tagged: S3Store, moto_proxy: FaultProxy, fault: Fault
) -> None:
    assert tagged.conditional_writes
    moto_proxy.forget()
    moto_proxy.faults.append(dataclasses.replace(fault))
    with pytest.raises(StorageUnavailableError) as caught:
        tagged.put("new", b"mine", if_absent=True)
    assert caught.value.ambiguous
    assert moto_proxy.count("PUT") == 1
    assert tagged.exists("new") == fault.lose_answer


def test_a_conditional_put_that_was_throttled_is_repeated(
    tagged: S3Store, moto_proxy: FaultProxy
) -> None:
    assert tagged.conditional_writes
    moto_proxy.forget()
    moto_proxy.faults.append(Fault(method="PUT", answer=503, code="SlowDown", times=2))
    tagged.put("new", b"mine", if_absent=True)
    assert moto_proxy.count("PUT") == 3


def test_an_upload_damaged_on_its_way_is_refused_by_a_server_that_looks(
    store: S3Store, proxy: FaultProxy
) -> None:
    proxy.faults.append(Fault(method="PUT", flip_request_at=50))
    store.put("new", DATA)
    assert proxy.count("PUT") >= 2
    assert store.read("new") == DATA
    proxy.forget()
    big = make("noise", 11 * MIB)
    proxy.faults.append(Fault(method="PUT", path="partNumber=2", flip_request_at=50))
    store.put("big", big)
    assert store.read("big") == big
    proxy.forget()
    proxy.faults.append(Fault(method="PUT", flip_request_at=50, times=None))
    with pytest.raises(StorageError):
        store.put("never", DATA)


def test_an_upload_damaged_on_its_way_is_noticed_where_the_server_does_not_look(
    tagged: S3Store, moto_proxy: FaultProxy
) -> None:
    moto_proxy.faults.append(Fault(method="PUT", flip_request_at=50))
    with pytest.raises(IntegrityError) as caught:
        tagged.put("new", DATA)
    assert caught.value.key == "new"
    assert caught.value.expected != caught.value.actual


@pytest.mark.parametrize("fast_path", [True, False])
def test_a_body_damaged_on_its_way_is_noticed_where_the_server_keeps_a_checksum(
    moto_server: S3Server, moto_proxy: FaultProxy, *, fast_path: bool
) -> None:
    client = moto_server.client(
        moto_proxy.url,
        request_checksum_calculation="when_supported",
        response_checksum_validation="when_supported",
    )
    bucket = moto_server.fresh_bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=DATA, ChecksumAlgorithm="CRC32")
    store = S3Store(client, bucket, fast_path=fast_path, retry=QUICK)
    assert store.read("k") == DATA
    with store.get("k") as body:
        assert b"".join(body.iter_chunks(70_000)) == DATA
    moto_proxy.faults.append(Fault(method="GET", flip_at=700_000, times=3))
    with pytest.raises(IntegrityError, match="crc32"):
        store.read("k")
    with store.get("k") as body, pytest.raises(IntegrityError, match="crc32"):
        body.read()
    with store.get("k") as body, pytest.raises(IntegrityError) as caught:
        list(body.iter_chunks(70_000))
    assert (caught.value.key, caught.value.algorithm) == ("k", "crc32")
    client.close()


def test_a_part_that_fails_for_good_removes_the_upload(store: S3Store, proxy: FaultProxy) -> None:
    proxy.faults.append(
        Fault(method="PUT", path="partNumber=2", answer=403, code="AccessDenied", times=None)
    )
    with pytest.raises(AccessDeniedError):
        store.put("big", make("noise", 11 * MIB))
    assert proxy.count("DELETE", "/big") == 1
    assert list(store.iter_uploads()) == []
    assert not store.exists("big")
    with pytest.raises(AccessDeniedError):
        store.put("big", iter([make("noise", 16 * MIB)]))
    assert list(store.iter_uploads()) == []


def test_an_upload_whose_end_was_lost_is_found_complete(store: S3Store, proxy: FaultProxy) -> None:
    proxy.faults.append(Fault(method="POST", path="uploadId=", lose_answer=True))
    data = make("noise", 11 * MIB)
    assert store.put("big", data).size == len(data)
    assert store.read("big") == data


def test_failures_to_remove_are_told_by_key(store: S3Store, proxy: FaultProxy) -> None:
    proxy.faults.append(Fault(method="POST", answer=403, code="AccessDenied"))
    with pytest.raises(AccessDeniedError):
        store.delete_many(["k"])
    proxy.faults.append(Fault(method="POST", answer=503, code="SlowDown"))
    assert store.delete_many(["k", "nothing"]) == {}
    assert not store.exists("k")


def test_an_idle_connection_that_the_server_closed_is_replaced(rclone_server: S3Server) -> None:
    good = answer(b"right", *WHOLE)
    impolite = Impolite([good, b"close", good, good, b"close", good])
    store = store_at(rclone_server, impolite, attempts=1)
    assert [store.read("k") for _ in range(4)] == [b"right"] * 4
    assert impolite.asked == 4
    impolite.end()


@pytest.mark.parametrize(
    "bad",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 206 x\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 206 x\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
        answer(b"right", "Content-Length: 5", "Content-Length: 6"),
        answer(b"right", "Content-Length: 5", "Content-Range: bytes 0-9/10"),
        answer(b"right", "Content-Length: 5", "Content-Range: bytes 5-9/10"),
        answer(b"righ", "Content-Length: 5", "Content-Range: bytes 0-4/5"),
    ],
)
def test_answers_that_make_no_sense_are_refused(rclone_server: S3Server, bad: bytes) -> None:
    impolite = Impolite([bad, b"close", bad, b"close", bad, b"close", bad])
    store = store_at(rclone_server, impolite)
    with pytest.raises(StorageError):
        store.read("k")
    impolite.end()


def test_a_length_that_is_missing_or_no_number_is_refused(rclone_server: S3Server) -> None:
    for header in ("Content-Length: five", "Content-Length: -5", "Transfer-Encoding: chunked"):
        impolite = Impolite([answer(b"right", header), b"close"] * 4)
        with pytest.raises(StorageError):
            store_at(rclone_server, impolite).read("k")
        impolite.end()


def test_a_server_without_ranges_is_read_all_the_same(rclone_server: S3Server) -> None:
    whole = answer(b"0123456789", "Content-Length: 10", status="200 OK")
    impolite = Impolite([whole] * 4)
    store = store_at(rclone_server, impolite)
    assert store.read("k", start=3, end=6) == b"345"
    assert store.get("k", start=4).read() == b"456789"
    assert store.read("k", start=-2) == b"89"
    impolite.end()


def test_a_reason_in_chunks_is_understood(rclone_server: S3Server) -> None:
    text = b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>"
    body = b"%x;extra=1\r\n%s\r\n%x\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (
        (10, text[:10], len(text) - 10, text[10:])
    )
    chunked = answer(body, "Transfer-Encoding: chunked", status="404 Not Found")
    impolite = Impolite([chunked, answer(b"right", *WHOLE)])
    store = store_at(rclone_server, impolite)
    with pytest.raises(ObjectNotFoundError):
        store.read("k")
    assert store.read("k") == b"right"
    impolite.end()


@pytest.mark.parametrize("settings", [{"attempts": 0}, {"first_wait_s": -1}, {"deadline_s": -1}])
def test_policies_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        RetryPolicy(**settings)


def test_a_policy_ends_at_its_deadline_and_pickles() -> None:
    policy = RetryPolicy(attempts=1000, first_wait_s=0.05, longest_wait_s=0.05, deadline_s=0.2)
    assert pickle.loads(pickle.dumps(policy)) == policy
    calls = 0

    def fail() -> None:
        nonlocal calls
        calls += 1
        raise StorageUnavailableError("down", status=503)

    with pytest.raises(StorageUnavailableError, match="times"):
        policy.run("get", "k", fail)
    assert 2 <= calls < 1000


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (StorageUnavailableError("x"), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (socket.gaierror(), True),
        (AccessDeniedError("x"), False),
        (ObjectNotFoundError("x"), False),
        (PermissionError(), False),
        (FileNotFoundError(), False),
        (ValueError(), False),
    ],
)
def test_only_what_may_pass_is_repeated(error: Exception, *, expected: bool) -> None:
    assert is_transient(error) is expected


def test_a_refused_head_is_no_clear_answer(store: S3Store, proxy: FaultProxy) -> None:
    proxy.faults.append(Fault(method="HEAD", answer=403, times=None))
    for _ in range(5):
        with pytest.raises(AccessDeniedError):
            store.exists("k")
    proxy.forget()
    assert store.exists("k")
    if store._fast_path:
        assert proxy.requests[0].headers["user-agent"] == "shardpack"


def test_what_only_boto3_can_do_is_left_to_it_for_good(rclone_server: S3Server) -> None:
    """A server that wants something else of each signature, as after a move of the bucket."""
    client = rclone_server.client()
    bucket = rclone_server.fresh_bucket(client)
    store = S3Store(client, bucket)
    store.put("k", b"x")
    fast = store._requests.fast
    assert fast is not None
    fast._signer = type(fast._signer)("elsewhere-1", "another-service")
    for _ in range(5):
        assert store.read("k") == b"x"
    assert not fast.usable()
    client.close()
