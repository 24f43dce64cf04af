"""What a server says about conditions is told from what it says about everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest

from fault_proxy import Fault, FaultProxy
from inputs import MIB, make
from servers import moto_server, rclone_server, versitygw_server
from shardpack.errors import AccessDeniedError, ConcurrencyUnsupportedError, StorageError
from shardpack.exchange import ExchangeStore, ShardSizePolicy
from shardpack.storage.retry import RetryPolicy
from shardpack.storage.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import S3Server

__all__ = ["moto_server", "rclone_server", "versitygw_server"]

SCRATCH = r"/\.shardpack-probe/"
QUICK = RetryPolicy(attempts=2, first_wait_s=0.001, longest_wait_s=0.01)
Place: TypeAlias = "tuple[S3Store, FaultProxy]"


@pytest.fixture
def place(moto_server: S3Server) -> Iterator[Place]:
    """A store in an empty bucket, and the proxy that its requests pass."""
    with FaultProxy(moto_server.endpoint_url) as proxy:
        client = moto_server.client(proxy.url)
        yield S3Store(client, moto_server.fresh_bucket(client), retry=QUICK), proxy
        client.close()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "ExpiredToken", AccessDeniedError),
        (400, "AuthorizationHeaderMalformed", StorageError),
        (400, "InvalidBucketName", StorageError),
        (400, "InvalidRequest", StorageError),
        (403, "AccessDenied", AccessDeniedError),
        (405, "MethodNotAllowed", StorageError),
        (404, "NoSuchBucket", StorageError),
    ],
)
def test_an_answer_about_something_else_is_passed_on_and_not_remembered(
    place: Place, status: int, code: str, kind: type[StorageError]
) -> None:
    store, proxy = place
    proxy.faults.append(Fault(method="PUT", path=SCRATCH, answer=status, code=code, times=None))
    with pytest.raises(kind, match=code) as caught:
        store.put("key", b"data", if_absent=True)
    assert (caught.value.status, caught.value.code) == (status, code)
    proxy.faults.clear()
    store.put("key", b"data", if_absent=True)
    assert store.conditional_writes


@pytest.mark.parametrize(
    ("status", "code"), [(501, "NotImplemented"), (501, "Other"), (400, "NotImplemented")]
)
def test_not_implemented_means_that_conditions_are_ignored(
    place: Place, status: int, code: str
) -> None:
    store, proxy = place
    proxy.faults.append(Fault(method="PUT", path=SCRATCH, answer=status, code=code, times=None))
    with pytest.raises(ConcurrencyUnsupportedError):
        store.put("key", b"data", if_absent=True)
    proxy.faults.clear()
    # What is known of a server stays known.
    assert not store.conditional_writes


def test_a_plain_refusal_does_not_advise_another_way_to_append(place: Place) -> None:
    store, proxy = place
    proxy.faults.append(
        Fault(method="PUT", path=SCRATCH, answer=400, code="ExpiredToken", times=None)
    )
    exchange = ExchangeStore(store)
    with pytest.raises(AccessDeniedError, match="ExpiredToken"):
        exchange.write_manifest("m.jsonl", [{"kind": "file", "key": "a"}], mode="append_parts")


def test_whoever_may_write_below_one_prefix_only_can_work_there(
    place: Place, tmp_path: Path
) -> None:
    store, proxy = place
    # No regular expression of an allowed target matches what lies elsewhere.
    elsewhere = rf"^/{store.bucket}/(?!team/mine/)[^?]"
    refused = [
        Fault(method=method, path=elsewhere, answer=403, code="AccessDenied", times=None)
        for method in ("PUT", "POST", "DELETE")
    ]
    proxy.faults += refused
    exchange = ExchangeStore(store)
    (tmp_path / "one").write_bytes(make("noise", 3 * MIB))
    policy = ShardSizePolicy(max_entries=10)
    with exchange.open_manifest_writer(
        "team/mine/x/new.jsonl", mode="overwrite", shard_size=policy
    ) as writer:
        writer.add_to_shard("a", b"1")
    exchange.pack(tmp_path, "team/mine/photos")
    exchange.pack(tmp_path, "team/mine/photos", mode="overwrite")
    exchange.put_object("team/mine/photos/loose.bin", make("noise", 3 * MIB))
    with exchange.open_manifest_writer("team/mine/other.jsonl") as writer:
        writer.add_file("team/mine/photos/loose.bin")
    exchange.compact_manifest("team/mine/photos/manifest.jsonl", "team/mine/photos/manifest.jsonl")
    assert [fault.applied for fault in refused] == [0, 0, 0]
    assert proxy.seen("PUT", SCRATCH)
    assert not [key for key in exchange.list_keys() if "probe" in key]


@pytest.mark.parametrize("name", ["moto", "rclone", "versitygw"])
def test_a_trial_beside_a_key_leaves_nothing(name: str, request: pytest.FixtureRequest) -> None:
    server: S3Server = request.getfixturevalue(f"{name}_server")
    client = server.client(server.endpoint_url)
    store = S3Store(client, server.fresh_bucket(client), retry=QUICK)
    store.try_conditions_at("a/b/key")
    assert store.conditional_writes is (name != "rclone")
    assert list(store.list()) == []
    client.close()
