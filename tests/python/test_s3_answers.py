"""Answers of servers that are wrong, or right and unusual: believed only as far as they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fault_proxy import Fault, FaultProxy
from impolite import CLOSE, WHOLE, Impolite, answer, store_at
from shardpack.errors import (
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageError,
    StorageUnavailableError,
)
from shardpack.storage.s3 import S3Store
from shardpack.storage.s3.answer import info_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from servers import S3Server

    Serve = Callable[..., S3Store]

HEAD_OF_TEN = answer(b"", "Content-Length: 10", 'ETag: "e"', status="200 OK")
BEYOND = answer(
    b"<Error><Code>InvalidRange</Code></Error>",
    "Content-Length: 40",
    status="416 Range Not Satisfiable",
)


@pytest.fixture(params=[True, False], ids=["fast", "plain"])
def serve(request: pytest.FixtureRequest, rclone_server: S3Server) -> Iterator[Serve]:
    """Make a store whose server gives these answers."""
    running: list[Impolite] = []

    def start(*answers: bytes, attempts: int = 2) -> S3Store:
        running.append(Impolite(list(answers)))
        return store_at(rclone_server, running[-1], attempts, fast_path=request.param)

    yield start
    for impolite in running:
        impolite.end()


def test_chunks_beside_a_length_are_not_taken_for_the_body(serve: Serve) -> None:
    body = b"5\r\nright\r\n0\r\n\r\n"
    headers = (f"Content-Length: {len(body)}", "Transfer-Encoding: chunked", 'ETag: "e"')
    both = answer(body, *headers, status="200 OK")
    store = serve(*[both, CLOSE] * 6)
    with pytest.raises(StorageError):
        store.read("k")


def test_a_part_that_does_not_say_which_is_refused(serve: Serve) -> None:
    part = answer(b"right", "Content-Length: 5", 'ETag: "e"')
    for start, end in ((5, 10), (0, 5), (5, None), (-5, None)):
        with pytest.raises(StorageUnavailableError):
            serve(*[part] * 4).read("k", start=start, end=end)


def test_a_range_that_is_there_is_not_empty_because_the_server_says_so(serve: Serve) -> None:
    with pytest.raises(StorageUnavailableError):
        serve(*[BEYOND, HEAD_OF_TEN] * 4).read("k", start=5)
    good = answer(b"56789", "Content-Length: 5", "Content-Range: bytes 5-9/10", 'ETag: "e"')
    assert serve(BEYOND, HEAD_OF_TEN, good).read("k", start=5) == b"56789"


def test_beyond_the_end_of_another_version_is_not_beyond_the_end(serve: Serve) -> None:
    with pytest.raises(PreconditionFailedError):
        serve(BEYOND, HEAD_OF_TEN).read("k", start=20, end=30, if_match="other")
    with pytest.raises(ObjectNotFoundError):
        serve(BEYOND, answer(b"", status="404 Not Found"), CLOSE, HEAD_OF_TEN).read("k", start=20)
    assert serve(BEYOND, HEAD_OF_TEN).read("k", start=20, end=30, if_match="e") == b""
    body = serve(BEYOND, HEAD_OF_TEN).get("k", start=20)
    assert (body.read(), body.info.size, body.info.etag) == (b"", 10, "e")


def test_ranges_of_two_versions_are_not_mixed_when_one_lies_beyond_the_end(serve: Serve) -> None:
    first = answer(b"right", "Content-Length: 5", "Content-Range: bytes 0-4/9000000", 'ETag: "f"')
    store = serve(first, BEYOND, HEAD_OF_TEN, attempts=1)
    store._concurrency = 1
    with pytest.raises(PreconditionFailedError):
        store.read_ranges("k", [(0, 5), (8_000_000, 8_000_005)])


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "204 No Content"])
def test_a_put_that_the_server_accepted_is_sent_once(serve: Serve, status: str) -> None:
    length = () if status.startswith("204") else ("Content-Length: 0",)
    store = serve(answer(b"", *length, 'ETag: "x-1"', status=status), CLOSE)
    assert store.put("k", b"data").etag == "x-1"


def test_a_put_whose_answer_has_a_broken_end_was_accepted(rclone_server: S3Server) -> None:
    broken = answer(b"<half", "Content-Length: 50", 'ETag: "x-1"', status="200 OK")
    impolite = Impolite([broken, CLOSE, broken, CLOSE])
    store = store_at(rclone_server, impolite)
    assert store._requests.put("k", memoryview(b"data"), if_absent=True)["etag"] == '"x-1"'
    assert impolite.asked == 1
    impolite.end()


def test_a_server_that_is_always_about_to_answer_is_left(rclone_server: S3Server) -> None:
    impolite = Impolite([b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + answer(b"right", *WHOLE)])
    with pytest.raises(StorageUnavailableError):
        store_at(rclone_server, impolite, attempts=1).read("k")
    impolite.end()


def test_answers_that_come_first_are_passed_over(rclone_server: S3Server) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    impolite = Impolite([interim + answer(b"right", *WHOLE)] * 2)
    store = store_at(rclone_server, impolite)
    assert [store.read("k"), store.read("k")] == [b"right"] * 2
    impolite.end()


@pytest.mark.parametrize("length", ["²", "5x", "-5", " "])
def test_a_head_whose_length_is_no_number_is_an_error(serve: Serve, length: str) -> None:
    told = answer(b"", f"Content-Length: {length}", status="200 OK").decode().encode("latin-1")
    with pytest.raises(StorageError):
        serve(*[told, CLOSE] * 6).head("k")


def listing(inside: str) -> bytes:
    body = f'<?xml version="1.0"?><Result>{inside}</Result>'.encode()
    return answer(body, f"Content-Length: {len(body)}", status="200 OK")


def test_a_listing_that_stands_still_is_an_error(serve: Serve) -> None:
    page = listing(
        "<IsTruncated>true</IsTruncated><NextContinuationToken>same</NextContinuationToken>"
        "<Contents><Key>a</Key><Size>1</Size></Contents>"
    )
    with pytest.raises(StorageError, match="does not say where"):
        list(serve(*[page] * 10).list())


@pytest.mark.parametrize("marker", ["", "<NextKeyMarker>same</NextKeyMarker>"])
def test_a_list_of_uploads_that_does_not_go_on_is_an_error(serve: Serve, marker: str) -> None:
    page = listing(f"<IsTruncated>true</IsTruncated>{marker}")
    with pytest.raises(StorageError, match="does not say where"):
        list(serve(*[page] * 10).iter_uploads())


@pytest.mark.parametrize(
    ("told", "known"),
    [
        ("Sat, 21 Nov 2026 18:13:02 GMT", True),
        ("Sat, 21 Nov 2026 18:13:02 -0000", True),
        ("yesterday", False),
        ("Sat, 21 Nov 20269 18:13:02 GMT", False),
        ("Sat, 9999999999999999999999 Nov 2026 18:13:02 GMT", False),
    ],
)
def test_dates_have_a_zone_or_are_not_told(told: str, *, known: bool) -> None:
    date = info_of("k", {"last-modified": told}, 1).last_modified
    assert (date is not None) is known
    assert date is None or date.tzinfo is not None


def test_a_reader_that_goes_on_after_a_failure_gets_every_byte(serve: Serve) -> None:
    def part(start: int, body: bytes) -> bytes:
        about = f"Content-Range: bytes {start}-9/10"
        return answer(body, f"Content-Length: {10 - start}", about, 'ETag: "e"')

    store = serve(part(0, b"0123"), CLOSE, part(0, b"0123456789"), attempts=1)
    body = store.get("k", start=0)
    assert body.read(2) == b"01"
    with pytest.raises(StorageUnavailableError):
        body.read(8)
    store = serve(part(0, b"0123"), CLOSE, part(2, b"23456789"), attempts=1)
    body = store.get("k", start=0)
    assert body.read(2) == b"01"
    with pytest.raises(StorageUnavailableError):
        body.read(8)
    assert body.read() == b"23456789"


def test_a_conditional_put_that_the_client_itself_repeats_may_have_met_itself(
    moto_server: S3Server,
) -> None:
    with FaultProxy(moto_server.endpoint_url) as proxy:
        client = moto_server.client(proxy.url, retries={"mode": "standard", "max_attempts": 2})
        store = S3Store(client, moto_server.fresh_bucket(client), fast_path=False)
        assert store.conditional_writes
        proxy.faults.append(Fault(method="PUT", lose_answer=True))
        with pytest.raises(StorageUnavailableError) as caught:
            store.put("new", b"mine", if_absent=True)
        assert caught.value.ambiguous
        assert store.read("new") == b"mine"
        with pytest.raises(PreconditionFailedError):
            store.put("new", b"other", if_absent=True)
        client.close()


def test_a_server_that_vanished_after_a_conditional_put_may_have_done_it(
    rclone_server: S3Server,
) -> None:
    class Vanishing(Impolite):
        def has_request(self, connection: socket.socket) -> bool:
            self.listener.close()
            return super().has_request(connection)

    vanishing = Vanishing([b"", CLOSE])
    store = store_at(rclone_server, vanishing, fast_path=False, retries={"max_attempts": 2})
    with pytest.raises(StorageUnavailableError) as caught:
        store._requests.put("k", memoryview(b"data"), if_absent=True)
    assert vanishing.asked == 1
    assert caught.value.ambiguous
    never = store_at(rclone_server, vanishing, fast_path=False, attempts=1)
    with pytest.raises(StorageUnavailableError) as caught:
        never._requests.put("k", memoryview(b"data"), if_absent=True)
    assert not caught.value.ambiguous
