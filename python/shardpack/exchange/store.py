"""The exchange store: objects, manifests and shard archives on S3, in files or in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from shardpack.exchange.calls.manifests import ManifestCalls
from shardpack.exchange.calls.objects import ObjectCalls
from shardpack.exchange.calls.upkeep import UpkeepCalls
from shardpack.exchange.keys import Space, normalize_key

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from shardpack.exchange.manifest.append import AppendMode
    from shardpack.exchange.settings import S3Settings
    from shardpack.storage.retry import RetryPolicy

__all__ = ["ExchangeStore", "S3ExchangeStore"]


class ExchangeStore(ObjectCalls, ManifestCalls, UpkeepCalls):
    """Objects, manifests and shard archives in one place, wherever it is.

    A key is put below ``base_prefix`` unless it begins with it already; entries hold keys as the
    caller gave them. A store survives a fork and may be used by many threads.

    A store pickles, for worker processes too. The pickle carries where the store is and the options
    below, so ``infer_id`` must pickle as well; of S3 the bucket, endpoint, region, and name of the
    profile. It carries no credentials: there a client is made anew, which finds them as boto3 does,
    in the environment or the profile. Those that were handed to a client in the program are not
    found in this way, nor are handlers of its events; a store in memory is empty in another
    process. ``S3ExchangeStore`` with ``S3Settings`` takes its credentials along.

    Args:
        object_store: Where the bytes are.
        base_prefix: The prefix under which all keys lie.
        default_vars: Values for the placeholders of key templates.
        infer_id: Makes an identifier of a key; by default its last part without extension.
        append: How manifests are appended to. ``"conditional"``: by conditional writes, so that
            many may append at once; ``"listed"``: by parts alone, which readers list, for
            servers without conditional writes; ``"single-writer"``: nobody else writes, says the
            caller.
        concurrency: How many requests run at once; by default what suits the object store.

    Raises:
        ValueError: ``append`` or ``concurrency`` is none of the above.
        UnsafePathError: The base prefix has ``..`` parts.

    Example:
        >>> from shardpack.exchange import ExchangeStore
        >>> store = ExchangeStore.open("mem://example/runs")
        >>> entry = store.put_object("7/metrics.json", b"{}")
        >>> store.write_manifest("7/manifest.jsonl", [entry])
        >>> [(body.read(), entry["id"]) for body, entry in store.iter_objects("7/manifest.jsonl")]
        [(b'{}', 'metrics')]
    """

    @classmethod
    def open(  # noqa: PLR0913 - the documented options
        cls,
        url: str | os.PathLike[str],
        *,
        base_prefix: str | None = None,
        default_vars: Mapping[str, Any] | None = None,
        infer_id: Callable[[str], str] | None = None,
        append: AppendMode = "conditional",
        concurrency: int | None = None,
        client: Any = None,  # noqa: ANN401 - botocore makes its classes at run time
        endpoint_url: str | None = None,
        profile: str | None = None,
        region: str | None = None,
        fast_path: bool | None = None,
        part_size: int | None = None,
        retry: RetryPolicy | None = None,
        root: str | os.PathLike[str] | None = None,
        sync: bool | None = None,
    ) -> ExchangeStore:
        """Open the store behind a URL.

        Args:
            url: ``s3://bucket/prefix``, ``file:///folder`` or ``mem://name/prefix``; the path is
                the base prefix. The path of a folder, too.
            base_prefix: More of the prefix, behind that of the URL.
            default_vars: Values for the placeholders of key templates.
            infer_id: Makes an identifier of a key.
            append: How manifests are appended to, see the class.
            concurrency: How many requests run at once.
            client: A boto3 client for S3, instead of the three arguments that follow.
            endpoint_url: Where the S3 server is; AWS, or what its configuration says, when
                ``None``.
            profile: Profile of the AWS configuration files.
            region: Region of the bucket; the profile's when ``None``.
            fast_path: For S3: send simple requests past botocore, which is the default.
            part_size: For S3: bytes of a part of large objects, 32 MiB by default.
            retry: For S3: how often, and for how long, requests are repeated.
            root: For files: the folder where the store begins; the path must be inside of it.
            sync: For files: bring each object to the disk before its call returns, which is the
                default.

        Raises:
            ValueError: The URL is malformed, its protocol is unknown, or options contradict each
                other.
            TypeError: An option is for another kind of store.
            UnsafePathError: The prefix has ``..`` parts.
        """
        from shardpack.storage import open_store, parse_url

        options = {
            "client": client,
            "endpoint_url": endpoint_url,
            "profile": profile,
            "region": region,
            "fast_path": fast_path,
            "part_size": part_size,
            "retry": retry,
            "root": root,
            "sync": sync,
            # So many connections are kept, too.
            "concurrency": concurrency if parse_url(url).scheme == "s3" else None,
        }
        # Each kind of store knows its own, and their defaults.
        given = {name: value for name, value in options.items() if value is not None}
        objects, prefix = open_store(url, **given)
        return ExchangeStore(
            objects,
            base_prefix=normalize_key(f"{prefix}/{base_prefix or ''}"),
            default_vars=default_vars,
            infer_id=infer_id,
            append=append,
            concurrency=concurrency,
        )

    def __enter__(self) -> Self:
        """Give the store."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; there is nothing to wait for, each call is complete when it returns."""
        self.close()


