"""S3 servers that speak TLS themselves: the contract, whom to trust, broken connections."""

from __future__ import annotations

import pickle
import random
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pytest

from certificates import Authority
from inputs import MIB
from servers import SERVERS, running_rclone, running_versitygw
from shardpack.errors import StorageError, StorageUnavailableError
from shardpack.storage import ObjectStore, RetryPolicy, S3Store
from store_places import Place
from tcp_relay import TcpRelay
from test_store_contract import (
    test_a_body_may_be_left_unread,
    test_a_body_reads_in_pieces_and_lines,
    test_a_copy_has_the_bytes_and_the_metadata,
    test_a_download_is_whole_and_replaces_what_was_there,
    test_a_missing_object_is_told_by_its_own_error,
    test_a_read_of_another_version_is_refused,
    test_an_empty_object_is_an_object,
    test_an_object_comes_back_as_it_was_put,
    test_keys_are_literal,
    test_listing_is_in_the_order_of_the_bytes,
    test_many_objects_are_removed_at_once,
    test_many_ranges_come_in_the_order_asked_for,
    test_ranges_are_those_of_slices,
)
from test_store_processes import in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from servers import S3Server

__all__ = [
    "test_a_body_may_be_left_unread",
    "test_a_body_reads_in_pieces_and_lines",
    "test_a_copy_has_the_bytes_and_the_metadata",
    "test_a_download_is_whole_and_replaces_what_was_there",
    "test_a_missing_object_is_told_by_its_own_error",
    "test_a_read_of_another_version_is_refused",
    "test_an_empty_object_is_an_object",
    "test_an_object_comes_back_as_it_was_put",
    "test_keys_are_literal",
    "test_listing_is_in_the_order_of_the_bytes",
    "test_many_objects_are_removed_at_once",
    "test_many_ranges_come_in_the_order_asked_for",
    "test_ranges_are_those_of_slices",
]

PART = 5 * MIB
DATA = random.Random(3).randbytes(2 * PART + 54_321)
QUICK = RetryPolicy(attempts=4, first_wait_s=0.001, longest_wait_s=0.01)
_STARTERS = {"rclone": running_rclone, "versitygw": running_versitygw}


class Secure(NamedTuple):
    """A server with a certificate, and who signed that."""

    server: S3Server
    authority: Authority

    def client(self, port: int | None = None, **options: Any) -> Any:
        """Make a client that trusts the server unless told otherwise."""
        url = self.server.endpoint_url if port is None else f"https://127.0.0.1:{port}"
        return self.server.client(url, **{"verify": str(self.authority.bundle)} | options)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module", params=[name for name in _STARTERS if name in SERVERS])
def secure(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Secure]:
    """Each server that can speak TLS."""
    with _STARTERS[request.param](authority.issue(request.param)) as server:
        yield Secure(server, authority)


@pytest.fixture
def store(place: Place) -> ObjectStore:
    return place.store


@pytest.fixture
def place(secure: Secure) -> Iterator[Place]:
    """An empty bucket behind TLS, for the tests of the contract."""
    server = secure.server
    client = secure.client()
    store = _store(client, server.fresh_bucket(client))
    yield Place(
        server.name,
        store,
        conditional_writes=server.conditional_writes,
        tags=server.tags,
        copies_replace=server.copies_replace,
        folder_keys=server.folder_keys,
        server=server,
    )
    assert_fast(store)
    client.close()


def _store(client: Any, bucket: str, **options: Any) -> S3Store:
    given: dict[str, Any] = {"part_size": PART, "concurrency": 4, "retry": QUICK} | options
    return S3Store(client, bucket, **given)


def assert_fast(store: S3Store) -> None:
    """Assert that requests do not go through boto3."""
    fast = store._requests.fast
    assert fast is not None
    assert fast.usable()


def assert_works(store: S3Store) -> None:
    """Assert that small and large objects pass, by the fast path."""
    store.put("folder/small", b"x" * 70_000)
    store.put("large", DATA)
    assert store.read("folder/small") == b"x" * 70_000
    assert store.read("large") == DATA
    assert store.read_ranges("large", [(5, 9), (PART - 3, PART + 7)]) == [
        DATA[5:9],
        DATA[PART - 3 : PART + 7],
    ]
    assert [info.key for info in store.list()] == ["folder/small", "large"]
    assert_fast(store)


def test_the_environment_may_name_the_authorities(
    secure: Secure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(secure.authority.bundle))
    client = secure.client(verify=None)
    store = _store(client, secure.server.fresh_bucket(client))
    assert_works(store)
    for name, value in secure.server.environment().items():
        monkeypatch.setenv(name, value)
    with S3Store.open(store.bucket, concurrency=4).get("large", start=PART) as body:
        assert body.read() == DATA[PART:]
    # Whoever gets a store is told whom it trusts.
    monkeypatch.delenv("AWS_CA_BUNDLE")
    again: S3Store = pickle.loads(pickle.dumps(store))
    assert again.read("folder/small") == b"x" * 70_000
    assert_fast(again)
    client.close()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_nobody_is_checked_where_that_is_switched_off(secure: Secure) -> None:
    client = secure.client(verify=False)
    store = _store(client, secure.server.fresh_bucket(client))
    assert_works(store)
    client.close()


