"""What is tried out on a server leaves nothing behind, whatever its buckets keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from fault_proxy import Fault, FaultProxy
from inputs import MIB, make
from servers import find_versitygw, running_versitygw
from shardpack.errors import StorageError
from shardpack.storage.retry import RetryPolicy
from shardpack.storage.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servers import S3Server

SCRATCH = r"/\.shardpack-probe/"
LARGE = make("noise", 2 * MIB)
QUICK = RetryPolicy(attempts=3, first_wait_s=0.001, longest_wait_s=0.01)
VERSIONED = ["moto", "versioned_versitygw"]


Make: TypeAlias = "Callable[[str, str | None], tuple[S3Store, FaultProxy]]"


@pytest.fixture(scope="module")
def versioned_versitygw_server() -> Iterator[S3Server]:
    if find_versitygw() is None:
        pytest.skip("versitygw is not installed")
    with running_versitygw(versioned=True) as server:
        yield server


@pytest.fixture
def store_on(
    request: pytest.FixtureRequest,
) -> Iterator[Make]:
    """Makes a store in an empty bucket, and the proxy that its requests pass."""
    ends: list[Callable[[], object]] = []

    def make_store(name: str, versioning: str | None) -> tuple[S3Store, FaultProxy]:
        server: S3Server = request.getfixturevalue(f"{name}_server")
        proxy = FaultProxy(server.endpoint_url)
        proxy.__enter__()
        client = server.client(proxy.url)
        ends.extend([lambda: proxy.__exit__(None, None, None), client.close])
        bucket = server.fresh_bucket(client)
        if versioning is not None:
            client.put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration={"Status": versioning}
            )
        return S3Store(client, bucket, retry=QUICK), proxy

    yield make_store
    for end in reversed(ends):
        end()


def left(store: S3Store) -> list[str]:
    """What is in a bucket, with all versions and markers."""
    try:
        page: dict[str, Any] = store.client.list_object_versions(Bucket=store.bucket)
    except store.client.exceptions.ClientError:
        return [info.key for info in store.list()]
    rows = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
    return sorted(row["Key"] for row in rows)


@pytest.mark.parametrize("versioning", ["Enabled", "Suspended", None])
@pytest.mark.parametrize("name", VERSIONED)
def test_a_bucket_that_keeps_versions_keeps_none_of_what_was_tried(
    store_on: Make, name: str, versioning: str | None
) -> None:
    store, proxy = store_on(name, versioning)
    assert store.conditional_writes
    assert proxy.seen("PUT", SCRATCH)
    assert left(store) == []
    store.put("large", LARGE)
    assert left(store) == ["large"]


@pytest.mark.parametrize("name", ["rclone", "versitygw"])
def test_other_servers_keep_nothing_either(store_on: Make, name: str) -> None:
    store, proxy = store_on(name, None)
    assert store.conditional_writes is (name != "rclone")
    assert proxy.seen("PUT", SCRATCH)
    store.put("large", LARGE)
    assert left(store) == ["large"]


@pytest.mark.parametrize("versioning", ["Enabled", "Suspended", None])
@pytest.mark.parametrize("name", VERSIONED)
@pytest.mark.parametrize("skip", [0, 1])
def test_what_was_written_and_not_confirmed_is_removed_too(
    store_on: Make, name: str, versioning: str | None, skip: int
) -> None:
    store, proxy = store_on(name, versioning)
    lost = Fault(method="PUT", path=SCRATCH, lose_answer=True, skip=skip)
    proxy.faults.append(lost)
    assert store.conditional_writes
    assert lost.applied == 1
    assert left(store) == []


def test_a_server_that_cannot_tell_versions_has_the_key_removed(store_on: Make) -> None:
    store, proxy = store_on("moto", None)
    refused = Fault(method="GET", path=r"\?versions", answer=501, code="NotImplemented")
    proxy.faults += [Fault(method="PUT", path=SCRATCH, lose_answer=True), refused]
    assert store.conditional_writes
    assert refused.applied == 1
    assert left(store) == []


def test_a_server_that_names_a_version_it_cannot_remove_has_the_key_removed(store_on: Make) -> None:
    store, proxy = store_on("moto", None)
    refused = Fault(
        method="DELETE", path=r"versionId=null", answer=400, code="InvalidArgument", times=None
    )
    proxy.faults += [Fault(method="PUT", path=SCRATCH, lose_answer=True), refused]
    assert store.conditional_writes
    assert refused.applied
    assert left(store) == []


def test_what_cannot_be_removed_is_told(store_on: Make) -> None:
    store, proxy = store_on("moto", "Enabled")
    proxy.faults.append(
        Fault(method="DELETE", path=SCRATCH, answer=403, code="AccessDenied", times=None)
    )
    with pytest.raises(StorageError, match="AccessDenied"):
        _ = store.conditional_writes


def test_the_first_failure_is_told_with_a_note_of_what_stayed(store_on: Make) -> None:
    store, proxy = store_on("moto", "Enabled")
    proxy.faults += [
        Fault(
            method="PUT", path=SCRATCH, skip=1, answer=403, code="InvalidAccessKeyId", times=None
        ),
        Fault(method="DELETE", path=SCRATCH, answer=403, code="AccessDenied"),
    ]
    with pytest.raises(StorageError, match="InvalidAccessKeyId") as caught:
        _ = store.conditional_writes
    assert any("not removed" in note for note in caught.value.__notes__)
    assert len(left(store)) == 1
    proxy.faults.clear()
    # The next question has a key of its own.
    assert store.conditional_writes
    assert len(left(store)) == 1
