"""S3 servers as processes of their own, started once for a test run and ended with it."""

from __future__ import annotations

import functools
import http.client
import itertools
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from inputs import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "SERVERS",
    "S3Server",
    "find_versitygw",
    "free_port",
    "running_moto",
    "running_rclone",
    "running_versitygw",
    "scratch_folder",
]

ACCESS_KEY = "shardpack-test"
SECRET_KEY = "shardpack-test-secret"
REGION = "us-east-1"
_START_S = 60.0
_numbers = itertools.count(1)
_session_lock = threading.Lock()

# The server ends with its parent, also when that is killed.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class S3Server:
    """A running server and its traits, as far as clients must know them.

    Attributes:
        name: ``"rclone"``, ``"moto"`` or ``"versitygw"``.
        endpoint_url: Where it listens.
        process: Its process, for tests that stop or kill it.
        folder: Where it keeps its objects; ``None`` for memory.
        conditional_writes: It honours If-Match and If-None-Match on PUT.
        tags: GET and HEAD tell the ETag, and If-Match on GET is honoured.
        copies_replace: CopyObject with REPLACE drops the metadata of the source.
        folder_keys: A key and another one below it may exist side by side.
    """

    name: str
    endpoint_url: str
    process: subprocess.Popen[bytes]
    folder: Path | None
    conditional_writes: bool
    tags: bool
    copies_replace: bool
    folder_keys: bool

    @property
    def port(self) -> int:
        port = urlsplit(self.endpoint_url).port
        assert port is not None
        return port

    def client(
        self,
        endpoint_url: str | None = None,
        *,
        verify: bool | str | None = None,
        **config: Any,
    ) -> Any:
        """Make a boto3 client.

        Args:
            endpoint_url: Another address of the server, such as that of a proxy.
            verify: As boto3 has it.
            **config: Changes to the configuration.
        """
        from botocore.config import Config

        settings = {
            "s3": {"addressing_style": "path"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "retries": {"mode": "standard", "total_max_attempts": 1},
            "max_pool_connections": 32,
            "connect_timeout": 10,
            "read_timeout": 30,
        } | config
        with _session_lock:
            return _session().client(
                "s3",
                endpoint_url=endpoint_url or self.endpoint_url,
                aws_access_key_id=ACCESS_KEY,
                aws_secret_access_key=SECRET_KEY,
                region_name=REGION,
                verify=verify,
                config=Config(**settings),
            )

    def fresh_bucket(self, client: Any = None) -> str:
        """Make an empty bucket with a name that was never used before."""
        bucket = f"bucket-{os.getpid()}-{next(_numbers)}"
        if client is not None:
            client.create_bucket(Bucket=bucket)
            return bucket
        with closing(self.client()) as own:
            own.create_bucket(Bucket=bucket)
        return bucket

    def environment(self) -> dict[str, str]:
        """Give the variables with which other programs find their credentials for it."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@functools.cache
def _session() -> Any:
    """Give one session for all clients: a new one takes twenty times as long as a client."""
    import boto3

    return boto3.session.Session()


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder in memory where there is room for it, on the disk elsewhere."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 4 << 30
    folder = tempfile.mkdtemp(prefix="shardpack-", dir=memory if roomy else None)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(
    command: Sequence[str], port: int, environment: dict[str, str], *, tls: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            # Ctrl-C is for the tests, which end the servers themselves.
            process_group=0,
        )
        try:
            _wait_until_ready(process, port, log, tls=tls)
            yield process
        finally:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Any, *, tls: bool) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        if tls:
            anyone = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=anyone)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                told = log.read().decode(errors="replace")
                raise RuntimeError(f"the server did not start: {told}") from error
            time.sleep(0.02)
        else:
            return
        finally:
            connection.close()


def _beside_python(name: str) -> str:
    """Find a command of this environment, which need not be on the path."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed: pip install 'shardpack[test]'")
    return found


def _tls_options(certificate: Sequence[Path]) -> list[str]:
    if not certificate:
        return []
    signed, key = certificate
    return ["--cert", str(signed), "--key", str(key)]


def _url(port: int, certificate: Sequence[Path]) -> str:
    return f"{'https' if certificate else 'http'}://127.0.0.1:{port}"


