"""Clients with credentials that the caller names, for settings that hold them."""

from __future__ import annotations

from typing import Any

__all__ = ["make_keyed_client"]


def make_keyed_client(
    *, endpoint_url: str, region: str, access_key_id: str, secret_access_key: str
) -> Any:  # noqa: ANN401 - boto3 has no types
    """Make a boto3 client for S3.

    Args:
        endpoint_url: Where the server is.
        region: Its region.
        access_key_id: Name of the key to sign with.
        secret_access_key: The key.
    """
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        # Not every server takes checksums in trailers, and some answer a range with the checksum
        # of the whole object.
        config=Config(
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=16,
        ),
    )
