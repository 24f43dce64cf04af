"""Simple requests past boto3: signed here, sent over connections that stay open.

Used only where it does what the client would have done. Whatever looks unusual, in the client or
in an answer, is left to boto3.
"""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from shardpack.errors import StorageError, StorageUnavailableError
from shardpack.storage.s3.answer import Answer, info_of, quoted, range_header
from shardpack.storage.s3.client import credentials_of, transport_of
from shardpack.storage.s3.connection import ConnectionPool
from shardpack.storage.s3.errors import (
    UNAVAILABLE_CODES,
    error_of_answer,
    kind_of,
    retry_after,
    translate,
)
from shardpack.storage.s3.handlers import Handlers
from shardpack.storage.s3.signing import (
    EMPTY_PAYLOAD,
    UNSIGNED_PAYLOAD,
    Credentials,
    Signer,
    query_of,
    quote_key,
)
from shardpack.storage.s3.tls import context_of, explain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shardpack.storage.base import ObjectInfo
    from shardpack.storage.s3.client import Client
    from shardpack.storage.s3.connection import Connection, Response
    from shardpack.storage.s3.digests import Digest

__all__ = ["FastRequests"]

_PARTIAL = 206
_OK = frozenset({200, _PARTIAL})
_STORED = range(200, 300)
_REGION = re.compile(r"[a-z0-9-]+")
_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]{0,400})</Message>")
# Told by boto3 too, only later: the same request would be answered in the same way.
_CLEAR = frozenset({404, 409, 412, 416, 429})
_SERVER_ERROR = 500
_FORBIDDEN = 403
# Answers in a row that boto3 had to be asked about, after which the fast path is left alone.
_MOST_DETOURS = 3
_GLOBAL_HOST = "s3.amazonaws.com"
_STATIC_HEADERS = "user-agent: shardpack\r\naccept-encoding: identity\r\n"


class _FastAnswer(Answer):
    """A body that is received into its place."""

    def __init__(
        self,
        key: str,
        response: Response,
        wanted: tuple[int | None, int | None],
        connection: Connection,
        pool: ConnectionPool,
    ) -> None:
        super().__init__(key, response.headers, wanted, partial=response.status == _PARTIAL)
        self._reusable = response.reusable
        self._connection: Connection | None = connection
        self._pool = pool

    def _receive(self, target: memoryview) -> int:
        if self._connection is None:
            raise ValueError("the answer is closed")
        try:
            return self._connection.receive_into(target)
        except OSError as error:
            raise StorageUnavailableError(
                f"the body of {self.key!r} broke {self.left} bytes before its end:"
                f" {type(error).__name__}",
                key=self.key,
            ) from error

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self.left or not self._reusable:
            connection.close()
        else:
            self._pool.give(connection)