@contextmanager
def running_rclone(certificate: Sequence[Path] = ()) -> Iterator[S3Server]:
    """Run ``rclone serve s3``: checks signatures, ignores conditions, keeps files in a folder.

    Args:
        certificate: Files of the certificate and its key, for TLS.
    """
    port = free_port()
    with scratch_folder() as folder:
        objects = folder / "objects"
        objects.mkdir()
        command = [
            *(_beside_python("rclone"), "serve", "s3", str(objects)),
            *("--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"),
            *("--etag-hash", "", "--config", "", "--cache-dir", str(folder / "cache")),
            *_tls_options(certificate),
        ]
        with _running(command, port, {}, tls=bool(certificate)) as process:
            yield S3Server(
                name="rclone",
                endpoint_url=_url(port, certificate),
                process=process,
                folder=objects,
                conditional_writes=False,
                tags=False,
                copies_replace=False,
                folder_keys=False,
            )


@contextmanager
def running_moto(*, switch_interval_s: float | None = None) -> Iterator[S3Server]:
    """Run moto's server: honours conditions, checks no signatures, keeps objects in memory.

    Args:
        switch_interval_s: How long one of its threads runs while others want to, in seconds.
    """
    port = free_port()
    told = [] if switch_interval_s is None else ["--switch-interval", str(switch_interval_s)]
    program = str(Path(__file__).with_name("atomic_moto.py"))
    command = [sys.executable, program, *told, "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, port, {}) as process:
        yield S3Server(
            name="moto",
            endpoint_url=f"http://127.0.0.1:{port}",
            process=process,
            folder=None,
            conditional_writes=True,
            tags=True,
            copies_replace=True,
            folder_keys=True,
        )


def find_versitygw() -> str | None:
    """Find versitygw: where SHARDPACK_VERSITYGW says, on the path, or where ``.ci/run`` puts it."""
    told = os.environ.get("SHARDPACK_VERSITYGW")
    if told:
        return told
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    built = target / "ci" / "versitygw"
    return shutil.which("versitygw") or (str(built) if os.access(built, os.X_OK) else None)


@contextmanager
def running_versitygw(
    certificate: Sequence[Path] = (), *, versioned: bool = False
) -> Iterator[S3Server]:
    """Run versitygw on a folder: honours conditions and checks signatures and checksums.

    Args:
        certificate: Files of the certificate and its key, for TLS.
        versioned: Its buckets can keep versions.
    """
    program = find_versitygw()
    if program is None:
        raise RuntimeError("versitygw is not installed")
    port = free_port()
    with scratch_folder() as folder:
        # It keeps metadata in extended attributes, which both have; its other way, a folder beside
        # the objects, forgets to remove them.
        objects = folder / "objects"
        objects.mkdir()
        command = [
            *(program, "--port", f"127.0.0.1:{port}", "--keep-alive", "--quiet"),
            *_tls_options(certificate),
            *("--region", REGION, "posix", str(objects)),
        ]
        if versioned:
            (folder / "versions").mkdir()
            command[-1:-1] = ["--versioning-dir", str(folder / "versions")]
        keys = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
        with _running(command, port, keys, tls=bool(certificate)) as process:
            yield S3Server(
                name="versitygw",
                endpoint_url=_url(port, certificate),
                process=process,
                folder=objects,
                conditional_writes=True,
                tags=True,
                copies_replace=True,
                folder_keys=False,
            )


_STARTERS = {"rclone": running_rclone, "moto": running_moto, "versitygw": running_versitygw}
SERVERS = [
    name for name in _STARTERS if name != "versitygw" or find_versitygw() is not None
]  # those that exist here


# A plain fixture for each, so that a test that needs one starts one.


@pytest.fixture(scope="session")
def rclone_server() -> Iterator[S3Server]:
    """`rclone serve s3`, for the whole run."""
    with running_rclone() as server:
        yield server


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Server]:
    """Moto's server, for the whole run."""
    with running_moto() as server:
        yield server


@pytest.fixture(scope="session")
def versitygw_server() -> Iterator[S3Server]:
    """versitygw, for the whole run; the test is skipped where it is not installed."""
    if find_versitygw() is None:
        pytest.skip("versitygw is not installed")
    with running_versitygw() as server:
        yield server


def _server(name: str, request: pytest.FixtureRequest) -> S3Server:
    server: S3Server = request.getfixturevalue(f"{name}_server")
    return server


@pytest.fixture(scope="session", params=SERVERS)
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Each server that exists here, one after the other."""
    return _server(request.param, request)


@pytest.fixture(scope="session", params=[name for name in SERVERS if name != "rclone"])
def conditional_server(request: pytest.FixtureRequest) -> S3Server:
    """Each server that exists here and honours conditional writes."""
    return _server(request.param, request)
