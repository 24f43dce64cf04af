"""Where an S3 store is and how to sign for it, from arguments, the environment or a ``.env``."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Any, Final

__all__ = ["S3Settings"]

_PREFIX: Final = "S3_"
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_HIDDEN: Final = "'**********'"


@dataclass(frozen=True, init=False, repr=False)
class S3Settings:
    """Endpoint, region, bucket and credentials of an S3 store.

    What is not given is taken from the environment, ``S3_ENDPOINT_URL``, ``S3_REGION``,
    ``S3_BUCKET``, ``S3_AWS_ACCESS_KEY_ID`` and ``S3_AWS_SECRET_ACCESS_KEY`` in either case, then
    from lines of the same names in the file ``.env``, then from the defaults. The secrets have
    none, and stay out of ``repr``.

    Args:
        endpoint_url: Where the server is.
        region: Its region.
        bucket: The bucket.
        aws_access_key_id: Name of the key to sign with.
        aws_secret_access_key: The key.
        _env_file: The file to read, UTF-8; none when ``None``. It need not be there.

    Raises:
        ValueError: A secret is given nowhere; the text names the variables.
    """

    endpoint_url: str = "http://127.0.0.1:3900"
    region: str = "garage"
    bucket: str = "default"
    aws_access_key_id: str = field(repr=False, default="")
    aws_secret_access_key: str = field(repr=False, default="")

    def __init__(
        self,
        *,
        endpoint_url: str | None = None,
        region: str | None = None,
        bucket: str | None = None,
        aws_access_key_id: str | None = None,
        aws_secret_access_key: str | None = None,
        _env_file: str | os.PathLike[str] | None = ".env",
    ) -> None:
        given: dict[str, str | None] = {
            "endpoint_url": endpoint_url,
            "region": region,
            "bucket": bucket,
            "aws_access_key_id": aws_access_key_id,
            "aws_secret_access_key": aws_secret_access_key,
        }
        found = _from_file(_env_file) | {name.upper(): text for name, text in os.environ.items()}
        missing = []
        for each in fields(self):
            value = given[each.name]
            if value is None:
                value = found.get(_PREFIX + each.name.upper(), str(each.default))
            if not each.repr and not value:
                missing.append(_PREFIX + each.name.upper())
            object.__setattr__(self, each.name, value)
        if missing:
            raise ValueError(f"{' and '.join(missing)} not set, nor given as arguments")

    def create_client(self) -> Any:  # noqa: ANN401 - boto3 has no types
        """Make a boto3 client for S3 with these settings."""
        from shardpack.storage.s3.keyed import make_keyed_client

        return make_keyed_client(
            endpoint_url=self.endpoint_url,
            region=self.region,
            access_key_id=self.aws_access_key_id,
            secret_access_key=self.aws_secret_access_key,
        )

    def __repr__(self) -> str:
        shown = (
            f"{each.name}={getattr(self, each.name)!r}" if each.repr else f"{each.name}={_HIDDEN}"
            for each in fields(self)
        )
        return f"S3Settings({', '.join(shown)})"


def _from_file(path: str | os.PathLike[str] | None) -> dict[str, str]:
    """Read the assignments of a file, names in upper case; lines that are none are passed over."""
    if path is None:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (FileNotFoundError, IsADirectoryError):
        return {}
    found = {}
    for line in lines:
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.lstrip().startswith("#"):
            found[name.strip().upper()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    quote = value[:1]
    if quote not in {"'", '"'}:
        if value.startswith("#"):
            return ""
        return value.split(" #", 1)[0].rstrip()
    text: list[str] = []
    letters = iter(value[1:])
    for letter in letters:
        if letter == quote:
            return "".join(text)
        if letter == "\\" and quote == '"':
            escaped = next(letters, "")
            text.append(_ESCAPES.get(escaped, "\\" + escaped))
        else:
            text.append(letter)
    return value  # The quote is never closed: it is part of the value.
