"""The proxy that breaks connections must break what it is told to, and nothing else."""

from __future__ import annotations

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from fault_proxy import Fault, FaultProxy
from inputs import MIB, make

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import S3Server


@pytest.fixture
def proxy(rclone_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(rclone_server.endpoint_url) as running:
        yield running


@pytest.fixture
def client(proxy: FaultProxy, rclone_server: S3Server) -> Iterator[Any]:
    made = rclone_server.client(proxy.url)
    yield made
    made.close()


@pytest.fixture
def bucket(client: Any, proxy: FaultProxy, rclone_server: S3Server) -> str:
    name = rclone_server.fresh_bucket()
    client.put_object(Bucket=name, Key="object", Body=make("noise", 200_000))
    proxy.forget()
    return name


def get(client: Any, bucket: str) -> bytes:
    with closing(client.get_object(Bucket=bucket, Key="object")["Body"]) as body:
        data: bytes = body.read()
    return data


def test_everything_passes_unchanged_and_is_counted(
    client: Any, proxy: FaultProxy, bucket: str
) -> None:
    data = make("noise", 3 * MIB)
    client.put_object(Bucket=bucket, Key="big", Body=data)
    assert client.get_object(Bucket=bucket, Key="big")["Body"].read() == data
    part = client.get_object(Bucket=bucket, Key="big", Range="bytes=5-9")["Body"].read()
    assert part == data[5:10]
    client.head_object(Bucket=bucket, Key="big")
    assert [seen.method for seen in proxy.requests] == ["PUT", "GET", "GET", "HEAD"]
    put, whole, ranged, head = proxy.requests
    assert (put.bytes_up, whole.bytes_down, ranged.bytes_down, head.bytes_down) == (
        (len(data), len(data), 5, 0)
    )
    assert ranged.range == "bytes=5-9"
    assert put.status == head.status == 200
    assert proxy.count("GET", "/big$") == 2
    assert len(data) < proxy.bytes_up < len(data) + 10_000
    assert len(data) < proxy.bytes_down < len(data) + 10_000


def test_two_thousand_small_requests_pass(
    client: Any, proxy: FaultProxy, rclone_server: S3Server, bucket: str
) -> None:
    client.put_object(Bucket=bucket, Key="object", Body=b"small")
    with closing(rclone_server.client(proxy.url, signature_version="s3v4")) as signer:
        named = {"Bucket": bucket, "Key": "object"}
        url = signer.generate_presigned_url("get_object", Params=named)
    target = url.removeprefix(proxy.url)
    proxy.forget()

    def some(count: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
        for _ in range(count):
            connection.request("GET", target)
            assert connection.getresponse().read() == b"small"
        connection.close()
        return count

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(some, [250] * 8)) == 2000
    assert proxy.count() == 2000
    assert proxy.connections == 8


@pytest.mark.parametrize("reset", [False, True])
def test_a_body_is_cut(client: Any, proxy: FaultProxy, bucket: str, *, reset: bool) -> None:
    from botocore.exceptions import ClientError, HTTPClientError, ResponseStreamingError

    proxy.faults.append(Fault("GET", cut_after=1000, reset=reset))
    with pytest.raises((ResponseStreamingError, HTTPClientError, ClientError)):
        get(client, bucket)
    assert proxy.requests[0].bytes_down == 1000
    assert get(client, bucket) == make("noise", 200_000)


def test_a_bit_is_flipped(client: Any, proxy: FaultProxy, bucket: str) -> None:
    proxy.faults.append(Fault("GET", flip_at=150_000))
    data = make("noise", 200_000)
    found = get(client, bucket)
    assert [i for i in range(len(data)) if data[i] != found[i]] == [150_000]
    assert get(client, bucket) == data


def test_a_bit_of_a_request_is_flipped(client: Any, proxy: FaultProxy, bucket: str) -> None:
    proxy.faults.append(Fault("PUT", flip_request_at=4))
    client.put_object(Bucket=bucket, Key="object", Body=b"abcdefg")
    assert get(client, bucket) == b"abcddfg"


def test_some_requests_are_answered_by_the_proxy(
    client: Any, proxy: FaultProxy, bucket: str
) -> None:
    from botocore.exceptions import ClientError

    proxy.faults.append(Fault("GET", "/object", skip=1, times=2, answer=503, code="SlowDown"))
    get(client, bucket)
    for _ in range(2):
        with pytest.raises(ClientError, match="SlowDown"):
            get(client, bucket)
    get(client, bucket)
    proxy.faults.append(Fault("PUT", answer=403, code="AccessDenied"))
    with pytest.raises(ClientError, match="AccessDenied"):
        client.put_object(Bucket=bucket, Key="object", Body=b"new")
    assert len(get(client, bucket)) == 200_000


def test_an_answer_is_lost_after_the_request_took_effect(
    client: Any, proxy: FaultProxy, bucket: str
) -> None:
    from botocore.exceptions import HTTPClientError

    proxy.faults.append(Fault("PUT", lose_answer=True))
    with pytest.raises(HTTPClientError):
        client.put_object(Bucket=bucket, Key="object", Body=b"new")
    assert get(client, bucket) == b"new"
    assert [seen.status for seen in proxy.requests] == [None, 200]


def test_a_request_is_lost_on_its_way(client: Any, proxy: FaultProxy, bucket: str) -> None:
    from botocore.exceptions import HTTPClientError

    proxy.faults.append(Fault("PUT", lose_request_after=70_000))
    with pytest.raises(HTTPClientError):
        client.put_object(Bucket=bucket, Key="other", Body=bytes(3 * MIB))
    assert proxy.requests[0].bytes_up == 70_000


def test_latency_is_added_to_each_request(client: Any, proxy: FaultProxy, bucket: str) -> None:
    proxy.latency_s = 0.05
    started = time.perf_counter()
    get(client, bucket)
    get(client, bucket)
    assert time.perf_counter() - started >= 0.1


def test_a_body_stalls_until_the_client_gives_up(
    rclone_server: S3Server, proxy: FaultProxy, bucket: str
) -> None:
    from botocore.exceptions import HTTPClientError

    impatient = rclone_server.client(proxy.url, read_timeout=0.3)
    proxy.faults.append(Fault("GET", stall_after=10))
    with pytest.raises(HTTPClientError):
        get(impatient, bucket)
    impatient.close()
