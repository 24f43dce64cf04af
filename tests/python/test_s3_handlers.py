"""Event handlers of a client, after a fork: the client is another one, and they are still heard."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from fault_proxy import FaultProxy
from shardpack.errors import AccessDeniedError
from shardpack.storage.s3 import S3Store, handlers, make_client
from shardpack.storage.s3.handlers import Handlers, carry_over
from test_store_processes import in_child

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import S3Server

HEADER = "x-amz-meta-added"


@pytest.fixture
def proxy(moto_server: S3Server) -> Iterator[FaultProxy]:
    """A server whose requests can be looked at; it checks no signatures."""
    with FaultProxy(moto_server.endpoint_url) as made:
        yield made


def add_header(request: Any, **_: Any) -> None:
    request.headers[HEADER] = request.headers.get(HEADER, "") + "+"


def seen_headers(proxy: FaultProxy, name: str = HEADER) -> list[str | None]:
    """Give that header of each request to an object."""
    return [seen.headers.get(name) for seen in proxy.requests if seen.target.count("/") > 1]


def is_fast(store: S3Store) -> bool:
    return store._requests.fast is not None and store._requests.fast.usable()


@pytest.mark.parametrize("event", ["before-sign.s3", "before-send.s3.*", "before-sign.*.*"])
@pytest.mark.parametrize("section", ["register_first", "register", "register_last"])
def test_a_handler_that_adds_a_header_is_heard_in_the_child(
    moto_server: S3Server, proxy: FaultProxy, event: str, section: str
) -> None:
    client = moto_server.client(proxy.url)
    store = S3Store(client, moto_server.fresh_bucket())
    getattr(client.meta.events, section)(event, add_header)
    store.put("parent", b"x")
    assert seen_headers(proxy) == ["+"]
    proxy.forget()

    def child() -> None:
        assert store.client is not client
        store.put("child", b"y")
        assert store.read("child") == b"y"
        assert not is_fast(store)

    in_child(child)
    assert seen_headers(proxy) == ["+", "+"]
    client.close()


def test_handlers_of_a_shared_client_are_heard_once(
    moto_server: S3Server, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in moto_server.environment().items():
        monkeypatch.setenv(name, value)
    client = make_client(endpoint_url=proxy.url)
    first = S3Store(client, moto_server.fresh_bucket())
    second = S3Store(client, first.bucket)
    client.meta.events.register("before-sign.s3", add_header)
    client.meta.events.register("before-sign.s3.GetObject", add_header)
    first.put("k", b"x")
    proxy.forget()

    def child() -> None:
        assert first.client is second.client is not client
        for store in (first, second, first):
            assert store.read("k") == b"x"
        second.put("other", b"y")

    in_child(child)
    assert seen_headers(proxy) == ["++", "++", "++", "+"]
    client.meta.events.unregister("before-sign.s3", add_header)
    client.meta.events.unregister("before-sign.s3.GetObject", add_header)


def test_threads_of_a_child_that_share_a_client_hear_each_handler_once(
    moto_server: S3Server, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in moto_server.environment().items():
        monkeypatch.setenv(name, value)
    client = make_client(endpoint_url=proxy.url)
    bucket = moto_server.fresh_bucket()
    stores = [S3Store(client, bucket) for _ in range(8)]
    client.meta.events.register("before-sign.s3", add_header)
    client.meta.events.register("before-sign.s3", add_header, unique_id="adds")
    stores[0].put("k", b"x")
    proxy.forget()

    def child() -> None:
        two_at_once = threading.Barrier(2)
        met: list[int] = []
        carry = handlers._carry_over

        def watched(inherited: Any, made: Any) -> None:
            with suppress(threading.BrokenBarrierError):
                met.append(two_at_once.wait(0.3))
            carry(inherited, made)

        monkeypatch.setattr(handlers, "_carry_over", watched)
        with ThreadPoolExecutor(len(stores)) as threads:
            found = list(threads.map(lambda store: store.read("k"), stores))
        assert found == [b"x"] * len(stores)
        assert met == []

    in_child(child)
    assert seen_headers(proxy) == ["++"] * len(stores)
    client.meta.events.unregister("before-sign.s3", add_header)
    client.meta.events.unregister("before-sign.s3", unique_id="adds")


def test_a_handler_with_a_name_of_its_own_can_be_taken_away_by_it(
    moto_server: S3Server, proxy: FaultProxy
) -> None:
    client = moto_server.client(proxy.url)
    store = S3Store(client, moto_server.fresh_bucket())
    client.meta.events.register("before-sign.s3", add_header, unique_id="adds")
    client.meta.events.register(
        "before-sign.s3", add_header, unique_id="counts", unique_id_uses_count=True
    )

    def child() -> None:
        store.put("k", b"x")
        events = store.client.meta.events
        events.unregister("before-sign.s3", unique_id="adds")
        store.put("k", b"x")
        events.unregister("before-sign.s3", unique_id="counts", unique_id_uses_count=True)
        store.put("k", b"x")

    in_child(child)
    assert seen_headers(proxy) == ["++", "+", None]
    client.close()


def test_what_of_botocore_itself_was_switched_on_or_off_stays_so(
    moto_server: S3Server, proxy: FaultProxy
) -> None:
    from botocore import handlers
    from botocore.exceptions import ParamValidationError

    client = moto_server.client(proxy.url)
    store = S3Store(client, moto_server.fresh_bucket(), fast_path=False)

    def put() -> None:
        store.put("k", b"x")

    in_child(put)
    assert None not in seen_headers(proxy, "authorization")
    proxy.forget()
    client.meta.events.register("choose-signer.s3.*", handlers.disable_signing)

    def child() -> None:
        with pytest.raises(AccessDeniedError):
            store.put("k", b"x")
        with pytest.raises(ParamValidationError):
            store.client.get_object(Bucket="tenant:bucket", Key="k")

    in_child(child)
    assert seen_headers(proxy, "authorization") == [None]
    # As servers that have tenants ask for.
    client.meta.events.unregister("before-parameter-build.s3", handlers.validate_bucket_name)
    link = {"ClientMethod": "get_object", "Params": {"Bucket": "tenant:bucket", "Key": "k"}}

    def sign() -> None:
        assert "tenant" in store.client.generate_presigned_url(**link)

    in_child(sign)
    client.close()


def test_a_client_that_nobody_touched_stays_fast(moto_server: S3Server, proxy: FaultProxy) -> None:
    client = moto_server.client(proxy.url)
    store = S3Store(client, moto_server.fresh_bucket())

    def child() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            store.put("k", b"x")
        assert is_fast(store)
        assert Handlers(store.client).are_plain()

    in_child(child)
    assert len(seen_headers(proxy)) == 1
    client.close()


def test_a_method_that_was_replaced_is_told_of(moto_server: S3Server, proxy: FaultProxy) -> None:
    client = moto_server.client(proxy.url)
    store = S3Store(client, moto_server.fresh_bucket())
    client.get_object = client.get_object

    def child() -> None:
        with pytest.warns(RuntimeWarning, match="get_object"):
            store.put("k", b"x")

    in_child(child)
    client.close()


def test_handlers_that_cannot_be_seen_are_told_of(moto_server: S3Server) -> None:
    class Strange:
        """Not the emitter that is known."""

    class Meta:
        events = Strange()

    class Client:
        meta = Meta()

    with (
        closing(moto_server.client()) as client,
        pytest.warns(RuntimeWarning, match="event handlers"),
    ):
        carry_over(Client(), client)
