"""What URLs mean, and which are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inputs import run_python
from shardpack.exchange import ExchangeStore
from shardpack.storage import FileStore, MemoryStore, S3Store, StoreUrl, open_store, parse_url

URLS = {
    "s3://bucket": StoreUrl("s3", "bucket", ""),
    "s3://bucket/": StoreUrl("s3", "bucket", ""),
    "s3://my.bucket-1/a/b%20c?d#e": StoreUrl("s3", "my.bucket-1", "a/b%20c?d#e"),
    "S3://bucket/a//b/": StoreUrl("s3", "bucket", "a//b/"),
    "s3://bucket/mem://x": StoreUrl("s3", "bucket", "mem://x"),
    "mem://name/key": StoreUrl("mem", "name", "key"),
    "mem://": StoreUrl("mem", "", ""),
    "file:///a/b c%20": StoreUrl("file", "", "/a/b c%20"),
    "file:///": StoreUrl("file", "", "/"),
    "file:///a/../b/./c/": StoreUrl("file", "", "/b/c/"),
    "file://localhost/a": StoreUrl("file", "", "/a"),
    "/a/b": StoreUrl("file", "", "/a/b"),
    "//a": StoreUrl("file", "", "/a"),
}


@pytest.mark.parametrize("url", URLS)
def test_a_url_has_its_parts(url: str) -> None:
    assert parse_url(url) == URLS[url]
    assert parse_url(str(URLS[url])) == URLS[url]


def test_a_local_path_is_made_absolute() -> None:
    here = os.getcwd()
    paths: list[str | Path] = ["folder/file", "./folder/file", Path("folder/file")]
    for path in paths:
        assert parse_url(path) == StoreUrl("file", "", f"{here}/folder/file")
    assert parse_url("a:b").key == f"{here}/a:b"
    assert parse_url("./gs://x").key == f"{here}/gs:/x"
    assert parse_url(Path("gs:/x")).key == f"{here}/gs:/x"
    assert parse_url("~/x").key == os.path.expanduser("~/x")


REFUSED = [
    "gs://bucket/key",
    "http://host/key",
    "https://host/key",
    "az://container/key",
    "S4://bucket",
    "s3:/bucket/key",
    "mem:/name",
    "file:/path",
    "s3://",
    "s3:///key",
    "s3://buc ket/key",
    "s3://b\u00fccket/key",
    "s3://key:secret@bucket/x",
    "mem://a b/c",
    "file://host/path",
    "file://relative",
    "file://",
    "s3//bucket/key",
    "S3//bucket",
    "s3:bucket/key",
    "s3:",
    "s3//",
    "mem:name",
    "file//path",
    "file:path",
    "s3a//bucket",
    "gs:/x",
    "gs:x",
    "gs//x",
    "http:/x",
    "https:host",
    "s3:key:secret@bucket",
    "",
    "nul\0",
]


@pytest.mark.parametrize("url", REFUSED, ids=ascii)
def test_anything_else_is_refused_and_never_taken_for_a_path(url: str) -> None:
    with pytest.raises(ValueError, match=r"protocol|URL|bucket|path") as caught:
        parse_url(url)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    if "://" in url and url[:2] in {"gs", "ht", "az", "S4"}:
        for supported in ["s3://", "file:///", "mem://"]:
            assert supported in str(caught.value)


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("s3//bucket/key", "s3://bucket/key"),
        ("s3:bucket/key", "s3://bucket/key"),
        ("s3:/bucket/key", "s3://bucket/key"),
        ("s3:///bucket", None),
        ("mem:name", "mem://name"),
        ("file:/a/b", "file:///a/b"),
        ("file//a/b", "file:///a/b"),
    ],
)
def test_a_slip_is_told_with_the_right_spelling(url: str, meant: str | None) -> None:
    with pytest.raises(ValueError, match=r"URL|bucket") as caught:
        open_store(url)
    if meant is not None:
        assert f"did you mean {meant}, " in str(caught.value)
        assert f"./{url}?" in str(caught.value)
    with pytest.raises(ValueError, match=r"URL|bucket"):
        ExchangeStore.open(url)


def test_names_that_only_begin_like_a_url_are_paths() -> None:
    here = os.getcwd()
    for path in ("s3", "s3/data", "s3x:y", "./s3:x", "./s3//x", "filed//x", "gs"):
        assert parse_url(path).key == os.path.abspath(f"{here}/{path}")
    assert parse_url(Path("s3:x")).key == f"{here}/s3:x"


@given(st.text(max_size=40))
def test_the_key_is_taken_as_it_stands(key: str) -> None:
    assert parse_url(f"s3://bucket/{key}").key == key
    assert parse_url(str(StoreUrl("mem", "name", key))).key == key


def test_a_url_opens_its_store() -> None:
    store, key = open_store("mem://name/a/b")
    assert isinstance(store, MemoryStore)
    assert (store.url, key) == ("mem://name", "a/b")
    with pytest.raises(ValueError, match="client"):
        open_store("mem://name", client=object())
    s3, key = open_store("s3://bucket/a/b", endpoint_url="http://127.0.0.1:1", region="r")
    assert isinstance(s3, S3Store)
    assert (s3.url, key) == ("s3://bucket", "a/b")
    with pytest.raises(ValueError, match="client"):
        open_store("s3://bucket", client=object(), region="r")


def test_a_path_is_a_folder_or_a_file_in_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    store, key = open_store(tmp_path)
    assert isinstance(store, FileStore)
    assert (store.root, key) == (str(tmp_path), "")
    store, key = open_store(f"file://{tmp_path}/file")
    assert (store.url, key) == (f"file://{tmp_path}", "file")
    assert store.read(key) == b"x"
    store, key = open_store(str(tmp_path / "new" / "folder"))
    assert (store.url, key) == (f"file://{tmp_path}/new/folder", "")
    store, key = open_store(str(tmp_path / "new" / "file"), root=tmp_path)
    assert (store.url, key) == (f"file://{tmp_path}", "new/file")
    store, key = open_store(tmp_path, root=tmp_path)
    assert (store.url, key) == (f"file://{tmp_path}", "")
    with pytest.raises(ValueError, match="not below the root"):
        open_store("/elsewhere", root=tmp_path)


def test_opening_files_and_memory_does_not_import_boto3(tmp_path: Path) -> None:
    code = (
        "import sys; from shardpack.storage import open_store\n"
        f"open_store('mem://x')[0].put('a', b''); open_store({str(tmp_path)!r})[0].put('a', b'')\n"
        "open_store('s3://bucket')\n"
        "print(sorted({'boto3', 'botocore', 'orjson'} & sys.modules.keys()))"
    )
    assert run_python(code) == "[]"
