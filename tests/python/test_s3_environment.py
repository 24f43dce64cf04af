"""A store belongs to one server and one identity, and what stands in for AWS is never passed by."""

from __future__ import annotations

import copy
import os
import pickle
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from unittest import mock

import boto3
import botocore.client
import pytest
from botocore.credentials import RefreshableCredentials
from botocore.stub import Stubber

from shardpack.errors import StorageError
from shardpack.storage.retry import RetryPolicy
from shardpack.storage.s3 import S3Store, make_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import S3Server


@pytest.fixture
def environment(rclone_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in rclone_server.environment().items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_another_endpoint_in_the_environment_is_another_server(
    environment: pytest.MonkeyPatch, rclone_server: S3Server, moto_server: S3Server
) -> None:
    old = make_client()
    assert old.meta.endpoint_url == rclone_server.endpoint_url
    environment.setenv("AWS_ENDPOINT_URL", moto_server.endpoint_url)
    assert make_client().meta.endpoint_url == moto_server.endpoint_url
    environment.setenv("AWS_ENDPOINT_URL", rclone_server.endpoint_url)
    assert make_client() is old


def test_other_credentials_in_the_environment_are_used(environment: pytest.MonkeyPatch) -> None:
    old = make_client()
    environment.setenv("AWS_ACCESS_KEY_ID", "another")
    assert make_client()._get_credentials().access_key == "another"
    assert old._get_credentials().access_key != "another"


def test_other_configuration_files_are_read(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "config"
    environment.delenv("AWS_DEFAULT_REGION")
    environment.setenv("AWS_CONFIG_FILE", str(file))
    regions = []
    for region in ("eu-central-1", "ap-southeast-2"):
        file.write_text(f"[default]\nregion = {region}\n[profile other]\nregion = us-west-1\n")
        regions.append(make_client().meta.region_name)
    environment.setenv("AWS_PROFILE", "other")
    regions.append(make_client().meta.region_name)
    assert regions == ["eu-central-1", "ap-southeast-2", "us-west-1"]


def test_a_store_stays_at_its_server_when_the_environment_changes(
    environment: pytest.MonkeyPatch, rclone_server: S3Server, moto_server: S3Server
) -> None:
    bucket = rclone_server.fresh_bucket()
    made, opened = S3Store(make_client(), bucket), S3Store.open(bucket)
    made.put("k", b"x")
    assert opened.read("k") == b"x"
    environment.setenv("AWS_ENDPOINT_URL", moto_server.endpoint_url)
    for store in (made, opened):
        for same in (store, copy.deepcopy(store), pickle.loads(pickle.dumps(store))):
            assert same.client.meta.endpoint_url == rclone_server.endpoint_url
            assert same.read("k") == b"x"
        child = os.fork()
        if not child:
            right = store.client.meta.endpoint_url == rclone_server.endpoint_url
            os._exit(0 if right and store.read("k") == b"x" else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_a_copy_in_the_same_process_keeps_client_and_credentials(rclone_server: S3Server) -> None:
    store = S3Store(rclone_server.client(), rclone_server.fresh_bucket())
    assert copy.deepcopy(store).client is store.client
    copy.deepcopy(store).put("k", b"x")
    assert store.read("k") == b"x"
    store.client.close()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail when there was any connection to a server."""
    tried: list[Any] = []

    def refuse(address: Any, *_: Any, **__: Any) -> socket.socket:
        tried.append(address)
        raise ConnectionRefusedError(address)

    monkeypatch.setattr(socket, "create_connection", refuse)
    yield
    assert tried == []


IN_MOTO = """
import socket
from shardpack.storage.s3 import S3Store, make_client
before = make_client(region="us-east-1")
import boto3
from moto import mock_aws
from shardpack.errors import ObjectNotFoundError
from shardpack.storage import open_store

def refuse(address, *_, **__):
    raise SystemExit(f"{address} was to be reached")

socket.create_connection = refuse
socket.socket.connect = lambda self, address: refuse(address)
with mock_aws():
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="bucket-of-moto")
    made = make_client(region="us-east-1")
    assert made is not before
    for store in (
        S3Store(client, "bucket-of-moto"),
        S3Store(made, "bucket-of-moto"),
        open_store("s3://bucket-of-moto")[0],
    ):
        store.put("k", b"data", if_absent=True)
        assert store.read("k", start=1) == b"ata"
        with store.writer("big") as writer:
            writer.write(bytes(33 << 20))
        assert [info.size for info in store.list()] == [33 << 20, 4]
        assert store.delete_many(["k", "big"]) == {}
        try:
            store.read("k")
        except ObjectNotFoundError:
            continue
        raise SystemExit("the object is still there")
"""


def test_moto_in_the_same_process_is_never_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    # A process of its own: once it is imported, moto listens to all clients made later.
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    command = [sys.executable, "-c", IN_MOTO]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=50)
    assert ended.returncode == 0, ended.stderr


def far_client() -> Any:
    return boto3.session.Session().client(
        "s3",
        region_name="us-east-1",
        endpoint_url="http://s3.example.invalid",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )


@pytest.mark.usefixtures("no_network")
def test_whoever_replaces_the_calls_of_a_client_is_never_passed_by() -> None:
    client = far_client()
    store = S3Store(client, "bucket", retry=RetryPolicy(attempts=1))
    assert store._requests.fast is not None
    told = {"ContentLength": 7, "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {}}}
    with Stubber(client) as stub:
        stub.add_response("head_object", told)
        assert store.head("k").size == 7
    with mock.patch.object(client, "head_object", return_value=told):
        assert store.head("k").size == 7
    with mock.patch.object(botocore.client.BaseClient, "_make_api_call", return_value=told):
        assert store.head("k").size == 7
        assert S3Store(client, "bucket").head("k").size == 7
    # Then it is as it was.
    assert store._requests.fast.usable()
    client.close()


def test_credentials_that_cannot_be_renewed_are_told(rclone_server: S3Server) -> None:
    def renew() -> dict[str, str]:
        raise OSError("the service is gone")

    session = boto3.session.Session(region_name="us-east-1")
    session._session._credentials = RefreshableCredentials.create_from_metadata(
        {
            "access_key": "key",
            "secret_key": "secret",
            "token": "token",
            "expiry_time": "2020-01-01T00:00:00Z",
        },
        refresh_using=renew,
        method="test",
    )
    client = session.client("s3", endpoint_url=rclone_server.endpoint_url)
    for fast_path in (True, False):
        store = S3Store(client, "bucket", fast_path=fast_path, retry=RetryPolicy(attempts=1))
        for call in (store.head, store.read, store.delete):
            with pytest.raises(StorageError) as caught:
                call("k")
            assert "secret" not in str(caught.value)
    client.close()


def test_a_client_may_wait_for_ever(rclone_server: S3Server) -> None:
    client = rclone_server.client(read_timeout=None, connect_timeout=None)
    store = S3Store(client, rclone_server.fresh_bucket(client))
    store.put("k", b"x")
    assert store.read("k") == b"x"
    assert store._requests.fast is not None
    client.close()


def test_a_bucket_that_cannot_be_is_a_storage_error(rclone_server: S3Server) -> None:
    client = rclone_server.client()
    with pytest.raises(StorageError):
        S3Store(client, "no/bucket").read("k")
    client.close()