class S3ExchangeStore(ExchangeStore):
    """An exchange store in an S3 bucket, made as that of ``s3exchange`` is.

    The client that is handed in is the only door: its endpoint, credentials and settings hold.
    Like it, a store may be used by many threads. It pickles without credentials: the client is
    then made anew, from the environment, at the same endpoint and in the same region. A store made
    from ``S3Settings`` takes these along, secrets included.

    Args:
        s3_client_or_settings: A boto3 client for S3, or ``S3Settings``.
        bucket: The bucket; that of the settings when it is missing.
        s3_client: The client under the name that older programs use.
        base_prefix: The prefix under which all keys lie.
        default_vars: Values for the placeholders of key templates.
        infer_id: Makes an identifier of a key; by default its last part without extension.
        append: How manifests are appended to, see ``ExchangeStore``.
        concurrency: How many requests run at once.
        fast_path: Send simple requests past botocore, signed with the client's credentials.
        part_size: Bytes of a part of large objects, at least 5 MiB.
        retry: How often, and for how long, requests are repeated; retries of the client itself
            come on top.

    Raises:
        ValueError: There is no client and no settings, or no bucket.
    """

    def __init__(  # noqa: PLR0913 - the documented options
        self,
        s3_client_or_settings: Any = None,  # noqa: ANN401 - botocore makes its classes at run time
        bucket: str | None = None,
        *,
        s3_client: Any = None,  # noqa: ANN401 - as above
        base_prefix: str = "",
        default_vars: Mapping[str, Any] | None = None,
        infer_id: Callable[[str], str] | None = None,
        append: AppendMode = "conditional",
        concurrency: int | None = None,
        fast_path: bool = True,
        part_size: int = 32 << 20,
        retry: RetryPolicy | None = None,
    ) -> None:
        from shardpack.storage.s3 import S3Store

        given = _the_one(s3_client_or_settings, s3_client)
        settings: S3Settings | None = None if _is_client(given) else given
        client = given if settings is None else settings.create_client()
        if bucket is None and settings is not None:
            bucket = settings.bucket
        if not bucket:
            raise ValueError("no bucket is given, and the settings name none")
        options: dict[str, Any] = {"fast_path": fast_path, "part_size": part_size, "retry": retry}
        if concurrency is not None:
            options["concurrency"] = concurrency
        super().__init__(
            S3Store(client, bucket, **options),
            base_prefix=base_prefix,
            default_vars=default_vars,
            infer_id=infer_id,
            append=append,
            concurrency=concurrency,
        )
        self.bucket = bucket
        self._settings = settings
        self._options = options

    @property
    def s3_client(self) -> Any:  # noqa: ANN401 - botocore makes its classes at run time
        """The boto3 client."""
        return self.objects.client  # type: ignore[attr-defined]

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if self._settings is not None:
            # They make the client anew, with the credentials that the default session lacks.
            state["space"] = self.base_prefix
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._settings is not None:
            from shardpack.storage.s3 import S3Store

            client = self._settings.create_client()
            self.space = Space(S3Store(client, self.bucket, **self._options), state["space"])


def _the_one(positional: object, keyword: object) -> Any:  # noqa: ANN401 - one of the two
    given = [one for one in (positional, keyword) if one is not None]
    if len(given) != 1:
        raise ValueError(f"one S3 client or S3Settings is needed, got {len(given)}")
    if not _is_client(given[0]) and not callable(getattr(given[0], "create_client", None)):
        raise ValueError(f"an S3 client or S3Settings is needed, got {type(given[0]).__name__}")
    return given[0]


def _is_client(candidate: object) -> bool:
    """Tell a client for S3 by what it can do: botocore is not imported just to ask."""
    service = getattr(getattr(candidate, "meta", None), "service_model", None)
    return getattr(service, "service_name", None) == "s3" and hasattr(candidate, "put_object")