class FastRequests:
    """Single requests to one bucket, each sent once.

    A method gives ``None`` where boto3 must be asked.

    Args:
        client: The boto3 client whose credentials and settings are used.
        bucket: The bucket.
        pool: Connections to its server.
        path: Path of the bucket's URL, with ``/`` at its end.
        host: The ``Host`` header.

    Attributes:
        detours: Requests that boto3 could do and this could not, since the last that it could.
    """

    def __init__(
        self,
        client: Client,
        bucket: str,
        pool: ConnectionPool,
        path: str,
        host: str,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._pool = pool
        self._path = path
        self._host = host
        self._credentials = credentials_of(client)
        self._signer = Signer(client.meta.region_name)
        self._handlers = Handlers(client)
        self.detours = 0

    @classmethod
    def of(cls, client: Client, bucket: str) -> FastRequests | None:
        """Give the fast path to a bucket; ``None`` where it cannot be used.

        Args:
            client: A boto3 client.
            bucket: The bucket.
        """
        config = client.meta.config
        transport = transport_of(client)
        options = config.s3 or {}
        if (
            config.signature_version != "s3v4"
            or not transport.plain
            or config.proxies
            or options.get("payload_signing_enabled")
            or not _REGION.fullmatch(client.meta.region_name or "")
            or client.meta.region_name == "aws-global"
            or bucket.startswith("arn:")
            or bucket.endswith("--x-s3")
            or credentials_of(client) is None
            or not Handlers(client).are_plain()
        ):
            return None
        try:
            place = _place_of(client, bucket)
        except Exception as error:
            # The bucket has an impossible name, or the credentials cannot be had.
            raise translate(error, "signing", bucket, None) from error
        if place.scheme not in ("http", "https") or not place.hostname or place.path[-2:] != "/k":
            return None
        default = 443 if place.scheme == "https" else 80
        port = place.port or default
        pool = ConnectionPool(
            place.hostname,
            port,
            context_of(transport.verify) if place.scheme == "https" else None,
            connect_timeout_s=config.connect_timeout,
            read_timeout_s=config.read_timeout,
            most_idle=config.max_pool_connections,
        )
        name = f"[{place.hostname}]" if ":" in place.hostname else place.hostname
        host = name if port == default else f"{name}:{port}"
        return cls(client, bucket, pool, place.path[:-1], host)

    def usable(self) -> bool:
        """Tell whether nobody has laid hands on the client since, and the path has proved good."""
        return self.detours < _MOST_DETOURS and self._handlers.are_plain()

    def get(
        self,
        key: str,
        start: int | None,
        end: int | None,
        if_match: str | None,
        version_id: str | None,
        *,
        checksum: bool = False,
    ) -> Answer | None:
        """Send a GET; arguments as in ``ObjectStore.get``, and whether to ask for a checksum."""
        headers = {"host": self._host}
        wanted = range_header(start, end)
        if wanted is not None:
            headers["range"] = wanted
        elif checksum:
            headers["x-amz-checksum-mode"] = "ENABLED"
        tag = quoted(if_match)
        if tag is not None:
            headers["if-match"] = tag
        query = "" if version_id is None else query_of({"versionId": version_id})
        connection, response = self._exchange("get", "GET", key, query, headers, None)
        if response.status in _OK:
            if response.chunked:
                # A length beside chunks is that of something else.
                connection.close()
                return None
            self.detours = 0
            try:
                return _FastAnswer(key, response, (start, end), connection, self._pool)
            except BaseException:
                connection.close()
                raise
        self._refuse("get", key, connection, response)
        return None

    def head(self, key: str, version_id: str | None) -> ObjectInfo | None:
        """Send a HEAD."""
        query = "" if version_id is None else query_of({"versionId": version_id})
        headers = {"host": self._host}
        connection, response = self._exchange("head", "HEAD", key, query, headers, None)
        if response.status in _OK:
            length = response.headers.get("content-length", "")
            self._finish(connection, response)
            if not (length.isascii() and length.isdigit()):
                return None
            self.detours = 0
            return info_of(key, response.headers, int(length))
        self._refuse("head", key, connection, response)
        return None

    def put(  # the parts of one request
        self,
        key: str,
        data: memoryview,
        digest: Digest,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        if_match: str | None = None,
        if_absent: bool = False,
    ) -> Mapping[str, str] | None:
        """Send a PUT of bytes; gives the headers of the answer, names in lower case."""
        headers = {"host": self._host}
        if content_type is not None:
            headers["content-type"] = content_type
        if metadata:
            for name, value in metadata.items():
                headers[f"x-amz-meta-{name.lower()}"] = value
        tag = quoted(if_match)
        if tag is not None:
            headers["if-match"] = tag
        if if_absent:
            headers["if-none-match"] = "*"
        once = if_absent or if_match is not None
        return self._send_body("put", key, "", headers, data, digest, once=once)

    def put_part(
        self, key: str, upload_id: str, number: int, data: memoryview, digest: Digest
    ) -> Mapping[str, str] | None:
        """Send one part of an upload; gives the headers of the answer."""
        query = query_of({"partNumber": str(number), "uploadId": upload_id})
        headers = {"host": self._host}
        return self._send_body("upload part", key, query, headers, data, digest, once=False)

    def _send_body(
        self,
        operation: str,
        key: str,
        query: str,
        headers: dict[str, str],
        data: memoryview,
        digest: Digest,
        *,
        once: bool,
    ) -> Mapping[str, str] | None:
        name, value = digest.header()
        headers[name] = value
        headers["content-length"] = str(data.nbytes)
        connection, response = self._exchange(
            operation, "PUT", key, query, headers, data, once=once
        )
        if response.status in _STORED:
            self.detours = 0
            try:
                self._finish(connection, response)
            except OSError:
                # The answer is clear, and nothing of what follows is needed: the request must not
                # be repeated because of it. The connection is closed.
                return response.headers
            return response.headers
        self._refuse(operation, key, connection, response)
        return None

    def _exchange(
        self,
        operation: str,
        method: str,
        key: str,
        query: str,
        headers: dict[str, str],
        body: memoryview | None,
        *,
        once: bool = False,
    ) -> tuple[Connection, Response]:
        """Send a request and receive the head of its answer."""
        if not key:
            # Such a request would be about the bucket.
            raise ValueError("a key must not be empty")
        path = self._path + quote_key(key)
        try:
            frozen = self._credentials.get_frozen_credentials()
        except Exception as error:
            # They could not be renewed.
            raise translate(error, operation, self._bucket, key) from error
        # The body is tied to the signature by its signed digest.
        self._signer.sign(
            Credentials(frozen.access_key, frozen.secret_key, frozen.token),
            method,
            path,
            query,
            headers,
            EMPTY_PAYLOAD if body is None else UNSIGNED_PAYLOAD,
        )
        target = f"{path}?{query}" if query else path
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = f"{method} {target} HTTP/1.1\r\n{lines}{_STATIC_HEADERS}\r\n".encode("latin-1")
        try:
            connection = self._pool.take(sure=once)
            try:
                return connection, self._ask(connection, method, head, body)
            except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
                stale = connection.answered and not connection.has_bytes and not once
                if not stale:
                    raise
                # The server had closed it while it lay idle; so it has, probably, the others.
                self._pool.close()
                connection = self._pool.fresh()
                return connection, self._ask(connection, method, head, body)
        except OSError as error:
            # A certificate does not become right by asking again.
            where = f"s3://{self._bucket}/{key}"
            if isinstance(error, ssl.SSLCertVerificationError):
                why = explain(error, f"https://{self._host}")
                raise StorageError(f"{operation} of {where} failed: {why}", key=key) from error
            raise StorageUnavailableError(
                f"{operation} of {where} failed: {kind_of(error)}", key=key
            ) from error

    def _ask(
        self, connection: Connection, method: str, head: bytes, body: memoryview | None
    ) -> Response:
        try:
            try:
                connection.send(head, body)
            except (BrokenPipeError, ConnectionResetError) as error:
                # The server may have answered before it took the whole body.
                try:
                    response = connection.receive_head(method)
                except OSError:
                    raise error from None
                response.reusable = False
                return response
            return connection.receive_head(method)
        except BaseException:
            connection.close()
            raise

    def _finish(self, connection: Connection, response: Response) -> bytes:
        """Receive what is left of an answer and give the connection back."""
        try:
            body = connection.receive_text(response)
        except BaseException:
            connection.close()
            raise
        if response.reusable:
            self._pool.give(connection)
        else:
            connection.close()
        return body

    def _refuse(self, operation: str, key: str, connection: Connection, response: Response) -> None:
        """Raise what an answer that is no success means; return where boto3 must be asked."""
        try:
            body = self._finish(connection, response)
        except OSError:
            # The status is clear, its explanation is lost.
            body = b""
        found = _CODE.search(body)
        code = None if found is None else found[1].decode()
        status = response.status
        clear = status in _CLEAR or status >= _SERVER_ERROR or code in UNAVAILABLE_CODES
        if not clear and not (status == _FORBIDDEN and code == "AccessDenied"):
            return
        told = _MESSAGE.search(body)
        raise error_of_answer(
            operation,
            self._bucket,
            key,
            status=status,
            code=code,
            message="" if told is None else told[1].decode("utf-8", "replace"),
            wait_s=retry_after(response.headers),
        )


def _place_of(client: Client, bucket: str) -> SplitResult:
    """Find where botocore sends requests about the key ``k``."""
    url: str = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    place = urlsplit(url)
    if place.hostname in (_GLOBAL_HOST, f"{bucket}.{_GLOBAL_HOST}"):
        # Signed URLs name the global host in all regions; requests go to that of the region.
        region: str = urlsplit(client.meta.endpoint_url).netloc
        place = place._replace(netloc=place.netloc.replace(_GLOBAL_HOST, region))
    return place
