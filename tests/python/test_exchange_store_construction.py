"""Making exchange stores: from clients, settings and URLs; templates and scopes."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

from exchange_stores import fresh_memory
from inputs import run_python
from shardpack.errors import MissingPlaceholderError, UnsafePathError
from shardpack.exchange import ExchangeStore, S3ExchangeStore, S3Settings, ScopedStore
from shardpack.exchange.bodies import VerifiedBody

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import S3Server


@pytest.fixture
def client(moto_server: S3Server) -> Iterator[Any]:
    made = moto_server.client()
    yield made
    made.close()


def test_a_client_is_taken_in_both_of_its_places(moto_server: S3Server, client: Any) -> None:
    bucket = moto_server.fresh_bucket(client)
    for store in (
        S3ExchangeStore(client, bucket),
        S3ExchangeStore(client, bucket=bucket, base_prefix="p/", default_vars={"a": 1}),
        S3ExchangeStore(s3_client=client, bucket=bucket),
        S3ExchangeStore(client, bucket, fast_path=False),
    ):
        assert store.s3_client is client
        assert store.bucket == bucket
        store.put_object("x", b"1")
        assert store.get_object("x").read() == b"1"
        assert store.infer_id("a/b.txt") == "b"
    assert S3ExchangeStore(client, bucket, infer_id=str.upper).put_object("k", b"")["id"] == "K"


def test_what_is_no_client_is_refused(client: Any) -> None:
    for arguments in ((None, "b"), ("client", "b"), (object(), "b"), ({}, "b")):
        with pytest.raises(ValueError, match="S3Settings"):
            S3ExchangeStore(*arguments)
    with pytest.raises(ValueError, match="got 2"):
        S3ExchangeStore(client, "b", s3_client=client)
    with pytest.raises(ValueError, match="bucket"):
        S3ExchangeStore(client)
    with pytest.raises(ValueError, match="bucket"):
        S3ExchangeStore(client, "")
    import boto3

    other = boto3.client("sqs", region_name="us-east-1")
    with pytest.raises(ValueError, match="S3Settings"):
        S3ExchangeStore(other, "b")
    other.close()


def test_settings_name_the_bucket_and_keep_their_secret(moto_server: S3Server, client: Any) -> None:
    bucket = moto_server.fresh_bucket(client)
    settings = S3Settings(
        endpoint_url=moto_server.endpoint_url,
        region="us-east-1",
        bucket=bucket,
        aws_access_key_id="name",
        aws_secret_access_key="very-secret",
        _env_file=None,
    )
    store = S3ExchangeStore(settings, base_prefix="p")
    store.put_object("x", b"1")
    assert store.get_object("x").read() == b"1"
    assert store.bucket == bucket
    for text in (repr(store), repr(settings), repr(store.objects), repr(store.scope(a=1))):
        assert "very-secret" not in text
    again = pickle.loads(pickle.dumps(store))
    assert again.get_object("x").read() == b"1"
    assert again.bucket == bucket
    for made in (store, again):
        made.s3_client.close()


def test_a_store_with_a_client_pickles_without_its_credentials(
    moto_server: S3Server, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in moto_server.environment().items():
        monkeypatch.setenv(name, value)
    store = S3ExchangeStore(client, moto_server.fresh_bucket(client), base_prefix="p")
    store.put_object("x", b"1")
    pickled = pickle.dumps(store)
    assert b"shardpack-test-secret" not in pickled
    again = pickle.loads(pickled)
    assert isinstance(again, S3ExchangeStore)
    assert again.get_object("x").read() == b"1"
    assert again.base_prefix == "p"
    again.s3_client.close()


def test_the_path_of_a_url_is_the_base_prefix(tmp_path: Any) -> None:
    store = ExchangeStore.open("mem://opened/a/b", base_prefix="c")
    assert store.base_prefix == "a/b/c"
    store.put_object("x", b"1")
    assert ExchangeStore.open("mem://opened").get_object("a/b/c/x").read() == b"1"
    assert store.url == "mem://opened/a/b/c"
    with ExchangeStore.open(f"file://{tmp_path}/new") as files:
        files.put_object("x", b"1")
    assert (tmp_path / "new" / "x").read_bytes() == b"1"
    with pytest.raises(ValueError, match="az"):
        ExchangeStore.open("az://container/x")
    with pytest.raises(UnsafePathError):
        ExchangeStore(fresh_memory().objects, base_prefix="a/../b")


def test_a_url_of_a_bucket_is_opened_with_the_options_of_the_command(
    moto_server: S3Server, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in moto_server.environment().items():
        if name != "AWS_ENDPOINT_URL":
            monkeypatch.setenv(name, value)
    bucket = moto_server.fresh_bucket(client)
    store = ExchangeStore.open(
        f"s3://{bucket}/p", endpoint_url=moto_server.endpoint_url, concurrency=3
    )
    store.put_object("x", b"1")
    assert client.get_object(Bucket=bucket, Key="p/x")["Body"].read() == b"1"
    assert store.concurrency == 3
    store.objects.client.close()  # type: ignore[attr-defined]


def test_scopes_fill_templates() -> None:
    store = fresh_memory("base", default_vars={"env": "prod", "run": 0})
    scope = store.scope(run=7, prefix="runs/7")
    assert isinstance(scope, ScopedStore)
    assert scope.key("{env}/{run}/{name}.bin", name="x") == "base/prod/7/x.bin"
    assert scope.key("{run}", run=8) == "base/8"
    assert scope.manifest_key("samples") == "base/runs/7/samples/manifest.jsonl"
    assert scope.shard_prefix("samples") == "base/runs/7/samples/shards"
    assert scope.manifest_key("{env}") == "base/runs/7/prod/manifest.jsonl"
    with pytest.raises(MissingPlaceholderError) as caught:
        store.scope().manifest_key("samples")
    assert caught.value.placeholder == "prefix"
    with pytest.raises(UnsafePathError):
        scope.key("{x}", x="../../etc")
    # A key that a scope has made keeps its meaning.
    store.put_object(scope.key("{run}"), b"1")
    assert store.get_object("7").read() == b"1"


def test_kinds_of_keys_are_told_by_their_extensions() -> None:
    store = fresh_memory()
    assert store.is_manifest("a/m.jsonl")
    assert not store.is_manifest("a/m.json")
    for suffix in (
        ".tar",
        ".tar.gz",
        ".tgz",
        ".tar.bz2",
        ".tar.xz",
        ".tar.zst",
        ".tzst",
        ".tar.s4",
    ):
        assert store.is_shard(f"a/x{suffix}")
    assert not store.is_shard("a/x.zip")


def test_importing_the_package_of_exchanges_imports_no_boto() -> None:
    code = (
        "import sys, shardpack.exchange as e; e.ExchangeStore.open('mem://a').put_object('x', b'');"
        "print([name for name in ('boto3', 'botocore') if name in sys.modules])"
    )
    assert run_python(code) == "[]"


def test_a_body_is_compared_with_its_entry_as_it_is_read() -> None:
    from shardpack.errors import IntegrityError

    store = fresh_memory()
    entry = store.put_object("x", b"0123456789")

    def body(**changes: Any) -> VerifiedBody:
        opened = store.objects.get("x")
        return VerifiedBody(opened, {**entry, **changes}, key="x")

    assert body().read() == b"0123456789"
    assert b"".join(body().iter_chunks(3)) == b"0123456789"
    exact = body(blake3="00" * 32)
    with pytest.raises(IntegrityError) as caught:
        exact.read(10)
    assert (caught.value.key, caught.value.algorithm) == ("x", "blake3")
    for changes, algorithm in (
        ({"size_bytes": 11}, "size"),
        ({"size_bytes": 9}, "size"),
        ({"crc32c": "00000000"}, "crc32c"),
        ({"blake3": "00" * 32}, "blake3"),
    ):
        with pytest.raises(IntegrityError) as caught:
            body(**changes).read()
        assert caught.value.algorithm == algorithm
        assert caught.value.expected != caught.value.actual
