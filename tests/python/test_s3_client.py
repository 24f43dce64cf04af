"""The client behind a store: made, taken as it is, made anew, and the way past it."""

from __future__ import annotations

import pickle
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.stub import Stubber

from inputs import MIB, make
from shardpack.errors import AccessDeniedError
from shardpack.storage.s3 import ClientSettings, S3Store, make_client
from shardpack.storage.s3.fast import FastRequests
from shardpack.storage.s3.multipart import part_size_for, parts_at_once
from shardpack.storage.s3.plain import PlainRequests
from shardpack.storage.s3.signing import quote_key

if TYPE_CHECKING:
    from servers import S3Server

PART = 5 * MIB


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    return s3_server.fresh_bucket()


def is_fast(store: S3Store) -> bool:
    return store._requests.fast is not None and store._requests.fast.usable()


def test_a_store_pickles_without_credentials(
    s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = S3Store(s3_server.client(), bucket)
    store.put("k", b"x")
    data = pickle.dumps(store)
    secret = s3_server.environment()["AWS_SECRET_ACCESS_KEY"]
    assert secret.encode() not in data
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    again: S3Store = pickle.loads(data)
    assert again.read("k") == b"x"
    assert again.client is not store.client


def test_a_made_client_is_one_for_each_configuration(
    s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    url = s3_server.endpoint_url
    client = make_client(endpoint_url=url)
    assert make_client(endpoint_url=url) is client
    assert make_client(endpoint_url=url, concurrency=40) is not client
    assert client.meta.config.max_pool_connections >= 16
    store = S3Store(client, bucket)
    assert store.client is client
    store.put("k", b"x")
    assert pickle.loads(pickle.dumps(store)).client is client
    assert S3Store.open(bucket, endpoint_url=url).read("k") == b"x"
    assert ClientSettings.of(client).endpoint_url == url


def test_whoever_listens_to_the_client_is_heard(s3_server: S3Server, bucket: str) -> None:
    client = s3_server.client()
    store = S3Store(client, bucket)
    store.put("k", b"x")
    assert is_fast(store)
    heard: list[str] = []

    def listen(event_name: str, **_: Any) -> None:
        heard.append(event_name)

    client.meta.events.register("before-send.s3", listen)
    assert store.read("k") == b"x"
    assert heard == ["before-send.s3.GetObject"]
    client.meta.events.unregister("before-send.s3", listen)
    assert store.read("k") == b"x"
    assert len(heard) == 1
    with Stubber(client) as stub:
        stub.add_client_error("head_object", "AccessDenied", http_status_code=403)
        with pytest.raises(AccessDeniedError):
            store.head("k")


@pytest.mark.parametrize(
    "config",
    [
        {"proxies": {"http": "http://127.0.0.1:1"}},
        {"signature_version": "s3"},
        {"s3": {"payload_signing_enabled": True, "addressing_style": "path"}},
    ],
)
def test_unusual_clients_are_left_to_boto3(s3_server: S3Server, config: dict[str, Any]) -> None:
    assert FastRequests.of(s3_server.client(), "bucket") is not None
    assert FastRequests.of(s3_server.client(**config), "bucket") is None
    assert FastRequests.of(s3_server.client(), "arn:aws:s3:us-east-1:1:accesspoint/x") is None


def test_clients_with_checksums_switched_on_read_ranges(s3_server: S3Server, bucket: str) -> None:
    client = s3_server.client(
        request_checksum_calculation="when_supported",
        response_checksum_validation="when_supported",
    )
    data = make("noise", 12 * MIB)
    client.put_object(Bucket=bucket, Key="theirs", Body=data)
    for fast_path in (True, False):
        store = S3Store(client, bucket, part_size=PART, fast_path=fast_path)
        store.put("ours", data[:1000])
        store.put("parts", data)
        for key, whole in (("theirs", data), ("ours", data[:1000]), ("parts", data)):
            assert store.read(key) == whole
            assert store.get(key, start=5, end=500).read() == whole[5:500]
            assert store.read(key, start=-100) == whole[-100:]
    client.close()


def test_parts_are_few_and_bounded() -> None:
    assert part_size_for(100, PART) == PART
    size = 5 << 40
    assert -(-size // part_size_for(size, PART)) <= 10_000
    assert parts_at_once(32 * MIB, 16) == 4
    assert parts_at_once(PART, 16) == 16
    assert parts_at_once(1 << 30, 16) == 1


def test_settings_that_cannot_work_are_refused(s3_server: S3Server) -> None:
    client = s3_server.client()
    with pytest.raises(ValueError, match="at least"):
        S3Store(client, "bucket", part_size=1)
    with pytest.raises(ValueError, match="at least"):
        S3Store(client, "bucket", concurrency=0)
    with pytest.raises(ValueError, match="bucket"):
        S3Store(client, "")


@pytest.mark.parametrize(
    ("bucket", "options", "s3"),
    [
        ("plain-bucket", {"region_name": "us-east-1"}, {}),
        ("plain-bucket", {"region_name": "eu-central-1"}, {}),
        ("plain-bucket", {"region_name": "cn-north-1"}, {}),
        ("dotted.bucket", {"region_name": "eu-central-1"}, {}),
        ("plain-bucket", {"region_name": "eu-central-1"}, {"addressing_style": "path"}),
        ("plain-bucket", {"region_name": "eu-central-1"}, {"use_accelerate_endpoint": True}),
        ("plain-bucket", {"region_name": "eu-central-1"}, {"use_dualstack_endpoint": True}),
        ("plain-bucket", {"endpoint_url": "https://s3.example.org/below"}, {}),
        ("plain-bucket", {"endpoint_url": "http://[::1]:9000"}, {"addressing_style": "path"}),
        ("plain-bucket", {"endpoint_url": "https://s3.example.org:443"}, {}),
    ],
)
def test_the_fast_path_goes_where_boto3_would_go(
    bucket: str, options: dict[str, Any], s3: dict[str, Any]
) -> None:
    import boto3
    from botocore.config import Config

    client = boto3.session.Session().client(
        "s3",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(s3=s3, signature_version="s3v4"),
        **{"region_name": "us-east-1"} | options,
    )
    fast = FastRequests.of(client, bucket)
    assert fast is not None
    sent: list[Any] = []

    class SentError(Exception):
        pass

    def catch(request: Any, **_: Any) -> None:
        sent.append(request)
        raise SentError

    client.meta.events.register("before-send.s3", catch)
    with pytest.raises(SentError):
        client.get_object(Bucket=bucket, Key="a b/ü")
    url = urlsplit(sent[0].url)
    host = url.netloc.removesuffix(":443") if url.scheme == "https" else url.netloc
    assert fast._host == host
    assert fast._path + quote_key("a b/ü") == url.path
    signature = sent[0].headers["Authorization"].decode()
    scope = signature.partition("Credential=")[2].split(",")[0].split("/")[2:]
    assert "/".join(scope) == fast._signer._scope_end.removeprefix("/")
    client.close()


def test_bodies_of_older_botocores_are_read_too() -> None:
    data = make("noise", 100_000)

    class Body:
        """As botocore's was before it could fill a buffer."""

        def __init__(self) -> None:
            self.whole = BytesIO(data)

        def read(self, amount: int) -> bytes:
            # Less than asked for, as from a socket.
            return self.whole.read(min(amount, 1000))

        def close(self) -> None:
            self.whole.close()

    headers = {"content-length": str(len(data))}
    about = {"HTTPStatusCode": 200, "HTTPHeaders": headers}

    class Client:
        """Gives one answer."""

        def get_object(self, **_: object) -> dict[str, object]:
            return {"Body": Body(), "ResponseMetadata": about}

    answer = PlainRequests(Client(), "bucket").get("k", None, None, None, None)
    received = bytearray(len(data))
    assert answer.readinto(memoryview(received)) == len(data)
    assert received == data
    answer.close()
