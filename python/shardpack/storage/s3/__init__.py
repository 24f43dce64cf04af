"""Objects on S3 and on servers that speak its protocol."""

from __future__ import annotations

from shardpack.storage.s3.client import ClientSettings, make_client
from shardpack.storage.s3.store import S3Store

__all__ = ["ClientSettings", "S3Store", "make_client"]
