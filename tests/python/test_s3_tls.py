"""The fast path over TLS checks the server as the client would."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

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


def write_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


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
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return write_certificate(tmp_path, "right")


@pytest.fixture
def front(rclone_server: S3Server, certificate: tuple[Path, Path]) -> Iterator[TlsFront]:
    made = TlsFront(rclone_server.port, *certificate)
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
    rclone_server: S3Server, front: TlsFront, certificate: tuple[Path, Path], *, checked: bool
) -> None:
    client = client_of(front.url, str(certificate[0]) if checked else False)
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
    other, _ = write_certificate(tmp_path, "other")
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


def test_nobody_is_trusted_beside_the_authorities_of_the_client(
    rclone_server: S3Server,
    front: TlsFront,
    certificate: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The system trusts the server, the client is told to trust another one alone.
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    other, _ = write_certificate(tmp_path, "other")
    client = client_of(front.url, str(other))
    store = S3Store(client, rclone_server.fresh_bucket(), retry=QUICK)
    assert store._requests.fast is not None
    with pytest.raises(StorageError):
        store.put("k", b"secret")
    client.close()


def test_idle_connections_that_the_server_ended_are_not_used(
    rclone_server: S3Server, front: TlsFront, certificate: tuple[Path, Path]
) -> None:
    client = client_of(front.url, str(certificate[0]))
    store = S3Store(client, rclone_server.fresh_bucket(), retry=RetryPolicy(attempts=1))
    for number in range(3):
        # A request that must not be repeated.
        store._requests.put(f"k{number}", memoryview(b"x"), if_absent=True)
        front.end_connections()
    assert front.connections == 3
    client.close()
