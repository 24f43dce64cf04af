"""The fast path over TLS checks the server as the client would."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from certificates import Authority
from inputs import MIB, make
from servers import ACCESS_KEY, REGION, SECRET_KEY
from shardpack.errors import StorageError, StorageUnavailableError
from shardpack.storage.retry import RetryPolicy
from shardpack.storage.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import S3Server

QUICK = RetryPolicy(attempts=3, first_wait_s=0.001)


class TlsFront:
    """Takes TLS off and passes on the rest."""

    def __init__(self, port: int, certificate: Path, key: Path) -> None:
        self.upstream = ("127.0.0.1", port)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections = 0
        self.open: list[socket.socket] = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(plain.dup())
            threading.Thread(target=self.connect, args=(plain,), daemon=True).start()

    def end_connections(self) -> None:
        """End all connections, as a server does with idle ones."""
        while self.open:
            with self.open.pop() as plain, suppress(OSError):
                plain.shutdown(socket.SHUT_RDWR)

    def connect(self, plain: socket.socket) -> None:
        with plain:
            try:
                outer = self.context.wrap_socket(plain, server_side=True)
            except OSError:
                return
            with outer, socket.create_connection(self.upstream) as inner:
                back = threading.Thread(target=self.pump, args=(inner, outer), daemon=True)
                back.start()
                self.pump(outer, inner)
                back.join()

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while piece := source.recv(65_536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "right")


@pytest.fixture
def front(rclone_server: S3Server, authority: Authority) -> Iterator[TlsFront]:
    made = TlsFront(rclone_server.port, *authority.issue("server"))
    yield made
    made.end_connections()
    made.listener.close()


def client_of(url: str, verify: Any) -> Any:
    return boto3.session.Session().client(
        "s3",
        endpoint_url=url,
        verify=verify,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name=REGION,
        config=Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("checked", [True, False])
def test_objects_pass_over_tls(
    rclone_server: S3Server, front: TlsFront, authority: Authority, *, checked: bool
) -> None:
    client = client_of(front.url, str(authority.bundle) if checked else False)
    store = S3Store(client, rclone_server.fresh_bucket(), part_size=5 * MIB)
    fast = store._requests.fast
    assert fast is not None
    data = make("noise", 6 * MIB)
    store.put("big", data)
    store.put("small", b"x" * 70_000)
    assert store.read("big") == data
    assert store.read("small") == b"x" * 70_000
    with store.get("big", start=100) as body:
        assert body.read(1000) == data[100:1100]
    assert store.head("small").size == 70_000
    assert fast.usable()
    client.close()


def test_a_server_with_another_certificate_is_refused(
    rclone_server: S3Server, front: TlsFront, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other").bundle
    bucket = rclone_server.fresh_bucket()
    for fast_path in (True, False):
        client = client_of(front.url, str(other))
        store = S3Store(client, bucket, fast_path=fast_path, retry=QUICK)
        front.connections = 0
        with pytest.raises(StorageError) as caught:
            store.read("k")
        assert not isinstance(caught.value, StorageUnavailableError)
        assert front.connections == 1
        client.close()


def test_a_refusal_is_known_as_one_whatever_the_caller_is_handling(
    front: TlsFront, tmp_path: Path
) -> None:
    client = client_of(front.url, str(Authority(tmp_path, "other").bundle))
    store = S3Store(client, "bucket", fast_path=False, retry=QUICK)
    try:
        next(iter(()))
    except StopIteration:
        with pytest.raises(StorageError, match=r"certificate of .* is refused") as caught:
            store.read("k")
    assert not isinstance(caught.value, StorageUnavailableError)
    client.close()


def test_a_refusal_that_the_caller_is_handling_is_not_that_of_the_next_server(
    front: TlsFront, authority: Authority, tmp_path: Path
) -> None:
    refused = client_of(front.url, str(Authority(tmp_path, "other").bundle))
    # Nobody listens there.
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"https://127.0.0.1:{closed.getsockname()[1]}"
    gone = client_of(url, str(authority.bundle))
    for fast_path in (True, False):
        try:
            S3Store(refused, "bucket", fast_path=fast_path, retry=QUICK).read("k")
        except StorageError as error:
            assert "is refused" in str(error)  # noqa: PT017 - the next request is made in here
            with pytest.raises(StorageUnavailableError):
                S3Store(gone, "bucket", fast_path=fast_path, retry=QUICK).read("k")
    refused.close()
    gone.close()


def test_a_bundle_that_nobody_needs_may_be_missing(rclone_server: S3Server, tmp_path: Path) -> None:
    client = client_of(rclone_server.endpoint_url, str(tmp_path / "missing.pem"))
    for fast_path in (True, False):
        store = S3Store(client, rclone_server.fresh_bucket(), fast_path=fast_path)
        store.put("k", b"x")
        assert store.read("k") == b"x"
    client.close()


def test_nobody_is_trusted_beside_the_authorities_of_the_client(
    rclone_server: S3Server,
    front: TlsFront,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The system trusts the server, the client is told to trust another one alone.
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    other = Authority(tmp_path, "other").bundle
    client = client_of(front.url, str(other))
    store = S3Store(client, rclone_server.fresh_bucket(), retry=QUICK)
    assert store._requests.fast is not None
    with pytest.raises(StorageError):
        store.put("k", b"secret")
    client.close()


def test_idle_connections_that_the_server_ended_are_not_used(
    rclone_server: S3Server, front: TlsFront, authority: Authority
) -> None:
    client = client_of(front.url, str(authority.bundle))
    store = S3Store(client, rclone_server.fresh_bucket(), retry=RetryPolicy(attempts=1))
    for number in range(3):
        # A request that must not be repeated.
        store._requests.put(f"k{number}", memoryview(b"x"), if_absent=True)
        front.end_connections()
    assert front.connections == 3
    client.close()
