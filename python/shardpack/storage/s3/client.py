"""boto3 clients: one for each process and configuration, none inherited over a fork."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from shardpack.errors import StorageError
from shardpack.storage.s3.environment import fingerprint
from shardpack.storage.s3.handlers import carry_over

if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "Argument",
    "Client",
    "ClientSettings",
    "ClientSource",
    "is_aws",
    "make_client",
    "transport_of",
]

# boto3 has no types: neither its clients nor what they take and give.
Client: TypeAlias = Any
Argument: TypeAlias = Any

_LEAST_CONNECTIONS = 10
_CONNECT_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 60.0
# By where else botocore looks for its data.
_LOADERS: dict[str | None, Argument] = {}
# Of one process; whoever uses an older one keeps it.
_MOST_CLIENTS = 32


def is_aws(endpoint_url: str) -> bool:
    """Tell whether an endpoint is one of AWS.

    Args:
        endpoint_url: Its URL.
    """
    host = urlsplit(endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _is_usual(endpoint_url: str) -> bool:
    """Tell whether a client without a given endpoint would come to the same place."""
    host = urlsplit(endpoint_url).hostname or ""
    return is_aws(endpoint_url) and host.startswith("s3.")


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How to make a client; no secrets, so that it may be pickled and compared.

    Attributes:
        endpoint_url: Where the server is; AWS or what its configuration says when ``None``.
        profile: Profile of the AWS configuration files that holds the credentials.
        region: Region; the profile's when ``None``.
        connections: Connections kept open, at least the number of threads that use the client.
        addressing_style: ``"path"``, ``"virtual"`` or ``"auto"``; botocore's choice when ``None``.
        unsigned: Send requests without a signature, for public buckets.
        verify: Check TLS certificates: yes or no, or the path of a bundle of authorities.
        connect_timeout_s: Seconds to wait for a connection; ``None`` for any time.
        read_timeout_s: Seconds to wait for bytes of an answer; ``None`` for any time.
    """

    endpoint_url: str | None = None
    profile: str | None = None
    region: str | None = None
    connections: int = _LEAST_CONNECTIONS
    addressing_style: str | None = None
    unsigned: bool = False
    verify: bool | str | None = None
    connect_timeout_s: float | None = _CONNECT_TIMEOUT_S
    read_timeout_s: float | None = _READ_TIMEOUT_S

    @classmethod
    def of(cls, client: Client) -> Self:
        """Read the settings of a client that somebody else made.

        Args:
            client: An S3 client of boto3 or botocore.
        """
        from botocore import UNSIGNED

        config = client.meta.config
        return cls(
            endpoint_url=None if _is_usual(client.meta.endpoint_url) else client.meta.endpoint_url,
            region=client.meta.region_name,
            connections=config.max_pool_connections,
            addressing_style=(config.s3 or {}).get("addressing_style"),
            unsigned=config.signature_version is UNSIGNED,
            verify=transport_of(client).verify,
            connect_timeout_s=config.connect_timeout,
            read_timeout_s=config.read_timeout,
        )

    def make(self) -> Client:
        """Make a client."""
        client = self._make(careful=self.endpoint_url is not None)
        if self.endpoint_url is None and not is_aws(client.meta.endpoint_url):
            # The configuration or the environment names another server.
            client = self._make(careful=True)
        return client

    def _make(self, *, careful: bool) -> Client:
        import boto3
        import botocore.session
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        options: dict[str, Any] = {}
        # botocore before 1.36 neither sends nor asks for checksums unless told, and lacks these.
        if careful and "request_checksum_calculation" in Config.OPTION_DEFAULTS:
            # Some servers refuse checksums in trailers, and some answer a range with the checksum
            # of the whole; what must be right has a digest of its own.
            options["request_checksum_calculation"] = "when_required"
            options["response_checksum_validation"] = "when_required"
        if self.addressing_style is not None:
            options["s3"] = {"addressing_style": self.addressing_style}
        if self.unsigned:
            options["signature_version"] = UNSIGNED
        config = Config(
            max_pool_connections=max(self.connections, _LEAST_CONNECTIONS),
            tcp_keepalive=True,
            connect_timeout=self.connect_timeout_s,
            read_timeout=self.read_timeout_s,
            # The store repeats requests itself: it knows which may be repeated.
            retries={"mode": "standard", "total_max_attempts": 1},
            **options,
        )
        try:
            core = botocore.session.Session(profile=self.profile)
            loader = _share_loader(core)
            session = boto3.session.Session(botocore_session=core)
            # Each session of boto3 adds the same folder again.
            loader.search_paths[:] = dict.fromkeys(loader.search_paths)
            return session.client(
                "s3",
                endpoint_url=self.endpoint_url,
                region_name=self.region or session.region_name or "us-east-1",
                verify=self.verify,
                config=config,
            )
        except BotoCoreError as error:
            # A profile that is not there, a file that makes no sense.
            raise StorageError(f"no S3 client can be made: {error}") from error