def refusals(client: Any) -> Iterator[str]:
    """Give the messages of both paths, each from an error that is told at once."""
    for fast_path in (True, False):
        store = _store(client, "bucket", fast_path=fast_path)
        calls: list[Callable[[], object]] = [
            partial(store.read, "k"),
            partial(store.put, "k", b"x"),
            lambda store=store: next(store.list()),  # type: ignore[misc]
        ]
        for call in calls:
            with pytest.raises(StorageError) as caught:
                call()
            assert not isinstance(caught.value, StorageUnavailableError)
            yield str(caught.value)


def test_an_unknown_authority_is_refused_and_the_message_says_what_to_do(
    secure: Secure, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    with TcpRelay(secure.server.port) as relay:
        for verify in (str(other.bundle), None):
            client = secure.client(relay.port, verify=verify)
            for number, told in enumerate(refusals(client), 1):
                assert "certificate" in told
                assert "AWS_CA_BUNDLE" in told
                assert "verify=" in told
                assert f"127.0.0.1:{relay.port}" in told
                # It was told at once.
                assert relay.connections == number
            relay.connections = 0
            client.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"expired": True}, ["expired"]), ({"host": "storage.example"}, ["127.0.0.1", "endpoint"])],
    ids=["expired", "another host"],
)
def test_a_certificate_that_is_not_good_is_refused(
    tmp_path: Path, options: dict[str, Any], words: Sequence[str]
) -> None:
    authority = Authority(tmp_path, "authority")
    with running_rclone(authority.issue("bad", **options)) as server:
        client = server.client(verify=str(authority.bundle))
        for told in refusals(client):
            for word in words:
                assert word in told
            # Another bundle would not help.
            assert "AWS_CA_BUNDLE" not in told
        client.close()


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_bundle_that_cannot_be_used_is_told(
    secure: Secure, tmp_path: Path, content: bytes | None
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_bytes(content)
    client = secure.client(verify=str(bundle))
    for fast_path in (True, False):
        store = _store(client, "bucket", fast_path=fast_path)
        with pytest.raises(StorageError, match=r"bundle\.pem") as caught:
            store.read("k")
        assert not isinstance(caught.value, StorageUnavailableError)
    client.close()


def test_connections_are_used_again(secure: Secure) -> None:
    with TcpRelay(secure.server.port) as relay:
        client = secure.client(relay.port)
        bucket = secure.server.fresh_bucket(client)
        store = _store(client, bucket)
        before = relay.connections
        for number in range(10):
            store.put(f"k{number}", b"x" * 1000)
            assert store.read(f"k{number}") == b"x" * 1000
            assert store.head(f"k{number}").size == 1000
        assert relay.connections == before + 1
        store.put("large", DATA)
        assert store.read("large") == DATA
        # One for each request at once, and those of boto3, which begins and ends the upload.
        assert relay.connections <= before + 1 + 4 + 1
        client.close()


@pytest.mark.parametrize("reset", [False, True], ids=["ended", "reset"])
@pytest.mark.parametrize("size", [1 * MIB, len(DATA)], ids=["one request", "ranges"])
def test_a_body_that_is_cut_off_is_read_again(secure: Secure, size: int, *, reset: bool) -> None:
    with TcpRelay(secure.server.port) as relay:
        client = secure.client(relay.port)
        store = _store(client, secure.server.fresh_bucket(client))
        store.put("k", DATA[:size])
        relay.reset = reset
        relay.cut_after = 300_000
        assert store.read("k") == DATA[:size]
        assert relay.cuts == 1
        once = _store(client, store.bucket, retry=RetryPolicy(attempts=1))
        relay.cut_after = 300_000
        with pytest.raises(StorageUnavailableError):
            once.read("k")
        assert relay.cuts == 2
        client.close()


def test_a_store_works_on_both_sides_of_a_fork(secure: Secure) -> None:
    with TcpRelay(secure.server.port) as relay:
        client = secure.client(relay.port)
        store = _store(client, secure.server.fresh_bucket(client))
        store.put("k", DATA[:MIB])
        opened = relay.connections

        def child() -> None:
            assert store.client is not client
            for _ in range(3):
                assert store.read("k") == DATA[:MIB]
            store.put("child", DATA)
            assert_fast(store)

        in_child(child)
        assert relay.connections > opened
        opened = relay.connections
        # The child has ended its own connections and none of ours.
        assert store.read("k") == DATA[:MIB]
        assert relay.connections == opened
        assert store.read("child") == DATA
        client.close()
