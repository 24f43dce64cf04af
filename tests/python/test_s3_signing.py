"""Signatures must be those that botocore makes, whatever the key is called."""

from __future__ import annotations

import datetime as dt
import pickle
from typing import TYPE_CHECKING

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardpack.storage.s3.signing import (
    EMPTY_PAYLOAD,
    UNSIGNED_PAYLOAD,
    Credentials,
    Signer,
    query_of,
    quote_key,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS = st.text(
    st.one_of(
        st.sampled_from(" +%~/.-_=?&#;:@!$'()*,[]\\\"<>^`{|}\t\n\x7f"),
        st.characters(exclude_categories=["Cs"]),
    ),
    min_size=1,
    max_size=40,
)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(str.strip)
NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC).timestamp()


def signature_of_botocore(
    credentials: Credentials,
    region: str,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
) -> str:
    """Let botocore sign a request that has its date already."""
    target = f"https://{headers['host']}{path}" + (f"?{query}" if query else "")
    request = botocore.awsrequest.AWSRequest(
        method=method,
        url=target,
        headers={name: value for name, value in headers.items() if name != "authorization"},
    )
    request.context["timestamp"] = headers["x-amz-date"]
    signer = botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(*credentials), "s3", region)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    found: str = signer.signature(text, request)
    return found


def signed(
    signer: Signer,
    credentials: Credentials,
    method: str,
    path: str,
    query: str,
    headers: dict[str, str],
    payload: str = EMPTY_PAYLOAD,
    now: float | None = NOON,
) -> dict[str, str]:
    signer.sign(credentials, method, path, query, headers, payload, now)
    return headers


@given(
    key=KEYS,
    secret=st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=40),
    token=st.none() | st.text(st.sampled_from("abcXYZ/+="), min_size=1, max_size=60),
    method=st.sampled_from(["GET", "PUT", "HEAD"]),
    parameters=st.dictionaries(st.sampled_from(["versionId", "partNumber", "uploadId"]), KEYS),
    metadata=st.dictionaries(st.sampled_from(["x-amz-meta-a", "x-amz-meta-b", "range"]), VALUES),
    payload=st.sampled_from([EMPTY_PAYLOAD, UNSIGNED_PAYLOAD]),
    region=st.sampled_from(["us-east-1", "eu-central-1", "auto"]),
)
def test_a_request_is_signed_as_botocore_signs_it(
    key: str,
    secret: str,
    token: str | None,
    method: str,
    parameters: dict[str, str],
    metadata: dict[str, str],
    payload: str,
    region: str,
) -> None:
    credentials = Credentials("ACCESS", secret, token)
    path = f"/bucket/{quote_key(key)}"
    query = query_of(parameters)
    headers = signed(
        Signer(region),
        credentials,
        method,
        path,
        query,
        {"host": "127.0.0.1:9000", **metadata},
        payload,
    )
    expected = signature_of_botocore(credentials, region, method, path, query, headers)
    assert headers["authorization"].endswith(f"Signature={expected}")
    assert headers["x-amz-date"] == "20260301T120000Z"
    assert headers.get("x-amz-security-token") == token


def test_the_key_of_a_day_is_not_used_on_the_next_nor_for_other_credentials() -> None:
    signer = Signer("us-east-1")
    first, second = Credentials("A", "one"), Credentials("B", "two")
    for credentials, now in [
        (first, NOON),
        (first, NOON + 86_400),
        (second, NOON + 86_400),
        (first, NOON),
        (first, NOON + 1),
    ]:
        headers = signed(signer, credentials, "GET", "/b/k", "", {"host": "h"}, now=now)
        expected = signature_of_botocore(credentials, "us-east-1", "GET", "/b/k", "", headers)
        assert headers["authorization"].endswith(f"Signature={expected}")


def test_without_a_time_the_clock_is_read() -> None:
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)
    headers = signed(
        Signer("us-east-1"), Credentials("A", "s"), "GET", "/b/k", "", {"host": "h"}, now=None
    )
    stamp = dt.datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%S%z")
    assert before <= stamp <= dt.datetime.now(dt.UTC)


@pytest.mark.parametrize(
    ("key", "quoted"),
    [
        ("a b", "a%20b"),
        ("a+b%c~d", "a%2Bb%25c~d"),
        ("folder/ü", "folder/%C3%BC"),
        ("a?b#c", "a%3Fb%23c"),
        ("//x/../y", "//x/../y"),
    ],
)
def test_keys_are_quoted_as_s3_wants_them(key: str, quoted: str) -> None:
    assert quote_key(key) == quoted


def test_credentials_are_not_shown() -> None:
    credentials = Credentials("AKIDEXAMPLE", "very secret", "token")
    assert "secret" not in repr(credentials)
    assert "token" not in repr(credentials)
    assert pickle.loads(pickle.dumps(credentials)) == credentials