@dataclass(frozen=True, slots=True)
class Transport:
    """What botocore does not tell about a client's connections through its public interface.

    Attributes:
        verify: As in ``ClientSettings``.
        plain: There is neither a proxy nor a client certificate.
    """

    verify: bool | str | None
    plain: bool


def transport_of(client: Client) -> Transport:
    """Look how a client connects; where that cannot be seen, ``plain`` is false.

    Args:
        client: An S3 client.
    """
    session = getattr(getattr(client, "_endpoint", None), "http_session", None)
    verify = getattr(session, "_verify", None)
    if not isinstance(verify, bool | str):
        return Transport(verify=None, plain=False)
    proxies = getattr(getattr(session, "_proxy_config", None), "_proxies", None)
    certificate = getattr(session, "_cert_file", "unknown")
    return Transport(verify=verify, plain=proxies == {} and certificate is None)


# Settings, and the environment in which a client was made from them.
_Origin: TypeAlias = tuple[ClientSettings, bytes]


class _Cache:
    """The clients of this process, by settings and environment."""

    def __init__(self) -> None:
        self.drop()

    def drop(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.clients: dict[_Origin, Client] = {}

    def origin_of(self, client: Client) -> _Origin | None:
        """Give what a client was made from, if it was made here."""
        for origin, known in list(self.clients.items()):
            if known is client:
                return origin
        return None

    def get(self, settings: ClientSettings) -> tuple[_Origin, Client]:
        if self.pid != os.getpid():
            # A fork that did not come through Python.
            self.drop()
        with self.lock:
            origin = (settings, fingerprint())
            client = self.clients.get(origin)
            if client is None:
                client = settings.make()
                # The first one changes what is looked at: it loads botocore.
                origin = (settings, fingerprint())
                self.clients[origin] = client
                if len(self.clients) > _MOST_CLIENTS:
                    del self.clients[next(iter(self.clients))]
            return origin, client


_CACHE = _Cache()
os.register_at_fork(after_in_child=_CACHE.drop)


def make_client(
    endpoint_url: str | None = None,
    profile: str | None = None,
    region: str | None = None,
    concurrency: int = 16,
) -> Client:
    """Give a client made for ``S3Store``.

    In one process it is the same one for the same arguments, as long as the environment and the
    AWS configuration files are the same too.

    Args:
        endpoint_url: Where the server is; AWS, or what its configuration says, when ``None``.
        profile: Profile of the AWS configuration files.
        region: Region; the profile's when ``None``.
        concurrency: Threads that will use it.

    Returns:
        A boto3 client. A store that is given it makes the same again in another process.
    """
    return _CACHE.get(
        ClientSettings(
            endpoint_url=endpoint_url,
            profile=profile,
            region=region,
            connections=max(concurrency, _LEAST_CONNECTIONS),
        )
    )[1]


class ClientSource:
    """The client of a store, in whatever process the store finds itself.

    Args:
        client: A client, which is used as it is in this process, or settings to make one from.
            After a fork it is made again, with the same configuration, credentials and event
            handlers.

    Pickling keeps the settings and no credentials: the other process takes them from the profile,
    its environment or wherever boto3's default session finds them.
    """

    def __init__(self, client: Client) -> None:
        # The client and the process that it belongs to; none before it is needed.
        self._held: tuple[int, Client] | None = None
        # What it was made from; `None` where somebody else made it.
        self._origin: _Origin | None = None
        self._asked: ClientSettings | None = None
        if isinstance(client, ClientSettings):
            self._asked = client
        else:
            self._held = (os.getpid(), client)
            self._origin = _CACHE.origin_of(client)

    def __getstate__(self) -> ClientSettings:
        return self.settings

    def __setstate__(self, settings: ClientSettings) -> None:
        self.__init__(settings)  # type: ignore[misc]

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        # A copy in the same process goes on with the same client and credentials.
        return self

    @property
    def settings(self) -> ClientSettings:
        """The settings: given, or read from the client."""
        if self._held is None:
            assert self._asked is not None  # noqa: S101 - one of the two is there
            return self._asked
        told = ClientSettings.of(self._held[1])
        settings = self._asked if self._origin is None else self._origin[0]
        if settings is None:
            return told
        # Where the environment named the server, another process shall come to the same one.
        return replace(settings, endpoint_url=settings.endpoint_url or told.endpoint_url)

    def client(self) -> Client:
        """Give the client of this process."""
        held = self._held
        if held is not None and held[0] == os.getpid():
            return held[1]
        if held is None:
            assert self._asked is not None  # noqa: S101 - one of the two is there
            self._origin, client = _CACHE.get(self._asked)
        else:
            # Its sockets are the parent's too: two processes on one socket read each other's
            # answers.
            client = self._after_fork(held[1])
        self._held = (os.getpid(), client)
        return client

    def _after_fork(self, inherited: Client) -> Client:
        if self._origin is not None and self._origin[1] == fingerprint():
            # Stores that shared a client share the new one.
            client = _CACHE.get(self._origin[0])[1]
            with _CACHE.lock:
                # Of their threads each would add what another is about to.
                carry_over(inherited, client)
        else:
            client = _rebuilt(inherited)
            carry_over(inherited, client)
        return client


def _rebuilt(client: Client) -> Client:
    """Make a client with the configuration and credentials of another, and no socket of it."""
    import botocore.session

    session = botocore.session.Session()
    _share_loader(session)
    credentials = credentials_of(client)
    if hasattr(credentials, "_refresh_lock"):
        # Another thread of the parent may have held it during the fork.
        credentials._refresh_lock = threading.Lock()  # noqa: SLF001
    if credentials is not None:
        session.register_component("credential_provider", _Fixed(credentials))
    return session.create_client(
        "s3",
        region_name=client.meta.region_name,
        endpoint_url=client.meta.endpoint_url,
        verify=transport_of(client).verify,
        config=client.meta.config,
    )


def _share_loader(session: Argument) -> Argument:
    """Let sessions share what is read of botocore's data, which takes most of a client's making."""
    place = session.get_config_variable("data_path")
    if place not in _LOADERS:
        _LOADERS[place] = session.get_component("data_loader")
    loader = _LOADERS[place]
    session.register_component("data_loader", loader)
    return loader


def credentials_of(client: Client) -> Argument:
    """Give the credentials object of a client, which renews itself; ``None`` without one."""
    get = getattr(client, "_get_credentials", None)
    return None if get is None else get()


class _Fixed:
    """A credential provider of botocore that knows one answer."""

    def __init__(self, credentials: Argument) -> None:
        self._credentials = credentials

    def load_credentials(self) -> Argument:
        """Give the credentials."""
        return self._credentials
