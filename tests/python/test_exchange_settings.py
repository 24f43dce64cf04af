from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING

import pytest

from shardpack.exchange.settings import S3Settings

if TYPE_CHECKING:
    from pathlib import Path

    from servers import S3Server

NAMES = ["ENDPOINT_URL", "REGION", "BUCKET", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings from outside, and a folder without `.env`."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.upper().startswith("S3_"):
            monkeypatch.delenv(name)


def test_defaults_stand_where_nothing_is_said() -> None:
    settings = S3Settings(aws_access_key_id="id", aws_secret_access_key="secret")
    assert settings.endpoint_url == "http://127.0.0.1:3900"
    assert (settings.region, settings.bucket) == ("garage", "default")


def test_arguments_come_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("".join(f"S3_{name}=file-{name}\n" for name in NAMES))
    monkeypatch.setenv("S3_REGION", "environment")
    monkeypatch.setenv("s3_bucket", "lower")
    settings = S3Settings(endpoint_url="argument")
    assert settings.endpoint_url == "argument"
    assert (settings.region, settings.bucket) == ("environment", "lower")
    assert settings.aws_access_key_id == "file-AWS_ACCESS_KEY_ID"
    assert settings.aws_secret_access_key == "file-AWS_SECRET_ACCESS_KEY"


def test_the_file_has_comments_quotes_and_other_programs_lines(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# a comment\n\nOTHER=1\nno assignment\nexport S3_REGION='single # not a comment'\n"
        'S3_BUCKET="tab\\t\\"quoted\\""  # comment\nS3_AWS_ACCESS_KEY_ID = spaced # comment\n'
        's3_aws_secret_access_key=a=b#c\nS3_ENDPOINT_URL="unclosed\n',
        encoding="utf-8",
    )
    settings = S3Settings()
    assert settings.region == "single # not a comment"
    assert settings.bucket == 'tab\t"quoted"'
    assert settings.aws_access_key_id == "spaced"
    assert settings.aws_secret_access_key == "a=b#c"
    assert settings.endpoint_url == '"unclosed'


def test_missing_secrets_are_named() -> None:
    with pytest.raises(ValueError, match="S3_AWS_ACCESS_KEY_ID and S3_AWS_SECRET_ACCESS_KEY"):
        S3Settings()
    with pytest.raises(ValueError, match=r"^S3_AWS_SECRET_ACCESS_KEY not set"):
        S3Settings(aws_access_key_id="id")


def test_secrets_stay_out_of_what_is_printed() -> None:
    settings = S3Settings(aws_access_key_id="the-id", aws_secret_access_key="the-secret")
    told = f"{settings} {settings!r} {[settings]}"
    assert "the-id" not in told
    assert "the-secret" not in told
    assert "garage" in told


def test_settings_are_values() -> None:
    settings = S3Settings(aws_access_key_id="id", aws_secret_access_key="secret")
    assert pickle.loads(pickle.dumps(settings)) == settings
    with pytest.raises(AttributeError):
        settings.region = "other"  # type: ignore[misc]


def test_the_client_reaches_the_server(moto_server: S3Server) -> None:
    settings = S3Settings(
        endpoint_url=moto_server.endpoint_url,
        region="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="secret",
    )
    client = settings.create_client()
    assert moto_server.fresh_bucket(client) in {
        bucket["Name"] for bucket in client.list_buckets()["Buckets"]
    }
    client.close()
